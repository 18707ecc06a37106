//! The ring that samples wait in: many writers, each inside a signal handler, and one reader.
//!
//! In: a place, claimed and filled. Out: the samples in it, oldest first. No lock and no allocation on the writer's side (after D. Vyukov's
//! bounded queue); a full ring refuses. Not here: what a sample is made of (`handler`).

use std::cell::UnsafeCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Raw;
use crate::base::limits::SAMPLE_RING_LEN_MAX;

const MASK: usize = SAMPLE_RING_LEN_MAX - 1;
const _: () = assert!(SAMPLE_RING_LEN_MAX.is_power_of_two());

pub(super) struct Ring {
    slots: Box<[Slot]>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

struct Slot {
    /// The position whose writer may have it, or that position plus one when it is full.
    turn: AtomicUsize,
    raw: UnsafeCell<Raw>,
}

// SAFETY: a slot's sample is touched only by who holds its turn: the writer that claimed the position, then the reader, one after the other,
// ordered by the release and acquire of `turn`.
unsafe impl Sync for Ring {}

static RING: OnceLock<Ring> = OnceLock::new();

impl Ring {
    /// The process's ring, made at the first call, which must not be in a signal handler.
    pub(super) fn make() -> &'static Ring {
        RING.get_or_init(Ring::new)
    }

    /// The process's ring, if it is there. Only a load.
    pub(super) fn get() -> Option<&'static Ring> {
        RING.get()
    }

    fn new() -> Ring {
        let slots = (0..SAMPLE_RING_LEN_MAX).map(|turn| Slot { turn: AtomicUsize::new(turn), raw: UnsafeCell::new(Raw::EMPTY) });
        Ring { slots: slots.collect(), head: AtomicUsize::new(0), tail: AtomicUsize::new(0) }
    }

    /// Lets `fill` write a sample in place. False where there is no room.
    pub(super) fn write(&self, fill: impl FnOnce(&mut Raw)) -> bool {
        let mut position = self.head.load(Ordering::Relaxed);
        let slot = loop {
            let slot = &self.slots[position & MASK];
            let turn = slot.turn.load(Ordering::Acquire);
            if turn == position {
                match self.head.compare_exchange_weak(position, position + 1, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => break slot,
                    Err(now) => position = now,
                }
            } else if turn < position {
                return false;
            } else {
                position = self.head.load(Ordering::Relaxed);
            }
        };
        // SAFETY: the position is claimed, so nobody else touches the sample until `turn` is raised.
        fill(unsafe { &mut *slot.raw.get() });
        slot.turn.store(position + 1, Ordering::Release);
        true
    }

    fn read(&self, mut take: impl FnMut(&Raw)) {
        loop {
            let position = self.tail.load(Ordering::Relaxed);
            let slot = &self.slots[position & MASK];
            if slot.turn.load(Ordering::Acquire) != position + 1 {
                return;
            }
            // SAFETY: it is full and its writer has let go of it; the one reader has it until `turn` is raised.
            take(unsafe { &*slot.raw.get() });
            slot.turn.store(position + SAMPLE_RING_LEN_MAX, Ordering::Release);
            self.tail.store(position + 1, Ordering::Relaxed);
        }
    }
}

/// Takes all samples out. To be called by one thread at a time: the profiler's lock sees to that.
pub(crate) fn drain(take: impl FnMut(&Raw)) {
    if let Some(ring) = RING.get() {
        ring.read(take);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_out_in_order_and_a_full_ring_refuses() {
        let ring = Ring::new();
        for number in 0..SAMPLE_RING_LEN_MAX as u64 {
            assert!(ring.write(|raw| raw.at = number));
        }
        assert!(!ring.write(|raw| raw.at = 99));
        let mut seen = Vec::new();
        ring.read(|raw| seen.push(raw.at));
        assert_eq!(seen, (0..SAMPLE_RING_LEN_MAX as u64).collect::<Vec<_>>());
        assert!(ring.write(|raw| raw.at = 7));
        ring.read(|raw| assert_eq!(raw.at, 7));
    }

    #[test]
    fn many_writers_lose_nothing_and_mix_nothing_up() {
        let ring = Ring::new();
        let (writers, each) = (4_u64, 50_000_u64);
        let mut sums = vec![0; writers as usize];
        let mut refused = 0;
        std::thread::scope(|scope| {
            let write = |writer: u64| {
                let ring = &ring;
                move || {
                    (0..each)
                        .filter(|number| !ring.write(|raw| (raw.thread[0], raw.at, raw.amount) = (writer as u8, *number, !number)))
                        .count()
                }
            };
            let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(write(writer))).collect();
            let mut take = |raw: &Raw| {
                assert_eq!(raw.amount, !raw.at);
                sums[usize::from(raw.thread[0])] += 1;
            };
            while threads.iter().any(|thread| !thread.is_finished()) {
                ring.read(&mut take);
            }
            ring.read(&mut take);
            refused = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        });
        assert_eq!(sums.iter().sum::<usize>() + refused, (writers * each) as usize);
    }
}
