//! `skirmish check`: loads everything, prints the plan, fails on any error.

use crate::cli::args::{Common, run_id};
use crate::cli::{Failure, Outcome};
use crate::effect::yaml::Effect;
use crate::plan::{Extra, Knowledge, plan};
use crate::scenario::{Names, trial};
use crate::time::Time;

/// Arguments of `check`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Reach the sinks, without writing
    #[arg(long)]
    connect: bool,
    /// Which sources see each step of each attack under the configured policy, and why others do not; attacks are
    /// played a few times, `--only` names some
    #[arg(long)]
    coverage: bool,
    /// With --coverage: a scenario, or several by `*`
    #[arg(long, value_name = "SCENARIO", default_value = "*", requires = "coverage")]
    only: String,
    /// Treat notes as errors
    #[arg(long)]
    strict: bool,
    /// Print the plan, or the table of --coverage, as one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        if self.common.config.is_empty() {
            eprintln!("note: this is the built-in configuration of `skirmish run`; `-c skirmish.yaml` checks your own");
        }
        let layers = self.common.layers().or_run(None);
        let (config, mut knowledge) = self.common.load(&layers)?;
        tests(&knowledge)?;
        if self.coverage {
            let table = crate::coverage::measure(&layers, &config, &mut knowledge, &self.only)?;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&table).expect("a table is JSON"));
            } else {
                print!("{table}");
            }
            return Ok(());
        }
        let wall = crate::app::wall();
        let extra = Extra { now: Some(Time(wall)), run: run_id(wall), whole_report: true, ..Extra::default() };
        let planned = plan(config, &knowledge, &extra)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&planned.report).expect("a report is JSON"));
        } else {
            print!("{}", planned.report);
        }
        for n in &knowledge.notes.0 {
            eprintln!("note: {n}");
        }
        if self.strict && !(knowledge.notes.is_empty() && planned.report.warnings.is_empty()) {
            return Err(Failure::Failed(anyhow::anyhow!("notes count as errors with --strict")));
        }
        if self.connect {
            return connect(planned);
        }
        Ok(())
    }
}

/// Runs the tests of the user's own effects; those built in have been run before they were built in.
fn tests(k: &Knowledge) -> Outcome {
    let names = Names::of(&k.world, &k.personas);
    let own = |e: &Effect| !e.node.file.is_built_in();
    match trial::run(&k.effects, &names, own)? {
        0 => {}
        1 => eprintln!("1 test of your effects holds"),
        n => eprintln!("{n} tests of your effects hold"),
    }
    Ok(())
}

fn connect(planned: crate::plan::Planned) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().map_err(anyhow::Error::from)?;
    let mut failed = 0;
    for s in &planned.sinks {
        for f in runtime.block_on(s.sink.reach()) {
            println!("{} sink {}: {}", if f.ok { "ok  " } else { "FAIL" }, s.name, f.text);
            failed += usize::from(!f.ok);
        }
    }
    match failed {
        0 => Ok(()),
        n => Err(Failure::Failed(anyhow::anyhow!("{n} of the findings above will not do"))),
    }
}
