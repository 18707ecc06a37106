//! Samples become a profile: equal ones are put together, addresses get names, numbers their texts.
//!
//! In: the samples of a window. Out: a profile whose samples carry labels. Not here: which samples those are (`profiler`), and formats.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::history::{Kept, Stack};
use super::symbols::Symbols;
use super::{Label, Location, Profile, Sample, ValueType};
use crate::base::ids::hex_text;
use crate::telemetry::record::labels::{self, LabelName, Labels, Work};
use crate::telemetry::sampler::Kind;

/// What a window of time held.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Kept>,
    /// Samples a second of CPU time that were asked for.
    pub(crate) hz: u32,
    pub(crate) began_unix_nanos: u64,
    pub(crate) duration_nanos: u64,
    pub(crate) lost: u64,
    pub(crate) merged: u64,
    /// Why some threads were not sampled.
    pub(crate) unarmed: Option<String>,
}

/// Which samples are wanted. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) route: Option<String>,
    pub(crate) upstream: Option<String>,
    /// In hexadecimal digits.
    pub(crate) trace_id: Option<String>,
    /// The same: one request of its trace.
    pub(crate) span_id: Option<String>,
}

/// The keys of labels, as `go tool pprof -tags` shows them.
pub(crate) const ROUTE: &str = "route";
pub(crate) const UPSTREAM: &str = "upstream";
pub(crate) const TRACE_ID: &str = "trace_id";
pub(crate) const SPAN_ID: &str = "span_id";
pub(crate) const PHASE: &str = "phase";
pub(crate) const THREAD: &str = "thread";

impl Taken {
    /// Keeps the samples that are wanted.
    pub(crate) fn retain(&mut self, wanted: &Wanted) {
        let route = wanted.route.as_deref().map(Name::of);
        let upstream = wanted.upstream.as_deref().map(Name::of);
        self.samples.retain(|sample| {
            let labels = &sample.labels;
            route.as_ref().is_none_or(|name| name.is(labels.route))
                && upstream.as_ref().is_none_or(|name| name.is(labels.upstream))
                && wanted.trace_id.as_deref().is_none_or(|id| hex_text(&labels.trace_id.hex()) == id)
                && wanted.span_id.as_deref().is_none_or(|id| hex_text(&labels.span_id.hex()) == id)
        });
    }

    /// Sentences about how far the samples can be trusted.
    pub(crate) fn comments(&self) -> Vec<String> {
        let mut comments = vec![format!("{} samples, {} lost", self.samples.len(), self.lost)];
        if self.kind == Kind::Cpu {
            comments.push(format!("{} samples a second of each thread's CPU time", self.hz));
            if self.taken_hz() > self.hz {
                comments.push(format!("taken at {} a second meanwhile, because somebody else asked for that", self.taken_hz()));
            }
        }
        comments.extend(self.unarmed.as_ref().map(|why| format!("some threads are missing: {why}")));
        if self.merged > 0 {
            comments.push(format!("{} periods had their signal late and count with the sample that followed", self.merged));
        }
        comments
    }

    /// The rate of the samples themselves: that of whoever wanted most.
    fn taken_hz(&self) -> u32 {
        let rate = |sample: &Kept| (u64::from(sample.count) * 1_000_000_000 + sample.nanos / 2).checked_div(sample.nanos).unwrap_or(0);
        self.samples.iter().map(rate).max().unwrap_or(0).try_into().unwrap_or(u32::MAX)
    }

    pub(crate) fn profile(&self, symbols: &mut Symbols) -> Profile {
        symbols.refresh();
        let mut places = Places { symbols, locations: Vec::new(), known: HashMap::new() };
        let mut texts = Texts::default();
        let mut together: BTreeMap<Alike, [i64; 2]> = BTreeMap::new();
        for sample in &self.samples {
            let labels = texts.labels(&sample.labels, &sample.thread);
            let values = together.entry((places.stack(&sample.stack), labels)).or_default();
            values[0] += i64::from(sample.count);
            values[1] = values[1].saturating_add(sample.nanos as i64);
        }
        let locations = places.locations;
        let samples = together.into_iter().map(|((stack, labels), values)| Sample { stack, values: values.to_vec(), labels }).collect();
        let (types, period) = self.types();
        Profile {
            default_type: types[1].kind.clone(),
            types,
            period,
            began_unix_nanos: self.began_unix_nanos,
            duration_nanos: self.duration_nanos,
            comments: self.comments(),
            mappings: symbols.mappings(),
            locations,
            samples,
        }
    }

    /// As Go's profiles of the same kinds have them.
    fn types(&self) -> (Vec<ValueType>, Option<(ValueType, i64)>) {
        match self.kind {
            Kind::Cpu => {
                let cpu = ValueType::new("cpu", "nanoseconds");
                let period = 1_000_000_000 / i64::from(self.hz.max(self.taken_hz()).max(1));
                (vec![ValueType::new("samples", "count"), cpu.clone()], Some((cpu, period)))
            }
            Kind::Poll | Kind::Lock => {
                let count = ValueType::new("contentions", "count");
                (vec![count.clone(), ValueType::new("delay", "nanoseconds")], Some((count, 1)))
            }
        }
    }
}

/// What samples have in common that are put together.
type Alike = (Vec<usize>, BTreeMap<String, Label>);

/// A name that is looked for, and its number.
struct Name(LabelName);

impl Name {
    fn of(text: &str) -> Name {
        Name(labels::number_if_known(text).unwrap_or(LabelName(u32::MAX)))
    }

    fn is(&self, number: LabelName) -> bool {
        self.0 == number
    }
}

struct Places<'s> {
    symbols: &'s mut Symbols,
    locations: Vec<Location>,
    /// By address and whether a call returns there.
    known: HashMap<(u64, bool), usize>,
}

impl Places<'_> {
    fn stack(&mut self, stack: &Stack) -> Vec<usize> {
        stack.iter().enumerate().map(|(depth, address)| self.place(*address, depth > 0)).collect()
    }

    fn place(&mut self, address: u64, is_return: bool) -> usize {
        if let Some(index) = self.known.get(&(address, is_return)) {
            return *index;
        }
        self.locations.push(self.symbols.locate(address, is_return));
        self.known.insert((address, is_return), self.locations.len() - 1);
        self.locations.len() - 1
    }
}

/// The texts behind numbers, each looked up once.
#[derive(Default)]
struct Texts(HashMap<LabelName, Option<Arc<str>>>);

impl Texts {
    fn text(&mut self, number: LabelName) -> Option<Arc<str>> {
        self.0.entry(number).or_insert_with(|| labels::name(number)).clone()
    }

    fn labels(&mut self, worn: &Labels, thread: &Arc<str>) -> BTreeMap<String, Label> {
        let mut found = BTreeMap::from([(THREAD.to_owned(), Label::Text(Arc::clone(thread)))]);
        if worn.work == Work::None {
            return found;
        }
        let mut add = |key: &str, text: Option<Arc<str>>| {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                found.insert(key.to_owned(), Label::Text(text));
            }
        };
        add(PHASE, Some(worn.work.label().into()));
        add(ROUTE, self.text(worn.route));
        add(UPSTREAM, self.text(worn.upstream));
        if worn.trace_id.0 != [0; 16] {
            add(TRACE_ID, Some(hex_text(&worn.trace_id.hex()).into()));
            add(SPAN_ID, Some(hex_text(&worn.span_id.hex()).into()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{SpanId, TraceId};

    fn taken(route: &str, traces: &[u8]) -> Taken {
        let labels = |trace: u8| Labels {
            work: Work::Send,
            route: labels::number(route),
            trace_id: TraceId([trace; 16]),
            span_id: SpanId([trace; 8]),
            ..Labels::NONE
        };
        let sample = |trace: &u8| Kept {
            at: 1,
            kind: Kind::Cpu,
            thread: "w0".into(),
            labels: labels(*trace),
            stack: Arc::from([0x10, 0x20].as_slice()),
            nanos: 1000,
            count: 1,
        };
        Taken {
            kind: Kind::Cpu,
            samples: traces.iter().map(sample).collect(),
            hz: 99,
            began_unix_nanos: 5,
            duration_nanos: 6,
            lost: 2,
            merged: 0,
            unarmed: None,
        }
    }

    #[test]
    fn equal_samples_are_put_together_and_carry_their_labels() {
        let profile = taken("assemble-users", &[1, 1, 2]).profile(&mut Symbols::new());
        assert_eq!(profile.samples.len(), 2);
        assert_eq!((profile.total(0), profile.total(1)), (3, 3000));
        assert_eq!(profile.locations.len(), 2);
        let labels = &profile.samples[0].labels;
        assert_eq!(labels[ROUTE], Label::Text("assemble-users".into()));
        assert_eq!(labels[PHASE], Label::Text("send".into()));
        assert_eq!(labels[TRACE_ID], Label::Text("01".repeat(16).into()));
        assert!(profile.comments[0].contains("2 lost"));
    }

    #[test]
    fn a_filter_keeps_what_it_names_and_nothing_for_an_unknown_name() {
        let mut by_route = taken("assemble-orders", &[1, 2]);
        by_route.retain(&Wanted { route: Some("assemble-orders".to_owned()), ..Wanted::default() });
        assert_eq!(by_route.samples.len(), 2);
        by_route.retain(&Wanted { trace_id: Some("02".repeat(16)), ..Wanted::default() });
        assert_eq!(by_route.samples.len(), 1);
        by_route.retain(&Wanted { route: Some("assemble-nobody".to_owned()), ..Wanted::default() });
        assert!(by_route.samples.is_empty());
    }
}
