//! `/api/v1/requests/{id}` and `/api/v1/explain`: one request, one that was answered or one that might be asked.
//!
//! In: an id; a method, a URL and headers. Out: all that is known of that request; which route would take the other. Not here: lists of
//! requests (`api`), and what is told (`telemetry::process::whole`, `control::explain`).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Admin;
use super::api::{Given, bad_query, looked_up, refusal};
use crate::base::limits::RECENT_RECORDS_MAX;
use crate::control::explain::{self, Explained, Question};
use crate::telemetry::process::whole::{Linked, RequestId, TraceLink};

/// One request whole.
pub(super) async fn request(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Some(known) = RequestId::parse(&id) else {
        return bad_query(&format!("found the id `{id}`, expected one as /api/v1/requests gives it"));
    };
    match admin.telemetry.whole(known, trace_link(&admin)).await {
        None => looked_up(None),
        Some(Some(body)) => Json(body).into_response(),
        Some(None) => {
            let message = format!(
                "the request {id} is not, or no longer, remembered: the last {RECENT_RECORDS_MAX} are, and some that failed or were slow"
            );
            refusal(StatusCode::NOT_FOUND, "no_such_request", &message)
        }
    }
}

/// How the configuration in force links to traces.
fn trace_link(admin: &Admin) -> Option<Box<TraceLink>> {
    let template = admin.control.current().config.admin.trace_url.clone()?;
    Some(Box::new(move |linked: Linked<'_>| template.link(linked)))
}

/// Which route takes a request, and why. Headers are `header=name:value`, as often as needed.
pub(super) async fn explain(State(admin): State<Admin>, given: Given) -> Response {
    let headers: Vec<String> = given.all("header").map(str::to_owned).collect();
    match Question::new(given.get("method").unwrap_or("GET"), given.get("url").unwrap_or_default(), &headers) {
        Ok(question) => explained(&admin, &question),
        Err(message) => bad_query(&message),
    }
}

fn explained(admin: &Admin, question: &Question) -> Response {
    let current = admin.control.current();
    let explained = Explained {
        snapshot: &current.snapshot,
        routes: &current.routes,
        upstreams: &current.upstreams,
        listeners: &current.listeners,
        clock: &admin.control.clock,
    };
    let (text, route) = explain::explain(&explained, question);
    Json(json!({ "matched": route.is_some(), "route": route, "text": text })).into_response()
}
