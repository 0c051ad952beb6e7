//! What life brings by itself, and what fill costs: measured on the plan's own world, not guessed.
//!
//! A few cells live for a short logical time without fill; every background entry is tried on every kind of host.
//! The same seed gives the same measurement, so a plan is as deterministic as a run.

use std::sync::Arc;

use crate::cell::{Cell, FillPlan, Plan};
use crate::schedule::{Rate, Schedule, Unit};
use crate::time::{Span, Time};

/// Logical time that is lived through.
const SPAN: Span = Span::s(60);
/// Cells that live it at most.
const CELLS_MAX: u16 = 4;
/// Tries of every background entry.
const TRIES: u32 = 8;
/// Records of the stream that one run of an entry of fill brings, if it can be so.
const RECORDS_AT_ONCE: f64 = 3.0;
/// Part of the rate that natural life is to bring at busy hours.
const NATURAL_SHARE: f64 = 0.6;
/// Fewest hosts of a world whose size follows its rates.
const HOSTS_MIN: f64 = 40.0;

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Records per second of each stream without fill, over all hosts.
    pub natural: Vec<f64>,
    /// Hosts of the world.
    pub hosts: usize,
    /// Mean bytes of a record of each stream's first delivery.
    pub bytes: Vec<f64>,
    /// Records by event id of each stream, most first.
    pub mix: Vec<Vec<(String, f64)>>,
    /// For each background entry the records one run of it makes in each stream.
    pub yields: Vec<Vec<f64>>,
    /// Of these, what comes at once.
    pub at_once: Vec<Vec<f64>>,
}

/// How a stream's rate comes about at its highest point.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    /// Asked for, records per second.
    pub asked: f64,
    /// Natural life.
    pub natural: f64,
    /// Made by fill of other streams.
    pub shared: f64,
    /// Made by its own fill.
    pub own: f64,
}

/// Lives a while without fill.
pub fn measure(plan: &Plan, start: Time) -> Measured {
    let streams = plan.streams.len();
    let probe = Arc::new(Plan {
        shared: plan.shared.clone(),
        run: String::new(),
        feeds: plan
            .feeds
            .iter()
            .map(|f| crate::cell::Feed { source: f.source.clone(), streams: f.streams.clone(), ..*f })
            .collect(),
        streams: plan
            .streams
            .iter()
            .map(|s| crate::cell::StreamPlan {
                name: s.name.clone(),
                hosts: s.hosts.clone(),
                division: s.division.clone(),
                deliveries: s
                    .deliveries
                    .iter()
                    .take(1)
                    .map(|d| crate::cell::DeliveryPlan { writer: d.writer.clone(), ..*d })
                    .collect(),
                ..*s
            })
            .collect(),
        channels: plan.channels.clone(),
        policies: plan.policies.clone(),
        policy_of: plan.policy_of.clone(),
        fill: vec![],
        numbers: None,
    });
    let atlas = &plan.shared.atlas;
    let none: Vec<Option<Schedule>> = vec![None; streams];
    let mut m = Measured {
        natural: vec![0.0; streams],
        hosts: atlas.hosts.len(),
        bytes: vec![0.0; streams],
        mix: vec![vec![]; streams],
        ..Measured::default()
    };
    let mut events: Vec<Vec<u64>> = plan.feeds.iter().map(|f| vec![0; f.source.events.len()]).collect();
    let mut records = vec![0u64; streams];
    let mut bytes = vec![0u64; streams];
    let mut lived = 0usize;
    let mut trial: Option<Cell> = None;
    for index in 0..atlas.cells.min(CELLS_MAX) {
        let mut cell = Cell::new(probe.clone(), index, start);
        lived += cell.state.hosts.len();
        let first = start.slice();
        for slice in first..(start + SPAN).slice() {
            cell.run(slice, &none);
            cell.take_mail();
            for s in 0..streams {
                records[s] += cell.slice[s].records;
                bytes[s] += cell.slice[s].bytes;
            }
        }
        for (all, of) in events.iter_mut().zip(&cell.mix) {
            for (a, n) in all.iter_mut().zip(of) {
                *a += n;
            }
        }
        if trial.as_ref().is_none_or(|t| t.state.hosts.len() < cell.state.hosts.len()) {
            trial = Some(cell);
        }
    }
    let scale = atlas.hosts.len() as f64 / lived.max(1) as f64 / SPAN.as_secs_f64();
    for s in 0..streams {
        m.natural[s] = records[s] as f64 * scale;
        m.bytes[s] = bytes[s] as f64 / records[s].max(1) as f64;
        let feed = plan.streams[s].feed;
        let total: u64 = events[feed].iter().sum();
        let mut ids = std::collections::BTreeMap::<&str, u64>::new();
        for (e, n) in plan.feeds[feed].source.events.iter().zip(&events[feed]) {
            *ids.entry(e.id()).or_default() += n;
        }
        m.mix[s] =
            ids.into_iter().filter(|(_, n)| *n > 0).map(|(id, n)| (id.to_owned(), n as f64 / total as f64)).collect();
        m.mix[s].sort_by(|a, b| b.1.total_cmp(&a.1));
    }
    if let Some(mut cell) = trial {
        (m.yields, m.at_once) = yields(&probe, &mut cell, (start + SPAN).slice(), streams);
        // streams that stood still have no mean size yet: what fill would make tells
        for s in 0..streams {
            if records[s] == 0 {
                let (r, b) = cell.made_so_far(s);
                m.bytes[s] = b as f64 / r.max(1) as f64;
            }
        }
    }
    m
}

/// Runs every background entry a few times, somewhere where it can run, and counts what comes out.
fn yields(plan: &Arc<Plan>, cell: &mut Cell, from: i64, streams: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let none: Vec<Option<Schedule>> = vec![None; streams];
    let mut slice = from;
    let entries = plan.shared.library.background.len();
    let mut all = vec![vec![0.0; streams]; entries];
    let mut at_once = vec![vec![0.0; streams]; entries];
    cell.still();
    for (entry, out) in all.iter_mut().enumerate() {
        let mut ran = 0u32;
        let before: Vec<u64> = (0..streams).map(|s| cell.made_so_far(s).0).collect();
        let hosts = cell.state.hosts.len() as u32;
        for k in 0..TRIES {
            for h in 0..hosts {
                if let Some(n) = cell.try_entry((h + k * 7) % hosts, entry as u32, k as u64, slice) {
                    ran += 1;
                    for (s, x) in at_once[entry].iter_mut().enumerate() {
                        *x += n[plan.streams[s].feed] as f64 / TRIES as f64;
                    }
                    break;
                }
            }
        }
        if ran == 0 {
            continue;
        }
        // what a run brings later counts as well, up to three seconds
        for _ in 0..300 {
            cell.run(slice, &none);
            cell.take_mail();
            slice += 1;
        }
        for (s, b) in before.iter().enumerate() {
            out[s] = (cell.made_so_far(s).0 - b) as f64 / ran as f64;
        }
    }
    (all, at_once)
}

impl Measured {
    /// Hosts that make natural life the larger part of every rate at its highest point.
    pub fn hosts_for(&self, schedules: &[Option<Schedule>], start: Time) -> u32 {
        let mut wanted = f64::INFINITY;
        for (s, schedule) in schedules.iter().enumerate() {
            let Some(schedule) = schedule else { continue };
            let per_host = self.natural[s] / self.hosts.max(1) as f64;
            let high = self.records(schedule, schedule.points(start, Span::s(7 * 86_400)).high.1, s);
            if per_host > 0.0 {
                wanted = wanted.min(high * NATURAL_SHARE / per_host);
            }
        }
        if wanted.is_finite() { wanted.clamp(HOSTS_MIN, 100_000.0) as u32 } else { super::HOSTS_DEFAULT }
    }

    /// Of entries that could fill a stream those that bring few records at once, and elsewhere no more than the other
    /// streams have room for: fill that comes in heaps is debt for seconds.
    fn gentle(&self, usable: &[u32], s: usize, filled: &[usize], balance: &[Balance]) -> Vec<u32> {
        let own = |e: u32| self.yields[e as usize][s];
        // how far a run of it takes the fullest other stream towards its rate, against this one
        let strain = |e: u32| {
            let of = |t: usize| self.yields[e as usize][t] / balance[t].asked.max(1e-9);
            filled.iter().filter(|t| **t != s).map(|t| of(*t)).fold(0.0, f64::max) / of(s).max(1e-12)
        };
        let few = |limit: f64, strain_max: f64| -> Vec<u32> {
            usable.iter().copied().filter(|e| own(*e) <= limit && strain(*e) <= strain_max).collect()
        };
        let choices =
            [(RECORDS_AT_ONCE, 0.9), (RECORDS_AT_ONCE * 3.0, 0.9), (RECORDS_AT_ONCE, 1.5), (f64::INFINITY, 1.5)];
        choices.into_iter().map(|(l, m)| few(l, m)).find(|c| !c.is_empty()).unwrap_or_else(|| usable.to_vec())
    }

    /// A rate in records per second.
    pub fn records(&self, schedule: &Schedule, rate: Rate, stream: usize) -> f64 {
        match schedule.unit() {
            Unit::Bytes => rate.per_second() / self.bytes[stream].max(1.0),
            _ => rate.per_second(),
        }
    }

    /// How streams are filled, in order, and what that brings at the highest point of the schedules.
    pub fn fill(&self, plan: &Plan, schedules: &[Option<Schedule>], start: Time) -> (Vec<FillPlan>, Vec<Balance>) {
        let streams = plan.streams.len();
        let mut balance = vec![Balance::default(); streams];
        for (s, schedule) in schedules.iter().enumerate() {
            balance[s].natural = self.natural[s];
            balance[s].asked = match schedule {
                Some(x) => self.records(x, x.points(start, Span::s(7 * 86_400)).high.1, s),
                None => self.natural[s],
            };
        }
        let filled: Vec<usize> =
            (0..streams).filter(|s| schedules[*s].is_some() && !plan.streams[*s].attack_only).collect();
        let alone = |entry: usize, s: usize| {
            self.yields[entry][s] > 0.0 && filled.iter().all(|t| *t == s || self.yields[entry][*t] == 0.0)
        };
        let entries = 0..self.yields.len();
        let mut order: Vec<(bool, usize)> =
            filled.iter().map(|s| (entries.clone().any(|e| alone(e, *s)), *s)).collect();
        // streams without a kind of their own come first
        order.sort_unstable();
        let mut plans = vec![];
        for (own, s) in order {
            let usable: Vec<u32> = entries
                .clone()
                .filter(|e| if own { alone(*e, s) } else { self.yields[*e][s] > 0.0 })
                .map(|e| e as u32)
                .collect();
            // what comes only later cannot be told apart from nothing while a slice is filled
            let usable: Vec<u32> = usable.into_iter().filter(|e| self.at_once[*e as usize][s] > 0.4).collect();
            let usable = self.gentle(&usable, s, &filled, &balance);
            let by_boot = plan.shared.by_boot(&usable);
            let need = (balance[s].asked - balance[s].natural - balance[s].shared).max(0.0);
            balance[s].own = need;
            if !own && !usable.is_empty() {
                let weight = |e: u32| plan.shared.library.background[e as usize].per_hour;
                let total: f64 = usable.iter().map(|e| weight(*e)).sum();
                let mean = |t: usize| -> f64 {
                    usable.iter().map(|e| weight(*e) * self.yields[*e as usize][t]).sum::<f64>() / total
                };
                let runs = need / mean(s).max(1e-9);
                for t in &filled {
                    if *t != s {
                        balance[*t].shared += runs * mean(*t);
                    }
                }
            }
            plans.push(FillPlan { stream: s, by_boot, own });
        }
        (plans, balance)
    }
}
