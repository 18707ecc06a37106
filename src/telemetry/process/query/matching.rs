//! Whether a request is meant.
//!
//! In: a query and a request as telemetry saw it. Out: yes or no. It runs for every request that somebody watches, so it allocates nothing. A
//! pattern takes the first place where a piece fits and never goes back: what follows a star can begin at any later place as well.
//! Not here: reading a query (`parse`).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Clients, KeptAs, Pattern, Query, Sign, Subject, Test, Timed};
use crate::telemetry::export::access_log::split_host;
use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::record::captured::Captured;
use crate::telemetry::record::legend::{EndpointLegend, RouteLegend};
use crate::telemetry::record::names::METHODS;
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{Attempt, Record};

/// Hexadecimal digits from which on a bare word may be the beginning of a trace id: fewer would find traces by chance.
const TRACE_DIGITS_MIN: usize = 8;
/// Bytes of an IP address as text.
const ADDRESS_TEXT_BYTES: usize = 48;

/// A request as a query sees it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'s> {
    pub(crate) record: &'s Record,
    pub(crate) route: &'s RouteLegend,
    pub(crate) endpoints: &'s [Arc<EndpointLegend>],
    pub(crate) kept: Option<KeepReason>,
    /// Its code.
    pub(crate) verdict: Option<&'s str>,
    /// Captured request headers.
    pub(crate) headers: Captured<'s>,
}

/// Where in a text a pattern has to lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Whole,
    Beginning,
    Anywhere,
}

impl Query {
    pub(crate) fn matches(&self, seen: &Seen<'_>) -> bool {
        self.terms.iter().all(|term| term.test.holds(seen) != term.negated)
    }
}

impl Test {
    fn holds(&self, seen: &Seen<'_>) -> bool {
        let record = seen.record;
        match self {
            Test::Text(subject, pattern) => text_holds(*subject, pattern, seen),
            Test::Header(name, pattern) => {
                let mut of_name = seen.headers.filter(|header| header.legend.name.eq_ignore_ascii_case(name));
                of_name.any(|header| pattern.lies(header.value(), Place::Whole))
            }
            Test::Client(clients) => clients.hold(record.client),
            Test::Status(sign, status) => sign.holds(record.status, *status),
            Test::StatusClass(class) => record.status / 100 == *class,
            Test::Time(timed, sign, nanos) => sign.holds(timed.nanos(record), *nanos),
            Test::Kept(KeptAs::Kept) => seen.kept.is_some(),
            Test::Kept(KeptAs::Dropped) => seen.kept.is_none(),
            Test::Kept(KeptAs::Because(reason)) => seen.kept == Some(*reason),
            Test::Attempts(sign, count) => sign.holds(u64::from(record.attempt_count), *count),
            Test::Reused(reused) => record.attempts().iter().any(|attempt| attempt.reused == *reused),
            Test::Trace(digits) => record.trace_id.hex().starts_with(digits.as_bytes()),
            Test::Word(pattern) => word_holds(pattern, seen),
        }
    }
}

fn text_holds(subject: Subject, pattern: &Pattern, seen: &Seen<'_>) -> bool {
    let record = seen.record;
    let whole = |text: &[u8]| pattern.lies(text, Place::Whole);
    match subject {
        Subject::Route => whole(seen.route.name.as_bytes()),
        Subject::Upstream => tried(seen).any(|endpoint| whole(endpoint.upstream.as_bytes())),
        Subject::Endpoint => tried(seen).any(|endpoint| whole(endpoint.authority.as_bytes()) || whole(endpoint.host.as_bytes())),
        Subject::Method => {
            let original = record.text.bytes(record.method_text);
            whole(METHODS[record.method as usize].as_bytes()) || !original.is_empty() && whole(original)
        }
        Subject::Path => {
            let place = if pattern.pieces.len() == 1 { Place::Beginning } else { Place::Whole };
            pattern.lies(record.text.bytes(record.path), place)
        }
        Subject::Host => {
            let host = record.text.bytes(record.host);
            whole(host) || whole(split_host(host).0)
        }
        Subject::Error => record.reason.is_some_and(|reason| error_lies(pattern, reason, record.status, Place::Whole)),
        Subject::AttemptError => record.attempts().iter().any(|attempt| attempt_error_lies(pattern, attempt)),
        Subject::Verdict => seen.verdict.is_some_and(|code| whole(code.as_bytes())),
    }
}

/// A word lies somewhere in the path, the route's name or the error, or it begins the trace id.
fn word_holds(pattern: &Pattern, seen: &Seen<'_>) -> bool {
    let record = seen.record;
    let begins_trace = pattern.pieces[0].len() >= TRACE_DIGITS_MIN && pattern.lies(&record.trace_id.hex(), Place::Beginning);
    begins_trace
        || pattern.lies(record.text.bytes(record.path), Place::Anywhere)
        || pattern.lies(seen.route.name.as_bytes(), Place::Anywhere)
        || record.reason.is_some_and(|reason| error_lies(pattern, reason, record.status, Place::Anywhere))
}

fn tried<'s>(seen: &Seen<'s>) -> impl Iterator<Item = &'s EndpointLegend> {
    let endpoints = seen.endpoints;
    seen.record.attempts().iter().filter_map(|attempt| endpoints.get(attempt.endpoint.0 as usize)).map(|endpoint| &**endpoint)
}

/// An upstream's own error goes by its status, as `error.type` does, and by its label.
fn error_lies(pattern: &Pattern, reason: Reason, status: u16, place: Place) -> bool {
    let by_status = reason == Reason::UpstreamStatus && pattern.lies(itoa::Buffer::new().format(status).as_bytes(), place);
    by_status || pattern.lies(reason.label().as_bytes(), place)
}

/// As on the attempt's span: an answer of 400 and above is an error too.
fn attempt_error_lies(pattern: &Pattern, attempt: &Attempt) -> bool {
    match attempt.reason {
        Some(reason) => error_lies(pattern, reason, attempt.status, Place::Whole),
        None => attempt.status >= 400 && error_lies(pattern, Reason::UpstreamStatus, attempt.status, Place::Whole),
    }
}

impl Timed {
    fn nanos(self, record: &Record) -> u64 {
        match self {
            Timed::Whole => record.duration_ns(),
            Timed::OwnTime => record.self_ns,
            Timed::Phase(phase) => record.attempts().iter().map(|attempt| attempt.phases.of(phase)).sum(),
        }
    }
}

impl Sign {
    fn holds<T: Ord>(self, found: T, bound: T) -> bool {
        match self {
            Sign::Equal => found == bound,
            Sign::Less => found < bound,
            Sign::AtMost => found <= bound,
            Sign::More => found > bound,
            Sign::AtLeast => found >= bound,
        }
    }
}

impl Clients {
    fn hold(&self, client: SocketAddr) -> bool {
        let found = client.ip().to_canonical();
        match self {
            Clients::Network { address, bits } => is_inside(found, *address, *bits),
            Clients::Socket(socket) => socket.ip() == found && socket.port() == client.port(),
            Clients::Like(pattern) => {
                let mut text = AddressText { bytes: [0; ADDRESS_TEXT_BYTES], length: 0 };
                write!(text, "{found}").is_ok() && pattern.lies(&text.bytes[..text.length], Place::Whole)
            }
        }
    }
}

fn is_inside(found: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (found, network) = match (found, network) {
        (IpAddr::V4(found), IpAddr::V4(network)) => (u128::from(found.to_bits()) << 96, u128::from(network.to_bits()) << 96),
        (IpAddr::V6(found), IpAddr::V6(network)) => (found.to_bits(), network.to_bits()),
        _ => return false,
    };
    bits == 0 || (found ^ network) >> (128 - u32::from(bits)) == 0
}

/// An address as text, without an allocation.
struct AddressText {
    bytes: [u8; ADDRESS_TEXT_BYTES],
    length: usize,
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

impl Pattern {
    pub(super) fn is_like(&self, text: &str) -> bool {
        self.lies(text.as_bytes(), Place::Whole)
    }

    /// One pass: the first piece begins the text, each next one is taken where it is first found, and the last one ends it.
    fn lies(&self, text: &[u8], place: Place) -> bool {
        let (mut rest, mut between) = (text, self.pieces.as_slice());
        if place != Place::Anywhere {
            let (first, behind) = between.split_first().expect("a pattern has a piece");
            let Some(found) = self.strip(rest, first) else { return false };
            if behind.is_empty() {
                return place == Place::Beginning || found.is_empty();
            }
            (rest, between) = (found, behind);
        }
        let mut end = None;
        if place == Place::Whole {
            (end, between) = between.split_last().map_or((None, between), |(last, before)| (Some(last.as_bytes()), before));
        }
        for piece in between {
            let Some(at) = self.find(rest, piece.as_bytes()) else { return false };
            rest = &rest[at + piece.len()..];
        }
        end.is_none_or(|end| rest.len() >= end.len() && self.is_same(&rest[rest.len() - end.len()..], end))
    }

    fn strip<'t>(&self, text: &'t [u8], piece: &str) -> Option<&'t [u8]> {
        let (head, rest) = text.split_at_checked(piece.len())?;
        self.is_same(head, piece.as_bytes()).then_some(rest)
    }

    fn is_same(&self, text: &[u8], piece: &[u8]) -> bool {
        if self.any_case { text.eq_ignore_ascii_case(piece) } else { text == piece }
    }

    fn find(&self, text: &[u8], piece: &[u8]) -> Option<usize> {
        let Some(first) = piece.first().filter(|_| self.any_case) else { return memchr::memmem::find(text, piece) };
        let places = (text.len() + 1).saturating_sub(piece.len());
        let mut begins = memchr::memchr2_iter(*first, first.to_ascii_uppercase(), &text[..places.min(text.len())]);
        begins.find(|at| text[*at..at + piece.len()].eq_ignore_ascii_case(piece))
    }
}
