//! The filter language: which requests are meant.
//!
//! In: text such as `route:users status:5xx -method:GET duration:>200ms "a word"`. Out: a query that says of each request whether it is meant, or
//! the place and the reason why the text cannot be read. A query prints as text that reads as the same query. Not here: where requests
//! are remembered, and how many of them are shown.

mod parse;
mod matching;

use std::fmt::{self, Display, Formatter, Write};
use std::net::{IpAddr, SocketAddr};

use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::record::Phase;
use crate::telemetry::record::names::PHASE_LABELS;

pub(crate) use matching::Seen;

/// Bytes of a query.
pub(crate) const QUERY_BYTES_MAX: usize = 1024;
/// Terms of a query.
pub(crate) const QUERY_TERMS_MAX: usize = 32;

/// Every key, and what it is followed by. Completion offers them.
pub(crate) const KEYS: [(&str, &str); 24] = [
    ("route", "the name of a route, perhaps with *; \"\" for requests that no route took"),
    ("upstream", "the name of an upstream that was tried, perhaps with *"),
    ("endpoint", "an endpoint that was tried, such as 127.0.0.1:9001, perhaps with *"),
    ("method", "a method such as GET"),
    ("path", "the beginning of a path, or with * the whole of it: /api/*/orders"),
    ("host", "a host, with or without its port, perhaps with *"),
    ("client", "an address such as 10.0.0.7, perhaps with its port, a network such as 10.0.0.0/8, or a pattern such as 10.0.*"),
    ("status", "a status such as 503, a class such as 5xx, or a bound such as >=500"),
    ("duration", "a bound such as >200ms or <=1.5s; a plain number is in milliseconds and the least"),
    ("self", "a bound on the gateway's own time such as >1ms"),
    ("queue", "a bound such as >200ms on the wait for a connection"),
    ("dns", "a bound such as >200ms on the resolving of names"),
    ("connect", "a bound such as >200ms on connecting"),
    ("send", "a bound such as >200ms on the sending of the request"),
    ("wait", "a bound such as >200ms on the wait for the answer"),
    ("body", "a bound such as >200ms on the streaming of the answer"),
    ("error", "* for any, a reason such as connect_refused, or the status of an upstream's own error"),
    ("attempt_error", "the same for any of the attempts, also where a later one went well"),
    ("kept", "true, false, error, slow, retry or sampled"),
    ("attempts", "a number or a bound such as >1"),
    ("reused", "true where an attempt went over a connection that had served before, false where one went over a new one"),
    ("trace", "the first digits of a trace id"),
    ("verdict", "* for any, or a code such as slow_upstream"),
    ("header.NAME", "the value of a captured request header, perhaps with *"),
];

/// Which requests are meant: those for which every term holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    terms: Vec<Term>,
}

/// Why a text is no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Characters before the place.
    pub(crate) at: usize,
    pub(crate) message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Text(Subject, Pattern),
    /// Its name in lower case.
    Header(Box<str>, Pattern),
    Client(Clients),
    Status(Sign, u16),
    /// Its first digit.
    StatusClass(u16),
    /// In nanoseconds.
    Time(Timed, Sign, u64),
    Kept(KeptAs),
    Attempts(Sign, u64),
    Reused(bool),
    /// Hexadecimal digits in lower case.
    Trace(Box<str>),
    Word(Pattern),
}

/// What of a request is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Route,
    Upstream,
    Endpoint,
    Method,
    Path,
    Host,
    Error,
    AttemptError,
    Verdict,
}

/// What of a request takes time. A phase is summed over the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timed {
    Whole,
    OwnTime,
    Phase(Phase),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Clients {
    Network { address: IpAddr, bits: u8 },
    Socket(SocketAddr),
    Like(Pattern),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptAs {
    Kept,
    Dropped,
    Because(KeepReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Equal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Text in which a `*` stands for any text. Names, paths and header values are compared as they are; hosts, methods and words of ours
/// whatever their case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// What stands before, between and behind the stars; the ones between are never empty. In lower case where case does not count.
    pieces: Vec<Box<str>>,
    any_case: bool,
}

impl Subject {
    const ALL: [Subject; 9] = [
        Subject::Route,
        Subject::Upstream,
        Subject::Endpoint,
        Subject::Method,
        Subject::Path,
        Subject::Host,
        Subject::Error,
        Subject::AttemptError,
        Subject::Verdict,
    ];

    fn key(self) -> &'static str {
        ["route", "upstream", "endpoint", "method", "path", "host", "error", "attempt_error", "verdict"][self as usize]
    }

    fn any_case(self) -> bool {
        !matches!(self, Subject::Route | Subject::Upstream | Subject::Path)
    }
}

impl Timed {
    fn of(key: &str) -> Option<Self> {
        match key {
            "duration" => Some(Timed::Whole),
            "self" => Some(Timed::OwnTime),
            _ => Phase::ALL.into_iter().find(|phase| PHASE_LABELS[*phase as usize] == key).map(Timed::Phase),
        }
    }

    fn key(self) -> &'static str {
        match self {
            Timed::Whole => "duration",
            Timed::OwnTime => "self",
            Timed::Phase(phase) => PHASE_LABELS[phase as usize],
        }
    }
}

impl KeptAs {
    const ALL: [KeptAs; 6] = [
        KeptAs::Kept,
        KeptAs::Dropped,
        KeptAs::Because(KeepReason::Error),
        KeptAs::Because(KeepReason::Slow),
        KeptAs::Because(KeepReason::Retry),
        KeptAs::Because(KeepReason::Sampled),
    ];

    fn label(self) -> &'static str {
        match self {
            KeptAs::Kept => "true",
            KeptAs::Dropped => "false",
            KeptAs::Because(reason) => reason.label(),
        }
    }
}

impl Sign {
    /// Longer ones before those that they begin with.
    const ALL: [Sign; 5] = [Sign::AtLeast, Sign::AtMost, Sign::More, Sign::Less, Sign::Equal];

    fn text(self) -> &'static str {
        match self {
            Sign::Equal => "=",
            Sign::Less => "<",
            Sign::AtMost => "<=",
            Sign::More => ">",
            Sign::AtLeast => ">=",
        }
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            let minus = if term.negated { "-" } else { "" };
            write!(f, "{space}{minus}{}", term.test)?;
        }
        Ok(())
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Test::Text(subject, pattern) => write!(f, "{}:{pattern}", subject.key()),
            Test::Header(name, pattern) => write!(f, "header.{name}:{pattern}"),
            Test::Client(clients) => write!(f, "client:{clients}"),
            Test::Status(Sign::Equal, status) => write!(f, "status:{status}"),
            Test::Status(sign, status) => write!(f, "status:{}{status}", sign.text()),
            Test::StatusClass(class) => write!(f, "status:{class}xx"),
            Test::Time(timed, sign, nanos) => {
                write!(f, "{}:{}", timed.key(), sign.text())?;
                write_time(f, *nanos)
            }
            Test::Kept(kept) => write!(f, "kept:{}", kept.label()),
            Test::Attempts(Sign::Equal, count) => write!(f, "attempts:{count}"),
            Test::Attempts(sign, count) => write!(f, "attempts:{}{count}", sign.text()),
            Test::Reused(reused) => write!(f, "reused:{reused}"),
            Test::Trace(digits) => write!(f, "trace:{digits}"),
            Test::Word(pattern) if pattern.is_taken_for_more() => pattern.write_quoted(f),
            Test::Word(pattern) => write!(f, "{pattern}"),
        }
    }
}

impl Display for Clients {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Clients::Network { address, bits } if *bits == widest(*address) => write!(f, "{address}"),
            Clients::Network { address, bits } => write!(f, "{address}/{bits}"),
            Clients::Socket(socket) => write!(f, "{socket}"),
            Clients::Like(pattern) => write!(f, "{pattern}"),
        }
    }
}

/// Bits of an address of this family.
fn widest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// In the largest unit in which it is a whole number.
fn write_time(f: &mut Formatter<'_>, nanos: u64) -> fmt::Result {
    let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000), ("ns", 1)];
    let (unit, factor) = units.into_iter().find(|(_, factor)| nanos.is_multiple_of(*factor)).unwrap_or(("ns", 1));
    write!(f, "{}{unit}", nanos / factor)
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let empty = self.pieces.len() == 1 && self.pieces[0].is_empty();
        let special = |character: char| character == '*' || character.is_whitespace();
        if empty || self.pieces[0].starts_with('"') || self.pieces.iter().any(|piece| piece.contains(special)) {
            return self.write_quoted(f);
        }
        self.pieces.iter().enumerate().try_for_each(|(index, piece)| write!(f, "{}{piece}", if index > 0 { "*" } else { "" }))
    }
}

impl Pattern {
    /// As a bare word it would be read as a term of another kind, or refused.
    fn is_taken_for_more(&self) -> bool {
        let text = self.pieces.join("*");
        text.starts_with('-') || parse::key_length(&text).is_some() || parse::operator(&text).is_some()
    }

    fn write_quoted(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for (index, piece) in self.pieces.iter().enumerate() {
            f.write_str(if index > 0 { "*" } else { "" })?;
            for character in piece.chars() {
                let escape = if matches!(character, '"' | '\\' | '*') { "\\" } else { "" };
                write!(f, "{escape}{character}")?;
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests;
