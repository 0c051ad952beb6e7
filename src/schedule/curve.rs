//! Curves, and the straight pieces they are cut into.

use jiff::civil;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::poisson;
use super::rate::Rate;
use crate::rng::{Rng, mix};
use crate::time::{Span, Time};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// A day's curve is straight between quarters of an hour: zones are offset by whole quarters.
const QUARTER: i64 = 900 * SECOND;

/// A rate over time. Rates are in thousandths per day.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    /// One rate after the other, each for a length; the last for ever, or all again.
    Steps { steps: Vec<(u64, Span)>, last: Last },
    /// A straight line, then its end for ever.
    Ramp { from: u64, to: u64, over: Span },
    /// A cosine over the local day, scaled by the day of the week (Monday first).
    Daily { mean: u64, swing: f64, peak: Span, days: [f64; 7], zone: TimeZone },
    /// A rate, and another one while a burst lasts.
    Burst { base: u64, peak: u64, length: Span, starts: Starts },
    /// A count for every second, drawn around the mean of other curves.
    Poisson { mean: Vec<Curve>, key: u64 },
}

/// What follows the last step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Last {
    /// This rate for ever.
    Holds(u64),
    /// The first step again.
    Repeats,
}

/// When bursts start.
#[derive(Clone, Debug, PartialEq)]
pub enum Starts {
    /// Periodically, the first one so long after the schedule's start.
    Every { every: Span, first: Span },
    /// At these times of the local day, ascending.
    Daily { times: Vec<Span>, zone: TimeZone },
    /// At these instants, ascending.
    At(Vec<Time>),
}

/// A stretch of a curve where the rate is a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    from: Time,
    /// The first instant after it.
    pub to: Time,
    /// Rate at `from`.
    a: u64,
    /// Rate at `from + over`, which may lie beyond `to`.
    b: u64,
    over: i64,
}

impl Piece {
    fn flat(from: Time, to: Time, rate: u64) -> Piece {
        Piece { from, to, a: rate, b: rate, over: 1 }
    }
    /// Quanta between the piece's start and `t`. Rounds by less than one quantum (10^-16 records), and only
    /// where the rate changes.
    #[inline]
    pub fn amount(&self, t: Time) -> u128 {
        let tau = (t.0 - self.from.0) as u128;
        let level = self.a as u128 * tau;
        if self.a == self.b {
            return level;
        }
        // (b - a) * tau^2 / (2 * over) without overflow: divide in two steps, carrying the remainder
        let x = self.a.abs_diff(self.b) as u128 * tau;
        let d = 2 * self.over as u128;
        let bend = (x / d) * tau + (x % d) * tau / d;
        if self.b > self.a { level + bend } else { level - bend }
    }
    /// The rate at an instant of the piece.
    pub fn rate_at(&self, t: Time) -> u64 {
        let tau = (t.0 - self.from.0) as i128;
        (self.a as i128 + (self.b as i128 - self.a as i128) * tau / self.over as i128) as u64
    }
}

impl Curve {
    /// A rate that never changes.
    pub fn constant(rate: Rate) -> Curve {
        Curve::Steps { steps: vec![], last: Last::Holds(rate.per_day_milli) }
    }

    /// A rate that it never exceeds, draws aside.
    pub fn peak(&self) -> u64 {
        match self {
            Curve::Steps { steps, last } => {
                let hold = if let Last::Holds(rate) = last { *rate } else { 0 };
                steps.iter().map(|s| s.0).fold(hold, u64::max)
            }
            Curve::Ramp { from, to, .. } => *from.max(to),
            Curve::Daily { mean, swing, days, .. } => {
                (*mean as f64 * (1.0 + swing) * days.iter().copied().fold(0.0, f64::max)) as u64
            }
            Curve::Burst { base, peak, .. } => *base.max(peak),
            Curve::Poisson { mean, .. } => mean.iter().map(Curve::peak).fold(0, u64::saturating_add),
        }
    }

    /// The piece that `t` lies in; `origin` is where the schedule's segment starts.
    pub fn piece(&self, origin: Time, t: Time) -> Piece {
        match self {
            Curve::Poisson { mean, key } => {
                let second = t.second();
                let middle = Time(second * SECOND + SECOND / 2);
                let rate: u64 = mean.iter().map(|c| c.mean_piece(origin, middle.max(origin)).rate_at(middle)).sum();
                let mut rng = Rng::new(mix(*key, second as u64));
                let count = poisson::draw(&mut rng, rate as f64 / 86_400_000.0);
                Piece::flat(Time(second * SECOND), Time((second + 1) * SECOND), count.saturating_mul(86_400_000))
            }
            _ => self.mean_piece(origin, t),
        }
    }

    /// As [`Curve::piece`], with the expectation in place of draws.
    pub fn mean_piece(&self, origin: Time, t: Time) -> Piece {
        const FOREVER: Time = Time(i64::MAX);
        match self {
            Curve::Steps { steps, last } => {
                let mut at = origin;
                if *last == Last::Repeats {
                    let cycle: i64 = steps.iter().map(|s| s.1.0).sum();
                    at = Time(origin.0 + (t.0 - origin.0).div_euclid(cycle) * cycle);
                }
                for (rate, length) in steps {
                    let end = Time(at.0.saturating_add(length.0));
                    if t < end {
                        return Piece::flat(at, end, *rate);
                    }
                    at = end;
                }
                match last {
                    Last::Holds(rate) => Piece::flat(at, FOREVER, *rate),
                    // the steps fill the cycle, so this is a cycle of no length, which the loader refuses
                    Last::Repeats => Piece::flat(at, FOREVER, 0),
                }
            }
            Curve::Ramp { from, to, over } => {
                let end = Time(origin.0.saturating_add(over.0));
                match t < end {
                    true => Piece { from: origin, to: end, a: *from, b: *to, over: over.0 },
                    false => Piece::flat(end, FOREVER, *to),
                }
            }
            Curve::Daily { mean, swing, peak, days, zone } => {
                let (offset, change) = offset_at(zone, t);
                let local = t.0 + offset;
                let (day, quarter) = (local.div_euclid(DAY), local.rem_euclid(DAY) / QUARTER);
                let from = Time(day * DAY + quarter * QUARTER - offset);
                let factor = days[(day + 3).rem_euclid(7) as usize];
                let knot = |q: i64| {
                    let turn = (q * QUARTER - peak.0) as f64 / DAY as f64;
                    let shape = 1.0 + swing * libm::cos(std::f64::consts::TAU * turn);
                    libm::round(*mean as f64 * factor * shape) as u64
                };
                let to = Time(from.0 + QUARTER).min(change);
                Piece { from, to, a: knot(quarter), b: knot(quarter + 1), over: QUARTER }
            }
            Curve::Burst { base, peak, length, starts } => {
                let (last, next) = starts.around(origin, t);
                let next = next.unwrap_or(FOREVER);
                match last.map(|l| Time(l.0.saturating_add(length.0))) {
                    Some(end) if t < end => Piece::flat(t, end.min(next), *peak),
                    _ => Piece::flat(t, next, *base),
                }
            }
            Curve::Poisson { mean, .. } => {
                // second by second would be exact too, and a week of them slow to walk
                let pieces = mean.iter().map(|c| c.mean_piece(origin, t));
                let to = pieces.clone().map(|p| p.to).min().unwrap_or(FOREVER);
                let at = |t: Time| pieces.clone().map(|p| p.rate_at(t)).sum();
                match to == FOREVER {
                    true => Piece::flat(t, to, at(t)),
                    false => Piece { from: t, to, a: at(t), b: at(to), over: to.0 - t.0 },
                }
            }
        }
    }
}

impl Starts {
    /// The last start not after `t` and the first one after it.
    fn around(&self, origin: Time, t: Time) -> (Option<Time>, Option<Time>) {
        match self {
            Starts::Every { every, first } => {
                let first = origin + *first;
                if t < first {
                    return (None, Some(first));
                }
                let last = first.0 + (t.0 - first.0) / every.0 * every.0;
                (Some(Time(last)), last.checked_add(every.0).map(Time))
            }
            Starts::Daily { times, zone } => {
                let day = (t.0 + offset_at(zone, t).0).div_euclid(DAY);
                let mut last = None;
                for d in day - 1..=day + 2 {
                    for time in times {
                        let s = local(zone, d, *time);
                        if s > t {
                            return (last, Some(s));
                        }
                        last = Some(s);
                    }
                }
                (last, None)
            }
            Starts::At(times) => {
                let i = times.partition_point(|s| *s <= t);
                (i.checked_sub(1).map(|i| times[i]), times.get(i).copied())
            }
        }
    }
}

fn stamp(t: Time) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(t.0 as i128).expect("64 bits of nanoseconds are years 1677 to 2262")
}

/// Nanoseconds that local time is ahead of UTC, and the next instant at which that may change.
fn offset_at(zone: &TimeZone, t: Time) -> (i64, Time) {
    let ts = stamp(t);
    let change = zone.following(ts).next().map_or(i64::MAX as i128, |c| c.timestamp().as_nanosecond());
    (zone.to_offset(ts).seconds() as i64 * SECOND, Time(change.min(i64::MAX as i128) as i64))
}

/// A time of a local day (counted from 1970-01-01); in a gap of the clocks the instant after it.
fn local(zone: &TimeZone, day: i64, time: Span) -> Time {
    let (y, m, d) = crate::time::civil_from_days(day);
    let s = time.0 / SECOND;
    let dt = civil::datetime(y as i16, m as i8, d as i8, (s / 3600) as i8, (s / 60 % 60) as i8, (s % 60) as i8, 0);
    let ns = zone.to_timestamp(dt).map_or(i64::MAX as i128, |ts| ts.as_nanosecond());
    Time(ns.clamp(i64::MIN as i128, i64::MAX as i128) as i64)
}
