//! When a slice is due: logical time against the machine's clocks.
//!
//! Open loop: a slice is due when its end is, whatever became of the slices before it. Deadlines follow the
//! monotonic clock from one anchor, which is set once from the wall clock; so neither a stepped wall clock nor what
//! time synchronisation does to it makes a burst or a hole. A machine that slept finds its deadlines shifted by
//! as long as it slept, not a thousand slices due at once.
//!
//! The core is pure and driven by [`Tick`]s; [`Watch`] is the skin.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::{SLICE, Span, Time};

/// Longer than this between two ticks, and not held by a sink: the machine slept or stood still.
pub const GAP_MAX: Span = Span::s(2);
/// The wall clock moved against the monotonic one by more than this between two ticks: it was stepped.
pub const STEP_MAX: Span = Span::s(1);
/// A wait is cut into parts of this length, so that whoever waits can look for a signal.
pub const WAIT_MAX: Span = Span::ms(50);

/// How logical time runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clock {
    /// From now on, with the wall clock.
    Live,
    /// From an instant on, at a speed.
    From { from: Time, speed: Speed },
    /// From an instant on as fast as it goes until now, then with the wall clock.
    BackFill { from: Time },
}

/// How fast logical time runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Logical seconds per second.
    Times(f64),
    /// As fast as cells and sinks can.
    Max,
}

/// A reading of the machine's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The monotonic clock, from any origin.
    pub monotonic: Span,
    /// The wall clock.
    pub wall: Time,
}

/// What is to be done about the next slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Run it: it became due that long ago.
    Now { late: Span },
    /// Ask again after this time, at most [`WAIT_MAX`].
    In(Span),
}

/// What happened to the deadlines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Readings {
    /// Times that the machine slept or stood still.
    pub gaps: u64,
    /// How long in all; deadlines were shifted by it.
    pub gap_total: Span,
    /// Times that the wall clock was stepped; deadlines were not touched.
    pub steps: u64,
    /// By how much in all, forward less backward.
    pub step_total: Span,
    /// How long deadlines were shifted for sinks that block.
    pub blocked: Span,
    /// How long the run was paused.
    pub paused: Span,
}

/// Deadlines of slices.
#[derive(Clone, Debug)]
pub struct Pace {
    start: Time,
    /// The monotonic time at which a logical time is due; none while it goes as fast as it can.
    anchor: Option<(Span, Time)>,
    speed: f64,
    back_fill: bool,
    paused: Option<Span>,
    last: Tick,
    /// How long sinks held the cells since the last tick: that is no gap.
    held: Span,
    readings: Readings,
}

impl Pace {
    /// The pace from now on. Logical time starts at the beginning of a slice.
    pub fn new(clock: Clock, now: Tick) -> Pace {
        let align = |t: Time| Time::of_slice((t.0 - 1).div_euclid(SLICE.0) + 1);
        let (from, speed, back_fill) = match clock {
            Clock::Live => (now.wall, Some(1.0), false),
            Clock::From { from, speed: Speed::Times(s) } => (from, Some(s), false),
            Clock::From { from, speed: Speed::Max } => (from, None, false),
            Clock::BackFill { from } if from < now.wall => (from, None, true),
            // a start in the future is waited for
            Clock::BackFill { from } => (from, Some(1.0), false),
        };
        let start = align(from);
        let logical = match clock {
            Clock::Live | Clock::BackFill { .. } => now.wall,
            Clock::From { .. } => start,
        };
        Pace {
            start,
            anchor: speed.map(|_| (now.monotonic, logical)),
            speed: speed.unwrap_or(1.0),
            back_fill,
            paused: None,
            last: now,
            held: Span::ZERO,
            readings: Readings::default(),
        }
    }
    /// The start of the first slice.
    pub fn start(&self) -> Time {
        self.start
    }
    /// Whether logical time runs with the wall clock, or will when it has caught up; a run that does not can be
    /// repeated to the byte from its configuration alone.
    pub fn is_back_filling(&self) -> bool {
        self.back_fill
    }

    /// Whether a slice that ends at `end` is due.
    pub fn tick(&mut self, end: Time, now: Tick) -> Due {
        self.look(now);
        if self.paused.is_some() {
            return Due::In(WAIT_MAX);
        }
        if self.back_fill && end > now.wall {
            self.back_fill = false;
            self.anchor = Some((now.monotonic, now.wall));
        }
        let Some(deadline) = self.deadline(end) else { return Due::Now { late: Span::ZERO } };
        let left = deadline.0 - now.monotonic.0;
        match left <= 0 {
            true => Due::Now { late: Span(-left) },
            false => Due::In(Span(left.min(WAIT_MAX.0))),
        }
    }

    /// The cells were held by sinks for that long. `shifts` is true for a sink that blocks: what comes after is due
    /// later. Otherwise deadlines stay and the cells catch up.
    pub fn held(&mut self, by: Span, shifts: bool) {
        self.held = self.held + by;
        if shifts && let Some((monotonic, _)) = &mut self.anchor {
            *monotonic = *monotonic + by;
            self.readings.blocked = self.readings.blocked + by;
        }
    }
    /// Logical time stops.
    pub fn pause(&mut self, now: Tick) {
        self.look(now);
        self.paused.get_or_insert(now.monotonic);
    }
    /// Logical time goes on where it stopped.
    pub fn resume(&mut self, now: Tick) {
        self.look(now);
        if let Some(since) = self.paused.take() {
            let by = Span((now.monotonic.0 - since.0).max(0));
            self.readings.paused = self.readings.paused + by;
            self.shift(by);
        }
    }
    /// Whether the run is paused.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }
    /// What happened so far.
    pub fn readings(&self) -> Readings {
        self.readings
    }
    /// How far logical time, at `end`, is behind the wall clock: what a gap, a pause or a blocking sink left of a
    /// live run.
    pub fn behind(&self, end: Time, now: Tick) -> Span {
        now.wall - end
    }

    fn deadline(&self, end: Time) -> Option<Span> {
        let (monotonic, logical) = self.anchor?;
        let ahead = end.0 - logical.0;
        // exact where it can be: a live run may last for years
        let ahead = if self.speed == 1.0 { ahead } else { (ahead as f64 / self.speed) as i64 };
        Some(Span(monotonic.0.saturating_add(ahead)))
    }

    fn shift(&mut self, by: Span) {
        if let Some((monotonic, _)) = &mut self.anchor {
            *monotonic = *monotonic + by;
        }
    }

    /// Notices gaps and steps since the last tick.
    fn look(&mut self, now: Tick) {
        let passed = Span(now.monotonic.0 - self.last.monotonic.0);
        let step = Span((now.wall.0 - self.last.wall.0) - passed.0);
        if step.0.abs() > STEP_MAX.0 {
            self.readings.steps += 1;
            self.readings.step_total = self.readings.step_total + step;
        }
        let gap = Span(passed.0 - self.held.0);
        if gap > GAP_MAX && self.anchor.is_some() && self.paused.is_none() {
            self.readings.gaps += 1;
            self.readings.gap_total = self.readings.gap_total + gap;
            self.shift(gap);
        }
        self.held = Span::ZERO;
        self.last = now;
    }
}

/// The machine's clocks, or a test's.
pub trait Watch {
    /// What they show.
    fn now(&self) -> Tick;
    /// Lets that much of time pass.
    fn sleep(&self, by: Span);
    /// Waits until a slice that ends at `end` is due; how late it is then, or nothing when `stop` came first.
    fn wait(&self, pace: &mut Pace, end: Time, stop: impl Fn() -> bool) -> Option<Span> {
        while !stop() {
            match pace.tick(end, self.now()) {
                Due::Now { late } => return Some(late),
                Due::In(by) => self.sleep(by),
            }
        }
        None
    }
}

/// The real clocks.
#[derive(Clone, Copy, Debug)]
pub struct RealWatch(Instant);

impl Default for RealWatch {
    fn default() -> RealWatch {
        RealWatch(Instant::now())
    }
}

impl Watch for RealWatch {
    fn now(&self) -> Tick {
        // a wall clock before 1970 is as good as one at 1970
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Tick { monotonic: Span(self.0.elapsed().as_nanos() as i64), wall: Time(wall.as_nanos() as i64) }
    }
    fn sleep(&self, by: Span) {
        std::thread::sleep(Duration::from_nanos(by.0.max(0) as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    const NOW: Time = Time(1_772_438_400_003_000_000);

    struct FakeWatch {
        now: Cell<Tick>,
    }
    impl FakeWatch {
        fn new() -> FakeWatch {
            FakeWatch { now: Cell::new(Tick { monotonic: Span::s(77), wall: NOW }) }
        }
        /// Time passes; of it the monotonic clock sees `monotonic` and the wall clock `wall`.
        fn pass(&self, monotonic: Span, wall: Span) {
            let t = self.now.get();
            self.now.set(Tick { monotonic: t.monotonic + monotonic, wall: t.wall + wall });
        }
    }
    impl Watch for FakeWatch {
        fn now(&self) -> Tick {
            self.now.get()
        }
        fn sleep(&self, by: Span) {
            self.pass(by, by);
        }
    }
    fn wait(watch: &FakeWatch, pace: &mut Pace, end: Time) -> Span {
        watch.wait(pace, end, || false).unwrap()
    }

    #[test]
    fn a_live_slice_is_due_when_the_wall_clock_shows_its_end() {
        let w = FakeWatch::new();
        let mut p = Pace::new(Clock::Live, w.now());
        assert_eq!(p.start(), Time(1_772_438_400_010_000_000));
        for k in 1..1_000 {
            let end = Time(p.start().0 + k * SLICE.0);
            assert_eq!(wait(&w, &mut p, end), Span::ZERO);
            assert_eq!(w.now().wall, end);
        }
        assert_eq!(p.readings(), Readings::default());
    }

    #[test]
    fn work_that_takes_long_makes_late_slices_and_no_later_deadlines() {
        let w = FakeWatch::new();
        let mut p = Pace::new(Clock::Live, w.now());
        w.sleep(Span::ms(507));
        let start = p.start();
        assert_eq!(wait(&w, &mut p, start + SLICE), Span::ms(490));
        assert_eq!(wait(&w, &mut p, start + Span::s(1)), Span::ZERO);
        assert_eq!(w.now().wall, start + Span::s(1));
    }

    #[test]
    fn speed_scales_the_time_between_slices() {
        let w = FakeWatch::new();
        let from = Time(0);
        let mut p = Pace::new(Clock::From { from, speed: Speed::Times(60.0) }, w.now());
        wait(&w, &mut p, from + Span::s(3_600));
        assert_eq!(w.now().monotonic, Span::s(77 + 60));
        let mut p = Pace::new(Clock::From { from, speed: Speed::Max }, w.now());
        assert_eq!(p.tick(from + Span::s(1_000_000), w.now()), Due::Now { late: Span::ZERO });
    }

    #[test]
    fn back_fill_runs_until_now_and_goes_on_live() {
        let w = FakeWatch::new();
        let from = Time(NOW.0 - 3_600_000_000_000);
        let mut p = Pace::new(Clock::BackFill { from }, w.now());
        let mut end = p.start();
        let mut filled = 0;
        while p.is_back_filling() {
            end = end + SLICE;
            wait(&w, &mut p, end);
            w.sleep(Span::us(100));
            filled += 1;
        }
        // an hour is 360,000 slices of which each takes 0.1 ms: 36 s in which 3,600 more came due, and so on
        assert_eq!(filled, 363_636);
        for _ in 0..100 {
            end = end + SLICE;
            wait(&w, &mut p, end);
            assert_eq!(w.now().wall, end);
        }
        assert_eq!(p.readings(), Readings::default());
    }

    #[test]
    fn a_machine_that_slept_makes_no_burst() {
        // where the monotonic clock stands still in sleep, and where it goes on
        for monotonic in [Span::ZERO, Span::s(3_600)] {
            let w = FakeWatch::new();
            let mut p = Pace::new(Clock::Live, w.now());
            let mut end = p.start() + SLICE;
            wait(&w, &mut p, end);
            w.pass(monotonic, Span::s(3_600));
            let woke = w.now().monotonic;
            for _ in 0..100 {
                end = end + SLICE;
                assert!(wait(&w, &mut p, end) <= SLICE);
            }
            assert_eq!(w.now().monotonic, woke + Span::s(1));
            let r = p.readings();
            assert_eq!(r.gaps + r.steps, 1, "{r:?}");
            assert_eq!(p.behind(end, w.now()), Span::s(3_600));
        }
    }

    #[test]
    fn a_stepped_clock_is_counted_and_changes_nothing() {
        let w = FakeWatch::new();
        let mut p = Pace::new(Clock::Live, w.now());
        let mut end = p.start() + SLICE;
        wait(&w, &mut p, end);
        for step in [Span::s(300), Span::s(-500)] {
            w.pass(Span::ZERO, step);
            let before = w.now().monotonic;
            end = end + SLICE;
            assert_eq!(wait(&w, &mut p, end), Span::ZERO);
            assert_eq!(w.now().monotonic, before + SLICE);
        }
        let r = p.readings();
        assert_eq!((r.steps, r.step_total, r.gaps), (2, Span::s(-200), 0));
    }

    #[test]
    fn block_shifts_deadlines_and_catch_up_keeps_them() {
        for (shifts, late) in [(true, Span::ZERO), (false, Span::ms(19_990))] {
            let w = FakeWatch::new();
            let mut p = Pace::new(Clock::Live, w.now());
            let first = p.start() + SLICE;
            wait(&w, &mut p, first);
            w.sleep(Span::s(20));
            p.held(Span::s(20), shifts);
            assert_eq!(wait(&w, &mut p, first + SLICE), late);
            assert_eq!((p.readings().gaps, p.readings().blocked), (0, if shifts { Span::s(20) } else { Span::ZERO }));
        }
    }

    #[test]
    fn a_pause_stops_logical_time() {
        let w = FakeWatch::new();
        let mut p = Pace::new(Clock::Live, w.now());
        let first = p.start() + SLICE;
        wait(&w, &mut p, first);
        p.pause(w.now());
        w.sleep(Span::s(60));
        assert_eq!(p.tick(first + SLICE, w.now()), Due::In(WAIT_MAX));
        p.resume(w.now());
        assert_eq!(wait(&w, &mut p, first + SLICE), Span::ZERO);
        assert_eq!((p.readings().paused, p.readings().gaps), (Span::s(60), 0));
        assert_eq!(p.behind(first + SLICE, w.now()), Span::s(60));
    }

    #[test]
    fn a_stop_ends_a_wait() {
        let w = FakeWatch::new();
        let mut p = Pace::new(Clock::Live, w.now());
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == 3;
        assert_eq!(w.wait(&mut p, NOW + Span::s(3_600), stop), None);
        assert_eq!(w.now().wall, NOW + Span(3 * WAIT_MAX.0));
    }

    proptest! {
        /// Whatever the clocks do, no more slices come due at once than fit into the longest gap that is caught up.
        #[test]
        fn no_burst_is_longer_than_the_limit(passes in proptest::collection::vec((0i64..5_000, -10_000i64..10_000), 1..50)) {
            let w = FakeWatch::new();
            let mut p = Pace::new(Clock::Live, w.now());
            let mut end = p.start() + SLICE;
            for (monotonic, wall) in passes {
                w.pass(Span::ms(monotonic), Span::ms(wall));
                let mut at_once = 0;
                while let Due::Now { .. } = p.tick(end, w.now()) {
                    end = end + SLICE;
                    at_once += 1;
                }
                prop_assert!(at_once <= GAP_MAX.0 / SLICE.0 + 1, "{at_once}");
            }
        }
    }
}
