//! The access log: one line a request.
//!
//! In: a record and what its ids stand for. Out: a JSON object with the names of the semantic conventions, or a line in the manner of the
//! Common Log Format. Not here: where lines go (`log_sink`).

use std::io::Write;
use std::sync::Arc;

use super::keep_reason::KeepReason;
use super::redact;
use crate::base::clock::{Tick, write_rfc3339};
use crate::base::text::{AddressText, Piece};
use crate::telemetry::record::captured::Captured;
use crate::telemetry::record::legend::{EndpointLegend, HeaderLegend, RouteLegend};
use crate::telemetry::record::names::{self, METHODS, VERSIONS};
use crate::telemetry::record::{Phase, Record};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Text,
}

/// A record with what a line or a span needs to know beside it.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'e> {
    pub(crate) record: &'e Record,
    pub(crate) route: &'e RouteLegend,
    /// Of the last attempt.
    pub(crate) endpoint: Option<&'e EndpointLegend>,
    /// What the ids of captured headers stand for.
    pub(crate) headers: &'e [Arc<HeaderLegend>],
    /// Unix nanoseconds at tick zero.
    pub(crate) wall_offset: u64,
    /// Continuous profiles remember what was sampled meanwhile.
    pub(crate) profiled: bool,
    /// Why it failed or was slow: the cause, and in words.
    pub(crate) verdict: Option<(&'static str, &'e str)>,
}

impl Entry<'_> {
    /// `error.type`: the reason, or the status where the upstream's own answer is the error.
    pub(crate) fn error_type(&self) -> Option<String> {
        self.record.reason.map(|reason| error_type(reason, self.record.status))
    }

    /// The path on the admin plane of all samples that were taken while a slow or failed request ran, to the millisecond.
    pub(crate) fn profile(&self, kept: Option<KeepReason>) -> Option<String> {
        let wanted = self.profiled && matches!(kept, Some(KeepReason::Slow | KeepReason::Error));
        let millis = |tick: Tick| (self.wall_offset + tick.0) / 1_000_000;
        wanted.then(|| format!("/debug/pprof/flamegraph?from={}&until={}", millis(self.record.began), millis(self.record.ended) + 1))
    }

    pub(crate) fn captured(&self) -> Captured<'_> {
        Captured::of(self.record, self.headers)
    }

    pub(crate) fn method(&self) -> &'static str {
        METHODS[self.record.method as usize]
    }
}

pub(crate) fn error_type(reason: crate::telemetry::record::reason::Reason, status: u16) -> String {
    match reason {
        crate::telemetry::record::reason::Reason::UpstreamStatus => status.to_string(),
        reason => reason.label().to_owned(),
    }
}

/// Splits `host:port`.
pub(crate) fn split_host(host: &[u8]) -> (&[u8], Option<u16>) {
    let name_end = if host.first() == Some(&b'[') { memchr::memchr(b']', host).map_or(0, |at| at + 1) } else { 0 };
    match memchr::memchr(b':', &host[name_end..]) {
        Some(at) => (&host[..name_end + at], std::str::from_utf8(&host[name_end + at + 1..]).ok().and_then(|port| port.parse().ok())),
        None => (host, None),
    }
}

/// Appends the line and its newline.
pub(crate) fn write_line(out: &mut Vec<u8>, entry: Entry<'_>, format: Format) {
    match format {
        Format::Json => write_json(out, entry),
        Format::Text => write_text(out, entry),
    }
}

/// What a member of an object begins with, as it stands in the line: `,"name":`. Made when Pellucid is compiled.
macro_rules! member {
    ($name:expr) => {
        const { &member::<{ $name.len() + 4 }>($name) }
    };
}

const fn member<const N: usize>(name: &str) -> [u8; N] {
    let mut member = [b'"'; N];
    member[0] = b',';
    let mut at = 0;
    while at < name.len() {
        member[at + 2] = name.as_bytes()[at];
        at += 1;
    }
    member[N - 1] = b':';
    member
}

const PHASE_MEMBERS: [&[u8]; Phase::COUNT] = [
    member!(names::PELLUCID_PHASE_MS[0]),
    member!(names::PELLUCID_PHASE_MS[1]),
    member!(names::PELLUCID_PHASE_MS[2]),
    member!(names::PELLUCID_PHASE_MS[3]),
    member!(names::PELLUCID_PHASE_MS[4]),
    member!(names::PELLUCID_PHASE_MS[5]),
];

fn write_json(out: &mut Vec<u8>, entry: Entry<'_>) {
    let record = entry.record;
    out.push(b'{');
    out.extend_from_slice(&member!(names::LOG_TIMESTAMP)[1..]);
    out.push(b'"');
    write_rfc3339(out, entry.wall_offset + record.began.0);
    out.push(b'"');
    plain(out, member!(names::LOG_TRACE_ID), &record.trace_id.hex());
    plain(out, member!(names::LOG_SPAN_ID), &record.span_id.hex());
    plain(out, member!(names::HTTP_REQUEST_METHOD), entry.method().as_bytes());
    text(out, member!(names::HTTP_REQUEST_METHOD_ORIGINAL), record, record.method_text);
    text(out, member!(names::URL_PATH), record, record.path);
    if !record.query.is_empty() {
        optional(out, member!(names::URL_QUERY), &redact::query(&record.text.str(record.query)));
    }
    plain(out, member!(names::URL_SCHEME), b"http");
    let (address, port) = split_host(record.text.bytes(record.host));
    optional(out, member!(names::SERVER_ADDRESS), &String::from_utf8_lossy(address));
    number(out, member!(names::SERVER_PORT), u64::from(port.unwrap_or(record.listener_port)));
    number(out, member!(names::HTTP_RESPONSE_STATUS_CODE), u64::from(record.status));
    optional(out, member!(names::HTTP_ROUTE), &entry.route.template);
    optional(out, member!(names::PELLUCID_ROUTE), &entry.route.name);
    if let Some(endpoint) = entry.endpoint {
        optional(out, member!(names::PELLUCID_UPSTREAM), &endpoint.upstream);
    }
    if let Some(error) = entry.error_type() {
        optional(out, member!(names::ERROR_TYPE), &error);
    }
    plain(out, member!(names::NETWORK_PROTOCOL_VERSION), VERSIONS[record.version as usize].as_bytes());
    plain(out, member!(names::CLIENT_ADDRESS), AddressText::of(record.client.ip()).as_bytes());
    number(out, member!(names::CLIENT_PORT), u64::from(record.client.port()));
    text(out, member!(names::USER_AGENT_ORIGINAL), record, record.user_agent);
    captured(out, entry);
    number(out, member!(names::HTTP_REQUEST_BODY_SIZE), record.request_bytes);
    number(out, member!(names::HTTP_RESPONSE_BODY_SIZE), record.response_bytes);
    millis(out, member!(names::PELLUCID_DURATION_MS), record.duration_ns());
    millis(out, member!(names::PELLUCID_SELF_TIME_MS), record.self_ns);
    number(out, member!(names::PELLUCID_ATTEMPTS), u64::from(record.attempt_count));
    if let Some((code, words)) = entry.verdict {
        optional(out, member!(names::PELLUCID_VERDICT_CODE), code);
        optional(out, member!(names::PELLUCID_VERDICT), words);
    }
    if let Some(attempt) = record.attempts().last() {
        for phase in Phase::ALL {
            let spent = attempt.phases.of(phase);
            if spent > 0 {
                millis(out, PHASE_MEMBERS[phase as usize], spent);
            }
        }
    }
    out.extend_from_slice(b"}\n");
}

fn write_text(out: &mut Vec<u8>, entry: Entry<'_>) {
    let record = entry.record;
    write_rfc3339(out, entry.wall_offset + record.began.0);
    let _ = write!(out, " {} \"{} ", AddressText::of(record.client.ip()).as_str(), entry.method());
    escaped(out, &record.text.str(record.path));
    let _ = writeln!(
        out,
        " HTTP/{}\" {} {} {:.3}ms self={:.3}ms route={} upstream={} error={} verdict={} trace_id={}",
        VERSIONS[record.version as usize],
        record.status,
        record.response_bytes,
        record.duration_ns() as f64 / 1e6,
        record.self_ns as f64 / 1e6,
        dash(&entry.route.name),
        dash(entry.endpoint.map_or("", |endpoint| &endpoint.upstream)),
        dash(entry.error_type().as_deref().unwrap_or("")),
        dash(entry.verdict.map_or("", |(code, _)| code)),
        crate::base::ids::hex_text(&record.trace_id.hex()),
    );
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// A value that needs no escape.
#[inline(always)]
fn plain(out: &mut Vec<u8>, member: &[u8], value: &[u8]) {
    out.extend_from_slice(member);
    out.push(b'"');
    out.extend_from_slice(value);
    out.push(b'"');
}

#[inline(always)]
fn optional(out: &mut Vec<u8>, member: &[u8], value: &str) {
    if !value.is_empty() {
        out.extend_from_slice(member);
        string(out, value);
    }
}

#[inline(always)]
fn text(out: &mut Vec<u8>, member: &[u8], record: &Record, piece: Piece) {
    optional(out, member, &record.text.str(piece));
}

/// An array a header, as the semantic conventions have it.
fn captured(out: &mut Vec<u8>, entry: Entry<'_>) {
    entry.captured().by_name(|legend, values| {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(legend.attribute.as_bytes());
        out.extend_from_slice(b"\":");
        for (index, value) in values.enumerate() {
            out.push(if index == 0 { b'[' } else { b',' });
            string(out, &value);
        }
        out.push(b']');
    });
}

#[inline(always)]
fn number(out: &mut Vec<u8>, member: &[u8], value: u64) {
    out.extend_from_slice(member);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with microseconds behind the point.
#[inline(always)]
fn millis(out: &mut Vec<u8>, member: &[u8], nanos: u64) {
    let micros = (nanos + 500) / 1000;
    number(out, member, micros / 1000);
    let part = micros % 1000;
    out.extend_from_slice(&[b'.', b'0' + (part / 100) as u8, b'0' + (part / 10 % 10) as u8, b'0' + (part % 10) as u8]);
}

fn string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    escaped(out, value);
    out.push(b'"');
}

/// JSON escapes (RFC 8259, section 7).
fn escaped(out: &mut Vec<u8>, value: &str) {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0x00..=0x1f | 0x7f);
    // All bytes are looked at, so that many can be at once.
    if !value.as_bytes().iter().fold(false, |found, byte| found | special(byte)) {
        return out.extend_from_slice(value.as_bytes());
    }
    for &byte in value.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x00..=0x1f | 0x7f => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Tick;
    use crate::telemetry::record::captured::Packer;
    use crate::telemetry::record::legend::Legends;

    #[test]
    fn hostile_text_stays_one_valid_json_object() {
        let legends = Legends::new();
        legends.route("a\"b", "/x");
        let (routes, _) = legends.tables();
        let mut record = Record::empty();
        record.path = record.text.keep(b"/\"\\\n\x01\xff</script>", 100);
        record.query = record.text.keep(b"token=abc&q=1", 100);
        record.ended = Tick(1_234_567);
        let mut packer = Packer::new();
        let tag = legends.header("x-tag", false);
        [&b"\"one"[..], b"two\n"].into_iter().for_each(|value| packer.add(tag, value));
        packer.add(legends.header("cookie", true), b"");
        packer.write_into(&mut record);
        let headers = legends.headers();
        let entry =
            Entry { record: &record, route: &routes[1], endpoint: None, headers: &headers, wall_offset: 0, profiled: false, verdict: None };
        let mut line = Vec::new();
        write_line(&mut line, entry, Format::Json);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value[names::URL_PATH], "/\"\\\n\u{1}\u{fffd}</script>");
        assert_eq!(value[names::URL_QUERY], "token=REDACTED&q=1");
        assert_eq!(value["http.request.header.x-tag"], serde_json::json!(["\"one", "two\n"]));
        assert_eq!(value["http.request.header.cookie"], serde_json::json!(["REDACTED"]));
        assert_eq!(value[names::PELLUCID_DURATION_MS], 1.235);
        assert_eq!(value[names::PELLUCID_ROUTE], "a\"b");
        line.clear();
        write_line(&mut line, entry, Format::Text);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}
