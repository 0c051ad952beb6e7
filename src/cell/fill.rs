//! Fill: brings each stream to the integral of its schedule with more of what running programs do anyway.
//!
//! First come streams that have no kind of activity of their own: their fill makes records in other streams too,
//! and these count there. Then each other stream is filled with kinds that it alone records.

use crate::cell::{Cell, Plan};
use crate::rng::mix;
use crate::schedule::Schedule;
use crate::time::{SLICE, Span, Time};

/// How one stream is filled.
#[derive(Clone, Debug, PartialEq)]
pub struct FillPlan {
    /// The stream.
    pub stream: usize,
    /// For each boot image of the atlas: background entries that may be used, with cumulative weights.
    pub by_boot: Vec<(Vec<u32>, Vec<u32>)>,
    /// It has kinds of its own: fill of it makes records nowhere else.
    pub own: bool,
}

/// Tries in a row without a record before a slice is given up: nobody who could make one is there.
const TRIES_MAX: u32 = 64;

impl Cell {
    pub(super) fn fill(&mut self, plan: &Plan, slice: i64, schedules: &[Option<Schedule>]) {
        let end = Time::of_slice(slice + 1);
        // what is released in this slice without fill
        let mut released = vec![0u64; plan.streams.len()];
        for (s, schedule) in schedules.iter().enumerate() {
            let Some(schedule) = schedule else { continue };
            let due = self.due(plan, s, schedule, end);
            released[s] = due;
        }
        for f in &plan.fill {
            let Some(schedule) = &schedules[f.stream] else { continue };
            let due = released[f.stream];
            let have = self.counted[f.stream] + self.in_slice(plan, f.stream, slice, schedule);
            let mut need = due as i64 - have as i64;
            let mut misses = 0;
            while need > 0 && misses < TRIES_MAX {
                let made = self.fill_one(plan, f, slice);
                if made == 0 {
                    misses += 1;
                    continue;
                }
                misses = 0;
                need -=
                    if Cell::in_bytes(schedule) { (made * self.mean_size(plan, f.stream)) as i64 } else { made as i64 };
            }
            if need > 0 {
                self.starved[f.stream] += need as u64;
            }
        }
        for s in 0..plan.streams.len() {
            if let Some(schedule) = &schedules[s] {
                self.counted[s] += self.in_slice(plan, s, slice, schedule);
            }
        }
    }

    /// What a slice will release for a stream, in its schedule's unit.
    fn in_slice(&self, plan: &Plan, stream: usize, slice: i64, schedule: &Schedule) -> u64 {
        let s = &plan.streams[stream];
        let records = self
            .wheel
            .each(slice)
            .filter(|p| p.feed as usize == s.feed)
            .filter(|p| {
                let f = self.state.facts.get(p.fact);
                s.hosts[self.state.host_id(f.host).0 as usize] && (!s.attack_only || f.tag != 0)
            })
            .count() as u64;
        if Cell::in_bytes(schedule) { records * self.mean_size(plan, stream) } else { records }
    }

    /// Mean bytes of a record of a stream's first delivery: as made so far here, before that as the plan expects.
    fn mean_size(&self, plan: &Plan, stream: usize) -> u64 {
        let (records, bytes) = self.sizes[stream];
        if records < 64 { plan.streams[stream].mean_bytes } else { bytes / records }
    }

    /// Lets one program somewhere do one thing; returns the records of the stream it made in this slice.
    fn fill_one(&mut self, plan: &Plan, f: &FillPlan, slice: i64) -> u64 {
        let n = self.state.hosts.len() as u64;
        if n == 0 {
            return 0;
        }
        let stream = &plan.streams[f.stream];
        let host = self.fill_rng.below(n) as u32;
        let id = self.state.host_id(host);
        if !stream.hosts[id.0 as usize] || !self.state.hosts[host as usize].on {
            return 0;
        }
        let boot = self.state.atlas().host(id).boot as usize;
        let (entries, cumulative) = &f.by_boot[boot];
        if entries.is_empty() {
            return 0;
        }
        let entry = entries[self.fill_rng.weighted(cumulative)];
        let seed = mix(self.fill_rng.u64(), slice as u64);
        let release = Time::of_slice(slice) + Span(self.fill_rng.below(SLICE.0 as u64) as i64);
        let now = self.state.now;
        self.state.now = release;
        self.state.filling = true;
        let ran = self.state.background(host, entry, seed);
        self.state.filling = false;
        self.state.now = now;
        if !ran {
            return 0;
        }
        self.collect(plan, slice, Some((stream.feed, release)))
    }
}
