//! An answer on its way to a client.
//!
//! In: an answer whose head is written. Out: its body on the wire, as fast as the client takes it, within the write timeout and the route's
//! deadline. Not here: what becomes of the connection then (`connection`).

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::client::ClientWatch;
use crate::base::alarm::Alarm;
use crate::base::clock::Tick;
use crate::proxy::http1::leg::Leg;
use crate::proxy::http1::sender::{SendError, Sender};
use crate::proxy::pipeline::{BrokenOff, Outbound};
use crate::telemetry::record::labels::{Work, turn_to};
use crate::telemetry::record::reason::Reason;

/// An answer on its way out.
pub(super) struct Streaming<'s> {
    leg: &'s Leg,
    alarm: &'s mut Alarm,
    sender: &'s mut Sender,
    outbound: &'s mut Outbound,
    stalled_since: Option<(Tick, usize)>,
}

impl<'s> Streaming<'s> {
    pub(super) fn new(leg: &'s Leg, alarm: &'s mut Alarm, sender: &'s mut Sender, outbound: &'s mut Outbound) -> Self {
        Streaming { leg, alarm, sender, outbound, stalled_since: None }
    }

    pub(super) async fn run(mut self) -> Result<(), SendError<BrokenOff>> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError<BrokenOff>>> {
        turn_to(Work::Body);
        let outbound = &mut *self.outbound;
        if let Poll::Ready(result) = self.sender.poll_send(context, self.leg, |context| outbound.poll_frame(context)) {
            return Poll::Ready(result);
        }
        let clock = &self.outbound.exchange.worker.clock;
        let waiting = self.leg.unsent();
        self.outbound.exchange.peer.activity.has_sent(self.sender.sent());
        if waiting == 0 {
            self.stalled_since = None;
            let half_close_timeout = self.outbound.exchange.policy().limits.half_close_timeout;
            let watch = ClientWatch { leg: self.leg, clock, activity: &self.outbound.exchange.peer.activity, half_close_timeout };
            return watch.poll_broken(context).map(|()| Err(SendError::Peer(std::io::ErrorKind::ConnectionReset.into())));
        }
        turn_to(Work::Deliver);
        let since = match self.stalled_since {
            Some((since, before)) if before == waiting => since,
            _ => clock.now(),
        };
        self.stalled_since = Some((since, waiting));
        let late = since.after(self.outbound.exchange.policy().limits.write_timeout);
        let deadline = self.outbound.exchange.deadline;
        std::task::ready!(self.alarm.poll_at(late.min(deadline), context));
        Poll::Ready(Err(if deadline <= late {
            self.outbound.note(Reason::ExchangeTimeout);
            SendError::Body(BrokenOff)
        } else {
            SendError::Peer(std::io::ErrorKind::TimedOut.into())
        }))
    }
}
