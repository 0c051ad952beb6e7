//! A scenario as written becomes a scenario of the library: roles, variables, processes and steps get numbers,
//! played scenarios are put in place.

use std::collections::BTreeMap;

use super::vars;
use super::yaml::{Doc, StepDoc};
use crate::effect::action::Action;
use crate::effect::lower::{Frame, Split, Unit, push};
use crate::effect::scope::{self, Process, Role, RoleKind};
use crate::effect::template::{Part, Template};
use crate::effect::value;
use crate::technique::{Techniques, well_formed};
use crate::world::program::{AccountSel, Bind, Draw, Dur, HostSel, Op, Scenario, Script, ScriptId, Step, Timed, Who};
use crate::yaml::{Node, Problems};

/// What all scenarios share.
pub(super) struct Global<'a> {
    /// Scenarios by id.
    pub docs: BTreeMap<&'a str, &'a Doc>,
    /// Scripts by name.
    pub scripts: BTreeMap<String, Template>,
    /// ATT&CK.
    pub techniques: &'a Techniques,
}

/// Scenarios inside scenarios.
const PLAY_DEPTH_MAX: usize = 8;
/// Alternatives that one step's choices may multiply to.
const ARMS_MAX: u32 = 256;

/// Builds one scenario.
pub(super) struct Builder<'u, 'a> {
    pub u: &'u mut Unit<'a>,
    pub g: &'u Global<'u>,
    pub cast: Vec<(Box<str>, Bind)>,
    pub draws: Vec<(Box<str>, Draw)>,
    pub steps: Vec<Step>,
    /// Host, account and elevation a named process was started with.
    homes: Vec<Option<(HostSel, AccountSel)>>,
    /// Whether a named process was named under a condition.
    alternatives: Vec<bool>,
    /// Whether a step so far starts a named process, wherever that is.
    started: Vec<bool>,
    /// Where and as whom the last step was done.
    actor: Option<(HostSel, AccountSel)>,
    stack: Vec<String>,
}

impl<'u, 'a> Builder<'u, 'a> {
    pub fn new(u: &'u mut Unit<'a>, g: &'u Global<'u>) -> Builder<'u, 'a> {
        Builder {
            u,
            g,
            cast: vec![],
            draws: vec![],
            steps: vec![],
            homes: vec![],
            alternatives: vec![],
            started: vec![],
            actor: None,
            stack: vec![],
        }
    }

    /// Where and as whom steps are done that do not say.
    pub fn actor(&mut self, host: HostSel, account: AccountSel) {
        self.actor = Some((host, account));
    }

    /// Adds a role.
    pub fn role(&mut self, name: &str, kind: RoleKind, bind: Bind) -> u16 {
        let full = self.u.scope.full(name);
        self.cast.push((full.as_str().into(), bind));
        self.u.scope.roles.push(Role { name: full, kind });
        (self.cast.len() - 1) as u16
    }

    /// Roles, variables and steps of a document. Returns the steps that others wait for when they wait for it.
    pub fn doc(&mut self, doc: &Doc, needs: Vec<u16>, after: Dur, given: &[String]) -> Vec<u16> {
        self.stack.push(doc.id.clone());
        for (k, v) in &doc.cast {
            if !k.as_str().is_some_and(|k| given.iter().any(|g| g == k)) {
                self.bind(k, v);
            }
        }
        vars::declare(self.u, self.g, doc, given, &mut self.draws);
        self.new_accounts(doc);
        for s in &doc.steps {
            for n in s.name.iter().chain(s.names.iter().map(|(k, _)| k)) {
                self.process(n, s.cond.is_some());
            }
            self.processes_in(&s.actions, s.cond.is_some());
        }
        let mut done: Vec<(String, Vec<u16>)> = vec![];
        let mut last = needs.clone();
        for (i, s) in doc.steps.iter().enumerate() {
            let first = i == 0;
            let mut wants = last.clone();
            if let Some(list) = &s.needs {
                wants = needs.clone();
                for n in list {
                    let word = n.as_str().unwrap_or_default();
                    match done.iter().find(|(id, _)| id == word) {
                        Some((_, steps)) => wants.extend(steps.iter().copied()),
                        None => self.u.problems.unknown(n, "earlier step", word, done.iter().map(|(id, _)| &**id)),
                    }
                }
            }
            let pause = s.after.unwrap_or(if first { after } else { value::NONE });
            last = if s.play.is_some() { self.play(s, wants, pause) } else { vec![self.step(s, wants, pause)] };
            done.push((s.id.clone(), last.clone()));
        }
        self.stack.pop();
        last
    }

    /// A process that a step names. Steps with a condition are alternatives and may name it in turn.
    fn process(&mut self, n: &Node, alternative: bool) {
        let Some(name) = n.text(self.u.problems, "a process's name") else { return };
        let full = self.u.scope.full(name);
        if let Some(i) = self.u.scope.names.iter().position(|x| x.name == full) {
            if alternative && self.alternatives[i] {
                return;
            }
            self.u.problems.at(n, format!("process `{name}` is named twice"));
            return;
        }
        if matches!(name, "self" | "parent" | "shell" | "system" | "actor") || name.contains('.') {
            self.u.problems.at(n, format!("`{name}` cannot be a process's name"));
            return;
        }
        self.u.scope.names.push(Process { name: full, shell: None, elevated: false });
        self.homes.push(None);
        self.alternatives.push(alternative);
        self.started.push(false);
    }

    /// Processes that actions name can be parents from the next step on; where they are the step must say.
    fn starts(&mut self, list: &[Action]) {
        for a in list {
            if let crate::effect::action::What::Run(r) = &a.what
                && let Some(i) = r.name.as_ref().and_then(|t| t.as_lit()).and_then(|n| self.u.scope.name(n))
            {
                self.started[i as usize] = true;
            }
            for inner in crate::effect::yaml::children(&a.what) {
                self.starts(inner);
            }
        }
    }

    fn processes_in(&mut self, list: &[Action], alternative: bool) {
        for a in list {
            let alternative = alternative || a.cond.is_some();
            if let crate::effect::action::What::Run(r) = &a.what
                && let Some(t) = &r.name
            {
                let node = t.node.clone();
                self.process(&node, alternative);
            }
            for inner in crate::effect::yaml::children(&a.what) {
                self.processes_in(inner, alternative);
            }
        }
    }

    fn bind(&mut self, k: &Node, v: &Node) {
        let Some(name) = k.text(self.u.problems, "a role's name").map(str::to_owned) else { return };
        if name.contains('.')
            || self.u.scope.role(&name).is_some()
            || scope::BUILTIN.contains(&&*name) && !matches!(&*name, "host" | "user")
        {
            self.u.problems.at(k, format!("`{name}` is taken: choose another name for the role"));
            return;
        }
        let pairs = v.pairs(self.u.problems, "a role").to_vec();
        let Some((first, arg)) = pairs.first() else { return };
        let rest: &[&str] = match first.as_str().unwrap_or_default() {
            "host" => &["host", "persona"],
            "hosts" => &["hosts", "take", "reach"],
            other => {
                const KNOWN: [&str; 6] = ["user_of", "user", "dc_of", "new_account", "domain_admin", "service_account"];
                match KNOWN.iter().find(|k| **k == other) {
                    Some(k) => std::slice::from_ref(k),
                    None => {
                        let all = KNOWN.iter().copied().chain(["host", "hosts"]);
                        self.u.problems.unknown(first, "filling of a role", other, all);
                        return;
                    }
                }
            }
        };
        vars::lone(&pairs, rest, "a role", self.u.problems);
        let word = first.as_str().unwrap_or_default();
        let kind = match word {
            "host" | "dc_of" => RoleKind::Host,
            "hosts" => RoleKind::Hosts,
            _ => RoleKind::Account,
        };
        // a role whose filling is wrong is known all the same: one fault, one message (it is never played)
        let bind = self.filling(word, arg, v).unwrap_or(Bind::DomainAdmin);
        self.role(&name, kind, bind);
    }

    /// What fills a role; none when something is wrong with it, which has been said.
    fn filling(&mut self, word: &str, arg: &Node, v: &Node) -> Option<Bind> {
        let names = self.u.names;
        let find = |list: &[std::sync::Arc<str>], n: &Node, what: &str, p: &mut Problems| -> Option<u16> {
            let word = n.text(p, what)?;
            let hit = list.iter().position(|r| **r == *word);
            if hit.is_none() {
                p.unknown(n, what, word, list.iter().map(|r| &**r));
            }
            hit.map(|i| i as u16)
        };
        let p = &mut *self.u.problems;
        match word {
            "host" => {
                let role = find(&names.roles, arg, "host role", p);
                let persona = v.get("persona").map(|n| find(&names.personas, n, "persona", p));
                if persona == Some(None) {
                    return None;
                }
                Some(Bind::Host { role: role?, persona: persona.flatten() })
            }
            "hosts" => {
                let role = find(&names.roles, arg, "host role", p);
                let take = match v.get("take").map(|n| (n, n.as_str().and_then(value::range::<u32>))) {
                    Some((n, None | Some((0, _)))) => {
                        p.at(
                            n,
                            format!("`take` must be a number or a range from 1 such as `2..4`, not {}", n.describe()),
                        );
                        return None;
                    }
                    Some((_, Some(t))) => t,
                    None => (1, 3),
                };
                let reach = v.get("reach").map(|n| self.host_role(n));
                if reach == Some(None) {
                    return None;
                }
                Some(Bind::Hosts { role: role?, take, reach: reach.flatten() })
            }
            "user_of" => self.host_role(arg).map(Bind::UserOf),
            "dc_of" => self.host_role(arg).map(Bind::DcOf),
            "user" => find(&names.personas, arg, "persona", p).map(|persona| Bind::User { persona }),
            "domain_admin" => Some(Bind::DomainAdmin),
            "service_account" => Some(Bind::ServiceAccount),
            // the variable is declared after the cast: filled in by `new_accounts`
            _ => Some(Bind::NewAccount { name: u16::MAX }),
        }
    }

    fn host_role(&mut self, n: &Node) -> Option<u16> {
        let word = n.text(self.u.problems, "a role")?;
        let hit = self.u.scope.role(word).filter(|i| self.u.scope.roles[*i as usize].kind == RoleKind::Host);
        if hit.is_none() {
            self.u.problems.unknown(n, "role of a host bound before", word, self.u.scope.role_names());
        }
        hit
    }

    fn new_accounts(&mut self, doc: &Doc) {
        for (k, v) in &doc.cast {
            let Some(n) = v.get("new_account") else { continue };
            let word = n.as_str().unwrap_or_default();
            match self.u.scope.var(word) {
                Some(var) => {
                    if let Some(i) = k.as_str().and_then(|k| self.u.scope.role(k)) {
                        self.cast[i as usize].1 = Bind::NewAccount { name: var };
                    }
                }
                None => {
                    let prefix = self.u.scope.prefix.clone();
                    let all: Vec<&str> =
                        self.u.scope.vars.iter().filter_map(|v| v.name.strip_prefix(&*prefix)).collect();
                    self.u.problems.unknown(n, "variable", word, all);
                }
            }
        }
    }

    /// Another scenario in the place of a step.
    fn play(&mut self, s: &StepDoc, needs: Vec<u16>, after: Dur) -> Vec<u16> {
        let Some(n) = &s.play else { return needs };
        let word = n.as_str().unwrap_or_default();
        let Some(doc) = self.g.docs.get(word).copied() else {
            self.u.problems.unknown(n, "scenario", word, self.g.docs.keys().copied());
            return needs;
        };
        if self.stack.contains(&doc.id) || self.stack.len() >= PLAY_DEPTH_MAX {
            let way = self.stack.iter().chain([&doc.id]).map(String::as_str).collect::<Vec<_>>().join(" -> ");
            self.u.problems.at(n, format!("scenarios play each other in a circle: {way}"));
            return needs;
        }
        let inner = format!("{}{}.", self.u.scope.prefix, s.id);
        let mut given = vec![];
        for (k, v) in &s.with {
            let name = k.as_str().unwrap_or_default().to_owned();
            let is_role = doc.cast.iter().any(|(c, _)| c.as_str() == Some(&name));
            let is_var = doc.vars.iter().any(|(c, _)| c.as_str() == Some(&name));
            if is_role {
                let to = v.text(self.u.problems, "a role").unwrap_or_default();
                match self.u.scope.role(to) {
                    Some(i) => {
                        self.u.scope.lent.insert(format!("{inner}{name}"), i);
                        given.push(name);
                    }
                    None => self.u.problems.unknown(v, "role", to, self.u.scope.role_names()),
                }
            } else if is_var {
                if let Some(t) = Template::read(v, self.u.problems, "a variable") {
                    let hidden = format!("{}.{name}", s.id);
                    let (draw, arms) = vars::lend(self.u, &hidden, &t, &mut self.draws);
                    vars::add(self.u, &mut self.draws, &hidden, draw, arms);
                    given.push(name);
                }
            } else {
                let all = doc.cast.iter().chain(&doc.vars).filter_map(|(c, _)| c.as_str());
                self.u.problems.unknown(k, &format!("role or variable of `{}`", doc.id), &name, all);
            }
        }
        let outer = std::mem::replace(&mut self.u.scope.prefix, inner);
        let actor = self.actor;
        let last = self.doc(doc, needs, after, &given);
        self.u.scope.prefix = outer;
        self.actor = actor;
        last
    }

    fn step(&mut self, s: &StepDoc, needs: Vec<u16>, after: Dur) -> u16 {
        let (technique, tactic) = self.technique(s);
        let each = s.each.as_ref().and_then(|n| {
            let word = n.text(self.u.problems, "`each`")?;
            let hit = self.u.scope.role(word);
            if hit.is_none() {
                self.u.problems.unknown(n, "role", word, self.u.scope.role_names());
            }
            hit
        });
        let alias = s.alias.as_ref().and_then(|n| n.as_str()).unwrap_or("member");
        if let Some(n) = s.alias.as_ref().filter(|_| s.each.is_none()) {
            self.u.problems.at(n, "`as` names the member of `each`, which is missing");
        }
        self.u.scope.each = each.map(|i| (alias.to_owned(), i));
        self.u.scope.label = format!("step `{}`", s.id);
        let parent = self.parent(s);
        let (host, account) = self.place(s, parent);
        self.actor = Some((if host == HostSel::Each { self.actor.map_or(host, |a| a.0) } else { host }, account));

        let mut frame = Frame::step(account, s.elevated);
        if let Some(Who::Named(i)) = parent {
            let n = &self.u.scope.names[i as usize];
            frame.shell = n.shell;
            frame.elevated |= n.elevated;
        }
        if let Some(t) = &s.directory
            && let Ok(Some(d)) = self.u.text(&frame, t)
        {
            frame.cwd = d.trim_end_matches('\\').to_owned();
        }
        let name = s.name.as_ref().and_then(|n| n.as_str()).and_then(|n| self.u.scope.name(n));
        let mut wanted = vec![];
        for (k, v) in &s.names {
            if let (Some(i), Some(program)) =
                (k.as_str().and_then(|n| self.u.scope.name(n)), v.text(self.u.problems, "a program"))
            {
                wanted.push((scope::exe(program), i));
            }
        }
        for i in name.into_iter().chain(wanted.iter().map(|(_, i)| *i)) {
            self.homes[i as usize] = Some((host, account));
        }
        let script = self.script(s, &frame, name, &wanted);
        self.starts(&s.actions);
        if name.is_some() && s.run.is_empty() {
            self.u.problems.at(&s.node, "`name` names the process that `run` starts, which is missing");
        }
        self.u.scope.each = None;
        let id = self.u.scope.full(&s.id);
        self.steps.push(Step {
            id: id.into(),
            technique: technique.into(),
            tactic: tactic.into(),
            needs,
            after,
            window: s.window,
            elevated: false,
            chance: s.chance as f32,
            host,
            each,
            gap: s.gap.unwrap_or(value::ms(800, 9000)),
            parallel: s.parallel,
            repeat: s.repeat,
            account,
            parent: parent.unwrap_or(Who::Shell),
            script,
            wait: s.wait,
        });
        (self.steps.len() - 1) as u16
    }

    fn technique(&mut self, s: &StepDoc) -> (String, String) {
        let table = self.g.techniques;
        let word = s.technique.as_ref().and_then(|n| n.as_str()).unwrap_or_default();
        let mut tactic = String::new();
        if let Some(n) = &s.technique {
            match table.get(word) {
                Some(t) => tactic = t.tactics[0].clone(),
                None if well_formed(word) => {
                    self.u.problems.unknown(n, "technique", word, table.iter().map(|t| &*t.id))
                }
                None => {
                    self.u
                        .problems
                        .at(n, format!("`{word}` is not a technique: it has the form `T1059` or `T1059.001`"));
                }
            }
        }
        if let Some(n) = &s.tactic {
            let wanted = n.as_str().unwrap_or_default();
            if !table.is_tactic(wanted) {
                self.u.problems.unknown(n, "tactic", wanted, table.tactics.iter().map(|t| &*t.short));
            } else if let Some(t) = table.get(word)
                && !t.tactics.iter().any(|t| t == wanted)
            {
                self.u
                    .problems
                    .at(n, format!("technique {word} does not serve `{wanted}`"))
                    .help(format!("it serves {}", t.tactics.join(", ")));
            }
            tactic = wanted.to_owned();
        }
        (word.to_owned(), tactic)
    }

    fn parent(&mut self, s: &StepDoc) -> Option<Who> {
        let t = s.parent.as_ref()?;
        let frame = Frame::step(AccountSel::Actor, false);
        let text = self.u.text(&frame, t).ok()??;
        Some(self.u.who(&frame, &text, &t.node))
    }

    /// Host and account of a step.
    fn place(&mut self, s: &StepDoc, parent: Option<Who>) -> (HostSel, AccountSel) {
        let home = match parent {
            Some(Who::Named(i)) => {
                let home = self.homes[i as usize];
                if home.is_none()
                    && !self.started[i as usize]
                    && let Some(t) = &s.parent
                {
                    self.u.problems.at(
                        &t.node,
                        format!("process `{}` is not started before this step", t.as_lit().unwrap_or_default()),
                    );
                }
                home
            }
            _ => None,
        };
        let mut place = home.or(self.actor);
        let template =
            |n: &Node| Template { parts: vec![Part::Lit(n.as_str().unwrap_or_default().to_owned())], node: n.clone() };
        let frame = Frame::step(AccountSel::Actor, false);
        let (mut host, mut account) = (None, None);
        if let Some(n) = &s.actor {
            let text = n.text(self.u.problems, "`actor`").unwrap_or_default();
            match text.split_once('@') {
                Some((a, h)) => {
                    let part =
                        |word: &str| Template { parts: vec![Part::Lit(word.trim().to_owned())], node: n.clone() };
                    account = self.u.account_named(&frame, &part(a)).ok().flatten();
                    host = self.host(h.trim(), n);
                }
                None => {
                    self.u.problems.at(n, format!("an actor has the form `user@pc`, not `{text}`"));
                }
            }
            place = place.or(Some((HostSel::Here, AccountSel::Actor)));
        }
        if let Some(n) = &s.host {
            let word = n.text(self.u.problems, "`host`").unwrap_or_default().to_owned();
            host = self.host(&word, n);
        }
        if let Some(n) = &s.account {
            account = self.u.account_named(&frame, &template(n)).ok().flatten();
        }
        if place.is_none() && (host.is_none() || account.is_none()) {
            self.u
                .problems
                .at(&s.node, format!("step `{}` lacks `actor: ACCOUNT@HOST`, and no step before it has one", s.id));
        }
        let (h, a) = place.unwrap_or((HostSel::Here, AccountSel::Actor));
        (host.unwrap_or(h), account.unwrap_or(a))
    }

    fn host(&mut self, word: &str, n: &Node) -> Option<HostSel> {
        let hit = self.u.host_of(word);
        if hit.is_none() {
            let several =
                self.u.scope.role(word).is_some_and(|i| self.u.scope.roles[i as usize].kind == RoleKind::Hosts);
            if several {
                self.u
                    .problems
                    .at(n, format!("role `{word}` has several members"))
                    .help(format!("write `each: {word}, as: m, host: m`"));
            } else {
                self.u.problems.unknown(
                    n,
                    "host",
                    word,
                    self.u.scope.role_names().into_iter().chain(["here", "dc", "file_server"]),
                );
            }
        }
        hit
    }

    /// The script of a step; a variable whose alternatives compile differently gives one script for each.
    fn script(&mut self, s: &StepDoc, frame: &Frame, name: Option<u16>, wanted: &[(String, u16)]) -> ScriptId {
        let mut arms = 0;
        let script = self.attempt(s, frame, name, wanted, &mut arms);
        self.u.library.script(script)
    }

    fn attempt(
        &mut self,
        s: &StepDoc,
        frame: &Frame,
        name: Option<u16>,
        wanted: &[(String, u16)],
        arms: &mut u32,
    ) -> Script {
        let (mark, noted) = (self.u.library.scripts.len(), self.u.notes.0.len());
        self.u.regs = 1;
        self.u.depth = 0;
        self.u.randoms = 0;
        self.u.wanted = wanted.to_vec();
        self.u.written.clear();
        let mut out = vec![];
        let frame_now = Frame { draws: Default::default(), ..frame.clone() };
        match self.lower(s, &frame_now, name, &mut out) {
            Ok(()) => {
                if let Some((program, _)) = self.u.wanted.first() {
                    let message = format!("step `{}` starts no `{program}` that could be named", s.id);
                    self.u.problems.at(&s.node, message);
                }
                out
            }
            Err(Split(var)) => {
                std::sync::Arc::make_mut(&mut self.u.library.scripts).truncate(mark);
                self.u.notes.0.truncate(noted);
                let n = self.u.scope.vars[var as usize].arms.len();
                *arms += n as u32;
                if *arms > ARMS_MAX {
                    self.u
                        .problems
                        .at(&s.node, format!("the alternatives of step `{}` multiply to more than {ARMS_MAX}", s.id));
                    return vec![];
                }
                let mut scripts = vec![];
                for arm in 0..n {
                    self.u.scope.pinned.insert(var, arm);
                    let script = self.attempt(s, frame, name, wanted, arms);
                    scripts.push(self.u.library.script(script));
                }
                self.u.scope.pinned.remove(&var);
                vec![Timed { after: value::NONE, part: frame.part, op: Op::Switch { var, arms: scripts } }]
            }
        }
    }

    fn lower(&mut self, s: &StepDoc, frame: &Frame, name: Option<u16>, out: &mut Script) -> Result<(), Split> {
        if let Some(c) = &s.cond
            && !self.u.holds(frame, c, &s.node)?
        {
            self.u.wanted.clear();
            return Ok(());
        }
        for (i, t) in s.run.iter().enumerate() {
            if i > 0 {
                push(out, s.gap.unwrap_or(value::ms(900, 9000)), frame.part, Op::Wait);
            }
            let Some(line) = self.u.text(frame, t)? else { continue };
            self.u.command(frame, &line, name.filter(|_| i == 0), true, &t.node, out)?;
        }
        self.u.actions(frame, &s.actions, out)
    }

    /// The finished scenario.
    pub fn finish(self, doc: &Doc) -> Scenario {
        Scenario {
            id: doc.id.as_str().into(),
            attack: doc.attack,
            cast: self.cast,
            vars: self.draws,
            names: self.u.scope.names.iter().map(|n| n.name.as_str().into()).collect(),
            steps: self.steps,
            expect: doc.expect.clone(),
        }
    }
}
