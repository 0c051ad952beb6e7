//! Records waiting for their release.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// A record to be released.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// When collection delivers it.
    pub release: Time,
    /// When the sensor writes it.
    pub write: Time,
    /// The fact.
    pub fact: u32,
    /// Feed.
    pub feed: u8,
    /// Event of its source.
    pub event: u16,
    /// Order among equals.
    pub n: u64,
}

/// Slices that have a place of their own at least; what is later waits in a map.
pub const NEAR_MIN: usize = 512;

/// What is due in one slice.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Slot {
    records: Vec<Pending>,
    /// Records that each stream delivers of them; empty while there are none.
    counts: Vec<u32>,
}

/// Pending records by slice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wheel {
    near: Vec<Slot>,
    far: BTreeMap<i64, Slot>,
    next: i64,
    n: u64,
    len: usize,
    streams: usize,
    /// Memory of slices that were taken: a slice keeps none, or each would come to hold as much as the largest burst took.
    #[serde(skip)]
    spare: Vec<Slot>,
}

impl Wheel {
    /// A wheel whose first slice is `slice`, with places for that many slices, for so many streams.
    pub fn new(slice: i64, near: usize, streams: usize) -> Wheel {
        let near = vec![Slot::default(); near.max(NEAR_MIN).next_power_of_two()];
        Wheel { near, far: BTreeMap::new(), next: slice, n: 0, len: 0, streams, spare: vec![] }
    }

    fn place(&self, slice: i64) -> usize {
        slice as usize & (self.near.len() - 1)
    }

    /// Adds a record that some streams deliver; one that is late already goes into the next slice to be taken. Returns
    /// its slice.
    pub fn add(&mut self, mut p: Pending, streams: impl Iterator<Item = usize>) -> i64 {
        self.n += 1;
        self.len += 1;
        p.n = self.n;
        let slice = p.release.slice().max(self.next);
        p.release = p.release.max(Time::of_slice(slice));
        let place = self.place(slice);
        let slot = if slice < self.next + self.near.len() as i64 {
            &mut self.near[place]
        } else {
            self.far.entry(slice).or_default()
        };
        if slot.records.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *slot = spare;
        }
        slot.records.push(p);
        slot.counts.resize(self.streams, 0);
        for s in streams {
            slot.counts[s] += 1;
        }
        slice
    }

    /// Takes what is due in a slice; slices must be taken in order.
    pub fn take(&mut self, slice: i64, into: &mut Vec<Pending>) {
        debug_assert!(slice >= self.next);
        let place = self.place(slice);
        let mut slot = std::mem::take(&mut self.near[place]);
        into.append(&mut slot.records);
        slot.counts.clear();
        if slot.records.capacity() > 0 {
            self.spare.push(slot);
        }
        self.next = slice + 1;
        self.len -= into.len();
        // what comes into reach moves to its place, which is empty until then
        let reach = self.next + self.near.len() as i64 - 1;
        while let Some(e) = self.far.first_entry() {
            if *e.key() > reach {
                break;
            }
            let (slice, slot) = e.remove_entry();
            let place = self.place(slice);
            self.near[place] = slot;
        }
    }

    /// Goes on with a later slice; nothing may wait.
    pub fn jump(&mut self, slice: i64) {
        assert!(self.len == 0 && slice >= self.next, "records wait");
        self.next = slice;
    }

    /// Records that a stream delivers of a slice, as far as they are known.
    pub fn count(&self, slice: i64, stream: usize) -> u64 {
        let slot = if slice < self.next + self.near.len() as i64 {
            Some(&self.near[self.place(slice)])
        } else {
            self.far.get(&slice)
        };
        slot.and_then(|s| s.counts.get(stream)).map_or(0, |n| *n as u64)
    }

    /// Records waiting.
    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_record_comes_out_once_in_its_slice(slices in prop::collection::vec(0i64..3_000, 1..300)) {
            let mut w = Wheel::new(0, 1, 2);
            for s in &slices {
                let p = Pending { release: Time::of_slice(*s), write: Time(0), fact: 0, feed: 0, event: 0, n: 0 };
                prop_assert_eq!(w.add(p, std::iter::once((*s % 2) as usize)), *s);
            }
            let mut out = 0;
            for s in 0..3_000 {
                let counted = [w.count(s, 0), w.count(s, 1)];
                let mut due = vec![];
                w.take(s, &mut due);
                for p in &due {
                    prop_assert_eq!(p.release.slice(), s);
                }
                prop_assert_eq!(counted[(s % 2) as usize], due.len() as u64);
                prop_assert_eq!(counted[1 - (s % 2) as usize], 0);
                out += due.len();
            }
            prop_assert_eq!(out, slices.len());
            prop_assert_eq!(w.len(), 0);
        }
    }
}
