//! The rules of requests that failed, or needed several attempts.
//!
//! In: a case whose record has a reason, a 5xx or several attempts. Out: the verdict. What the gateway saw is told as it happened: who
//! ended it, after how long, and where the request was by then. Not here: requests that were only slow.

use super::telling::connecting;
use super::{Case, certain, is_unsent, unknown};
use crate::base::clock::Tick;
use crate::telemetry::process::verdict::baseline::Part;
use crate::telemetry::process::verdict::words::{Line, Plain, Size, Time, UpstreamOf};
use crate::telemetry::process::verdict::{Code, Verdict};
use crate::telemetry::record::names::METHODS;
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{MethodTag, Phase};

/// Characters of a path or a host that are repeated.
const GIVEN_CHARS_MAX: usize = 60;

pub(super) fn internal(case: &Case<'_>) -> Option<Verdict> {
    case.failed_by(&[Reason::Internal])?;
    certain(Code::Internal, Line::of(format_args!("the gateway itself broke down over this request; its log names the trace")))
}

pub(super) fn shutting_down(case: &Case<'_>) -> Option<Verdict> {
    case.failed_by(&[Reason::Draining])?;
    let mut line = Line::of(format_args!("the gateway ended and cut it off after {}, ", case.duration()));
    case.tell_stage(&mut line);
    certain(Code::ShuttingDown, line)
}

pub(super) fn malformed_request(case: &Case<'_>) -> Option<Verdict> {
    case.failed_by(&[Reason::MalformedRequest])?;
    let line = match case.last() {
        None => Line::of(format_args!("the client's request was malformed and was refused")),
        Some(attempt) => Line::of(format_args!(
            "the client's body was malformed or not as long as announced; {} did not get all of it",
            case.name(attempt)
        )),
    };
    certain(Code::MalformedRequest, line)
}

pub(super) fn too_large(case: &Case<'_>) -> Option<Verdict> {
    let what = match case.failed_by(&[Reason::TargetTooLong, Reason::HeadersTooLarge, Reason::BodyTooLarge])? {
        Reason::TargetTooLong => "the request's target is longer than this listener allows",
        Reason::HeadersTooLarge => "the request's head is larger, or has more fields, than this listener allows",
        _ => "the request's body is larger than this listener allows",
    };
    let mut line = Line::of(format_args!("{what}"));
    if case.record.request_bytes > 0 {
        line.say(format_args!("; it was cut off after {}", Size(case.record.request_bytes)));
    }
    certain(Code::TooLarge, line)
}

pub(super) fn client_too_slow(case: &Case<'_>) -> Option<Verdict> {
    let (received, sent) = (Size(case.record.request_bytes), Size(case.record.response_bytes));
    let line = match case.failed_by(&[Reason::HeaderTimeout, Reason::BodyTimeout, Reason::ClientWriteTimeout])? {
        Reason::HeaderTimeout => Line::of(format_args!("the client had not sent all of its request's head after {}", case.duration())),
        Reason::BodyTimeout => Line::of(format_args!("the client stopped sending its body: {received} came in {}", case.duration())),
        _ => Line::of(format_args!("the client stopped taking the answer: {sent} went out in {}", case.duration())),
    };
    certain(Code::ClientTooSlow, line)
}

pub(super) fn client_left(case: &Case<'_>) -> Option<Verdict> {
    case.failed_by(&[Reason::ClientGone])?;
    let record = case.record;
    let (closed, later) = (Time(record.left.since(record.began)), Time(record.ended.since(record.left)));
    // A client that closed its side may have left then, or have waited on: the record knows only when it was given up, or found gone.
    let mut line = match record.status {
        _ if record.left == Tick::NEVER => Line::of(format_args!("the client left after {}, ", case.duration())),
        499 => Line::of(format_args!("the client closed its side after {closed} and was given up {later} later, ")),
        _ => Line::of(format_args!("the client closed its side after {closed} and was found gone {later} later, ")),
    };
    case.tell_stage(&mut line);
    case.tell_former(&mut line);
    certain(Code::ClientLeft, line)
}

pub(super) fn no_route(case: &Case<'_>) -> Option<Verdict> {
    case.failed_by(&[Reason::NoRoute])?;
    let text = &case.record.text;
    let method = match case.record.method {
        MethodTag::Other => text.str(case.record.method_text),
        known => METHODS[known as usize].into(),
    };
    let path = text.str(case.record.path);
    let mut line = Line::of(format_args!("no route matches {} \"{}\"", Plain(&method, GIVEN_CHARS_MAX), Plain(&path, GIVEN_CHARS_MAX)));
    if !case.record.host.is_empty() {
        line.say(format_args!(" of host \"{}\"", Plain(&text.str(case.record.host), GIVEN_CHARS_MAX)));
    }
    certain(Code::NoRoute, line)
}

pub(super) fn no_endpoint(case: &Case<'_>) -> Option<Verdict> {
    case.failed_by(&[Reason::NoEndpoint])?;
    let mut line = Line::of(format_args!("the upstream of route {} has no endpoint to send to", case.route_name()));
    case.tell_former(&mut line);
    certain(Code::NoEndpoint, line)
}

pub(super) fn overloaded(case: &Case<'_>) -> Option<Verdict> {
    let reason = case.failed_by(&[Reason::PendingFull, Reason::InFlightFull, Reason::QueueTimeout])?;
    let attempt = case.last();
    let upstream = UpstreamOf(attempt.and_then(|attempt| case.legend(attempt.endpoint)));
    let mut line = match (reason, attempt) {
        (Reason::PendingFull, _) => {
            Line::of(format_args!("refused at once: as many requests wait for a connection to {upstream} as may (pool.pending)"))
        }
        (Reason::InFlightFull, _) => {
            Line::of(format_args!("refused at once: as many requests are in flight to {upstream} as may (pool.in_flight)"))
        }
        (_, Some(attempt)) => Line::of(format_args!(
            "no connection to {} became free within {} (pool.connections_per_endpoint)",
            case.name(attempt),
            Time(attempt.phases.of(Phase::Queue))
        )),
        (_, None) => Line::of(format_args!("no connection to {upstream} became free in time")),
    };
    case.tell_former(&mut line);
    certain(Code::Overloaded, line)
}

pub(super) fn deadline(case: &Case<'_>) -> Option<Verdict> {
    let reason = case.failed_by(&[Reason::ExchangeTimeout, Reason::UpgradeIdleTimeout])?;
    let mut line = match (reason, case.last()) {
        (Reason::UpgradeIdleTimeout, Some(attempt)) => {
            let name = case.name(attempt);
            Line::of(format_args!("nothing moved any more in the tunnel to {name}; it was closed after {}", case.duration()))
        }
        _ => {
            let mut line = Line::of(format_args!("the route's timeout passed after {}, ", case.duration()));
            case.tell_stage(&mut line);
            line
        }
    };
    case.tell_former(&mut line);
    certain(Code::Deadline, line)
}

pub(super) fn retries_exhausted(case: &Case<'_>) -> Option<Verdict> {
    let reason = case.reason().filter(|reason| is_unsent(*reason) || *reason == Reason::UpstreamStale)?;
    let attempts = case.record.attempts();
    if attempts.len() < 2 {
        return None;
    }
    let mut line = Line::new();
    case.tell_mishaps(&mut line, attempts);
    case.tell_why_settled(&mut line, reason);
    certain(Code::RetriesExhausted, line)
}

pub(super) fn upstream_malformed(case: &Case<'_>) -> Option<Verdict> {
    let (_, attempt) = case.failed_at(&[Reason::UpstreamMalformed])?;
    let mut line = match attempt.status {
        0 => Line::of(format_args!("the answer of {} is no valid HTTP/1.1", case.name(attempt))),
        _ => Line::of(format_args!(
            "the answer of {} broke the rules of HTTP/1.1 after {} of its body",
            case.name(attempt),
            Size(attempt.response_bytes)
        )),
    };
    case.tell_former(&mut line);
    certain(Code::UpstreamMalformed, line)
}

pub(super) fn upstream_timeout(case: &Case<'_>) -> Option<Verdict> {
    let (reason, attempt) = case.failed_at(&[Reason::ConnectTimeout, Reason::FirstByteTimeout, Reason::UpstreamBodyTimeout])?;
    let (name, wait) = (case.name(attempt), attempt.phases.of(Phase::Wait));
    let mut line = match reason {
        Reason::ConnectTimeout => {
            let mut line = Line::of(format_args!("no connection to {name} within {}", Time(connecting(attempt))));
            case.tell_why_settled(&mut line, reason);
            line
        }
        Reason::FirstByteTimeout if wait == 0 => {
            Line::of(format_args!("{name} neither took the whole request nor answered within {}", Time(attempt.phases.of(Phase::Send))))
        }
        Reason::FirstByteTimeout => {
            let mut line = Line::of(format_args!("{name} had the request and did not answer within {}", Time(wait)));
            case.compare(&mut line, Part::Of(Phase::Wait), wait);
            line
        }
        _ => Line::of(format_args!("{name} stopped sending its answer after {}", Size(attempt.response_bytes))),
    };
    case.tell_others(&mut line, attempt, None);
    case.tell_former(&mut line);
    certain(Code::UpstreamTimeout, line)
}

pub(super) fn upstream_refused(case: &Case<'_>) -> Option<Verdict> {
    case.single_mishap(&[Reason::ConnectRefused], Code::UpstreamRefused)
}

pub(super) fn upstream_unreachable(case: &Case<'_>) -> Option<Verdict> {
    case.single_mishap(&[Reason::DnsFailed, Reason::ConnectFailed], Code::UpstreamUnreachable)
}

pub(super) fn upstream_closed_stale(case: &Case<'_>) -> Option<Verdict> {
    case.single_mishap(&[Reason::UpstreamStale], Code::UpstreamClosedStale)
}

pub(super) fn upstream_reset(case: &Case<'_>) -> Option<Verdict> {
    let (reason, attempt) = case.failed_at(&[Reason::UpstreamReset, Reason::UpstreamClosed, Reason::UpstreamBodyBroken])?;
    let name = case.name(attempt);
    let asked = attempt.phases.of(Phase::Send).saturating_add(attempt.phases.of(Phase::Wait));
    let mut line = match reason {
        Reason::UpstreamReset if attempt.status == 101 => Line::of(format_args!("{name} broke the tunnel after {}", case.duration())),
        Reason::UpstreamReset => Line::of(format_args!("{name} broke the connection before it answered, {} into the request", Time(asked))),
        Reason::UpstreamClosed => {
            Line::of(format_args!("{name} closed the connection before it answered, {} into the request", Time(asked)))
        }
        _ => Line::of(format_args!("{name} broke its answer off after {}", Size(attempt.response_bytes))),
    };
    case.tell_others(&mut line, attempt, None);
    case.tell_former(&mut line);
    certain(Code::UpstreamReset, line)
}

pub(super) fn upstream_error_status(case: &Case<'_>) -> Option<Verdict> {
    let (_, attempt) = case.failed_at(&[Reason::UpstreamStatus])?;
    let mut line = Line::of(format_args!(
        "{} itself answered {} after {}",
        case.name(attempt),
        case.record.status,
        Time(attempt.phases.of(Phase::Wait))
    ));
    case.tell_others(&mut line, attempt, None);
    case.tell_former(&mut line);
    certain(Code::UpstreamErrorStatus, line)
}

pub(super) fn answered_by_filter(case: &Case<'_>) -> Option<Verdict> {
    let is_own = case.record.status >= 500 && case.reason().is_none() && case.last().is_none();
    is_own.then_some(())?;
    let line = Line::of(format_args!("a filter of route {} answers {}; no upstream was asked", case.route_name(), case.record.status));
    certain(Code::AnsweredByFilter, line)
}

/// No stage leaves such a record behind.
pub(super) fn unrecorded(case: &Case<'_>) -> Option<Verdict> {
    let status = case.record.status;
    match case.reason() {
        None if status < 500 => None,
        None => Some(unknown(Line::of(format_args!("it failed with status {status}; why was not recorded")))),
        Some(reason) => {
            Some(unknown(Line::of(format_args!("it failed with status {status} as {}; at which attempt was not recorded", reason.label()))))
        }
    }
}

pub(super) fn retried_and_recovered(case: &Case<'_>) -> Option<Verdict> {
    let (last, former) = case.record.attempts().split_last().filter(|(_, former)| !former.is_empty())?;
    let mut line = Line::new();
    case.tell_mishaps(&mut line, former);
    line.say(format_args!(", then retried on {}", case.name(last)));
    let wait = last.phases.of(Phase::Wait);
    if case.is_slow && wait > case.record.duration_ns() / 2 {
        line.say(format_args!(", which took {} to answer", Time(wait)));
    }
    certain(Code::RetriedAndRecovered, line)
}

impl Case<'_> {
    /// A failure before the request was sent, of the only attempt.
    fn single_mishap(&self, reasons: &[Reason], code: Code) -> Option<Verdict> {
        let (reason, attempt) = self.failed_at(reasons)?;
        let mut line = Line::new();
        self.tell_mishaps(&mut line, std::slice::from_ref(attempt));
        self.tell_why_settled(&mut line, reason);
        self.tell_others(&mut line, attempt, None);
        certain(code, line)
    }
}
