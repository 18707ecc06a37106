//! One core's thread and all it owns: clock, randomness, recorder, pools, the plan as this worker sees it.
//!
//! In: the published snapshot. Out: everything an exchange needs, without a lock and without another core. All of it is used by
//! one thread only, so plain cells suffice. Not here: what is done with it (`pipeline`), and starting threads (`gateway`).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::activity::{Activities, Activity};
use super::balance::RoundRobin;
use super::drain::{Drain, Step};
use super::http1::leg::Buffers;
use super::snapshot::Snapshot;
use super::upstream::pool::Pools;
use crate::base::alarm::Alarm;
use crate::base::clock::{Clock, Tick};
use crate::base::draw::Draw;
use crate::base::ids::{TraceId, hex_text};
use crate::base::limits::SPARE_RECORDS_MAX;
use crate::telemetry::record::Record;
use crate::telemetry::record::instruments::Recorder;
use crate::telemetry::record::labels::Labels;
use crate::telemetry::record::polls::{PollSpan, Polls, is_timeline_wanted};
use arc_swap::{ArcSwap, Cache};

pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) clock: Clock,
    pub(crate) draw: RefCell<Draw>,
    pub(crate) recorder: RefCell<Recorder>,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) pools: Rc<Pools>,
    pub(crate) activities: Activities,
    polls: Arc<Polls>,
    /// One a listener, by its slot.
    drains: RefCell<HashMap<usize, Rc<Drain>>>,
    published: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    plan: RefCell<Rc<Plan>>,
    /// The trace of the exchange whose handling has just panicked.
    pub(crate) broke_down: Cell<Option<TraceId>>,
    /// What is still open is cut off.
    pub(crate) is_ending: Cell<bool>,
    spare: RefCell<Vec<Kit>>,
    date: Cell<[u8; 29]>,
}

/// A snapshot with this worker's own state about it.
pub(crate) struct Plan {
    pub(crate) snapshot: Arc<Snapshot>,
    /// One a upstream.
    pub(crate) cursors: RefCell<Vec<RoundRobin>>,
}

/// What an exchange borrows from its worker, used again and again.
pub(crate) struct Kit {
    pub(crate) record: Box<Record>,
    pub(crate) alarm: Alarm,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        clock: Clock,
        recorder: Recorder,
        published: Arc<ArcSwap<Snapshot>>,
        pools: Rc<Pools>,
        buffers: Rc<Buffers>,
    ) -> Rc<Self> {
        let mut published = Cache::new(published);
        let plan = RefCell::new(Rc::new(Plan::new(Arc::clone(published.load()), index)));
        let worker = Worker {
            index,
            clock,
            activities: Activities::default(),
            polls: recorder.polls(),
            draw: RefCell::new(Draw::from_system()),
            recorder: RefCell::new(recorder),
            buffers,
            pools,
            drains: RefCell::default(),
            published: RefCell::new(published),
            plan,
            broke_down: Cell::default(),
            is_ending: Cell::default(),
            spare: RefCell::default(),
            date: Cell::new(*b"Thu, 01 Jan 1970 00:00:00 GMT"),
        };
        worker.set_date();
        Rc::new(worker)
    }

    /// The thread that it runs on, as the kernel numbers it.
    pub(crate) fn is_on(&self, thread: i32) {
        self.polls.thread.store(thread, Ordering::Relaxed);
    }

    /// The plan in force. One atomic load, unless it has just changed.
    pub(crate) fn plan(&self) -> Rc<Plan> {
        let mut published = self.published.borrow_mut();
        let snapshot = published.load();
        let mut plan = self.plan.borrow_mut();
        if !Arc::ptr_eq(snapshot, &plan.snapshot) {
            *plan = Rc::new(Plan::new(Arc::clone(snapshot), self.index));
        }
        Rc::clone(&plan)
    }

    /// A clean record and a timer.
    pub(crate) fn take_kit(&self) -> Kit {
        match self.spare.borrow_mut().pop() {
            Some(mut kit) => {
                kit.record.reset();
                kit
            }
            None => Kit { record: Box::new(Record::empty()), alarm: Alarm::new(self.clock.clone()) },
        }
    }

    pub(crate) fn put_kit(&self, kit: Kit) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_RECORDS_MAX {
            spare.push(kit);
        }
    }

    /// The value of `Date`, at most a second old.
    pub(crate) fn date(&self) -> [u8; 29] {
        self.date.get()
    }

    /// Runs a task and notes when it works and when it waits. None where the task broke down, which is logged.
    pub(crate) async fn timed<F: Future + ?Sized>(&self, mut task: Pin<Box<F>>, activity: &Activity) -> Option<F::Output> {
        poll_fn(|context| {
            let now = self.clock.now();
            self.pools.woken.set(now);
            self.polls.begin(now);
            activity.resume(now);
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
            let spent = activity.pause(&self.clock);
            self.polls.end(spent);
            if is_timeline_wanted() {
                let Labels { trace_id, route, work, .. } = activity.polled_for();
                self.recorder.borrow_mut().note_poll(PollSpan { began: now, ended: Tick(now.0 + spent), trace_id, route, work });
            }
            match polled {
                Ok(polled) => polled.map(Some),
                Err(panic) => {
                    self.lament(&*panic);
                    Poll::Ready(None)
                }
            }
        })
        .await
    }

    /// Says which trace a panic belongs to. The exchange has closed its record as it unwound.
    pub(crate) fn lament(&self, panic: &(dyn Any + Send)) -> Option<TraceId> {
        let trace_id = self.broke_down.take();
        let why = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("");
        let trace = trace_id.map_or_else(String::new, |trace_id| hex_text(&trace_id.hex()).to_owned());
        tracing::error!(trace_id = %trace, panic = why, "a request broke down; its worker goes on");
        trace_id
    }

    /// A listener opens, perhaps where another one closed.
    pub(crate) fn open_door(&self, slot: usize) -> Rc<Drain> {
        let mut drains = self.drains.borrow_mut();
        let drain = drains.entry(slot).or_default();
        if drain.has_reached(Step::Begun) {
            *drain = Rc::default();
        }
        Rc::clone(drain)
    }

    /// The end of a listener as it is now, whatever takes its slot later; of all of them where none is named.
    pub(crate) fn drains(&self, slot: Option<usize>) -> Vec<Rc<Drain>> {
        let drains = self.drains.borrow();
        drains.iter().filter(|(door, _)| slot.is_none_or(|slot| slot == **door)).map(|(_, drain)| Rc::clone(drain)).collect()
    }

    /// Connections or exchanges are still open.
    pub(crate) fn is_busy(&self) -> bool {
        let recorder = self.recorder.borrow();
        let gauges = recorder.gauges();
        gauges.connections.load(Ordering::Relaxed) > 0 || gauges.active_requests.load(Ordering::Relaxed) > 0
    }

    /// Work of once a second: the date, and idle upstream connections.
    pub(crate) fn tick(&self) {
        self.set_date();
        self.pools.sweep();
        let _ = self.plan();
    }

    fn set_date(&self) {
        let unix = std::time::Duration::from_nanos(self.clock.wall_offset() + self.clock.now().0);
        let text = httpdate::fmt_http_date(std::time::UNIX_EPOCH + unix);
        if let Ok(date) = text.as_bytes().try_into() {
            self.date.set(date);
        }
    }
}

impl Plan {
    fn new(snapshot: Arc<Snapshot>, worker: usize) -> Self {
        let cursors = snapshot.upstreams.iter().map(|upstream| RoundRobin::new(&upstream.weights, worker)).collect();
        Plan { snapshot, cursors: RefCell::new(cursors) }
    }
}
