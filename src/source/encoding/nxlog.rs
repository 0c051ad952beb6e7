//! Flat JSON as NXLog's `im_msvistalog` with `to_json()` writes it. Where NXLog and the recordings agree: keywords are a
//! signed number, GUIDs of the head are in upper case, an empty value is left out, event data keep the entities of the
//! rendered XML while the message has none, UserData are not parsed at all, and audits carry `AUDIT_SUCCESS` or `AUDIT_FAILURE` as their type.

use super::{extras, field, message};
use crate::activity::Field;
use crate::source::compile::{Builder, Options};
use crate::source::escape::Esc;
use crate::source::{Event, Shape, Source};

/// Names of NXLog's own fields; data of the same name are lost, but for `EventType`.
const OWN: &[&str] = &[
    "EventTime",
    "Hostname",
    "Keywords",
    "SeverityValue",
    "Severity",
    "EventID",
    "SourceName",
    "ProviderGuid",
    "Version",
    "Task",
    "OpcodeValue",
    "RecordNumber",
    "ActivityID",
    "ExecutionProcessID",
    "ThreadID",
    "Channel",
    "Domain",
    "AccountName",
    "UserID",
    "AccountType",
    "Message",
    "Category",
    "Opcode",
    "EventReceivedTime",
    "SourceModuleName",
    "SourceModuleType",
];

pub(super) fn build(source: &Source, e: &Event, options: Options<'_>, b: &mut Builder) {
    let h = &e.head;
    let text = |b: &mut Builder, name: &str, value: &str| {
        b.lit(&format!(",\"{name}\":\""));
        b.text(Esc::Json, value);
        b.lit("\"");
    };
    let (kind, value, severity) = match (h.audit, h.level) {
        (Some(true), _) => ("AUDIT_SUCCESS", 2, "INFO"),
        (Some(false), _) => ("AUDIT_FAILURE", 4, "ERROR"),
        (_, 1) => ("CRITICAL", 5, "CRITICAL"),
        (_, 2) => ("ERROR", 4, "ERROR"),
        (_, 3) => ("WARNING", 3, "WARNING"),
        (_, 5) => ("VERBOSE", 1, "DEBUG"),
        _ => ("INFO", 2, "INFO"),
    };
    b.lit("{\"EventTime\":\"");
    b.value(&field(Field::TimeWrite, "utc_s"), false, Esc::Json, "");
    b.lit("\",\"Hostname\":\"");
    b.value(&source.computer, false, Esc::Json, "");
    b.lit(&format!("\",\"Keywords\":{}", h.keywords as i64));
    let own_type = e.data.iter().find(|c| c.name == "EventType");
    match own_type.map(|c| &c.value) {
        Some(Shape::One(v)) => {
            b.lit(",\"EventType\":\"");
            b.value(v, false, Esc::JsonXml, &e.missing);
            b.lit("\"");
        }
        _ => text(b, "EventType", kind),
    }
    b.lit(&format!(",\"SeverityValue\":{value},\"Severity\":\"{severity}\",\"EventID\":{}", h.id));
    text(b, "SourceName", e.product.event_source.as_deref().unwrap_or(&e.product.name));
    if let Some(g) = &e.product.guid {
        text(b, "ProviderGuid", &g.to_ascii_uppercase());
    }
    b.lit(&format!(",\"Version\":{},\"Task\":{},\"OpcodeValue\":{},\"RecordNumber\":", h.version, h.task, h.opcode));
    b.value(&field(Field::RecordId, "dec"), false, Esc::Json, "0");
    if let Some(f) = e.correlation {
        b.optional(",\"ActivityID\":\"", &field(f, "guid_upper"), Esc::Json, None, "\"", false);
    }
    if let Some((process, thread)) = &e.execution {
        b.lit(",\"ExecutionProcessID\":");
        b.value(process, false, Esc::Json, "0");
        b.lit(",\"ThreadID\":");
        b.value(thread, false, Esc::Json, "0");
    }
    text(b, "Channel", &source.channel);
    if let Some(u) = &e.user {
        if let Some(d) = &u.domain {
            b.optional(",\"Domain\":\"", d, Esc::Json, None, "\"", true);
        }
        if let Some(n) = &u.name {
            b.optional(",\"AccountName\":\"", n, Esc::Json, None, "\"", true);
        }
        b.optional(",\"UserID\":\"", &u.sid, Esc::Json, None, "\"", true);
        text(b, "AccountType", &u.kind);
    }
    if let Some(parts) = &e.message {
        b.lit(",\"Message\":\"");
        message(parts, Esc::Json, "\r\n", &e.missing, b);
        b.lit("\"");
    }
    if let Some(c) = &h.category {
        text(b, "Category", c);
    }
    if !h.opcode_name.is_empty() {
        text(b, "Opcode", &h.opcode_name);
    }
    for c in &e.data {
        let lost = e.unnamed || e.user_data.is_some() || c.name == "EventType" || OWN.contains(&c.name.as_str());
        if let (false, Shape::One(v)) = (lost, &c.value) {
            b.optional(&format!(",\"{}\":\"", c.name), v, Esc::JsonXml, Some(&e.missing), "\"", true);
        }
    }
    b.lit(",\"EventReceivedTime\":\"");
    b.value(&field(Field::TimeRelease, "utc_s"), false, Esc::Json, "");
    b.lit("\",\"SourceModuleName\":\"eventlog\",\"SourceModuleType\":\"im_msvistalog\"");
    extras(options, b);
    b.lit("}");
}
