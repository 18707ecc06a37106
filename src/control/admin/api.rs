//! `/api/v1`: what is going on, as JSON.
//!
//! In: queries. Out: the shapes that the contract names. A query that cannot be read is a 400 that says what was expected.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use crate::base::clock::rfc3339;
use crate::base::ids::TraceId;
use crate::base::limits::RECENT_RECORDS_MAX;
use crate::control::config::trace_url::Linked;
use crate::control::explain;
use crate::control::history::{Outcome, Trigger};
use crate::telemetry::process::query::{Bad, Query as Search};
use crate::telemetry::process::recent::Filter;
use crate::telemetry::process::whole::RequestId;

/// A query, or why it cannot be read.
pub(super) type Asked<Q> = Result<Query<Q>, axum::extract::rejection::QueryRejection>;

/// Requests that are shown where no limit is given.
const REQUESTS_DEFAULT: usize = 100;

pub(super) async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or draining\n") }
}

pub(super) async fn config(State(admin): State<Admin>) -> Json<Value> {
    let now = admin.control.clock.wall_offset() + admin.control.clock.now().0;
    let reloads = admin.control.history();
    let current = admin.control.current();
    Json(json!({
        "generation": current.generation,
        "loaded": rfc3339(current.loaded_unix_nanos),
        "age_seconds": now.saturating_sub(current.loaded_unix_nanos) as f64 / 1e9,
        "reloads": reloads,
        "source": admin.control.source.name(),
        "config": current.config,
    }))
}

pub(super) async fn routes(State(admin): State<Admin>) -> Json<Value> {
    let current = admin.control.current();
    let routes: Vec<_> = current.routes.iter().map(|route| json!(route.source)).collect();
    Json(json!({ "generation": current.generation, "routes": routes }))
}

pub(super) async fn upstreams(State(admin): State<Admin>) -> Json<Value> {
    use std::sync::atomic::Ordering::Relaxed;
    let current = admin.control.current();
    let upstreams: Vec<_> = current
        .upstreams
        .iter()
        .map(|upstream| {
            let endpoints: Vec<_> = upstream
                .endpoints
                .iter()
                .zip(&upstream.weights)
                .map(|(endpoint, weight)| {
                    let (connections, idle) = (endpoint.connections(), endpoint.idle());
                    json!({
                        "address": endpoint.authority.to_str().unwrap_or_default(),
                        "weight": weight,
                        "state": if *weight == 0 { "off" } else { "active" },
                        "connections": connections,
                        "idle": idle,
                        "in_flight": connections.saturating_sub(idle),
                        "connects": endpoint.connects.load(Relaxed),
                        "connect_failures": endpoint.connect_failures.load(Relaxed),
                    })
                })
                .collect();
            json!({ "name": upstream.name, "pending": upstream.pending(), "endpoints": endpoints })
        })
        .collect();
    Json(json!({ "upstreams": upstreams }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestsQuery {
    limit: Option<String>,
    route: Option<String>,
    status: Option<String>,
    min_ms: Option<String>,
    trace_id: Option<String>,
    q: Option<String>,
    before: Option<String>,
}

pub(super) async fn requests(State(admin): State<Admin>, query: Asked<RequestsQuery>) -> Response {
    match filter_in(query) {
        Ok(filter) => looked_up(admin.telemetry.recent(filter).await),
        Err(bad) => bad.into_response(),
    }
}

/// What all of this answers, for machines.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// How long the requests took that a query finds.
pub(super) async fn histogram(State(admin): State<Admin>, query: Asked<RequestsQuery>) -> Response {
    match filter_in(query) {
        Ok(filter) => looked_up(admin.telemetry.durations(filter).await),
        Err(bad) => bad.into_response(),
    }
}

/// One request whole.
pub(super) async fn request(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Some(known) = RequestId::parse(&id) else {
        return bad_query(&format!("found the id `{id}`, expected one as /api/v1/requests gives it"));
    };
    match admin.telemetry.whole(known).await {
        None => looked_up(None),
        Some(Some(mut body)) => {
            body["trace_url"] = json!(trace_url(&admin, &body["request"]));
            Json(body).into_response()
        }
        Some(None) => {
            let message = format!("the request {id} is not, or no longer, among the last {RECENT_RECORDS_MAX}");
            (StatusCode::NOT_FOUND, Json(json!({ "error": "no_such_request", "message": message }))).into_response()
        }
    }
}

/// Where a trace store shows the trace of this request, if its spans were exported.
fn trace_url(admin: &Admin, request: &Value) -> Option<String> {
    let current = admin.control.current();
    let template = current.config.admin.trace_url.as_ref().filter(|_| request["kept"] == true)?;
    let begin_ms = request["began_ms"].as_u64()?;
    let end_ms = begin_ms + request["duration_ms"].as_f64()?.ceil() as u64 + 1;
    let (trace_id, span_id) = (request["trace_id"].as_str()?, request["span_id"].as_str()?);
    Some(template.link(Linked { trace_id, span_id, begin_ms, end_ms }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowQuery {
    window: Option<String>,
    span: Option<String>,
    route: Option<String>,
}

/// Seconds that a window may be long.
const WINDOW_SECONDS: std::ops::RangeInclusive<u32> = 5..=3600;

fn seconds(name: &str, text: Option<&str>, default: u32) -> Result<u32, String> {
    let Some(text) = text else { return Ok(default) };
    let expected = || format!("{name}: found `{text}`, expected seconds from {} to {}", WINDOW_SECONDS.start(), WINDOW_SECONDS.end());
    text.parse().ok().filter(|seconds| WINDOW_SECONDS.contains(seconds)).ok_or_else(expected)
}

/// Rates, errors and times by route, and what changed.
pub(super) async fn overview(State(admin): State<Admin>, query: Asked<WindowQuery>) -> Response {
    match read(query).and_then(|query| seconds("window", query.window.as_deref(), 60)) {
        Ok(window) => looked_up(admin.telemetry.overview(window).await),
        Err(message) => bad_query(&message),
    }
}

/// The same over time.
pub(super) async fn history(State(admin): State<Admin>, query: Asked<WindowQuery>) -> Response {
    match read(query).and_then(|query| Ok((seconds("span", query.span.as_deref(), 3600)?, query.route))) {
        Ok((span, route)) => looked_up(admin.telemetry.over_time(route, span).await),
        Err(message) => bad_query(&message),
    }
}

/// Clients, routes, upstreams and endpoints, and what goes between them.
pub(super) async fn topology(State(admin): State<Admin>, query: Asked<WindowQuery>) -> Response {
    match read(query).and_then(|query| seconds("window", query.window.as_deref(), 300)) {
        Ok(window) => looked_up(admin.telemetry.topology(window).await),
        Err(message) => bad_query(&message),
    }
}

/// The query, or what is wrong with it.
pub(super) fn read<Q>(query: Asked<Q>) -> Result<Q, String> {
    query.map(|Query(query)| query).map_err(|rejection| rejection.body_text())
}

pub(super) fn bad_query(message: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": "bad_query", "message": message }))).into_response()
}

fn looked_up(body: Option<Value>) -> Response {
    match body {
        Some(body) => Json(body).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "busy", "message": "too many questions wait already" })))
            .into_response(),
    }
}

/// Why a query finds nothing but a mistake.
#[derive(Debug)]
pub(super) struct BadQuery {
    message: String,
    /// Characters of `q` before the mistake, where it is in `q`.
    at: Option<usize>,
}

impl From<String> for BadQuery {
    fn from(message: String) -> Self {
        BadQuery { message, at: None }
    }
}

impl IntoResponse for BadQuery {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": "bad_query", "message": self.message });
        if let Some(at) = self.at {
            body["at"] = at.into();
        }
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}

/// Which requests are asked for.
pub(super) fn filter_in(query: Asked<RequestsQuery>) -> Result<Filter, BadQuery> {
    filter_of(read(query)?)
}

fn filter_of(query: RequestsQuery) -> Result<Filter, BadQuery> {
    let bad = |name: &str, found: &str, expected: &str| format!("{name}: found `{found}`, expected {expected}");
    let limit = match &query.limit {
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=RECENT_RECORDS_MAX).contains(limit))
            .ok_or_else(|| bad("limit", text, &format!("a number from 1 to {RECENT_RECORDS_MAX}")))?,
        None => REQUESTS_DEFAULT,
    };
    let status = match &query.status {
        Some(text) => Some(status_range(text).ok_or_else(|| bad("status", text, "a status such as 503, or a class such as 5xx"))?),
        None => None,
    };
    let min_ms = match &query.min_ms {
        Some(text) => Some(text.parse::<f64>().ok().filter(|least| least.is_finite()).ok_or_else(|| bad("min_ms", text, "milliseconds"))?),
        None => None,
    };
    let trace_id = match &query.trace_id {
        Some(text) => {
            Some(TraceId::from_hex(text.to_ascii_lowercase().as_bytes()).ok_or_else(|| bad("trace_id", text, "32 hexadecimal digits"))?)
        }
        None => None,
    };
    let search = query.q.as_deref().filter(|text| !text.trim().is_empty()).map(|text| Search::parse(text).map_err(bad_search));
    let before =
        query.before.as_deref().map(|id| RequestId::parse(id).ok_or_else(|| bad("before", id, "an id as /api/v1/requests gives it")));
    Ok(Filter {
        limit,
        route: query.route.filter(|route| !route.is_empty()),
        status,
        min_ms,
        trace_id,
        query: search.transpose()?,
        before: before.transpose()?,
    })
}

fn bad_search(bad: Bad) -> BadQuery {
    BadQuery { message: format!("q: at character {}: {}", bad.at + 1, bad.message), at: Some(bad.at) }
}

fn status_range(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let status = text.parse().ok().filter(|status| (100..600).contains(status))?;
    Some((status, status))
}

#[derive(Deserialize)]
pub(super) struct ExplainQuery {
    method: Option<String>,
    url: String,
}

/// Which route takes a request, and why. Headers are `header=name:value`, as often as needed.
pub(super) async fn explain(
    State(admin): State<Admin>,
    query: Asked<ExplainQuery>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return bad_query(&rejection.body_text()),
    };
    let headers: Vec<String> = pairs.into_iter().filter(|(name, _)| name == "header").map(|(_, value)| value).collect();
    let question = explain::Question::new(query.method.as_deref().unwrap_or("GET"), &query.url, &headers);
    let question = match question {
        Ok(question) => question,
        Err(message) => return bad_query(&message),
    };
    let (snapshot, current) = (admin.control.published.load_full(), admin.control.current());
    if snapshot.routes.len() != current.routes.len() {
        return looked_up(None);
    }
    let explained = explain::Explained { snapshot: &snapshot, routes: &current.routes, upstreams: &current.upstreams };
    let (text, route) = explain::explain(&explained, &question);
    Json(json!({ "matched": route.is_some(), "route": route, "text": text })).into_response()
}

pub(super) async fn reload(State(admin): State<Admin>) -> Response {
    match admin.reload(Trigger::Api).await {
        Ok(applied) => {
            let result = if applied.diff.is_empty() { Outcome::Unchanged } else { Outcome::Applied };
            let body = json!({ "reloaded": true, "result": result, "generation": applied.generation, "diff": applied.diff });
            Json(body).into_response()
        }
        Err(refused) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "reloaded": false, "errors": refused.lines() }))).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(status: &str, limit: &str) -> RequestsQuery {
        RequestsQuery {
            limit: Some(limit.to_owned()),
            route: None,
            status: Some(status.to_owned()),
            min_ms: None,
            trace_id: None,
            q: None,
            before: None,
        }
    }

    #[test]
    fn a_query_is_read_or_refused_with_what_was_expected() {
        assert_eq!(filter_of(query("5xx", "3")).unwrap().status, Some((500, 599)));
        assert_eq!(filter_of(query("404", "3")).unwrap().status, Some((404, 404)));
        assert!(filter_of(query("9xx", "3")).unwrap_err().message.contains("expected a status"));
        let bad = filter_of(query("404", "0")).unwrap_err();
        assert!(bad.message.contains("limit") && bad.at.is_none(), "{bad:?}");
    }

    #[test]
    fn a_mistake_in_a_filter_is_told_with_its_place_in_characters() {
        let asked = RequestsQuery { q: Some("path:/é status:x".to_owned()), ..query("404", "3") };
        let bad = filter_of(asked).unwrap_err();
        let at = bad.at.unwrap();
        assert_eq!("path:/é status:x".chars().nth(at), Some('x'), "{bad:?}");
        assert!(bad.message.starts_with(&format!("q: at character {}: ", at + 1)), "{bad:?}");
        assert_eq!(bad.into_response().status(), StatusCode::BAD_REQUEST);
    }
}
