//! The sections of the file.
//!
//! In: nothing; it is a declaration. Out: the types that `compile` reads, with docs that also stand in the JSON Schema. A field with `=` has a
//! default. Not here: what a value of one section means for another (`control::compile`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::decode::{Pairs, Placed};
use super::filters::FilterEntry;
use super::telemetry::Telemetry;
use super::trace_url::TraceUrl;
use super::values::{Count, Secret, Size, Span};

pub(crate) const ADMIN_PORT: u16 = 9901;

pub(super) const fn seconds(count: u64) -> Span {
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
        /// Connections at once from one address (IPv6: one /64 network); more are closed. Default: no cap but `connections`.
        connections_per_client: Option<Count<1, 10_000_000>> = None,
        /// Header fields of a request.
        header_count: Count<1, 256> = Count(100),
        /// Bytes of a request's target.
        target_bytes: Placed<Size> = Placed { value: Size(8 * 1024), mark: Default::default() },
        /// Bytes of a request's body. Default: no cap.
        body_bytes: Option<Size> = None,
        /// Requests on one connection; the last answer closes it. Default: no cap.
        requests_per_connection: Option<Count<1, 1_000_000_000>> = None,
        /// From a request's first byte to the end of its head; also from a connection's start to its first byte.
        header_timeout: Span = seconds(10),
        /// Between two pieces of a request's body.
        body_timeout: Span = seconds(60),
        /// Between two pieces that the client takes of an answer.
        write_timeout: Span = seconds(60),
        /// Between two requests.
        idle_timeout: Span = seconds(75),
        /// A client that closes its sending side while it waits is served for this long.
        half_close_timeout: Span = seconds(2),
        /// A tunnel (an upgraded connection) in which nothing moves is closed after this long.
        upgrade_idle_timeout: Span = seconds(300),
    }
}

section! {
    /// The admin plane.
    Admin {
        /// Address and port. Without a token, anyone who reaches it sees what goes through the gateway.
        bind: Placed<SocketAddr> = Placed { value: SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)), mark: Default::default() },
        /// Serve `/debug/pprof/`. Default: only where the address is a loopback one.
        debug: Option<bool> = None,
        /// Names with dots by which browsers reach the admin plane, such as a reverse proxy's; others are refused, so that a page from elsewhere
        /// cannot ask by a name of its own.
        hosts: Vec<String> = Vec::new(),
        /// What everyone has to show who asks for more than /healthz and /readyz: as a bearer token, or as the password of any user. At least 16
        /// characters; best from the environment, as in `${PELLUCID_ADMIN_TOKEN}`. Default: nobody is asked.
        token: Option<Secret> = None,
        /// Where a trace store shows the trace of a request: a URL with `{trace_id}` in it, and `{span_id}`, `{begin_ms}`, `{end_ms}` where they are
        /// needed.
        trace_url: Option<TraceUrl> = None,
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
        /// Protocols that a client may switch to.
        upgrade: Vec<Upgrade> = vec![Upgrade::Websocket],
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

choice! {
    /// A protocol that an HTTP/1.1 connection may be switched to (RFC 9110, section 7.8).
    Upgrade { Websocket = "websocket" }
}

impl Upgrade {
    /// As `Upgrade` names it.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Upgrade::Websocket => "websocket",
        }
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
        /// From a request's last byte to the end of the answer's head.
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
        /// Requests in flight to all endpoints together. Default: no cap but those on connections.
        in_flight: Option<Count<1, 10_000_000>> = None,
    }
}

section! {
    /// Threads and shutdown.
    Runtime {
        /// Worker threads; 0: one a core.
        workers: Count<0, 1024> = Count(0),
        /// How long requests in flight may take after the signal to end.
        drain_timeout: Span = seconds(30),
        /// How long connections are still accepted after the signal to end, so that load balancers learn of it first.
        drain_delay: Span = seconds(0),
        /// Reload when the file changes.
        watch: bool = true,
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

all_default!(Forwarded, Limits, Admin, Match, Retry, Pool, Runtime);
