//! The thread that drives cells: pace, commands, slices, doors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use crate::account;
use crate::app::board::{Board, Instance};
use crate::app::command::Order;
use crate::batch::{Batch, Message};
use crate::config::{self, Config};
use crate::director::Director;
use crate::engine::{Engine, append};
use crate::journal::{Command, Journal};
use crate::manifest::Manifest;
use crate::pace::{self, Pace, RealWatch, Watch};
use crate::plan::Route;
use crate::sink::{Door, OnSlow};
use crate::time::{SLICE, Span, Time};
use crate::world::instance::Choices;

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Records of all streams.
    pub count: Option<u64>,
    /// Logical time.
    pub span: Option<Span>,
}

pub(super) struct Driver {
    pub board: Arc<Board>,
    pub streams: Vec<Arc<account::Stream>>,
    pub doors: Vec<Door>,
    pub routes: Vec<Route>,
    pub truth: Option<(usize, usize)>,
    pub director: Director,
    pub config: Config,
    pub inbox: Receiver<Order>,
    pub stop: Arc<AtomicBool>,
    pub state: Option<(Manifest, Journal)>,
    pub limits: Limits,
    pub ready: Option<Box<dyn FnOnce(&Arc<Board>) + Send>>,
}

impl Driver {
    pub fn run(mut self, mut engine: Engine) -> anyhow::Result<()> {
        let watch = RealWatch::default();
        let clock = match self.config.clock {
            config::Clock::Live => pace::Clock::Live,
            config::Clock::BackFill { from } => pace::Clock::BackFill { from },
            config::Clock::From { from, speed: config::Speed::Times(s) } => {
                pace::Clock::From { from, speed: pace::Speed::Times(s) }
            }
            config::Clock::From { from, speed: config::Speed::Max } => {
                pace::Clock::From { from, speed: pace::Speed::Max }
            }
        };
        let live = matches!(clock, pace::Clock::Live);
        let mut pace = Pace::new(clock, watch.now());
        let start = engine.now();
        let mut totals = (0u64, 0u64);
        let mut scheduled: Vec<_> = engine.schedules.iter().map(|s| s.as_ref().map(|s| s.cursor())).collect();
        // building a world takes a moment: a live run does not begin by making up for it
        if live {
            let late = Span(watch.now().wall.0 - start.0);
            pace.held(late.max_zero(), true);
            pace = Pace::new(pace::Clock::From { from: start, speed: pace::Speed::Times(1.0) }, watch.now());
        }
        let mut truth_file = match &self.config.truth.file {
            Some(p) => Some(std::io::BufWriter::new(
                std::fs::File::create(p).map_err(|e| anyhow::anyhow!("truth file {}: {e}", p.display()))?,
            )),
            None => None,
        };
        loop {
            self.orders(&mut engine, &mut pace, &watch)?;
            let end = Time::of_slice(engine.slice() + 1);
            let (stop, board) = (self.stop.clone(), self.board.clone());
            let waited = watch.wait(&mut pace, end, || stop.load(Ordering::Relaxed) || board.has_order());
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let Some(late) = waited else { continue };
            for l in self.director.due(end, engine.running().len(), totals) {
                self.board.started(&l, &engine.plan);
                engine.launch(l);
            }
            engine.step();
            let mut over = false;
            for (s, account) in self.streams.iter().enumerate() {
                let c = engine.counted(s);
                account.generate(c.records, c.attack, c.fill, c.bytes);
                totals.0 += c.records;
                totals.1 += c.attack;
                let due = match (&engine.schedules[s], &mut scheduled[s]) {
                    (Some(x), Some(cursor)) if x.unit() == crate::schedule::Unit::Records => cursor.due(x, end),
                    _ => account.read().generated,
                };
                account.schedule_to(due);
            }
            self.board.late(late);
            self.offer(&engine, &mut pace, &mut truth_file)?;
            if let Some((m, _)) = &mut self.state {
                record_numbers(m, &engine, end)?;
            }
            if let Some(ready) = self.ready.take() {
                if totals.0 > 0 { ready(&self.board) } else { self.ready = Some(ready) }
            }
            if engine.slice() % 20 == 0 {
                self.board.update(end, instances(&engine), pace.is_paused(), pace.readings());
            }
            over |= self.limits.count.is_some_and(|n| totals.0 >= n);
            over |= self.limits.span.is_some_and(|d| end.0 - start.0 >= d.0);
            if over {
                break;
            }
        }
        self.board.update(engine.now(), instances(&engine), pace.is_paused(), pace.readings());
        if let Some((mut m, mut j)) = self.state.take() {
            j.write(engine.now(), Command::End)?;
            for h in engine.cells.iter().flat_map(|c| &c.state.hosts) {
                m.host(h.id.0 as usize, h.boot_id, h.luid);
            }
            m.end()?;
        }
        if let Some(mut f) = truth_file {
            std::io::Write::flush(&mut f)?;
        }
        Ok(())
    }

    /// Offers what a slice brought at the doors.
    fn offer(
        &self,
        engine: &Engine,
        pace: &mut Pace,
        truth_file: &mut Option<std::io::BufWriter<std::fs::File>>,
    ) -> anyhow::Result<()> {
        let mut truth = Batch::default();
        for r in &self.routes {
            let mut batch = Batch::default();
            for b in engine.batches(r.stream, r.delivery) {
                append(&mut batch, b);
            }
            if batch.is_empty() {
                continue;
            }
            if r.delivery == 0 && (self.truth.is_some() || truth_file.is_some()) {
                truth_messages(&batch, &mut truth);
                if let Some(f) = truth_file {
                    std::io::Write::write_all(f, &batch.truth)?;
                }
            }
            self.give(r.sink, r.at, batch, pace);
        }
        if let Some((sink, at)) = self.truth.filter(|_| !truth.is_empty()) {
            self.give(sink, at, truth, pace);
        }
        Ok(())
    }

    fn give(&self, sink: usize, at: usize, batch: Batch, pace: &mut Pace) {
        let door = &self.doors[sink];
        let waited = door.offer(at, Arc::new(batch));
        if !waited.is_zero() {
            pace.held(Span(waited.as_nanos() as i64), door.on_slow == OnSlow::Block);
            self.board.held(sink, waited);
        }
    }

    /// Carries out what was asked since the last slice.
    fn orders(&mut self, engine: &mut Engine, pace: &mut Pace, watch: &RealWatch) -> anyhow::Result<()> {
        while let Ok(order) = self.inbox.try_recv() {
            self.board.order_taken();
            let at = engine.now();
            if let Some((_, j)) = &mut self.state
                && let Some(c) = order.command()
            {
                j.write(at, c)?;
            }
            match order {
                Order::Rate { stream, text, reply } => {
                    let result = set_rate(engine, &self.config, &stream, &text, at);
                    let _ = reply.send(result.map(|(before, after)| (before, after, at)));
                }
                Order::Start { scenario, cast, vars, delay, reply, .. } => {
                    let choices = Choices {
                        cast: cast.into_iter().map(|(a, b)| (a.into(), b.into())).collect(),
                        vars: vars.into_iter().map(|(a, b)| (a.into(), b.into())).collect(),
                    };
                    let l = self.director.launch(at + delay, Some(scenario), choices);
                    let instance = self.board.started(&l, &engine.plan);
                    engine.launch(l);
                    let _ = reply.send(instance);
                }
                Order::Stop { ids, reply } => {
                    let stopped: Vec<u64> = match ids {
                        Some(ids) => ids.into_iter().filter(|id| engine.stop(Some(*id)) > 0).collect(),
                        None => {
                            let all = engine.running().iter().map(|r| r.0).collect();
                            engine.stop(None);
                            all
                        }
                    };
                    let _ = reply.send(stopped);
                }
                Order::Pause(reply) => {
                    pace.pause(watch.now());
                    let _ = reply.send(at);
                }
                Order::Resume(reply) => {
                    pace.resume(watch.now());
                    let _ = reply.send(at);
                }
            }
            self.board.update(at, instances(engine), pace.is_paused(), pace.readings());
        }
        Ok(())
    }
}

/// Gives a stream another rate from an instant on; returns the rates before and after.
///
/// # Errors
/// An unknown stream, a rate that cannot be read or has another unit.
pub fn set_rate(
    engine: &mut Engine,
    config: &Config,
    stream: &str,
    text: &str,
    at: Time,
) -> Result<(f64, f64), String> {
    let shape = config.rate(stream, text).map_err(|e| e.to_string())?;
    let i = config.streams.iter().position(|s| s.name == stream).ok_or_else(|| format!("unknown stream `{stream}`"))?;
    let Some(s) = &mut engine.schedules[i] else {
        return Err(format!("stream `{stream}` has no rate: it is natural life without fill"));
    };
    let before = s.rate(at).per_second();
    s.change(at, shape)?;
    Ok((before, s.rate(at + SLICE).per_second()))
}

fn instances(engine: &Engine) -> Vec<Instance> {
    let scenarios = &engine.plan.shared.library.scenarios;
    let one = |(id, scenario, step): (u64, crate::world::program::ScenarioId, u16)| {
        let s = &scenarios[scenario.0 as usize];
        Instance {
            id,
            scenario: s.id.to_string(),
            step: s.steps.get(step as usize).map_or(String::new(), |s| s.id.to_string()),
            technique: s.steps.get(step as usize).map_or(String::new(), |s| s.technique.to_string()),
            done: step as u32,
            steps: s.steps.len() as u32,
        }
    };
    engine.running().into_iter().map(one).collect()
}

/// Truth lines as messages of their own.
fn truth_messages(from: &Batch, to: &mut Batch) {
    for m in from.iter().filter(|m| !m.truth.is_empty()) {
        let line = m.truth.strip_suffix(b"\n").unwrap_or(m.truth);
        to.bytes.extend_from_slice(line);
        to.keys.extend_from_slice(m.key);
        to.messages.push(Message {
            end: to.bytes.len() as u32,
            key_end: to.keys.len() as u32,
            truth_end: 0,
            records: 1,
            ..*m.meta
        });
    }
}

/// Slices between two notes of the hosts' boot and logon ids: a second.
const IDS_EVERY: i64 = 100;

fn record_numbers(m: &mut Manifest, engine: &Engine, at: Time) -> anyhow::Result<()> {
    for c in &engine.cells {
        for (host, channel, first, last) in c.numbered() {
            m.records(at, host.0 as usize, channel, (first, last), last - first + 1)?;
        }
        if engine.slice() % IDS_EVERY == 0 {
            for h in &c.state.hosts {
                m.host(h.id.0 as usize, h.boot_id, h.luid);
            }
        }
    }
    Ok(())
}
