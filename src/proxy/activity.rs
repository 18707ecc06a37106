//! What a task is about: the request it serves, at what it works, since when, and how far it has come.
//!
//! In: when its task is polled, and the facts as they come. Out: the labels of samples that are taken during a poll, the time that the task
//! worked as against waited, and a view of it for whoever asks what is in flight. Not here: who is told (`record::labels`, `admin`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use crate::base::clock::{Clock, Tick};
use crate::base::ids::{SpanId, TraceId};
use crate::base::stopwatch::Stopwatch;
use crate::telemetry::record::labels::{self, LabelName, Labels, Work};
use crate::telemetry::record::polls::is_timeline_wanted;

/// One task's, for as long as the task lives.
#[derive(Debug)]
pub(crate) struct Activity {
    watch: Stopwatch,
    labels: Cell<Labels>,
    client: SocketAddr,
    /// When the last poll began.
    polled: Cell<Tick>,
    /// When the exchange began, and when it came to its present work.
    began: Cell<Tick>,
    since: Cell<Tick>,
    /// Those of the exchange that the last poll ended, while a timeline is drawn.
    ended: Cell<Labels>,
    /// Body bytes so far: from the client, and to it.
    received: Cell<u64>,
    sent: Cell<u64>,
    /// When the client of the exchange closed its sending side; never while it has not.
    left: Cell<Tick>,
}

/// A request in flight, as it was when somebody asked.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) labels: Labels,
    pub(crate) client: SocketAddr,
    pub(crate) age_ns: u64,
    /// How long it has been at what it is at.
    pub(crate) waiting_ns: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// All tasks of a worker that may have a request.
#[derive(Debug, Default)]
pub(crate) struct Activities {
    tasks: RefCell<Vec<Weak<Activity>>>,
    /// Entries at which the dead ones are swept out.
    sweep_at: Cell<usize>,
}

/// Entries that are never worth a sweep.
const SWEEP_MIN: usize = 64;

const READING: Labels = Labels { work: Work::Head, ..Labels::NONE };

impl Activity {
    pub(crate) fn new(client: SocketAddr) -> Rc<Self> {
        Rc::new(Activity {
            watch: Stopwatch::default(),
            labels: Cell::new(READING),
            client,
            polled: Cell::default(),
            began: Cell::default(),
            since: Cell::default(),
            ended: Cell::new(READING),
            received: Cell::default(),
            sent: Cell::default(),
            left: Cell::new(Tick::NEVER),
        })
    }

    /// The task is polled.
    pub(crate) fn resume(&self, now: Tick) {
        self.watch.resume(now);
        self.polled.set(now);
        labels::wear(&self.labels.get());
    }

    /// The poll is over: nanoseconds that it took. The clock is read only while an exchange is open.
    pub(crate) fn pause(&self, clock: &Clock) -> u64 {
        self.watch.pause(clock);
        self.settle();
        labels::take_off();
        self.watch.woken_at().since(self.polled.get())
    }

    /// An exchange begins, at the task's last wake-up.
    pub(crate) fn open(&self, trace_id: TraceId, span_id: SpanId, began: Tick) {
        self.watch.start();
        self.began.set(began);
        self.since.set(began);
        self.received.set(0);
        self.sent.set(0);
        self.left.set(Tick::NEVER);
        self.put_on(Labels { work: Work::Route, trace_id, span_id, ..Labels::NONE });
    }

    pub(crate) fn routed(&self, route: LabelName) {
        self.put_on(Labels { route, ..self.labels.get() });
    }

    /// An attempt begins.
    pub(crate) fn goes_to(&self, upstream: LabelName) {
        self.put_on(Labels { upstream, work: Work::Connect, ..self.labels.get() });
    }

    /// The exchange is over. Nanoseconds that the task worked for it.
    pub(crate) fn close(&self, ended: Tick) -> u64 {
        if is_timeline_wanted() {
            self.ended.set(Labels { work: labels::work(), ..self.labels.get() });
        }
        self.watch.stop(ended)
    }

    /// All is said about the exchange; what comes is the next one.
    pub(crate) fn rest(&self) {
        self.put_on(READING);
    }

    pub(crate) fn woken_at(&self) -> Tick {
        self.watch.woken_at()
    }

    /// What the poll that is just over was for: the exchange that is open, or the one that it ended.
    pub(crate) fn polled_for(&self) -> Labels {
        let ended = self.ended.replace(READING);
        if self.watch.is_running() { self.labels.get() } else { ended }
    }

    pub(crate) fn has_received(&self, bytes: u64) {
        self.received.set(bytes);
    }

    pub(crate) fn has_sent(&self, bytes: u64) {
        self.sent.set(bytes);
    }

    /// The client has closed its sending side. The first time that this is seen counts.
    pub(crate) fn client_closed(&self, clock: &Clock) {
        if self.left.get() == Tick::NEVER {
            self.left.set(clock.now());
        }
    }

    /// When that was; never where it was not.
    pub(crate) fn left(&self) -> Tick {
        self.left.get()
    }

    fn put_on(&self, labels: Labels) {
        if labels.work != self.labels.get().work {
            self.since.set(self.watch.woken_at());
        }
        self.labels.set(labels);
        labels::wear(&labels);
    }

    /// The rooms only tell the thread at what they work; what it was last is remembered until the next poll.
    fn settle(&self) {
        let (work, labels) = (labels::work(), self.labels.get());
        if work != labels.work {
            self.labels.set(Labels { work, ..labels });
            self.since.set(self.watch.woken_at());
        }
    }

    fn in_flight(&self, now: Tick) -> Option<InFlight> {
        let labels = self.labels.get();
        self.watch.is_running().then(|| InFlight {
            labels,
            client: self.client,
            age_ns: now.since(self.began.get()),
            waiting_ns: now.since(self.since.get()),
            received: self.received.get(),
            sent: self.sent.get(),
        })
    }
}

impl Activities {
    /// Once a task. The list forgets a task that is over when it has grown to twice what lived at the last sweep.
    pub(crate) fn enter(&self, activity: &Rc<Activity>) {
        let mut tasks = self.tasks.borrow_mut();
        if tasks.len() >= self.sweep_at.get().max(SWEEP_MIN) {
            tasks.retain(|task| task.strong_count() > 0);
            let room = 2 * tasks.len();
            tasks.shrink_to(room);
            self.sweep_at.set(room);
        }
        tasks.push(Rc::downgrade(activity));
    }

    pub(crate) fn in_flight(&self, now: Tick) -> Vec<InFlight> {
        self.tasks.borrow().iter().filter_map(Weak::upgrade).filter_map(|task| task.in_flight(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_seen_at_what_it_was_left_at() {
        let (clock, hand) = Clock::manual(Tick(100));
        let (all, client) = (Activities::default(), SocketAddr::from(([127, 0, 0, 1], 9)));
        let activity = Activity::new(client);
        all.enter(&activity);
        activity.resume(Tick(100));
        assert!(all.in_flight(Tick(100)).is_empty());
        activity.open(TraceId([1; 16]), SpanId([2; 8]), Tick(90));
        activity.routed(LabelName(7));
        activity.goes_to(LabelName(8));
        labels::turn_to(Work::Wait);
        hand.store(150, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(activity.pause(&clock), 50);
        assert_eq!(labels::worn(), Labels::NONE);
        let seen = all.in_flight(Tick(1150));
        assert_eq!((seen[0].labels.work, seen[0].labels.route, seen[0].labels.upstream), (Work::Wait, LabelName(7), LabelName(8)));
        assert_eq!((seen[0].age_ns, seen[0].waiting_ns), (1060, 1000));
        activity.resume(Tick(1200));
        assert_eq!((labels::worn().work, labels::worn().trace_id), (Work::Wait, TraceId([1; 16])));
        activity.close(Tick(1250));
        activity.rest();
        assert!(all.in_flight(Tick(1300)).is_empty());
        labels::take_off();
    }

    #[test]
    fn a_client_leaves_an_exchange_once() {
        let (clock, hand) = Clock::manual(Tick(100));
        let activity = Activity::new(SocketAddr::from(([127, 0, 0, 1], 9)));
        activity.open(TraceId([1; 16]), SpanId([2; 8]), Tick(90));
        assert_eq!(activity.left(), Tick::NEVER);
        for now in [120, 150] {
            hand.store(now, std::sync::atomic::Ordering::Relaxed);
            activity.client_closed(&clock);
            assert_eq!(activity.left(), Tick(120));
        }
        activity.open(TraceId([1; 16]), SpanId([3; 8]), Tick(200));
        assert_eq!(activity.left(), Tick::NEVER);
        labels::take_off();
    }

    #[test]
    fn the_list_of_tasks_does_not_grow_with_those_that_are_over() {
        let all = Activities::default();
        for _ in 0..10 * SWEEP_MIN {
            all.enter(&Activity::new(SocketAddr::from(([127, 0, 0, 1], 9))));
        }
        assert!(all.tasks.borrow().len() <= SWEEP_MIN);
    }
}
