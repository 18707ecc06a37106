//! What is counted in a step: of a route, its requests; of a route and an endpoint together, the attempts.
//!
//! In: facts of a record, as a `Shot`. Out: tallies that add up, and the room that they take once their step has passed. A tunnel counts,
//! but not how long it was: it lasts as long as it is wanted. Not here: for how long steps are remembered beyond the ladders' lengths.

use super::sketch::{self, ATTEMPT_BUCKETS, ATTEMPTS, DURATION_BUCKETS, DURATIONS, Packed, SELF_BUCKETS, SELVES};
use super::steps::{Ladder, Tally};
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{Attempt, Phase, Record};

const SWITCHING_PROTOCOLS: u16 = 101;

/// What a request is to its route's tally. Bucketing is the dearer part, and done once for all tallies that count it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shot {
    duration_ns: u64,
    /// None of a tunnel.
    duration: Option<u8>,
    own: u8,
    is_error: bool,
    status_class: u16,
}

/// The requests of a route, or of all.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    pub(super) count: u32,
    /// Those that have failed, as the record says it.
    pub(super) errors: u32,
    pub(super) client_errors: u32,
    pub(super) server_errors: u32,
    pub(super) sum_ns: u64,
    pub(super) durations: [u32; DURATION_BUCKETS],
    pub(super) selves: [u32; SELF_BUCKETS],
}

#[derive(Clone, Debug)]
pub(super) struct PackedRequests {
    count: u32,
    errors: u32,
    client_errors: u32,
    server_errors: u32,
    /// Seven digits are enough for a mean.
    sum_ns: f32,
    durations: Packed<DURATION_BUCKETS>,
    selves: Packed<SELF_BUCKETS>,
}

/// The attempts of a route at an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    pub(super) count: u32,
    /// No answer came, or 5xx.
    pub(super) errors: u32,
    pub(super) phases_ns: [u64; Phase::COUNT],
    pub(super) durations: [u32; ATTEMPT_BUCKETS],
}

#[derive(Clone, Debug)]
pub(super) struct PackedAttempts {
    count: u32,
    errors: u32,
    phases_ns: [f32; Phase::COUNT],
    durations: Packed<ATTEMPT_BUCKETS>,
}

impl Shot {
    pub(super) fn of(record: &Record) -> Self {
        let duration_ns = record.duration_ns();
        let timed = record.status != SWITCHING_PROTOCOLS;
        Shot {
            duration_ns: if timed { duration_ns } else { 0 },
            duration: timed.then(|| DURATIONS.bucket(duration_ns) as u8),
            own: SELVES.bucket(record.self_ns) as u8,
            is_error: record.has_failed(),
            status_class: record.status / 100,
        }
    }
}

impl Requests {
    pub(super) fn note(&mut self, shot: Shot) {
        self.count += 1;
        self.errors += u32::from(shot.is_error);
        self.client_errors += u32::from(shot.status_class == 4);
        self.server_errors += u32::from(shot.status_class == 5);
        self.sum_ns = self.sum_ns.saturating_add(shot.duration_ns);
        if let Some(bucket) = shot.duration {
            self.durations[usize::from(bucket)] += 1;
        }
        self.selves[usize::from(shot.own)] += 1;
    }
}

impl Default for Requests {
    fn default() -> Self {
        Requests {
            count: 0,
            errors: 0,
            client_errors: 0,
            server_errors: 0,
            sum_ns: 0,
            durations: [0; DURATION_BUCKETS],
            selves: [0; SELF_BUCKETS],
        }
    }
}

impl Tally for Requests {
    type Packed = PackedRequests;
    const LADDER: Ladder = Ladder { fine_s: 1, fine_len_max: 120, coarse_s: 10, coarse_len_max: 360 };

    fn count(&self) -> u32 {
        self.count
    }

    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.errors = self.errors.saturating_add(other.errors);
        self.client_errors = self.client_errors.saturating_add(other.client_errors);
        self.server_errors = self.server_errors.saturating_add(other.server_errors);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        sketch::add(&mut self.durations, &other.durations);
        sketch::add(&mut self.selves, &other.selves);
    }

    fn pack(&self) -> PackedRequests {
        PackedRequests {
            count: self.count,
            errors: self.errors,
            client_errors: self.client_errors,
            server_errors: self.server_errors,
            sum_ns: self.sum_ns as f32,
            durations: Packed::of(&self.durations),
            selves: Packed::of(&self.selves),
        }
    }

    fn add_packed(&mut self, packed: &PackedRequests) {
        self.count = self.count.saturating_add(packed.count);
        self.errors = self.errors.saturating_add(packed.errors);
        self.client_errors = self.client_errors.saturating_add(packed.client_errors);
        self.server_errors = self.server_errors.saturating_add(packed.server_errors);
        self.sum_ns = self.sum_ns.saturating_add(packed.sum_ns as u64);
        packed.durations.add_to(&mut self.durations);
        packed.selves.add_to(&mut self.selves);
    }

    fn held_bytes(packed: &PackedRequests) -> usize {
        packed.durations.held_bytes() + packed.selves.held_bytes()
    }
}

impl Attempts {
    pub(super) fn note(&mut self, attempt: &Attempt) {
        self.count += 1;
        let client_left = matches!(attempt.reason, Some(Reason::ClientGone | Reason::ClientWriteTimeout));
        self.errors += u32::from(attempt.status >= 500 || (attempt.reason.is_some() && !client_left));
        if attempt.status != SWITCHING_PROTOCOLS {
            for (sum_ns, spent_ns) in self.phases_ns.iter_mut().zip(attempt.phases.spent) {
                *sum_ns = sum_ns.saturating_add(spent_ns);
            }
            self.durations[ATTEMPTS.bucket(attempt.duration_ns())] += 1;
        }
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Attempts { count: 0, errors: 0, phases_ns: [0; Phase::COUNT], durations: [0; ATTEMPT_BUCKETS] }
    }
}

impl Tally for Attempts {
    type Packed = PackedAttempts;
    const LADDER: Ladder = Ladder { fine_s: 10, fine_len_max: 36, coarse_s: 60, coarse_len_max: 60 };

    fn count(&self) -> u32 {
        self.count
    }

    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.errors = self.errors.saturating_add(other.errors);
        for (sum_ns, more_ns) in self.phases_ns.iter_mut().zip(other.phases_ns) {
            *sum_ns = sum_ns.saturating_add(more_ns);
        }
        sketch::add(&mut self.durations, &other.durations);
    }

    fn pack(&self) -> PackedAttempts {
        PackedAttempts {
            count: self.count,
            errors: self.errors,
            phases_ns: self.phases_ns.map(|sum_ns| sum_ns as f32),
            durations: Packed::of(&self.durations),
        }
    }

    fn add_packed(&mut self, packed: &PackedAttempts) {
        self.count = self.count.saturating_add(packed.count);
        self.errors = self.errors.saturating_add(packed.errors);
        for (sum_ns, more_ns) in self.phases_ns.iter_mut().zip(packed.phases_ns) {
            *sum_ns = sum_ns.saturating_add(more_ns as u64);
        }
        packed.durations.add_to(&mut self.durations);
    }

    fn held_bytes(packed: &PackedAttempts) -> usize {
        packed.durations.held_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Tick;
    use crate::base::ids::SpanId;

    fn tally(status: u16, reason: Option<Reason>) -> Requests {
        let mut record = Record::empty();
        (record.status, record.reason, record.ended) = (status, reason, Tick(5_000_000));
        let mut tally = Requests::default();
        tally.note(Shot::of(&record));
        tally
    }

    #[test]
    fn an_error_is_a_request_that_has_failed() {
        let counted = |status, reason| {
            let tally = tally(status, reason);
            (tally.errors, tally.client_errors, tally.server_errors)
        };
        assert_eq!((counted(200, None), counted(200, Some(Reason::UpstreamBodyBroken))), ((0, 0, 0), (1, 0, 0)));
        assert_eq!((counted(404, Some(Reason::NoRoute)), counted(499, Some(Reason::ClientGone))), ((0, 1, 0), (0, 1, 0)));
        assert_eq!((counted(500, Some(Reason::UpstreamStatus)), counted(503, None)), ((1, 0, 1), (1, 0, 1)));
    }

    #[test]
    fn a_tunnel_counts_but_not_how_long_it_was() {
        let tunnel = tally(101, None);
        assert_eq!((tunnel.count, tunnel.sum_ns, sketch::total(&tunnel.durations)), (1, 0, 0));
        let mut record = Record::empty();
        let attempt = record.open_attempt(SpanId([1; 8]), Tick(0));
        (attempt.status, attempt.ended) = (101, Tick(9));
        attempt.phases.add(Phase::Body, 9);
        let mut attempts = Attempts::default();
        attempts.note(attempt);
        assert_eq!((attempts.count, attempts.phases_ns, sketch::total(&attempts.durations)), (1, [0; Phase::COUNT], 0));
    }

    #[test]
    fn a_tally_comes_out_of_its_packing_as_it_went_in() {
        let mut once = tally(503, None);
        once.add(&tally(404, None));
        let mut twice = once.clone();
        twice.add_packed(&once.pack());
        assert_eq!((twice.count, twice.errors, twice.client_errors, twice.server_errors), (4, 2, 2, 2));
        assert_eq!((twice.sum_ns, sketch::total(&twice.durations), sketch::total(&twice.selves)), (20_000_000, 4, 4));
    }
}
