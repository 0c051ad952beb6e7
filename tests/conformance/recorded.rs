//! The recordings: unpacked, and their envelopes taken off.
//!
//! Three collectors wrote them. What is left of each record is what Windows wrote: provider, channel, id, version, task, the fields
//! of EventData, the rendered message. What a collector added, dropped or renamed is noted here, once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A record without its envelope.
#[derive(Debug, Clone)]
pub struct Record {
    /// Channel, lower case.
    pub channel: String,
    /// Event id.
    pub id: u64,
    /// Event version; the Get-WinEvent-like dump does not say.
    pub version: Option<u64>,
    /// Provider as printed.
    pub provider: String,
    /// Task number.
    pub task: Option<u64>,
    /// Process that wrote it.
    pub pid: Option<u64>,
    /// Fields in the order the envelope has them.
    pub data: Vec<(String, String)>,
    /// The rendered message, line feeds only.
    pub message: Option<String>,
    /// Fields stand in wire order (only the dump kept it).
    pub ordered: bool,
    /// Fields with empty values were dropped, and fields named like the collector's own are lost.
    pub lossy: bool,
}

/// Names of the collectors' own, and of the System part of a record.
const OWN: &[&str] = &[
    "@timestamp",
    "@version",
    "host",
    "port",
    "tags",
    "type",
    "EventReceivedTime",
    "SourceModuleName",
    "SourceModuleType",
    "EventTime",
    "TimeCreated",
    "Hostname",
    "Message",
    "ThreadID",
    "Keywords",
    "Severity",
    "SeverityValue",
    "OpcodeValue",
    "Opcode",
    "Category",
    "Domain",
    "AccountType",
    "UserID",
    "ExecutionProcessID",
    "RecordNumber",
    "ActivityID",
    "RelatedActivityID",
    "SourceName",
    "ProviderGuid",
    "Task",
    "Version",
    "EventType",
    "EventTypeOrignal",
    "Level",
    "Channel",
    "EventID",
    "ERROR_EVT_UNRESOLVED",
];

/// Names that NXLog takes for itself even where EventData has such a field.
pub const LOST: &[&str] = &["AccountName", "Domain", "Category", "Message", "Severity", "EventType"];

/// Takes the envelope off; none for records of other systems.
pub fn normalise(o: &Map<String, Value>) -> Option<Record> {
    if o.contains_key("log_name") { winlogbeat_6(o) } else { flat(o) }
}

fn winlogbeat_6(o: &Map<String, Value>) -> Option<Record> {
    let data = o.get("event_data").or_else(|| o.get("user_data")).and_then(Value::as_object);
    let data = data.into_iter().flatten().filter(|(k, _)| *k != "xml_name");
    Some(Record {
        channel: text(o.get("log_name")?).to_lowercase(),
        id: number(o.get("event_id")?)?,
        version: Some(o.get("version").and_then(number).unwrap_or(0)),
        provider: o.get("source_name").map(text).unwrap_or_default(),
        task: None, // a name in this envelope
        pid: o.get("process_id").and_then(number),
        data: data.map(|(k, v)| (k.clone(), lines(&text(v)))).collect(),
        message: o.get("message").map(|m| lines(&text(m))),
        ordered: false,
        lossy: true,
    })
}

/// NXLog's flat record (through Logstash or not) and the dump, which has no record number.
fn flat(o: &Map<String, Value>) -> Option<Record> {
    let dump = o.contains_key("TimeCreated");
    let mut data = vec![];
    for (k, v) in o {
        if OWN.contains(&k.as_str()) || k == "AccountName" && !dump {
            continue;
        }
        // Before version 4.5 NXLog's own ProcessID (of the writer) covered a field of that name.
        if !dump && k == "ProcessID" && !o.contains_key("ExecutionProcessID") {
            continue;
        }
        // NXLog cannot hold two names that differ in case only, and copies the process a record speaks of to ProcessId.
        let name = if !dump && k == "ProcessId" { "ProcessId" } else { k.as_str() };
        let value = lines(&text(v));
        data.push((name.to_owned(), if dump { value } else { entities(&value) }));
    }
    Some(Record {
        channel: text(o.get("Channel")?).to_lowercase(),
        id: number(o.get("EventID")?)?,
        version: if dump { None } else { Some(o.get("Version").and_then(number).unwrap_or(0)) },
        provider: o.get("SourceName").map(text).unwrap_or_default(),
        task: o.get("Task").and_then(number),
        pid: o.get("ExecutionProcessID").and_then(number),
        data,
        message: o.get("Message").map(|m| lines(&text(m))),
        ordered: dump,
        lossy: !dump,
    })
}

fn text(v: &Value) -> String {
    match v {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        v => v.to_string(),
    }
}

fn number(v: &Value) -> Option<u64> {
    v.as_u64().or_else(|| v.as_str().and_then(|s| s.parse().ok()))
}

fn lines(s: &str) -> String {
    s.replace("\r\n", "\n")
}

/// NXLog leaves the entities of the rendered XML in event data.
fn entities(s: &str) -> String {
    if !s.contains('&') {
        return s.to_owned();
    }
    s.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

/// Archives below a folder, in a fixed order.
pub fn archives(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut open = vec![folder.to_owned()];
    while let Some(d) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&d) else { continue };
        for e in entries.flatten() {
            let p = e.path();
            if p.is_dir() {
                open.push(p);
            } else if p.extension().is_some_and(|e| e == "zip" || e == "gz") {
                found.push(p);
            }
        }
    }
    found.sort();
    found
}

/// Calls `each` with every line of an archive that speaks of one of these channels.
pub fn lines_of(archive: &Path, mut each: impl FnMut(&str)) {
    let file = File::open(archive).expect("an archive");
    if archive.extension().is_some_and(|e| e == "zip") {
        let mut zip = zip::ZipArchive::new(file).expect("a zip archive");
        for i in 0..zip.len() {
            let member = zip.by_index(i).expect("a member");
            if member.name().is_ok_and(|n| wanted(&n)) {
                read(member, &mut each);
            }
        }
    } else {
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
        for member in tar.entries().expect("a tar archive") {
            let member = member.expect("a member");
            if wanted(&member.path().expect("a path").to_string_lossy()) {
                read(member, &mut each);
            }
        }
    }
}

fn wanted(name: &str) -> bool {
    name.ends_with(".json") || name.ends_with(".log")
}

fn read(r: impl Read, each: &mut impl FnMut(&str)) {
    let mut r = BufReader::with_capacity(1 << 20, r);
    let mut line = vec![];
    loop {
        line.clear();
        if r.read_until(b'\n', &mut line).expect("readable") == 0 {
            return;
        }
        let line = String::from_utf8_lossy(&line);
        if line.trim_start().starts_with('{') {
            each(&line);
        }
    }
}

/// What a value looks like: a rule as coarse as one can hold every value against.
pub fn shape(s: &str) -> &'static str {
    let hex = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
    let guid = |t: &str| t.len() == 36 && t.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && t.split('-').all(hex);
    let t = s.trim();
    if s.is_empty() {
        "empty"
    } else if s == "-" {
        "dash"
    } else if t.starts_with('{') && t.ends_with('}') && guid(&t[1..t.len() - 1]) {
        "guid"
    } else if guid(t) {
        "uuid"
    } else if let Some(h) = s.strip_prefix("0x").filter(|h| hex(h)) {
        if h.bytes().any(|b| b.is_ascii_uppercase()) { "HEX" } else { "hex" }
    } else if s.bytes().all(|b| b.is_ascii_digit()) {
        "digits"
    } else if s.starts_with("S-1-") && s[4..].bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        "sid"
    } else if t.starts_with("%%") && t.split_whitespace().all(|c| c.trim_end_matches(',').starts_with("%%")) {
        "codes"
    } else if is_time(s) {
        if s.contains('T') { "iso time" } else { "time" }
    } else if s.starts_with("::ffff:") {
        "mapped ip"
    } else if s.parse::<std::net::Ipv4Addr>().is_ok() {
        "ipv4"
    } else if s.parse::<std::net::Ipv6Addr>().is_ok() {
        "ipv6"
    } else if ["SHA1=", "MD5=", "SHA256=", "IMPHASH="].iter().any(|h| s.starts_with(h)) {
        "hashes"
    } else if s.len() > 3 && s.as_bytes()[1..3] == *b":\\" {
        "path"
    } else if s.get(..8).is_some_and(|p| p.eq_ignore_ascii_case(r"\device\")) {
        "device"
    } else if s.starts_with(r"\REGISTRY\") {
        "registry"
    } else if ["HKLM\\", "HKU\\", "HKCR\\"].iter().any(|h| s.starts_with(h)) {
        "hive"
    } else if s == "true" || s == "false" {
        "true or false"
    } else {
        "text"
    }
}

fn is_time(s: &str) -> bool {
    let b = s.as_bytes();
    b.len() >= 19 && b[4] == b'-' && b[7] == b'-' && b[13] == b':' && b[..4].iter().all(u8::is_ascii_digit)
}

/// Lines of a message that hold no value: what stands before a colon, and lines that begin in no tab.
pub fn labels(message: &str) -> Vec<String> {
    let mut out = vec![];
    for line in message.split('\n') {
        let label = line.split_once(':').filter(|(l, rest)| {
            l.trim_start_matches('\t').starts_with(|c: char| c.is_ascii_uppercase())
                && l.len() < 60
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"\t ()-/".contains(&b))
                && (rest.is_empty() || rest.starts_with([' ', '\t']))
        });
        match label {
            Some((l, rest)) => {
                let blanks: String = rest.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
                // blanks are part of the label only where a value follows them
                out.push(format!("{l}:{}", if rest.trim().is_empty() { "" } else { &blanks }));
            }
            None if !line.starts_with('\t') && !line.trim().is_empty() => out.push(line.to_owned()),
            None => {}
        }
    }
    out
}

/// The message without values of several lines, whose lines look like the product's own text.
pub fn without_values(message: &str, data: &[(String, String)]) -> String {
    let mut m = message.to_owned();
    for (_, v) in data.iter().filter(|(_, v)| v.contains('\n')) {
        m = m.replacen(v, "", 1);
    }
    m
}

/// What was learnt of one event id in one version.
#[derive(Debug, Default, Clone)]
pub struct Model {
    /// Records seen.
    pub records: usize,
    /// Per field: how many records have it, shapes of its values.
    pub fields: BTreeMap<String, (usize, BTreeMap<&'static str, usize>)>,
    /// Wire orders seen.
    pub orders: BTreeMap<Vec<String>, usize>,
    /// Labels of messages.
    pub labels: BTreeMap<Vec<String>, usize>,
    /// Providers.
    pub providers: BTreeMap<String, usize>,
    /// Tasks.
    pub tasks: BTreeMap<u64, usize>,
    /// Written by the kernel (process 4), or not.
    pub kernel: BTreeMap<bool, usize>,
    /// Some records came from an envelope that drops what is empty.
    pub lossy: usize,
}

impl Model {
    /// Learns one record.
    pub fn learn(&mut self, r: &Record) {
        self.records += 1;
        self.lossy += r.lossy as usize;
        for (k, v) in &r.data {
            let f = self.fields.entry(k.clone()).or_default();
            f.0 += 1;
            *f.1.entry(shape(v)).or_default() += 1;
        }
        if r.ordered {
            *self.orders.entry(r.data.iter().map(|(k, _)| k.clone()).collect()).or_default() += 1;
        }
        if let Some(m) = &r.message
            && self.labels.len() < 200
        {
            *self.labels.entry(labels(&without_values(m, &r.data))).or_default() += 1;
        }
        *self.providers.entry(r.provider.clone()).or_default() += 1;
        if let Some(pid) = r.pid {
            *self.kernel.entry(pid == 4).or_default() += 1;
        }
        if let Some(t) = r.task {
            *self.tasks.entry(t).or_default() += 1;
        }
    }
}

impl Model {
    /// Adds what another learnt.
    pub fn add(&mut self, o: Model) {
        fn sum<K: Ord>(to: &mut BTreeMap<K, usize>, from: BTreeMap<K, usize>) {
            for (k, n) in from {
                *to.entry(k).or_default() += n;
            }
        }
        self.records += o.records;
        self.lossy += o.lossy;
        for (k, (n, shapes)) in o.fields {
            let f = self.fields.entry(k).or_default();
            f.0 += n;
            sum(&mut f.1, shapes);
        }
        sum(&mut self.orders, o.orders);
        sum(&mut self.labels, o.labels);
        sum(&mut self.providers, o.providers);
        sum(&mut self.tasks, o.tasks);
        sum(&mut self.kernel, o.kernel);
    }
}
