//! One body, incoming, whatever its framing.
//!
//! In: bytes as they arrive, and whether the peer has closed. Out: data without a copy, trailers, the end, or why it is refused.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::chunked::Chunked;
use super::framing::Framing;

/// The body breaks the rules of its framing. The text says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadBody(pub(crate) &'static str);

/// What a decoder made of the buffer.
#[derive(Debug)]
pub(crate) enum Decoded {
    Data(Bytes),
    /// The last thing of a body that has them.
    Trailers(HeaderMap),
    End,
    /// Nothing without more bytes.
    More,
}

/// The state of one incoming body.
#[derive(Debug)]
pub(crate) enum Decoder {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Done,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Decoder::Done,
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(Chunked::new()),
            Framing::UntilClose => Decoder::UntilClose,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Decoder::Done)
    }

    /// Bytes of the body that are still to come, where the framing says so.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Decoder::Length(left) => Some(*left),
            Decoder::Done => Some(0),
            Decoder::Chunked(_) | Decoder::UntilClose => None,
        }
    }

    /// Takes what it can from `buffer`; `closed` says that no more will come.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut, closed: bool) -> Result<Decoded, BadBody> {
        let decoded = match self {
            Decoder::Done => Decoded::End,
            Decoder::Length(_) | Decoder::UntilClose if !buffer.is_empty() => self.take(buffer),
            Decoder::UntilClose if closed => Decoded::End,
            Decoder::Length(_) | Decoder::UntilClose => Decoded::More,
            Decoder::Chunked(chunked) => chunked.decode(buffer)?,
        };
        match decoded {
            Decoded::More if closed => Err(BadBody("the connection closed before the body's end")),
            Decoded::End | Decoded::Trailers(_) => {
                *self = Decoder::Done;
                Ok(decoded)
            }
            decoded => Ok(decoded),
        }
    }

    fn take(&mut self, buffer: &mut BytesMut) -> Decoded {
        let mut taken = buffer.len();
        if let Decoder::Length(left) = self {
            taken = taken.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= taken as u64;
            if *left == 0 {
                *self = Decoder::Done;
            }
        }
        Decoded::Data(buffer.split_to(taken).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_known_length_leaves_what_is_behind_it() {
        let mut decoder = Decoder::new(Framing::Length(3));
        let mut buffer = BytesMut::from("abcNEXT");
        assert!(matches!(decoder.decode(&mut buffer, false), Ok(Decoded::Data(data)) if data == "abc"));
        assert!(matches!(decoder.decode(&mut buffer, false), Ok(Decoded::End)));
        assert_eq!(buffer, "NEXT");
    }

    #[test]
    fn a_connection_that_closes_ends_only_the_body_that_waits_for_it() {
        let mut buffer = BytesMut::new();
        assert!(Decoder::new(Framing::Length(3)).decode(&mut buffer, true).is_err());
        assert!(Decoder::new(Framing::Chunked).decode(&mut buffer, true).is_err());
        assert!(matches!(Decoder::new(Framing::UntilClose).decode(&mut buffer, true), Ok(Decoded::End)));
    }
}
