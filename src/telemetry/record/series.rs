//! Histograms that one worker writes and anyone may read, and the budget that bounds their number.
//!
//! In: observations under a packed key. Out: cells of atomics with a single writer, so that an update is a load and a store.
//! A key past the budget is folded into the `_other` series of its kind and counted. Not here: label names and text formats.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::base::atomic::{AtomicU64, Ordering};

/// Upper bounds of every histogram's buckets but the last, which is open.
pub(crate) const BOUND_COUNT: usize = 14;

/// Bounds of the semantic conventions for HTTP durations, in nanoseconds.
pub(crate) const DURATION_BOUNDS_NS: [u64; BOUND_COUNT] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// Bounds for what takes microseconds: the gateway's own time, and phases.
pub(crate) const FINE_BOUNDS_NS: [u64; BOUND_COUNT] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// What a series measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// One request by route, method, status, version and reason. Extra cells: request and response body bytes.
    Server = 1,
    /// One attempt by endpoint, method, status and reason. The first extra cell counts retries.
    Client = 2,
    /// The gateway's own time by route.
    SelfTime = 3,
    /// A phase of an attempt by endpoint.
    Phase = 4,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Server, Kind::Client, Kind::SelfTime, Kind::Phase];

    pub(crate) fn bounds(self) -> &'static [u64; BOUND_COUNT] {
        match self {
            Kind::Server | Kind::Client => &DURATION_BOUNDS_NS,
            Kind::SelfTime | Kind::Phase => &FINE_BOUNDS_NS,
        }
    }
}

/// The identity of a series in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u64);

/// What a key is made of. `subject` is a route or an endpoint, `detail` a method or a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) kind: Kind,
    pub(crate) subject: u32,
    pub(crate) detail: u8,
    pub(crate) status: u16,
    pub(crate) version: u8,
    pub(crate) reason: u8,
}

const SUBJECT_BITS: u32 = 28;
/// The subject of `_other`.
pub(crate) const SUBJECT_FOLDED: u32 = (1 << SUBJECT_BITS) - 1;

impl Key {
    pub(crate) fn pack(parts: Parts) -> Key {
        Key((parts.kind as u64)
            | u64::from(parts.detail & 15) << 4
            | u64::from(parts.status & 1023) << 8
            | u64::from(parts.version & 3) << 18
            | u64::from(parts.reason) << 20
            | u64::from(parts.subject & SUBJECT_FOLDED) << 28)
    }

    pub(crate) fn unpack(self) -> Parts {
        let kind = Kind::ALL[(self.0 & 15) as usize - 1];
        Parts {
            kind,
            detail: (self.0 >> 4 & 15) as u8,
            status: (self.0 >> 8 & 1023) as u16,
            version: (self.0 >> 18 & 3) as u8,
            reason: (self.0 >> 20 & 255) as u8,
            subject: (self.0 >> 28) as u32 & SUBJECT_FOLDED,
        }
    }

    fn folded(self) -> Key {
        let kind = self.unpack().kind;
        Key::pack(Parts { kind, subject: SUBJECT_FOLDED, detail: 0, status: 0, version: 0, reason: 0 })
    }
}

/// One worker's cells of one series.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) key: Key,
    buckets: [AtomicU64; BOUND_COUNT + 1],
    sum_ns: AtomicU64,
    extra: [AtomicU64; 2],
}

/// A reading of one or more series of the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) buckets: [u64; BOUND_COUNT + 1],
    pub(crate) sum_ns: u64,
    pub(crate) extra: [u64; 2],
}

/// Adds where there is only one writer: no read-modify-write on the bus.
fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl Series {
    fn new(key: Key) -> Self {
        Series { key, buckets: Default::default(), sum_ns: AtomicU64::new(0), extra: Default::default() }
    }

    pub(crate) fn observe(&self, nanos: u64, extra: [u64; 2]) {
        let bucket = bucket_of(self.key.unpack().kind, nanos);
        bump(&self.buckets[bucket], 1);
        bump(&self.sum_ns, nanos);
        for (cell, by) in self.extra.iter().zip(extra) {
            if by > 0 {
                bump(cell, by);
            }
        }
    }

    pub(crate) fn read_into(&self, reading: &mut Reading) {
        for (total, cell) in reading.buckets.iter_mut().zip(&self.buckets) {
            *total += cell.load(Ordering::Relaxed);
        }
        reading.sum_ns += self.sum_ns.load(Ordering::Relaxed);
        for (total, cell) in reading.extra.iter_mut().zip(&self.extra) {
            *total += cell.load(Ordering::Relaxed);
        }
    }
}

impl Reading {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(crate) fn add(&mut self, other: &Reading) {
        for (total, value) in self.buckets.iter_mut().zip(other.buckets) {
            *total += value;
        }
        self.sum_ns += other.sum_ns;
        for (total, value) in self.extra.iter_mut().zip(other.extra) {
            *total += value;
        }
    }
}

/// Which bucket of its kind takes a value; bounds are inclusive, as Prometheus' `le`.
pub(crate) fn bucket_of(kind: Kind, nanos: u64) -> usize {
    kind.bounds().partition_point(|bound| nanos > *bound)
}

/// How many different series the workers may hold together: a set of keys that is filled without a lock.
#[derive(Debug)]
pub(crate) struct Budget {
    slots: Vec<AtomicU64>,
    used: AtomicU64,
    series_max: u64,
    folded: AtomicU64,
}

impl Budget {
    pub(crate) fn new(series_max: usize) -> Self {
        let slots = (series_max * 2).next_power_of_two().max(16);
        Budget {
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            used: AtomicU64::new(0),
            series_max: series_max as u64,
            folded: AtomicU64::new(0),
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }

    pub(crate) fn series_max(&self) -> u64 {
        self.series_max
    }

    /// The keys that were admitted, each once; the folded series are not among them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.slots.iter().map(|slot| Key(slot.load(Ordering::Relaxed))).filter(|key| key.0 != 0)
    }

    /// Whether `key` is or becomes one of the admitted ones. Workers that bring the same key at once are counted once.
    fn admit(&self, key: Key) -> bool {
        let mask = self.slots.len() - 1;
        let mut at = (key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        loop {
            let held = self.slots[at].load(Ordering::Relaxed);
            if held == key.0 {
                return true;
            }
            if held == 0 {
                if self.used.fetch_add(1, Ordering::Relaxed) >= self.series_max {
                    self.used.fetch_sub(1, Ordering::Relaxed);
                    return false;
                }
                if self.slots[at].compare_exchange(0, key.0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    return true;
                }
                self.used.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            at = (at + 1) & mask;
        }
    }
}

/// One worker's series: the map that only it reads, and the way by which new ones become known to readers.
pub(crate) struct Shard {
    known: HashMap<Key, Arc<Series>, FixedState>,
    announce: rtrb::Producer<Arc<Series>>,
    budget: Arc<Budget>,
}

impl Shard {
    /// The shard, and the end at which new series arrive.
    pub(crate) fn new(budget: Arc<Budget>) -> (Self, rtrb::Consumer<Arc<Series>>) {
        let room = budget.series_max as usize + Kind::ALL.len();
        let (announce, arrivals) = rtrb::RingBuffer::new(room);
        (Shard { known: HashMap::default(), announce, budget }, arrivals)
    }

    pub(crate) fn observe(&mut self, parts: Parts, nanos: u64, extra: [u64; 2]) {
        let key = Key::pack(parts);
        if let Some(series) = self.known.get(&key) {
            series.observe(nanos, extra);
            return;
        }
        if self.budget.admit(key) {
            self.add(key).observe(nanos, extra);
            return;
        }
        self.budget.folded.fetch_add(1, Ordering::Relaxed);
        let folded = key.folded();
        match self.known.get(&folded) {
            Some(series) => series.observe(nanos, extra),
            None => self.add(folded).observe(nanos, extra),
        }
    }

    fn add(&mut self, key: Key) -> &Series {
        let series = Arc::new(Series::new(key));
        // The ring has room for every key that the budget admits and one folded series a kind.
        let announced = self.announce.push(Arc::clone(&series));
        debug_assert!(announced.is_ok(), "the announcement ring is as large as the budget");
        self.known.entry(key).or_insert(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(subject: u32) -> Parts {
        Parts { kind: Kind::Server, subject, detail: 3, status: 404, version: 1, reason: 7 }
    }

    #[test]
    fn a_key_keeps_every_part() {
        for subject in [0, 1, 99_999, SUBJECT_FOLDED] {
            assert_eq!(Key::pack(parts(subject)).unpack(), parts(subject));
        }
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_the_bucket_of_that_bound() {
        assert_eq!(bucket_of(Kind::Server, 5_000_000), 0);
        assert_eq!(bucket_of(Kind::Server, 5_000_001), 1);
        assert_eq!(bucket_of(Kind::Server, u64::MAX), BOUND_COUNT);
    }

    #[test]
    fn past_the_budget_observations_fold_and_none_is_lost() {
        let budget = Arc::new(Budget::new(10));
        let (mut shard, mut arrivals) = Shard::new(Arc::clone(&budget));
        for subject in 0..100 {
            shard.observe(parts(subject), 1000, [1, 0]);
        }
        let mut total = Reading::default();
        let mut series = 0;
        while let Ok(arrived) = arrivals.pop() {
            arrived.read_into(&mut total);
            series += 1;
        }
        assert_eq!((series, budget.used(), budget.folded()), (11, 10, 90));
        assert_eq!((total.count(), total.extra[0], total.sum_ns), (100, 100, 100_000));
    }

    #[test]
    fn the_same_key_of_two_workers_is_one_of_the_budget() {
        let budget = Arc::new(Budget::new(10));
        let (mut first, _first_end) = Shard::new(Arc::clone(&budget));
        let (mut second, _second_end) = Shard::new(Arc::clone(&budget));
        first.observe(parts(1), 1, [0, 0]);
        second.observe(parts(1), 1, [0, 0]);
        assert_eq!(budget.used(), 1);
    }

    /// Under every interleaving that is tried: no more series than may be, each counted once, and one that was let in stays in.
    #[test]
    #[cfg(feature = "model")]
    fn model_workers_never_admit_more_than_the_budget() {
        let turn = || {
            let budget = Arc::new(Budget::new(2));
            let bring = |keys: [u32; 2]| {
                let budget = Arc::clone(&budget);
                shuttle::thread::spawn(move || keys.map(|subject| budget.admit(Key::pack(parts(subject)))))
            };
            let (a, b) = (bring([1, 2]), bring([2, 3]));
            let (a, b) = (a.join().unwrap(), b.join().unwrap());
            let held: Vec<u64> = budget.slots.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|held| *held != 0).collect();
            assert_eq!(held.len() as u64, budget.used(), "{a:?} {b:?}");
            assert!(budget.used() <= 2, "{a:?} {b:?}");
            for (admitted, subject) in a.into_iter().zip([1, 2]).chain(b.into_iter().zip([2, 3])) {
                assert!(!admitted || held.contains(&Key::pack(parts(subject)).0), "{subject} was let in and is not there");
            }
        };
        shuttle::check_random(turn, 5000);
        shuttle::check_pct(turn, 5000, 3);
    }
}
