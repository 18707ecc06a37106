//! Profiles that run by themselves: continuous CPU profiles, the heap's sampling, and their way to the Collector.
//!
//! In: the `telemetry.profiles` section, at the start and with each reload. Out: samples that are remembered, and, if wanted, pushed over OTLP
//! every so often. Not here: profiles that somebody asks for (`admin::debug`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::{Clock, Tick};
use crate::base::draw::Draw;
use crate::base::ids::TraceId;
use crate::telemetry::export::ledger::{Drop, Ledger, Signal};
use crate::telemetry::export::otlp::resource::Resource;
use crate::telemetry::export::otlp::sender::{Outbox, Request};
use crate::telemetry::export::profile::otlp;
use crate::telemetry::profile::heap::{Heap, NoHeap};
use crate::telemetry::profile::profiler::{Profiler, Wish};
use crate::telemetry::sampler::Kind;

/// How often profiles are pushed.
const PUSH_EVERY: Duration = Duration::from_secs(10);
/// How long the heap is sampled after somebody has last asked for it.
const HEAP_IDLE_MAX: Duration = Duration::from_secs(600);
/// How often it is seen what is not wanted any more.
const LOOK: Duration = Duration::from_secs(15);

/// What the configuration wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProfileSettings {
    /// Samples a second; none where profiles are not continuous.
    pub(crate) hz: Option<u32>,
    pub(crate) push: bool,
    /// The heap is sampled from the start.
    pub(crate) heap: bool,
}

/// What runs now.
pub(crate) struct Profiling {
    current: Mutex<Current>,
    heap: Heap,
    clock: Clock,
    /// When somebody last asked for the heap; 0: never.
    heap_asked: AtomicU64,
}

#[derive(Default)]
struct Current {
    settings: ProfileSettings,
    wish: Option<Wish>,
}

impl Profiling {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Profiling { current: Mutex::default(), heap: Heap::new(), clock, heap_asked: AtomicU64::new(0) })
    }

    /// Takes up new settings. What cannot be had is logged: a gateway without profiles is still a gateway.
    pub(crate) fn apply(&self, settings: ProfileSettings) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if settings.hz != current.settings.hz {
            // The new wish comes first, so that what is remembered stays.
            let wish = settings.hz.map(|hz| Profiler::of_process().keep(hz));
            current.wish = wish.and_then(|wish| wish.inspect_err(|why| tracing::warn!(%why, "there are no continuous profiles")).ok());
        }
        if settings.heap != current.settings.heap
            && let Err(why) = self.heap.set_active(settings.heap)
            && settings.heap
        {
            tracing::warn!(%why, "the heap is not sampled");
        }
        current.settings = settings;
    }

    pub(crate) fn heap(&self) -> &Heap {
        &self.heap
    }

    /// Somebody asks for the heap now.
    pub(crate) fn want_heap(&self) -> Result<(), NoHeap> {
        self.heap_asked.store(self.clock.now().0.max(1), Ordering::Relaxed);
        self.heap.available()?;
        if self.heap.is_active() {
            return Ok(());
        }
        tracing::info!(minutes = HEAP_IDLE_MAX.as_secs() / 60, "the heap is sampled from now on, until nobody has asked for it so long");
        self.heap.set_active(true)
    }

    /// Switches the heap's sampling off when nobody wants it any more, and lets go of symbols. Runs until it is aborted.
    pub(crate) async fn tend(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            Profiler::of_process().rest();
            let always = self.current.lock().unwrap_or_else(PoisonError::into_inner).settings.heap;
            let asked = Tick(self.heap_asked.load(Ordering::Relaxed));
            let is_stale = asked != Tick(0) && self.clock.now() > asked.after(HEAP_IDLE_MAX);
            if is_stale && !always && self.heap.is_active() {
                self.heap_asked.store(0, Ordering::Relaxed);
                let stopped = self.heap.set_active(false);
                tracing::info!(stopped = stopped.is_ok(), "nobody has asked for the heap for a while: it is not sampled any more");
            }
        }
    }

    fn pushes(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.settings.push && current.wish.is_some()
    }

    /// Pushes what continuous profiles have gathered since the last time. Runs until it is aborted.
    pub(crate) async fn push(self: Arc<Self>, outbox: Outbox, resource: Resource, ledger: Arc<Ledger>) {
        let mut from = Profiler::of_process().unix_nanos();
        loop {
            tokio::time::sleep(PUSH_EVERY).await;
            let until = Profiler::of_process().unix_nanos();
            if self.pushes() {
                push_window(from, until, &outbox, &resource, &ledger).await;
            }
            from = until;
        }
    }
}

async fn push_window(from: u64, until: u64, outbox: &Outbox, resource: &Resource, ledger: &Ledger) {
    let profiler = Profiler::of_process();
    let Ok(taken) = profiler.past(Kind::Cpu, from, until) else { return };
    let lost = taken.lost;
    ledger.produced(Signal::Profiles, lost);
    ledger.dropped(Signal::Profiles, Drop::RingFull, lost);
    if taken.samples.is_empty() {
        return;
    }
    let id = TraceId::random(&mut Draw::from_system()).0;
    let owned = resource.clone();
    let period = 1_000_000_000 / i64::from(taken.hz.max(1));
    // Receivers know a CPU profile by counts of samples with a period of CPU time (as Pyroscope does); its time follows from both.
    let encode = move || otlp::encode(&profiler.profile(&taken).in_periods(period), &owned, id);
    let encoded = tokio::task::spawn_blocking(encode).await;
    if let Ok((bytes, items)) = encoded {
        ledger.produced(Signal::Profiles, items);
        outbox.send(Request { bytes, items });
    }
}
