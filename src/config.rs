//! The configuration of a run: layered, checked, as meant.
//!
//! What users write is a tree of positioned nodes ([`Layers::merge`]); what the rest of skirmish reads is a
//! [`Config`]. Names that only the plan can resolve (sources, encodings, scenarios, policies, roles) stay
//! [`Name`]s, which know where they were written. `docs/configuration.md` is the reference.

mod builtin;
mod layers;
mod read;
mod show;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::tz::TimeZone;

pub use crate::pace::{Clock, Speed};
pub use crate::sink::Headers;
pub use layers::{ENV_PREFIX, Layers};
pub use show::{document_json, to_json};
pub use stream::{Delivery, Key, Stream, Truth};

use crate::schedule::{Place, Shape};
use crate::secret::SecretRef;
use crate::sink::SinkSpec;
use crate::time::{Span, Time};
use crate::tls::ServerTls;
use crate::yaml::{Node, Problems};

/// Cells a world has at least.
pub const CELLS_MIN: u16 = 16;
/// Cells a world has at most.
pub const CELLS_MAX: u16 = 4096;
/// Hosts a world has at most.
pub const HOSTS_MAX: u32 = 200_000;
/// Where the daemon serves gRPC unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:7417";
/// Where it serves `/metrics` and `/healthz`.
pub const METRICS: &str = "127.0.0.1:7418";

/// A whole configuration as meant.
#[derive(Debug)]
pub struct Config {
    /// The merged tree as written.
    pub written: Node,
    /// Seed of every draw.
    pub seed: u64,
    /// How logical time runs.
    pub clock: Clock,
    /// The simulated organisation.
    pub world: World,
    /// What sensors select.
    pub sensors: Sensors,
    /// Which attacks are played and when.
    pub attacks: Attacks,
    /// How collection delays records.
    pub collection: Profile,
    /// Destinations, in written order.
    pub sinks: Vec<SinkSpec>,
    /// Streams, in written order.
    pub streams: Vec<Stream>,
    /// Where truth goes.
    pub truth: Truth,
    /// Folders that add to or override the built-in data, later ones first in force.
    pub data: Vec<PathBuf>,
    /// The daemon's own ports.
    pub control: Control,
    /// Folder of manifest and journal, if one is named.
    pub state: Option<PathBuf>,
    /// Threads that run cells; none is as many as the machine has.
    pub threads: Option<usize>,
    /// How long sinks may flush at the end.
    pub flush: Span,
}

/// A name that the plan resolves, and where it was written.
#[derive(Clone, Debug)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Its place.
    pub node: Node,
}

/// The simulated organisation as asked for.
#[derive(Clone, Debug)]
pub struct World {
    /// Hosts; none leaves it to the plan, by the rates.
    pub hosts: Option<u32>,
    /// DNS name of the forest.
    pub forest: String,
    /// NetBIOS name of the domain.
    pub netbios: String,
    /// SID of the domain, `S-1-5-21-a-b-c`; none draws one.
    pub domain_sid: Option<String>,
    /// Id of the cloud tenant, a GUID in lower case; none draws one.
    pub tenant: Option<String>,
    /// Places.
    pub sites: Vec<Site>,
    /// Changes to roles.
    pub roles: Vec<Role>,
    /// Units of ownership.
    pub cells: u16,
}

/// A place of the organisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Name of its time zone.
    pub tz: String,
    /// Its time zone.
    pub zone: TimeZone,
    /// Its part of the hosts; all add up to 1.
    pub share: f64,
}

/// A role as changed.
#[derive(Clone, Debug)]
pub struct Role {
    /// The role.
    pub role: Name,
    /// Part of the hosts that have it, against the other roles' parts, which add up to about 1.
    pub share: Option<f64>,
    /// Pattern of its hosts' names: `LT-{n:04}`.
    pub name: Option<Name>,
}

/// What sensors select.
#[derive(Clone, Debug)]
pub struct Sensors {
    /// The policy of every host.
    pub policy: Option<Name>,
    /// Policies of the hosts of a role.
    pub roles: Vec<(Name, Name)>,
}

/// Which attacks are played and when.
#[derive(Clone, Debug)]
pub struct Attacks {
    /// Scenarios by id or glob; empty plays none.
    pub scenarios: Vec<Scenarios>,
    /// When instances start.
    pub when: When,
    /// The first instance starts so long after the run.
    pub first: Option<Span>,
    /// Instances at once.
    pub max_parallel: u32,
    /// Where domains, addresses and hashes come from.
    pub indicators: Indicators,
    /// Members of roles, for every scenario that has the role.
    pub cast: Vec<(Name, Name)>,
    /// Values of variables, for every scenario that has the variable.
    pub vars: Vec<(Name, Node)>,
}

/// Scenarios to draw instances from.
#[derive(Clone, Debug)]
pub struct Scenarios {
    /// Id or glob.
    pub id: Name,
    /// How often next to the others.
    pub weight: f64,
    /// Members of roles.
    pub cast: Vec<(Name, Name)>,
    /// Values of variables.
    pub vars: Vec<(Name, Node)>,
}

/// When instances of attacks start.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Only by `ctl scenario start`.
    Never,
    /// At random, so many per hour on average.
    PerHour(f64),
    /// At these times.
    At(Vec<Start>),
    /// As often as makes this part of all records.
    Share(f64),
}

/// A time of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// So long after the run's start.
    After(Span),
    /// At an instant.
    At(Time),
}

/// Where an attack's domains, addresses and hashes come from.
#[derive(Clone, Debug)]
pub enum Indicators {
    /// Reserved names and ranges.
    Safe,
    /// A file of the user's.
    List(PathBuf, Node),
    /// Names and addresses that look public.
    PublicLike,
}

/// How collection delays records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// As fast as collection can.
    Lab,
    /// As the product does it.
    Product,
}

/// The daemon's own ports.
#[derive(Clone, Debug)]
pub struct Control {
    /// gRPC: control and `Subscribe`.
    pub listen: SocketAddr,
    /// HTTP: `/metrics`, `/healthz`; none serves neither.
    pub metrics: Option<SocketAddr>,
    /// The token that callers must show.
    pub token: Option<SecretRef>,
    /// TLS of `listen`.
    pub tls: Option<ServerTls>,
}

/// Which hosts a stream is over. Everything given must hold.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Any of these roles; empty is every role.
    pub roles: Vec<Name>,
    /// Any of these sites, as indexes into [`World::sites`]; empty is every site.
    pub sites: Vec<usize>,
    /// Any of these names or globs; empty is every name.
    pub names: Vec<Name>,
    /// This part of them.
    pub share: Option<f64>,
}

/// Whether the population follows the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The population stays and fill makes up for the rest.
    Fixed,
    /// Whole hosts power on and off with the schedule.
    Hosts,
}

/// Which records of a stream are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deliver {
    /// All.
    All,
    /// Those of attack instances, with the gaps that leaves in their numbering.
    Attack,
}

impl Config {
    /// Merges the layers and reads them.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(layers: &Layers) -> Result<Config, Problems> {
        Config::from_node(layers.merge()?)
    }

    /// Reads a merged tree.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_node(written: Node) -> Result<Config, Problems> {
        let mut p = Problems::new();
        let config = read::config(written, &mut p);
        match config {
            Some(c) if p.is_empty() => Ok(c),
            _ => Err(p),
        }
    }

    /// Reads a rate for a stream, as `ctl rate` gives it.
    ///
    /// # Errors
    /// An unknown stream, or what is wrong with the rate.
    pub fn rate(&self, stream: &str, text: &str) -> Result<Shape, Problems> {
        let mut p = Problems::new();
        let Some(s) = self.streams.iter().find(|s| s.name == stream) else {
            let help = crate::yaml::suggest(stream, self.streams.iter().map(|s| s.name.as_str()));
            p.plain(format!("unknown stream `{stream}`")).help(help);
            return Err(p);
        };
        let docs = crate::yaml::parse(&format!("rate of {stream}"), text)?;
        let [node] = docs.as_slice() else {
            p.plain("a rate is one value such as `3k/s`");
            return Err(p);
        };
        let shape = stream::rate(node, &self.world, self.seed, &s.name, &mut p);
        match shape {
            Some(shape) if p.is_empty() => Ok(shape),
            _ => Err(p),
        }
    }
}

impl World {
    /// The sites as schedules see them.
    pub fn places(&self) -> Vec<Place> {
        let place = |s: &Site| Place { name: s.name.clone(), zone: s.zone.clone(), share: s.share };
        self.sites.iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;
    use proptest::prelude::*;

    fn load(text: &str) -> Result<Config, Problems> {
        Config::from_node(yaml::parse("skirmish.yaml", text)?.remove(0))
    }

    const WHOLE: &str = "
seed: 7
clock: {from: 2026-03-01, speed: 60}
world:
  hosts: 300
  forest: Contoso.example
  sites: [{name: Lyon, tz: Europe/Paris, share: 75%}, {name: Austin, tz: America/Chicago, share: 25%}]
  roles: {laptop: {share: 40%, name: 'LT-{n:04}'}}
sensors: {policy: baseline, roles: {domain_controller: verbose_lab}}
attacks: {scenarios: [ransomware.*, {id: x.y, weight: 2, vars: {c2: evil.example}}], per_hour: 6, first: 20s}
collection: {profile: product}
sinks: {out: {stdout: {}}, drain: {null: {}, on_slow: drop}}
streams:
  sysmon:
    source: windows.sysmon
    hosts: {role: [workstation, laptop], site: Lyon, share: 50%}
    rate: {diurnal: {mean: 20k/s, peak: '10:30', low: 15%}}
    scale: hosts
    to: [{sink: out, encoding: winlogbeat, key: none, fields: {index: main}}, {sink: drain}]
truth: {file: truth.jsonl, all: true, headers: id}
data: [mine]
control: {listen: '[::1]:7000', metrics: off, token_file: /run/secrets/token}
state: {dir: /var/lib/skirmish}
threads: 2
flush: 3s
";

    #[test]
    fn a_whole_configuration_is_read() {
        let c = load(WHOLE).unwrap();
        assert_eq!(c.clock, Clock::From { from: Time(1_772_323_200_000_000_000), speed: Speed::Times(60.0) });
        assert_eq!((c.world.netbios.as_str(), c.world.sites[0].share), ("CONTOSO", 0.75));
        assert_eq!((c.attacks.scenarios.len(), c.attacks.when.clone()), (2, When::PerHour(6.0)));
        let s = &c.streams[0];
        assert_eq!(
            (s.scale, s.hosts.sites.as_slice(), s.to.len(), c.sink(&s.to[1]).kind),
            (Scale::Hosts, &[0][..], 2, "null")
        );
        // without a zone of its own the curve follows both sites
        assert_eq!(s.rate.as_ref().unwrap().0.curves.len(), 2);
        assert_eq!((s.to[0].headers, c.truth.all, c.threads, c.flush), (Headers::Id, true, Some(2), Span::s(3)));
        assert_eq!(c.control.metrics, None);
    }

    #[test]
    fn nothing_at_all_has_defaults() {
        let c = load("{}").unwrap();
        assert_eq!((c.seed, c.clock, c.world.hosts, c.world.cells), (1, Clock::Live, None, 16));
        assert_eq!((c.world.sites.len(), c.control.listen.to_string().as_str()), (2, LISTEN));
    }

    #[test]
    fn every_fault_is_reported_in_one_run() {
        let text = "
sead: 7
clock: {live: true, speed: 3}
world: {hosts: many, forest: corp, netbios: a_name_that_is_too_long, domain_sid: S-1-5-32, tenant: 7, cells: 3,
        sites: [{name: Lyon, tz: Europe/Lyon}, {name: Lyon, tz: UTC, share: 0}, {nam: x}]}
sensors: {policy: [a], rolls: {}}
attacks: {scenarios: [{weight: x}], per_hour: 6, share: 3%, max_parallel: 0, indicators: real}
collection: {profile: slow}
sinks: {'bad name': {null: {}}, out: {stdout: {}, on_slow: wait}}
streams:
  sysmon:
    rate: 3000
    hosts: {site: Paris, share: 3}
    to: [{sink: oout}, {sink: out, headers: all}]
  security: {source: windows.security, scale: host, deliver: some, unnatural: 7, to: []}
truth: {sink: main, file: [x]}
control: {listen: here, token: hunter2}
threads: 0
flush: soon
";
        insta::assert_snapshot!(load(text).unwrap_err(), @"
        skirmish.yaml:3:28: `speed` has no meaning for a clock that is `live`
        skirmish.yaml:4:16: hosts must be a number, not `many`
        skirmish.yaml:4:30: forest must be a DNS name such as `corp.example`, not `corp`
        skirmish.yaml:4:45: netbios must be 1 to 15 letters, digits and `-`, not `a_name_that_is_too_long`
        skirmish.yaml:4:82: domain_sid is not the SID of a domain: `S-1-5-32`; expected `S-1-5-21-` and three numbers below 4294967296
        skirmish.yaml:4:100: tenant must be a GUID such as `3f2504e0-4f89-41d3-9a0c-0305e82c3301`, not `7`
        skirmish.yaml:5:34: unknown time zone `Europe/Lyon`; did you mean `Europe/Kyiv`?
        skirmish.yaml:5:77: a site whose share is 0 has no hosts
        skirmish.yaml:5:81: a site lacks `name`
        skirmish.yaml:5:81: a site lacks `tz`
        skirmish.yaml:5:82: unknown field of a site `nam`; did you mean `name`?
        skirmish.yaml:4:110: cells must be from 16 to 4096, not 3
        skirmish.yaml:6:19: policy must be text, not a sequence
        skirmish.yaml:6:24: unknown field of sensors `rolls`; did you mean `roles`?
        skirmish.yaml:7:23: an entry of scenarios lacks `id`
        skirmish.yaml:7:32: weight must be a number, not `x`
        skirmish.yaml:7:57: `per_hour`, `at` and `share` all say when attacks start; give one of them
        skirmish.yaml:7:75: max_parallel must be from 1 to 10000, not 0
        skirmish.yaml:7:90: unknown indicators: `real`; expected `safe`, `public_like` or `{list: FILE}`
        skirmish.yaml:8:23: unknown value of `profile` `slow`; expected one of `lab`, `product`
        skirmish.yaml:9:9: the name of a sink must be of letters, digits, `_` and `-`, not `bad name`
        skirmish.yaml:9:60: unknown value of `on_slow` `wait`; expected one of `block`, `catch_up`, `drop`
        skirmish.yaml:16:15: unknown sink `main`; expected one of `bad name`, `out`
        skirmish.yaml:16:27: file must be text, not a sequence
        skirmish.yaml:12:5: a stream lacks `source`
        skirmish.yaml:13:19: unknown site `Paris`; expected one of `Lyon`
        skirmish.yaml:13:33: share must be a share such as `60%` or `0.6`, not `3`
        skirmish.yaml:12:11: rate must say per what, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `3000`; did you mean `3000/s`?
        skirmish.yaml:14:17: unknown sink `oout`; did you mean `out`?
        skirmish.yaml:14:45: unknown value of `headers` `all`; expected one of `id`, `none`, `truth`
        skirmish.yaml:15:47: unknown value of `scale` `host`; did you mean `hosts`?
        skirmish.yaml:15:62: unknown value of `deliver` `some`; expected one of `all`, `attack`
        skirmish.yaml:15:79: unnatural must be true or false, not `7`
        skirmish.yaml:15:86: `to` names no sink
        skirmish.yaml:17:19: listen must be an address and a port such as `127.0.0.1:7417`, not `here`
        skirmish.yaml:17:32: `token` must not be written into a configuration; name a file with `token_file` or an environment variable with `token_env`
        skirmish.yaml:18:10: threads must be from 1 to 1024, not 0
        skirmish.yaml:19:8: flush must be a length of time such as `250ms`, `3s` or `2h`, not `soon`
        skirmish.yaml:2:1: unknown field of the configuration `sead`; did you mean `seed`?
        ");
    }

    #[test]
    fn rates_given_later_are_read_like_those_written() {
        let c = load(WHOLE).unwrap();
        assert!(c.rate("sysmon", "{diurnal: {mean: 5k/s, site: Austin}}").is_ok());
        insta::assert_snapshot!(c.rate("sismon", "5k/s").unwrap_err(), @"unknown stream `sismon`; did you mean `sysmon`?");
        insta::assert_snapshot!(c.rate("sysmon", "5k").unwrap_err(), @"rate of sysmon:1:1: rate must say per what, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `5k`");
        insta::assert_snapshot!(c.rate("sysmon", "[").unwrap_err(), @"rate of sysmon:1:2: broken YAML: while parsing a node, did not find expected node content");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        /// Any part of a configuration replaced by anything is read or refused, never a crash.
        #[test]
        fn no_panic_on_any_configuration(at in 0usize..WHOLE.len(), len in 0usize..60, with in "[a-z0-9:{}\\[\\], '%~.-]{0,12}") {
            let end = (at + len).min(WHOLE.len());
            let text = format!("{}{with}{}", &WHOLE[..at], &WHOLE[end..]);
            if let Ok(mut docs) = yaml::parse("x", &text) && docs.len() == 1 {
                let _ = Config::from_node(docs.remove(0));
            }
        }
    }
}
