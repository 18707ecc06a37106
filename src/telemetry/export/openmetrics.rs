//! OpenMetrics 1.0 text, with exemplars.
//!
//! In: families. Out: text that ends in `# EOF`. Exemplars carry `trace_id` and `span_id` and stand on buckets only, as Prometheus reads
//! them. The `prometheus` crate has neither, so the format is written here.

use std::fmt::Write;

use prometheus::proto::{MetricFamily, MetricType};

use super::metrics::{Exemplar, Family, FamilyKind, Histogram, Value, seconds};
use crate::base::ids::hex_text;
use crate::telemetry::record::names;

/// The media type of the format.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of a scrape.
pub(crate) fn encode(families: &[Family], process: &[MetricFamily]) -> Vec<u8> {
    let mut out = String::with_capacity(128 * 1024);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        write_family(&mut out, family);
    }
    for family in process {
        write_process(&mut out, family);
    }
    out.push_str("# EOF\n");
    out.into_bytes()
}

fn write_family(out: &mut String, family: &Family) {
    let kind = match family.kind {
        FamilyKind::Counter => "counter",
        FamilyKind::Gauge => "gauge",
        FamilyKind::Histogram => "histogram",
    };
    let name = family_name(family.metric.name, kind);
    write_head(out, name, kind, family.metric.help);
    for sample in &family.samples {
        let labels = labels_text(&sample.labels);
        match &sample.value {
            Value::Number(value) => {
                let suffix = if family.kind == FamilyKind::Counter { "_total" } else { "" };
                write_sample(out, name, suffix, &labels, "", *value);
                out.push('\n');
            }
            Value::Histogram(histogram) => write_histogram(out, name, &labels, histogram),
        }
    }
}

/// A counter's family is named without the `_total` of its sample.
fn family_name<'n>(name: &'n str, kind: &str) -> &'n str {
    if kind == "counter" { name.strip_suffix("_total").unwrap_or(name) } else { name }
}

fn write_head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if name.ends_with("_seconds") {
        let _ = writeln!(out, "# UNIT {name} seconds");
    }
    let _ = writeln!(out, "# HELP {name} {}", escape(help));
}

fn write_histogram(out: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let mut cumulative = 0;
    for (index, count) in histogram.reading.buckets.iter().enumerate() {
        cumulative += count;
        let bound = match histogram.bounds.get(index) {
            Some(bound) => format!("le=\"{}\"", number(seconds(*bound))),
            None => "le=\"+Inf\"".to_owned(),
        };
        write_sample(out, name, "_bucket", labels, &bound, cumulative as f64);
        if let Some(exemplar) = &histogram.exemplars[index] {
            write_exemplar(out, exemplar);
        }
        out.push('\n');
    }
    write_sample(out, name, "_sum", labels, "", seconds(histogram.reading.sum_ns));
    out.push('\n');
    write_sample(out, name, "_count", labels, "", cumulative as f64);
    out.push('\n');
}

fn write_sample(out: &mut String, name: &str, suffix: &str, labels: &str, extra: &str, value: f64) {
    let comma = if labels.is_empty() || extra.is_empty() { "" } else { "," };
    let _ = write!(out, "{name}{suffix}{{{labels}{comma}{extra}}} {}", number(value));
}

fn write_exemplar(out: &mut String, exemplar: &Exemplar) {
    let (trace, span) = (exemplar.trace_id.hex(), exemplar.span_id.hex());
    let time = exemplar.unix_nanos as f64 / 1e9;
    let _ = write!(
        out,
        " # {{{}=\"{}\",{}=\"{}\"}} {} {time:.3}",
        names::LOG_TRACE_ID,
        hex_text(&trace),
        names::LOG_SPAN_ID,
        hex_text(&span),
        number(seconds(exemplar.value_ns))
    );
}

fn write_process(out: &mut String, family: &MetricFamily) {
    let kind = if family.get_field_type() == MetricType::COUNTER { "counter" } else { "gauge" };
    let name = family_name(family.name(), kind);
    write_head(out, name, kind, family.help());
    for metric in family.get_metric() {
        let value = if kind == "counter" { metric.get_counter().get_value() } else { metric.get_gauge().get_value() };
        write_sample(out, name, if kind == "counter" { "_total" } else { "" }, "", "", value);
        out.push('\n');
    }
}

fn labels_text(labels: &[(&'static str, std::sync::Arc<str>)]) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    pairs.join(",")
}

fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 { format!("{value:.1}") } else { format!("{value}") }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
