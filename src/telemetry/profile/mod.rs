//! A profile: what was measured, where in the code, and for which request.
//!
//! In: stacks of addresses with values and labels, from the sampler, the allocator or a file. Out: one model that every format is written
//! from. It follows pprof's `profile.proto`, whose words it uses. Not here: formats (`export::profile`), and taking samples (`sampler`).

pub(crate) mod maps;
pub(crate) mod symbols;
pub(crate) mod caller;
pub(crate) mod heap;
pub(crate) mod history;
pub(crate) mod assemble;
pub(crate) mod refusal;
pub(crate) mod profiler;

use std::collections::BTreeMap;
use std::sync::Arc;

/// What was measured over some time. Indexes in it point into its own tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Profile {
    /// One for each of a sample's values.
    pub(crate) types: Vec<ValueType>,
    /// The one of `types` that is shown unless the reader asks for another.
    pub(crate) default_type: String,
    /// What was counted between two samples, and how much of it.
    pub(crate) period: Option<(ValueType, i64)>,
    pub(crate) began_unix_nanos: u64,
    pub(crate) duration_nanos: u64,
    /// Sentences for the reader: what was lost, at which rate.
    pub(crate) comments: Vec<String>,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) locations: Vec<Location>,
    pub(crate) samples: Vec<Sample>,
}

/// Such as `cpu` in `nanoseconds`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ValueType {
    pub(crate) kind: String,
    pub(crate) unit: String,
}

/// A file that is mapped into the process and holds code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) offset: u64,
    pub(crate) file: String,
    /// In hexadecimal; empty where the file has none.
    pub(crate) build_id: String,
}

/// A place in the code, with the functions that were inlined there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Location {
    /// Zero for what has no address, such as a wait.
    pub(crate) address: u64,
    pub(crate) mapping: Option<usize>,
    /// Innermost first; the last one is the function that the others were inlined into. Empty where nothing is known.
    pub(crate) lines: Vec<Line>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) function: Arc<str>,
    /// As the linker knows it.
    pub(crate) system_name: Arc<str>,
    /// Empty where it is not known; line 0 likewise.
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Indexes of locations, the innermost first.
    pub(crate) stack: Vec<usize>,
    pub(crate) values: Vec<i64>,
    pub(crate) labels: BTreeMap<String, Label>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Label {
    Text(Arc<str>),
    /// With its unit, which may be empty.
    Number(i64, String),
}

impl ValueType {
    pub(crate) fn new(kind: &str, unit: &str) -> Self {
        ValueType { kind: kind.to_owned(), unit: unit.to_owned() }
    }
}

impl Profile {
    /// Index of the type that is shown by default: the named one, or the last.
    pub(crate) fn shown(&self) -> usize {
        let named = self.types.iter().position(|value| value.kind == self.default_type);
        named.unwrap_or(self.types.len().saturating_sub(1))
    }

    /// Counts of whole periods in place of all values, so that counts times the period are the time of the last value, whatever the rates were at
    /// which the samples were taken. What is left of one sample goes to the next.
    pub(crate) fn in_periods(mut self, period: i64) -> Self {
        self.types.truncate(1);
        let mut left = 0;
        for sample in &mut self.samples {
            left += sample.values.last().copied().unwrap_or(0);
            sample.values = vec![left / period];
            left %= period;
        }
        self.samples.retain(|sample| sample.values[0] > 0);
        self
    }

    /// The sum of one value over all samples.
    #[cfg(test)]
    pub(crate) fn total(&self, value: usize) -> i64 {
        self.samples.iter().filter_map(|sample| sample.values.get(value)).fold(0, |sum, value| sum.saturating_add(*value))
    }

    /// Only the samples that carry all of these labels.
    pub(crate) fn retain(&mut self, wanted: &[(&str, &str)]) {
        let has = |sample: &Sample, key: &str, value: &str| matches!(sample.labels.get(key), Some(Label::Text(text)) if **text == *value);
        self.samples.retain(|sample| wanted.iter().all(|(key, value)| has(sample, key, value)));
    }
}
