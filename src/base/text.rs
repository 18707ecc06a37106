//! Bounded text inside a fixed-size value: several short strings share one inline buffer.
//!
//! In: bytes of any length. Out: a [`Piece`] that names where the kept prefix lies. What does not fit is cut at a character
//! boundary and the piece says so. Never allocates; a copy of the buffer is a copy of the strings. An address as text in the same manner.
//! Not here: which strings are kept, and how much of each.

use std::io::Write;
use std::net::IpAddr;

/// An inline buffer of `N` bytes that hands out pieces in order.
#[derive(Clone, Copy)]
pub(crate) struct Text<const N: usize> {
    used: u16,
    bytes: [u8; N],
}

/// Where one string lies in its [`Text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    start: u16,
    len: u16,
    cut: bool,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Text { used: 0, bytes: [0; N] }
    }

    /// Forgets every piece. The bytes stay where they are and are overwritten by the next pieces.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    /// Keeps at most `most` bytes of `string`.
    pub(crate) fn keep(&mut self, string: &[u8], most: usize) -> Piece {
        let start = usize::from(self.used);
        let room = (N - start).min(most);
        let mut len = string.len().min(room);
        let cut = len < string.len();
        while cut && len > 0 && string[len] & 0xc0 == 0x80 {
            len -= 1;
        }
        self.bytes[start..start + len].copy_from_slice(&string[..len]);
        self.used = (start + len) as u16;
        Piece { start: start as u16, len: len as u16, cut }
    }

    /// All pieces, one behind the other.
    pub(crate) fn used(&self) -> &[u8] {
        &self.bytes[..usize::from(self.used)]
    }

    /// Takes over the pieces of another text; false where they do not fit.
    pub(crate) fn copy_used<const M: usize>(&mut self, other: &Text<M>) -> bool {
        let used = other.used();
        let fits = used.len() <= N;
        if fits {
            self.bytes[..used.len()].copy_from_slice(used);
            self.used = other.used;
        }
        fits
    }

    pub(crate) fn bytes(&self, piece: Piece) -> &[u8] {
        let start = usize::from(piece.start);
        &self.bytes[start..start + usize::from(piece.len)]
    }

    pub(crate) fn bytes_mut(&mut self, piece: Piece) -> &mut [u8] {
        let start = usize::from(piece.start);
        &mut self.bytes[start..start + usize::from(piece.len)]
    }

    /// The piece as text; bytes that are no UTF-8 become U+FFFD.
    pub(crate) fn str(&self, piece: Piece) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.bytes(piece))
    }
}

impl Piece {
    pub(crate) const EMPTY: Piece = Piece { start: 0, len: 0, cut: false };

    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }

    #[allow(dead_code, reason = "the console shows it")]
    pub(crate) fn is_cut(self) -> bool {
        self.cut
    }
}

/// An IP address as text, without the formatting machinery where it is IPv4. An IPv4 address that is mapped into IPv6 (RFC 4291, section
/// 2.5.5.2) is written as IPv4.
pub(crate) struct AddressText {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

impl AddressText {
    /// Six groups and an IPv4 address behind them.
    const LEN_MAX: usize = 45;

    pub(crate) fn of(address: IpAddr) -> Self {
        let mut text = AddressText { bytes: [0; Self::LEN_MAX], len: 0 };
        match address.to_canonical() {
            IpAddr::V4(v4) => v4.octets().into_iter().enumerate().for_each(|(index, octet)| text.octet(index, octet)),
            IpAddr::V6(v6) => {
                let mut rest = &mut text.bytes[..];
                // There is room for all of them.
                let _ = write!(rest, "{v6}");
                text.len = Self::LEN_MAX - rest.len();
            }
        }
        text
    }

    fn octet(&mut self, index: usize, octet: u8) {
        if index > 0 {
            self.push(b'.');
        }
        if octet >= 100 {
            self.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            self.push(b'0' + octet / 10 % 10);
        }
        self.push(b'0' + octet % 10);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("digits, letters, dots and colons")
    }
}

/// An error with all that it was caused by; where the reason stands is often last.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_and_said_so() {
        let mut text = Text::<8>::new();
        let first = text.keep(b"abcde", 4);
        let second = text.keep(b"xyzuvw", 100);
        let third = text.keep(b"more", 4);
        assert_eq!((text.bytes(first), first.is_cut()), (&b"abcd"[..], true));
        assert_eq!((text.bytes(second), second.is_cut()), (&b"xyzu"[..], true));
        assert_eq!((text.bytes(third), third.is_cut()), (&b""[..], true));
    }

    #[test]
    fn an_address_is_written_as_the_standard_library_writes_it() {
        let addresses = ["0.0.0.0", "1.20.255.9", "100.99.10.249", "::", "::1", "fe80::1:2", "1111:2222:3333:4444:5555:6666:7777:8888"];
        for address in addresses {
            assert_eq!(AddressText::of(address.parse().unwrap()).as_str(), address);
        }
        assert_eq!(AddressText::of("::ffff:10.0.0.7".parse().unwrap()).as_str(), "10.0.0.7");
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        let mut text = Text::<8>::new();
        let piece = text.keep("aé€".as_bytes(), 5);
        assert_eq!(text.str(piece), "aé");
    }
}
