//! `goroutine` and `threadcreate`: what is in flight, and the threads that carry it.
//!
//! In: a question to every worker. Out: each request in flight with its route, at what it is, what it waits for and since when; the threads of
//! the process; of either, what changed over a time. A worker that does not answer is said to be stuck. Not here: requests that are over
//! (`/api/v1/requests`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
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
use crate::telemetry::profile::assemble::{PHASE, ROUTE, SPAN_ID, TRACE_ID, UPSTREAM, Wanted};
use crate::telemetry::profile::profiler::Profiler;
use crate::telemetry::profile::{Label, Profile, Sample, ValueType};
use crate::telemetry::record::labels::{self, Work};
use crate::telemetry::sampler::{self, CpuTime};

/// How long a worker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests that are shown.
const IN_FLIGHT_SHOWN_MAX: usize = 10_000;
/// Label of requests that are shown as one: how long the first of them has been at what they are at.
const OLDEST_WAIT: &str = "oldest_wait";

/// All requests in flight, and the workers that did not answer.
struct Seen {
    requests: Vec<InFlight>,
    silent: usize,
}

/// What samples have in common that are put together.
type Alike = (Vec<usize>, BTreeMap<String, Label>);

/// A profile that counts, while it is put together. Its places are names.
struct Tally {
    profile: Profile,
    places: HashMap<String, usize>,
}

pub(super) async fn goroutine(State(admin): State<Admin>, ask: Ask) -> Response {
    let mut tally = Tally::new("goroutine", "wait");
    let earlier = match ask.seconds {
        None => None,
        Some(length) => {
            let seen = look(&admin, &ask.wanted).await;
            let earlier = tally.requests(&admin, &seen);
            tokio::time::sleep(Duration::from_secs(length)).await;
            Some(earlier)
        }
    };
    let seen = look(&admin, &ask.wanted).await;
    if ask.debug == 2 {
        return plain(text(&admin, &seen));
    }
    let later = tally.requests(&admin, &seen);
    let later = if ask.debug == 1 { together(later) } else { later };
    answer(&tally.finish(earlier, later), "goroutine", ask.debug)
}

pub(super) async fn threadcreate(ask: Ask) -> Result<Response, Response> {
    let mut tally = Tally::new("threadcreate", "cpu");
    let earlier = match ask.seconds {
        None => None,
        Some(length) => {
            let earlier = tally.threads(aside(sampler::cpu_times).await?);
            tokio::time::sleep(Duration::from_secs(length)).await;
            Some(earlier)
        }
    };
    let later = tally.threads(aside(sampler::cpu_times).await?);
    Ok(answer(&tally.finish(earlier, later), "threadcreate", ask.debug))
}

/// The requests that are wanted. The one that has waited longest comes first.
async fn look(admin: &Admin, wanted: &Wanted) -> Seen {
    let mut seen = look_at_all(admin).await;
    seen.requests.retain(|request| {
        let is = |wanted: &Option<String>, number| wanted.is_none() || wanted.as_deref() == labels::name(number).as_deref();
        let trace = wanted.trace_id.as_deref();
        is(&wanted.route, request.labels.route)
            && is(&wanted.upstream, request.labels.upstream)
            && trace.is_none_or(|id| id == hex_text(&request.labels.trace_id.hex()))
    });
    seen.requests.sort_by_key(|request| Reverse(request.age_ns));
    seen
}

async fn look_at_all(admin: &Admin) -> Seen {
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

impl Tally {
    /// Of so many of a `kind`, and of the nanoseconds of each.
    fn new(kind: &str, nanoseconds_of: &str) -> Self {
        let profile = Profile {
            types: vec![ValueType::new(kind, "count"), ValueType::new(nanoseconds_of, "nanoseconds")],
            default_type: kind.to_owned(),
            period: Some((ValueType::new(kind, "count"), 1)),
            began_unix_nanos: Profiler::of_process().unix_nanos(),
            ..Profile::default()
        };
        Tally { profile, places: HashMap::new() }
    }

    /// One sample a request; the stack says, from the outside in: route, at what it is, what it waits for.
    fn requests(&mut self, admin: &Admin, seen: &Seen) -> Vec<Sample> {
        if seen.silent > 0 {
            self.profile.comments.push(silence(admin, seen.silent));
        }
        seen.requests.iter().map(|request| self.request(request)).collect()
    }

    fn request(&mut self, request: &InFlight) -> Sample {
        let route = labels::name(request.labels.route);
        let frames = [
            format!("waits for {}", waits_for(request)),
            format!("phase {}", request.labels.work.label()),
            format!("route {}", route.as_deref().unwrap_or("(none yet)")),
        ];
        let stack = frames.into_iter().map(|frame| self.place(frame)).collect();
        Sample { stack, values: vec![1, request.waiting_ns as i64], labels: labels_of(request) }
    }

    fn threads(&mut self, threads: Vec<CpuTime>) -> Vec<Sample> {
        threads.into_iter().map(|thread| self.thread(thread)).collect()
    }

    fn thread(&mut self, thread: CpuTime) -> Sample {
        Sample { stack: vec![self.place(thread.name)], values: vec![1, thread.nanos as i64], ..Sample::default() }
    }

    fn place(&mut self, name: String) -> usize {
        *self.places.entry(name).or_insert_with_key(|name| {
            self.profile.locations.push(named(name));
            self.profile.locations.len() - 1
        })
    }

    /// Of what there was later; compared with what there was earlier, where that is known.
    fn finish(mut self, earlier: Option<Vec<Sample>>, later: Vec<Sample>) -> Profile {
        self.profile.samples = match earlier {
            None => later,
            Some(earlier) => {
                self.profile.duration_nanos = Profiler::of_process().unix_nanos().saturating_sub(self.profile.began_unix_nanos);
                difference(&earlier, &later)
            }
        };
        self.profile
    }
}

/// What came, above zero, and what went, below it, by stack and labels. As Go's, it leaves out what is as it was.
fn difference(earlier: &[Sample], later: &[Sample]) -> Vec<Sample> {
    let mut sums: BTreeMap<Alike, [i64; 2]> = BTreeMap::new();
    let gone = earlier.iter().map(|sample| (-1, sample));
    for (sign, sample) in gone.chain(later.iter().map(|sample| (1, sample))) {
        let alike = (sample.stack.clone(), sample.labels.clone());
        add(sums.entry(alike).or_default(), sign, &sample.values);
    }
    let changed = sums.into_iter().filter(|(_, values)| *values != [0; 2]);
    changed.map(|((stack, labels), values)| Sample { stack, values: values.to_vec(), labels }).collect()
}

/// Requests that are at the same thing as one, without the ids that tell them apart.
fn together(samples: Vec<Sample>) -> Vec<Sample> {
    let mut groups: BTreeMap<Alike, ([i64; 2], i64)> = BTreeMap::new();
    for Sample { stack, values, mut labels } in samples {
        labels.retain(|key, _| key != TRACE_ID && key != SPAN_ID);
        let (sum, oldest) = groups.entry((stack, labels)).or_default();
        add(sum, 1, &values);
        *oldest = values.last().copied().unwrap_or(0).max(*oldest);
    }
    let sample = |((stack, mut labels), (sum, oldest)): (Alike, ([i64; 2], i64))| {
        labels.insert(OLDEST_WAIT.to_owned(), Label::Text(seconds(oldest.unsigned_abs()).into()));
        Sample { stack, values: sum.to_vec(), labels }
    };
    groups.into_iter().map(sample).collect()
}

fn add(sum: &mut [i64; 2], sign: i64, values: &[i64]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum = sum.saturating_add(sign * value);
    }
}

fn labels_of(request: &InFlight) -> BTreeMap<String, Label> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{SpanId, TraceId};
    use crate::telemetry::record::labels::Labels;

    fn in_flight(work: Work, trace: u8, waiting_ns: u64) -> InFlight {
        InFlight {
            labels: Labels {
                work,
                route: labels::number("live-test"),
                upstream: labels::number("live-test-origin"),
                trace_id: TraceId([trace; 16]),
                span_id: SpanId([trace; 8]),
            },
            client: ([127, 0, 0, 1], 1).into(),
            age_ns: waiting_ns,
            waiting_ns,
            received: 0,
            sent: 0,
        }
    }

    #[track_caller]
    fn expect(samples: &[Sample], values: &[[i64; 2]]) {
        let found: Vec<[i64; 2]> = samples.iter().map(|sample| [sample.values[0], sample.values[1]]).collect();
        assert_eq!(found, values);
    }

    #[test]
    fn requests_at_the_same_thing_are_one_with_the_longest_wait_of_them() {
        let mut tally = Tally::new("goroutine", "wait");
        let requests = [(Work::Wait, 1, 5), (Work::Wait, 2, 7_250_000_000), (Work::Wait, 3, 6), (Work::Queue, 4, 1_000_000_000)];
        let samples: Vec<Sample> = requests.iter().map(|(work, trace, wait)| tally.request(&in_flight(*work, *trace, *wait))).collect();
        let grouped = together(samples.clone());
        expect(&grouped, &[[3, 7_250_000_011], [1, 1_000_000_000]]);
        let label = |index: usize, key: &str| grouped[index].labels.get(key).cloned();
        assert_eq!(label(0, OLDEST_WAIT), Some(Label::Text("7.250 s".into())));
        assert_eq!(label(1, OLDEST_WAIT), Some(Label::Text("1.000 s".into())));
        assert_eq!(label(0, ROUTE), Some(Label::Text("live-test".into())));
        assert_eq!((label(0, TRACE_ID), label(0, SPAN_ID)), (None, None));
        assert!(samples.iter().all(|sample| sample.labels.contains_key(TRACE_ID) && sample.labels.contains_key(SPAN_ID)));
    }

    #[test]
    fn a_difference_has_what_came_what_went_and_how_much_longer_the_others_waited() {
        let mut tally = Tally::new("goroutine", "wait");
        let mut look = |requests: &[(Work, u8, u64)]| -> Vec<Sample> {
            requests.iter().map(|(work, trace, wait)| tally.request(&in_flight(*work, *trace, *wait))).collect()
        };
        let earlier = look(&[(Work::Wait, 1, 10), (Work::Wait, 2, 20), (Work::Wait, 3, 30)]);
        let later = look(&[(Work::Wait, 2, 25), (Work::Wait, 3, 30), (Work::Wait, 4, 40)]);
        let changed = difference(&earlier, &later);
        expect(&changed, &[[-1, -10], [0, 5], [1, 40]]);
        assert!(difference(&later, &later).is_empty());
        let profile = tally.finish(Some(earlier), later);
        assert_eq!((profile.samples, profile.locations.len()), (changed, 3));
    }

    #[test]
    fn threads_of_one_name_are_counted_together_in_a_difference() {
        let mut tally = Tally::new("threadcreate", "cpu");
        let thread = |number: i32, name: &str, nanos: u64| CpuTime { thread: (number, 0), name: name.to_owned(), nanos };
        let earlier = tally.threads(vec![thread(1, "w", 100), thread(2, "pool", 10)]);
        let later = tally.threads(vec![thread(1, "w", 150), thread(2, "pool", 10), thread(3, "pool", 1), thread(4, "pool", 2)]);
        let changed = difference(&earlier, &later);
        expect(&changed, &[[0, 50], [2, 3]]);
    }
}
