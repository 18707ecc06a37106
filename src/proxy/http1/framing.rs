//! How long a body is (RFC 9112, section 6).
//!
//! In: a header section. Out: one of four framings, or why it is refused. Stricter than the RFC where it leaves a choice: one
//! Content-Length, digits only; Transfer-Encoding exactly `chunked`; never both; none on HTTP/1.0.

use http::{Method, StatusCode, Version};

use super::head::BadHead;
use crate::proxy::fields::{Fields, Known};

/// How a receiver knows where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body follows.
    None,
    Length(u64),
    Chunked,
    /// The body ends with the connection. Responses only.
    UntilClose,
}

pub(crate) fn of_request(headers: &Fields, version: Version) -> Result<Framing, BadHead> {
    Ok(declared(headers, version)?.unwrap_or(Framing::None))
}

pub(crate) fn of_response(headers: &Fields, version: Version, status: StatusCode, request_method: &Method) -> Result<Framing, BadHead> {
    let declared = declared(headers, version)?;
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if bodiless || request_method == Method::HEAD {
        return Ok(Framing::None);
    }
    Ok(declared.unwrap_or(Framing::UntilClose))
}

fn declared(headers: &Fields, version: Version) -> Result<Option<Framing>, BadHead> {
    let coded = headers.has(Known::TransferEncoding);
    let length = content_length(headers)?;
    if !coded {
        return Ok(length.map(Framing::Length));
    }
    if length.is_some() {
        return Err(BadHead::Malformed("both Content-Length and Transfer-Encoding"));
    }
    if version == Version::HTTP_10 {
        return Err(BadHead::Malformed("Transfer-Encoding on HTTP/1.0"));
    }
    let mut codings = headers.get_all(Known::TransferEncoding);
    match (codings.next(), codings.next()) {
        (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
        _ => Err(BadHead::Malformed("Transfer-Encoding is not exactly chunked")),
    }
}

fn content_length(headers: &Fields) -> Result<Option<u64>, BadHead> {
    let mut values = headers.get_all(Known::ContentLength);
    let Some(digits) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(BadHead::Malformed("more than one Content-Length"));
    }
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadHead::Malformed("Content-Length is no plain number below 10^19"));
    }
    Ok(Some(digits.iter().fold(0, |total, digit| total * 10 + u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(pairs: &[(&'static str, &'static str)], version: Version) -> Result<Framing, BadHead> {
        of_request(&pairs.iter().copied().collect(), version)
    }

    #[test]
    fn a_request_has_one_length_or_is_refused() {
        const CL: &str = "content-length";
        const TE: &str = "transfer-encoding";
        assert_eq!(framing(&[], Version::HTTP_11), Ok(Framing::None));
        assert_eq!(framing(&[(CL, "0")], Version::HTTP_11), Ok(Framing::Length(0)));
        assert_eq!(framing(&[(CL, "0042")], Version::HTTP_11), Ok(Framing::Length(42)));
        assert_eq!(framing(&[(TE, "Chunked")], Version::HTTP_11), Ok(Framing::Chunked));
        for bad in [
            &[(CL, "1"), (CL, "1")][..],
            &[(CL, "1, 1")],
            &[(CL, "+1")],
            &[(CL, "-1")],
            &[(CL, "1 ")],
            &[(CL, "0x1")],
            &[(CL, "")],
            &[(CL, "99999999999999999999")],
            &[(CL, "1"), (TE, "chunked")],
            &[(TE, "gzip, chunked")],
            &[(TE, "chunked"), (TE, "chunked")],
            &[(TE, "chunked, identity")],
            &[(TE, "xchunked")],
            &[(TE, "")],
        ] {
            assert!(framing(bad, Version::HTTP_11).is_err(), "{bad:?}");
        }
        assert!(framing(&[(TE, "chunked")], Version::HTTP_10).is_err());
    }

    #[test]
    fn a_response_without_a_length_ends_with_its_connection_unless_it_has_no_body() {
        let of = |status, method| of_response(&Fields::new(), Version::HTTP_11, status, &method);
        assert_eq!(of(StatusCode::OK, Method::GET), Ok(Framing::UntilClose));
        assert_eq!(of(StatusCode::OK, Method::HEAD), Ok(Framing::None));
        assert_eq!(of(StatusCode::NO_CONTENT, Method::GET), Ok(Framing::None));
        assert_eq!(of(StatusCode::NOT_MODIFIED, Method::GET), Ok(Framing::None));
    }
}
