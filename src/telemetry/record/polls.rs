//! What a worker tells of its polls: how long they take, and since when the present one has run.
//!
//! In: the beginning and the end of each poll of a request's task. Out: cells that telemetry reads, and, while somebody draws a timeline, each
//! poll itself. One writer; recording is a few stores. Not here: stacks (`sampler`).

use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use super::labels::{LabelName, Work};
use super::series::{BOUND_COUNT, FINE_BOUNDS_NS, Reading};
use crate::base::clock::Tick;
use crate::base::ids::TraceId;
use crate::base::limits::SLOW_POLL;

/// One worker's polls.
#[derive(Debug, Default)]
pub(crate) struct Polls {
    /// The worker's thread as the kernel numbers it; 0 until it runs.
    pub(crate) thread: AtomicI32,
    /// Ticks at which the present poll began; 0 between polls.
    pub(crate) began: AtomicU64,
    buckets: [AtomicU64; BOUND_COUNT + 1],
    sum_ns: AtomicU64,
    slow: AtomicU64,
    slow_ns: AtomicU64,
}

/// One poll of a request's task, for the timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollSpan {
    pub(crate) began: Tick,
    pub(crate) ended: Tick,
    pub(crate) trace_id: TraceId,
    pub(crate) route: LabelName,
    pub(crate) work: Work,
}

/// Timelines that are being drawn, over all gateways of the process.
static TIMELINES: AtomicUsize = AtomicUsize::new(0);

/// While it lives, workers tell of each poll.
pub(crate) struct TimelineWanted;

impl TimelineWanted {
    pub(crate) fn new() -> Self {
        TIMELINES.fetch_add(1, Ordering::Relaxed);
        TimelineWanted
    }
}

impl Drop for TimelineWanted {
    fn drop(&mut self) {
        TIMELINES.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn is_timeline_wanted() -> bool {
    TIMELINES.load(Ordering::Relaxed) > 0
}

impl Polls {
    pub(crate) fn begin(&self, now: Tick) {
        self.began.store(now.0, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, spent_ns: u64) {
        self.began.store(0, Ordering::Relaxed);
        let bucket = FINE_BOUNDS_NS.iter().position(|bound| spent_ns <= *bound).unwrap_or(BOUND_COUNT);
        add(&self.buckets[bucket], 1);
        add(&self.sum_ns, spent_ns);
        if spent_ns > SLOW_POLL.as_nanos() as u64 {
            add(&self.slow, 1);
            add(&self.slow_ns, spent_ns);
        }
    }

    /// All polls so far, in the buckets of [`FINE_BOUNDS_NS`].
    pub(crate) fn reading(&self) -> Reading {
        let mut reading = Reading { sum_ns: self.sum_ns.load(Ordering::Relaxed), ..Reading::default() };
        for (count, cell) in reading.buckets.iter_mut().zip(&self.buckets) {
            *count = cell.load(Ordering::Relaxed);
        }
        reading
    }

    /// Polls that took longer than [`SLOW_POLL`], and the nanoseconds that they took.
    pub(crate) fn slow(&self) -> (u64, u64) {
        (self.slow.load(Ordering::Relaxed), self.slow_ns.load(Ordering::Relaxed))
    }
}

/// One writer, so that it need not be one step.
fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_counted_by_how_long_they_took() {
        let polls = Polls::default();
        for spent in [9_000, 20_000, SLOW_POLL.as_nanos() as u64 + 1] {
            polls.begin(Tick(5));
            assert_eq!(polls.began.load(Ordering::Relaxed), 5);
            polls.end(spent);
        }
        assert_eq!(polls.began.load(Ordering::Relaxed), 0);
        assert_eq!((polls.reading().buckets[0], polls.reading().buckets[1], polls.reading().count()), (1, 1, 3));
        assert_eq!(polls.slow(), (1, SLOW_POLL.as_nanos() as u64 + 1));
    }
}
