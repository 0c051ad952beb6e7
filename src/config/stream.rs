//! Streams, their deliveries, and where truth goes.

use super::read::{choice, name, path, text};
use super::{Config, Deliver, Name, Scale, Selection, World};
use crate::rng;
use crate::schedule::{Rate, Setting, Shape, shape_from_node};
use crate::sink::{Headers, SinkSpec, cap};
use crate::yaml::{Fields, Node, Problems, suggest};
use std::path::PathBuf;

/// A source over a set of hosts with a rate, delivered to sinks.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its name and place.
    pub name: String,
    /// The whole entry.
    pub node: Node,
    /// Id of the source.
    pub source: Name,
    /// Which hosts.
    pub hosts: Selection,
    /// The rate, and where it was written; none is natural life without fill.
    pub rate: Option<(Shape, Node)>,
    /// Whether the population follows the rate.
    pub scale: Scale,
    /// Which records are sent.
    pub deliver: Deliver,
    /// Rates that life cannot reach are met all the same.
    pub unnatural: bool,
    /// Where it goes; the first one's bytes are those that byte rates count.
    pub to: Vec<Delivery>,
    /// Labels of its metrics.
    pub labels: Vec<(String, String)>,
}

/// One way from a stream to a sink.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Index into [`Config::sinks`].
    pub sink: usize,
    /// The entry; see [`Delivery::fields`].
    pub node: Node,
    /// The envelope; none is the source's default.
    pub encoding: Option<Name>,
    /// What messages are keyed by.
    pub key: Key,
    /// What their headers tell.
    pub headers: Headers,
    /// Static fields that the envelope puts into every record.
    pub fields: Vec<(String, String)>,
    /// Truth stands inside the records.
    pub inline_truth: bool,
    /// What may pass per second.
    pub cap: Option<Rate>,
}

/// What a message is keyed by.
#[derive(Clone, Debug)]
pub enum Key {
    /// The name of its host.
    Host,
    /// Nothing.
    None,
    /// A field of its activity.
    Field(Name),
}

/// Where truth goes besides headers.
#[derive(Clone, Debug)]
pub struct Truth {
    /// A sink for truth lines: its index, and the entry from which it takes what is its own (a topic).
    pub sink: Option<(usize, Node)>,
    /// A file for truth lines.
    pub file: Option<PathBuf>,
    /// Truth lines for every record, not only those of attacks.
    pub all: bool,
    /// What headers tell where a delivery does not say.
    pub headers: Headers,
}

const KEY: &str = "key";

impl Delivery {
    /// The entry's fields without those that are read here, for [`crate::sink::Sink::add_delivery`]; call
    /// [`Fields::finish`] after it.
    pub fn fields<'a>(&'a self, p: &mut Problems) -> Option<Fields<'a>> {
        let f = self.node.fields(p, "a delivery")?;
        for known in ["sink", "encoding", KEY, "headers", "fields", "inline_truth", "cap"] {
            f.take(known);
        }
        Some(f)
    }
}

impl Truth {
    /// As [`Delivery::fields`], for the truth's sink.
    pub fn fields<'a>(&'a self, p: &mut Problems) -> Option<Fields<'a>> {
        let f = self.sink.as_ref()?.1.fields(p, "truth")?;
        for known in ["sink", "file", "all", "headers"] {
            f.take(known);
        }
        Some(f)
    }
}

pub(super) fn rate(node: &Node, world: &World, seed: u64, stream: &str, p: &mut Problems) -> Option<Shape> {
    let places = world.places();
    let seed = rng::mix(seed, rng::purpose(stream));
    shape_from_node(node, &Setting { places: &places, seed }, p)
}

pub(super) fn read(
    name_node: &Node,
    node: &Node,
    sinks: &Sinks<'_>,
    world: &World,
    (seed, truth): (u64, &Truth),
    p: &mut Problems,
) -> Option<Stream> {
    let id = super::read::id(name_node, "a stream", p);
    let f = node.fields(p, "a stream")?;
    let source = f.need(p, "source").and_then(|n| name(n, "source", p));
    let hosts = f.take("hosts").map_or_else(|| Some(Selection::default()), |n| selection(n, world, p));
    let rate_node = f.take("rate");
    let shape = rate_node.map(|n| (rate(n, world, seed, name_node.as_str().unwrap_or(""), p), n));
    let scale =
        f.take("scale").and_then(|n| choice(n, "scale", &[("fixed", Scale::Fixed), ("hosts", Scale::Hosts)], p));
    let deliver =
        f.take("deliver").and_then(|n| choice(n, "deliver", &[("all", Deliver::All), ("attack", Deliver::Attack)], p));
    let unnatural = f.take("unnatural").and_then(|n| n.boolean(p, "unnatural")).unwrap_or(false);
    let labels = f.take("labels").map_or(vec![], |n| texts(n, "labels", p));
    let mut to = vec![];
    if let Some(n) = f.need(p, "to") {
        to = n.items().iter().filter_map(|n| delivery(n, sinks, truth, p)).collect();
        if n.items().is_empty() {
            p.at(n, "`to` names no sink");
        }
    }
    f.finish(p);
    let rate = match shape {
        None => None,
        Some((shape, n)) => Some((shape?, n.clone())),
    };
    Some(Stream {
        name: id?,
        node: node.clone(),
        source: source?,
        hosts: hosts?,
        rate,
        scale: scale.unwrap_or(Scale::Fixed),
        deliver: deliver.unwrap_or(Deliver::All),
        unnatural,
        to,
        labels,
    })
}

fn selection(node: &Node, world: &World, p: &mut Problems) -> Option<Selection> {
    if node.as_str() == Some("all") {
        return Some(Selection::default());
    }
    if let Some(t) = node.as_str() {
        let help = "expected `all` or a mapping of `role`, `site`, `name`, `share`";
        p.at(node, format!("unknown selection of hosts `{t}`")).help(help);
        return None;
    }
    let f = node.fields(p, "a selection of hosts")?;
    let names = |n: Option<&Node>, what, p: &mut Problems| -> Vec<Name> {
        n.map_or(vec![], |n| n.items().iter().filter_map(|n| name(n, what, p)).collect())
    };
    let roles = names(f.take("role"), "role", p);
    let by_name = names(f.take("name"), "name", p);
    let mut sites = vec![];
    for n in names(f.take("site"), "site", p) {
        match world.sites.iter().position(|s| s.name == n.text) {
            Some(i) => sites.push(i),
            None => p.unknown(&n.node, "site", &n.text, world.sites.iter().map(|s| s.name.as_str())),
        }
    }
    let share = f.take("share").and_then(|n| n.share(p, "share"));
    f.finish(p);
    Some(Selection { roles, sites, names: by_name, share })
}

fn texts(node: &Node, what: &str, p: &mut Problems) -> Vec<(String, String)> {
    let pairs = node.pairs(p, what);
    pairs.iter().filter_map(|(k, v)| Some((text(k, "a key", p)?, text(v, "a value", p)?))).collect()
}

fn delivery(node: &Node, sinks: &Sinks<'_>, truth: &Truth, p: &mut Problems) -> Option<Delivery> {
    let f = node.fields(p, "a delivery")?;
    let sink = f.need(p, "sink").and_then(|n| sinks.find(n, p));
    let encoding = f.take("encoding").and_then(|n| name(n, "encoding", p));
    let key = f.take(KEY).and_then(|n| name(n, KEY, p)).map_or(Key::Host, |n| match n.text.as_str() {
        "host" => Key::Host,
        "none" => Key::None,
        _ => Key::Field(n),
    });
    let headers = f.take("headers").and_then(|n| Headers::from_node(n, p)).unwrap_or(truth.headers);
    let fields = f.take("fields").map_or(vec![], |n| texts(n, "fields", p));
    let inline_truth = f.take("inline_truth").and_then(|n| n.boolean(p, "inline_truth")).unwrap_or(false);
    let cap = f.take("cap").and_then(|n| cap::from_node(n, p));
    // what is left belongs to the sink, which is asked when the plan knows source and encoding
    Some(Delivery { sink: sink?, node: node.clone(), encoding, key, headers, fields, inline_truth, cap })
}

pub(super) fn truth(node: Option<&Node>, sinks: &Sinks<'_>, p: &mut Problems) -> Option<Truth> {
    let mut truth = Truth { sink: None, file: None, all: false, headers: Headers::Truth };
    let Some(node) = node else { return Some(truth) };
    let f = node.fields(p, "truth")?;
    if let Some(n) = f.take("sink") {
        truth.sink = sinks.find(n, p).map(|i| (i, node.clone()));
    }
    truth.file = f.take("file").and_then(|n| path(n, "file", p));
    truth.all = f.take("all").and_then(|n| n.boolean(p, "all")).unwrap_or(false);
    truth.headers = f.take("headers").and_then(|n| Headers::from_node(n, p)).unwrap_or(Headers::Truth);
    if f.take("sink").is_none() {
        for name in ["topic", "create", "path"] {
            if let Some(n) = f.take(name) {
                p.at(n, format!("`{name}` means nothing without `sink`"));
            }
        }
        f.finish(p);
    }
    // with a sink the rest is the sink's, which is asked by the plan
    Some(truth)
}

/// Sinks as far as they were read: a broken one still has its name.
pub(super) struct Sinks<'a> {
    pub names: Vec<&'a str>,
}

impl Sinks<'_> {
    fn find(&self, node: &Node, p: &mut Problems) -> Option<usize> {
        let word = node.text(p, "sink")?;
        let found = self.names.iter().position(|n| *n == word);
        if found.is_none() {
            p.at(node, format!("unknown sink `{word}`")).help(suggest(word, self.names.iter().copied()));
        }
        found
    }
}

impl Config {
    /// The sink of a delivery.
    pub fn sink(&self, delivery: &Delivery) -> &SinkSpec {
        &self.sinks[delivery.sink]
    }
}
