//! Timers on the CPU time of every thread of the process.
//!
//! In: how often, and from time to time a look at which threads there are. Out: SIGPROF on a thread whenever it has used up another period of
//! CPU time. Threads need not know of it. A thread that is gone takes its timer's signals with it; the timer is deleted at the next look.
//! Not here: what the signal does (`handler`).

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use super::Kind;
use super::handler::value_of;
use crate::base::limits::SAMPLED_THREADS_MAX;

/// The timers that are armed. Dropping them disarms them.
pub(crate) struct Timers {
    period_ns: Option<u64>,
    /// Why the last thread that is there has no timer.
    refused: Option<String>,
    /// By thread, with when it was started, so that a number that is used again is seen to be another thread.
    armed: HashMap<i32, (u64, Timer)>,
}

/// One timer of the kernel's.
struct Timer(libc::timer_t);

// SAFETY: a timer's id means the same on every thread of the process.
unsafe impl Send for Timer {}

impl Timers {
    pub(crate) fn new() -> Self {
        Timers { period_ns: None, refused: None, armed: HashMap::new() }
    }

    /// Samples a second of CPU time; none disarms all.
    pub(crate) fn set_hz(&mut self, hz: Option<u32>) {
        let period_ns = hz.map(|hz| 1_000_000_000 / u64::from(hz.max(1)));
        if period_ns != self.period_ns {
            self.period_ns = period_ns;
            self.armed.clear();
            self.scan();
        }
    }

    /// Arms threads that are new and disarms those that are gone.
    pub(crate) fn scan(&mut self) {
        let Some(period_ns) = self.period_ns else { return };
        let threads = threads();
        self.armed.retain(|thread, (started, _)| threads.get(thread) == Some(started));
        self.refused = None;
        for (thread, started) in threads {
            if self.armed.contains_key(&thread) {
                continue;
            }
            if self.armed.len() >= SAMPLED_THREADS_MAX {
                self.refused = Some(format!("there are more than {SAMPLED_THREADS_MAX} threads"));
                return;
            }
            match Timer::arm(thread, period_ns) {
                Ok(timer) => drop(self.armed.insert(thread, (started, timer))),
                // A clock of a thread that has just gone is not valid.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ESRCH)) => {}
                Err(error) => self.refused = Some(format!("a timer on a thread's CPU time is refused: {error}")),
            }
        }
    }

    /// Why some threads, or all of them, are not sampled.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

/// The threads of this process, each with the clock tick at which it was started.
fn threads() -> HashMap<i32, u64> {
    let Ok(entries) = std::fs::read_dir("/proc/self/task") else { return HashMap::new() };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let started = |thread: i32| {
        let line = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
        // The name, in brackets, may hold anything; `starttime` is the 20th field after it (proc(5)).
        line.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
    };
    entries.flatten().filter_map(number).filter_map(|thread| Some((thread, started(thread)?))).collect()
}

impl Timer {
    fn arm(thread: i32, period_ns: u64) -> io::Result<Timer> {
        // SAFETY: an all-zero sigevent is a valid value to begin with.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGPROF;
        event.sigev_notify_thread_id = thread;
        event.sigev_value.sival_ptr = ptr::without_provenance_mut(value_of(Kind::Cpu, period_ns) as usize);
        let mut id: libc::timer_t = ptr::null_mut();
        // SAFETY: both pointers are to values of ours; a clock of a thread that is gone is refused.
        let made = unsafe { libc::timer_create(cpu_clock(thread), &raw mut event, &raw mut id) };
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        let timer = Timer(id);
        let spec = |ns: u64| libc::timespec { tv_sec: (ns / 1_000_000_000) as libc::time_t, tv_nsec: (ns % 1_000_000_000) as libc::c_long };
        // Threads begin at different points of their first period, so that they are not all interrupted at once.
        let first = 1 + period_ns * (u64::from(thread.unsigned_abs()) % 16) / 16;
        let times = libc::itimerspec { it_interval: spec(period_ns), it_value: spec(first) };
        // SAFETY: the timer was made above, and `times` outlives the call.
        let armed = unsafe { libc::timer_settime(timer.0, 0, &raw const times, ptr::null_mut()) };
        if armed == 0 { Ok(timer) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: it was made by `arm` and is deleted once. A signal of it that is still on its way finds the handler installed.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// A thread and the CPU time that it has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// Its number and the clock tick at which it was started, which no other thread has had.
    pub(crate) thread: (i32, u64),
    pub(crate) name: String,
    pub(crate) nanos: u64,
}

/// The threads of the process that there are now.
pub(crate) fn cpu_times() -> Vec<CpuTime> {
    let used = |thread: i32| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is ours to write; the clock of a thread that is gone is refused.
        let read = unsafe { libc::clock_gettime(cpu_clock(thread), &raw mut time) };
        (read == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    };
    let time = |(thread, started)| Some(CpuTime { thread: (thread, started), name: name_of(thread)?, nanos: used(thread)? });
    threads().into_iter().filter_map(time).collect()
}

fn name_of(thread: i32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The clock of a thread's CPU time, as the kernel encodes it (`CPUCLOCK_SCHED` and `CPUCLOCK_PERTHREAD_MASK` in its posix-timers.h; glibc's
/// pthread_getcpuclockid makes the same).
fn cpu_clock(thread: i32) -> libc::clockid_t {
    (!thread << 3) | 6
}
