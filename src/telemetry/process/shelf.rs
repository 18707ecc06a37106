//! Which requests are remembered one by one, and for how long.
//!
//! In: every record with what was decided about it. Out: those that are still there, the oldest first. The last of all have a room, those of
//! them with a verdict another behind it, and those that somebody has looked at a third, so that what was just seen to be wrong does not go
//! with thousands of others. All are bounded: the oldest makes room. Not here: filters, and how a request is shown (`recent`).

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::verdict::Verdict;
use crate::base::ids::SpanId;
use crate::base::limits::{NOTABLE_RECORDS_A_SECOND_MAX, NOTABLE_RECORDS_MAX, OPENED_RECORDS_MAX, RECENT_RECORDS_MAX};
use crate::telemetry::export::keep_reason::KeepReason;
use crate::telemetry::record::Record;
use crate::telemetry::record::slim::Slim;

/// A record with what was decided about it.
#[derive(Clone)]
pub(super) struct Kept {
    held: Held,
    pub(super) reason: Option<KeepReason>,
    pub(super) verdict: Option<Box<Verdict>>,
    /// As it was then, so that a request's id stays the same.
    pub(super) wall_offset: u64,
}

/// A record in as little room as it takes.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "nearly all are slim, and a box each would cost an allocation a request")]
enum Held {
    Slim(Slim),
    Full(Box<Record>),
}

#[derive(Default)]
pub(super) struct Shelf {
    recent: VecDeque<Kept>,
    /// Those with a verdict that have gone from the recent ones.
    notable: VecDeque<Kept>,
    /// Those that somebody has opened.
    opened: VecDeque<Kept>,
    admitted: Admitted,
    /// Records that were ever kept.
    total: u64,
}

/// How many of each route have become notable in this second, so that one that fails all the time leaves room for others.
#[derive(Default)]
struct Admitted {
    second: u64,
    by_route: HashMap<u32, usize, FixedState>,
}

impl Kept {
    pub(super) fn new(record: &Record, reason: Option<KeepReason>, verdict: Option<Verdict>, wall_offset: u64) -> Self {
        let held = Slim::of(record).map_or_else(|| Held::Full(Box::new(*record)), Held::Slim);
        Kept { held, reason, verdict: verdict.map(Box::new), wall_offset }
    }

    pub(super) fn write_into(&self, record: &mut Record) {
        match &self.held {
            Held::Slim(slim) => slim.expand(record),
            Held::Full(full) => *record = **full,
        }
    }
}

impl Shelf {
    pub(super) fn put(&mut self, kept: Kept) {
        if self.recent.len() == RECENT_RECORDS_MAX
            && let Some(oldest) = self.recent.pop_front()
            && oldest.verdict.is_some()
        {
            self.put_notable(oldest);
        }
        self.total += 1;
        self.recent.push_back(kept);
    }

    fn put_notable(&mut self, kept: Kept) {
        let mut record = Record::empty();
        kept.write_into(&mut record);
        if !self.admitted.admits(record.route.0, record.ended.0 / 1_000_000_000) {
            return;
        }
        if self.notable.len() == NOTABLE_RECORDS_MAX {
            self.notable.pop_front();
        }
        self.notable.push_back(kept);
    }

    pub(super) fn len(&self) -> usize {
        self.notable.len() + self.recent.len()
    }

    /// By its place among all that are to be listed.
    pub(super) fn at(&self, index: usize) -> &Kept {
        index.checked_sub(self.notable.len()).map_or_else(|| &self.notable[index], |index| &self.recent[index])
    }

    /// All that are to be listed, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.notable.iter().chain(&self.recent)
    }

    /// Records that were ever put here.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// What was put here after so many, and how many of those are gone.
    pub(super) fn since(&self, told: u64) -> (impl Iterator<Item = &Kept>, u64) {
        let oldest = self.total - self.recent.len() as u64;
        let known = told.saturating_sub(oldest).min(self.recent.len() as u64) as usize;
        (self.recent.range(known..), oldest.saturating_sub(told))
    }

    /// The one with this span, which is held on to from now on.
    pub(super) fn open(&mut self, span_id: SpanId) -> Option<&Kept> {
        let mut record = Record::empty();
        let mut is_it = |kept: &Kept| {
            kept.write_into(&mut record);
            record.span_id == span_id
        };
        if let Some(at) = self.opened.iter().position(&mut is_it) {
            return self.opened.get(at);
        }
        let found = self.recent.iter().rev().chain(self.notable.iter().rev()).find(|kept| is_it(kept))?.clone();
        if self.opened.len() == OPENED_RECORDS_MAX {
            self.opened.pop_front();
        }
        self.opened.push_back(found);
        self.opened.back()
    }
}

impl Admitted {
    fn admits(&mut self, route: u32, second: u64) -> bool {
        if self.second != second {
            self.second = second;
            self.by_route.clear();
        }
        let admitted = self.by_route.entry(route).or_insert(0);
        *admitted += 1;
        *admitted <= NOTABLE_RECORDS_A_SECOND_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{Code, Confidence};
    use super::*;
    use crate::base::clock::Tick;
    use crate::telemetry::record::legend::RouteId;

    fn kept(number: u64, route: u32, notable: bool) -> Kept {
        let mut record = Record::empty();
        (record.route, record.ended, record.span_id) = (RouteId(route), Tick(number * 10_000_000), SpanId((number + 1).to_be_bytes()));
        let verdict = Verdict { code: Code::NoRoute, confidence: Confidence::Certain, text: "".into() };
        Kept::new(&record, None, notable.then_some(verdict), 0)
    }

    fn numbers<'k>(all: impl Iterator<Item = &'k Kept>) -> Vec<u64> {
        let mut record = Record::empty();
        let mut number = |kept: &Kept| {
            kept.write_into(&mut record);
            record.ended.0 / 10_000_000
        };
        all.map(&mut number).collect()
    }

    #[test]
    fn what_has_a_verdict_outlives_the_others_but_only_so_many_of_a_route() {
        let mut shelf = Shelf::default();
        // A hundred a second: route 1 always fails, route 2 once a second.
        let all = 100 * 60 + RECENT_RECORDS_MAX as u64;
        for number in 0..all {
            let rare = number % 100 == 50;
            shelf.put(kept(number, if rare { 2 } else { 1 }, rare || number % 2 == 0));
        }
        let gone = numbers(shelf.notable.iter());
        assert_eq!(gone.len(), 60 * (NOTABLE_RECORDS_A_SECOND_MAX + 1));
        assert_eq!(gone.iter().filter(|number| *number % 100 == 50).count(), 60);
        assert_eq!((shelf.len(), shelf.total()), (gone.len() + RECENT_RECORDS_MAX, all));
        assert!(numbers(shelf.iter()).is_sorted() && numbers((0..shelf.len()).map(|index| shelf.at(index))).is_sorted());
        let (fresh, lost) = shelf.since(all - 3);
        assert_eq!((numbers(fresh), lost), (vec![all - 3, all - 2, all - 1], 0));
        assert_eq!(shelf.since(0).1, all - RECENT_RECORDS_MAX as u64);
    }

    #[test]
    fn both_rooms_are_bounded_and_what_was_opened_stays() {
        let mut shelf = Shelf::default();
        shelf.put(kept(0, 0, false));
        let first = SpanId(1_u64.to_be_bytes());
        assert!(shelf.open(first).is_some() && shelf.open(SpanId([9; 8])).is_none());
        let all = (NOTABLE_RECORDS_MAX + 2 * RECENT_RECORDS_MAX) as u64;
        (1..all).for_each(|number| shelf.put(kept(number, number as u32, true)));
        assert_eq!((shelf.notable.len(), shelf.recent.len()), (NOTABLE_RECORDS_MAX, RECENT_RECORDS_MAX));
        assert!(shelf.open(first).is_some());
        for number in all - OPENED_RECORDS_MAX as u64..all {
            assert!(shelf.open(SpanId((number + 1).to_be_bytes())).is_some());
        }
        assert_eq!(shelf.opened.len(), OPENED_RECORDS_MAX);
        assert!(shelf.open(first).is_none());
    }
}
