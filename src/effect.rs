//! Effects: what a program leaves behind when it runs with certain arguments; kept once, as data.
//!
//! ```text
//! effects/*.yaml -> yaml (as written, checked) -> Effects (indexed by image and cmdlet)
//! command line   -> cmd | powershell | argv (as that shell splits it) -> run (spawn, match, splice) -> operations
//! ```
//! A command line with values known only at run time is a string with holes ([`template`]).

pub mod action;
pub mod argv;
pub mod cmd;
pub mod condition;
pub mod lower;
pub mod matching;
mod paths;
pub mod pattern;
pub mod powershell;
mod run;
mod run_cmd;
mod run_powershell;
pub mod scope;
mod service;
mod share;
mod split;
pub mod template;
pub mod value;
pub mod yaml;

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::yaml::{Node, Problems};
use yaml::Effect;

/// All effects, indexed by what they match.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// In the order they were written.
    pub all: Vec<Effect>,
    images: BTreeMap<String, Vec<usize>>,
    cmdlets: BTreeMap<String, Vec<usize>>,
}

/// Things that are allowed and look wrong: a program nobody knows, an effect that fails for want of elevation.
pub type Notes = Problems;

impl Effects {
    /// Loads the effects among documents; documents of other kinds are left alone.
    ///
    /// # Errors
    /// Everything wrong in any of them, duplicate ids included.
    pub fn load(nodes: &[Node]) -> Result<Effects, Problems> {
        let mut p = Problems::new();
        let mut all: Vec<Effect> = vec![];
        let read = |n| {
            let mut p = Problems::new();
            (n, Effect::read(n, &mut p), p)
        };
        let nodes = nodes.par_iter().filter(|n| n.get("effect").is_some());
        for (n, e, wrong) in nodes.map(read).collect::<Vec<_>>() {
            p.0.extend(wrong.0);
            let Some(e) = e else { continue };
            if let Some(other) = all.iter_mut().find(|o| o.id == e.id) {
                // a user's file takes the place of what is built in
                if other.node.file.is_built_in() && !n.file.is_built_in() {
                    *other = e;
                    continue;
                }
                let (line, _) = other.node.file.line_col(other.node.at.start);
                p.at(n, format!("effect `{}` is also defined in {}:{line}", e.id, other.node.file.name));
                continue;
            }
            all.push(e);
        }
        let mut effects = Effects { all, ..Effects::default() };
        let mut order: Vec<usize> = (0..effects.all.len()).collect();
        // most conditions first; a stable sort keeps the written order among equals
        order.sort_by_key(|i| std::cmp::Reverse(effects.all[*i].weight()));
        for i in order {
            for image in &effects.all[i].images {
                effects.images.entry(image.clone()).or_default().push(i);
            }
            for cmdlet in &effects.all[i].cmdlets {
                effects.cmdlets.entry(cmdlet.to_lowercase()).or_default().push(i);
            }
        }
        p.or(effects)
    }
    /// Effects for an image name in lower case, the most particular first.
    pub fn of_image(&self, image: &str) -> impl Iterator<Item = &Effect> {
        self.images.get(image).into_iter().flatten().map(|i| &self.all[*i])
    }
    /// Effects for a cmdlet or method (`.downloadstring`) in lower case, the most particular first.
    pub fn of_cmdlet(&self, cmdlet: &str) -> impl Iterator<Item = &Effect> {
        self.cmdlets.get(cmdlet).into_iter().flatten().map(|i| &self.all[*i])
    }
    /// A cmdlet's name as its effect spells it.
    pub fn spelt(&self, cmdlet: &str) -> Option<&str> {
        let lower = cmdlet.to_lowercase();
        let all = self.cmdlets.get(&lower).into_iter().flatten().flat_map(|i| &self.all[*i].cmdlets);
        all.map(|s| &**s).find(|s| s.eq_ignore_ascii_case(cmdlet))
    }
    /// True when some effect is about that image.
    pub fn knows(&self, image: &str) -> bool {
        self.images.contains_key(image)
    }
    /// Image names that effects are about.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.images.keys().map(|s| &**s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_built_in_compile() {
        let mut files: Vec<_> = crate::data::Data::read(&[]).0.effects.into_iter().map(|n| n.file).collect();
        files.dedup_by(|a, b| a.name == b.name);
        // those of a user are compiled when they are loaded
        let read = |f: &std::sync::Arc<crate::yaml::File>| crate::yaml::parse("mine.yaml", &f.text).unwrap();
        let nodes: Vec<Node> = files.iter().flat_map(read).collect();
        let effects = Effects::load(&nodes).unwrap_or_else(|e| panic!("{e}"));
        assert!(effects.all.len() > 900);
    }
}
