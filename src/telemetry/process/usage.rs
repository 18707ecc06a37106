//! Who uses the budget of series.
//!
//! In: the keys that the budget has admitted, and what their subjects stand for. Out: how much of it is used, what was folded, and the routes with
//! the most series. Whoever asks looks it up by itself: the telemetry thread need not wake. Not here: the values of series (`aggregate`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::questions::Telemetry;
use crate::telemetry::record::legend::Legends;
use crate::telemetry::record::series::{Budget, Key, Kind};

/// Routes that are named.
const WORST_MAX: usize = 10;

/// A reading of the budget.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) used: u64,
    pub(crate) max: u64,
    /// Observations that went to a series of `_other`.
    pub(crate) folded: u64,
    /// Routes with their series, most first. The name is empty for requests that no route took.
    pub(crate) worst: Vec<(String, u64)>,
}

impl Telemetry {
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(&self.budget, &self.legends)
    }
}

impl Usage {
    fn of(budget: &Budget, legends: &Legends) -> Self {
        Usage { used: budget.used(), max: budget.series_max(), folded: budget.folded(), worst: worst(budget, legends) }
    }
}

fn worst(budget: &Budget, legends: &Legends) -> Vec<(String, u64)> {
    let mut by_subject: HashMap<u32, u64> = HashMap::new();
    let of_routes = budget.keys().map(Key::unpack).filter(|parts| matches!(parts.kind, Kind::Server | Kind::SelfTime));
    for parts in of_routes {
        *by_subject.entry(parts.subject).or_default() += 1;
    }
    let (routes, _) = legends.tables();
    // A route whose path pattern was changed by a reload has several subjects.
    let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
    for (subject, series) in by_subject {
        let name = routes.get(subject as usize).map_or("", |route| route.name.as_str());
        *by_name.entry(name).or_default() += series;
    }
    let mut worst: Vec<(String, u64)> = by_name.into_iter().map(|(name, series)| (name.to_owned(), series)).collect();
    worst.sort_by_key(|(_, series)| Reverse(*series));
    worst.truncate(WORST_MAX);
    worst
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::record::series::{Parts, Shard};

    #[test]
    fn the_routes_with_the_most_series_are_named_most_first() {
        let legends = Legends::new();
        let budget = Arc::new(Budget::new(40));
        // Of two workers, which share what they both have.
        let mut shards = [Shard::new(Arc::clone(&budget)), Shard::new(Arc::clone(&budget))];
        let mut observe = |kind, subject, status| {
            for (shard, _) in &mut shards {
                shard.observe(Parts { kind, subject, detail: 0, status, version: 1, reason: 0 }, 1, [0, 0]);
            }
        };
        for route in 0..12_u16 {
            let subject = legends.route(&format!("route-{route}"), "/").0;
            for status in 0..=route % 3 {
                observe(Kind::Server, subject, 200 + status);
            }
        }
        let moved = legends.route("route-0", "/elsewhere").0;
        for status in 0..8 {
            observe(Kind::Server, moved, 200 + status);
        }
        for endpoint in 0..20 {
            observe(Kind::Client, endpoint, 200);
        }
        let usage = Usage::of(&budget, &legends);
        assert_eq!((usage.used, usage.max), (40, 40));
        assert_eq!(usage.folded, 2 * (24 + 8 + 20 - 40));
        assert_eq!(usage.worst.len(), WORST_MAX);
        assert_eq!(usage.worst[..2], [("route-0".to_owned(), 9), ("route-11".to_owned(), 3)]);
        assert!(usage.worst.is_sorted_by(|a, b| a.1 >= b.1), "{usage:?}");
    }

    #[test]
    fn requests_that_no_route_took_have_an_empty_name() {
        let (legends, budget) = (Legends::new(), Arc::new(Budget::new(16)));
        let (mut shard, _arrivals) = Shard::new(Arc::clone(&budget));
        shard.observe(Parts { kind: Kind::SelfTime, subject: 0, detail: 0, status: 0, version: 0, reason: 0 }, 1, [0, 0]);
        assert_eq!(Usage::of(&budget, &legends), Usage { used: 1, max: 16, folded: 0, worst: vec![(String::new(), 1)] });
    }
}
