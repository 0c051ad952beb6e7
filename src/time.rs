//! Logical time: nanoseconds since the Unix epoch, in UTC. The world has no other clock.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// An instant: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub i64);

/// A length of time in nanoseconds; may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Span(pub i64);

/// Logical length of a slice: the step in which cells run and schedules are met.
pub const SLICE: Span = Span::ms(10);

impl Time {
    /// The slice that this instant lies in, counted from the epoch.
    pub const fn slice(self) -> i64 {
        self.0.div_euclid(SLICE.0)
    }
    /// Start of a slice.
    pub const fn of_slice(slice: i64) -> Time {
        Time(slice * SLICE.0)
    }
    /// Whole seconds since the epoch.
    pub const fn second(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
    /// Nanoseconds within the second.
    pub const fn subsec(self) -> u32 {
        self.0.rem_euclid(1_000_000_000) as u32
    }
    /// Milliseconds since the epoch.
    pub const fn ms(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
    /// Year, month, day, hour, minute, second in UTC.
    pub const fn civil(self) -> (i32, u8, u8, u8, u8, u8) {
        let s = self.second();
        let (days, sod) = (s.div_euclid(86_400), s.rem_euclid(86_400));
        let (y, m, d) = civil_from_days(days);
        (y, m, d, (sod / 3600) as u8, (sod / 60 % 60) as u8, (sod % 60) as u8)
    }
}

/// Proleptic Gregorian date of a day counted from 1970-01-01 (Howard Hinnant's algorithm).
pub const fn civil_from_days(days: i64) -> (i32, u8, u8) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097) as u32;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe as i32 + era as i32 * 400 + (m <= 2) as i32, m as u8, (doy - (153 * mp + 2) / 5 + 1) as u8)
}

impl Span {
    /// Zero.
    pub const ZERO: Span = Span(0);
    /// From microseconds.
    pub const fn us(n: i64) -> Span {
        Span(n * 1_000)
    }
    /// From milliseconds.
    pub const fn ms(n: i64) -> Span {
        Span(n * 1_000_000)
    }
    /// From seconds.
    pub const fn s(n: i64) -> Span {
        Span(n * 1_000_000_000)
    }
    /// As seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, d: Span) -> Time {
        Time(self.0 + d.0)
    }
}
impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, d: Span) -> Time {
        Time(self.0 - d.0)
    }
}
impl Sub for Time {
    type Output = Span;
    fn sub(self, o: Time) -> Span {
        Span(self.0 - o.0)
    }
}
impl Add for Span {
    type Output = Span;
    fn add(self, o: Span) -> Span {
        Span(self.0 + o.0)
    }
}

impl fmt::Display for Time {
    /// RFC 3339 with nanoseconds, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (y, mo, d, h, mi, s) = self.civil();
        write!(f, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{:09}Z", self.subsec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn civil_agrees_with_jiff(s in -2_000_000_000i64..7_000_000_000) {
            let z = jiff::Timestamp::from_second(s).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let (y, mo, d, h, mi, se) = Time(s * 1_000_000_000).civil();
            prop_assert_eq!((y as i16, mo as i8, d as i8, h as i8, mi as i8, se as i8),
                (z.year(), z.month(), z.day(), z.hour(), z.minute(), z.second()));
        }
    }
}
