//! `/metrics`, and the metrics that the control plane itself knows.
//!
//! In: an `Accept` header. Out: Prometheus text 0.0.4, or OpenMetrics 1.0 with exemplars where the scraper asks for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Admin, guard, serve};
use crate::control::swap::Control;
use crate::telemetry::export::ledger::Signal;
use crate::telemetry::export::metrics::{Family, FamilyKind};
use crate::telemetry::export::{openmetrics, prometheus};
use crate::telemetry::record::names;

pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let families = admin.families().await;
    let points: u64 = families.iter().map(Family::points).sum();
    admin.telemetry.ledger.produced(Signal::Metrics, points);
    admin.telemetry.ledger.exported(Signal::Metrics, points);
    if wants_openmetrics(&headers) {
        let text = openmetrics::encode(&families, &prometheus::process_families());
        return ([(header::CONTENT_TYPE, openmetrics::CONTENT_TYPE)], text).into_response();
    }
    match prometheus::encode(&families) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be encoded: {error}\n")).into_response(),
    }
}

/// OpenMetrics is asked for with at least the weight of plain text.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let weight = |media: &str| {
        let ranges = accept.split(',').map(str::trim).filter(|range| range.split(';').next().map(str::trim) == Some(media));
        let weight = |range: &str| range.split(';').find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        ranges.map(weight).fold(0.0, f32::max)
    };
    let openmetrics = weight("application/openmetrics-text");
    openmetrics > 0.0 && openmetrics >= weight("text/plain")
}

/// Endpoints, configuration, refusals of the admin plane and build.
pub(super) fn control_families(control: &Control) -> Vec<Family> {
    let mut connections = Family::new(&names::UPSTREAM_CONNECTIONS, FamilyKind::Gauge);
    let mut connects = Family::new(&names::UPSTREAM_CONNECTS, FamilyKind::Counter);
    let mut pending = Family::new(&names::UPSTREAM_PENDING, FamilyKind::Gauge);
    let current = control.current();
    for upstream in &current.upstreams {
        let name: Arc<str> = upstream.name.as_str().into();
        for endpoint in &upstream.endpoints {
            let labels = || {
                vec![
                    (names::LABEL_UPSTREAM, Arc::clone(&name)),
                    (names::LABEL_SERVER_ADDRESS, endpoint.host.as_str().into()),
                    (names::LABEL_SERVER_PORT, endpoint.port.to_string().into()),
                ]
            };
            connections.push(labels(), endpoint.connections() as f64);
            connects.push(labels(), endpoint.connects.load(Ordering::Relaxed) as f64);
        }
        pending.push(vec![(names::LABEL_UPSTREAM, name)], upstream.pending() as f64);
    }
    let mut reloads = Family::new(&names::CONFIG_RELOADS, FamilyKind::Counter);
    for (outcome, count) in control.reloads() {
        reloads.push(vec![(names::LABEL_OUTCOME, outcome.label().into())], count as f64);
    }
    let mut refused = Family::new(&names::ADMIN_REFUSED, FamilyKind::Counter);
    for (reason, count) in guard::refused() {
        refused.push(vec![(names::LABEL_REASON, reason.into())], count as f64);
    }
    let mut build = Family::new(&names::BUILD_INFO, FamilyKind::Gauge);
    build.push(vec![("version", env!("CARGO_PKG_VERSION").into())], 1.0);
    vec![
        connections,
        connects,
        pending,
        Family::single(&names::CONFIG_GENERATION, FamilyKind::Gauge, current.generation as f64),
        Family::single(&names::CONFIG_LOADED, FamilyKind::Gauge, current.loaded_unix_nanos as f64 / 1e9),
        reloads,
        refused,
        Family::single(&names::ADMIN_CONNECTIONS_REFUSED, FamilyKind::Counter, serve::refused() as f64),
        build,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_it_prefers() {
        let wants = |accept: &'static str| wants_openmetrics(&[(header::ACCEPT, accept.parse().unwrap())].into_iter().collect());
        assert!(!wants("*/*"));
        assert!(!wants("text/plain;version=0.0.4"));
        assert!(wants("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
        assert!(!wants("application/openmetrics-text;q=0.3,text/plain;q=0.5"));
    }
}
