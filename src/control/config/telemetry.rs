//! The `telemetry` section of the file.
//!
//! In: nothing; it is a declaration, like `schema`. Out: the types that `compile` reads. Not here: what they are turned into.

use std::time::Duration;

use super::decode::{Pairs, Placed};
use super::schema::seconds;
use super::values::{Count, LogPlace, Share, Span};

section! {
    /// What is told about requests.
    Telemetry {
        /// `service.name`. OTEL_SERVICE_NAME overrides it.
        service_name: String = "pellucid".to_owned(),
        /// The OpenTelemetry Collector. Absent: nothing is pushed, unless OTEL_EXPORTER_OTLP_ENDPOINT is set.
        otlp: Option<Otlp> = None,
        /// Which traces are exported.
        traces: Traces = Traces::default(),
        /// Metrics.
        metrics: Metrics = Metrics::default(),
        /// One line a request. Absent: off.
        access_log: Option<AccessLog> = None,
        /// Continuous profiles.
        profiles: Profiles = Profiles::default(),
        /// Request headers that are remembered, by name: on spans and in the access log as `http.request.header.NAME`, and for filters of the
        /// console. At most 8; of secrets (such as `authorization` and `cookie`) only that they were there.
        capture_headers: Vec<Placed<String>> = Vec::new(),
        /// Which headers carry a trace.
        propagation: Propagation = Propagation::default(),
    }
}

section! {
    /// How the Collector is reached. OTEL_EXPORTER_OTLP_* override it.
    Otlp {
        /// Its URL.
        endpoint: Placed<String>,
        /// gRPC, or protobuf over HTTP.
        protocol: OtlpProtocol = OtlpProtocol::Grpc,
        /// How requests are compressed.
        compression: Compression = Compression::None,
        /// Headers of every export, such as credentials.
        headers: Pairs = Pairs::default(),
        /// One try of one export.
        timeout: Span = seconds(10),
    }
}

choice! {
    /// The transport of OTLP.
    OtlpProtocol { Grpc = "grpc", HttpProtobuf = "http/protobuf" }
}

choice! {
    /// Compression of exports.
    Compression { None = "none", Gzip = "gzip" }
}

section! {
    /// Which traces are exported.
    Traces {
        /// Share of new traces that is sampled; carried downstream in the sampled flag.
        sample: Share = Share(0.01),
        /// What is exported beside that share, for this hop.
        keep: Keep = Keep::default(),
    }
}

section! {
    /// What is kept when its outcome is known.
    Keep {
        /// Failed requests.
        errors: bool = true,
        /// Requests with more than one attempt.
        retries: bool = true,
        /// Requests that took longer.
        slower_than: Option<Span> = Some(Span(Duration::from_millis(500))),
        /// Traces a second, beside those of our own share.
        per_second: Count<0, 1_000_000> = Count(200),
    }
}

section! {
    /// Metrics.
    Metrics {
        /// Series of requests and attempts; observations past it go to `_other` and are counted.
        series_max: Count<16, 1_000_000> = Count(10_000),
        /// How often metrics are pushed where there is a Collector; 0: never.
        push_interval: Span = seconds(10),
    }
}

section! {
    /// One line a request.
    AccessLog {
        /// `stdout`, `stderr` or the path of a file (reopened on SIGUSR1).
        to: Placed<LogPlace>,
        /// JSON objects, or text.
        format: LogFormat = LogFormat::Json,
    }
}

choice! {
    /// The form of a log line.
    LogFormat { Json = "json", Text = "text" }
}

section! {
    /// Profiles that run by themselves.
    Profiles {
        /// Sample what the threads execute all the time, and remember the last 15 minutes.
        continuous: bool = false,
        /// Samples a second of each thread's CPU time.
        hz: Count<1, 1000> = Count(19),
        /// Send continuous profiles to the Collector. Needs `continuous`.
        push: Placed<bool> = Placed::default(),
        /// Sample the heap from the start; otherwise from the first request for a heap profile on.
        heap: bool = false,
    }
}

section! {
    /// Which headers carry a trace.
    Propagation {
        /// What is read from callers, where the listener continues traces.
        extract: Vec<Propagator> = vec![Propagator::TraceContext, Propagator::Baggage],
        /// What is written to upstreams.
        inject: Vec<Propagator> = vec![Propagator::TraceContext, Propagator::Baggage],
    }
}

choice! {
    /// A format of trace headers.
    Propagator { TraceContext = "tracecontext", Baggage = "baggage" }
}

all_default!(Telemetry, Traces, Keep, Metrics, Profiles, Propagation);
