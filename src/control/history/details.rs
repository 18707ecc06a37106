//! What is different in an entry of the configuration, in words: `~ route good: timeout 5s -> 2s`.
//!
//! In: two versions of an entry, read as the admin plane shows them, so with secrets hidden. Out: lines, few and short. Not here: which
//! entries changed; the diff compares them with their secrets.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use crate::base::limits::RELOAD_ERRORS_MAX;

/// Bytes that are shown of a name or a value.
const SHOWN_BYTES_MAX: usize = 80;
/// Values that differ only behind so many characters are shown from there on.
const ALIKE_CHARS_MAX: usize = 40;
/// Characters that are shown before the first difference of such values.
const CONTEXT_CHARS: usize = 20;
/// Entries of a list that are named at most, of those that came and of those that went.
const LISTED_MAX: usize = 5;
/// The keys by which entries of lists are told apart.
const IDENTITIES: [&str; 3] = ["name", "address", "upstream"];

/// Lines about entries, up to a bound.
#[derive(Default)]
pub(super) struct Details {
    lines: Vec<String>,
    /// There is more than is told.
    is_cut: bool,
}

impl Details {
    /// `what` is an entry's kind and name, or a section.
    pub(super) fn tell(&mut self, what: &str, old: &impl Serialize, new: &impl Serialize) {
        if self.lines.len() == RELOAD_ERRORS_MAX {
            self.is_cut = true;
            return;
        }
        let json = |entry: Result<Value, _>| entry.unwrap_or_default();
        let mut changes = Vec::new();
        compare("", &json(serde_json::to_value(old)), &json(serde_json::to_value(new)), &mut changes);
        if changes.is_empty() {
            changes.push("a value that is not shown".to_owned());
        }
        let room = RELOAD_ERRORS_MAX - self.lines.len();
        self.is_cut |= changes.len() > room;
        let what = excerpt(what, 0);
        self.lines.extend(changes.into_iter().take(room).map(|change| format!("~ {what}: {change}")));
    }

    pub(super) fn into_lines(mut self) -> Vec<String> {
        if self.is_cut {
            self.lines.push("and more".to_owned());
        }
        self.lines
    }
}

/// Tells each value that differs, by its path.
fn compare(path: &str, old: &Value, new: &Value, told: &mut Vec<String>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            let fresh = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(fresh) {
                let inside = if path.is_empty() { excerpt(key, 0) } else { format!("{path}.{}", excerpt(key, 0)) };
                compare(&inside, before.get(key).unwrap_or(&Value::Null), after.get(key).unwrap_or(&Value::Null), told);
            }
        }
        (Value::Array(before), Value::Array(after)) => compare_lists(path, before, after, told),
        _ => {
            let (old, new) = contrasted(&shown(old), &shown(new));
            told.push(format!("{path} {old} -> {new}"));
        }
    }
}

fn compare_lists(path: &str, old: &[Value], new: &[Value], told: &mut Vec<String>) {
    if let (Some(before), Some(after)) = (by_identity(old), by_identity(new)) {
        return compare_named(path, old, new, (&before, &after), told);
    }
    if old.len() == new.len() {
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            compare(&format!("{path}[{index}]"), old, new, told);
        }
        return;
    }
    let lacks = |all: &[Value], each: &&Value| !all.contains(each);
    let came: Vec<String> = new.iter().filter(|each| lacks(old, each)).map(shown).collect();
    let went: Vec<String> = old.iter().filter(|each| lacks(new, each)).map(shown).collect();
    if came.is_empty() && went.is_empty() {
        told.push(format!("{path} {} -> {} entries", old.len(), new.len()));
    } else {
        told.push(format!("{path}{}{}", listed('+', &came), listed('-', &went)));
    }
}

type Named<'v> = HashMap<&'v str, &'v Value>;

/// Lists whose entries have names: an entry that only moved is the same one.
fn compare_named(path: &str, old: &[Value], new: &[Value], (before, after): (&Named<'_>, &Named<'_>), told: &mut Vec<String>) {
    let names = |all: &[Value], but: &Named<'_>| -> Vec<String> {
        all.iter().filter_map(identity).filter(|name| !but.contains_key(*name)).map(str::to_owned).collect()
    };
    let (came, went) = (names(new, before), names(old, after));
    if !came.is_empty() || !went.is_empty() {
        told.push(format!("{path}{}{}", listed('+', &came), listed('-', &went)));
    } else if !old.iter().map(identity).eq(new.iter().map(identity)) {
        told.push(format!("{path} in another order"));
    }
    for name in new.iter().filter_map(identity) {
        if let (Some(old), Some(new)) = (before.get(name), after.get(name)) {
            compare(&format!("{path}[{}]", excerpt(name, 0)), old, new, told);
        }
    }
}

/// Every entry by its name; none where one has no name of its own.
fn by_identity(list: &[Value]) -> Option<Named<'_>> {
    let named: Named<'_> = list.iter().map(|each| Some((identity(each)?, each))).collect::<Option<_>>()?;
    (named.len() == list.len()).then_some(named)
}

fn identity(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| IDENTITIES.iter().find_map(|key| entry.get(*key)?.as_str()))
}

/// ` + a, b`, or nothing.
fn listed(sign: char, names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let first: Vec<String> = names.iter().take(LISTED_MAX).map(|name| excerpt(name, 0)).collect();
    let more = names.len() - first.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(" {sign} {}{rest}", first.join(", "))
}

/// A value as one would write it. Text in which a space could mislead is quoted.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) if !text.is_empty() && text.chars().all(|each| !each.is_whitespace() && !each.is_control()) => text.clone(),
        _ => value.to_string(),
    }
}

/// Both from a little before their first difference, if that would else be cut off.
fn contrasted(old: &str, new: &str) -> (String, String) {
    let alike = old.chars().zip(new.chars()).take_while(|(before, after)| before == after).count();
    let is_long = old.len().max(new.len()) > SHOWN_BYTES_MAX;
    let skip = if is_long && alike > ALIKE_CHARS_MAX { alike - CONTEXT_CHARS } else { 0 };
    (excerpt(old, skip), excerpt(new, skip))
}

/// What stands behind `skip` characters, as far as it is shown. An ellipsis stands for what is left out.
fn excerpt(text: &str, skip: usize) -> String {
    let mut kept = if skip > 0 { "…".to_owned() } else { String::new() };
    for each in text.chars().skip(skip) {
        if kept.len() + each.len_utf8() > SHOWN_BYTES_MAX {
            kept.push('…');
            break;
        }
        kept.push(each);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(old: &Value, new: &Value) -> Vec<String> {
        let mut details = Details::default();
        details.tell("route r", old, new);
        details.into_lines()
    }

    #[test]
    fn each_value_that_differs_is_told_by_its_path() {
        let old = json!({ "timeout": "5s", "match": { "path": "/a", "headers": { "x-a": "1", "x-c": "3" } }, "l": [1], "upstream": null });
        let new = json!({ "timeout": "2s", "match": { "path": "/a b", "headers": { "x-b": "2", "x-c": "3" } }, "l": [1], "upstream": "u" });
        let expected = [
            "~ route r: timeout 5s -> 2s",
            "~ route r: match.path /a -> \"/a b\"",
            "~ route r: match.headers.x-a 1 -> (none)",
            "~ route r: match.headers.x-b (none) -> 2",
            "~ route r: upstream (none) -> u",
        ];
        assert_eq!(told(&old, &new), expected);
    }

    #[test]
    fn lists_tell_what_came_what_went_and_what_turned() {
        let endpoint = |address: &str, weight: u32| json!({ "address": address, "weight": weight });
        let cases: [(Value, Value, &[&str]); 7] = [
            (json!([endpoint("a:1", 1)]), json!([endpoint("b:1", 1), endpoint("a:1", 1)]), &["l + b:1"]),
            (json!([endpoint("a:1", 1), endpoint("b:1", 1)]), json!([endpoint("b:1", 7)]), &["l - a:1", "l[b:1].weight 1 -> 7"]),
            (json!(["GET", "PUT"]), json!(["PUT", "GET"]), &["l in another order"]),
            (json!(["a", "b", "c", "d", "e", "f", "g"]), json!(["h"]), &["l + h - a, b, c, d, e and 2 more"]),
            (json!([{ "rewrite": "/a" }]), json!([{ "rewrite": "/b" }]), &["l[0].rewrite /a -> /b"]),
            (json!([]), json!([{ "rewrite": "/a" }]), &["l + {\"rewrite\":\"/a\"}"]),
            (json!([1, 1]), json!([1]), &["l 2 -> 1 entries"]),
        ];
        for (old, new, changes) in cases {
            let expected: Vec<String> = changes.iter().map(|change| format!("~ route r: {change}")).collect();
            assert_eq!(told(&json!({ "l": old }), &json!({ "l": new })), expected);
        }
    }

    #[test]
    fn long_values_are_cut_where_they_differ() {
        let text = |end: &str| json!({ "body": format!("{}{end}", "é".repeat(500)) });
        let lines = told(&text("one"), &text("two"));
        let alike = "é".repeat(CONTEXT_CHARS);
        assert_eq!(lines, [format!("~ route r: body …{alike}one -> …{alike}two")]);
        let lines = told(&json!({ "body": "a" }), &json!({ "body": "b".repeat(5000) }));
        assert_eq!(lines, [format!("~ route r: body a -> {}…", "b".repeat(SHOWN_BYTES_MAX))]);
    }

    #[test]
    fn lines_are_bounded_and_a_hidden_change_is_one() {
        assert_eq!(told(&json!({ "token": "***" }), &json!({ "token": "***" })), ["~ route r: a value that is not shown"]);
        let wide = |value: u32| Value::Object((0..70).map(|key| (key.to_string(), json!(value))).collect());
        let mut details = Details::default();
        for _ in 0..3 {
            details.tell("route r", &wide(1), &wide(2));
        }
        let lines = details.into_lines();
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (RELOAD_ERRORS_MAX + 1, Some("and more")));
    }
}
