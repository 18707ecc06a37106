//! Prometheus text format 0.0.4, through the `prometheus` crate.
//!
//! In: families. Out: text. The crate's collector interface and encoder are used, and its process collector for `process_*`; its own
//! metric vectors are not: they hash label values without a separator and take a lock an observation.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};

use super::metrics::{Family, FamilyKind, Sample, Value, seconds};

/// The media type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One scrape: families that were read once, given to the crate as a collector.
struct Scrape(Vec<MetricFamily>);

impl Collector for Scrape {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.clone()
    }
}

/// What the process says of itself: CPU, memory, descriptors, threads.
pub(crate) fn process_families() -> Vec<MetricFamily> {
    prometheus::process_collector::ProcessCollector::for_self().collect()
}

/// The text of a scrape.
pub(crate) fn encode(families: &[Family]) -> Result<Vec<u8>, prometheus::Error> {
    let registry = Registry::new();
    let ours = families.iter().filter(|family| !family.samples.is_empty()).map(convert);
    registry.register(Box::new(Scrape(ours.chain(process_families()).collect())))?;
    let mut out = Vec::with_capacity(64 * 1024);
    TextEncoder::new().encode(&registry.gather(), &mut out)?;
    Ok(out)
}

fn convert(family: &Family) -> MetricFamily {
    let mut converted = MetricFamily::default();
    converted.set_name(family.metric.name.to_owned());
    converted.set_help(family.metric.help.to_owned());
    converted.set_field_type(match family.kind {
        FamilyKind::Counter => MetricType::COUNTER,
        FamilyKind::Gauge => MetricType::GAUGE,
        FamilyKind::Histogram => MetricType::HISTOGRAM,
    });
    converted.set_metric(family.samples.iter().map(|sample| convert_sample(family.kind, sample)).collect());
    converted
}

fn convert_sample(kind: FamilyKind, sample: &Sample) -> Metric {
    let labels = sample.labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.to_string());
        pair
    });
    let mut metric = Metric::from_label(labels.collect());
    match &sample.value {
        Value::Number(value) if kind == FamilyKind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(*value);
            metric.set_counter(counter);
        }
        Value::Number(value) => {
            let mut gauge = Gauge::default();
            gauge.set_value(*value);
            metric.set_gauge(gauge);
        }
        Value::Histogram(histogram) => {
            let mut converted = Histogram::default();
            let mut cumulative = 0;
            let buckets = histogram.bounds.iter().zip(histogram.reading.buckets).map(|(bound, count)| {
                cumulative += count;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(seconds(*bound));
                bucket.set_cumulative_count(cumulative);
                bucket
            });
            converted.set_bucket(buckets.collect());
            converted.set_sample_count(histogram.reading.count());
            converted.set_sample_sum(seconds(histogram.reading.sum_ns));
            metric.set_histogram(converted);
        }
    }
    metric
}
