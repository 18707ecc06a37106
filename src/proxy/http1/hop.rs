//! Fields that belong to one connection and never travel further (RFC 9110, section 7.6.1).
//!
//! In: a header section. Out: whether the connection may be used again, and which fields go on.
//! Not here: fields that policy adds or removes (`upstream` and `response` do that).

use http::Version;

use super::head::BadHead;
use crate::proxy::fields::{Field, Fields, Known};

/// Fields that never go on, one bit each.
const OF_THE_CONNECTION: u32 = Known::Connection.bit()
    | Known::Te.bit()
    | Known::TransferEncoding.bit()
    | Known::Upgrade.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::ProxyAuthenticate.bit()
    | Known::ProxyAuthorization.bit();

/// Whether the sender allows another message on this connection (RFC 9112, section 9.3).
pub(crate) fn is_persistent(headers: &Fields, version: Version) -> bool {
    if !headers.has(Known::Connection) {
        return version == Version::HTTP_11;
    }
    if has_option(headers, b"close") {
        return false;
    }
    version == Version::HTTP_11 || has_option(headers, b"keep-alive")
}

/// Whether `Connection` lists `option`.
pub(crate) fn has_option(headers: &Fields, option: &[u8]) -> bool {
    options(headers).any(|listed| listed.eq_ignore_ascii_case(option))
}

/// The fields that go to the next hop: all but those of the connection. Those that `Connection` names are gone already.
pub(crate) fn end_to_end(headers: &Fields) -> impl Iterator<Item = Field<'_>> {
    end_to_end_without(headers, 0)
}

/// The same, less the fields whose [`Known::bit`] is in `mask`.
pub(crate) fn end_to_end_without(headers: &Fields, mask: u32) -> impl Iterator<Item = Field<'_>> {
    headers.without(OF_THE_CONNECTION | mask)
}

/// Takes out the fields that `Connection` names, but for those that the gateway itself goes by: nobody may make it forget who asks, or
/// where a message ends. Before filters, so that what these set stays. Fails where there are more names than any honest sender has.
pub(crate) fn remove_nominated(headers: &mut Fields) -> Result<(), BadHead> {
    if !options(headers).any(|option| !is_common_option(option)) {
        return Ok(());
    }
    let names: Vec<Vec<u8>> =
        options(headers).filter(|option| !is_common_option(option)).map(<[u8]>::to_vec).take(NOMINATED_MAX + 1).collect();
    if names.len() > NOMINATED_MAX {
        return Err(BadHead::Malformed("Connection names too many fields"));
    }
    for name in names.iter().filter(|name| Known::of(name) == Known::Other) {
        headers.remove(name);
    }
    Ok(())
}

/// Fields that one message may name in `Connection`.
const NOMINATED_MAX: usize = 32;

/// Which of `protocols` the sender wants to switch to (RFC 9110, section 7.8).
pub(crate) fn wanted_upgrade(headers: &Fields, protocols: &[&'static str]) -> Option<&'static str> {
    if !headers.has(Known::Upgrade) || !has_option(headers, b"upgrade") {
        return None;
    }
    let mut wanted = headers.get_all(Known::Upgrade).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    wanted.find_map(|name| protocols.iter().copied().find(|protocol| name.eq_ignore_ascii_case(protocol.as_bytes())))
}

/// Whether the sender takes trailers (RFC 9110, section 10.1.4).
pub(crate) fn takes_trailers(headers: &Fields) -> bool {
    headers
        .get_all(Known::Te)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|coding| coding.split(|byte| *byte == b';').next().is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"trailers")))
}

fn options(headers: &Fields) -> impl Iterator<Item = &[u8]> {
    headers.get_all(Known::Connection).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn is_common_option(option: &[u8]) -> bool {
    option.is_empty() || [&b"close"[..], b"keep-alive", b"te", b"upgrade"].iter().any(|common| option.eq_ignore_ascii_case(common))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().copied().collect()
    }

    #[test]
    fn a_connection_lives_on_as_its_version_and_options_say() {
        assert!(is_persistent(&headers(&[]), Version::HTTP_11));
        assert!(!is_persistent(&headers(&[]), Version::HTTP_10));
        assert!(is_persistent(&headers(&[("connection", "Keep-Alive")]), Version::HTTP_10));
        assert!(!is_persistent(&headers(&[("connection", "foo, CLOSE")]), Version::HTTP_11));
    }

    #[test]
    fn only_an_upgrade_that_is_asked_for_and_allowed_is_wanted() {
        let wanted = |pairs: &[(&str, &str)]| wanted_upgrade(&headers(pairs), &["websocket"]);
        assert_eq!(wanted(&[("connection", "keep-alive, Upgrade"), ("upgrade", "h2c, WebSocket")]), Some("websocket"));
        assert_eq!(wanted(&[("connection", "upgrade"), ("upgrade", "h2c")]), None);
        assert_eq!(wanted(&[("upgrade", "websocket")]), None);
        assert_eq!(wanted(&[("connection", "upgrade")]), None);
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let mut all = headers(&[
            ("connection", "x-private, close, host"),
            ("host", "h"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-connection", "x"),
            ("x-public", "2"),
        ]);
        remove_nominated(&mut all).unwrap();
        let left: Vec<_> = end_to_end(&all).map(|field| field.name).collect();
        assert_eq!(left, [&b"host"[..], b"x-public"]);
        assert!(remove_nominated(&mut headers(&[("connection", &"x,".repeat(40))])).is_err());
        assert!(takes_trailers(&headers(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(!takes_trailers(&headers(&[("te", "gzip")])));
    }
}
