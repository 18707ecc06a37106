//! The row by which lists show a request, and the id by which it is asked for.
//!
//! In: a request with what is told of it. Out: one flat JSON object. Its id holds a time and the span's id: the span's id is what finds the
//! request, the time orders requests that are no longer remembered. Not here: filters and order.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Told, millis};
use crate::base::clock::rfc3339;
use crate::base::ids::{SpanId, hex_text};
use crate::base::text::{AddressText, Piece};
use crate::telemetry::export::access_log::{Entry, error_type};
use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::record::legend::EndpointLegend;
use crate::telemetry::record::names::{self, PHASE_LABELS};
use crate::telemetry::record::{Attempt, Phase, Record};

/// `{began_unix_nanos}-{span_id}`. The time depends on how the wall clock stood when it was asked, so two ids are of one request if their
/// spans are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId {
    pub(crate) began_unix_nanos: u64,
    pub(crate) span_id: SpanId,
}

impl RequestId {
    pub(crate) fn of(entry: &Entry<'_>) -> Self {
        RequestId { began_unix_nanos: entry.wall_offset + entry.record.began.0, span_id: entry.record.span_id }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (nanos, span) = text.split_once('-')?;
        let began_unix_nanos = nanos.parse().ok().filter(|_| nanos.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(RequestId { began_unix_nanos, span_id: SpanId::from_hex(span.as_bytes())? })
    }
}

impl Display for RequestId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.began_unix_nanos, hex_text(&self.span_id.hex()))
    }
}

/// A request as `/api/v1/requests` shows it.
pub(crate) fn row(told: &Told<'_>) -> Value {
    let (entry, record) = (told.entry, told.entry.record);
    let id = RequestId::of(&entry);
    let verdict = told.verdict.map(|verdict| json!({ "code": verdict.code, "text": verdict.text, "confidence": verdict.confidence }));
    json!({
        "id": id.to_string(),
        "trace_id": hex_text(&record.trace_id.hex()),
        "span_id": hex_text(&record.span_id.hex()),
        "start": rfc3339(id.began_unix_nanos),
        "began_ms": id.began_unix_nanos / 1_000_000,
        "method": entry.method(),
        "host": text(record, record.host),
        "path": record.text.str(record.path),
        "route": entry.route.name,
        "status": record.status,
        "duration_ms": millis(record.duration_ns()),
        "self_ms": millis(record.self_ns),
        "upstream": entry.endpoint.map(|endpoint| endpoint.upstream.as_str()),
        "attempts": record.attempts().iter().map(|attempt| attempt_row(attempt, told.endpoints)).collect::<Vec<_>>(),
        "kept": told.kept.is_some(),
        "keep_reason": told.kept.map(KeepReason::label),
        "profile": entry.profile(told.kept),
        "verdict": verdict,
        "error": entry.error_type(),
        "failed": record.has_failed(),
        "client": AddressText::of(record.client.ip()).as_str(),
        (names::ROW_USER_AGENT): text(record, record.user_agent),
        "headers": headers(told),
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
    })
}

fn attempt_row(attempt: &Attempt, endpoints: &[Arc<EndpointLegend>]) -> Value {
    let mut phases: Map<String, Value> =
        Phase::ALL.into_iter().map(|phase| (PHASE_LABELS[phase as usize].to_owned(), json!(millis(attempt.phases.of(phase))))).collect();
    phases.insert("tls".to_owned(), json!(0.0));
    json!({
        "span_id": hex_text(&attempt.span_id.hex()),
        "endpoint": endpoints.get(attempt.endpoint.0 as usize).map(|endpoint| endpoint.authority.as_str()),
        "status": Some(attempt.status).filter(|status| *status > 0),
        "error": attempt.reason.map(|reason| error_type(reason, attempt.status)),
        "reused": attempt.reused,
        "phases_ms": phases,
    })
}

fn text(record: &Record, piece: Piece) -> Option<String> {
    (!piece.is_empty()).then(|| record.text.str(piece).into_owned())
}

/// Values of a field that came more than once stand behind one another, as RFC 9110, section 5.3 joins them. What was cut ends in an ellipsis.
fn headers(told: &Told<'_>) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for header in told.entry.captured() {
        let value = String::from_utf8_lossy(header.value()) + if header.is_cut { "…" } else { "" };
        let joined = match all.get(&header.legend.name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.into_owned(),
        };
        all.insert(header.legend.name.clone(), Value::String(joined));
    }
    Value::Object(all)
}
