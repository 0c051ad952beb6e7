//! Who lives when: the order in which whole hosts wake, and how many a rate needs.

use crate::cell::{Power, PowerCurve};
use crate::plan::calibrate::{Measured, NATURAL_SHARE};
use crate::rng::{mix, purpose};
use crate::schedule::Schedule;
use crate::world::atlas::Atlas;

/// Every host's place in the order in which hosts wake. Within each cell and role places are spread evenly over 0..1, so
/// that every beginning of the order is the organisation in small. Domain controllers have none: they never sleep.
pub fn ranks(atlas: &Atlas, controller: &[bool]) -> Vec<Option<f32>> {
    let mut groups = std::collections::BTreeMap::<(u16, u16), Vec<usize>>::new();
    for (i, h) in atlas.hosts.iter().enumerate() {
        groups.entry((h.cell, h.role)).or_default().push(i);
    }
    let mut ranks = vec![None; atlas.hosts.len()];
    for ((cell, role), hosts) in groups {
        if controller[role as usize] {
            continue;
        }
        // cells with a host or two of a role take turns
        let turn = golden(cell as u64 + 1, role as u64);
        for (k, host) in hosts.iter().enumerate() {
            ranks[*host] = Some(((k as f64 + turn) / hosts.len() as f64) as f32);
        }
    }
    ranks
}

/// Parts of 0..1 that stay evenly spread however many are taken.
fn golden(n: u64, series: u64) -> f64 {
    let start = (mix(series, purpose("rank")) >> 11) as f64 / (1u64 << 53) as f64;
    let x = start + n as f64 * 0.618_033_988_749_894_9;
    x - libm::floor(x)
}

/// The share of hosts that streams with `scale: hosts` need over their schedules; none where no stream scales.
pub fn power(scaled: &[bool], m: &Measured, schedules: &[Option<Schedule>], ranks: Vec<Option<f32>>) -> Option<Power> {
    let curve = |(s, schedule): (usize, &Option<Schedule>)| {
        let schedule = schedule.as_ref().filter(|_| scaled[s])?;
        let point = |high: bool| {
            let points = schedule.points(schedule.start(), super::natural::WEEK);
            let rate = if high { points.high.1 } else { points.low.1 };
            let life = if high { &m.at.high } else { &m.at.low };
            let share = m.records(schedule, rate, s) * NATURAL_SHARE / life.natural[s].max(1e-9);
            (rate.per_second(), share.min(1.0))
        };
        let (low, high) = (point(false), point(true));
        // a constant rate needs what it needs when life is fullest
        let low = if low.0 == high.0 { high } else { low };
        Some(PowerCurve { stream: s, low, high })
    };
    let curves: Vec<PowerCurve> = schedules.iter().enumerate().filter_map(curve).collect();
    (!curves.is_empty()).then_some(Power { curves, ranks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_evenly_at_every_length() {
        for n in [5usize, 16, 100] {
            let below = (1..=n as u64).filter(|k| golden(*k, 3) < 0.3).count() as f64;
            assert!((below - 0.3 * n as f64).abs() <= 2.0, "{below} of {n}");
        }
    }
}
