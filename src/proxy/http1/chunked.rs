//! The chunked coding (RFC 9112, section 7.1), incoming.
//!
//! In: bytes as they arrive. Out: data without a copy, trailers, the end, or why it is refused. Sizes are plain hexadecimal; an
//! extension is skipped within the limit of its line. Not here: writing chunks (`encode` does).

use bytes::{Buf, BytesMut};
use http::HeaderMap;

use super::decoder::{BadBody, Decoded};
use super::head::{HeadScanner, parse_trailers};
use crate::base::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// A body that is being decoded.
#[derive(Debug)]
pub(crate) struct Chunked {
    at: At,
    /// Bytes of extensions so far: a body of little data must not carry much beside it without end.
    extensions: usize,
}

/// Where in the coding the next byte stands.
#[derive(Debug)]
enum At {
    Size,
    Data(u64),
    DataEnd,
    Trailers(HeadScanner),
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Chunked { at: At::Size, extensions: 0 }
    }

    /// Takes what it can from `buffer`. After [`Decoded::Trailers`] or [`Decoded::End`] the body is over.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BadBody> {
        loop {
            match &mut self.at {
                At::Size => match take_size(buffer, &mut self.extensions)? {
                    None => return Ok(Decoded::More),
                    Some(0) => self.at = At::Trailers(HeadScanner::default()),
                    Some(size) => self.at = At::Data(size),
                },
                At::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let taken = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.at = At::DataEnd;
                    }
                    return Ok(Decoded::Data(buffer.split_to(taken).freeze()));
                }
                At::DataEnd => {
                    if buffer.len() < 2 {
                        return if b"\r\n".starts_with(buffer) {
                            Ok(Decoded::More)
                        } else {
                            Err(BadBody("a chunk is longer than its size"))
                        };
                    }
                    if !buffer.starts_with(b"\r\n") {
                        return Err(BadBody("a chunk is longer than its size"));
                    }
                    buffer.advance(2);
                    self.at = At::Size;
                }
                At::Trailers(scanner) => return take_trailers(scanner, buffer),
            }
        }
    }
}

fn take_size(buffer: &mut BytesMut, extensions: &mut usize) -> Result<Option<u64>, BadBody> {
    let window = &buffer[..buffer.len().min(CHUNK_LINE_BYTES_MAX)];
    let Some(newline) = memchr::memchr(b'\n', window) else {
        let too_long = buffer.len() >= CHUNK_LINE_BYTES_MAX;
        // What cannot become a size is refused before its line is whole.
        let hopeless = !window.first().is_none_or(u8::is_ascii_hexdigit);
        return if too_long || hopeless { Err(BadBody("a chunk-size line is too long or no size")) } else { Ok(None) };
    };
    let line = window[..newline].strip_suffix(b"\r").ok_or(BadBody("a chunk-size line ends in LF without CR"))?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension_fits = match &line[digits..] {
        [] => true,
        [b';', extension @ ..] => extension.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e)),
        _ => false,
    };
    if digits == 0 || digits > 15 || !extension_fits {
        return Err(BadBody("a chunk size is no hexadecimal number of at most 15 digits"));
    }
    *extensions += line.len() - digits;
    if *extensions > CHUNK_EXTENSION_BYTES_MAX {
        return Err(BadBody("the chunk extensions are too long together"));
    }
    let size = line[..digits].iter().fold(0, |total, digit| total << 4 | u64::from(hex_value(*digit)));
    buffer.advance(newline + 1);
    Ok(Some(size))
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn take_trailers(scanner: &mut HeadScanner, buffer: &mut BytesMut) -> Result<Decoded, BadBody> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Decoded::End);
    }
    if buffer.len() < 2 {
        return Ok(Decoded::More);
    }
    match scanner.find(buffer, TRAILER_BYTES_MAX) {
        Ok(None) => Ok(Decoded::More),
        Ok(Some(length)) => {
            let trailers = parse_trailers(buffer.split_to(length).freeze()).map_err(|_| BadBody("the trailers are malformed"))?;
            Ok(Decoded::Trailers(allowed(trailers)))
        }
        Err(_) => Err(BadBody("the trailers are malformed or too large")),
    }
}

/// Fields that frame, route or authenticate a message mean nothing behind it (RFC 9110, section 6.5.1) and are left out.
fn allowed(mut trailers: HeaderMap) -> HeaderMap {
    use http::header;
    for name in [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::HOST,
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::EXPECT,
    ] {
        trailers.remove(name);
    }
    trailers
}

/// What a whole coded body decodes to, without its trailers, and what stands behind it; for tests and the fuzzer.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn decode_all(coded: &[u8]) -> Result<Option<(Vec<u8>, bytes::Bytes)>, BadBody> {
    let mut buffer = BytesMut::from(coded);
    let (mut state, mut data) = (Chunked::new(), Vec::new());
    loop {
        match state.decode(&mut buffer)? {
            Decoded::Data(bytes) => data.extend_from_slice(&bytes),
            Decoded::More => return Ok(None),
            Decoded::End | Decoded::Trailers(_) => return Ok(Some((data, buffer.freeze()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let coded = b"5\r\nhello\r\n6;a=\"b\"\r\n world\r\n0\r\nx-sum: 1\r\n\r\nNEXT";
        for step in 1..coded.len() {
            let (mut buffer, mut state, mut data, mut over) = (BytesMut::new(), Chunked::new(), Vec::new(), false);
            for piece in coded.chunks(step) {
                buffer.extend_from_slice(piece);
                while !over {
                    match state.decode(&mut buffer).unwrap() {
                        Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                        Decoded::More => break,
                        Decoded::End => panic!("the trailers were lost"),
                        Decoded::Trailers(trailers) => {
                            assert_eq!(trailers["x-sum"], "1");
                            over = true;
                        }
                    }
                }
            }
            assert_eq!((&data[..], &buffer[..]), (&b"hello world"[..], &b"NEXT"[..]), "{step}");
        }
    }

    #[test]
    fn chunks_with_two_readings_are_refused() {
        for bad in [
            "x\r\n",
            "-1\r\n",
            "+1\r\na\r\n",
            "0x1\r\na\r\n",
            "1 \r\na\r\n",
            " 1\r\na\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n0\r\n\r\n",
            "ffffffffffffffff1\r\n",
            ";\r\n",
            "\r\n",
            "1;\x01\r\na\r\n",
            "0\r\nbad name: 1\r\n\r\n",
            "0\r\na: b\n\r\n",
            "0\r\n: b\r\n\r\n",
        ] {
            assert!(decode_all(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(CHUNK_LINE_BYTES_MAX));
        assert!(decode_all(long.as_bytes()).is_err());
        let many = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "e".repeat(200)).repeat(CHUNK_EXTENSION_BYTES_MAX / 200 + 1));
        assert!(decode_all(many.as_bytes()).is_err());
    }

    #[test]
    fn trailers_that_frame_or_route_are_left_out() {
        let mut buffer = BytesMut::from("0\r\ncontent-length: 5\r\nhost: y\r\ngrpc-status: 0\r\n\r\n");
        match Chunked::new().decode(&mut buffer).unwrap() {
            Decoded::Trailers(trailers) => {
                assert_eq!(trailers.len(), 1);
                assert_eq!(trailers["grpc-status"], "0");
            }
            other => panic!("{other:?}"),
        }
    }
}
