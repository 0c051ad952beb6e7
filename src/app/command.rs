//! Commands from the control service to the driver, and its answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::app::board::{Board, Instance};
use crate::cell;
use crate::control::Refusal;
use crate::proto::skirmish::v1::stop_scenario_request::Which;
use crate::proto::skirmish::v1::{
    InstanceStatus, Scenario, SetRateResponse, Slot, StartScenarioRequest, StatusResponse,
};
use crate::time::{Span, Time};
use crate::world::program::ScenarioId;
use crate::yaml::suggest;

/// Something to be done between two slices.
pub enum Order {
    /// Another rate.
    Rate { stream: String, text: String, reply: oneshot::Sender<Result<(f64, f64, Time), String>> },
    /// A play of a scenario.
    Start {
        scenario: ScenarioId,
        name: String,
        cast: BTreeMap<String, String>,
        vars: BTreeMap<String, String>,
        delay: Span,
        reply: oneshot::Sender<Instance>,
    },
    /// Instances end.
    Stop { which: Stop, reply: oneshot::Sender<Vec<u64>> },
    /// Logical time stops.
    Pause(oneshot::Sender<Time>),
    /// It goes on.
    Resume(oneshot::Sender<Time>),
}

/// Instances that are to end.
pub enum Stop {
    /// One.
    Instance(u64),
    /// Those of a scenario.
    Scenario(ScenarioId),
    /// Every one.
    All,
}

/// Answers the control service.
pub struct Commander {
    /// How the run stands.
    pub board: Arc<Board>,
    /// To the driver.
    pub orders: Sender<Order>,
    /// The run is to end.
    pub stop: Arc<AtomicBool>,
    /// Scenarios as listed.
    pub scenarios: Vec<Scenario>,
}

/// Scenarios as the control service lists them.
pub fn describe(plan: &cell::Plan) -> Vec<Scenario> {
    let one = |s: &crate::world::program::Scenario| Scenario {
        id: s.id.to_string(),
        title: String::new(),
        cast: s.cast.iter().map(|(n, b)| Slot { name: n.to_string(), accepts: accepts(b).into() }).collect(),
        variables: s.vars.iter().map(|(n, _)| Slot { name: n.to_string(), accepts: "text".into() }).collect(),
        techniques: s.steps.iter().map(|s| s.technique.to_string()).filter(|t| !t.is_empty()).collect(),
        steps: s.steps.len() as u32,
    };
    plan.shared.library.scenarios.iter().filter(|s| s.attack).map(one).collect()
}

fn accepts(b: &crate::world::program::Bind) -> &'static str {
    use crate::world::program::Bind as B;
    match b {
        B::Host { .. } | B::Hosts { .. } | B::DcOf(_) => "a host",
        _ => "an account",
    }
}

impl Commander {
    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let gone = || Refusal::NotNow("the run is ending".into());
        self.board.order_sent();
        self.orders.send(make(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    fn scenario(&self, id: &str) -> Result<(ScenarioId, &Scenario), Refusal> {
        let index = self.board.scenario(id);
        let found = self.scenarios.iter().find(|s| s.id == id);
        index.zip(found).ok_or_else(|| {
            let near = suggest(id, self.scenarios.iter().map(|s| s.id.as_str()));
            Refusal::NotFound(format!("unknown scenario `{id}`; {near}"))
        })
    }
}

#[tonic::async_trait]
impl crate::control::Commander for Commander {
    async fn status(&self) -> StatusResponse {
        self.board.response()
    }

    async fn scenarios(&self) -> Vec<Scenario> {
        self.scenarios.clone()
    }

    async fn start_scenario(&self, what: StartScenarioRequest) -> Result<InstanceStatus, Refusal> {
        let (id, s) = self.scenario(&what.scenario)?;
        for (given, slots, kind) in [(&what.cast, &s.cast, "role"), (&what.variables, &s.variables, "variable")] {
            if let Some(bad) = given.keys().find(|k| !slots.iter().any(|s| s.name == **k)) {
                let near = suggest(bad, slots.iter().map(|s| s.name.as_str()));
                return Err(Refusal::Invalid(format!("unknown {kind} of `{}` `{bad}`; {near}", s.id)));
            }
        }
        for (role, member) in &what.cast {
            if !self.board.knows(member) {
                return Err(Refusal::Invalid(format!("role `{role}`: there is no host or account `{member}`")));
            }
        }
        let cast = what.cast.into_iter().collect();
        let vars = what.variables.into_iter().collect();
        let (delay, name) = (Span(what.delay_nano), what.scenario);
        let i = self.ask(|reply| Order::Start { scenario: id, name, cast, vars, delay, reply }).await?;
        Ok(i.to_proto())
    }

    async fn stop_scenario(&self, which: Which) -> Result<Vec<String>, Refusal> {
        let (stop, named) = match which {
            Which::All(_) => (Stop::All, String::new()),
            Which::Instance(id) => match id.parse() {
                Ok(n) => (Stop::Instance(n), id),
                Err(_) => return Err(Refusal::Invalid(format!("`{id}` is no instance: expected its number"))),
            },
            Which::Scenario(s) => (Stop::Scenario(self.scenario(&s)?.0), String::new()),
        };
        let stopped = self.ask(|reply| Order::Stop { which: stop, reply }).await?;
        if stopped.is_empty() && !named.is_empty() {
            let ids: Vec<String> = self.board.instances().iter().map(|i| i.id.to_string()).collect();
            let there = if ids.is_empty() { "none runs".into() } else { format!("there are {}", ids.join(", ")) };
            return Err(Refusal::NotFound(format!("no instance `{named}` runs; {there}")));
        }
        Ok(stopped.into_iter().map(|i| i.to_string()).collect())
    }

    async fn set_rate(&self, stream: String, rate: String) -> Result<SetRateResponse, Refusal> {
        let answer = self.ask(|reply| Order::Rate { stream, text: rate, reply }).await?;
        let (before, after, at) = answer.map_err(Refusal::Invalid)?;
        Ok(SetRateResponse { before_per_second: before, after_per_second: after, logical_time_unix_nano: at.0 })
    }

    async fn pause(&self) -> Result<Time, Refusal> {
        self.ask(Order::Pause).await
    }

    async fn resume(&self) -> Result<Time, Refusal> {
        self.ask(Order::Resume).await
    }

    async fn stop_all(&self, flush: Option<Duration>) -> Result<(), Refusal> {
        self.board.stop(flush);
        self.stop.store(true, Ordering::Relaxed);
        Ok(())
    }
}
