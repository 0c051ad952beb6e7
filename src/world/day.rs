//! People's days: a pure function of seed, person and date, so that nothing of it is stored and anybody may ask.
//!
//! A working day is a few stretches of time at the machine, with pauses and lunch between them, in the time zone of the
//! person's site. Dates and hours are local ones: on days of a clock change the day stays where people see it.

use jiff::civil;
use jiff::tz::TimeZone;

use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::atlas::{AccountId, HostId};
use crate::world::state::Shared;

/// Stretches of one day at most.
const STRETCHES_MAX: usize = 8;
/// A pause longer than that is the end of the working day.
const PAUSE_MAX: Span = Span::s(9_000);
/// Days ahead in which somebody is expected to come again.
const DAYS_MAX: i64 = 14;
/// Share of people who work part of the day or four days a week.
const PART_TIME: f64 = 0.12;

/// A person's day: stretches at the machine, ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Day {
    stretches: [(Time, Time); STRETCHES_MAX],
    len: u8,
    /// The day is worked at home.
    pub home: bool,
}

impl Day {
    /// Stretches at the machine: from, to.
    pub fn stretches(&self) -> &[(Time, Time)] {
        &self.stretches[..self.len as usize]
    }
}

/// Where a person is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// At the machine.
    Working {
        /// At home.
        home: bool,
    },
    /// In a pause of the working day.
    Away,
    /// Not at work.
    Gone,
}

impl Shared {
    fn zone(&self, host: HostId) -> Option<&TimeZone> {
        self.zones.get(self.atlas.host(host).site as usize)
    }

    /// Days since 1970-01-01 by the calendar of a host's site.
    pub fn local_date(&self, host: HostId, t: Time) -> i64 {
        let offset = match (self.zone(host), jiff::Timestamp::from_second(t.second())) {
            (Some(z), Ok(ts)) => z.to_offset(ts).seconds() as i64,
            _ => 0,
        };
        (t.second() + offset).div_euclid(86_400)
    }

    /// The instant of an hour (which may be beyond 24) of a local date at a host's site.
    pub fn local_time(&self, host: HostId, date: i64, hour: f64) -> Time {
        let second = (hour * 3600.0) as i64;
        let (date, second) = (date + second.div_euclid(86_400), second.rem_euclid(86_400));
        let utc = date * 86_400 + second;
        let shift = || {
            let zone = self.zone(host)?;
            let day = civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(date).ok()?).ok()?;
            let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
            let at = day.at(h as i8, m as i8, s as i8, 0);
            Some(zone.to_ambiguous_timestamp(at).compatible().ok()?.as_second() - utc)
        };
        let below = (hour * 3600.0 - (hour * 3600.0) as i64 as f64) * 1e9;
        Time((utc + shift().unwrap_or(0)) * 1_000_000_000 + below as i64)
    }

    /// What a person does on a local date.
    pub fn day(&self, owner: AccountId, date: i64) -> Day {
        let account = self.atlas.account(owner);
        let (Some(host), Some(persona)) = (account.host, account.persona) else { return Day::default() };
        let p = &self.atlas.personas[persona as usize];
        let weekday = (date + 3).rem_euclid(7);
        let mut own = Rng::of(self.atlas.seed, owner.0 as u64, purpose("working day"));
        let shift = own.normal() * 0.55;
        let night = own.chance(p.night as f64);
        let part_time = own.chance(PART_TIME);
        let (short_day, free_day) = (own.chance(0.5), own.below(5) as i64);
        let mut d = Rng::of(self.atlas.seed, owner.0 as u64, mix(purpose("day"), date as u64));
        let presence = match weekday {
            5 => p.presence[1],
            6 => p.presence[2],
            _ => p.presence[0],
        };
        let comes = d.chance(presence as f64) && !(part_time && !short_day && weekday == free_day);
        let mobile = self.atlas.host(host).mobile;
        // Mondays and Fridays are popular at home
        let liking = if matches!(weekday, 0 | 4) { 1.3 } else { 0.85 };
        let home = mobile && (weekday > 4 || d.chance((p.home as f64 * liking).min(0.98)));
        let mut hours: Vec<(f64, f64)> = vec![];
        if comes {
            let late = d.normal() * 0.28 + if d.chance(0.05) { 0.5 + d.f64() } else { 0.0 };
            let over = if d.chance(0.22) { d.f64() * 1.9 } else { 0.0 };
            let mut start = p.hours.0 as f64 + shift + late - if home { 0.25 } else { 0.0 };
            let mut end = p.hours.1 as f64 + shift + d.normal() * 0.35 + over;
            if weekday == 4 {
                end -= d.f64() * 1.6;
            }
            if part_time && short_day {
                end = start + 4.2 + d.f64() * 1.4;
            }
            if weekday > 4 {
                // a few hours on a weekend
                start += 1.0 + d.f64() * 2.0;
                end = start + 0.7 + d.f64() * 3.5;
            }
            let turn = if night { 12.0 } else { 0.0 };
            (start, end) = (start + turn, end.max(start + 0.5) + turn);
            let (from, to) = (p.lunch.0 as f64 + turn, p.lunch.1 as f64 + turn);
            let length = 0.4 + d.f64() * d.f64() * 0.9;
            let lunch = from + d.f64() * (to - from - 0.5).max(0.1);
            let mut pauses: Vec<(f64, f64)> = vec![];
            if !d.chance(0.1) {
                pauses.push((lunch, lunch + length));
            }
            // coffee, a talk, a meeting in another room
            for _ in 0..d.below(4) {
                let at = start + 0.6 + d.f64() * (end - start - 1.0).max(0.1);
                let long = if d.chance(0.3) { 0.5 + d.f64() * 0.7 } else { 0.12 + d.f64() * 0.2 };
                pauses.push((at, at + long));
            }
            pauses.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut from = start;
            for (a, b) in pauses {
                if a > from + 0.1 && b < end - 0.1 {
                    hours.push((from, a));
                    from = b;
                }
            }
            hours.push((from, end));
            if !night && mobile && weekday < 5 && d.chance(p.evening as f64) {
                let at = (end + 2.6).max(19.6 + d.f64() * 1.8);
                hours.push((at, at + 0.2 + d.f64() * 1.6));
            }
        }
        let mut day = Day { home, ..Day::default() };
        for (a, b) in hours.into_iter().take(STRETCHES_MAX) {
            day.stretches[day.len as usize] = (self.local_time(host, date, a), self.local_time(host, date, b));
            day.len += 1;
        }
        day
    }

    /// Where a person is, and until when at the longest that stays so.
    pub fn presence(&self, owner: AccountId, t: Time) -> (Presence, Time) {
        let Some(host) = self.atlas.account(owner).host else { return (Presence::Gone, t + Span::s(86_400)) };
        let today = self.local_date(host, t);
        // yesterday's night shift may go on
        for date in today - 1..=today + DAYS_MAX {
            let day = self.day(owner, date);
            let mut before: Option<Time> = None;
            for (a, b) in day.stretches() {
                if t < *a {
                    let pause = before.is_some_and(|e| (*a - e) < PAUSE_MAX);
                    return (if pause { Presence::Away } else { Presence::Gone }, *a);
                }
                if t < *b {
                    return (Presence::Working { home: day.home }, *b);
                }
                before = Some(*b);
            }
        }
        (Presence::Gone, t + Span::s(86_400))
    }

    /// The last time somebody came to work, at or before an instant, not earlier than another: start of the day, its end.
    pub fn last_day(&self, owner: AccountId, t: Time) -> Option<(Time, Time)> {
        let host = self.atlas.account(owner).host?;
        let today = self.local_date(host, t);
        (today - DAYS_MAX..=today).rev().find_map(|date| {
            let day = self.day(owner, date);
            let (first, last) = (day.stretches().first()?, day.stretches().last()?);
            (first.0 <= t).then_some((first.0, last.1))
        })
    }

    /// The first time somebody came to work after an instant, before another.
    pub fn first_day(&self, owner: AccountId, after: Time, before: Time) -> Option<Time> {
        let host = self.atlas.account(owner).host?;
        let (from, to) = (self.local_date(host, after), self.local_date(host, before));
        (from..=to).find_map(|date| {
            let first = self.day(owner, date).stretches().first()?.0;
            (after < first && first <= before).then_some(first)
        })
    }

    /// The first restart for updates of a host after an instant.
    pub fn next_restart(&self, host: HostId, after: Time) -> Option<Time> {
        let date = self.local_date(host, after);
        let first = civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(date).ok()?).ok()?.first_of_month();
        [first.yesterday().ok()?.first_of_month(), first, first.last_of_month().tomorrow().ok()?]
            .into_iter()
            .filter_map(|month| self.restart_of(host, month))
            .find(|t| *t > after)
    }

    /// The last restart for updates of a host before an instant.
    pub fn last_restart(&self, host: HostId, before: Time) -> Option<Time> {
        let date = self.local_date(host, before);
        let first = civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(date).ok()?).ok()?.first_of_month();
        [first, first.yesterday().ok()?.first_of_month()]
            .into_iter()
            .filter_map(|month| self.restart_of(host, month))
            .find(|t| *t <= before)
    }

    /// When a host restarts for the updates that a month's second Tuesday brings.
    fn restart_of(&self, host: HostId, month: civil::Date) -> Option<Time> {
        let h = self.atlas.host(host);
        let r = (*self.atlas.restarts.get(h.role as usize)?)?;
        if self.atlas.oses[h.os as usize].platform != crate::world::atlas::Platform::Windows {
            return None;
        }
        let tuesday = month.nth_weekday_of_month(2, civil::Weekday::Tuesday).ok()?;
        let tuesday = tuesday.since(civil::date(1970, 1, 1)).ok()?.get_days() as i64;
        let mut rng = Rng::of(self.atlas.seed, host.0 as u64, mix(purpose("restart"), tuesday as u64));
        let day = rng.range(r.days.0 as i64, r.days.1 as i64);
        let hour = r.hours.0 as f64 + rng.f64() * (r.hours.1 - r.hours.0) as f64;
        Some(self.local_time(host, tuesday + day, hour))
    }
}
