//! OTLP profiles, in the development version of the protocol (opentelemetry-proto, `profiles/v1development`).
//!
//! In: a profile and who speaks. Out: an `ExportProfilesServiceRequest` with one OTLP profile for each type of value, all of them sharing one
//! dictionary, their samples linked to the spans that they were taken in. Not here: sending, and how large a request may be.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::profiles::v1development as proto;
use opentelemetry_proto::tonic::profiles::v1development::{ProfilesDictionary, ResourceProfiles, ScopeProfiles};
use prost::Message;

use crate::base::ids::{SpanId, TraceId};
use crate::telemetry::export::otlp::resource::Resource;
use crate::telemetry::profile::{Label, Line, Location, Mapping, Profile, Sample, ValueType};
use crate::telemetry::record::names;

/// Labels of the model that make the link to a span.
const TRACE_ID: &str = "trace_id";
const SPAN_ID: &str = "span_id";

/// The encoded request, and how many samples it holds over all its profiles. The first profile has `profile_id`, those of further types of
/// value the numbers that follow it.
pub(crate) fn encode(profile: &Profile, resource: &Resource, profile_id: [u8; 16]) -> (Vec<u8>, u64) {
    let mut dictionary = Dictionary::new();
    let (comments, shapes) = (dictionary.comments(&profile.comments), dictionary.shapes(profile));
    let mut profiles = Vec::new();
    for value in shown_first(profile) {
        let mut converted = dictionary.profile(profile, value, &shapes);
        converted.profile_id = following(profile_id, profiles.len()).to_vec();
        converted.attribute_indices = comments.into_iter().collect();
        profiles.push(converted);
    }
    let samples = profiles.iter().map(|profile| profile.samples.len() as u64).sum();
    let scope = InstrumentationScope { name: names::SCOPE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), ..Default::default() };
    let scope_profiles = ScopeProfiles { scope: Some(scope), profiles, ..Default::default() };
    let resource = opentelemetry_proto::tonic::resource::v1::Resource { attributes: attributes(resource), ..Default::default() };
    let resource_profiles = ResourceProfiles { resource: Some(resource), scope_profiles: vec![scope_profiles], ..Default::default() };
    let request = ExportProfilesServiceRequest { resource_profiles: vec![resource_profiles], dictionary: Some(dictionary.finish()) };
    (request.encode_to_vec(), samples)
}

/// Viewers show the first profile unless they are told otherwise.
fn shown_first(profile: &Profile) -> Vec<usize> {
    let mut values: Vec<usize> = (0..profile.types.len()).collect();
    values.sort_by_key(|value| *value != profile.shown());
    values
}

/// Ids of all zeros are no ids.
fn following(id: [u8; 16], steps: usize) -> [u8; 16] {
    u128::from_be_bytes(id).wrapping_add(steps as u128).max(1).to_be_bytes()
}

fn attributes(resource: &Resource) -> Vec<KeyValue> {
    let attribute = |(key, value): &(String, String)| KeyValue { key: key.clone(), value: Some(text(value)), ..Default::default() };
    resource.attributes.iter().map(attribute).collect()
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

/// A table of the dictionary: each item once, the first one the zero value.
struct Table<T> {
    items: Vec<T>,
    indexes: HashMap<T, i32>,
}

impl<T: Clone + Default + Eq + Hash> Table<T> {
    fn new() -> Self {
        Table { items: vec![T::default()], indexes: HashMap::from([(T::default(), 0)]) }
    }

    fn put(&mut self, item: T) -> i32 {
        let next = self.items.len() as i32;
        let index = *self.indexes.entry(item.clone()).or_insert(next);
        if index == next {
            self.items.push(item);
        }
        index
    }
}

/// What a sample is, apart from its values. Samples of the same shape are one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    stack: i32,
    attributes: Vec<i32>,
    link: i32,
}

/// The tables that all profiles of a request share. They grow as samples need them, so nothing stands in them unused.
struct Dictionary {
    strings: Table<String>,
    functions: Table<proto::Function>,
    mappings: Table<proto::Mapping>,
    links: Table<proto::Link>,
    stacks: Table<proto::Stack>,
    locations: Vec<proto::Location>,
    attributes: Vec<proto::KeyValueAndUnit>,
    attribute_indexes: BTreeMap<(i32, Label), i32>,
}

impl Dictionary {
    fn new() -> Self {
        Dictionary {
            strings: Table::new(),
            functions: Table::new(),
            mappings: Table::new(),
            links: Table::new(),
            stacks: Table::new(),
            locations: vec![proto::Location::default()],
            attributes: vec![proto::KeyValueAndUnit::default()],
            attribute_indexes: BTreeMap::new(),
        }
    }

    fn finish(self) -> ProfilesDictionary {
        ProfilesDictionary {
            mapping_table: self.mappings.items,
            location_table: self.locations,
            function_table: self.functions.items,
            link_table: self.links.items,
            string_table: self.strings.items,
            attribute_table: self.attributes,
            stack_table: self.stacks.items,
        }
    }

    fn string(&mut self, text: &str) -> i32 {
        self.strings.put(text.to_owned())
    }

    fn value_type(&mut self, kind: &ValueType) -> proto::ValueType {
        proto::ValueType { type_strindex: self.string(&kind.kind), unit_strindex: self.string(&kind.unit) }
    }

    /// All comments as one attribute.
    fn comments(&mut self, comments: &[String]) -> Option<i32> {
        if comments.is_empty() {
            return None;
        }
        let values = comments.iter().map(|comment| text(comment)).collect();
        let value = AnyValue { value: Some(any_value::Value::ArrayValue(ArrayValue { values })) };
        let key_strindex = self.string(names::PPROF_PROFILE_COMMENT);
        self.attributes.push(proto::KeyValueAndUnit { key_strindex, value: Some(value), unit_strindex: 0 });
        Some(self.attributes.len() as i32 - 1)
    }

    /// The shape of each sample; none for a sample whose values are all zero, which is in no profile.
    fn shapes(&mut self, profile: &Profile) -> Vec<Option<Shape>> {
        let mut locations = vec![None; profile.locations.len()];
        let shape = |sample: &Sample| sample.values.iter().any(|value| *value != 0).then(|| self.shape(profile, sample, &mut locations));
        profile.samples.iter().map(shape).collect()
    }

    fn shape(&mut self, profile: &Profile, sample: &Sample, locations: &mut [Option<i32>]) -> Shape {
        let mut location_indices = Vec::with_capacity(sample.stack.len());
        for (known, location) in sample.stack.iter().filter_map(|index| Some((*index, profile.locations.get(*index)?))) {
            let index = locations[known].unwrap_or_else(|| self.location(profile, location));
            locations[known] = Some(index);
            location_indices.push(index);
        }
        let link = span_of(sample);
        let is_attribute = |key: &str| link.is_none() || (key != TRACE_ID && key != SPAN_ID);
        let labels = sample.labels.iter().filter(|(key, _)| is_attribute(key));
        let attributes = labels.map(|(key, label)| self.attribute(attribute_key(key, sample), label)).collect();
        let link = link.map_or(0, |link| self.links.put(link));
        Shape { stack: self.stacks.put(proto::Stack { location_indices }), attributes, link }
    }

    fn location(&mut self, profile: &Profile, location: &Location) -> i32 {
        let mapping = location.mapping.and_then(|index| profile.mappings.get(index));
        let lines = location.lines.iter().map(|line| self.line(line)).collect();
        let mapping_index = mapping.map_or(0, |mapping| self.mapping(mapping));
        self.locations.push(proto::Location { mapping_index, address: location.address, lines, attribute_indices: Vec::new() });
        self.locations.len() as i32 - 1
    }

    fn line(&mut self, line: &Line) -> proto::Line {
        let function = proto::Function {
            name_strindex: self.string(&line.function),
            system_name_strindex: self.string(&line.system_name),
            filename_strindex: self.string(&line.file),
            start_line: 0,
        };
        proto::Line { function_index: self.functions.put(function), line: i64::from(line.line), column: 0 }
    }

    fn mapping(&mut self, mapping: &Mapping) -> i32 {
        let build_id = (!mapping.build_id.is_empty()).then(|| Label::Text(mapping.build_id.as_str().into()));
        let converted = proto::Mapping {
            memory_start: mapping.start,
            memory_limit: mapping.limit,
            file_offset: mapping.offset,
            filename_strindex: self.string(&mapping.file),
            attribute_indices: build_id.iter().map(|id| self.attribute(names::PROCESS_EXECUTABLE_BUILD_ID_GNU, id)).collect(),
        };
        self.mappings.put(converted)
    }

    fn attribute(&mut self, key: &str, label: &Label) -> i32 {
        let key_strindex = self.string(key);
        if let Some(index) = self.attribute_indexes.get(&(key_strindex, label.clone())) {
            return *index;
        }
        let (value, unit_strindex) = match label {
            Label::Text(value) => (text(value), 0),
            Label::Number(number, unit) => (AnyValue { value: Some(any_value::Value::IntValue(*number)) }, self.string(unit)),
        };
        let index = self.attributes.len() as i32;
        self.attributes.push(proto::KeyValueAndUnit { key_strindex, value: Some(value), unit_strindex });
        self.attribute_indexes.insert((key_strindex, label.clone()), index);
        index
    }

    /// One value of all samples that have it.
    fn profile(&mut self, profile: &Profile, value: usize, shapes: &[Option<Shape>]) -> proto::Profile {
        let mut sums: BTreeMap<&Shape, i64> = BTreeMap::new();
        for (sample, shape) in profile.samples.iter().zip(shapes) {
            if let (Some(shape), Some(count)) = (shape, sample.values.get(value).filter(|count| **count != 0)) {
                *sums.entry(shape).or_insert(0) += count;
            }
        }
        let convert = |(shape, sum): (&Shape, i64)| proto::Sample {
            stack_index: shape.stack,
            attribute_indices: shape.attributes.clone(),
            link_index: shape.link,
            values: vec![sum],
            timestamps_unix_nano: Vec::new(),
        };
        proto::Profile {
            sample_type: profile.types.get(value).map(|kind| self.value_type(kind)),
            samples: sums.into_iter().map(convert).collect(),
            time_unix_nano: profile.began_unix_nanos,
            duration_nano: profile.duration_nanos,
            period_type: profile.period.as_ref().map(|(kind, _)| self.value_type(kind)),
            period: profile.period.as_ref().map_or(0, |(_, period)| *period),
            ..Default::default()
        }
    }
}

/// The span that a sample was taken in, where its labels name one.
fn span_of(sample: &Sample) -> Option<proto::Link> {
    let id = |key: &str| match sample.labels.get(key) {
        Some(Label::Text(text)) => Some(text.as_bytes()),
        _ => None,
    };
    let (trace, span) = (TraceId::from_hex(id(TRACE_ID)?)?, SpanId::from_hex(id(SPAN_ID)?)?);
    Some(proto::Link { trace_id: trace.0.to_vec(), span_id: span.0.to_vec() })
}

/// The attribute of a label of ours. No key may stand twice at a sample, so a label that has the attribute's own name already wins.
fn attribute_key<'k>(key: &'k str, sample: &Sample) -> &'k str {
    let attribute = match key {
        "route" => names::PELLUCID_ROUTE,
        "upstream" => names::PELLUCID_UPSTREAM,
        "phase" => names::PELLUCID_PHASE,
        "thread" => names::THREAD_NAME,
        other => other,
    };
    if sample.labels.contains_key(attribute) { key } else { attribute }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    const ID: [u8; 16] = [7; 16];

    struct Read {
        request: ExportProfilesServiceRequest,
        samples: u64,
    }

    impl Read {
        fn of(profile: &Profile) -> Self {
            let (bytes, samples) = encode(profile, &Resource::new("gateway", "i", &[]), ID);
            Read { request: ExportProfilesServiceRequest::decode(bytes.as_slice()).unwrap(), samples }
        }

        fn tables(&self) -> &ProfilesDictionary {
            self.request.dictionary.as_ref().unwrap()
        }

        fn profiles(&self) -> &[proto::Profile] {
            &self.request.resource_profiles[0].scope_profiles[0].profiles
        }

        fn text(&self, index: i32) -> &str {
            &self.tables().string_table[index as usize]
        }

        fn attribute(&self, index: i32) -> (&str, Value, &str) {
            let attribute = &self.tables().attribute_table[index as usize];
            let value = attribute.value.clone().unwrap().value.unwrap();
            (self.text(attribute.key_strindex), value, self.text(attribute.unit_strindex))
        }

        fn functions(&self, sample: &proto::Sample) -> Vec<&str> {
            let tables = self.tables();
            let stack = &tables.stack_table[sample.stack_index as usize];
            let lines = stack.location_indices.iter().flat_map(|index| &tables.location_table[*index as usize].lines);
            lines.map(|line| self.text(tables.function_table[line.function_index as usize].name_strindex)).collect()
        }

        fn sample(&self, profile: usize, value: i64) -> &proto::Sample {
            self.profiles()[profile].samples.iter().find(|sample| sample.values == [value]).unwrap()
        }
    }

    fn string(text: &str) -> Value {
        Value::StringValue(text.to_owned())
    }

    #[test]
    fn each_type_of_value_is_a_profile_and_the_shown_one_comes_first() {
        let read = Read::of(&example::profile());
        let kinds: Vec<_> = read.profiles().iter().map(|profile| profile.sample_type.unwrap()).collect();
        let kinds: Vec<_> = kinds.iter().map(|kind| (read.text(kind.type_strindex), read.text(kind.unit_strindex))).collect();
        assert_eq!(kinds, [("cpu", "nanoseconds"), ("samples", "count")]);
        let first = &read.profiles()[0];
        assert_eq!((first.time_unix_nano, first.duration_nano, first.period), (1_700_000_000_000_000_000, 2_000_000_000, 10_000_000));
        assert_eq!(read.text(first.period_type.unwrap().type_strindex), "cpu");
        assert_eq!(first.profile_id, ID);
        assert_eq!(read.profiles()[1].profile_id, [&[7; 15][..], &[8]].concat());
        assert_eq!((read.samples, first.samples.len()), (8, 4));
        let scope = read.request.resource_profiles[0].scope_profiles[0].scope.as_ref().unwrap();
        assert_eq!(scope.name, names::SCOPE);
        let resource = &read.request.resource_profiles[0].resource.as_ref().unwrap().attributes;
        assert!(resource.iter().any(|attribute| attribute.key == names::SERVICE_NAME && attribute.value == Some(text("gateway"))));
    }

    #[test]
    fn the_first_item_of_each_table_is_the_zero_value() {
        let read = Read::of(&example::profile());
        let tables = read.tables();
        assert_eq!(tables.string_table[0], "");
        assert_eq!(tables.mapping_table[0], proto::Mapping::default());
        assert_eq!(tables.location_table[0], proto::Location::default());
        assert_eq!(tables.function_table[0], proto::Function::default());
        assert_eq!(tables.link_table[0], proto::Link::default());
        assert_eq!(tables.attribute_table[0], proto::KeyValueAndUnit::default());
        assert_eq!(tables.stack_table[0], proto::Stack::default());
        let lengths = [tables.mapping_table.len(), tables.location_table.len(), tables.function_table.len(), tables.stack_table.len()];
        assert_eq!(lengths, [3, 6, 5, 5]);
    }

    #[test]
    fn a_sample_has_its_stack_its_labels_and_its_span() {
        let read = Read::of(&example::profile());
        let sample = read.sample(0, 30_000_000);
        assert_eq!(read.functions(sample), ["core::ptr::read", "pellucid::serve", "pellucid::main"]);
        let attributes: Vec<_> = sample.attribute_indices.iter().map(|index| read.attribute(*index)).collect();
        assert_eq!(attributes, [(names::PELLUCID_ROUTE, string("users"), ""), (names::THREAD_NAME, string("w0"), "")]);
        let link = &read.tables().link_table[sample.link_index as usize];
        assert_eq!(link.trace_id, TraceId::from_hex(example::TRACE_ID.as_bytes()).unwrap().0);
        assert_eq!(link.span_id, SpanId::from_hex(example::SPAN_ID.as_bytes()).unwrap().0);
        let other = read.sample(1, 2);
        assert_eq!(other.link_index, 0);
        let attributes: Vec<_> = other.attribute_indices.iter().map(|index| read.attribute(*index)).collect();
        assert_eq!(attributes[1], ("size", Value::IntValue(64), "bytes"));
    }

    #[test]
    fn mappings_have_their_build_id_and_lines_their_place() {
        let read = Read::of(&example::profile());
        let tables = read.tables();
        let location = tables.location_table.iter().find(|location| location.address == 0x5010).unwrap();
        let mapping = &tables.mapping_table[location.mapping_index as usize];
        assert_eq!((mapping.memory_start, mapping.memory_limit, mapping.file_offset), (0x5000, 0x6000, 0x1000));
        assert_eq!(read.text(mapping.filename_strindex), "/opt/pellucid");
        let build_id = read.attribute(mapping.attribute_indices[0]);
        assert_eq!(build_id, (names::PROCESS_EXECUTABLE_BUILD_ID_GNU, string("abcd12"), ""));
        let function = &tables.function_table[location.lines[1].function_index as usize];
        assert_eq!((read.text(function.system_name_strindex), read.text(function.filename_strindex)), ("_Rpellucid::serve", "main.rs"));
        assert_eq!(location.lines[1].line, 20);
    }

    #[test]
    fn samples_of_one_shape_are_one_and_zeros_are_none() {
        let mut profile = example::profile();
        profile.samples.push(profile.samples[0].clone());
        profile.samples[2].values = vec![0, 0];
        profile.samples[3].values = vec![1, 0];
        let read = Read::of(&profile);
        assert_eq!(read.samples, 5);
        assert_eq!(read.sample(1, 6).attribute_indices.len(), 2);
        assert!(!read.tables().location_table.iter().any(|location| location.address == 0x7100), "nothing refers to it");
    }

    #[test]
    fn ids_that_are_none_stay_attributes_and_comments_travel() {
        let mut profile = example::profile();
        profile.samples[0].labels.insert(SPAN_ID.to_owned(), example::text("zz"));
        let read = Read::of(&profile);
        let sample = read.sample(0, 30_000_000);
        assert_eq!((sample.link_index, sample.attribute_indices.len()), (0, 4));
        let (key, value, _) = read.attribute(read.profiles()[0].attribute_indices[0]);
        assert_eq!(key, names::PPROF_PROFILE_COMMENT);
        assert_eq!(value, Value::ArrayValue(ArrayValue { values: vec![text("3 samples were lost")] }));
    }

    #[test]
    fn ids_of_profiles_are_never_all_zero() {
        assert_eq!(following([0; 16], 0)[15], 1);
        assert_eq!(following([0xff; 16], 1)[15], 1);
    }
}
