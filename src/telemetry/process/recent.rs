//! The most recent records, for the admin plane.
//!
//! In: every record. Out: those that pass a filter, newest first, as JSON in the shape of `/api/v1/requests`. Bounded: the oldest makes
//! room for the newest. Not here: HTTP.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::clock::write_rfc3339;
use crate::base::ids::{TraceId, hex_text};
use crate::base::limits::RECENT_RECORDS_MAX;
use crate::telemetry::export::access_log::{Entry, error_type};
use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::profile::profiler::is_continuous;
use crate::telemetry::record::legend::{EndpointLegend, RouteLegend};
use crate::telemetry::record::names::PHASE_LABELS;
use crate::telemetry::record::slim::Slim;
use crate::telemetry::record::{Attempt, Phase, Record};

#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) limit: usize,
    pub(crate) route: Option<String>,
    /// 503, or 500 to 599 for `5xx`.
    pub(crate) status: Option<(u16, u16)>,
    pub(crate) min_ms: Option<f64>,
    pub(crate) trace_id: Option<TraceId>,
}

#[derive(Default)]
pub(super) struct Recent {
    records: VecDeque<(Held, Option<KeepReason>)>,
}

/// A record in as little room as it takes.
#[allow(clippy::large_enum_variant, reason = "nearly all are slim, and a box each would cost an allocation a request")]
enum Held {
    Slim(Slim),
    Full(Box<Record>),
}

impl Held {
    fn of(record: &Record) -> Self {
        Slim::of(record).map_or_else(|| Held::Full(Box::new(*record)), Held::Slim)
    }

    fn write_into(&self, record: &mut Record) {
        match self {
            Held::Slim(slim) => slim.expand(record),
            Held::Full(full) => *record = **full,
        }
    }
}

impl Recent {
    pub(super) fn keep(&mut self, record: &Record, kept: Option<KeepReason>) {
        if self.records.len() == RECENT_RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back((Held::of(record), kept));
    }

    pub(super) fn find<'e>(
        &self,
        filter: &Filter,
        route_of: impl Fn(&Record) -> &'e RouteLegend,
        endpoints: &'e [Arc<EndpointLegend>],
        wall_offset: u64,
    ) -> Vec<Value> {
        let mut record = Record::empty();
        let mut passing = Vec::new();
        for (index, (held, _)) in self.records.iter().enumerate() {
            held.write_into(&mut record);
            if filter.passes(&record, &route_of(&record).name) {
                passing.push((record.ended, index));
            }
        }
        // Workers hand their records over in turns, so that neighbours in time may have changed places.
        passing.sort_unstable_by(|a, b| b.cmp(a));
        passing.truncate(filter.limit);
        let mut show = |index: usize| {
            let (held, kept) = &self.records[index];
            held.write_into(&mut record);
            let endpoint = record.attempts().last().and_then(|attempt| endpoints.get(attempt.endpoint.0 as usize)).map(|arc| &**arc);
            to_json(Entry { record: &record, route: route_of(&record), endpoint, wall_offset, profiled: is_continuous() }, *kept, endpoints)
        };
        passing.into_iter().map(|(_, index)| show(index)).collect()
    }
}

impl Filter {
    fn passes(&self, record: &Record, route: &str) -> bool {
        self.route.as_deref().is_none_or(|wanted| wanted == route)
            && self.status.is_none_or(|(low, high)| (low..=high).contains(&record.status))
            && self.min_ms.is_none_or(|least| record.duration_ns() as f64 / 1e6 >= least)
            && self.trace_id.is_none_or(|wanted| wanted == record.trace_id)
    }
}

fn to_json(entry: Entry<'_>, kept: Option<KeepReason>, endpoints: &[Arc<EndpointLegend>]) -> Value {
    let record = entry.record;
    let mut start = Vec::new();
    write_rfc3339(&mut start, entry.wall_offset + record.began.0);
    json!({
        "trace_id": hex_text(&record.trace_id.hex()),
        "span_id": hex_text(&record.span_id.hex()),
        "start": String::from_utf8_lossy(&start),
        "method": entry.method(),
        "path": record.text.str(record.path),
        "route": entry.route.name,
        "status": record.status,
        "duration_ms": millis(record.duration_ns()),
        "self_ms": millis(record.self_ns),
        "upstream": entry.endpoint.map(|endpoint| endpoint.upstream.as_str()),
        "attempts": record.attempts().iter().map(|attempt| attempt_json(attempt, endpoints)).collect::<Vec<_>>(),
        "kept": kept.is_some(),
        "keep_reason": kept.map(KeepReason::label),
        "profile": entry.profile(kept),
        "verdict": null,
        "error": entry.error_type(),
        "client": record.client.ip().to_string(),
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
    })
}

fn attempt_json(attempt: &Attempt, endpoints: &[Arc<EndpointLegend>]) -> Value {
    let mut phases: serde_json::Map<String, Value> =
        Phase::ALL.into_iter().map(|phase| (PHASE_LABELS[phase as usize].to_owned(), json!(millis(attempt.phases.of(phase))))).collect();
    phases.insert("tls".to_owned(), json!(0.0));
    json!({
        "span_id": hex_text(&attempt.span_id.hex()),
        "endpoint": endpoints.get(attempt.endpoint.0 as usize).map(|endpoint| endpoint.authority.as_str()),
        "status": if attempt.status > 0 { json!(attempt.status) } else { Value::Null },
        "error": attempt.reason.map(|reason| error_type(reason, attempt.status)),
        "reused": attempt.reused,
        "phases_ms": phases,
    })
}

/// Milliseconds with microsecond precision.
fn millis(nanos: u64) -> f64 {
    ((nanos + 500) / 1000) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Tick;
    use crate::telemetry::record::legend::Legends;

    #[test]
    fn the_oldest_makes_room_and_filters_filter() {
        let mut recent = Recent::default();
        for number in 0..RECENT_RECORDS_MAX as u64 + 5 {
            let mut record = Record::empty();
            record.ended = Tick(number * 1_000_000);
            recent.keep(&record, None);
        }
        assert_eq!(recent.records.len(), RECENT_RECORDS_MAX);
        let slow = Filter { min_ms: Some(RECENT_RECORDS_MAX as f64 + 2.0), ..Filter::default() };
        let legend = Legends::new().tables().0.remove(0);
        let find = |filter: &Filter| recent.find(&Filter { limit: 100, ..filter.clone() }, |_| &legend, &[], 0).len();
        assert_eq!(find(&slow), 3);
        assert_eq!(find(&Filter { route: Some("x".to_owned()), ..Filter::default() }), 0);
    }
}
