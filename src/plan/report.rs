//! What a plan says of itself before anything runs.

use std::fmt::{self, Write};

use crate::cell::Plan;
use crate::config::{Config, Profile};
use crate::plan::calibrate::{Balance, Measured};
use crate::plan::natural::{self, Life, Moments};
use crate::schedule::Schedule;
use crate::time::Time;
use crate::yaml::Problems;

/// One stream's line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StreamLine {
    /// Name.
    pub name: String,
    /// Source.
    pub source: String,
    /// Hosts.
    pub hosts: usize,
    /// Lowest, mean and highest rate, records per second; none without a schedule.
    pub rates: Option<[f64; 3]>,
    /// At the lowest and at the highest point of its schedule; without a schedule, or with a constant one, when the
    /// organisation sleeps and when it works.
    pub points: [Point; 2],
    /// Sinks, with their encodings.
    pub to: Vec<String>,
    /// Place in the order of fill, from 1; none without fill.
    pub fill_order: Option<usize>,
    /// Fill makes kinds that only this stream records.
    pub own_kinds: bool,
}

/// A stream at one moment.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Point {
    /// When.
    pub time: String,
    /// Hosts that are awake.
    pub awake: usize,
    /// Records per second.
    pub rate: f64,
    /// Of these, natural life.
    pub natural: f64,
    /// Share of fill.
    pub fill: f64,
    /// Mean bytes of a record of the first delivery.
    pub bytes: f64,
    /// Bytes per hour.
    pub bytes_per_hour: f64,
    /// Mix: event id and share, most first.
    pub mix: Vec<(String, f64)>,
}

/// What `check` prints.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Logical start.
    pub start: String,
    /// Hosts by role.
    pub population: Vec<(String, usize)>,
    /// People.
    pub people: usize,
    /// Cells.
    pub cells: u16,
    /// Sensor policy.
    pub policy: String,
    /// Collection profile.
    pub collection: Profile,
    /// Streams.
    pub streams: Vec<StreamLine>,
    /// Things that are not wrong but worth knowing.
    pub warnings: Vec<String>,
}

impl Report {
    pub(super) fn new(
        config: &Config,
        plan: &Plan,
        m: &Measured,
        sides: &Moments<Vec<Balance>>,
        schedules: &[Option<Schedule>],
        start: Time,
        whole: bool,
    ) -> Report {
        let atlas = &plan.shared.atlas;
        let population = atlas
            .roles
            .iter()
            .enumerate()
            .map(|(i, r)| (r.to_string(), atlas.hosts.iter().filter(|h| h.role as usize == i).count()));
        // what is printed is what was lived with fill, not what it should come to
        let lived = whole.then(|| Moments {
            high: natural::measure_filled(plan, schedules, m.at.high.time),
            low: natural::measure_filled(plan, schedules, m.at.low.time),
        });
        let point = |i: usize, high: bool| {
            let pick = |x: &'_ Moments<Life>| if high { x.high.clone() } else { x.low.clone() };
            let Some(balance) = (if high { &sides.high } else { &sides.low }).get(i) else { return Point::default() };
            let life = lived.as_ref().map_or_else(|| pick(&m.at), pick);
            let rate = if schedules[i].is_some() { balance.asked } else { life.natural[i] };
            let fill = match (&lived, schedules[i].is_some()) {
                (_, false) => 0.0,
                (Some(_), _) => life.fill[i] / life.natural[i].max(1e-9),
                (None, _) => (1.0 - balance.natural / rate.max(1e-9)).clamp(0.0, 1.0),
            };
            let bytes = if life.bytes[i] > 0.0 { life.bytes[i] } else { m.bytes[i] };
            Point {
                time: life.time.to_string(),
                awake: life.awake,
                rate,
                natural: rate * (1.0 - fill),
                fill,
                bytes,
                bytes_per_hour: rate * bytes * 3600.0,
                mix: life.mix[i].clone(),
            }
        };
        let line = |(i, s): (usize, &crate::cell::StreamPlan)| {
            let points = schedules[i].as_ref().map(|x| (x, x.points(start, natural::WEEK)));
            let rates = points.map(|(x, p)| [p.low.1, p.mean, p.high.1].map(|r| m.records(x, r, i)));
            let sinks =
                |d: &crate::config::Delivery| config.sinks.get(d.sink).map_or("", |s| s.name.as_str()).to_owned();
            StreamLine {
                name: s.name.clone(),
                source: plan.feeds[s.feed].source.id.clone(),
                hosts: s.hosts.iter().filter(|h| **h).count(),
                rates,
                points: [point(i, false), point(i, true)],
                to: config.streams[i]
                    .to
                    .iter()
                    .zip(&s.deliveries)
                    .map(|(d, p)| format!("{}:{}", sinks(d), p.writer.encoding.name()))
                    .collect(),
                fill_order: plan.fill.iter().position(|f| f.stream == i).map(|n| n + 1),
                own_kinds: plan.fill.iter().any(|f| f.stream == i && f.own),
            }
        };
        Report {
            seed: config.seed,
            start: start.to_string(),
            population: population.filter(|(_, n)| *n > 0).collect(),
            people: atlas.accounts.iter().filter(|a| a.kind == crate::world::atlas::AccountKind::Person).count(),
            cells: atlas.cells,
            policy: config.sensors.policy.as_ref().map_or("baseline".into(), |n| n.text.clone()),
            collection: config.collection,
            streams: plan.streams.iter().enumerate().map(line).collect(),
            warnings: warnings(config),
        }
    }
}

/// Who can hold whom: a sink that blocks holds every stream, since all streams tell one story.
fn warnings(config: &Config) -> Vec<String> {
    use crate::sink::OnSlow;
    let mut w = config.warnings();
    for (i, s) in config.sinks.iter().enumerate() {
        let streams: Vec<&str> =
            config.streams.iter().filter(|x| x.to.iter().any(|d| d.sink == i)).map(|x| x.name.as_str()).collect();
        let others: Vec<&str> =
            config.streams.iter().map(|x| x.name.as_str()).filter(|n| !streams.contains(n)).collect();
        if s.on_slow != OnSlow::Drop && !others.is_empty() && !streams.is_empty() {
            w.push(format!(
                "sink `{}` can hold stream{} {} as well when it is slow ({})",
                s.name,
                if others.len() > 1 { "s" } else { "" },
                others.join(", "),
                match s.on_slow {
                    OnSlow::Block => "block: deadlines shift",
                    _ => "catch_up: they run faster afterwards",
                }
            ));
        }
        if streams.is_empty() && config.truth.sink.as_ref().is_none_or(|(t, _)| *t != i) {
            w.push(format!("no stream goes to sink `{}`", s.name));
        }
    }
    w
}

/// What a rate needs to be, against what comes of itself: it comes in bursts, and fill can only add to it.
const ROOM: f64 = 1.05;

/// A rate that natural life or shared fill alone exceeds is refused, unless it is wanted so.
pub(super) fn check_rates(config: &Config, balance: &[Balance], p: &mut Problems) {
    for (s, b) in config.streams.iter().zip(balance) {
        let Some((_, node)) = s.rate.as_ref().filter(|_| !s.unnatural) else { continue };
        let least = b.natural + b.shared;
        if least * ROOM > b.asked {
            let what = match (b.natural > b.asked, least > b.asked) {
                (true, _) => "its hosts alone make",
                (false, true) => "its hosts and the fill of other streams make",
                (false, false) => {
                    "its hosts and the fill of other streams leave too little room in some seconds: on average they make"
                }
            };
            p.at(
                node,
                format!(
                    "stream `{}` cannot keep to {}: {what} {} records a second",
                    s.name,
                    figure(b.asked),
                    figure(least)
                ),
            )
            .help(format!(
                "a rate of {}/s would do, or fewer hosts, or `unnatural: true`",
                figure((least * ROOM).ceil())
            ));
        }
    }
}

fn figure(n: f64) -> String {
    if n >= 100.0 { format!("{n:.0}") } else { format!("{n:.1}") }
}

fn bytes(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.0} kB", n / 1e3),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: usize = self.population.iter().map(|(_, n)| n).sum();
        let roles: Vec<String> = self.population.iter().map(|(r, n)| format!("{n} {r}")).collect();
        writeln!(
            f,
            "world    {hosts} hosts ({}), {} people, {} cells, seed {}, from {}",
            roles.join(", "),
            self.people,
            self.cells,
            self.seed,
            self.start
        )?;
        writeln!(
            f,
            "sensors  policy {}, collection {}",
            self.policy,
            if self.collection == Profile::Lab { "lab" } else { "product" }
        )?;
        let heads = ["stream", "source", "hosts", "rate/s low..high", "fill order", "to"];
        let mut table = vec![heads.map(String::from).to_vec()];
        for s in &self.streams {
            let span = |a: String, b: String| if a == b { a } else { format!("{a}..{b}") };
            table.push(vec![
                s.name.clone(),
                s.source.clone(),
                s.hosts.to_string(),
                s.rates.map_or("natural".into(), |r| span(figure(r[0]), figure(r[2]))),
                s.fill_order
                    .map_or("-".into(), |n| format!("{n}{}", if s.own_kinds { " own kinds" } else { " shared" })),
                s.to.join(", "),
            ]);
        }
        columns(f, &table)?;
        let heads = ["", "stream", "awake", "rate/s", "natural/s", "fill", "bytes", "per hour", "mix"];
        let mut table = vec![heads.map(String::from).to_vec()];
        for (i, which) in ["low", "high"].iter().enumerate() {
            for s in &self.streams {
                let p = &s.points[i];
                let top: Vec<String> = p.mix.iter().take(7).map(|(id, n)| format!("{id} {:.0}%", n * 100.0)).collect();
                table.push(vec![
                    format!("{which} {}", p.time.get(..16).unwrap_or("")),
                    s.name.clone(),
                    p.awake.to_string(),
                    figure(p.rate),
                    figure(p.natural),
                    format!("{:.0}%", p.fill * 100.0),
                    format!("{:.0}", p.bytes),
                    bytes(p.bytes_per_hour),
                    top.join(" "),
                ]);
            }
        }
        columns(f, &table)?;
        for w in &self.warnings {
            writeln!(f, "note     {w}")?;
        }
        Ok(())
    }
}

/// Prints rows in columns that are as wide as they need to be.
fn columns(f: &mut fmt::Formatter<'_>, table: &[Vec<String>]) -> fmt::Result {
    let wide = |c: usize| table.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let width: Vec<usize> = (0..table[0].len()).map(wide).collect();
    for row in table {
        let mut line = String::new();
        for (cell, w) in row.iter().zip(&width) {
            write!(line, "{cell:w$}  ")?;
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}
