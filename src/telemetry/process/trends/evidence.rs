//! Where a move came from: the endpoint and the phase that explain most of it.
//!
//! In: a route's attempts by endpoint, and since when the route moved. Out: an endpoint, if the others did not move alike; a phase, if it
//! makes most of the move. It names nobody rather than the wrong one. Not here: whether anything moved (`shift`).

use std::collections::BTreeMap;

use super::steps::{Line, Moment, Tally, read, sum};
use super::tally::Attempts;
use crate::telemetry::record::Phase;

/// Attempts from which a mean is taken.
const ATTEMPTS_MIN: u32 = 5;
/// What part of all that moved must lie where the blame goes.
const MOST: f64 = 0.5;
/// How much more than the others an endpoint must have moved, each attempt for itself.
const APART_FACTOR: f64 = 3.0;
/// What part of the route's move the attempts must explain for any blame.
const EXPLAINED: f64 = 0.3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blame {
    /// The endpoint's place.
    pub(super) endpoint: Option<u16>,
    pub(super) phase: Option<Phase>,
}

/// An endpoint before and after.
struct Sides {
    place: u16,
    before: Attempts,
    after: Attempts,
}

/// Who took the time. `moved_ns`: what all requests since then took longer, or less.
pub(super) fn of_time(attempts: &BTreeMap<u16, Vec<&Line<Attempts>>>, moment: Moment, begin_s: u32, since_s: u32, moved_ns: f64) -> Blame {
    let sides = sides(attempts, moment, begin_s, since_s);
    let usual = pooled(sides.iter().map(|side| &side.before));
    let sign = moved_ns.signum();
    let moved: Vec<(u16, u32, [f64; Phase::COUNT])> = sides
        .iter()
        .map(|side| {
            let before = means(if side.before.count >= ATTEMPTS_MIN { &side.before } else { &usual });
            let after = means(&side.after);
            let phases = std::array::from_fn(|phase| sign * (after[phase] - before[phase]) * f64::from(side.after.count));
            (side.place, side.after.count, phases)
        })
        .collect();
    let all: f64 = moved.iter().flat_map(|(_, _, phases)| phases).sum();
    if all <= 0.0 || all < EXPLAINED * moved_ns.abs() {
        return Blame::default();
    }
    let endpoint = apart(&moved.iter().map(|(place, count, phases)| (*place, *count, phases.iter().sum())).collect::<Vec<_>>());
    let blamed = moved.iter().filter(|(place, ..)| endpoint.is_none_or(|endpoint| endpoint == *place));
    let by_phase = blamed.fold([0.0; Phase::COUNT], |sums, (_, _, phases)| std::array::from_fn(|phase| sums[phase] + phases[phase]));
    Blame { endpoint, phase: largest(by_phase).map(|(phase, _)| phase) }
}

/// Who failed more, or less.
pub(super) fn of_errors(
    attempts: &BTreeMap<u16, Vec<&Line<Attempts>>>,
    moment: Moment,
    begin_s: u32,
    since_s: u32,
    rising: bool,
) -> Option<u16> {
    let sides = sides(attempts, moment, begin_s, since_s);
    let usual = pooled(sides.iter().map(|side| &side.before));
    let share = |tally: &Attempts| f64::from(tally.errors) / f64::from(tally.count.max(1));
    let sign = if rising { 1.0 } else { -1.0 };
    let moved = |side: &Sides| {
        let before = share(if side.before.count >= ATTEMPTS_MIN { &side.before } else { &usual });
        (side.place, side.after.count, sign * (share(&side.after) - before) * f64::from(side.after.count))
    };
    apart(&sides.iter().map(moved).collect::<Vec<_>>())
}

/// The phase that moved most, with its means in milliseconds.
pub(super) fn phase_moved(before: &Attempts, after: &Attempts) -> Option<(Phase, (f64, f64))> {
    let (before, after) = (means(before), means(after));
    let moved: [f64; Phase::COUNT] = std::array::from_fn(|phase| after[phase] - before[phase]);
    let all: f64 = moved.iter().sum();
    let (phase, _) = largest(moved.map(|moved| moved * all.signum()))?;
    Some((phase, (before[phase as usize] / 1e6, after[phase as usize] / 1e6)))
}

fn sides(attempts: &BTreeMap<u16, Vec<&Line<Attempts>>>, moment: Moment, begin_s: u32, since_s: u32) -> Vec<Sides> {
    let step_s = Attempts::LADDER.fine_s;
    let turn_s = since_s / step_s * step_s;
    let of = |(&place, lines): (&u16, &Vec<&Line<Attempts>>)| {
        let steps = read(lines, begin_s, step_s, moment);
        let turn = steps.partition_point(|step| step.from_s < turn_s);
        // The step of the turn has both in it; only where there is little else, it stands for what came after.
        let pure = sum(&steps[(turn + 1).min(steps.len())..]).tally;
        let after = if pure.count >= ATTEMPTS_MIN { pure } else { sum(&steps[turn..]).tally };
        Sides { place, before: sum(&steps[..turn]).tally, after }
    };
    attempts.iter().map(of).filter(|sides| sides.after.count > 0).collect()
}

/// The one endpoint that made most of the move, if the others together moved far less for each attempt. It stands out by itself where it is
/// alone.
fn apart(moved: &[(u16, u32, f64)]) -> Option<u16> {
    let all: f64 = moved.iter().map(|(.., moved)| moved.max(0.0)).sum();
    let (place, count, most) = moved.iter().copied().max_by(|a, b| a.2.total_cmp(&b.2))?;
    let others = moved.iter().filter(|(other, ..)| *other != place);
    let (others_count, others_moved) = others.fold((0, 0.0), |sums, (_, count, moved)| (sums.0 + count, sums.1 + moved));
    let each = most / f64::from(count.max(1));
    let others_each = others_moved / f64::from(others_count.max(1));
    (most > 0.0 && most >= MOST * all && each >= APART_FACTOR * others_each).then_some(place)
}

fn largest(moved: [f64; Phase::COUNT]) -> Option<(Phase, f64)> {
    let all: f64 = moved.iter().map(|moved| moved.max(0.0)).sum();
    let (phase, most) = Phase::ALL.into_iter().zip(moved).max_by(|a, b| a.1.total_cmp(&b.1))?;
    (most > 0.0 && most >= MOST * all).then_some((phase, most))
}

/// How long each phase took on average, in nanoseconds.
fn means(tally: &Attempts) -> [f64; Phase::COUNT] {
    tally.phases_ns.map(|sum_ns| sum_ns as f64 / f64::from(tally.count.max(1)))
}

fn pooled<'t>(tallies: impl Iterator<Item = &'t Attempts>) -> Attempts {
    tallies.fold(Attempts::default(), |mut all, tally| {
        all.add(tally);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_named_only_where_it_stands_apart() {
        assert_eq!(apart(&[(1, 100, 900.0), (2, 100, 10.0)]), Some(1));
        // Both moved alike, and one has most of the traffic.
        assert_eq!(apart(&[(1, 900, 900.0), (2, 100, 100.0)]), None);
        assert_eq!(apart(&[(1, 100, 500.0), (2, 100, 500.0)]), None);
        assert_eq!(apart(&[(3, 10, 5.0)]), Some(3));
        assert_eq!(apart(&[(3, 10, -5.0)]), None);
        assert_eq!(apart(&[]), None);
    }

    #[test]
    fn a_phase_is_named_only_where_it_makes_most_of_the_move() {
        let tally = |phases_ns| Attempts { count: 10, phases_ns, ..Attempts::default() };
        let (quick, slow) = (tally([0, 0, 0, 10, 1000, 10]), tally([0, 0, 0, 10, 50_000_000, 10]));
        assert_eq!(phase_moved(&quick, &slow), Some((Phase::Wait, (0.0001, 5.0))));
        assert_eq!(phase_moved(&slow, &quick), Some((Phase::Wait, (5.0, 0.0001))));
        assert_eq!(phase_moved(&quick, &tally([900, 0, 900, 910, 1000, 10])), None);
        assert_eq!(phase_moved(&quick, &quick), None);
    }
}
