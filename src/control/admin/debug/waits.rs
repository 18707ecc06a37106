//! `block` and `mutex`: time that threads spent waiting where they should have worked.
//!
//! In: which time. Out: slow polls and waits for locks with their stacks; without a time, and without continuous profiles, the counts since the
//! process began, which have no stacks. Not here: what a request waits for without blocking its worker (`live`).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::super::Admin;
use super::query::{Ask, When};
use super::{answer, aside, cpu};
use crate::base::limits::HISTORY_SPAN;
use crate::base::lock::SITES;
use crate::telemetry::profile::profiler::Profiler;
use crate::telemetry::profile::{Line, Location, Profile, Sample, ValueType};
use crate::telemetry::sampler::Kind;

pub(super) async fn block(State(admin): State<Admin>, ask: Ask) -> Result<Response, Response> {
    let counts = || {
        let slow = |(worker, polls): (usize, &Arc<crate::telemetry::record::polls::Polls>)| {
            let (count, nanos) = polls.slow();
            (format!("slow polls of worker {worker} (no stacks: ask with seconds=N)"), count, nanos)
        };
        admin.polls.iter().enumerate().map(slow).collect()
    };
    show(Kind::Poll, "block", &ask, counts).await
}

pub(super) async fn mutex(ask: Ask) -> Result<Response, Response> {
    let counts = || {
        let waits = |site: &&crate::base::lock::Site| {
            let (count, nanos) = site.waits();
            (format!("waits for the lock {} (no stacks: ask with seconds=N)", site.name), count, nanos)
        };
        SITES.iter().map(waits).collect()
    };
    show(Kind::Lock, "mutex", &ask, counts).await
}

async fn show(kind: Kind, name: &str, ask: &Ask, counts: impl FnOnce() -> Vec<(String, u64, u64)>) -> Result<Response, Response> {
    let profiler = Profiler::of_process();
    let now = profiler.unix_nanos();
    let profile = match (ask.when(0, now), profiler.continuous()) {
        (When::Coming(length), None) if length.is_zero() => counted(counts(), now),
        (when, _) => {
            let all = When::Past { from: now.saturating_sub(HISTORY_SPAN.as_nanos() as u64), until: now };
            let when = if when == When::Coming(std::time::Duration::ZERO) { all } else { when };
            let taken = cpu::take(kind, ask, when, &ask.wanted).await?;
            aside(move || profiler.profile(&taken)).await?
        }
    };
    Ok(answer(&profile, name, ask.debug))
}

/// Counts as a profile, each under a name in place of a stack.
fn counted(counts: Vec<(String, u64, u64)>, now: u64) -> Profile {
    let counts: Vec<_> = counts.into_iter().filter(|(_, count, _)| *count > 0).collect();
    let sample = |(index, (_, count, nanos)): (usize, &(String, u64, u64))| Sample {
        stack: vec![index],
        values: vec![*count as i64, *nanos as i64],
        ..Sample::default()
    };
    let contentions = ValueType::new("contentions", "count");
    Profile {
        types: vec![contentions.clone(), ValueType::new("delay", "nanoseconds")],
        default_type: "delay".to_owned(),
        period: Some((contentions, 1)),
        began_unix_nanos: now,
        samples: counts.iter().enumerate().map(sample).collect(),
        locations: counts.iter().map(|(name, ..)| named(name)).collect(),
        ..Profile::default()
    }
}

/// A place that is no code.
pub(super) fn named(name: &str) -> Location {
    let name: Arc<str> = name.into();
    Location { lines: vec![Line { function: Arc::clone(&name), system_name: name, ..Line::default() }], ..Location::default() }
}
