//! The last hour in memory, and what is derived from it: rates, quantiles, history, what changed, who calls whom.
//!
//! In: every record. Out: the bodies of the admin plane's overview, history and topology. Bounded in subjects and in steps: some 60 MB
//! where every subject has traffic of all durations in every step, mostly a third of that; 0.1 MB for a route. Owned by the telemetry thread, which pays for a record what
//! a few counters cost. Not here: single requests (`recent`), metrics for others to scrape (`aggregate`).

mod sketch;
mod steps;
mod tally;
mod places;
mod topology;
mod changes;
mod shift;
mod evidence;
mod words;
mod json;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock::Tick;
use crate::telemetry::record::Record;
use crate::telemetry::record::legend::{EndpointLegend, RouteLegend};
use crate::telemetry::record::names::FOLDED;
use places::{OTHER, Places};
use steps::{Line, Moment, Tally};
use tally::{Attempts, Requests, Shot};
use topology::Pairs;

/// Routes with a history of their own; the others share one.
const TREND_ROUTES_MAX: usize = 200;
/// Endpoints that are told apart.
const TREND_ENDPOINTS_MAX: usize = 400;
/// Pairs of a route and an endpoint that are told apart.
const TREND_PAIRS_MAX: usize = 1000;

const FINE_S: u32 = Requests::LADDER.fine_s;
const COARSE_S: u32 = Requests::LADDER.coarse_s;
const _: () = assert!(FINE_S == 1 && COARSE_S == Attempts::LADDER.fine_s);

/// What is remembered.
///
/// A step that has passed takes 72 bytes of a route and 64 of a pair, and 2 for each bucket from the shortest to the longest duration in it:
/// at most 368 of a route, 112 of a pair. At most that makes
///
/// - routes: (200 + `_other` + all) x (120 + 360) steps x 440 bytes = 42.7 MB,
/// - pairs: (1000 + `_other`) x (36 + 60) steps x 176 bytes = 16.9 MB,
/// - open steps and places: 1.6 MB.
///
/// Steps without traffic take nothing.
pub(crate) struct Trends {
    birth: Tick,
    /// The second that is open, since tick zero.
    second: u32,
    all: Line<Requests>,
    /// By place.
    routes: Vec<Line<Requests>>,
    route_places: Places,
    endpoint_places: Places,
    pairs: Pairs,
    /// What had changed, as of this second.
    changes: (u32, serde_json::Value),
}

/// What is remembered under one name: a route has another id for each path pattern that it ever had.
struct Named<'t, T: Tally> {
    name: &'t str,
    lines: Vec<&'t Line<T>>,
}

impl Trends {
    pub(crate) fn new(now: Tick) -> Self {
        Trends {
            birth: now,
            second: second_of(now),
            all: Line::default(),
            routes: vec![Line::default()],
            route_places: Places::new(TREND_ROUTES_MAX),
            endpoint_places: Places::new(TREND_ENDPOINTS_MAX),
            pairs: Pairs::new(TREND_PAIRS_MAX),
            changes: (u32::MAX, serde_json::Value::Null),
        }
    }

    /// Counts the record in the step in which it ended; one that comes late, in the open step.
    pub(crate) fn note(&mut self, record: &Record) {
        self.advance(record.ended);
        let place = self.route_places.used(record.route.0);
        if usize::from(place) >= self.routes.len() {
            self.routes.resize_with(usize::from(place) + 1, Line::default);
        }
        let shot = Shot::of(record);
        self.all.open.note(shot);
        self.routes[usize::from(place)].open.note(shot);
        for attempt in record.attempts() {
            let endpoint = self.endpoint_places.used(attempt.endpoint.0);
            self.pairs.note(place, endpoint, attempt);
        }
    }

    /// Closes the steps that have passed.
    pub(crate) fn advance(&mut self, now: Tick) {
        let second = second_of(now);
        if second > self.second {
            self.close(second);
        }
    }

    /// However long the open second lasted, all that is in it ended in it, as far as anybody knew.
    fn close(&mut self, next: u32) {
        let steps = |step_s: u32| (self.second / step_s, next / step_s);
        let passed = |step_s: u32| Some(steps(step_s)).filter(|(step, open)| open > step);
        let (fine, coarse, pair_coarse) = (steps(FINE_S), passed(COARSE_S), passed(Attempts::LADDER.coarse_s));
        for line in std::iter::once(&mut self.all).chain(&mut self.routes) {
            line.close_fine(fine.0, fine.1);
            if let Some((step, open)) = coarse {
                line.close_coarse(step, open);
            }
        }
        // A coarse step of a route is a fine one of a pair.
        if let Some((step, open)) = coarse {
            self.pairs.close_fine(step, open);
            self.settle();
        }
        if let Some((step, open)) = pair_coarse {
            self.pairs.close_coarse(step, open);
        }
        self.second = next;
    }

    /// Whoever loses its place leaves what is remembered of it to `_other`.
    fn settle(&mut self) {
        let Trends { routes, pairs, .. } = self;
        self.route_places.settle(|place| {
            let left = std::mem::take(&mut routes[usize::from(place)]);
            routes[usize::from(OTHER)].absorb(&left);
            pairs.vacate(|(route, _)| route == place);
        });
        self.endpoint_places.settle(|place| pairs.vacate(|(_, endpoint)| endpoint == place));
    }

    /// The body of `/api/v1/overview`.
    pub(crate) fn overview(
        &mut self,
        window_s: u32,
        now: Tick,
        wall_offset: u64,
        in_flight: u64,
        routes: &[Arc<RouteLegend>],
        endpoints: &[Arc<EndpointLegend>],
    ) -> serde_json::Value {
        self.advance(now);
        if self.changes.0 != self.second {
            let found = changes::find(self, self.moment(now), routes, endpoints);
            self.changes = (self.second, found.iter().map(|change| change.json(wall_offset)).collect());
        }
        json::overview(self, window_s, self.moment(now), wall_offset, in_flight, routes)
    }

    /// The body of `/api/v1/history`. `step_s` is 1 or 10; without, the steps are of both lengths.
    pub(crate) fn history(
        &self,
        route: Option<&str>,
        span_s: u32,
        step_s: Option<u32>,
        now: Tick,
        wall_offset: u64,
        routes: &[Arc<RouteLegend>],
    ) -> serde_json::Value {
        json::history(self, route, span_s, step_s, self.moment(now), wall_offset, routes)
    }

    /// The body of `/api/v1/topology`.
    pub(crate) fn topology(
        &self,
        window_s: u32,
        now: Tick,
        routes: &[Arc<RouteLegend>],
        endpoints: &[Arc<EndpointLegend>],
    ) -> serde_json::Value {
        topology::draw(self, window_s, self.moment(now), routes, endpoints)
    }

    /// Memory that is held.
    pub(crate) fn bytes(&self) -> usize {
        let lines = std::iter::once(&self.all).chain(&self.routes);
        let held: usize = lines.map(Line::bytes).sum();
        held + self.pairs.bytes() + self.route_places.bytes() + self.endpoint_places.bytes()
    }

    fn moment(&self, now: Tick) -> Moment {
        Moment { now, second: self.second, birth: self.birth }
    }

    /// The routes of which something is remembered, by name.
    fn by_name<'t>(&'t self, routes: &'t [Arc<RouteLegend>]) -> Vec<Named<'t, Requests>> {
        let mut named: BTreeMap<&str, Vec<&Line<Requests>>> = BTreeMap::new();
        for (place, line) in self.routes.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
            named.entry(self.route_name(place as u16, routes)).or_default().push(line);
        }
        named.into_iter().map(|(name, lines)| Named { name, lines }).collect()
    }

    fn route_name<'t>(&self, place: u16, routes: &'t [Arc<RouteLegend>]) -> &'t str {
        let legend = self.route_places.id(place).and_then(|id| routes.get(id as usize));
        legend.map_or(FOLDED, |legend| legend.name.as_str())
    }

    fn endpoint<'t>(&self, place: u16, endpoints: &'t [Arc<EndpointLegend>]) -> Option<&'t EndpointLegend> {
        self.endpoint_places.id(place).and_then(|id| endpoints.get(id as usize)).map(|legend| &**legend)
    }
}

fn second_of(tick: Tick) -> u32 {
    (tick.0 / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests;
