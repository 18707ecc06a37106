//! The rules, in their order: the first that holds gives the verdict.
//!
//! In: one record that failed or was slow, and what is typical. Out: its verdict. Each rule is one function; those of failures stand before
//! those of slowness, and what really ended a request before what happened on its way. Not here: which requests are judged.

mod telling;
mod failed;
mod slow;

use std::sync::Arc;

use super::baseline::{EndpointBaseline, Part, RouteBaseline, TYPICAL_REQUESTS_MIN, Trait, group_of};
use super::table::Table;
use super::words::{Line, Name, Plain, Time};
use super::{Code, Confidence, Verdict};
use crate::telemetry::record::legend::{EndpointId, EndpointLegend, RouteLegend};
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{Attempt, Phase, Record};

/// A verdict, if the rule holds.
type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// Every rule. What none of them explains is unknown.
const RULES: [Rule; 30] = [
    // It failed: the gateway, or the request itself.
    failed::internal,
    failed::shutting_down,
    failed::malformed_request,
    failed::too_large,
    failed::client_too_slow,
    failed::client_left,
    failed::no_route,
    failed::no_endpoint,
    failed::overloaded,
    failed::deadline,
    // It failed: an upstream.
    failed::retries_exhausted,
    failed::upstream_malformed,
    failed::upstream_timeout,
    failed::upstream_refused,
    failed::upstream_unreachable,
    failed::upstream_closed_stale,
    failed::upstream_reset,
    failed::upstream_error_status,
    failed::answered_by_filter,
    failed::unrecorded,
    // It succeeded at last.
    failed::retried_and_recovered,
    // It was slow.
    slow::gateway,
    slow::client_head,
    slow::queue,
    slow::dns,
    slow::connect,
    slow::upload,
    slow::endpoint,
    slow::upstream,
    slow::download,
];

pub(super) fn judge(case: &Case<'_>) -> Verdict {
    RULES.iter().find_map(|rule| rule(case)).unwrap_or_else(|| slow::nothing_stands_out(case))
}

/// Other endpoints answered normally lately: at most this many times their usual wait, and a margin for short waits.
const NORMAL_FACTOR: u64 = 2;
const NORMAL_MARGIN_NS: u64 = 1_000_000;
/// Characters of a route's name that are told.
const ROUTE_CHARS_MAX: usize = 60;

/// One record with all that a rule may look at.
pub(super) struct Case<'c> {
    record: &'c Record,
    route: &'c RouteLegend,
    endpoints: &'c [Arc<EndpointLegend>],
    is_slow: bool,
    /// None where too few requests of the route are known.
    baseline: Option<&'c RouteBaseline>,
    pasts: &'c Table<EndpointBaseline>,
    /// The part that made it slow.
    lead: Option<Part>,
}

/// Endpoints of which the same is true.
#[derive(Default)]
struct Peers<'c> {
    count: usize,
    first: Option<&'c EndpointLegend>,
    /// The longest of their recent waits.
    lately: u64,
}

impl<'c> Case<'c> {
    pub(super) fn of(
        record: &'c Record,
        route: &'c RouteLegend,
        endpoints: &'c [Arc<EndpointLegend>],
        is_slow: bool,
        baseline: Option<&'c RouteBaseline>,
        pasts: &'c Table<EndpointBaseline>,
    ) -> Self {
        let baseline = baseline.filter(|baseline| baseline.count() >= TYPICAL_REQUESTS_MIN);
        let lead = is_slow.then(|| slow::lead(record, baseline)).flatten();
        Case { record, route, endpoints, is_slow, baseline, pasts, lead }
    }

    fn reason(&self) -> Option<Reason> {
        self.record.reason
    }

    fn failed_by(&self, reasons: &[Reason]) -> Option<Reason> {
        self.reason().filter(|reason| reasons.contains(reason))
    }

    /// The reason, and the attempt that it is about.
    fn failed_at(&self, reasons: &[Reason]) -> Option<(Reason, &'c Attempt)> {
        Some((self.failed_by(reasons)?, self.last()?))
    }

    fn duration(&self) -> Time {
        Time(self.record.duration_ns())
    }

    fn route_name(&self) -> Plain<'c> {
        Plain(&self.route.name, ROUTE_CHARS_MAX)
    }

    fn last(&self) -> Option<&'c Attempt> {
        self.record.attempts().last()
    }

    fn legend(&self, endpoint: EndpointId) -> Option<&'c EndpointLegend> {
        self.endpoints.get(endpoint.0 as usize).map(|legend| &**legend)
    }

    fn name(&self, attempt: &Attempt) -> Name<'c> {
        Name(self.legend(attempt.endpoint))
    }

    /// The other endpoints of an attempt's upstream, those that answer normally lately and those that do not. Beside a wait, normal is much
    /// shorter and slow is about as long.
    fn others(&self, attempt: &Attempt, beside: Option<u64>) -> (Peers<'c>, Peers<'c>) {
        let (mut normal, mut slow) = (Peers::default(), Peers::default());
        let Some(own) = self.legend(attempt.endpoint) else { return (normal, slow) };
        let tried = |id| self.record.attempts().iter().any(|attempt| attempt.endpoint.0 == id);
        for (id, past) in self.pasts.of_group(group_of(&own.upstream)) {
            let other = self.legend(EndpointId(id)).filter(|other| other.upstream == own.upstream && !tried(id));
            let (Some(other), Some(lately)) = (other, past.lately(Trait::Wait, self.record.ended)) else { continue };
            let Some(usual) = past.usual_wait().or_else(|| self.typical(Part::Of(Phase::Wait))) else { continue };
            let is_usual = lately <= usual * NORMAL_FACTOR + NORMAL_MARGIN_NS;
            if is_usual && beside.is_none_or(|wait| lately <= wait / 2) {
                normal.add(other, lately);
            } else if !is_usual && beside.is_none_or(|wait| lately >= wait / 2) {
                slow.add(other, lately);
            }
        }
        (normal, slow)
    }

    /// What is typical for the route, where that is known.
    fn typical(&self, part: Part) -> Option<u64> {
        self.baseline.map(|baseline| baseline.quantile(part, 500))
    }
}

impl<'c> Peers<'c> {
    fn add(&mut self, legend: &'c EndpointLegend, lately: u64) {
        self.count += 1;
        self.first = self.first.or(Some(legend));
        self.lately = self.lately.max(lately);
    }
}

fn certain(code: Code, line: Line) -> Option<Verdict> {
    Some(Verdict { code, confidence: Confidence::Certain, text: line.finish() })
}

fn likely(code: Code, line: Line) -> Option<Verdict> {
    Some(Verdict { code, confidence: Confidence::Likely, text: line.finish() })
}

fn unknown(line: Line) -> Verdict {
    Verdict { code: Code::Unknown, confidence: Confidence::Unknown, text: line.finish() }
}

/// The attempt ended before the request was sent, so that another one is safe whatever its method.
fn is_unsent(reason: Reason) -> bool {
    matches!(reason, Reason::DnsFailed | Reason::ConnectRefused | Reason::ConnectTimeout | Reason::ConnectFailed)
}
