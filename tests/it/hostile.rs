//! A hostile client: everything about its requests is random, and it asks for its traces to be recorded.
//!
//! In: thousands of requests with random hosts, paths, methods, header fields, statuses and trace contexts. Out: series, memory, log lines
//! and exported spans stay within what the configuration allows, and what was folded or refused is counted. Not here: malformed requests
//! in their variety (`strict_requests`), and many connections (`floods`).

use std::net::SocketAddr;
use std::time::Instant;

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::Collector;
use crate::support::{Client, ask, temp_dir, wait_for};
use crate::telemetry_faults::{quick_origin, resident_bytes, settled};

const CLIENTS: u64 = 4;
/// Requests of one client in one wave.
const REQUESTS: usize = 500;
const WAVE: usize = CLIENTS as usize * REQUESTS;
const SERIES_MAX: usize = 64;
/// `keep.per_second` where traces are forced.
const PER_SECOND: u64 = 20;
/// What memory may differ by between two moments of the same load.
const NOISE_BYTES: u64 = 16 * 1024 * 1024;

/// The metrics whose series are under the budget, each of which has one folded series beyond it.
const BUDGETED: [&str; 4] = [
    "http_server_request_duration_seconds_count",
    "http_client_request_duration_seconds_count",
    "pellucid_self_time_seconds_count",
    "pellucid_phase_seconds_count",
];

const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const TARGET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_~!$&'()*+,;=:@|\"<>";
/// Also bytes that are no ASCII and no UTF-8.
const VALUE: &[u8] = b"abcXYZ0123456789 \t\"\\<>{}()'`,;=%/?:@\x80\xc3\xe2\xff";
const METHODS: [&[u8]; 6] = [b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"];

/// Random numbers that are the same in every run (xorshift64*, Vigna 2016).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() >> 16) as usize % bound
    }

    fn word(&mut self, alphabet: &[u8], most: usize) -> Vec<u8> {
        let length = 1 + self.below(most);
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    /// A trace id that no share of 1 % chooses: of the 56 bits that are looked at, the first eight are ones.
    fn trace_id(&mut self) -> String {
        format!("{:016x}{:02x}ff{:012x}", self.roll() | 1, self.below(256), self.roll() >> 16)
    }

    /// `traceparent` with the sampled flag.
    fn forced(&mut self, trace_id: &str) -> String {
        format!("00-{trace_id}-{:016x}-01", self.roll() | 1)
    }
}

/// A request in which everything is random, and the status that it asks the origin for. Every text of its own holds `evil`.
fn hostile(dice: &mut Dice) -> (u16, Vec<u8>) {
    let status = match 200 + dice.below(400) as u16 {
        204 | 205 | 304 => 200,
        status => status,
    };
    let known = dice.below(2) == 0;
    let mut request =
        if known { METHODS[dice.below(METHODS.len())].to_vec() } else { [b"EVIL".as_slice(), &dice.word(UPPER, 12)].concat() };
    request.extend(format!(" /status/{status}/evil").bytes());
    request.extend(dice.word(TARGET, 150));
    request.extend(b"%C3%A9?evil=");
    request.extend(dice.word(TARGET, 80));
    request.extend(b" HTTP/1.1\r\nHost: evil");
    request.extend(dice.word(LOWER, 40));
    request.extend(b".example\r\nUser-Agent: evil/");
    request.extend(dice.word(VALUE, 150));
    for _ in 0..dice.below(15) {
        request.extend(b"\r\nEvil-");
        request.extend(dice.word(LOWER, 30));
        request.extend(b": evil");
        request.extend(dice.word(VALUE, 60));
    }
    let trace_id = dice.trace_id();
    request.extend(format!("\r\ntraceparent: {}\r\ntracestate: evil=1\r\n\r\n", dice.forced(&trace_id)).bytes());
    (status, request)
}

fn attack(address: SocketAddr, seed: u64) {
    let (mut dice, mut client) = (Dice(seed), Client::connect(address));
    for _ in 0..REQUESTS {
        let (status, request) = hostile(&mut dice);
        let answer = client.send(&request).read_answer("ANY");
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&request));
        if answer.header("connection").is_some_and(|option| option.eq_ignore_ascii_case("close")) {
            client = Client::connect(address);
        }
    }
}

/// All clients at once, each with its own luck.
fn wave(address: SocketAddr, number: u64) {
    std::thread::scope(|scope| {
        for client in 1..=CLIENTS {
            scope.spawn(move || attack(address, (number << 32) | client));
        }
    });
}

/// An origin that answers with the status that the path names.
fn obliging_origin() -> Origin {
    Origin::answering(|seen| {
        let status = seen.path().split('/').nth(2).unwrap_or("200");
        format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok").into_bytes()
    })
}

/// The sum of all samples whose line starts so.
fn sum(metrics: &str, start: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The metrics once they hold this many requests.
fn metrics_of(gateway: &Pellucid, requests: usize) -> String {
    wait_for("all requests in the metrics", || {
        Some(gateway.metrics()).filter(|text| sum(text, "http_server_request_duration_seconds_count") == requests as f64)
    })
}

#[test]
fn whatever_a_client_sends_series_memory_and_log_lines_stay_in_bounds() {
    let (origin, log) = (obliging_origin(), temp_dir().join("access.log"));
    let gateway = Pellucid::start(&format!(
        "{}telemetry: {{ metrics: {{ series_max: {SERIES_MAX} }}, access_log: {{ to: '{}' }} }}\n",
        origin.config(),
        log.display(),
    ));
    wave(gateway.address, 1);
    let (first, resident) = (metrics_of(&gateway, WAVE), resident_bytes(gateway.pid()));
    wave(gateway.address, 2);
    for number in 0..50 {
        let request = format!("EVIL{number} /evil{number} HTTP/1.1\r\nHost: evil{number}.example\r\nBad Name{number}: evil\r\n\r\n");
        assert_eq!(ask(gateway.address, request).status, 400);
    }
    let all = 2 * WAVE + 50;
    let last = metrics_of(&gateway, all);
    for text in [&first, &last] {
        let series = text.lines().filter(|line| BUDGETED.iter().any(|name| line.starts_with(name))).count();
        assert!(series <= SERIES_MAX + BUDGETED.len(), "{series} series\n{text}");
        assert_eq!(sum(text, "pellucid_metrics_series "), SERIES_MAX as f64, "the budget is spent");
        assert!(!text.to_lowercase().contains("evil"), "nothing that a client made up is a label:\n{text}");
    }
    let folded = |text: &str| sum(text, "pellucid_metrics_folded_total");
    assert!(0.0 < folded(&first) && folded(&first) < folded(&last), "{} and {} folded", folded(&first), folded(&last));
    let later = resident_bytes(gateway.pid());
    assert!(later <= resident + NOISE_BYTES, "{resident} bytes after {WAVE} requests, {later} after {all}");

    let logs = settled(&gateway, "logs", all as u64);
    assert_eq!((logs.produced, logs.exported), (all as u64, all as u64));
    let text = std::fs::read_to_string(&log).expect("a log is UTF-8, whatever the requests were");
    let objects = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line.is_object()));
    assert_eq!((objects.count(), text.lines().count()), (all, all), "each line is one JSON object, and nobody can begin another");
}

/// Sends requests that all force sampling, and returns their trace ids.
fn force(address: SocketAddr, seed: u64) -> Vec<String> {
    let (mut dice, mut client) = (Dice(seed), Client::connect(address));
    let mut sent = Vec::new();
    for _ in 0..REQUESTS {
        let trace_id = dice.trace_id();
        let context = dice.forced(&trace_id);
        client.send(format!("GET /forced HTTP/1.1\r\nHost: h\r\ntraceparent: {context}\r\n\r\n"));
        assert_eq!(client.read_answer("GET").status, 200);
        sent.push(trace_id);
    }
    sent
}

fn force_all(address: SocketAddr) -> Vec<String> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=CLIENTS).map(|seed| scope.spawn(move || force(address, seed))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// A gateway that samples 1 %, and keeps nothing else of its own accord.
fn sampling(origin: &Origin, collector: &Collector, trace_context: &str) -> Pellucid {
    let yaml = format!(
        "listeners: [{{ name: edge, bind: 127.0.0.1:0, trace_context: {trace_context} }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n\
         {}telemetry: {{ {}, traces: {{ sample: 0.01, \
         keep: {{ errors: false, retries: false, slower_than: 1h, per_second: {PER_SECOND} }} }} }}\n",
        origin.config(),
        collector.otlp(),
    );
    Pellucid::start_config(&yaml, &[])
}

#[test]
fn where_traces_are_restarted_no_client_can_force_one_to_be_sampled() {
    let (origin, collector) = (quick_origin(), Collector::start(None, None));
    let gateway = sampling(&origin, &collector, "restart");
    let sent = force_all(gateway.address);
    let flags = |flags: &str| origin.seen().iter().filter(|seen| seen.header("traceparent").unwrap().ends_with(flags)).count();
    let sampled = flags("-03");
    assert_eq!(sampled + flags("-02"), WAVE, "each is random, and sampled or not");
    // 20 are expected of 2000; the chance of less than 1 or more than 60 is below one in 10^8.
    assert!((1..=60).contains(&sampled), "{sampled} of {WAVE}");

    // The one span beside them is of the gateway's start.
    let traces = settled(&gateway, "traces", 2 * sampled as u64 + 1);
    assert_eq!((traces.exported, traces.lost(), traces.rejected), (traces.produced, 0, 0), "{traces:?}");
    let spans =
        wait_for("all spans in the Collector's file", || Some(collector.spans()).filter(|spans| spans.len() as u64 == traces.exported));
    let servers: Vec<_> = spans.iter().filter(|span| span.kind() == 2).collect();
    assert_eq!(servers.len(), sampled, "what the origin heard of is what was exported");
    for span in servers {
        assert!(!sent.iter().any(|trace_id| trace_id == span.text("traceId")), "{span:?}");
        assert!(sent.iter().any(|trace_id| span.json["links"][0]["traceId"] == trace_id.as_str()), "{span:?}");
    }
}

#[test]
fn where_traces_are_continued_a_client_can_force_so_many_a_second_and_the_rest_is_counted() {
    let (origin, collector) = (quick_origin(), Collector::start(None, None));
    let gateway = sampling(&origin, &collector, "continue");
    let began = Instant::now();
    let sent = force_all(gateway.address);
    let traces = settled(&gateway, "traces", 2 * WAVE as u64 + 1);
    let seconds = began.elapsed().as_secs() + 1;
    let spans = wait_for("all exported spans in the Collector's file", || {
        Some(collector.spans()).filter(|spans| spans.len() as u64 == traces.exported)
    });
    let kept: Vec<_> = spans.iter().filter(|span| span.kind() == 2).collect();
    // A second's count may begin at any moment, so one more than the seconds that passed can be touched.
    let most = PER_SECOND * (seconds + 1);
    assert!((1..=most).contains(&(kept.len() as u64)), "{} traces in {seconds} s", kept.len());
    assert!(kept.iter().all(|span| sent.iter().any(|trace_id| trace_id == span.text("traceId"))));
    assert!(traces.dropped("rate_limited") > 0, "{traces:?}");
    assert_eq!(traces.lost(), 2 * (WAVE - kept.len()) as u64, "each forced trace was exported or counted as dropped: {traces:?}");
}
