//! The account of every signal: `produced = exported + rejected + dropped{reason} + queued`, exact at every moment.
//!
//! In: each item once when it is made and once when its fate is known. Out: a balance. An item is counted as produced before it can
//! be settled, and a balance reads what is settled first, so the difference is what is queued and never negative.

use crate::base::atomic::{AtomicU64, Ordering};

/// What is accounted for. Control-plane spans and log lines count as traces and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Counted in spans.
    Traces,
    /// Counted in data points.
    Metrics,
    /// Counted in lines.
    Logs,
    /// Counted in samples.
    Profiles,
}

/// Why an item was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    /// A worker's ring had no room.
    RingFull,
    /// The queue to the sink had no room.
    QueueFull,
    /// More was to be kept in this second than the policy allows.
    RateLimited,
    /// The sink failed each time it was tried.
    RetriesExhausted,
    /// The log sink could not be written.
    SinkFailed,
    /// The process ended first.
    Shutdown,
}

impl Signal {
    pub(crate) const ALL: [Signal; 4] = [Signal::Traces, Signal::Metrics, Signal::Logs, Signal::Profiles];

    pub(crate) fn label(self) -> &'static str {
        ["traces", "metrics", "logs", "profiles"][self as usize]
    }
}

impl Drop {
    pub(crate) const ALL: [Drop; 6] =
        [Drop::RingFull, Drop::QueueFull, Drop::RateLimited, Drop::RetriesExhausted, Drop::SinkFailed, Drop::Shutdown];

    pub(crate) fn label(self) -> &'static str {
        ["ring_full", "queue_full", "rate_limited", "retries_exhausted", "sink_failed", "shutdown"][self as usize]
    }
}

/// All accounts of the process.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: [Account; 4],
}

#[derive(Debug, Default)]
struct Account {
    produced: AtomicU64,
    exported: AtomicU64,
    rejected: AtomicU64,
    dropped: [AtomicU64; 6],
}

/// A reading of one account in which the identity holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) produced: u64,
    pub(crate) exported: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: [u64; 6],
    pub(crate) queued: u64,
}

impl Ledger {
    pub(crate) fn produced(&self, signal: Signal, items: u64) {
        self.account(signal).produced.fetch_add(items, Ordering::Release);
    }

    pub(crate) fn exported(&self, signal: Signal, items: u64) {
        self.account(signal).exported.fetch_add(items, Ordering::Release);
    }

    pub(crate) fn rejected(&self, signal: Signal, items: u64) {
        self.account(signal).rejected.fetch_add(items, Ordering::Release);
    }

    pub(crate) fn dropped(&self, signal: Signal, reason: Drop, items: u64) {
        self.account(signal).dropped[reason as usize].fetch_add(items, Ordering::Release);
    }

    /// Read again while something is settled meanwhile, a bounded number of times, so that `queued` is no older than the rest.
    pub(crate) fn balance(&self, signal: Signal) -> Balance {
        let account = self.account(signal);
        let mut settled = account.settled();
        for _ in 0..READS_MAX {
            let produced = account.produced.load(Ordering::Acquire);
            let again = account.settled();
            if again == settled {
                return settled.with_produced(produced);
            }
            settled = again;
        }
        settled.with_produced(account.produced.load(Ordering::Acquire))
    }

    fn account(&self, signal: Signal) -> &Account {
        &self.accounts[signal as usize]
    }
}

/// Readings of one account before the last one is taken as it is.
const READS_MAX: usize = 100;

impl Account {
    /// A balance without what was produced.
    fn settled(&self) -> Balance {
        let mut dropped = [0; 6];
        for (value, cell) in dropped.iter_mut().zip(&self.dropped) {
            *value = cell.load(Ordering::Acquire);
        }
        let (exported, rejected) = (self.exported.load(Ordering::Acquire), self.rejected.load(Ordering::Acquire));
        Balance { exported, rejected, dropped, ..Balance::default() }
    }
}

impl Balance {
    fn with_produced(self, produced: u64) -> Balance {
        let settled = self.exported + self.rejected + self.dropped.iter().sum::<u64>();
        Balance { produced, queued: produced - settled, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    #[cfg(not(feature = "model"))]
    fn the_identity_holds_at_every_moment() {
        let ledger = Arc::new(Ledger::default());
        let writer = {
            let ledger = Arc::clone(&ledger);
            std::thread::spawn(move || {
                for _ in 0..50_000 {
                    ledger.produced(Signal::Traces, 3);
                    ledger.exported(Signal::Traces, 1);
                    ledger.rejected(Signal::Traces, 1);
                    ledger.dropped(Signal::Traces, Drop::QueueFull, 1);
                }
            })
        };
        while !writer.is_finished() {
            let balance = ledger.balance(Signal::Traces);
            let settled = balance.exported + balance.rejected + balance.dropped.iter().sum::<u64>();
            assert_eq!(balance.produced, settled + balance.queued, "{balance:?}");
        }
        writer.join().unwrap();
        let balance = ledger.balance(Signal::Traces);
        assert_eq!((balance.produced, balance.exported, balance.queued), (150_000, 50_000, 0));
    }

    /// Under every interleaving that is tried: the books balance, and nothing that was read before is taken back.
    #[test]
    #[cfg(feature = "model")]
    fn model_the_identity_holds_whatever_comes_between() {
        let turn = || {
            let ledger = Arc::new(Ledger::default());
            let settle = |ledger: &Arc<Ledger>, reason| {
                let ledger = Arc::clone(ledger);
                shuttle::thread::spawn(move || {
                    ledger.produced(Signal::Traces, 2);
                    ledger.exported(Signal::Traces, 1);
                    ledger.dropped(Signal::Traces, reason, 1);
                })
            };
            let writers = [settle(&ledger, Drop::QueueFull), settle(&ledger, Drop::Shutdown)];
            let mut before = Balance::default();
            for _ in 0..3 {
                let balance = ledger.balance(Signal::Traces);
                let settled = balance.exported + balance.rejected + balance.dropped.iter().sum::<u64>();
                assert_eq!(balance.produced, settled + balance.queued, "{balance:?}");
                assert!(balance.produced >= before.produced && balance.exported >= before.exported, "{before:?} {balance:?}");
                before = balance;
            }
            for writer in writers {
                writer.join().unwrap();
            }
            assert_eq!(ledger.balance(Signal::Traces).queued, 0);
        };
        shuttle::check_random(turn, 2000);
        shuttle::check_pct(turn, 2000, 3);
    }
}
