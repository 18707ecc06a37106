//! Telemetry under fault, second part: Collectors that are busy, refuse, take a part, or are late, slow or silent.
//!
//! In: Collectors on raw sockets, over HTTP with protobuf. Out: what was tried again and when, what was counted under which reason, memory,
//! and that no request noticed. Not here: faults of a real Collector (`telemetry_faults`) and of the access log (`telemetry_faults3`).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::origin::{Origin, Seen};
use crate::support::process::Pellucid;
use crate::support::wait_for;
use crate::telemetry_faults::{Account, Load, PACED, Shape, Watch, account, assert_unharmed, quick_origin, settled};

/// Tries of one export (`OTLP_TRIES_MAX`).
const TRIES: usize = 5;
/// Requests of one step, two spans each.
const REQUESTS: u64 = 10;
const SPANS: u64 = 2 * REQUESTS;
const KIND_INTERNAL: i32 = 1;

/// What a Collector makes of the spans of requests. Everything else it takes.
#[derive(Clone, Copy)]
enum Mode {
    Take,
    /// 503 to the first two tries of a body, with a second to wait.
    BusyTwice,
    /// 503 to all, with no time to wait.
    Busy,
    /// 400.
    Refuse,
    /// Takes all spans of a body but one.
    RejectOne,
    /// Answers the first try of a body after this time.
    Late(Duration),
}

/// A Collector on raw sockets.
struct Fake {
    origin: Origin,
    mode: Arc<Mutex<Mode>>,
    bodies: Arc<Mutex<Vec<Body>>>,
}

/// A request's bytes, the ids of its spans, and when it came.
#[derive(Clone)]
struct Body {
    bytes: Vec<u8>,
    ids: Vec<Vec<u8>>,
    times: Vec<Instant>,
}

impl Mode {
    fn answer(self, tries: usize) -> Vec<u8> {
        match self {
            Mode::BusyTwice if tries <= 2 => http("503 Service Unavailable", "Retry-After: 1\r\n", b""),
            Mode::Busy => http("503 Service Unavailable", "Retry-After: 0\r\n", b""),
            Mode::Refuse => http("400 Bad Request", "", b""),
            Mode::RejectOne => {
                let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "one too many".to_owned() };
                http("200 OK", "", &ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec())
            }
            Mode::Late(pause) if tries == 1 => {
                std::thread::sleep(pause);
                taken()
            }
            Mode::Take | Mode::BusyTwice | Mode::Late(_) => taken(),
        }
    }
}

impl Fake {
    fn start(mode: Mode) -> Self {
        let (mode, bodies) = (Arc::new(Mutex::new(mode)), Arc::new(Mutex::new(Vec::new())));
        let (now, log) = (Arc::clone(&mode), Arc::clone(&bodies));
        let origin = Origin::answering(move |seen| {
            let ids: Vec<Vec<u8>> = spans(seen).into_iter().filter(|span| span.kind != KIND_INTERNAL).map(|span| span.span_id).collect();
            if ids.is_empty() {
                return taken();
            }
            let tries = note(&log, &seen.body, ids);
            let mode = *now.lock().unwrap();
            mode.answer(tries)
        });
        Fake { origin, mode, bodies }
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn bodies(&self) -> Vec<Body> {
        self.bodies.lock().unwrap().clone()
    }
}

/// A gateway that exports all spans there, and no metrics. The control plane's own span has already left.
fn start_exporting(origin: &Origin, collector: &Origin, timeout: &str) -> Pellucid {
    let gateway = Pellucid::start(&format!(
        "{}telemetry: {{ traces: {{ sample: 1.0 }}, metrics: {{ push_interval: 0 }}, \
         otlp: {{ endpoint: 'http://{}', protocol: http/protobuf, timeout: {timeout} }} }}\n",
        origin.config(),
        collector.address,
    ));
    settled(&gateway, "traces", 1);
    gateway
}

/// Notes a body and returns how often it has come by now.
fn note(log: &Mutex<Vec<Body>>, bytes: &[u8], ids: Vec<Vec<u8>>) -> usize {
    let mut log = log.lock().unwrap();
    let known = log.iter().position(|body| body.bytes == bytes);
    let at = known.unwrap_or(log.len());
    if known.is_none() {
        log.push(Body { bytes: bytes.to_vec(), ids, times: Vec::new() });
    }
    log[at].times.push(Instant::now());
    log[at].times.len()
}

fn spans(seen: &Seen) -> Vec<Span> {
    if seen.path() != "/v1/traces" {
        return Vec::new();
    }
    let request = ExportTraceServiceRequest::decode(&seen.body[..]).unwrap();
    request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

fn http(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/x-protobuf\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn taken() -> Vec<u8> {
    http("200 OK", "", b"")
}

/// What became of the spans of a few requests.
struct Step {
    exported: u64,
    rejected: u64,
    exhausted: u64,
    bodies: Vec<Body>,
}

/// Sends a few requests while the Collector is in this mode.
fn step(fake: &Fake, gateway: &Pellucid, mode: Mode) -> Step {
    fake.set(mode);
    fake.bodies.lock().unwrap().clear();
    let before = account(gateway, "traces");
    for _ in 0..REQUESTS {
        assert_eq!(gateway.get("/").status, 200);
    }
    let after = settled(gateway, "traces", before.produced + SPANS);
    let exhausted = |account: &Account| account.dropped("retries_exhausted");
    Step {
        exported: after.exported - before.exported,
        rejected: after.rejected - before.rejected,
        exhausted: exhausted(&after) - exhausted(&before),
        bodies: fake.bodies(),
    }
}

#[test]
fn what_the_collector_answers_decides_what_is_tried_again_and_how_it_is_counted() {
    let (fake, origin) = (Fake::start(Mode::Take), quick_origin());
    let gateway = start_exporting(&origin, &fake.origin, "5s");
    let watch = Watch::start(&gateway);

    let busy = step(&fake, &gateway, Mode::BusyTwice);
    assert_eq!((busy.exported, busy.rejected, busy.exhausted), (SPANS, 0, 0));
    for body in &busy.bodies {
        assert_eq!(body.times.len(), 3, "two refusals and a success");
        // The first pause would be a quarter of a second if the Collector had not asked for a whole one.
        assert!(body.times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(950)), "Retry-After: {:?}", body.times);
    }

    let lost = step(&fake, &gateway, Mode::Busy);
    assert_eq!((lost.exported, lost.rejected, lost.exhausted), (0, 0, SPANS));
    assert!(lost.bodies.iter().all(|body| body.times.len() == TRIES));

    let refused = step(&fake, &gateway, Mode::Refuse);
    assert_eq!((refused.exported, refused.rejected, refused.exhausted), (0, SPANS, 0));
    assert!(refused.bodies.iter().all(|body| body.times.len() == 1), "what is refused for good is not tried again");

    let partly = step(&fake, &gateway, Mode::RejectOne);
    let bodies = partly.bodies.len() as u64;
    assert_eq!((partly.exported, partly.rejected, partly.exhausted), (SPANS - bodies, bodies, 0));
    assert!(partly.bodies.iter().all(|body| body.times.len() == 1), "a partial success is not tried again");

    assert_eq!(step(&fake, &gateway, Mode::Take).exported, SPANS, "nothing of it lasts");
    watch.assert_sound();
}

#[test]
fn an_answer_that_comes_too_late_means_the_same_bytes_again_but_counts_once() {
    let (fake, origin) = (Fake::start(Mode::Take), quick_origin());
    let gateway = start_exporting(&origin, &fake.origin, "1s");
    let late = step(&fake, &gateway, Mode::Late(Duration::from_millis(1800)));
    assert_eq!((late.exported, late.rejected, late.exhausted), (SPANS, 0, 0));
    // The Collector may have taken the first try; OTLP has no means to tell. Whoever sees a span twice sees the same request twice.
    assert!(late.bodies.iter().all(|body| (2..=TRIES).contains(&body.times.len())));
    let ids: HashSet<&Vec<u8>> = late.bodies.iter().flat_map(|body| &body.ids).collect();
    assert_eq!((ids.len() as u64, late.bodies.iter().map(|body| body.ids.len() as u64).sum::<u64>()), (SPANS, SPANS));
}

#[test]
fn a_slow_collector_slows_no_request_and_gets_every_span_once() {
    let (fake, origin) = (Fake::start(Mode::Take), quick_origin());
    let gateway = start_exporting(&origin, &fake.origin, "10s");
    let (watch, load) = (Watch::start(&gateway), Load::start(gateway.address, 3, PACED));
    std::thread::sleep(Duration::from_millis(1500));
    fake.set(Mode::Late(Duration::from_secs(4)));
    let fault = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    let slow = account(&gateway, "traces");
    fake.set(Mode::Take);
    let done = load.stop();
    assert!(slow.queued > 0, "{slow:?}");
    let last = settled(&gateway, "traces", 2 * done.len() as u64);
    watch.assert_sound();
    assert_unharmed(&done, fault);
    assert_eq!((last.exported, last.lost(), last.rejected), (last.produced, 0, 0));
    let bodies = fake.bodies();
    assert!(bodies.iter().all(|body| body.times.len() == 1), "no try timed out, so none was followed by another");
    let ids: HashSet<&Vec<u8>> = bodies.iter().flat_map(|body| &body.ids).collect();
    let received: usize = bodies.iter().map(|body| body.ids.len()).sum();
    assert_eq!((ids.len(), received), (2 * done.len(), 2 * done.len()));
}

#[test]
fn a_silent_collector_fills_the_queue_and_no_more_than_the_queue() {
    let silent = Arc::new(AtomicBool::new(false));
    let (hold, origin) = (Arc::clone(&silent), quick_origin());
    let collector = Origin::answering(move |seen| {
        while seen.path() == "/v1/traces" && hold.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        taken()
    });
    let gateway = start_exporting(&origin, &collector, "2s");
    silent.store(true, Ordering::Relaxed);
    let quick = Shape { pause: Duration::ZERO, long: true };
    let (watch, load) = (Watch::start(&gateway), Load::start(gateway.address, 4, quick));
    wait_for("the queue to be full", || (account(&gateway, "traces").dropped("queue_full") > 0).then_some(()));
    let done = load.stop();
    silent.store(false, Ordering::Relaxed);
    assert!(done.iter().all(|done| done.status == 200));
    let last = settled(&gateway, "traces", 2 * done.len() as u64);
    watch.assert_sound();
    assert!(last.exported > 0 && last.rejected == 0, "{last:?}");

    let mut tries: HashMap<Vec<u8>, usize> = HashMap::new();
    let (mut ids, mut received) = (HashSet::new(), 0);
    for seen in collector.seen() {
        let of_this = tries.entry(seen.body.clone()).or_default();
        *of_this += 1;
        if *of_this == 1 {
            let spans = spans(&seen);
            received += spans.len() as u64;
            ids.extend(spans.into_iter().map(|span| span.span_id));
        }
    }
    assert!(tries.values().all(|tries| *tries <= TRIES), "a body comes again only as another try");
    assert_eq!(received, ids.len() as u64, "no span in two requests");
    assert_eq!(received, last.exported + last.dropped("retries_exhausted"), "{last:?}");
}
