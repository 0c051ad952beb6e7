//! Arguments that several commands share.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, Layers};
use crate::plan::Knowledge;
use crate::time::{Span, Time};
use crate::yaml::{Problems, parse_span};

/// What `init` writes unless told otherwise.
pub const WRITTEN: &str = "skirmish.yaml";

/// Configuration and data.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Configuration file; later ones override earlier ones
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Sets one value: streams.sysmon.rate=3k/s
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Folder with sources, effects, scenarios, personas, policies, world or techniques that add to or override the
    /// built-in ones
    #[arg(long, value_name = "DIR")]
    pub data: Vec<PathBuf>,
}

impl Common {
    /// The layers as given.
    pub fn layers(&self) -> Layers {
        Layers {
            base: vec![],
            files: self.config.clone(),
            environment: std::env::vars().collect(),
            set: self.set.clone(),
        }
    }
    /// The configuration of these layers, and the knowledge of the folders that it and the command line name.
    pub fn load(&self, layers: &Layers) -> Result<(Config, Knowledge), Problems> {
        // nothing is read that was not named; who just wrote one expects otherwise
        if self.config.is_empty() && std::path::Path::new(WRITTEN).exists() {
            eprintln!("note: {WRITTEN} is not used; `-c {WRITTEN}` reads it");
        }
        crate::plan::load(layers, &self.data)
    }
}

/// Reads a length of time.
pub fn span(text: &str) -> Result<Span, String> {
    parse_span(text).filter(|s| s.0 > 0).ok_or_else(|| "expected a length of time such as `90s`, `2h` or `1d`".into())
}

/// Reads an instant.
pub fn instant(text: &str) -> Result<Time, String> {
    let t: Result<jiff::Timestamp, _> = text.parse();
    let date =
        || text.parse::<jiff::civil::Date>().and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC)).map(|z| z.timestamp());
    t.or_else(|_| date())
        .map(|t| Time(t.as_nanosecond() as i64))
        .map_err(|_| "expected an instant such as `2026-03-02T08:00:00Z`".into())
}

/// An id for a run: the wall clock's milliseconds in base 36, short and ascending.
pub fn run_id(wall: i64) -> String {
    let mut n = (wall / 1_000_000).max(0) as u64;
    let mut digits = vec![];
    while n > 0 {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(n % 36) as usize]);
        n /= 36;
    }
    digits.reverse();
    String::from_utf8(digits).expect("ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_ids() {
        assert_eq!(instant("2026-03-02"), Ok(Time(1_772_409_600_000_000_000)));
        assert!(instant("yesterday").is_err());
        assert!(run_id(1_772_409_600_000_000_000) < run_id(1_772_409_600_001_000_000));
    }
}
