//! From the merged tree to a [`Config`].

use std::net::SocketAddr;
use std::path::PathBuf;

use super::stream::{self, Sinks};
use super::*;
use crate::sink::SinkSpec;
use crate::yaml::{Fields, Node, Problems};

/// A word out of a few.
pub(super) fn choice<T: Copy>(node: &Node, what: &str, all: &[(&str, T)], p: &mut Problems) -> Option<T> {
    let word = node.as_str().unwrap_or("");
    let found = all.iter().find(|(w, _)| *w == word).map(|(_, t)| *t);
    if found.is_none() {
        p.unknown(node, &format!("value of `{what}`"), word, all.iter().map(|(w, _)| *w));
    }
    found
}

pub(super) fn text(node: &Node, what: &str, p: &mut Problems) -> Option<String> {
    node.text(p, what).map(str::to_owned)
}

pub(super) fn name(node: &Node, what: &str, p: &mut Problems) -> Option<Name> {
    node.text(p, what).map(|t| Name { text: t.into(), node: node.clone() })
}

pub(super) fn path(node: &Node, what: &str, p: &mut Problems) -> Option<PathBuf> {
    node.text(p, what).map(PathBuf::from)
}

/// A name of the user's making: it stands in metrics, paths of `--set` and variables of the environment.
pub(super) fn id(node: &Node, what: &str, p: &mut Problems) -> Option<String> {
    let t = node.text(p, &format!("the name of {what}"))?;
    let good =
        t.len() <= 100 && t.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) && !t.is_empty();
    if !good {
        p.at(node, format!("the name of {what} must be of letters, digits, `_` and `-`, not {}", node.describe()));
    }
    good.then(|| t.to_owned())
}

fn number<T>(node: &Node, what: &str, lo: T, hi: T, p: &mut Problems) -> Option<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match node.number::<T>(p, what) {
        Some(n) if n >= lo && n <= hi => Some(n),
        Some(n) => {
            p.at(node, format!("{what} must be from {lo} to {hi}, not {n}"));
            None
        }
        None => None,
    }
}

pub(super) fn config(written: Node, p: &mut Problems) -> Option<Config> {
    let f = written.fields(p, "the configuration")?;
    let seed = f.take("seed").map_or(Some(1), |n| n.number::<u64>(p, "seed"));
    let clock = f.take("clock").map_or(Some(Clock::Live), |n| clock(n, p));
    let world = world(f.take("world"), p);
    let sensors = sensors(f.take("sensors"), p);
    let attacks = attacks(f.take("attacks"), p);
    let collection = f.take("collection").map_or(Some(Profile::Lab), |n| {
        let f = n.fields(p, "collection")?;
        let all = [("lab", Profile::Lab), ("product", Profile::Product)];
        let profile = f.take("profile").map_or(Some(Profile::Lab), |n| choice(n, "profile", &all, p));
        f.finish(p);
        profile
    });
    let (mut names, mut sinks) = (vec![], vec![]);
    for (k, v) in f.take("sinks").map_or(&[][..], |n| n.pairs(p, "sinks")) {
        names.extend(k.as_str());
        if let Some(name) = id(k, "a sink", p) {
            sinks.extend(SinkSpec::from_node(&name, v, p));
        }
    }
    let whole = sinks.len() == names.len();
    let names = Sinks { names };
    let truth = stream::truth(f.take("truth"), &names, p);
    let mut streams = vec![];
    let streams_node = f.take("streams");
    if let (Some(world), Some(truth)) = (&world, &truth) {
        for (k, v) in streams_node.map_or(&[][..], |n| n.pairs(p, "streams")) {
            streams.extend(stream::read(k, v, &names, world, (seed.unwrap_or(0), truth), p));
        }
    }
    if streams.len() > u16::MAX as usize {
        p.plain(format!("{} streams are configured, at most {} are possible", streams.len(), u16::MAX));
    }
    let data = f.take("data").map_or(vec![], |n| n.items().iter().filter_map(|n| path(n, "data", p)).collect());
    let control = control(f.take("control"), p);
    let state = f.take("state").and_then(|n| {
        let f = n.fields(p, "state")?;
        let dir = f.take("dir").and_then(|n| path(n, "dir", p));
        f.finish(p);
        dir
    });
    let threads = f.take("threads").filter(|n| n.as_str() != Some("auto")).map(|n| number(n, "threads", 1, 1024, p));
    let flush = f.take("flush").map_or(Some(Span::s(10)), |n| {
        let s = n.span(p, "flush")?;
        if s.0 < 0 {
            p.at(n, "flush cannot be negative");
        }
        Some(s)
    });
    f.finish(p);
    if !whole {
        return None;
    }
    Some(Config {
        seed: seed?,
        clock: clock?,
        world: world?,
        sensors: sensors?,
        attacks: attacks?,
        collection: collection?,
        sinks,
        streams,
        truth: truth?,
        data,
        control: control?,
        state,
        threads: threads.flatten(),
        flush: flush?,
        written,
    })
}

/// An instant (`2026-03-02T08:00:00Z`, with any offset) or a day in UTC.
fn instant(node: &Node, what: &str, p: &mut Problems) -> Option<Time> {
    let time = node.as_str().and_then(parse_instant);
    if time.is_none() {
        p.at(
            node,
            format!("{what} must be a time such as `2026-03-02T08:00:00Z` or `2026-03-02`, not {}", node.describe()),
        );
    }
    time
}

/// Reads an instant (`2026-03-02T08:00:00Z`, with any offset) or a day in UTC, in the years 1970 to 2200.
pub(super) fn parse_instant(text: &str) -> Option<Time> {
    let ts = match text.parse::<jiff::Timestamp>() {
        Ok(ts) => ts,
        Err(_) => {
            let date = text.parse::<jiff::civil::Date>().ok()?;
            TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?
        }
    };
    // later years would leave too little room in 64 bits of nanoseconds
    (0..7_258_118_400).contains(&ts.as_second()).then(|| Time(ts.as_nanosecond() as i64))
}

fn clock(node: &Node, p: &mut Problems) -> Option<Clock> {
    let f = node.fields(p, "clock")?;
    let live = f.take("live").and_then(|n| n.boolean(p, "live").map(|l| (l, n)));
    let from = f.take("from").map(|n| instant(n, "from", p));
    let speed_node = f.take("speed");
    let speed = speed_node.and_then(|n| match n.as_str() {
        Some("max") => Some(Speed::Max),
        _ => number(n, "speed", 0.001, 1_000_000.0, p).map(Speed::Times),
    });
    f.finish(p);
    match (live, from, speed_node) {
        (Some((true, _)), _, Some(n)) => {
            p.at(n, "`speed` has no meaning for a clock that is `live`");
            None
        }
        (Some((false, n)), None, _) => {
            p.at(n, "a clock that is not `live` needs `from`");
            None
        }
        (Some((true, _)), Some(from), None) => Some(Clock::BackFill { from: from? }),
        (Some((true, _)) | None, None, None) => Some(Clock::Live),
        (None, None, Some(n)) => {
            p.at(n, "`speed` needs `from`: a live clock runs with the wall clock");
            None
        }
        (_, Some(from), _) => Some(Clock::From { from: from?, speed: speed.unwrap_or(Speed::Times(1.0)) }),
    }
}

fn world(node: Option<&Node>, p: &mut Problems) -> Option<World> {
    let mut world = World {
        hosts: None,
        forest: "corp.example".into(),
        netbios: String::new(),
        domain_sid: None,
        tenant: None,
        sites: vec![],
        roles: vec![],
        cells: CELLS_MIN,
    };
    let before = p.0.len();
    if let Some(node) = node {
        let f = node.fields(p, "world")?;
        if let Some(n) = f.take("hosts").filter(|n| n.as_str() != Some("auto")) {
            world.hosts = number(n, "hosts", 1, HOSTS_MAX, p);
        }
        if let Some(n) = f.take("forest") {
            world.forest = text(n, "forest", p).unwrap_or_default();
            let label =
                |l: &str| (1..=63).contains(&l.len()) && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if world.forest.len() > 200 || !world.forest.contains('.') || !world.forest.split('.').all(label) {
                p.at(n, format!("forest must be a DNS name such as `corp.example`, not {}", n.describe()));
            }
        }
        if let Some(n) = f.take("netbios") {
            world.netbios = text(n, "netbios", p).unwrap_or_default();
            let good = (1..=15).contains(&world.netbios.len());
            if !good || !world.netbios.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                p.at(n, format!("netbios must be 1 to 15 letters, digits and `-`, not {}", n.describe()));
            }
        }
        if let Some(n) = f.take("domain_sid") {
            world.domain_sid = text(n, "domain_sid", p).filter(|t| {
                let parts: Option<Vec<u32>> =
                    t.strip_prefix("S-1-5-21-").map(|r| r.split('-').flat_map(str::parse).collect());
                let good = parts.is_some_and(|v| v.len() == 3) && t.matches('-').count() == 6;
                if !good {
                    let help = "expected `S-1-5-21-` and three numbers below 4294967296";
                    p.at(n, format!("domain_sid is not the SID of a domain: `{t}`")).help(help);
                }
                good
            });
        }
        if let Some(n) = f.take("tenant") {
            world.tenant = text(n, "tenant", p).map(|t| t.to_lowercase()).filter(|t| {
                let good = t.len() == 36
                    && t.bytes().enumerate().all(|(i, b)| match i {
                        8 | 13 | 18 | 23 => b == b'-',
                        _ => b.is_ascii_hexdigit(),
                    });
                if !good {
                    p.at(n, format!("tenant must be a GUID such as `3f2504e0-4f89-41d3-9a0c-0305e82c3301`, not `{t}`"));
                }
                good
            });
        }
        if let Some(n) = f.take("sites") {
            sites(n, &mut world.sites, p);
        }
        world.roles = pairs(&f, "roles", p, |n, p| {
            let f = n.fields(p, "a role")?;
            let share = f.take("share").and_then(|n| n.share(p, "share"));
            let pattern = f.take("name").and_then(|n| name(n, "name", p));
            f.finish(p);
            Some((share, pattern))
        })
        .into_iter()
        .map(|(role, (share, name))| Role { role, share, name })
        .collect();
        if let Some(n) = f.take("cells") {
            world.cells = number(n, "cells", CELLS_MIN, CELLS_MAX, p).unwrap_or(CELLS_MIN);
        }
        f.finish(p);
    }
    if world.netbios.is_empty() {
        let first = world.forest.split('.').next().unwrap_or("");
        world.netbios = first.chars().take(15).collect::<String>().to_uppercase();
    }
    if world.sites.is_empty() && p.0.len() == before {
        for (name, tz, share) in [("Lyon", "Europe/Paris", 0.6), ("Austin", "America/Chicago", 0.4)] {
            let zone = crate::schedule::zone(tz).expect("a zone of the bundled database");
            world.sites.push(Site { name: name.into(), tz: tz.into(), zone, share });
        }
    }
    // streams are read even where the world is wrong, so that one run tells of both
    Some(world)
}

fn sites(node: &Node, sites: &mut Vec<Site>, p: &mut Problems) {
    for n in node.items() {
        let Some(f) = n.fields(p, "a site") else { continue };
        let name = f.need(p, "name").and_then(|n| text(n, "name", p).map(|t| (t, n)));
        let tz = f.need(p, "tz").and_then(|n| text(n, "tz", p).map(|t| (t, n)));
        let share = f.take("share").map_or(Some(1.0), |n| {
            let s = n.share(p, "share");
            if s == Some(0.0) {
                p.at(n, "a site whose share is 0 has no hosts");
            }
            s
        });
        f.finish(p);
        let (Some((name, at)), Some((tz, tz_at)), Some(share)) = (name, tz, share) else { continue };
        if sites.iter().any(|s| s.name == name) {
            p.at(at, format!("site `{name}` is given twice"));
        }
        match crate::schedule::zone(&tz) {
            Ok(zone) => sites.push(Site { name, tz, zone, share }),
            Err(help) => p.at(tz_at, format!("unknown time zone `{tz}`")).help(help),
        }
    }
    let total: f64 = sites.iter().map(|s| s.share).sum();
    sites.iter_mut().for_each(|s| s.share /= total);
}

fn pairs<T>(
    f: &Fields<'_>,
    key: &'static str,
    p: &mut Problems,
    value: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> Vec<(Name, T)> {
    let pairs = f.take(key).map_or(&[][..], |n| n.pairs(p, key));
    pairs.iter().filter_map(|(k, v)| Some((name(k, key, p)?, value(v, p)?))).collect()
}

fn sensors(node: Option<&Node>, p: &mut Problems) -> Option<Sensors> {
    let Some(node) = node else { return Some(Sensors { policy: None, roles: vec![] }) };
    let f = node.fields(p, "sensors")?;
    let policy = f.take("policy").and_then(|n| name(n, "policy", p));
    let roles = pairs(&f, "roles", p, |n, p| name(n, "policy", p));
    f.finish(p);
    Some(Sensors { policy, roles })
}

fn attacks(node: Option<&Node>, p: &mut Problems) -> Option<Attacks> {
    let mut a = Attacks {
        scenarios: vec![],
        when: When::Never,
        first: None,
        max_parallel: 3,
        indicators: Indicators::Safe,
        cast: vec![],
        vars: vec![],
    };
    let Some(node) = node else { return Some(a) };
    let f = node.fields(p, "attacks")?;
    for n in f.take("scenarios").map_or(&[][..], Node::items) {
        if n.as_str().is_some() {
            a.scenarios.extend(name(n, "scenario", p).map(|id| Scenarios {
                id,
                weight: 1.0,
                cast: vec![],
                vars: vec![],
            }));
            continue;
        }
        let Some(f) = n.fields(p, "an entry of scenarios") else { continue };
        let id = f.need(p, "id").and_then(|n| name(n, "id", p));
        let weight = f.take("weight").map_or(Some(1.0), |n| number(n, "weight", 0.0, 1e6, p));
        let cast = pairs(&f, "cast", p, |n, p| name(n, "cast", p));
        let vars = pairs(&f, "vars", p, |n, _| Some(n.clone()));
        f.finish(p);
        a.scenarios.extend(id.zip(weight).map(|(id, weight)| Scenarios { id, weight, cast, vars }));
    }
    let when = [f.take("per_hour"), f.take("at"), f.take("share")];
    match when {
        [None, None, None] => {}
        [Some(n), None, None] => a.when = When::PerHour(number(n, "per_hour", 0.0, 100_000.0, p).unwrap_or(0.0)),
        [None, Some(n), None] => {
            let start = |n: &Node, p: &mut Problems| match n.as_str().and_then(parse_instant) {
                Some(t) => Some(Start::At(t)),
                None => {
                    let span = n.as_str().and_then(crate::yaml::parse_span).filter(|s| s.0 >= 0);
                    if span.is_none() {
                        let like = "`30s` after the start or `2026-03-02T08:00:00Z`";
                        p.at(n, format!("a time of an attack must be like {like}, not {}", n.describe()));
                    }
                    span.map(Start::After)
                }
            };
            a.when = When::At(n.items().iter().filter_map(|n| start(n, p)).collect());
        }
        [None, None, Some(n)] => a.when = When::Share(n.share(p, "share").unwrap_or(0.0)),
        _ => {
            let second = when.iter().flatten().nth(1).expect("at least two are there");
            p.at(second, "`per_hour`, `at` and `share` all say when attacks start; give one of them");
        }
    }
    a.first = f.take("first").and_then(|n| n.span(p, "first"));
    if let Some(n) = f.take("max_parallel") {
        a.max_parallel = number(n, "max_parallel", 1, 10_000, p).unwrap_or(1);
    }
    if let Some(n) = f.take("indicators") {
        match (n.as_str(), n.get("list")) {
            (Some("safe"), _) => {}
            (Some("public_like"), _) => a.indicators = Indicators::PublicLike,
            (None, Some(list)) => {
                let f = n.fields(p, "indicators")?;
                f.take("list");
                f.finish(p);
                if let Some(path) = path(list, "list", p) {
                    a.indicators = Indicators::List(path, list.clone());
                }
            }
            _ => {
                let help = "expected `safe`, `public_like` or `{list: FILE}`";
                p.at(n, format!("unknown indicators: {}", n.describe())).help(help);
            }
        }
    }
    a.cast = pairs(&f, "cast", p, |n, p| name(n, "cast", p));
    a.vars = pairs(&f, "vars", p, |n, _| Some(n.clone()));
    f.finish(p);
    Some(a)
}

fn address(node: &Node, what: &str, p: &mut Problems) -> Option<SocketAddr> {
    let t = node.text(p, what)?;
    let a = t.parse().ok();
    if a.is_none() {
        p.at(node, format!("{what} must be an address and a port such as `127.0.0.1:7417`, not `{t}`"));
    }
    a
}

fn control(node: Option<&Node>, p: &mut Problems) -> Option<Control> {
    let default = |t: &str| t.parse().expect("an address of our own");
    let mut c = Control { listen: default(LISTEN), metrics: Some(default(METRICS)), token: None, tls: None };
    let Some(node) = node else { return Some(c) };
    let f = node.fields(p, "control")?;
    if let Some(n) = f.take("listen") {
        c.listen = address(n, "listen", p).unwrap_or(c.listen);
    }
    match f.take("metrics") {
        None => {}
        Some(n) if n.as_str() == Some("off") => c.metrics = None,
        Some(n) => c.metrics = address(n, "metrics", p),
    }
    c.token = SecretRef::from_fields(&f, p, "token", "token_file", "token_env");
    c.tls = f.take("tls").and_then(|n| ServerTls::from_node(n, p));
    f.finish(p);
    Some(c)
}
