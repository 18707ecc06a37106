//! What the overview and the history look like as JSON.
//!
//! In: what is remembered, and the names behind ids. Out: the bodies of `/api/v1/overview` and `/api/v1/history`: milliseconds with
//! microsecond precision, shares from 0 to 1, times in Unix milliseconds. Not here: HTTP, and what changed (`changes`).

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::sketch::{DURATIONS, SELVES};
use super::steps::{Moment, Stretch, Tally, read, read_finely, sum};
use super::tally::Requests;
use super::{Named, Trends};
use crate::telemetry::record::legend::RouteLegend;

/// Points of a small chart.
const SPARK_LEN_MAX: usize = 60;

pub(super) fn overview(
    trends: &Trends,
    window_s: u32,
    moment: Moment,
    wall_offset: u64,
    in_flight: u64,
    routes: &[Arc<RouteLegend>],
) -> Value {
    let ladder = Requests::LADDER;
    let step_s = if window_s <= ladder.fine_s * ladder.fine_len_max { ladder.fine_s } else { ladder.coarse_s };
    let window = |lines: &[_]| read(lines, moment.back_s(window_s), step_s, moment);
    let total = sum(&window(&[&trends.all]));
    let mut shown: Vec<(u32, Value)> = trends
        .by_name(routes)
        .into_iter()
        .map(|Named { name, lines }| {
            let stretches = window(&lines);
            let whole = sum(&stretches);
            let mut row = Map::new();
            row.insert("route".to_owned(), json!(name));
            row.append(&mut stats(&whole));
            let (rates, quantiles) = sparks(&stretches, step_s);
            row.insert("spark".to_owned(), rates.into());
            row.insert("spark_p99".to_owned(), quantiles.into());
            (whole.tally.count, Value::Object(row))
        })
        .collect();
    shown.sort_by_key(|(count, _)| Reverse(*count));
    json!({
        "now": unix_ms(wall_offset + moment.now.0),
        "window_s": window_s,
        "total": stats(&total),
        "in_flight": in_flight,
        "routes": shown.into_iter().map(|(_, row)| row).collect::<Vec<_>>(),
        "folded": trends.route_places.folded(),
        "changes": trends.changes.1,
    })
}

fn stats(whole: &Stretch<Requests>) -> Map<String, Value> {
    let tally = &whole.tally;
    let duration = |share| millis(DURATIONS.quantile_ns(&tally.durations, share));
    let own = |share| millis(SELVES.quantile_ns(&tally.selves, share).filter(|_| tally.count > 0));
    let fields = [
        ("rate", rate(tally.count, whole.seconds)),
        ("errors", share(tally.errors, tally.count)),
        ("p50", duration(0.5)),
        ("p90", duration(0.9)),
        ("p99", duration(0.99)),
        ("self_p50", own(0.5)),
        ("self_p99", own(0.99)),
        ("mean", millis((tally.count > 0).then(|| tally.sum_ns as f64 / f64::from(tally.count)))),
        ("count", json!(tally.count)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Rates and p99 of the steps that have passed, oldest first: in groups where there are too many. A step stays in its group as time goes
/// on, so that a chart moves and does not tremble.
fn sparks(stretches: &[Stretch<Requests>], step_s: u32) -> (Vec<Value>, Vec<Value>) {
    let passed = &stretches[..stretches.len().saturating_sub(1)];
    let group_s = step_s * passed.len().div_ceil(SPARK_LEN_MAX).max(1) as u32;
    let groups: Vec<_> = passed.chunk_by(|a, b| a.from_s / group_s == b.from_s / group_s).map(sum).collect();
    let shown = &groups[groups.len().saturating_sub(SPARK_LEN_MAX)..];
    let point =
        |group: &Stretch<Requests>| (rate(group.tally.count, group.seconds), millis(DURATIONS.quantile_ns(&group.tally.durations, 0.99)));
    shown.iter().map(point).unzip()
}

/// Where no step is asked for, coarse ones are followed by the fine ones that are remembered.
pub(super) fn history(
    trends: &Trends,
    route: Option<&str>,
    span_s: u32,
    step_s: Option<u32>,
    moment: Moment,
    wall_offset: u64,
    routes: &[Arc<RouteLegend>],
) -> Value {
    let lines = match route {
        Some(wanted) => trends.by_name(routes).into_iter().find(|named| named.name == wanted).map_or_else(Vec::new, |named| named.lines),
        None => vec![&trends.all],
    };
    let ladder = Requests::LADDER;
    let from_s = moment.back_s(span_s);
    let mut stretches = match step_s {
        _ if lines.is_empty() => Vec::new(),
        None => read_finely(&lines, from_s, moment),
        // Fine steps are not remembered for as long.
        Some(step_s) if step_s < ladder.coarse_s => {
            let oldest_s = moment.second.saturating_sub(ladder.fine_s * ladder.fine_len_max);
            read(&lines, from_s.max(oldest_s), ladder.fine_s, moment)
        }
        Some(_) => read(&lines, from_s, ladder.coarse_s, moment),
    };
    // What is open would look like a fall.
    stretches.pop();
    json!({"route": route, "steps": stretches.iter().map(|stretch| step(stretch, wall_offset)).collect::<Vec<_>>()})
}

fn step(stretch: &Stretch<Requests>, wall_offset: u64) -> Value {
    let tally = &stretch.tally;
    let duration = |share| millis(DURATIONS.quantile_ns(&tally.durations, share));
    json!({
        "t": unix_ms(wall_offset + u64::from(stretch.from_s) * 1_000_000_000),
        "step_s": stretch.step_s,
        "count": tally.count,
        "errors": tally.errors,
        "p50": duration(0.5),
        "p90": duration(0.9),
        "p99": duration(0.99),
        "self_p99": millis(SELVES.quantile_ns(&tally.selves, 0.99)),
    })
}

pub(super) fn unix_ms(unix_nanos: u64) -> u64 {
    unix_nanos / 1_000_000
}

/// Nanoseconds as milliseconds, to the microsecond.
pub(super) fn millis(nanos: Option<f64>) -> Value {
    nanos.map_or(Value::Null, |nanos| json!((nanos / 1e3).round() / 1e3))
}

/// A second at least is taken as the time of what has only begun.
pub(super) fn rate(count: u32, seconds: f64) -> Value {
    json!((f64::from(count) / seconds.max(1.0) * 1e3).round() / 1e3)
}

pub(super) fn share(part: u32, of: u32) -> Value {
    json!((f64::from(part) / f64::from(of.max(1)) * 1e6).round() / 1e6)
}
