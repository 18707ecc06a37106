//! THE HOT PATH: one request, top to bottom.
//!
//! In: a request and its peer. Out: an answer that streams, with the exchange that it belongs to. Every room is one call, the retry
//! stands in the open, and each line that can fail is a `?` on one error type. Not here: sockets (`listener`) and decisions (the rooms).

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;

use super::error::{ProxyError, of_upstream};
use super::exchange::{Exchange, Peer};
use super::fields::{Fields, Known};
use super::filter::Verdict;
use super::http1::hop;
use super::http1::incoming::{Broken, Incoming};
use super::message::{Body, Request, Response};
use super::resilience::{Next, Outcome};
use super::response;
use super::snapshot::{Route, Upstream};
use super::upstream::Failure;
use super::upstream::call::{Call, Upload, as_stale};
use super::upstream::endpoint::Endpoint;
use super::upstream::head::{HostPolicy, Onward};
use super::worker::Worker;
use crate::base::clock::Tick;
use crate::telemetry::record::labels::{Work, turn_to};
use crate::telemetry::record::reason::Reason;

/// The way of a request. One a worker.
pub(crate) struct Pipeline {
    pub(crate) worker: Rc<Worker>,
}

/// An answer on its way to the client. Whatever way this ends, dropping it closes the record exactly once.
pub(crate) struct Outbound {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) body: Body,
    /// Boxed, because an answer changes hands several times.
    pub(crate) exchange: Box<Exchange>,
    /// When the body began to stall; never while it flows.
    progress_at: Tick,
}

/// What the next attempt is told of the one before.
#[derive(Default)]
struct Former {
    endpoint: Option<usize>,
    /// It met a connection that had been closed: the next one takes a new one.
    was_stale: bool,
}

/// Why an answer broke off.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl Pipeline {
    /// One request, from its head to the head of its answer.
    pub(crate) async fn handle(&self, request: &mut Request, peer: &Peer, began: Tick) -> Outbound {
        let mut exchange = Exchange::open(&self.worker, request, peer, began);
        match self.serve(&mut exchange, request).await {
            Ok(response) => Outbound::new(exchange, response),
            Err(error) => Outbound::failed(exchange, &error),
        }
    }

    async fn serve(&self, exchange: &mut Exchange, request: &mut Request) -> Result<Response, ProxyError> {
        let plan = Rc::clone(&exchange.plan);
        if exchange.policy().limits.body_bytes.is_some_and(|most| !request.body.limit(most)) {
            return Err(ProxyError::BodyTooLarge);
        }
        let host = host_of(request);
        let index = plan.snapshot.table.find(&host, request.target.match_path(), &request.method, &request.headers)?;
        let route = &plan.snapshot.routes[index];
        exchange.routed(route);
        exchange.deadline = route.timeout.map_or(Tick::NEVER, |timeout| exchange.record().head_read.after(timeout));
        turn_to(Work::Filter);
        if let Verdict::Answer(response) = route.filters.request(request, &host, exchange.record(), &self.worker.clock)? {
            return Ok(self.finish_response(exchange, route, response));
        }
        if !route.filters.filters.is_empty() {
            let record = exchange.record();
            record.sent_path = record.text.keep(request.target.path(), 96);
        }
        let split = route.split.as_ref().ok_or(ProxyError::Balance(super::balance::NoEndpoint))?;
        let upstream = split.choose(&mut self.worker.draw.borrow_mut());
        if request.interim.is_some() && request.body.is_empty() {
            request.upgrade = hop::wanted_upgrade(&request.headers, &route.upgrades);
        }
        let mut tries = route.retry.begin(&request.method);
        let mut former = Former::default();
        loop {
            let attempt = self.attempt(exchange, upstream, &mut former, request).await;
            let error = match attempt {
                Ok(response) => return Ok(self.finish_response(exchange, route, response)),
                Err(error) => error,
            };
            former.was_stale = error.outcome() == Outcome::Stale;
            if tries.next(error.outcome()) == Next::Settle {
                return Err(error);
            }
        }
    }

    fn finish_response(&self, exchange: &mut Exchange, route: &Route, mut response: Response) -> Response {
        route.filters.response(&mut response.headers, exchange.record(), &self.worker.clock);
        response
    }

    /// One try at one endpoint. Facts go into the record's newest attempt as they come.
    async fn attempt(
        &self,
        exchange: &mut Exchange,
        upstream: usize,
        former: &mut Former,
        request: &mut Request,
    ) -> Result<Response, ProxyError> {
        let plan = Rc::clone(&exchange.plan);
        let chosen = &plan.snapshot.upstreams[upstream];
        let index = plan.cursors.borrow_mut()[upstream].pick(&chosen.weights, former.endpoint)?;
        former.endpoint = Some(index);
        let endpoint = &chosen.endpoints[index];
        let result = self.send(exchange, chosen, endpoint, request, former.was_stale).await;
        if let Err(failure) = &result {
            let ended = self.worker.clock.now();
            let attempt = exchange.record().last_attempt().expect("opened by `send`");
            attempt.reason = Some(of_upstream(failure).reason);
            attempt.ended = ended;
        }
        Ok(result?)
    }

    async fn send(
        &self,
        exchange: &mut Exchange,
        upstream: &Upstream,
        endpoint: &std::sync::Arc<Endpoint>,
        request: &mut Request,
        fresh: bool,
    ) -> Result<Response, Failure> {
        let traceparent = exchange.open_attempt(upstream).encode();
        let deadline = exchange.deadline;
        let (record, alarm) = exchange.record_and_alarm();
        let attempt = record.last_attempt().expect("opened above");
        attempt.endpoint = endpoint.id;
        let lease = self.worker.pools.lease(endpoint, alarm, attempt, deadline, fresh).await?;
        if !lease.is_reused() && lease.leg().has_spoken() {
            return Err(Failure::Malformed("the upstream spoke before it was asked"));
        }
        attempt.reused = lease.is_reused();
        let leg = Rc::clone(lease.leg());
        let onward = Onward {
            host: upstream_host(upstream, endpoint, request),
            client: exchange.peer.address.ip(),
            client_text: exchange.peer.address_text.as_bytes(),
            trusted: exchange.policy().trust.iter().any(|network| network.contains(exchange.peer.address.ip())),
            policy: exchange.policy().forwarded,
            traceparent: if exchange.policy().inject_trace { &traceparent } else { b"" },
            trace_state: if exchange.policy().inject_trace { &exchange.trace_state } else { b"" },
            baggage: &exchange.baggage,
            request,
        };
        leg.with_output(|output| onward.write(&mut output.encoded));
        let mut upload = Upload::new(Rc::clone(&leg), std::mem::replace(&mut request.body, Body::empty()));
        let activity = Rc::clone(&exchange.peer.activity);
        let call = Call {
            clock: &self.worker.clock,
            activity: &activity,
            limits: &endpoint.limits,
            method: &request.method,
            interim: request.interim.as_ref(),
            upgrade: request.upgrade,
            expects_continue: request.headers.has(Known::Expect),
            request_idle_timeout: exchange.policy().limits.body_timeout,
            deadline,
        };
        let (record, alarm) = exchange.record_and_alarm();
        let attempt = record.last_attempt().expect("opened above");
        let head = match call.run(&mut upload, alarm, attempt).await {
            Ok(head) => head,
            Err(failure) => return Err(give_up(failure, upload, request, lease.is_reused())),
        };
        attempt.status = head.status.as_u16();
        exchange.upload = Some(upload).filter(|upload| !upload.is_complete());
        exchange.lease = Some(lease);
        exchange.upstream_persists = head.persistent && head.status != StatusCode::SWITCHING_PROTOCOLS;
        exchange.body_idle_timeout = endpoint.limits.body_idle_timeout;
        Ok(Response { status: head.status, headers: head.headers, body: Body::http1(Incoming::new(leg, head.framing), head.framing) })
    }
}

/// A failed attempt gives the body back if nothing of it was read, so that the next one can send it.
fn give_up(failure: Failure, upload: Upload, request: &mut Request, reused: bool) -> Failure {
    let heard = upload.heard;
    match upload.into_unread() {
        Some(body) => {
            request.body = body;
            as_stale(failure, reused && !heard)
        }
        None => failure,
    }
}

/// The host that the client named; a copy costs a reference count.
fn host_of(request: &Request) -> Bytes {
    request.headers.get_shared(Known::Host).unwrap_or_default()
}

fn upstream_host<'a>(upstream: &'a Upstream, endpoint: &'a Endpoint, request: &'a Request) -> &'a [u8] {
    let named = request.headers.get(Known::Host);
    match (&upstream.host, named) {
        (HostPolicy::Preserve, Some(host)) => host,
        (HostPolicy::Literal(host), _) => host.as_bytes(),
        (HostPolicy::Preserve | HostPolicy::Endpoint, _) => endpoint.authority.as_bytes(),
    }
}

impl Outbound {
    fn new(mut exchange: Box<Exchange>, response: Response) -> Self {
        turn_to(Work::Body);
        let record = exchange.record();
        record.status = response.status.as_u16();
        if response.status.is_server_error() && record.attempt_count > 0 {
            record.reason = Some(Reason::UpstreamStatus);
        }
        Outbound { status: response.status, headers: response.headers, body: response.body, exchange, progress_at: Tick::NEVER }
    }

    /// An answer of our own in place of an upstream's.
    pub(crate) fn failed(mut exchange: Box<Exchange>, error: &ProxyError) -> Self {
        let fault = error.fault();
        let response = response::of_fault(fault, exchange.trace_id());
        let mut outbound = Outbound::new(exchange, response);
        outbound.exchange.fail(fault);
        outbound
    }

    /// The next piece of the answer's body. Also moves what is left of the request's body.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(Err(failure)) = self.poll_upload(context) {
            self.exchange.record().reason = Some(of_upstream(&failure).reason);
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        match self.body.poll_frame(context) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => {
                self.progress_at = Tick::NEVER;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(broken))) => {
                self.break_off(&broken);
                Poll::Ready(Some(Err(BrokenOff)))
            }
            Poll::Pending => self.poll_deadline(context),
        }
    }

    fn poll_upload(&mut self, context: &mut Context<'_>) -> Option<Result<(), Failure>> {
        let upload = self.exchange.upload.as_mut().filter(|upload| !upload.is_over())?;
        let before = upload.sent();
        let polled = upload.poll(context);
        if upload.sent() > before {
            self.progress_at = Tick::NEVER;
            self.exchange.peer.activity.has_received(upload.sent());
        }
        match polled {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    /// A body that stalls: too long between two pieces, or past the whole exchange's deadline.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.progress_at == Tick::NEVER {
            self.progress_at = self.exchange.worker.clock.now();
        }
        let (timeout, late) = match &self.exchange.upload {
            Some(upload) if upload.waits_for_client() => (self.exchange.policy().limits.body_timeout, Reason::BodyTimeout),
            _ => (self.exchange.body_idle_timeout, Reason::UpstreamBodyTimeout),
        };
        let idle = self.progress_at.after(timeout);
        let deadline = self.exchange.deadline;
        std::task::ready!(self.exchange.alarm().poll_at(idle.min(deadline), context));
        let reason = if deadline <= idle { Reason::ExchangeTimeout } else { late };
        self.note(reason);
        Poll::Ready(Some(Err(BrokenOff)))
    }

    fn break_off(&mut self, broken: &Broken) {
        let reason = match broken {
            Broken::Malformed(_) => Reason::UpstreamMalformed,
            Broken::Closed | Broken::Io(_) | Broken::TooLarge => Reason::UpstreamBodyBroken,
        };
        self.note(reason);
    }

    /// The head is out, so the status stands; the reason goes to exchange and attempt.
    pub(crate) fn note(&mut self, reason: Reason) {
        let record = self.exchange.record();
        record.reason = Some(reason);
        if let Some(attempt) = record.last_attempt() {
            attempt.reason = Some(reason);
        }
    }

    /// The client stopped taking the answer.
    pub(crate) fn client_gone(&mut self, reason: Reason) {
        self.exchange.record().reason = Some(reason);
    }

    /// The tunnel is over, for a reason unless both sides have left. Closes the record.
    pub(crate) fn finish_tunnel(&mut self, up: u64, down: u64, reason: Option<Reason>) {
        if let Some(attempt) = self.exchange.record().last_attempt() {
            attempt.request_bytes = up;
        }
        if let Some(reason) = reason {
            self.note(reason);
        }
        self.finish(down, reason.is_none());
    }

    /// The client left: the answer is for the record only. An upstream may answer with 499 of its own.
    pub(crate) fn is_for_nobody(&mut self) -> bool {
        self.status.as_u16() == 499 && self.exchange.record().reason == Some(Reason::ClientGone)
    }

    /// The request's own bytes are what was wrong: nothing behind them is worth reading.
    pub(crate) fn failed_to_read(&mut self) -> bool {
        matches!(self.exchange.record().reason, Some(Reason::BodyTimeout | Reason::BodyTooLarge | Reason::MalformedRequest))
    }

    /// The answer is over, or broken off. Closes the record.
    pub(crate) fn finish(&mut self, response_bytes: u64, clean: bool) {
        // Both hold the upstream's read buffer, which goes back to the pool with the connection.
        self.body = Body::empty();
        self.headers = Fields::new();
        self.exchange.finish(response_bytes, clean);
    }
}
