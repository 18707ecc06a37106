//! The most recent records, for the admin plane.
//!
//! In: every record with what was decided about it. Out: those that pass a filter, newest first, as JSON; one of them whole. Not here:
//! which are remembered (`shelf`), HTTP, and how a request is shown (`whole`).

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::lookup::Names;
use super::query::{Query, Seen};
use super::shelf::{Kept, Shelf};
use super::verdict::{Spread, Typical, Verdict, Verdicts};
use super::whole::{Judgement, RequestId, Told, TraceLink, millis, row, whole};
use crate::base::clock::Tick;
use crate::base::ids::TraceId;
use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::record::captured::Captured;
use crate::telemetry::record::names::PHASE_LABELS;
use crate::telemetry::record::{Phase, Record};

/// Upper bounds of the durations that a histogram of requests tells apart, in milliseconds.
const BOUNDS_MS: [u64; 16] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) limit: usize,
    pub(crate) route: Option<String>,
    /// 503, or 500 to 599 for `5xx`.
    pub(crate) status: Option<(u16, u16)>,
    pub(crate) min_ms: Option<f64>,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) query: Option<Query>,
    /// Only what is older.
    pub(crate) before: Option<RequestId>,
}

#[derive(Default)]
pub(super) struct Recent {
    shelf: Shelf,
}

/// How far somebody has been told; from the beginning: only of what comes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tail(Option<u64>);

/// What has come since.
pub(crate) struct News {
    pub(crate) tail: Tail,
    /// The last of those that pass, in the order in which they came from the workers' rings.
    pub(crate) rows: Vec<Value>,
    /// Others that pass.
    pub(crate) skipped: u64,
    /// Records that were forgotten before they could be looked at.
    pub(crate) lost: u64,
}

impl Kept {
    fn told<'t>(&'t self, record: &'t Record, names: &'t Names) -> Told<'t> {
        let verdict = self.verdict.as_deref();
        Told {
            entry: names.entry(record, self.wall_offset, verdict),
            kept: self.reason,
            verdict: verdict.map(|verdict| Judgement {
                code: verdict.code.label(),
                text: &verdict.text,
                confidence: verdict.confidence.label(),
            }),
            endpoints: &names.endpoints,
        }
    }
}

impl Recent {
    pub(super) fn keep(&mut self, record: &Record, reason: Option<KeepReason>, verdict: Option<Verdict>, wall_offset: u64) {
        self.shelf.put(Kept::new(record, reason, verdict, wall_offset));
    }

    /// Rows, and the id that asks for the rows after them where there are more.
    pub(super) fn find(&self, filter: &Filter, names: &Names) -> (Vec<Value>, Option<String>) {
        let mut record = Record::empty();
        let mut passing = self.passing(filter, names, &mut record);
        let more = passing.len() > filter.limit;
        passing.truncate(filter.limit);
        let mut id = None;
        let mut show = |index: usize| {
            let kept = self.shelf.at(index);
            kept.write_into(&mut record);
            let told = kept.told(&record, names);
            id = Some(RequestId::of(&told.entry).to_string());
            row(&told)
        };
        let rows = passing.into_iter().map(&mut show).collect();
        (rows, id.filter(|_| more))
    }

    /// What has come since `tail`, those that pass.
    pub(super) fn news(&self, filter: &Filter, tail: Tail, names: &Names) -> News {
        let total = self.shelf.total();
        let (fresh, lost) = self.shelf.since(tail.0.unwrap_or(total));
        let mut record = Record::empty();
        let mut passing: VecDeque<&Kept> = VecDeque::new();
        let mut skipped = 0;
        for kept in fresh {
            kept.write_into(&mut record);
            if filter.passes(&record, kept, names) {
                passing.push_back(kept);
                if passing.len() > filter.limit {
                    passing.pop_front();
                    skipped += 1;
                }
            }
        }
        let show = |kept: &Kept| {
            kept.write_into(&mut record);
            row(&kept.told(&record, names))
        };
        let rows = passing.into_iter().map(show).collect();
        News { tail: Tail(Some(total)), rows, skipped, lost }
    }

    /// One request with all that is known of it; it is held on to from now on. `link` is there where spans are exported.
    pub(super) fn whole(&mut self, id: RequestId, names: &Names, verdicts: &Verdicts, link: Option<&TraceLink>) -> Option<Value> {
        let kept = self.shelf.open(id.span_id)?;
        let mut record = Record::empty();
        kept.write_into(&mut record);
        let told = kept.told(&record, names);
        let typical = verdicts.typical(record.route).map_or(Value::Null, |typical| typical_json(&typical, &told.entry.route.name));
        Some(whole(&told, typical, link))
    }

    /// How long the requests took that pass.
    pub(super) fn histogram(&self, filter: &Filter, names: &Names) -> Value {
        let mut record = Record::empty();
        let passing = self.passing(filter, names, &mut record);
        let matched = passing.len();
        let mut buckets = [[0_u64; 2]; BOUNDS_MS.len() + 1];
        for index in passing {
            self.shelf.at(index).write_into(&mut record);
            let bucket = BOUNDS_MS.iter().position(|bound| record.duration_ns() <= bound * 1_000_000).unwrap_or(BOUNDS_MS.len());
            buckets[bucket][0] += 1;
            buckets[bucket][1] += u64::from(record.has_failed());
        }
        let bounds = BOUNDS_MS.iter().map(Some).chain([None]);
        let bucket = |(bound, [count, errors]): (Option<&u64>, &[u64; 2])| json!({ "le_ms": bound, "count": count, "errors": errors });
        let buckets: Vec<Value> = bounds.zip(&buckets).map(bucket).collect();
        json!({ "buckets": buckets, "matched": matched, "seen": self.shelf.len() })
    }

    /// Indexes of the records that pass, the newest first.
    fn passing(&self, filter: &Filter, names: &Names, record: &mut Record) -> Vec<usize> {
        let mut passing: Vec<(Tick, usize)> = Vec::new();
        let mut bound = None;
        for (index, kept) in self.shelf.iter().enumerate() {
            kept.write_into(record);
            if filter.before.is_some_and(|id| id.span_id == record.span_id) {
                bound = Some((record.ended, index));
            }
            if filter.passes(record, kept, names) {
                passing.push((record.ended, index));
            }
        }
        if let Some(id) = filter.before {
            let is_older = |index: usize| {
                let kept = self.shelf.at(index);
                let mut record = Record::empty();
                kept.write_into(&mut record);
                kept.wall_offset + record.began.0 < id.began_unix_nanos
            };
            // What is not remembered any more was older than all that is, unless its time says otherwise.
            passing.retain(|place| bound.map_or_else(|| is_older(place.1), |bound| *place < bound));
        }
        // Workers hand their records over in turns, and each has several rings, so that neighbours in time may have changed places.
        passing.sort_unstable_by(|a, b| b.cmp(a));
        passing.into_iter().map(|(_, index)| index).collect()
    }
}

impl Filter {
    fn passes(&self, record: &Record, kept: &Kept, names: &Names) -> bool {
        let route = names.route(record);
        let seen = || Seen {
            record,
            route,
            endpoints: &names.endpoints,
            kept: kept.reason,
            verdict: kept.verdict.as_ref().map(|verdict| verdict.code.label()),
            headers: Captured::of(record, &names.headers),
        };
        self.route.as_deref().is_none_or(|wanted| wanted == route.name)
            && self.status.is_none_or(|(low, high)| (low..=high).contains(&record.status))
            && self.min_ms.is_none_or(|least| record.duration_ns() as f64 / 1e6 >= least)
            && self.trace_id.is_none_or(|wanted| wanted == record.trace_id)
            && self.query.as_ref().is_none_or(|query| query.matches(&seen()))
    }
}

fn typical_json(typical: &Typical, route: &str) -> Value {
    let phases = |quantile: fn(&Spread) -> u64| -> serde_json::Map<String, Value> {
        Phase::ALL
            .iter()
            .map(|phase| (PHASE_LABELS[*phase as usize].to_owned(), json!(millis(quantile(&typical.phases[*phase as usize])))))
            .collect()
    };
    json!({
        "route": route,
        "count": typical.count,
        "p50": millis(typical.duration.p50_ns),
        "p90": millis(typical.duration.p90_ns),
        "self_p50": millis(typical.own.p50_ns),
        "phases_p50_ms": phases(|spread| spread.p50_ns),
        "phases_p90_ms": phases(|spread| spread.p90_ns),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::limits::RECENT_RECORDS_MAX;
    use crate::telemetry::record::legend::Legends;
    use crate::telemetry::record::reason::Reason;

    #[test]
    fn rows_and_histogram_agree_on_what_has_failed() {
        let mut recent = Recent::default();
        let ended = [(200, None), (404, Some(Reason::NoRoute)), (499, Some(Reason::ClientGone)), (502, Some(Reason::ConnectRefused))];
        for (number, (status, reason)) in ended.into_iter().enumerate() {
            let mut record = Record::empty();
            (record.status, record.reason, record.ended) = (status, reason, Tick(number as u64));
            recent.keep(&record, None, None, 0);
        }
        let names = Names::new(Arc::new(Legends::new()));
        let filter = Filter { limit: 10, ..Filter::default() };
        let failed: Vec<bool> = recent.find(&filter, &names).0.iter().map(|row| row["failed"] == true).collect();
        assert_eq!(failed, [true, false, false, false]);
        let histogram = recent.histogram(&filter, &names);
        assert_eq!((&histogram["buckets"][0]["count"], &histogram["buckets"][0]["errors"]), (&json!(4), &json!(1)));
    }

    #[test]
    fn the_oldest_makes_room_and_filters_filter() {
        let mut recent = Recent::default();
        for number in 0..RECENT_RECORDS_MAX as u64 + 5 {
            let mut record = Record::empty();
            record.ended = Tick(number * 1_000_000);
            record.span_id = crate::base::ids::SpanId((number + 1).to_be_bytes());
            recent.keep(&record, None, None, 0);
        }
        assert_eq!(recent.shelf.len(), RECENT_RECORDS_MAX);
        let names = Names::new(Arc::new(Legends::new()));
        let find = |filter: &Filter| recent.find(&Filter { limit: 100, ..filter.clone() }, &names);
        let slow = Filter { min_ms: Some(RECENT_RECORDS_MAX as f64 + 2.0), ..Filter::default() };
        assert_eq!((find(&slow).0.len(), find(&slow).1), (3, None));
        assert!(find(&Filter { route: Some("x".to_owned()), ..Filter::default() }).0.is_empty());
        let parsed = Query::parse(&format!("duration:>={}ms", RECENT_RECORDS_MAX + 2)).unwrap();
        assert_eq!(find(&Filter { query: Some(parsed), ..Filter::default() }).0.len(), 3);
        let (first, next) = recent.find(&Filter { limit: 2, ..Filter::default() }, &names);
        let before = RequestId::parse(&next.unwrap());
        let (second, _) = recent.find(&Filter { limit: 2, before, ..Filter::default() }, &names);
        assert!(first.iter().chain(&second).map(|row| row["span_id"].to_string()).is_sorted_by(|a, b| a > b));
        assert_eq!(recent.histogram(&slow, &names)["matched"], 3);
    }
}
