//! The same plan as a batch: records in one fixed order to a file, to standard output, or only counted.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use xxhash_rust::xxh3::Xxh3;

use crate::app::Limits;
use crate::batch::Batch;
use crate::engine::{Engine, Pool};
use crate::journal::{Command, Entry};
use crate::plan::Planned;
use crate::time::Time;
use crate::world::instance::Choices;

/// Where records go.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Output {
    /// Standard output.
    #[default]
    Stdout,
    /// A file.
    File(PathBuf),
    /// Nowhere: counted and hashed.
    Null,
}

/// Which records are written; what is simulated never depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// All.
    #[default]
    All,
    /// Those of attack instances.
    Attack,
    /// The others.
    Benign,
}

/// What to do with the records.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where they go.
    pub output: Output,
    /// How many.
    pub limits: Limits,
    /// Which.
    pub only: Only,
    /// Truth lines, each with the line (and row) of its record.
    pub truth: Option<PathBuf>,
    /// Only those of this stream.
    pub stream: Option<String>,
    /// The state of the world at its start.
    pub boot_state: Option<PathBuf>,
    /// Threads.
    pub threads: usize,
    /// What was done to the run that is repeated.
    pub journal: Vec<Entry>,
    /// End when no attack runs any more and all have started.
    pub until_done: bool,
}

/// What came out.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Records written.
    pub records: u64,
    /// Bytes written, line feeds included.
    pub bytes: u64,
    /// Seconds from the first slice to the last.
    pub seconds: f64,
    /// Seconds until then: loading, planning, building the world.
    pub load_seconds: f64,
    /// Records of attack instances among them.
    pub attack_records: u64,
    /// Records by source.
    pub by_source: std::collections::BTreeMap<String, u64>,
    /// xxh3-128 of all bytes written.
    pub digest: String,
    /// Threads.
    pub threads: usize,
}

struct Writer {
    out: Box<dyn Write + Send>,
    null: bool,
    hash: Xxh3,
    truth: Option<BufWriter<File>>,
    only: Only,
    /// Index of the only stream that is written.
    stream: Option<usize>,
    left: u64,
    line: u64,
    summary: Summary,
}

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Runs a plan as a batch. `begun` is when loading began.
///
/// # Errors
/// A file that cannot be written, a journal that does not fit. A closed pipe ends the batch without an error.
pub fn run(mut planned: Planned, options: &Options, begun: Instant) -> anyhow::Result<Summary> {
    let out: Box<dyn Write + Send> = match &options.output {
        Output::Stdout => Box::new(BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout())),
        Output::File(p) => {
            let f = File::create(p).with_context(|| format!("cannot write {}", p.display()))?;
            Box::new(BufWriter::with_capacity(BUFFER_BYTES, f))
        }
        Output::Null => Box::new(std::io::sink()),
    };
    let truth = match &options.truth {
        Some(p) => Some(BufWriter::new(File::create(p).with_context(|| format!("cannot write {}", p.display()))?)),
        None => None,
    };
    let mut w = Writer {
        out,
        null: options.output == Output::Null,
        hash: Xxh3::new(),
        truth,
        only: options.only,
        stream: options.stream.as_ref().and_then(|n| planned.plan.streams.iter().position(|s| s.name == *n)),
        left: options.limits.count.unwrap_or(u64::MAX),
        line: 0,
        summary: Summary { threads: options.threads.max(1), ..Summary::default() },
    };
    let pool = Pool::new(options.threads).map_err(anyhow::Error::msg)?;
    let runner = Box::new(pool.clone());
    let mut engine = Engine::new(planned.plan.clone(), planned.start, planned.schedules.clone(), runner);
    if let Some(p) = &options.boot_state {
        let f = File::create(p).with_context(|| format!("cannot write {}", p.display()))?;
        let mut f = BufWriter::new(f);
        for c in &engine.cells {
            c.state.boot_state(&mut f)?;
        }
        f.flush()?;
    }
    w.summary.load_seconds = begun.elapsed().as_secs_f64();
    let started = Instant::now();
    let done = pool.within(|| batch(&mut engine, &pool, &mut planned, options, &mut w));
    match done.and_then(|()| Ok(w.out.flush()?)) {
        // whoever read the pipe has enough
        Err(e) if e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) => {}
        other => other?,
    }
    if let Some(t) = &mut w.truth {
        t.flush()?;
    }
    w.summary.seconds = started.elapsed().as_secs_f64();
    w.summary.digest = format!("xxh3:{:032x}", w.hash.digest128());
    Ok(w.summary)
}

fn batch(
    engine: &mut Engine,
    pool: &Pool,
    planned: &mut Planned,
    options: &Options,
    w: &mut Writer,
) -> anyhow::Result<()> {
    let start = engine.now();
    let plan = planned.plan.clone();
    let sources: Vec<String> = plan.streams.iter().map(|s| plan.feeds[s.feed].source.id.clone()).collect();
    let mut by_source = vec![0u64; sources.len()];
    let mut totals = (0u64, 0u64);
    let mut journal = options.journal.iter().peekable();
    let mut ended = false;
    let mut busy = start.slice();
    // what a slice brought is written while the next one is played
    let mut brought: Vec<Vec<Vec<Batch>>> = engine.cells.iter().map(|c| c.out.clone()).collect();
    while w.left > 0 {
        if options.limits.span.is_some_and(|d| engine.now().0 - start.0 >= d.0) {
            break;
        }
        while let Some(e) = journal.next_if(|e| e.at <= engine.now()) {
            ended |= replay(engine, planned, e)?;
        }
        if ended {
            break;
        }
        let end = Time::of_slice(engine.slice() + 1);
        for l in planned.director.due(end, engine.running().len(), totals) {
            engine.launch(l);
        }
        let mut written = Ok(());
        pool.both(|| engine.step(), || written = w.slice(&brought, &mut by_source));
        written?;
        for (c, out) in engine.cells.iter_mut().zip(&mut brought) {
            std::mem::swap(&mut c.out, out);
        }
        for s in 0..sources.len() {
            let c = engine.counted(s);
            totals.0 += c.records;
            totals.1 += c.attack;
        }
        if options.until_done && planned.director.done() && journal.peek().is_none() {
            engine.skip();
        }
        // what is on its way to another host, a logon above all, is nobody's task for a moment
        busy = if engine.quiet() { busy } else { engine.slice() };
        if options.until_done && planned.director.started > 0 && engine.slice() > (start.slice() + 300).max(busy + 100)
        {
            break;
        }
    }
    w.slice(&brought, &mut by_source)?;
    for (s, n) in sources.into_iter().zip(by_source) {
        *w.summary.by_source.entry(s).or_default() += n;
    }
    Ok(())
}

/// Does again what a journal says. True at its end.
fn replay(engine: &mut Engine, planned: &mut Planned, e: &Entry) -> anyhow::Result<bool> {
    match &e.command {
        Command::Rate { stream, rate } => {
            let change = crate::app::Change::new(engine, &planned.config, stream, rate).map_err(anyhow::Error::msg)?;
            change.make(engine, e.at);
        }
        Command::Start { scenario, cast, vars, delay } => {
            let scenarios = &planned.plan.shared.library.scenarios;
            let index = scenarios.iter().position(|s| *s.id == **scenario);
            let index =
                index.with_context(|| format!("the journal starts scenario `{scenario}`, which is not known"))?;
            let pairs = |m: &std::collections::BTreeMap<String, String>| {
                m.iter().map(|(a, b)| (a.as_str().into(), b.as_str().into())).collect()
            };
            let choices = Choices { cast: pairs(cast), vars: pairs(vars) };
            let id = crate::world::program::ScenarioId(index as u16);
            engine.launch(planned.director.launch(e.at + *delay, Some(id), choices));
        }
        Command::Stop { instance } => {
            engine.stop(Some(*instance));
        }
        Command::StopAll => {
            engine.stop(None);
        }
        Command::Pause | Command::Resume | Command::Reload { .. } => {}
        Command::End => return Ok(true),
    }
    Ok(false)
}

impl Writer {
    /// Writes what a slice brought: streams in their order, in each the cells in theirs.
    fn slice(&mut self, brought: &[Vec<Vec<Batch>>], by_source: &mut [u64]) -> anyhow::Result<()> {
        let only = self.stream;
        for (s, n) in by_source.iter_mut().enumerate().filter(|(s, _)| only.is_none_or(|o| o == *s)) {
            for cell in brought {
                *n += self.batch(&cell[s][0])?;
            }
        }
        Ok(())
    }

    /// Writes the messages of a batch; returns the records written.
    fn batch(&mut self, b: &Batch) -> anyhow::Result<u64> {
        let mut records = 0;
        for m in b.iter() {
            if self.left == 0 {
                break;
            }
            let keep = match self.only {
                Only::All => true,
                Only::Attack => m.meta.attack > 0,
                Only::Benign => m.meta.attack == 0,
            };
            if !keep {
                continue;
            }
            self.hash.update(m.payload);
            self.hash.update(b"\n");
            if !self.null {
                self.out.write_all(m.payload)?;
                self.out.write_all(b"\n")?;
            }
            if let Some(t) = &mut self.truth {
                let several = m.meta.records > 1;
                for line in m.truth.split(|c| *c == b'\n').filter(|l| !l.is_empty()) {
                    t.write_all(&line[..line.len() - 1])?;
                    write!(t, ",\"line\":{}", self.line)?;
                    if several {
                        write!(t, ",\"row\":{}", row(line, m.meta.id.n))?;
                    }
                    t.write_all(b"}\n")?;
                }
            }
            self.line += 1;
            self.left = self.left.saturating_sub(m.meta.records as u64);
            records += m.meta.records as u64;
            self.summary.records += m.meta.records as u64;
            self.summary.attack_records += m.meta.attack as u64;
            self.summary.bytes += m.payload.len() as u64 + 1;
        }
        Ok(records)
    }
}

/// Place of a record in its message, by the last part of its id.
fn row(line: &[u8], first: u64) -> u64 {
    let text = String::from_utf8_lossy(line);
    let id = text.split("\"id\":\"").nth(1).and_then(|t| t.split('"').next()).unwrap_or("");
    id.rsplit('.').next().and_then(|n| n.parse::<u64>().ok()).map_or(0, |n| n.saturating_sub(first))
}
