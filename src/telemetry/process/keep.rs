//! Keep or drop: whether this hop's spans of an exchange are exported, decided when its outcome is known.
//!
//! In: a record. Out: keep, with the reason; pass; or more was to be kept than the policy allows in this second. What a client can
//! provoke (errors, slowness, a sampled flag) is under that limit; what our own share chose is not. Not here: the head decision, which went
//! downstream with the request.

use std::time::Duration;

use crate::base::clock::Tick;
use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::record::Record;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) errors: bool,
    pub(crate) retries: bool,
    pub(crate) slower_than: Option<Duration>,
    /// Traces a second, beyond those that our own share chose.
    pub(crate) per_second: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Keep(KeepReason),
    Pass,
    RateLimited,
}

/// The policy with its count of the current second.
#[derive(Debug)]
pub(crate) struct Keep {
    policy: Policy,
    second_began: Tick,
    kept: u32,
}

impl Keep {
    pub(crate) fn new(policy: Policy, now: Tick) -> Self {
        Keep { policy, second_began: now, kept: 0 }
    }

    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    pub(crate) fn decide(&mut self, record: &Record, now: Tick) -> Decision {
        let Some(reason) = self.reason(record) else { return Decision::Pass };
        if record.flags.chosen_here || self.admit(now) { Decision::Keep(reason) } else { Decision::RateLimited }
    }

    fn reason(&self, record: &Record) -> Option<KeepReason> {
        let failed = record.status >= 500 || record.reason.is_some_and(|_| record.status != 404);
        // A tunnel lasts as long as it is wanted.
        let timed = record.status != 101;
        let slow = timed && self.policy.slower_than.is_some_and(|limit| u128::from(record.duration_ns()) > limit.as_nanos());
        if failed && self.policy.errors {
            Some(KeepReason::Error)
        } else if record.attempt_count > 1 && self.policy.retries {
            Some(KeepReason::Retry)
        } else if slow {
            Some(KeepReason::Slow)
        } else {
            record.flags.sampled.then_some(KeepReason::Sampled)
        }
    }

    fn admit(&mut self, now: Tick) -> bool {
        if now.since(self.second_began) >= 1_000_000_000 {
            self.second_began = now;
            self.kept = 0;
        }
        let admitted = self.kept < self.policy.per_second;
        self.kept += u32::from(admitted);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::SpanId;
    use crate::telemetry::record::reason::Reason;

    fn keep(per_second: u32) -> Keep {
        let policy = Policy { errors: true, retries: true, slower_than: Some(Duration::from_millis(500)), per_second };
        Keep::new(policy, Tick(0))
    }

    #[test]
    fn what_went_wrong_is_kept_with_its_reason() {
        let mut plain = Record::empty();
        plain.status = 200;
        assert_eq!(keep(10).decide(&plain, Tick(0)), Decision::Pass);
        let mut slow = plain;
        slow.ended = Tick(600_000_000);
        assert_eq!(keep(10).decide(&slow, Tick(0)), Decision::Keep(KeepReason::Slow));
        let mut retried = slow;
        retried.open_attempt(SpanId([1; 8]), Tick(0));
        retried.open_attempt(SpanId([2; 8]), Tick(0));
        assert_eq!(keep(10).decide(&retried, Tick(0)), Decision::Keep(KeepReason::Retry));
        let mut failed = retried;
        failed.reason = Some(Reason::UpstreamClosed);
        assert_eq!(keep(10).decide(&failed, Tick(0)), Decision::Keep(KeepReason::Error));
        let mut sampled = plain;
        sampled.flags.sampled = true;
        assert_eq!(keep(10).decide(&sampled, Tick(0)), Decision::Keep(KeepReason::Sampled));
    }

    #[test]
    fn a_client_cannot_force_more_traces_than_the_limit_of_a_second() {
        let mut keep = keep(3);
        let mut forced = Record::empty();
        forced.status = 200;
        forced.flags.sampled = true;
        let kept = |keep: &mut Keep, record: &Record, now| {
            (0..10).filter(|_| keep.decide(record, now) == Decision::Keep(KeepReason::Sampled)).count()
        };
        assert_eq!(kept(&mut keep, &forced, Tick(0)), 3);
        assert_eq!(kept(&mut keep, &forced, Tick(999_999_999)), 0);
        assert_eq!(kept(&mut keep, &forced, Tick(1_000_000_000)), 3);
        forced.flags.chosen_here = true;
        assert_eq!(kept(&mut keep, &forced, Tick(1_000_000_000)), 10);
    }
}
