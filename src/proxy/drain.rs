//! How a listener's life ends, step by step.
//!
//! In: orders. Out: what acceptors and connections obey: announce (answers say `Connection: close`, connections are still accepted), begin
//! (nothing more is accepted), close idle (connections between two requests end). Not here: who gives the orders (`gateway`, a reload).

use std::cell::Cell;

use tokio::sync::Notify;

/// The steps, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    #[default]
    Open,
    Announced,
    Begun,
    /// Clients had their time to hear of it.
    IdleOver,
}

/// One worker's part of one listener, on its way out or not.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    step: Cell<Step>,
    notify: Notify,
}

impl Drain {
    /// Goes on to `step`, never back.
    pub(crate) fn reach(&self, step: Step) {
        self.step.set(self.step.get().max(step));
        self.notify.notify_waiters();
    }

    pub(crate) fn has_reached(&self, step: Step) -> bool {
        self.step.get() >= step
    }

    pub(crate) async fn wait(&self, step: Step) {
        while !self.has_reached(step) {
            self.notify.notified().await;
        }
    }
}
