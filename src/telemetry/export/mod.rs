//! Signals on their way out.
//!
//! In: records, profiles, and readings of the metrics. Out: OTLP, Prometheus text, OpenMetrics, access-log lines, pprof, flame graphs, and the
//! account of what became of each item. Not here: which records are kept (`process` decides).

pub(crate) mod ledger;
pub(crate) mod standing;
pub(crate) mod redact;
pub(crate) mod keep_reason;
pub(crate) mod metrics;
pub(crate) mod prometheus;
pub(crate) mod openmetrics;
pub(crate) mod access_log;
pub(crate) mod log_sink;
pub(crate) mod otlp;
pub(crate) mod profile;
pub(crate) mod timeline;
