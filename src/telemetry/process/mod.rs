//! The telemetry thread: records in, signals out.
//!
//! In: the workers' rings, and questions from the control plane. Out: kept spans to the Collector's queue, log lines to their sink, exemplars,
//! the recent records. It wakes a hundred times a second, and never makes a worker wait. Not here: formats (`export`).

pub(crate) mod keep;
pub(crate) mod recent;
mod shelf;
pub(crate) mod aggregate;
mod exemplars;
mod timeline;
mod lookup;
mod questions;
pub(crate) mod query;
mod trends;
pub(crate) mod usage;
mod verdict;
mod views;
pub(crate) mod whole;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::export::access_log::{self, Format};
use super::export::ledger::{Drop, Ledger, Signal};
use super::export::log_sink::LogSink;
use super::export::metrics::{Family, FamilyKind};
use super::export::otlp::sender::{Outbox, Request};
use super::export::otlp::spans::Batch;
use super::record::Record;
use super::record::instruments::Feed;
use super::record::legend::Legends;
use super::record::names;
use super::record::series::Budget;
use crate::base::clock::{Clock, Tick};
use crate::base::limits::OTLP_REQUEST_BYTES_MAX;
use aggregate::Aggregate;
use exemplars::Exemplars;
use keep::{Decision, Keep, Policy};
use lookup::Names;
use questions::Question;
use recent::Recent;
use timeline::Timelines;
use trends::Trends;
use verdict::Verdicts;

pub(crate) use questions::Telemetry;

/// How often the rings are drained.
const DRAIN_EVERY: Duration = Duration::from_millis(10);
/// How long a span waits for others to travel with.
const BATCH_AGE_MAX: Duration = Duration::from_millis(500);
/// Log lines are handed on in blocks of about this size.
const LOG_BLOCK_BYTES: usize = 128 * 1024;
/// How long a log line waits for others to be written with.
const LOG_AGE_MAX: Duration = Duration::from_millis(50);

/// What the thread is made of.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) feeds: Vec<Feed>,
    pub(crate) legends: Arc<Legends>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) keep: Policy,
    pub(crate) spans: Option<(Outbox, Vec<u8>)>,
    pub(crate) log: Option<(LogSink, Format)>,
}

struct Thread {
    clock: Clock,
    feeds: Vec<Feed>,
    ledger: Arc<Ledger>,
    names: Names,
    keep: Keep,
    aggregate: Aggregate,
    exemplars: Exemplars,
    recent: Recent,
    trends: Trends,
    verdicts: Verdicts,
    slower_than: Option<u64>,
    spans: Option<(Outbox, Batch)>,
    batch_since: Tick,
    log: Option<(LogSink, Format)>,
    log_block: Vec<u8>,
    log_lines: u64,
    log_since: Tick,
    timelines: Timelines,
    lost_seen: Vec<(u64, u64)>,
    lost_polls_seen: u64,
    /// Where slim records become whole ones.
    scratch: Option<Box<Record>>,
}

fn nanos(limit: Option<Duration>) -> Option<u64> {
    limit.map(|limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
}

impl Thread {
    fn new(parts: Parts) -> Self {
        Thread {
            timelines: Timelines::default(),
            lost_polls_seen: 0,
            lost_seen: vec![(0, 0); parts.feeds.len()],
            slower_than: nanos(parts.keep.slower_than),
            aggregate: Aggregate::new(parts.feeds.len(), parts.budget),
            feeds: parts.feeds,
            ledger: parts.ledger,
            names: Names::new(parts.legends),
            keep: Keep::new(parts.keep, parts.clock.now()),
            exemplars: Exemplars::default(),
            recent: Recent::default(),
            trends: Trends::new(parts.clock.now()),
            verdicts: Verdicts::new(),
            spans: parts.spans.map(|(outbox, resource)| (outbox, Batch::new(resource))),
            batch_since: Tick(0),
            log: parts.log,
            log_block: Vec::new(),
            log_lines: 0,
            log_since: Tick(0),
            clock: parts.clock,
            scratch: None,
        }
    }

    fn run(&mut self, questions: &Receiver<Question>) {
        loop {
            let asked = questions.recv_timeout(DRAIN_EVERY);
            self.drain();
            match asked {
                Ok(Question::Stop(done)) => {
                    self.finish();
                    let _ = done.send(());
                    return;
                }
                Ok(question) => self.answer(question),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
        }
    }

    /// An asker that is gone does not need its answer.
    fn answer(&mut self, question: Question) {
        match question {
            Question::Look(look) => look(self),
            Question::Metrics(answer) => drop(answer.send(self.families())),
            Question::Flush(answer) => {
                self.flush_log();
                let _ = answer.send(());
            }
            Question::Keep(policy) => {
                self.slower_than = nanos(policy.slower_than);
                self.keep.set_policy(policy);
            }
            Question::Timeline(length, answer) => {
                let now = self.clock.now();
                self.timelines.begin(now, now.after(length), self.feeds.len(), answer);
            }
            Question::ReopenLog => {
                self.flush_log();
                if let Some((sink, _)) = &self.log {
                    sink.reopen();
                }
            }
            Question::Stop(_) => {}
        }
    }

    fn families(&self) -> Vec<Family> {
        let mut families = self.aggregate.families(&self.feeds, &self.names.routes, &self.names.endpoints, &self.exemplars, &self.ledger);
        families.push(Family::single(&names::HISTORY_BYTES, FamilyKind::Gauge, self.trends.bytes() as f64));
        families.push(Family::single(&names::BASELINES_FORGOTTEN, FamilyKind::Counter, self.verdicts.forgotten() as f64));
        families
    }

    fn drain(&mut self) {
        self.names.renew();
        let wall_offset = self.clock.wall_offset();
        for index in 0..self.feeds.len() {
            self.aggregate.adopt(index, &mut self.feeds[index].arrivals);
            self.count_lost(index);
            self.drain_rings(index, wall_offset);
            self.drain_polls(index);
        }
        let now = self.clock.now();
        self.timelines.finish(now);
        self.trends.advance(now);
        if self.log_lines > 0 && now >= self.log_since.after(LOG_AGE_MAX) {
            self.flush_log();
        }
        if let Some((_, batch)) = &self.spans
            && batch.spans() > 0
            && now >= self.batch_since.after(BATCH_AGE_MAX)
        {
            self.flush_spans();
        }
    }

    /// Takes up what a worker has left in its rings.
    fn drain_rings(&mut self, index: usize, wall_offset: u64) {
        let mut scratch = self.scratch.take().unwrap_or_else(|| Box::new(Record::empty()));
        while let Some(slim) = self.feeds[index].pop_slim() {
            slim.expand(&mut scratch);
            self.take(&scratch, wall_offset);
        }
        while let Ok(record) = self.feeds[index].full.pop() {
            self.take(&record, wall_offset);
        }
        self.scratch = Some(scratch);
    }

    /// Polls of the workers, which are told only while a timeline is drawn.
    fn drain_polls(&mut self, index: usize) {
        while let Ok(span) = self.feeds[index].timeline.pop() {
            self.timelines.poll(index, &span);
        }
        if !self.timelines.is_empty() {
            let lost = self.feeds.iter().map(|feed| feed.gauges.lost_polls.load(Ordering::Relaxed)).sum();
            self.timelines.lost(lost - std::mem::replace(&mut self.lost_polls_seen, lost));
        }
    }

    fn take(&mut self, record: &Record, wall_offset: u64) {
        let now = record.ended;
        self.trends.note(record);
        let verdict = self.verdicts.judge(record, self.names.route(record), &self.names.endpoints, self.slower_than);
        let entry = self.names.entry(record, wall_offset, verdict.as_ref());
        if !self.timelines.is_empty() {
            self.timelines.request(&entry, &self.names.endpoints);
        }
        let decision = self.keep.decide(record, now);
        if let Some((_, format)) = self.log {
            self.ledger.produced(Signal::Logs, 1);
            access_log::write_line(&mut self.log_block, entry, format);
            if self.log_lines == 0 {
                self.log_since = now;
            }
            self.log_lines += 1;
        }
        let kept = match decision {
            Decision::Keep(reason) => Some(reason),
            Decision::RateLimited if self.spans.is_some() => {
                self.ledger.produced(Signal::Traces, record.span_count());
                self.ledger.dropped(Signal::Traces, Drop::RateLimited, record.span_count());
                None
            }
            Decision::RateLimited | Decision::Pass => None,
        };
        if let (Some(reason), Some((_, batch))) = (kept, &mut self.spans) {
            self.ledger.produced(Signal::Traces, record.span_count());
            if batch.spans() == 0 {
                self.batch_since = now;
            }
            let endpoints = &self.names.endpoints;
            batch.add(entry, reason, |attempt| endpoints.get(attempt.endpoint.0 as usize).map(|arc| &**arc));
            self.exemplars.note(record, wall_offset);
        }
        self.recent.keep(record, kept, verdict, wall_offset);
        if self.log_block.len() >= LOG_BLOCK_BYTES {
            self.flush_log();
        }
        if self.spans.as_ref().is_some_and(|(_, batch)| batch.len() >= OTLP_REQUEST_BYTES_MAX) {
            self.flush_spans();
        }
    }

    /// What the workers had to drop before it reached their ring.
    fn count_lost(&mut self, index: usize) {
        let gauges = &self.feeds[index].gauges;
        let lost = (gauges.lost_records.load(Ordering::Relaxed), gauges.lost_spans.load(Ordering::Relaxed));
        let seen = std::mem::replace(&mut self.lost_seen[index], lost);
        let (records, spans) = (lost.0 - seen.0, lost.1 - seen.1);
        if records > 0 {
            self.timelines.lost(records);
        }
        for (wanted, signal, items) in [(self.log.is_some(), Signal::Logs, records), (self.spans.is_some(), Signal::Traces, spans)] {
            if wanted && items > 0 {
                self.ledger.produced(signal, items);
                self.ledger.dropped(signal, Drop::RingFull, items);
            }
        }
    }

    fn flush_log(&mut self) {
        if self.log_lines == 0 {
            return;
        }
        if let Some((sink, _)) = &self.log {
            let capacity = self.log_block.len() + self.log_block.len() / 8;
            let block = std::mem::replace(&mut self.log_block, Vec::with_capacity(capacity));
            sink.write(block, std::mem::take(&mut self.log_lines));
        }
    }

    fn flush_spans(&mut self) {
        if let Some((outbox, batch)) = &mut self.spans
            && let Some((bytes, items)) = batch.take()
        {
            outbox.send(Request { bytes, items });
        }
    }

    fn finish(&mut self) {
        self.drain();
        self.flush_log();
        self.flush_spans();
        self.spans = None;
        if let Some((sink, _)) = self.log.take() {
            sink.stop();
        }
    }
}
