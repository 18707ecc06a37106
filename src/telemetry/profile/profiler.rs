//! The profiler of the process: one session for all who ask.
//!
//! In: what is wanted: samples from now on for a while, or always. Out: the samples of any window that is remembered. Timers run only while
//! somebody wants samples, at the highest rate that anyone wants; a window is cut out of what all of them share. Not here: HTTP, formats.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::Profile;
use super::assemble::Taken;
use super::caller::Callers;
use super::history::{History, Kept};
use super::maps::Regions;
use super::refusal::NoProfile;
use super::symbols::Symbols;
use crate::base::clock::{Clock, Tick};
use crate::base::limits::{HISTORY_SPAN, SLOW_POLL};
use crate::base::lock::{self, Lock};
use crate::telemetry::record::labels::Work;
use crate::telemetry::record::polls::Polls;
use crate::telemetry::sampler::{self, Kind, Raw, Timers};

/// How often the ring is drained and polls are looked at.
const TICK: Duration = Duration::from_millis(10);
/// Ticks between two looks at which threads there are.
const TICKS_A_SCAN: u32 = 20;

/// How often the process's mappings are read, at most, for an address that is in none.
const MAPS_AGE_MIN: Duration = Duration::from_secs(1);

/// What the profiler has seen since the process began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Nanoseconds of CPU time by thread and by what it worked at, while samples were taken.
    pub(crate) cpu: BTreeMap<(Arc<str>, Work), u64>,
    /// In the order of [`Kind::ALL`].
    pub(crate) samples: [u64; 3],
    pub(crate) ring_full: u64,
    /// Samples that were given up because too many, or too many different stacks, were remembered.
    pub(crate) history_full: u64,
    pub(crate) merged: u64,
}

/// The one profiler of the process.
pub(crate) struct Profiler {
    state: Lock<State>,
    symbols: Mutex<Symbols>,
    clock: Clock,
}

static PROFILER: LazyLock<Profiler> = LazyLock::new(|| Profiler {
    state: Lock::new(&lock::PROFILER, State::new()),
    symbols: Mutex::new(Symbols::new()),
    clock: Clock::system(),
});

/// Samples are taken: whoever waited for a lock shows where.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Samples are remembered.
static IS_CONTINUOUS: AtomicBool = AtomicBool::new(false);

/// Whether what is sampled now can be asked for later.
pub(crate) fn is_continuous() -> bool {
    IS_CONTINUOUS.load(Ordering::Relaxed)
}

struct State {
    /// Its thread runs.
    is_running: bool,
    wants: BTreeMap<u64, Want>,
    next: u64,
    timers: Timers,
    history: History,
    callers: Callers,
    code: Regions,
    code_read_at: u64,
    /// Names that were seen lately, as the kernel has them.
    threads: HashMap<[u8; 16], Arc<str>>,
    workers: Vec<Watched>,
    totals: Totals,
    lost: sampler::Lost,
}

#[derive(Clone, Copy)]
struct Want {
    hz: u32,
    from: u64,
    /// To be remembered for [`HISTORY_SPAN`].
    continuous: bool,
}

/// A worker whose polls are looked at.
struct Watched {
    clock: Clock,
    polls: Weak<Polls>,
    /// The poll that was last found to be slow, and when.
    looked: (Tick, Tick),
}

/// Samples are taken while it lives.
pub(crate) struct Wish {
    id: u64,
}

impl Drop for Wish {
    fn drop(&mut self) {
        PROFILER.state.lock().forget(self.id);
    }
}

impl Profiler {
    pub(crate) fn of_process() -> &'static Profiler {
        &PROFILER
    }

    /// Polls of this worker that take long are sampled too.
    pub(crate) fn watch(&self, clock: Clock, polls: &Arc<Polls>) {
        let workers = &mut self.state.lock().workers;
        workers.retain(|watched| watched.polls.strong_count() > 0);
        workers.push(Watched { clock, polls: Arc::downgrade(polls), looked: (Tick(0), Tick(0)) });
    }

    /// Takes samples from now on, for as long as the wish lives; they are remembered for [`HISTORY_SPAN`].
    pub(crate) fn keep(&'static self, hz: u32) -> Result<Wish, NoProfile> {
        self.want(hz, true)
    }

    /// The samples of the coming time. Others who ask meanwhile share them.
    pub(crate) async fn coming(&'static self, kind: Kind, hz: u32, length: Duration) -> Result<Taken, NoProfile> {
        let wish = self.want(hz, false)?;
        let from = sampler::monotonic();
        tokio::time::sleep(length).await;
        let taken = self.window(kind, hz, from, sampler::monotonic());
        drop(wish);
        match &taken.unarmed {
            Some(why) if taken.samples.is_empty() && kind == Kind::Cpu => Err(NoProfile::Unavailable(why.clone())),
            _ => Ok(taken),
        }
    }

    /// The samples of a window that is over, in Unix nanoseconds.
    pub(crate) fn past(&self, kind: Kind, from_unix: u64, until_unix: u64) -> Result<Taken, NoProfile> {
        let now = sampler::monotonic();
        let to_monotonic = |unix: u64| now.saturating_sub(self.unix_nanos().saturating_sub(unix));
        let (from, until) = (to_monotonic(from_unix), to_monotonic(until_unix));
        let begun = self.state.lock().wants.values().filter(|want| want.continuous).map(|want| (want.from, want.hz)).min();
        let (begun, hz) = begun.ok_or(NoProfile::NotContinuous)?;
        let evicted = self.state.lock().history.evicted_until();
        let oldest = begun.max(now.saturating_sub(HISTORY_SPAN.as_nanos() as u64)).max(evicted);
        if until <= oldest {
            return Err(NoProfile::Forgotten(now.saturating_sub(oldest) / 1_000_000_000));
        }
        Ok(self.window(kind, hz, from.max(oldest), until))
    }

    /// The rate of continuous profiles, and since when, in Unix nanoseconds.
    pub(crate) fn continuous(&self) -> Option<(u32, u64)> {
        let now = sampler::monotonic();
        let want = self.state.lock().wants.values().find(|want| want.continuous).copied()?;
        Some((want.hz, self.unix_nanos().saturating_sub(now.saturating_sub(want.from))))
    }

    /// With names instead of addresses. Reads files: not for a thread that must not wait.
    pub(crate) fn profile(&self, taken: &Taken) -> Profile {
        taken.profile(&mut self.symbols())
    }

    pub(crate) fn symbols(&self) -> std::sync::MutexGuard<'_, Symbols> {
        self.symbols.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what symbols are read from, if nobody needed it since the last call.
    pub(crate) fn rest(&self) {
        if let Ok(mut symbols) = self.symbols.try_lock() {
            symbols.rest();
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut state = self.state.lock();
        state.drain();
        state.totals.clone()
    }

    pub(crate) fn unix_nanos(&self) -> u64 {
        self.clock.wall_offset() + self.clock.now().0
    }

    fn want(&'static self, hz: u32, continuous: bool) -> Result<Wish, NoProfile> {
        sampler::install().map_err(NoProfile::Unavailable)?;
        sampler::make_room();
        lock::listen(|waited_ns| {
            if IS_ON.load(Ordering::Relaxed) {
                sampler::look_here(Kind::Lock, waited_ns << 1 | 1);
            }
        });
        let mut state = self.state.lock();
        if !state.is_running {
            let spawned = std::thread::Builder::new().name("pellucid-prof".to_owned()).spawn(|| self.run());
            spawned.map_err(|error| NoProfile::Unavailable(format!("the profiler's thread cannot be started: {error}")))?;
            state.is_running = true;
        }
        let id = state.next;
        state.next += 1;
        // Another rate of continuous profiles goes on with what is remembered.
        let since = state.wants.values().filter(|want| continuous && want.continuous).map(|want| want.from).min();
        state.wants.insert(id, Want { hz, from: since.unwrap_or_else(sampler::monotonic), continuous });
        state.set_rate();
        Ok(Wish { id })
    }

    fn window(&self, kind: Kind, hz: u32, from: u64, until: u64) -> Taken {
        let mut state = self.state.lock();
        state.drain();
        let (lost, merged) = state.history.losses(from, until);
        let now = sampler::monotonic();
        Taken {
            kind,
            samples: state.history.window(kind, from, until),
            hz,
            began_unix_nanos: self.unix_nanos().saturating_sub(now.saturating_sub(from)),
            duration_nanos: until.saturating_sub(from),
            lost,
            merged,
            unarmed: state.timers.refused().map(str::to_owned),
        }
    }

    /// Until nobody wants samples any more.
    fn run(&self) {
        let _running = Running;
        let mut ticks = 0;
        loop {
            std::thread::sleep(TICK);
            let mut state = self.state.lock();
            state.drain();
            state.look_at_polls();
            ticks += 1;
            if ticks % TICKS_A_SCAN == 0 {
                state.timers.scan();
                state.threads.clear();
                state.forget_old();
            }
            if state.wants.is_empty() {
                state.is_running = false;
                return;
            }
        }
    }
}

/// While it lives, the thread runs; if that breaks down, the next who asks starts another.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            PROFILER.state.lock().is_running = false;
        }
    }
}

impl State {
    fn new() -> Self {
        State {
            is_running: false,
            wants: BTreeMap::new(),
            next: 0,
            timers: Timers::new(),
            history: History::default(),
            callers: Callers::new(),
            code: Regions::default(),
            code_read_at: 0,
            threads: HashMap::new(),
            workers: Vec::new(),
            totals: Totals::default(),
            lost: sampler::Lost::default(),
        }
    }

    fn forget(&mut self, id: u64) {
        self.wants.remove(&id);
        self.set_rate();
    }

    fn set_rate(&mut self) {
        IS_ON.store(!self.wants.is_empty(), Ordering::Relaxed);
        IS_CONTINUOUS.store(self.wants.values().any(|want| want.continuous), Ordering::Relaxed);
        self.timers.set_hz(self.wants.values().map(|want| want.hz).max());
        if self.wants.is_empty() {
            self.drain();
            self.history.forget_before(u64::MAX);
        }
    }

    /// What nobody can ask for any more.
    fn forget_old(&mut self) {
        let span = HISTORY_SPAN.as_nanos() as u64;
        let now = sampler::monotonic();
        let oldest = |want: &Want| if want.continuous { now.saturating_sub(span) } else { want.from };
        if let Some(oldest) = self.wants.values().map(oldest).min() {
            self.history.forget_before(oldest);
        }
    }

    fn drain(&mut self) {
        // Copied first, so that the ring is whole whatever becomes of a sample.
        let mut raws = Vec::new();
        sampler::drain(|raw| raws.push(*raw));
        for raw in &raws {
            self.take(raw);
        }
        let now = sampler::monotonic();
        let lost = sampler::lost();
        let (full, merged) = (lost.ring_full - self.lost.ring_full, lost.merged - self.lost.merged);
        self.lost = lost;
        self.history.lose(now, full);
        self.history.merge(now, merged);
        self.totals.ring_full = lost.ring_full;
        self.totals.merged = lost.merged;
    }

    fn take(&mut self, raw: &Raw) {
        let (nanos, count) = match raw.kind {
            Kind::Cpu => (raw.amount * u64::from(raw.periods), raw.periods),
            Kind::Poll | Kind::Lock => (raw.amount >> 1, (raw.amount & 1) as u32),
        };
        let thread = self.thread(raw.thread);
        self.totals.samples[raw.kind as usize] += u64::from(raw.periods);
        if raw.kind == Kind::Cpu {
            *self.totals.cpu.entry((Arc::clone(&thread), raw.labels.work)).or_default() += nanos;
        }
        let stack = self.stack(raw).into();
        let kept = self.history.keep(Kept { at: raw.at, kind: raw.kind, thread, labels: raw.labels, stack, nanos, count });
        self.totals.history_full += u64::from(!kept);
    }

    /// The whole stack: where the thread was, the caller that has no frame yet or none at all, and the frames. What is no code ends it.
    fn stack(&mut self, raw: &Raw) -> Vec<u64> {
        let returns = &raw.returns[..raw.depth];
        let mut stack = Vec::with_capacity(returns.len() + 2);
        stack.push(raw.registers.pc);
        let code: Vec<u64> = returns.iter().copied().take_while(|address| self.is_code(*address)).collect();
        stack.extend(self.callers.lost(&raw.registers, &raw.stack[..raw.stack_len], code.first().copied()));
        stack.extend(code);
        stack
    }

    /// An address that is in none of the known mappings has them read again, once in a while.
    fn is_code(&mut self, address: u64) -> bool {
        if self.code.index(address).is_some() {
            return true;
        }
        let now = sampler::monotonic();
        if now.saturating_sub(self.code_read_at) > MAPS_AGE_MIN.as_nanos() as u64 {
            self.code = Regions::read().unwrap_or_default();
            self.code_read_at = now;
            self.callers.refresh();
        }
        self.code.index(address).is_some()
    }

    fn thread(&mut self, name: [u8; 16]) -> Arc<str> {
        let read = || String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into();
        Arc::clone(self.threads.entry(name).or_insert_with(read))
    }

    fn look_at_polls(&mut self) {
        for worker in &mut self.workers {
            let Some(polls) = worker.polls.upgrade() else { continue };
            let began = Tick(polls.began.load(Ordering::Relaxed));
            let now = worker.clock.now();
            if began == Tick(0) || now.since(began) < SLOW_POLL.as_nanos() as u64 {
                continue;
            }
            let is_first = worker.looked.0 != began;
            let since = if is_first { began } else { worker.looked.1 };
            worker.looked = (began, now);
            sampler::look_at(polls.thread.load(Ordering::Relaxed), Kind::Poll, now.since(since) << 1 | u64::from(is_first));
        }
    }
}

#[cfg(test)]
mod tests;
