//! Who has a place of its own, where there are more subjects than places.
//!
//! In: ids as they are used. Out: the number of a place, or [`OTHER`], which all others share. The most used keep their places: use is
//! weighed over some ten minutes, and a newcomer must have clearly more of it than the least used. Not here: what is kept at a place.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// The place of everybody else.
pub(super) const OTHER: u16 = 0;
/// Ids without a place whose use is weighed; more of them are `_other` unweighed until one of these has gone quiet.
const WAITING_LEN_MAX: usize = 4096;
/// What is left of a weight after each settling, which is every ten seconds: half after seven and a half minutes.
const KEPT_SHARE: f32 = 1.0 - 1.0 / 64.0;
/// What a newcomer must have more, so that two that are alike do not change places all the time.
const LEAD_FACTOR: f32 = 1.5;
/// Places that change hands in one settling.
const CHANGES_MAX: usize = 8;
/// Less weight than this is none.
const WEIGHT_MIN: f32 = 0.5;

/// The places of one kind of subject.
#[derive(Debug)]
pub(super) struct Places {
    len_max: usize,
    by_id: HashMap<u32, u16, FixedState>,
    held: Vec<Place>,
    waiting: HashMap<u32, f32, FixedState>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    id: u32,
    weight: f32,
    uses: u32,
}

impl Places {
    /// Room for so many beside [`OTHER`].
    pub(super) fn new(len_max: usize) -> Self {
        let other = Place { id: u32::MAX, weight: f32::INFINITY, uses: 0 };
        Places { len_max, by_id: HashMap::default(), held: vec![other], waiting: HashMap::default() }
    }

    /// The place of an id that is used now.
    pub(super) fn used(&mut self, id: u32) -> u16 {
        match self.by_id.get(&id) {
            Some(&place) => {
                self.held[usize::from(place)].uses += 1;
                place
            }
            None => self.admit(id),
        }
    }

    #[cold]
    fn admit(&mut self, id: u32) -> u16 {
        if self.held.len() <= self.len_max {
            let place = self.held.len() as u16;
            self.held.push(Place { id, weight: 0.0, uses: 1 });
            self.by_id.insert(id, place);
            return place;
        }
        let room = self.waiting.len() < WAITING_LEN_MAX;
        if let Some(weight) = self.waiting.get_mut(&id) {
            *weight += 1.0;
        } else if room {
            self.waiting.insert(id, 1.0);
        }
        OTHER
    }

    /// Weighs anew, every ten seconds. `vacate` is called for each place that changes hands, before it does.
    pub(super) fn settle(&mut self, mut vacate: impl FnMut(u16)) {
        for place in &mut self.held[1..] {
            place.weight = place.weight * KEPT_SHARE + std::mem::take(&mut place.uses) as f32;
        }
        for _ in 0..CHANGES_MAX {
            let Some((newcomer, weight)) = self.heaviest_waiting() else { break };
            let Some(lightest) = self.lightest() else { break };
            let leaving = self.held[usize::from(lightest)];
            if weight <= leaving.weight * LEAD_FACTOR + 1.0 {
                break;
            }
            vacate(lightest);
            self.by_id.remove(&leaving.id);
            self.by_id.insert(newcomer, lightest);
            self.held[usize::from(lightest)] = Place { id: newcomer, weight, uses: 0 };
            self.waiting.remove(&newcomer);
            self.waiting.insert(leaving.id, leaving.weight);
        }
        self.waiting.retain(|_, weight| {
            *weight *= KEPT_SHARE;
            *weight >= WEIGHT_MIN
        });
    }

    fn heaviest_waiting(&self) -> Option<(u32, f32)> {
        self.waiting.iter().map(|(&id, &weight)| (id, weight)).max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    }

    fn lightest(&self) -> Option<u16> {
        (1..self.held.len() as u16).min_by(|&a, &b| self.weight(a).total_cmp(&self.weight(b)))
    }

    fn weight(&self, place: u16) -> f32 {
        self.held[usize::from(place)].weight
    }

    /// Whose place it is; nobody's of [`OTHER`].
    pub(super) fn id(&self, place: u16) -> Option<u32> {
        (place != OTHER).then(|| self.held[usize::from(place)].id)
    }

    /// Ids that were used in the last minutes and have no place.
    pub(super) fn folded(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.held.capacity() * size_of::<Place>() + (self.by_id.capacity() + self.waiting.capacity()) * (size_of::<(u32, f32)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_by_those_who_are_used_most() {
        let mut places = Places::new(3);
        for id in 0..3 {
            assert_eq!(places.used(id), id as u16 + 1);
        }
        assert_eq!((places.used(3), places.folded()), (OTHER, 1));
        let mut vacated = Vec::new();
        for _ in 0..12 {
            (0..100).for_each(|_| assert!(places.used(0) == 1 && places.used(1) == 2));
            for _ in 0..20 {
                places.used(3);
            }
            places.settle(|place| vacated.push(place));
        }
        assert_eq!(vacated, [3]);
        assert_eq!((places.used(3), places.used(2), places.id(3)), (3, OTHER, Some(3)));
    }

    #[test]
    fn two_that_are_alike_do_not_take_turns() {
        let mut places = Places::new(1);
        let mut vacated = 0;
        for round in 0..200 {
            for _ in 0..50 + round % 7 {
                places.used(8);
                places.used(9);
            }
            places.settle(|_| vacated += 1);
        }
        assert_eq!((vacated, places.folded()), (0, 1));
    }

    #[test]
    fn a_flood_of_ids_takes_bounded_room_and_is_forgotten() {
        let mut places = Places::new(200);
        for id in 0..1_000_000 {
            places.used(id);
        }
        assert!((places.held.len(), places.folded()) == (201, WAITING_LEN_MAX) && places.bytes() < 128 * 1024, "{}", places.bytes());
        (0..64).for_each(|_| places.settle(|_| ()));
        assert_eq!(places.folded(), 0);
    }
}
