//! `skirmish emulate`: what commands leave in the logs of one workstation and its domain controller.

use std::path::PathBuf;
use std::time::Instant;

use crate::cli::Outcome;
use crate::cli::args::Common;
use crate::config::{Config, Layers};
use crate::effect::action::Shell;
use crate::generate::{self, Only, Options, Output};
use crate::plan::{Extra, Knowledge, plan};
use crate::scenario::{Names, compile_command};
use crate::source::{Encoding, Platform};
use crate::technique::{self, Techniques};
use crate::time::{Span, Time};
use crate::world::atlas::build;
use crate::world::program::{AccountSel, Bind, Count, Dur, HostSel, Scenario, Step, Who};
use crate::yaml::{Problems, suggest};

/// Arguments of `emulate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Commands, one after another
    #[arg(value_name = "COMMAND", required_unless_present = "actions")]
    commands: Vec<String>,
    /// File with one command a line; empty lines and lines that begin with # are left out
    #[arg(long, value_name = "FILE")]
    actions: Option<PathBuf>,
    /// Sources, each with an encoding if wished; all Windows sources when none is named
    #[arg(long, value_name = "ID[:ENCODING]", value_delimiter = ',')]
    source: Vec<String>,
    /// ATT&CK technique that the truth names
    #[arg(long, value_name = "ID", default_value = "")]
    technique: String,
    /// Whose token: the workstation's user, a user who is its administrator with the full token, or the system
    #[arg(long = "as", value_enum, default_value = "elevated")]
    account: As,
    /// Program that the commands are given to: cmd.exe, powershell.exe, or any that starts them
    #[arg(long, value_name = "PROGRAM", default_value = "cmd.exe")]
    parent: String,
    /// Host that runs them, instead of the first workstation
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Seed of every draw
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// Truth lines
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// File; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: String,
    /// Folder with data of your own
    #[arg(long, value_name = "DIR")]
    data: Vec<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    User,
    Elevated,
    System,
}

/// Hosts of the small world: the workstation, its domain controller, and a few that a command may reach.
const HOSTS: u32 = 24;
/// Id of the scenario that the commands become.
const ID: &str = "emulate";

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let begun = Instant::now();
        let mut knowledge = Knowledge::load(&self.data)?;
        let commands = self.commands()?;
        let tactic = self.tactic()?;
        let streams = self.streams(&knowledge)?;
        let layers = Layers {
            set: vec![
                format!("seed={}", self.seed),
                format!("world.hosts={HOSTS}"),
                "sensors.policy=verbose_lab".into(),
                "attacks={scenarios: []}".into(),
                "sinks={out: {null: {}}}".into(),
                format!("streams={streams}"),
            ],
            ..Common::default().layers()
        }
        .or_generate();
        let config = Config::load(&layers)?;
        self.scenario(&mut knowledge, &config, &commands, &tactic)?;
        let extra = Extra {
            scenarios: vec![ID.into()],
            quiet: true,
            run: ID.into(),
            cast: self.host.iter().map(|h| ("pc".into(), h.as_str().into())).collect(),
            ..Extra::default()
        };
        let planned = plan(config, &knowledge, &extra)?;
        if let Some(h) = &self.host {
            let hosts = &planned.plan.shared.atlas.hosts;
            if !hosts.iter().any(|x| x.name.eq_ignore_ascii_case(h) || x.fqdn.eq_ignore_ascii_case(h)) {
                let mut p = Problems::new();
                p.plain(format!("unknown host `{h}`")).help(suggest(h, hosts.iter().map(|x| &*x.name)));
                return Err(p.into());
            }
        }
        let options = Options {
            output: if self.output == "-" { Output::Stdout } else { Output::File(self.output.into()) },
            limits: crate::app::Limits { count: None, span: Some(Span::s(86_400)) },
            only: Only::Attack,
            truth: self.truth,
            threads: 1,
            until_done: true,
            ..Options::default()
        };
        generate::run(planned, &options, begun)?;
        Ok(())
    }

    /// The first tactic of the technique; one that is well formed and not in the table has none, and a note says so.
    fn tactic(&self) -> Result<String, Problems> {
        let (id, known) = (self.technique.as_str(), Techniques::builtin());
        let mut p = Problems::new();
        match known.get(id) {
            Some(t) => return Ok(t.tactics.first().cloned().unwrap_or_default()),
            None if id.is_empty() => {}
            None if technique::well_formed(id) => {
                let near = suggest(id, known.iter().map(|t| &*t.id));
                eprintln!("note: technique {id} is not in the table, the truth names it without a tactic; {near}");
            }
            None => {
                p.plain(format!("`--technique` must be an ATT&CK id such as T1059 or T1059.001, not `{id}`"));
            }
        }
        p.or(String::new())
    }

    fn commands(&self) -> Result<Vec<String>, Problems> {
        let mut all = self.commands.clone();
        if let Some(path) = &self.actions {
            let text = std::fs::read_to_string(path).map_err(|e| {
                let mut p = Problems::new();
                p.plain(format!("{}: cannot read: {e}", path.display()));
                p
            })?;
            all.extend(text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned));
        }
        Ok(all)
    }

    /// Makes a scenario of the commands: one step each.
    fn scenario(&self, k: &mut Knowledge, config: &Config, commands: &[String], tactic: &str) -> Result<(), Problems> {
        let mut names = Names::of(&k.world, &k.personas);
        // commands name hosts of this world
        names.meet(build::host_names(&k.atlas_config(config, HOSTS, Time(0)), &k.world)?);
        let parent = match self.parent.to_ascii_lowercase() {
            p if p.contains('.') => p,
            p => p + ".exe",
        };
        let shell = match parent.as_str() {
            "cmd.exe" => Some(Shell::Cmd),
            "powershell.exe" | "pwsh.exe" => Some(Shell::PowerShell),
            _ => None,
        };
        let role = names.roles.iter().position(|r| **r == *"workstation").unwrap_or(0) as u16;
        // only who is an administrator of the machine has a full token beside the other one
        let admins = k.personas.iter().position(|p| p.local_admin).filter(|_| self.account == As::Elevated);
        let persona = admins.map(|i| i as u16);
        let mut steps = vec![];
        for (i, c) in commands.iter().enumerate() {
            let elevated = self.account != As::User;
            let (script, notes) = compile_command(&mut k.library, &k.effects, &names, c, shell, elevated)?;
            for n in &notes.0 {
                match commands.len() {
                    1 => eprintln!("note: {}", n.message),
                    _ => eprintln!("note: command {}: {}", i + 1, n.message),
                }
            }
            steps.push(Step {
                id: format!("command{}", i + 1).into(),
                technique: self.technique.as_str().into(),
                tactic: tactic.into(),
                needs: if i == 0 { vec![] } else { vec![i as u16 - 1] },
                after: Dur::Range(Span::ms(800), Span::s(3)),
                chance: 1.0,
                host: HostSel::Role(0),
                each: None,
                gap: Dur::Fixed(Span::ZERO),
                parallel: false,
                repeat: Count::Fixed(1),
                account: if self.account == As::System { AccountSel::System } else { AccountSel::Role(1) },
                parent: Who::Image(k.library.name(&parent)),
                script,
                wait: true,
                window: None,
                elevated: self.account == As::Elevated,
            });
        }
        k.library.scenarios.push(Scenario {
            id: ID.into(),
            attack: true,
            cast: vec![("pc".into(), Bind::Host { role, persona }), ("user".into(), Bind::UserOf(0))],
            vars: vec![],
            names: vec![],
            steps,
            expect: vec![],
        });
        Ok(())
    }

    fn streams(&self, k: &Knowledge) -> Result<String, Problems> {
        let mut p = Problems::new();
        let all: Vec<String> = match self.source.is_empty() {
            false => self.source.clone(),
            true => k.catalogue.iter().filter(|s| s.platform == Platform::Windows).map(|s| s.id.clone()).collect(),
        };
        let mut parts = vec![];
        for one in all {
            let (id, encoding) = one.split_once(':').map_or((one.as_str(), None), |(a, b)| (a, Some(b)));
            let Some(source) = k.catalogue.get(id) else {
                p.plain(format!("unknown source `{id}`")).help(suggest(id, k.catalogue.ids()));
                continue;
            };
            let default = [Encoding::Nxlog, Encoding::DefenderRow].into_iter().find(|e| source.encodings.contains(e));
            let encoding = encoding.unwrap_or(default.unwrap_or(source.encodings[0]).name());
            let key = id.replace('.', "_");
            parts.push(format!("{key}: {{source: {id}, to: [{{sink: out, encoding: {encoding}}}]}}"));
        }
        p.or(format!("{{{}}}", parts.join(", ")))
    }
}
