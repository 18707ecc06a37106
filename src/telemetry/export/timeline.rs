//! A timeline as Trace Event JSON, which Perfetto and Chrome's tracing page open.
//!
//! In: polls and records. Out: one JSON document: a track a worker with its polls, and a track of requests with their attempts and phases. Times
//! are microseconds since the timeline began. Bounded: what does not fit is counted. Not here: when it is drawn (`process::timeline`).

use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use super::access_log::{Entry, error_type};
use crate::base::clock::Tick;
use crate::base::ids::hex_text;
use crate::base::limits::TIMELINE_EVENTS_MAX;
use crate::telemetry::record::legend::EndpointLegend;
use crate::telemetry::record::names::PHASE_LABELS;
use crate::telemetry::record::polls::PollSpan;
use crate::telemetry::record::{Attempt, Phase};

/// The process that the workers' tracks belong to, and the one of the requests'.
const WORKERS: u32 = 1;
const REQUESTS: u32 = 2;

pub(crate) struct Events {
    began: Tick,
    /// Events, each behind a comma and a line break but the first.
    text: Vec<u8>,
    count: usize,
    lost: u64,
}

impl Events {
    pub(crate) fn new(began: Tick, workers: usize) -> Self {
        let mut events = Events { began, text: Vec::new(), count: 0, lost: 0 };
        events.name("process_name", WORKERS, 0, "workers: polls");
        events.name("process_name", REQUESTS, 0, "requests");
        for worker in 0..workers {
            events.name("thread_name", WORKERS, worker + 1, &format!("pellucid-w{worker}"));
        }
        events
    }

    /// One poll of a request's task, on its worker's track.
    pub(crate) fn poll(&mut self, worker: usize, span: &PollSpan, route: &str) {
        if !self.has_room(1) {
            return;
        }
        let name = Value::from(if route.is_empty() { "poll" } else { route });
        let (at, spent) = (self.micros(span.began), span.ended.since(span.began) as f64 / 1e3);
        let (hex, phase) = (span.trace_id.hex(), span.work.label());
        // By hand: there are two of these a request.
        let _ = write!(
            self.text,
            "{}{{\"ph\":\"X\",\"cat\":\"poll\",\"name\":{name},\"pid\":{WORKERS},\"tid\":{},\"ts\":{at:.3},\"dur\":{spent:.3},\"args\":{{\"trace_id\":\"{}\",\"phase\":\"{phase}\"}}}}",
            if self.count > 0 { ",\n" } else { "" },
            worker + 1,
            hex_text(&hex),
        );
        self.count += 1;
    }

    /// A request that has ended: itself, its attempts, and their phases, one inside the other.
    pub(crate) fn request(&mut self, entry: &Entry<'_>, endpoints: &[Arc<EndpointLegend>]) {
        let record = entry.record;
        // Half a request would never end.
        if !self.has_room(2 * (1 + record.attempts().len() * (1 + Phase::COUNT))) {
            return;
        }
        let id = hex_text(&record.span_id.hex()).to_owned();
        let name = format!("{} {}", entry.method(), entry.route.name);
        let arguments = json!({
            "trace_id": hex_text(&record.trace_id.hex()),
            "path": record.text.str(record.path),
            "status": record.status,
            "error": entry.error_type(),
            "self_us": record.self_ns as f64 / 1e3,
        });
        self.begin(&id, &name, record.began, &arguments);
        for (number, attempt) in record.attempts().iter().enumerate() {
            self.attempt(&id, number, attempt, endpoints);
        }
        self.end(&id, &name, record.ended);
    }

    pub(crate) fn lost(&mut self, events: u64) {
        self.lost += events;
    }

    pub(crate) fn finish(self, now: Tick) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 256);
        out.extend_from_slice(b"{\"displayTimeUnit\":\"ms\",\"otherData\":");
        let about = json!({ "seconds": now.since(self.began) as f64 / 1e9, "events": self.count, "lost": self.lost });
        out.extend_from_slice(about.to_string().as_bytes());
        out.extend_from_slice(b",\"traceEvents\":[\n");
        out.extend_from_slice(&self.text);
        out.extend_from_slice(b"\n]}\n");
        out
    }

    fn attempt(&mut self, id: &str, number: usize, attempt: &Attempt, endpoints: &[Arc<EndpointLegend>]) {
        let endpoint = endpoints.get(attempt.endpoint.0 as usize);
        let name = format!("attempt {} at {}", number + 1, endpoint.map_or("?", |endpoint| endpoint.authority.as_str()));
        let arguments = json!({
            "status": attempt.status,
            "error": attempt.reason.map(|reason| error_type(reason, attempt.status)),
            "reused": attempt.reused,
        });
        self.begin(id, &name, attempt.began, &arguments);
        let mut at = attempt.began;
        for phase in Phase::ALL {
            let spent = attempt.phases.of(phase);
            if spent > 0 {
                let label = PHASE_LABELS[phase as usize];
                self.begin(id, label, at, &Value::Null);
                at = Tick(at.0 + spent).min(attempt.ended);
                self.end(id, label, at);
            }
        }
        self.end(id, &name, attempt.ended);
    }

    fn begin(&mut self, id: &str, name: &str, at: Tick, arguments: &Value) {
        let event = json!({
            "ph": "b", "cat": "request", "id": id, "name": name, "pid": REQUESTS, "tid": 0, "ts": self.micros(at), "args": arguments
        });
        self.add(&event);
    }

    fn end(&mut self, id: &str, name: &str, at: Tick) {
        self.add(&json!({ "ph": "e", "cat": "request", "id": id, "name": name, "pid": REQUESTS, "tid": 0, "ts": self.micros(at) }));
    }

    fn name(&mut self, what: &str, process: u32, thread: usize, name: &str) {
        self.add(&json!({ "ph": "M", "name": what, "pid": process, "tid": thread, "args": { "name": name } }));
    }

    /// What does not fit is counted.
    fn has_room(&mut self, events: usize) -> bool {
        let fits = self.count + events <= TIMELINE_EVENTS_MAX;
        self.lost += if fits { 0 } else { events as u64 };
        fits
    }

    fn add(&mut self, event: &Value) {
        if self.count > 0 {
            self.text.extend_from_slice(b",\n");
        }
        self.text.extend_from_slice(event.to_string().as_bytes());
        self.count += 1;
    }

    /// Before the beginning is negative: a request may have begun before its timeline.
    fn micros(&self, at: Tick) -> f64 {
        (at.0 as f64 - self.began.0 as f64) / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{SpanId, TraceId};
    use crate::telemetry::record::Record;
    use crate::telemetry::record::labels::{LabelName, Work};
    use crate::telemetry::record::legend::Legends;

    #[test]
    fn a_request_and_its_polls_are_events_that_nest() {
        let mut events = Events::new(Tick(1_000_000), 1);
        let poll =
            PollSpan { began: Tick(2_000_000), ended: Tick(2_050_000), trace_id: TraceId([1; 16]), route: LabelName(0), work: Work::Send };
        events.poll(0, &poll, "users");
        let mut record = Record::empty();
        (record.began, record.ended, record.status) = (Tick(900_000), Tick(5_000_000), 200);
        let attempt = record.open_attempt(SpanId([3; 8]), Tick(2_000_000));
        attempt.phases.add(Phase::Wait, 1_000_000);
        attempt.ended = Tick(4_000_000);
        let legend = Legends::new().tables().0.remove(0);
        events.request(
            &Entry { record: &record, route: &legend, endpoint: None, headers: &[], wall_offset: 0, profiled: false, verdict: None },
            &[],
        );
        events.lost(2);
        let document: Value = serde_json::from_slice(&events.finish(Tick(9_000_000))).unwrap();
        let all = document["traceEvents"].as_array().unwrap();
        let of = |phase: &str| all.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
        assert_eq!((of("X")[0]["ts"].as_f64(), of("X")[0]["dur"].as_f64()), (Some(1000.0), Some(50.0)));
        assert_eq!(of("b").len(), of("e").len());
        assert_eq!(of("b")[0]["ts"].as_f64(), Some(-100.0));
        assert_eq!(of("b")[2]["name"], "wait");
        assert_eq!(document["otherData"]["lost"], 2);
    }
}
