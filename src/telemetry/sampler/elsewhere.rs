//! Where no samples can be taken: any system but Linux on x86-64 or aarch64.
//!
//! In: the same questions as `handler` and `timers`. Out: the reason. Not here: anything else.

#![allow(dead_code, reason = "it mirrors what the other systems have")]

use super::{Kind, Lost};

const WHY: &str =
    "profiles need Linux on x86-64 or aarch64: they are taken by timers on a thread's CPU time, which this system does not have";

pub(crate) struct Timers;

impl Timers {
    pub(crate) fn new() -> Self {
        Timers
    }

    pub(crate) fn set_hz(&mut self, _hz: Option<u32>) {}

    pub(crate) fn scan(&mut self) {}

    pub(crate) fn refused(&self) -> Option<&str> {
        None
    }
}

pub(crate) fn install() -> Result<(), String> {
    Err(WHY.to_owned())
}

pub(crate) fn make_room() {}

pub(crate) fn look_at(_thread: i32, _kind: Kind, _amount: u64) {}

pub(crate) fn look_here(_kind: Kind, _amount: u64) {}

pub(crate) fn lost() -> Lost {
    Lost::default()
}

pub(crate) fn monotonic() -> u64 {
    0
}

/// No thread is known here.
pub(crate) struct CpuTime {
    pub(crate) thread: (i32, u64),
    pub(crate) name: String,
    pub(crate) nanos: u64,
}

pub(crate) fn cpu_times() -> Vec<CpuTime> {
    Vec::new()
}

pub(crate) fn current_thread() -> i32 {
    0
}
