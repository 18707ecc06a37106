//! `goroutine` and `threadcreate`: what is in flight, and the threads that carry it.
//!
//! In: a question to every worker. Out: each request in flight with its route, at what it is, what it waits for and since when; the threads of
//! the process. A worker that does not answer is said to be stuck. Not here: requests that are over (`/api/v1/requests`).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use tokio::sync::mpsc;

use super::super::Admin;
use super::query::Ask;
use super::waits::named;
use super::{answer, aside, plain};
use crate::base::ids::hex_text;
use crate::proxy::activity::InFlight;
use crate::proxy::listener::Order;
use crate::telemetry::profile::assemble::{PHASE, ROUTE, SPAN_ID, TRACE_ID, UPSTREAM};
use crate::telemetry::profile::profiler::Profiler;
use crate::telemetry::profile::{Label, Profile, Sample, ValueType};
use crate::telemetry::record::labels::{self, Work};
use crate::telemetry::sampler;

/// How long a worker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests that are shown.
const IN_FLIGHT_SHOWN_MAX: usize = 10_000;

/// All requests in flight, and the workers that did not answer.
struct Seen {
    requests: Vec<InFlight>,
    silent: usize,
}

pub(super) async fn goroutine(State(admin): State<Admin>, ask: Ask) -> Response {
    let mut seen = look(&admin).await;
    seen.requests.retain(|request| {
        let is = |wanted: &Option<String>, number| wanted.is_none() || wanted.as_deref() == labels::name(number).as_deref();
        let trace = ask.wanted.trace_id.as_deref();
        is(&ask.wanted.route, request.labels.route)
            && is(&ask.wanted.upstream, request.labels.upstream)
            && trace.is_none_or(|id| id == hex_text(&request.labels.trace_id.hex()))
    });
    // The one that has waited longest comes first.
    seen.requests.sort_by_key(|request| Reverse(request.age_ns));
    if ask.debug == 2 {
        return plain(text(&admin, &seen));
    }
    answer(&profile(&admin, &seen), "goroutine", ask.debug)
}

async fn look(admin: &Admin) -> Seen {
    let workers = admin.polls.len();
    let (sender, mut answers) = mpsc::channel(workers.max(1));
    admin.control.sockets().tell(|| Order::Inspect(sender.clone()));
    drop(sender);
    let mut seen = Seen { requests: Vec::new(), silent: workers };
    let timeout = tokio::time::sleep(ANSWER_TIMEOUT);
    tokio::pin!(timeout);
    loop {
        tokio::select! {
            answer = answers.recv() => match answer {
                Some(requests) => {
                    seen.silent -= 1;
                    seen.requests.extend(requests);
                }
                None => return seen,
            },
            () = &mut timeout => return seen,
        }
    }
}

/// What a request waits for, in words.
fn waits_for(request: &InFlight) -> String {
    let upstream = labels::name(request.labels.upstream);
    let upstream = upstream.as_deref().unwrap_or("an upstream");
    match request.labels.work {
        Work::Queue => format!("a free connection to {upstream}"),
        Work::Dns => format!("the address of {upstream}"),
        Work::Connect => format!("the handshake with {upstream}"),
        Work::Send => format!("{upstream} to take the request"),
        Work::Upload => "the client to send its body".to_owned(),
        Work::Wait => format!("{upstream} to answer"),
        Work::Body => format!("{upstream} to go on with its answer"),
        Work::Deliver => "the client to take the answer".to_owned(),
        Work::Tunnel => "either end of the tunnel".to_owned(),
        Work::None | Work::Head | Work::Route | Work::Filter | Work::Handler => "its worker".to_owned(),
    }
}

fn seconds(nanos: u64) -> String {
    format!("{:.3} s", nanos as f64 / 1e9)
}

fn text(admin: &Admin, seen: &Seen) -> String {
    let mut out = format!("{} requests in flight\n", seen.requests.len());
    for request in seen.requests.iter().take(IN_FLIGHT_SHOWN_MAX) {
        let labels = &request.labels;
        let route = labels::name(labels.route);
        let _ = write!(
            out,
            "\nrequest {} [{}, {}]:\n  route {}, client {}, in flight for {}\n  waits for {}, since {}\n  {} B of body received, {} B sent\n",
            hex_text(&labels.trace_id.hex()),
            labels.work.label(),
            seconds(request.waiting_ns),
            route.as_deref().unwrap_or("(none yet)"),
            request.client,
            seconds(request.age_ns),
            waits_for(request),
            seconds(request.waiting_ns),
            request.received,
            request.sent,
        );
    }
    if seen.requests.len() > IN_FLIGHT_SHOWN_MAX {
        let _ = writeln!(out, "\n… and {} more", seen.requests.len() - IN_FLIGHT_SHOWN_MAX);
    }
    if seen.silent > 0 {
        let _ = writeln!(out, "\n{}", silence(admin, seen.silent));
    }
    out
}

/// Workers that do not answer are inside a poll.
fn silence(admin: &Admin, silent: usize) -> String {
    let polling = admin.polls.iter().enumerate().filter(|(_, polls)| polls.began.load(Ordering::Relaxed) != 0);
    let which: Vec<String> = polling.map(|(worker, _)| format!("pellucid-w{worker}")).collect();
    format!("{silent} workers did not answer within {} s; inside a poll: {}", ANSWER_TIMEOUT.as_secs(), which.join(", "))
}

/// One sample a request; the stack says, from the outside in: route, at what it is, what it waits for.
fn profile(admin: &Admin, seen: &Seen) -> Profile {
    let mut profile = Profile {
        types: vec![ValueType::new("goroutine", "count"), ValueType::new("wait", "nanoseconds")],
        default_type: "goroutine".to_owned(),
        period: Some((ValueType::new("goroutine", "count"), 1)),
        began_unix_nanos: Profiler::of_process().unix_nanos(),
        ..Profile::default()
    };
    let mut places: HashMap<String, usize> = HashMap::new();
    for request in &seen.requests {
        let route = labels::name(request.labels.route);
        let frames = [
            format!("waits for {}", waits_for(request)),
            format!("phase {}", request.labels.work.label()),
            format!("route {}", route.as_deref().unwrap_or("(none yet)")),
        ];
        let stack = frames.into_iter().map(|frame| place(&mut profile, &mut places, frame)).collect();
        profile.samples.push(Sample { stack, values: vec![1, request.waiting_ns as i64], labels: labels_of(request) });
    }
    if seen.silent > 0 {
        profile.comments.push(silence(admin, seen.silent));
    }
    profile
}

fn place(profile: &mut Profile, places: &mut HashMap<String, usize>, name: String) -> usize {
    *places.entry(name).or_insert_with_key(|name| {
        profile.locations.push(named(name));
        profile.locations.len() - 1
    })
}

fn labels_of(request: &InFlight) -> std::collections::BTreeMap<String, Label> {
    let worn = &request.labels;
    let texts: [(&str, Option<Arc<str>>); 5] = [
        (ROUTE, labels::name(worn.route)),
        (UPSTREAM, labels::name(worn.upstream)),
        (PHASE, Some(worn.work.label().into())),
        (TRACE_ID, Some(hex_text(&worn.trace_id.hex()).into())),
        (SPAN_ID, Some(hex_text(&worn.span_id.hex()).into())),
    ];
    texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Label::Text(text?)))).collect()
}

pub(super) async fn threadcreate(ask: Ask) -> Result<Response, Response> {
    let threads = aside(sampler::cpu_times).await?;
    let mut profile = Profile {
        types: vec![ValueType::new("threadcreate", "count"), ValueType::new("cpu", "nanoseconds")],
        default_type: "threadcreate".to_owned(),
        period: Some((ValueType::new("threadcreate", "count"), 1)),
        began_unix_nanos: Profiler::of_process().unix_nanos(),
        ..Profile::default()
    };
    let mut places = HashMap::new();
    for thread in threads {
        let stack = vec![place(&mut profile, &mut places, thread.name)];
        profile.samples.push(Sample { stack, values: vec![1, thread.nanos as i64], ..Sample::default() });
    }
    Ok(answer(&profile, "threadcreate", ask.debug))
}
