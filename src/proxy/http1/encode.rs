//! Messages to bytes.
//!
//! In: start lines, fields, frames. Out: bytes appended to a buffer. Fields come from parsed or validated values, so nothing here can
//! be made to start a new line. Not here: which fields a message gets (`upstream` and the listener decide).

use http::{HeaderMap, Method, StatusCode, Version};

use super::framing::Framing;
use crate::proxy::fields::{Field, Fields, Piece};

/// Data up to this size is copied behind what is already there, so that a small message goes out in one write.
pub(crate) const COPY_BYTES_MAX: usize = 4096;

pub(crate) fn request_line(out: &mut Vec<u8>, method: &Method, target: &[u8]) {
    put(out, [method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
}

pub(crate) fn status_line(out: &mut Vec<u8>, version: Version, status: StatusCode) {
    let version: &[u8] = if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    if status == StatusCode::OK {
        return put(out, [version, b"200 OK\r\n"]);
    }
    let reason = status.canonical_reason().unwrap_or("Unknown");
    put(out, [version, status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
}

#[inline]
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put(out, [name, b": ", value, b"\r\n"]);
}

/// Many fields. Those that stand side by side on the wire as they are to be written are copied at once.
pub(crate) fn fields<'f>(out: &mut Vec<u8>, section: &'f Fields, fields: impl Iterator<Item = Field<'f>>) {
    section.lines(fields, |piece| match piece {
        Piece::Lines(lines) => out.extend_from_slice(lines),
        Piece::Field(each) => field(out, each.name, each.value),
    });
}

/// The field that tells the receiver how the body is framed, and nothing where the framing needs none.
pub(crate) fn framing_field(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes()),
        Framing::Chunked => field(out, b"transfer-encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
}

pub(crate) fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The size line in front of a chunk.
pub(crate) fn chunk_size(out: &mut Vec<u8>, size: usize) {
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    let mut rest = size;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    put(out, [&digits[at..], b"\r\n"]);
}

pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends all parts after making room once. Inlined, so that parts whose length is known are stored without a call.
#[inline(always)]
pub(crate) fn put<const N: usize>(out: &mut Vec<u8>, parts: [&[u8]; N]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        for size in [1usize, 15, 16, 255, 4096, 70_000] {
            chunk_size(&mut out, size);
            out.extend_from_slice(&vec![b'x'; size]);
            out.extend_from_slice(b"\r\n");
        }
        last_chunk(&mut out, None);
        let (data, rest) = super::super::chunked::decode_all(&out).unwrap().unwrap();
        assert_eq!((data.len(), rest.len()), (1 + 15 + 16 + 255 + 4096 + 70_000, 0));
    }
}
