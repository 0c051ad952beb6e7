//! Streams: names resolved to sources, hosts, encodings, sinks.

use std::sync::Arc;

use crate::activity::Kind;
use crate::cell::{self, Collect, DeliveryPlan, Feed, StreamPlan};
use crate::config::{self, Config, Deliver, Headers, Profile};
use crate::plan::{Extra, Knowledge, Route, matches, unknown};
use crate::policy::SensorPolicy;
use crate::schedule::Division;
use crate::sink::{DeliveryInfo, SinkSpec};
use crate::source::{Encoding, Platform, Source};
use crate::time::{Span, Time};
use crate::world::atlas::Atlas;
use crate::world::host::Luid;
use crate::world::state::Shared;
use crate::yaml::Problems;

/// Streams with their names resolved.
pub struct Resolved {
    /// Feeds.
    pub feeds: Vec<Feed>,
    /// Streams.
    pub streams: Vec<StreamPlan>,
    /// For each stream and written delivery the one of the plan that renders it.
    pub of: Vec<Vec<usize>>,
    /// Channels.
    pub channels: Vec<String>,
    /// Kinds that somebody records.
    pub wanted: [bool; Kind::ALL.len()],
}

/// Records of a message of an encoding that holds several.
const MESSAGE_RECORDS_MAX: u32 = 100;

pub(super) fn resolve(
    config: &Config,
    knowledge: &Knowledge,
    atlas: &Atlas,
    extra: &Extra,
    p: &mut Problems,
) -> Option<Resolved> {
    let before = p.0.len();
    let mut r =
        Resolved { feeds: vec![], streams: vec![], of: vec![], channels: vec![], wanted: [false; Kind::ALL.len()] };
    let catalogue = &knowledge.catalogue;
    for (index, s) in config.streams.iter().enumerate() {
        let Some(source) = catalogue.get(&s.source.text) else {
            unknown(p, &s.source, "source", catalogue.ids());
            continue;
        };
        let feed = feed(&mut r, source, config);
        r.feeds[feed].streams.push(index);
        for k in source.kinds() {
            r.wanted[k as usize] = true;
        }
        let hosts = hosts(s, source, config, atlas, p);
        if hosts.iter().all(|h| !h) && before == p.0.len() {
            p.at(&s.node, format!("stream `{}` is over no host", s.name));
        }
        let mut weights = vec![0u32; atlas.cells as usize];
        for (h, covered) in atlas.hosts.iter().zip(&hosts) {
            weights[h.cell as usize] += u32::from(*covered);
        }
        // deliveries that send the same bytes are rendered once
        let (mut deliveries, mut of): (Vec<DeliveryPlan>, Vec<usize>) = (vec![], vec![]);
        for (i, d) in s.to.iter().enumerate() {
            let Some(made) = delivery(d, source, config, extra, p) else { continue };
            let same = |k: &usize| {
                let x: &DeliveryPlan = &deliveries[of[*k]];
                x.writer.encoding == made.writer.encoding
                    && x.key == made.key
                    && x.truth_all == made.truth_all
                    && x.labels == made.labels
                    && s.to[*k].fields == d.fields
            };
            match (0..i.min(of.len())).find(same) {
                Some(k) => of.push(of[k]),
                None => {
                    of.push(deliveries.len());
                    deliveries.push(made);
                }
            }
        }
        r.of.push(of);
        r.streams.push(StreamPlan {
            name: s.name.clone(),
            feed,
            hosts,
            division: Division::new(&weights),
            attack_only: s.deliver == Deliver::Attack,
            mean_bytes: 1,
            deliveries,
        });
    }
    (p.0.len() == before).then_some(r)
}

fn feed(r: &mut Resolved, source: &Arc<Source>, config: &Config) -> usize {
    if let Some(i) = r.feeds.iter().position(|f| f.source.id == source.id) {
        return i;
    }
    // sources that share a channel share its numbers
    let name = if source.channel.is_empty() { &source.id } else { &source.channel };
    let channel = r.channels.iter().position(|c| c == name).unwrap_or_else(|| {
        r.channels.push(name.clone());
        r.channels.len() - 1
    });
    let collect = match (config.collection, source.platform) {
        (Profile::Lab, _) => Collect::Lab,
        (Profile::Product, _) if source.id.starts_with("defender.") => {
            Collect::Product { least: Span::s(20), most: Span::s(75) }
        }
        (Profile::Product, Platform::Cloud) => Collect::Product { least: Span::s(120), most: Span::s(420) },
        (Profile::Product, _) => Collect::Product { least: Span::ms(300), most: Span::s(6) },
    };
    r.feeds.push(Feed { source: source.clone(), channel, collect, streams: vec![] });
    r.feeds.len() - 1
}

fn hosts(s: &config::Stream, source: &Source, config: &Config, atlas: &Atlas, p: &mut Problems) -> Vec<bool> {
    use crate::world::atlas::Platform as Os;
    let sel = &s.hosts;
    let roles: Vec<Option<u16>> = sel
        .roles
        .iter()
        .map(|r| {
            let found = atlas.role(&r.text);
            if found.is_none() {
                unknown(p, r, "role", atlas.roles.iter().map(|r| &**r));
            }
            found
        })
        .collect();
    let mut named = vec![false; sel.names.len()];
    let covered: Vec<bool> = atlas
        .hosts
        .iter()
        .enumerate()
        .map(|(i, h)| {
            let os = atlas.oses[h.os as usize].platform;
            let fits = match source.platform {
                Platform::Windows => os == Os::Windows,
                Platform::Linux => os == Os::Linux,
                _ => true,
            };
            let role = roles.is_empty() || roles.contains(&Some(h.role));
            let site = sel.sites.is_empty()
                || sel
                    .sites
                    .iter()
                    .any(|s| config.world.sites.get(*s).is_some_and(|x| *x.name == *atlas.sites[h.site as usize].name));
            let mut name = sel.names.is_empty();
            for (k, n) in sel.names.iter().enumerate() {
                if matches(&n.text.to_ascii_lowercase(), &h.name.to_ascii_lowercase()) {
                    named[k] = true;
                    name = true;
                }
            }
            let part = sel.share.is_none_or(|share| {
                let x = crate::rng::mix(atlas.seed ^ crate::rng::purpose("share of hosts"), i as u64);
                (x >> 11) as f64 / (1u64 << 53) as f64 <= share
            });
            fits && role && site && name && part
        })
        .collect();
    for (n, found) in sel.names.iter().zip(named) {
        if !found {
            unknown(p, n, "host", atlas.hosts.iter().map(|h| &*h.name));
        }
    }
    covered
}

fn delivery(
    d: &config::Delivery,
    source: &Source,
    config: &Config,
    extra: &Extra,
    p: &mut Problems,
) -> Option<DeliveryPlan> {
    let encoding = match &d.encoding {
        None => *source.encodings.first()?,
        Some(name) => match Encoding::parse(&name.text) {
            Some(e) => e,
            None => {
                unknown(p, name, "encoding", source.encodings.iter().map(|e| e.name()));
                return None;
            }
        },
    };
    let fields: Vec<(String, serde_json::Value)> =
        d.fields.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
    let options = crate::source::Options { fields: &fields, labels: d.inline_truth };
    let writer = match source.writer(encoding, options) {
        Ok(w) => w,
        Err(e) => {
            p.at(d.encoding.as_ref().map_or(&d.node, |n| &n.node), e);
            return None;
        }
    };
    let several = encoding == Encoding::DefenderEventhub;
    let key = match &d.key {
        _ if several => cell::Key::None,
        config::Key::Host => cell::Key::Host,
        config::Key::None => cell::Key::None,
        config::Key::Field(name) => match crate::activity::Field::parse(&name.text) {
            Some(f) => cell::Key::Field(f),
            None => {
                unknown(p, name, "field", crate::activity::Field::ALL.iter().map(|f| f.name()));
                return None;
            }
        },
    };
    let truth_all = extra.truth_all || (config.truth.all && d.headers != Headers::None);
    let records_max = if several { MESSAGE_RECORDS_MAX } else { 1 };
    Some(DeliveryPlan { writer, key, records_max, truth_all, labels: d.inline_truth })
}

/// Sensor policies, and which of them each host has.
pub(super) type Sensing = (Vec<Arc<SensorPolicy>>, Vec<u8>);

/// Sensor policies and which host has which.
pub(super) fn policies(config: &Config, knowledge: &Knowledge, atlas: &Atlas, p: &mut Problems) -> Option<Sensing> {
    let before = p.0.len();
    let find = |name: &config::Name, p: &mut Problems| {
        let found = knowledge.policies.get(&name.text);
        if found.is_none() {
            unknown(p, name, "policy", knowledge.policies.ids());
        }
        found
    };
    let mut all: Vec<Arc<SensorPolicy>> = vec![];
    let main = match &config.sensors.policy {
        Some(n) => find(n, p)?,
        None => knowledge.policies.get("baseline")?,
    };
    all.push(main.clone());
    let mut of_role = vec![0u8; atlas.roles.len()];
    for (role, policy) in &config.sensors.roles {
        match atlas.role(&role.text) {
            None => unknown(p, role, "role", atlas.roles.iter().map(|r| &**r)),
            Some(r) => {
                if let Some(found) = find(policy, p) {
                    all.push(found.clone());
                    of_role[r as usize] = all.len() as u8 - 1;
                }
            }
        }
    }
    let policy_of = atlas.hosts.iter().map(|h| of_role[h.role as usize]).collect();
    (p.0.len() == before).then_some((all, policy_of))
}

pub(super) fn cell_plan(
    shared: Arc<Shared>,
    r: Resolved,
    policies: Vec<Arc<SensorPolicy>>,
    policy_of: Vec<u8>,
    knowledge: &Knowledge,
    extra: &Extra,
    start: Time,
) -> cell::Plan {
    let mobile = roles(&shared.atlas, knowledge, |r| r.tags.iter().any(|t| &**t == "mobile"));
    let mobile = shared.atlas.hosts.iter().map(|h| mobile[h.role as usize]).collect();
    let numbers = numbers(&shared.atlas, &r.channels, extra);
    cell::Plan {
        shared,
        run: extra.run.clone(),
        feeds: r.feeds,
        streams: r.streams,
        channels: r.channels,
        policies,
        policy_of,
        fill: vec![],
        numbers,
        power: None,
        mobile,
        start,
        written: 1,
    }
}

/// What is true of each role of the atlas, by the world's data.
pub(super) fn roles(
    atlas: &Atlas,
    knowledge: &Knowledge,
    is: impl Fn(&crate::world::atlas::data::RoleData) -> bool,
) -> Vec<bool> {
    let of = |name: &str| knowledge.world.roles.iter().find(|r| *r.id == *name);
    atlas.roles.iter().map(|r| of(r).is_some_and(&is)).collect()
}

/// Boot ids and logon ids go on where an earlier run ended; empty where there was none.
pub(super) fn ids(atlas: &Atlas, extra: &Extra) -> Vec<(u16, Luid)> {
    if extra.ids.is_empty() {
        return vec![];
    }
    let known: std::collections::BTreeMap<&str, (u16, Luid)> =
        extra.ids.iter().map(|(h, boot, logon)| (h.as_str(), (*boot, *logon))).collect();
    atlas.hosts.iter().map(|h| known.get(&*h.fqdn).copied().unwrap_or_default()).collect()
}

/// Record numbers go on where an earlier run ended; a host it did not have starts at 1.
fn numbers(atlas: &Atlas, channels: &[String], extra: &Extra) -> Option<Vec<u64>> {
    if extra.numbers.is_empty() {
        return None;
    }
    let known: std::collections::BTreeMap<(&str, &str), u64> =
        extra.numbers.iter().map(|(h, c, n)| ((h.as_str(), c.as_str()), *n)).collect();
    Some(
        atlas
            .hosts
            .iter()
            .flat_map(|h| {
                channels.iter().map(|c| known.get(&(&*h.fqdn, c.as_str())).copied().unwrap_or(1)).collect::<Vec<_>>()
            })
            .collect(),
    )
}

/// Name of the server that a run without a `grpc_serve` sink has all the same: control, and records for `tail`.
pub const CONTROL_SINK: &str = "control";

/// Adds the server for control and `tail`, which sends what the streams' first deliveries render.
fn serve(
    config: &Config,
    plan: &cell::Plan,
    sinks: &mut Vec<SinkSpec>,
    infos: &mut Vec<Vec<DeliveryInfo>>,
    routes: &mut Vec<Route>,
) {
    use crate::sink::grpc_serve::{Serve, ServeOptions};
    let c = &config.control;
    let options =
        ServeOptions { listen: c.listen, tls: c.tls.clone(), token: c.token.clone(), ..ServeOptions::default() };
    let mut mine = vec![];
    for (stream, s) in plan.streams.iter().enumerate() {
        let Some(first) = infos.iter().flatten().find(|i| i.stream == s.name).cloned() else { continue };
        routes.push(Route { stream, delivery: 0, sink: sinks.len(), at: mine.len() });
        mine.push(first);
    }
    sinks.push(SinkSpec {
        name: CONTROL_SINK.into(),
        kind: "grpc_serve",
        on_slow: crate::sink::OnSlow::Drop,
        queue_bytes_max: crate::sink::QUEUE_BYTES_MAX,
        cap: None,
        sink: Box::new(Serve::new(options)),
    });
    infos.push(mine);
}

type Deliveries = (Vec<SinkSpec>, Vec<Vec<DeliveryInfo>>, Vec<Route>, Option<(usize, usize)>);

/// Tells the sinks of their deliveries.
pub(super) fn deliveries(
    config: &mut Config,
    plan: &cell::Plan,
    all: &[Vec<usize>],
    start: Time,
    p: &mut Problems,
) -> Deliveries {
    let mut sinks = std::mem::take(&mut config.sinks);
    let mut infos: Vec<Vec<DeliveryInfo>> = sinks.iter().map(|_| vec![]).collect();
    let mut routes = vec![];
    for (stream, s) in config.streams.iter().enumerate() {
        for (d, of) in s.to.iter().zip(&all[stream]) {
            let of = *of;
            let sp = &plan.streams[stream];
            let source = &plan.feeds[sp.feed].source;
            let info = DeliveryInfo {
                stream: s.name.clone(),
                source: source.id.clone(),
                encoding: sp.deliveries[of].writer.encoding.name().into(),
                os: match source.platform {
                    Platform::Windows => "windows".into(),
                    Platform::Linux => "linux".into(),
                    _ => String::new(),
                },
                key_is_host: sp.deliveries[of].key == cell::Key::Host,
                headers: d.headers,
                cap: d.cap,
                from: Some(start),
                ..DeliveryInfo::default()
            };
            if let Some(f) = d.fields(p) {
                sinks[d.sink].sink.add_delivery(&info, &f, p);
                f.finish(p);
            }
            routes.push(Route { stream, delivery: of, sink: d.sink, at: infos[d.sink].len() });
            infos[d.sink].push(info);
        }
    }
    let truth = config.truth.sink.as_ref().map(|(sink, _)| (*sink, infos[*sink].len()));
    if let Some((sink, at)) = truth {
        let info = DeliveryInfo {
            stream: "truth".into(),
            source: "skirmish.truth".into(),
            encoding: "json".into(),
            from: Some(start),
            ..DeliveryInfo::default()
        };
        if let Some(f) = config.truth.fields(p) {
            sinks[sink].sink.add_delivery(&info, &f, p);
            f.finish(p);
        }
        debug_assert_eq!(at, infos[sink].len());
        infos[sink].push(info);
    }
    if !sinks.iter().any(|s| s.kind == "grpc_serve") {
        serve(config, plan, &mut sinks, &mut infos, &mut routes);
    }
    (sinks, infos, routes, truth)
}
