//! The spans of a request as OTLP JSON.
//!
//! In: a request. Out: its SERVER span and its CLIENT spans as a Collector writes them (opentelemetry.io/docs/specs/otlp, "JSON Protobuf
//! Encoding"): ids in hexadecimal, 64-bit integers as strings, what is empty left out. They are read back from the very bytes that are
//! exported, so the two cannot differ. Not here: which attributes there are (`export::otlp::spans`).

use std::fmt::Write;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use prost::Message;
use serde_json::{Map, Value, json};

use super::Told;
use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::export::otlp::spans::Batch;
use crate::telemetry::record::names;

/// The SERVER span first. A request that was not kept has the spans that it would have been exported as, but for the reason.
pub(super) fn spans(told: &Told<'_>) -> Vec<Value> {
    let mut batch = Batch::new(Vec::new());
    let reason = told.kept.unwrap_or(KeepReason::Sampled);
    batch.add(told.entry, reason, |attempt| told.endpoints.get(attempt.endpoint.0 as usize).map(|legend| &**legend));
    let (bytes, _) = batch.take().expect("a record was added");
    let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap_or_default();
    let spans = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
    spans
        .map(|mut span| {
            span.attributes.retain(|pair| told.kept.is_some() || pair.key != names::PELLUCID_KEEP_REASON);
            span_json(&span)
        })
        .collect()
}

fn span_json(span: &Span) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value, present: bool| {
        if present {
            out.insert(key.to_owned(), value);
        }
    };
    put("traceId", hex(&span.trace_id).into(), true);
    put("spanId", hex(&span.span_id).into(), true);
    put("traceState", span.trace_state.as_str().into(), !span.trace_state.is_empty());
    put("parentSpanId", hex(&span.parent_span_id).into(), !span.parent_span_id.is_empty());
    put("flags", span.flags.into(), span.flags != 0);
    put("name", span.name.as_str().into(), true);
    put("kind", span.kind.into(), true);
    put("startTimeUnixNano", span.start_time_unix_nano.to_string().into(), true);
    put("endTimeUnixNano", span.end_time_unix_nano.to_string().into(), true);
    put("attributes", span.attributes.iter().map(attribute_json).collect(), !span.attributes.is_empty());
    put("links", span.links.iter().map(link_json).collect(), !span.links.is_empty());
    let code = span.status.as_ref().map_or(0, |status| status.code);
    put("status", if code == 0 { json!({}) } else { json!({ "code": code }) }, true);
    Value::Object(out)
}

fn attribute_json(pair: &KeyValue) -> Value {
    let value = pair.value.as_ref().and_then(|any| any.value.as_ref());
    json!({ "key": pair.key, "value": value.map_or_else(|| json!({}), value_json) })
}

fn value_json(value: &any_value::Value) -> Value {
    match value {
        any_value::Value::StringValue(text) => json!({ "stringValue": text }),
        any_value::Value::BoolValue(is) => json!({ "boolValue": is }),
        any_value::Value::IntValue(number) => json!({ "intValue": number.to_string() }),
        any_value::Value::DoubleValue(number) => json!({ "doubleValue": number }),
        any_value::Value::ArrayValue(array) => {
            let values: Vec<Value> = array.values.iter().filter_map(|any| any.value.as_ref()).map(value_json).collect();
            json!({ "arrayValue": { "values": values } })
        }
        // Spans of ours hold no others.
        _ => json!({}),
    }
}

fn link_json(link: &Link) -> Value {
    json!({ "traceId": hex(&link.trace_id), "spanId": hex(&link.span_id) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
