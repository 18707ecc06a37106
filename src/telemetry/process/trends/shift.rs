//! Whether something has moved, and when: the arithmetic of changes.
//!
//! In: blocks of the time before, and the recent time. Out: a move that is larger than chance and larger than what the blocks differ by
//! among themselves, or none; and the step with which it began. Not here: what moved, and what it means (`changes`).

use super::sketch::{self, Scale};
use super::steps::{Stretch, Tally, sum};

/// Requests that make a block of any length.
const BLOCK_REQUESTS: u32 = 100;
/// Steps that make a block of the length of the recent window.
const BLOCK_STEPS: usize = 3;
/// How many standard deviations a move must be away from what chance does. A second's look at a subject is then wrong once in some million.
const DEVIATIONS_MIN: f64 = 5.0;
/// How many times farther than the blocks' median deviation from their median.
const SPREADS_MIN: f64 = 4.0;
/// Fewer blocks do not show how much they differ.
const SPREAD_BLOCKS_MIN: usize = 4;
/// Errors: a move by this much and this factor, or by so much that no factor is asked for.
const SHARE_LEAST: f64 = 0.005;
const SHARE_FACTOR: f64 = 2.0;
const SHARE_LARGE: f64 = 0.1;
/// A rate: by this factor, and the larger one at least so many a second.
const RATE_FACTOR: f64 = 3.0;
const RATE_LEAST: f64 = 1.0;

/// When a quantile counts as moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuantileRule {
    pub(super) share: f64,
    pub(super) factor: f64,
    pub(super) least_ns: f64,
}

/// What is told of a stretch.
type Reading<T> = Box<dyn Fn(&Stretch<T>) -> Option<f64>>;
/// How much there is of something, and of what.
type Part<T> = Box<dyn Fn(&Stretch<T>) -> (f64, f64)>;

/// A move that was found.
pub(super) struct Found<T> {
    pub(super) rising: bool,
    pub(super) before: f64,
    pub(super) after: f64,
    /// What moved: milliseconds, a share, a rate.
    pub(super) value: Reading<T>,
    /// The value is of time, and needs no requests.
    pub(super) counts_time: bool,
    /// By which the move is tested and dated: slow requests of all requests, failed ones of all, requests of seconds.
    part: Part<T>,
    /// The part before, and recently.
    shares: (f64, f64),
}

/// Puts steps together until they are enough to be held against the recent ones.
pub(super) fn blocks<T: Tally>(steps: &[Stretch<T>], requests_min: u32) -> Vec<Stretch<T>> {
    let mut blocks = Vec::new();
    let mut from = 0;
    for until in 1..=steps.len() {
        let count: u32 = steps[from..until].iter().map(|step| step.tally.count()).sum();
        let last = until == steps.len();
        let full = count >= BLOCK_REQUESTS || (until - from >= BLOCK_STEPS || last) && count >= requests_min;
        if full {
            blocks.push(sum(&steps[from..until]));
            from = until;
        }
    }
    blocks
}

/// A quantile that moved, and more slow requests, or fewer, than chance would have.
pub(super) fn quantile_shift<T: Tally + 'static, const N: usize>(
    blocks: &[Stretch<T>],
    recent: &Stretch<T>,
    scale: &'static Scale<N>,
    counts: fn(&T) -> &[u32; N],
    rule: QuantileRule,
) -> Option<Found<T>> {
    let value = move |stretch: &Stretch<T>| scale.quantile_ns(counts(&stretch.tally), rule.share);
    let values: Vec<f64> = blocks.iter().filter_map(value).collect();
    let (before_ns, after_ns) = (median(&values)?, value(recent)?);
    let distance = (after_ns / before_ns).ln();
    let logs: Vec<f64> = values.iter().map(|value| (value / before_ns).ln()).collect();
    if distance.abs() < rule.factor.ln() || (after_ns - before_ns).abs() < rule.least_ns || within_spread(distance, &logs) {
        return None;
    }
    let cut = scale.bucket((before_ns * after_ns).sqrt() as u64) + 1;
    let part = move |stretch: &Stretch<T>| {
        let counts = counts(&stretch.tally);
        let slow: u64 = counts.iter().skip(cut).map(|&count| u64::from(count)).sum();
        (slow as f64, sketch::total(counts) as f64)
    };
    let millis = |nanos: f64| nanos / 1e6;
    Found {
        rising: distance > 0.0,
        before: millis(before_ns),
        after: millis(after_ns),
        value: Box::new(move |stretch| value(stretch).map(millis)),
        counts_time: false,
        part: Box::new(part),
        shares: (0.0, 0.0),
    }
    .tested(blocks, recent)
}

/// A share of the requests that moved.
pub(super) fn share_shift<T: Tally + 'static>(blocks: &[Stretch<T>], recent: &Stretch<T>, of: fn(&T) -> u32) -> Option<Found<T>> {
    let value = move |stretch: &Stretch<T>| {
        let count = stretch.tally.count();
        (count > 0).then(|| f64::from(of(&stretch.tally)) / f64::from(count))
    };
    let values: Vec<f64> = blocks.iter().filter_map(value).collect();
    let (before, after) = (median(&values)?, value(recent)?);
    let distance = (after - before).abs();
    let large = distance >= SHARE_LARGE || distance >= SHARE_LEAST && before.max(after) >= SHARE_FACTOR * before.min(after);
    let spread: Vec<f64> = values.iter().map(|value| value - before).collect();
    if !large || within_spread(distance, &spread) {
        return None;
    }
    Found {
        rising: after > before,
        before,
        after,
        value: Box::new(value),
        counts_time: false,
        part: Box::new(move |stretch| (f64::from(of(&stretch.tally)), f64::from(stretch.tally.count()))),
        shares: (0.0, 0.0),
    }
    .tested(blocks, recent)
}

/// Requests a second, against the same over blocks of equal time.
pub(super) fn rate_shift<T: Tally + 'static>(steps: &[Stretch<T>], recent: &Stretch<T>) -> Option<Found<T>> {
    let least = BLOCK_STEPS.min(steps.len());
    let blocks: Vec<Stretch<T>> = steps.rchunks(BLOCK_STEPS).filter(|block| block.len() >= least).map(sum).collect();
    let value = |stretch: &Stretch<T>| (stretch.seconds > 0.0).then(|| f64::from(stretch.tally.count()) / stretch.seconds);
    let values: Vec<f64> = blocks.iter().filter_map(value).collect();
    let (before, after) = (median(&values)?, value(recent)?);
    let spread: Vec<f64> = values.iter().map(|value| value - before).collect();
    let large = before.max(after) > RATE_LEAST && before.max(after) > RATE_FACTOR * before.min(after);
    if !large || before == 0.0 || within_spread(after - before, &spread) {
        return None;
    }
    Found {
        rising: after > before,
        before,
        after,
        value: Box::new(value),
        counts_time: true,
        part: Box::new(|stretch| (f64::from(stretch.tally.count()), stretch.seconds)),
        shares: (0.0, 0.0),
    }
    .tested(&blocks, recent)
}

impl<T: Tally> Found<T> {
    /// None where chance would do as much: the recent part is held against all that came before, by the ratio of the likelihoods that they
    /// differ and that they are alike (Wilks, 1938), which also holds where either is small. Its root counts in standard deviations.
    fn tested(mut self, blocks: &[Stretch<T>], recent: &Stretch<T>) -> Option<Self> {
        let shares: Vec<f64> = blocks.iter().map(&self.part).filter(|(_, of)| *of > 0.0).map(|(part, of)| part / of).collect();
        let former = (self.part)(&sum(blocks));
        let recent = (self.part)(recent);
        self.shares = (median(&shares)?, recent.0 / recent.1);
        let alike = (former.0 + recent.0) / (former.1 + recent.1);
        let term = |seen: f64, expected: f64| if seen > 0.0 { seen * (seen / expected).ln() } else { 0.0 };
        // Seconds without a request are not counted one by one.
        let rest = |(part, of): (f64, f64)| if self.counts_time { 0.0 } else { term(of - part, of * (1.0 - alike)) };
        let ratio: f64 = [former, recent].into_iter().map(|sample| term(sample.0, sample.1 * alike) + rest(sample)).sum();
        let rising = recent.0 / recent.1 > former.0 / former.1;
        ((2.0 * ratio).max(0.0).sqrt() >= DEVIATIONS_MIN && rising == self.rising).then_some(self)
    }
}

/// The step with which the part went past half the way, for good: where the sum of what lies above or below half the way turns (Page,
/// "Continuous Inspection Schemes", 1954).
pub(super) fn date<T: Tally>(series: &[Stretch<T>], found: &Found<T>) -> usize {
    let half = (found.shares.0 + found.shares.1) / 2.0;
    let sign = if found.rising { 1.0 } else { -1.0 };
    let (mut reached, mut least, mut turn) = (0.0, 0.0, 0);
    for (at, step) in series.iter().enumerate() {
        let (part, of) = (found.part)(step);
        reached += sign * (part - half * of);
        if reached <= least {
            (least, turn) = (reached, at + 1);
        }
    }
    turn.min(series.len().saturating_sub(1))
}

/// No farther than the blocks are from each other.
fn within_spread(distance: f64, deviations: &[f64]) -> bool {
    let absolute: Vec<f64> = deviations.iter().map(|deviation| deviation.abs()).collect();
    absolute.len() >= SPREAD_BLOCKS_MIN && median(&absolute).is_some_and(|spread| distance.abs() < SPREADS_MIN * spread)
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Requests;
    use super::*;

    fn step(from_s: u32, count: u32, errors: u32) -> Stretch<Requests> {
        Stretch { from_s, step_s: 10, seconds: 10.0, tally: Requests { count, errors, ..Requests::default() } }
    }

    fn shift(former: (u32, u32), recent: (u32, u32)) -> Option<Found<Requests>> {
        share_shift(&[step(0, former.0, former.1)], &step(300, recent.0, recent.1), |tally| tally.errors)
    }

    #[test]
    fn few_failures_are_chance_and_many_are_not() {
        assert!(shift((140, 2), (40, 6)).is_none() && shift((20, 0), (20, 4)).is_none() && shift((6000, 60), (600, 11)).is_none());
        assert!(shift((140, 2), (40, 20)).is_some_and(|found| found.rising) && shift((20, 0), (20, 20)).is_some());
        assert!(shift((6000, 0), (600, 8)).is_some() && shift((3000, 900), (600, 6)).is_some_and(|found| !found.rising));
    }

    #[test]
    fn a_move_is_dated_by_the_step_with_which_it_began() {
        let errors = |at: u32| if at >= 40 { 4 + at % 3 } else { u32::from(at == 12) * 3 };
        let series: Vec<_> = (0..60).map(|at| step(at, 10, errors(at))).collect();
        let found = share_shift(&blocks(&series[..30], 20), &sum(&series[30..]), |tally| tally.errors).unwrap();
        assert_eq!(date(&series, &found), 40);
    }

    #[test]
    fn blocks_are_of_many_requests_or_of_some_time() {
        let lengths = |counts: &[u32]| -> Vec<u32> {
            let steps: Vec<_> = counts.iter().map(|&count| step(0, count, 0)).collect();
            blocks(&steps, 20).iter().map(|block| block.tally.count).collect()
        };
        assert_eq!(lengths(&[100, 30, 30, 40, 7, 7, 7, 7]), [100, 100, 21]);
        assert_eq!(lengths(&[5, 5, 5, 5, 10]), [20]);
        assert_eq!(lengths(&[5, 15]), [20]);
    }

    #[test]
    fn what_differs_all_the_time_has_not_moved() {
        let steps: Vec<_> = (0..30).map(|at| step(at * 10, if at / 3 % 2 == 0 { 900 } else { 10 }, 0)).collect();
        assert!(rate_shift(&steps, &Stretch { seconds: 30.0, ..step(300, 2700, 0) }).is_none());
        let steady: Vec<_> = (0..30).map(|at| step(at * 10, 100 + at % 7, 0)).collect();
        assert!(rate_shift(&steady, &Stretch { seconds: 30.0, ..step(300, 2700, 0) }).is_some_and(|found| found.rising));
    }
}
