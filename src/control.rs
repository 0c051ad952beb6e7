//! The control service: decodes, asks the daemon, encodes. No decisions.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use crate::proto::skirmish::v1::control_server::{Control, ControlServer};
use crate::proto::skirmish::v1::stop_scenario_request::Which;
use crate::proto::skirmish::v1::*;
use crate::sink::AddServices;
use crate::time::Time;

/// Full name of the service.
pub const CONTROL: &str = "skirmish.v1.Control";

/// What can be asked of a running daemon. The messages are those of `proto/skirmish/v1/control.proto`, which says what
/// their fields mean.
#[tonic::async_trait]
pub trait Commander: Send + Sync + 'static {
    /// How the run stands.
    async fn status(&self) -> StatusResponse;
    /// The scenarios, by id.
    async fn scenarios(&self) -> Vec<Scenario>;
    /// Starts an instance.
    async fn start_scenario(&self, what: StartScenarioRequest) -> Result<InstanceStatus, Refusal>;
    /// Stops instances; returns their ids.
    async fn stop_scenario(&self, which: Which) -> Result<Vec<String>, Refusal>;
    /// Changes the rate of a stream.
    async fn set_rate(&self, stream: String, rate: String) -> Result<SetRateResponse, Refusal>;
    /// Stops logical time; returns where it stands.
    async fn pause(&self) -> Result<Time, Refusal>;
    /// Lets logical time go on; returns from where.
    async fn resume(&self) -> Result<Time, Refusal>;
    /// Ends the run; returns once that has begun.
    async fn stop_all(&self, flush: Option<Duration>) -> Result<(), Refusal>;
}

/// Why a command was not carried out. The text names the value and what would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such stream, scenario or instance.
    NotFound(String),
    /// The request makes no sense.
    Invalid(String),
    /// It makes sense, but not now.
    NotNow(String),
}

impl From<Refusal> for Status {
    fn from(r: Refusal) -> Status {
        match r {
            Refusal::NotFound(m) => Status::not_found(m),
            Refusal::Invalid(m) => Status::invalid_argument(m),
            Refusal::NotNow(m) => Status::failed_precondition(m),
        }
    }
}

/// The service as a sink that is a server takes it, with [`CONTROL`] as its name.
pub fn service(commander: Arc<dyn Commander>) -> AddServices {
    Box::new(|routes| routes.add_service(ControlServer::new(Handler(commander))))
}

struct Handler(Arc<dyn Commander>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Control for Handler {
    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        Ok(Response::new(self.0.status().await))
    }
    async fn list_scenarios(&self, r: Request<ListScenariosRequest>) -> Answer<ListScenariosResponse> {
        let ids = r.into_inner().ids;
        let listed = |s: &Scenario| {
            let is = |id: &String| id.strip_suffix('*').map_or(*id == s.id, |start| s.id.starts_with(start));
            ids.is_empty() || ids.iter().any(is)
        };
        let mut scenarios = self.0.scenarios().await;
        scenarios.retain(listed);
        Ok(Response::new(ListScenariosResponse { scenarios }))
    }
    async fn start_scenario(&self, r: Request<StartScenarioRequest>) -> Answer<StartScenarioResponse> {
        let r = r.into_inner();
        if r.delay_nano < 0 {
            return Err(Status::invalid_argument(format!("delay_nano is {}, at least 0", r.delay_nano)));
        }
        Ok(Response::new(StartScenarioResponse { instance: Some(self.0.start_scenario(r).await?) }))
    }
    async fn stop_scenario(&self, r: Request<StopScenarioRequest>) -> Answer<StopScenarioResponse> {
        let which = match r.into_inner().which {
            None | Some(Which::All(false)) => {
                return Err(Status::invalid_argument("name an instance or a scenario, or say all"));
            }
            Some(which) => which,
        };
        Ok(Response::new(StopScenarioResponse { instances: self.0.stop_scenario(which).await? }))
    }
    async fn set_rate(&self, r: Request<SetRateRequest>) -> Answer<SetRateResponse> {
        let r = r.into_inner();
        Ok(Response::new(self.0.set_rate(r.stream, r.rate).await?))
    }
    async fn pause(&self, _: Request<PauseRequest>) -> Answer<PauseResponse> {
        Ok(Response::new(PauseResponse { logical_time_unix_nano: self.0.pause().await?.0 }))
    }
    async fn resume(&self, _: Request<ResumeRequest>) -> Answer<ResumeResponse> {
        Ok(Response::new(ResumeResponse { logical_time_unix_nano: self.0.resume().await?.0 }))
    }
    async fn stop_all(&self, r: Request<StopAllRequest>) -> Answer<StopAllResponse> {
        let seconds = r.into_inner().flush_seconds;
        let flush = match Duration::try_from_secs_f64(seconds) {
            Ok(Duration::ZERO) => None,
            Ok(d) => Some(d),
            Err(_) => return Err(Status::invalid_argument(format!("flush_seconds is {seconds}, at least 0"))),
        };
        self.0.stop_all(flush).await?;
        Ok(Response::new(StopAllResponse {}))
    }
}
