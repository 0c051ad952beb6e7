//! The command line: one file a command, each thin: parse, call the library, print.
//!
//! Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration. Data on standard output, everything else
//! on standard error.

mod args;
mod check;
mod client;
mod emulate;
mod generate;
pub mod init;
mod list;
mod log;
mod run;
pub mod schema;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::yaml::Problems;

/// Emulates the security telemetry of an organisation under attack and streams it to Kafka and gRPC.
#[derive(Parser)]
#[command(name = "skirmish", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a commented skirmish.yaml to start from
    Init(init::Args),
    /// Stream records until stopped
    Run(run::Args),
    /// Write records of the same plan as a batch
    Generate(generate::Args),

    /// Show what commands leave in the logs of one workstation and its domain controller
    Emulate(emulate::Args),
    /// Load everything, print the plan, fail on any error
    Check(check::Args),
    /// List what there is
    List(list::ListArgs),
    /// Show one of them
    Show(list::ShowArgs),
    /// Print the JSON Schema of what you write, for editors
    Schema(schema::Args),
    /// Read a running daemon's records with their truth
    Tail(client::TailArgs),
    /// Command a running daemon
    Ctl(client::CtlArgs),
}

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Bad usage or configuration: exit code 2.
    Bad(Problems),
    /// Failed while running: exit code 1.
    Failed(anyhow::Error),
}

impl From<Problems> for Failure {
    fn from(p: Problems) -> Failure {
        Failure::Bad(p)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Failure {
        Failure::Failed(e)
    }
}

pub(crate) type Outcome = Result<(), Failure>;

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(bare(std::env::args().collect())) {
        Ok(c) => c,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match cli.command {
        Command::Init(a) => a.run(),
        Command::Run(a) => a.run(),
        Command::Generate(a) => a.run(),

        Command::Emulate(a) => a.run(),
        Command::Check(a) => a.run(),
        Command::List(a) => a.run(),
        Command::Show(a) => a.run(),
        Command::Schema(a) => a.run(),
        Command::Tail(a) => a.run(),
        Command::Ctl(a) => a.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Bad(p)) => {
            print_problems(&p);
            ExitCode::from(2)
        }
        Err(Failure::Failed(e)) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// `cargo run --release` gives no command: that is `run`.
fn bare(mut args: Vec<String>) -> Vec<String> {
    if args.len() == 1 {
        args.push("run".into());
    }
    args
}

/// Prints all problems, each with the line it is about when people look.
pub(crate) fn print_problems(p: &Problems) {
    let people = std::io::stderr().is_terminal();
    for x in &p.0 {
        eprintln!("error: {x}");
        if let (true, Some(file)) = (people, &x.file) {
            let (line, column) = file.line_col(x.at.start);
            if let Some(text) = file.text.lines().nth(line - 1) {
                let width =
                    file.text.get(x.at.clone()).map_or(1, |t| t.lines().next().unwrap_or("").chars().count().max(1));
                eprintln!("  {line:>5} | {text}\n        | {}{}", " ".repeat(column - 1), "^".repeat(width.min(100)));
            }
        }
    }
    let n = p.0.len();
    if n > 1 {
        eprintln!("{n} errors");
    }
}
