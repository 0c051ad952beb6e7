//! `skirmish generate`: the same plan as a batch.

use std::path::PathBuf;
use std::time::Instant;

use crate::app::Limits;
use crate::cli::args::{Common, instant, span};
use crate::cli::{Failure, Outcome};
use crate::config::Config;
use crate::generate::{self, Only, Options, Output};
use crate::manifest::Saved;
use crate::plan::{Extra, Planned, plan};
use crate::source::Encoding;
use crate::time::{Span, Time};
use crate::yaml::{Problems, suggest};

/// Arguments of `generate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Sources, each with an encoding if wished: windows.sysmon:event_xml,windows.security
    #[arg(long, value_name = "ID[:ENCODING]", value_delimiter = ',')]
    source: Vec<String>,
    /// Write only the records of this stream of the configuration; what is simulated stays the same
    #[arg(long, value_name = "NAME", conflicts_with = "source")]
    stream: Option<String>,
    /// Encoding of every source that has it
    #[arg(long, value_name = "ENCODING")]
    encoding: Option<String>,
    /// Records in all
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Logical time: 2h
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    span: Option<Span>,
    /// Start of logical time
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: Option<Time>,
    /// Seed of every draw
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Threads; the records are the same for any number
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Write only these records; what is simulated stays the same
    #[arg(long, value_enum)]
    only: Option<Which>,
    /// Play this scenario once (repeatable, or `all`) in a world just large enough, without benign life
    #[arg(long, value_name = "ID")]
    scenario: Vec<String>,
    /// Benign life as well
    #[arg(long, requires = "scenario")]
    with_benign: bool,
    /// Truth lines of attack records
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Truth lines of every record
    #[arg(long, requires = "truth")]
    truth_all: bool,
    /// Processes and sessions as they stand at the start
    #[arg(long, value_name = "FILE")]
    boot_state: Option<PathBuf>,
    /// Make the records of a run again, from the journal in its state folder and the run's configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "from", "scenario", "encoding"])]
    journal: Option<PathBuf>,
    /// File; `-` is standard output, `null:` counts, hashes and discards
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: String,
    /// Print a summary as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Which {
    Attack,
    Benign,
}

/// Hosts of a world in which only scenarios are played.
const SMALL_WORLD: u32 = 40;
/// Records when neither a number nor a time is asked for.
const COUNT_DEFAULT: u64 = 10_000;

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let begun = Instant::now();
        let (planned, journal) = self.plan()?;
        let output = match self.output.as_str() {
            "-" => Output::Stdout,
            "null:" => Output::Null,
            path => Output::File(path.into()),
        };
        let free = self.count.is_none() && self.span.is_none();
        let until_done = !self.scenario.is_empty() && free;
        let count = if free && !until_done && journal.is_empty() { Some(COUNT_DEFAULT) } else { self.count };
        let options = Options {
            output: output.clone(),
            limits: Limits { count, span: self.span.or(until_done.then_some(Span::s(14 * 86_400))) },
            only: match self.only {
                None => Only::All,
                Some(Which::Attack) => Only::Attack,
                Some(Which::Benign) => Only::Benign,
            },
            truth: self.truth.clone(),
            stream: self.stream.clone(),
            boot_state: self.boot_state.clone(),
            threads: self.threads,
            journal,
            until_done,
        };
        let summary = generate::run(planned, &options, begun)?;
        if self.json {
            let text = serde_json::to_string(&summary).expect("a summary is JSON");
            if output == Output::Stdout { eprintln!("{text}") } else { println!("{text}") }
        } else if output != Output::Stdout {
            let rate = summary.records as f64 / summary.seconds.max(1e-9);
            eprintln!(
                "{} records, {:.1} MB in {:.2} s ({rate:.0}/s), {} of attacks, {}",
                summary.records,
                summary.bytes as f64 / 1e6,
                summary.seconds,
                summary.attack_records,
                summary.digest
            );
        }
        Ok(())
    }

    fn plan(&self) -> Result<(Planned, Vec<crate::journal::Entry>), Failure> {
        // a run is repeated with what a run has
        let layers = self.common.layers();
        let mut layers = if self.journal.is_some() { layers.or_run(None) } else { layers.or_generate() };
        if let Some(s) = self.seed {
            layers.set.push(format!("seed={s}"));
        }
        if let Some(f) = self.from {
            let text = f.to_string();
            layers.set.push(format!("clock={{from: {}, speed: max}}", &text));
        }
        if !self.scenario.is_empty() && self.common.config.is_empty() {
            layers.set.insert(0, format!("world.hosts={SMALL_WORLD}"));
            layers.set.insert(0, "sensors.policy=verbose_lab".into());
        }
        let (probe, knowledge) = self.common.load(&layers)?;
        let mut p = Problems::new();
        let streams = self.streams(&knowledge, &probe, &mut p);
        p.or(())?;
        if let Some(streams) = streams {
            layers.set.push("sinks={out: {null: {}}}".into());
            layers.set.push(format!("streams={streams}"));
        }
        let mut config = Config::load(&layers)?;
        if let Some(name) = &self.stream
            && !config.streams.iter().any(|s| s.name == *name)
        {
            let mut p = Problems::new();
            let near = suggest(name, config.streams.iter().map(|s| s.name.as_str()));
            p.plain(format!("unknown stream `{name}`")).help(near);
            return Err(p.into());
        }
        let mut entries = vec![];
        let mut extra = Extra {
            scenarios: self.scenario.clone(),
            quiet: !self.scenario.is_empty() && !self.with_benign,
            now: Some(Time(crate::app::wall())),
            run: "batch".into(),
            truth_all: self.truth_all,
            ..Extra::default()
        };
        if let Some(path) = &self.journal {
            let loaded = crate::journal::load(path)?;
            let configuration = crate::journal::configuration_digest(&config.to_json());
            if let Some(why) = loaded.of.differs(&knowledge.digest, &configuration, config.seed) {
                let mut p = Problems::new();
                p.plain(format!("{}: {why}", path.display()));
                return Err(p.into());
            }
            extra.run = loaded.of.run.clone();
            config.clock = crate::config::Clock::From { from: loaded.of.from, speed: crate::config::Speed::Max };
            if let Some(before) = &loaded.of.after {
                let dir = path.parent().unwrap_or(std::path::Path::new("."));
                let before = Saved::read(&Saved::kept(dir, before))?;
                (extra.numbers, extra.ids) = (before.numbers(), before.ids());
            }
            entries = loaded.entries;
        }
        Ok((plan(config, &knowledge, &extra)?, entries))
    }

    /// The streams that the command asks for, as YAML; none when the configuration has its own and nothing is asked.
    fn streams(&self, k: &crate::plan::Knowledge, config: &Config, p: &mut Problems) -> Option<String> {
        let asked: Vec<(String, Option<String>)> = match self.source.is_empty() {
            false => self
                .source
                .iter()
                .map(|s| match s.split_once(':') {
                    Some((id, e)) => (id.to_owned(), Some(e.to_owned())),
                    None => (s.clone(), None),
                })
                .collect(),
            true if !config.streams.is_empty() => return None,
            true => {
                ["windows.sysmon", "windows.security", "defender.device_process"].map(|s| (s.to_owned(), None)).to_vec()
            }
        };
        let mut parts = vec![];
        for (id, encoding) in asked {
            let Some(source) = k.catalogue.get(&id) else {
                p.plain(format!("unknown source `{id}`")).help(suggest(&id, k.catalogue.ids()));
                continue;
            };
            let default = [Encoding::Nxlog, Encoding::DefenderRow].into_iter().find(|e| source.encodings.contains(e));
            let global = self.encoding.as_deref().and_then(Encoding::parse).filter(|e| source.encodings.contains(e));
            let name = match &encoding {
                Some(e) => match Encoding::parse(e).filter(|e| source.encodings.contains(e)) {
                    Some(e) => e.name(),
                    None => {
                        let near = suggest(e, source.encodings.iter().map(|e| e.name()));
                        p.plain(format!("source `{id}` has no encoding `{e}`")).help(near);
                        continue;
                    }
                },
                None => global.or(default).unwrap_or(source.encodings[0]).name(),
            };
            let key = id.replace('.', "_");
            parts.push(format!("{key}: {{source: {id}, to: [{{sink: out, encoding: {name}}}]}}"));
        }
        if let Some(e) = &self.encoding
            && Encoding::parse(e).is_none()
        {
            p.plain(format!("unknown encoding `{e}`")).help(suggest(e, Encoding::ALL.iter().map(|e| e.name())));
        }
        Some(format!("{{{}}}", parts.join(", ")))
    }
}
