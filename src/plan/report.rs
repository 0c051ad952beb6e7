//! What a plan says of itself before anything runs.

use std::fmt::{self, Write};

use crate::cell::Plan;
use crate::config::{Config, Profile};
use crate::plan::calibrate::{Balance, Measured};
use crate::schedule::Schedule;
use crate::time::{Span, Time};
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
    /// Records per second without fill.
    pub natural: f64,
    /// Share of fill at the lowest and at the highest rate.
    pub fill: [f64; 2],
    /// Mean bytes of a record of the first delivery.
    pub bytes: f64,
    /// Bytes per hour at the lowest and at the highest rate.
    pub bytes_per_hour: [f64; 2],
    /// Sinks, with their encodings.
    pub to: Vec<String>,
    /// Natural mix: event id and share, most first.
    pub mix: Vec<(String, f64)>,
    /// Place in the order of fill, from 1; none without fill.
    pub fill_order: Option<usize>,
    /// Fill makes kinds that only this stream records.
    pub own_kinds: bool,
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
        balance: &[Balance],
        schedules: &[Option<Schedule>],
        start: Time,
    ) -> Report {
        let atlas = &plan.shared.atlas;
        let population = atlas
            .roles
            .iter()
            .enumerate()
            .map(|(i, r)| (r.to_string(), atlas.hosts.iter().filter(|h| h.role as usize == i).count()));
        let line = |(i, s): (usize, &crate::cell::StreamPlan)| {
            let points = schedules[i].as_ref().map(|x| (x, x.points(start, Span::s(7 * 86_400))));
            let rates = points.map(|(x, p)| [p.low.1, p.mean, p.high.1].map(|r| m.records(x, r, i)));
            let share = |rate: f64| if rate > 0.0 { ((rate - m.natural[i]) / rate).clamp(0.0, 1.0) } else { 0.0 };
            let [low, _, high] = rates.unwrap_or([m.natural[i]; 3]);
            let sinks =
                |d: &crate::config::Delivery| config.sinks.get(d.sink).map_or("", |s| s.name.as_str()).to_owned();
            StreamLine {
                name: s.name.clone(),
                source: plan.feeds[s.feed].source.id.clone(),
                hosts: s.hosts.iter().filter(|h| **h).count(),
                rates,
                natural: balance[i].natural,
                fill: if rates.is_some() { [share(low), share(high)] } else { [0.0; 2] },
                bytes: m.bytes[i],
                bytes_per_hour: [low, high].map(|r| r * m.bytes[i] * 3600.0),
                to: config.streams[i]
                    .to
                    .iter()
                    .zip(&s.deliveries)
                    .map(|(d, p)| format!("{}:{}", sinks(d), p.writer.encoding.name()))
                    .collect(),
                mix: m.mix[i].clone(),
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

/// A rate that natural life or shared fill alone exceeds is refused, unless it is wanted so.
pub(super) fn check_rates(config: &Config, balance: &[Balance], p: &mut Problems) {
    for (s, b) in config.streams.iter().zip(balance) {
        let Some((_, node)) = s.rate.as_ref().filter(|_| !s.unnatural) else { continue };
        let least = b.natural + b.shared;
        if least > b.asked * 1.02 {
            let what = if b.natural > b.asked {
                "its hosts alone make"
            } else {
                "its hosts and the fill of other streams make"
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
                figure((least * 1.05).ceil())
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
        let mut table = vec![
            [
                "stream",
                "source",
                "hosts",
                "rate/s low..high",
                "natural/s",
                "fill low..high",
                "bytes",
                "per hour",
                "fill order",
                "to",
            ]
            .map(String::from),
        ];
        for s in &self.streams {
            let span = |a: String, b: String| if a == b { a } else { format!("{a}..{b}") };
            table.push([
                s.name.clone(),
                s.source.clone(),
                s.hosts.to_string(),
                s.rates.map_or("natural".into(), |r| span(figure(r[0]), figure(r[2]))),
                figure(s.natural),
                span(format!("{:.0}%", s.fill[0] * 100.0), format!("{:.0}%", s.fill[1] * 100.0)),
                format!("{:.0}", s.bytes),
                span(bytes(s.bytes_per_hour[0]), bytes(s.bytes_per_hour[1])),
                s.fill_order
                    .map_or("-".into(), |n| format!("{n}{}", if s.own_kinds { " own kinds" } else { " shared" })),
                s.to.join(", "),
            ]);
        }
        let width: Vec<usize> =
            (0..table[0].len()).map(|c| table.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
        for row in &table {
            let mut line = String::new();
            for (cell, w) in row.iter().zip(&width) {
                write!(line, "{cell:w$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for s in &self.streams {
            let top: Vec<String> = s.mix.iter().take(8).map(|(id, n)| format!("{id} {:.0}%", n * 100.0)).collect();
            if !top.is_empty() {
                writeln!(f, "mix      {}: {}", s.name, top.join(", "))?;
            }
        }
        for w in &self.warnings {
            writeln!(f, "note     {w}")?;
        }
        Ok(())
    }
}
