//! A deadline that costs nothing while it is met.
//!
//! In: a tick. Out: readiness once that tick has passed. One tokio timer stands behind many deadlines: it is armed for the
//! earliest one asked for and looked at again only when it fires, so moving a deadline on registers no timer.
//! Not here: what a passed deadline means.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::time::Sleep;

use super::clock::{Clock, Tick};

/// One reusable timer. Belongs to one task at a time.
pub(crate) struct Alarm {
    clock: Clock,
    sleep: Option<Pin<Box<Sleep>>>,
    armed_for: Tick,
}

/// The deadline passed first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Late;

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        Alarm { clock, sleep: None, armed_for: Tick::NEVER }
    }

    /// Ready once `deadline` has passed. The task is woken at or after it, and sometimes before.
    pub(crate) fn poll_at(&mut self, deadline: Tick, context: &mut Context<'_>) -> Poll<()> {
        if deadline == Tick::NEVER {
            return Poll::Pending;
        }
        loop {
            if self.sleep.is_none() || deadline < self.armed_for {
                self.arm(deadline);
            }
            let sleep = self.sleep.as_mut().expect("armed above");
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.armed_for = Tick::NEVER;
            if self.clock.now() >= deadline {
                return Poll::Ready(());
            }
        }
    }

    /// Runs `work` until `deadline` at the latest. A deadline that has passed still lets `work` finish if it is ready.
    pub(crate) async fn guard<F: Future>(&mut self, deadline: Tick, work: F) -> Result<F::Output, Late> {
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_at(deadline, context).map(|()| Err(Late)),
        })
        .await
    }

    fn arm(&mut self, deadline: Tick) {
        let at = self.clock.instant(deadline);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
        self.armed_for = deadline;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_deadline_that_moves_on_does_not_fire_early() {
        let clock = Clock::system();
        let mut alarm = Alarm::new(clock.clone());
        let soon = clock.now().after(Duration::from_millis(5));
        let later = clock.now().after(Duration::from_millis(40));
        poll_fn(|context| {
            let _ = alarm.poll_at(soon, context);
            Poll::Ready(())
        })
        .await;
        poll_fn(|context| alarm.poll_at(later, context)).await;
        assert!(clock.now() >= later);
    }

    #[tokio::test]
    async fn work_that_outlasts_its_deadline_is_late() {
        let clock = Clock::system();
        let mut alarm = Alarm::new(clock.clone());
        let deadline = clock.now().after(Duration::from_millis(2));
        assert_eq!(alarm.guard(deadline, std::future::pending::<()>()).await, Err(Late));
        assert_eq!(alarm.guard(deadline, std::future::ready(7)).await, Ok(7));
    }
}
