//! Everything resolved, checked and sized before anything runs; the only place where names become ids.
//!
//! [`Knowledge`] is what the data folders hold; [`Planned`] is a run: a world, streams, fill, attacks, deliveries.
//! All errors of a plan come at once. Below this module nobody reads configuration; above it nobody resolves names.

pub mod calibrate;
pub mod knowledge;
pub mod natural;
pub mod population;
mod report;
pub mod streams;

use std::sync::Arc;

pub use knowledge::{Knowledge, load};
pub use report::Report;

use crate::cell;
use crate::config::Scale;
use crate::config::{Clock, Config, Name, Start};
use crate::director::{Choice, Director, When};
use crate::plan::calibrate::Measured;
use crate::rng::{mix, purpose};
use crate::schedule::Schedule;
use crate::sink::{DeliveryInfo, SinkSpec};
use crate::time::{Span, Time};
use crate::world::atlas;
use crate::world::host::Luid;
use crate::world::instance::{Casting, Choices};
use crate::world::state::Shared;
use crate::yaml::{Problems, suggest};

/// Where a delivery of a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Stream.
    pub stream: usize,
    /// Delivery of the stream.
    pub delivery: usize,
    /// Sink.
    pub sink: usize,
    /// Index of the delivery in the sink.
    pub at: usize,
}

/// A run, ready to start.
pub struct Planned {
    /// What the cells share.
    pub plan: Arc<cell::Plan>,
    /// Schedule of each stream.
    pub schedules: Vec<Option<Schedule>>,
    /// Starts attacks.
    pub director: Director,
    /// Sinks, with their deliveries added.
    pub sinks: Vec<SinkSpec>,
    /// Deliveries of each sink, as it was told.
    pub deliveries: Vec<Vec<DeliveryInfo>>,
    /// Ways from streams to sinks.
    pub routes: Vec<Route>,
    /// Where truth lines go besides headers: sink and delivery.
    pub truth: Option<(usize, usize)>,
    /// Logical start.
    pub start: Time,
    /// What `check` prints.
    pub report: Report,
    /// The configuration, without its sinks.
    pub config: Config,
}

/// What a command adds to a configuration.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Only these scenarios, each once, in a world just large enough.
    pub scenarios: Vec<String>,
    /// No benign life.
    pub quiet: bool,
    /// Logical start in place of the wall clock's time.
    pub now: Option<Time>,
    /// Id of the run.
    pub run: String,
    /// First record numbers by host name and channel, from an earlier run.
    pub numbers: Vec<(String, String, u64)>,
    /// Least boot id and logon id by host name, from an earlier run.
    pub ids: Vec<(String, u16, Luid)>,
    /// Members of roles of the command's scenarios.
    pub cast: Vec<(Box<str>, Box<str>)>,
    /// Truth lines for all records, in every delivery.
    pub truth_all: bool,
    /// The report is to be read: what costs a second or two to find out is found out.
    pub whole_report: bool,
}

/// Hosts of a world without rates from which its size would follow.
const HOSTS_DEFAULT: u32 = 300;
/// Hosts in which the life of a larger world is measured.
const HOSTS_MEASURED: u32 = 300;

/// Plans a run.
///
/// # Errors
/// Everything that does not resolve or cannot be met.
pub fn plan(mut config: Config, knowledge: &Knowledge, extra: &Extra) -> Result<Planned, Problems> {
    let mut p = Problems::new();
    let start = match config.clock {
        Clock::Live => extra.now.unwrap_or_default(),
        Clock::From { from, .. } | Clock::BackFill { from } => from,
    };
    let start = Time::of_slice(start.slice());
    let choices = choices(&config, knowledge, extra, &mut p);
    let mut hosts = config.world.hosts.unwrap_or(HOSTS_DEFAULT);
    let make = |atlas: atlas::Atlas,
                library: crate::world::program::Library,
                resolved: streams::Resolved,
                policies: streams::Sensing| {
        let shared = share(&config, atlas, library, &resolved, extra, start);
        streams::cell_plan(shared, resolved, policies.0, policies.1, knowledge, extra, start)
    };
    let schedules: Vec<Option<Schedule>> =
        config.streams.iter().map(|s| s.rate.as_ref().map(|(shape, _)| Schedule::new(start, shape.clone()))).collect();
    // the quietest moment matters where a schedule or a reader asks for it
    let low = extra.whole_report
        || schedules.iter().flatten().any(|s| {
            let p = s.points(start, natural::WEEK);
            p.low.1 != p.high.1
        });
    let filled = schedules.iter().any(Option::is_some) || extra.whole_report;
    let another = |hosts: u32| {
        let c = knowledge.atlas_config(&config, hosts, start);
        let (atlas, library) = knowledge.build(&c)?;
        let mut p = Problems::new();
        let resolved = streams::resolve(&config, knowledge, &atlas, extra, &mut p);
        let policies = streams::policies(&config, knowledge, &atlas, &mut p);
        match (resolved, policies) {
            (Some(r), Some(policies)) if p.is_empty() => Ok((atlas, library, r, policies)),
            _ => Err(p),
        }
    };
    // a large world is measured in the small, while it is built: roles keep their shares. Where streams name hosts that a
    // small one lacks, it is measured as it is
    let small = || {
        let (atlas, library, resolved, policies) = another(HOSTS_MEASURED).ok()?;
        let mut measured = Measured::default();
        measured.measure(&make(atlas, library, resolved, policies), &schedules, start, low);
        Some(measured)
    };
    let in_the_small = filled && hosts > HOSTS_MEASURED;
    let made = |hosts: u32| {
        let (atlas, library, resolved, policies) = another(hosts)?;
        let of = resolved.of.clone();
        Ok((make(atlas, library, resolved, policies), of))
    };
    let (built, small) = rayon::join(|| made(hosts), || if in_the_small { small() } else { None });
    let (mut cells, mut of) = match built {
        Ok(x) => x,
        Err(Problems(e)) => {
            p.0.extend(e);
            return Err(p);
        }
    };
    if !p.is_empty() {
        return Err(p);
    }
    let scaled: Vec<bool> = config.streams.iter().map(|s| s.rate.is_some() && s.scale == Scale::Hosts).collect();
    let mut measured = small.unwrap_or_default();
    if filled && measured.bytes.is_empty() {
        measured.measure(&cells, &schedules, start, low);
    }
    // without a number the population follows the rates: natural life is to be the larger part at busy hours
    if config.world.hosts.is_none() && schedules.iter().any(Option::is_some) && extra.scenarios.is_empty() {
        hosts = measured.hosts_for(&schedules);
        (cells, of) = made(hosts)?;
    }
    measured.resize(cells.shared.atlas.hosts.len());
    for (s, bytes) in cells.streams.iter_mut().zip(&measured.bytes) {
        s.mean_bytes = (*bytes as u64).max(1);
    }
    let mut sides = natural::Moments::default();
    if filled {
        let controller: Vec<bool> = streams::roles(&cells.shared.atlas, knowledge, |r| r.controller);
        let ranks = population::ranks(&cells.shared.atlas, &controller);
        cells.power = population::power(&scaled, &measured, &schedules, ranks);
        let awake = |high: bool| match &cells.power {
            Some(p) => p.share(|s| schedules[s].as_ref().map(|x| natural::rate(x, high))),
            None => 1.0,
        };
        let (fill, high) = measured.fill(&cells, &schedules, true, awake(true));
        let (_, at_low) = measured.fill(&cells, &schedules, false, awake(false));
        cells.fill = fill;
        report::check_rates(&config, &high, &mut p);
        if low && p.is_empty() {
            report::check_rates(&config, &at_low, &mut p);
        }
        sides = natural::Moments { high, low: at_low };
    }
    let report = Report::new(&config, &cells, &measured, &sides, &schedules, start, extra.whole_report && p.is_empty());
    let cells = Arc::new(cells);
    let (sinks, deliveries, routes, truth) = streams::deliveries(&mut config, &cells, &of, start, &mut p);
    let director = director(&config, choices, start, extra);
    p.or(Planned { plan: cells, schedules, director, sinks, deliveries, routes, truth, start, report, config })
}

fn share(
    config: &Config,
    atlas: atlas::Atlas,
    library: crate::world::program::Library,
    resolved: &streams::Resolved,
    extra: &Extra,
    start: Time,
) -> Arc<Shared> {
    let habits = crate::world::habit::Index::new(&atlas, &library, config.seed, start);
    let zones = atlas.sites.iter().map(|s| crate::schedule::zone(&s.tz).unwrap_or(jiff::tz::TimeZone::UTC)).collect();
    let ids = streams::ids(&atlas, extra);
    Arc::new(Shared {
        ids,
        casting: Casting::new(&atlas),
        atlas,
        library,
        seed: config.seed,
        benign: !extra.quiet,
        wanted: resolved.wanted,
        zones,
        habits,
    })
}

/// Scenarios to choose from: those of the command, else those of the configuration.
fn choices(config: &Config, knowledge: &Knowledge, extra: &Extra, p: &mut Problems) -> Vec<Choice> {
    let mut options = vec![];
    let all: Vec<&str> = knowledge.attacks().map(|(_, s)| &*s.id).collect();
    if !extra.scenarios.is_empty() {
        for id in &extra.scenarios {
            let before = options.len();
            for (i, s) in knowledge.attacks() {
                if id == "all" || matches(id, &s.id) {
                    let cast = extra.cast.clone();
                    options.push(Choice { scenario: i, weight: 1, choices: Choices { cast, ..Choices::default() } });
                }
            }
            if options.len() == before {
                p.plain(format!("unknown scenario `{id}`")).help(suggest(id, all.iter().copied()));
            }
        }
        return options;
    }
    for s in &config.attacks.scenarios {
        let mut found = false;
        for (i, scenario) in knowledge.attacks().filter(|(_, x)| matches(&s.id.text, &x.id)) {
            found = true;
            let mut c = Choices::default();
            for (role, member) in s.cast.iter().chain(&config.attacks.cast) {
                if scenario.cast.iter().any(|(n, _)| **n == *role.text) {
                    c.cast.push((role.text.as_str().into(), member.text.as_str().into()));
                } else if s.cast.iter().any(|(r, _)| r.text == role.text) {
                    unknown(p, role, &format!("role of `{}`", scenario.id), scenario.cast.iter().map(|(n, _)| &**n));
                }
            }
            for (var, node) in s.vars.iter().chain(&config.attacks.vars) {
                let value = node.as_str().unwrap_or("");
                if scenario.vars.iter().any(|(n, _)| **n == *var.text) {
                    c.vars.push((var.text.as_str().into(), value.into()));
                } else if s.vars.iter().any(|(r, _)| r.text == var.text) {
                    unknown(p, var, &format!("variable of `{}`", scenario.id), scenario.vars.iter().map(|(n, _)| &**n));
                }
            }
            options.push(Choice { scenario: i, weight: (s.weight * 100.0).round().max(1.0) as u32, choices: c });
        }
        // `*` over no scenario at all is nobody's mistake
        if !found && s.id.text != "*" {
            unknown(p, &s.id, "scenario", all.iter().copied());
        }
    }
    options
}

fn director(config: &Config, options: Vec<Choice>, start: Time, extra: &Extra) -> Director {
    use crate::config::When as W;
    let when = match &config.attacks.when {
        _ if !extra.scenarios.is_empty() => When::Each,
        W::Never => When::Never,
        W::PerHour(n) => When::PerHour(*n),
        W::At(times) => When::At(
            times
                .iter()
                .map(|t| match t {
                    Start::After(s) => start + *s,
                    Start::At(t) => *t,
                })
                .collect(),
        ),
        W::Share(s) => When::Share(*s),
    };
    let first = match extra.scenarios.is_empty() {
        true => config.attacks.first.map(|f| start + f),
        false => Some(start + Span::s(2)),
    };
    let max = if extra.scenarios.is_empty() { config.attacks.max_parallel as usize } else { usize::MAX };
    Director::new(mix(config.seed, purpose("attacks")), when, options, max, start, first)
}

/// Notes an unknown name where it was written.
pub(crate) fn unknown<'a>(p: &mut Problems, name: &Name, what: &str, allowed: impl IntoIterator<Item = &'a str>) {
    p.unknown(&name.node, what, &name.text, allowed);
}

/// Whether a name matches a pattern in which `*` stands for anything.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|i| rest.is_char_boundary(i) && matches(tail, &rest[i..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(matches("ransomware.*", "ransomware.hands_on") && matches("*", "x") && matches("a*c", "abc"));
        assert!(!matches("ransomware", "ransomware.hands_on") && !matches("a*c", "abd"));
    }
}
