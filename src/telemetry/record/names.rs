//! The name of every metric, span attribute, log field and header of ours, once.
//!
//! Standard names come from the OpenTelemetry semantic conventions for HTTP (stable since 1.23); ours stand under
//! `pellucid`. The tidy test refuses such a name anywhere else. Not here: values.

// Attributes of spans and log lines.
pub(crate) const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub(crate) const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
/// Before the name of a header, in lower case.
pub(crate) const HTTP_REQUEST_HEADER: &str = "http.request.header.";
pub(crate) const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
pub(crate) const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
pub(crate) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(crate) const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
pub(crate) const HTTP_ROUTE: &str = "http.route";
pub(crate) const URL_PATH: &str = "url.path";
pub(crate) const URL_QUERY: &str = "url.query";
pub(crate) const URL_SCHEME: &str = "url.scheme";
pub(crate) const URL_FULL: &str = "url.full";
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const CLIENT_ADDRESS: &str = "client.address";
pub(crate) const CLIENT_PORT: &str = "client.port";
pub(crate) const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
pub(crate) const USER_AGENT_ORIGINAL: &str = "user_agent.original";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const PELLUCID_ROUTE: &str = "pellucid.route";
pub(crate) const PELLUCID_UPSTREAM: &str = "pellucid.upstream";
pub(crate) const PELLUCID_SELF_TIME_MS: &str = "pellucid.self_time_ms";
pub(crate) const PELLUCID_KEEP_REASON: &str = "pellucid.keep_reason";
pub(crate) const PELLUCID_CONNECTION_REUSED: &str = "pellucid.connection_reused";
/// Where the samples are that were taken while a request ran: a path on the admin plane.
pub(crate) const PELLUCID_PROFILE: &str = "pellucid.profile";
pub(crate) const PELLUCID_PHASE: &str = "pellucid.phase";
pub(crate) const PPROF_PROFILE_COMMENT: &str = "pprof.profile.comment";
pub(crate) const PROCESS_EXECUTABLE_BUILD_ID_GNU: &str = "process.executable.build_id.gnu";
pub(crate) const THREAD_NAME: &str = "thread.name";
/// Why a request failed or was slow, in words, and its cause as a word that filters use.
pub(crate) const PELLUCID_VERDICT: &str = "pellucid.verdict";
pub(crate) const PELLUCID_VERDICT_CODE: &str = "pellucid.verdict.code";
/// A field of rows in the API.
pub(crate) const ROW_USER_AGENT: &str = "user_agent";
pub(crate) const PELLUCID_ATTEMPTS: &str = "pellucid.attempts";
pub(crate) const PELLUCID_DURATION_MS: &str = "pellucid.duration_ms";
/// In the order of `Phase::ALL`.
pub(crate) const PELLUCID_PHASE_MS: [&str; 6] = [
    "pellucid.phase.queue_ms",
    "pellucid.phase.dns_ms",
    "pellucid.phase.connect_ms",
    "pellucid.phase.send_ms",
    "pellucid.phase.wait_ms",
    "pellucid.phase.body_ms",
];
pub(crate) const PHASE_LABELS: [&str; 6] = ["queue", "dns", "connect", "send", "wait", "body"];
/// In the order of `MethodTag`.
pub(crate) const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "_OTHER"];
/// In the order of `VersionTag`.
pub(crate) const VERSIONS: [&str; 3] = ["1.0", "1.1", "2"];

// Fields that only log lines have.
pub(crate) const LOG_TIMESTAMP: &str = "timestamp";
pub(crate) const LOG_TRACE_ID: &str = "trace_id";
pub(crate) const LOG_SPAN_ID: &str = "span_id";

// Resource.
pub(crate) const SERVICE_NAME: &str = "service.name";
pub(crate) const SERVICE_VERSION: &str = "service.version";
pub(crate) const SERVICE_INSTANCE_ID: &str = "service.instance.id";
pub(crate) const TELEMETRY_SDK_NAME: &str = "telemetry.sdk.name";
pub(crate) const TELEMETRY_SDK_LANGUAGE: &str = "telemetry.sdk.language";
pub(crate) const TELEMETRY_SDK_VERSION: &str = "telemetry.sdk.version";
pub(crate) const SCOPE: &str = "pellucid";

// Headers.
pub(crate) const HEADER_TRACEPARENT: &str = "traceparent";
pub(crate) const HEADER_TRACESTATE: &str = "tracestate";
pub(crate) const HEADER_BAGGAGE: &str = "baggage";
pub(crate) const HEADER_TRACE_ID: &str = "x-trace-id";

// Metric labels.
pub(crate) const LABEL_METHOD: &str = "http_request_method";
pub(crate) const LABEL_HTTP_ROUTE: &str = "http_route";
pub(crate) const LABEL_STATUS: &str = "http_response_status_code";
pub(crate) const LABEL_SCHEME: &str = "url_scheme";
pub(crate) const LABEL_VERSION: &str = "network_protocol_version";
pub(crate) const LABEL_ERROR: &str = "error_type";
pub(crate) const LABEL_SERVER_ADDRESS: &str = "server_address";
pub(crate) const LABEL_SERVER_PORT: &str = "server_port";
pub(crate) const LABEL_UPSTREAM: &str = "pellucid_upstream";
pub(crate) const LABEL_ROUTE: &str = "pellucid_route";
pub(crate) const LABEL_OUTCOME: &str = "outcome";
pub(crate) const LABEL_PHASE: &str = "phase";
pub(crate) const LABEL_SIGNAL: &str = "signal";
pub(crate) const LABEL_REASON: &str = "reason";
pub(crate) const LABEL_THREAD: &str = "thread";
pub(crate) const LABEL_LOCK: &str = "lock";
pub(crate) const LABEL_KIND: &str = "kind";
/// The value of every label of a series past the budget.
pub(crate) const FOLDED: &str = "_other";

/// A metric under both its names.
#[derive(Debug)]
pub(crate) struct Metric {
    /// In Prometheus' spelling.
    pub(crate) name: &'static str,
    /// In OpenTelemetry's.
    pub(crate) otel: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident: $name:literal, $otel:literal, $unit:literal, $help:literal;)*) => {
        $(pub(crate) const $constant: Metric = Metric { name: $name, otel: $otel, unit: $unit, help: $help };)*
    };
}

metrics! {
    SERVER_DURATION: "http_server_request_duration_seconds", "http.server.request.duration", "s",
        "Time from a request's first byte to the last byte of its answer.";
    CLIENT_DURATION: "http_client_request_duration_seconds", "http.client.request.duration", "s",
        "Time of one attempt at an upstream endpoint, from its start to the last byte of its answer.";
    ACTIVE_REQUESTS: "http_server_active_requests", "http.server.active_requests", "{request}",
        "Requests in flight.";
    SELF_TIME: "pellucid_self_time_seconds", "pellucid.self_time", "s",
        "Time that the gateway itself added to a request: all of it less every wait for client and upstream.";
    PHASE: "pellucid_phase_seconds", "pellucid.phase", "s",
        "Where the time of the attempts went, by phase.";
    REQUESTS: "pellucid_requests_total", "pellucid.requests", "{request}",
        "Requests that ended, by route and outcome.";
    REQUEST_BYTES: "pellucid_request_body_bytes_total", "pellucid.request.body.size", "By",
        "Request body bytes received from clients.";
    RESPONSE_BYTES: "pellucid_response_body_bytes_total", "pellucid.response.body.size", "By",
        "Response body bytes sent to clients.";
    RETRIES: "pellucid_retries_total", "pellucid.retries", "{attempt}",
        "Attempts after the first, by upstream.";
    FOLDED_SERIES: "pellucid_metrics_folded_total", "pellucid.metrics.folded", "{observation}",
        "Observations that went to an _other series because the series budget was spent.";
    SERIES: "pellucid_metrics_series", "pellucid.metrics.series", "{series}",
        "Series that the request path holds.";
    CONNECTIONS: "pellucid_connections", "pellucid.connections", "{connection}",
        "Client connections that are open.";
    CONNECTIONS_ACCEPTED: "pellucid_connections_accepted_total", "pellucid.connections.accepted", "{connection}",
        "Client connections accepted.";
    CONNECTIONS_CLOSED: "pellucid_connections_closed_total", "pellucid.connections.closed", "{connection}",
        "Client connections that ended, by what ended them.";
    CONNECTIONS_REFUSED: "pellucid_connections_refused_total", "pellucid.connections.refused", "{connection}",
        "Client connections closed at once because the listener, or the client, had as many as it may.";
    CONNECTIONS_REFUSED_CLIENT: "pellucid_connections_refused_per_client_total", "pellucid.connections.refused_per_client", "{connection}",
        "Of the refused connections, those of clients that had as many as one may.";
    UPSTREAM_CONNECTIONS: "pellucid_upstream_connections", "pellucid.upstream.connections", "{connection}",
        "Connections to an endpoint, in use and idle.";
    UPSTREAM_CONNECTS: "pellucid_upstream_connects_total", "pellucid.upstream.connects", "{connection}",
        "Connections opened to an endpoint.";
    UPSTREAM_PENDING: "pellucid_upstream_pending", "pellucid.upstream.pending", "{request}",
        "Requests that wait for a connection of an upstream.";
    PRODUCED: "pellucid_telemetry_produced_total", "pellucid.telemetry.produced", "{item}",
        "Items of a signal that were made: spans, metric points, log lines.";
    EXPORTED: "pellucid_telemetry_exported_total", "pellucid.telemetry.exported", "{item}",
        "Items that their sink confirmed.";
    REJECTED: "pellucid_telemetry_rejected_total", "pellucid.telemetry.rejected", "{item}",
        "Items that their sink refused for good.";
    DROPPED: "pellucid_telemetry_dropped_total", "pellucid.telemetry.dropped", "{item}",
        "Items that were given up, by reason.";
    QUEUED: "pellucid_telemetry_queued", "pellucid.telemetry.queued", "{item}",
        "Items that are on their way to their sink.";
    POLL_DURATION: "pellucid_poll_duration_seconds", "pellucid.poll.duration", "s",
        "Time that a worker spent in one poll of a request's task, without giving way to others.";
    SLOW_POLLS: "pellucid_slow_polls_total", "pellucid.slow_polls", "{poll}",
        "Polls that took longer than 10 ms.";
    THREAD_CPU: "pellucid_thread_cpu_seconds_total", "pellucid.thread.cpu_time", "s",
        "CPU time that each of the process's threads has used; threads of the same name together.";
    CPU_PHASE: "pellucid_cpu_phase_seconds_total", "pellucid.cpu.phase_time", "s",
        "CPU time by what it was used for, estimated from samples; it grows only while samples are taken.";
    LOCK_WAITS: "pellucid_lock_waits_total", "pellucid.lock.waits", "{wait}",
        "Waits for a lock that another thread held.";
    LOCK_WAIT: "pellucid_lock_wait_seconds_total", "pellucid.lock.wait_time", "s",
        "Time spent waiting for a lock.";
    PROFILE_SAMPLES: "pellucid_profile_samples_total", "pellucid.profile.samples", "{sample}",
        "Samples taken, by kind: of CPU time, of slow polls, of waits for locks.";
    PROFILE_LOST: "pellucid_profile_samples_lost_total", "pellucid.profile.samples_lost", "{sample}",
        "Samples that were lost, by reason.";
    PROFILE_MERGED: "pellucid_profile_periods_merged_total", "pellucid.profile.periods_merged", "{period}",
        "Sampling periods whose signal came late; their time counts with the sample that followed.";
    ALLOCATOR_BYTES: "pellucid_allocator_bytes", "pellucid.allocator.size", "By",
        "Memory as the allocator sees it, by kind.";
    HISTORY_BYTES: "pellucid_history_bytes", "pellucid.history.size", "By",
        "Memory that the history of the last hour takes, by route and endpoint.";
    BASELINES_FORGOTTEN: "pellucid_verdict_baselines_forgotten_total", "pellucid.verdict.baselines_forgotten", "{baseline}",
        "Routes and endpoints whose typical times were forgotten to make room for others.";
    CONFIG_GENERATION: "pellucid_config_generation", "pellucid.config.generation", "{generation}",
        "Generation of the configuration in force; it grows by one with each reload that changes something.";
    CONFIG_RELOADS: "pellucid_config_reloads_total", "pellucid.config.reloads", "{reload}",
        "Configuration reloads, by outcome.";
    CONFIG_LOADED: "pellucid_config_loaded_timestamp_seconds", "pellucid.config.loaded_timestamp", "s",
        "When the configuration in force was loaded, in Unix time.";
    ADMIN_REFUSED: "pellucid_admin_refused_total", "pellucid.admin.refused", "{request}",
        "Requests that the admin plane refused: their host was not ours, they had no token, or another site's page sent them.";
    ADMIN_CONNECTIONS_REFUSED: "pellucid_admin_connections_refused_total", "pellucid.admin.connections_refused", "{connection}",
        "Connections to the admin plane that were closed at once, because there were too many already.";
    BUILD_INFO: "pellucid_build_info", "pellucid.build.info", "{build}",
        "Always 1; the version is in the label.";
}

/// The OpenTelemetry name of a metric label.
pub(crate) fn dotted(label: &'static str) -> &'static str {
    match label {
        LABEL_METHOD => HTTP_REQUEST_METHOD,
        LABEL_HTTP_ROUTE => HTTP_ROUTE,
        LABEL_STATUS => HTTP_RESPONSE_STATUS_CODE,
        LABEL_SCHEME => URL_SCHEME,
        LABEL_VERSION => NETWORK_PROTOCOL_VERSION,
        LABEL_ERROR => ERROR_TYPE,
        LABEL_SERVER_ADDRESS => SERVER_ADDRESS,
        LABEL_SERVER_PORT => SERVER_PORT,
        LABEL_UPSTREAM => PELLUCID_UPSTREAM,
        LABEL_ROUTE => PELLUCID_ROUTE,
        other => other,
    }
}
