//! Rates as users write them.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::curve::{Curve, Last, Starts};
use super::rate::{Rate, Unit};
use super::{Shape, poisson};
use crate::time::{Span, Time};
use crate::yaml::{Data, Fields, Node, Problems, suggest};

/// A site as schedules see it: a curve without a zone follows the sites by their shares.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The site's name.
    pub name: String,
    /// Its clock.
    pub zone: TimeZone,
    /// Its part of the whole, in any unit.
    pub share: f64,
}

/// What a rate may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The sites; none means UTC.
    pub places: &'a [Place],
    /// Seed of draws: the run's, mixed with whose rate it is.
    pub seed: u64,
}

const FORMS: [&str; 7] = ["ramp", "steps", "diurnal", "weekly", "burst", "poisson", "sum"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Curves in one rate.
const CURVES_MAX: usize = 64;

/// A time zone of the bundled database: the system's may be of another version and change the records.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    let db = TimeZoneDatabase::bundled();
    db.get(name).map_err(|_| {
        let all: Vec<String> = db.available().map(|n| n.to_string()).collect();
        suggest(name, all.iter().map(String::as_str))
    })
}

/// Reads a rate: text such as `3k/s`, or a mapping with one of `ramp`, `steps`, `diurnal`, `weekly`, `burst`,
/// `poisson`, `sum`.
pub fn shape_from_node(node: &Node, set: &Setting<'_>, p: &mut Problems) -> Option<Shape> {
    let mut r = Reader { set, p, unit: None, curves: 0 };
    let curves = r.shape(node)?;
    let (unit, count) = (r.unit?, r.curves);
    if count > CURVES_MAX {
        p.at(node, format!("a rate may add up {CURVES_MAX} curves at most, not {count}"));
        return None;
    }
    let shape = Shape { unit, curves };
    if shape.peak() > Rate::MAX_PER_DAY_MILLI {
        p.at(node, "rate comes to more than 100 thousand million per second");
        return None;
    }
    Some(shape)
}

struct Reader<'a, 'p> {
    set: &'a Setting<'a>,
    p: &'p mut Problems,
    unit: Option<Unit>,
    curves: usize,
}

impl Reader<'_, '_> {
    fn shape(&mut self, node: &Node) -> Option<Vec<Curve>> {
        if node.as_str().is_some() {
            let rate = self.rate(node)?;
            self.curves += 1;
            return Some(vec![Curve::Steps { steps: vec![], last: Last::Holds(rate) }]);
        }
        let Data::Map(pairs) = &node.data else {
            self.p.at(node, "rate must be text such as `3k/s` or a mapping such as `{diurnal: ...}`, not a sequence");
            return None;
        };
        let [(key, body)] = pairs.as_slice() else {
            let help = format!("expected one of {}", FORMS.map(|f| format!("`{f}`")).join(", "));
            self.p.at(node, "rate must have exactly one kind of schedule").help(help);
            return None;
        };
        let form = key.as_str().unwrap_or("");
        if form != "sum" && form != "diurnal" && form != "weekly" {
            self.curves += 1;
        }
        match form {
            "sum" => {
                if body.items().is_empty() {
                    self.p.at(body, "sum adds up nothing");
                }
                let parts: Vec<_> = body.items().iter().map(|n| self.shape(n)).collect();
                Some(parts.into_iter().collect::<Option<Vec<_>>>()?.concat())
            }
            "ramp" => self.ramp(body).map(|c| vec![c]),
            "steps" => self.steps(body).map(|c| vec![c]),
            "diurnal" => self.daily(body, "diurnal"),
            "weekly" => self.daily(body, "weekly"),
            "burst" => self.burst(body).map(|c| vec![c]),
            "poisson" => {
                let f = body.fields(self.p, "poisson")?;
                let mean = f.need(self.p, "mean").and_then(|n| self.shape(n));
                f.finish(self.p);
                let mean = mean?;
                if mean.iter().any(|c| matches!(c, Curve::Poisson { .. })) {
                    self.p.at(body, "poisson cannot be drawn around poisson");
                    return None;
                }
                if self.unit == Some(Unit::Bytes) {
                    self.p.at(body, "poisson draws records; its mean cannot be in bytes");
                    return None;
                }
                Some(vec![Curve::Poisson { mean, key: poisson::key(self.set.seed, self.curves) }])
            }
            word => {
                self.p.unknown(key, "kind of schedule", word, FORMS);
                None
            }
        }
    }

    fn rate(&mut self, node: &Node) -> Option<u64> {
        let text = node.text(self.p, "rate")?;
        match Rate::parse(text) {
            Err(e) => {
                let problem = self.p.at(node, format!("rate {e}"));
                if text.parse::<f64>().is_ok() {
                    problem.help(format!("did you mean `{text}/s`?"));
                }
                None
            }
            Ok(rate) => {
                if *self.unit.get_or_insert(rate.unit) != rate.unit {
                    self.p
                        .at(node, format!("rate `{text}` counts {}, the others {}", word(rate.unit), word(self.unit?)));
                    return None;
                }
                Some(rate.per_day_milli)
            }
        }
    }

    fn rate_of(&mut self, f: &Fields<'_>, name: &'static str) -> Option<u64> {
        f.need(self.p, name).and_then(|n| self.rate(n))
    }

    /// A length above zero and below 100 years, so that sums of a few stay in range.
    fn length(&mut self, node: &Node, what: &str) -> Option<Span> {
        let s = node.span(self.p, what)?;
        if s.0 <= 0 || s.0 > 100 * 366 * 86_400_000_000_000 {
            self.p.at(node, format!("{what} must be above zero and below 100 years, not {}", node.describe()));
            return None;
        }
        Some(s)
    }

    fn ramp(&mut self, body: &Node) -> Option<Curve> {
        let f = body.fields(self.p, "ramp")?;
        let (from, to) = (self.rate_of(&f, "from"), self.rate_of(&f, "to"));
        let over = f.need(self.p, "over").and_then(|n| self.length(n, "over"));
        f.finish(self.p);
        Some(Curve::Ramp { from: from?, to: to?, over: over? })
    }

    fn steps(&mut self, body: &Node) -> Option<Curve> {
        let items = body.items();
        if items.is_empty() {
            self.p.at(body, "steps must have at least one step such as `{rate: 3k/s, for: 10m}`");
            return None;
        }
        let mut steps = vec![];
        let mut last = Last::Repeats;
        let mut good = true;
        for (i, item) in items.iter().enumerate() {
            let Some(f) = item.fields(self.p, "a step") else {
                good = false;
                continue;
            };
            let rate = self.rate_of(&f, "rate");
            let length = f.take("for");
            f.finish(self.p);
            match (rate, length) {
                (Some(rate), None) if i + 1 == items.len() => last = Last::Holds(rate),
                (_, None) if i + 1 < items.len() => {
                    self.p.at(item, "a step lacks `for`; only the last may go on for ever");
                    good = false;
                }
                (rate, length) => match (rate, length.and_then(|n| self.length(n, "for"))) {
                    (Some(rate), Some(length)) => steps.push((rate, length)),
                    _ => good = false,
                },
            }
        }
        let cycle: i128 = steps.iter().map(|s| s.1.0 as i128).sum();
        if cycle > 100 * 366 * 86_400_000_000_000 {
            self.p.at(body, "steps must end within 100 years");
            return None;
        }
        good.then_some(Curve::Steps { steps, last })
    }

    /// `peak`, `low` and the clocks of a daily or weekly curve; one curve for each clock.
    fn daily(&mut self, body: &Node, what: &'static str) -> Option<Vec<Curve>> {
        let f = body.fields(self.p, what)?;
        let mean = self.rate_of(&f, "mean");
        let peak = match f.take("peak") {
            Some(n) => self.time_of_day(n),
            None => Some(Span::s(14 * 3600)),
        };
        let low = match f.take("low") {
            Some(n) => n.share(self.p, "low"),
            None => Some(0.2),
        };
        let clocks = self.clocks(&f);
        let days = if what == "weekly" { self.days(&f) } else { Some([1.0; 7]) };
        f.finish(self.p);
        let (mean, peak, low, clocks, days) = (mean?, peak?, low?, clocks?, days?);
        // the lowest rate is `low` of the highest: (1 - swing) / (1 + swing) = low
        let swing = (1.0 - low) / (1.0 + low);
        let total: f64 = clocks.iter().map(|c| c.1).sum();
        self.curves += clocks.len();
        let curve = |(zone, share): (TimeZone, f64)| Curve::Daily {
            mean: libm::round(mean as f64 * (share / total)) as u64,
            swing,
            peak,
            days,
            zone,
        };
        Some(clocks.into_iter().map(curve).collect())
    }

    /// Factors of the days of the week whose mean is 1, so that the mean asked for is that of the week.
    fn days(&mut self, f: &Fields<'_>) -> Option<[f64; 7]> {
        let mut days = [1.0; 7];
        let mut good = true;
        if let Some(n) = f.take("working_days") {
            let off = match f.take("off") {
                Some(n) => n.share(self.p, "off"),
                None => Some(0.1),
            };
            days = [off.unwrap_or(0.0); 7];
            good &= off.is_some();
            for d in n.items() {
                match self.day(d) {
                    Some(i) => days[i] = 1.0,
                    None => good = false,
                }
            }
        } else if let Some(n) = f.take("off") {
            self.p.at(n, "`off` is the share of days that are not in `working_days`, which is absent");
            good = false;
        }
        if let Some(n) = f.take("days") {
            for (k, v) in n.pairs(self.p, "days") {
                match (self.day(k), v.share(self.p, "a day's factor")) {
                    (Some(i), Some(share)) => days[i] = share,
                    _ => good = false,
                }
            }
        } else if f.take("working_days").is_none() {
            days = [1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.1];
        }
        let mean = days.iter().sum::<f64>() / 7.0;
        if good && mean <= 0.0 {
            self.p.at(f.node, "a weekly rate needs a day whose factor is above zero");
            return None;
        }
        good.then(|| days.map(|d| d / mean))
    }

    fn day(&mut self, node: &Node) -> Option<usize> {
        let word = node.text(self.p, "a day")?;
        let found = DAYS.iter().position(|d| *d == word.to_lowercase());
        if found.is_none() {
            self.p.unknown(node, "day", word, DAYS);
        }
        found
    }

    /// The clocks of `tz` or `site`, or those of all sites with their shares.
    fn clocks(&mut self, f: &Fields<'_>) -> Option<Vec<(TimeZone, f64)>> {
        match (f.take("tz"), f.take("site")) {
            (Some(_), Some(n)) => {
                self.p.at(n, "`tz` and `site` both set the clock; give one of them");
                None
            }
            (Some(n), None) => {
                let name = n.text(self.p, "tz")?;
                match zone(name) {
                    Ok(z) => Some(vec![(z, 1.0)]),
                    Err(help) => {
                        self.p.at(n, format!("unknown time zone `{name}`")).help(help);
                        None
                    }
                }
            }
            (None, Some(n)) => {
                let name = n.text(self.p, "site")?;
                let found = self.set.places.iter().find(|s| s.name == name);
                if found.is_none() {
                    self.p.unknown(n, "site", name, self.set.places.iter().map(|s| s.name.as_str()));
                }
                found.map(|s| vec![(s.zone.clone(), 1.0)])
            }
            (None, None) if self.set.places.is_empty() => Some(vec![(TimeZone::UTC, 1.0)]),
            (None, None) => Some(self.set.places.iter().map(|s| (s.zone.clone(), s.share)).collect()),
        }
    }

    fn burst(&mut self, body: &Node) -> Option<Curve> {
        let f = body.fields(self.p, "burst")?;
        let peak = self.rate_of(&f, "peak");
        let base = match f.take("base") {
            Some(n) => self.rate(n),
            None => Some(0),
        };
        let length = f.need(self.p, "for").and_then(|n| self.length(n, "for"));
        let starts = match (f.take("every"), f.take("at")) {
            (Some(n), None) => {
                let every = self.length(n, "every");
                let first = match f.take("first") {
                    Some(n) => n.span(self.p, "first").filter(|s| s.0 >= 0),
                    None => Some(Span::ZERO),
                };
                self.misplaced(&f, &["tz", "site"], "at");
                every.zip(first).map(|(every, first)| Starts::Every { every, first })
            }
            (None, Some(n)) => {
                self.misplaced(&f, &["first"], "every");
                self.times(n, &f)
            }
            (Some(_), Some(n)) => {
                self.p.at(n, "`every` and `at` both say when a burst starts; give one of them");
                None
            }
            (None, None) => {
                self.misplaced(&f, &["first"], "every");
                self.misplaced(&f, &["tz", "site"], "at");
                self.p.at(body, "burst lacks `every` or `at`");
                None
            }
        };
        f.finish(self.p);
        let (peak, base, length, starts) = (peak?, base?, length?, starts?);
        let room = match &starts {
            Starts::Every { every, .. } => *every,
            Starts::Daily { .. } => Span::s(86_400),
            Starts::At(_) => length,
        };
        if length > room {
            self.p.at(body, "burst lasts longer than the time from one to the next");
            return None;
        }
        Some(Curve::Burst { base, peak, length, starts })
    }

    /// Fields that mean nothing without another one.
    fn misplaced(&mut self, f: &Fields<'_>, names: &[&'static str], without: &str) {
        for name in names {
            if let Some(n) = f.take(name) {
                self.p.at(n, format!("`{name}` means nothing without `{without}`"));
            }
        }
    }

    /// `at`: times of day, or instants.
    fn times(&mut self, node: &Node, f: &Fields<'_>) -> Option<Starts> {
        let clocks = self.clocks(f)?;
        let (mut times, mut instants) = (vec![], vec![]);
        let mut good = !node.items().is_empty();
        if !good {
            self.p.at(node, "`at` names no time");
        }
        for n in node.items() {
            match n.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()) {
                Some(ts) => instants.push(Time(ts.as_nanosecond().clamp(i64::MIN as i128, i64::MAX as i128) as i64)),
                None => match self.time_of_day(n) {
                    Some(t) => times.push(t),
                    None => good = false,
                },
            }
        }
        if !times.is_empty() && !instants.is_empty() {
            self.p.at(node, "`at` mixes times of day and instants");
            return None;
        }
        times.sort_unstable();
        instants.sort_unstable();
        let zone = clocks.into_iter().next()?.0;
        good.then(|| if instants.is_empty() { Starts::Daily { times, zone } } else { Starts::At(instants) })
    }

    fn time_of_day(&mut self, node: &Node) -> Option<Span> {
        let text = node.as_str().unwrap_or("");
        let read = || {
            let (h, m) = text.split_once(':')?;
            let ok = |s: &str| (1..=2).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
            if !ok(h) || !ok(m) {
                return None;
            }
            let (h, m): (i64, i64) = (h.parse().ok()?, m.parse().ok()?);
            (h < 24 && m < 60).then(|| Span::s(h * 3600 + m * 60))
        };
        let time = read();
        if time.is_none() {
            self.p.at(node, format!("a time of day must be like `10:30`, not {}", node.describe()));
        }
        time
    }
}

fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Records => "records",
        Unit::Bytes => "bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;
    use proptest::prelude::*;

    fn errors(text: &str) -> String {
        let docs = yaml::parse("rate", text).unwrap();
        let mut p = Problems::new();
        let places = [Place { name: "Lyon".into(), zone: zone("Europe/Paris").unwrap(), share: 1.0 }];
        for d in docs.first().map_or(&[][..], |d| d.items()) {
            shape_from_node(d, &Setting { places: &places, seed: 1 }, &mut p);
        }
        p.to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        let text = "
- 3000
- 3k/fortnight
- [1, 2]
- {}
- {ramp: {from: 1/s, to: 3MB/s, over: -1s}}
- {stepps: []}
- {steps: [{rate: 1/s}, {rate: 2/s, fro: 3m}]}
- {diurnal: {mean: 1/s, peak: 25:00, low: 140%, tz: Europe/Pariss}}
- {diurnal: {mean: 1/s, site: Lion}}
- {weekly: {mean: 1/s, working_days: [mon, tues], off: 5%}}
- {weekly: {mean: 1/s, off: 5%}}
- {burst: {peak: 1/s, for: 3m, every: 1m}}
- {burst: {peak: 1/s, for: 3m, at: ['09:00', noon]}}
- {poisson: {mean: 3MB/s}}
- {sum: [1/s, {ramp: {to: 3}}]}
";
        insta::assert_snapshot!(errors(text), @"
        rate:2:3: rate must say per what, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `3000`; did you mean `3000/s`?
        rate:3:3: rate must be per `s`, `min`, `h` or `d`, not per `fortnight`
        rate:4:3: rate must be text such as `3k/s` or a mapping such as `{diurnal: ...}`, not a sequence
        rate:5:3: rate must have exactly one kind of schedule; expected one of `ramp`, `steps`, `diurnal`, `weekly`, `burst`, `poisson`, `sum`
        rate:6:26: rate `3MB/s` counts bytes, the others records
        rate:6:39: over must be above zero and below 100 years, not `-1s`
        rate:7:4: unknown kind of schedule `stepps`; did you mean `steps`?
        rate:8:12: a step lacks `for`; only the last may go on for ever
        rate:8:37: unknown field of a step `fro`; did you mean `for`?
        rate:9:31: a time of day must be like `10:30`, not `25:00`
        rate:9:43: low must be a share such as `60%` or `0.6`, not `140%`
        rate:9:53: unknown time zone `Europe/Pariss`; did you mean `Europe/Paris`?
        rate:10:31: unknown site `Lion`; did you mean `Lyon`?
        rate:11:44: unknown day `tues`; did you mean `tue`?
        rate:12:29: `off` is the share of days that are not in `working_days`, which is absent
        rate:13:11: burst lasts longer than the time from one to the next
        rate:14:46: a time of day must be like `10:30`, not `noon`
        rate:15:13: poisson draws records; its mean cannot be in bytes
        rate:16:22: ramp lacks `from`
        rate:16:27: rate must say per what, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `3`; did you mean `3/s`?
        rate:16:22: ramp lacks `over`
        ");
    }

    #[test]
    fn a_day_without_a_clock_follows_the_sites_by_their_shares() {
        let docs = yaml::parse("rate", "{diurnal: {mean: 100/s}}").unwrap();
        let place = |name: &str, z: &str, share| Place { name: name.into(), zone: zone(z).unwrap(), share };
        let places = [place("Lyon", "Europe/Paris", 3.0), place("Austin", "America/Chicago", 1.0)];
        let mut p = Problems::new();
        let s = shape_from_node(&docs[0], &Setting { places: &places, seed: 1 }, &mut p).unwrap();
        let means: Vec<u64> =
            s.curves.iter().map(|c| if let Curve::Daily { mean, .. } = c { *mean } else { 0 }).collect();
        assert_eq!(means, [75 * 86_400_000, 25 * 86_400_000]);
    }

    proptest! {
        #[test]
        fn no_panic_on_any_rate(s in "(\\{|ramp|steps|diurnal|weekly|burst|poisson|sum|mean|peak|low|for|at|every|over|from|to|: |, |\\}|\\[|\\]|1k/s|5m|9e9d|'10:30'|20%){0,24}") {
            if let Ok(docs) = yaml::parse("rate", &s) {
                for d in &docs {
                    let mut p = Problems::new();
                    if let Some(shape) = shape_from_node(d, &Setting { places: &[], seed: 1 }, &mut p) {
                        super::super::Schedule::new(Time(0), shape).due(Time(1_000_000_000));
                    } else {
                        prop_assert!(!p.is_empty());
                    }
                }
            }
        }
    }
}
