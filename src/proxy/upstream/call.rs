//! One request over one connection.
//!
//! In: a connection whose output holds the request's head, and the body. Out: the head of the final response; the upload goes on beside the
//! response if it is not over by then. Interim responses are passed on as they come. Not here: which headers are sent (`head`), and
//! reading the response's body (the exchange streams it).

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};

use super::Failure;
use super::endpoint::Limits;
use crate::base::alarm::Alarm;
use crate::base::clock::{Clock, Tick};
use crate::base::limits::{INTERIM_RESPONSES_MAX, READ_SMALL_BYTES, RESPONSE_HEADER_BYTES_MAX};
use crate::proxy::activity::Activity;
use crate::proxy::fields::Known;
use crate::proxy::http1::head::{BadHead, HeadScanner, ResponseHead, parse_response};
use crate::proxy::http1::incoming::Broken;
use crate::proxy::http1::leg::Leg;
use crate::proxy::http1::sender::{SendError, Sender};
use crate::proxy::message::{Body, Interim};
use crate::telemetry::record::labels::{Work, turn_to};
use crate::telemetry::record::{Attempt, Phase};

/// A request's body on its way to an upstream.
pub(crate) struct Upload {
    leg: Rc<Leg>,
    sender: Sender,
    body: Body,
    started: bool,
    over: bool,
    broken: bool,
    /// Something of an answer came.
    pub(crate) heard: bool,
}

impl Upload {
    pub(crate) fn new(leg: Rc<Leg>, body: Body) -> Self {
        Upload { leg, sender: Sender::new(body.framing()), started: body.is_empty(), body, over: false, broken: false, heard: false }
    }

    /// The whole request is with the upstream's kernel.
    pub(crate) fn is_complete(&self) -> bool {
        self.over && !self.broken
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// The upstream has all that the client has sent of it.
    pub(crate) fn waits_for_client(&self) -> bool {
        !self.over && self.leg.unsent() == 0
    }

    /// Body bytes taken from the client so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sender.sent()
    }

    /// The body, if nothing of it was read yet, so that another attempt can send it.
    pub(crate) fn into_unread(self) -> Option<Body> {
        (self.body.is_empty() && self.sent() == 0 || !self.started).then_some(self.body)
    }

    /// Moves what there is. Ready when the upload is over; an upstream that does not take it all ends it too.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        let (body, started) = (&mut self.body, &mut self.started);
        let polled = self.sender.poll_send(context, &self.leg, |context| {
            let frame = body.poll_frame(context);
            *started = *started || frame.is_ready();
            frame
        });
        match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(SendError::Peer(_))) => self.broken = true,
            Poll::Ready(Err(SendError::Body(broken))) => return Poll::Ready(Err(Failure::RequestBody(broken))),
            Poll::Ready(Err(SendError::Length)) => return Poll::Ready(Err(Failure::RequestLength)),
        }
        self.over = true;
        Poll::Ready(Ok(()))
    }
}

/// The wait for a response head.
pub(crate) struct Call<'c> {
    pub(crate) clock: &'c Clock,
    /// The task's own: what was read now arrived when it was woken.
    pub(crate) activity: &'c Activity,
    pub(crate) limits: &'c Limits,
    pub(crate) method: &'c Method,
    pub(crate) interim: Option<&'c Interim>,
    /// The protocol that the request asks to switch to.
    pub(crate) upgrade: Option<&'static str>,
    /// The client sends its body only once it is told to.
    pub(crate) expects_continue: bool,
    /// Between two pieces of the request's body.
    pub(crate) request_idle_timeout: Duration,
    /// When the whole exchange must be over.
    pub(crate) deadline: Tick,
}

/// How far a call has come. However it ends, the attempt is told where the time went.
struct Progress<'p> {
    clock: &'p Clock,
    attempt: &'p mut Attempt,
    scanner: HeadScanner,
    interims: u32,
    began: Tick,
    sent_at: Option<Tick>,
    first_byte_at: Option<Tick>,
    uploaded_at: Tick,
}

impl Call<'_> {
    /// Sends and waits. Fills in `send` and `wait`.
    pub(crate) async fn run(&self, upload: &mut Upload, alarm: &mut Alarm, attempt: &mut Attempt) -> Result<ResponseHead, Failure> {
        let at_once = attempt.reused && attempt.phases.of(Phase::Queue) == 0;
        let began = if at_once { attempt.began } else { self.clock.now() };
        let mut progress = Progress {
            clock: self.clock,
            attempt,
            scanner: HeadScanner::default(),
            interims: 0,
            began,
            sent_at: None,
            first_byte_at: None,
            uploaded_at: began,
        };
        turn_to(Work::Send);
        poll_fn(|context| self.poll(&mut progress, upload, alarm, context)).await
    }

    fn poll(
        &self,
        progress: &mut Progress<'_>,
        upload: &mut Upload,
        alarm: &mut Alarm,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        if progress.sent_at.is_none() {
            let polled = upload.poll(context);
            if upload.sent() > progress.attempt.request_bytes {
                progress.attempt.request_bytes = upload.sent();
                self.activity.has_received(upload.sent());
                progress.uploaded_at = self.clock.now();
            }
            match polled {
                Poll::Ready(Ok(())) => {
                    progress.sent_at = Some(self.clock.now());
                    turn_to(Work::Wait);
                }
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => turn_to(if upload.waits_for_client() { Work::Upload } else { Work::Send }),
            }
        }
        let polled = self.poll_head(progress, &upload.leg, context);
        upload.heard = progress.first_byte_at.is_some();
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result);
        }
        let limit = match progress.sent_at {
            Some(sent_at) => sent_at.after(self.limits.first_byte_timeout),
            None if self.is_waited_for(progress) => progress.uploaded_at.after(self.limits.first_byte_timeout),
            None => progress.uploaded_at.after(self.request_idle_timeout),
        };
        if alarm.poll_at(limit.min(self.deadline), context).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(match progress.sent_at {
            _ if self.deadline <= limit => Failure::ExchangeTimeout,
            None if upload.leg.unsent() == 0 && !self.is_waited_for(progress) => {
                Failure::RequestBody(Broken::Io(io::ErrorKind::TimedOut.into()))
            }
            _ => Failure::FirstByteTimeout,
        }))
    }

    fn poll_head(&self, progress: &mut Progress<'_>, leg: &Leg, context: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        loop {
            if leg.has_input() {
                match self.take_head(progress, leg) {
                    Ok(None) => {}
                    Ok(Some(head)) if head.status.is_informational() && !self.is_switched_by(&head) => {
                        self.pass_on(progress, &head, context)?;
                        continue;
                    }
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Err(BadHead::Malformed(why)) => return Poll::Ready(Err(Failure::Malformed(why))),
                    Err(_) => return Poll::Ready(Err(Failure::Malformed("the header section is too large"))),
                }
            }
            match std::task::ready!(leg.poll_fill(context, READ_SMALL_BYTES)) {
                Ok(0) => return Poll::Ready(Err(Failure::Closed)),
                Ok(_) => {
                    let earliest = progress.sent_at.unwrap_or(progress.began);
                    progress.first_byte_at.get_or_insert(self.activity.woken_at().max(earliest));
                }
                Err(error) => return Poll::Ready(Err(Failure::Reset(error))),
            }
        }
    }

    fn take_head(&self, progress: &mut Progress<'_>, leg: &Leg) -> Result<Option<ResponseHead>, BadHead> {
        let head = leg.with_input(|input| {
            // Only before a request are empty lines skipped (RFC 9112, section 2.2).
            if input.starts_with(b"\r") {
                return Err(BadHead::Malformed("an empty line stands where an answer begins"));
            }
            let length = progress.scanner.find(input, RESPONSE_HEADER_BYTES_MAX)?;
            Ok::<_, BadHead>(length.map(|length| input.split_to(length).freeze()))
        })?;
        head.map(|head| parse_response(head, self.method)).transpose()
    }

    /// The client waits for the upstream's leave to send its body.
    fn is_waited_for(&self, progress: &Progress<'_>) -> bool {
        self.expects_continue && progress.interims == 0 && progress.attempt.request_bytes == 0
    }

    /// The upstream switches to the protocol that it was asked for.
    fn is_switched_by(&self, head: &ResponseHead) -> bool {
        let names = |protocol: &str| head.headers.get(Known::Upgrade).is_some_and(|named| named.eq_ignore_ascii_case(protocol.as_bytes()));
        head.status == StatusCode::SWITCHING_PROTOCOLS && self.upgrade.is_some_and(names)
    }

    /// Interim responses are bounded, and none may switch protocols: nobody asked for it.
    fn pass_on(&self, progress: &mut Progress<'_>, head: &ResponseHead, context: &mut Context<'_>) -> Result<(), Failure> {
        progress.interims += 1;
        if progress.interims > INTERIM_RESPONSES_MAX || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Malformed("too many interim responses, or a switch of protocols that nobody asked for"));
        }
        if let Some(interim) = self.interim {
            interim.relay(head.status, &head.headers, context);
        }
        Ok(())
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        let answered = self.first_byte_at.unwrap_or_else(|| self.clock.now());
        let sent = self.sent_at.unwrap_or(answered).min(answered);
        self.attempt.phases.add(Phase::Send, sent.since(self.began));
        self.attempt.phases.add(Phase::Wait, answered.since(sent));
        self.attempt.ended = answered;
    }
}

/// A failure on a connection that had served before, before any byte of an answer: it may have been closed while it was idle.
pub(crate) fn as_stale(failure: Failure, reused: bool) -> Failure {
    match failure {
        Failure::Closed | Failure::Reset(_) if reused => Failure::Stale,
        other => other,
    }
}
