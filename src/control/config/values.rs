//! Values with a notation: durations, sizes, shares, counts, addresses.
//!
//! In: scalars such as `250ms`, `64KiB`, `0.01`. Out: numbers in a known unit. Not here: sections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::decode::{Decode, scalar};
use super::problem::Problems;
use super::yaml::Node;

/// `250ms`, `5s`, `2m`, `1h`; `0` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// Bytes: `512`, `64KiB`, `1MiB`, `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count<const LEAST: u64, const MOST: u64>(pub(crate) u64);

impl Decode for Span {
    const LEAF: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        scalar(node, problems, "a duration such as 250ms, 5s, 2m or 1h", |text| parse_span(text).map(Span))
    }

    fn schema() -> Value {
        json!({ "type": ["string", "integer"], "pattern": "^(0|[0-9]+(\\.[0-9]+)?(ms|s|m|h))$" })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.as_millis();
        serializer.collect_str(&if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") })
    }
}

/// Reads a duration as the configuration writes it.
pub(crate) fn parse_span(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value = number.parse::<f64>().ok().filter(|_| plain)? * seconds;
    Duration::try_from_secs_f64(value).ok().filter(|span| *span <= Duration::from_secs(365 * 86_400))
}

impl Decode for Size {
    const LEAF: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        scalar(node, problems, "a size such as 512, 64KiB, 1MiB or 10MB", |text| parse_size(text).map(Size))
    }

    fn schema() -> Value {
        json!({ "type": ["string", "integer"], "pattern": "^[0-9]+(B|kB|KB|MB|GB|KiB|MiB|GiB)?$" })
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let digits = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(factor)
}

impl Decode for Share {
    const LEAF: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        scalar(node, problems, "a share from 0 to 1", |text| {
            text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share)).map(Share)
        })
    }

    fn schema() -> Value {
        json!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<const LEAST: u64, const MOST: u64> Decode for Count<LEAST, MOST> {
    const LEAF: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let expected = format!("a whole number from {LEAST} to {MOST}");
        scalar(node, problems, &expected, |text| {
            let digits = text.chars().all(|c| c.is_ascii_digit());
            text.parse().ok().filter(|count| digits && (LEAST..=MOST).contains(count)).map(Count)
        })
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}

impl<const LEAST: u64, const MOST: u64> Serialize for Count<LEAST, MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl Decode for SocketAddr {
    const LEAF: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        scalar(node, problems, "an address and port such as 127.0.0.1:8080 or [::]:8080", |text| text.parse().ok())
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

/// Standard output, standard error or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogPlace {
    Stdout,
    Stderr,
    File(PathBuf),
}

impl Decode for LogPlace {
    const LEAF: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        scalar(node, problems, "stdout, stderr or the path of a file", |text| match text {
            "stdout" => Some(LogPlace::Stdout),
            "stderr" => Some(LogPlace::Stderr),
            path if path.starts_with(['/', '.']) || path.contains(['/', '.']) => Some(LogPlace::File(PathBuf::from(path))),
            _ => None,
        })
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Serialize for LogPlace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            LogPlace::Stdout => serializer.serialize_str("stdout"),
            LogPlace::Stderr => serializer.serialize_str("stderr"),
            LogPlace::File(path) => serializer.collect_str(&path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(parse_span("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_span("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_span("2m"), Some(Duration::from_secs(120)));
        for bad in ["5", "s", "-1s", "1 s", "1d", "1e3s", "99999999h", ""] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("10MB"), Some(10_000_000));
        for bad in ["-1", "1.5KiB", "KiB", "1kib", "99999999999GiB", ""] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
