//! Telemetry under fault: a Collector dies, comes back, stands still and goes on, while all traces of a load are exported to it.
//!
//! In: load on a gateway, the real Collector as a child of the test, and scrapes of the accounts ten times a second. Out: statuses,
//! latencies, memory, the accounts, and the spans in the Collectors' files. `PELLUCID_FAULT_SECONDS` (default 16, which is also the least)
//! is how long the load runs; half of it is fault. Not here: Collectors that are slow or refuse (`telemetry_faults2`), the access log's own
//! faults (`telemetry_faults3`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::Collector;
use crate::support::{Client, free_port, get, temp_dir, wait_for};

/// What `OTLP_QUEUE_BYTES_MAX` says; the test of memory looks whether it still does.
const OTLP_QUEUE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Rings, recent requests, one request that is being encoded, and what the allocator holds back.
const SLACK_BYTES: u64 = 32 * 1024 * 1024;
/// No request takes this long. Shorter than every fault, so that one that waited for a fault to end would be seen.
const SLOWEST_MAX: Duration = Duration::from_secs(3);
/// From the Collector's return to the next export; the longest pause between two tries is 4 s.
const RESUMES_WITHIN: Duration = Duration::from_secs(10);

/// SERVER and CLIENT in `Span.kind`; the control plane's own spans are neither.
const KINDS: std::ops::RangeInclusive<i64> = 2..=3;

/// How a client behaves.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Between an answer and the next request.
    pub(crate) pause: Duration,
    /// Fills all the room for text that a record has.
    pub(crate) long: bool,
}

/// Some hundred requests a second from three clients.
pub(crate) const PACED: Shape = Shape { pause: Duration::from_millis(8), long: false };

impl Shape {
    fn request(self, client: usize, number: usize) -> String {
        if !self.long {
            return format!("GET /load/{client}/{number} HTTP/1.1\r\nHost: load\r\n\r\n");
        }
        let (path, query, host, agent) = ("p".repeat(170), "q".repeat(90), "h".repeat(50), "a".repeat(90));
        format!("GET /{client}/{number}/{path}?q={query} HTTP/1.1\r\nHost: {host}.example\r\nUser-Agent: {agent}\r\n\r\n")
    }
}

/// A request that was answered.
pub(crate) struct Done {
    began: Instant,
    took: Duration,
    pub(crate) status: u16,
    pub(crate) trace_id: String,
}

/// Clients on kept connections, until told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Done>>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, clients: usize, shape: Shape) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |client: usize| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || drive(address, client, shape, &stop))
        };
        let clients = (0..clients).map(start).collect();
        Load { stop, clients }
    }

    pub(crate) fn stop(self) -> Vec<Done> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn drive(address: SocketAddr, client: usize, shape: Shape, stop: &AtomicBool) -> Vec<Done> {
    let mut connection = Client::connect(address);
    let mut done = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = connection.send(shape.request(client, done.len())).read_answer("GET");
        let trace_id = answer.header("x-trace-id").unwrap();
        done.push(Done { began, took: began.elapsed(), status: answer.status, trace_id });
        std::thread::sleep(shape.pause);
    }
    done
}

/// The account of one signal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) produced: u64,
    pub(crate) exported: u64,
    pub(crate) rejected: u64,
    pub(crate) queued: u64,
    reasons: BTreeMap<String, u64>,
}

impl Account {
    fn of(json: &Value) -> Self {
        let number = |key: &str| json[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}"));
        let reasons = json["dropped"].as_object().unwrap().iter();
        Account {
            produced: number("produced"),
            exported: number("exported"),
            rejected: number("rejected"),
            queued: number("queued"),
            reasons: reasons.map(|(reason, count)| (reason.clone(), count.as_u64().unwrap())).collect(),
        }
    }

    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.reasons.get(reason).copied().unwrap_or(0)
    }

    /// What was dropped, for whatever reason.
    pub(crate) fn lost(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// A difference that went below zero would be a huge number queued, and the sum alone would not show it.
    fn balances(&self) -> bool {
        let settled = [self.exported, self.rejected, self.queued].into_iter().chain(self.reasons.values().copied());
        self.queued <= self.produced && settled.map(u128::from).sum::<u128>() == u128::from(self.produced)
    }

    fn is_behind(&self, before: &Account) -> bool {
        self.produced < before.produced
            || self.exported < before.exported
            || self.rejected < before.rejected
            || before.reasons.iter().any(|(reason, count)| self.dropped(reason) < *count)
    }
}

pub(crate) fn account(gateway: &Pellucid, signal: &str) -> Account {
    Account::of(&gateway.api("/api/v1/telemetry")["signals"][signal])
}

/// The account once `produced` items are made and all of them have met their fate.
pub(crate) fn settled(gateway: &Pellucid, signal: &str, produced: u64) -> Account {
    wait_for(&format!("{produced} {signal} to be settled"), || {
        Some(account(gateway, signal)).filter(|account| account.queued == 0 && account.produced >= produced)
    })
}

/// Scrapes the accounts ten times a second, and notes memory.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Observed>,
    at_rest: u64,
}

#[derive(Default)]
struct Observed {
    scrapes: u64,
    violations: Vec<String>,
    most_resident: u64,
    last: HashMap<String, Account>,
}

impl Watch {
    pub(crate) fn start(gateway: &Pellucid) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, admin, pid) = (Arc::clone(&stop), gateway.admin, gateway.pid());
        let at_rest = resident_bytes(pid);
        let thread = std::thread::spawn(move || {
            let mut observed = Observed::default();
            while !stopped.load(Ordering::Relaxed) {
                observed.scrape(admin);
                observed.most_resident = observed.most_resident.max(resident_bytes(pid));
                std::thread::sleep(Duration::from_millis(100));
            }
            observed
        });
        Watch { stop, thread, at_rest }
    }

    /// The identity held at every scrape, no counter ever fell, and memory stayed below what the queue may hold. A queued buffer counts
    /// with its length, and may be twice as large: it grew by doubling.
    pub(crate) fn assert_sound(self) {
        let limits = include_str!("../../src/base/limits.rs");
        assert!(limits.contains("OTLP_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;"), "the limit has changed, and so must this test");
        self.stop.store(true, Ordering::Relaxed);
        let observed = self.thread.join().unwrap();
        assert!(observed.scrapes > 0 && observed.violations.is_empty(), "{} scrapes: {:#?}", observed.scrapes, observed.violations);
        let cap = self.at_rest + 2 * OTLP_QUEUE_BYTES_MAX + SLACK_BYTES;
        assert!(observed.most_resident <= cap, "{} bytes at rest, then {}", self.at_rest, observed.most_resident);
    }
}

impl Observed {
    fn scrape(&mut self, admin: SocketAddr) {
        let answer = get(admin, "/api/v1/telemetry").json();
        for (signal, json) in answer["signals"].as_object().unwrap() {
            let now = Account::of(json);
            let before = self.last.get(signal).cloned().unwrap_or_default();
            if !now.balances() || now.is_behind(&before) {
                self.violations.push(format!("{signal}: {before:?}, then {now:?}"));
            }
            self.last.insert(signal.clone(), now);
        }
        self.scrapes += 1;
    }
}

pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// An origin that answers at once.
pub(crate) fn quick_origin() -> Origin {
    Origin::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
}

/// Every request was answered, and none waited for telemetry. The bounds are wide: other tests run on the same cores.
pub(crate) fn assert_unharmed(done: &[Done], fault: Instant) {
    assert!(done.iter().all(|done| done.status == 200), "of {} requests some failed", done.len());
    let took = |during: bool| {
        let mut all: Vec<Duration> = done.iter().filter(|done| (done.began >= fault) == during).map(|done| done.took).collect();
        all.sort_unstable();
        all
    };
    let (before, during) = (took(false), took(true));
    let p99 = |all: &[Duration]| all[all.len() * 99 / 100];
    assert!(p99(&during) <= p99(&before) * 10 + Duration::from_millis(250), "p99 {:?}, then {:?}", p99(&before), p99(&during));
    assert!(during.last().is_some_and(|slowest| *slowest < SLOWEST_MAX), "{:?}", during.last());
}

/// The trace ids of the lines of an access log, in their order.
pub(crate) fn logged(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["trace_id"].as_str().unwrap().to_owned()).collect()
}

/// A Collector as `support::stack` starts it, but one that can be signalled.
struct OwnCollector {
    child: Child,
    dir: PathBuf,
}

/// A line of a Collector's file, as far as it is of interest.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line {
    resource_spans: Vec<OfResource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OfResource {
    scope_spans: Vec<OfScope>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfScope {
    spans: Vec<Filed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filed {
    trace_id: String,
    span_id: String,
    kind: i64,
}

impl OwnCollector {
    fn start(grpc: u16, http: u16) -> Self {
        let (dir, health) = (temp_dir(), free_port());
        let log = std::fs::File::create(dir.join("collector.log")).unwrap();
        let mut command = Collector::command(grpc, http, health, &dir);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let collector = OwnCollector { child, dir };
        wait_for("the Collector", || std::net::TcpStream::connect(("127.0.0.1", health)).ok());
        wait_for("the Collector's health", || (get(([127, 0, 0, 1], health).into(), "/").status == 200).then_some(()));
        collector
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success());
    }

    /// All spans in its file. A line that a kill has cut off is none.
    fn spans(&self) -> Vec<Filed> {
        let text = std::fs::read(self.dir.join("traces.jsonl")).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        lines.flat_map(|line| line.resource_spans).flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

impl Drop for OwnCollector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fault_seconds() -> u64 {
    let wanted = std::env::var("PELLUCID_FAULT_SECONDS").ok();
    wanted.map_or(16, |text| text.parse::<u64>().expect("PELLUCID_FAULT_SECONDS is a number of seconds")).max(16)
}

/// No span twice, no trace that nobody asked for, and at most one SERVER and one CLIENT span a trace.
fn assert_once(spans: &[Filed], done: &[Done]) {
    let asked: HashSet<&str> = done.iter().map(|done| done.trace_id.as_str()).collect();
    assert_eq!(asked.len(), done.len(), "every request has a trace of its own");
    let (mut ids, mut parts) = (HashSet::new(), HashSet::new());
    for span in spans {
        assert!(ids.insert(&span.span_id), "twice: {span:?}");
        if KINDS.contains(&span.kind) {
            assert!(parts.insert((&span.trace_id, span.kind)), "a second one of its kind in its trace: {span:?}");
            assert!(asked.contains(span.trace_id.as_str()), "nobody asked for {span:?}");
        }
    }
}

#[test]
fn a_collector_that_dies_or_stands_still_costs_no_request_and_every_span_is_accounted_for() {
    let seconds = fault_seconds();
    let load_for = |share: u64| std::thread::sleep(Duration::from_millis(seconds * 1000 / share));
    let (grpc, http, origin, log) = (free_port(), free_port(), quick_origin(), temp_dir().join("access.log"));
    let mut first = OwnCollector::start(grpc, http);
    // No try times out while the Collector stands still: what timed out may have arrived, and would be sent again.
    let yaml = format!(
        "{}telemetry: {{ traces: {{ sample: 1.0 }}, metrics: {{ push_interval: 1s }}, access_log: {{ to: '{}' }}, \
         otlp: {{ endpoint: 'http://127.0.0.1:{grpc}', timeout: {}s }} }}\n",
        origin.config(),
        log.display(),
        seconds + 60,
    );
    let gateway = Pellucid::start(&yaml);
    let (watch, load) = (Watch::start(&gateway), Load::start(gateway.address, 3, PACED));
    load_for(8);
    wait_for("spans in the first Collector's file", || (!first.spans().is_empty()).then_some(()));

    let fault = Instant::now();
    first.kill();
    load_for(4);
    let dead = account(&gateway, "traces");
    assert!(dead.queued + dead.lost() > 0, "the Collector was gone: {dead:?}");
    let second = OwnCollector::start(grpc, http);
    let back = Instant::now();
    wait_for("export to resume", || (account(&gateway, "traces").exported > dead.exported).then_some(()));
    assert!(back.elapsed() < RESUMES_WITHIN, "{:?}", back.elapsed());
    load_for(4);

    second.signal("STOP");
    load_for(4);
    let still = account(&gateway, "traces");
    second.signal("CONT");
    assert!(still.queued > 0, "the Collector stood still: {still:?}");
    load_for(8);
    let done = load.stop();

    let spans_of_requests = 2 * done.len() as u64;
    let last = settled(&gateway, "traces", spans_of_requests);
    watch.assert_sound();
    assert_unharmed(&done, fault);
    assert!(last.produced - spans_of_requests < 5, "two spans a request, and a few of the control plane: {last:?}");
    // What the first Collector took and had not written yet died with it. The second one has all that was exported since.
    let received = wait_for("all exported spans in the second Collector's file", || {
        Some(second.spans()).filter(|spans| spans.len() as u64 == last.exported - dead.exported)
    });
    let all: Vec<Filed> = first.spans().into_iter().chain(received).collect();
    assert_once(&all, &done);
    let metrics = || std::fs::read_to_string(second.dir.join("metrics.jsonl")).unwrap_or_default();
    wait_for("metrics in the second Collector's file", || metrics().contains("http.server.request.duration").then_some(()));
    let lines = wait_for("a log line a request", || Some(logged(&log)).filter(|lines| lines.len() == done.len()));
    let (lines, asked): (HashSet<_>, HashSet<_>) = (lines.into_iter().collect(), done.into_iter().map(|done| done.trace_id).collect());
    assert!(lines == asked, "the access log names other requests than were sent");
}
