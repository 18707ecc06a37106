//! `/api/v1`: what is going on, as JSON.
//!
//! In: queries. Out: the shapes that the contract names. A query that cannot be read is a 400 that says what was expected, and so is one with a
//! parameter that its page does not know. Not here: who may ask (`guard`).

use std::convert::Infallible;

use axum::Json;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Admin;
use crate::base::clock::rfc3339;
use crate::base::ids::TraceId;
use crate::base::limits::RECENT_RECORDS_MAX;
use crate::control::history::{Outcome, Trigger};
use crate::telemetry::process::query::{Bad, Query as Search};
use crate::telemetry::process::recent::Filter;
use crate::telemetry::process::whole::RequestId;

/// Requests that are shown where no limit is given.
const REQUESTS_DEFAULT: usize = 100;

/// Where all of this is, and the beginning of its pages.
const ROOT: &str = "/api/";
const VERSION: &str = "/api/v1/";

/// The parameters that each page knows; the pages that are not here know none.
const KNOWN: [(&str, &[&str]); 7] = [
    ("overview", &["window"]),
    ("history", &["route", "span", "step"]),
    ("topology", &["window"]),
    ("requests", &["limit", "route", "status", "min_ms", "trace_id", "q", "before"]),
    ("requests/histogram", &["route", "status", "min_ms", "trace_id", "q", "before"]),
    ("live", &["route", "status", "min_ms", "trace_id", "q"]),
    ("explain", &["method", "url", "header"]),
];
/// A page with a parameter that may come more than once, and one with a parameter that it cannot do without.
const REPEATED: (&str, &str) = ("explain", "header");
const REQUIRED: (&str, &str) = ("explain", "url");

/// The parameters of a query, each at most once where [`known`] has let them pass.
pub(super) struct Given(Vec<(String, String)>);

impl Given {
    fn of(uri: &Uri) -> Self {
        // Pairs of texts can be made of any query.
        Given(Query::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// What a page cannot take of it.
    fn check(&self, page: &str) -> Result<(), String> {
        let known: &[&str] = KNOWN.iter().find(|(name, _)| *name == page).map(|(_, known)| *known).unwrap_or_default();
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let expected = if known.is_empty() { "none".to_owned() } else { format!("one of {}", known.join(", ")) };
                return Err(format!("found the parameter `{name}`, expected {expected}"));
            }
            if (page, name.as_str()) != REPEATED && self.0[..index].iter().any(|(before, _)| before == name) {
                return Err(format!("found `{name}` twice, expected it once"));
            }
        }
        let (needy, required) = REQUIRED;
        if page == needy && self.get(required).is_none() {
            return Err(format!("found no `{required}`, expected it once"));
        }
        Ok(())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Given {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Given::of(&parts.uri))
    }
}

/// Lets through what a page can take: a parameter that does nothing would let its sender believe that it did.
pub(super) async fn known(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let checked = uri.path().strip_prefix(VERSION).map(|page| Given::of(uri).check(page));
    match checked {
        Some(Err(message)) => bad_query(&message),
        _ => next.run(request).await,
    }
}

/// For a path that leads nowhere.
pub(super) async fn no_such_page(uri: Uri) -> Response {
    if uri.path().starts_with(ROOT) {
        let message = format!("found {}, expected a page that {VERSION}openapi.json names", uri.path());
        return refusal(StatusCode::NOT_FOUND, "no_such_page", &message);
    }
    (StatusCode::NOT_FOUND, "no such page; / lists what there is\n").into_response()
}

/// For a page that takes other methods, which `Allow` names.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("found the method {method}, expected one that `Allow` names");
    if uri.path().starts_with(ROOT) {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", &message);
    }
    (StatusCode::METHOD_NOT_ALLOWED, format!("{message}\n")).into_response()
}

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

pub(super) async fn requests(State(admin): State<Admin>, given: Given) -> Response {
    match filter_in(&given) {
        Ok(filter) => looked_up(admin.telemetry.recent(filter).await),
        Err(bad) => bad.into_response(),
    }
}

/// What all of this answers, for machines.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// How long the requests took that a query finds.
pub(super) async fn histogram(State(admin): State<Admin>, given: Given) -> Response {
    match filter_in(&given) {
        Ok(filter) => looked_up(admin.telemetry.durations(filter).await),
        Err(bad) => bad.into_response(),
    }
}

/// Seconds that a window may be long.
const WINDOW_SECONDS: std::ops::RangeInclusive<u32> = 5..=3600;

fn seconds(name: &str, text: Option<&str>, default: u32) -> Result<u32, String> {
    let Some(text) = text else { return Ok(default) };
    let expected = || format!("{name}: found `{text}`, expected seconds from {} to {}", WINDOW_SECONDS.start(), WINDOW_SECONDS.end());
    text.parse().ok().filter(|seconds| WINDOW_SECONDS.contains(seconds)).ok_or_else(expected)
}

/// The one length of a history's steps; without, fine ones follow coarse ones.
fn step_seconds(text: Option<&str>) -> Result<Option<u32>, String> {
    match text {
        None => Ok(None),
        Some("1") => Ok(Some(1)),
        Some("10") => Ok(Some(10)),
        Some(found) => Err(format!("step: found `{found}`, expected seconds, 1 or 10")),
    }
}

/// Rates, errors and times by route, and what changed.
pub(super) async fn overview(State(admin): State<Admin>, given: Given) -> Response {
    match seconds("window", given.get("window"), 60) {
        Ok(window) => looked_up(admin.telemetry.overview(window).await),
        Err(message) => bad_query(&message),
    }
}

/// The same over time.
pub(super) async fn history(State(admin): State<Admin>, given: Given) -> Response {
    let asked = seconds("span", given.get("span"), 3600).and_then(|span| Ok((span, step_seconds(given.get("step"))?)));
    match asked {
        Ok((span, step)) => looked_up(admin.telemetry.over_time(given.get("route").map(str::to_owned), span, step).await),
        Err(message) => bad_query(&message),
    }
}

/// Clients, routes, upstreams and endpoints, and what goes between them.
pub(super) async fn topology(State(admin): State<Admin>, given: Given) -> Response {
    match seconds("window", given.get("window"), 300) {
        Ok(window) => looked_up(admin.telemetry.topology(window).await),
        Err(message) => bad_query(&message),
    }
}

pub(super) fn bad_query(message: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "bad_query", message)
}

/// What every error of these pages looks like.
pub(super) fn refusal(status: StatusCode, error: &str, message: &str) -> Response {
    (status, Json(json!({ "error": error, "message": message }))).into_response()
}

pub(super) fn looked_up(body: Option<Value>) -> Response {
    match body {
        Some(body) => Json(body).into_response(),
        None => refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many questions wait already"),
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
pub(super) fn filter_in(given: &Given) -> Result<Filter, BadQuery> {
    let bad = |name: &str, found: &str, expected: &str| format!("{name}: found `{found}`, expected {expected}");
    let limit = match given.get("limit") {
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=RECENT_RECORDS_MAX).contains(limit))
            .ok_or_else(|| bad("limit", text, &format!("a number from 1 to {RECENT_RECORDS_MAX}")))?,
        None => REQUESTS_DEFAULT,
    };
    let status = match given.get("status") {
        Some(text) => Some(status_range(text).ok_or_else(|| bad("status", text, "a status such as 503, or a class such as 5xx"))?),
        None => None,
    };
    let min_ms = match given.get("min_ms") {
        Some(text) => Some(text.parse::<f64>().ok().filter(|least| least.is_finite()).ok_or_else(|| bad("min_ms", text, "milliseconds"))?),
        None => None,
    };
    let trace_id = match given.get("trace_id") {
        Some(text) => {
            Some(TraceId::from_hex(text.to_ascii_lowercase().as_bytes()).ok_or_else(|| bad("trace_id", text, "32 hexadecimal digits"))?)
        }
        None => None,
    };
    let search = given.get("q").filter(|text| !text.trim().is_empty()).map(|text| Search::parse(text).map_err(bad_search));
    let before = given.get("before").map(|id| RequestId::parse(id).ok_or_else(|| bad("before", id, "an id as /api/v1/requests gives it")));
    Ok(Filter {
        limit,
        route: given.get("route").filter(|route| !route.is_empty()).map(str::to_owned),
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

pub(super) async fn reload(State(admin): State<Admin>) -> Response {
    match admin.reload(Trigger::Api).await {
        Ok(applied) => {
            let result = if applied.diff.is_empty() { Outcome::Unchanged } else { Outcome::Applied };
            let body = json!({ "reloaded": true, "result": result, "generation": applied.generation, "diff": applied.diff });
            Json(body).into_response()
        }
        Err(refused) => {
            let errors = refused.lines();
            let message = format!("the configuration in force stays: {}", errors.join("; "));
            let body = json!({ "reloaded": false, "error": "refused", "message": message, "errors": errors });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(query: &str) -> Given {
        Given::of(&format!("/?{query}").parse().unwrap())
    }

    fn filter(query: &str) -> Result<Filter, BadQuery> {
        filter_in(&given(query))
    }

    #[test]
    fn a_query_is_read_or_refused_with_what_was_expected() {
        assert_eq!(filter("status=5xx&limit=3").unwrap().status, Some((500, 599)));
        assert_eq!(filter("status=404").unwrap().status, Some((404, 404)));
        assert!(filter("status=9xx").unwrap_err().message.contains("expected a status"));
        let bad = filter("status=404&limit=0").unwrap_err();
        assert!(bad.message.contains("limit") && bad.at.is_none(), "{bad:?}");
    }

    #[test]
    fn a_mistake_in_a_filter_is_told_with_its_place_in_characters() {
        let bad = filter("q=path:/%C3%A9+status:x").unwrap_err();
        let at = bad.at.unwrap();
        assert_eq!("path:/é status:x".chars().nth(at), Some('x'), "{bad:?}");
        assert!(bad.message.starts_with(&format!("q: at character {}: ", at + 1)), "{bad:?}");
        assert_eq!(bad.into_response().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_page_takes_the_parameters_that_it_knows_and_each_once() {
        for (page, query) in [
            ("overview", "window=60"),
            ("history", "route=a&span=60"),
            ("requests", "limit=1&q=a&before="),
            ("explain", "url=/&header=a:b&header=c:d&method=GET"),
            ("config", ""),
            ("requests/1-2", "&&"),
        ] {
            assert_eq!(given(query).check(page), Ok(()), "{page}?{query}");
        }
        for (page, query, expected) in [
            ("overview", "span=60", "found the parameter `span`, expected one of window"),
            ("topology", "window=60&window=60", "found `window` twice, expected it once"),
            ("requests/histogram", "limit=1", "found the parameter `limit`, expected one of route, status, min_ms, trace_id, q, before"),
            ("live", "before=1-2", "found the parameter `before`, expected one of route, status, min_ms, trace_id, q"),
            ("explain", "url=/&url=/", "found `url` twice, expected it once"),
            ("explain", "header=a:b", "found no `url`, expected it once"),
            ("config", "x", "found the parameter `x`, expected none"),
            ("requests/1-2", "q=a", "found the parameter `q`, expected none"),
        ] {
            assert_eq!(given(query).check(page), Err(expected.to_owned()), "{page}?{query}");
        }
    }
}
