//! Locks that know how long they were waited for.
//!
//! In: a value that threads share where nothing else will do. Out: the value, and under the lock's name how often and how long somebody waited
//! for it. A lock that is free costs what a mutex costs. Not here: who looks at the numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use super::clock::Clock;

/// All locks of one name.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    waits: AtomicU64,
    waited_ns: AtomicU64,
}

/// Clients with a connection, where one client's are capped.
pub(crate) static CLIENTS: Site = Site::new("clients");
/// The gauges of idle connections of an endpoint, one a worker.
pub(crate) static IDLE_GAUGES: Site = Site::new("idle_gauges");
/// What the profiler remembers.
pub(crate) static PROFILER: Site = Site::new("profiler");

/// The locks there are.
pub(crate) static SITES: [&Site; 3] = [&CLIENTS, &IDLE_GAUGES, &PROFILER];

#[derive(Debug)]
pub(crate) struct Lock<T> {
    site: &'static Site,
    value: Mutex<T>,
}

/// Shorter waits are not told of.
const TOLD_NS_MIN: u64 = 10_000;

/// Told the nanoseconds of each wait that matters, on the thread that waited.
static LISTENER: OnceLock<fn(u64)> = OnceLock::new();

/// The first listener stays.
pub(crate) fn listen(listener: fn(u64)) {
    LISTENER.get_or_init(|| listener);
}

impl Site {
    const fn new(name: &'static str) -> Self {
        Site { name, waits: AtomicU64::new(0), waited_ns: AtomicU64::new(0) }
    }

    /// How often somebody had to wait, and the nanoseconds of all waits.
    pub(crate) fn waits(&self) -> (u64, u64) {
        (self.waits.load(Ordering::Relaxed), self.waited_ns.load(Ordering::Relaxed))
    }

    fn note(&self, waited_ns: u64) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.waited_ns.fetch_add(waited_ns, Ordering::Relaxed);
        // A listener that takes time makes others wait; what is short, or is the listener's own, is only counted.
        if waited_ns >= TOLD_NS_MIN
            && !std::ptr::eq(self, &PROFILER)
            && let Some(listener) = LISTENER.get()
        {
            listener(waited_ns);
        }
    }
}

impl<T> Lock<T> {
    pub(crate) const fn new(site: &'static Site, value: T) -> Self {
        Lock { site, value: Mutex::new(value) }
    }

    /// A holder that panicked left the value as it was.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.value.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.wait(),
        }
    }

    #[cold]
    fn wait(&self) -> MutexGuard<'_, T> {
        let clock = Clock::system();
        let guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        self.site.note(clock.now().0);
        guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_waited_is_counted() {
        static SITE: Site = Site::new("test");
        let lock = Lock::new(&SITE, 0);
        *lock.lock() += 1;
        assert_eq!(SITE.waits(), (0, 0));
        std::thread::scope(|scope| {
            let held = lock.lock();
            let waiter = scope.spawn(|| *lock.lock() += 1);
            while !waiter.is_finished() && lock.value.try_lock().is_ok() {}
            std::thread::sleep(std::time::Duration::from_millis(30));
            drop(held);
        });
        assert_eq!(*lock.lock(), 2);
        let (waits, waited_ns) = SITE.waits();
        assert_eq!(waits, 1);
        assert!(waited_ns > 0);
    }
}
