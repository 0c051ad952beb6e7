//! A client of a running daemon, for `skirmish tail` and `skirmish ctl`.

use tonic::{Code, Status, Streaming};

use crate::grpc::{Connection, Target, describe};
use crate::proto::skirmish::v1::control_client::ControlClient;
use crate::proto::skirmish::v1::records_client::RecordsClient;
use crate::proto::skirmish::v1::stop_scenario_request::Which;
use crate::proto::skirmish::v1::*;

/// Bytes that one response may have: a single message can be larger than a response is meant to be.
const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// A connection to a daemon.
#[derive(Clone)]
pub struct Client {
    records: RecordsClient<Connection>,
    control: ControlClient<Connection>,
}

/// The answer, or the status as one reads it.
type Answer<T> = Result<T, String>;

/// What the daemon says; its code only where the text alone would not tell what kind of trouble it is.
pub fn told(s: Status) -> String {
    match s.code() {
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::Unauthenticated
            if !s.message().is_empty() =>
        {
            s.message().to_owned()
        }
        Code::Unavailable => format!("the daemon went away: {}", describe(&s)),
        _ => describe(&s),
    }
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// As [`Target::connect`].
    pub async fn connect(target: &Target) -> Answer<Client> {
        let connection = target.connect().await?;
        let records = RecordsClient::new(connection.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX);
        Ok(Client { records, control: ControlClient::new(connection).max_decoding_message_size(RESPONSE_BYTES_MAX) })
    }
    /// Records from now on.
    ///
    /// # Errors
    /// As `Records.Subscribe` says.
    pub async fn subscribe(&mut self, what: SubscribeRequest) -> Answer<Streaming<SubscribeResponse>> {
        Ok(self.records.subscribe(what).await.map_err(told)?.into_inner())
    }
    /// How the run stands.
    ///
    /// # Errors
    /// The daemon does not answer or refuses the token; so for all that follow.
    pub async fn status(&mut self) -> Answer<StatusResponse> {
        Ok(self.control.status(StatusRequest {}).await.map_err(told)?.into_inner())
    }
    /// The scenarios with these ids, or all.
    pub async fn scenarios(&mut self, ids: Vec<String>) -> Answer<Vec<Scenario>> {
        let r = self.control.list_scenarios(ListScenariosRequest { ids }).await;
        Ok(r.map_err(told)?.into_inner().scenarios)
    }
    /// Starts an instance.
    pub async fn start_scenario(&mut self, what: StartScenarioRequest) -> Answer<InstanceStatus> {
        let r = self.control.start_scenario(what).await.map_err(told)?.into_inner();
        r.instance.ok_or_else(|| "the daemon does not say which instance it started".into())
    }
    /// Stops instances; returns their ids.
    pub async fn stop_scenario(&mut self, which: Which) -> Answer<Vec<String>> {
        let r = self.control.stop_scenario(StopScenarioRequest { which: Some(which) }).await;
        Ok(r.map_err(told)?.into_inner().instances)
    }
    /// Changes the rate of a stream.
    pub async fn set_rate(&mut self, stream: String, rate: String) -> Answer<SetRateResponse> {
        Ok(self.control.set_rate(SetRateRequest { stream, rate }).await.map_err(told)?.into_inner())
    }
    /// Stops logical time.
    pub async fn pause(&mut self) -> Answer<PauseResponse> {
        Ok(self.control.pause(PauseRequest {}).await.map_err(told)?.into_inner())
    }
    /// Lets logical time go on.
    pub async fn resume(&mut self) -> Answer<ResumeResponse> {
        Ok(self.control.resume(ResumeRequest {}).await.map_err(told)?.into_inner())
    }
    /// Ends the run.
    pub async fn stop_all(&mut self, flush_seconds: f64) -> Answer<()> {
        self.control.stop_all(StopAllRequest { flush_seconds }).await.map_err(told)?;
        Ok(())
    }
}
