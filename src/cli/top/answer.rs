//! What the gateway's API says, as far as the screen shows it.
//!
//! In: JSON bodies of `/api/v1/overview` and `/api/v1/requests`. Out: typed rows whose text cannot steer a terminal.
//! Not here: asking for them, and what they look like.

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::asker::Refusal;

/// Text that a terminal can be given: what would move its cursor, or the order of its letters, is a `·`. Names, paths and headers are
/// chosen by clients, and a path may hold anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plain(String);

/// What stands for the name of the route where no route took a request.
const NO_ROUTE: &str = "(no route)";

/// A route's name: as the gateway must be asked for it, and as it is shown. Requests that no route took have an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) raw: String,
    pub(super) shown: Plain,
}

/// Rates in requests a second, shares from 0 to 1, times in milliseconds; no quantiles where nothing was counted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    pub(super) rate: f64,
    pub(super) errors: f64,
    pub(super) p50: Option<f64>,
    pub(super) p90: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) self_p99: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Route {
    #[serde(rename = "route")]
    pub(super) name: Name,
    #[serde(flatten)]
    pub(super) stats: Stats,
    #[serde(default)]
    pub(super) spark: Vec<Option<f64>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Change {
    pub(super) text: Plain,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Overview {
    pub(super) window_s: u32,
    pub(super) total: Stats,
    #[serde(default)]
    pub(super) in_flight: u64,
    pub(super) routes: Vec<Route>,
    #[serde(default)]
    pub(super) folded: u64,
    #[serde(default)]
    pub(super) changes: Vec<Change>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Verdict {
    pub(super) code: Plain,
    pub(super) text: Plain,
}

/// One request of the tail. What a gateway could not tell (a request that ended before its head was read) is none.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Request {
    pub(super) start: Option<Plain>,
    pub(super) method: Option<Plain>,
    pub(super) path: Option<Plain>,
    pub(super) route: Option<Name>,
    pub(super) status: Option<u16>,
    pub(super) duration_ms: Option<f64>,
    pub(super) verdict: Option<Verdict>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Requests {
    pub(super) requests: Vec<Request>,
}

/// Both, asked for together. A refused filter refuses the tail alone.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) overview: Overview,
    pub(super) tail: Result<Vec<Request>, Refusal>,
}

impl Plain {
    pub(super) fn of(text: &str) -> Self {
        Plain(text.chars().map(|one| if steers(one) { '·' } else { one }).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Controls (C0, DEL, C1), and what Unicode has beside them: marks of direction, joiners, separators of lines, tags.
fn steers(one: char) -> bool {
    let is_format = matches!(one, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    one.is_control() || is_format
}

impl fmt::Display for Plain {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Plain::of(&String::deserialize(from)?))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(from)?;
        let shown = Plain::of(if raw.is_empty() { NO_ROUTE } else { &raw });
        Ok(Name { raw, shown })
    }
}
