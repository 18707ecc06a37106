//! Time, injected: every room asks a [`Clock`], none asks the system.
//!
//! In: nothing. Out: a [`Tick`], nanoseconds on a monotonic scale, and its translation to wall time.
//! Not here: timers ([`super::alarm`] has them) and calendars beyond the one access-log timestamp.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the clock was made. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    pub(crate) const NEVER: Tick = Tick(u64::MAX);

    pub(crate) fn after(self, pause: Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Nanoseconds from `earlier` to here; zero where `earlier` is the later one.
    pub(crate) fn since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A source of ticks: the system's, or a hand-driven one in tests.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    #[allow(dead_code, reason = "tests drive time by hand")]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "the one place that may ask the system")]
    pub(crate) fn system() -> Self {
        Clock { source: Source::System(Instant::now()) }
    }

    #[cfg(test)]
    pub(crate) fn manual(start: Tick) -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(start.0));
        (Clock { source: Source::Manual(Arc::clone(&hand)) }, hand)
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that may ask the system")]
    pub(crate) fn now(&self) -> Tick {
        match &self.source {
            Source::System(anchor) => Tick(anchor.elapsed().as_nanos() as u64),
            Source::Manual(hand) => Tick(hand.load(Ordering::Relaxed)),
        }
    }

    /// Nanoseconds to add to a tick to get Unix time, as of now. Asked anew for each batch, so that a wall clock
    /// that is stepped does not leave old offsets behind.
    #[allow(clippy::disallowed_methods, reason = "the one place that may ask the system")]
    pub(crate) fn wall_offset(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        wall.saturating_sub(self.now().0)
    }

    /// The instant at which `tick` falls, for tokio's timers.
    pub(crate) fn instant(&self, tick: Tick) -> tokio::time::Instant {
        let far = Duration::from_secs(60 * 60 * 24 * 365);
        match &self.source {
            Source::System(anchor) => tokio::time::Instant::from_std(*anchor + Duration::from_nanos(tick.0).min(far)),
            Source::Manual(_) => tokio::time::Instant::now() + Duration::from_nanos(tick.since(self.now())).min(far),
        }
    }
}

/// Unix nanoseconds as RFC 3339 in UTC.
pub(crate) fn rfc3339(unix_nanos: u64) -> String {
    let mut out = Vec::new();
    write_rfc3339(&mut out, unix_nanos);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes Unix nanoseconds as RFC 3339 in UTC with microseconds, such as `2026-01-31T08:15:00.123456Z`.
pub(crate) fn write_rfc3339(out: &mut Vec<u8>, unix_nanos: u64) {
    let seconds = unix_nanos / 1_000_000_000;
    let micros = unix_nanos % 1_000_000_000 / 1000;
    let (year, month, day) = civil_from_days((seconds / 86_400) as i64);
    let of_day = seconds % 86_400;
    let mut digits = |value: u64, width: usize, after: &[u8]| {
        let mut text = [b'0'; 20];
        let mut rest = value;
        for slot in text[..width].iter_mut().rev() {
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&text[..width]);
        out.extend_from_slice(after);
    };
    digits(year as u64, 4, b"-");
    digits(u64::from(month), 2, b"-");
    digits(u64::from(day), 2, b"T");
    digits(of_day / 3600, 2, b":");
    digits(of_day / 60 % 60, 2, b":");
    digits(of_day % 60, 2, b".");
    digits(micros, 6, b"Z");
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc3339(nanos: u64) -> String {
        let mut out = Vec::new();
        write_rfc3339(&mut out, nanos);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_read_as_dates_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(951_782_400_000_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(rfc3339(1_798_761_599_123_456_789), "2026-12-31T23:59:59.123456Z");
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual(Tick(5));
        assert_eq!(clock.now(), Tick(5));
        hand.store(9, Ordering::Relaxed);
        assert_eq!(clock.now().since(Tick(5)), 4);
    }
}
