//! Watching a client while its answer is prepared.
//!
//! In: the client's leg. Out: readiness once the client is gone. A client that only closed its sending side may still want its answer, and
//! looks the same as one that left: it is served for the listener's half-close time.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::alarm::Alarm;
use crate::base::clock::{Clock, Tick};
use crate::base::limits::READ_SMALL_BYTES;
use crate::proxy::http1::leg::Leg;

/// One exchange's watch over its client.
pub(super) struct ClientWatch<'w> {
    pub(super) leg: &'w Leg,
    pub(super) clock: &'w Clock,
    pub(super) half_close_timeout: Duration,
    pub(super) gone_at: Tick,
}

impl ClientWatch<'_> {
    /// Ready when nobody waits for the answer any more. Bytes of a next request stay in the leg's buffer.
    pub(super) fn poll_gone(&mut self, alarm: &mut Alarm, context: &mut Context<'_>) -> Poll<()> {
        if self.poll_broken(context).is_ready() {
            return Poll::Ready(());
        }
        if self.leg.is_closed() && self.gone_at == Tick::NEVER {
            self.gone_at = self.clock.now().after(self.half_close_timeout);
        }
        alarm.poll_at(self.gone_at, context)
    }

    /// Ready when the connection is broken; the end of the client's sending side does not count.
    pub(super) fn poll_broken(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.leg.is_being_read() || self.leg.has_input() || self.leg.is_closed() {
            return Poll::Pending;
        }
        match self.leg.poll_fill(context, READ_SMALL_BYTES) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }
}
