//! Which filter took how long.
//!
//! In: the moment at which each filter of a route has run. Out: its time in the record. Not here: why it took so long.

use crate::base::clock::{Clock, Tick};
use crate::telemetry::record::Record;
use crate::telemetry::record::filtered::FilterTag;

/// Runs from one filter to the next.
pub(super) struct Lap<'l> {
    clock: &'l Clock,
    record: &'l mut Record,
    began: Tick,
}

impl<'l> Lap<'l> {
    pub(super) fn begin(clock: &'l Clock, record: &'l mut Record) -> Self {
        Lap { began: clock.now(), clock, record }
    }

    /// The filter in this place of its route has run.
    pub(super) fn ran(&mut self, index: usize, tag: FilterTag) {
        let now = self.clock.now();
        self.record.filtered(index, tag, now.since(self.began));
        self.began = now;
    }
}
