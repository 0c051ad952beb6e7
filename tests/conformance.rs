//! Our records held against what real machines wrote and what vendors document.
//!
//! Per channel, event id and event version: field names, their order, the shape of every value, the labels of the message.
//! What stood behind each id is printed: `recorded` (at least five recordings of that version) or `documented`
//! (`tests/conformance/documented.yaml`, with its source). A difference that remains is listed in `allowed.yaml` with its reason;
//! one that is not there fails the test, and so does a reason that nothing needs any more.

#[path = "conformance/ours.rs"]
mod ours;
#[path = "conformance/recorded.rs"]
mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use recorded::{LOST, Model, Record};
use serde_json::{Map, Value};
use skirmish::yaml::Node;

/// Fewer recordings than this say too little.
const ENOUGH: usize = 5;
/// Recordings of one event that are read; the rest repeat them.
const READ_MAX: usize = 4_000;

/// Channel, id, version; none for recordings that do not say.
type Key = (String, u64, Option<u64>);

fn shared() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/security-datasets"))
}

/// Learns from the recordings, reading on all cores; empty where there are none.
fn learn(channels: &BTreeSet<String>) -> BTreeMap<Key, Model> {
    let archives = recorded::archives(&shared());
    let seen = std::sync::Mutex::new(BTreeMap::<(bool, u64), usize>::new());
    let models = std::sync::Mutex::new(BTreeMap::<Key, Model>::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(|| {
                while let Some(a) = archives.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let mut mine = BTreeMap::<Key, Model>::new();
                    recorded::lines_of(a, |line| {
                        let Some(id) = id_of(line) else { return };
                        {
                            let mut seen = seen.lock().expect("no panic");
                            let n = seen.entry((line.contains("Sysmon"), id)).or_default();
                            *n += 1;
                            if *n > READ_MAX {
                                return;
                            }
                        }
                        let Ok(Value::Object(o)) = serde_json::from_str::<Value>(line) else { return };
                        let Some(r) = recorded::normalise(&o) else { return };
                        if channels.contains(&r.channel) {
                            mine.entry((r.channel.clone(), r.id, r.version)).or_default().learn(&r);
                        }
                    });
                    let mut models = models.lock().expect("no panic");
                    for (k, m) in mine {
                        models.entry(k).or_default().add(m);
                    }
                }
            });
        }
    });
    let mut models = models.into_inner().expect("no panic");
    // The dump does not say its versions: its records belong to the version with the same fields.
    let unsaid: Vec<Key> = models.keys().filter(|k| k.2.is_none()).cloned().collect();
    for k in unsaid {
        let names: BTreeSet<&String> = models[&k].fields.keys().collect();
        let home = models
            .iter()
            .filter(|(h, _)| h.0 == k.0 && h.1 == k.1 && h.2.is_some())
            .find(|(_, m)| {
                m.fields.keys().filter(|f| *f != "ProcessId").all(|f| names.contains(f))
                    && names.len() <= m.fields.len() + 1
            })
            .map(|(h, _)| h.clone());
        if let Some(home) = home {
            let m = models.remove(&k).expect("listed");
            models.get_mut(&home).expect("found").add(m);
        }
    }
    models
}

/// The event id of a line, without parsing it.
fn id_of(line: &str) -> Option<u64> {
    let at = line.find("\"EventID\":").map(|i| i + 10).or(line.find("\"event_id\":").map(|i| i + 11))?;
    let digits: String = line[at..].trim_start_matches([' ', '"']).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Differences from what was recorded.
fn differs_from_recorded(r: &Record, m: &Model) -> Vec<String> {
    let mut out = vec![];
    let have: BTreeSet<&str> = r.data.iter().map(|(k, _)| k.as_str()).collect();
    // NXLog has a field of its own that differs from these only in case or covers them
    let hidden = |name: &str| name.eq_ignore_ascii_case("processid") || LOST.contains(&name);
    for (name, (n, _)) in &m.fields {
        if *n * 100 >= m.records * 98 && !have.contains(name.as_str()) && !hidden(name) {
            out.push(format!("missing {name}"));
        }
    }
    for (name, value) in &r.data {
        let Some((_, shapes)) = m.fields.get(name) else {
            // what is always empty was dropped
            let dropped = value.is_empty() && m.lossy == m.records;
            if !hidden(name) && !dropped {
                out.push(format!("extra {name}"));
            }
            continue;
        };
        let shape = recorded::shape(value);
        // a field left out of a recording that drops what is empty was empty there
        let empty = shape == "empty" && m.lossy > 0;
        if !shapes.contains_key(shape) && !shapes.contains_key("text") && !empty {
            let known: Vec<&str> = shapes.keys().copied().collect();
            out.push(format!("shape of {name}: {shape}, recorded {}", known.join(" or ")));
        }
    }
    let order: Vec<String> = r.data.iter().map(|(k, _)| k.clone()).collect();
    // some collectors lost the order and wrote another, always the same one; ours must be one that was seen
    let same_set = |o: &&Vec<String>| o.len() == order.len() && o.iter().all(|f| order.contains(f));
    let most = m.orders.iter().filter(|(o, _)| same_set(o)).max_by_key(|(_, n)| **n);
    if let Some((most, _)) = most
        && r.ordered
        && !m.orders.contains_key(&order)
    {
        out.push(format!("order: {} instead of {}", order.join(" "), most.join(" ")));
    }
    if !m.providers.contains_key(&r.provider) {
        out.push(format!("provider {}, recorded {:?}", r.provider, m.providers.keys().collect::<Vec<_>>()));
    }
    if let Some(t) = r.task
        && !m.tasks.is_empty()
        && !m.tasks.contains_key(&t)
    {
        out.push(format!("task {t}, recorded {:?}", m.tasks.keys().collect::<Vec<_>>()));
    }
    if let Some(pid) = r.pid
        && !m.kernel.is_empty()
        && !m.kernel.contains_key(&(pid == 4))
    {
        out.push(format!("written by process {pid}, recorded {}", if pid == 4 { "another" } else { "4" }));
    }
    let message = r.message.as_deref().unwrap_or("");
    let ours = recorded::labels(&recorded::without_values(message, &r.data));
    if !m.labels.is_empty() && !m.labels.contains_key(&ours) {
        // values of several lines look like labels: only fixed lines that most recordings share count
        let n: usize = m.labels.values().sum();
        let mut shared: BTreeMap<&str, usize> = BTreeMap::new();
        for (all, n) in &m.labels {
            for l in all.iter().collect::<BTreeSet<_>>() {
                *shared.entry(l).or_default() += n;
            }
        }
        for (l, k) in shared {
            // behind a label without a value the blanks are not told apart
            if k * 100 >= n * 95 && !ours.iter().any(|o| o == l || o == l.trim_end()) {
                out.push(format!("message lacks {l:?}"));
            }
        }
        for l in &ours {
            let seen = |o: &String| o == l || o.trim_end() == l || o == l.trim_end();
            if l.ends_with(['\t', ' ', ':']) && !m.labels.keys().any(|all| all.iter().any(seen)) {
                out.push(format!("message has {l:?}"));
            }
        }
    }
    out
}

/// Differences from a documented list of fields.
fn differs_from_documented(r: &Record, fields: &[&str]) -> Vec<String> {
    let ours: Vec<&str> = r.data.iter().map(|(k, _)| k.as_str()).collect();
    if ours == fields {
        return vec![];
    }
    let mut out: Vec<String> = fields.iter().filter(|f| !ours.contains(f)).map(|f| format!("missing {f}")).collect();
    out.extend(ours.iter().filter(|f| !fields.contains(f)).map(|f| format!("extra {f}")));
    if out.is_empty() {
        out.push(format!("order: {} instead of {}", ours.join(" "), fields.join(" ")));
    }
    out
}

/// A documented event: its fields and where they are documented.
struct Documented {
    fields: Vec<String>,
    from: String,
}

fn documented() -> BTreeMap<(String, String, u64), Documented> {
    let mut out = BTreeMap::new();
    for n in ours::documents("documented.yaml")[0].get("events").expect("events").items() {
        let text = |k: &str| n.get(k).and_then(Node::as_str).unwrap_or("").to_owned();
        let key = (text("channel").to_lowercase(), text("id"), text("version").parse().unwrap_or(0));
        let fields = text("fields").split_whitespace().map(|f| f.replace('_', " ")).collect();
        assert!(out.insert(key.clone(), Documented { fields, from: text("from") }).is_none(), "{key:?} twice");
    }
    out
}

/// Differences that remain, with their reasons.
fn allowed(of: &str) -> Vec<(String, String, String)> {
    let docs = ours::documents("allowed.yaml");
    let text = |n: &Node, k: &str| n.get(k).and_then(Node::as_str).unwrap_or("").to_owned();
    docs[0]
        .get(of)
        .expect("a list")
        .items()
        .iter()
        .map(|n| (text(n, "event"), text(n, "difference"), text(n, "why")))
        .collect()
}

#[test]
fn event_logs_look_like_recorded_ones() {
    let catalogue = ours::catalogue();
    let activities = ours::activities();
    let sources: Vec<_> = catalogue.iter().filter(|s| s.id.starts_with("windows.")).collect();
    let channels: BTreeSet<String> = sources.iter().map(|s| s.channel.to_lowercase()).collect();
    let recordings = shared().is_dir();
    if !recordings {
        eprintln!("\n### {} is not there: recorded events are not compared ###\n", shared().display());
    }
    let models = if recordings { learn(&channels) } else { BTreeMap::new() };
    let (documented, allowed) = (documented(), allowed("activities"));
    let mut used = BTreeSet::new();
    let mut bad = vec![];
    let mut table: BTreeMap<(String, u64, u64), (String, BTreeSet<String>)> = BTreeMap::new();
    for source in &sources {
        let (records, silent) = ours::records(source, &activities);
        assert!(source.id == "windows.sysmon" || silent.is_empty(), "{}: no activity makes {silent:?}", source.id);
        for r in &records {
            let version = r.version.unwrap_or(0);
            let model = models
                .get(&(r.channel.clone(), r.id, Some(version)))
                .filter(|m| m.records >= ENOUGH)
                .or_else(|| unsaid(&models, r));
            let doc = documented.get(&(r.channel.clone(), r.id.to_string(), version));
            // the dump has no UserData
            let model = model.filter(|m| doc.is_none() || !m.fields.is_empty());
            let (behind, found) = match (model, doc) {
                (Some(m), _) => (format!("recorded ({})", m.records), differs_from_recorded(r, m)),
                (None, Some(d)) => {
                    let fields: Vec<&str> = d.fields.iter().map(String::as_str).collect();
                    (format!("documented ({})", d.from), differs_from_documented(r, &fields))
                }
                (None, None) => ("nothing".to_owned(), vec!["neither recorded nor documented".to_owned()]),
            };
            let name = format!("{}/{}", r.channel.rsplit('/').next_back().unwrap_or(""), r.id);
            let row = table.entry((r.channel.clone(), r.id, version)).or_insert((behind, BTreeSet::new()));
            for d in found {
                let reason = allowed.iter().position(|(e, what, _)| *e == name && d.starts_with(what.as_str()));
                match reason {
                    Some(i) => {
                        used.insert(i);
                        row.1.insert(format!("{d} (allowed: {})", allowed[i].2));
                    }
                    None if behind_nothing(&d) && !recordings => {}
                    None => {
                        bad.push(format!("{name} version {version}: {d}"));
                        row.1.insert(d);
                    }
                }
            }
        }
    }
    let (mut by_recording, mut by_document) = (0, 0);
    for ((channel, id, version), (behind, found)) in &table {
        by_recording += behind.starts_with("recorded") as usize;
        by_document += behind.starts_with("documented") as usize;
        println!("{channel} {id} v{version}: {behind}{}", if found.is_empty() { ": the same" } else { "" });
        for d in found {
            println!("    {d}");
        }
    }
    println!("{} events: {by_recording} against recordings, {by_document} against documents", table.len());
    if recordings {
        for (i, (event, what, _)) in allowed.iter().enumerate() {
            if !used.contains(&i) {
                bad.push(format!("allowed.yaml: {event}: `{what}` does not occur any more"));
            }
        }
    }
    assert!(bad.is_empty(), "{} differences:\n{}", bad.len(), bad.join("\n"));
}

/// The same for records of the emulated organisation, which have what a made-up activity may not lack: gaps.
#[test]
fn the_organisation_looks_like_recorded_machines() {
    if !shared().is_dir() {
        eprintln!("\n### {} is not there: generated records are not compared ###\n", shared().display());
        return;
    }
    let sources =
        ["windows.security", "windows.sysmon", "windows.powershell", "windows.system", "windows.task_scheduler"];
    let catalogue = ours::catalogue();
    let channels = sources.iter().map(|s| catalogue.get(s).expect("built in").channel.to_lowercase()).collect();
    let models = learn(&channels);
    let allowed = allowed("generated");
    let (mut bad, mut records) = (BTreeMap::<String, usize>::new(), 0);
    for source in sources {
        for r in ours::generated(source) {
            records += 1;
            let version = r.version.unwrap_or(0);
            let model = models.get(&(r.channel.clone(), r.id, Some(version))).filter(|m| m.records >= ENOUGH);
            let Some(m) = model.filter(|m| !m.fields.is_empty()) else { continue };
            let name = format!("{}/{}", r.channel.rsplit('/').next_back().unwrap_or(""), r.id);
            for d in differs_from_recorded(&r, m) {
                // which sensor version adds what is the other test's
                let newer = r.channel.contains("sysmon") && (d.starts_with("extra ") || d.starts_with("message "));
                if !newer && !allowed.iter().any(|(e, what, _)| *e == name && d.starts_with(what.as_str())) {
                    *bad.entry(format!("{name} version {version}: {d}")).or_default() += 1;
                }
            }
        }
    }
    println!("{records} generated records");
    let list: Vec<String> = bad.iter().map(|(d, n)| format!("{n} x {d}")).collect();
    assert!(records > 10_000, "only {records} records were generated");
    assert!(bad.is_empty(), "{} differences:\n{}", bad.len(), list.join("\n"));
}

fn behind_nothing(d: &str) -> bool {
    d == "neither recorded nor documented"
}

/// Recordings that do not say their version and have exactly these fields.
fn unsaid<'a>(models: &'a BTreeMap<Key, Model>, r: &Record) -> Option<&'a Model> {
    let m = models.get(&(r.channel.clone(), r.id, None)).filter(|m| m.records >= ENOUGH)?;
    let have: BTreeSet<&str> = r.data.iter().map(|(k, _)| k.as_str()).collect();
    m.fields.keys().all(|f| have.contains(f.as_str())).then_some(m)
}

#[test]
fn defender_rows_have_the_documented_columns() {
    let catalogue = ours::catalogue();
    let activities = ours::activities();
    let docs = ours::documents("documented.yaml");
    let tables = docs[0].get("tables").expect("tables");
    let mut bad = vec![];
    for source in catalogue.iter().filter(|s| s.id.starts_with("defender.")) {
        let name = source.category.strip_prefix("AdvancedHunting-").unwrap_or("");
        let columns: BTreeMap<&str, &str> = tables
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not documented"))
            .items()
            .iter()
            .flat_map(|n| n.as_str().unwrap_or("").split_whitespace())
            .map(|c| c.split_once(':').unwrap_or((c, "string")))
            .collect();
        let rows = ours::rows(source, &activities);
        let made: BTreeSet<&str> = rows.iter().filter_map(|r| r["ActionType"].as_str()).collect();
        for e in &source.events {
            if !made.contains(e.id()) {
                bad.push(format!("{name}: no activity makes {}", e.id()));
            }
        }
        for row in &rows {
            let row: &Map<String, Value> = row.as_object().expect("an object");
            for (c, v) in row {
                match columns.get(c.as_str()) {
                    None => bad.push(format!("{name}: extra column {c}")),
                    Some(ty) if !fits(v, ty) => bad.push(format!("{name}: {c} is {ty}, not {v}")),
                    _ => {}
                }
            }
            bad.extend(columns.keys().filter(|c| !row.contains_key(**c)).map(|c| format!("{name}: missing {c}")));
            if let Some(more) = row.get("AdditionalFields").and_then(Value::as_str)
                && serde_json::from_str::<Value>(more).is_err()
            {
                bad.push(format!("{name}: AdditionalFields is not JSON: {more}"));
            }
        }
        println!("{name}: {} columns, ActionTypes {made:?}", columns.len());
    }
    bad.sort();
    bad.dedup();
    assert!(bad.is_empty(), "{} differences:\n{}", bad.len(), bad.join("\n"));
}

fn fits(v: &Value, ty: &str) -> bool {
    match (v, ty) {
        (Value::Null, _) => true,
        (Value::String(s), "datetime") => s.len() >= 20 && s.ends_with('Z') && s.as_bytes()[10] == b'T',
        (Value::String(_), "string") => true,
        (Value::Number(n), "long" | "int") => n.is_u64() || n.is_i64(),
        (Value::Bool(_), "bool") => true,
        _ => false,
    }
}
