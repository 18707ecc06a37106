//! Metrics as a reader sees them: families of samples, whatever format they go out in.
//!
//! In: readings of cells and gauges. Out: one model that the Prometheus, OpenMetrics and OTLP encoders share, so that they cannot
//! disagree. Not here: how the cells are filled (`record::series`).

use std::sync::Arc;

use crate::base::ids::{SpanId, TraceId};
use crate::telemetry::record::names::Metric;
use crate::telemetry::record::series::{BOUND_COUNT, Reading};

/// All samples of one metric.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) metric: &'static Metric,
    pub(crate) kind: FamilyKind,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, Arc<str>)>,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Number(f64),
    Histogram(Box<Histogram>),
}

#[derive(Debug)]
pub(crate) struct Histogram {
    /// Upper bounds in nanoseconds.
    pub(crate) bounds: &'static [u64; BOUND_COUNT],
    pub(crate) reading: Reading,
    pub(crate) exemplars: [Option<Exemplar>; BOUND_COUNT + 1],
}

/// One request of a bucket whose trace was kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) value_ns: u64,
    pub(crate) unix_nanos: u64,
}

impl Family {
    pub(crate) fn new(metric: &'static Metric, kind: FamilyKind) -> Self {
        Family { metric, kind, samples: Vec::new() }
    }

    /// A family with one sample that has no labels.
    pub(crate) fn single(metric: &'static Metric, kind: FamilyKind, value: f64) -> Self {
        let mut family = Family::new(metric, kind);
        family.push(Vec::new(), value);
        family
    }

    pub(crate) fn push(&mut self, labels: Vec<(&'static str, Arc<str>)>, value: f64) {
        self.samples.push(Sample { labels, value: Value::Number(value) });
    }

    /// Data points, as OTLP counts them.
    pub(crate) fn points(&self) -> u64 {
        self.samples.len() as u64
    }
}

pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
