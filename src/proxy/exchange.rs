//! One request and its answer: the plan it runs on, its deadline, its record, and what it holds of an upstream.
//!
//! In: a request and the peer that sent it. Out: a record that is closed exactly once, however the exchange ends: `finish` closes it, and
//! dropping an exchange that was not finished closes it as the client's leaving. Not here: the order of things (`pipeline`).

use std::net::SocketAddr;
use std::rc::Rc;

use http::Version;

use super::activity::Activity;
use super::drain::Drain;
use super::fields::{Fields, Known};
use super::message::Request;
use super::response::Fault;
use super::snapshot::{ListenerPolicy, Route, TracePolicy, Upstream};
use super::upstream::call::Upload;
use super::upstream::pool::Lease;
use super::worker::{Kit, Plan, Worker};
use crate::base::alarm::Alarm;
use crate::base::clock::Tick;
use crate::base::ids::{SpanId, TraceId};
use crate::base::text::Piece;
use crate::telemetry::record::propagation::{TRACE_STATE_BYTES_MAX, TraceParent, join_trace_state};
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{Caller, MethodTag, Phase, Record, TraceFlags, VersionTag, baggage};

/// Who sent a request, and by which way.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Its host part as text, made once a connection.
    pub(crate) address_text: Rc<str>,
    /// Slot of the listener's policy in the plan, and its port.
    pub(crate) listener: usize,
    pub(crate) port: u16,
    pub(crate) activity: Rc<Activity>,
    /// The end of the listener it came by.
    pub(crate) drain: Rc<Drain>,
}

pub(crate) struct Exchange {
    pub(crate) worker: Rc<Worker>,
    pub(crate) plan: Rc<Plan>,
    pub(crate) peer: Peer,
    pub(crate) deadline: Tick,
    /// The request's own `tracestate` and `baggage`, checked and joined; empty for most requests.
    pub(crate) trace_state: Vec<u8>,
    pub(crate) baggage: Vec<u8>,
    pub(crate) lease: Option<Lease>,
    pub(crate) upload: Option<Upload>,
    /// The upstream allows another request on its connection.
    pub(crate) upstream_persists: bool,
    /// Timeout of a silent upstream body; from the upstream that answers.
    pub(crate) body_idle_timeout: std::time::Duration,
    kit: Option<Kit>,
}

impl Exchange {
    /// Opens the record. `began` is when the request's first byte was seen.
    pub(crate) fn open(worker: &Rc<Worker>, request: &Request, peer: &Peer, began: Tick) -> Box<Self> {
        let plan = worker.plan();
        let policy = &plan.snapshot.listeners[peer.listener];
        let mut kit = worker.take_kit();
        let record = &mut *kit.record;
        record.began = began;
        record.head_read = peer.activity.woken_at();
        record.client = peer.address;
        record.listener_port = peer.port;
        describe(record, request);
        plan.snapshot.capture.note(record, &request.headers);
        let trace_state = adopt_trace(record, worker, policy, &plan, &request.headers);
        peer.activity.open(record.trace_id, record.span_id, began);
        let mut bag = Vec::new();
        if policy.trace == TracePolicy::Continue && policy.baggage {
            baggage::join(request.headers.get_all(Known::Baggage), &mut bag);
        }
        crate::telemetry::record::instruments::raise(&worker.recorder.borrow().gauges().active_requests);
        Box::new(Exchange {
            worker: Rc::clone(worker),
            peer: peer.clone(),
            deadline: Tick::NEVER,
            trace_state,
            baggage: bag,
            lease: None,
            upload: None,
            upstream_persists: false,
            body_idle_timeout: policy.limits.body_timeout,
            kit: Some(kit),
            plan,
        })
    }

    pub(crate) fn policy(&self) -> &ListenerPolicy {
        &self.plan.snapshot.listeners[self.peer.listener]
    }

    pub(crate) fn record(&mut self) -> &mut Record {
        &mut self.kit.as_mut().expect("the record is there until the exchange is closed").record
    }

    pub(crate) fn alarm(&mut self) -> &mut Alarm {
        &mut self.kit.as_mut().expect("the alarm is there until the exchange is closed").alarm
    }

    /// Record and timer at once, for work that writes facts while it waits.
    pub(crate) fn record_and_alarm(&mut self) -> (&mut Record, &mut Alarm) {
        let kit = self.kit.as_mut().expect("the kit is there until the exchange is closed");
        (&mut kit.record, &mut kit.alarm)
    }

    pub(crate) fn trace_id(&mut self) -> TraceId {
        self.record().trace_id
    }

    /// From here on it is a request of this route.
    pub(crate) fn routed(&mut self, route: &Route) {
        self.record().route = route.id;
        self.peer.activity.routed(route.label);
    }

    /// The CLIENT span of the next attempt, as the upstream will hear of it.
    pub(crate) fn open_attempt(&mut self, upstream: &Upstream) -> TraceParent {
        self.peer.activity.goes_to(upstream.label);
        let span_id = SpanId::random(&mut self.worker.draw.borrow_mut());
        let retried = self.record().attempt_count > 0;
        // The first one begins with the exchange's own work, less than a microsecond after its head was read.
        let began = if retried { self.worker.clock.now() } else { self.record().head_read };
        let record = self.record();
        record.open_attempt(span_id, began);
        TraceParent { trace_id: record.trace_id, span_id, sampled: record.flags.sampled, random: record.flags.random }
    }

    /// The request could not be read: the record must not claim otherwise.
    pub(crate) fn forget_request(&mut self) {
        let record = self.record();
        record.text.clear();
        record.path = Piece::EMPTY;
        record.method_text = Piece::EMPTY;
        record.captured = Piece::EMPTY;
        record.filters = Piece::EMPTY;
    }

    pub(crate) fn fail(&mut self, fault: Fault) {
        let record = self.record();
        record.status = fault.status.as_u16();
        record.reason = Some(fault.reason);
    }

    /// The exchange is over: what was still to come of its upstream is let go, and the record is handed over.
    pub(crate) fn finish(&mut self, response_bytes: u64, clean: bool) {
        let ended = self.worker.clock.now();
        let upload = self.upload.take();
        let uploaded = upload.as_ref().is_none_or(Upload::is_complete);
        if let Some(lease) = self.lease.take() {
            let record = self.record();
            if let Some(attempt) = record.last_attempt() {
                attempt.request_bytes = upload.as_ref().map_or(attempt.request_bytes, Upload::sent);
                attempt.response_bytes = response_bytes;
                attempt.phases.add(Phase::Body, ended.since(attempt.ended));
                attempt.ended = ended;
            }
            if clean && uploaded && self.upstream_persists && !lease.leg().has_input() {
                lease.mark_reusable();
            }
        }
        drop(upload);
        self.close(ended, response_bytes);
    }

    fn close(&mut self, ended: Tick, response_bytes: u64) {
        let Some(mut kit) = self.kit.take() else { return };
        let record = &mut *kit.record;
        record.ended = ended;
        record.left = self.peer.activity.left();
        record.self_ns = self.peer.activity.close(ended);
        record.response_bytes = response_bytes;
        let reason = record.reason;
        if let Some(attempt) = record.last_attempt().filter(|attempt| attempt.status == 0) {
            attempt.reason = attempt.reason.or(reason);
        }
        record.request_bytes = record.attempts().last().map_or(0, |attempt| attempt.request_bytes);
        let mut recorder = self.worker.recorder.borrow_mut();
        recorder.submit(record);
        crate::telemetry::record::instruments::lower(&recorder.gauges().active_requests);
        drop(recorder);
        self.peer.activity.rest();
        self.worker.put_kit(kit);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        let Some(kit) = &mut self.kit else { return };
        let (reason, status) = match (panicked, self.worker.is_ending.get()) {
            (true, _) => (Reason::Internal, 500),
            (false, true) => (Reason::Draining, 503),
            (false, false) => (Reason::ClientGone, 499),
        };
        self.worker.broke_down.set(panicked.then_some(kit.record.trace_id));
        kit.record.abandon(reason, status);
        self.finish(0, false);
    }
}

/// What the request says of itself. Texts are cut to their share of the record.
fn describe(record: &mut Record, request: &Request) {
    record.method = MethodTag::of(&request.method);
    record.version = match request.version {
        Version::HTTP_10 => VersionTag::Http10,
        Version::HTTP_2 => VersionTag::Http2,
        _ => VersionTag::Http11,
    };
    record.path = record.text.keep(request.target.path(), 192);
    if let Some(host) = request.headers.get(Known::Host) {
        record.host = record.text.keep(host, 64);
    }
    if let Some(agent) = request.headers.get(Known::UserAgent) {
        record.user_agent = record.text.keep(agent, 96);
    }
    if let Some(query) = request.target.query() {
        record.query = record.text.keep(query, 96);
    }
    if record.method == MethodTag::Other {
        record.method_text = record.text.keep(request.method.as_str().as_bytes(), 24);
    }
}

/// Continues, restarts or ignores the caller's trace. Returns the `tracestate` that goes on.
fn adopt_trace(record: &mut Record, worker: &Worker, policy: &ListenerPolicy, plan: &Plan, headers: &Fields) -> Vec<u8> {
    let mut draw = worker.draw.borrow_mut();
    let values = headers.get_all(Known::Traceparent);
    let caller = if policy.trace == TracePolicy::Ignore { None } else { TraceParent::extract(values) };
    let continued = caller.filter(|_| policy.trace == TracePolicy::Continue);
    record.span_id = SpanId::random(&mut draw);
    record.trace_id = continued.map_or_else(|| TraceId::random(&mut draw), |caller| caller.trace_id);
    record.parent = caller.map(|caller| Caller { trace_id: caller.trace_id, span_id: caller.span_id, is_link: continued.is_none() });
    let sampling = &plan.snapshot.sampling;
    record.flags = match continued {
        // Our own share is drawn anew: a caller that makes up its trace id must not get past the bound on what others chose.
        Some(caller) => {
            let chosen_here = caller.sampled && sampling.takes(TraceId::random(&mut draw).randomness());
            TraceFlags { sampled: caller.sampled, random: caller.random, chosen_here }
        }
        None => {
            let chosen_here = sampling.takes(record.trace_id.randomness());
            TraceFlags { sampled: chosen_here, random: true, chosen_here }
        }
    };
    if continued.is_none() || !headers.has(Known::Tracestate) {
        return Vec::new();
    }
    let mut joined = [0; TRACE_STATE_BYTES_MAX];
    let members = headers.get_all(Known::Tracestate);
    let length = join_trace_state(members, &mut joined).unwrap_or(0);
    let kept = record.text.keep(&joined[..length], length);
    if !kept.is_cut() {
        record.trace_state = kept;
    }
    joined[..length].to_vec()
}
