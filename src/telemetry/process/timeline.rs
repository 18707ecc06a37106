//! Timelines that are being drawn: requests and polls as trace events.
//!
//! In: polls from the workers' rings, records as they end. Out: one document for each who asked, when its time is over. At most so many at
//! once, each of bounded size; what does not fit is counted in it. Not here: the format (`export::timeline`).

use tokio::sync::oneshot;

use crate::base::clock::Tick;
use crate::telemetry::export::access_log::Entry;
use crate::telemetry::export::timeline::Events;
use crate::telemetry::record::labels;
use crate::telemetry::record::legend::EndpointLegend;
use crate::telemetry::record::polls::{PollSpan, TimelineWanted};
use std::sync::Arc;

/// Timelines that are drawn at once.
const TIMELINES_MAX: usize = 4;

#[derive(Default)]
pub(super) struct Timelines {
    drawn: Vec<Drawn>,
}

struct Drawn {
    until: Tick,
    events: Events,
    answer: Option<oneshot::Sender<Vec<u8>>>,
    _wanted: TimelineWanted,
}

impl Timelines {
    /// Begins one. Where there are too many, the answer is dropped.
    pub(super) fn begin(&mut self, now: Tick, until: Tick, workers: usize, answer: oneshot::Sender<Vec<u8>>) {
        if self.drawn.len() < TIMELINES_MAX {
            self.drawn.push(Drawn { until, events: Events::new(now, workers), answer: Some(answer), _wanted: TimelineWanted::new() });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.drawn.is_empty()
    }

    pub(super) fn poll(&mut self, worker: usize, span: &PollSpan) {
        let route = labels::name(span.route);
        for drawn in &mut self.drawn {
            drawn.events.poll(worker, span, route.as_deref().unwrap_or(""));
        }
    }

    pub(super) fn request(&mut self, entry: &Entry<'_>, endpoints: &[Arc<EndpointLegend>]) {
        for drawn in &mut self.drawn {
            drawn.events.request(entry, endpoints);
        }
    }

    pub(super) fn lost(&mut self, polls: u64) {
        for drawn in &mut self.drawn {
            drawn.events.lost(polls);
        }
    }

    /// Hands out those whose time is over. Who asked may be gone.
    pub(super) fn finish(&mut self, now: Tick) {
        for drawn in self.drawn.extract_if(.., |drawn| now >= drawn.until || drawn.answer.as_ref().is_none_or(oneshot::Sender::is_closed)) {
            if let Some(answer) = drawn.answer {
                let _ = answer.send(drawn.events.finish(now));
            }
        }
    }
}
