//! One request whole: all that is known of it, on one page.
//!
//! In: a record with what its ids stand for, what was decided about it, and what is typical for its route. Out: the row by which lists show
//! it, and the body of `/api/v1/requests/{id}`: where its time went, its log line, its spans, a command that repeats it, and a link to its
//! trace. Not here: which requests are remembered (`recent`), and why one was slow (`verdict`).

mod row;
mod waterfall;
mod command;
mod spans;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::ids::hex_text;
use crate::telemetry::export::access_log::{self, Entry, Format};
use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::record::Record;
use crate::telemetry::record::legend::EndpointLegend;

pub(crate) use row::{RequestId, row};

/// A request with all that is told of it.
#[derive(Clone, Copy)]
pub(crate) struct Told<'t> {
    pub(crate) entry: Entry<'t>,
    pub(crate) kept: Option<KeepReason>,
    pub(crate) verdict: Option<Judgement<'t>>,
    pub(crate) endpoints: &'t [Arc<EndpointLegend>],
}

/// A verdict as it is shown.
#[derive(Clone, Copy)]
pub(crate) struct Judgement<'t> {
    pub(crate) code: &'t str,
    pub(crate) text: &'t str,
    pub(crate) confidence: &'t str,
}

/// A request's place in its trace, as a trace store is asked for it. Times are Unix milliseconds, around the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linked<'l> {
    pub(crate) trace_id: &'l str,
    pub(crate) span_id: &'l str,
    pub(crate) begin_ms: u64,
    pub(crate) end_ms: u64,
}

/// Where a trace store shows a trace.
pub(crate) type TraceLink = dyn Fn(Linked<'_>) -> String + Send;

/// The body of `/api/v1/requests/{id}`. `typical` is passed on as it is; `link` is there where spans are exported.
pub(crate) fn whole(told: &Told<'_>, typical: Value, link: Option<&TraceLink>) -> Value {
    let (curl, notes) = command::curl(told).unzip();
    json!({
        "request": row(told),
        "waterfall": waterfall::waterfall(told),
        "filters": filters(told.entry.record),
        "typical": typical,
        "log": log(told.entry),
        "span": spans::spans(told),
        "curl": curl,
        "curl_notes": notes.unwrap_or_default(),
        // Only what was kept is exported.
        "trace_url": link.filter(|_| told.kept.is_some()).map(|link| trace_url(told.entry, link)),
        // What was sampled meanwhile is worth a look on any request; only a slow or failed one is advertised in its row.
        "flamegraph": told.entry.profile(Some(KeepReason::Slow)),
    })
}

/// The filters that ran, with their time. It is a part of the gateway's own, and so short that a waterfall could not show it.
fn filters(record: &Record) -> Vec<Value> {
    record.filters().map(|(tag, nanos)| json!({ "name": tag.label(), "us": f64::from(nanos) / 1e3 })).collect()
}

/// The access-log line of a request, whether or not there is a log.
fn log(entry: Entry<'_>) -> Value {
    let mut line = Vec::new();
    access_log::write_line(&mut line, entry, Format::Json);
    serde_json::from_slice(&line).unwrap_or_default()
}

fn trace_url(entry: Entry<'_>, link: &TraceLink) -> String {
    let record = entry.record;
    let (trace_id, span_id) = (record.trace_id.hex(), record.span_id.hex());
    let begin_ms = RequestId::of(&entry).began_unix_nanos / 1_000_000;
    let end_ms = begin_ms + record.duration_ns().div_ceil(1_000_000) + 1;
    link(Linked { trace_id: hex_text(&trace_id), span_id: hex_text(&span_id), begin_ms, end_ms })
}

/// Milliseconds with microsecond precision.
pub(super) fn millis(nanos: u64) -> f64 {
    ((nanos + 500) / 1000) as f64 / 1e3
}

#[cfg(test)]
mod tests;
