//! What a request for a profile asks for.
//!
//! In: the query of its URL, and the names that there have been. Out: a window of time, a rate, filters; or what was found and what was
//! expected instead. Parameters that Go's tools send are understood. Not here: what the profile holds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::ids::{SpanId, TraceId};
use crate::base::limits::{HISTORY_SPAN, PROFILE_HZ_MAX, PROFILE_SECONDS_MAX};
use crate::base::spelling::meant;
use crate::telemetry::profile::assemble::Wanted;
use crate::telemetry::record::labels;
use crate::telemetry::record::legend::Legends;

/// Samples a second where the request names no rate: off the beat of what happens a hundred times a second.
const HZ_DEFAULT: u32 = 99;
/// Length of a flame graph where the request names none: as long as one waits for a page.
pub(super) const FLAMEGRAPH_SECONDS: u64 = 5;
/// Names, the newest first, that a misspelt one is compared with.
const NAMES_COMPARED_MAX: usize = 10_000;

/// Parameters that each page knows. `x`, `y` and `s` are what the drawing's own script writes into its address: where it was zoomed to, and
/// what was searched for.
const KNOWN: [(&str, &str); 9] = [
    ("profile", "seconds hz debug gc ago from until route upstream trace_id span_id"),
    ("flamegraph", "seconds hz ago from until route upstream trace_id span_id diff by x y s"),
    ("heap", "seconds debug gc"),
    ("allocs", "seconds debug gc"),
    ("goroutine", "seconds debug gc route upstream trace_id"),
    ("threadcreate", "seconds debug gc"),
    ("block", "seconds hz debug ago from until route upstream trace_id span_id"),
    ("mutex", "seconds hz debug ago from until route upstream trace_id span_id"),
    ("trace", "seconds"),
];

/// Pages whose differences have no text form, as Go's have none.
const DIFFERENCES_WITHOUT_TEXT: [&str; 2] = ["goroutine", "threadcreate"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// How long; none where the request does not say, and for `trace`.
    pub(super) seconds: Option<u64>,
    /// The same for `trace`, which may be told parts of a second.
    pub(super) length: Option<Duration>,
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
    pub(super) fn parse(page: &str, query: &[(String, String)], now_unix_nanos: u64) -> Result<Ask, String> {
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
        let (seconds, length) = match page {
            "trace" => (None, decimal_seconds(&given)?),
            _ => (number("seconds", 1, PROFILE_SECONDS_MAX)?, None),
        };
        let ask = Ask {
            seconds,
            length,
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
        ask.check(page, now_unix_nanos)
    }

    fn check(self, page: &str, now_unix_nanos: u64) -> Result<Ask, String> {
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
        if let (Some(seconds), debug @ 1..) = (self.seconds, self.debug)
            && DIFFERENCES_WITHOUT_TEXT.contains(&page)
        {
            return Err(format!("found debug={debug} with seconds={seconds}, expected one of the two: a difference is no text here"));
        }
        self.check_windows(now_unix_nanos)?;
        Ok(self)
    }

    /// What a flame graph is compared with must be of another time.
    fn check_windows(&self, now_unix_nanos: u64) -> Result<(), String> {
        let Some(Diff::Ago(ago)) = self.diff else { return Ok(()) };
        let earlier = Duration::from_secs(ago);
        let are_apart = match self.when(FLAMEGRAPH_SECONDS, now_unix_nanos) {
            When::Coming(length) => earlier >= length,
            When::Past { from, until } => {
                let length = until - from;
                beginning(now_unix_nanos, earlier, Duration::from_nanos(length)).abs_diff(from) >= length
            }
        };
        if are_apart {
            return Ok(());
        }
        let seconds = self.seconds.unwrap_or(FLAMEGRAPH_SECONDS);
        let window = match (self.ago, self.from, self.until) {
            (Some(began), ..) => format!("seconds={seconds} and ago={began}"),
            (None, Some(from), Some(until)) => format!("from={from} and until={until}"),
            _ => format!("seconds={seconds}"),
        };
        Err(format!("found diff=ago:{ago} with {window}, expected two windows that do not overlap"))
    }

    /// Refuses names that no route, and no upstream, has had since the process began. What a reload has removed may still be remembered.
    pub(super) fn with_known_names(self, legends: &Legends) -> Result<Ask, String> {
        let other = match &self.diff {
            Some(Diff::Route(name)) => Some(name.as_str()),
            Some(Diff::Ago(_)) | None => None,
        };
        let (route, upstream) = (self.wanted.route.as_deref(), self.wanted.upstream.as_deref());
        if route.or(upstream).or(other).is_some() {
            let (routes, endpoints) = legends.tables();
            let routes: Vec<&str> = routes.iter().rev().map(|route| route.name.as_str()).collect();
            let upstreams: Vec<&str> = endpoints.iter().rev().map(|endpoint| endpoint.upstream.as_str()).collect();
            check_name("route", route, "a route", &routes, &upstreams)?;
            check_name("upstream", upstream, "an upstream", &upstreams, &routes)?;
            check_name("diff", other, "ago:SECONDS or route:NAME with a route", &routes, &upstreams)?;
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
    let from = beginning(now_unix_nanos, ago, length);
    When::Past { from, until: from + length.as_nanos() as u64 }
}

fn beginning(now_unix_nanos: u64, ago: Duration, length: Duration) -> u64 {
    now_unix_nanos.saturating_sub(ago.max(length).as_nanos() as u64)
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

/// `own` are the names of what is expected, `others` those of what may be mistaken for it.
fn check_name(parameter: &str, name: Option<&str>, expected: &str, own: &[&str], others: &[&str]) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    // Labels are those of all gateways of the process, which share its samples; they do not say whose name each is.
    let is_elsewhere = labels::number_if_known(name).is_some() && !others.contains(&name);
    if is_elsewhere || own.contains(&name) {
        return Ok(());
    }
    let nearest = meant(name, own.iter().copied().take(NAMES_COMPARED_MAX));
    Err(format!("{parameter}: found `{name}`, expected {expected} that there is, or was since the process began{nearest}"))
}

/// Go's `trace` reads its seconds as a decimal number, too.
fn decimal_seconds(given: &BTreeMap<&str, &str>) -> Result<Option<Duration>, String> {
    let Some(text) = given.get("seconds") else { return Ok(None) };
    let length = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match length {
        Some(length) if !length.is_zero() && length <= Duration::from_secs(PROFILE_SECONDS_MAX) => Ok(Some(length)),
        _ => Err(format!("seconds: found `{text}`, expected a number above 0 and at most {PROFILE_SECONDS_MAX}")),
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

    type Pairs = &'static [(&'static str, &'static str)];

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1000 * SECOND;

    fn parse(pairs: &[(&str, &str)]) -> Result<Ask, String> {
        parse_at("flamegraph", pairs)
    }

    fn parse_at(page: &str, pairs: &[(&str, &str)]) -> Result<Ask, String> {
        Ask::parse(page, &pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>(), NOW)
    }

    #[test]
    fn a_query_says_which_time_is_meant() {
        let when = |pairs: &[(&str, &str)]| parse(pairs).unwrap().when(30, NOW);
        assert_eq!(when(&[]), When::Coming(Duration::from_secs(30)));
        assert_eq!(
            parse_at("profile", &[("seconds", "5"), ("debug", "1"), ("gc", "1")]).unwrap().when(30, NOW),
            When::Coming(Duration::from_secs(5))
        );
        assert_eq!(when(&[("seconds", "60"), ("ago", "300")]), When::Past { from: 700 * SECOND, until: 760 * SECOND });
        assert_eq!(when(&[("seconds", "60"), ("ago", "0")]), When::Past { from: 940 * SECOND, until: NOW });
        assert_eq!(when(&[("from", "5000"), ("until", "7000")]), When::Past { from: 5 * SECOND, until: 7 * SECOND });
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

    #[test]
    fn only_a_timeline_takes_parts_of_a_second() {
        let length = |text: &str| parse_at("trace", &[("seconds", text)]).map(|ask| ask.length.unwrap());
        for (text, millis) in [("0.5", 500), ("2", 2000), ("1e-1", 100), ("600", 600_000)] {
            assert_eq!(length(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["0", "0.0", "-0.5", "600.5", "NaN", "inf", "1e-12", "", "x"] {
            assert_eq!(length(text), Err(format!("seconds: found `{text}`, expected a number above 0 and at most 600")));
        }
        assert_eq!(parse_at("trace", &[]).unwrap().length, None);
        assert!(parse(&[("seconds", "0.5")]).unwrap_err().contains("expected a whole number"));
    }

    #[test]
    fn a_difference_of_what_is_now_is_asked_for_as_go_s_tools_ask() {
        for page in DIFFERENCES_WITHOUT_TEXT {
            let ask = parse_at(page, &[("seconds", "2"), ("gc", "1"), ("debug", "0")]).unwrap();
            assert_eq!((ask.seconds, ask.debug), (Some(2), 0));
            let found = parse_at(page, &[("seconds", "2"), ("debug", "1")]).unwrap_err();
            assert!(found.starts_with("found debug=1 with seconds=2, expected one of the two"), "{found}");
        }
        assert!(parse_at("heap", &[("seconds", "2"), ("debug", "1")]).is_ok());
    }

    #[test]
    fn a_window_is_compared_with_another_that_it_does_not_overlap() {
        let apart: [Pairs; 7] = [
            &[("diff", "5")],
            &[("seconds", "30"), ("diff", "30")],
            &[("seconds", "30"), ("ago", "30"), ("diff", "60")],
            &[("seconds", "30"), ("ago", "60"), ("diff", "30")],
            &[("seconds", "30"), ("ago", "60"), ("diff", "1")],
            &[("from", "990000"), ("until", "1000000"), ("diff", "20")],
            &[("seconds", "30"), ("ago", "30"), ("diff", "route:users")],
        ];
        for pairs in apart {
            assert!(parse(pairs).is_ok(), "{pairs:?}: {:?}", parse(pairs));
        }
        let overlapping: [(Pairs, &str); 6] = [
            (&[("diff", "4")], "diff=ago:4 with seconds=5,"),
            (&[("seconds", "30"), ("diff", "29")], "diff=ago:29 with seconds=30,"),
            (&[("seconds", "30"), ("ago", "30"), ("diff", "30")], "diff=ago:30 with seconds=30 and ago=30,"),
            (&[("seconds", "30"), ("ago", "60"), ("diff", "40")], "diff=ago:40 with seconds=30 and ago=60,"),
            // Each of these is the window that ends now.
            (&[("seconds", "30"), ("ago", "0"), ("diff", "30")], "diff=ago:30 with seconds=30 and ago=0,"),
            (&[("from", "990000"), ("until", "1000000"), ("diff", "19")], "diff=ago:19 with from=990000 and until=1000000,"),
        ];
        for (pairs, window) in overlapping {
            let found = parse(pairs).unwrap_err();
            assert_eq!(found, format!("found {window} expected two windows that do not overlap"), "{pairs:?}");
        }
    }

    #[test]
    fn a_name_that_nothing_ever_had_is_refused_with_the_nearest_one() {
        let legends = Legends::new();
        legends.route("query-shop", "/shop");
        legends.endpoint("query-origin", "127.0.0.1", 9001);
        for name in ["query-shop", "query-origin", "query-of-another-gateway"] {
            labels::number(name);
        }
        let known = |name: &str, value: &str| parse(&[(name, value)]).unwrap().with_known_names(&legends).map(|_| ());
        for (name, value) in [
            ("route", "query-shop"),
            ("upstream", "query-origin"),
            ("diff", "query-shop"),
            ("diff", "route:query-shop"),
            ("route", "query-of-another-gateway"),
            ("diff", "300"),
            ("route", ""),
        ] {
            assert_eq!(known(name, value), Ok(()), "{name}={value}");
        }
        let end = "that there is, or was since the process began";
        for (name, value, told) in [
            ("route", "query-shpo", format!("route: found `query-shpo`, expected a route {end}; did you mean `query-shop`?")),
            ("route", "query-origin", format!("route: found `query-origin`, expected a route {end}")),
            ("upstream", "query-orign", format!("upstream: found `query-orign`, expected an upstream {end}; did you mean `query-origin`?")),
            ("diff", "query-foo,bar", format!("diff: found `query-foo,bar`, expected ago:SECONDS or route:NAME with a route {end}")),
        ] {
            assert_eq!(known(name, value), Err(told), "{name}={value}");
        }
        assert!(known("diff", "route:query-shp").unwrap_err().ends_with("did you mean `query-shop`?"));
    }
}
