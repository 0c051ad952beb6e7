//! `skirmish tail` and `skirmish ctl`: clients of a running daemon.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::cli::args::span;
use crate::cli::{Failure, Outcome};
use crate::client::Client;
use crate::grpc::Target;
use crate::proto::skirmish::v1::stop_scenario_request::Which;
use crate::proto::skirmish::v1::*;
use crate::secret::SecretRef;
use crate::time::{Span, Time};
use crate::tls::ClientTls;

/// Where the daemon is.
#[derive(clap::Args, Clone, Debug)]
struct Connect {
    /// Address of the daemon's gRPC
    #[arg(long, env = "SKIRMISH_CONNECT", default_value = crate::config::LISTEN, value_name = "ADDRESS")]
    connect: String,
    /// File with the token that the daemon asks for
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// CA certificates (PEM); turns TLS on
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl Connect {
    async fn client(&self) -> Result<Client, Failure> {
        let failed = |e: String| Failure::Failed(anyhow::anyhow!(e));
        let token = match &self.token_file {
            Some(f) => Some(SecretRef::File(f.clone()).read().map_err(failed)?),
            None => None,
        };
        let tls = (self.ca.is_some() || self.cert.is_some()).then(|| ClientTls {
            ca: self.ca.clone(),
            identity: self.cert.clone().zip(self.key.clone()),
            server_name: None,
        });
        let target = Target { address: self.connect.clone(), tls, token, ..Target::default() };
        let help = "`skirmish run` starts a daemon, `--connect` says where one is";
        Client::connect(&target).await.map_err(|e| failed(format!("{e}; {help}")))
    }
}

/// Arguments of `tail`.
#[derive(clap::Args, Debug)]
pub struct TailArgs {
    #[command(flatten)]
    connect: Connect,
    /// Only records of attacks
    #[arg(long)]
    attack: bool,
    /// Only this stream (repeatable)
    #[arg(long, value_name = "NAME")]
    stream: Vec<String>,
    /// Only this host, short or full name (repeatable)
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Only instances of this scenario (repeatable)
    #[arg(long, value_name = "ID")]
    scenario: Vec<String>,
    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    count: u64,
    /// Payloads alone, as they are
    #[arg(long)]
    raw: bool,
}

impl TailArgs {
    pub(crate) fn run(self) -> Outcome {
        block_on(async {
            let mut client = self.connect.client().await?;
            let request = SubscribeRequest {
                streams: self.stream.clone(),
                hosts: self.host.clone(),
                attack_only: self.attack,
                scenarios: self.scenario.clone(),
                limit_messages: self.count,
                ..SubscribeRequest::default()
            };
            let failed = |e: String| Failure::Failed(anyhow::anyhow!(e));
            let mut stream = client.subscribe(request).await.map_err(failed)?;
            let mut left = if self.count == 0 { u64::MAX } else { self.count };
            while let Some(r) = stream.message().await.map_err(|s| failed(crate::client::told(s)))? {
                let mut out = std::io::stdout().lock();
                if let Some(g) = r.gap {
                    eprintln!("left out {} records: this reader was too slow", g.records);
                }
                for (b, m) in r.batches.iter().flat_map(|b| b.messages.iter().map(move |m| (b, m))) {
                    if left == 0 {
                        return Ok(());
                    }
                    left -= 1;
                    let written = match self.raw {
                        true => out.write_all(&m.payload).and_then(|()| out.write_all(b"\n")),
                        false => print(&mut out, b, m),
                    };
                    if written.is_err() {
                        // whoever read the pipe has enough
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }
}

/// One record for people: a head with its truth, then the payload.
fn print(out: &mut impl Write, b: &RecordBatch, m: &Message) -> std::io::Result<()> {
    let t = Time(m.release_time_unix_nano).to_string();
    write!(out, "{} {}", &t[11..23.min(t.len())], b.stream)?;
    let truth: Option<serde_json::Value> = std::str::from_utf8(&m.truth)
        .ok()
        .and_then(|t| t.lines().next())
        .and_then(|line| serde_json::from_str(line).ok());
    if let Some(t) = truth.filter(|t| t["attack"] == true) {
        let word = |k: &str| t[k].as_str().unwrap_or("-").to_owned();
        write!(
            out,
            " ATTACK {} #{} {} {} {}",
            word("scenario"),
            t["instance"],
            word("step"),
            word("technique"),
            word("role")
        )?;
    }
    writeln!(out)?;
    out.write_all(&m.payload)?;
    out.write_all(b"\n")
}

/// Arguments of `ctl`.
#[derive(clap::Args, Debug)]
pub struct CtlArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Ctl,
}

#[derive(Subcommand, Debug)]
enum Ctl {
    /// How the run stands
    Status {
        /// Wait for this state
        #[arg(long, value_enum)]
        wait: Option<Waited>,
        /// Give up waiting after this time
        #[arg(long, value_parser = span, default_value = "60s")]
        timeout: Span,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Start or stop attacks
    #[command(subcommand)]
    Scenario(ScenarioCtl),
    /// Change the rate of a stream: ctl rate sysmon 3k/s
    Rate {
        /// Name of the stream
        stream: String,
        /// A rate as in the configuration
        rate: String,
    },
    /// Stop logical time
    Pause,
    /// Let logical time go on
    Resume,
    /// End the run
    Stop {
        /// Needed, so that nobody ends a run by a slip
        #[arg(long, required = true)]
        all: bool,
    },
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Waited {
    Ready,
}

#[derive(Subcommand, Debug)]
enum ScenarioCtl {
    /// Start an instance
    Start {
        /// Id of the scenario
        id: String,
        /// Member of a role: pc=WS-0007 (repeatable)
        #[arg(long, value_name = "ROLE=NAME", value_parser = pair)]
        cast: Vec<(String, String)>,
        /// Value of a variable: c2=evil.example (repeatable)
        #[arg(long, value_name = "NAME=TEXT", value_parser = pair)]
        var: Vec<(String, String)>,
        /// Start after this logical time
        #[arg(long, value_parser = span)]
        after: Option<Span>,
    },
    /// Stop an instance by its number, all of a scenario, or `all`
    Stop {
        /// Number, id of a scenario, or `all`
        which: String,
    },
    /// List what can be started
    List,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (a, b) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((a.to_owned(), b.to_owned()))
}

/// As `println!`; whoever closed the pipe has read enough.
macro_rules! say {
    ($($what:tt)*) => {
        if writeln!(std::io::stdout(), $($what)*).is_err() {
            return Ok(());
        }
    };
}

impl CtlArgs {
    pub(crate) fn run(self) -> Outcome {
        let failed = |e: String| Failure::Failed(anyhow::anyhow!(e));
        block_on(async {
            if let Ctl::Status { wait: Some(_), timeout, json } = &self.command {
                return self.wait(*timeout, *json).await;
            }
            let mut client = self.connect.client().await?;
            match self.command {
                Ctl::Status { json, .. } => {
                    let s = client.status().await.map_err(failed)?;
                    return show(&s, json);
                }
                Ctl::Scenario(ScenarioCtl::Start { id, cast, var, after }) => {
                    let what = StartScenarioRequest {
                        scenario: id,
                        cast: cast.into_iter().collect(),
                        variables: var.into_iter().collect(),
                        delay_nano: after.map_or(0, |a| a.0),
                    };
                    let i = client.start_scenario(what).await.map_err(failed)?;
                    say!("{} {}", i.id, i.scenario);
                }
                Ctl::Scenario(ScenarioCtl::Stop { which }) => {
                    let which = match which.as_str() {
                        "all" => Which::All(true),
                        w if w.bytes().all(|b| b.is_ascii_digit()) => Which::Instance(which),
                        _ => Which::Scenario(which),
                    };
                    for id in client.stop_scenario(which).await.map_err(failed)? {
                        say!("{id}");
                    }
                }
                Ctl::Scenario(ScenarioCtl::List) => {
                    for s in client.scenarios(vec![]).await.map_err(failed)? {
                        let roles: Vec<&str> = s.cast.iter().map(|c| c.name.as_str()).collect();
                        say!("{:<40} {:>2} steps, roles {}", s.id, s.steps, roles.join(", "));
                    }
                }
                Ctl::Rate { stream, rate } => {
                    let r = client.set_rate(stream.clone(), rate).await.map_err(failed)?;
                    say!(
                        "{stream}: {:.1}/s -> {:.1}/s from {}",
                        r.before_per_second,
                        r.after_per_second,
                        Time(r.logical_time_unix_nano)
                    );
                }
                Ctl::Pause => {
                    say!("paused at {}", Time(client.pause().await.map_err(failed)?.logical_time_unix_nano));
                }
                Ctl::Resume => {
                    say!("goes on from {}", Time(client.resume().await.map_err(failed)?.logical_time_unix_nano));
                }
                Ctl::Stop { .. } => client.stop_all(0.0).await.map_err(failed)?,
            }
            Ok(())
        })
    }

    /// Asks until the run is ready; a daemon that is not there yet is waited for as well.
    async fn wait(&self, timeout: Span, json: bool) -> Outcome {
        let ask = async {
            loop {
                if let Ok(mut client) = self.connect.client().await
                    && let Ok(s) = client.status().await
                    && s.state() == RunState::Ready
                {
                    return s;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match tokio::time::timeout(Duration::from_nanos(timeout.0 as u64), ask).await {
            Ok(s) => show(&s, json),
            Err(_) => Err(Failure::Failed(anyhow::anyhow!(
                "{} was not ready within {:.0} s",
                self.connect.connect,
                timeout.as_secs_f64()
            ))),
        }
    }
}

fn show(s: &StatusResponse, json: bool) -> Outcome {
    let state = s.state().as_str_name().trim_start_matches("RUN_STATE_").to_lowercase();
    if json {
        let streams: Vec<_> = s
            .streams
            .iter()
            .map(|x| {
                let deliveries: Vec<_> = x
                    .deliveries
                    .iter()
                    .map(|d| serde_json::json!({"sink": d.sink, "encoding": d.encoding, "generated": d.generated, "delivered": d.delivered, "dropped": d.dropped, "in_flight": d.in_flight, "unknown": d.unknown, "bytes": d.bytes}))
                    .collect();
                serde_json::json!({"name": x.name, "source": x.source, "asked": x.asked_per_second, "achieved": x.achieved_per_second, "scheduled": x.scheduled, "generated": x.generated, "owed": x.owed, "attack": x.attack, "fill": x.fill, "bytes": x.bytes, "deliveries": deliveries})
            })
            .collect();
        let instances: Vec<_> = s
            .instances
            .iter()
            .map(|i| serde_json::json!({"id": i.id, "scenario": i.scenario, "step": i.step, "technique": i.technique, "done": i.steps_done, "steps": i.steps}))
            .collect();
        say!(
            "{}",
            serde_json::json!({"run": s.run, "state": state, "logical_time": Time(s.logical_time_unix_nano).to_string(), "seed": s.seed, "hosts": s.hosts, "streams": streams, "instances": instances})
        );
        return Ok(());
    }
    say!("run {} {state}, logical time {}, {} hosts, seed {}", s.run, Time(s.logical_time_unix_nano), s.hosts, s.seed);
    for x in &s.streams {
        say!(
            "{:<18} asked {:>8.0}/s made {:>8.0}/s  {:>12} made, owed {}",
            x.name,
            x.asked_per_second,
            x.achieved_per_second,
            x.generated,
            x.owed
        );
        for d in &x.deliveries {
            say!(
                "  {:<16} {:>12} delivered, {} dropped, {} in flight, {} unknown",
                d.sink,
                d.delivered,
                d.dropped,
                d.in_flight,
                d.unknown
            );
        }
    }
    for i in &s.instances {
        if i.start_time_unix_nano > 0 {
            say!("attack {} {} starts at {}", i.id, i.scenario, Time(i.start_time_unix_nano));
            continue;
        }
        say!("attack {} {} step {} {} ({}/{})", i.id, i.scenario, i.step, i.technique, i.steps_done + 1, i.steps);
    }
    Ok(())
}

fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|e| Failure::Failed(e.into()))?.block_on(work)
}
