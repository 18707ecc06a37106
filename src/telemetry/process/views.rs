//! What the control plane looks at on the telemetry thread.
//!
//! In: a window of time, a filter, an id. Out: the bodies of the API, as JSON. Everything is read on the thread that owns it, between two
//! drains. Not here: HTTP, and the accounts.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::Thread;
use super::questions::Telemetry;
use super::recent::{Filter, News, Tail};
use super::whole::{RequestId, TraceLink};

impl Telemetry {
    /// The most recent requests that pass the filter, newest first.
    pub(crate) async fn recent(&self, filter: Filter) -> Option<Value> {
        let (rows, next) = self.look(move |thread| thread.recent.find(&filter, &thread.names)).await?;
        Some(json!({ "requests": rows, "next": next }))
    }

    /// How long the requests took that pass the filter.
    pub(crate) async fn durations(&self, filter: Filter) -> Option<Value> {
        self.look(move |thread| thread.recent.histogram(&filter, &thread.names)).await
    }

    /// What has come since `tail` that passes the filter.
    pub(crate) async fn tail(&self, filter: Filter, tail: Tail) -> Option<News> {
        self.look(move |thread| thread.recent.news(&filter, tail, &thread.names)).await
    }

    /// One request whole; none within an answer where it is not remembered. `link` leads to its trace.
    pub(crate) async fn whole(&self, id: RequestId, link: Option<Box<TraceLink>>) -> Option<Option<Value>> {
        let find = move |thread: &mut Thread| {
            // Without a way out for spans there is no trace that could be linked to.
            let link = link.as_deref().filter(|_| thread.spans.is_some());
            thread.recent.whole(id, &thread.names, &thread.verdicts, link)
        };
        self.look(find).await
    }

    /// Rates, errors and times by route over a window, and what changed.
    pub(crate) async fn overview(&self, window_s: u32) -> Option<Value> {
        self.look(move |thread| thread.overview(window_s)).await
    }

    /// The same over time, of one route or of all; in steps of 1 or 10 s, or without a choice, of both.
    pub(crate) async fn over_time(&self, route: Option<String>, span_s: u32, step_s: Option<u32>) -> Option<Value> {
        let history = move |thread: &mut Thread| {
            let (now, wall_offset) = (thread.clock.now(), thread.clock.wall_offset());
            thread.trends.history(route.as_deref(), span_s, step_s, now, wall_offset, &thread.names.routes)
        };
        self.look(history).await
    }

    /// Who asks whom.
    pub(crate) async fn topology(&self, window_s: u32) -> Option<Value> {
        let draw = move |thread: &mut Thread| {
            let now = thread.clock.now();
            thread.trends.topology(window_s, now, &thread.names.routes, &thread.names.endpoints)
        };
        self.look(draw).await
    }
}

impl Thread {
    fn overview(&mut self, window_s: u32) -> Value {
        let in_flight = self.feeds.iter().map(|feed| feed.gauges.active_requests.load(Ordering::Relaxed)).fold(0, u64::wrapping_add);
        let (now, wall_offset) = (self.clock.now(), self.clock.wall_offset());
        self.trends.overview(window_s, now, wall_offset, in_flight, &self.names.routes, &self.names.endpoints)
    }
}
