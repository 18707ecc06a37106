//! The admin plane: an axum router on a listener of its own.
//!
//! In: the control plane's state. Out: health, metrics, the API as JSON, profiles. It reads; only `reload` changes anything. Loopback unless
//! configured otherwise, and behind a token where one is configured. Not here: requests of clients.

mod accounts;
mod api;
mod console;
mod debug;
mod guard;
mod live;
mod lookup;
mod exposition;
mod machine;
mod serve;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};

use super::history::Trigger;
use super::profiling::Profiling;
use super::swap::{Applied, Control, Refused};
use crate::telemetry::export::metrics::Family;
use crate::telemetry::process::Telemetry;
use crate::telemetry::record::polls::Polls;

pub(crate) use serve::serve;

/// What the admin plane shows.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) control: Arc<Control>,
    pub(crate) telemetry: Telemetry,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) profiling: Arc<Profiling>,
    /// One a worker.
    pub(crate) polls: Arc<[Arc<Polls>]>,
    /// Only this machine reaches the admin plane.
    pub(crate) is_local: bool,
}

pub(crate) fn router(admin: Admin) -> Router {
    guard::warn_if_open(&admin);
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(api::ready))
        .route("/metrics", get(exposition::metrics))
        .route("/api/v1/config", get(api::config))
        .route("/api/v1/routes", get(api::routes))
        .route("/api/v1/upstreams", get(api::upstreams))
        .route("/api/v1/requests", get(api::requests))
        .route("/api/v1/requests/histogram", get(api::histogram))
        .route("/api/v1/requests/{id}", get(lookup::request))
        .route("/api/v1/overview", get(api::overview))
        .route("/api/v1/history", get(api::history))
        .route("/api/v1/topology", get(api::topology))
        .route("/api/v1/telemetry", get(accounts::telemetry))
        .route("/api/v1/reload", post(api::reload))
        .route("/api/v1/live", get(live::live))
        .route("/api/v1/explain", get(lookup::explain))
        .route("/api/v1/openapi.json", get(api::openapi))
        .route("/console", get(console::to_index))
        .route("/console/", get(console::index))
        .route("/console/{*file}", get(console::file))
        .route_layer(middleware::from_fn(api::known))
        .merge(debug::router(admin.clone()))
        .fallback(api::no_such_page)
        .method_not_allowed_fallback(api::wrong_method)
        .layer(middleware::from_fn_with_state(admin.clone(), guard::guard))
        .layer(middleware::map_response(as_declared))
        .with_state(admin)
}

/// Lets no browser take an answer for something else than what it says it is: what strangers sent stands in some of them.
async fn as_declared(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn index() -> &'static str {
    "Pellucid admin\n\n\
     /healthz              alive\n\
     /readyz               ready for traffic\n\
     /metrics              Prometheus text; OpenMetrics with exemplars on request\n\
     /api/v1/config        the configuration in force, secrets hidden\n\
     /api/v1/routes        routes\n\
     /api/v1/upstreams     upstreams and their endpoints\n\
     /api/v1/requests      recent requests: ?limit=&route=&status=&min_ms=&trace_id=\n\
     /api/v1/telemetry     what became of every span, metric point and log line, how exports go, who uses the series\n\
     /api/v1/overview      rates, errors, times by route, and what changed: ?window=\n\
     /api/v1/history       the same over the last hour: ?route=&span=\n\
     /api/v1/topology      who asks whom: ?window=\n\
     /api/v1/live          server-sent events: ?q=\n\
     /api/v1/explain       which route takes a request: ?url=&method=&header=\n\
     /api/v1/openapi.json  all of it, described\n\
     POST /api/v1/reload   read the configuration again\n\
     /console/             all of this as a page\n\
     /debug/pprof/         profiles, for go tool pprof and for browsers\n"
}

impl Admin {
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// `/debug/` is served: as the configuration in force says, or where only this machine can ask.
    fn serves_debug(&self) -> bool {
        self.control.current().config.admin.debug.unwrap_or(self.is_local)
    }

    /// Reloads off this thread, and tells telemetry what is new.
    pub(crate) async fn reload(&self, trigger: Trigger) -> Result<Applied, Refused> {
        let control = Arc::clone(&self.control);
        let joined = tokio::task::spawn_blocking(move || control.reload(trigger)).await;
        let applied = joined.unwrap_or_else(|_| Err(Refused::Unreadable("the reload broke down".to_owned())))?;
        self.telemetry.set_keep(applied.telemetry.keep.clone());
        self.profiling.apply(applied.telemetry.profiles);
        if applied.diff.other.contains(&"admin") {
            guard::warn_if_open(self);
        }
        Ok(applied)
    }

    /// All metrics of the process but `process_*`.
    pub(crate) async fn families(&self) -> Vec<Family> {
        let mut families = self.telemetry.metrics().await;
        families.extend(exposition::control_families(&self.control));
        families.extend(tokio::task::spawn_blocking(machine::families).await.unwrap_or_default());
        families
    }
}
