//! Fields that belong to one connection and never travel further (RFC 9110, section 7.6.1).
//!
//! In: a header section. Out: whether the connection may be used again, and which fields go on.
//! Not here: fields that policy adds or removes (`upstream` and `response` do that).

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// Whether the sender allows another message on this connection (RFC 9112, section 9.3).
pub(crate) fn is_persistent(headers: &HeaderMap, version: Version) -> bool {
    if !headers.contains_key(header::CONNECTION) {
        return version == Version::HTTP_11;
    }
    if has_option(headers, "close") {
        return false;
    }
    version == Version::HTTP_11 || has_option(headers, "keep-alive")
}

/// Whether `Connection` lists `option`.
pub(crate) fn has_option(headers: &HeaderMap, option: &str) -> bool {
    options(headers).any(|listed| listed.eq_ignore_ascii_case(option.as_bytes()))
}

/// The fields that go to the next hop: all but those of the connection and those that `Connection` lists.
pub(crate) fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let nominates = options(headers).any(|option| !is_common_option(option));
    headers.iter().filter(move |(name, _)| !(is_connection_field(name) || nominates && has_option(headers, name.as_str())))
}

/// Whether the sender takes trailers (RFC 9110, section 10.1.4).
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.split(|byte| *byte == b';').next().is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"trailers")))
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn is_common_option(option: &[u8]) -> bool {
    option.is_empty() || [&b"close"[..], b"keep-alive", b"te", b"upgrade"].iter().any(|common| option.eq_ignore_ascii_case(common))
}

fn is_connection_field(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION
        | header::TE
        | header::TRANSFER_ENCODING
        | header::UPGRADE
        | header::PROXY_AUTHENTICATE
        | header::PROXY_AUTHORIZATION => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_connection_lives_on_as_its_version_and_options_say() {
        assert!(is_persistent(&headers(&[]), Version::HTTP_11));
        assert!(!is_persistent(&headers(&[]), Version::HTTP_10));
        assert!(is_persistent(&headers(&[("connection", "Keep-Alive")]), Version::HTTP_10));
        assert!(!is_persistent(&headers(&[("connection", "foo, CLOSE")]), Version::HTTP_11));
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let all = headers(&[
            ("connection", "x-private, close"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-connection", "x"),
            ("x-public", "2"),
        ]);
        let left: Vec<_> = end_to_end(&all).map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["x-public"]);
        assert!(takes_trailers(&headers(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(!takes_trailers(&headers(&[("te", "gzip")])));
    }
}
