//! Our own records of the activities in `activities.yaml`, through the real sources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value as Json;
use skirmish::activity::{Entity, Field, Kind, Type, Value, View};
use skirmish::source::{AllOn, Catalogue, Encoding, Options, Source};
use skirmish::time::Time;
use skirmish::yaml::{Data, Node};

use crate::recorded::{Record, normalise};

/// An activity that is a map.
#[derive(Debug)]
pub struct Activity {
    kind: Kind,
    fields: BTreeMap<Field, Value<'static>>,
}

impl View for Activity {
    fn kind(&self) -> Kind {
        self.kind
    }
    fn get(&self, field: Field) -> Value<'_> {
        self.fields.get(&field).copied().unwrap_or(Value::None)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Documents of a file of the conformance data.
pub fn documents(name: &str) -> Vec<Node> {
    skirmish::yaml::read(&root().join("tests/conformance").join(name)).unwrap_or_else(|p| panic!("{p}"))
}

/// Every built-in source.
pub fn catalogue() -> Catalogue {
    let mut files: Vec<_> =
        std::fs::read_dir(root().join("sources")).expect("sources").flatten().map(|e| e.path()).collect();
    files.sort();
    let docs: Vec<Node> =
        files.iter().flat_map(|f| skirmish::yaml::read(f).unwrap_or_else(|p| panic!("{p}"))).collect();
    Catalogue::load(&docs).unwrap_or_else(|p| panic!("{p}"))
}

fn leak(s: &str) -> &'static str {
    Box::leak(s.to_owned().into_boxed_str())
}

fn number(s: &str) -> u64 {
    match s.strip_prefix("0x") {
        Some(h) => u64::from_str_radix(h, 16).unwrap_or_else(|_| panic!("`{s}`")),
        None => s.parse().unwrap_or_else(|_| panic!("`{s}`")),
    }
}

fn instant(s: &str) -> Time {
    Time(s.parse::<jiff::Timestamp>().unwrap_or_else(|e| panic!("`{s}`: {e}")).as_nanosecond() as i64)
}

fn value(field: Field, s: &str) -> Value<'static> {
    match field.ty() {
        Type::Text => Value::Text(leak(s)),
        Type::Uint => Value::Uint(number(s)),
        Type::Bool => Value::Bool(s == "true"),
        Type::Time => Value::Time(instant(s)),
        Type::Ip => Value::Ip(s.parse::<IpAddr>().unwrap_or_else(|_| panic!("`{s}`"))),
        Type::Guid => {
            let hex: String = s.chars().filter(|c| *c != '-').collect();
            let mut bytes = [0; 16];
            for (i, b) in bytes.iter_mut().enumerate() {
                *b = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap_or_else(|_| panic!("`{s}`"));
            }
            Value::Guid(bytes)
        }
        Type::Entity => {
            let [machine, second, key] = s.split(' ').collect::<Vec<_>>()[..] else { panic!("`{s}`") };
            Value::Entity(Entity {
                machine: u32::from_str_radix(machine, 16).unwrap_or_else(|_| panic!("`{s}`")),
                second: instant(second).second() as u32,
                key: number(key),
            })
        }
    }
}

/// The activities of `activities.yaml`.
pub fn activities() -> Vec<Activity> {
    let docs = documents("activities.yaml");
    let (groups, list) = (docs[0].get("groups").expect("groups"), docs[0].get("activities").expect("activities"));
    let set = |n: &Node, fields: &mut BTreeMap<Field, Value<'static>>| {
        let Data::Map(pairs) = &n.data else { panic!("facts are a mapping") };
        for (k, v) in pairs {
            let name = k.as_str().unwrap_or("");
            let field = Field::parse(name).unwrap_or_else(|| panic!("unknown field `{name}`"));
            fields.insert(field, value(field, v.as_str().unwrap_or("")));
        }
    };
    let mut out = vec![];
    for n in list.items() {
        let kind = n.get("kind").and_then(Node::as_str).unwrap_or("");
        let mut fields = BTreeMap::new();
        for g in n.get("with").map(Node::items).unwrap_or_default() {
            let name = g.as_str().unwrap_or("");
            set(groups.get(name).unwrap_or_else(|| panic!("unknown group `{name}`")), &mut fields);
        }
        if let Some(own) = n.get("fields") {
            set(own, &mut fields);
        }
        out.push(Activity { kind: Kind::parse(kind).unwrap_or_else(|| panic!("unknown kind `{kind}`")), fields });
    }
    out
}

/// Our records of one event log source: order and values from the event's XML, the message from NXLog's rendering of the same.
/// Events that no activity made are returned too.
pub fn records(source: &Source, activities: &[Activity]) -> (Vec<Record>, BTreeSet<String>) {
    let writer = |e| source.writer(e, Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let (xml, nxlog) = (writer(Encoding::EventXml), writer(Encoding::Nxlog));
    let mut silent: BTreeSet<String> = source.events.iter().map(|e| e.id().to_owned()).collect();
    let mut out = vec![];
    for a in activities {
        for &i in source.events_for(a.kind) {
            if !source.selects(i, a, &AllOn) {
                continue;
            }
            silent.remove(source.event(i).id());
            let mut bytes = vec![];
            nxlog.render(i, a, &AllOn, &mut bytes);
            let json: Json =
                serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&bytes)));
            if std::env::var("SHOW").is_ok_and(|s| s == source.event(i).id() || s == source.id) {
                println!("{}", String::from_utf8_lossy(&bytes));
            }
            let mut r = normalise(json.as_object().expect("an object")).expect("a record");
            bytes.clear();
            xml.render(i, a, &AllOn, &mut bytes);
            r.data = event_data(std::str::from_utf8(&bytes).expect("text"));
            (r.ordered, r.lossy) = (true, false);
            out.push(r);
        }
    }
    (out, silent)
}

/// Records of the emulated organisation under the policy of the recordings.
pub fn generated(source: &str) -> Vec<Record> {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_skirmish"))
        .args(["generate", "--source", source, "--for", "15m", "--count", "20000", "--seed", "7"])
        .args(["--set", "sensors.policy=verbose_lab", "-o", "-"])
        .output()
        .expect("the binary starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let lines = String::from_utf8(out.stdout).expect("text");
    let record = |l: &str| normalise(serde_json::from_str::<Json>(l).ok()?.as_object()?);
    lines.lines().map(|l| record(l).unwrap_or_else(|| panic!("not a record: {l}"))).collect()
}

/// Rows of one Defender table.
pub fn rows(source: &Source, activities: &[Activity]) -> Vec<Json> {
    let w = source.writer(Encoding::DefenderRow, Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let mut out = vec![];
    for a in activities {
        for &i in source.events_for(a.kind) {
            if source.selects(i, a, &AllOn) {
                let mut bytes = vec![];
                w.render(i, a, &AllOn, &mut bytes);
                let row: Json = serde_json::from_slice(&bytes)
                    .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&bytes)));
                if std::env::var("SHOW").is_ok_and(|s| s == source.id) {
                    println!("{}", String::from_utf8_lossy(&bytes));
                }
                assert_eq!(row["ActionType"], source.event(i).id(), "{}: the id is the ActionType", source.id);
                out.push(row);
            }
        }
    }
    out
}

/// Names and values of EventData or UserData in the order of the wire.
pub fn event_data(xml: &str) -> Vec<(String, String)> {
    let unescape = |s: &str| {
        let s = s.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
        let s = s.replace("&#13;", "\r").replace("&#xD;", "\r").replace("&#10;", "\n").replace("&#9;", "\t");
        s.replace("&amp;", "&").replace("\r\n", "\n")
    };
    let mut out = vec![];
    if let Some(data) = between(xml, "<EventData>", "</EventData>") {
        let mut rest = data;
        while let Some(i) = rest.find("<Data Name=") {
            let quote = &rest[i + 11..i + 12];
            let name = between(&rest[i..], quote, quote).expect("a name");
            let tag_end = i + rest[i..].find('>').expect("a tag's end");
            let (text, next) = if rest[..tag_end].ends_with('/') {
                ("", tag_end + 1)
            } else {
                let close = tag_end + rest[tag_end..].find("</Data>").expect("a closing tag");
                (&rest[tag_end + 1..close], close)
            };
            out.push((name.to_owned(), unescape(text)));
            rest = &rest[next..];
        }
    } else if let Some(data) = between(xml, "<UserData>", "</UserData>") {
        let mut rest = &data[data.find('>').map_or(0, |i| i + 1)..];
        while let Some(i) = rest.find('<').filter(|i| !rest[i + 1..].starts_with('/')) {
            let tag_end = i + rest[i..].find('>').expect("a tag's end");
            let name = rest[i + 1..tag_end].trim_end_matches('/').split(' ').next().unwrap_or("");
            let (text, next) = if rest[..tag_end].ends_with('/') {
                ("", tag_end + 1)
            } else {
                let close = tag_end + rest[tag_end..].find("</").expect("a closing tag");
                (&rest[tag_end + 1..close], close + rest[close..].find('>').expect("a tag's end") + 1)
            };
            out.push((name.to_owned(), unescape(text)));
            rest = &rest[next..];
        }
    }
    out
}

fn between<'a>(s: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let start = s.find(from)? + from.len();
    Some(&s[start..start + s[start..].find(to)?])
}
