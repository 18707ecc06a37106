//! What several rules tell: how a time compares, how the other endpoints were, where the request was, what went wrong before.
//!
//! In: a case, and a sentence that has begun. Out: the sentence with another clause, or as it was where nothing is known. Not here: which
//! verdict it is.

use super::Case;
use crate::telemetry::process::verdict::baseline::Part;
use crate::telemetry::process::verdict::words::{Line, Name, Size, Time, Versus};
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{Attempt, MethodTag, Phase};

impl Case<'_> {
    /// Compares a part with what is typical, where that is known.
    pub(super) fn compare(&self, line: &mut Line, part: Part, spent: u64) {
        if let Some(typical) = self.typical(part) {
            line.say(format_args!(", {} for this route", Versus { spent, typical }));
        }
    }

    /// Says how the other endpoints of the upstream were, where that is known.
    pub(super) fn tell_others(&self, line: &mut Line, attempt: &Attempt, beside: Option<u64>) {
        let (normal, slow) = self.others(attempt, beside);
        let mut before = ";";
        for (peers, what) in [(normal, "normal"), (slow, "slow too")] {
            match (peers.count, peers.first) {
                (1, first) => line.say(format_args!("{before} {} was {what}", Name(first))),
                (0, _) => continue,
                (count, _) => line.say(format_args!("{before} {count} other endpoints were {what}")),
            }
            before = ",";
        }
    }

    /// Where the request was when it was ended from elsewhere.
    pub(super) fn tell_stage(&self, line: &mut Line) {
        let Some(attempt) = self.last() else {
            let answered = self.failed_by(&[Reason::ClientGone]).is_some() && self.record.status != 499;
            return line.add(if answered { "while it was sent the gateway's own answer" } else { "before an upstream was asked" });
        };
        let (name, phases) = (self.name(attempt), &attempt.phases);
        let (queue, send, wait) = (phases.of(Phase::Queue), phases.of(Phase::Send), phases.of(Phase::Wait));
        if attempt.status == 101 {
            line.say(format_args!("while its tunnel to {name} was open"));
        } else if attempt.status > 0 && self.record.response_bytes > 0 {
            line.say(format_args!("with {} of the answer of {name} sent", Size(self.record.response_bytes)));
        } else if attempt.status > 0 {
            line.say(format_args!("while the answer of {name} was sent"));
        } else if attempt.reason.is_some_and(|reason| Some(reason) != self.reason()) {
            line.add("while it was told of an error: ");
            self.tell_mishap(line, attempt);
        } else if wait > 0 {
            line.say(format_args!("while {name} had not answered for {}", Time(wait)));
            self.compare(line, Part::Of(Phase::Wait), wait);
            self.tell_others(line, attempt, Some(wait));
        } else if send > 0 {
            line.say(format_args!("while the request was on its way to {name}"));
        } else if queue > 0 && connecting(attempt) == 0 {
            line.say(format_args!("with {} in the queue for a connection to {name}", Time(queue)));
        } else {
            line.say(format_args!("before there was a connection to {name}"));
        }
    }

    /// The attempts before the last one, where there were any.
    pub(super) fn tell_former(&self, line: &mut Line) {
        if let Some((_, former)) = self.record.attempts().split_last()
            && !former.is_empty()
        {
            line.add("; before that, ");
            self.tell_mishaps(line, former);
        }
    }

    /// Failed attempts, one after the other. What befell the same endpoint again is told once.
    pub(super) fn tell_mishaps(&self, line: &mut Line, attempts: &[Attempt]) {
        let mut before = None;
        for alike in attempts.chunk_by(is_same_mishap) {
            let [attempt, ..] = alike else { continue };
            match before {
                Some(Some(Reason::ConnectRefused)) if attempt.reason == Some(Reason::ConnectRefused) => {
                    line.say(format_args!(", then by {}", self.name(attempt)));
                }
                _ => {
                    line.add(if before.is_some() { ", then " } else { "" });
                    self.tell_mishap(line, attempt);
                }
            }
            match alike.len() {
                1 => {}
                2 => line.add(", twice"),
                count => line.say(format_args!(", {count} times")),
            }
            before = Some(attempt.reason);
        }
    }

    fn tell_mishap(&self, line: &mut Line, attempt: &Attempt) {
        let name = self.name(attempt);
        match attempt.reason {
            Some(Reason::ConnectRefused) => line.say(format_args!("connection refused by {name}")),
            Some(Reason::ConnectTimeout) => line.say(format_args!("no connection to {name} within {}", Time(connecting(attempt)))),
            Some(Reason::ConnectFailed) => line.say(format_args!("no way to {name}")),
            Some(Reason::DnsFailed) => line.say(format_args!("the name of {name} did not resolve")),
            Some(Reason::UpstreamStale) => line.say(format_args!("{name} closed an idle connection as the request went out")),
            Some(reason) => line.say(format_args!("{} at {name}", reason.label())),
            None => line.say(format_args!("an attempt at {name}")),
        }
    }

    /// Why there was no further attempt, where the record shows it.
    pub(super) fn tell_why_settled(&self, line: &mut Line, reason: Reason) {
        let method = self.record.method;
        let repeatable =
            matches!(method, MethodTag::Get | MethodTag::Head | MethodTag::Options | MethodTag::Trace | MethodTag::Put | MethodTag::Delete);
        match self.record.attempts().len() {
            _ if reason == Reason::UpstreamStale && !repeatable => {
                line.add("; a request that is not idempotent is not sent twice");
            }
            1 => line.add("; the route makes one attempt"),
            _ => line.add("; no attempt is left"),
        }
    }
}

/// The same would be told of both.
fn is_same_mishap(one: &Attempt, other: &Attempt) -> bool {
    let told = |attempt: &Attempt| {
        let waited = (attempt.reason == Some(Reason::ConnectTimeout)).then(|| Time(connecting(attempt)).to_string());
        (attempt.endpoint, attempt.reason, waited)
    };
    told(one) == told(other)
}

/// Nanoseconds until there was no connection.
pub(super) fn connecting(attempt: &Attempt) -> u64 {
    attempt.phases.of(Phase::Dns).saturating_add(attempt.phases.of(Phase::Connect))
}
