//! The samples of the last minutes, in bounded room.
//!
//! In: samples with whole stacks. Out: those of a window of time, each stack stored once. What finds no room is counted as lost, and when.
//! Not here: taking samples, and names.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::limits::{HISTORY_SAMPLES_MAX, HISTORY_STACKS_MAX};
use crate::telemetry::record::labels::Labels;
use crate::telemetry::sampler::Kind;

/// A stack as addresses: where the thread was, then where each call returns to.
pub(crate) type Stack = Arc<[u64]>;

/// One sample, ready to be put together with others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    pub(crate) thread: Arc<str>,
    pub(crate) labels: Labels,
    pub(crate) stack: Stack,
    /// Time that it stands for.
    pub(crate) nanos: u64,
    /// Periods, slow polls or waits that it stands for.
    pub(crate) count: u32,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Kept>,
    /// Up to here samples had to make room before their time.
    evicted_until: u64,
    stacks: HashMap<Stack, ()>,
    /// When samples were lost, and how many.
    losses: VecDeque<(u64, u64)>,
    /// Periods that were put together with others, likewise.
    merged: VecDeque<(u64, u64)>,
}

/// Entries about losses that are kept.
const LOSSES_MAX: usize = 4096;

impl History {
    /// Takes a sample in. False where there is no room for its stack.
    pub(crate) fn keep(&mut self, sample: Kept) -> bool {
        let Some(stack) = self.intern(&sample.stack) else {
            self.lose(sample.at, 1);
            return false;
        };
        if self.samples.len() >= HISTORY_SAMPLES_MAX
            && let Some(oldest) = self.samples.pop_front()
        {
            self.evicted_until = oldest.at + 1;
        }
        self.samples.push_back(Kept { stack, ..sample });
        true
    }

    pub(crate) fn lose(&mut self, at: u64, samples: u64) {
        note(&mut self.losses, at, samples);
    }

    pub(crate) fn merge(&mut self, at: u64, periods: u64) {
        note(&mut self.merged, at, periods);
    }

    /// Lets go of what is older.
    pub(crate) fn forget_before(&mut self, oldest: u64) {
        let passed = self.samples.partition_point(|sample| sample.at < oldest);
        self.samples.drain(..passed);
        for notes in [&mut self.losses, &mut self.merged] {
            while notes.front().is_some_and(|(at, _)| *at < oldest) {
                notes.pop_front();
            }
        }
        if passed > 0 && self.stacks.len() > HISTORY_STACKS_MAX / 2 {
            self.drop_unused_stacks();
        }
        if self.samples.is_empty() {
            *self = History { losses: std::mem::take(&mut self.losses), merged: std::mem::take(&mut self.merged), ..History::default() };
        }
    }

    /// The samples of a kind from `from` until before `until`.
    pub(crate) fn window(&self, kind: Kind, from: u64, until: u64) -> Vec<Kept> {
        let of_window = |sample: &&Kept| sample.kind == kind && (from..until).contains(&sample.at);
        self.samples.iter().filter(of_window).cloned().collect()
    }

    /// Samples lost, and periods put together, from `from` until before `until`.
    pub(crate) fn losses(&self, from: u64, until: u64) -> (u64, u64) {
        let sum = |notes: &VecDeque<(u64, u64)>| notes.iter().filter(|(at, _)| (from..until).contains(at)).map(|(_, count)| count).sum();
        (sum(&self.losses), sum(&self.merged))
    }

    /// What was taken before is not all there any more.
    pub(crate) fn evicted_until(&self) -> u64 {
        self.evicted_until
    }

    /// When the oldest sample was taken.
    #[cfg(test)]
    fn begins(&self) -> Option<u64> {
        self.samples.front().map(|sample| sample.at)
    }

    fn intern(&mut self, stack: &Stack) -> Option<Stack> {
        if let Some((known, ())) = self.stacks.get_key_value(stack) {
            return Some(Arc::clone(known));
        }
        if self.stacks.len() >= HISTORY_STACKS_MAX {
            self.drop_unused_stacks();
        }
        if self.stacks.len() >= HISTORY_STACKS_MAX {
            return None;
        }
        self.stacks.insert(Arc::clone(stack), ());
        Some(Arc::clone(stack))
    }

    fn drop_unused_stacks(&mut self) {
        self.stacks.retain(|stack, ()| Arc::strong_count(stack) > 1);
    }
}

/// Entries of the same second are one.
fn note(notes: &mut VecDeque<(u64, u64)>, at: u64, count: u64) {
    match notes.back_mut() {
        _ if count == 0 => {}
        Some((last, sum)) if at.saturating_sub(*last) < 100_000_000 => *sum += count,
        _ => {
            if notes.len() >= LOSSES_MAX {
                notes.pop_front();
            }
            notes.push_back((at, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, stack: &[u64]) -> Kept {
        Kept { at, kind: Kind::Cpu, thread: "t".into(), labels: Labels::NONE, stack: stack.into(), nanos: 10, count: 1 }
    }

    #[test]
    fn a_window_holds_what_was_taken_in_it() {
        let mut history = History::default();
        for at in 0..10 {
            assert!(history.keep(sample(at * 1_000_000_000, &[1, 2])));
        }
        history.lose(3_000_000_000, 5);
        assert_eq!(history.window(Kind::Cpu, 2_000_000_000, 5_000_000_000).len(), 3);
        assert_eq!(history.window(Kind::Poll, 0, u64::MAX), []);
        assert_eq!(history.losses(0, 3_000_000_000), (0, 0));
        assert_eq!(history.losses(3_000_000_000, 4_000_000_000), (5, 0));
        history.forget_before(8_000_000_000);
        assert_eq!(history.begins(), Some(8_000_000_000));
        assert_eq!(history.losses(0, u64::MAX), (0, 0));
    }

    #[test]
    fn a_stack_is_stored_once_and_too_many_are_counted() {
        let mut history = History::default();
        history.keep(sample(1, &[7, 8]));
        history.keep(sample(2, &[7, 8]));
        assert!(Arc::ptr_eq(&history.samples[0].stack, &history.samples[1].stack));
        for number in 0..HISTORY_STACKS_MAX as u64 {
            history.keep(sample(3, &[number, 1, 2, 3]));
        }
        assert_eq!(history.stacks.len(), HISTORY_STACKS_MAX);
        assert_eq!(history.losses(0, u64::MAX).0, 1);
        history.forget_before(u64::MAX);
        assert!(history.stacks.is_empty());
    }

    #[test]
    fn the_oldest_samples_make_room_and_it_is_known_since_when_all_are_there() {
        let mut history = History::default();
        for at in 0..HISTORY_SAMPLES_MAX as u64 + 3 {
            history.keep(sample(at, &[1]));
        }
        assert_eq!(history.samples.len(), HISTORY_SAMPLES_MAX);
        assert_eq!((history.evicted_until(), history.begins()), (3, Some(3)));
        assert_eq!(history.losses(0, u64::MAX).0, 0);
    }
}
