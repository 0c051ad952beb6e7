//! Rate over time, as an integral in exact integers. A leaf without a clock: it says how much is due by an
//! instant of logical time, and nothing else.
//!
//! A [`Schedule`] is a list of segments, each a sum of [`Curve`]s from an instant on; `ctl rate` adds a segment
//! and the integral goes on without a jump. A curve is cut into pieces whose rate is a straight line, and the
//! integral of a straight line is exact in integers: rates are whole [`Rate`] steps (a thousandth of a record or
//! byte per day), times whole nanoseconds, so their product ([`QUANTA`] of them make one record) never rounds.
//! Floating point would be shorter, and after a week at 10^7 records a second would owe or give a record now and
//! then, differently on each path to the same instant.
//!
//! [`Cursor`] is the cheap way: one multiplication and one division a call while a piece lasts. [`Division`]
//! hands what is due to cells.

pub mod curve;
mod division;
mod poisson;
mod rate;
mod written;

pub use curve::Curve;
pub use division::Division;
pub use rate::{Rate, Unit};
pub use written::{Place, Setting, shape_from_node, zone};

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};
use curve::Piece;

/// Integral steps that make one record or byte: a thousandth, per day, per nanosecond.
pub const QUANTA: u128 = 1_000 * 86_400 * 1_000_000_000;

/// What a user writes as a rate: a sum of curves in one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// What is counted.
    pub unit: Unit,
    /// The curves that are added up; none is a rate of zero.
    pub curves: Vec<Curve>,
}

/// How much is due over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    unit: Unit,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq)]
struct Segment {
    from: Time,
    curves: Vec<Curve>,
}

/// Where an evaluation stands: flat data, saved and resumed with a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    at: Time,
    /// Quanta of the segments before this one.
    carried: u128,
    segment: usize,
    /// Segments known when `end` was taken; one more may have cut it.
    segments: usize,
    end: Time,
    terms: Vec<Term>,
}

/// One curve of the cursor's segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Term {
    piece: Piece,
    /// Quanta of the curve before it entered the piece, less those of the piece before it was entered.
    base: i128,
}

/// Lowest, mean and highest rate of a schedule over a span, for the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Points {
    /// The first instant of the lowest rate, and the rate.
    pub low: (Time, Rate),
    /// What is due over the span, divided by it; for Poisson the expectation.
    pub mean: Rate,
    /// The first instant of the highest rate, and the rate.
    pub high: (Time, Rate),
}

impl Shape {
    /// A constant rate.
    pub fn constant(rate: Rate) -> Shape {
        Shape { unit: rate.unit, curves: vec![Curve::constant(rate)] }
    }
    /// A rate that it never exceeds, draws aside, in thousandths per day.
    pub fn peak(&self) -> u64 {
        self.curves.iter().map(Curve::peak).fold(0, u64::saturating_add)
    }
}

impl Schedule {
    /// The schedule that counts from `start`.
    pub fn new(start: Time, shape: Shape) -> Schedule {
        Schedule { unit: shape.unit, segments: vec![Segment { from: start, curves: shape.curves }] }
    }
    /// What is counted.
    pub fn unit(&self) -> Unit {
        self.unit
    }
    /// The first instant; nothing is due before it.
    pub fn start(&self) -> Time {
        self.segments[0].from
    }
    /// From `at` on the rate is another one; what is due stays continuous. A change before an earlier change
    /// counts from that one on.
    ///
    /// # Errors
    /// A shape in another unit: what is due could not go on.
    pub fn change(&mut self, at: Time, shape: Shape) -> Result<(), String> {
        if shape.unit != self.unit {
            return Err(format!("a rate in {} cannot follow one in {}", shape.unit, self.unit));
        }
        let from = at.max(self.segments.last().expect("a schedule has a segment").from);
        // a segment that never began is kept with no length: a cursor may stand in it
        self.segments.push(Segment { from, curves: shape.curves });
        Ok(())
    }
    /// A cursor at the start.
    pub fn cursor(&self) -> Cursor {
        let mut c = Cursor {
            at: self.start(),
            carried: 0,
            segment: 0,
            segments: self.segments.len(),
            end: self.end(0),
            terms: vec![],
        };
        c.enter(self);
        c
    }
    /// Records or bytes due from the start to `t`, without history: as dear as the way there is long.
    pub fn due(&self, t: Time) -> u64 {
        self.cursor().due(self, t)
    }
    /// The rate at an instant; for Poisson the expected one.
    pub fn rate(&self, t: Time) -> Rate {
        let s = &self.segments[self.segments.partition_point(|s| s.from <= t).saturating_sub(1)];
        if t < s.from {
            return Rate { per_day_milli: 0, unit: self.unit };
        }
        let sum: u64 = s.curves.iter().map(|c| c.mean_piece(s.from, t).rate_at(t)).fold(0, u64::saturating_add);
        Rate { per_day_milli: sum, unit: self.unit }
    }
    /// Lowest, mean and highest rate over `span` from `from` on.
    pub fn points(&self, from: Time, span: Span) -> Points {
        let until = from + span;
        let (mut low, mut high) = ((from, self.rate(from)), (from, self.rate(from)));
        let (mut t, mut area) = (from, 0u128);
        while t < until {
            let s = self.segments.partition_point(|s| s.from <= t).saturating_sub(1);
            let seg = &self.segments[s];
            let stop = if t < seg.from { seg.from } else { self.end(s) }.min(until);
            let next = match t < seg.from {
                true => stop,
                false => seg.curves.iter().map(|c| c.mean_piece(seg.from, t).to).fold(stop, Time::min),
            };
            for at in [t, Time(next.0 - 1)] {
                let r = self.rate(at);
                low = if r.per_day_milli < low.1.per_day_milli { (at, r) } else { low };
                high = if r.per_day_milli > high.1.per_day_milli { (at, r) } else { high };
            }
            let middle = self.rate(Time(t.0 + (next.0 - t.0) / 2)).per_day_milli;
            area += middle as u128 * (next.0 - t.0) as u128;
            t = next;
        }
        let mean = (area / span.0.max(1) as u128) as u64;
        Points { low, mean: Rate { per_day_milli: mean, unit: self.unit }, high }
    }

    fn end(&self, segment: usize) -> Time {
        self.segments.get(segment + 1).map_or(Time(i64::MAX), |s| s.from)
    }
}

impl Cursor {
    /// Records or bytes due from the schedule's start to `t`. Never goes back: an earlier `t` than before gives
    /// what was due then.
    #[inline]
    pub fn due(&mut self, schedule: &Schedule, t: Time) -> u64 {
        let t = t.max(self.at);
        if self.segments != schedule.segments.len() {
            self.segments = schedule.segments.len();
            self.end = schedule.end(self.segment);
        }
        while t > self.end {
            // a segment added in the past of this cursor begins where the cursor stands: what was given out is
            // not taken back
            let end = self.end.max(self.at);
            self.carried += self.quanta(schedule, end);
            self.at = end;
            self.segment += 1;
            self.end = schedule.end(self.segment);
            self.enter(schedule);
        }
        self.at = t;
        u64::try_from((self.carried + self.quanta(schedule, t)) / QUANTA).unwrap_or(u64::MAX)
    }

    /// The same without going there.
    pub fn peek(&self, schedule: &Schedule, t: Time) -> u64 {
        let at_hand = |x: &Term| t <= x.piece.to;
        if self.segments != schedule.segments.len() || t > self.end || !self.terms.iter().all(at_hand) {
            return self.clone().due(schedule, t);
        }
        let t = t.max(self.at);
        let sum: i128 = self.terms.iter().map(|x| x.base + x.piece.amount(t) as i128).sum();
        u64::try_from((self.carried + sum as u128) / QUANTA).unwrap_or(u64::MAX)
    }

    fn enter(&mut self, schedule: &Schedule) {
        let seg = &schedule.segments[self.segment];
        let at = self.at.max(seg.from);
        self.terms.clear();
        self.terms.extend(seg.curves.iter().map(|c| {
            let piece = c.piece(seg.from, at);
            Term { base: -(piece.amount(at) as i128), piece }
        }));
    }

    /// Quanta of this segment's curves up to `t`, which is not beyond its end.
    #[inline]
    fn quanta(&mut self, schedule: &Schedule, t: Time) -> u128 {
        let mut sum = 0i128;
        for (i, term) in self.terms.iter_mut().enumerate() {
            while t > term.piece.to {
                let seg = &schedule.segments[self.segment];
                let at = term.piece.to;
                let next = seg.curves[i].piece(seg.from, at);
                term.base += term.piece.amount(at) as i128 - next.amount(at) as i128;
                term.piece = next;
            }
            sum += term.base + term.piece.amount(t) as i128;
        }
        sum as u128
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;
    use proptest::prelude::*;

    const T0: Time = Time(1_772_438_400_000_000_000); // 2026-03-02T08:00:00Z, a Monday

    fn shape(text: &str) -> Shape {
        let docs = yaml::parse("rate", text).unwrap();
        let mut p = yaml::Problems::new();
        let s = shape_from_node(&docs[0], &Setting { places: &[], seed: 7 }, &mut p);
        assert!(p.is_empty(), "{p}");
        s.unwrap()
    }
    fn at(seconds: i64) -> Time {
        T0 + Span::s(seconds)
    }
    #[test]
    fn a_look_ahead_is_what_will_be_due() {
        let all = [
            "1k/s",
            "{sum: [1k/s, {poisson: {mean: 300/s}}, {burst: {peak: 900/s, for: 2s, every: 5s}}]}",
            "{steps: [{rate: 100/s, for: 1s}, {rate: 300/s, for: 2s}, {rate: 1000/s, for: 40s}]}",
        ];
        for text in all {
            let mut s = Schedule::new(T0, shape(text));
            let mut c = s.cursor();
            for i in 1..800 {
                let t = T0 + Span::ms(i * 10);
                if i == 400 {
                    s.change(t, shape("50/s")).unwrap();
                }
                let ahead = c.peek(&s, t);
                assert_eq!(ahead, c.due(&s, t), "{text} by slice {i}");
            }
        }
    }
    const ALL: &[&str] = &[
        "3k/s",
        "1.5/s",
        "100/h",
        "200GB/d",
        "{ramp: {from: 0/s, to: 10k/s, over: 1h}}",
        "{ramp: {from: 777/s, to: 3/min, over: 59m}}",
        "{steps: [{rate: 1k/s, for: 90s}, {rate: 7/s, for: 1m}]}",
        "{diurnal: {mean: 20k/s, peak: '10:30', low: 15%, tz: Europe/Paris}}",
        "{weekly: {mean: 900/s, peak: '11:00', low: 5%, tz: America/Chicago, days: {sat: 20%, sun: 10%}}}",
        "{burst: {base: 10/s, peak: 5k/s, for: 20s, every: 5m}}",
        "{burst: {peak: 5k/s, for: 2m, at: ['09:00', '13:30'], tz: Asia/Kolkata}}",
        "{poisson: {mean: 40/s}}",
        "{poisson: {mean: {diurnal: {mean: 300/s, peak: '12:00', low: 1%}}}}",
        "{sum: [1k/s, {burst: {peak: 9k/s, for: 10s, every: 1m}}, {poisson: {mean: 3/s}}]}",
    ];

    #[test]
    fn a_constant_rate_is_exact_after_years() {
        let year = 365 * 86_400;
        let s = Schedule::new(T0, shape("10M/s"));
        assert_eq!(s.due(at(50 * year)), 10_000_000 * 50 * year as u64);
        let mut c = s.cursor();
        // odd steps, one of them hit to the nanosecond
        for k in 1..200_000i64 {
            c.due(&s, Time(T0.0 + k * 9_999_991));
        }
        assert_eq!(c.due(&s, at(2_000)), 20_000_000_000);
        let s = Schedule::new(T0, shape("200GB/d"));
        assert_eq!((s.due(at(86_400)), s.due(at(7 * 86_400))), (200_000_000_000, 1_400_000_000_000));
        assert_eq!(Schedule::new(T0, shape("7/h")).due(at(3_600 * 1_000)), 7_000);
        assert_eq!(Schedule::new(T0, shape("90/min")).due(at(60)), 90);
        assert_eq!(Schedule::new(T0, shape("10GB/s")).due(at(50 * year)), 10_000_000_000 * 50 * year as u64);
    }

    #[test]
    fn a_ramp_ends_at_its_triangle_and_holds() {
        let s = Schedule::new(T0, shape("{ramp: {from: 0/s, to: 10k/s, over: 1h}}"));
        assert_eq!(s.due(at(3_600)), 18_000_000);
        assert_eq!(s.due(at(3_601)), 18_010_000);
        assert_eq!(s.due(at(1_800)), 4_500_000);
        let long = Schedule::new(T0, shape("{ramp: {from: 0/s, to: 100M/s, over: 3650d}}"));
        assert_eq!(long.due(at(3_650 * 86_400)), 100_000_000 / 2 * 3_650 * 86_400);
    }

    #[test]
    fn steps_and_bursts_repeat() {
        let s = Schedule::new(T0, shape("{steps: [{rate: 1k/s, for: 90s}, {rate: 7/s, for: 1m}]}"));
        assert_eq!(s.due(at(150)), 90_420);
        assert_eq!(s.due(at(1_500)), 904_200);
        let s = Schedule::new(T0, shape("{steps: [{rate: 1k/s, for: 90s}, {rate: 7/s}]}"));
        assert_eq!(s.due(at(1_090)), 97_000);
        let s = Schedule::new(T0, shape("{burst: {base: 10/s, peak: 5k/s, for: 20s, every: 5m}}"));
        assert_eq!(s.due(at(600)), 2 * (20 * 5_000 + 280 * 10));
        // 13:30 in Kolkata is 08:00 in UTC: the start
        let s = Schedule::new(T0, shape("{burst: {peak: 5k/s, for: 2m, at: ['09:00', '13:30'], tz: Asia/Kolkata}}"));
        assert_eq!((s.due(at(60)), s.due(at(3_600)), s.due(at(86_400))), (300_000, 600_000, 1_200_000));
        let s = Schedule::new(T0, shape("{burst: {peak: 10/s, for: 1s, at: ['2026-03-02T08:00:05Z']}}"));
        assert_eq!((s.due(at(5)), s.due(at(6)), s.due(at(86_400))), (0, 10, 10));
    }

    #[test]
    fn a_day_has_its_mean_and_its_peak_in_local_time_also_over_a_change_of_clocks() {
        let s = Schedule::new(T0, shape("{diurnal: {mean: 20k/s, peak: '10:30', low: 15%, tz: Europe/Paris}}"));
        let day = s.due(at(86_400));
        assert!((day as i64 - 20_000 * 86_400).abs() < 100, "{day}");
        let p = s.points(T0, Span::s(86_400));
        // 10:30 in Paris is 09:30 in winter time, an hour and a half after the start
        assert_eq!((p.high.0, p.low.0), (at(5_400), at(5_400 + 43_200)));
        assert!((p.low.1.per_second() / p.high.1.per_second() - 0.15).abs() < 1e-6);
        assert!((p.mean.per_second() - 20_000.0).abs() < 1.0, "{}", p.mean);
        // after 2026-03-29 the peak is at 08:30 in UTC
        let p = s.points(at(30 * 86_400), Span::s(86_400));
        assert_eq!(p.high.0, at(30 * 86_400 + 1_800));
    }

    #[test]
    fn a_week_has_its_mean_and_quiet_days() {
        let s = Schedule::new(
            T0,
            shape("{weekly: {mean: 700/s, peak: '12:00', low: 5%, tz: UTC, days: {sat: 20%, sun: 10%}}}"),
        );
        let day = |d: i64| s.due(at(d * 86_400 - 28_800)) - s.due(at((d - 1) * 86_400 - 28_800));
        let total = s.due(at(8 * 86_400 - 28_800)) - s.due(at(86_400 - 28_800));
        assert!((total as i64 - 700 * 7 * 86_400).abs() < 700, "{total}");
        assert!((day(6) as f64 / day(4) as f64 - 0.2).abs() < 1e-4);
        assert!((day(7) as f64 / day(4) as f64 - 0.1).abs() < 1e-4);
    }

    #[test]
    fn poisson_has_its_mean_and_its_variance() {
        for mean in [0.4f64, 4.0, 40.0, 4_000.0] {
            let s = Schedule::new(T0, shape(&format!("{{poisson: {{mean: {mean}/s}}}}")));
            let mut c = s.cursor();
            let mut last = 0;
            let n: Vec<f64> = (1..=20_000)
                .map(|k| {
                    let d = c.due(&s, at(k));
                    let x = d - last;
                    last = d;
                    x as f64
                })
                .collect();
            let m = n.iter().sum::<f64>() / n.len() as f64;
            let v = n.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / n.len() as f64;
            assert!((m / mean - 1.0).abs() < 0.04 && (v / mean - 1.0).abs() < 0.06, "{mean}: mean {m}, variance {v}");
        }
    }

    #[test]
    fn another_seed_draws_another_poisson() {
        let docs = yaml::parse("rate", "{poisson: {mean: 40/s}}").unwrap();
        let due = |seed| {
            let mut p = yaml::Problems::new();
            let s = shape_from_node(&docs[0], &Setting { places: &[], seed }, &mut p).unwrap();
            Schedule::new(T0, s).due(at(100))
        };
        assert_eq!(due(1), due(1));
        assert_ne!(due(1), due(2));
    }

    #[test]
    fn a_change_is_continuous_and_keeps_the_unit() {
        let mut s = Schedule::new(T0, shape("1.5/s"));
        let mut c = s.cursor();
        assert_eq!(c.due(&s, at(9)), 13);
        s.change(at(9), shape("0.5/s")).unwrap();
        assert_eq!((c.due(&s, at(9)), c.due(&s, at(10)), s.due(at(10))), (13, 14, 14));
        s.change(at(20), shape("10/s")).unwrap();
        assert_eq!((c.due(&s, at(21)), s.due(at(21))), (29, 29));
        assert_eq!(s.rate(at(10)).to_string(), "0.5/s");
        assert_eq!(
            s.change(at(30), shape("3MB/s")).unwrap_err(),
            "a rate in bytes per second cannot follow one in records per second"
        );
    }

    #[test]
    fn a_cursor_resumed_from_its_bytes_goes_on() {
        for text in ALL {
            let s = Schedule::new(T0, shape(text));
            let mut c = s.cursor();
            c.due(&s, at(1_234));
            let mut d: Cursor = postcard::from_bytes(&postcard::to_allocvec(&c).unwrap()).unwrap();
            for k in 0..100 {
                let t = Time(at(1_234).0 + k * 7_777_777_777);
                assert_eq!(c.due(&s, t), d.due(&s, t), "{text}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However one walks, what is due at an instant is the same, and never falls.
        #[test]
        fn any_walk_comes_to_the_same_and_is_monotone(
            which in 0..ALL.len(),
            steps in proptest::collection::vec(1i64..400_000_000_000, 1..60),
            change in (0usize..60, 0..ALL.len()),
        ) {
            let mut s = Schedule::new(T0, shape(ALL[which]));
            let mut c = s.cursor();
            let (mut t, mut last) = (T0, 0);
            for (i, step) in steps.iter().enumerate() {
                if i == change.0 {
                    let _ = s.change(t, shape(ALL[change.1]));
                }
                t = t + Span(*step);
                let due = c.due(&s, t);
                prop_assert!(due >= last);
                last = due;
            }
            prop_assert_eq!(last, s.due(t));
        }

        /// A sum is the sum of its parts to within one record a part.
        #[test]
        fn a_sum_adds_up(a in 0..ALL.len(), b in 0..ALL.len(), t in 1i64..5_000) {
            let (a, b) = (shape(ALL[a]), shape(ALL[b]));
            prop_assume!(a.unit == b.unit);
            let both = Shape { unit: a.unit, curves: a.curves.iter().chain(&b.curves).cloned().collect() };
            let (a, b, both) = (Schedule::new(T0, a), Schedule::new(T0, b), Schedule::new(T0, both));
            let parts = a.due(at(t)) + b.due(at(t));
            prop_assert!((parts..=parts + 1).contains(&both.due(at(t))));
        }
    }
}
