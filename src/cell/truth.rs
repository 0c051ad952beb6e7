//! Messages of a batch, and the truth that travels beside them.

use std::io::Write;

use crate::activity::{Field, Value, View};
use crate::batch::{Batch, Message, RecordId};
use crate::cell::{Feed, Plan, StreamPlan};
use crate::source::{EventIndex, Writer};
use crate::world::fact::Fact;
use crate::world::state::State;
use crate::world::view::FactView;

/// What a truth line is about.
pub struct Line<'a> {
    /// The run's plan.
    pub plan: &'a Plan,
    /// Stream.
    pub stream: &'a StreamPlan,
    /// Record.
    pub record: RecordId,
    /// Fact.
    pub fact: &'a Fact,
    /// Feed.
    pub feed: &'a Feed,
    /// Where its payload starts in the batch.
    pub start: usize,
}

/// Bytes after which a message that holds several records is closed.
const MESSAGE_BYTES_MAX: usize = 200_000;

/// Makes room for one more record; returns where its own bytes start.
pub fn open(writer: &Writer, batch: &mut Batch, records_max: u32) -> usize {
    if records_max > 1 {
        let bytes = batch.bytes.len();
        let begun = batch.messages.len().checked_sub(2).map_or(0, |i| batch.messages[i].end as usize);
        match batch.messages.last_mut() {
            Some(m) if m.end == u32::MAX && m.records < records_max && bytes - begun < MESSAGE_BYTES_MAX => {
                writer.between(&mut batch.bytes);
            }
            Some(m) if m.end == u32::MAX => {
                writer.close(&mut batch.bytes);
                m.end = batch.bytes.len() as u32;
                writer.open(&mut batch.bytes);
            }
            _ => writer.open(&mut batch.bytes),
        }
    }
    batch.bytes.len()
}

/// Adds a record to the open message, or as one of its own.
pub fn push(batch: &mut Batch, m: Message, records_max: u32) {
    if records_max > 1 {
        if let Some(last) = batch.messages.last_mut().filter(|l| l.end == u32::MAX) {
            last.records += 1;
            last.attack += m.attack;
            last.truth_end = m.truth_end;
            last.release = m.release;
            last.key_end = m.key_end;
            return;
        }
        // an open message has no end yet
        batch.messages.push(Message { end: u32::MAX, ..m });
        return;
    }
    batch.messages.push(m);
}

/// Ends the message that is still open.
pub fn close(writer: &Writer, batch: &mut Batch, records_max: u32) {
    if records_max > 1
        && let Some(m) = batch.messages.last_mut().filter(|m| m.end == u32::MAX)
    {
        writer.close(&mut batch.bytes);
        m.end = batch.bytes.len() as u32;
    }
}

/// Severity of a record's event, as OpenTelemetry numbers it.
pub fn severity(feed: &Feed, event: EventIndex) -> u8 {
    match feed.source.event(event).head.level {
        1 => 21,
        2 => 17,
        3 => 13,
        5 => 5,
        _ => 9,
    }
}

/// Appends a field as a key.
pub fn key(view: &FactView<'_>, field: Field, out: &mut Vec<u8>) {
    match view.get(field) {
        Value::Text(t) => out.extend_from_slice(t.as_bytes()),
        Value::Uint(n) => write!(out, "{n}").expect("writing to memory"),
        Value::Ip(ip) => write!(out, "{ip}").expect("writing to memory"),
        Value::Bool(b) => write!(out, "{b}").expect("writing to memory"),
        _ => {}
    }
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    write!(out, ",\"{name}\":").expect("writing to memory");
    serde_json::to_writer(out, value).expect("text is JSON");
}

fn optional(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    match value {
        Some(v) => text(out, name, v),
        None => write!(out, ",\"{name}\":null").expect("writing to memory"),
    }
}

/// Appends the truth line of the record that was just rendered.
pub fn write(state: &State, line: &Line<'_>, view: &FactView<'_>, key: &[u8], batch: &mut Batch) {
    let Batch { truth: out, bytes, .. } = batch;
    let digest = xxhash_rust::xxh3::xxh3_128(&bytes[line.start..]);
    let f = line.fact;
    let tag = state.tag_of(f.tag);
    write!(out, "{{\"run\":\"{}\",\"id\":\"{}\"", line.plan.run, line.record).expect("writing to memory");
    text(out, "stream", &line.stream.name);
    text(out, "source", &line.feed.source.id);
    write!(out, ",\"event_time\":\"{}\",\"attack\":{}", f.time, tag.is_some()).expect("writing to memory");
    let scenario = tag.map(|t| &state.library().scenarios[t.scenario.0 as usize]);
    let step = tag.zip(scenario).map(|(t, s)| &s.steps[t.step as usize]);
    optional(out, "scenario", scenario.map(|s| &*s.id));
    match tag {
        Some(t) => write!(out, ",\"instance\":{}", t.inst.0),
        None => write!(out, ",\"instance\":null"),
    }
    .expect("writing to memory");
    optional(out, "step", step.map(|s| &*s.id));
    optional(out, "technique", step.map(|s| &*s.technique).filter(|t| !t.is_empty()));
    optional(out, "tactic", step.map(|s| &*s.tactic).filter(|t| !t.is_empty()));
    optional(out, "role", tag.map(|t| ["direct", "effect", "collateral"][t.part.min(2) as usize]));
    optional(out, "cause", tag.filter(|t| t.part == 2).and(step).map(|s| &*s.id));
    if let Value::Text(h) = view.get(Field::HostName) {
        text(out, "host", h);
    }
    let user = match view.get(Field::ProcUser) {
        Value::Text(u) if f.proc.pid != 0 => u,
        _ => match view.get(Field::TargetName) {
            Value::Text(u) => u,
            _ => "",
        },
    };
    text(out, "user", user);
    text(out, "key", std::str::from_utf8(key).unwrap_or(""));
    writeln!(out, ",\"digest\":\"xxh3:{digest:032x}\"}}").expect("writing to memory");
}
