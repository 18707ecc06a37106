//! What is typical: how long requests of a route and attempts at an endpoint usually take.
//!
//! In: records of requests that succeeded. Out: quantiles of their durations and parts, exact to 10 % between 2 µs and 137 s. The past of
//! a route loses half its weight every ten minutes; of an endpoint also the last minute is known by itself. Not here: whose past is
//! remembered (`table`), and what follows from it (`rules`).

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::base::clock::Tick;
use crate::telemetry::record::{Attempt, Phase, Record};

/// After this long, what was learned counts half.
const HALF_LIFE_NS: u64 = 10 * 60 * 1_000_000_000;
/// What an endpoint does lately: the halves of at most the last minute.
const LATELY_NS: u64 = 60 * 1_000_000_000;
/// Samples of the last minute that tell something.
const LATELY_SAMPLES_MIN: u64 = 10;
/// Requests from which a typical time is told, and from which a route's own past tells what is slow.
pub(super) const TYPICAL_REQUESTS_MIN: u64 = 30;
/// Slow by a route's own past: this many times its p95, and so much above it.
const SLOW_FACTOR: u64 = 4;
pub(super) const SLOW_MARGIN_NS: u64 = 50_000_000;
/// How many requests are learned between two looks at a route's p95; while few are known, each one counts.
const REFRESH_EVERY: u32 = 32;
const FEW_REQUESTS: u64 = 256;
/// A slow endpoint: so many times slower lately than the slowest of the others.
pub(super) const ENDPOINT_FACTOR: u64 = 3;
/// How long it is between two looks at what is slow for an endpoint.
const COMPARE_EVERY_NS: u64 = 250_000_000;
/// A body up to this size fits into the send buffer of a socket (Linux: `tcp_wmem`, 16 KiB to begin with), so that no reader holds it up.
pub(super) const BUFFERED_BYTES: u64 = 16 * 1024;

/// The first bucket takes what is below 2 µs; then there are four an octave, up to 2^37 ns.
const LOW_BITS: u32 = 11;
const HIGH_BITS: u32 = 37;
const BUCKET_COUNT: usize = 1 + 4 * (HIGH_BITS - LOW_BITS) as usize;
/// 2^(1/4), 2^(2/4) and 2^(3/4), in 2^-16: where the buckets of an octave begin.
const QUARTERS: [u64; 3] = [77_936, 92_682, 110_218];
/// 2^(1/8), 2^(3/8), 2^(5/8) and 2^(7/8), in 2^-16: what stands for the values of a bucket. It is at most 9.1 % from any of them.
const MIDDLES: [u64; 4] = [71_468, 84_990, 101_070, 120_194];
/// One observation, so that its weight can be halved.
const ONE: u32 = 16;

/// Counts in buckets whose width grows with the value.
#[derive(Clone)]
pub(super) struct Histogram {
    weights: [u32; BUCKET_COUNT],
    total: u64,
}

/// A part of a request's time. Its own time runs within the other parts, which follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Own,
    Head,
    Of(Phase),
}

/// A route's past.
pub(super) struct RouteBaseline {
    duration: Histogram,
    /// Parts that took no time are left out: they are what is missing to all durations.
    parts: [Histogram; Part::COUNT],
    halved_at: Tick,
    slow_above: u64,
    until_refresh: u32,
}

/// What an endpoint is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trait {
    Wait,
    Connect,
    /// Bytes a second of bodies that are larger than buffers.
    Upload,
    Download,
}

/// An endpoint's past: its waits, and what it did in the last minute.
pub(super) struct EndpointBaseline {
    wait: Histogram,
    halved_at: Tick,
    lately: [Half; 2],
    /// What it did lately, and from which wait on it is slow beside the others of its upstream, as of the last look.
    compared_at: Tick,
    known_wait: Option<u64>,
    slow_wait_above: u64,
}

struct Half {
    began: Tick,
    traits: [Histogram; 4],
}

impl Histogram {
    fn new() -> Self {
        Histogram { weights: [0; BUCKET_COUNT], total: 0 }
    }

    fn add(&mut self, value: u64) {
        let weight = &mut self.weights[bucket_of(value)];
        let raised = weight.saturating_add(ONE);
        self.total += u64::from(raised - *weight);
        *weight = raised;
    }

    fn clear(&mut self) {
        *self = Histogram::new();
    }

    fn halve(&mut self, times: u64) {
        let shift = times.min(31) as u32;
        self.weights.iter_mut().for_each(|weight| *weight >>= shift);
        self.total = self.weights.iter().map(|weight| u64::from(*weight)).sum();
    }
}

fn count_of(total: u64) -> u64 {
    total / u64::from(ONE)
}

/// The quantile of several histograms, taken as one. `whole` is the weight of all observations, those of nothing included.
fn quantile(of: &[&Histogram], per_mille: u64, whole: u64) -> u64 {
    let rank = (whole * per_mille).div_ceil(1000).max(1);
    let mut below = whole.saturating_sub(of.iter().map(|histogram| histogram.total).sum());
    if rank <= below {
        return 0;
    }
    let mut highest = 0;
    for bucket in 0..BUCKET_COUNT {
        let weight: u64 = of.iter().map(|histogram| u64::from(histogram.weights[bucket])).sum();
        below += weight;
        if weight > 0 {
            highest = bucket;
        }
        if below >= rank {
            break;
        }
    }
    middle_of(highest)
}

fn bucket_of(value: u64) -> usize {
    if value >> LOW_BITS == 0 {
        return 0;
    }
    let octave = 63 - value.leading_zeros();
    if octave >= HIGH_BITS {
        return BUCKET_COUNT - 1;
    }
    let mantissa = (value << (63 - octave)) >> 47;
    let quarter = QUARTERS.iter().filter(|begin| mantissa >= **begin).count();
    1 + 4 * (octave - LOW_BITS) as usize + quarter
}

fn middle_of(bucket: usize) -> u64 {
    let Some(index) = bucket.checked_sub(1) else { return 0 };
    (MIDDLES[index % 4] << (LOW_BITS as usize + index / 4)) >> 16
}

impl Part {
    const COUNT: usize = 2 + Phase::COUNT;
    pub(super) const ALL: [Part; Part::COUNT] = [
        Part::Own,
        Part::Head,
        Part::Of(Phase::Queue),
        Part::Of(Phase::Dns),
        Part::Of(Phase::Connect),
        Part::Of(Phase::Send),
        Part::Of(Phase::Wait),
        Part::Of(Phase::Body),
    ];

    fn index(self) -> usize {
        match self {
            Part::Own => 0,
            Part::Head => 1,
            Part::Of(phase) => 2 + phase as usize,
        }
    }

    /// Nanoseconds of a request's time, over all its attempts.
    pub(super) fn spent(self, record: &Record) -> u64 {
        match self {
            Part::Own => record.self_ns,
            Part::Head => record.head_read.since(record.began),
            Part::Of(phase) => record.attempts().iter().fold(0, |sum: u64, attempt| sum.saturating_add(attempt.phases.of(phase))),
        }
    }
}

impl RouteBaseline {
    pub(super) fn new(now: Tick) -> Self {
        let parts = std::array::from_fn(|_| Histogram::new());
        RouteBaseline { duration: Histogram::new(), parts, halved_at: now, slow_above: u64::MAX, until_refresh: 1 }
    }

    pub(super) fn learn(&mut self, record: &Record) {
        if let Some(times) = half_lives(&mut self.halved_at, record.ended) {
            self.duration.halve(times);
            self.parts.iter_mut().for_each(|part| part.halve(times));
            self.until_refresh = 1;
        }
        self.duration.add(record.duration_ns());
        for part in Part::ALL {
            let spent = part.spent(record);
            if spent > 0 {
                self.parts[part.index()].add(spent);
            }
        }
        self.until_refresh -= 1;
        if self.until_refresh == 0 {
            self.until_refresh = if self.count() < FEW_REQUESTS { 1 } else { REFRESH_EVERY };
            self.refresh();
        }
    }

    fn refresh(&mut self) {
        let p95 = self.duration(950);
        let known = self.count() >= TYPICAL_REQUESTS_MIN;
        self.slow_above = if known { (p95 * SLOW_FACTOR).max(p95 + SLOW_MARGIN_NS) } else { u64::MAX };
    }

    pub(super) fn count(&self) -> u64 {
        count_of(self.duration.total)
    }

    /// Nanoseconds above which a request of this route is slow.
    pub(super) fn slow_above(&self) -> u64 {
        self.slow_above
    }

    pub(super) fn duration(&self, per_mille: u64) -> u64 {
        quantile(&[&self.duration], per_mille, self.duration.total)
    }

    pub(super) fn quantile(&self, part: Part, per_mille: u64) -> u64 {
        quantile(&[&self.parts[part.index()]], per_mille, self.duration.total)
    }
}

/// How often what was learned has to be halved by now, if it has.
fn half_lives(halved_at: &mut Tick, now: Tick) -> Option<u64> {
    let times = now.since(*halved_at) / HALF_LIFE_NS;
    (times > 0).then(|| {
        *halved_at = now;
        times
    })
}

impl EndpointBaseline {
    pub(super) fn new(now: Tick) -> Self {
        EndpointBaseline {
            wait: Histogram::new(),
            halved_at: now,
            lately: [Half::new(now), Half::new(now)],
            compared_at: Tick(0),
            known_wait: None,
            slow_wait_above: u64::MAX,
        }
    }

    /// From an attempt that was answered.
    pub(super) fn learn(&mut self, attempt: &Attempt, now: Tick) {
        if let Some(times) = half_lives(&mut self.halved_at, now) {
            self.wait.halve(times);
        }
        if now.since(self.lately[0].began) >= LATELY_NS / 2 {
            self.lately.swap(0, 1);
            self.lately[0].begin(now);
        }
        let phases = &attempt.phases;
        let [wait, connect, upload, download] = &mut self.lately[0].traits;
        self.wait.add(phases.of(Phase::Wait));
        wait.add(phases.of(Phase::Wait));
        if phases.of(Phase::Connect) > 0 {
            connect.add(phases.of(Phase::Connect));
        }
        if attempt.request_bytes > BUFFERED_BYTES {
            upload.add(speed(attempt.request_bytes, phases.of(Phase::Send)));
        }
        if attempt.response_bytes > BUFFERED_BYTES {
            download.add(speed(attempt.response_bytes, phases.of(Phase::Body)));
        }
    }

    /// The median of the last minute, if there was enough to know it.
    pub(super) fn lately(&self, of: Trait, now: Tick) -> Option<u64> {
        let [newer, older] = &self.lately;
        let newer = (now.since(newer.began) < LATELY_NS).then_some(&newer.traits[of as usize]);
        let older = (now.since(older.began) < LATELY_NS).then_some(&older.traits[of as usize]);
        let of = match (newer, older) {
            (Some(newer), Some(older)) => &[newer, older][..],
            (Some(one), None) | (None, Some(one)) => &[one],
            (None, None) => return None,
        };
        let whole = of.iter().map(|histogram| histogram.total).sum();
        (count_of(whole) >= LATELY_SAMPLES_MIN).then(|| quantile(of, 500, whole))
    }

    /// Whether it is time for another look at what is slow for it.
    pub(super) fn is_to_be_compared(&self, now: Tick) -> bool {
        now.since(self.compared_at) >= COMPARE_EVERY_NS
    }

    /// What it did lately, as of its last look; none where that is too old.
    pub(super) fn known_wait(&self, now: Tick) -> Option<u64> {
        self.known_wait.filter(|_| now.since(self.compared_at) < LATELY_NS)
    }

    /// Looks at itself beside the slowest of the others of its upstream: it is slow where it takes several times as long.
    pub(super) fn compare(&mut self, slowest_other: Option<u64>, now: Tick) {
        self.compared_at = now;
        self.known_wait = self.lately(Trait::Wait, now);
        let stands_out = |other: &u64| self.known_wait.is_some_and(|own| own / ENDPOINT_FACTOR >= *other);
        let above = |other: u64| (other * ENDPOINT_FACTOR).max(other + SLOW_MARGIN_NS);
        self.slow_wait_above = slowest_other.filter(stands_out).map_or(u64::MAX, above);
    }

    /// Nanoseconds above which a wait for it is slow, whatever its route is used to.
    pub(super) fn slow_wait_above(&self) -> u64 {
        self.slow_wait_above
    }

    /// The median wait of its whole past, if enough of it is known.
    pub(super) fn usual_wait(&self) -> Option<u64> {
        (count_of(self.wait.total) >= TYPICAL_REQUESTS_MIN).then(|| quantile(&[&self.wait], 500, self.wait.total))
    }
}

/// Bytes a second.
pub(super) fn speed(bytes: u64, nanos: u64) -> u64 {
    let a_second = u128::from(bytes) * 1_000_000_000 / u128::from(nanos.max(1));
    u64::try_from(a_second).unwrap_or(u64::MAX)
}

impl Half {
    fn new(began: Tick) -> Self {
        Half { began, traits: std::array::from_fn(|_| Histogram::new()) }
    }

    fn begin(&mut self, now: Tick) {
        self.began = now;
        self.traits.iter_mut().for_each(Histogram::clear);
    }
}

/// What the endpoints of one upstream have in common. Two upstreams may share it, so that names are compared as well.
pub(super) fn group_of(upstream: &str) -> u64 {
    FixedState::default().hash_one(upstream)
}
