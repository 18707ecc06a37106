//! `profile` and `flamegraph`: where the CPU time goes.
//!
//! In: which time, which requests. Out: samples with their labels, as pprof or drawn. A window that is over comes from continuous profiles.
//! Not here: names behind addresses (`telemetry::profile`), and the drawing itself.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::query::{Ask, Diff, FLAMEGRAPH_SECONDS, When, past};
use super::{answer, aside, no_profile, refuse};
use crate::base::clock::rfc3339;
use crate::telemetry::export::profile::flamegraph::{self, Drawing};
use crate::telemetry::export::profile::fold::Split;
use crate::telemetry::profile::Profile;
use crate::telemetry::profile::assemble::{PHASE, ROUTE, SPAN_ID, THREAD, TRACE_ID, Taken, UPSTREAM, Wanted};
use crate::telemetry::profile::profiler::Profiler;
use crate::telemetry::profile::refusal::NoProfile;
use crate::telemetry::sampler::Kind;

/// As long as Go's.
const PROFILE_SECONDS: u64 = 30;
/// The drawing's own script and style, which stand inside it, and nothing from anywhere. The console may frame it.
const DRAWING_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'self'";

pub(super) async fn profile(ask: Ask) -> Result<Response, Response> {
    let profiler = Profiler::of_process();
    let taken = take(Kind::Cpu, &ask, ask.when(PROFILE_SECONDS, profiler.unix_nanos()), &ask.wanted).await?;
    let profile = aside(move || profiler.profile(&taken)).await?;
    Ok(answer(&profile, "profile", ask.debug))
}

/// The samples of a window, those that are wanted.
pub(super) async fn take(kind: Kind, ask: &Ask, when: When, wanted: &Wanted) -> Result<Taken, Response> {
    let profiler = Profiler::of_process();
    let taken = match when {
        When::Coming(length) => profiler.coming(kind, ask.hz, length).await,
        When::Past { from, until } => profiler.past(kind, from, until),
    };
    let mut taken = taken.map_err(|why: NoProfile| no_profile(&why))?;
    taken.retain(wanted);
    Ok(taken)
}

pub(super) async fn flamegraph(ask: Ask) -> Result<Response, Response> {
    let profiler = Profiler::of_process();
    let now = profiler.unix_nanos();
    let when = ask.when(FLAMEGRAPH_SECONDS, now);
    let root = root(&ask).map_err(|why| refuse(StatusCode::BAD_REQUEST, &why))?;
    let after = take(Kind::Cpu, &ask, when, &ask.wanted).await?;
    let before = match &ask.diff {
        None => None,
        Some(diff) => Some(counterpart(&ask, diff, &after).await?),
    };
    let title = title(&ask);
    let svg = aside(move || {
        let subtitle = subtitle(before.as_ref(), &after);
        let after = profiler.profile(&after);
        let before = before.map(|before| profiler.profile(&before));
        draw(before.as_ref(), &after, Drawing { title: &title, subtitle: &subtitle, unit: "", root: root.map(Split) })
    });
    let svg = svg.await?.map_err(|why| refuse(StatusCode::INTERNAL_SERVER_ERROR, &why))?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml"), (header::CONTENT_SECURITY_POLICY, DRAWING_POLICY)], svg).into_response())
}

fn draw(before: Option<&Profile>, after: &Profile, drawing: Drawing<'_>) -> Result<Vec<u8>, String> {
    match before {
        None => flamegraph::draw(after, after.shown(), drawing),
        Some(before) => flamegraph::draw_difference(before, after, after.shown(), drawing),
    }
}

/// What it is compared with: the same requests at another time, or other requests at the same time.
async fn counterpart(ask: &Ask, diff: &Diff, after: &Taken) -> Result<Taken, Response> {
    let length = std::time::Duration::from_nanos(after.duration_nanos);
    let from = after.began_unix_nanos;
    let same_time = When::Past { from, until: from + after.duration_nanos };
    let coming = match ask.when(FLAMEGRAPH_SECONDS, from) {
        When::Coming(length) => Some(length),
        When::Past { .. } => None,
    };
    match diff {
        Diff::Ago(seconds) => {
            // A window that was taken on purpose is compared with what was before it.
            let now = if coming.is_some() { from } else { Profiler::of_process().unix_nanos() };
            let when = past(now, std::time::Duration::from_secs(*seconds), length);
            take(Kind::Cpu, ask, when, &ask.wanted).await
        }
        Diff::Route(route) => {
            let wanted = Wanted { route: Some(route.clone()), ..ask.wanted.clone() };
            // The time that has just passed is only remembered by continuous profiles.
            match (Profiler::of_process().continuous(), coming) {
                (None, Some(length)) => take(Kind::Cpu, ask, When::Coming(length), &wanted).await,
                _ => take(Kind::Cpu, ask, same_time, &wanted).await,
            }
        }
    }
}

fn root(ask: &Ask) -> Result<Option<&'static str>, String> {
    let keys = [THREAD, ROUTE, UPSTREAM, PHASE, TRACE_ID, SPAN_ID];
    let Some(wanted) = &ask.by else { return Ok(None) };
    match keys.into_iter().find(|key| key == wanted) {
        Some(key) => Ok(Some(key)),
        None => Err(format!("by: found `{wanted}`, expected one of {}", keys.join(", "))),
    }
}

fn title(ask: &Ask) -> String {
    let mut title = "CPU time".to_owned();
    let wanted = &ask.wanted;
    for (word, value) in [("route", &wanted.route), ("upstream", &wanted.upstream), ("trace", &wanted.trace_id), ("span", &wanted.span_id)]
    {
        if let Some(value) = value {
            title = format!("{title}, {word} {value}");
        }
    }
    match &ask.diff {
        None => title,
        Some(Diff::Ago(seconds)) => format!("{title}: compared with {seconds} s ago"),
        Some(Diff::Route(route)) => format!("{title}: compared with route {route}"),
    }
}

/// How far it can be trusted.
fn subtitle(before: Option<&Taken>, after: &Taken) -> String {
    let say = |taken: &Taken| {
        let seconds = taken.duration_nanos as f64 / 1e9;
        let mut text = format!(
            "{} samples at {} Hz of each thread's CPU time over {seconds:.1} s from {}, {} lost",
            taken.samples.len(),
            taken.hz,
            rfc3339(taken.began_unix_nanos),
            taken.lost
        );
        if taken.merged > 0 {
            text = format!("{text}, {} put together with others", taken.merged);
        }
        text
    };
    match before {
        None => say(after),
        Some(before) => format!("before: {}; after: {}", say(before), say(after)),
    }
}
