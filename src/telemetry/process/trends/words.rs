//! Changes in plain words, and as JSON.
//!
//! In: what moved from where to where, since when, and where it came from. Out: an entry of the overview's `changes`. Times of day are UTC.
//! Not here: the choice of what is told.

use serde_json::{Value, json};

use super::json::unix_ms;
use crate::base::clock::rfc3339;

/// What moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A route's p99.
    Quantile,
    /// The share of its requests that failed.
    Errors,
    Rate,
    /// The p99 of the gateway's own time.
    OwnTime,
    /// The share of a class of answers.
    Status,
    /// The mean of a phase at one endpoint.
    Phase,
    /// The share of attempts at one endpoint that failed, and that retries hid.
    Attempts,
}

/// All that is told of a change.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) what: What,
    pub(super) route: String,
    pub(super) endpoint: Option<String>,
    pub(super) phase: Option<&'static str>,
    pub(super) status: Option<&'static str>,
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) since_s: u32,
}

impl What {
    fn label(self) -> &'static str {
        match self {
            What::Quantile => "p99",
            What::Errors | What::Attempts => "errors",
            What::Rate => "rate",
            What::OwnTime => "self",
            What::Status => "status",
            What::Phase => "phase",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            What::Quantile | What::OwnTime | What::Phase => "ms",
            What::Errors | What::Attempts | What::Status => "share",
            What::Rate => "per_s",
        }
    }

    /// Below this a value is as good as none.
    pub(super) fn least(self) -> f64 {
        match self.unit() {
            "ms" => 0.1,
            "share" => 0.001,
            _ => 0.1,
        }
    }

    /// What harms callers comes first, and before what got better.
    pub(super) fn weight(self, rising: bool) -> f64 {
        match (self, rising) {
            (What::Errors, true) => 3.0,
            (What::Quantile, true) => 2.0,
            (What::OwnTime | What::Attempts, true) => 1.5,
            (What::Status, true) => 1.2,
            (What::Phase | What::Rate, true) | (What::Rate | What::Errors, false) => 1.0,
            (_, false) => 0.6,
        }
    }
}

pub(super) fn json(told: &Told, wall_offset: u64) -> Value {
    let since_nanos = wall_offset + u64::from(told.since_s) * 1_000_000_000;
    let value = |value: f64| (value * 1e6).round() / 1e6;
    json!({
        "what": told.what.label(),
        "route": told.route,
        "endpoint": told.endpoint,
        "phase": told.phase,
        "status": told.status,
        "before": value(told.before),
        "after": value(told.after),
        "unit": told.what.unit(),
        "factor": (told.before > 0.0).then(|| value(told.after / told.before)),
        "since": unix_ms(since_nanos),
        "text": text(told, since_nanos),
    })
}

/// Such as: p99 of users rose from 12 ms to 180 ms since 12:03:10 UTC, in wait at 127.0.0.1:9002
fn text(told: &Told, since_nanos: u64) -> String {
    let route = if told.route.is_empty() { "requests without a route" } else { &told.route };
    let endpoint = told.endpoint.as_deref().unwrap_or_default();
    let subject = match told.what {
        What::Quantile => format!("p99 of {route}"),
        What::Errors => format!("errors of {route}"),
        What::Rate => format!("rate of {route}"),
        What::OwnTime => format!("the gateway's own time (p99) for {route}"),
        What::Status => format!("{} answers of {route}", told.status.unwrap_or_default()),
        What::Phase => format!("{} (mean) of {route} at {endpoint}", told.phase.unwrap_or_default()),
        What::Attempts => format!("failed attempts of {route} at {endpoint}"),
    };
    let verb = if told.after > told.before { "rose" } else { "fell" };
    let number = |value| number(value, told.what.unit());
    let time = rfc3339(since_nanos);
    let time = time.get(11..19).unwrap_or_default();
    let mut text = format!("{subject} {verb} from {} to {} since {time} UTC", number(told.before), number(told.after));
    if told.what == What::Errors && told.status.is_some() {
        text.push_str(", answered with 5xx");
    }
    if matches!(told.what, What::Quantile | What::Errors) {
        text.push_str(&match (told.phase, &told.endpoint) {
            (Some(phase), Some(endpoint)) => format!(", in {phase} at {endpoint}"),
            (Some(phase), None) => format!(", in {phase}"),
            (None, Some(endpoint)) => format!(", at {endpoint}"),
            (None, None) => String::new(),
        });
    }
    text
}

/// With as many digits as matter.
fn number(value: f64, unit: &str) -> String {
    let short = |value: f64| match value.abs() {
        0.0 => "0".to_owned(),
        ..0.1 => format!("{value:.2}"),
        ..10.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ => format!("{value:.0}"),
    };
    match unit {
        "ms" if value >= 10_000.0 => format!("{} s", short(value / 1e3)),
        "ms" => format!("{} ms", short(value)),
        "share" => format!("{} %", short(value * 100.0)),
        _ => format!("{}/s", short(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(what: What) -> Told {
        let route = "users".to_owned();
        Told { what, route, endpoint: None, phase: None, status: None, before: 12.2, after: 180.4, since_s: 10 }
    }

    /// Tick zero was at noon of 1970-01-01.
    fn words(told: &Told) -> String {
        json(told, 43_380_000_000_000)["text"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_change_is_told_in_plain_words() {
        let endpoint = Some("127.0.0.1:9002".to_owned());
        let slow = Told { endpoint: endpoint.clone(), phase: Some("wait"), ..told(What::Quantile) };
        assert_eq!(words(&slow), "p99 of users rose from 12 ms to 180 ms since 12:03:10 UTC, in wait at 127.0.0.1:9002");
        assert_eq!(words(&told(What::Quantile)), "p99 of users rose from 12 ms to 180 ms since 12:03:10 UTC");
        let failing = Told { endpoint: endpoint.clone(), status: Some("5xx"), before: 0.0, after: 0.4251, ..told(What::Errors) };
        assert_eq!(words(&failing), "errors of users rose from 0 % to 43 % since 12:03:10 UTC, answered with 5xx, at 127.0.0.1:9002");
        let hidden = Told { endpoint: endpoint.clone(), before: 0.004, after: 0.05, ..told(What::Attempts) };
        assert_eq!(words(&hidden), "failed attempts of users at 127.0.0.1:9002 rose from 0.4 % to 5 % since 12:03:10 UTC");
        let phase = Told { endpoint, phase: Some("connect"), before: 0.04, after: 12_300.0, ..told(What::Phase) };
        assert_eq!(words(&phase), "connect (mean) of users at 127.0.0.1:9002 rose from 0.04 ms to 12 s since 12:03:10 UTC");
        let gone = Told { route: String::new(), before: 1200.0, after: 0.0, ..told(What::Rate) };
        assert_eq!(words(&gone), "rate of requests without a route fell from 1200/s to 0/s since 12:03:10 UTC");
    }

    #[test]
    fn a_change_from_nothing_has_no_factor() {
        let told = Told { before: 0.0, after: 0.5, ..told(What::Errors) };
        let json = json(&told, 0);
        assert_eq!((&json["factor"], &json["since"], &json["unit"]), (&Value::Null, &json!(10_000), &json!("share")));
    }
}
