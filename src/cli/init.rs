//! `skirmish init`: a commented configuration to start from.

use std::io::Write;
use std::path::Path;

/// Templates: the word on the command line, what it is for, and the file.
pub const TEMPLATES: &[(&str, &str, &str)] = &[
    ("load", "load-test a SIEM's ingestion over Kafka", include_str!("../../config/load.yaml")),
    ("purple", "exercise detections all day", include_str!("../../config/purple.yaml")),
    ("dev", "a live feed for a development environment", include_str!("../../config/dev.yaml")),
    ("ci", "a fixed hour of records for a pipeline's tests", include_str!("../../config/ci.yaml")),
];

/// Arguments of `init`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// load, purple, dev or ci
    kind: String,
    /// File to write
    #[arg(short, long, value_name = "FILE", default_value = crate::cli::args::WRITTEN)]
    output: std::path::PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self) -> super::Outcome {
        if !TEMPLATES.iter().any(|(k, _, _)| *k == self.kind) {
            let mut p = crate::yaml::Problems::new();
            let near = crate::yaml::suggest(&self.kind, TEMPLATES.iter().map(|t| t.0));
            p.plain(format!("unknown template `{}`", self.kind)).help(near);
            return Err(p.into());
        }
        run(&self.kind, &self.output, self.force)?;
        eprintln!("wrote {}; next: skirmish check -c {0}", self.output.display());
        Ok(())
    }
}

/// Writes a template to `path`; an existing file only with `force`.
///
/// # Errors
/// An unknown template, a file that is there already, or one that cannot be written.
pub fn run(kind: &str, path: &Path, force: bool) -> anyhow::Result<()> {
    let Some((_, _, text)) = TEMPLATES.iter().find(|(k, _, _)| *k == kind) else {
        anyhow::bail!("unknown template `{kind}`; {}", crate::yaml::suggest(kind, TEMPLATES.iter().map(|t| t.0)));
    };
    let mut open = std::fs::OpenOptions::new();
    let open = if force { open.write(true).create(true).truncate(true) } else { open.write(true).create_new(true) };
    let mut file = open.open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} is there already; --force writes over it", path.display())
        }
        _ => anyhow::anyhow!("cannot write {}: {e}", path.display()),
    })?;
    file.write_all(text.as_bytes()).map_err(|e| anyhow::anyhow!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};
    use crate::sink::KINDS;
    use crate::yaml::{Node, Problems};

    #[test]
    fn a_template_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skirmish.yaml");
        run("dev", &path, false).unwrap();
        let again = run("purple", &path, false).unwrap_err().to_string();
        assert!(again.ends_with("skirmish.yaml is there already; --force writes over it"), "{again}");
        run("purple", &path, true).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("for exercising detections"));
        insta::assert_snapshot!(run("lode", &path, false).unwrap_err(), @"unknown template `lode`; did you mean `load`?");
    }

    #[test]
    fn every_template_loads() {
        for (name, about, text) in TEMPLATES {
            assert!(!about.is_empty());
            let layers = Layers { base: vec![(name, text)], ..Layers::default() };
            let tree = layers.merge().unwrap_or_else(|e| panic!("{e}"));
            // which kinds of sinks there are depends on the features
            let sinks = tree.get("sinks").expect("has sinks").pairs(&mut Problems::new(), "sinks");
            let known = |sink: &Node| KINDS.iter().any(|k| sink.get(k.name).is_some());
            if sinks.iter().all(|(_, sink)| known(sink)) {
                Config::load(&layers).unwrap_or_else(|e| panic!("{e}"));
            }
        }
    }

    /// A stranger gets from `init load` to an own topic by editing at most five lines, and is told which.
    #[test]
    fn load_marks_at_most_five_lines_to_edit() {
        let text = TEMPLATES[0].2;
        assert_eq!(text.matches("# <-").count(), 4, "brokers, login, rate, topic");
    }
}
