//! pprof's `profile.proto`, gzipped: what `go tool pprof` and most stores of profiles read.
//!
//! In: a profile; or the bytes of one, of ours or of another producer. Out: the bytes; or the profile, once every index in it is known to
//! point somewhere. Not here: symbols; the mappings say which are known, so that readers do not go looking for them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use ::pprof::protos::{self, Message};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::fold::base_name;
use crate::base::limits::PROFILE_BYTES_MAX;
use crate::telemetry::profile::{Label, Line, Location, Mapping, Profile, Sample, ValueType};

/// The first bytes of a gzip member (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The gzipped message.
pub(crate) fn encode(profile: &Profile) -> Vec<u8> {
    let plain = message(profile).write_to_bytes().expect("proto3 has no required fields, and a vector takes every byte");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&plain).and_then(move |()| gzip.finish()).expect("a vector takes every byte")
}

/// Reads a message, gzipped or plain. The error says what was found and what was expected.
pub(crate) fn decode(bytes: &[u8]) -> Result<Profile, String> {
    let plain = plain(bytes, PROFILE_BYTES_MAX)?;
    let message = protos::Profile::parse_from_bytes(&plain)
        .map_err(|error| format!("found no profile, expected pprof's profile.proto, gzipped or plain: {error}"))?;
    Reader::new(message)?.profile()
}

fn message(profile: &Profile) -> protos::Profile {
    let mut tables = Tables::new();
    let mut message = protos::Profile::new();
    let main = main_mapping(&profile.mappings);
    message.sample_type = profile.types.iter().map(|kind| tables.value_type(kind)).collect();
    message.sample = profile.samples.iter().map(|sample| tables.sample(sample)).collect();
    message.location = profile.locations.iter().enumerate().map(|(index, location)| tables.location(index, location, main)).collect();
    message.mapping = tables.mappings(profile, main);
    message.time_nanos = i64::try_from(profile.began_unix_nanos).unwrap_or(i64::MAX);
    message.duration_nanos = i64::try_from(profile.duration_nanos).unwrap_or(i64::MAX);
    if let Some((kind, period)) = &profile.period {
        message.period_type = Some(tables.value_type(kind)).into();
        message.period = *period;
    }
    message.comment = profile.comments.iter().map(|comment| tables.string(comment)).collect();
    message.default_sample_type = tables.string(&profile.default_type);
    message.function = tables.functions;
    message.string_table = tables.strings;
    message
}

/// Index of the program's own mapping, which readers expect to be the first one: no library, and nothing of the kernel's.
fn main_mapping(mappings: &[Mapping]) -> usize {
    mappings.iter().position(|mapping| is_program(&mapping.file)).unwrap_or(0)
}

fn is_program(file: &str) -> bool {
    let name = base_name(file);
    !name.is_empty() && !name.starts_with('[') && !file.starts_with("//") && !name.ends_with(".so") && !name.contains(".so.")
}

/// Ids begin at 1, and the program's mapping comes first.
fn mapping_id(index: usize, main: usize) -> u64 {
    let position = match index {
        index if index == main => 0,
        index if index < main => index + 1,
        index => index,
    };
    position as u64 + 1
}

/// What is known about the code of one mapping, from all locations in it.
#[derive(Clone, Copy, Default)]
struct Known {
    functions: bool,
    files: bool,
    lines: bool,
    inlined: bool,
}

impl Known {
    fn learn(&mut self, location: &Location) {
        self.functions |= location.lines.iter().any(|line| !line.function.is_empty());
        self.files |= location.lines.iter().any(|line| !line.file.is_empty());
        self.lines |= location.lines.iter().any(|line| line.line > 0);
        self.inlined |= location.lines.len() > 1;
    }
}

/// The tables that the rest of a message points into; they grow as it is written.
struct Tables<'p> {
    strings: Vec<String>,
    string_indexes: HashMap<&'p str, i64>,
    functions: Vec<protos::Function>,
    /// By name, system name and file.
    function_ids: HashMap<[i64; 3], u64>,
}

impl<'p> Tables<'p> {
    fn new() -> Self {
        let string_indexes = HashMap::from([("", 0)]);
        Tables { strings: vec![String::new()], string_indexes, functions: Vec::new(), function_ids: HashMap::new() }
    }

    fn string(&mut self, text: &'p str) -> i64 {
        let next = self.strings.len() as i64;
        let index = *self.string_indexes.entry(text).or_insert(next);
        if index == next {
            self.strings.push(text.to_owned());
        }
        index
    }

    fn value_type(&mut self, kind: &'p ValueType) -> protos::ValueType {
        protos::ValueType { ty: self.string(&kind.kind), unit: self.string(&kind.unit), ..Default::default() }
    }

    fn function(&mut self, line: &'p Line) -> u64 {
        let key = [self.string(&line.function), self.string(&line.system_name), self.string(&line.file)];
        let next = self.functions.len() as u64 + 1;
        let id = *self.function_ids.entry(key).or_insert(next);
        if id == next {
            let [name, system_name, filename] = key;
            self.functions.push(protos::Function { id, name, system_name, filename, ..Default::default() });
        }
        id
    }

    fn location(&mut self, index: usize, location: &'p Location, main: usize) -> protos::Location {
        let line = |line| protos::Line { function_id: self.function(line), line: i64::from(line.line), ..Default::default() };
        protos::Location {
            id: index as u64 + 1,
            mapping_id: location.mapping.map_or(0, |mapping| mapping_id(mapping, main)),
            address: location.address,
            line: location.lines.iter().map(line).collect(),
            ..Default::default()
        }
    }

    fn sample(&mut self, sample: &'p Sample) -> protos::Sample {
        protos::Sample {
            location_id: sample.stack.iter().map(|index| *index as u64 + 1).collect(),
            value: sample.values.clone(),
            label: sample.labels.iter().filter_map(|(key, label)| self.label(key, label)).collect(),
            ..Default::default()
        }
    }

    /// The format has no way to say that a text is empty.
    fn label(&mut self, key: &'p str, label: &'p Label) -> Option<protos::Label> {
        match label {
            Label::Text(text) if text.is_empty() => None,
            Label::Text(text) => Some(protos::Label { key: self.string(key), str: self.string(text), ..Default::default() }),
            Label::Number(num, unit) => {
                Some(protos::Label { key: self.string(key), num: *num, num_unit: self.string(unit), ..Default::default() })
            }
        }
    }

    fn mappings(&mut self, profile: &'p Profile, main: usize) -> Vec<protos::Mapping> {
        let mut known = vec![Known::default(); profile.mappings.len()];
        for location in &profile.locations {
            if let Some(known) = location.mapping.and_then(|index| known.get_mut(index)) {
                known.learn(location);
            }
        }
        let pairs = profile.mappings.iter().zip(known).enumerate();
        let mut mappings: Vec<_> = pairs.map(|(index, (mapping, known))| self.mapping(mapping_id(index, main), mapping, known)).collect();
        mappings.sort_by_key(|mapping| mapping.id);
        mappings
    }

    fn mapping(&mut self, id: u64, mapping: &'p Mapping, known: Known) -> protos::Mapping {
        protos::Mapping {
            id,
            memory_start: mapping.start,
            memory_limit: mapping.limit,
            file_offset: mapping.offset,
            filename: self.string(&mapping.file),
            build_id: self.string(&mapping.build_id),
            has_functions: known.functions,
            has_filenames: known.files,
            has_line_numbers: known.lines,
            has_inline_frames: known.inlined,
            ..Default::default()
        }
    }
}

/// The message's bytes, of which there may be no more than `most`.
fn plain(bytes: &[u8], most: usize) -> Result<Cow<'_, [u8]>, String> {
    let plain = if bytes.starts_with(&GZIP_MAGIC) {
        let mut out = Vec::new();
        let mut inflated = MultiGzDecoder::new(bytes).take(most as u64 + 1);
        inflated.read_to_end(&mut out).map_err(|error| format!("found gzip that cannot be read, expected a gzipped profile: {error}"))?;
        Cow::Owned(out)
    } else {
        Cow::Borrowed(bytes)
    };
    match plain.len() {
        0 => Err("found no bytes, expected pprof's profile.proto, gzipped or plain".to_owned()),
        len if len > most => Err(format!("found more than {most} bytes of profile, expected at most {most}")),
        _ => Ok(plain),
    }
}

/// A message on its way into the model.
struct Reader {
    message: protos::Profile,
    strings: Vec<Arc<str>>,
    mappings: HashMap<u64, usize>,
    locations: HashMap<u64, usize>,
    functions: HashMap<u64, usize>,
}

impl Reader {
    fn new(mut message: protos::Profile) -> Result<Self, String> {
        let strings: Vec<Arc<str>> = std::mem::take(&mut message.string_table).into_iter().map(Arc::from).collect();
        if strings.first().is_none_or(|first| !first.is_empty()) {
            return Err(format!("string table: found {:?} as its first string, expected \"\"", strings.first()));
        }
        let mappings = ids("mapping", message.mapping.iter().map(|mapping| mapping.id))?;
        let locations = ids("location", message.location.iter().map(|location| location.id))?;
        let functions = ids("function", message.function.iter().map(|function| function.id))?;
        Ok(Reader { message, strings, mappings, locations, functions })
    }

    fn profile(&self) -> Result<Profile, String> {
        let message = &self.message;
        let types = message.sample_type.iter().map(|kind| self.value_type(kind, "a sample type")).collect::<Result<Vec<_>, _>>()?;
        let period = message.period_type.as_ref().map(|kind| self.value_type(kind, "the period type")).transpose()?;
        let comment = |index: &i64| Ok(self.text(*index, &"a comment")?.to_string());
        let functions = self.message.function.iter().map(|function| self.function(function)).collect::<Result<Vec<_>, _>>()?;
        Ok(Profile {
            samples: self.samples(types.len())?,
            types,
            default_type: self.text(message.default_sample_type, &"the default sample type")?.to_string(),
            period: period.map(|kind| (kind, message.period)),
            began_unix_nanos: u64::try_from(message.time_nanos).unwrap_or(0),
            duration_nanos: u64::try_from(message.duration_nanos).unwrap_or(0),
            comments: message.comment.iter().map(comment).collect::<Result<_, String>>()?,
            mappings: message.mapping.iter().map(|mapping| self.mapping(mapping)).collect::<Result<_, _>>()?,
            locations: message.location.iter().map(|location| self.location(location, &functions)).collect::<Result<_, _>>()?,
        })
    }

    fn text(&self, index: i64, place: &dyn fmt::Display) -> Result<&Arc<str>, String> {
        let found = usize::try_from(index).ok().and_then(|index| self.strings.get(index));
        found.ok_or_else(|| format!("{place}: found string {index}, expected one of the {} in the string table", self.strings.len()))
    }

    fn value_type(&self, kind: &protos::ValueType, place: &str) -> Result<ValueType, String> {
        Ok(ValueType::new(self.text(kind.ty, &place)?, self.text(kind.unit, &place)?))
    }

    fn mapping(&self, mapping: &protos::Mapping) -> Result<Mapping, String> {
        let place = Place("mapping", mapping.id);
        Ok(Mapping {
            start: mapping.memory_start,
            limit: mapping.memory_limit,
            offset: mapping.file_offset,
            file: self.text(mapping.filename, &place)?.to_string(),
            build_id: self.text(mapping.build_id, &place)?.to_string(),
        })
    }

    /// As a line without a number.
    fn function(&self, function: &protos::Function) -> Result<Line, String> {
        let place = Place("function", function.id);
        Ok(Line {
            function: Arc::clone(self.text(function.name, &place)?),
            system_name: Arc::clone(self.text(function.system_name, &place)?),
            file: Arc::clone(self.text(function.filename, &place)?),
            line: 0,
        })
    }

    fn location(&self, location: &protos::Location, functions: &[Line]) -> Result<Location, String> {
        let place = Place("location", location.id);
        let line = |line: &protos::Line| {
            let function = &functions[look_up(&self.functions, line.function_id, "function", place)?];
            Ok(Line { line: u32::try_from(line.line).unwrap_or(0), ..function.clone() })
        };
        let mapping = (location.mapping_id > 0).then(|| look_up(&self.mappings, location.mapping_id, "mapping", place));
        Ok(Location {
            address: location.address,
            mapping: mapping.transpose()?,
            lines: location.line.iter().map(line).collect::<Result<_, String>>()?,
        })
    }

    /// The sum of each value is seen to fit, so that nobody who adds them up has to look again.
    fn samples(&self, types: usize) -> Result<Vec<Sample>, String> {
        let mut sums = vec![0i64; types];
        let mut samples = Vec::with_capacity(self.message.sample.len());
        for (index, sample) in self.message.sample.iter().enumerate() {
            let (place, found) = (Place("sample number", index as u64), sample.value.len());
            if found != types || types == 0 {
                return Err(format!("{place}: found {found} values, expected one for each of the {types} sample types, and a sample type"));
            }
            for (sum, value) in sums.iter_mut().zip(&sample.value) {
                let more = value.checked_abs().and_then(|value| sum.checked_add(value));
                *sum = more.ok_or_else(|| format!("{place}: found a value of {value}, expected values whose sum is below 2^63"))?;
            }
            samples.push(self.sample(sample, place)?);
        }
        Ok(samples)
    }

    /// Of labels with the same key the first one counts.
    fn sample(&self, sample: &protos::Sample, place: Place) -> Result<Sample, String> {
        let stack = sample.location_id.iter().map(|id| look_up(&self.locations, *id, "location", place));
        let mut labels = BTreeMap::new();
        for label in &sample.label {
            let key = self.text(label.key, &place)?.to_string();
            labels.entry(key).or_insert(self.label(label, place)?);
        }
        Ok(Sample { stack: stack.collect::<Result<_, _>>()?, values: sample.value.clone(), labels })
    }

    fn label(&self, label: &protos::Label, place: Place) -> Result<Label, String> {
        match label.str {
            0 => Ok(Label::Number(label.num, self.text(label.num_unit, &place)?.to_string())),
            text => Ok(Label::Text(Arc::clone(self.text(text, &place)?))),
        }
    }
}

/// An item of a message, for errors.
#[derive(Clone, Copy)]
struct Place(&'static str, u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// Where the item with each id stands in its table.
fn ids(what: &str, ids: impl Iterator<Item = u64>) -> Result<HashMap<u64, usize>, String> {
    let mut indexes = HashMap::new();
    for (index, id) in ids.enumerate() {
        if id == 0 || indexes.insert(id, index).is_some() {
            return Err(format!("{what} number {index}: found id {id}, expected one above 0 that no other {what} has"));
        }
    }
    Ok(indexes)
}

fn look_up(indexes: &HashMap<u64, usize>, id: u64, what: &str, place: Place) -> Result<usize, String> {
    indexes.get(&id).copied().ok_or_else(|| format!("{place}: found {what} {id}, expected the id of one of the {} {what}s", indexes.len()))
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use proptest::prelude::*;

    fn reread(bytes: &[u8]) -> protos::Profile {
        protos::Profile::parse_from_bytes(&plain(bytes, PROFILE_BYTES_MAX).unwrap()).unwrap()
    }

    fn refused(change: impl FnOnce(&mut protos::Profile)) -> String {
        let mut message = message(&example::profile());
        change(&mut message);
        decode(&message.write_to_bytes().unwrap()).unwrap_err()
    }

    #[test]
    fn a_profile_survives_its_encoding() {
        let profile = example::profile();
        let bytes = encode(&profile);
        assert_eq!(&bytes[..2], GZIP_MAGIC);
        assert_eq!(decode(&bytes).unwrap(), profile);
        assert_eq!(decode(&plain(&bytes, PROFILE_BYTES_MAX).unwrap()).unwrap(), profile);
        let empty = Profile::default();
        assert_eq!(decode(&encode(&empty)).unwrap(), empty);
    }

    #[test]
    fn readers_find_what_they_look_for() {
        let message = reread(&encode(&example::profile()));
        let text = |index: i64| message.string_table[index as usize].as_str();
        assert_eq!(text(0), "");
        assert_eq!(text(message.default_sample_type), "cpu");
        assert_eq!(message.comment.iter().map(|index| text(*index)).collect::<Vec<_>>(), ["3 samples were lost"]);
        let inlined = &message.location[0];
        let functions: Vec<_> = inlined.line.iter().map(|line| &message.function[line.function_id as usize - 1]).collect();
        assert_eq!(functions.iter().map(|function| text(function.name)).collect::<Vec<_>>(), ["core::ptr::read", "pellucid::serve"]);
        assert_eq!((text(functions[1].system_name), text(functions[1].filename)), ("_Rpellucid::serve", "main.rs"));
        let numbers = &message.sample[1].label;
        assert!(numbers.iter().any(|label| text(label.key) == "size" && label.num == 64 && text(label.num_unit) == "bytes"));
    }

    #[test]
    fn the_program_comes_first_and_mappings_say_what_is_known() {
        let mut profile = example::profile();
        profile.mappings.reverse();
        profile.locations.iter_mut().for_each(|location| location.mapping = location.mapping.map(|index| 1 - index));
        let message = reread(&encode(&profile));
        let flags: Vec<_> =
            message.mapping.iter().map(|m| (m.id, m.has_functions, m.has_filenames, m.has_line_numbers, m.has_inline_frames)).collect();
        assert_eq!(flags, [(1, true, true, true, true), (2, true, false, false, false)]);
        assert_eq!(message.string_table[message.mapping[0].filename as usize], "/opt/pellucid");
        assert_eq!(message.location.iter().map(|location| location.mapping_id).collect::<Vec<_>>(), [1, 1, 2, 2, 0]);
        assert_eq!(decode(&encode(&profile)).unwrap(), example::profile());
    }

    #[test]
    fn functions_and_strings_stand_once() {
        let mut profile = example::profile();
        let again = profile.locations[0].clone();
        profile.locations.push(Location { address: 0x5020, ..again });
        let message = reread(&encode(&profile));
        assert_eq!(message.function.len(), 4);
        let mut strings = message.string_table.clone();
        strings.sort_unstable();
        strings.dedup();
        assert_eq!(strings.len(), message.string_table.len());
    }

    #[test]
    fn other_producers_number_things_as_they_like() {
        let mut message = message(&example::profile());
        message.mapping.iter_mut().for_each(|mapping| mapping.id *= 1000);
        message.location.iter_mut().for_each(|location| {
            (location.id, location.mapping_id) = (location.id * 77, location.mapping_id * 1000);
            location.line.iter_mut().for_each(|line| line.function_id += 40);
        });
        message.function.iter_mut().for_each(|function| function.id += 40);
        message.sample.iter_mut().for_each(|sample| sample.location_id.iter_mut().for_each(|id| *id *= 77));
        message.function.reverse();
        (message.default_sample_type, message.period_type) = (0, None.into());
        let read = decode(&message.write_to_bytes().unwrap()).unwrap();
        assert_eq!(read, Profile { default_type: String::new(), period: None, ..example::profile() });
    }

    #[test]
    fn indexes_that_point_nowhere_are_named() {
        let cases: [(String, &str); 8] = [
            (
                refused(|message| message.sample[1].location_id[0] = 99),
                "sample number 1: found location 99, expected the id of one of the 5 locations",
            ),
            (refused(|message| message.location[0].mapping_id = 7), "location 1: found mapping 7"),
            (refused(|message| message.location[1].line[0].function_id = 0), "location 2: found function 0"),
            (refused(|message| message.function[0].name = -1), "function 1: found string -1"),
            (refused(|message| message.mapping[1].id = 1), "mapping number 1: found id 1"),
            (refused(|message| message.sample[0].value.truncate(1)), "sample number 0: found 1 values, expected one for each of the 2"),
            (refused(|message| message.sample[0].value[0] = i64::MAX), "expected values whose sum is below 2^63"),
            (refused(|message| message.string_table[0].push('x')), "string table: found Some(\"x\")"),
        ];
        for (found, expected) in cases {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn what_is_no_profile_or_too_large_is_refused() {
        assert!(decode(b"").unwrap_err().contains("found no bytes"));
        assert!(decode(b"<html>").unwrap_err().contains("expected pprof's profile.proto"));
        assert!(decode(&[0x1f, 0x8b, 8, 0]).unwrap_err().contains("found gzip that cannot be read"));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&[0; 5000]).unwrap();
        let bomb = gzip.finish().unwrap();
        assert!(plain(&bomb, 4999).unwrap_err().contains("more than 4999 bytes"));
        assert_eq!(plain(&bomb, 5000).unwrap().len(), 5000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn damaged_profiles_are_read_or_refused(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<proptest::sample::Index>(),
            is_packed in any::<bool>(),
        ) {
            let packed = encode(&example::profile());
            let mut bytes = if is_packed { packed } else { plain(&packed, PROFILE_BYTES_MAX).unwrap().into_owned() };
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            let _ = decode(&bytes);
            let _ = decode(&bytes[..cut.index(bytes.len())]);
        }
    }
}
