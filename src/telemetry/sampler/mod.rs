//! Samples of what each thread executes, taken by a signal on that thread.
//!
//! In: how often. Out: raw samples: addresses, registers, and the labels that the interrupted thread wore. Everything that runs inside the
//! signal handler stands in `handler`, `walk` and `ring`, and neither allocates nor locks. Not here: names behind the addresses, and who asked.

#![allow(unsafe_code, reason = "signals, timers and stacks are reached by the system's own interface; each block says why it is sound")]

#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod handler;
mod ring;
#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod timers;
#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod walk;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod elsewhere;

use crate::base::limits::{FRAMES_MAX, STACK_WORDS_MAX};
use crate::telemetry::record::labels::Labels;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) use elsewhere::{CpuTime, Timers, cpu_times, current_thread, install, look_at, look_here, lost, make_room, monotonic};
#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use {
    handler::{current_thread, install, look_at, look_here, lost, make_room, monotonic},
    timers::{CpuTime, Timers, cpu_times},
};

pub(crate) use ring::drain;

/// Why a stack was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The thread had used up another period of CPU time.
    #[default]
    Cpu,
    /// It had been inside one poll for long.
    Poll,
    /// It had waited for a lock.
    Lock,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Cpu, Kind::Poll, Kind::Lock];

    pub(crate) fn label(self) -> &'static str {
        ["cpu", "poll", "lock"][self as usize]
    }

    #[allow(dead_code, reason = "not where samples cannot be taken")]
    fn of(number: u8) -> Self {
        Kind::ALL.get(usize::from(number)).copied().unwrap_or(Kind::Cpu)
    }
}

/// The registers that tell where a thread was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) fp: u64,
    /// Where a leaf function returns to, on aarch64; 0 on x86-64.
    pub(crate) lr: u64,
}

/// A sample as the handler leaves it.
#[derive(Clone, Copy)]
pub(crate) struct Raw {
    pub(crate) kind: Kind,
    /// The thread's name, ended by a NUL unless it is as long as the kernel keeps them.
    pub(crate) thread: [u8; 16],
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(crate) at: u64,
    /// The period's length in nanoseconds for [`Kind::Cpu`]; for the others what the asker gave, in the asker's unit.
    pub(crate) amount: u64,
    /// Periods that it stands for: one, and those that passed before the signal could be delivered.
    pub(crate) periods: u32,
    pub(crate) labels: Labels,
    pub(crate) registers: Registers,
    /// Where calls return to, innermost first.
    pub(crate) returns: [u64; FRAMES_MAX],
    pub(crate) depth: usize,
    /// What lay at the stack pointer and above.
    pub(crate) stack: [u64; STACK_WORDS_MAX],
    pub(crate) stack_len: usize,
}

impl Raw {
    pub(crate) const EMPTY: Raw = Raw {
        kind: Kind::Cpu,
        thread: [0; 16],
        at: 0,
        amount: 0,
        periods: 0,
        labels: Labels::NONE,
        registers: Registers { pc: 0, sp: 0, fp: 0, lr: 0 },
        returns: [0; FRAMES_MAX],
        depth: 0,
        stack: [0; STACK_WORDS_MAX],
        stack_len: 0,
    };
}

/// What was lost or put together, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Samples that found the ring full.
    pub(crate) ring_full: u64,
    /// Periods whose signal came late and was put together with another one. Their time is in the profile.
    pub(crate) merged: u64,
    /// Signals of this number that were not ours.
    pub(crate) foreign: u64,
}
