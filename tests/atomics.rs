//! What the effects make of commands that nobody here wrote: every Windows test of Atomic Red Team compiles or says why,
//! and most leave something that a sensor sees.
//!
//! `cargo test --test atomics -- --nocapture` prints the table; `ATOMICS_LIST=nothing|unknown|errors` also the commands
//! that leave next to nothing, the programs and cmdlets without an effect, or what does not compile.
//! Without `../shared/data/atomic-red-team` there is nothing to test, and a line says so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use skirmish::activity::Kind;
use skirmish::data::Data;
use skirmish::effect::Effects;
use skirmish::effect::action::Shell;
use skirmish::scenario::{self, Names, trial};
use skirmish::world::atlas::WorldData;
use skirmish::yaml::{self, Node};

struct Command {
    technique: String,
    name: String,
    shell: Shell,
    text: String,
}

fn field<'a>(n: &'a Node, key: &str) -> &'a str {
    n.get(key).and_then(Node::as_str).unwrap_or_default()
}

/// All Windows tests with a command, arguments filled in with their defaults.
fn commands() -> Vec<Command> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/atomic-red-team/atomics"));
    let Ok(folders) = std::fs::read_dir(&root) else { return vec![] };
    let mut folders: Vec<PathBuf> = folders.flatten().map(|e| e.path()).collect();
    folders.sort();
    let mut out = vec![];
    for folder in folders {
        let technique = folder.file_name().unwrap().to_string_lossy().into_owned();
        let docs = yaml::read(&folder.join(format!("{technique}.yaml"))).unwrap_or_else(|p| panic!("{p}"));
        for t in docs[0].get("atomic_tests").map_or(&[][..], Node::items) {
            let platforms = t.get("supported_platforms").map_or(&[][..], Node::items);
            if !platforms.iter().any(|p| p.as_str() == Some("windows")) {
                continue;
            }
            let Some(e) = t.get("executor") else { continue };
            let shell = match field(e, "name") {
                "command_prompt" => Shell::Cmd,
                "powershell" => Shell::PowerShell,
                _ => continue,
            };
            let mut text = field(e, "command").to_owned();
            if text.trim().is_empty() {
                continue;
            }
            if let Some(args) = t.get("input_arguments") {
                for (k, v) in args.pairs(&mut yaml::Problems::new(), "arguments") {
                    text = text.replace(&format!("#{{{}}}", k.as_str().unwrap_or_default()), field(v, "default"));
                }
            }
            // written bare, or as PowerShell's variable
            for folder in ["$PathToAtomicsFolder", "PathToAtomicsFolder"] {
                text = text.replace(folder, r"C:\AtomicRedTeam\atomics");
            }
            out.push(Command { technique: technique.clone(), name: field(t, "name").to_owned(), shell, text });
        }
    }
    out
}

/// What any program leaves, so that it says little about a command.
const PLAIN: &[Kind] = &[
    Kind::ProcessStart,
    Kind::ProcessEnd,
    Kind::ScriptBlock,
    Kind::ScriptCommand,
    Kind::ImageLoad,
    Kind::HandleRequest,
    Kind::HandleClose,
    Kind::ObjectAccess,
];

#[derive(Default)]
struct Row {
    all: usize,
    compile: usize,
    /// Started programs or called cmdlets that effects know.
    known: usize,
    two: usize,
    telling: usize,
    nothing: usize,
}

#[test]
fn windows_atomics_leave_what_they_should() {
    let commands = commands();
    if commands.is_empty() {
        eprintln!("SKIPPED: no ../shared/data/atomic-red-team");
        return;
    }
    let data = Data::load(&[]).unwrap_or_else(|p| panic!("{p}"));
    let effects = Effects::load(&data.effects).unwrap_or_else(|p| panic!("{p}"));
    let runs = |n: &&Node| n.get("background").is_none() && n.get("script").is_none();
    let own: Vec<Node> = data.world.iter().filter(runs).cloned().collect();
    let world = WorldData::load(&own).unwrap_or_else(|p| panic!("{p}"));
    let names = Names::of(&world, &scenario::personas(&data.personas).unwrap_or_default());
    let list = std::env::var("ATOMICS_LIST").unwrap_or_default();
    let mut rows = BTreeMap::<&str, Row>::new();
    let mut unknown = BTreeMap::<String, usize>::new();
    let mut programs = (0, 0);
    let mut errors = vec![];
    for c in &commands {
        let row = rows.entry(if c.shell == Shell::Cmd { "cmd" } else { "powershell" }).or_default();
        row.all += 1;
        let (left, notes) = match trial::leaves(&effects, &names, &c.text, Some(c.shell), true) {
            Ok(done) => done,
            Err(p) => {
                errors.push(format!("{} {}: {p}", c.technique, c.name));
                continue;
            }
        };
        row.compile += 1;
        let mut lacking = BTreeSet::new();
        for n in &notes.0 {
            if n.message.starts_with("no effect") {
                lacking.extend(n.message.split('`').nth(1).map(str::to_owned));
            }
        }
        programs.0 += left.programs.len();
        programs.1 += left.programs.iter().filter(|p| effects.knows(p)).count();
        row.known += usize::from(lacking.is_empty());
        for l in lacking {
            *unknown.entry(l).or_default() += 1;
        }
        let kinds: BTreeSet<Kind> = left.kinds().into_iter().filter(|k| *k != Kind::ScriptBlock).collect();
        let telling = kinds.iter().any(|k| !PLAIN.contains(k));
        row.two += usize::from(kinds.len() >= 2);
        row.telling += usize::from(telling);
        if kinds.len() < 2 {
            row.nothing += 1;
            if list == "nothing" {
                let kinds: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
                println!("== {} {} [{}] {:?}\n{}", c.technique, c.name, kinds.join(" "), left.programs, c.text.trim());
            }
        }
    }
    println!(
        "| shell | commands | compile | every program and cmdlet known | leave two kinds or more | leave more than modules and handles | next to nothing |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut sum = Row::default();
    for (name, r) in &rows {
        println!("| {name} | {} | {} | {} | {} | {} | {} |", r.all, r.compile, r.known, r.two, r.telling, r.nothing);
        sum.all += r.all;
        sum.compile += r.compile;
        sum.known += r.known;
        sum.two += r.two;
        sum.telling += r.telling;
        sum.nothing += r.nothing;
    }
    println!(
        "| all | {} | {} | {} | {} | {} | {} |",
        sum.all, sum.compile, sum.known, sum.two, sum.telling, sum.nothing
    );
    println!("programs started: {}, with an effect: {}", programs.0, programs.1);
    println!("programs and cmdlets without an effect: {}", unknown.len());
    if list == "unknown" {
        let mut by: Vec<_> = unknown.iter().collect();
        by.sort_by_key(|(n, c)| (std::cmp::Reverse(**c), n.as_str()));
        by.iter().for_each(|(n, c)| println!("{c:4} {n}"));
    }
    if list == "errors" {
        println!("{}", errors.join("\n"));
    }
    // what does not compile says why, and there are few
    assert!(errors.iter().all(|e| !e.is_empty()));
    assert!(sum.compile * 100 >= sum.all * 99, "{} of {} compile:\n{}", sum.compile, sum.all, errors.join("\n"));
    assert!(sum.two * 100 >= sum.all * TWO_MIN, "{} of {} leave two kinds or more", sum.two, sum.all);
    assert!(sum.telling * 100 >= sum.all * TELLING_MIN, "{} of {} leave more than modules", sum.telling, sum.all);
}

/// The floors, in percent of all commands.
const TWO_MIN: usize = 50;
const TELLING_MIN: usize = 40;
