//! What life brings by itself: a few cells live for a short logical time, at the busiest and the quietest moment.

use std::sync::Arc;

use rayon::prelude::*;

use crate::cell::{Cell, Collect, Counted, DeliveryPlan, Feed, Plan, StreamPlan};
use crate::schedule::{Schedule, Shape};
use crate::time::{Span, Time};
use crate::world::atlas::Atlas;

/// Logical time that is lived through and counted.
const SPAN: Span = Span::s(60);
/// Logical time before that: what people began earlier goes on.
const BEFORE: Span = Span::s(30);
/// Logical time that is counted with fill.
const SPAN_FILLED: Span = Span::s(30);
/// Cells that live it at most.
const CELLS_MAX: u16 = 4;
/// Of so many records one is written, for its size.
const WRITTEN: u64 = 8;
/// Schedules are looked at over a week.
pub const WEEK: Span = Span::s(7 * 86_400);
/// A schedule whose lowest rate is below this part of its highest decides by itself when it is busy.
const VARIES: f64 = 0.95;

/// One of something for the busiest and for the quietest moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments<T> {
    /// At the highest point of the schedules; when people work, where schedules do not say.
    pub high: T,
    /// At the lowest point; at night, where schedules do not say.
    pub low: T,
}

/// What a population did.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// When.
    pub time: Time,
    /// Hosts of the world.
    pub hosts: usize,
    /// Hosts that were awake.
    pub awake: usize,
    /// Records per second of each stream, over all hosts.
    pub natural: Vec<f64>,
    /// Of these, made by fill.
    pub fill: Vec<f64>,
    /// Mean bytes of a record of each stream's first delivery, 0 where there was none.
    pub bytes: Vec<f64>,
    /// Records by event id of each stream, most first.
    pub mix: Vec<Vec<(String, f64)>>,
}

/// When it is busiest and when it is quietest, in the week from the start on.
pub fn moments(
    atlas: &Atlas,
    zones: &[jiff::tz::TimeZone],
    schedules: &[Option<Schedule>],
    start: Time,
) -> Moments<Time> {
    let points = schedules.iter().flatten().map(|s| s.points(start, WEEK));
    let varies = |p: &crate::schedule::Points| (p.low.1.per_day_milli as f64) < p.high.1.per_day_milli as f64 * VARIES;
    let most = points.filter(varies).max_by_key(|p| p.high.1.per_day_milli);
    if let Some(p) = most {
        return Moments { high: p.high.0, low: p.low.0 };
    }
    let mut people = vec![0u32; zones.len()];
    for h in atlas.hosts.iter().filter(|h| h.owner.is_some()) {
        people[h.site as usize] += 1;
    }
    let work = |t: Time| -> u32 {
        let Ok(at) = jiff::Timestamp::from_second(t.second()) else { return 0 };
        let of = |(zone, n): (&jiff::tz::TimeZone, &u32)| {
            let local = zone.to_datetime(at);
            let weekend = local.weekday().to_monday_zero_offset() > 4;
            // thirds of an hour's work: all of it, some at the edges of the day and over lunch, none
            n * match local.hour() {
                _ if weekend => 0,
                9..=11 | 14..=16 => 3,
                8 | 13 | 17 => 2,
                12 => 1,
                _ => 0,
            }
        };
        zones.iter().zip(&people).map(of).sum()
    };
    let hours = (0..7 * 24).map(|h| start + Span::s(h * 3600));
    let pick = |best: Option<(u32, Time)>, t: Time, more: bool| {
        let n = work(t);
        match best {
            Some((b, _)) if (more && n <= b) || (!more && n >= b) => best,
            _ => Some((n, t)),
        }
    };
    let high = hours.clone().fold(None, |b, t| pick(b, t, true));
    let low = hours.fold(None, |b, t| pick(b, t, false));
    Moments { high: high.map_or(start, |x| x.1), low: low.map_or(start, |x| x.1) }
}

/// The highest or lowest rate of a schedule within a week, in its unit per second.
pub fn rate(schedule: &Schedule, high: bool) -> f64 {
    let points = schedule.points(schedule.start(), WEEK);
    if high { points.high.1.per_second() } else { points.low.1.per_second() }
}

/// The plan without truth, numbers of earlier runs, and all but the first deliveries, from a moment on.
fn probe(plan: &Plan, from: Time, filled: bool) -> Plan {
    let first = |s: &StreamPlan| -> Vec<DeliveryPlan> {
        s.deliveries.iter().take(1).map(|d| DeliveryPlan { writer: d.writer.clone(), truth_all: false, ..*d }).collect()
    };
    Plan {
        shared: plan.shared.clone(),
        run: String::new(),
        // what life brings does not depend on how late it is collected
        feeds: plan
            .feeds
            .iter()
            .map(|f| Feed {
                source: f.source.clone(),
                streams: f.streams.clone(),
                collect: if filled { f.collect } else { Collect::Lab },
                ..*f
            })
            .collect(),
        streams: plan
            .streams
            .iter()
            .map(|s| StreamPlan {
                name: s.name.clone(),
                hosts: s.hosts.clone(),
                division: s.division.clone(),
                deliveries: first(s),
                ..*s
            })
            .collect(),
        channels: plan.channels.clone(),
        policies: plan.policies.clone(),
        policy_of: plan.policy_of.clone(),
        fill: if filled { plan.fill.clone() } else { vec![] },
        numbers: None,
        power: if filled { plan.power.clone() } else { None },
        mobile: plan.mobile.clone(),
        start: from,
        written: WRITTEN,
    }
}

/// Lives a while around a moment without fill, every machine awake, people where the day has them. Gives back the largest cell as well: it is warm.
pub fn measure(plan: &Plan, at: Time) -> (Life, Option<Cell>) {
    let none = vec![None; plan.streams.len()];
    live(&Arc::new(probe(plan, at, false)), at - BEFORE, at + SPAN, &none)
}

/// Lives a while with fill at the schedules' rates of a moment.
pub fn measure_filled(plan: &Plan, schedules: &[Option<Schedule>], at: Time) -> Life {
    let constant = |s: &Option<Schedule>| s.as_ref().map(|s| Schedule::new(at, Shape::constant(s.rate(at))));
    let schedules: Vec<_> = schedules.iter().map(constant).collect();
    let warm = Span(plan.lead_max() * crate::time::SLICE.0) + Span::s(5);
    live(&Arc::new(probe(plan, at, true)), at - warm, at + SPAN_FILLED, &schedules).0
}

fn live(plan: &Arc<Plan>, from: Time, to: Time, schedules: &[Option<Schedule>]) -> (Life, Option<Cell>) {
    let streams = plan.streams.len();
    let atlas = &plan.shared.atlas;
    let mut life = Life {
        time: plan.start,
        hosts: atlas.hosts.len(),
        bytes: vec![0.0; streams],
        mix: vec![vec![]; streams],
        ..Life::default()
    };
    let mut events: Vec<Vec<u64>> = plan.feeds.iter().map(|f| vec![0; f.source.events.len()]).collect();
    let lives: Vec<(Cell, Vec<Counted>)> = (0..atlas.cells.min(CELLS_MAX))
        .into_par_iter()
        .map(|index| {
            let mut cell = Cell::new(plan.clone(), index, from);
            let mut sums = vec![Counted::default(); streams];
            for slice in from.slice()..to.slice() {
                cell.run(slice, schedules);
                cell.take_mail();
                sums.iter_mut().zip(&cell.slice).for_each(|(sum, c)| *sum += *c);
            }
            (cell, sums)
        })
        .collect();
    let mut counted = vec![Counted::default(); streams];
    let (mut lived, mut awake) = (0usize, 0usize);
    let mut largest: Option<Cell> = None;
    for (cell, sums) in lives {
        lived += cell.state.hosts.len();
        counted.iter_mut().zip(sums).for_each(|(all, of)| *all += of);
        awake += cell.awake();
        for (all, of) in events.iter_mut().zip(&cell.mix) {
            for (a, n) in all.iter_mut().zip(of) {
                *a += n;
            }
        }
        if largest.as_ref().is_none_or(|t| t.state.hosts.len() < cell.state.hosts.len()) {
            largest = Some(cell);
        }
    }
    let part = atlas.hosts.len() as f64 / lived.max(1) as f64;
    let scale = part / (to - plan.start).as_secs_f64();
    life.awake = (awake as f64 * part) as usize;
    life.natural = counted.iter().map(|c| c.records as f64 * scale).collect();
    life.fill = counted.iter().map(|c| c.fill as f64 * scale).collect();
    for s in 0..streams {
        life.bytes[s] = counted[s].bytes as f64 / counted[s].records.max(1) as f64;
        let feed = plan.streams[s].feed;
        let total: u64 = events[feed].iter().sum();
        let mut ids = std::collections::BTreeMap::<&str, u64>::new();
        for (e, n) in plan.feeds[feed].source.events.iter().zip(&events[feed]) {
            *ids.entry(e.id()).or_default() += n;
        }
        let of = ids.into_iter().filter(|(_, n)| *n > 0);
        life.mix[s] = of.map(|(id, n)| (id.to_owned(), n as f64 / total as f64)).collect();
        life.mix[s].sort_by(|a, b| b.1.total_cmp(&a.1));
    }
    (life, largest)
}
