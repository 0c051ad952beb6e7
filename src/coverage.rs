//! What a configuration's sensors see of each step of each attack, and why the others do not.
//!
//! Nothing is guessed from the data: every scenario is played a few times in a small world, once under the sensor policy
//! of the configuration and once under one that selects everything, and the records of both are counted by step and source.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{Config, Layers};
use crate::engine::{Engine, Pool};
use crate::plan::{Extra, Knowledge, Planned, plan};
use crate::policy::SensorPolicy;
use crate::time::{Span, Time};
use crate::yaml::Problems;

/// Times each scenario is played: alternatives and chances of its steps come up in one or the other.
pub const INSTANCES: usize = 4;
/// Hosts of the world they are played in.
const HOSTS: u32 = 120;
/// Instances that have not ended by then are left.
const LONGEST: Span = Span::s(14 * 86_400);
/// Logical start: a Monday morning.
const START: &str = "2026-03-02T08:00:00Z";

/// Why a source has no record of a step that a stream delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It has, and a stream delivers them.
    Seen,
    /// It has, but no stream of the configuration is of this source.
    NoStream,
    /// The sensor policy does not select what the step does.
    Policy,
    /// Nothing the step does is of a kind that the source records.
    UnknownToSource,
    /// The step did nothing in the instances that were played: an alternative or a chance that did not come up.
    NotPlayed,
}

/// A source and a step.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Records of it under the policy, over all instances.
    pub records: u64,
    /// Records of it when everything is selected.
    pub selectable: u64,
    /// The verdict.
    pub why: Why,
}

/// A step of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Its id.
    pub step: String,
    /// ATT&CK technique, empty for none.
    pub technique: String,
    /// ATT&CK tactic.
    pub tactic: String,
    /// Sources that a stream delivers and that saw it.
    pub seen_by: Vec<String>,
    /// Every source.
    pub sources: BTreeMap<String, Cell>,
}

/// A scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// Its id.
    pub id: String,
    /// Its steps in order.
    pub steps: Vec<Step>,
}

/// A source.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Its id.
    pub id: String,
    /// A stream of the configuration is of it.
    pub streamed: bool,
}

/// The whole table.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Sensor policies in use.
    pub policies: Vec<String>,
    /// Times each scenario was played.
    pub instances: usize,
    /// Sources in the order of the columns.
    pub sources: Vec<Source>,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
}

type Counts = BTreeMap<(String, String, String), u64>;

/// Plays every attack scenario that matches (`*` stands for anything) and counts.
///
/// # Errors
/// What is wrong with the configuration; a scenario that does not exist.
pub fn measure(
    layers: &Layers,
    config: &Config,
    knowledge: &mut Knowledge,
    pattern: &str,
) -> Result<Coverage, Problems> {
    let sources: Vec<Source> = knowledge
        .catalogue
        .iter()
        .map(|s| Source { id: s.id.clone(), streamed: config.streams.iter().any(|x| x.source.text == s.id) })
        .collect();
    let policy = SensorPolicy::everything();
    let everything = format!("sensors={{policy: {}}}", policy.id);
    knowledge.policies.add(policy);
    let mut policies = vec![];
    let mut counts: Vec<Counts> = vec![];
    for extra in [None, Some(everything)] {
        let planned = small(layers, knowledge, extra.as_deref(), pattern)?;
        if policies.is_empty() {
            policies = planned.plan.policies.iter().map(|p| p.id.clone()).collect();
        }
        counts.push(play(planned)?);
    }
    let [selected, all] = &counts[..] else { unreachable!("two plays") };
    let mut scenarios = vec![];
    for (_, s) in knowledge.attacks().filter(|(_, s)| crate::plan::matches(pattern, &s.id)) {
        let steps = s.steps.iter().map(|x| row(&s.id, x, &sources, selected, all)).collect();
        scenarios.push(Scenario { id: s.id.to_string(), steps });
    }
    Ok(Coverage { policies, instances: INSTANCES, sources, scenarios })
}

fn row(id: &str, s: &crate::world::program::Step, sources: &[Source], selected: &Counts, all: &Counts) -> Step {
    let count =
        |c: &Counts, source: &str| c.get(&(id.to_owned(), s.id.to_string(), source.to_owned())).copied().unwrap_or(0);
    let played = sources.iter().any(|x| count(all, &x.id) > 0);
    let cells: BTreeMap<String, Cell> = sources
        .iter()
        .map(|x| {
            let (records, selectable) = (count(selected, &x.id), count(all, &x.id));
            let why = match (records, selectable, x.streamed) {
                (1.., _, true) => Why::Seen,
                (1.., _, false) => Why::NoStream,
                (0, 1.., _) => Why::Policy,
                (0, 0, _) if played => Why::UnknownToSource,
                (0, 0, _) => Why::NotPlayed,
            };
            (x.id.clone(), Cell { records, selectable, why })
        })
        .collect();
    Step {
        step: s.id.to_string(),
        technique: s.technique.to_string(),
        tactic: s.tactic.to_string(),
        seen_by: cells.iter().filter(|(_, c)| c.why == Why::Seen).map(|(k, _)| k.clone()).collect(),
        sources: cells,
    }
}

/// The configuration's sensors in a small world where every source is on and nothing else happens.
fn small(layers: &Layers, knowledge: &Knowledge, sensors: Option<&str>, pattern: &str) -> Result<Planned, Problems> {
    let mut layers = layers.clone();
    let streams: Vec<String> = knowledge
        .catalogue
        .iter()
        .map(|s| {
            let key = s.id.replace('.', "_");
            format!("{key}: {{source: {}, to: [{{sink: out, encoding: {}}}]}}", s.id, s.encodings[0].name())
        })
        .collect();
    layers.set.extend([
        format!("world.hosts={HOSTS}"),
        format!("clock={{from: \"{START}\", speed: max}}"),
        "sinks={out: {null: {}}}".to_owned(),
        format!("streams={{{}}}", streams.join(", ")),
    ]);
    layers.set.extend(sensors.map(str::to_owned));
    let config = Config::load(&layers)?;
    let extra = Extra {
        scenarios: vec![pattern.to_owned(); INSTANCES],
        quiet: true,
        run: "coverage".into(),
        ..Extra::default()
    };
    plan(config, knowledge, &extra)
}

/// Records by scenario, step and source until all instances have ended.
fn play(mut planned: Planned) -> Result<Counts, Problems> {
    let pool = Pool::new(1).map_err(|e| {
        let mut p = Problems::new();
        p.plain(e);
        p
    })?;
    let plan = planned.plan.clone();
    let mut engine = Engine::new(plan.clone(), planned.start, planned.schedules.clone(), Box::new(pool));
    let mut counts = Counts::new();
    while engine.now() < planned.start + LONGEST {
        let end = Time::of_slice(engine.slice() + 1);
        for l in planned.director.due(end, engine.running().len(), (0, 0)) {
            engine.launch(l);
        }
        engine.step();
        for (s, stream) in plan.streams.iter().enumerate() {
            let source = &plan.feeds[stream.feed].source.id;
            for batch in engine.batches(s, 0) {
                for line in batch.truth.split(|c| *c == b'\n').filter(|l| !l.is_empty()) {
                    let Ok(t) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
                    let text = |k: &str| t[k].as_str().unwrap_or_default().to_owned();
                    *counts.entry((text("scenario"), text("step"), source.clone())).or_default() += 1;
                }
            }
        }
        if planned.director.done() {
            engine.skip();
        }
        if engine.quiet() && planned.director.started > 0 && engine.slice() > planned.start.slice() + 300 {
            break;
        }
    }
    Ok(counts)
}

impl Step {
    /// Whether it left anything in any of the instances.
    pub fn played(&self) -> bool {
        self.sources.values().any(|c| c.why != Why::NotPlayed)
    }
}

impl Coverage {
    /// Steps that no stream of the configuration sees: scenario and step.
    pub fn blind(&self) -> Vec<(&str, &str)> {
        let steps = self.scenarios.iter().flat_map(|s| s.steps.iter().map(|x| (&*s.id, x)));
        steps.filter(|(_, x)| x.seen_by.is_empty() && x.played()).map(|(s, x)| (s, &*x.step)).collect()
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |id: &str| {
            let tail = id.split_once('.').map_or(id, |(_, t)| t);
            tail.strip_prefix("device_").unwrap_or(tail).to_owned()
        };
        let steps = || self.scenarios.iter().flat_map(|s| &s.steps);
        let wide = steps().map(|s| s.step.len()).max().unwrap_or(0).max(4);
        let cell = |c: &Cell| match c.why {
            Why::Seen => c.records.to_string(),
            Why::NoStream => format!("({})", c.records),
            Why::Policy => "policy".to_owned(),
            Why::UnknownToSource => "-".to_owned(),
            Why::NotPlayed => String::new(),
        };
        let widths: Vec<usize> = self
            .sources
            .iter()
            .map(|x| steps().map(|s| cell(&s.sources[&x.id]).len()).max().unwrap_or(0).max(short(&x.id).len()))
            .collect();
        writeln!(f, "policy {}; each scenario {} times", self.policies.join(", "), self.instances)?;
        writeln!(
            f,
            "a number: records that streams deliver; in brackets: no stream is of that source; policy: not selected; -: the source does not record such things"
        )?;
        for s in &self.scenarios {
            write!(f, "\n{}\n  {:<wide$}  {:<10}", s.id, "step", "technique")?;
            for (x, w) in self.sources.iter().zip(&widths) {
                write!(f, "  {:>w$}", short(&x.id))?;
            }
            writeln!(f)?;
            for x in &s.steps {
                write!(f, "  {:<wide$}  {:<10}", x.step, x.technique)?;
                for (source, w) in self.sources.iter().zip(&widths) {
                    write!(f, "  {:>w$}", cell(&x.sources[&source.id]))?;
                }
                writeln!(f, "{}", if x.played() { "" } else { "  did not come up" })?;
            }
        }
        let all = steps().count();
        let blind = self.blind();
        writeln!(f, "\n{} of {all} steps are seen by a stream", all - blind.len())?;
        for (s, x) in blind {
            writeln!(f, "not seen: {s} {x}")?;
        }
        Ok(())
    }
}
