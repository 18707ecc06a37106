//! The sections of the file.
//!
//! In: nothing; it is a declaration. Out: the types that `compile` reads, with docs that also stand in the JSON Schema. A field with `=` has a
//! default. Not here: what a value of one section means for another (`control::compile`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::decode::{Pairs, Placed};
use super::filters::FilterEntry;
use super::values::{Count, LogPlace, Share, Size, Span};

pub(crate) const ADMIN_PORT: u16 = 9901;

const fn seconds(count: u64) -> Span {
    Span(Duration::from_secs(count))
}

section! {
    /// A Pellucid gateway.
    Config {
        /// Where clients connect.
        listeners: Vec<Listener>,
        /// The admin plane: health, metrics, API, profiles.
        admin: Admin = Admin::default(),
        /// What is forwarded where. The most specific match wins, in any order.
        routes: Vec<Route> = Vec::new(),
        /// Where requests are forwarded to.
        upstreams: Vec<Upstream> = Vec::new(),
        /// What is told about requests, and to whom.
        telemetry: Telemetry = Telemetry::default(),
        /// Threads and shutdown.
        runtime: Runtime = Runtime::default(),
    }
}

section! {
    /// An address on which clients are served.
    Listener {
        /// Its name, for logs and the admin plane.
        name: Placed<String>,
        /// Address and port.
        bind: Placed<SocketAddr>,
        /// What is made of the caller's trace. Default: continue on a loopback address, restart elsewhere.
        trace_context: Option<TraceContext> = None,
        /// Headers that tell upstreams who the client is.
        forwarded: Forwarded = Forwarded::default(),
        /// Answers carry `x-trace-id`.
        response_trace_id: bool = true,
        /// Bounds on clients.
        limits: Limits = Limits::default(),
    }
}

choice! {
    /// What a listener makes of an incoming trace.
    TraceContext { Continue = "continue", Restart = "restart", Ignore = "ignore" }
}

section! {
    /// `X-Forwarded-*`, `Forwarded` and `Via`.
    Forwarded {
        /// Networks whose own `X-Forwarded-*` and `Forwarded` are believed and added to; those of all others are replaced.
        trust: Vec<Placed<String>> = Vec::new(),
        /// Write `X-Forwarded-For`, `-Host` and `-Proto`.
        x_forwarded: bool = true,
        /// Write `Forwarded` (RFC 7239).
        rfc7239: bool = false,
        /// Add this gateway to `Via` of requests (RFC 9110, section 7.6.3).
        via: bool = true,
    }
}

section! {
    /// Bounds on the clients of a listener.
    Limits {
        /// Connections at once; more are closed.
        connections: Count<1, 10_000_000> = Count(10_000),
        /// Bytes of a request's head.
        header_bytes: Placed<Size> = Placed { value: Size(64 * 1024), mark: Default::default() },
        /// From a request's first byte to the end of its head.
        header_timeout: Span = seconds(10),
        /// Between two pieces of a request's body.
        body_timeout: Span = seconds(60),
        /// Between two pieces that the client takes of an answer.
        write_timeout: Span = seconds(60),
        /// Between two requests.
        idle_timeout: Span = seconds(75),
        /// A client that closes its sending side while it waits is served for this long.
        half_close_timeout: Span = seconds(1),
    }
}

section! {
    /// The admin plane.
    Admin {
        /// Address and port. Anyone who reaches it sees what goes through the gateway.
        bind: Placed<SocketAddr> = Placed { value: SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)), mark: Default::default() },
    }
}

section! {
    /// Requests that are handled alike.
    Route {
        /// Its name in metrics, traces and logs.
        name: Placed<String>,
        /// Which requests it takes.
        r#match: Match = Match::default(),
        /// What is done to requests and responses, in order.
        filters: Vec<FilterEntry> = Vec::new(),
        /// The upstream that requests go to.
        upstream: Option<Placed<String>> = None,
        /// Several upstreams, by weight.
        split: Option<Vec<SplitPart>> = None,
        /// The whole exchange, attempts included. Default: no bound but those of the phases.
        timeout: Option<Span> = None,
        /// When a failed attempt is followed by another.
        retry: Retry = Retry::default(),
    }
}

section! {
    /// The conditions of a route; all must hold.
    Match {
        /// Host names, or `*.` and the end of one. Default: any.
        hosts: Vec<Placed<String>> = Vec::new(),
        /// Literal segments, `{parameter}` for one segment, and a final `/**` for the rest.
        path: Placed<String> = Placed { value: "/**".to_owned(), mark: Default::default() },
        /// Default: any.
        methods: Vec<Placed<String>> = Vec::new(),
        /// Headers with their exact values.
        headers: Pairs = Pairs::default(),
    }
}

section! {
    /// A share of a route.
    SplitPart {
        /// The upstream.
        upstream: Placed<String>,
        /// Its share among the weights of the route.
        weight: Count<0, 1_000_000>,
    }
}

section! {
    /// When a failed attempt is followed by another. A request is only sent again if nothing of it was sent, or if it is idempotent and met a stale connection.
    Retry {
        /// Attempts in all, the first included.
        attempts: Count<1, 4> = Count(2),
    }
}

section! {
    /// Endpoints that serve the same.
    Upstream {
        /// Its name.
        name: Placed<String>,
        /// Addresses.
        endpoints: Vec<Endpoint>,
        /// How endpoints take turns.
        balance: Balance = Balance::RoundRobin,
        /// Which `Host` the endpoints see: `preserve` (the client's), `endpoint` (their address), or a host name.
        host: Placed<String> = Placed { value: "preserve".to_owned(), mark: Default::default() },
        /// Name resolution and handshake.
        connect_timeout: Span = seconds(1),
        /// From a request's last byte to the answer's first.
        first_byte_timeout: Span = seconds(60),
        /// Between two pieces of an answer's body.
        body_timeout: Span = seconds(60),
        /// Bounds on connections.
        pool: Pool = Pool::default(),
    }
}

choice! {
    /// How the endpoints of an upstream take turns.
    Balance { RoundRobin = "round_robin" }
}

section! {
    /// Bounds on the connections of an upstream.
    Pool {
        /// Idle connections that are kept to one endpoint.
        idle_per_endpoint: Count<0, 1_000_000> = Count(64),
        /// How long an idle connection is kept.
        idle_timeout: Span = seconds(60),
        /// Connections to one endpoint.
        connections_per_endpoint: Count<1, 1_000_000> = Count(1024),
        /// Requests that wait for a connection.
        pending: Count<0, 1_000_000> = Count(1024),
    }
}

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
    /// Continuous profiles. Not available in this version: `continuous` and `push` must be false.
    Profiles {
        /// Keep samples of the last minutes.
        continuous: Placed<bool> = Placed::default(),
        /// Samples a second.
        hz: Count<1, 1000> = Count(19),
        /// Send profiles to the Collector.
        push: Placed<bool> = Placed::default(),
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

section! {
    /// Threads and shutdown.
    Runtime {
        /// Worker threads; 0: one a core.
        workers: Count<0, 1024> = Count(0),
        /// How long requests in flight may take after the signal to end.
        drain_timeout: Span = seconds(30),
    }
}

section! {
    /// One address of an upstream.
    EndpointMap {
        /// Host and port.
        address: Placed<String>,
        /// Its share among the endpoints.
        weight: Count<0, 1_000_000> = Count(1),
        /// Where it stands.
        zone: Option<String> = None,
    }
}

/// An endpoint: a map, or its address alone.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct Endpoint(pub(crate) EndpointMap);

impl super::decode::Decode for Endpoint {
    fn decode(node: &super::yaml::Node, problems: &mut super::problem::Problems) -> Option<Self> {
        if let super::yaml::Content::Scalar(address) = &node.content {
            let address = Placed { value: address.clone(), mark: node.mark };
            return Some(Endpoint(EndpointMap { address, weight: Count(1), zone: None }));
        }
        EndpointMap::decode(node, problems).map(Endpoint)
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "type": "string" }, EndpointMap::schema()] })
    }
}

/// Sections all of whose fields have defaults.
macro_rules! all_default {
    ($($name:ident),*) => {
        $(impl Default for $name {
            fn default() -> Self {
                let empty = super::yaml::Node { mark: Default::default(), content: super::yaml::Content::Null };
                <Self as super::decode::Decode>::decode(&empty, &mut Default::default()).expect("every field has a default")
            }
        })*
    };
}

all_default!(Forwarded, Limits, Admin, Match, Retry, Pool, Telemetry, Traces, Keep, Metrics, Profiles, Propagation, Runtime);
