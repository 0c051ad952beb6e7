//! A host's process table: slots that keep their number, memory only for the processes that live.

use serde::{Deserialize, Serialize};

use crate::world::host::Proc;

/// What is looked up most often of a slot's process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    /// Where it is in [`Table::procs`]; from [`GONE`] on a quarter of the pid of the last one that lived there.
    at: u16,
    /// Program of the process, or of the last one.
    program: u16,
}

const GONE: u16 = 1 << 15;
const EMPTY: Place = Place { at: GONE, program: 0 };

/// Places that are made at once. An allocator hands out a kilobyte more or less, not a process.
const BLOCK: usize = 1024 / size_of::<Proc>();

static NOBODY: Proc = Proc::NOBODY;

/// Processes by slot. The first slots are those of the boot image and wait for its processes; the others are given to
/// whoever comes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// By slot.
    places: Vec<Place>,
    /// Living processes, nobody in vacant places.
    procs: Vec<Proc>,
    /// Vacant places.
    vacant: Vec<u16>,
    /// Slots behind those of the boot image that are given to the next ones.
    free: Vec<u16>,
    /// Slots of the boot image.
    boot: u16,
}

impl Table {
    /// A table with the slots of a boot image, all empty.
    pub fn of_boot(slots: usize) -> Table {
        Table { places: vec![EMPTY; slots], boot: slots as u16, ..Table::default() }
    }
    /// Slots of the boot image; they are never given to others.
    pub fn boot_slots(&self) -> u16 {
        self.boot
    }
    /// Slots, empty ones too.
    pub fn slots(&self) -> u16 {
        self.places.len() as u16
    }
    /// Memory that it holds, in bytes.
    pub fn bytes(&self) -> usize {
        let numbers = self.vacant.capacity() + self.free.capacity();
        self.procs.capacity() * size_of::<Proc>()
            + self.places.capacity() * size_of::<Place>()
            + numbers * size_of::<u16>()
    }
    /// The process in a slot, if one lives there.
    #[inline]
    pub fn get(&self, slot: u16) -> Option<&Proc> {
        self.procs.get(self.places.get(slot as usize)?.at as usize)
    }
    /// See [`Table::get`].
    #[inline]
    pub fn get_mut(&mut self, slot: u16) -> Option<&mut Proc> {
        self.procs.get_mut(self.places.get(slot as usize)?.at as usize)
    }
    /// Whether a process lives in a slot.
    #[inline]
    pub fn lives(&self, slot: u16) -> bool {
        self.places.get(slot as usize).is_some_and(|place| place.at < GONE)
    }
    /// Whether a process of a program lives in a slot.
    #[inline]
    pub fn is(&self, slot: u16, program: u16) -> bool {
        self.places.get(slot as usize).is_some_and(|place| place.at < GONE && place.program == program)
    }
    /// Slots behind those of the boot image in which a program lives.
    pub fn others(&self, program: u16) -> impl Iterator<Item = u16> + '_ {
        let places = self.places.iter().zip(0u16..).skip(self.boot as usize);
        places.filter(move |(p, _)| p.at < GONE && p.program == program).map(|(_, slot)| slot)
    }
    /// Pid of the process in a slot, or of the last one that lived there; 0 where none did.
    pub fn pid(&self, slot: u16) -> Option<u32> {
        let place = self.places.get(slot as usize)?.at;
        Some(self.procs.get(place as usize).map_or_else(|| (place - GONE) as u32 * 4, |p| p.snap.pid))
    }
    /// Living processes in no order.
    pub fn living(&self) -> impl Iterator<Item = &Proc> {
        self.procs.iter().filter(|p| p.alive())
    }
    /// See [`Table::living`].
    pub fn living_mut(&mut self) -> impl Iterator<Item = &mut Proc> {
        self.procs.iter_mut().filter(|p| p.alive())
    }
    /// Living processes by slot.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u16, &Proc)> {
        self.places
            .iter()
            .enumerate()
            .filter_map(|(slot, place)| Some((slot as u16, self.procs.get(place.at as usize)?)))
    }
    /// Puts a process into a slot.
    pub fn put(&mut self, slot: u16, p: Proc) {
        let place = match self.places[slot as usize].at {
            GONE.. => self.vacant.pop().unwrap_or_else(|| {
                if self.procs.len() == self.procs.capacity() {
                    self.procs.reserve_exact(BLOCK - self.procs.len() % BLOCK);
                }
                self.procs.push(NOBODY);
                self.procs.len() as u16 - 1
            }),
            taken => taken,
        };
        self.procs[place as usize] = p;
        self.places[slot as usize] = Place { at: place, program: p.program };
    }
    /// Puts a process into a slot behind those of the boot image.
    pub fn add(&mut self, p: Proc) -> u16 {
        let slot = self.free.pop().unwrap_or_else(|| {
            super::host::grow(&mut self.places);
            self.places.push(EMPTY);
            self.places.len() as u16 - 1
        });
        self.put(slot, p);
        slot
    }
    /// Makes a slot empty.
    pub fn remove(&mut self, slot: u16) {
        let place = self.places[slot as usize].at;
        if let Some(p) = self.procs.get_mut(place as usize) {
            self.places[slot as usize].at = GONE | (p.snap.pid / 4) as u16;
            *p = NOBODY;
            self.vacant.push(place);
            if slot >= self.boot {
                self.free.push(slot);
            }
        }
    }
    /// Nobody lives any more, and slots behind those of the boot image have gone.
    pub fn end(&mut self) {
        for slot in 0..self.boot {
            self.remove(slot);
        }
        self.places.truncate(self.boot as usize);
        (self.procs, self.vacant, self.free) = Default::default();
    }
}

impl std::ops::Index<u16> for Table {
    type Output = Proc;
    /// The process in a slot; nobody's where none lives.
    #[inline]
    fn index(&self, slot: u16) -> &Proc {
        self.get(slot).unwrap_or(&NOBODY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Whatever comes and goes, a table holds what a map would, and slots of the boot image are given to nobody.
        #[test]
        fn a_table_is_a_map_of_slots(steps in prop::collection::vec((any::<bool>(), 0u16..40), 0..200)) {
            let mut t = Table::of_boot(12);
            let mut want = BTreeMap::new();
            for (key, (comes, at)) in (1u64..).zip(steps) {
                let mut p = NOBODY;
                (p.snap.key, p.snap.pid) = (key, 4 * key as u32);
                match (comes, at) {
                    (true, 0..12) => {
                        t.put(at, p);
                        want.insert(at, key);
                    }
                    (true, _) => {
                        let slot = t.add(p);
                        prop_assert!(slot >= 12 && want.insert(slot, key).is_none());
                    }
                    (false, _) if at < t.slots() => {
                        t.remove(at);
                        if let Some(key) = want.remove(&at) {
                            prop_assert_eq!(t.pid(at), Some(4 * key as u32));
                        }
                    }
                    _ => {}
                }
                let found: Vec<_> = t.iter().map(|(slot, p)| (slot, p.snap.key)).collect();
                prop_assert_eq!(&found, &want.iter().map(|(s, k)| (*s, *k)).collect::<Vec<_>>());
                prop_assert_eq!(t.living().count(), want.len());
                prop_assert!((0..t.slots()).all(|s| t[s].alive() == want.contains_key(&s)));
            }
        }
    }

    #[test]
    fn a_process_takes_a_sixteenth_of_a_kilobyte() {
        assert_eq!(size_of::<Proc>(), 64);
    }
}
