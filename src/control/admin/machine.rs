//! Metrics of the machinery under the gateway: threads, locks, the allocator, the profiler.
//!
//! In: nothing; they are properties of the process. Out: families. Reads files of the system, so not for the control plane's own thread. Not
//! here: requests, and `process_*`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::base::lock::SITES;
use crate::telemetry::export::metrics::{Family, FamilyKind, seconds};
use crate::telemetry::profile::heap;
use crate::telemetry::profile::profiler::{Profiler, Totals};
use crate::telemetry::record::labels::Work;
use crate::telemetry::record::names;
use crate::telemetry::sampler::{self, CpuTime, Kind};

/// Names of threads that metrics tell apart.
const THREAD_NAMES_MAX: usize = 64;
/// What a thread does that belongs to no request.
const OTHER: &str = "other";

pub(super) fn families() -> Vec<Family> {
    let mut families = vec![threads(), allocator()];
    families.extend(locks());
    families.extend(profiler(&Profiler::of_process().totals()));
    families
}

/// What threads had used when they were last looked at, so that the sum does not fall when one ends.
#[derive(Default)]
struct Used {
    by_name: BTreeMap<Arc<str>, u64>,
    by_thread: HashMap<(i32, u64), u64>,
}

static USED: LazyLock<Mutex<Used>> = LazyLock::new(Mutex::default);

impl Used {
    fn add(&mut self, times: Vec<CpuTime>) {
        let mut alive = HashMap::new();
        for CpuTime { thread, name, nanos } in times {
            let before = self.by_thread.get(&thread).copied().unwrap_or(0);
            alive.insert(thread, nanos);
            let is_known = self.by_name.contains_key(name.as_str()) || self.by_name.len() < THREAD_NAMES_MAX;
            let name = if is_known { name.as_str() } else { names::FOLDED };
            *self.by_name.entry(name.into()).or_default() += nanos.saturating_sub(before);
        }
        self.by_thread = alive;
    }
}

fn threads() -> Family {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    used.add(sampler::cpu_times());
    let mut family = Family::new(&names::THREAD_CPU, FamilyKind::Counter);
    for (name, nanos) in &used.by_name {
        family.push(vec![(names::LABEL_THREAD, Arc::clone(name))], seconds(*nanos));
    }
    family
}

fn allocator() -> Family {
    let mut family = Family::new(&names::ALLOCATOR_BYTES, FamilyKind::Gauge);
    for (kind, bytes) in heap::allocator_bytes().into_iter().flatten() {
        family.push(vec![(names::LABEL_KIND, kind.into())], bytes as f64);
    }
    family
}

fn locks() -> [Family; 2] {
    let mut waits = Family::new(&names::LOCK_WAITS, FamilyKind::Counter);
    let mut waited = Family::new(&names::LOCK_WAIT, FamilyKind::Counter);
    for site in SITES {
        let (count, nanos) = site.waits();
        let labels = || vec![(names::LABEL_LOCK, Arc::from(site.name))];
        waits.push(labels(), count as f64);
        waited.push(labels(), seconds(nanos));
    }
    [waits, waited]
}

fn profiler(totals: &Totals) -> [Family; 4] {
    let mut phases = Family::new(&names::CPU_PHASE, FamilyKind::Counter);
    for ((thread, work), nanos) in &totals.cpu {
        let phase = if *work == Work::None { OTHER } else { work.label() };
        phases.push(vec![(names::LABEL_THREAD, Arc::clone(thread)), (names::LABEL_PHASE, phase.into())], seconds(*nanos));
    }
    let mut samples = Family::new(&names::PROFILE_SAMPLES, FamilyKind::Counter);
    for kind in Kind::ALL {
        samples.push(vec![(names::LABEL_KIND, kind.label().into())], totals.samples[kind as usize] as f64);
    }
    let mut lost = Family::new(&names::PROFILE_LOST, FamilyKind::Counter);
    for (reason, count) in [("ring_full", totals.ring_full), ("history_full", totals.history_full)] {
        lost.push(vec![(names::LABEL_REASON, reason.into())], count as f64);
    }
    [phases, samples, lost, Family::single(&names::PROFILE_MERGED, FamilyKind::Counter, totals.merged as f64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_used_stays_counted_when_it_ends() {
        let mut used = Used::default();
        let time = |number: i32, nanos| CpuTime { thread: (number, 7), name: "blocking".to_owned(), nanos };
        used.add(vec![time(1, 100), time(2, 50)]);
        used.add(vec![time(2, 60)]);
        used.add(vec![time(3, 5), time(2, 60)]);
        assert_eq!(used.by_name["blocking"], 165);
        assert_eq!(used.by_thread.len(), 2);
        used.add((0..200).map(|number| CpuTime { thread: (number, 8), name: format!("t{number}"), nanos: 1 }).collect());
        assert_eq!(used.by_name.len(), THREAD_NAMES_MAX + 1);
        assert_eq!(used.by_name.values().sum::<u64>(), 365);
    }
}
