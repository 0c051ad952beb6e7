//! Policies as written into policies as meant.

use super::{Selection, SensorPolicy, Sysmon};
use crate::source::expr::{Cond, Names, Parser};
use crate::source::{Hash, PowerShellLog, Subcategory, SysmonRule};
use crate::yaml::{Data, Node, Problems};

/// Loads one document.
pub(super) fn policy(doc: &Node, p: &mut Problems) -> Option<SensorPolicy> {
    let before = p.0.len();
    let f = doc.fields(p, "a policy")?;
    let id = f.need(p, "policy").and_then(|n| n.text(p, "the id of a policy")).unwrap_or_default().to_owned();
    let about = f.need(p, "about").and_then(|n| n.text(p, "`about`")).unwrap_or_default().to_owned();
    let sysmon = f.take("sysmon").and_then(|n| sysmon(n, p));
    let (audit, command_line) = match f.take("audit") {
        Some(n) => audit(n, p),
        None => (vec![0; Subcategory::ALL.len()], false),
    };
    let sacl = f.take("sacl").map(|n| conditions(n, p)).unwrap_or_default();
    let mut powershell = vec![];
    for n in f.take("powershell").map(|n| n.items()).unwrap_or_default() {
        let Some(t) = n.text(p, "a PowerShell log") else { continue };
        match PowerShellLog::parse(t) {
            Some(log) => powershell.push(log),
            None => p.unknown(n, "PowerShell log", t, PowerShellLog::ALL.iter().map(|l| l.name())),
        }
    }
    f.finish(p);
    (p.0.len() == before).then_some(SensorPolicy {
        id,
        about,
        sysmon,
        audit,
        command_line,
        sacl,
        every_object: false,
        powershell,
    })
}

fn sysmon(n: &Node, p: &mut Problems) -> Option<Sysmon> {
    let f = n.fields(p, "`sysmon`")?;
    let mut hashes = vec![];
    for n in f.need(p, "hashes").map(|n| n.items()).unwrap_or_default() {
        let Some(t) = n.text(p, "a hash") else { continue };
        match Hash::parse(t) {
            Some(h) if hashes.contains(&h) => {
                p.at(n, format!("hash `{t}` is named twice"));
            }
            Some(h) => hashes.push(h),
            None => p.unknown(n, "hash", t, Hash::ALL.iter().map(|h| h.name())),
        }
    }
    let mut rules = vec![Selection::None; SysmonRule::ALL.len()];
    if let Some(n) = f.need(p, "rules") {
        for (k, v) in n.pairs(p, "`rules`") {
            let word = k.as_str().unwrap_or("");
            match SysmonRule::parse(word) {
                Some(rule) => rules[rule as usize] = selection(v, p).unwrap_or_default(),
                None => p.unknown(k, "Sysmon rule", word, SysmonRule::ALL.iter().map(|r| r.name())),
            }
        }
    }
    f.finish(p);
    Some(Sysmon { hashes, rules })
}

fn selection(n: &Node, p: &mut Problems) -> Option<Selection> {
    if let Data::Scalar { text, .. } = &n.data {
        return match text.as_str() {
            "all" => Some(Selection::All),
            "none" => Some(Selection::None),
            w => {
                p.unknown(n, "selection", w, ["all", "none"]);
                None
            }
        };
    }
    let f = n.fields(p, "a rule")?;
    let (included, excluded) = (f.take("include"), f.take("exclude"));
    let include = included.map(|n| conditions(n, p)).unwrap_or_default();
    let exclude = excluded.map(|n| conditions(n, p)).unwrap_or_default();
    f.finish(p);
    if included.or(excluded).is_none() {
        p.at(n, "a rule needs `include`, `exclude` or both").help("or write `all` or `none`");
    }
    Some(Selection::Rules { include, exclude })
}

fn conditions(n: &Node, p: &mut Problems) -> Vec<Cond> {
    let mut out = vec![];
    for n in n.items() {
        let Some(t) = n.text(p, "a condition") else { continue };
        match Parser::condition(t, &mut Names::default()) {
            Ok(c) if c.asks_policy() => {
                p.at(n, "a rule of a policy cannot ask a policy");
            }
            Ok(c) => out.push(c),
            Err(w) => p.at(n, w.message).help = w.help,
        }
    }
    out
}

fn audit(n: &Node, p: &mut Problems) -> (Vec<u8>, bool) {
    let mut bits = vec![0; Subcategory::ALL.len()];
    let mut command_line = false;
    for (k, v) in n.pairs(p, "`audit`") {
        let word = k.as_str().unwrap_or("");
        if word == "command_line" {
            command_line = v.boolean(p, "`command_line`").unwrap_or(false);
            continue;
        }
        let outcome = match v.as_str().unwrap_or("") {
            "success" => 1,
            "failure" => 2,
            "both" => 3,
            "none" => 0,
            w => {
                p.unknown(v, "outcome", w, ["success", "failure", "both", "none"]);
                continue;
            }
        };
        match Subcategory::parse(word) {
            Some(s) => bits[s as usize] = outcome,
            None if word == "all" => bits.fill(outcome),
            None => {
                let allowed = Subcategory::ALL.iter().map(|s| s.name()).chain(["command_line", "all"]);
                p.unknown(k, "audit subcategory", word, allowed);
            }
        }
    }
    (bits, command_line)
}
