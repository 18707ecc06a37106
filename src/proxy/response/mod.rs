//! Answers of our own, and the head of every answer.
//!
//! In: a status and a reason, or a response. Out: a JSON body that names the reason and the trace; the bytes of a head for an HTTP/1
//! client. Not here: which status a failure gets (`error` decides).

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};

use super::fields::{Fields, Known};
use super::http1::framing::Framing;
use super::http1::{encode, hop};
use super::message::{Body, Response};
use crate::base::ids::{TraceId, hex_text};
use crate::telemetry::record::names;
use crate::telemetry::record::reason::Reason;

/// What an answer of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) reason: Reason,
    pub(crate) message: &'static str,
}

/// Our own mistake.
pub(crate) const INTERNAL: Fault =
    Fault { status: StatusCode::INTERNAL_SERVER_ERROR, reason: Reason::Internal, message: "the gateway failed to handle this request" };

/// An error as JSON. Its texts are ours and need no escape.
pub(crate) fn of_fault(fault: Fault, trace_id: TraceId) -> Response {
    let body = format!(
        "{{\"error\":\"{}\",\"message\":\"{}\",\"trace_id\":\"{}\"}}\n",
        fault.reason.label(),
        fault.message,
        hex_text(&trace_id.hex())
    );
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")].into_iter().collect();
    Response { status: fault.status, headers, body: Body::full(Bytes::from(body)) }
}

/// What decides how an answer is written for one client.
pub(crate) struct Wire<'w> {
    pub(crate) version: Version,
    pub(crate) method: &'w Method,
    pub(crate) persistent: bool,
    /// For answers that have no `Date` (RFC 9110, section 6.6.1).
    pub(crate) date: &'w [u8],
    /// Tells the client its trace id.
    pub(crate) trace_id: Option<TraceId>,
}

impl Wire<'_> {
    /// How the body goes to this client: as it came, unless the client cannot take it so.
    pub(crate) fn framing(&self, status: StatusCode, body: Framing) -> Framing {
        let bodiless = self.method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        match body {
            _ if bodiless => Framing::None,
            Framing::None => Framing::Length(0),
            Framing::Length(length) => Framing::Length(length),
            Framing::Chunked | Framing::UntilClose if self.version == Version::HTTP_10 => Framing::UntilClose,
            Framing::Chunked | Framing::UntilClose => Framing::Chunked,
        }
    }

    /// Writes the head. `framing` is the one that [`Wire::framing`] chose.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>, status: StatusCode, headers: &Fields, framing: Framing) {
        encode::status_line(out, self.version, status);
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        let keeps_length = framing == Framing::None && status != StatusCode::NO_CONTENT && !status.is_informational();
        let length = if keeps_length { 0 } else { Known::ContentLength.bit() };
        let trace_id = if self.trace_id.is_some() { Known::TraceId.bit() } else { 0 };
        encode::fields(out, headers, hop::end_to_end_without(headers, length | trace_id));
        if !headers.has(Known::Date) {
            encode::field(out, b"date", self.date);
        }
        encode::framing_field(out, framing);
        if let Some(trace_id) = self.trace_id {
            encode::field(out, names::HEADER_TRACE_ID.as_bytes(), &trace_id.hex());
        }
        if let Some(protocol) = headers.get(Known::Upgrade).filter(|_| switches) {
            encode::put(out, [b"connection: upgrade\r\nupgrade: ", protocol, b"\r\n\r\n"]);
            return;
        }
        match (self.persistent && framing != Framing::UntilClose, self.version) {
            (false, _) => encode::field(out, b"connection", b"close"),
            (true, Version::HTTP_10) => encode::field(out, b"connection", b"keep-alive"),
            (true, _) => {}
        }
        encode::end_of_head(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: Version, method: Method, status: u16, body: Framing, headers: &[(&'static str, &'static str)]) -> String {
        let wire = Wire { version, method: &method, persistent: true, date: b"DATE", trace_id: None };
        let headers: Fields = headers.iter().copied().collect();
        let status = StatusCode::from_u16(status).unwrap();
        let mut out = Vec::new();
        wire.write_head(&mut out, status, &headers, wire.framing(status, body));
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn each_client_gets_a_framing_it_can_read() {
        let chunked = head(Version::HTTP_11, Method::GET, 200, Framing::UntilClose, &[("date", "D")]);
        assert_eq!(chunked, "HTTP/1.1 200 OK\r\ndate: D\r\ntransfer-encoding: chunked\r\n\r\n");
        let old = head(Version::HTTP_10, Method::GET, 200, Framing::Chunked, &[]);
        assert_eq!(old, "HTTP/1.0 200 OK\r\ndate: DATE\r\nconnection: close\r\n\r\n");
        let old = head(Version::HTTP_10, Method::GET, 200, Framing::Length(3), &[("content-length", "3")]);
        assert_eq!(old, "HTTP/1.0 200 OK\r\ndate: DATE\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n");
    }

    #[test]
    fn answers_without_a_body_keep_the_length_they_speak_of() {
        let answered = |method, status| {
            head(Version::HTTP_11, method, status, Framing::None, &[("content-length", "42")]).contains("content-length: 42")
        };
        assert!(answered(Method::HEAD, 200));
        assert!(answered(Method::GET, 304));
        assert!(!answered(Method::GET, 204));
    }

    #[test]
    fn a_fault_names_its_reason_and_its_trace() {
        let fault = Fault { status: StatusCode::NOT_FOUND, reason: Reason::NoRoute, message: "no route matches" };
        let answer = of_fault(fault, TraceId([1; 16]));
        let expected = format!("{{\"error\":\"no_route\",\"message\":\"no route matches\",\"trace_id\":\"{}\"}}\n", "01".repeat(16));
        assert_eq!(answer.body.framing(), Framing::Length(expected.len() as u64));
    }
}
