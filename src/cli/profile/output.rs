//! Where a profile is written, and as what.
//!
//! In: the output's name, profiles, and what of them is shown. Out: bytes, in a file or on standard output. The name decides the format.
//! Not here: the formats themselves (`telemetry::export::profile`), and the comparison that pprof has no word for (`compare`).

use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::complain;
use super::compare;
use super::source::Source;
use crate::base::clock::rfc3339;
use crate::telemetry::export::profile::flamegraph::{Drawing, draw, draw_difference};
use crate::telemetry::export::profile::fold::{self, Split};
use crate::telemetry::export::profile::{pprof, text};

/// Functions of a table on a terminal, and in a file.
const ROWS: usize = 40;
const FILE_ROWS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pprof,
    Drawing,
    Folded,
    Table,
}

const ENDINGS: [(&str, Format); 6] = [
    (".pb.gz", Format::Pprof),
    (".pprof", Format::Pprof),
    (".pb", Format::Pprof),
    (".svg", Format::Drawing),
    (".folded", Format::Folded),
    (".txt", Format::Table),
];

/// A file, or standard output.
#[derive(Debug)]
pub(super) struct Sink {
    path: Option<PathBuf>,
}

/// What of a profile is shown, and how.
pub(super) struct View<'a> {
    pub(super) value: usize,
    /// A label.
    pub(super) by: Option<&'a str>,
    pub(super) rows: usize,
    /// What the samples were chosen by, for the reader.
    pub(super) filters: String,
}

impl Sink {
    /// On standard output it is a table.
    pub(super) fn of_profile(output: Option<&Path>) -> Result<(Self, Format), String> {
        let Some(path) = file(output)? else { return Ok((Sink { path: None }, Format::Table)) };
        let name = path.to_string_lossy();
        let ending = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
        let (_, format) = ending.ok_or_else(|| {
            let known: Vec<&str> = ENDINGS.iter().map(|(ending, _)| *ending).collect();
            format!("{name}: expected a name that ends in one of {}, or - for standard output", known.join(" "))
        })?;
        Ok((Sink { path: Some(path.to_owned()) }, *format))
    }

    pub(super) fn of_timeline(output: Option<&Path>) -> Result<Self, String> {
        let path = file(output)?.map(Path::to_owned);
        match path {
            Some(path) if !path.to_string_lossy().ends_with(".json") => {
                Err(format!("{}: expected a name that ends in .json: a trace is a timeline for Perfetto", path.display()))
            }
            path => Ok(Sink { path }),
        }
    }

    pub(super) fn rows(&self) -> usize {
        if self.path.is_some() { FILE_ROWS } else { ROWS }
    }

    /// On standard output, a closed pipe is the reader's choice.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), String> {
        let Some(path) = &self.path else {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(bytes).and_then(|()| out.flush());
            return Ok(());
        };
        std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        complain(&[format!("wrote {}, {}", path.display(), text::measure(bytes.len() as i64, "bytes"))]);
        Ok(())
    }
}

/// The file that is meant, in a folder that is there; none for standard output.
fn file(output: Option<&Path>) -> Result<Option<&Path>, String> {
    let Some(path) = output.filter(|path| *path != Path::new("-")) else { return Ok(None) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(format!("{}: found no folder {}, expected one", path.display(), folder.display())),
        _ => Ok(Some(path)),
    }
}

/// One profile.
pub(super) fn of_one(source: &Source, view: &View<'_>, format: Format) -> Result<Vec<u8>, String> {
    let profile = &source.profile;
    match format {
        Format::Pprof => Ok(source.pprof()),
        Format::Drawing => {
            let (title, subtitle) = (format!("{}: {}", kind(source, view), source.name), describe(source, view));
            draw(profile, view.value, Drawing { title: &title, subtitle: &subtitle, unit: "", root: view.by.map(Split) })
        }
        Format::Folded => Ok(fold::lines(&fold::folded(profile, view.value, view.by.map(Split))).into_bytes()),
        Format::Table => Ok(text::top(profile, view.value, view.rows).into_bytes()),
    }
}

/// Two profiles of the same values, compared.
pub(super) fn of_two(before: &Source, after: &Source, view: &View<'_>, format: Format) -> Result<Vec<u8>, String> {
    let (old, new) = (&before.profile, &after.profile);
    match format {
        Format::Pprof => Ok(pprof::encode(&compare::difference(old, new))),
        Format::Drawing => {
            let title = format!("{}: {} against {}", kind(after, view), after.name, before.name);
            let subtitle = describe(after, view);
            draw_difference(old, new, view.value, Drawing { title: &title, subtitle: &subtitle, unit: "", root: view.by.map(Split) })
        }
        Format::Folded => Ok(compare::folded(old, new, view.value, view.by.map(Split)).into_bytes()),
        Format::Table => Ok(text::difference(old, new, view.value, view.rows).into_bytes()),
    }
}

fn kind<'s>(source: &'s Source, view: &View<'_>) -> &'s str {
    source.profile.types.get(view.value).map_or("profile", |value| value.kind.as_str())
}

/// When, for how long, how much of it, and of which samples.
fn describe(source: &Source, view: &View<'_>) -> String {
    let profile = &source.profile;
    let began = if profile.began_unix_nanos == 0 { String::new() } else { format!("from {}", rfc3339(profile.began_unix_nanos)) };
    let nanos = i64::try_from(profile.duration_nanos).unwrap_or(i64::MAX);
    let duration = if nanos == 0 { String::new() } else { format!("for {}", text::measure(nanos, "nanoseconds")) };
    let unit = profile.types.get(view.value).map_or("", |value| value.unit.as_str());
    // Not `Profile::total`: the sum of a file's values need not be a number of 64 bits.
    let total =
        profile.samples.iter().filter_map(|sample| sample.values.get(view.value)).fold(0i64, |sum, value| sum.saturating_add(*value));
    let total = format!("{} in all", text::measure(total, unit));
    let filters = if view.filters.is_empty() { String::new() } else { format!("only {}", view.filters) };
    [began, duration, total, filters].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}
