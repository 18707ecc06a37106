//! The way from a worker to telemetry: its rings, and what is counted where they are full.
//!
//! In: records that follow from a seed and a number, submitted by one thread and drained by another, with pauses that the seed draws.
//! Out: each one arrives whole and once, or is counted as lost with its spans. `PELLUCID_SEED=n` runs one schedule.
//! Not here: the rings themselves (`rtrb` has its own tests).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Feed, Recorder};
use crate::base::clock::Tick;
use crate::base::draw::Draw;
use crate::base::ids::{SpanId, TraceId};
use crate::base::limits::{RING_NEAR_RECORDS_MAX, RING_RECORDS_MAX};
use crate::telemetry::record::legend::{EndpointId, RouteId};
use crate::telemetry::record::series::{Budget, Kind, Reading};
use crate::telemetry::record::{Phase, Record, TraceFlags};

/// Schedules of a run, and records of a schedule: several times what the rings hold.
const SCHEDULES: u64 = 12;
const RECORDS: u64 = 12_000;

#[test]
fn a_full_ring_costs_records_but_counts_them_and_keeps_the_metrics() {
    let (mut recorder, mut feed) = Recorder::new(Arc::new(Budget::new(100)));
    let mut record = Record::empty();
    record.status = 503;
    record.ended = Tick(1000);
    record.open_attempt(SpanId([1; 8]), Tick(0));
    for _ in 0..RING_RECORDS_MAX + 10 {
        recorder.submit(&record);
    }
    assert_eq!(feed.gauges.lost_records.load(Ordering::Relaxed), 10);
    assert_eq!(feed.gauges.lost_spans.load(Ordering::Relaxed), 20);
    assert_eq!(requests_measured(&mut feed) as usize, RING_RECORDS_MAX + 10);
}

#[test]
fn what_overflows_into_the_far_ring_comes_in_its_order() {
    let (mut recorder, mut feed) = Recorder::new(Arc::new(Budget::new(100)));
    let mut record = Record::empty();
    let mut submit = |number| {
        record.request_bytes = number;
        recorder.submit(&record);
    };
    let over = RING_NEAR_RECORDS_MAX as u64 + 200;
    (0..over).for_each(&mut submit);
    let mut next = move || {
        let mut record = Record::empty();
        feed.pop_slim()?.expand(&mut record);
        Some(record.request_bytes)
    };
    let mut arrived: Vec<u64> = (0..10).filter_map(|_| next()).collect();
    (over..over + 5).for_each(&mut submit);
    arrived.extend(std::iter::from_fn(next));
    assert!(arrived.into_iter().eq(0..over + 5));
}

#[test]
fn every_record_arrives_whole_and_once_or_is_counted_as_lost() {
    let only: Option<u64> = std::env::var("PELLUCID_SEED").ok().map(|text| text.parse().unwrap());
    let (mut arrived, mut lost) = (0, 0);
    for seed in only.map_or(0..SCHEDULES, |seed| seed..seed + 1) {
        let end = schedule(seed);
        assert_eq!(end.0 + end.1, RECORDS, "PELLUCID_SEED={seed}: records arrived and lost");
        (arrived, lost) = (arrived + end.0, lost + end.1);
    }
    assert!(only.is_some() || arrived > 0 && lost > 0, "nothing is shown: {arrived} arrived, {lost} were lost");
}

/// Returns how many records arrived, and how many the recorder counts as lost.
fn schedule(seed: u64) -> (u64, u64) {
    let (recorder, feed) = Recorder::new(Arc::new(Budget::new(1000)));
    let submitted = AtomicU64::new(0);
    let mut drain = Drain { seed, feed, scratch: Box::new(Record::empty()), seen: vec![false; RECORDS as usize] };
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| submit_all(seed, recorder, &submitted));
        let mut draw = Draw::seeded(!seed);
        while !producer.is_finished() {
            let ahead = [0, 10, 500, 3000, 6000][draw.below(5) as usize];
            let until = submitted.load(Ordering::Acquire) + ahead;
            while submitted.load(Ordering::Acquire) < until && !producer.is_finished() {
                std::thread::yield_now();
            }
            drain.take([50, 1000, u32::MAX][draw.below(3) as usize]);
        }
        producer.join().unwrap_or_else(|_| panic!("PELLUCID_SEED={seed}: the producer failed, see above"));
    });
    drain.take(u32::MAX);
    assert_eq!(requests_measured(&mut drain.feed), RECORDS, "PELLUCID_SEED={seed}: a lost record is measured all the same");
    let missing = (0..RECORDS).filter(|number| !drain.seen[*number as usize]);
    let spans: u64 = missing.map(|number| spans_wanted(&made(seed, number))).sum();
    assert_eq!(drain.feed.gauges.lost_spans.load(Ordering::Relaxed), spans, "PELLUCID_SEED={seed}: spans of what is missing");
    let arrived = drain.seen.iter().filter(|seen| **seen).count() as u64;
    (arrived, drain.feed.gauges.lost_records.load(Ordering::Relaxed))
}

/// In bursts, as requests come.
fn submit_all(seed: u64, mut recorder: Recorder, submitted: &AtomicU64) {
    let mut draw = Draw::seeded(seed);
    let mut burst = 0;
    for number in 0..RECORDS {
        recorder.submit(&made(seed, number));
        submitted.store(number + 1, Ordering::Release);
        if burst > 0 {
            burst -= 1;
            continue;
        }
        burst = draw.below(4000);
        for _ in 0..draw.below(64) {
            std::thread::yield_now();
        }
    }
}

/// Telemetry's end, as its thread drains it: one record is used for all.
struct Drain {
    seed: u64,
    feed: Feed,
    scratch: Box<Record>,
    seen: Vec<bool>,
}

impl Drain {
    /// Takes at most so many records from each ring.
    fn take(&mut self, most: u32) {
        for _ in 0..most {
            let Some(slim) = self.feed.pop_slim() else { break };
            slim.expand(&mut self.scratch);
            self.check();
        }
        for _ in 0..most {
            let Ok(record) = self.feed.full.pop() else { break };
            *self.scratch = record;
            self.check();
        }
    }

    fn check(&mut self) {
        let (seed, number) = (self.seed, self.scratch.request_bytes);
        assert!(!std::mem::replace(&mut self.seen[number as usize], true), "PELLUCID_SEED={seed}: {number} came twice");
        assert_eq!(Told::of(&self.scratch), Told::of(&made(seed, number)), "PELLUCID_SEED={seed}: record {number}");
    }
}

/// Record `number` of a schedule. Every fact follows from seed and number; some are too long, or had too many attempts, for the slim ring.
fn made(seed: u64, number: u64) -> Record {
    let mut draw = Draw::seeded((seed << 32) ^ number);
    let mut record = Record::empty();
    record.trace_id = TraceId::random(&mut draw);
    record.span_id = SpanId::random(&mut draw);
    record.flags.sampled = draw.below(4) == 0;
    record.status = [200, 204, 404, 499, 503][draw.below(5) as usize];
    record.route = RouteId(draw.below(8));
    record.began = Tick(number);
    record.ended = Tick(number + u64::from(draw.below(1_000_000)));
    record.request_bytes = number;
    record.response_bytes = u64::from(draw.below(1_000_000));
    let length = if draw.below(8) == 0 { 150 } else { draw.below(100) as usize };
    let path = vec![b'a' + draw.below(26) as u8; length];
    record.path = record.text.keep(&path, 192);
    record.user_agent = record.text.keep(b"test", 96);
    for _ in 0..[0, 1, 1, 1, 1, 1, 2, 4][draw.below(8) as usize] {
        let attempt = record.open_attempt(SpanId::random(&mut draw), Tick(number));
        attempt.endpoint = EndpointId(draw.below(4));
        attempt.status = 200 + draw.below(4) as u16;
        attempt.phases.add(Phase::Wait, u64::from(draw.below(1_000_000)));
    }
    record
}

/// The spans that are certainly wanted of a record: failed, retried and sampled ones have theirs exported.
fn spans_wanted(record: &Record) -> u64 {
    let wanted = record.flags.sampled || record.status >= 500 || record.attempt_count > 1;
    if wanted { record.span_count() } else { 0 }
}

/// All that `made` writes into a record, so that two can be compared.
#[derive(Debug, PartialEq)]
struct Told {
    ids: (TraceId, SpanId),
    flags: TraceFlags,
    status: u16,
    route: RouteId,
    ticks: (Tick, Tick),
    bytes: (u64, u64),
    text: Vec<u8>,
    path: Vec<u8>,
    user_agent: Vec<u8>,
    attempts: Vec<(SpanId, Tick, EndpointId, u16, u64)>,
}

impl Told {
    fn of(record: &Record) -> Self {
        let attempts = record.attempts().iter();
        Told {
            ids: (record.trace_id, record.span_id),
            flags: record.flags,
            status: record.status,
            route: record.route,
            ticks: (record.began, record.ended),
            bytes: (record.request_bytes, record.response_bytes),
            text: record.text.used().to_vec(),
            path: record.text.bytes(record.path).to_vec(),
            user_agent: record.text.bytes(record.user_agent).to_vec(),
            attempts: attempts
                .map(|attempt| (attempt.span_id, attempt.began, attempt.endpoint, attempt.status, attempt.phases.of(Phase::Wait)))
                .collect(),
        }
    }
}

/// Requests in the histograms, which do not go through the rings.
fn requests_measured(feed: &mut Feed) -> u64 {
    let mut requests = 0;
    while let Ok(series) = feed.arrivals.pop() {
        let mut reading = Reading::default();
        series.read_into(&mut reading);
        if series.key.unpack().kind == Kind::Server {
            requests += reading.count();
        }
    }
    requests
}
