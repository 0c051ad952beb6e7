//! What fill costs: measured on the plan's own world, not guessed.
//!
//! Every background entry is tried on every kind of host. The same seed gives the same measurement, so a plan is as
//! deterministic as a run.

use crate::cell::{Cell, FillPlan, Plan};
use crate::plan::natural::{self, Life, Moments};
use crate::schedule::{Rate, Schedule, Unit};
use crate::time::Time;

/// Tries of every background entry.
const TRIES: u32 = 8;
/// Slices after a try in which what it brings still counts: three seconds.
const AFTER: i64 = 300;
/// Records of the stream that one run of an entry of fill brings, if it can be so.
const RECORDS_AT_ONCE: f64 = 3.0;
/// Records that it brings at least: what hardly ever brings one costs more than it fills.
const RECORDS_MIN: f64 = 0.4;
/// Share of a stream's fill that an event id has which life did not bring while it was measured.
const SHARE_MIN: f64 = 0.002;
/// Part of a stream's fill whose records may come later than the slice that is filled.
const LATER_MAX: f64 = 0.25;
/// Records in another stream for each of its own that an entry of a stream's own fill may bring.
const SPILL_MAX: f64 = 0.7;
/// Part of another stream's rate up to which life and what spills into it may come.
const SPILL_ROOM: f64 = 0.75;
/// Part of the rate that natural life is to bring at busy hours.
pub const NATURAL_SHARE: f64 = 0.62;
/// Fewest hosts of a world whose size follows its rates.
const HOSTS_MIN: f64 = 40.0;

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Life at the busiest and at the quietest moment.
    pub at: Moments<Life>,
    /// Mean bytes of a record of each stream's first delivery.
    pub bytes: Vec<f64>,
    /// What one run of each background entry brings.
    pub yields: Yields,
}

/// For each background entry the records one run of it makes in each stream.
#[derive(Clone, Debug, Default)]
pub struct Yields {
    /// Within seconds.
    pub all: Vec<Vec<f64>>,
    /// Of these, at once.
    pub at_once: Vec<Vec<f64>>,
    /// The event id that most of its records in each stream have; empty where there are none.
    pub ids: Vec<Vec<String>>,
    /// Mean bytes by stream of what was tried.
    pub bytes: Vec<f64>,
}

/// How a stream's rate comes about at its highest point.
#[derive(Clone, Copy, Debug, Default)]
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

/// Runs every background entry a few times in a cell, somewhere where it can run, and counts what comes out.
pub fn yields(plan: &Plan, cell: &mut Cell) -> Yields {
    let streams = plan.streams.len();
    let none: Vec<Option<Schedule>> = vec![None; streams];
    let mut slice = cell.state.now.slice();
    let entries = plan.shared.library.background.len();
    let mut y = Yields {
        all: vec![vec![0.0; streams]; entries],
        at_once: vec![vec![0.0; streams]; entries],
        ids: vec![vec![String::new(); streams]; entries],
        bytes: vec![],
    };
    cell.still();
    let hosts = cell.state.hosts.len() as u32;
    for entry in 0..entries {
        let mut ran = 0u32;
        let before: Vec<u64> = (0..streams).map(|s| cell.made_so_far(s).0).collect();
        let mix = cell.mix.clone();
        for k in 0..TRIES {
            for h in 0..hosts {
                if let Some(n) = cell.try_entry((h + k * 7) % hosts, entry as u32, k as u64, slice) {
                    ran += 1;
                    for (s, x) in y.at_once[entry].iter_mut().enumerate() {
                        *x += n[plan.streams[s].feed] as f64 / TRIES as f64;
                    }
                    break;
                }
            }
        }
        if ran == 0 {
            continue;
        }
        let end = slice + AFTER;
        while slice < end {
            // nothing happens until then
            let idle = cell.idle_until().map(|due| due.map_or(end, |t| t.slice().min(end)));
            match idle.filter(|next| *next > slice) {
                Some(next) => {
                    cell.jump(next);
                    slice = next;
                }
                None => {
                    cell.run(slice, &none);
                    cell.take_mail();
                    slice += 1;
                }
            }
        }
        for (s, b) in before.iter().enumerate() {
            y.all[entry][s] = (cell.made_so_far(s).0 - b) as f64 / ran as f64;
            let feed = plan.streams[s].feed;
            let made = cell.mix[feed].iter().zip(&mix[feed]).map(|(after, before)| after - before);
            if let Some((event, _)) = made.enumerate().filter(|(_, n)| *n > 0).max_by_key(|(i, n)| (*n, usize::MAX - i))
            {
                y.ids[entry][s] = plan.feeds[feed].source.events[event].id().to_owned();
            }
        }
    }
    y.bytes = (0..streams).map(|s| cell.made_so_far(s)).map(|(r, b)| b as f64 / r.max(1) as f64).collect();
    y
}

impl Measured {
    /// Measures life in a plan's world, and once what fill costs.
    pub fn measure(&mut self, plan: &Plan, schedules: &[Option<Schedule>], start: Time, low: bool) {
        let at = natural::moments(&plan.shared.atlas, &plan.shared.zones, schedules, start);
        let busy = || {
            let (life, cell) = natural::measure(plan, at.high);
            (life, cell.map(|mut cell| yields(plan, &mut cell)))
        };
        let ((high, costs), quiet) = rayon::join(busy, || low.then(|| natural::measure(plan, at.low).0));
        self.at = Moments { low: quiet.unwrap_or_else(|| high.clone()), high };
        self.yields = costs.unwrap_or_default();
        // streams that stood still have no mean size yet: what fill would make tells
        let of = |s: usize| [self.at.high.bytes[s], *self.yields.bytes.get(s).unwrap_or(&0.0)];
        self.bytes = (0..plan.streams.len()).map(|s| of(s).into_iter().find(|b| *b > 0.0).unwrap_or(0.0)).collect();
    }

    /// What was measured, in a world of another size: roles keep their shares, so each host does what it did.
    pub fn resize(&mut self, hosts: usize) {
        for life in [&mut self.at.high, &mut self.at.low] {
            let factor = hosts as f64 / life.hosts.max(1) as f64;
            life.hosts = hosts;
            life.awake = (life.awake as f64 * factor) as usize;
            life.natural.iter_mut().for_each(|n| *n *= factor);
        }
    }

    /// Hosts that make natural life the larger part of every rate at its highest point.
    pub fn hosts_for(&self, schedules: &[Option<Schedule>]) -> u32 {
        let life = &self.at.high;
        let mut wanted = f64::INFINITY;
        for (s, schedule) in schedules.iter().enumerate() {
            let Some(schedule) = schedule else { continue };
            let per_host = life.natural[s] / life.hosts.max(1) as f64;
            if per_host > 0.0 {
                wanted = wanted.min(self.asked(schedule, s, true) * NATURAL_SHARE / per_host);
            }
        }
        if wanted.is_finite() { wanted.clamp(HOSTS_MIN, 100_000.0) as u32 } else { super::HOSTS_DEFAULT }
    }

    /// The highest or lowest rate of a schedule in the week from the start on, in records per second.
    pub fn asked(&self, schedule: &Schedule, stream: usize, high: bool) -> f64 {
        let points = schedule.points(schedule.start(), super::natural::WEEK);
        self.records(schedule, if high { points.high.1 } else { points.low.1 }, stream)
    }

    /// Of entries that could fill a stream those that bring few records at once, and elsewhere no more than the other
    /// streams have room for: fill that comes in heaps is debt for seconds.
    fn gentle(&self, usable: &[u32], s: usize, filled: &[usize], balance: &[Balance]) -> Vec<u32> {
        let own = |e: u32| self.yields.all[e as usize][s];
        // how far a run of it takes the fullest other stream towards its rate, against this one
        let strain = |e: u32| {
            let of = |t: usize| self.yields.all[e as usize][t] / balance[t].asked.max(1e-9);
            filled.iter().filter(|t| **t != s).map(|t| of(*t)).fold(0.0, f64::max) / of(s).max(1e-12)
        };
        let few = |limit: f64, strain_max: f64| -> Vec<u32> {
            usable.iter().copied().filter(|e| own(*e) <= limit && strain(*e) <= strain_max).collect()
        };
        let choices =
            [(RECORDS_AT_ONCE, 0.9), (RECORDS_AT_ONCE * 3.0, 0.9), (RECORDS_AT_ONCE, 1.5), (f64::INFINITY, 1.5)];
        choices.into_iter().map(|(l, m)| few(l, m)).find(|c| !c.is_empty()).unwrap_or_else(|| usable.to_vec())
    }

    /// Entries with the part of its frequency that each is to have in a stream's fill, so that event ids come in the
    /// proportions of life as far as fill can make them.
    fn like_life(&self, plan: &Plan, usable: &[u32], s: usize) -> Vec<(u32, f64)> {
        let made = |e: u32| plan.shared.library.background[e as usize].per_hour * self.yields.all[e as usize][s];
        let id = |e: u32| &*self.yields.ids[e as usize][s];
        let part = |e: u32| {
            let asked = self.at.high.mix[s].iter().find(|(known, _)| known == id(e)).map_or(0.0, |(_, share)| *share);
            let all: f64 = usable.iter().filter(|other| id(**other) == id(e)).map(|other| made(*other)).sum();
            asked.max(SHARE_MIN) / all.max(1e-9)
        };
        usable.iter().map(|e| (*e, part(*e))).collect()
    }

    /// Lessens entries whose records come in later slices, often on another host (a logon, its tickets), until they make
    /// [`LATER_MAX`] of a stream's fill: each slice is filled with what comes at once, less what came of slices before.
    fn not_all_later(&self, plan: &Plan, usable: &mut Vec<(u32, f64)>, s: usize, at_once: impl Fn(&u32) -> bool) {
        let made = |u: &(u32, f64)| frequency(plan, u) * self.yields.all[u.0 as usize][s];
        let now: f64 = usable.iter().filter(|u| at_once(&u.0)).map(made).sum();
        let later: f64 = usable.iter().filter(|u| !at_once(&u.0)).map(made).sum();
        let factor = (LATER_MAX / (1.0 - LATER_MAX) * now / later.max(1e-12)).min(1.0);
        usable.iter_mut().filter(|u| !at_once(&u.0)).for_each(|u| u.1 *= factor);
        usable.retain(|u| u.1 > 0.0);
    }

    /// A rate in records per second.
    pub fn records(&self, schedule: &Schedule, rate: Rate, stream: usize) -> f64 {
        match schedule.unit() {
            Unit::Bytes => rate.per_second() / self.bytes[stream].max(1.0),
            _ => rate.per_second(),
        }
    }

    /// How streams are filled, in order, and what that brings at the highest (or lowest) point of the schedules, where a
    /// part of the population lives.
    pub fn fill(
        &self,
        plan: &Plan,
        schedules: &[Option<Schedule>],
        high: bool,
        awake: f64,
    ) -> (Vec<FillPlan>, Vec<Balance>) {
        let streams = plan.streams.len();
        let mut balance = vec![Balance::default(); streams];
        let life = if high { &self.at.high } else { &self.at.low };
        for (s, schedule) in schedules.iter().enumerate() {
            balance[s].natural = life.natural[s] * awake;
            balance[s].asked = match schedule {
                Some(x) => self.asked(x, s, high),
                None => balance[s].natural,
            };
        }
        let filled: Vec<usize> =
            (0..streams).filter(|s| schedules[*s].is_some() && !plan.streams[*s].attack_only).collect();
        // what comes later may be another's: only what an entry brings at once is surely its own
        let alone = |entry: usize, s: usize| {
            self.yields.at_once[entry][s] > 0.0 && filled.iter().all(|t| *t == s || self.yields.all[entry][*t] == 0.0)
        };
        let entries = 0..self.yields.all.len();
        // streams without a kind of their own come first, then those that ask for least: what spills over goes where it is
        // the smaller part
        let mut order: Vec<(bool, usize)> =
            filled.iter().map(|s| (entries.clone().any(|e| alone(e, *s)), *s)).collect();
        order.sort_by(|a, b| a.0.cmp(&b.0).then(balance[a.1].asked.total_cmp(&balance[b.1].asked)));
        let mut plans = vec![];
        for (at, (own, s)) in order.iter().copied().enumerate() {
            let choose = |spill_max: f64| {
                // it brings nothing to streams that are filled already, and little to those behind
                let spills = |e: usize| {
                    let all = &self.yields.all[e];
                    let to = |t: &usize| *t != s && all[*t] > 0.0;
                    let behind = |t: &usize| order[at..].iter().any(|o| o.1 == *t) && all[*t] <= spill_max * all[s];
                    filled.iter().filter(|t| to(t)).all(behind)
                };
                // a timer that fires more often is none
                let random = |e: &usize| plan.shared.library.background[*e].every.is_none();
                let usable = entries.clone().filter(random);
                let usable = usable.filter(|e| self.yields.all[*e][s] > 0.0 && (!own || spills(*e))).map(|e| e as u32);
                // what comes only later cannot be told apart from nothing while a slice is filled: a part of the fill may
                // be so
                let at_once = |e: &u32| self.yields.at_once[*e as usize][s] > RECORDS_MIN;
                let later = |e: &u32| own && self.yields.all[*e as usize][s] > RECORDS_MIN;
                let usable: Vec<u32> = usable.filter(|e| at_once(e) || later(e)).collect();
                let mut usable = self.like_life(plan, &self.gentle(&usable, s, &filled, &balance), s);
                self.not_all_later(plan, &mut usable, s, at_once);
                usable
            };
            // records in each stream for one in this
            let brings = |usable: &[(u32, f64)]| -> Vec<f64> {
                let sum = |t: usize| {
                    usable.iter().map(|u| frequency(plan, u) * self.yields.all[u.0 as usize][t]).sum::<f64>()
                };
                (0..streams).map(|t| sum(t) / sum(s).max(1e-9)).collect()
            };
            let mut usable = choose(SPILL_MAX);
            let full = |(t, more): (usize, f64)| {
                t != s && more > 0.0 && filled.contains(&t) && {
                    let b = balance[t];
                    b.natural + b.shared + balance[s].asked * more > SPILL_ROOM * b.asked
                }
            };
            if own && brings(&usable).into_iter().enumerate().any(full) {
                usable = choose(0.0);
            }
            let by_boot = plan.shared.by_boot(&usable);
            let need = (balance[s].asked - balance[s].natural - balance[s].shared).max(0.0);
            balance[s].own = need;
            let brings = brings(&usable);
            for t in filled.iter().filter(|t| **t != s) {
                balance[*t].shared += need * brings[*t];
            }
            plans.push(FillPlan { stream: s, by_boot, own });
        }
        (plans, balance)
    }
}

/// How often an entry runs in fill, compared with others: the part of its frequency in life that it is to have.
fn frequency(plan: &Plan, (entry, part): &(u32, f64)) -> f64 {
    plan.shared.library.background[*entry as usize].per_hour * part
}
