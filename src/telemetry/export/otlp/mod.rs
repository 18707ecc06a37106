//! OTLP: spans and metrics to an OpenTelemetry Collector (opentelemetry-proto 1.x).
//!
//! In: kept records and families. Out: requests over gRPC or HTTP/protobuf. Spans are encoded straight to bytes as they are drained; what
//! leaves rarely (metrics) goes through the generated types. Not here: control-plane spans, which the OpenTelemetry SDK exports.

pub(crate) mod resource;
pub(crate) mod spans;
pub(crate) mod points;
mod message;
pub(crate) mod sender;

use std::time::Duration;

/// How to reach the Collector, per signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Scheme, host and port; with the path where the protocol is HTTP.
    pub(crate) url: String,
    pub(crate) protocol: Protocol,
    pub(crate) gzip: bool,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    HttpProtobuf,
}
