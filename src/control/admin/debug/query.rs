//! What a request for a profile asks for.
//!
//! In: the query of its URL. Out: a window of time, a rate, filters; or what was found and what was expected instead. Parameters that Go's
//! tools send are understood. Not here: what the profile holds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::ids::{SpanId, TraceId};
use crate::base::limits::{HISTORY_SPAN, PROFILE_HZ_MAX, PROFILE_SECONDS_MAX};
use crate::telemetry::profile::assemble::Wanted;

/// Samples a second where the request names no rate: off the beat of what happens a hundred times a second.
const HZ_DEFAULT: u32 = 99;

/// Parameters that each page knows.
const KNOWN: [(&str, &str); 9] = [
    ("profile", "seconds hz debug gc ago from until route upstream trace_id span_id"),
    ("flamegraph", "seconds hz ago from until route upstream trace_id span_id diff by"),
    ("heap", "seconds debug gc"),
    ("allocs", "seconds debug gc"),
    ("goroutine", "debug route upstream trace_id"),
    ("threadcreate", "debug"),
    ("block", "seconds hz debug ago from until route upstream trace_id span_id"),
    ("mutex", "seconds hz debug ago from until route upstream trace_id span_id"),
    ("trace", "seconds"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// How long; none where the request does not say.
    pub(super) seconds: Option<u64>,
    pub(super) hz: u32,
    /// 0: protobuf. 1 and 2: text.
    pub(super) debug: u8,
    ago: Option<u64>,
    /// Unix milliseconds.
    from: Option<u64>,
    until: Option<u64>,
    pub(super) wanted: Wanted,
    pub(super) diff: Option<Diff>,
    /// Label that splits a flame graph at its root.
    pub(super) by: Option<String>,
}

/// What a flame graph is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Diff {
    /// The same length of time, so many seconds earlier than now.
    Ago(u64),
    Route(String),
}

/// Which time is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// From now on.
    Coming(Duration),
    /// In Unix nanoseconds.
    Past { from: u64, until: u64 },
}

impl Ask {
    pub(super) fn parse(page: &str, query: &[(String, String)]) -> Result<Ask, String> {
        let known = KNOWN.iter().find(|(name, _)| *name == page).map_or("", |(_, known)| known);
        let mut given = BTreeMap::new();
        for (name, value) in query {
            if !known.split(' ').any(|known| known == name) {
                return Err(format!("found the parameter `{name}`, expected one of {}", known.replace(' ', ", ")));
            }
            if given.insert(name.as_str(), value.as_str()).is_some() {
                return Err(format!("found `{name}` twice, expected it once"));
            }
        }
        let number = |name: &str, low: u64, high: u64| number(&given, name, low, high);
        let text = |name: &str| given.get(name).filter(|value| !value.is_empty()).map(|value| (*value).to_owned());
        let id = |name: &str, digits: usize, is_one: fn(&[u8]) -> bool| {
            let Some(found) = text(name) else { return Ok(None) };
            let lower = found.to_ascii_lowercase();
            let bad = || format!("{name}: found `{found}`, expected {digits} hexadecimal digits, not all zero");
            if is_one(lower.as_bytes()) { Ok(Some(lower)) } else { Err(bad()) }
        };
        number("gc", 0, u64::MAX)?;
        let ask = Ask {
            seconds: number("seconds", 1, PROFILE_SECONDS_MAX)?,
            hz: number("hz", 1, u64::from(PROFILE_HZ_MAX))?.map_or(HZ_DEFAULT, |hz| hz as u32),
            debug: number("debug", 0, 2)?.unwrap_or(0) as u8,
            ago: number("ago", 0, HISTORY_SPAN.as_secs())?,
            from: number("from", 1, u64::MAX / 1_000_000)?,
            until: number("until", 1, u64::MAX / 1_000_000)?,
            wanted: Wanted {
                route: text("route"),
                upstream: text("upstream"),
                trace_id: id("trace_id", 32, |digits| TraceId::from_hex(digits).is_some())?,
                span_id: id("span_id", 16, |digits| SpanId::from_hex(digits).is_some())?,
            },
            diff: text("diff").map(|diff| Diff::parse(&diff)).transpose()?,
            by: text("by"),
        };
        ask.check()
    }

    fn check(self) -> Result<Ask, String> {
        if self.ago.is_some() && (self.from.is_some() || self.until.is_some()) {
            return Err("found `ago` beside `from` or `until`, expected one way to name the past".to_owned());
        }
        if self.from.is_some() != self.until.is_some() {
            return Err("found only one of `from` and `until`, expected both, in Unix milliseconds".to_owned());
        }
        if let (Some(from), Some(until)) = (self.from, self.until)
            && from >= until
        {
            return Err(format!("found from={from} and until={until}, expected `from` before `until`"));
        }
        if let (Some(Diff::Ago(ago)), Some(seconds)) = (&self.diff, self.seconds)
            && *ago < seconds
        {
            return Err(format!("found diff=ago:{ago} with seconds={seconds}, expected two windows that do not overlap"));
        }
        Ok(self)
    }

    /// The window that is meant, `default_seconds` long where the request does not say.
    pub(super) fn when(&self, default_seconds: u64, now_unix_nanos: u64) -> When {
        let length = Duration::from_secs(self.seconds.unwrap_or(default_seconds));
        match (self.ago, self.from, self.until) {
            (Some(ago), ..) => past(now_unix_nanos, Duration::from_secs(ago), length),
            (None, Some(from), Some(until)) => When::Past { from: from * 1_000_000, until: until * 1_000_000 },
            _ => When::Coming(length),
        }
    }
}

/// The window of `length` that began `ago` before now, or that ends now where that would reach into the future.
pub(super) fn past(now_unix_nanos: u64, ago: Duration, length: Duration) -> When {
    let from = now_unix_nanos.saturating_sub(ago.max(length).as_nanos() as u64);
    When::Past { from, until: from + length.as_nanos() as u64 }
}

impl Diff {
    /// `ago:300`, `route:users`, or either without its word.
    fn parse(text: &str) -> Result<Diff, String> {
        let seconds = |digits: &str| match digits.parse() {
            Ok(ago) if (1..=HISTORY_SPAN.as_secs()).contains(&ago) => Ok(Diff::Ago(ago)),
            _ => Err(format!("diff: found `{text}`, expected ago:SECONDS from 1 to {}", HISTORY_SPAN.as_secs())),
        };
        match text.split_once(':') {
            Some(("ago", digits)) => seconds(digits),
            Some(("route", name)) if !name.is_empty() => Ok(Diff::Route(name.to_owned())),
            Some(_) => Err(format!("diff: found `{text}`, expected ago:SECONDS or route:NAME")),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => seconds(text),
            None => Ok(Diff::Route(text.to_owned())),
        }
    }
}

fn number(given: &BTreeMap<&str, &str>, name: &str, low: u64, high: u64) -> Result<Option<u64>, String> {
    let Some(text) = given.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(value) if (low..=high).contains(&value) => Ok(Some(value)),
        _ if high == u64::MAX => Err(format!("{name}: found `{text}`, expected a whole number")),
        _ => Err(format!("{name}: found `{text}`, expected a whole number from {low} to {high}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Ask, String> {
        parse_at("flamegraph", pairs)
    }

    fn parse_at(page: &str, pairs: &[(&str, &str)]) -> Result<Ask, String> {
        Ask::parse(page, &pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn a_query_says_which_time_is_meant() {
        let second = 1_000_000_000;
        let now = 1000 * second;
        let when = |pairs: &[(&str, &str)]| parse(pairs).unwrap().when(30, now);
        assert_eq!(when(&[]), When::Coming(Duration::from_secs(30)));
        assert_eq!(
            parse_at("profile", &[("seconds", "5"), ("debug", "1"), ("gc", "1")]).unwrap().when(30, now),
            When::Coming(Duration::from_secs(5))
        );
        assert_eq!(when(&[("seconds", "60"), ("ago", "300")]), When::Past { from: 700 * second, until: 760 * second });
        assert_eq!(when(&[("seconds", "60"), ("ago", "0")]), When::Past { from: 940 * second, until: now });
        assert_eq!(when(&[("from", "5000"), ("until", "7000")]), When::Past { from: 5 * second, until: 7 * second });
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        for (pairs, expected) in [
            (vec![("seconds", "0")], "from 1 to 600"),
            (vec![("seconds", "x")], "found `x`"),
            (vec![("hz", "1001")], "from 1 to 1000"),
            (vec![("debug", "1")], "found the parameter `debug`"),
            (vec![("seconds", "5"), ("diff", "ago:4")], "do not overlap"),
            (vec![("trace_id", "12")], "32 hexadecimal digits"),
            (vec![("span_id", "0000000000000000")], "16 hexadecimal digits"),
            (vec![("secs", "1")], "found the parameter `secs`"),
            (vec![("hz", "5"), ("hz", "6")], "twice"),
            (vec![("ago", "901")], "from 0 to 900"),
            (vec![("from", "5")], "expected both"),
            (vec![("from", "5"), ("until", "5")], "expected `from` before `until`"),
            (vec![("ago", "5"), ("from", "5")], "one way to name the past"),
            (vec![("diff", "ago:x")], "expected ago:SECONDS"),
            (vec![("diff", "what:x")], "ago:SECONDS or route:NAME"),
        ] {
            let found = parse(&pairs).unwrap_err();
            assert!(found.contains(expected), "{pairs:?}: {found}");
        }
        assert_eq!(parse(&[("diff", "users")]).unwrap().diff, Some(Diff::Route("users".to_owned())));
        assert_eq!(parse(&[("diff", "300")]).unwrap().diff, Some(Diff::Ago(300)));
    }
}
