//! Profiles in the formats that tools and people read.
//!
//! In: a profile. Out: pprof's protobuf, OTLP, folded stacks, an interactive drawing, and text. Only pprof is also read, ours and that of
//! other producers. Not here: the model (`telemetry::profile`), taking samples, and who may have them.

pub(crate) mod pprof;
pub(crate) mod fold;
pub(crate) mod flamegraph;
pub(crate) mod text;
pub(crate) mod otlp;

#[cfg(test)]
mod example {
    use std::collections::BTreeMap;

    use crate::telemetry::profile::{Label, Line, Location, Mapping, Profile, Sample, ValueType};

    pub(super) const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    pub(super) const SPAN_ID: &str = "00f067aa0ba902b7";
    pub(super) const HOSTILE: &str = "</title><script>alert(1)</script>;\n";

    fn line(function: &str, file: &str, line: u32) -> Line {
        Line { function: function.into(), system_name: format!("_R{function}").into(), file: file.into(), line }
    }

    pub(super) fn text(text: &str) -> Label {
        Label::Text(text.into())
    }

    fn sample<const N: usize>(stack: &[usize], count: i64, labels: [(&str, Label); N]) -> Sample {
        let labels: BTreeMap<String, Label> = labels.into_iter().map(|(key, label)| (key.to_owned(), label)).collect();
        Sample { stack: stack.to_vec(), values: vec![count, count * 10_000_000], labels }
    }

    fn location(address: u64, mapping: Option<usize>, lines: Vec<Line>) -> Location {
        Location { address, mapping, lines }
    }

    /// Inlined functions, a library without files, code without a name, labels of every kind.
    pub(super) fn profile() -> Profile {
        let request = [("route", text("users")), ("thread", text("w0")), ("trace_id", text(TRACE_ID)), ("span_id", text(SPAN_ID))];
        Profile {
            types: vec![ValueType::new("samples", "count"), ValueType::new("cpu", "nanoseconds")],
            default_type: "cpu".to_owned(),
            period: Some((ValueType::new("cpu", "nanoseconds"), 10_000_000)),
            began_unix_nanos: 1_700_000_000_000_000_000,
            duration_nanos: 2_000_000_000,
            comments: vec!["3 samples were lost".to_owned()],
            mappings: vec![
                Mapping { start: 0x5000, limit: 0x6000, offset: 0x1000, file: "/opt/pellucid".to_owned(), build_id: "abcd12".to_owned() },
                Mapping { start: 0x7000, limit: 0x8000, offset: 0, file: "/lib/libc.so.6".to_owned(), build_id: String::new() },
            ],
            locations: vec![
                location(0x5010, Some(0), vec![line("core::ptr::read", "ptr.rs", 10), line("pellucid::serve", "main.rs", 20)]),
                location(0x5100, Some(0), vec![line("pellucid::main", "main.rs", 5)]),
                location(0x7010, Some(1), vec![line("memcpy", "", 0)]),
                location(0x7100, Some(1), Vec::new()),
                location(0x1234, None, Vec::new()),
            ],
            samples: vec![
                sample(&[0, 1], 3, request),
                sample(&[2, 0, 1], 2, [("route", text(HOSTILE)), ("size", Label::Number(64, "bytes".to_owned()))]),
                sample(&[3, 1], 1, []),
                sample(&[4], 1, []),
            ],
        }
    }
}
