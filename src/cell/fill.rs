//! Fill: brings each stream to the integral of its schedule with more of what running programs do anyway.
//!
//! First come streams that have no kind of activity of their own: their fill makes records in other streams too,
//! and these count there. Then each other stream is filled with kinds that it alone records.
//!
//! What is filled is the slice in which records that happen now are released: this one, or a later one where collection
//! is late. Bytes are counted as they were written; those of records that still wait are taken at their mean, and what that
//! is wrong by is put right in the next slice.

use crate::cell::{Cell, Plan};
use crate::rng::mix;
use crate::schedule::{Schedule, Unit};
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
/// Records after which a cell's own mean size is believed.
const SIZES_MIN: u64 = 64;

impl Cell {
    pub(super) fn fill(&mut self, plan: &Plan, slice: i64, schedules: &[Option<Schedule>]) {
        for f in &plan.fill {
            let Some(schedule) = &schedules[f.stream] else { continue };
            let whole = self.due(plan, f.stream, schedule, slice);
            // one burst somewhere is made up for everywhere, so that the sum stays what is due
            let due = whole.saturating_sub(self.makes_up[f.stream]);
            let mut misses = 0;
            loop {
                let have = self.have(plan, f.stream, schedule);
                if have >= due || misses == TRIES_MAX {
                    self.starved[f.stream] += due.saturating_sub(have);
                    break;
                }
                misses = if self.fill_one(plan, f, slice) == 0 { misses + 1 } else { 0 };
            }
        }
        // what later fill made of a stream counts as well; the others make up for a burst only by what the next slice will
        // not ask of this cell, so that the sum is never behind
        for f in &plan.fill {
            let Some(schedule) = &schedules[f.stream] else { continue };
            let have = self.have(plan, f.stream, schedule);
            let due = self.due(plan, f.stream, schedule, slice);
            self.ahead[f.stream] =
                if have > due { have.saturating_sub(self.next_due(plan, f.stream, schedule, slice)) } else { 0 };
        }
    }

    /// What is due of a stream here by the end of the slice that is filled, in the schedule's unit.
    fn due(&mut self, plan: &Plan, stream: usize, schedule: &Schedule, slice: i64) -> u64 {
        let end = Time::of_slice(self.target(plan.streams[stream].feed, slice) + 1);
        let cursor = self.cursors[stream].get_or_insert_with(|| schedule.cursor());
        let total = cursor.due(schedule, end);
        plan.streams[stream].division.share(total, self.state.cell as usize)
    }

    /// What will be due of a stream here by the end of the slice after that one, as things stand.
    fn next_due(&self, plan: &Plan, stream: usize, schedule: &Schedule, slice: i64) -> u64 {
        let end = Time::of_slice(self.target(plan.streams[stream].feed, slice + 1) + 1);
        let total = self.cursors[stream].as_ref().map_or(0, |c| c.peek(schedule, end));
        plan.streams[stream].division.share(total, self.state.cell as usize)
    }

    /// What of a stream was released and will be by the end of the slice that is filled.
    fn have(&self, plan: &Plan, stream: usize, schedule: &Schedule) -> u64 {
        let (records, bytes) = self.sizes[stream];
        match schedule.unit() {
            Unit::Records => records + self.planned[stream],
            Unit::Bytes => bytes + self.planned[stream] * self.mean_size(plan, stream),
        }
    }

    /// Mean bytes of a record of a stream's first delivery: as made so far here, before that as the plan expects.
    fn mean_size(&self, plan: &Plan, stream: usize) -> u64 {
        let (records, bytes) = self.sizes[stream];
        if records < SIZES_MIN { plan.streams[stream].mean_bytes } else { bytes / records }
    }

    /// Lets one program somewhere do one thing; returns the records of the stream it made in the slice that is filled.
    fn fill_one(&mut self, plan: &Plan, f: &FillPlan, slice: i64) -> u64 {
        let n = self.state.hosts.len() as u64;
        if n == 0 {
            return 0;
        }
        let stream = &plan.streams[f.stream];
        let host = self.fill_rng.below(n) as u32;
        let id = self.state.host_id(host);
        if !stream.hosts[id.0 as usize] || !self.state.hosts[host as usize].up() {
            return 0;
        }
        let boot = self.state.atlas().host(id).boot as usize;
        let (entries, cumulative) = &f.by_boot[boot];
        if entries.is_empty() {
            return 0;
        }
        let entry = entries[self.fill_rng.weighted(cumulative)];
        let seed = mix(self.fill_rng.u64(), slice as u64);
        let within = Span(self.fill_rng.below(SLICE.0 as u64) as i64);
        let event = Time::of_slice(slice) + within;
        if plan.mobile[id.0 as usize] && !self.in_reach(plan, stream.feed, host, event) {
            return 0;
        }
        let release = Time::of_slice(self.target(stream.feed, slice)) + within;
        let now = self.state.now;
        self.state.now = event;
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
