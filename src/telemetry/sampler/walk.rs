//! The stack of an interrupted thread, by its frame pointers.
//!
//! In: registers. Out: where each call returns to, innermost first, up to a bound. Every page is asked for before it is read, so that a frame
//! pointer that is none ends the walk and not the process. Runs inside a signal handler. Not here: names, and frames without a pointer.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Raw;
use crate::base::limits::{FRAMES_MAX, STACK_BYTES_MAX, STACK_WORDS_MAX};

/// Below it there is never code.
const CODE_MIN: u64 = 4096;
const PAGE_BYTES: u64 = 4096;
/// How far one frame may lie from the next: what points further away is no frame, and may be memory of others that goes away meanwhile.
const FRAME_BYTES_MAX: u64 = 256 * 1024;

/// The code of the program itself; empty until [`learn_own_code`].
static OWN_CODE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Finds out where the program's own code lies. Not inside a signal handler.
pub(super) fn learn_own_code() {
    let here = walk as *const () as usize as u64;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let range = |line: &str| {
        let (start, limit) = line.split(' ').next()?.split_once('-')?;
        Some(number(start)?..number(limit)?)
    };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some(own) = maps.lines().filter_map(range).find(|range| range.contains(&here)) {
        OWN_CODE[0].store(own.start, Ordering::Relaxed);
        OWN_CODE[1].store(own.end, Ordering::Relaxed);
    }
}

fn own_code() -> std::ops::Range<u64> {
    OWN_CODE[0].load(Ordering::Relaxed)..OWN_CODE[1].load(Ordering::Relaxed)
}

/// Fills in what is to be read from the stack.
pub(super) fn walk(raw: &mut Raw) {
    let mut pages = Pages { known: [u64::MAX; 2] };
    raw.stack_len = copy_top(raw.registers.sp, &mut raw.stack, &mut pages);
    raw.depth = 0;
    follow(raw, raw.registers.fp, &mut pages);
    if raw.depth == 0
        && let Some(frame) = saved_frame(raw, &mut pages)
    {
        follow(raw, frame, &mut pages);
    }
}

/// From frame to frame.
fn follow(raw: &mut Raw, mut frame: u64, pages: &mut Pages) {
    let sp = raw.registers.sp;
    let mut lowest = sp;
    while raw.depth < FRAMES_MAX {
        if frame < lowest
            || !frame.is_multiple_of(8)
            || frame.wrapping_sub(sp) > STACK_BYTES_MAX
            || frame - lowest > FRAME_BYTES_MAX
            || !pages.are_readable(frame, 16)
        {
            return;
        }
        // SAFETY: both words were found to be readable, and are aligned; what they hold is only compared and kept.
        let (next, returns_to) = unsafe { (read(frame), read(frame + 8)) };
        if returns_to < CODE_MIN {
            return;
        }
        raw.returns[raw.depth] = returns_to;
        raw.depth += 1;
        lowest = frame + 16;
        frame = next;
    }
}

/// A function that uses the frame pointer's register for something else, as system calls in glibc do, has saved its caller's at the top of the
/// stack: the first word there that points to a frame of ours, with another one above it.
fn saved_frame(raw: &Raw, pages: &mut Pages) -> Option<u64> {
    let sp = raw.registers.sp;
    let is_above = |word: u64, than: u64| word > than && word.is_multiple_of(8) && word - sp <= FRAME_BYTES_MAX;
    raw.stack[..raw.stack_len].iter().copied().find(|&word| {
        is_above(word, sp) && pages.are_readable(word, 16) && {
            // SAFETY: both words were found to be readable, and are aligned.
            let (next, returns_to) = unsafe { (read(word), read(word + 8)) };
            is_above(next, word) && own_code().contains(&returns_to)
        }
    })
}

fn copy_top(sp: u64, into: &mut [u64; STACK_WORDS_MAX], pages: &mut Pages) -> usize {
    if !sp.is_multiple_of(8) {
        return 0;
    }
    for (index, word) in into.iter_mut().enumerate() {
        let address = sp.wrapping_add(8 * index as u64);
        if !pages.are_readable(address, 8) {
            return index;
        }
        // SAFETY: found to be readable, and aligned.
        *word = unsafe { read(address) };
    }
    STACK_WORDS_MAX
}

/// # Safety
/// The word at `address` must be mapped and aligned.
unsafe fn read(address: u64) -> u64 {
    // SAFETY: as the caller promises. Volatile, because other code of this thread owns the memory.
    unsafe { std::ptr::with_exposed_provenance::<u64>(address as usize).read_volatile() }
}

/// Pages that were found to be readable a moment ago. A thread's own stack does not go away while it runs this.
struct Pages {
    known: [u64; 2],
}

impl Pages {
    fn are_readable(&mut self, address: u64, bytes: u64) -> bool {
        let first = address & !(PAGE_BYTES - 1);
        let last = address.wrapping_add(bytes - 1) & !(PAGE_BYTES - 1);
        self.is_readable(first) && (first == last || self.is_readable(last))
    }

    fn is_readable(&mut self, page: u64) -> bool {
        if self.known.contains(&page) {
            return true;
        }
        let readable = is_mapped(page);
        if readable {
            self.known = [page, self.known[0]];
        }
        readable
    }
}

/// Asks the kernel, which reads a signal mask from there before it refuses the rest of the call: EINVAL where it could, EFAULT where not.
/// (The way of Abseil's `AddressIsReadable`.) Signal masks are what every sandbox lets a thread ask for.
fn is_mapped(address: u64) -> bool {
    const NO_SUCH_WAY: libc::c_int = -1;
    // SAFETY: the call changes nothing, because its first argument is not valid; the address is only read, by the kernel.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, NO_SUCH_WAY, address, std::ptr::null_mut::<libc::c_void>(), 8_usize) };
    // SAFETY: errno is this thread's own.
    result == -1 && unsafe { *libc::__errno_location() } == libc::EINVAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mapped_is_told_from_what_is() {
        let here = 5_u64;
        assert!(is_mapped(std::ptr::from_ref(&here).expose_provenance() as u64));
        assert!(!is_mapped(0x10));
        assert!(!is_mapped(u64::MAX - 4095));
    }

    #[test]
    fn a_frame_pointer_that_is_none_ends_the_walk() {
        let mut raw = Raw::EMPTY;
        let words = [0_u64; 4];
        raw.registers.sp = std::ptr::from_ref(&words).expose_provenance() as u64;
        for wild in [0, 1, raw.registers.sp + 4, raw.registers.sp + STACK_BYTES_MAX - 8, u64::MAX - 7] {
            raw.registers.fp = wild;
            walk(&mut raw);
            assert!(raw.depth <= FRAMES_MAX);
        }
    }
}
