//! The live summary by route.
//!
//! In: the gateway's recent records. Out: a table, drawn over itself on a terminal, as plain lines in a pipe. It reads the same records that
//! every signal is derived from.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use serde_json::Value;

use super::super::say;
use crate::base::limits::RECENT_RECORDS_MAX;
use crate::gateway::Gateway;
use crate::telemetry::process::recent::Filter;

const EVERY: Duration = Duration::from_secs(2);

/// What a route did in the last interval. Times are milliseconds.
#[derive(Default)]
struct Row {
    durations: Vec<f64>,
    selves: Vec<f64>,
    errors: usize,
}

pub(super) async fn show(gateway: &Gateway) {
    let redraw = std::io::stdout().is_terminal();
    let mut newest_seen = String::new();
    let mut lines_drawn = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        let filter = Filter { limit: RECENT_RECORDS_MAX, ..Filter::default() };
        let Some(body) = gateway.telemetry().recent(filter).await else { continue };
        let records = body["requests"].as_array().map_or(&[][..], Vec::as_slice);
        let fresh: Vec<&Value> = records.iter().take_while(|record| record["span_id"] != newest_seen.as_str()).collect();
        if let Some(newest) = records.first() {
            newest_seen = newest["span_id"].as_str().unwrap_or("").to_owned();
        }
        let table = table(&rows(&fresh));
        if redraw && lines_drawn > 0 {
            say(&format!("\u{1b}[{}A\u{1b}[J{table}", lines_drawn + 1));
        } else {
            say(&table);
        }
        lines_drawn = table.lines().count();
    }
}

fn rows(records: &[&Value]) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for record in records {
        let row = rows.entry(record["route"].as_str().unwrap_or("").to_owned()).or_default();
        row.durations.push(record["duration_ms"].as_f64().unwrap_or(0.0));
        row.selves.push(record["self_ms"].as_f64().unwrap_or(0.0));
        row.errors += usize::from(!record["error"].is_null());
    }
    rows
}

fn table(rows: &BTreeMap<String, Row>) -> String {
    let mut out = format!("{:<12}{:>8}{:>8}{:>12}{:>12}{:>12}", "route", "req/s", "errors", "p50", "p99", "self p50");
    for (route, row) in rows {
        let name = if route.is_empty() { "(none)" } else { route };
        out.push_str(&format!(
            "\n{name:<12}{:>8.1}{:>8}{:>9.1} ms{:>9.1} ms{:>9.3} ms",
            row.durations.len() as f64 / EVERY.as_secs_f64(),
            row.errors,
            quantile(&row.durations, 0.5),
            quantile(&row.durations, 0.99),
            quantile(&row.selves, 0.5),
        ));
    }
    out.push('\n');
    out
}

/// The nearest-rank quantile; zero of nothing.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)), (50.0, 99.0, 100.0));
        assert_eq!((quantile(&[7.0], 0.5), quantile(&[], 0.5)), (7.0, 0.0));
    }
}
