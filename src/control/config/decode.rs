//! Reading typed values out of a tree, collecting every mistake on the way.
//!
//! In: nodes. Out: values, or a mistake that says what was found and what was expected. A reader goes on after a mistake, so that all are
//! found at once. Not here: which sections there are (`schema`).

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::problem::{Mark, Problems};
use super::yaml::{Content, Node};
use crate::base::spelling::meant;

/// A value that can be read from a node.
pub(crate) trait Decode: Sized {
    /// A value by itself: after a mistake in it, its default lets the search for other mistakes go on.
    const LEAF: bool = false;
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self>;
    /// Its JSON Schema.
    fn schema() -> Value;
    /// What `null` stands for, where it is more than an absent key.
    fn null() -> Option<Self> {
        None
    }
}

/// A value that remembers its place, for mistakes that only show later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) mark: Mark,
}

/// Two values are the same wherever they stand.
impl<T: PartialEq> PartialEq for Placed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Placed<T> {}

impl<T: Serialize> Serialize for Placed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: Decode> Decode for Placed<T> {
    const LEAF: bool = T::LEAF;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        T::decode(node, problems).map(|value| Placed { value, mark: node.mark })
    }

    fn schema() -> Value {
        T::schema()
    }
}

/// The keys of a map that is read as a section.
pub(crate) struct Fields<'n> {
    mark: Mark,
    pairs: &'n [(Node, Node)],
}

/// The key of a field: raw identifiers without their mark.
pub(crate) fn key(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

pub(crate) fn required<T>() -> Option<fn() -> T> {
    None
}

impl<'n> Fields<'n> {
    /// Checks that the node is a map with no keys but `known`. An absent section is an empty one.
    pub(crate) fn of(node: &'n Node, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let pairs = match &node.content {
            Content::Map(pairs) => pairs.as_slice(),
            Content::Null => &[],
            _ => {
                problems.add(node.mark, format!("found {}, expected a map with the keys {}", node.describe(), listed(known)));
                return None;
            }
        };
        for (key, _) in pairs {
            match &key.content {
                Content::Scalar(name) if known.contains(&name.as_str()) => {}
                Content::Scalar(name) => {
                    let hint = meant(name, known.iter().copied());
                    problems.add(key.mark, format!("found the unknown key `{name}`, expected one of {}{hint}", listed(known)));
                }
                _ => problems.add(key.mark, format!("found {} as a key, expected one of {}", key.describe(), listed(known))),
            }
        }
        Some(Fields { mark: node.mark, pairs })
    }

    /// The value of a key, or its default. None after a mistake.
    pub(crate) fn take<T: Decode>(&self, name: &str, default: Option<fn() -> T>, problems: &mut Problems) -> Option<T> {
        let found = self.pairs.iter().find(|(key, _)| matches!(&key.content, Content::Scalar(text) if text == name));
        match (found, default) {
            (Some((_, node)), Some(default)) if node.content == Content::Null => Some(T::null().unwrap_or_else(default)),
            (Some((_, node)), Some(default)) if T::LEAF => Some(T::decode(node, problems).unwrap_or_else(default)),
            (Some((_, node)), _) => T::decode(node, problems),
            (None, Some(default)) => Some(default()),
            (None, None) => {
                problems.add(self.mark, format!("the key `{name}` is missing"));
                None
            }
        }
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A word out of a few.
pub(crate) fn word(node: &Node, words: &[&str], problems: &mut Problems) -> Option<String> {
    match &node.content {
        Content::Scalar(text) if words.contains(&text.as_str()) => Some(text.clone()),
        Content::Scalar(text) => {
            problems.add(node.mark, format!("found `{text}`, expected one of {}{}", listed(words), meant(text, words.iter().copied())));
            None
        }
        _ => {
            problems.add(node.mark, format!("found {}, expected one of {}", node.describe(), listed(words)));
            None
        }
    }
}

/// A scalar that `read` understands; `expected` says what it would.
pub(crate) fn scalar<T>(node: &Node, problems: &mut Problems, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let value = match &node.content {
        Content::Scalar(text) => read(text),
        _ => None,
    };
    if value.is_none() {
        problems.add(node.mark, format!("found {}, expected {expected}", node.describe()));
    }
    value
}

impl Decode for String {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        scalar(node, problems, "text", |text| Some(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Decode for bool {
    const LEAF: bool = true;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        scalar(node, problems, "true or false", |text| text.parse().ok())
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl<T: Decode> Decode for Option<T> {
    const LEAF: bool = T::LEAF;

    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        T::decode(node, problems).map(Some)
    }

    fn schema() -> Value {
        T::schema()
    }

    fn null() -> Option<Self> {
        Some(None)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Content::List(items) = &node.content else {
            problems.add(node.mark, format!("found {}, expected a list", node.describe()));
            return None;
        };
        let read: Vec<Option<T>> = items.iter().map(|item| T::decode(item, problems)).collect();
        read.into_iter().collect()
    }

    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// A map whose keys are the user's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs {
    pub(crate) pairs: Vec<(Placed<String>, Placed<String>)>,
}

impl Decode for Pairs {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Content::Map(pairs) = &node.content else {
            problems.add(node.mark, format!("found {}, expected a map of names to values", node.describe()));
            return None;
        };
        let read: Vec<_> =
            pairs.iter().map(|(key, value)| Some((Decode::decode(key, problems)?, Decode::decode(value, problems)?))).collect();
        Some(Pairs { pairs: read.into_iter().collect::<Option<_>>()? })
    }

    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
    }
}

/// Values under names that usually carry secrets are hidden.
impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.pairs.iter().map(|(name, value)| {
            let name = name.value.as_str();
            (name, if is_secret(name) { "***" } else { value.value.as_str() })
        }))
    }
}

/// Names of headers and fields under which secrets usually stand.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "token", "key", "secret", "cookie", "password", "credential", "signature"].iter().any(|part| name.contains(part))
}

pub(crate) struct FieldSchema {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) description: &'static str,
    pub(crate) schema: Value,
}

pub(crate) fn object_schema(description: &str, fields: Vec<FieldSchema>) -> Value {
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut properties = Map::new();
    for field in fields {
        let mut schema = field.schema;
        if let (Some(object), false) = (schema.as_object_mut(), field.description.is_empty()) {
            object.insert("description".to_owned(), field.description.trim().into());
        }
        properties.insert(field.name.to_owned(), schema);
    }
    json!({
        "type": "object",
        "description": description.trim(),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}
