//! Values with a notation: durations, sizes, shares, counts, addresses.
//!
//! In: scalars such as `250ms`, `64KiB`, `0.01`. Out: numbers in a known unit, places, and secrets that no output shows. Not here: sections.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::decode::{Decode, scalar};
use super::problem::Problems;
use super::yaml::{Content, Node};

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

/// Characters that a [`Secret`] may have: enough that nobody guesses it, few enough for a header.
const SECRET_CHARACTERS: RangeInclusive<usize> = 16..=1024;

/// A token that is shown nowhere: not in messages, not in logs, not in the configuration as the admin plane tells it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// What a bearer token may consist of (`b64token` of RFC 6750, section 2.1), so that it goes into a header as it is.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let start = text.trim_end_matches('=');
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let good = SECRET_CHARACTERS.contains(&text.len()) && !start.is_empty() && start.bytes().all(fits);
        good.then(|| Secret(text.to_owned()))
    }

    /// What `parse` takes, for messages.
    pub(crate) fn expected() -> String {
        format!(
            "{} to {} characters out of A-Z, a-z, 0-9 and -._~+/, then any number of =",
            SECRET_CHARACTERS.start(),
            SECRET_CHARACTERS.end()
        )
    }

    /// Takes as long for a wrong value as for the right one; only the length of the secret may show.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The value, for the one header that carries it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Decode for Secret {
    const LEAF: bool = true;

    /// The mistake says how long the value is, and not what it is.
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Content::Scalar(text) = &node.content else {
            problems.add(node.mark, format!("found {}, expected a secret of {}", node.describe(), Self::expected()));
            return None;
        };
        let secret = Self::parse(text);
        if secret.is_none() {
            let found = text.chars().count();
            problems.add(node.mark, format!("found a secret of {found} characters that is not shown, expected {}", Self::expected()));
        }
        secret
    }

    fn schema() -> Value {
        json!({ "type": "string", "writeOnly": true })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::problem::Mark;

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

    fn secret(text: &str) -> (Option<Secret>, String) {
        let mut problems = Problems::default();
        let node = Node { mark: Mark { line: 1, column: 1 }, content: Content::Scalar(text.to_owned()) };
        (Secret::decode(&node, &mut problems), problems.lines("f").join("\n"))
    }

    #[test]
    fn a_secret_is_told_apart_and_never_shown() {
        let (good, said) = secret("correct-horse+battery/staple==");
        let good = good.unwrap();
        assert!(said.is_empty() && good.is(b"correct-horse+battery/staple=="));
        for wrong in ["", "correct-horse+battery/staple=", "Correct-horse+battery/staple=="] {
            assert!(!good.is(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!((format!("{good:?}"), json!(good)), ("***".to_owned(), json!("***")));
    }

    #[test]
    fn a_secret_that_is_refused_is_not_shown_either() {
        let long = "x".repeat(1025);
        for bad in
            ["", "fifteen-letters", "================", "correct horse battery", "correct=horse-battery", "höhere-gewalt-genug", &long]
        {
            let (found, said) = secret(bad);
            assert!(found.is_none() && said.contains(&format!("of {} characters", bad.chars().count())), "{bad}: {said}");
            assert!(bad.is_empty() || !said.contains(bad), "{said}");
        }
    }
}
