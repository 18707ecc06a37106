//! Whose past is remembered: values by id, as many as there is room for.
//!
//! In: ids as they are used. Out: the value of an id, and all values of a group. Bounded: the least recently used makes room, and what it
//! had learned is forgotten. Not here: what is learned (`baseline`).

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Routes, and endpoints, whose past is known. One takes about 4 kB.
pub(super) const ENTRIES_MAX: usize = 1024;

/// Values by id, at most [`ENTRIES_MAX`].
pub(super) struct Table<V> {
    places: HashMap<u32, usize, FixedState>,
    /// The id and the group of each place, its value, and the turn in which it was last used.
    keys: Vec<(u32, u64)>,
    values: Vec<V>,
    used: Vec<u64>,
    turn: u64,
    forgotten: u64,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table { places: HashMap::default(), keys: Vec::new(), values: Vec::new(), used: Vec::new(), turn: 0, forgotten: 0 }
    }
}

impl<V> Table<V> {
    pub(super) fn get(&self, id: u32) -> Option<&V> {
        self.places.get(&id).map(|place| &self.values[*place])
    }

    /// The value of `id`, which is now the most recently used; made with its group where there is none.
    pub(super) fn touch(&mut self, id: u32, make: impl FnOnce() -> (u64, V)) -> &mut V {
        self.turn += 1;
        let place = match self.places.get(&id) {
            Some(place) => *place,
            None => self.place(id, make()),
        };
        self.used[place] = self.turn;
        &mut self.values[place]
    }

    /// All values of a group.
    pub(super) fn of_group(&self, group: u64) -> impl Iterator<Item = (u32, &V)> {
        self.keys.iter().zip(&self.values).filter(move |(key, _)| key.1 == group).map(|(key, value)| (key.0, value))
    }

    /// Values that had to make room.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// A place of its own; that of the least recently used where all are taken.
    fn place(&mut self, id: u32, (group, value): (u64, V)) -> usize {
        let place = self.keys.len();
        if place < ENTRIES_MAX {
            self.keys.push((id, group));
            self.values.push(value);
            self.used.push(self.turn);
            self.places.insert(id, place);
            return place;
        }
        let oldest = self.used.iter().min().copied();
        let place = self.used.iter().position(|used| Some(*used) == oldest).unwrap_or(0);
        self.places.remove(&self.keys[place].0);
        self.forgotten += 1;
        self.keys[place] = (id, group);
        self.values[place] = value;
        self.places.insert(id, place);
        place
    }
}
