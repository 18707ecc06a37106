//! Who calls whom: attempts by route and endpoint, and the graph that they make with the clients' requests.
//!
//! In: attempts, under the places of their route and endpoint. Out: nodes and edges from the clients to the endpoints, and how long a time
//! they are of. The edges into an upstream add up to those out of it, whatever was folded. Not here: which endpoints there are, or their
//! state (the proxy knows).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde_json::{Value, json};

use super::json::{millis, rate, share};
use super::places::OTHER;
use super::sketch::{ATTEMPTS, DURATIONS};
use super::steps::{Line, Moment, Tally, read, sum};
use super::tally::{Attempts, Requests};
use super::{Named, Trends};
use crate::telemetry::record::Attempt;
use crate::telemetry::record::legend::{EndpointLegend, RouteLegend};
use crate::telemetry::record::names::FOLDED;

/// The places of a route and an endpoint.
pub(super) type Key = (u16, u16);

const SECOND_NS: u64 = 1_000_000_000;

/// What becomes of those that find no room.
const FOLDED_PAIR: usize = OTHER as usize;

/// Attempts by pairs of a route and an endpoint.
#[derive(Debug)]
pub(super) struct Pairs {
    len_max: usize,
    by_key: HashMap<Key, u16, FixedState>,
    held: Vec<Pair>,
    free: Vec<u16>,
    /// Somebody found no room since it was last looked for.
    crowded: bool,
}

#[derive(Debug, Default)]
struct Pair {
    /// None while nobody has it.
    key: Option<Key>,
    line: Line<Attempts>,
}

impl Pairs {
    pub(super) fn new(len_max: usize) -> Self {
        let key = (OTHER, OTHER);
        let mut by_key = HashMap::default();
        by_key.insert(key, OTHER);
        Pairs { len_max, by_key, held: vec![Pair { key: Some(key), ..Pair::default() }], free: Vec::new(), crowded: false }
    }

    pub(super) fn note(&mut self, route: u16, endpoint: u16, attempt: &Attempt) {
        let at = match self.by_key.get(&(route, endpoint)) {
            Some(&at) => usize::from(at),
            None => self.admit((route, endpoint)),
        };
        self.held[at].line.open.note(attempt);
    }

    #[cold]
    fn admit(&mut self, key: Key) -> usize {
        let at = match self.free.pop() {
            Some(at) => usize::from(at),
            None if self.held.len() <= self.len_max => {
                self.held.push(Pair::default());
                self.held.len() - 1
            }
            None => {
                self.crowded = true;
                return FOLDED_PAIR;
            }
        };
        self.held[at].key = Some(key);
        self.by_key.insert(key, at as u16);
        at
    }

    /// Where there was no room, pairs that have been quiet for as long as fine steps are remembered make some.
    pub(super) fn close_fine(&mut self, step: u32, open: u32) {
        self.held.iter_mut().for_each(|pair| pair.line.close_fine(step, open));
        if std::mem::take(&mut self.crowded) {
            self.dissolve(|pair| pair.line.is_quiet());
        }
    }

    pub(super) fn close_coarse(&mut self, step: u32, open: u32) {
        self.held.iter_mut().for_each(|pair| pair.line.close_coarse(step, open));
        self.dissolve(|pair| pair.line.is_empty());
    }

    /// A place changes hands: pairs with it go to those that have no room.
    pub(super) fn vacate(&mut self, with: impl Fn(Key) -> bool) {
        self.dissolve(|pair| pair.key.is_some_and(&with));
    }

    fn dissolve(&mut self, leaves: impl Fn(&Pair) -> bool) {
        for at in 1..self.held.len() {
            if self.held[at].key.is_some() && leaves(&self.held[at]) {
                let left = std::mem::take(&mut self.held[at]);
                self.held[FOLDED_PAIR].line.absorb(&left.line);
                left.key.and_then(|key| self.by_key.remove(&key));
                self.free.push(at as u16);
            }
        }
    }

    /// Those of which something is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Line<Attempts>)> {
        self.held.iter().filter(|pair| !pair.line.is_empty()).filter_map(|pair| Some((pair.key?, &pair.line)))
    }

    pub(super) fn bytes(&self) -> usize {
        let lines: usize = self.held.iter().map(|pair| pair.line.bytes()).sum();
        lines + self.by_key.capacity() * (size_of::<(Key, u16)>() + 1) + self.free.capacity() * size_of::<u16>()
    }
}

/// Where a window begins that is read in steps of so many seconds: at the step that it begins in, so that it is longer by a part of a step.
/// The longest one begins with the next step: what was before is no longer remembered of the routes.
fn begin_s(window_s: u32, step_s: u32, moment: Moment) -> u32 {
    let asked_s = (moment.now.0.saturating_sub(u64::from(window_s) * SECOND_NS) / SECOND_NS) as u32;
    let ladder = Requests::LADDER;
    let oldest_s = (moment.second / ladder.coarse_s).saturating_sub(ladder.coarse_len_max) * ladder.coarse_s;
    let from_s = asked_s / step_s * step_s;
    let from_s = if from_s < oldest_s { from_s + step_s } else { from_s };
    from_s.max(moment.birth_s())
}

/// Requests and attempts of the same window, in whole steps.
pub(super) fn draw(
    trends: &Trends,
    window_s: u32,
    moment: Moment,
    routes: &[Arc<RouteLegend>],
    endpoints: &[Arc<EndpointLegend>],
) -> Value {
    let ladder = Attempts::LADDER;
    let step_s = if window_s < ladder.fine_s * ladder.fine_len_max { ladder.fine_s } else { ladder.coarse_s };
    let from_s = begin_s(window_s.max(ladder.fine_s), step_s, moment);
    let requests = |lines: &[_]| sum(&read(lines, from_s, Requests::LADDER.coarse_s, moment));
    // Everybody's, since whatever there is was read over the same time.
    let seconds = requests(&[&trends.all]).seconds;
    let mut graph = Graph::default();
    for Named { name, lines } in trends.by_name(routes) {
        let whole = requests(&lines);
        if whole.tally.count > 0 {
            graph.requests(name, &whole.tally, seconds);
        }
    }
    let mut to_upstream: BTreeMap<(&str, &str), Attempts> = BTreeMap::new();
    let mut to_endpoint: BTreeMap<(&str, &str), Attempts> = BTreeMap::new();
    for ((route, endpoint), line) in trends.pairs.iter() {
        let whole = sum(&read(&[line], from_s, step_s, moment));
        if whole.tally.count > 0 {
            let route = trends.route_name(route, routes);
            let (upstream, authority) =
                trends.endpoint(endpoint, endpoints).map_or((FOLDED, FOLDED), |legend| (&legend.upstream, &legend.authority));
            to_upstream.entry((route, upstream)).or_default().add(&whole.tally);
            to_endpoint.entry((upstream, authority)).or_default().add(&whole.tally);
        }
    }
    to_upstream.iter().for_each(|((route, upstream), tally)| graph.attempts(("route", route), ("upstream", upstream), tally, seconds));
    to_endpoint.iter().for_each(|((upstream, at), tally)| graph.attempts(("upstream", upstream), ("endpoint", at), tally, seconds));
    graph.into_json(seconds)
}

/// Nodes in columns, from the clients on.
#[derive(Default)]
struct Graph {
    routes: BTreeSet<String>,
    upstreams: BTreeSet<String>,
    endpoints: BTreeSet<String>,
    edges: Vec<Value>,
}

impl Graph {
    fn requests(&mut self, route: &str, tally: &Requests, seconds: f64) {
        self.routes.insert(route.to_owned());
        self.edges.push(json!({
            "from": "client",
            "to": format!("route:{route}"),
            "rate": rate(tally.count, seconds),
            "errors": share(tally.errors, tally.count),
            "p50": millis(DURATIONS.quantile_ns(&tally.durations, 0.5)),
            "p99": millis(DURATIONS.quantile_ns(&tally.durations, 0.99)),
            "count": tally.count,
        }));
    }

    fn attempts(&mut self, from: (&str, &str), to: (&str, &str), tally: &Attempts, seconds: f64) {
        for (kind, name) in [from, to] {
            let column = match kind {
                "route" => &mut self.routes,
                "upstream" => &mut self.upstreams,
                _ => &mut self.endpoints,
            };
            column.insert(name.to_owned());
        }
        self.edges.push(json!({
            "from": format!("{}:{}", from.0, from.1),
            "to": format!("{}:{}", to.0, to.1),
            "rate": rate(tally.count, seconds),
            "errors": share(tally.errors, tally.count),
            "p50": millis(ATTEMPTS.quantile_ns(&tally.durations, 0.5)),
            "p99": millis(ATTEMPTS.quantile_ns(&tally.durations, 0.99)),
            "count": tally.count,
        }));
    }

    fn into_json(self, seconds: f64) -> Value {
        let mut nodes = vec![json!({"id": "client", "kind": "clients", "name": "clients"})];
        for (kind, names) in [("route", &self.routes), ("upstream", &self.upstreams), ("endpoint", &self.endpoints)] {
            nodes.extend(names.iter().map(|name| json!({"id": format!("{kind}:{name}"), "kind": kind, "name": name})));
        }
        json!({"window_s": (seconds * 1e3).round() / 1e3, "nodes": nodes, "edges": self.edges})
    }
}
