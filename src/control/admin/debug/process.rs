//! `trace`, `cmdline` and `symbol`: the process's timeline, how it was started, and the names of its code.
//!
//! In: a length of time, or addresses. Out: trace events for Perfetto, and what Go's tools expect of the other two. Not here: samples.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::Admin;
use super::query::Ask;
use super::{aside, plain, refuse};
use crate::telemetry::profile::profiler::Profiler;

/// As long as Go's.
const TRACE_LENGTH: Duration = Duration::from_secs(1);
/// Addresses in one question.
const SYMBOLS_MAX: usize = 10_000;

pub(super) async fn trace(State(admin): State<Admin>, ask: Ask) -> Result<Response, Response> {
    let Some(timeline) = admin.telemetry.timeline(ask.length.unwrap_or(TRACE_LENGTH)).await else {
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "as many timelines as there may be are being drawn already"));
    };
    let head = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"pellucid-trace.json\"".to_owned()),
    ];
    Ok((head, timeline).into_response())
}

/// Arguments, each ended by a NUL but the last.
pub(super) async fn cmdline() -> Response {
    plain(std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\0"))
}

pub(super) async fn symbol(RawQuery(query): RawQuery) -> Result<Response, Response> {
    name_all(query.unwrap_or_default()).await
}

pub(super) async fn symbols(body: String) -> Result<Response, Response> {
    name_all(body).await
}

/// `0x1234+0x5678`, as pprof asks. An empty question asks whether there are names at all.
async fn name_all(question: String) -> Result<Response, Response> {
    let mut addresses = Vec::new();
    for text in question.split('+').map(str::trim).filter(|text| !text.is_empty()) {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let Ok(address) = u64::from_str_radix(digits, 16) else {
            return Err(refuse(StatusCode::BAD_REQUEST, &format!("found `{text}`, expected addresses such as 0x1234+0x5678")));
        };
        addresses.push(address);
    }
    if addresses.len() > SYMBOLS_MAX {
        return Err(refuse(StatusCode::BAD_REQUEST, &format!("found {} addresses, expected at most {SYMBOLS_MAX}", addresses.len())));
    }
    let named = aside(move || {
        let mut symbols = Profiler::of_process().symbols();
        symbols.refresh();
        let line = |address: u64| symbols.name(address).map(|name| format!("{address:#x} {name}\n"));
        addresses.into_iter().filter_map(line).collect::<String>()
    });
    Ok(plain(format!("num_symbols: 1\n{}", named.await?)))
}
