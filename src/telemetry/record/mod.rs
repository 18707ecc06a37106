//! The request record: the facts of one exchange, in one small value.
//!
//! In: facts, each written once by the stage that knows it. Out: a `Copy` value of fixed size that is handed over once, when the
//! exchange ends. Writing never awaits, locks or allocates. Not here: what is made of the facts (`process` and `export`).

pub(crate) mod names;
pub(crate) mod reason;
pub(crate) mod ending;
pub(crate) mod propagation;
pub(crate) mod baggage;
pub(crate) mod wire;
pub(crate) mod legend;
pub(crate) mod slim;
pub(crate) mod instruments;
pub(crate) mod series;
pub(crate) mod labels;
pub(crate) mod captured;
pub(crate) mod filtered;
pub(crate) mod polls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::base::clock::Tick;
use crate::base::ids::{SpanId, TraceId};
use crate::base::limits::{ATTEMPTS_MAX, RECORD_TEXT_BYTES};
use crate::base::text::{Piece, Text};
use legend::{EndpointId, RouteId};
use reason::Reason;

/// One exchange, from the first byte of its request to the last of its answer.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    facts: Facts,
    attempts: [Attempt; ATTEMPTS_MAX],
    pub(crate) text: Text<RECORD_TEXT_BYTES>,
}

/// What a record holds beside its attempts and its text. A record is used as if these were its own.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    /// The caller's span: the parent when the trace goes on, a link when it was restarted.
    pub(crate) parent: Option<Caller>,
    pub(crate) flags: TraceFlags,
    pub(crate) began: Tick,
    pub(crate) head_read: Tick,
    pub(crate) ended: Tick,
    /// When the client was seen to have closed its sending side; never where it was not. It may have left then, or wait for its answer: both
    /// look the same.
    pub(crate) left: Tick,
    /// Nanoseconds that the worker's thread spent inside this exchange: all time but its waits.
    pub(crate) self_ns: u64,
    pub(crate) route: RouteId,
    pub(crate) method: MethodTag,
    pub(crate) version: VersionTag,
    /// Zero until an answer is chosen; 499 where the client left before.
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    pub(crate) client: SocketAddr,
    pub(crate) listener_port: u16,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) attempt_count: u8,
    pub(crate) path: Piece,
    pub(crate) query: Piece,
    /// The path that goes upstream, where filters changed it.
    pub(crate) sent_path: Piece,
    pub(crate) host: Piece,
    pub(crate) user_agent: Piece,
    pub(crate) trace_state: Piece,
    /// The method as sent, where it is none of the known ones.
    pub(crate) method_text: Piece,
    /// Captured request headers, packed.
    pub(crate) captured: Piece,
    /// The filters that ran, packed.
    pub(crate) filters: Piece,
}

impl std::ops::Deref for Record {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl std::ops::DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
}

/// One try at one endpoint: a CLIENT span's worth of facts. Durations are nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) span_id: SpanId,
    pub(crate) endpoint: EndpointId,
    pub(crate) began: Tick,
    pub(crate) ended: Tick,
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    pub(crate) reused: bool,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) phases: Phases,
}

/// Where an attempt's time went, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Phases {
    pub(crate) spent: [u64; Phase::COUNT],
}

/// The phases of an attempt, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for a free connection under the upstream's caps.
    Queue,
    /// Resolving the endpoint's name.
    Dns,
    /// The TCP handshake.
    Connect,
    /// Writing the request.
    Send,
    /// From the request's last byte to the answer's first.
    Wait,
    /// From the answer's head to its last byte.
    Body,
}

impl Phase {
    pub(crate) const COUNT: usize = 6;
    pub(crate) const ALL: [Phase; Phase::COUNT] = [Phase::Queue, Phase::Dns, Phase::Connect, Phase::Send, Phase::Wait, Phase::Body];
}

/// The span that called us, as `traceparent` named it.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    /// The caller's trace was not continued: it becomes a link.
    pub(crate) is_link: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceFlags {
    /// Goes downstream: somebody up to here decided that this trace is recorded.
    pub(crate) sampled: bool,
    /// The low 56 bits of the trace id are random (W3C Trace Context Level 2).
    pub(crate) random: bool,
    /// Our own share chose this trace, whatever the caller said.
    pub(crate) chosen_here: bool,
}

/// The methods that metrics tell apart; all others are `_OTHER` (OpenTelemetry HTTP conventions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum MethodTag {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum VersionTag {
    Http10,
    Http11,
    Http2,
}

impl Attempt {
    const NONE: Attempt = Attempt {
        span_id: SpanId([0; 8]),
        endpoint: EndpointId(0),
        began: Tick(0),
        ended: Tick(0),
        status: 0,
        reason: None,
        reused: false,
        request_bytes: 0,
        response_bytes: 0,
        phases: Phases { spent: [0; Phase::COUNT] },
    };

    pub(crate) fn duration_ns(&self) -> u64 {
        self.ended.since(self.began)
    }
}

impl Record {
    pub(crate) fn empty() -> Self {
        Record { facts: Facts::EMPTY, attempts: [Attempt::NONE; ATTEMPTS_MAX], text: Text::new() }
    }

    /// Makes a used record fit for the next exchange. Attempts and text are written over.
    pub(crate) fn reset(&mut self) {
        self.facts = Facts::EMPTY;
        self.text.clear();
    }

    pub(crate) fn attempts(&self) -> &[Attempt] {
        &self.attempts[..usize::from(self.attempt_count)]
    }

    /// Opens the facts of the next attempt. Past [`ATTEMPTS_MAX`] the last one is written over; no policy allows that many.
    pub(crate) fn open_attempt(&mut self, span_id: SpanId, began: Tick) -> &mut Attempt {
        let slot = usize::from(self.attempt_count).min(ATTEMPTS_MAX - 1);
        self.attempt_count = (slot + 1) as u8;
        self.attempts[slot] = Attempt { span_id, began, ended: began, ..Attempt::NONE };
        &mut self.attempts[slot]
    }

    /// The attempt that is under way or was the last one.
    pub(crate) fn last_attempt(&mut self) -> Option<&mut Attempt> {
        let count = usize::from(self.attempt_count);
        self.attempts[..count].last_mut()
    }

    /// Nobody finished it. What is known already stands.
    pub(crate) fn abandon(&mut self, reason: Reason, status: u16) {
        self.reason.get_or_insert(reason);
        if self.status == 0 {
            self.status = status;
        }
    }

    pub(crate) fn duration_ns(&self) -> u64 {
        self.ended.since(self.began)
    }

    /// The gateway or an upstream failed it: what the request counter calls `server_error` or `broken`. A client's own fault does not count,
    /// nor does its leaving.
    pub(crate) fn has_failed(&self) -> bool {
        match self.reason {
            Some(Reason::ClientGone | Reason::ClientWriteTimeout) => false,
            Some(_) => !(400..500).contains(&self.status),
            None => self.status >= 500,
        }
    }

    /// SERVER and CLIENT spans that this record stands for.
    pub(crate) fn span_count(&self) -> u64 {
        1 + u64::from(self.attempt_count)
    }
}

impl Facts {
    const EMPTY: Facts = Facts {
        trace_id: TraceId([0; 16]),
        span_id: SpanId([0; 8]),
        parent: None,
        flags: TraceFlags { sampled: false, random: false, chosen_here: false },
        began: Tick(0),
        head_read: Tick(0),
        ended: Tick(0),
        left: Tick::NEVER,
        self_ns: 0,
        route: RouteId::NONE,
        method: MethodTag::Other,
        version: VersionTag::Http11,
        status: 0,
        reason: None,
        client: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        listener_port: 0,
        request_bytes: 0,
        response_bytes: 0,
        attempt_count: 0,
        path: Piece::EMPTY,
        query: Piece::EMPTY,
        sent_path: Piece::EMPTY,
        host: Piece::EMPTY,
        user_agent: Piece::EMPTY,
        trace_state: Piece::EMPTY,
        method_text: Piece::EMPTY,
        captured: Piece::EMPTY,
        filters: Piece::EMPTY,
    };
}

impl Phases {
    pub(crate) fn of(&self, phase: Phase) -> u64 {
        self.spent[phase as usize]
    }

    pub(crate) fn add(&mut self, phase: Phase, nanos: u64) {
        self.spent[phase as usize] += nanos;
    }
}

impl MethodTag {
    pub(crate) fn of(method: &http::Method) -> Self {
        match method.as_str() {
            "GET" => MethodTag::Get,
            "HEAD" => MethodTag::Head,
            "POST" => MethodTag::Post,
            "PUT" => MethodTag::Put,
            "DELETE" => MethodTag::Delete,
            "CONNECT" => MethodTag::Connect,
            "OPTIONS" => MethodTag::Options,
            "TRACE" => MethodTag::Trace,
            "PATCH" => MethodTag::Patch,
            _ => MethodTag::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_small_enough_to_copy() {
        assert!(size_of::<Record>() <= 1664, "{}", size_of::<Record>());
    }

    #[test]
    fn a_request_has_failed_by_the_gateway_or_an_upstream_and_not_by_its_client() {
        let failed = |status, reason| {
            let mut record = Record::empty();
            (record.status, record.reason) = (status, reason);
            record.has_failed()
        };
        for (status, reason) in [(500, Reason::UpstreamStatus), (502, Reason::ConnectRefused), (200, Reason::UpstreamBodyBroken)] {
            assert!(failed(status, Some(reason)), "{status} {reason:?}");
        }
        assert!(failed(503, None) && failed(101, Some(Reason::UpstreamReset)));
        for reason in [Reason::MalformedRequest, Reason::NoRoute, Reason::BodyTooLarge, Reason::BodyTimeout] {
            assert!(!failed(400, Some(reason)), "{reason:?}");
        }
        for (status, reason) in [(499, Reason::ClientGone), (200, Reason::ClientGone), (502, Reason::ClientGone)] {
            assert!(!failed(status, Some(reason)), "{status} {reason:?}");
        }
        assert!(!failed(200, None) && !failed(404, None) && !failed(200, Some(Reason::ClientWriteTimeout)));
    }

    #[test]
    fn a_reset_record_remembers_nothing_of_the_last_exchange() {
        let mut record = Record::empty();
        record.path = record.text.keep(b"/secret", 100);
        record.open_attempt(SpanId([1; 8]), Tick(5)).status = 500;
        record.reset();
        assert!(record.attempts().is_empty());
        assert!(record.text.bytes(record.path).is_empty());
        assert_eq!(record.open_attempt(SpanId([2; 8]), Tick(7)).status, 0);
    }
}
