//! What was asked of a running daemon, done between two slices. A command is checked, then written to the journal, then
//! done: so a journal holds nothing that a replay would refuse.

use crate::app::board::Instance;
use crate::app::command::{Order, Stop};
use crate::app::driver::Driver;
use crate::config::Config;
use crate::engine::Engine;
use crate::journal::Command;
use crate::pace::{Pace, RealWatch, Watch};
use crate::schedule::Shape;
use crate::time::{SLICE, Time};
use crate::world::instance::Choices;

/// A change of a stream's rate that can be made.
pub struct Change {
    stream: usize,
    shape: Shape,
}

impl Change {
    /// Reads and checks it.
    ///
    /// # Errors
    /// An unknown stream, a rate that cannot be read or has another unit.
    pub fn new(engine: &Engine, config: &Config, stream: &str, text: &str) -> Result<Change, String> {
        let shape = config.rate(stream, text).map_err(|e| e.to_string())?;
        let at = config.streams.iter().position(|s| s.name == stream);
        let i = at.ok_or_else(|| format!("unknown stream `{stream}`"))?;
        match &engine.schedules[i] {
            None => Err(format!("stream `{stream}` has no rate: it is natural life without fill")),
            Some(s) if s.unit() != shape.unit => {
                Err(format!("stream `{stream}` has a rate in {}; it cannot go on in {}", s.unit(), shape.unit))
            }
            Some(_) => Ok(Change { stream: i, shape }),
        }
    }
    /// Makes it, from an instant on; the rates before and after, per second.
    pub fn make(self, engine: &mut Engine, at: Time) -> (f64, f64) {
        let Some(s) = &mut engine.schedules[self.stream] else { return (0.0, 0.0) };
        let before = s.rate(at).per_second();
        // the unit was checked, and nothing else is refused
        let _ = s.change(at, self.shape);
        (before, s.rate(at + SLICE).per_second())
    }
}

impl Driver {
    /// Carries out what was asked since the last slice.
    pub(super) fn orders(&mut self, engine: &mut Engine, pace: &mut Pace, watch: &RealWatch) -> anyhow::Result<()> {
        while let Ok(order) = self.inbox.try_recv() {
            self.board.order_taken();
            let at = engine.now();
            match order {
                Order::Rate { stream, text, reply } => {
                    let change = Change::new(engine, &self.config, &stream, &text);
                    let result = match change {
                        Ok(change) => {
                            self.journal(at, Command::Rate { stream, rate: text })?;
                            let (before, after) = change.make(engine, at);
                            Ok((before, after, at))
                        }
                        Err(e) => Err(e),
                    };
                    let _ = reply.send(result);
                }
                Order::Start { scenario, name, cast, vars, delay, reply } => {
                    let pairs = |m: &std::collections::BTreeMap<String, String>| {
                        m.iter().map(|(a, b)| (a.as_str().into(), b.as_str().into())).collect()
                    };
                    let choices = Choices { cast: pairs(&cast), vars: pairs(&vars) };
                    self.journal(at, Command::Start { scenario: name, cast, vars, delay })?;
                    let l = self.director.launch(at + delay, Some(scenario), choices);
                    let instance = Instance::waiting(&engine.plan, l.id, l.scenario, l.time);
                    engine.launch(l);
                    let _ = reply.send(instance);
                }
                Order::Stop { which, reply } => {
                    let running = engine.running().into_iter().map(|(id, scenario, _)| (id, scenario));
                    let waiting = engine.waiting().map(|(id, scenario, _)| (id, scenario));
                    let there: Vec<_> = running.chain(waiting).collect();
                    let meant = there.into_iter().filter(|(id, scenario)| match which {
                        Stop::All => true,
                        Stop::Instance(i) => i == *id,
                        Stop::Scenario(s) => s == *scenario,
                    });
                    let mut ids: Vec<u64> = meant.map(|(id, _)| id).collect();
                    ids.sort_unstable();
                    match which {
                        Stop::All => {
                            self.journal(at, Command::StopAll)?;
                            engine.stop(None);
                        }
                        _ => {
                            for id in &ids {
                                self.journal(at, Command::Stop { instance: *id })?;
                                engine.stop(Some(*id));
                            }
                        }
                    }
                    let _ = reply.send(ids);
                }
                Order::Pause(reply) => {
                    if !pace.is_paused() {
                        self.journal(at, Command::Pause)?;
                    }
                    pace.pause(watch.now());
                    // whoever hears of it finds it so
                    self.tell(engine, pace);
                    let _ = reply.send(at);
                }
                Order::Resume(reply) => {
                    if pace.is_paused() {
                        self.journal(at, Command::Resume)?;
                    }
                    pace.resume(watch.now());
                    self.tell(engine, pace);
                    let _ = reply.send(at);
                }
            }
            self.tell(engine, pace);
        }
        Ok(())
    }

    fn journal(&mut self, at: Time, command: Command) -> anyhow::Result<()> {
        tracing::info!(logical_time = %at, "command: {}", serde_json::to_string(&command)?);
        match &mut self.state {
            Some(state) => state.journal.write(at, command),
            None => Ok(()),
        }
    }
}
