//! What has changed most in the last minutes.
//!
//! In: what is remembered of each route, and of its attempts. Out: the few most striking moves, each with since when, and where it came
//! from. The last 30 s are held against the five minutes before, in blocks of which the median counts: so that noise is no change, a change
//! stays one for minutes, and a quiet start is none. Not here: whether a single request was slow (`verdict` says that), and thresholds that
//! somebody set.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::evidence::{self, Blame};
use super::places::OTHER;
use super::shift::{Found, QuantileRule, blocks, date, quantile_shift, rate_shift, share_shift};
use super::sketch::{ATTEMPTS, DURATIONS, SELVES};
use super::steps::{Line, Moment, Stretch, Tally, read, read_finely, sum};
use super::tally::{Attempts, Requests};
use super::words::{self, Told, What};
use super::{Named, Trends};
use crate::telemetry::record::legend::{EndpointLegend, RouteLegend};
use crate::telemetry::record::names::{FOLDED, PHASE_LABELS};

/// Changes that are told.
const CHANGES_MAX: usize = 10;
/// The step in which both windows are read.
const STEP_S: u32 = 10;
/// The recent window: so many steps that have passed, and the open one.
const RECENT_STEPS: u32 = 3;
/// The steps before it.
const FORMER_STEPS: u32 = 30;
/// Requests that there must be in each.
const REQUESTS_MIN: u32 = 20;

/// What is rare counts, and what takes long.
const SLOWER: QuantileRule = QuantileRule { share: 0.99, factor: 1.75, least_ns: 1_000_000.0 };
/// The gateway's own time depends on what else runs on the machine.
const SLOWER_SELF: QuantileRule = QuantileRule { share: 0.99, factor: 2.5, least_ns: 500_000.0 };
/// An endpoint's median, where the whole route's p99 has not moved.
const SLOWER_ENDPOINT: QuantileRule = QuantileRule { share: 0.5, factor: 3.0, least_ns: 1_000_000.0 };

/// One move, with its evidence.
#[derive(Debug)]
pub(super) struct Change {
    told: Told,
    score: f64,
}

impl Change {
    pub(super) fn json(&self, wall_offset: u64) -> Value {
        words::json(&self.told, wall_offset)
    }
}

/// A subject, read in both windows.
struct Subject<'t, T: Tally> {
    lines: Vec<&'t Line<T>>,
    begin_s: u32,
    blocks: Vec<Stretch<T>>,
    former: Stretch<T>,
    steps: Vec<Stretch<T>>,
    recent: Stretch<T>,
}

/// The attempts of a route, by the place of their endpoint.
type ByEndpoint<'t> = BTreeMap<u16, Vec<&'t Line<Attempts>>>;

/// The ten most striking changes, the most striking first.
pub(super) fn find(trends: &Trends, moment: Moment, routes: &[Arc<RouteLegend>], endpoints: &[Arc<EndpointLegend>]) -> Vec<Change> {
    let mut attempts: BTreeMap<&str, ByEndpoint<'_>> = BTreeMap::new();
    for ((route, endpoint), line) in trends.pairs.iter() {
        attempts.entry(trends.route_name(route, routes)).or_default().entry(endpoint).or_default().push(line);
    }
    let none = ByEndpoint::new();
    let all = Subject::of(vec![&trends.all], moment).map_or(0, |all| all.former.tally.count + all.recent.tally.count);
    let mut changes = Vec::new();
    // Who is in `_other` changes by itself.
    for Named { name, lines } in trends.by_name(routes).into_iter().filter(|named| named.name != FOLDED) {
        let Some(subject) = Subject::of(lines, moment) else { continue };
        let place = |place: u16| trends.endpoint(place, endpoints).map_or(FOLDED, |legend| &legend.authority).to_owned();
        let weight = f64::from(subject.former.tally.count + subject.recent.tally.count) / f64::from(all.max(1));
        let route = Route { name, attempts: attempts.get(name).unwrap_or(&none), moment, weight, endpoint: &place };
        route.changes(&subject, &mut changes);
    }
    changes.sort_by(|a: &Change, b| b.score.total_cmp(&a.score));
    changes.truncate(CHANGES_MAX);
    changes
}

impl<'t, T: Tally> Subject<'t, T> {
    /// The step in which a subject was first seen is left out: it began somewhere within it, and beginnings are slow.
    fn of(lines: Vec<&'t Line<T>>, moment: Moment) -> Option<Self> {
        let open_s = moment.second / STEP_S * STEP_S;
        let recent_s = open_s.checked_sub(RECENT_STEPS * STEP_S)?;
        let oldest_s = lines.iter().filter_map(|line| line.oldest_s()).min()?;
        let begin_s = recent_s.saturating_sub(FORMER_STEPS * STEP_S).max(oldest_s / STEP_S * STEP_S + STEP_S);
        let steps = read(&lines, begin_s, STEP_S, moment);
        let turn = steps.partition_point(|step| step.from_s < recent_s);
        let (former, recent) = (sum(&steps[..turn]), sum(&steps[turn..]));
        let enough = turn >= 2 && former.tally.count() >= REQUESTS_MIN;
        enough.then(|| Subject { blocks: blocks(&steps[..turn], REQUESTS_MIN), lines, begin_s, former, steps, recent })
    }

    fn is_busy(&self) -> bool {
        self.recent.tally.count() >= REQUESTS_MIN
    }

    /// Since when, and the values on both sides of that.
    fn dated(&self, found: &Found<T>, moment: Moment) -> Dated<T> {
        let series = read_finely(&self.lines, self.begin_s, moment);
        let turn = date(&series, found);
        let (before, after) = (sum(&series[..turn]), sum(&series[turn..]));
        let enough =
            |stretch: &Stretch<T>| stretch.tally.count() >= REQUESTS_MIN || found.counts_time && stretch.seconds >= f64::from(STEP_S);
        let value = |stretch: &Stretch<T>, otherwise: f64| (found.value)(stretch).filter(|_| enough(stretch)).unwrap_or(otherwise);
        let values = (value(&before, found.before), value(&after, found.after));
        let values = if (values.0 < values.1) == found.rising { values } else { (found.before, found.after) };
        Dated { since_s: series[turn].from_s, before, after, values }
    }
}

/// A move with its time.
struct Dated<T> {
    since_s: u32,
    before: Stretch<T>,
    after: Stretch<T>,
    values: (f64, f64),
}

/// A route, while its changes are looked for.
struct Route<'t> {
    name: &'t str,
    attempts: &'t ByEndpoint<'t>,
    moment: Moment,
    /// Its share of all requests.
    weight: f64,
    endpoint: &'t dyn Fn(u16) -> String,
}

impl Route<'_> {
    fn changes(&self, subject: &Subject<'_, Requests>, changes: &mut Vec<Change>) {
        let (mut failing, mut slower) = (None, None);
        if subject.is_busy() {
            failing = self.errors(subject);
            slower = self.quantile(subject);
            changes.extend(self.own_time(subject));
            changes.extend(self.client_errors(subject));
        }
        changes.extend(self.rate(subject));
        for (&place, lines) in self.attempts.iter().filter(|(place, _)| **place != OTHER) {
            let Some(pair) = Subject::of(lines.clone(), self.moment).filter(Subject::is_busy) else { continue };
            changes.extend(self.endpoint_errors(&pair, place).filter(|_| failing.is_none()));
            changes.extend(self.endpoint_time(&pair, place).filter(|_| slower.is_none()));
        }
        changes.extend(failing);
        changes.extend(slower);
    }

    fn quantile(&self, subject: &Subject<'_, Requests>) -> Option<Change> {
        let found = quantile_shift(&subject.blocks, &subject.recent, &DURATIONS, |tally: &Requests| &tally.durations, SLOWER)?;
        let dated = subject.dated(&found, self.moment);
        let moved_ns = mean_ns(&dated.after.tally) - mean_ns(&dated.before.tally);
        let all_ns = moved_ns * f64::from(dated.after.tally.count);
        let blame = evidence::of_time(self.attempts, self.moment, subject.begin_s, dated.since_s, all_ns);
        Some(self.change(What::Quantile, &dated, &blame, None))
    }

    fn own_time(&self, subject: &Subject<'_, Requests>) -> Option<Change> {
        let found = quantile_shift(&subject.blocks, &subject.recent, &SELVES, |tally: &Requests| &tally.selves, SLOWER_SELF)?;
        Some(self.change(What::OwnTime, &subject.dated(&found, self.moment), &Blame::default(), None))
    }

    fn errors(&self, subject: &Subject<'_, Requests>) -> Option<Change> {
        let found = share_shift(&subject.blocks, &subject.recent, |tally: &Requests| tally.errors)?;
        let dated = subject.dated(&found, self.moment);
        let part = |stretch: &Stretch<Requests>, of: u32| f64::from(of) / f64::from(stretch.tally.count.max(1));
        let moved = |of: fn(&Requests) -> u32| part(&dated.after, of(&dated.after.tally)) - part(&dated.before, of(&dated.before.tally));
        let endpoint = evidence::of_errors(self.attempts, self.moment, subject.begin_s, dated.since_s, found.rising);
        let status = (moved(|tally| tally.server_errors) / moved(|tally| tally.errors) > 0.5).then_some("5xx");
        Some(self.change(What::Errors, &dated, &Blame { endpoint, phase: None }, status))
    }

    fn client_errors(&self, subject: &Subject<'_, Requests>) -> Option<Change> {
        let found = share_shift(&subject.blocks, &subject.recent, |tally: &Requests| tally.client_errors)?;
        Some(self.change(What::Status, &subject.dated(&found, self.moment), &Blame::default(), Some("4xx")))
    }

    fn rate(&self, subject: &Subject<'_, Requests>) -> Option<Change> {
        let turn = subject.steps.partition_point(|step| step.from_s < subject.recent.from_s);
        let found = rate_shift(&subject.steps[..turn], &subject.recent)?;
        Some(self.change(What::Rate, &subject.dated(&found, self.moment), &Blame::default(), None))
    }

    /// What retries may have hidden from the clients.
    fn endpoint_errors(&self, pair: &Subject<'_, Attempts>, place: u16) -> Option<Change> {
        let found = share_shift(&pair.blocks, &pair.recent, |tally: &Attempts| tally.errors)?;
        let blame = Blame { endpoint: Some(place), phase: None };
        Some(self.change(What::Attempts, &pair.dated(&found, self.moment), &blame, None))
    }

    fn endpoint_time(&self, pair: &Subject<'_, Attempts>, place: u16) -> Option<Change> {
        let found = quantile_shift(&pair.blocks, &pair.recent, &ATTEMPTS, |tally: &Attempts| &tally.durations, SLOWER_ENDPOINT)?;
        let mut dated = pair.dated(&found, self.moment);
        let (phase, means) = evidence::phase_moved(&dated.before.tally, &dated.after.tally)?;
        dated.values = means;
        let blame = Blame { endpoint: Some(place), phase: Some(phase) };
        Some(self.change(What::Phase, &dated, &blame, None))
    }

    fn change<T>(&self, what: What, dated: &Dated<T>, blame: &Blame, status: Option<&'static str>) -> Change {
        let (before, after) = dated.values;
        let told = Told {
            what,
            route: self.name.to_owned(),
            endpoint: blame.endpoint.map(self.endpoint),
            phase: blame.phase.map(|phase| PHASE_LABELS[phase as usize]),
            status,
            before,
            after,
            since_s: dated.since_s,
        };
        let score = what.weight(after > before) * strength(before, after, what.least()) * (0.5 + self.weight);
        Change { told, score }
    }
}

/// How far it moved, in proportion; nothing counts as less than `least`, and a hundredfold is as far as anything goes.
fn strength(before: f64, after: f64, least: f64) -> f64 {
    let (before, after) = (before.max(least), after.max(least));
    (after / before).ln().abs().min(100_f64.ln())
}

fn mean_ns(tally: &Requests) -> f64 {
    tally.sum_ns as f64 / f64::from(tally.count.max(1))
}
