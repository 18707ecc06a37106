//! How long a task works, as against waits.
//!
//! In: when a task was woken and went to sleep again. Out: the time between, for one exchange after the other. Not here: who wakes it.

use std::cell::Cell;

use super::clock::{Clock, Tick};

/// The time that a task spends at work, as against waiting: its polls.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    mark: Cell<Tick>,
    spent: Cell<u64>,
    running: Cell<bool>,
}

impl Stopwatch {
    /// An exchange begins at the task's last wake-up.
    pub(crate) fn start(&self) {
        self.spent.set(0);
        self.running.set(true);
    }

    /// The task was woken.
    pub(crate) fn resume(&self, now: Tick) {
        self.mark.set(now);
    }

    /// The task goes to sleep. The clock is read only while an exchange is open.
    pub(crate) fn pause(&self, clock: &Clock) {
        if self.running.get() {
            let now = clock.now();
            self.spent.set(self.spent.get() + now.since(self.mark.get()));
            self.mark.set(now);
        }
    }

    /// Time spent up to `now`, the exchange's end. What the task does next belongs to the next exchange.
    pub(crate) fn stop(&self, now: Tick) -> u64 {
        self.running.set(false);
        let spent = self.spent.get() + now.since(self.mark.get());
        self.mark.set(now);
        spent
    }

    /// An exchange is open.
    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }

    pub(crate) fn woken_at(&self) -> Tick {
        self.mark.get()
    }
}
