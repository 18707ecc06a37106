//! Time in steps: what a subject did in each, fine ones for a while and coarse ones for longer.
//!
//! In: tallies of the step that is open. Out: tallies of any stretch that is remembered. Only steps in which something happened take room,
//! and never more of them than the ladder has. Not here: what is tallied (`tally`), when a step ends (`mod`).

use std::collections::VecDeque;

use crate::base::clock::Tick;

const SECOND_NS: u64 = 1_000_000_000;
/// Steps by which a ring grows, up to its bound: a doubling one would hold up to twice the bound.
const GROWTH_LEN: usize = 12;

/// How finely a kind of subject is remembered, and for how long. A coarse step is a multiple of a fine one.
#[derive(Debug)]
pub(super) struct Ladder {
    pub(super) fine_s: u32,
    pub(super) fine_len_max: u32,
    pub(super) coarse_s: u32,
    pub(super) coarse_len_max: u32,
}

/// What is counted in a step.
pub(super) trait Tally: Clone + Default {
    /// The same, in the room that a step takes once it has passed.
    type Packed: Clone;
    const LADDER: Ladder;

    fn count(&self) -> u32;
    fn add(&mut self, other: &Self);
    fn pack(&self) -> Self::Packed;
    fn add_packed(&mut self, packed: &Self::Packed);
    /// Bytes that a step holds beside its own.
    fn held_bytes(packed: &Self::Packed) -> usize;

    fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

/// Where time stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Tick,
    /// The second that is open, since tick zero.
    pub(super) second: u32,
    /// When the memory began.
    pub(super) birth: Tick,
}

/// A tally and the time that it is of.
#[derive(Clone, Debug, Default)]
pub(super) struct Stretch<T> {
    pub(super) from_s: u32,
    /// Of the steps that it was read in.
    pub(super) step_s: u32,
    /// How much of it there was, up to now.
    pub(super) seconds: f64,
    pub(super) tally: T,
}

/// One subject's steps.
#[derive(Debug)]
pub(super) struct Line<T: Tally> {
    /// The fine step that is open.
    pub(super) open: T,
    /// Fine steps that have passed of the coarse step that is open.
    passed: T,
    fine: Ring<T::Packed>,
    coarse: Ring<T::Packed>,
}

/// Steps that have passed, by their number since tick zero, oldest first.
#[derive(Debug)]
struct Ring<P> {
    steps: VecDeque<(u32, P)>,
}

impl<T: Tally> Default for Line<T> {
    fn default() -> Self {
        let ring = || Ring { steps: VecDeque::new() };
        Line { open: T::default(), passed: T::default(), fine: ring(), coarse: ring() }
    }
}

impl<T: Tally> Line<T> {
    /// The fine step of this number has passed; `open` is the one that is open now.
    pub(super) fn close_fine(&mut self, step: u32, open: u32) {
        self.fine.pass(step, open, &self.open, T::LADDER.fine_len_max);
        if !self.open.is_empty() {
            self.passed.add(&self.open);
            self.open = T::default();
        }
    }

    /// The coarse step of this number has passed, and its last fine step with it.
    pub(super) fn close_coarse(&mut self, step: u32, open: u32) {
        self.coarse.pass(step, open, &self.passed, T::LADDER.coarse_len_max);
        if !self.passed.is_empty() {
            self.passed = T::default();
        }
    }

    /// The second from which on something is remembered.
    pub(super) fn oldest_s(&self) -> Option<u32> {
        let of = |ring: &Ring<T::Packed>, step_s: u32| ring.steps.front().map(|(step, _)| step * step_s);
        let remembered = [of(&self.coarse, T::LADDER.coarse_s), of(&self.fine, T::LADDER.fine_s)];
        remembered.into_iter().flatten().min()
    }

    /// Nothing is remembered of the last fine steps.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.fine.steps.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.is_quiet() && self.passed.is_empty() && self.coarse.steps.is_empty()
    }

    /// Takes over all that another line remembers.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.open.add(&other.open);
        self.passed.add(&other.passed);
        self.fine.absorb::<T>(&other.fine, T::LADDER.fine_len_max);
        self.coarse.absorb::<T>(&other.coarse, T::LADDER.coarse_len_max);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.fine.bytes::<T>() + self.coarse.bytes::<T>()
    }

    /// Adds steps of `step_s` seconds to the stretches of the same time; the last stretch is the open step.
    fn add_to(&self, stretches: &mut [Stretch<T>], step_s: u32) {
        let ring = if step_s == T::LADDER.fine_s { &self.fine } else { &self.coarse };
        let Some((last, passed)) = stretches.split_last_mut() else { return };
        let first = passed.first().map_or(u32::MAX, |stretch| stretch.from_s / step_s);
        for (step, packed) in ring.since(first) {
            if let Some(stretch) = passed.get_mut((step - first) as usize) {
                stretch.tally.add_packed(packed);
            }
        }
        last.tally.add(&self.open);
        if step_s != T::LADDER.fine_s {
            last.tally.add(&self.passed);
        }
    }
}

impl<P: Clone> Ring<P> {
    /// Forgets what is too old by now, and takes up a step that has passed. A subject that has gone quiet gives its room back.
    fn pass<T: Tally<Packed = P>>(&mut self, step: u32, open: u32, tally: &T, len_max: u32) {
        let oldest = open.saturating_sub(len_max);
        while self.steps.front().is_some_and(|(step, _)| *step < oldest) {
            self.steps.pop_front();
        }
        if !tally.is_empty() && step >= oldest {
            self.make_room(len_max);
            self.steps.push_back((step, tally.pack()));
        } else if self.steps.is_empty() && self.steps.capacity() > 0 {
            self.steps.shrink_to_fit();
        }
    }

    fn make_room(&mut self, len_max: u32) {
        let len = self.steps.len();
        if len == self.steps.capacity() {
            self.steps.reserve_exact(GROWTH_LEN.min((len_max as usize).saturating_sub(len)).max(1));
        }
    }

    fn since(&self, first: u32) -> impl Iterator<Item = &(u32, P)> {
        self.steps.range(self.steps.partition_point(|(step, _)| *step < first)..)
    }

    fn absorb<T: Tally<Packed = P>>(&mut self, other: &Self, len_max: u32) {
        for (step, packed) in &other.steps {
            let at = self.steps.partition_point(|(own, _)| own < step);
            match self.steps.get_mut(at) {
                Some((own, held)) if own == step => {
                    let mut both = T::default();
                    both.add_packed(held);
                    both.add_packed(packed);
                    *held = both.pack();
                }
                _ => {
                    self.make_room(len_max);
                    self.steps.insert(at, (*step, packed.clone()));
                }
            }
        }
    }

    fn bytes<T: Tally<Packed = P>>(&self) -> usize {
        self.steps.capacity() * size_of::<(u32, P)>() + self.steps.iter().map(|(_, packed)| T::held_bytes(packed)).sum::<usize>()
    }
}

impl Moment {
    /// The first whole second of the last so many, or that of the birth.
    pub(super) fn back_s(self, seconds: u32) -> u32 {
        let back = self.now.0.saturating_sub(u64::from(seconds) * SECOND_NS).div_ceil(SECOND_NS) as u32;
        back.max(self.birth_s())
    }

    pub(super) fn birth_s(self) -> u32 {
        (self.birth.0 / SECOND_NS) as u32
    }

    /// How much of this time there was, between birth and now.
    fn seconds(self, from_s: u32, until_s: u32) -> f64 {
        let from = (u64::from(from_s) * SECOND_NS).max(self.birth.0);
        let until = (u64::from(until_s) * SECOND_NS).min(self.now.0);
        until.saturating_sub(from) as f64 / 1e9
    }
}

/// The lines together, step by step from the first that begins at `from_s` or later up to the open one, which is the last. `step_s` is one
/// of the ladder's two.
pub(super) fn read<T: Tally>(lines: &[&Line<T>], from_s: u32, step_s: u32, moment: Moment) -> Vec<Stretch<T>> {
    let open = moment.second / step_s;
    let birth_s = moment.birth_s();
    let first = if from_s <= birth_s { birth_s / step_s } else { from_s.div_ceil(step_s) }.min(open);
    let stretch = |step: u32| Stretch {
        from_s: step * step_s,
        step_s,
        seconds: moment.seconds(step * step_s, (step + 1) * step_s),
        tally: T::default(),
    };
    let mut stretches: Vec<Stretch<T>> = (first..=open).map(stretch).collect();
    lines.iter().for_each(|line| line.add_to(&mut stretches, step_s));
    stretches
}

/// The same, coarse where it is long ago and fine since.
pub(super) fn read_finely<T: Tally>(lines: &[&Line<T>], from_s: u32, moment: Moment) -> Vec<Stretch<T>> {
    let ladder = T::LADDER;
    let turn_s = moment.second.saturating_sub(ladder.fine_len_max * ladder.fine_s).div_ceil(ladder.coarse_s) * ladder.coarse_s;
    let mut stretches = if from_s < turn_s { read(lines, from_s, ladder.coarse_s, moment) } else { Vec::new() };
    stretches.retain(|stretch| stretch.from_s < turn_s);
    stretches.extend(read(lines, from_s.max(turn_s), ladder.fine_s, moment));
    stretches
}

/// All of it as one.
pub(super) fn sum<T: Tally>(stretches: &[Stretch<T>]) -> Stretch<T> {
    let Some(first) = stretches.first() else { return Stretch::default() };
    let mut whole: Stretch<T> = Stretch { from_s: first.from_s, step_s: first.step_s, ..Stretch::default() };
    for stretch in stretches {
        whole.seconds += stretch.seconds;
        whole.tally.add(&stretch.tally);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts and nothing else; two fine steps a coarse one.
    #[derive(Clone, Debug, Default)]
    struct Count(u32);

    impl Tally for Count {
        type Packed = u32;
        const LADDER: Ladder = Ladder { fine_s: 5, fine_len_max: 4, coarse_s: 10, coarse_len_max: 6 };

        fn count(&self) -> u32 {
            self.0
        }

        fn add(&mut self, other: &Self) {
            self.0 += other.0;
        }

        fn pack(&self) -> u32 {
            self.0
        }

        fn add_packed(&mut self, packed: &u32) {
            self.0 += packed;
        }

        fn held_bytes(_: &u32) -> usize {
            0
        }
    }

    fn moment(second: u32) -> Moment {
        Moment { now: Tick(u64::from(second) * SECOND_NS), second, birth: Tick(0) }
    }

    /// One line with `count(step)` in each of the fine steps before `until`.
    fn line(until: u32, count: impl Fn(u32) -> u32) -> Line<Count> {
        let mut line = Line::default();
        for step in 0..until {
            line.open = Count(count(step));
            line.close_fine(step, step + 1);
            if step % 2 == 1 {
                line.close_coarse(step / 2, step / 2 + 1);
            }
        }
        line
    }

    fn counts(stretches: &[Stretch<Count>]) -> Vec<(u32, u32)> {
        stretches.iter().map(|stretch| (stretch.from_s, stretch.tally.0)).collect()
    }

    #[test]
    fn what_is_older_than_its_ring_is_forgotten_and_the_room_is_bounded() {
        let line = line(101, |_| 1);
        assert_eq!((line.fine.steps.len(), line.coarse.steps.len()), (4, 6));
        assert!(line.fine.steps.capacity() <= 4 && line.coarse.steps.capacity() <= 6);
        assert_eq!(
            counts(&read(&[&line], 0, 10, moment(505)))[43..],
            [(430, 0), (440, 2), (450, 2), (460, 2), (470, 2), (480, 2), (490, 2), (500, 1)]
        );
        assert_eq!(counts(&read(&[&line], 480, 5, moment(505))), [(480, 0), (485, 1), (490, 1), (495, 1), (500, 1), (505, 0)]);
    }

    #[test]
    fn the_open_step_is_part_of_what_is_read_and_quiet_steps_are_zero() {
        let mut line = line(7, |step| u32::from(step == 6));
        line.open = Count(3);
        assert_eq!(counts(&read(&[&line], 0, 10, moment(37)))[2..], [(20, 0), (30, 4)]);
        assert_eq!(counts(&read(&[&line, &line], 26, 5, moment(37))), [(30, 2), (35, 6)]);
        assert_eq!(sum(&read(&[&line], 26, 5, moment(37))).seconds, 7.0);
    }

    #[test]
    fn fine_steps_follow_coarse_ones_without_a_gap() {
        let line = line(13, |_| 1);
        let read = read_finely(&[&line], 10, moment(66));
        assert_eq!(counts(&read), [(10, 2), (20, 2), (30, 2), (40, 2), (50, 1), (55, 1), (60, 1), (65, 0)]);
    }

    #[test]
    fn a_line_that_absorbs_another_holds_the_sum() {
        let (mut one, other) = (line(9, |step| step % 2), line(9, |step| 10 * u32::from(step % 3 == 0)));
        let before = sum(&read(&[&one, &other], 0, 10, moment(45))).tally.0;
        one.absorb(&other);
        assert_eq!(sum(&read(&[&one], 0, 10, moment(45))).tally.0, before);
        assert_eq!(counts(&read(&[&one], 25, 5, moment(45))), [(25, 1), (30, 10), (35, 1), (40, 0), (45, 0)]);
    }

    #[test]
    fn a_line_without_traffic_gives_its_room_back() {
        let mut line = line(8, |_| 1);
        for step in 8..40 {
            line.close_fine(step, step + 1);
            line.close_coarse(step / 2, step / 2 + 1);
        }
        assert!(line.is_empty());
        assert_eq!(line.bytes(), size_of::<Line<Count>>());
    }

    #[test]
    fn time_before_the_birth_does_not_count() {
        let late = Moment { now: Tick(18 * SECOND_NS), second: 18, birth: Tick(12 * SECOND_NS + SECOND_NS / 2) };
        let read = read(&[&Line::<Count>::default()], late.back_s(300), 5, late);
        assert_eq!(read.iter().map(|stretch| stretch.seconds).sum::<f64>(), 5.5);
        assert_eq!(late.back_s(2), 16);
    }
}
