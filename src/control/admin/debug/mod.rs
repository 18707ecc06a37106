//! `/debug/pprof/`: the pages of Go's `net/http/pprof`, and more.
//!
//! In: a query. Out: profiles as pprof, text or SVG. Off unless the admin plane is on loopback or its `debug` switch says otherwise; every use
//! is logged; so many may run at once. Not here: taking samples (`telemetry::profile`).

mod query;
mod cpu;
mod live;
mod memory;
mod process;
mod waits;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use super::Admin;
use crate::telemetry::export::profile::{pprof, text};
use crate::telemetry::profile::Profile;
use crate::telemetry::profile::profiler::Profiler;
use crate::telemetry::profile::refusal::NoProfile;
use query::Ask;

/// Requests that are answered at once; each may hold a profile.
const DEBUG_REQUESTS_MAX: usize = 32;

const PAGES: [(&str, &str); 11] = [
    (
        "profile?seconds=10",
        "CPU: what every thread executes, with the request it works for. seconds (30), hz (99), route, upstream, trace_id, ago",
    ),
    ("flamegraph?seconds=5", "the same as an interactive picture. Also diff=ago:SECONDS or diff=route:NAME, by=thread|route|phase"),
    ("heap", "memory in use, by who allocated it. The first call switches sampling on; seconds: the difference over that time"),
    ("allocs", "all that was allocated since sampling was switched on"),
    ("goroutine?debug=1", "requests in flight: at what they are, what they wait for, since when. debug=2: each by itself"),
    ("threadcreate?debug=1", "the threads of the process"),
    ("block?debug=1", "polls of requests that blocked their worker, with their stacks"),
    ("mutex?debug=1", "waits for locks, with their stacks"),
    ("trace?seconds=5", "requests and polls on a timeline; open it in Perfetto"),
    ("cmdline", "the command line"),
    ("symbol", "names of addresses"),
];

pub(super) fn router(admin: Admin) -> Router<Admin> {
    let room = Arc::new(Semaphore::new(DEBUG_REQUESTS_MAX));
    Router::new()
        .route("/debug/pprof", get(async || axum::response::Redirect::permanent("/debug/pprof/")))
        .route("/debug/pprof/", get(index))
        .route("/debug/pprof/profile", get(cpu::profile))
        .route("/debug/pprof/flamegraph", get(cpu::flamegraph))
        .route("/debug/pprof/heap", get(memory::heap))
        .route("/debug/pprof/allocs", get(memory::allocs))
        .route("/debug/pprof/goroutine", get(live::goroutine))
        .route("/debug/pprof/threadcreate", get(live::threadcreate))
        .route("/debug/pprof/block", get(waits::block))
        .route("/debug/pprof/mutex", get(waits::mutex))
        .route("/debug/pprof/trace", get(process::trace))
        .route("/debug/pprof/cmdline", get(process::cmdline))
        .route("/debug/pprof/symbol", get(process::symbol).post(process::symbols))
        .layer(middleware::from_fn_with_state((admin, room), gate))
}

/// Who may come in, and the line about it.
async fn gate(State((admin, room)): State<(Admin, Arc<Semaphore>)>, request: Request, next: Next) -> Response {
    let page = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.to_string()).unwrap_or_default();
    let mut visit = Visit { page, query, client, status: None };
    let response = if !admin.serves_debug() {
        let why = "these pages are off, because the admin plane can be reached from elsewhere: set admin.debug to true to switch them on\n";
        (StatusCode::FORBIDDEN, why).into_response()
    } else if let Ok(_permit) = room.try_acquire() {
        next.run(request).await
    } else {
        let why = format!("{DEBUG_REQUESTS_MAX} requests for profiles are being answered already; try again later\n");
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], why).into_response()
    };
    visit.status = Some(response.status().as_u16());
    response
}

/// One use of a page, which is logged however it ends.
struct Visit {
    page: String,
    query: String,
    client: String,
    /// None where the client left before there was an answer.
    status: Option<u16>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Visit { page, query, client, status } = self;
        tracing::info!(page, query, client, status, "a debug page was asked for");
    }
}

async fn index() -> Html<String> {
    let row = |(page, about): &(&str, &str)| {
        let name = page.split('?').next().unwrap_or(page);
        format!("<tr><td><a href=\"{page}\">{name}</a></td><td>{about}</td></tr>\n")
    };
    let rows: String = PAGES.iter().map(row).collect();
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>/debug/pprof/</title></head>\n<body>\n\
         <h1>/debug/pprof/</h1>\n<table>\n{rows}</table>\n\
         <p>Such as: <code>go tool pprof http://ADDRESS/debug/pprof/profile?seconds=10</code></p>\n</body></html>\n"
    ))
}

impl FromRequestParts<Admin> for Ask {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Response> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, admin).await;
        let pairs = pairs.map_err(|rejection| refuse(StatusCode::BAD_REQUEST, &rejection.body_text()))?;
        let page = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let ask = Ask::parse(&page, &pairs.0, Profiler::of_process().unix_nanos());
        ask.and_then(|ask| ask.with_known_names(&admin.control.legends)).map_err(|why| refuse(StatusCode::BAD_REQUEST, &why))
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    // Go's tools print what stands here.
    (status, [("x-go-pprof", "1")], format!("{why}\n")).into_response()
}

fn no_profile(why: &NoProfile) -> Response {
    let status = match why {
        NoProfile::Unavailable(_) => StatusCode::NOT_IMPLEMENTED,
        NoProfile::NotContinuous | NoProfile::Forgotten(_) => StatusCode::CONFLICT,
    };
    refuse(status, &why.to_string())
}

/// A profile as protobuf, or as text where `debug` asks for it.
fn answer(profile: &Profile, name: &str, debug: u8) -> Response {
    if debug > 0 {
        return plain(text::legacy(profile, &format!("{name} profile")));
    }
    let disposition = format!("attachment; filename=\"{name}.pb.gz\"");
    ([(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, disposition)], pprof::encode(profile))
        .into_response()
}

fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Work that reads files or takes long, off the control plane's one thread.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Response> {
    let broke = |_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "the profile could not be put together; the log says why");
    tokio::task::spawn_blocking(work).await.map_err(broke)
}
