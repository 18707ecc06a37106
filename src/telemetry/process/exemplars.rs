//! One kept request for each bucket of each histogram series: the newest.
//!
//! In: records whose trace is kept. Out: exemplars to show beside the buckets. Bounded by the series budget, since only admitted series are
//! looked up; keys are those of the records. Not here: the counts.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::base::ids::{SpanId, TraceId};
use crate::telemetry::export::metrics::Exemplar;
use crate::telemetry::record::Record;
use crate::telemetry::record::instruments::{client_parts, self_time_parts, server_parts};
use crate::telemetry::record::series::{BOUND_COUNT, Key, Parts, bucket_of};

/// Series that exemplars are held for; past it, only those that are known get newer ones.
const SERIES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Exemplars {
    by_series: HashMap<Key, [Option<Exemplar>; BOUND_COUNT + 1], FixedState>,
}

impl Exemplars {
    pub(super) fn note(&mut self, record: &Record, wall_offset: u64) {
        let unix_nanos = wall_offset + record.ended.0;
        let place = (record.trace_id, record.span_id, unix_nanos);
        self.set(server_parts(record), record.duration_ns(), place);
        self.set(self_time_parts(record), record.self_ns, place);
        for (index, attempt) in record.attempts().iter().enumerate() {
            self.set(client_parts(record, index), attempt.duration_ns(), (record.trace_id, attempt.span_id, unix_nanos));
        }
    }

    pub(super) fn of(&self, key: Key) -> [Option<Exemplar>; BOUND_COUNT + 1] {
        self.by_series.get(&key).copied().unwrap_or([None; BOUND_COUNT + 1])
    }

    fn set(&mut self, parts: Parts, value_ns: u64, (trace_id, span_id, unix_nanos): (TraceId, SpanId, u64)) {
        let key = Key::pack(parts);
        if self.by_series.len() >= SERIES_MAX && !self.by_series.contains_key(&key) {
            return;
        }
        let slots = self.by_series.entry(key).or_insert([None; BOUND_COUNT + 1]);
        let slot = &mut slots[bucket_of(parts.kind, value_ns)];
        // Records come nearly in the order in which they ended.
        if slot.is_some_and(|held| held.unix_nanos > unix_nanos) {
            return;
        }
        *slot = Some(Exemplar { trace_id, span_id, value_ns, unix_nanos });
    }
}
