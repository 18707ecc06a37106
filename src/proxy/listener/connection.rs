//! One client connection: read a head, walk the rooms, stream the answer, again.
//!
//! In: an accepted socket. Out: answers, in order. Between requests the connection is parked without buffers and without the state of its
//! active part. Head and idle timeouts, keep-alive and lingering close (RFC 9112, sections 9.3 and 9.6) are kept here.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::StatusCode;
use tokio::net::TcpStream;

use super::client::ClientWatch;
use super::streaming::Streaming;
use super::tunnel::Tunnel;
use crate::base::alarm::Alarm;
use crate::base::clock::Tick;
use crate::base::ids::TraceId;
use crate::base::limits::{BODY_SWALLOW_BYTES_MAX, LINGER_TIMEOUT, PARK_AFTER, READ_SMALL_BYTES};
use crate::proxy::drain::Step;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Exchange, Peer};
use crate::proxy::fields::Fields;
use crate::proxy::http1::framing::Framing;
use crate::proxy::http1::head::{HeadScanner, RequestHead, parse_request};
use crate::proxy::http1::incoming::Incoming;
use crate::proxy::http1::leg::Leg;
use crate::proxy::http1::sender::{SendError, Sender};
use crate::proxy::message::{Body, Interim, Request};
use crate::proxy::pipeline::{BrokenOff, Outbound, Pipeline};
use crate::proxy::response::{INTERNAL, Wire, of_fault};
use crate::proxy::snapshot::ListenerLimits;
use crate::proxy::worker::Worker;
use crate::telemetry::record::ending::Ending;
use crate::telemetry::record::instruments::raise;
use crate::telemetry::record::labels::{Work, turn_to};
use crate::telemetry::record::reason::Reason;

pub(super) struct Connection {
    pipeline: Rc<Pipeline>,
    leg: Rc<Leg>,
    peer: Peer,
    alarm: Alarm,
    /// Requests served.
    served: u64,
    /// The end of the last one, or the connection's beginning.
    quiet_since: Tick,
    ending: Ending,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next request may come at once.
    Again,
    /// Nothing came for a while: wait without buffers.
    Park,
    /// Close, and read what is still coming so that a reset does not eat the answer.
    Linger,
    Close,
}

/// A head, or why there is none.
enum Arrival {
    Head(Box<RequestHead>, Tick),
    Refused(ProxyError, Tick),
    None(Next),
}

/// What the answer needs to know about its request.
struct Asked {
    method: http::Method,
    version: http::Version,
    persistent: bool,
    /// An unread body may be swallowed to keep the connection.
    swallows: bool,
}

impl Connection {
    pub(super) fn new(pipeline: Rc<Pipeline>, stream: TcpStream, peer: Peer) -> Self {
        let worker = &pipeline.worker;
        let leg = Rc::new(Leg::new(stream, Rc::clone(&worker.buffers)));
        let alarm = Alarm::new(worker.clock.clone());
        let quiet_since = worker.clock.now();
        Connection { pipeline, leg, peer, alarm, served: 0, quiet_since, ending: Ending::default() }
    }

    pub(super) async fn run(mut self) {
        self.live().await;
        raise(&self.worker().recorder.borrow().gauges().connections_closed[self.ending as usize]);
    }

    /// From one request to the next, or to the connection's end.
    async fn live(&mut self) {
        loop {
            if !self.wait_for_bytes(self.quiet_until()).await {
                return;
            }
            let activity = Rc::clone(&self.peer.activity);
            let worker = Rc::clone(self.worker());
            // Boxed, so that a parked connection does not keep the size of an active one.
            let active: Pin<Box<dyn Future<Output = Next>>> = Box::pin(self.serve());
            if worker.timed(active, &activity).await != Some(Next::Park) {
                return;
            }
        }
    }

    fn worker(&self) -> &Rc<Worker> {
        &self.pipeline.worker
    }

    fn limits(&self) -> ListenerLimits {
        self.worker().plan().snapshot.listeners[self.peer.listener].limits
    }

    /// When a connection on which nothing comes is to be closed.
    fn quiet_until(&self) -> Tick {
        let limits = self.limits();
        self.quiet_since.after(if self.served == 0 { limits.header_timeout } else { limits.idle_timeout })
    }

    /// When a connection that has just become quiet gives up the state of an active one.
    fn park_at(&self) -> Tick {
        self.quiet_until().min(self.peer.activity.woken_at().after(PARK_AFTER))
    }

    /// Parked. False where the connection is to be closed instead.
    async fn wait_for_bytes(&mut self, deadline: Tick) -> bool {
        let drain = Rc::clone(&self.peer.drain);
        let leg = &self.leg;
        let readable = self.alarm.guard(deadline, poll_fn(|context| leg.poll_readable(context)));
        let unheard = if self.served == 0 { Ending::HeaderTimeout } else { Ending::IdleTimeout };
        let ended = tokio::select! {
            biased;
            readable = readable => match readable {
                Ok(Ok(())) => return true,
                Ok(Err(_)) => Ending::Client,
                Err(_late) => unheard,
            },
            () = drain.wait(Step::IdleOver) => Ending::Draining,
        };
        self.ending = ended;
        false
    }

    /// Serves requests as long as they come.
    async fn serve(&mut self) -> Next {
        loop {
            let next = match self.read_head().await {
                Arrival::Head(head, began) => self.exchange(*head, began).await,
                Arrival::Refused(error, began) => self.refuse(&error, began).await,
                Arrival::None(next) => return next,
            };
            match next {
                Next::Again if self.leg.is_closed() && !self.leg.has_input() => return Next::Close,
                Next::Again => {
                    self.quiet_since = self.peer.activity.woken_at();
                    self.leg.rest();
                }
                Next::Linger => {
                    self.linger().await;
                    return Next::Close;
                }
                next => return next,
            }
        }
    }

    async fn read_head(&mut self) -> Arrival {
        let mut scanner = HeadScanner::default();
        let mut began = None;
        let mut deadline = Tick::NEVER;
        loop {
            if self.leg.has_input() {
                let began_at = *began.get_or_insert_with(|| self.peer.activity.woken_at());
                let limits = self.limits();
                match self.leg.with_input(|input| {
                    scanner.find(input, limits.head.bytes).map(|found| found.map(|length| input.split_to(length).freeze()))
                }) {
                    Ok(None) if self.leg.has_input() => deadline = began_at.after(limits.header_timeout),
                    // Empty lines before a request (RFC 9112, section 2.2) are none yet.
                    Ok(None) => (began, deadline) = (None, self.park_at()),
                    Ok(Some(head)) => {
                        return match parse_request(head, &limits.head) {
                            Ok(head) => Arrival::Head(Box::new(head), began_at),
                            Err(bad) => Arrival::Refused(ProxyError::BadRequest(bad), began_at),
                        };
                    }
                    Err(bad) => return Arrival::Refused(ProxyError::BadRequest(bad), began_at),
                }
            } else if deadline == Tick::NEVER {
                deadline = self.park_at();
            }
            let leg = &self.leg;
            match self.alarm.guard(deadline, poll_fn(|context| leg.poll_fill(context, READ_SMALL_BYTES))).await {
                Ok(Ok(0)) | Ok(Err(_)) => {
                    self.ending = Ending::Client;
                    return Arrival::None(Next::Close);
                }
                Ok(Ok(_)) => {}
                Err(_late) => {
                    return match began {
                        Some(began) => Arrival::Refused(ProxyError::HeaderTimeout, began),
                        None => Arrival::None(Next::Park),
                    };
                }
            }
        }
    }

    async fn exchange(&mut self, head: RequestHead, began: Tick) -> Next {
        let asked = Asked {
            method: head.method.clone(),
            version: head.version,
            persistent: head.persistent,
            swallows: !head.expects_continue && !matches!(head.framing, Framing::Length(length) if length > BODY_SWALLOW_BYTES_MAX),
        };
        let incoming = Incoming::new(Rc::clone(&self.leg), head.framing);
        let mut request = Request {
            method: head.method,
            target: head.target,
            version: head.version,
            headers: head.headers,
            body: Body::http1(incoming, head.framing),
            interim: (head.version == http::Version::HTTP_11).then(|| Interim::new(Rc::clone(&self.leg))),
            upgrade: None,
        };
        let watch = ClientWatch {
            leg: &self.leg,
            clock: &self.pipeline.worker.clock,
            activity: &self.peer.activity,
            half_close_timeout: self.limits().half_close_timeout,
        };
        let answered = {
            let mut handling = std::pin::pin!(self.pipeline.handle(&mut request, &self.peer, began));
            let alarm = &mut self.alarm;
            poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(context))) {
                Ok(Poll::Ready(outbound)) => Poll::Ready(Ok(Some(outbound))),
                Ok(Poll::Pending) => watch.poll_gone(alarm, context).map(|()| Ok(None)),
                Err(panic) => Poll::Ready(Err(panic)),
            })
            .await
        };
        drop(request);
        match answered {
            Ok(Some(outbound)) => self.answer(outbound, &asked).await,
            Ok(None) => {
                self.ending = Ending::Client;
                Next::Close
            }
            Err(panic) => self.apologise(&asked, &*panic).await,
        }
    }

    /// Answers what could not be read as a request, and ends the connection.
    async fn refuse(&mut self, error: &ProxyError, began: Tick) -> Next {
        let request = Request::unreadable();
        let mut exchange = Exchange::open(&self.pipeline.worker, &request, &self.peer, began);
        exchange.forget_request();
        let outbound = Outbound::failed(exchange, error);
        let asked = Asked { method: http::Method::GET, version: http::Version::HTTP_11, persistent: false, swallows: false };
        self.answer(outbound, &asked).await
    }

    async fn answer(&mut self, mut outbound: Outbound, asked: &Asked) -> Next {
        if outbound.is_for_nobody() {
            outbound.finish(0, false);
            return Next::Close;
        }
        let unread = self.leg.is_being_read() || self.leg.has_unread();
        self.served += 1;
        let spent = self.limits().requests_per_connection.is_some_and(|most| self.served >= most);
        let persistent = asked.persistent
            && !spent
            && !outbound.failed_to_read()
            && !self.peer.drain.has_reached(Step::Announced)
            && !self.leg.is_done_for()
            && (asked.swallows || !unread);
        if spent {
            self.ending = Ending::RequestsPerConnection;
        } else if self.peer.drain.has_reached(Step::Announced) {
            self.ending = Ending::Draining;
        }
        let status = outbound.status;
        let trace_id = outbound.exchange.policy().tell_trace_id.then(|| outbound.exchange.trace_id());
        let date = self.pipeline.worker.date();
        let wire = Wire { version: asked.version, method: &asked.method, persistent, date: &date, trace_id };
        let framing = wire.framing(status, outbound.body.framing());
        self.leg.with_output(|output| wire.write_head(&mut output.encoded, status, &outbound.headers, framing));
        // They lie in a buffer, which a long answer need not hold.
        outbound.headers = Fields::new();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.ending = Ending::Tunnel;
            turn_to(Work::Tunnel);
            self.tunnel(outbound).await;
            return Next::Close;
        }
        let mut sender = Sender::new(framing);
        let sent = Streaming::new(&self.leg, &mut self.alarm, &mut sender, &mut outbound).run().await;
        let clean = sent.is_ok();
        match sent {
            Err(SendError::Peer(error)) => {
                let late = error.kind() == std::io::ErrorKind::TimedOut;
                outbound.client_gone(if late { Reason::ClientWriteTimeout } else { Reason::ClientGone });
            }
            Err(SendError::Body(BrokenOff) | SendError::Length) if framing == Framing::UntilClose => self.leg.reset_on_close(),
            _ => {}
        }
        outbound.finish(sender.sent(), clean);
        match (clean, persistent && framing != Framing::UntilClose) {
            (false, _) => Next::Close,
            (true, true) => self.swallow().await,
            (true, false) => Next::Linger,
        }
    }

    /// Handling broke down, and its record was closed as it unwound. The client hears of it if nothing was sent yet; the connection ends.
    async fn apologise(&mut self, asked: &Asked, panic: &(dyn std::any::Any + Send)) -> Next {
        let worker = self.worker();
        let trace_id = worker.lament(panic);
        let told = trace_id.filter(|_| worker.plan().snapshot.listeners[self.peer.listener].tell_trace_id);
        let answer = of_fault(INTERNAL, trace_id.unwrap_or(TraceId([0; 16])));
        let date = worker.date();
        let wire = Wire { version: asked.version, method: &asked.method, persistent: false, date: &date, trace_id: told };
        let framing = wire.framing(answer.status, answer.body.framing());
        self.leg.with_output(|output| wire.write_head(&mut output.encoded, answer.status, &answer.headers, framing));
        let mut body = answer.body;
        let mut sender = Sender::new(framing);
        let leg = &self.leg;
        let deadline = self.pipeline.worker.clock.now().after(self.limits().write_timeout);
        let sending = poll_fn(|context| sender.poll_send(context, leg, |context| body.poll_frame(context)));
        // The connection ends, whether the client has heard of it or not.
        let _ = self.alarm.guard(deadline, sending).await;
        Next::Linger
    }

    /// Carries bytes both ways until either side ends it. The exchange ends with it.
    async fn tunnel(&mut self, mut outbound: Outbound) {
        let Some(upstream) = outbound.exchange.lease.as_ref().map(|lease| Rc::clone(lease.leg())) else { return };
        let idle_timeout = outbound.exchange.policy().limits.upgrade_idle_timeout;
        let carried = Tunnel::new(&self.leg, &upstream, idle_timeout).run(&self.pipeline.worker.clock, &mut self.alarm).await;
        outbound.finish_tunnel(carried.up, carried.down, carried.reason);
    }

    /// Reads what is left of a request's body, so that the next request can be found behind it.
    async fn swallow(&mut self) -> Next {
        let Some(decoder) = self.leg.take_unread() else { return Next::Again };
        let mut rest = Incoming::resume(Rc::clone(&self.leg), decoder);
        let deadline = self.pipeline.worker.clock.now().after(LINGER_TIMEOUT);
        let mut swallowed = 0;
        let drained = self.alarm.guard(
            deadline,
            poll_fn(|context| {
                loop {
                    match std::task::ready!(rest.poll_frame(context)) {
                        None => return Poll::Ready(true),
                        Some(Ok(frame)) => swallowed += frame.data_ref().map_or(0, |data| data.len() as u64),
                        Some(Err(_)) => return Poll::Ready(false),
                    }
                    if swallowed > BODY_SWALLOW_BYTES_MAX {
                        return Poll::Ready(false);
                    }
                }
            }),
        );
        if drained.await == Ok(true) { Next::Again } else { Next::Linger }
    }

    async fn linger(&mut self) {
        let leg = &self.leg;
        let deadline = self.pipeline.worker.clock.now().after(LINGER_TIMEOUT);
        let close = async {
            poll_fn(|context| leg.poll_shutdown(context)).await?;
            loop {
                leg.with_input(bytes::BytesMut::clear);
                if poll_fn(|context| leg.poll_fill(context, READ_SMALL_BYTES)).await? == 0 {
                    return std::io::Result::Ok(());
                }
            }
        };
        // However it ends, the connection is closed next.
        let _ = self.alarm.guard(deadline, close).await;
    }
}
