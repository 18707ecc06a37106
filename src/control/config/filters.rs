//! Filters in the file: a list of maps with one key each.
//!
//! In: nodes such as `strip_prefix: /api`. Out: one filter each. Not here: what filters do (`proxy::filter`).

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::decode::{Decode, Pairs, Placed};
use super::problem::Problems;
use super::values::Count;
use super::yaml::{Content, Node};
use crate::base::spelling::meant;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FilterEntry {
    StripPrefix(Placed<String>),
    Rewrite(Placed<String>),
    RequestHeaders(HeaderRules),
    ResponseHeaders(HeaderRules),
    Redirect(RedirectRule),
    Respond(RespondRule),
}

section! {
    /// Changes to headers: `remove`, then `set`, then `add`.
    HeaderRules {
        /// Fields that are taken out.
        remove: Vec<Placed<String>> = Vec::new(),
        /// Fields that get one value in place of any they had.
        set: Pairs = Pairs::default(),
        /// Fields that get one more value.
        add: Pairs = Pairs::default(),
    }
}

section! {
    /// Sends the client elsewhere. What is absent stays as it was.
    RedirectRule {
        /// The status: 301, 302, 303, 307 or 308.
        status: Placed<Count<300, 399>> = Placed { value: Count(308), mark: Default::default() },
        /// http or https.
        scheme: Option<Placed<String>> = None,
        /// Host, with a port if it needs one.
        host: Option<Placed<String>> = None,
        /// A path, with parameters of the route's own path.
        path: Option<Placed<String>> = None,
    }
}

section! {
    /// Answers in place of an upstream.
    RespondRule {
        /// The status.
        status: Count<200, 599> = Count(200),
        /// The body.
        body: String = String::new(),
        /// Headers of the answer.
        headers: Pairs = Pairs::default(),
    }
}

impl FilterEntry {
    const NAMES: [&'static str; 6] = ["strip_prefix", "rewrite", "request_headers", "response_headers", "redirect", "respond"];

    fn name(&self) -> &'static str {
        match self {
            FilterEntry::StripPrefix(_) => "strip_prefix",
            FilterEntry::Rewrite(_) => "rewrite",
            FilterEntry::RequestHeaders(_) => "request_headers",
            FilterEntry::ResponseHeaders(_) => "response_headers",
            FilterEntry::Redirect(_) => "redirect",
            FilterEntry::Respond(_) => "respond",
        }
    }
}

impl Decode for FilterEntry {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let expected = Self::NAMES.map(|name| format!("`{name}`")).join(", ");
        let Content::Map(pairs) = &node.content else {
            problems.add(node.mark, format!("found {}, expected a map with one of the keys {expected}", node.describe()));
            return None;
        };
        let [(key, value)] = pairs.as_slice() else {
            problems.add(node.mark, format!("found {} keys, expected one filter an item, one of {expected}", pairs.len()));
            return None;
        };
        let Content::Scalar(name) = &key.content else {
            problems.add(key.mark, format!("found {}, expected one of {expected}", key.describe()));
            return None;
        };
        match name.as_str() {
            "strip_prefix" => Decode::decode(value, problems).map(FilterEntry::StripPrefix),
            "rewrite" => Decode::decode(value, problems).map(FilterEntry::Rewrite),
            "request_headers" => Decode::decode(value, problems).map(FilterEntry::RequestHeaders),
            "response_headers" => Decode::decode(value, problems).map(FilterEntry::ResponseHeaders),
            "redirect" => Decode::decode(value, problems).map(FilterEntry::Redirect),
            "respond" => Decode::decode(value, problems).map(FilterEntry::Respond),
            other => {
                problems
                    .add(key.mark, format!("found the unknown filter `{other}`, expected one of {expected}{}", meant(other, Self::NAMES)));
                None
            }
        }
    }

    fn schema() -> Value {
        let one = |name: &str, schema: Value| json!({ "type": "object", "properties": { name: schema }, "required": [name], "additionalProperties": false });
        json!({ "oneOf": [
            one("strip_prefix", String::schema()),
            one("rewrite", String::schema()),
            one("request_headers", HeaderRules::schema()),
            one("response_headers", HeaderRules::schema()),
            one("redirect", RedirectRule::schema()),
            one("respond", RespondRule::schema()),
        ] })
    }
}

impl Serialize for FilterEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            FilterEntry::StripPrefix(path) | FilterEntry::Rewrite(path) => map.serialize_entry(self.name(), path)?,
            FilterEntry::RequestHeaders(rules) | FilterEntry::ResponseHeaders(rules) => map.serialize_entry(self.name(), rules)?,
            FilterEntry::Redirect(rule) => map.serialize_entry(self.name(), rule)?,
            FilterEntry::Respond(rule) => map.serialize_entry(self.name(), rule)?,
        }
        map.end()
    }
}
