//! A fuzzer over each loader, on stable Rust: replays the corpus, then mutates it.
//!
//! `cargo test --test fuzz_loaders` replays `tests/corpus/<loader>/` and tries a few thousand mutations, the same ones
//! every time. `SKIRMISH_FUZZ_SECONDS=600 cargo test --release --test fuzz_loaders <loader>` goes on for ten minutes with
//! others each time. An input that crashes a loader, or keeps it busy for more than ten seconds, is written to the
//! corpus, so that it is replayed ever after.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use skirmish::config::{Config, Layers};
use skirmish::data::Data;
use skirmish::effect::Effects;
use skirmish::effect::action::Shell;
use skirmish::plan::Knowledge;
use skirmish::policy::Policies;
use skirmish::rng::{Rng, purpose};
use skirmish::scenario::{self, Names, trial};
use skirmish::schedule::{Schedule, Setting, shape_from_node};
use skirmish::source::Catalogue;
use skirmish::time::{Span, Time};
use skirmish::yaml::{self, Problems};

/// Mutations of a run without `SKIRMISH_FUZZ_SECONDS`.
const MUTATIONS: usize = 3_000;
/// Bytes an input may grow to.
const INPUT_MAX: usize = 1 << 16;
/// Longer than this is as bad as a crash, for ten minutes' runs.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// What is spliced in, besides parts of the corpus.
const WORDS: &[&str] = &[
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\n",
    "\n  ",
    "'",
    "\"",
    "&a ",
    "*a",
    "!!x ",
    "|\n",
    ">-\n",
    "#",
    "%",
    "~",
    "null",
    "true",
    "-1",
    "0",
    "18446744073709551616",
    "1e308",
    "NaN",
    "inf",
    ".5",
    "100%",
    "0.0001s",
    "9e9d",
    "3k/s",
    "0/s",
    "99999999999/s",
    "200GB/d",
    "1TB/s",
    "Europe/Paris",
    "10:30",
    "24:00",
    "2026-03-29T02:30:00Z",
    "9999-12-31",
    "1969-12-31",
    "é",
    "\u{0}",
    "\u{feff}",
    "\u{2028}",
    "𝄞",
    "---\n",
    "...",
    "ramp",
    "steps",
    "diurnal",
    "weekly",
    "burst",
    "poisson",
    "sum",
    "every",
    "at",
    "for",
    "share",
    "tz",
];

fn corpus(loader: &str) -> (PathBuf, Vec<Vec<u8>>) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(loader);
    let mut paths: Vec<PathBuf> = fs::read_dir(&dir).expect("a corpus").map(|e| e.unwrap().path()).collect();
    paths.sort();
    let inputs: Vec<Vec<u8>> = paths.iter().map(|p| fs::read(p).unwrap()).collect();
    assert!(!inputs.is_empty(), "the corpus of {loader} is empty");
    (dir, inputs)
}

fn mutate(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = inputs[rng.below(inputs.len() as u64) as usize].clone();
    for _ in 0..=rng.below(6) {
        let at = rng.below(input.len() as u64 + 1) as usize;
        let most = [5, 41, 401][rng.below(3) as usize];
        let len = rng.below(most) as usize;
        let end = (at + len).min(input.len());
        match rng.below(6) {
            0 => drop(input.drain(at..end)),
            1 => {
                let part = input[at..end].to_vec();
                let to = rng.below(input.len() as u64 + 1) as usize;
                input.splice(to..to, part);
            }
            2 if !input.is_empty() => {
                let i = at.min(input.len() - 1);
                input[i] ^= 1 << rng.below(8);
            }
            3 => {
                let other = &inputs[rng.below(inputs.len() as u64) as usize];
                let from = rng.below(other.len() as u64 + 1) as usize;
                input.splice(at..end, other[from..(from + len).min(other.len())].iter().copied());
            }
            4 => drop(input.splice(at..end, WORDS[rng.below(WORDS.len() as u64) as usize].bytes())),
            _ => drop(input.splice(at..at, WORDS[rng.below(WORDS.len() as u64) as usize].bytes())),
        }
        input.truncate(INPUT_MAX);
    }
    input
}

fn fuzz(loader: &str, load: fn(&str)) {
    let (dir, inputs) = corpus(loader);
    let seconds = std::env::var("SKIRMISH_FUZZ_SECONDS").ok().map(|s| s.parse().expect("a number of seconds"));
    let try_one = |input: &[u8]| {
        let start = Instant::now();
        let crashed = catch_unwind(|| load(&String::from_utf8_lossy(input))).is_err();
        if crashed || (seconds.is_some() && start.elapsed() > BUSY_MAX) {
            let path = dir.join(format!("found-{:016x}", purpose(&String::from_utf8_lossy(input))));
            fs::write(&path, input).unwrap();
            panic!("{loader}: see {}", path.display());
        }
    };
    for input in &inputs {
        try_one(input);
    }
    let Some(seconds) = seconds else {
        let mut rng = Rng::of(1, 0, purpose(loader));
        return (0..MUTATIONS).for_each(|_| try_one(&mutate(&inputs, &mut rng)));
    };
    let mut rng = Rng::of(RandomState::new().hash_one(loader), 0, purpose(loader));
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        try_one(&mutate(&inputs, &mut rng));
        count += 1;
    }
    eprintln!("{loader}: {count} inputs in {seconds} s");
}

#[test]
fn yaml_text() {
    fuzz("yaml", |text| {
        if let Err(p) = yaml::parse("fuzz", text) {
            assert!(!p.to_string().is_empty());
        }
    });
}

#[test]
fn config() {
    fuzz("config", |text| {
        let Ok(docs) = yaml::parse("fuzz", text) else { return };
        for d in docs {
            match Config::from_node(d) {
                Ok(c) => drop(c.to_json().to_string()),
                Err(p) => assert!(!p.to_string().is_empty()),
            }
        }
    });
}

#[test]
fn rate() {
    fuzz("rate", |text| {
        let Ok(docs) = yaml::parse("fuzz", text) else { return };
        for d in &docs {
            let mut p = Problems::new();
            let Some(shape) = shape_from_node(d, &Setting { places: &[], seed: 1 }, &mut p) else {
                assert!(!p.is_empty());
                continue;
            };
            let start = Time(1_772_438_400_000_000_000);
            let s = Schedule::new(start, shape);
            let mut c = s.cursor();
            let mut last = 0;
            for t in [0, 1, 10_000_000, 1_000_000_000, 100_000_000_000] {
                let due = c.due(&s, start + Span(t));
                assert!(due >= last);
                last = due;
            }
            s.points(start, Span::s(100));
        }
    });
}

#[test]
fn set() {
    fuzz("set", |text| {
        let set = text.lines().map(str::to_owned).collect();
        let environment = text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
        let layers = Layers { set, environment: environment.collect(), ..Layers::default().or_run(Some(text)) };
        if let Err(p) = Config::load(&layers) {
            assert!(!p.to_string().is_empty());
        }
    });
}

#[test]
fn journal() {
    fuzz("journal", |text| {
        if let Err(p) = skirmish::journal::parse("fuzz", text.to_owned()) {
            assert!(!p.to_string().is_empty());
        }
    });
}

#[test]
fn sources() {
    fuzz("sources", |text| {
        let Ok(docs) = yaml::parse("fuzz", text) else { return };
        if let Err(p) = Catalogue::load(&docs) {
            assert!(!p.to_string().is_empty());
        }
    });
}

#[test]
fn effects() {
    fuzz("effects", |text| {
        let Ok(docs) = yaml::parse("fuzz", text) else { return };
        if let Err(p) = Effects::load(&docs) {
            assert!(!p.to_string().is_empty());
        }
    });
}

#[test]
fn policies() {
    fuzz("policies", |text| {
        let Ok(docs) = yaml::parse("fuzz", text) else { return };
        if let Err(p) = Policies::load(&docs) {
            assert!(!p.to_string().is_empty());
        }
    });
}

#[test]
fn scenarios() {
    static KNOWN: OnceLock<(Data, Knowledge)> = OnceLock::new();
    KNOWN.get_or_init(|| (Data::load(&[]).unwrap(), Knowledge::load(&[]).unwrap_or_else(|e| panic!("{e}"))));
    fuzz("scenarios", |text| {
        let Ok(docs) = yaml::parse("fuzz", text) else { return };
        let (data, known) = KNOWN.get().expect("filled above");
        if let Err(p) = scenario::compile(&docs, &data.techniques, &known.effects, &known.world) {
            assert!(!p.to_string().is_empty());
        }
    });
}

/// What a shell is told; whatever it is, it compiles or says why, in bounded time and memory.
fn typed(shell: Shell, text: &str) {
    static KNOWN: OnceLock<(Effects, Names)> = OnceLock::new();
    let (effects, names) = KNOWN.get_or_init(|| {
        let data = Data::load(&[]).unwrap();
        (Effects::load(&data.effects).unwrap_or_else(|e| panic!("{e}")), Names::default())
    });
    if let Err(p) = trial::leaves(effects, names, text, Some(shell), true) {
        assert!(!p.to_string().is_empty());
    }
}

#[test]
fn cmd() {
    fuzz("cmd", |text| typed(Shell::Cmd, text));
}

#[test]
fn powershell() {
    fuzz("powershell", |text| typed(Shell::PowerShell, text));
}
