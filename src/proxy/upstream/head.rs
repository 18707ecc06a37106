//! The head that goes to an upstream.
//!
//! In: the client's request, who the client is, and the trace context of this attempt. Out: bytes. Fields of the connection stay behind
//! (RFC 9110, section 7.6.1); `Host`, `Via`, `Forwarded` and trace headers are written anew by policy.
//! Not here: what filters do to a request (`filter`).

use std::net::IpAddr;

use http::{HeaderValue, Version};

use crate::proxy::fields::{Fields, Known};
use crate::proxy::http1::{encode, hop};
use crate::proxy::message::Request;
use crate::telemetry::record::names;

/// What a listener says about headers that tell who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForwardedPolicy {
    /// Write `X-Forwarded-For`, `-Host` and `-Proto`.
    pub(crate) x_forwarded: bool,
    /// Write `Forwarded` (RFC 7239).
    pub(crate) forwarded: bool,
    /// Add ourselves to `Via` (RFC 9110, section 7.6.3).
    pub(crate) via: bool,
}

/// Which `Host` an upstream sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPolicy {
    /// The client's.
    Preserve,
    /// The endpoint's address.
    Endpoint,
    Literal(HeaderValue),
}

/// Everything that goes into the head beside the request itself.
pub(crate) struct Onward<'a> {
    pub(crate) request: &'a Request,
    pub(crate) host: &'a [u8],
    pub(crate) client: IpAddr,
    /// The same as text.
    pub(crate) client_text: &'a [u8],
    /// What the client says of earlier hops is passed on.
    pub(crate) trusted: bool,
    pub(crate) policy: ForwardedPolicy,
    pub(crate) traceparent: &'a [u8],
    pub(crate) trace_state: &'a [u8],
    pub(crate) baggage: &'a [u8],
}

impl Onward<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let request = self.request;
        encode::request_line(out, &request.method, request.target.as_bytes());
        if !self.host.is_empty() {
            encode::field(out, b"host", self.host);
        }
        let written_anew = if self.policy.via { WRITTEN_ANEW | Known::Via.bit() } else { WRITTEN_ANEW };
        encode::fields(out, &request.headers, hop::end_to_end_without(&request.headers, written_anew));
        if let Some(protocol) = request.upgrade {
            encode::put(out, [b"connection: upgrade\r\nupgrade: ", protocol.as_bytes(), b"\r\n"]);
        } else if hop::takes_trailers(&request.headers) {
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
        encode::framing_field(out, request.body.framing());
        self.write_forwarded(out);
        let trace = [
            (names::HEADER_TRACEPARENT, self.traceparent),
            (names::HEADER_TRACESTATE, self.trace_state),
            (names::HEADER_BAGGAGE, self.baggage),
        ];
        for (name, value) in trace {
            if !value.is_empty() {
                encode::field(out, name.as_bytes(), value);
            }
        }
        encode::end_of_head(out);
    }

    fn write_forwarded(&self, out: &mut Vec<u8>) {
        let client = self.client_text;
        let headers = &self.request.headers;
        let host = headers.get(Known::Host).unwrap_or_default();
        if self.policy.x_forwarded {
            self.list(out, headers, Known::XForwardedFor, &[client]);
            self.first(out, headers, Known::XForwardedHost, host);
            self.first(out, headers, Known::XForwardedProto, b"http");
        }
        if self.policy.forwarded {
            let (open, close): (&[u8], &[u8]) = if self.client.is_ipv6() { (b"for=\"[", b"]\"") } else { (b"for=", b"") };
            self.list(out, headers, Known::Forwarded, &[open, client, close, b";host=\"", host, b"\";proto=http"]);
        }
        if self.policy.via {
            let version: &[u8] = if self.request.version == Version::HTTP_10 { b"1.0 pellucid" } else { b"1.1 pellucid" };
            write_list(out, headers.get_all(Known::Via), Known::Via, &[version]);
        }
    }

    /// A field that each hop adds to.
    #[inline]
    fn list(&self, out: &mut Vec<u8>, headers: &Fields, name: Known, ours: &[&[u8]]) {
        let earlier = self.trusted.then(|| headers.get_all(name));
        write_list(out, earlier.into_iter().flatten(), name, ours);
    }

    /// A field that the first hop sets.
    #[inline]
    fn first(&self, out: &mut Vec<u8>, headers: &Fields, name: Known, ours: &[u8]) {
        let value = if self.trusted { headers.get(name).unwrap_or(ours) } else { ours };
        if !value.is_empty() {
            encode::field(out, name.text().as_bytes(), value);
        }
    }
}

#[inline]
fn write_list<'v>(out: &mut Vec<u8>, earlier: impl Iterator<Item = &'v [u8]>, name: Known, ours: &[&[u8]]) {
    out.extend_from_slice(name.text().as_bytes());
    out.extend_from_slice(b": ");
    for value in earlier {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    for part in ours {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields that this hop writes itself, one bit each.
const WRITTEN_ANEW: u32 = Known::Host.bit()
    | Known::ContentLength.bit()
    | Known::Forwarded.bit()
    | Known::XForwardedFor.bit()
    | Known::XForwardedHost.bit()
    | Known::XForwardedProto.bit()
    | Known::Traceparent.bit()
    | Known::Tracestate.bit()
    | Known::Baggage.bit();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;
    use crate::proxy::message::Body;
    use bytes::Bytes;
    use http::Method;

    fn written(trusted: bool, policy: ForwardedPolicy, headers: &[(&'static str, &'static str)]) -> String {
        let request = Request {
            method: Method::GET,
            target: Target::parse(Bytes::from_static(b"/x?y")).unwrap(),
            version: Version::HTTP_11,
            headers: headers.iter().copied().collect(),
            body: Body::full(Bytes::from_static(b"12")),
            interim: None,
            upgrade: None,
        };
        let onward = Onward {
            request: &request,
            host: b"h",
            client: "::1".parse().unwrap(),
            client_text: b"::1",
            trusted,
            policy,
            traceparent: b"TP",
            trace_state: b"a=1",
            baggage: b"",
        };
        let mut out = Vec::new();
        onward.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    const ALL: ForwardedPolicy = ForwardedPolicy { x_forwarded: true, forwarded: true, via: true };

    #[test]
    fn a_stranger_cannot_say_who_it_is() {
        let headers = [
            ("host", "h"),
            ("x-forwarded-for", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("traceparent", "forged"),
        ];
        let text = written(false, ALL, &headers);
        assert!(text.starts_with("GET /x?y HTTP/1.1\r\nhost: h\r\n"), "{text}");
        for line in [
            "x-forwarded-for: ::1\r\n",
            "x-forwarded-proto: http\r\n",
            "forwarded: for=\"[::1]\";host=\"h\";proto=http\r\n",
            "via: 1.1 pellucid\r\n",
            "traceparent: TP\r\n",
            "tracestate: a=1\r\n",
            "content-length: 2\r\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("1.2.3.4") && !text.contains("forged") && !text.contains("baggage"), "{text}");
    }

    #[test]
    fn a_trusted_hop_is_added_to() {
        let headers = [("host", "h"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("via", "1.0 old")];
        let text = written(true, ALL, &headers);
        for line in ["x-forwarded-for: 1.2.3.4, ::1\r\n", "x-forwarded-proto: https\r\n", "via: 1.0 old, 1.1 pellucid\r\n"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn what_is_switched_off_is_neither_written_nor_passed_on() {
        let off = ForwardedPolicy { x_forwarded: false, forwarded: false, via: false };
        let text = written(false, off, &[("host", "h"), ("x-forwarded-for", "1.2.3.4"), ("te", "trailers"), ("via", "1.0 old")]);
        assert!(!text.contains("forwarded") && text.contains("te: trailers\r\nconnection: te\r\n"), "{text}");
        assert!(text.contains("via: 1.0 old\r\n"), "{text}");
    }
}
