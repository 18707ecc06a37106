//! Where a trace store shows a trace: a URL with places for what is asked.
//!
//! In: a template such as `http://127.0.0.1:16686/trace/{trace_id}`. Out: the template, checked, and the link to one request's trace.
//! Not here: which traces were exported, and so can be there.

use std::fmt::Write;

use reqwest::Url;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::decode::Decode;
use super::problem::Problems;
use super::yaml::{Content, Node};
use crate::telemetry::process::whole::Linked;

/// What is put in, in the order of the values that [`TraceUrl::link`] fills in.
const PLACES: [&str; 4] = ["{trace_id}", "{span_id}", "{begin_ms}", "{end_ms}"];

/// A checked template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceUrl(String);

impl TraceUrl {
    /// The error goes on behind what was found.
    fn parse(text: &str) -> Result<Self, String> {
        let places = PLACES.map(|place| format!("`{place}`")).join(", ");
        let known = PLACES.iter().fold(text.to_owned(), |rest, place| rest.replace(place, "0"));
        if known.contains(['{', '}']) {
            return Err(format!("expected no braces but those of {places}; any other is written %7B or %7D"));
        }
        if !text.contains(PLACES[0]) {
            return Err(format!("expected a URL with `{}` in it", PLACES[0]));
        }
        // A URL's parser takes out some of these; they would still be in the link.
        if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return Err("expected a URL without spaces and control characters".to_owned());
        }
        let url = Url::parse(&known).map_err(|error| format!("expected an http or https URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("expected an http or https URL".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("expected a URL without a user and a password: everyone who looks at a request is shown it".to_owned());
        }
        Ok(TraceUrl(text.to_owned()))
    }

    /// The link. What is filled in are digits of numbers and ids, which mean the same anywhere in a URL.
    pub(crate) fn link(&self, linked: Linked<'_>) -> String {
        let mut link = String::with_capacity(self.0.len() + linked.trace_id.len());
        let mut rest = self.0.as_str();
        while let Some((before, place)) = next_place(rest) {
            link.push_str(before);
            // Writing to a String does not fail.
            let _ = match place {
                "{trace_id}" => link.write_str(linked.trace_id),
                "{span_id}" => link.write_str(linked.span_id),
                "{begin_ms}" => write!(link, "{}", linked.begin_ms),
                _ => write!(link, "{}", linked.end_ms),
            };
            rest = &rest[before.len() + place.len()..];
        }
        link.push_str(rest);
        link
    }
}

/// The first place with what stands before it.
fn next_place(text: &str) -> Option<(&str, &str)> {
    let start = text.find('{')?;
    let end = start + text[start..].find('}')?;
    Some((&text[..start], &text[start..=end]))
}

impl Decode for TraceUrl {
    const LEAF: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let read = match &node.content {
            Content::Scalar(text) => Self::parse(text),
            _ => Err("expected a URL such as http://127.0.0.1:16686/trace/{trace_id}".to_owned()),
        };
        read.map_err(|why| problems.add(node.mark, format!("found {}, {why}", node.describe()))).ok()
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Serialize for TraceUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKED: Linked<'_> = Linked { trace_id: "0af7", span_id: "b7ad", begin_ms: 17, end_ms: 42 };

    #[test]
    fn a_link_has_what_the_template_asks_for() {
        for (template, link) in [
            ("http://127.0.0.1:16686/trace/{trace_id}", "http://127.0.0.1:16686/trace/0af7"),
            ("https://t/{trace_id}?uiFind={span_id}&again={trace_id}#x", "https://t/0af7?uiFind=b7ad&again=0af7#x"),
            (
                "https://g/explore?left=%7B%22q%22:%22{trace_id}%22,%22r%22:[{begin_ms},{end_ms}]%7D",
                "https://g/explore?left=%7B%22q%22:%220af7%22,%22r%22:[17,42]%7D",
            ),
        ] {
            assert_eq!(TraceUrl::parse(template).unwrap().link(LINKED), link);
        }
    }

    #[test]
    fn a_template_that_leads_nowhere_is_refused_with_a_way_out() {
        for (template, says) in [
            ("http://h/trace", "with `{trace_id}` in it"),
            ("http://h/{span_id}", "with `{trace_id}` in it"),
            ("http://h/{trace_id}/{id}", "those of `{trace_id}`, `{span_id}`, `{begin_ms}`, `{end_ms}`"),
            ("http://h/{trace_id}?q={\"a\":1}", "%7B"),
            ("http://h/{trace_id}}", "%7D"),
            ("/trace/{trace_id}", "an http or https URL"),
            ("javascript:alert('{trace_id}')", "an http or https URL"),
            ("http://a:b@h/{trace_id}", "without a user"),
            ("http://h/ {trace_id}", "without spaces"),
            ("http://h/\n{trace_id}", "without spaces"),
        ] {
            let why = TraceUrl::parse(template).unwrap_err();
            assert!(why.starts_with("expected") && why.contains(says), "{template}: {why}");
        }
    }
}
