//! The workers' shards, read as one.
//!
//! In: the series of every worker. Out: families with labels and exemplars, built when somebody asks. Not here: writing to the cells
//! (`record::series`), text formats (`export`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::exemplars::Exemplars;
use crate::telemetry::export::access_log::error_type;
use crate::telemetry::export::ledger::{self, Ledger, Signal};
use crate::telemetry::export::metrics::{Exemplar, Family, FamilyKind, Histogram, Sample, Value};
use crate::telemetry::record::ending::Ending;
use crate::telemetry::record::instruments::{Feed, Gauges};
use crate::telemetry::record::legend::{EndpointLegend, RouteLegend};
use crate::telemetry::record::names::{self, METHODS, Metric, PHASE_LABELS, VERSIONS};
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::series::{BOUND_COUNT, Budget, FINE_BOUNDS_NS, Key, Kind, Parts, Reading, SUBJECT_FOLDED, Series};

type Labels = Vec<(&'static str, Arc<str>)>;

pub(super) struct Aggregate {
    shards: Vec<Vec<Arc<Series>>>,
    budget: Arc<Budget>,
}

/// Readings under the labels that they are shown with: several keys may share labels.
type Shown = BTreeMap<Labels, (Reading, [Option<Exemplar>; BOUND_COUNT + 1])>;

impl Aggregate {
    pub(super) fn new(workers: usize, budget: Arc<Budget>) -> Self {
        Aggregate { shards: vec![Vec::new(); workers], budget }
    }

    /// Takes up a worker's new series.
    pub(super) fn adopt(&mut self, worker: usize, arrivals: &mut rtrb::Consumer<Arc<Series>>) {
        while let Ok(series) = arrivals.pop() {
            self.shards[worker].push(series);
        }
    }

    pub(super) fn families(
        &self,
        feeds: &[Feed],
        routes: &[Arc<RouteLegend>],
        endpoints: &[Arc<EndpointLegend>],
        exemplars: &Exemplars,
        ledger: &Ledger,
    ) -> Vec<Family> {
        let readings = self.readings();
        let mut shown: BTreeMap<u8, Shown> = BTreeMap::new();
        let mut requests = BTreeMap::new();
        let mut bytes: BTreeMap<Labels, [u64; 2]> = BTreeMap::new();
        let mut retries = BTreeMap::new();
        for (key, reading) in &readings {
            let parts = key.unpack();
            let labels = labels_of(parts, routes, endpoints);
            let slot = shown.entry(parts.kind as u8).or_default().entry(labels).or_default();
            slot.0.add(reading);
            merge(&mut slot.1, exemplars.of(*key));
            match parts.kind {
                Kind::Server => {
                    let route = route_label(parts, routes);
                    *requests
                        .entry(vec![(names::LABEL_ROUTE, route.clone()), (names::LABEL_OUTCOME, outcome(parts).into())])
                        .or_insert(0) += reading.count();
                    let total = bytes.entry(vec![(names::LABEL_ROUTE, route)]).or_default();
                    total[0] += reading.extra[0];
                    total[1] += reading.extra[1];
                }
                Kind::Client => {
                    *retries.entry(vec![(names::LABEL_UPSTREAM, upstream_label(parts, endpoints))]).or_insert(0) += reading.extra[0]
                }
                Kind::SelfTime | Kind::Phase => {}
            }
        }
        let histograms = [
            (&names::SERVER_DURATION, Kind::Server),
            (&names::CLIENT_DURATION, Kind::Client),
            (&names::SELF_TIME, Kind::SelfTime),
            (&names::PHASE, Kind::Phase),
        ];
        let mut families: Vec<Family> =
            histograms.into_iter().map(|(metric, kind)| histogram_family(metric, kind, shown.remove(&(kind as u8)))).collect();
        fill_outcomes(&mut requests);
        families.push(counter_family(&names::REQUESTS, requests));
        families.push(counter_family(&names::REQUEST_BYTES, bytes.iter().map(|(labels, total)| (labels.clone(), total[0])).collect()));
        families.push(counter_family(&names::RESPONSE_BYTES, bytes.into_iter().map(|(labels, total)| (labels, total[1])).collect()));
        families.push(counter_family(&names::RETRIES, retries));
        families.extend(self.gauge_families(feeds));
        families.extend(poll_families(feeds));
        families.extend(ledger_families(ledger));
        families
    }

    fn readings(&self) -> BTreeMap<Key, Reading> {
        let mut readings: BTreeMap<Key, Reading> = BTreeMap::new();
        for series in self.shards.iter().flatten() {
            series.read_into(readings.entry(series.key).or_default());
        }
        readings
    }

    fn gauge_families(&self, feeds: &[Feed]) -> Vec<Family> {
        let sum = |cell: fn(&Gauges) -> &AtomicU64| {
            feeds.iter().map(|feed| cell(&feed.gauges).load(Ordering::Relaxed)).fold(0, u64::wrapping_add) as f64
        };
        let gauge = |metric, value| Family::single(metric, FamilyKind::Gauge, value);
        let counter = |metric, value| Family::single(metric, FamilyKind::Counter, value);
        let refused_clients = sum(|gauges| &gauges.connections_refused_client);
        let mut closed = Family::new(&names::CONNECTIONS_CLOSED, FamilyKind::Counter);
        for ending in Ending::ALL {
            let count = feeds.iter().map(|feed| feed.gauges.connections_closed[ending as usize].load(Ordering::Relaxed)).sum::<u64>();
            closed.push(vec![(names::LABEL_REASON, ending.label().into())], count as f64);
        }
        vec![
            gauge(&names::ACTIVE_REQUESTS, sum(|gauges| &gauges.active_requests)),
            gauge(&names::CONNECTIONS, sum(|gauges| &gauges.connections)),
            counter(&names::CONNECTIONS_ACCEPTED, sum(|gauges| &gauges.connections_accepted)),
            counter(&names::CONNECTIONS_REFUSED, sum(|gauges| &gauges.connections_refused) + refused_clients),
            counter(&names::CONNECTIONS_REFUSED_CLIENT, refused_clients),
            closed,
            gauge(&names::SERIES, self.budget.used() as f64),
            counter(&names::FOLDED_SERIES, self.budget.folded() as f64),
        ]
    }
}

/// How long workers stay in one poll, which is how long everything else on them waits.
fn poll_families(feeds: &[Feed]) -> [Family; 2] {
    let mut durations = Family::new(&names::POLL_DURATION, FamilyKind::Histogram);
    let mut slow = Family::new(&names::SLOW_POLLS, FamilyKind::Counter);
    for (worker, feed) in feeds.iter().enumerate() {
        let labels: Labels = vec![(names::LABEL_THREAD, format!("pellucid-w{worker}").into())];
        let histogram = Histogram { bounds: &FINE_BOUNDS_NS, reading: feed.polls.reading(), exemplars: Default::default() };
        durations.samples.push(Sample { labels: labels.clone(), value: Value::Histogram(Box::new(histogram)) });
        slow.push(labels, feed.polls.slow().0 as f64);
    }
    [durations, slow]
}

fn merge(slots: &mut [Option<Exemplar>; BOUND_COUNT + 1], newer: [Option<Exemplar>; BOUND_COUNT + 1]) {
    for (slot, candidate) in slots.iter_mut().zip(newer) {
        if candidate.is_some_and(|candidate| slot.is_none_or(|held| held.unix_nanos < candidate.unix_nanos)) {
            *slot = candidate;
        }
    }
}

fn histogram_family(metric: &'static Metric, kind: Kind, shown: Option<Shown>) -> Family {
    let mut family = Family::new(metric, FamilyKind::Histogram);
    family.samples = shown
        .into_iter()
        .flatten()
        .map(|(labels, (reading, exemplars))| Sample {
            labels,
            value: Value::Histogram(Box::new(Histogram { bounds: kind.bounds(), reading, exemplars })),
        })
        .collect();
    family
}

/// Each route has its outcomes from the first request on, so that a first failure is a step from zero and not the beginning of a series.
fn fill_outcomes(requests: &mut BTreeMap<Labels, u64>) {
    let routes: Vec<Arc<str>> = requests.keys().map(|labels| Arc::clone(&labels[0].1)).collect();
    for route in routes {
        for outcome in ["ok", "client_error", "server_error"] {
            requests.entry(vec![(names::LABEL_ROUTE, Arc::clone(&route)), (names::LABEL_OUTCOME, outcome.into())]).or_insert(0);
        }
    }
}

fn counter_family(metric: &'static Metric, values: BTreeMap<Labels, u64>) -> Family {
    let mut family = Family::new(metric, FamilyKind::Counter);
    for (labels, value) in values {
        family.push(labels, value as f64);
    }
    family
}

fn ledger_families(ledger: &Ledger) -> Vec<Family> {
    let mut families = [
        Family::new(&names::PRODUCED, FamilyKind::Counter),
        Family::new(&names::EXPORTED, FamilyKind::Counter),
        Family::new(&names::REJECTED, FamilyKind::Counter),
        Family::new(&names::DROPPED, FamilyKind::Counter),
        Family::new(&names::QUEUED, FamilyKind::Gauge),
    ];
    for signal in Signal::ALL {
        let balance = ledger.balance(signal);
        let labels = || vec![(names::LABEL_SIGNAL, Arc::from(signal.label()))];
        families[0].push(labels(), balance.produced as f64);
        families[1].push(labels(), balance.exported as f64);
        families[2].push(labels(), balance.rejected as f64);
        for (reason, count) in ledger::Drop::ALL.iter().zip(balance.dropped) {
            let mut labels = labels();
            labels.push((names::LABEL_REASON, Arc::from(reason.label())));
            families[3].push(labels, count as f64);
        }
        families[4].push(labels(), balance.queued as f64);
    }
    families.into()
}

fn labels_of(parts: Parts, routes: &[Arc<RouteLegend>], endpoints: &[Arc<EndpointLegend>]) -> Labels {
    match parts.kind {
        Kind::Server => server_labels(parts, routes),
        Kind::Client => client_labels(parts, endpoints),
        Kind::SelfTime => vec![(names::LABEL_ROUTE, route_label(parts, routes))],
        Kind::Phase => {
            let phase = if folded(parts) { names::FOLDED } else { PHASE_LABELS[usize::from(parts.detail)] };
            vec![(names::LABEL_PHASE, phase.into()), (names::LABEL_UPSTREAM, upstream_label(parts, endpoints))]
        }
    }
}

fn server_labels(parts: Parts, routes: &[Arc<RouteLegend>]) -> Labels {
    let template = if folded(parts) {
        names::FOLDED.into()
    } else {
        routes.get(parts.subject as usize).map_or("".into(), |route| Arc::from(route.template.as_str()))
    };
    vec![
        (names::LABEL_METHOD, method_label(parts)),
        (names::LABEL_HTTP_ROUTE, template),
        (names::LABEL_STATUS, status_label(parts)),
        (names::LABEL_SCHEME, "http".into()),
        (names::LABEL_VERSION, if folded(parts) { names::FOLDED } else { VERSIONS[usize::from(parts.version)] }.into()),
        (names::LABEL_ERROR, error_label(parts)),
        (names::LABEL_ROUTE, route_label(parts, routes)),
    ]
}

fn client_labels(parts: Parts, endpoints: &[Arc<EndpointLegend>]) -> Labels {
    let endpoint = endpoints.get(parts.subject as usize).filter(|_| !folded(parts));
    vec![
        (names::LABEL_METHOD, method_label(parts)),
        (names::LABEL_SERVER_ADDRESS, endpoint.map_or(names::FOLDED, |endpoint| &endpoint.host).into()),
        (names::LABEL_SERVER_PORT, endpoint.map_or_else(|| names::FOLDED.to_owned(), |endpoint| endpoint.port.to_string()).into()),
        (names::LABEL_STATUS, status_label(parts)),
        (names::LABEL_ERROR, error_label(parts)),
        (names::LABEL_UPSTREAM, upstream_label(parts, endpoints)),
    ]
}

fn folded(parts: Parts) -> bool {
    parts.subject == SUBJECT_FOLDED
}

fn method_label(parts: Parts) -> Arc<str> {
    if folded(parts) { names::FOLDED } else { METHODS[usize::from(parts.detail)] }.into()
}

fn status_label(parts: Parts) -> Arc<str> {
    match parts.status {
        _ if folded(parts) => names::FOLDED.into(),
        0 => "".into(),
        status => status.to_string().into(),
    }
}

fn error_label(parts: Parts) -> Arc<str> {
    match Reason::from_code(parts.reason) {
        Some(reason) => error_type(reason, parts.status).into(),
        // For a client any status from 400 on is an error, and the status is its type (semantic conventions for HTTP spans and metrics).
        None if parts.kind == Kind::Client && parts.status >= 400 && !folded(parts) => parts.status.to_string().into(),
        None => "".into(),
    }
}

fn route_label(parts: Parts, routes: &[Arc<RouteLegend>]) -> Arc<str> {
    if folded(parts) {
        return names::FOLDED.into();
    }
    routes.get(parts.subject as usize).map_or("".into(), |route| Arc::from(route.name.as_str()))
}

fn upstream_label(parts: Parts, endpoints: &[Arc<EndpointLegend>]) -> Arc<str> {
    if folded(parts) {
        return names::FOLDED.into();
    }
    endpoints.get(parts.subject as usize).map_or("".into(), |endpoint| Arc::from(endpoint.upstream.as_str()))
}

/// How a request ended, in a word.
fn outcome(parts: Parts) -> &'static str {
    match (parts.status, Reason::from_code(parts.reason)) {
        _ if folded(parts) => names::FOLDED,
        (_, Some(Reason::ClientGone | Reason::ClientWriteTimeout)) => "client_gone",
        (500.., _) => "server_error",
        (_, Some(_)) if parts.status < 400 => "broken",
        (400.., _) => "client_error",
        _ => "ok",
    }
}
