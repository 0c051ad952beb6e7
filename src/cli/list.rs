//! `skirmish list` and `skirmish show`.

use serde_json::json;

use crate::cli::Outcome;
use crate::plan::Knowledge;
use crate::source::Encoding;
use crate::yaml::{Node, Problems, suggest};

/// What can be listed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Sources,
    Encodings,
    Scenarios,
    Effects,
    Personas,
    Techniques,
    Policies,
}

/// Arguments of `list`.
#[derive(clap::Args, Debug)]
pub struct ListArgs {
    #[arg(value_enum)]
    what: What,
    /// An array of objects with `id`
    #[arg(long)]
    json: bool,
    /// Folder with data of your own
    #[arg(long, value_name = "DIR")]
    data: Vec<std::path::PathBuf>,
}

/// Arguments of `show`.
#[derive(clap::Args, Debug)]
pub struct ShowArgs {
    /// source, scenario, effect, persona, policy
    kind: String,
    /// Its id
    id: String,
    /// Folder with data of your own
    #[arg(long, value_name = "DIR")]
    data: Vec<std::path::PathBuf>,
}

impl ListArgs {
    pub(crate) fn run(self) -> Outcome {
        let rows = rows(self.what, &Knowledge::load(&self.data)?);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&rows).expect("rows are JSON"));
            return Ok(());
        }
        if self.what == What::Techniques {
            let shown = rows.iter().filter(|r| r["scenarios"].as_array().is_some_and(|s| !s.is_empty())).count();
            eprintln!("{shown} of {} techniques are shown by a scenario", rows.len());
        }
        let width = rows.iter().filter_map(|r| r["id"].as_str()).map(str::len).max().unwrap_or(0);
        for r in &rows {
            println!("{:<width$}  {}", r["id"].as_str().unwrap_or(""), r["about"].as_str().unwrap_or(""));
        }
        Ok(())
    }
}

fn rows(what: What, k: &Knowledge) -> Vec<serde_json::Value> {
    match what {
        What::Sources => k
            .catalogue
            .iter()
            .map(|s| {
                let encodings: Vec<&str> = s.encodings.iter().map(|e| e.name()).collect();
                let mut events: Vec<&str> = s.events.iter().map(|e| e.id()).collect();
                events.dedup();
                let about = format!("{} {}: {} events; {}", s.product.name, s.channel, events.len(), encodings.join(", "));
                json!({"id": s.id, "about": about, "channel": s.channel, "encodings": encodings, "events": events})
            })
            .collect(),
        What::Encodings => Encoding::ALL.iter().map(|e| json!({"id": e.name(), "about": e.doc()})).collect(),
        What::Scenarios => k
            .attacks()
            .map(|(_, s)| {
                let mut techniques: Vec<&str> = s.steps.iter().map(|s| &*s.technique).filter(|t| !t.is_empty()).collect();
                techniques.sort_unstable();
                techniques.dedup();
                let roles: Vec<&str> = s.cast.iter().map(|(n, _)| &**n).collect();
                let vars: Vec<&str> = s.vars.iter().map(|(n, _)| &**n).collect();
                let about = format!("{} steps, {} techniques; cast {}", s.steps.len(), techniques.len(), roles.join(", "));
                json!({"id": &*s.id, "about": about, "steps": s.steps.len(), "techniques": techniques, "cast": roles, "vars": vars})
            })
            .collect(),
        What::Effects => k
            .effects
            .all
            .iter()
            .map(|e| {
                let of: Vec<&str> = e.images.iter().chain(&e.cmdlets).map(String::as_str).collect();
                json!({"id": e.id, "about": of.join(", "), "images": e.images, "cmdlets": e.cmdlets})
            })
            .collect(),
        What::Personas => k
            .personas
            .iter()
            .map(|p| {
                let about = format!("{:.0}% of the people, {:.1} to {:.1} h", p.share * 100.0, p.hours.0, p.hours.1);
                json!({"id": &*p.id, "about": about})
            })
            .collect(),
        What::Techniques => {
            let mut covered: std::collections::BTreeMap<&str, Vec<&str>> = Default::default();
            for (_, s) in k.attacks() {
                for t in s.steps.iter().map(|x| &*x.technique).filter(|t| !t.is_empty()) {
                    let list = covered.entry(t).or_default();
                    if !list.contains(&&*s.id) {
                        list.push(&s.id);
                    }
                }
            }
            let row = |t: &crate::technique::Technique| {
                let by = covered.get(&*t.id).cloned().unwrap_or_default();
                let shown = if by.is_empty() { "-".to_owned() } else { by.join(", ") };
                let about = format!("{} ({}): {shown}", t.name, t.tactics.join(", "));
                json!({"id": t.id, "about": about, "name": t.name, "tactics": t.tactics, "scenarios": by})
            };
            k.techniques.iter().map(row).collect()
        }
        What::Policies => k.policies.iter().map(|p| json!({"id": p.id, "about": p.about})).collect(),
    }
}

impl ShowArgs {
    pub(crate) fn run(self) -> Outcome {
        let data = crate::data::Data::load(&self.data)?;
        let kinds = [
            ("source", &data.sources, "source"),
            ("scenario", &data.scenarios, "scenario"),
            ("effect", &data.effects, "effect"),
            ("persona", &data.personas, "persona"),
            ("policy", &data.policies, "policy"),
        ];
        let mut p = Problems::new();
        let Some((_, nodes, key)) = kinds.iter().find(|(k, _, _)| *k == self.kind.trim_end_matches('s')) else {
            p.plain(format!("unknown kind `{}`", self.kind)).help(suggest(&self.kind, kinds.iter().map(|k| k.0)));
            return Err(p.into());
        };
        let id = |n: &Node| n.get(key).and_then(Node::as_str).map(str::to_owned);
        // a later definition is the one in force
        match nodes.iter().rfind(|n| id(n).as_deref() == Some(self.id.as_str())) {
            Some(n) => {
                println!("# {}", n.file.name);
                println!("{}", n.file.text[n.at.clone()].trim_end());
                Ok(())
            }
            None => {
                let all: Vec<String> = nodes.iter().filter_map(id).collect();
                p.plain(format!("unknown {} `{}`", self.kind, self.id))
                    .help(suggest(&self.id, all.iter().map(String::as_str)));
                Err(p.into())
            }
        }
    }
}
