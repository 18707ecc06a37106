//! `pellucid profile`: takes a profile of a running gateway, converts one, or compares two.
//!
//! In: an admin plane, or pprof files. Out: what the name of the output asks for (pprof, a flame graph, folded stacks, a table), messages
//! on standard error, and an exit code. Not here: the formats (`telemetry::export::profile`), and taking samples.

mod compare;
mod fetch;
mod output;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::admin::AdminPlane;
use super::{FAILED, WRONG, complain};
use crate::base::ids::{TraceId, hex_text};
use crate::telemetry::profile::Profile;
use output::{Format, Sink, View};
use source::Source;

const USAGE: &str = "pellucid profile [--admin URL] [--kind KIND] [OPTIONS] [-o OUT]
       pellucid profile [OPTIONS] FILE [-o OUT]
       pellucid profile [OPTIONS] BEFORE AFTER [-o OUT]";

const ENDINGS: &str = "What OUT ends in says what is written:
  .pb.gz .pprof .pb   pprof; of two, what AFTER has more than BEFORE
  .svg                an interactive flame graph; of two, AFTER, red where it has more
  .folded             folded stacks; of two, with two columns
  .txt, - or no OUT   a table of functions
  .json               with --kind trace, which knows no other: a timeline for Perfetto";

#[derive(Args)]
#[command(override_usage = USAGE, after_help = ENDINGS)]
pub(super) struct ProfileArguments {
    /// A pprof file to convert; with AFTER, the earlier one of two to compare. None: a running gateway is asked.
    file: Option<PathBuf>,
    /// The later one of two to compare.
    after: Option<PathBuf>,
    /// The admin plane of the running gateway. Its token, if it has one, is read from PELLUCID_ADMIN_TOKEN.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901", value_parser = AdminPlane::parse, conflicts_with = "file")]
    admin: AdminPlane,
    /// What the running gateway is asked for.
    #[arg(long, value_enum, default_value_t = Kind::Cpu, conflicts_with = "file")]
    kind: Kind,
    /// For how long: cpu and trace, 10 unless told. heap, allocs, block and mutex: only what is added in that time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "file")]
    seconds: Option<u32>,
    /// Samples in a second of CPU time; for cpu.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["file", "ago"])]
    hz: Option<u32>,
    /// Instead of from now on, from so many seconds ago; for cpu, where continuous profiles are on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "file")]
    ago: Option<u32>,
    /// Only samples of this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only samples of this upstream.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Only samples of this trace.
    #[arg(long, value_name = "HEX", value_parser = parse_trace_id)]
    trace_id: Option<String>,
    /// The value that is shown, such as samples or cpu; the profile's own choice unless told.
    #[arg(long, value_name = "TYPE")]
    value: Option<String>,
    /// A label whose values are drawn below the functions, such as route, phase or thread; for .svg and .folded.
    #[arg(long, value_name = "LABEL")]
    by: Option<String>,
    /// Where to; what it ends in says what is written.
    #[arg(long, short, value_name = "OUT")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Where CPU time is spent.
    Cpu,
    /// What memory is in use, by where it was taken.
    Heap,
    /// All memory that was ever taken, by where.
    Allocs,
    /// What every request and task waits for.
    Goroutine,
    /// Where threads were started.
    Threadcreate,
    /// Where threads waited.
    Block,
    /// Which locks were waited for.
    Mutex,
    /// What every thread did, moment by moment.
    Trace,
}

/// Why there is nothing to show.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// The user asked for what cannot be.
    Wrong(String),
    Failed(String),
}

pub(super) fn profile(arguments: &ProfileArguments) -> ExitCode {
    let (why, code) = match work(arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Trouble::Wrong(why)) => (why, WRONG),
        Err(Trouble::Failed(why)) => (why, FAILED),
    };
    complain(&[format!("pellucid profile: {why}")]);
    ExitCode::from(code)
}

/// Where to is settled first: nobody wants to learn after a minute that it cannot be written.
fn work(arguments: &ProfileArguments) -> Result<(), Trouble> {
    if arguments.kind == Kind::Trace {
        return timeline(arguments);
    }
    let (sink, format) = Sink::of_profile(arguments.output.as_deref()).map_err(Trouble::Wrong)?;
    let written = match (&arguments.file, &arguments.after) {
        (Some(before), Some(after)) => two(arguments, [Source::file(before)?, Source::file(after)?], &sink, format)?,
        (Some(file), None) => one(arguments, Source::file(file)?, &sink, format)?,
        (None, _) => one(arguments, asked(arguments)?, &sink, format)?,
    };
    sink.write(&written).map_err(Trouble::Failed)
}

/// The file is what the gateway answers, byte for byte.
fn timeline(arguments: &ProfileArguments) -> Result<(), Trouble> {
    let sink = Sink::of_timeline(arguments.output.as_deref()).map_err(Trouble::Wrong)?;
    let bytes = fetch::Question::new(arguments).map_err(Trouble::Wrong)?.answer().map_err(Trouble::Failed)?;
    sink.write(&bytes).map_err(Trouble::Failed)
}

/// What a running gateway has measured.
fn asked(arguments: &ProfileArguments) -> Result<Source, Trouble> {
    let question = fetch::Question::new(arguments).map_err(Trouble::Wrong)?;
    let bytes = question.answer().map_err(Trouble::Failed)?;
    Source::read(arguments.admin.to_string(), bytes).map_err(Trouble::Failed)
}

fn one(arguments: &ProfileArguments, mut source: Source, sink: &Sink, format: Format) -> Result<Vec<u8>, Trouble> {
    // The gateway has filtered what it measured anew; it may know more labels than it writes.
    if arguments.file.is_some() || arguments.kind != Kind::Cpu {
        source.retain(&arguments.filters());
    }
    let value = choose(&source.profile, arguments.value.as_deref(), &source.name).map_err(Trouble::Wrong)?;
    let view = View { value, by: arguments.by.as_deref(), rows: sink.rows(), filters: arguments.filters_as_text() };
    tell(&source, &view, format);
    output::of_one(&source, &view, format).map_err(Trouble::Failed)
}

fn two(arguments: &ProfileArguments, sources: [Source; 2], sink: &Sink, format: Format) -> Result<Vec<u8>, Trouble> {
    let [mut before, mut after] = sources;
    compare::on_common_ground(&mut before, &mut after).map_err(Trouble::Wrong)?;
    let both = format!("{} and {}", before.name, after.name);
    let value = choose(&after.profile, arguments.value.as_deref(), &both).map_err(Trouble::Wrong)?;
    let view = View { value, by: arguments.by.as_deref(), rows: sink.rows(), filters: arguments.filters_as_text() };
    for source in [&mut before, &mut after] {
        source.retain(&arguments.filters());
        tell(source, &view, format);
    }
    output::of_two(&before, &after, &view, format).map_err(Trouble::Failed)
}

/// The index of the value to show.
fn choose(profile: &Profile, wanted: Option<&str>, name: &str) -> Result<usize, String> {
    let Some(wanted) = wanted else { return Ok(profile.shown()) };
    profile.types.iter().position(|value| value.kind == wanted).ok_or_else(|| {
        let known: Vec<&str> = profile.types.iter().map(|value| value.kind.as_str()).collect();
        format!("--value {wanted}: found {} in {name}, expected one of these", known.join(", "))
    })
}

/// Says what the reader should know of a profile and will not see in what is written.
fn tell(source: &Source, view: &View<'_>, format: Format) {
    if source.is_empty(view.value) {
        let filters = if view.filters.is_empty() { String::new() } else { format!(" ({})", view.filters) };
        complain(&[format!("{}: no samples matched{filters}", source.name)]);
    }
    if format != Format::Table {
        complain(&source.comments());
    }
}

impl ProfileArguments {
    /// The labels that samples must have.
    fn filters(&self) -> Vec<(&'static str, &str)> {
        let all = [("route", &self.route), ("upstream", &self.upstream), ("trace_id", &self.trace_id)];
        all.into_iter().filter_map(|(label, wanted)| Some((label, wanted.as_deref()?))).collect()
    }

    fn filters_as_text(&self) -> String {
        self.filters().iter().map(|(label, wanted)| format!("{label}={wanted}")).collect::<Vec<_>>().join(" ")
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Cpu => "cpu",
            Kind::Heap => "heap",
            Kind::Allocs => "allocs",
            Kind::Goroutine => "goroutine",
            Kind::Threadcreate => "threadcreate",
            Kind::Block => "block",
            Kind::Mutex => "mutex",
            Kind::Trace => "trace",
        }
    }
}

fn parse_trace_id(text: &str) -> Result<String, String> {
    let id = TraceId::from_hex(text.to_ascii_lowercase().as_bytes());
    id.map(|id| hex_text(&id.hex()).to_owned()).ok_or_else(|| "expected 32 hexadecimal digits, not all of them zero".to_owned())
}

#[cfg(test)]
mod tests;
