//! Folded stacks: one line for each, outermost function first, `root;…;leaf count`.
//!
//! In: a profile, which of its values is counted, and a label to split by. Out: the sum of the value over all samples with the same stack,
//! inlined functions standing as frames of their own. Names are made safe for the format. Not here: drawing (`flamegraph`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::telemetry::profile::{Label, Line, Location, Profile, Sample};

/// The label whose value becomes the first frame of each stack, such as `thread`, `route` or `phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split<'k>(pub(crate) &'k str);

/// Frames, outermost first.
pub(super) type Stack = Vec<Arc<str>>;

/// The sum of a value by folded stack. Sums of zero are left out; they may be negative in a difference that another tool made.
pub(crate) fn folded(profile: &Profile, value: usize, root: Option<Split<'_>>) -> BTreeMap<String, i64> {
    stacks(profile, value, root).into_iter().map(|(stack, sum)| (stack.join(";"), sum)).collect()
}

/// The same as text, which most drawing tools read.
pub(crate) fn lines(folded: &BTreeMap<String, i64>) -> String {
    folded.iter().fold(String::new(), |mut out, (stack, sum)| {
        let _ = writeln!(out, "{stack} {sum}");
        out
    })
}

/// The sum of a value by stack, in an order in which every stack stands before those that go on from it.
pub(super) fn stacks(profile: &Profile, value: usize, root: Option<Split<'_>>) -> BTreeMap<Stack, i64> {
    let frames: Vec<Vec<Arc<str>>> = names(profile).into_iter().map(|names| names.iter().map(frame).collect()).collect();
    let mut sums = BTreeMap::new();
    for sample in &profile.samples {
        let count = sample.values.get(value).copied().unwrap_or(0);
        let known = sample.stack.iter().rev().filter_map(|index| frames.get(*index));
        let mut stack: Stack = root.map(|split| root_frame(sample, split)).into_iter().collect();
        stack.extend(known.flat_map(|names| names.iter().rev().map(Arc::clone)));
        if stack.is_empty() {
            stack.push("[no stack]".into());
        }
        if count != 0 {
            *sums.entry(stack).or_insert(0) += count;
        }
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

fn root_frame(sample: &Sample, split: Split<'_>) -> Arc<str> {
    let text: Arc<str> = match sample.labels.get(split.0) {
        Some(label) => printable(&label_text(label)),
        None => format!("[no {}]", split.0).into(),
    };
    frame(&text)
}

pub(super) fn label_text(label: &Label) -> Arc<str> {
    match label {
        Label::Text(text) => Arc::clone(text),
        Label::Number(number, unit) if unit.is_empty() => number.to_string().into(),
        Label::Number(number, unit) => format!("{number} {unit}").into(),
    }
}

/// A name in which nothing looks like the border between two frames.
fn frame(name: &Arc<str>) -> Arc<str> {
    let trimmed = name.trim();
    match trimmed {
        "" => "[no name]".into(),
        _ if trimmed.contains(';') => trimmed.replace(';', ",").into(),
        _ if trimmed.len() < name.len() => trimmed.into(),
        _ => Arc::clone(name),
    }
}

/// The functions at each location, innermost first, at least one for each.
pub(super) fn names(profile: &Profile) -> Vec<Vec<Arc<str>>> {
    profile.locations.iter().map(|location| location_names(profile, location)).collect()
}

fn location_names(profile: &Profile, location: &Location) -> Vec<Arc<str>> {
    if location.lines.is_empty() {
        return vec![unknown(profile, location)];
    }
    location.lines.iter().map(|line| function_name(line).unwrap_or_else(|| unknown(profile, location))).collect()
}

fn function_name(line: &Line) -> Option<Arc<str>> {
    [&line.function, &line.system_name].into_iter().find(|name| !name.is_empty()).map(printable)
}

/// What stands for code without a name: the file that it is in, or else its address.
fn unknown(profile: &Profile, location: &Location) -> Arc<str> {
    let mapping = location.mapping.and_then(|index| profile.mappings.get(index));
    match mapping.map_or("", |mapping| base_name(&mapping.file)) {
        "" if location.address == 0 => "[unknown]".into(),
        "" => format!("[unknown {:#x}]", location.address).into(),
        name if name.starts_with('[') => printable(&name.into()),
        name => printable(&format!("[{name}]").into()),
    }
}

pub(super) fn base_name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// A name in one line that XML may hold (XML 1.0, section 2.2); other characters become U+FFFD.
pub(super) fn printable(name: &Arc<str>) -> Arc<str> {
    let is_foreign = |character: char| character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}');
    if name.contains(is_foreign) { name.replace(is_foreign, "\u{fffd}").into() } else { Arc::clone(name) }
}

/// Which value of `before` is the one of `after`.
pub(super) fn counterpart(before: &Profile, after: &Profile, value: usize) -> Result<usize, String> {
    let wanted =
        after.types.get(value).ok_or_else(|| format!("found {} values in the profile, expected number {value}", after.types.len()))?;
    before.types.iter().position(|kind| kind == wanted).ok_or_else(|| {
        let found: Vec<String> = before.types.iter().map(|kind| format!("{} in {}", kind.kind, kind.unit)).collect();
        format!("the first profile: found {}, expected {} in {}", found.join(", "), wanted.kind, wanted.unit)
    })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::telemetry::profile::Mapping;

    #[test]
    fn inlined_functions_are_frames_and_nameless_code_stands_for_itself() {
        let folded = folded(&example::profile(), 0, None);
        assert_eq!(
            lines(&folded),
            "[unknown 0x1234] 1\n\
             pellucid::main;[libc.so.6] 1\n\
             pellucid::main;pellucid::serve;core::ptr::read 3\n\
             pellucid::main;pellucid::serve;core::ptr::read;memcpy 2\n"
        );
    }

    #[test]
    fn a_label_becomes_the_first_frame() {
        let folded = folded(&example::profile(), 1, Some(Split("route")));
        assert_eq!(folded.get("users;pellucid::main;pellucid::serve;core::ptr::read"), Some(&30_000_000));
        assert_eq!(folded.get("[no route];[unknown 0x1234]"), Some(&10_000_000));
        let hostile = folded.keys().find(|stack| stack.contains("script")).unwrap();
        assert!(hostile.starts_with("</title><script>alert(1)</script>,\u{fffd};pellucid::main;"), "{hostile}");
    }

    #[test]
    fn samples_with_the_same_stack_are_added_up() {
        let mut profile = example::profile();
        profile.locations[4].lines.clear();
        profile.samples[3].stack.clear();
        let again = profile.samples.clone();
        profile.samples.extend(again);
        let folded = folded(&profile, 0, None);
        assert_eq!(folded.get("pellucid::main;[libc.so.6]"), Some(&2));
        assert_eq!(folded.get("[no stack]"), Some(&2));
        assert_eq!(folded.values().sum::<i64>(), profile.total(0));
    }

    #[test]
    fn names_hold_no_border_between_frames() {
        let mut profile = example::profile();
        profile.locations[1].lines[0].function = "<[u8; 8] as Key>::of".into();
        profile.locations[2].lines[0].function = "".into();
        profile.mappings[1] = Mapping { file: "[vdso]".to_owned(), ..Mapping::default() };
        let folded = folded(&profile, 0, None);
        assert_eq!(folded.get("<[u8, 8] as Key>::of;[vdso]"), Some(&1));
        assert_eq!(folded.get("<[u8, 8] as Key>::of;pellucid::serve;core::ptr::read;_Rmemcpy"), Some(&2));
    }
}
