//! Watching a client while its answer is prepared.
//!
//! In: the client's leg. Out: readiness once the client is gone, and when it closed its sending side. A client that did only that may still
//! want its answer, and looks the same as one that left: it is served for the listener's half-close time. Not here: what becomes of the
//! exchange.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::alarm::Alarm;
use crate::base::clock::Clock;
use crate::base::limits::READ_SMALL_BYTES;
use crate::proxy::activity::Activity;
use crate::proxy::http1::leg::Leg;

/// One exchange's watch over its client.
pub(super) struct ClientWatch<'w> {
    pub(super) leg: &'w Leg,
    pub(super) clock: &'w Clock,
    pub(super) activity: &'w Activity,
    pub(super) half_close_timeout: Duration,
}

impl ClientWatch<'_> {
    /// Ready when nobody waits for the answer any more. Bytes of a next request stay in the leg's buffer.
    pub(super) fn poll_gone(&self, alarm: &mut Alarm, context: &mut Context<'_>) -> Poll<()> {
        if self.poll_broken(context).is_ready() {
            return Poll::Ready(());
        }
        alarm.poll_at(self.activity.left().after(self.half_close_timeout), context)
    }

    /// Ready when the connection is broken; the end of the client's sending side does not count.
    pub(super) fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        let looks = !self.leg.is_being_read() && !self.leg.has_input() && !self.leg.is_closed();
        let broken = looks && matches!(self.leg.poll_fill(context, READ_SMALL_BYTES), Poll::Ready(Err(_)));
        if self.leg.is_closed() {
            self.activity.client_closed(self.clock);
        }
        if broken { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::sync::atomic::Ordering;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::base::clock::Tick;

    const HALF_CLOSE: Duration = Duration::from_millis(1);

    async fn pair() -> (Leg, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Leg::new(accepted.unwrap().0, Rc::default()), peer.unwrap())
    }

    #[tokio::test]
    async fn a_client_that_closes_its_side_is_gone_when_the_half_close_time_is_over_and_the_record_can_tell_both() {
        let (leg, peer) = pair().await;
        let (clock, hand) = Clock::manual(Tick(500));
        let (activity, mut alarm) = (Activity::new(SocketAddr::from(([127, 0, 0, 1], 9))), Alarm::new(clock.clone()));
        let watch = ClientWatch { leg: &leg, clock: &clock, activity: &activity, half_close_timeout: HALF_CLOSE };
        drop(peer);
        poll_fn(|context| {
            assert!(watch.poll_gone(&mut alarm, context).is_pending());
            if activity.left() == Tick::NEVER { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        hand.store(Tick(500).after(HALF_CLOSE).0, Ordering::Relaxed);
        poll_fn(|context| watch.poll_gone(&mut alarm, context)).await;
        assert_eq!(activity.left(), Tick(500));
    }

    #[tokio::test]
    async fn a_client_that_resets_its_connection_is_gone_at_once() {
        let (leg, peer) = pair().await;
        let (clock, _hand) = Clock::manual(Tick(500));
        let (activity, mut alarm) = (Activity::new(SocketAddr::from(([127, 0, 0, 1], 9))), Alarm::new(clock.clone()));
        let watch = ClientWatch { leg: &leg, clock: &clock, activity: &activity, half_close_timeout: Duration::from_secs(3600) };
        peer.set_zero_linger().unwrap();
        drop(peer);
        poll_fn(|context| watch.poll_gone(&mut alarm, context)).await;
        assert_eq!(activity.left(), Tick::NEVER);
    }
}
