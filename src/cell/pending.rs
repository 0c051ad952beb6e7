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

/// Slices that have a place of their own; what is later waits in a map.
const NEAR: usize = 512;

/// Pending records by slice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wheel {
    near: Vec<Vec<Pending>>,
    far: BTreeMap<i64, Vec<Pending>>,
    next: i64,
    n: u64,
    len: usize,
}

impl Wheel {
    /// A wheel whose first slice is `slice`.
    pub fn new(slice: i64) -> Wheel {
        Wheel { near: vec![vec![]; NEAR], far: BTreeMap::new(), next: slice, n: 0, len: 0 }
    }

    /// Adds a record; one that is late already goes into the next slice to be taken.
    pub fn add(&mut self, mut p: Pending) {
        self.n += 1;
        self.len += 1;
        p.n = self.n;
        let slice = p.release.slice().max(self.next);
        p.release = p.release.max(Time::of_slice(slice));
        if slice < self.next + NEAR as i64 {
            self.near[slice.rem_euclid(NEAR as i64) as usize].push(p);
        } else {
            self.far.entry(slice).or_default().push(p);
        }
    }

    /// Takes what is due in a slice; slices must be taken in order.
    pub fn take(&mut self, slice: i64, into: &mut Vec<Pending>) {
        debug_assert!(slice >= self.next);
        into.append(&mut self.near[slice.rem_euclid(NEAR as i64) as usize]);
        self.next = slice + 1;
        self.len -= into.len();
        // what comes into reach moves to its place
        let reach = self.next + NEAR as i64 - 1;
        while let Some(e) = self.far.first_entry() {
            if *e.key() > reach {
                break;
            }
            let (slice, mut list) = e.remove_entry();
            self.near[slice.rem_euclid(NEAR as i64) as usize].append(&mut list);
        }
    }

    /// Counts what is due in a slice.
    pub fn each(&self, slice: i64) -> impl Iterator<Item = &Pending> {
        self.near[slice.rem_euclid(NEAR as i64) as usize].iter()
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
            let mut w = Wheel::new(0);
            for s in &slices {
                w.add(Pending { release: Time::of_slice(*s), write: Time(0), fact: 0, feed: 0, event: 0, n: 0 });
            }
            let mut out = 0;
            for s in 0..3_000 {
                let mut due = vec![];
                w.take(s, &mut due);
                for p in &due {
                    prop_assert_eq!(p.release.slice(), s);
                }
                out += due.len();
            }
            prop_assert_eq!(out, slices.len());
            prop_assert_eq!(w.len(), 0);
        }
    }
}
