//! Why a request failed or was slow: one verdict each, as data and in words.
//!
//! In: every record as it ends. Out: nothing for a normal one; else a cause, how sure it is, and one sentence. It is compared with the own
//! past of its route and of its endpoints, learned from requests that succeeded. What the record does not tell is said to be unknown.
//! Not here: which requests are kept (`keep`), and what changed over time.

mod words;
mod baseline;
mod table;
mod rules;

use std::sync::Arc;

use crate::base::clock::Tick;
use crate::telemetry::record::legend::{EndpointLegend, RouteId, RouteLegend};
use crate::telemetry::record::{Phase, Record};
use baseline::{EndpointBaseline, Part, RouteBaseline, SLOW_MARGIN_NS, group_of};
use rules::Case;
use table::Table;

/// A cause, how sure it is, and a sentence of at most 240 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) code: Code,
    pub(crate) confidence: Confidence,
    pub(crate) text: Box<str>,
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confidence {
    /// The record itself says it.
    Certain,
    /// It follows from what other requests met meanwhile, or from what it cannot have been.
    Likely,
    /// The record does not say it.
    Unknown,
}

/// The cause. Labels are stable: filters and links use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// The answer of the endpoint took its time, in this request or at all endpoints.
    SlowUpstream,
    /// One endpoint is slow lately while others of its upstream are normal.
    SlowEndpoint,
    SlowClientUpload,
    SlowClientDownload,
    SlowQueue,
    SlowConnect,
    SlowDns,
    SlowGateway,
    /// Nobody was slow: the body was large, or the route's bodies are streams.
    LongTransfer,
    UpstreamRefused,
    /// Its name does not resolve, or no way leads there.
    UpstreamUnreachable,
    UpstreamReset,
    UpstreamClosedStale,
    UpstreamTimeout,
    UpstreamMalformed,
    UpstreamErrorStatus,
    RetriedAndRecovered,
    RetriesExhausted,
    NoRoute,
    NoEndpoint,
    /// A filter of the route gave the 5xx.
    AnsweredByFilter,
    Overloaded,
    ClientLeft,
    ClientTooSlow,
    MalformedRequest,
    TooLarge,
    Deadline,
    ShuttingDown,
    Internal,
    Unknown,
}

/// What is typical for a route, in nanoseconds. A part that took no time counts as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Typical {
    /// Requests that it is known from, older ones counting less.
    pub(crate) count: u64,
    pub(crate) duration: Spread,
    pub(crate) own: Spread,
    /// From the request's first byte to its head's last.
    pub(crate) head: Spread,
    /// In the order of `Phase::ALL`.
    pub(crate) phases: [Spread; Phase::COUNT],
}

/// Quantiles, exact to 10 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) p50_ns: u64,
    pub(crate) p90_ns: u64,
}

/// What is typical for routes and endpoints, and the rules that judge by it.
#[derive(Default)]
pub(crate) struct Verdicts {
    routes: Table<RouteBaseline>,
    endpoints: Table<EndpointBaseline>,
}

impl Verdicts {
    pub(crate) fn new() -> Self {
        Verdicts::default()
    }

    /// A verdict where the request failed, needed several attempts or was slow: longer than `slower_than`, far beyond what its route is
    /// known for, or far beyond what the other endpoints take. Then it is learned from, if it succeeded.
    pub(crate) fn judge(
        &mut self,
        record: &Record,
        route: &RouteLegend,
        endpoints: &[Arc<EndpointLegend>],
        slower_than: Option<u64>,
    ) -> Option<Verdict> {
        let failed = record.reason.is_some() || record.status >= 500 || record.attempt_count > 1;
        let slow = self.is_slow(record, slower_than);
        let verdict = (failed || slow).then(|| {
            let baseline = self.routes.get(record.route.0);
            rules::judge(&Case::of(record, route, endpoints, slow, baseline, &self.endpoints))
        });
        // Not from 101: a tunnel lasts as long as it is wanted.
        if !failed && (200..400).contains(&record.status) {
            self.learn(record, endpoints);
        }
        verdict
    }

    /// What is typical for a route; none where nothing is known.
    pub(crate) fn typical(&self, route: RouteId) -> Option<Typical> {
        let baseline = self.routes.get(route.0).filter(|baseline| baseline.count() > 0)?;
        let part = |part| Spread { p50_ns: baseline.quantile(part, 500), p90_ns: baseline.quantile(part, 900) };
        Some(Typical {
            count: baseline.count(),
            duration: Spread { p50_ns: baseline.duration(500), p90_ns: baseline.duration(900) },
            own: part(Part::Own),
            head: part(Part::Head),
            phases: Phase::ALL.map(|phase| part(Part::Of(phase))),
        })
    }

    /// Routes and endpoints whose past was forgotten because others needed the room.
    pub(crate) fn forgotten(&self) -> u64 {
        self.routes.forgotten() + self.endpoints.forgotten()
    }

    fn is_slow(&self, record: &Record, slower_than: Option<u64>) -> bool {
        let duration = record.duration_ns();
        record.status != 101
            && (slower_than.is_some_and(|limit| duration > limit)
                || self.routes.get(record.route.0).is_some_and(|baseline| duration > baseline.slow_above())
                || self.waited_for_slow_endpoint(record))
    }

    /// A route gets used to an endpoint that is slow all the time; beside the others, it still is.
    fn waited_for_slow_endpoint(&self, record: &Record) -> bool {
        let Some(attempt) = record.attempts().last() else { return false };
        let wait = attempt.phases.of(Phase::Wait);
        wait > SLOW_MARGIN_NS && self.endpoints.get(attempt.endpoint.0).is_some_and(|past| wait > past.slow_wait_above())
    }

    fn learn(&mut self, record: &Record, endpoints: &[Arc<EndpointLegend>]) {
        let now = record.ended;
        self.routes.touch(record.route.0, || (0, RouteBaseline::new(now))).learn(record);
        let answered = record.attempts().last().filter(|attempt| attempt.status > 0);
        if let Some(attempt) = answered
            && let Some(legend) = endpoints.get(attempt.endpoint.0 as usize)
        {
            let (id, group) = (attempt.endpoint.0, group_of(&legend.upstream));
            let endpoint = self.endpoints.touch(id, || (group, EndpointBaseline::new(now)));
            endpoint.learn(attempt, now);
            if endpoint.is_to_be_compared(now) {
                self.compare(id, group, endpoints, now);
            }
        }
    }

    /// Two upstreams may share a group, so that their names are compared as well.
    fn compare(&mut self, id: u32, group: u64, endpoints: &[Arc<EndpointLegend>], now: Tick) {
        let upstream = |id: u32| endpoints.get(id as usize).map(|legend| &legend.upstream);
        let others = self.endpoints.of_group(group).filter(|(other, _)| *other != id && upstream(*other) == upstream(id));
        let slowest = others.filter_map(|(_, other)| other.known_wait(now)).max();
        self.endpoints.touch(id, || (group, EndpointBaseline::new(now))).compare(slowest, now);
    }
}

impl Confidence {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Confidence::Certain => "certain",
            Confidence::Likely => "likely",
            Confidence::Unknown => "unknown",
        }
    }
}

impl Code {
    /// Every code and its label, in the order of the codes.
    pub(crate) const LABELS: [(Code, &'static str); 30] = [
        (Code::SlowUpstream, "slow_upstream"),
        (Code::SlowEndpoint, "slow_endpoint"),
        (Code::SlowClientUpload, "slow_client_upload"),
        (Code::SlowClientDownload, "slow_client_download"),
        (Code::SlowQueue, "slow_queue"),
        (Code::SlowConnect, "slow_connect"),
        (Code::SlowDns, "slow_dns"),
        (Code::SlowGateway, "slow_gateway"),
        (Code::LongTransfer, "long_transfer"),
        (Code::UpstreamRefused, "upstream_refused"),
        (Code::UpstreamUnreachable, "upstream_unreachable"),
        (Code::UpstreamReset, "upstream_reset"),
        (Code::UpstreamClosedStale, "upstream_closed_stale"),
        (Code::UpstreamTimeout, "upstream_timeout"),
        (Code::UpstreamMalformed, "upstream_malformed"),
        (Code::UpstreamErrorStatus, "upstream_error_status"),
        (Code::RetriedAndRecovered, "retried_and_recovered"),
        (Code::RetriesExhausted, "retries_exhausted"),
        (Code::NoRoute, "no_route"),
        (Code::NoEndpoint, "no_endpoint"),
        (Code::AnsweredByFilter, "answered_by_filter"),
        (Code::Overloaded, "overloaded"),
        (Code::ClientLeft, "client_left"),
        (Code::ClientTooSlow, "client_too_slow"),
        (Code::MalformedRequest, "malformed_request"),
        (Code::TooLarge, "too_large"),
        (Code::Deadline, "deadline"),
        (Code::ShuttingDown, "shutting_down"),
        (Code::Internal, "internal"),
        (Code::Unknown, "unknown"),
    ];

    pub(crate) fn label(self) -> &'static str {
        Code::LABELS[self as usize].1
    }
}

#[cfg(test)]
mod tests;
