//! `Host` and authorities (RFC 9112, section 3.2; RFC 3986, section 3.2.2).
//!
//! In: the header section. Out: nothing, or why it is refused: a request of HTTP/1.1 names its host exactly once.
//! Not here: which hosts are served (`route` decides).

use http::Version;

use super::head::BadHead;
use crate::base::limits::HOST_BYTES_MAX;
use crate::proxy::fields::{Fields, Known};

const MISSING: BadHead = BadHead::Malformed("an HTTP/1.1 request needs a Host");
const REPEATED: BadHead = BadHead::Malformed("more than one Host");
const MALFORMED: BadHead = BadHead::Malformed("Host is no host name, address or host:port");

pub(crate) fn check(headers: &Fields, version: Version) -> Result<(), BadHead> {
    let mut values = headers.get_all(Known::Host);
    match (values.next(), values.next()) {
        (None, _) if version == Version::HTTP_10 => Ok(()),
        (None, _) => Err(MISSING),
        (Some(_), Some(_)) => Err(REPEATED),
        (Some(host), None) => check_authority(host),
    }
}

/// A registered name, IPv4 address or bracketed IPv6 address, and perhaps a port. No user information, never empty.
pub(crate) fn check_authority(authority: &[u8]) -> Result<(), BadHead> {
    let (host, port) = split_port(authority).ok_or(MALFORMED)?;
    let host_fits = match host {
        [b'[', inside @ .., b']'] => std::str::from_utf8(inside).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
        name => !name.is_empty() && name.len() <= HOST_BYTES_MAX && name.iter().all(is_name_byte),
    };
    let port_fits = port.is_none_or(|port| {
        port.len() <= 5
            && port.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(port).is_ok_and(|text| text.is_empty() || text.parse::<u16>().is_ok())
    });
    if host_fits && port_fits { Ok(()) } else { Err(MALFORMED) }
}

/// Splits `host:port`; none where the brackets of an IPv6 address do not match.
fn split_port(authority: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_end = match authority.first() {
        Some(b'[') => authority.iter().position(|byte| *byte == b']')? + 1,
        _ => authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_end);
    match rest {
        [] => Some((host, None)),
        [b':', port @ ..] => Some((host, Some(port))),
        _ => None,
    }
}

/// Unreserved characters. Percent-encoding and sub-delimiters are legal in a `reg-name`, but no DNS name has them, and servers
/// disagree about what they mean there.
fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_reading_or_none() {
        for good in ["example.com", "a_b.internal:80", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "x:"] {
            assert_eq!(check_authority(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in ["", ":80", "a b", "a,b", "u@h", "h:8a", "h:99999", "h:1:2", "[::1", "[zz]", "[::1]x", "h/p", "h%41", "é"] {
            assert!(check_authority(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
