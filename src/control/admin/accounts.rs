//! `/api/v1/telemetry`: whether what is seen can be trusted.
//!
//! In: the ledger, how the exporters are doing, the budget of series. Out: sums that add up, why an export fails and what waits for it, and who
//! uses the series. Not here: the counting itself (`telemetry::export`).

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::{Admin, live};
use crate::telemetry::export::ledger::{Balance, Drop, Signal};
use crate::telemetry::export::standing::{Report, Sink};
use crate::telemetry::process::usage::Usage;

/// The accounts, with every exchange that ended before the question in them.
pub(super) async fn telemetry(State(admin): State<Admin>) -> Json<Value> {
    admin.telemetry.flush().await;
    let ledger = &admin.telemetry.ledger;
    let signals: Map<String, Value> =
        Signal::ALL.into_iter().map(|signal| (signal.label().to_owned(), balance_json(&ledger.balance(signal)))).collect();
    let exporters: Vec<Value> = admin.telemetry.standings.reports().iter().map(exporter_json).collect();
    let (subscribers, lost) = live::counts();
    Json(json!({
        "signals": signals,
        "exporters": exporters,
        "series": series_json(&admin.telemetry.usage()),
        "live": { "subscribers": subscribers, "lost": lost },
    }))
}

fn balance_json(balance: &Balance) -> Value {
    let dropped: Map<String, Value> = Drop::ALL
        .iter()
        .zip(balance.dropped)
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.label().to_owned(), json!(count)))
        .collect();
    json!({ "produced": balance.produced, "exported": balance.exported, "rejected": balance.rejected, "dropped": dropped, "queued": balance.queued })
}

fn exporter_json(report: &Report) -> Value {
    let tries = &report.tries;
    json!({
        "signal": report.signal.label(),
        "sink": report.sink.map(Sink::label),
        "state": report.state.label(),
        "endpoint": report.endpoint,
        "protocol": report.protocol,
        "last_error": tries.last_error,
        "last_error_at": tries.last_error_ms,
        "failing_since": tries.failing_since_ms,
        "failures": tries.failures,
        "last_success_at": tries.last_success_ms,
        "queued": report.queued_items,
        "queued_bytes": report.queued_bytes,
        "queue_max_bytes": report.queue_bytes_max,
    })
}

fn series_json(usage: &Usage) -> Value {
    let worst: Vec<Value> = usage.worst.iter().map(|(route, series)| json!({ "route": route, "series": series })).collect();
    json!({ "used": usage.used, "max": usage.max, "folded": usage.folded, "worst": worst })
}
