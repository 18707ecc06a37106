//! Families as OTLP metrics: the same readings that `/metrics` shows, exemplars included.
//!
//! In: families. Out: an `ExportMetricsServiceRequest` with cumulative sums, gauges and explicit-bucket histograms. It leaves a few times a
//! minute, so the generated types do.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics, exemplar, metric, number_data_point};
use prost::Message;

use super::super::metrics::{Exemplar, Family, FamilyKind, Histogram, Sample, Value, seconds};
use super::resource::Resource;
use crate::telemetry::record::names;

const CUMULATIVE: i32 = 2;

/// When the readings began and when they were taken, in Unix nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period {
    pub(crate) start: u64,
    pub(crate) now: u64,
}

/// The encoded request.
pub(crate) fn encode(families: &[Family], resource: &Resource, period: Period) -> Vec<u8> {
    let attributes = resource.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let scope = InstrumentationScope { name: names::SCOPE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), ..Default::default() };
    let metrics = families.iter().filter(|family| !family.samples.is_empty()).map(|family| convert(family, period)).collect();
    let scope_metrics = ScopeMetrics { scope: Some(scope), metrics, ..Default::default() };
    let resource = opentelemetry_proto::tonic::resource::v1::Resource { attributes, ..Default::default() };
    let resource_metrics = ResourceMetrics { resource: Some(resource), scope_metrics: vec![scope_metrics], ..Default::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec()
}

fn convert(family: &Family, period: Period) -> proto::Metric {
    let data = match family.kind {
        FamilyKind::Counter => metric::Data::Sum(proto::Sum {
            data_points: family.samples.iter().filter_map(|sample| number(sample, period)).collect(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        FamilyKind::Gauge => {
            metric::Data::Gauge(proto::Gauge { data_points: family.samples.iter().filter_map(|sample| number(sample, period)).collect() })
        }
        FamilyKind::Histogram => metric::Data::Histogram(proto::Histogram {
            data_points: family.samples.iter().filter_map(|sample| histogram(sample, period)).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    proto::Metric {
        name: family.metric.otel.to_owned(),
        description: family.metric.help.to_owned(),
        unit: family.metric.unit.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

fn number(sample: &Sample, period: Period) -> Option<proto::NumberDataPoint> {
    let Value::Number(value) = sample.value else { return None };
    Some(proto::NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: period.start,
        time_unix_nano: period.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    })
}

fn histogram(sample: &Sample, period: Period) -> Option<proto::HistogramDataPoint> {
    let Value::Histogram(histogram) = &sample.value else { return None };
    let Histogram { bounds, reading, exemplars } = &**histogram;
    Some(proto::HistogramDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: period.start,
        time_unix_nano: period.now,
        count: reading.count(),
        sum: Some(seconds(reading.sum_ns)),
        bucket_counts: reading.buckets.to_vec(),
        explicit_bounds: bounds.iter().map(|bound| seconds(*bound)).collect(),
        exemplars: exemplars.iter().flatten().map(convert_exemplar).collect(),
        ..Default::default()
    })
}

fn convert_exemplar(exemplar: &Exemplar) -> proto::Exemplar {
    proto::Exemplar {
        time_unix_nano: exemplar.unix_nanos,
        span_id: exemplar.span_id.0.to_vec(),
        trace_id: exemplar.trace_id.0.to_vec(),
        value: Some(exemplar::Value::AsDouble(seconds(exemplar.value_ns))),
        ..Default::default()
    }
}

/// Labels under their dotted names, which are those of the semantic conventions.
fn attributes(sample: &Sample) -> Vec<KeyValue> {
    sample.labels.iter().map(|(name, value)| attribute(names::dotted(name), value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..Default::default()
    }
}
