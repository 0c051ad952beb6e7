//! One play of a scenario: who was cast, what was drawn, which steps are done.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rng::{Rng, mix, purpose};
use crate::time::Time;
use crate::world::atlas::{AccountId, AccountKind, Atlas, HostId};
use crate::world::program::{Attr, Bind, DomainKind, Draw, Library, Piece, ScenarioId, Slot, Tpl};

/// Identity of an instance in a run: home cell << 40 | number there for benign ones; attacks are numbered for the
/// whole run from 1 and have no cell part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct InstId(pub u64);

impl InstId {
    /// A habit's instance: what people and machines do every day.
    pub fn everyday(self) -> bool {
        self.0 >> 40 != 0
    }
}

/// What a role is bound to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    /// A host.
    Host(HostId),
    /// Several.
    Hosts(Vec<HostId>),
    /// An account.
    Account(AccountId),
    /// An account that the scenario makes; its name is that variable.
    New(u16),
}

/// What never changes about an instance; shared by all cells that play a part of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inst {
    /// Which one.
    pub id: InstId,
    /// What is played.
    pub scenario: ScenarioId,
    /// Its draws.
    pub seed: u64,
    /// Attack.
    pub attack: bool,
    /// Roles in the order of the cast.
    pub roles: Vec<Bound>,
    /// Variables in order.
    pub vars: Vec<Box<str>>,
    /// For each variable the index of the alternative it took.
    pub choices: Vec<u16>,
    /// When it started.
    pub start: Time,
}

/// Hosts and accounts by what casts ask for.
#[derive(Debug, Default)]
pub struct Casting {
    /// Hosts of each role.
    pub by_role: Vec<Vec<HostId>>,
    /// Persons of each persona.
    pub by_persona: Vec<Vec<AccountId>>,
    /// Administrators of the domain.
    pub admins: Vec<AccountId>,
    /// Persons who have an administrative account beside their own, and which.
    pub own_admin: BTreeMap<AccountId, AccountId>,
    /// Service accounts with a service principal name.
    pub services: Vec<AccountId>,
}

impl Casting {
    /// Indexes an atlas.
    pub fn new(atlas: &Atlas) -> Casting {
        let mut c = Casting {
            by_role: vec![vec![]; atlas.roles.len()],
            by_persona: vec![vec![]; atlas.personas.len()],
            ..Casting::default()
        };
        for (i, h) in atlas.hosts.iter().enumerate() {
            c.by_role[h.role as usize].push(HostId(i as u32));
        }
        for (i, a) in atlas.accounts.iter().enumerate() {
            let id = AccountId(i as u32);
            match (a.kind, a.persona) {
                (AccountKind::Person, Some(p)) => c.by_persona[p as usize].push(id),
                (AccountKind::Admin, _) => {
                    c.admins.push(id);
                    if let Some(person) = a.host.and_then(|h| atlas.host(h).owner) {
                        c.own_admin.insert(person, id);
                    }
                }
                (AccountKind::Service, _) if !a.spn.is_empty() => c.services.push(id),
                _ => {}
            }
        }
        c
    }
}

/// What a user settles himself when he starts a scenario: role or variable by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choices {
    /// Role -> host name or account name.
    pub cast: Vec<(Box<str>, Box<str>)>,
    /// Variable -> text.
    pub vars: Vec<(Box<str>, Box<str>)>,
}

/// Casts and draws an instance. `given` are its first roles where they are settled; of those that could play another one
/// who is `at_work` is preferred.
///
/// # Errors
/// A role nobody can fill, in words.
pub fn bind(
    atlas: &Atlas,
    casting: &Casting,
    library: &Library,
    id: InstId,
    scenario: ScenarioId,
    seed: u64,
    start: Time,
    choices: &Choices,
    given: &[Bound],
    ready: &dyn Fn(HostId) -> Ready,
) -> Result<Inst, String> {
    let s = &library.scenarios[scenario.0 as usize];
    let mut inst = Inst { id, scenario, seed, attack: s.attack, roles: vec![], vars: vec![], choices: vec![], start };
    for (i, (name, bind)) in s.cast.iter().enumerate() {
        let mut rng = Rng::of(seed, i as u64, purpose("cast"));
        let chosen = choices.cast.iter().find(|(n, _)| n == name).map(|(_, v)| &**v);
        let bound = match given.get(i) {
            Some(b) => Some(b.clone()),
            None => role(atlas, casting, &inst.roles, s.attack, bind, chosen, &mut rng, ready),
        };
        let bound = bound.ok_or_else(|| format!("nobody can play role `{name}` of `{}`", s.id))?;
        inst.roles.push(bound);
    }
    for (i, (name, draw)) in s.vars.iter().enumerate() {
        let mut rng = Rng::of(seed, i as u64, purpose("vars"));
        let (text, choice) = match choices.vars.iter().find(|(n, _)| n == name) {
            Some((_, v)) => (v.to_string(), chosen(draw, v)),
            None => variable(atlas, &inst, draw, &mut rng),
        };
        inst.vars.push(text.into());
        inst.choices.push(choice);
    }
    Ok(inst)
}

fn pick<T: Copy>(list: &[T], rng: &mut Rng) -> Option<T> {
    if list.is_empty() { None } else { Some(list[rng.below(list.len() as u64) as usize]) }
}

/// How ready a machine is for something to begin there, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ready {
    /// Off, or nobody is logged on.
    Not,
    /// On, its person is away.
    On,
    /// Its person is at work; nobody owns it.
    AtWork,
}

/// Tries to find somebody who is at work.
const TRIES: usize = 12;
/// Machines among which one that is at least on is looked for.
const LOOKED_AT_MAX: usize = 400;

/// One of a list, the readiest that is found.
fn pick_best<T: Copy>(list: &[T], rng: &mut Rng, ready: impl Fn(T) -> Ready) -> Option<T> {
    let first = pick(list, rng)?;
    let mut one = first;
    for _ in 0..TRIES {
        if ready(one) == Ready::AtWork {
            return Some(one);
        }
        one = pick(list, rng)?;
    }
    // by night and at weekends
    let from = rng.below(list.len() as u64) as usize;
    let mut best = (Ready::Not, first);
    for one in list[from..].iter().chain(&list[..from]).take(LOOKED_AT_MAX) {
        let r = ready(*one);
        if r > best.0 {
            best = (r, *one);
        }
        if r == Ready::AtWork {
            break;
        }
    }
    Some(best.1)
}

fn role(
    atlas: &Atlas,
    casting: &Casting,
    roles: &[Bound],
    attack: bool,
    bind: &Bind,
    chosen: Option<&str>,
    rng: &mut Rng,
    ready: &dyn Fn(HostId) -> Ready,
) -> Option<Bound> {
    if let Some(name) = chosen {
        let host =
            atlas.hosts.iter().position(|h| h.name.eq_ignore_ascii_case(name) || h.fqdn.eq_ignore_ascii_case(name));
        if let Some(h) = host {
            return Some(match bind {
                Bind::Hosts { .. } => Bound::Hosts(vec![HostId(h as u32)]),
                _ => Bound::Host(HostId(h as u32)),
            });
        }
        return atlas.accounts_named(name).next().map(Bound::Account);
    }
    let host_of = |r: u16| match roles.get(r as usize) {
        Some(Bound::Host(h)) => Some(*h),
        Some(Bound::Hosts(h)) => h.first().copied(),
        _ => None,
    };
    // nobody is cast twice as a host while others are free
    let taken: Vec<HostId> = roles
        .iter()
        .flat_map(|b| match b {
            Bound::Host(h) => vec![*h],
            Bound::Hosts(h) => h.clone(),
            _ => vec![],
        })
        .collect();
    match bind {
        Bind::Host { role, persona } => {
            let all = &casting.by_role[*role as usize];
            let of = |h: &HostId| {
                persona.is_none_or(|p| atlas.host(*h).owner.is_some_and(|o| atlas.account(o).persona == Some(p)))
            };
            let fit: Vec<HostId> = all.iter().copied().filter(|h| of(h) && !taken.contains(h)).collect();
            pick_best(&fit, rng, ready).or_else(|| pick(all, rng)).map(Bound::Host)
        }
        Bind::Hosts { role, take, reach } => {
            let n = rng.range(take.0 as i64, take.1 as i64) as usize;
            let near = reach.and_then(host_of).map(|h| atlas.host(h).site);
            let mut all: Vec<(bool, u64, HostId)> = casting.by_role[*role as usize]
                .iter()
                .filter(|h| !taken.contains(h))
                .map(|h| (near.is_some_and(|s| atlas.host(*h).site != s), rng.u64(), *h))
                .collect();
            all.sort();
            all.truncate(n);
            if all.is_empty() { None } else { Some(Bound::Hosts(all.into_iter().map(|(_, _, h)| h).collect())) }
        }
        // who works at a machine of nobody's is one of the administrators
        Bind::UserOf(r) => {
            let owner = atlas.host(host_of(*r)?).owner;
            owner.or_else(|| pick(&casting.admins, rng)).map(Bound::Account)
        }
        Bind::User { persona } => {
            let there = |a: AccountId| atlas.account(a).host.map_or(Ready::AtWork, ready);
            pick_best(&casting.by_persona[*persona as usize], rng, there).map(Bound::Account)
        }
        Bind::NewAccount { name } => Some(Bound::New(*name)),
        // people administer with their own second account; an intruder takes whose he finds
        Bind::DomainAdmin => {
            let own = |b: &Bound| match b {
                Bound::Account(a) => casting.own_admin.get(a).copied(),
                _ => None,
            };
            let own = roles.iter().find_map(own).filter(|_| !attack);
            own.or_else(|| pick(&casting.admins, rng)).map(Bound::Account)
        }
        Bind::ServiceAccount => pick(&casting.services, rng).map(Bound::Account),
        Bind::DcOf(r) => Some(Bound::Host(atlas.host(host_of(*r)?).dc)),
    }
}

fn word<'a>(atlas: &'a Atlas, list: u16, rng: &mut Rng) -> &'a str {
    match atlas.words.lists.get(list as usize) {
        Some(l) if !l.is_empty() => &l[rng.below(l.len() as u64) as usize],
        _ => "",
    }
}

/// A word of a named list, empty when there is none.
fn named<'a>(atlas: &'a Atlas, name: &str, rng: &mut Rng) -> &'a str {
    atlas.words.names.iter().position(|n| **n == *name).map_or("", |i| word(atlas, i as u16, rng))
}

fn letters(rng: &mut Rng, n: usize, from: &[u8]) -> String {
    (0..n).map(|_| from[rng.below(from.len() as u64) as usize] as char).collect()
}

/// Random hexadecimal digits.
pub fn hex(rng: &mut Rng, n: usize) -> String {
    let mut out = String::with_capacity(n);
    push_hex(rng, n, &mut out);
    out
}

/// Appends random hexadecimal digits.
pub fn push_hex(rng: &mut Rng, n: usize, out: &mut String) {
    out.extend((0..n).map(|_| b"0123456789abcdef"[rng.below(16) as usize] as char));
}

/// A random GUID, version 4, lower case, without braces.
pub fn guid(rng: &mut Rng) -> String {
    let mut out = String::with_capacity(36);
    push_guid(rng, &mut out);
    out
}

/// Appends a GUID as [`guid`] makes it.
pub fn push_guid(rng: &mut Rng, out: &mut String) {
    use std::fmt::Write;
    let (a, b) = (rng.u64(), rng.u64());
    write!(
        out,
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 50) & 0x3fff,
        b & 0xffff_ffff_ffff
    )
    .expect("a String");
}

/// The alternative that a text given by a user stands for.
fn chosen(draw: &Draw, text: &str) -> u16 {
    match draw {
        Draw::Choice(list) => list.iter().position(|(_, t)| t.as_lit() == Some(text)).unwrap_or(0) as u16,
        _ => 0,
    }
}

fn variable(atlas: &Atlas, inst: &Inst, draw: &Draw, rng: &mut Rng) -> (String, u16) {
    if let Draw::Choice(list) = draw {
        let mut sum = 0u32;
        let cumulative: Vec<u32> = list
            .iter()
            .map(|(w, _)| {
                sum += w;
                sum
            })
            .collect();
        let i = rng.weighted(&cumulative);
        return (fill_static(atlas, inst, &list[i].1, rng), i as u16);
    }
    (drawn(atlas, inst, draw, rng), 0)
}

fn drawn(atlas: &Atlas, inst: &Inst, draw: &Draw, rng: &mut Rng) -> String {
    match draw {
        Draw::Choice(_) => String::new(),
        Draw::Number(lo, hi) => rng.range(*lo, *hi).to_string(),
        Draw::Domain(kind) => domain(atlas, *kind, rng),
        Draw::Address => {
            // documentation ranges of RFC 5737: nobody's
            let net = [[192, 0, 2], [198, 51, 100], [203, 0, 113]][rng.below(3) as usize];
            format!("{}.{}.{}.{}", net[0], net[1], net[2], rng.range(1, 254))
        }
        Draw::Url(tpl) => {
            let host = fill_static(atlas, inst, tpl, rng);
            format!("https://{host}{}", named(atlas, "indicators.path", rng))
        }
        Draw::Document(list) | Draw::Name(list) => word(atlas, *list, rng).to_owned(),
        Draw::Password => {
            let base = letters(rng, 1, b"ABCDEFGHKLMNPRSTW") + &letters(rng, 6, b"abcdefghijkmnopqrstuvwxyz");
            format!("{base}{}{}", rng.range(10, 9999), letters(rng, 1, b"!#$@?"))
        }
        Draw::Hex(n) => hex(rng, *n as usize),
        Draw::Guid => guid(rng),
    }
}

fn domain(atlas: &Atlas, kind: DomainKind, rng: &mut Rng) -> String {
    let top = ["example", "test", "invalid", "example.com", "example.net", "example.org"][rng.below(6) as usize];
    match kind {
        DomainKind::Dga => format!("{}.{top}", letters(&mut *rng, 14, b"abcdefghijklmnopqrstuvwxyz0123456789")),
        DomainKind::Random => {
            let (a, b) =
                (named(atlas, "indicators.domain_words", rng).to_owned(), named(atlas, "indicators.domain_words", rng));
            let a = if a.is_empty() { letters(rng, 7, b"aeioubcdfglmnprst") } else { a };
            format!("{a}{}{b}.{top}", if rng.chance(0.4) { "-" } else { "" })
        }
        DomainKind::Lookalike => {
            let own = atlas.forest.dns.split('.').next().unwrap_or("corp");
            let suffix = ["-login", "-sso", "-portal", "-support", "-update", "-mail"][rng.below(6) as usize];
            format!("{own}{suffix}.{top}")
        }
    }
}

/// Fills a template with what is known when an instance starts: variables before it, roles, words, numbers.
fn fill_static(atlas: &Atlas, inst: &Inst, tpl: &Tpl, rng: &mut Rng) -> String {
    let mut out = String::new();
    for piece in &tpl.0 {
        match piece {
            Piece::Lit(t) => out.push_str(t),
            Piece::Slot(slot, fmts) => {
                let text = slot_static(atlas, inst, *slot, rng);
                out.push_str(&super::text::format(&text, fmts));
            }
            Piece::Group(inner, fmts) => {
                let text = fill_static(atlas, inst, inner, rng);
                out.push_str(&super::text::format(&text, fmts));
            }
        }
    }
    out
}

fn slot_static(atlas: &Atlas, inst: &Inst, slot: Slot, rng: &mut Rng) -> String {
    match slot {
        Slot::Var(i) => inst.vars.get(i as usize).map_or(String::new(), |v| v.to_string()),
        Slot::Role(i, Attr::Temp) if matches!(inst.roles.get(i as usize), Some(Bound::Account(_))) => {
            format!(r"{}\AppData\Local\Temp", role_attr(atlas, inst, i, Attr::Profile))
        }
        Slot::Role(i, attr) => role_attr(atlas, inst, i, attr).to_owned(),
        Slot::Guid(_) => guid(rng),
        Slot::Hex(_, n) => hex(rng, n as usize),
        Slot::Letters(_, n) => letters(rng, n as usize, b"abcdefghijklmnopqrstuvwxyz"),
        Slot::Num(_, lo, hi) => rng.range(lo as i64, hi as i64).to_string(),
        Slot::Word(_, list) => word(atlas, list, rng).to_owned(),
        _ => String::new(),
    }
}

/// A fact about what a role is bound to, as text; empty where it has no such fact.
pub fn role_attr<'a>(atlas: &'a Atlas, inst: &'a Inst, role: u16, attr: Attr) -> &'a str {
    match inst.roles.get(role as usize) {
        Some(Bound::Host(h)) => atlas.host_attr(*h, attr),
        Some(Bound::Hosts(h)) => h.first().map_or("", |h| atlas.host_attr(*h, attr)),
        Some(Bound::Account(a)) => account_attr(atlas, *a, attr),
        Some(Bound::New(v)) => inst.vars.get(*v as usize).map_or("", |v| v),
        None => "",
    }
}

/// A fact about an account as text.
pub fn account_attr(atlas: &Atlas, id: AccountId, attr: Attr) -> &str {
    let a = atlas.account(id);
    match attr {
        Attr::Name => &a.name,
        Attr::Full => &a.upn,
        Attr::Domain => &atlas.forest.dns,
        Attr::Netbios => &a.domain,
        Attr::Sid => &a.sid,
        Attr::Profile => &a.profile,
        Attr::Display => &a.display,
        Attr::Given => &a.given,
        Attr::Family => &a.family,
        Attr::Department => &a.department,
        _ => "",
    }
}

/// Word of a list for a task's own draws.
pub fn word_of(atlas: &Atlas, list: u16, seed: u64, n: u16) -> &str {
    word(atlas, list, &mut Rng::of(seed, n as u64, purpose("word")))
}

/// The seed of a task's draws: instance, step, member and repetition.
pub fn task_seed(inst: u64, step: u16, member: u64, repetition: u32) -> u64 {
    mix(mix(inst, step as u64), mix(member, repetition as u64))
}

/// State of an instance in its home cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The instance.
    pub inst: Arc<Inst>,
    /// Per step: plays still open; `u32::MAX` not started, 0 done.
    pub open: Vec<u32>,
    /// Started step most recently, for status displays.
    pub last: u16,
}
