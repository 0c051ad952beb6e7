//! Sensor policies: what is switched on. A Sysmon configuration, an audit policy, SACLs, PowerShell's logs, as data in
//! `policies/*.yaml`; the rules are conditions of the source language (`docs/sources.md`).
//!
//! Evaluation reads fields of the activity and compares without allocating; a caller may cache a decision by the values
//! of [`SensorPolicy::fields`].

mod load;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::activity::{Field, View};
use crate::source::expr::Cond;
use crate::source::{AllOn, Hash, Policy, PowerShellLog, Subcategory, SysmonRule};
use crate::yaml::{Node, Problems};

/// What a Sysmon rule selects.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Selection {
    /// Nothing.
    #[default]
    None,
    /// Everything.
    All,
    /// What an inclusion names (all, where there is none) and no exclusion names.
    Rules {
        /// Any of them, or anything when empty.
        include: Vec<Cond>,
        /// None of them.
        exclude: Vec<Cond>,
    },
}

/// One policy, as hosts of one configuration have it.
#[derive(Clone, Debug, Default)]
pub struct SensorPolicy {
    /// `baseline`.
    pub id: String,
    /// What it is, in a sentence.
    pub about: String,
    sysmon: Option<Sysmon>,
    /// Bit 0 success, bit 1 failure, by subcategory.
    audit: Vec<u8>,
    command_line: bool,
    sacl: Vec<Cond>,
    /// Every object is audited, whatever `sacl` says.
    every_object: bool,
    powershell: Vec<PowerShellLog>,
}

#[derive(Clone, Debug, Default)]
struct Sysmon {
    hashes: Vec<Hash>,
    /// By rule.
    rules: Vec<Selection>,
}

impl SensorPolicy {
    /// The policy that selects whatever there is to select: what sources could see at all.
    pub fn everything() -> SensorPolicy {
        SensorPolicy {
            id: "everything".into(),
            about: "all there is to select".into(),
            sysmon: Some(Sysmon { hashes: Hash::ALL.to_vec(), rules: vec![Selection::All; SysmonRule::ALL.len()] }),
            audit: vec![3; Subcategory::ALL.len()],
            command_line: true,
            sacl: vec![],
            every_object: true,
            powershell: PowerShellLog::ALL.to_vec(),
        }
    }
    /// What a Sysmon rule selects; nothing where Sysmon is not installed.
    pub fn rule(&self, rule: SysmonRule) -> &Selection {
        self.sysmon.as_ref().map_or(&Selection::None, |s| &s.rules[rule as usize])
    }
    /// Fields that decide a Sysmon rule, sorted.
    pub fn fields(&self, rule: SysmonRule) -> Vec<Field> {
        let mut out = vec![];
        if let Selection::Rules { include, exclude } = self.rule(rule) {
            include.iter().chain(exclude).for_each(|c| c.fields(&mut out));
        }
        out.sort_unstable();
        out.dedup();
        out
    }
}

impl Policy for SensorPolicy {
    fn sysmon_installed(&self) -> bool {
        self.sysmon.is_some()
    }
    fn sysmon<V: View>(&self, rule: SysmonRule, view: &V) -> bool {
        // rules cannot ask the policy themselves: the loader refuses it
        match self.rule(rule) {
            Selection::None => false,
            Selection::All => true,
            Selection::Rules { include, exclude } => {
                (include.is_empty() || include.iter().any(|c| c.holds(view, &AllOn)))
                    && !exclude.iter().any(|c| c.holds(view, &AllOn))
            }
        }
    }
    fn hashes(&self) -> &[Hash] {
        self.sysmon.as_ref().map_or(&[], |s| &s.hashes)
    }
    fn audit(&self, subcategory: Subcategory, success: bool) -> bool {
        self.audit[subcategory as usize] & if success { 1 } else { 2 } != 0
    }
    fn command_line(&self) -> bool {
        self.command_line
    }
    fn sacl<V: View>(&self, view: &V) -> bool {
        self.every_object || self.sacl.iter().any(|c| c.holds(view, &AllOn))
    }
    fn powershell(&self, log: PowerShellLog) -> bool {
        self.powershell.contains(&log)
    }
}

/// All policies that were loaded, by id.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    all: BTreeMap<String, Arc<SensorPolicy>>,
}

impl Policies {
    /// Loads the documents of all policy files; a later one of the same id replaces an earlier one.
    ///
    /// # Errors
    /// Everything wrong in any of them.
    pub fn load(docs: &[Node]) -> Result<Policies, Problems> {
        let mut p = Problems::new();
        let mut all = BTreeMap::new();
        for doc in docs {
            if let Some(policy) = load::policy(doc, &mut p) {
                all.insert(policy.id.clone(), Arc::new(policy));
            }
        }
        p.or(Policies { all })
    }
    /// Adds one, in place of another of the same id.
    pub fn add(&mut self, policy: SensorPolicy) {
        self.all.insert(policy.id.clone(), Arc::new(policy));
    }
    /// The policy of that id.
    pub fn get(&self, id: &str) -> Option<&Arc<SensorPolicy>> {
        self.all.get(id)
    }
    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<SensorPolicy>> {
        self.all.values()
    }
    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
