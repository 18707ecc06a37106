//! How each way out of the process is doing: the last tries, and what waits.
//!
//! In: items that enter and leave a queue, and the outcome of each try, told by who exports. Out: a report for whoever asks, whose texts are
//! bounded and hold no credentials. Not here: what became of each item (`ledger`). No request comes by here.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::Signal;
use super::log_sink::Destination;
use super::otlp::{Protocol, Target};
use crate::base::clock::Clock;
use crate::base::limits::{LOG_QUEUE_BYTES_MAX, OTLP_QUEUE_BYTES_MAX};
use crate::telemetry::record::captured::HIDDEN;

/// Bytes of an error's text that are kept.
const ERROR_BYTES_MAX: usize = 512;
/// Shorter values of headers are no secrets but numbers of tenants and the like, and stand in other words too.
const SECRET_BYTES_MIN: usize = 4;

/// What takes the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    Otlp,
    AccessLog,
}

/// How a way is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The signal goes nowhere.
    Off,
    /// Nothing has been sent yet.
    Idle,
    /// The last try was taken.
    Ok,
    /// The last try failed or was refused.
    Failing,
}

/// One way out: written by who exports, read by who asks.
#[derive(Debug)]
pub(crate) struct Standing {
    signal: Signal,
    sink: Sink,
    endpoint: String,
    protocol: Option<&'static str>,
    /// None where the queue is bounded in items.
    queue_bytes_max: Option<usize>,
    /// What no text may hold, the longest first.
    secrets: Vec<String>,
    clock: Clock,
    queued_items: AtomicU64,
    queued_bytes: AtomicUsize,
    tries: Mutex<Tries>,
}

/// The tries so far. Times are Unix milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    pub(crate) last_success_ms: Option<u64>,
    pub(crate) last_error: Option<String>,
    pub(crate) last_error_ms: Option<u64>,
    /// The first failure after the last success.
    pub(crate) failing_since_ms: Option<u64>,
    /// Failures since the last success.
    pub(crate) failures: u64,
}

/// A reading of one way, or of a signal that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) signal: Signal,
    pub(crate) state: State,
    pub(crate) sink: Option<Sink>,
    pub(crate) endpoint: Option<String>,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) tries: Tries,
    pub(crate) queued_items: u64,
    /// None where bytes are not counted.
    pub(crate) queued_bytes: Option<usize>,
    pub(crate) queue_bytes_max: Option<usize>,
}

/// All ways out of the process.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    otlp: [Option<Arc<Standing>>; Signal::ALL.len()],
    log: Option<Arc<Standing>>,
}

impl Standings {
    /// `targets` are in the order of [`Signal::ALL`].
    pub(crate) fn new(clock: &Clock, targets: [Option<&Target>; Signal::ALL.len()], log: Option<&Destination>) -> Self {
        let standing = |index: usize| targets[index].map(|target| Arc::new(Standing::otlp(Signal::ALL[index], target, clock.clone())));
        Standings {
            otlp: std::array::from_fn(standing),
            log: log.map(|destination| Arc::new(Standing::access_log(destination, clock.clone()))),
        }
    }

    pub(crate) fn otlp(&self, signal: Signal) -> Option<&Arc<Standing>> {
        self.otlp[signal as usize].as_ref()
    }

    pub(crate) fn access_log(&self) -> Option<&Arc<Standing>> {
        self.log.as_ref()
    }

    /// At least one for each signal, in their order; the access log's comes before the other one of logs.
    pub(crate) fn reports(&self) -> Vec<Report> {
        Signal::ALL.into_iter().flat_map(|signal| self.reports_of(signal)).collect()
    }

    fn reports_of(&self, signal: Signal) -> Vec<Report> {
        let log = self.access_log().filter(|_| signal == Signal::Logs);
        let reports: Vec<Report> = log.into_iter().chain(self.otlp(signal)).map(|standing| standing.report()).collect();
        if reports.is_empty() { vec![Report::off(signal)] } else { reports }
    }
}

impl Standing {
    /// Whoever exports a signal to the Collector shares this. Lines come from the control plane alone, whose queue is bounded in lines.
    pub(crate) fn otlp(signal: Signal, target: &Target, clock: Clock) -> Self {
        let url = reqwest::Url::parse(&target.url).ok();
        let protocol = match target.protocol {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
        };
        Standing {
            endpoint: url.as_ref().map(without_credentials).unwrap_or_default(),
            protocol: Some(protocol),
            queue_bytes_max: (signal != Signal::Logs).then_some(OTLP_QUEUE_BYTES_MAX),
            secrets: secrets(target, url.as_ref()),
            ..Standing::new(signal, Sink::Otlp, clock)
        }
    }

    pub(crate) fn access_log(destination: &Destination, clock: Clock) -> Self {
        let endpoint = match destination {
            Destination::Stdout => "stdout".to_owned(),
            Destination::Stderr => "stderr".to_owned(),
            Destination::File(path) => path.display().to_string(),
        };
        Standing { endpoint, queue_bytes_max: Some(LOG_QUEUE_BYTES_MAX), ..Standing::new(Signal::Logs, Sink::AccessLog, clock) }
    }

    fn new(signal: Signal, sink: Sink, clock: Clock) -> Self {
        Standing {
            signal,
            sink,
            endpoint: String::new(),
            protocol: None,
            queue_bytes_max: None,
            secrets: Vec::new(),
            clock,
            queued_items: AtomicU64::new(0),
            queued_bytes: AtomicUsize::new(0),
            tries: Mutex::default(),
        }
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signal
    }

    /// Where to, without credentials.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Books room in the queue; false where there is none. There is always room for what has no bytes.
    pub(crate) fn enter(&self, items: u64, bytes: usize) -> bool {
        let queued = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.queued_items.fetch_add(items, Ordering::Relaxed);
        let fits = bytes == 0 || self.queue_bytes_max.is_none_or(|most| queued <= most);
        if !fits {
            self.leave(items, bytes);
        }
        fits
    }

    /// What entered has met its fate, or did not get into the queue after all.
    pub(crate) fn leave(&self, items: u64, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.queued_items.fetch_sub(items, Ordering::Relaxed);
    }

    /// A try was taken.
    pub(crate) fn succeeded(&self) {
        let now = self.unix_ms();
        self.tries().succeeded(now);
    }

    /// A try was taken, but not all of it, or not without complaint.
    pub(crate) fn complained(&self, why: &str) {
        let (text, now) = (self.told(why), self.unix_ms());
        let mut tries = self.tries();
        tries.succeeded(now);
        tries.note_error(text, now);
    }

    /// A try failed or was refused. Returns the reason as it may be told.
    pub(crate) fn failed(&self, why: &str) -> String {
        let (text, now) = (self.told(why), self.unix_ms());
        let mut tries = self.tries();
        tries.failing_since_ms.get_or_insert(now);
        tries.failures += 1;
        tries.note_error(text.clone(), now);
        text
    }

    /// The text without secrets, cut where it is too long.
    fn told(&self, why: &str) -> String {
        let mut text = self.secrets.iter().fold(why.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN));
        let end = (0..=text.len().min(ERROR_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text
    }

    fn report(&self) -> Report {
        let tries = self.tries().clone();
        let state = match (tries.failures, tries.last_success_ms) {
            (0, None) => State::Idle,
            (0, Some(_)) => State::Ok,
            _ => State::Failing,
        };
        Report {
            signal: self.signal,
            state,
            sink: Some(self.sink),
            endpoint: Some(self.endpoint.clone()),
            protocol: self.protocol,
            tries,
            queued_items: self.queued_items.load(Ordering::Relaxed),
            queued_bytes: self.queue_bytes_max.map(|_| self.queued_bytes.load(Ordering::Relaxed)),
            queue_bytes_max: self.queue_bytes_max,
        }
    }

    fn unix_ms(&self) -> u64 {
        (self.clock.wall_offset() + self.clock.now().0) / 1_000_000
    }

    /// A writer that panicked left the tries as they were.
    fn tries(&self) -> MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tries {
    fn succeeded(&mut self, now_ms: u64) {
        self.last_success_ms = Some(now_ms);
        self.failing_since_ms = None;
        self.failures = 0;
    }

    fn note_error(&mut self, text: String, now_ms: u64) {
        self.last_error = Some(text);
        self.last_error_ms = Some(now_ms);
    }
}

impl Report {
    fn off(signal: Signal) -> Self {
        Report {
            signal,
            state: State::Off,
            sink: None,
            endpoint: None,
            protocol: None,
            tries: Tries::default(),
            queued_items: 0,
            queued_bytes: None,
            queue_bytes_max: None,
        }
    }
}

impl Sink {
    pub(crate) fn label(self) -> &'static str {
        ["otlp", "access_log"][self as usize]
    }
}

impl State {
    pub(crate) fn label(self) -> &'static str {
        ["off", "idle", "ok", "failing"][self as usize]
    }
}

/// Scheme, host, port and path.
fn without_credentials(url: &reqwest::Url) -> String {
    let mut bare = url.clone();
    // Only a URL without a host cannot have these changed, and none of ours is.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.set_query(None);
    bare.set_fragment(None);
    if bare.path() == "/" { bare.as_str().trim_end_matches('/').to_owned() } else { bare.into() }
}

/// Values of headers, also without the scheme that stands before a credential, and what a URL may hold of the kind: a receiver may repeat them
/// in its answer.
fn secrets(target: &Target, url: Option<&reqwest::Url>) -> Vec<String> {
    let of_headers = target.headers.iter().flat_map(|(_, value)| [Some(value.as_str()), value.rsplit(' ').next()]);
    let of_url = url.into_iter().flat_map(|url| [Some(url.username()), url.password(), url.query()]);
    let long = of_headers.chain(of_url).flatten().filter(|secret| secret.len() >= SECRET_BYTES_MIN);
    let mut secrets: Vec<String> = long.map(str::to_owned).collect();
    // A whole value goes before its parts, which would leave the rest of it behind.
    secrets.sort_unstable_by_key(|secret| Reverse(secret.len()));
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    use crate::base::clock::Tick;

    fn target(url: &str) -> Target {
        let headers = vec![("authorization".to_owned(), "Bearer s3cret-token".to_owned()), ("x-tenant".to_owned(), "7".to_owned())];
        Target { url: url.to_owned(), protocol: Protocol::HttpProtobuf, gzip: false, headers, timeout: Duration::from_secs(1) }
    }

    fn standing(url: &str) -> Standing {
        Standing::otlp(Signal::Traces, &target(url), Clock::system())
    }

    #[test]
    fn an_endpoint_is_shown_without_credentials() {
        let shown = |url: &str| standing(url).endpoint;
        assert_eq!(shown("http://user:word@c:4318/v1/traces?token=x#y"), "http://c:4318/v1/traces");
        assert_eq!(shown("http://c:4317"), "http://c:4317");
        assert_eq!(shown("http://c:4318/otlp/"), "http://c:4318/otlp/");
    }

    #[test]
    fn no_error_tells_a_secret() {
        let standing = standing("http://user:word@c:4318/v1/traces?token=hidden");
        let why = "http://user:word@c:4318/?token=hidden said: 401 to 'Bearer s3cret-token' (s3cret-token) of tenant 7";
        let told = standing.failed(why);
        assert!(["user", "word", "hidden", "s3cret"].iter().all(|secret| !told.contains(secret)), "{told}");
        assert!(told.contains("said: 401 to 'REDACTED' (REDACTED) of tenant 7"), "{told}");
        assert_eq!(standing.report().tries.last_error, Some(told));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let standing = standing("http://c:4317");
        assert_eq!(standing.failed(&"x".repeat(ERROR_BYTES_MAX)).len(), ERROR_BYTES_MAX);
        let cut = standing.failed(&format!("{}€", "x".repeat(ERROR_BYTES_MAX - 1)));
        assert_eq!(cut, "x".repeat(ERROR_BYTES_MAX - 1));
        assert_eq!(standing.failed(""), "");
    }

    #[test]
    fn the_state_is_that_of_the_last_try_and_the_last_error_stays() {
        let (clock, hand) = Clock::manual(Tick(0));
        let standing = Standing::otlp(Signal::Traces, &target("http://c:4317"), clock);
        let state = |standing: &Standing| standing.report().state;
        assert_eq!(state(&standing), State::Idle);
        standing.failed("gone");
        hand.store(5_000_000_000, Ordering::Relaxed);
        standing.failed("still gone");
        let failing = standing.report();
        assert_eq!((failing.state, failing.tries.failures, failing.tries.last_success_ms), (State::Failing, 2, None));
        assert!(failing.tries.failing_since_ms.unwrap() <= failing.tries.last_error_ms.unwrap());
        standing.succeeded();
        let ok = standing.report();
        assert_eq!((ok.state, ok.tries.failures, ok.tries.failing_since_ms), (State::Ok, 0, None));
        assert_eq!(ok.tries.last_error.as_deref(), Some("still gone"));
        standing.complained("rejected 1 of 2 items");
        assert_eq!((state(&standing), standing.report().tries.last_error.as_deref()), (State::Ok, Some("rejected 1 of 2 items")));
    }

    #[test]
    fn a_queue_takes_no_more_bytes_than_it_may() {
        let standing = standing("http://c:4317");
        assert!(standing.enter(3, OTLP_QUEUE_BYTES_MAX));
        assert!(!standing.enter(1, 1));
        let report = standing.report();
        assert_eq!((report.queued_items, report.queued_bytes), (3, report.queue_bytes_max));
        standing.leave(3, OTLP_QUEUE_BYTES_MAX);
        assert_eq!((standing.report().queued_items, standing.report().queued_bytes), (0, Some(0)));
    }

    #[test]
    fn every_signal_has_a_report_and_the_access_log_one_of_its_own() {
        let rows = |standings: &Standings| {
            standings
                .reports()
                .iter()
                .map(|report| (report.signal.label(), report.state.label(), report.sink.map(Sink::label)))
                .collect::<Vec<_>>()
        };
        let off = |signal| (signal, "off", None);
        assert_eq!(rows(&Standings::default()), ["traces", "metrics", "logs", "profiles"].map(off));
        let (target, file) = (target("http://c:4317"), Destination::File(PathBuf::from("/var/log/a")));
        let some = Standings::new(&Clock::system(), [Some(&target), None, Some(&target), None], Some(&file));
        let expected = [
            ("traces", "idle", Some("otlp")),
            off("metrics"),
            ("logs", "idle", Some("access_log")),
            ("logs", "idle", Some("otlp")),
            off("profiles"),
        ];
        assert_eq!(rows(&some), expected);
        let reports = some.reports();
        assert_eq!((reports[2].endpoint.as_deref(), reports[2].protocol), (Some("/var/log/a"), None));
        assert_eq!((reports[3].queued_bytes, reports[3].protocol), (None, Some("http/protobuf")));
    }
}
