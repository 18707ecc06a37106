//! What a worker writes its records to: its shard of the metrics and its rings.
//!
//! In: a finished record, once. Out: updated cells, and the record in a ring that telemetry drains; a record that finds its
//! ring full is counted by what it would have become. Not here: what telemetry makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::PushError;

use super::ending::Ending;
use super::polls::{PollSpan, Polls};
use super::series::{Budget, Kind, Parts, Series, Shard};
use super::slim::Slim;
use super::{Phase, Record};
use crate::base::limits::{RING_FULL_RECORDS_MAX, RING_NEAR_RECORDS_MAX, RING_RECORDS_MAX, TIMELINE_RING_LEN_MAX};

/// Counters of one worker that are no histograms. One writer each.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) active_requests: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    /// Those over the cap on one client's connections.
    pub(crate) connections_refused_client: AtomicU64,
    /// In the order of [`Ending::ALL`].
    pub(crate) connections_closed: [AtomicU64; Ending::ALL.len()],
    /// Records that found the ring full, and the spans they stood for if they were to be kept for certain.
    pub(crate) lost_records: AtomicU64,
    pub(crate) lost_spans: AtomicU64,
    /// Polls that found the timeline's ring full.
    pub(crate) lost_polls: AtomicU64,
}

/// A worker's end.
pub(crate) struct Recorder {
    shard: Shard,
    /// A ring is gone through from end to end: the one that is used first is short, so that its memory stays in the cache.
    near: rtrb::Producer<Slim>,
    /// Those that find the short one full.
    far: rtrb::Producer<Slim>,
    full: rtrb::Producer<Record>,
    gauges: Arc<Gauges>,
    polls: Arc<Polls>,
    timeline: rtrb::Producer<PollSpan>,
}

/// Telemetry's end of one worker.
pub(crate) struct Feed {
    pub(crate) arrivals: rtrb::Consumer<Arc<Series>>,
    near: rtrb::Consumer<Slim>,
    far: rtrb::Consumer<Slim>,
    /// What is still to be taken of each before the other has its turn.
    turns: [usize; 2],
    /// Those that do not fit into a slim record.
    pub(crate) full: rtrb::Consumer<Record>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) polls: Arc<Polls>,
    /// Polls, while a timeline is wanted.
    pub(crate) timeline: rtrb::Consumer<PollSpan>,
}

pub(crate) fn raise(cell: &AtomicU64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

pub(crate) fn lower(cell: &AtomicU64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
}

impl Recorder {
    pub(crate) fn new(budget: Arc<Budget>) -> (Self, Feed) {
        let (shard, arrivals) = Shard::new(budget);
        let (near, near_end) = rtrb::RingBuffer::new(RING_NEAR_RECORDS_MAX);
        let (far, far_end) = rtrb::RingBuffer::new(RING_RECORDS_MAX - RING_NEAR_RECORDS_MAX);
        let (full, full_end) = rtrb::RingBuffer::new(RING_FULL_RECORDS_MAX);
        let gauges = Arc::new(Gauges::default());
        let polls = Arc::new(Polls::default());
        let (timeline, timeline_end) = rtrb::RingBuffer::new(TIMELINE_RING_LEN_MAX);
        let feed = Feed {
            arrivals,
            near: near_end,
            far: far_end,
            turns: [0; 2],
            full: full_end,
            gauges: Arc::clone(&gauges),
            polls: Arc::clone(&polls),
            timeline: timeline_end,
        };
        (Recorder { shard, near, far, full, gauges, polls, timeline }, feed)
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    pub(crate) fn polls(&self) -> Arc<Polls> {
        Arc::clone(&self.polls)
    }

    /// For the timeline that somebody draws. What does not fit is counted.
    pub(crate) fn note_poll(&mut self, poll: PollSpan) {
        if self.timeline.push(poll).is_err() {
            raise(&self.gauges.lost_polls);
        }
    }

    /// Takes the facts of a finished exchange.
    pub(crate) fn submit(&mut self, record: &Record) {
        self.measure(record);
        let pushed = match Slim::of(record) {
            Some(slim) => match self.near.push(slim) {
                Ok(()) => true,
                Err(PushError::Full(slim)) => self.far.push(slim).is_ok(),
            },
            None => self.full.push(*record).is_ok(),
        };
        if !pushed {
            raise(&self.gauges.lost_records);
            let wanted = record.flags.sampled
                || record.status >= 500
                || record.attempt_count > 1
                || record.reason.is_some_and(|_| record.status != 404);
            let spans = if wanted { record.span_count() } else { 0 };
            let lost = &self.gauges.lost_spans;
            lost.store(lost.load(Ordering::Relaxed) + spans, Ordering::Relaxed);
        }
    }

    fn measure(&mut self, record: &Record) {
        self.shard.observe(server_parts(record), record.duration_ns(), [record.request_bytes, record.response_bytes]);
        self.shard.observe(self_time_parts(record), record.self_ns, [0, 0]);
        for (index, attempt) in record.attempts().iter().enumerate() {
            let client = client_parts(record, index);
            self.shard.observe(client, attempt.duration_ns(), [u64::from(index > 0), 0]);
            for phase in Phase::ALL {
                let spent = attempt.phases.of(phase);
                if spent > 0 {
                    let parts = Parts { kind: Kind::Phase, detail: phase as u8, status: 0, reason: 0, ..client };
                    self.shard.observe(parts, spent, [0, 0]);
                }
            }
        }
    }
}

impl Feed {
    /// The next record that fits into a slim one. What lies in the far ring came when the near one was full, so the near one has the first
    /// turn, and only for what was in it then. Where it fills up again meanwhile, some come before others that are older.
    pub(crate) fn pop_slim(&mut self) -> Option<Slim> {
        if self.turns == [0; 2] {
            self.turns = [self.near.slots(), self.far.slots()];
        }
        let (ring, turn) = if self.turns[0] > 0 { (&mut self.near, &mut self.turns[0]) } else { (&mut self.far, &mut self.turns[1]) };
        *turn = turn.checked_sub(1)?;
        ring.pop().ok()
    }
}

/// The series of `http.server.request.duration` that a record belongs to.
pub(crate) fn server_parts(record: &Record) -> Parts {
    Parts {
        kind: Kind::Server,
        subject: record.route.0,
        detail: record.method as u8,
        status: record.status,
        version: record.version as u8,
        reason: record.reason.map_or(0, |reason| reason as u8),
    }
}

/// The series of `pellucid.self_time` that a record belongs to.
pub(crate) fn self_time_parts(record: &Record) -> Parts {
    Parts { kind: Kind::SelfTime, subject: record.route.0, detail: 0, status: 0, version: 0, reason: 0 }
}

/// The series of `http.client.request.duration` that an attempt belongs to.
pub(crate) fn client_parts(record: &Record, index: usize) -> Parts {
    let attempt = &record.attempts[index];
    Parts {
        kind: Kind::Client,
        subject: attempt.endpoint.0,
        detail: record.method as u8,
        status: attempt.status,
        version: 0,
        reason: attempt.reason.map_or(0, |reason| reason as u8),
    }
}

#[cfg(test)]
mod tests;
