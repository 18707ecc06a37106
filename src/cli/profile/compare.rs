//! Two profiles, made comparable, and their difference in the formats that hold one profile or one table of stacks.
//!
//! In: an earlier and a later profile. Out: the same two with the values that both have; a profile of what the later one has more, with
//! negative values for less; folded stacks with two counts. Not here: drawings and tables, which compare for themselves.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::source::Source;
use crate::telemetry::export::profile::fold::{Split, folded as fold};
use crate::telemetry::profile::{Label, Location, Mapping, Profile, Sample, ValueType};

/// By this label `go tool pprof` knows the samples that it is to compare with, and gives shares of their total (its option `-diff_base`).
const BASE_LABEL: (&str, &str) = ("pprof::base", "true");

/// Leaves in both only the values that both have, in the same order.
pub(super) fn on_common_ground(before: &mut Source, after: &mut Source) -> Result<(), String> {
    let both = |value: &&ValueType| before.profile.types.contains(value);
    let common: Vec<ValueType> = after.profile.types.iter().filter(both).cloned().collect();
    if common.is_empty() {
        let (found, expected) = (names(&before.profile), names(&after.profile));
        return Err(format!(
            "{} and {} measure different things: found {found} in the first, {expected} in the second",
            before.name, after.name
        ));
    }
    for source in [before, after] {
        if source.profile.types != common {
            keep(source.changed(), &common);
        }
    }
    Ok(())
}

fn names(profile: &Profile) -> String {
    if profile.types.is_empty() {
        return "no values".to_owned();
    }
    profile.types.iter().map(|value| format!("{} in {}", value.kind, value.unit)).collect::<Vec<_>>().join(", ")
}

/// Only these of a profile's values, in this order.
fn keep(profile: &mut Profile, types: &[ValueType]) {
    let places: Vec<usize> = types.iter().filter_map(|wanted| profile.types.iter().position(|value| value == wanted)).collect();
    for sample in &mut profile.samples {
        sample.values = places.iter().map(|place| sample.values.get(*place).copied().unwrap_or(0)).collect();
    }
    profile.types = types.to_vec();
}

/// What `after` has more than `before`, as one profile: the samples of both, those of `before` negative and marked.
pub(super) fn difference(before: &Profile, after: &Profile) -> Profile {
    let mut both = after.clone();
    let mappings: Vec<usize> = before.mappings.iter().map(|mapping| place(&mut both.mappings, mapping)).collect();
    let first_location = both.locations.len();
    for location in &before.locations {
        let mapping = location.mapping.and_then(|index| mappings.get(index).copied());
        both.locations.push(Location { mapping, ..location.clone() });
    }
    both.samples.extend(before.samples.iter().map(|sample| taken_away(sample, first_location)));
    both.comments.push("A difference: values are those of the later profile less those of the earlier one.".to_owned());
    both
}

/// The index of a mapping among the others, where it is added if it is not there.
fn place(mappings: &mut Vec<Mapping>, wanted: &Mapping) -> usize {
    mappings.iter().position(|mapping| mapping == wanted).unwrap_or_else(|| {
        mappings.push(wanted.clone());
        mappings.len() - 1
    })
}

fn taken_away(sample: &Sample, first_location: usize) -> Sample {
    let mut labels = sample.labels.clone();
    labels.insert(BASE_LABEL.0.to_owned(), Label::Text(BASE_LABEL.1.into()));
    Sample {
        stack: sample.stack.iter().map(|location| first_location + location).collect(),
        values: sample.values.iter().map(|value| value.saturating_neg()).collect(),
        labels,
    }
}

/// `root;…;leaf before after`, as drawing tools read it that show differences.
pub(super) fn folded(before: &Profile, after: &Profile, value: usize, root: Option<Split<'_>>) -> String {
    let mut pairs: BTreeMap<String, [i64; 2]> = BTreeMap::new();
    for (column, profile) in [before, after].into_iter().enumerate() {
        for (stack, count) in fold(profile, value, root) {
            pairs.entry(stack).or_default()[column] = count;
        }
    }
    pairs.iter().fold(String::new(), |mut out, (stack, [old, new])| {
        let _ = writeln!(out, "{stack} {old} {new}");
        out
    })
}
