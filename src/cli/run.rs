//! `skirmish run`: the daemon.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::app::{self, Board, Limits};
use crate::cli::args::{Common, run_id, span};
use crate::cli::{Outcome, log};
use crate::manifest::Saved;
use crate::plan::{Extra, Planned, plan};
use crate::time::{Span, Time};

/// Arguments of `run`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Without -c: also into topics skirmish.SOURCE of this Kafka
    #[arg(long, value_name = "BOOTSTRAP")]
    kafka: Option<String>,
    /// Java client.properties for the Kafka of --kafka
    #[arg(long, value_name = "FILE", requires = "kafka")]
    kafka_config: Option<std::path::PathBuf>,
    /// Where gRPC is served
    #[arg(long, env = "SKIRMISH_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Wait so long for sinks that are not there yet
    #[arg(long, value_name = "TIME", value_parser = span)]
    wait: Option<Span>,
    /// End after so many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so much logical time
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    span: Option<Span>,
    /// No status block
    #[arg(short, long)]
    quiet: bool,
}

/// What building a world takes on a usual machine: any world's part, and each host's.
const BUILDING_MS: i64 = 500;
/// See [`BUILDING_MS`].
const BUILDING_US_HOST: i64 = 60;

/// How often the status block is drawn again.
const REFRESH: Duration = Duration::from_millis(500);

impl Args {
    pub(crate) fn run(self) -> Outcome {
        log::start()?;
        let mut layers = self.common.layers().or_run(self.kafka.as_deref());
        if let Some(a) = self.listen {
            layers.set.push(format!("control.listen='{a}'"));
            if self.common.config.is_empty() {
                layers.set.push(format!("sinks.live.grpc_serve.listen='{a}'"));
            }
        }
        if let Some(f) = &self.kafka_config {
            let path = serde_json::Value::from(f.display().to_string());
            layers.set.push(format!("sinks.kafka.kafka.client_properties={path}"));
        }
        if std::io::stderr().is_terminal() && !self.quiet {
            eprintln!("starting: plans the world, then reaches the sinks");
        }
        let (mut config, knowledge) = self.common.load(&layers)?;
        for s in &mut config.sinks {
            s.sink.begin(s.queue_bytes_max);
        }
        let wall = app::wall();
        // a live run begins where the clock will be when its world stands
        let hosts = config.world.hosts.unwrap_or_default() as i64;
        let begins = Time(wall) + Span::ms(BUILDING_MS) + Span::us(BUILDING_US_HOST * hosts);
        let mut extra = Extra { now: Some(begins), run: run_id(wall), ..Extra::default() };
        if let Some(dir) = &config.state
            && let Some(saved) = Saved::load(dir)?
        {
            extra.numbers = saved.numbers();
            extra.ids = saved.ids();
        }
        let planned = plan(config, &knowledge, &extra)?;
        let content = knowledge.digest.clone();
        // what a run needs of it is in its plan
        drop(knowledge);
        for w in &planned.report.warnings {
            eprintln!("note: {w}");
        }
        let threads = planned.config.threads.unwrap_or_else(|| threads_beside(&planned));
        let options = app::Options { threads, limits: Limits { count: self.count, span: self.span }, content };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)?;
        let ended = runtime.block_on(self.drive(planned, options))?;
        eprint!("\n{}", ended.status);
        let made: u64 = ended.status.streams.iter().map(|s| s.account.generated).sum();
        let seconds = ended.status.seconds;
        eprintln!("{made} records in {seconds:.2} s: {:.0}/s", made as f64 / seconds.max(1e-9));
        let mut failed = false;
        for (name, d) in &ended.sinks {
            if let Some(e) = &d.error {
                eprintln!("sink {name}: {e}");
                failed = true;
            }
            if let Some(x) = d.digest {
                eprintln!("sink {name}: xxh3:{x:032x}");
            }
        }
        if !ended.flushed {
            eprintln!("stopped before everything was flushed");
        }
        runtime.shutdown_timeout(Duration::from_secs(1));
        if failed { Err(anyhow::anyhow!("a sink failed").into()) } else { Ok(()) }
    }

    async fn drive(&self, planned: Planned, options: app::Options) -> anyhow::Result<app::Ended> {
        let (first, second) = (tokio::sync::watch::Sender::new(false), tokio::sync::watch::Sender::new(false));
        let (mut a, mut b) = (first.subscribe(), second.subscribe());
        tokio::spawn(async move {
            signal().await;
            eprintln!("\nending: flushing what was made; a second signal ends at once");
            first.send_replace(true);
            signal().await;
            second.send_replace(true);
            // senders live until the end, so that receivers never see them gone
            std::future::pending::<()>().await;
        });
        let kafka = self.kafka.is_some() || !self.common.config.is_empty();
        let draw = !self.quiet && std::io::stderr().is_terminal();
        let shutdown = async move {
            let _ = a.wait_for(|x| *x).await;
        };
        let now = async move {
            let _ = b.wait_for(|x| *x).await;
        };
        app::run(planned, options, shutdown, now, move |board| {
            let board = board.clone();
            std::thread::spawn(move || announce(&board, kafka, draw));
        })
        .await
    }
}

/// A thread for each processor, without those that sinks need: two that take turns on one processor wait for each other.
fn threads_beside(planned: &Planned) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let sinks: usize = planned.sinks.iter().map(|s| s.sink.threads()).sum();
    processors - sinks.min(processors / 2)
}

/// SIGTERM or Ctrl-C.
async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut term) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = term.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Says `ready` after the first acknowledged record, what to type next, and keeps the status block up to date.
fn announce(board: &Arc<Board>, kafka: bool, draw: bool) {
    while !board.is_ready() {
        if board.is_stopping() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("ready");
    for (name, a) in board.addresses() {
        eprintln!("  {name:<10} {a}");
    }
    eprintln!("next: skirmish tail --attack        what attacks leave, with its truth");
    eprintln!("      skirmish ctl status          how the run stands");
    if !kafka {
        eprintln!("      skirmish run --kafka localhost:9092    into topics skirmish.SOURCE");
    }
    while draw && !board.is_stopping() {
        log::draw(&fitting(&board.status().to_string(), crossterm::terminal::size().unwrap_or((80, 24))));
        std::thread::sleep(REFRESH);
    }
}

/// What of a block fits a terminal: a line that wraps, or one that scrolls away, could not be drawn over.
fn fitting(text: &str, (columns, rows): (u16, u16)) -> String {
    let fits = |l: &str| l.chars().take(columns as usize).collect::<String>() + "\n";
    text.lines().take((rows as usize).saturating_sub(1)).map(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_never_wraps_nor_scrolls() {
        assert_eq!(fitting("one two\nthree\nfour\n", (5, 3)), "one t\nthree\n");
        assert_eq!(fitting("ünï", (2, 24)), "ün\n");
    }
}
