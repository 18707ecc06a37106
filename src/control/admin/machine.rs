//! Metrics of the machinery under the gateway: threads, locks, the allocator, the profiler.
//!
//! In: nothing; they are properties of the process. Out: families. Reads files of the system, so not for the control plane's own thread. Not
//! here: requests, and `process_*`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::lock::SITES;
use crate::telemetry::export::metrics::{Family, FamilyKind, seconds};
use crate::telemetry::profile::heap;
use crate::telemetry::profile::profiler::{Profiler, Totals};
use crate::telemetry::record::labels::Work;
use crate::telemetry::record::names;
use crate::telemetry::sampler::{self, Kind};

/// What a thread does that belongs to no request.
const OTHER: &str = "other";

pub(super) fn families() -> Vec<Family> {
    let mut families = vec![threads(), allocator()];
    families.extend(locks());
    families.extend(profiler(&Profiler::of_process().totals()));
    families
}

fn threads() -> Family {
    let mut by_name: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for (name, nanos) in sampler::cpu_times() {
        *by_name.entry(name.into()).or_default() += nanos;
    }
    let mut family = Family::new(&names::THREAD_CPU, FamilyKind::Counter);
    for (name, nanos) in by_name {
        family.push(vec![(names::LABEL_THREAD, name)], seconds(nanos));
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
