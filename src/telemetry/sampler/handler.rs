//! The signal handler: one sample of the thread that it interrupts.
//!
//! In: SIGPROF, from one of our timers or sent by us to one thread. Out: a sample in the ring, or a count of why not. Async-signal-safe: it loads
//! plain memory, makes system calls that may be made there, and keeps `errno`. Not here: arming timers, and reading the ring.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::ring::Ring;
use super::walk::{learn_own_code, walk};
use super::{Kind, Lost, Raw, Registers};
use crate::telemetry::record::labels;

/// What marks a signal as ours, in the upper bits of its value: chosen by us, so that a value of somebody else's is not likely to have it.
const MARK: u64 = 0x5ce1_0000_0000_0000;
const MARK_MASK: u64 = 0xffff_0000_0000_0000;
const KIND_SHIFT: u32 = 44;
const AMOUNT_MASK: u64 = (1 << KIND_SHIFT) - 1;

static PROCESS: AtomicI32 = AtomicI32::new(0);
static RING_FULL: AtomicU64 = AtomicU64::new(0);
static MERGED: AtomicU64 = AtomicU64::new(0);
static FOREIGN: AtomicU64 = AtomicU64::new(0);

/// The head of the kernel's `siginfo_t` on 64-bit Linux, as sigaction(2) describes it, for timers and for queued signals.
#[repr(C)]
struct Info {
    number: libc::c_int,
    error: libc::c_int,
    code: libc::c_int,
    _pad: libc::c_int,
    /// The timer, or the sending process.
    sender: libc::c_int,
    /// The timer's overruns, or the sender's user.
    overrun: libc::c_int,
    value: u64,
    _rest: [u64; 12],
}

const _: () = assert!(size_of::<Info>() == size_of::<libc::siginfo_t>());

/// What a signal of ours carries.
pub(super) fn value_of(kind: Kind, amount: u64) -> u64 {
    MARK | (kind as u64) << KIND_SHIFT | amount.min(AMOUNT_MASK)
}

/// Installs the handler for the life of the process, so that no late or foreign SIGPROF can end it. What was installed before is replaced.
pub(crate) fn install() -> Result<(), String> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            PROCESS.store(std::process::id() as libc::c_int, Ordering::Relaxed);
            // SAFETY: an all-zero sigaction is a valid value to begin with.
            let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            action.sa_sigaction = on_signal as extern "C" fn(_, _, _) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            // SAFETY: the mask is ours to write; the handler is async-signal-safe and lives as long as the process.
            let result = unsafe {
                libc::sigfillset(&raw mut action.sa_mask);
                libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut())
            };
            if result == 0 { Ok(()) } else { Err(format!("no handler for SIGPROF: {}", std::io::Error::last_os_error())) }
        })
        .clone()
}

/// Makes room for samples. Until then all are lost, and cost no memory.
pub(crate) fn make_room() {
    learn_own_code();
    Ring::make();
}

/// Samples another thread of this process once, as soon as it runs. A thread that is gone is not looked at.
pub(crate) fn look_at(thread: i32, kind: Kind, amount: u64) {
    let process = PROCESS.load(Ordering::Relaxed);
    let mut info = Info {
        number: libc::SIGPROF,
        error: 0,
        code: libc::SI_QUEUE,
        _pad: 0,
        sender: process,
        overrun: 0,
        value: value_of(kind, amount),
        _rest: [0; 12],
    };
    if process != 0 {
        // SAFETY: `info` is a whole siginfo_t that outlives the call; the handler is installed, because the process is known.
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, libc::SIGPROF, &raw mut info) };
    }
}

/// Samples the calling thread at once.
pub(crate) fn look_here(kind: Kind, amount: u64) {
    look_at(current_thread(), kind, amount);
}

/// The calling thread, as the kernel numbers it.
pub(crate) fn current_thread() -> i32 {
    // SAFETY: it has no arguments and cannot fail.
    unsafe { libc::gettid() }
}

pub(crate) fn lost() -> Lost {
    Lost { ring_full: RING_FULL.load(Ordering::Relaxed), merged: MERGED.load(Ordering::Relaxed), foreign: FOREIGN.load(Ordering::Relaxed) }
}

extern "C" fn on_signal(_number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno is this thread's own; the kernel gives a handler with SA_SIGINFO a whole siginfo_t and ucontext_t, which live until it
    // returns.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        take(&*info.cast::<Info>(), &*context.cast::<libc::ucontext_t>());
        *errno = before;
    }
}

fn take(info: &Info, context: &libc::ucontext_t) {
    let from_timer = info.code == libc::SI_TIMER;
    // After a fork the child has another number, and none of the timers.
    let from_us = info.code == libc::SI_QUEUE && info.sender == PROCESS.load(Ordering::Relaxed);
    if info.value & MARK_MASK != MARK || !(from_timer || from_us) {
        FOREIGN.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let overrun = if from_timer { info.overrun.max(0) as u32 } else { 0 };
    let written = Ring::get().is_some_and(|ring| ring.write(|raw| fill(raw, info.value, overrun, context)));
    let count = if written { &MERGED } else { &RING_FULL };
    count.fetch_add(u64::from(overrun) + u64::from(!written), Ordering::Relaxed);
}

fn fill(raw: &mut Raw, value: u64, overrun: u32, context: &libc::ucontext_t) {
    raw.kind = Kind::of((value >> KIND_SHIFT) as u8 & 0xf);
    raw.amount = value & AMOUNT_MASK;
    raw.periods = overrun.saturating_add(1);
    // SAFETY: the call writes 16 bytes, which are ours (prctl(2)).
    unsafe { libc::prctl(libc::PR_GET_NAME, raw.thread.as_mut_ptr()) };
    raw.at = monotonic();
    raw.labels = labels::worn();
    raw.registers = registers(context);
    walk(raw);
}

/// Nanoseconds of CLOCK_MONOTONIC, the scale of [`Raw::at`].
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime is async-signal-safe (signal-safety(7)), and `now` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let general = &context.uc_mcontext.gregs;
    let of = |index: libc::c_int| general[index as usize] as u64;
    Registers { pc: of(libc::REG_RIP), sp: of(libc::REG_RSP), fp: of(libc::REG_RBP), lr: 0 }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let machine = &context.uc_mcontext;
    Registers { pc: machine.pc, sp: machine.sp, fp: machine.regs[29], lr: machine.regs[30] }
}
