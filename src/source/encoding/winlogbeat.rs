//! JSON as Winlogbeat 8 puts it on Kafka. Event data are texts; empty ones are left out (`winevent.AddPairs`), and CR LF
//! becomes LF (`sys.RemoveWindowsLineEndings`). Neither `process.*` nor other ECS fields: those are made by modules.

use super::{extras, field, level_name, message};
use crate::activity::Field;
use crate::source::compile::{Builder, Options};
use crate::source::escape::Esc;
use crate::source::{Event, Shape, Source};

/// The version of the agent that is imitated.
const VERSION: &str = "8.17.0";

pub(super) fn build(source: &Source, e: &Event, options: Options<'_>, b: &mut Builder) {
    let h = &e.head;
    let text = |b: &mut Builder, head: &str, value: &str| {
        b.lit(head);
        b.lit("\"");
        b.text(Esc::Json, value);
        b.lit("\"");
    };
    b.lit("{\"@timestamp\":\"");
    b.value(&field(Field::TimeWrite, "iso:3"), false, Esc::Json, "");
    b.lit(&format!("\",\"@metadata\":{{\"beat\":\"winlogbeat\",\"type\":\"_doc\",\"version\":\"{VERSION}\"}}"));
    b.lit(",\"agent\":{\"type\":\"winlogbeat\"");
    b.lit(&format!(",\"version\":\"{VERSION}\""));
    b.optional(",\"ephemeral_id\":\"", &field(Field::AgentEphemeralId, "uuid"), Esc::Json, None, "\"", false);
    b.optional(",\"id\":\"", &field(Field::AgentId, "uuid"), Esc::Json, None, "\"", false);
    b.lit(",\"name\":\"");
    b.value(&field(Field::HostHostname, ""), false, Esc::Json, "");
    b.lit("\"},\"ecs\":{\"version\":\"8.0.0\"},\"event\":{");
    text(b, "\"code\":", &h.id);
    if let Some(c) = &h.category {
        text(b, ",\"action\":", c);
    }
    b.lit(",\"created\":\"");
    b.value(&field(Field::TimeRelease, "iso:3"), false, Esc::Json, "");
    b.lit("\",\"kind\":\"event\"");
    if let Some(success) = h.audit {
        text(b, ",\"outcome\":", if success { "success" } else { "failure" });
    }
    text(b, ",\"provider\":", &e.product.name);
    b.lit("},\"host\":{");
    host(source, b);
    b.lit("},\"log\":{");
    text(b, "\"level\":", &level_name(h.level).to_ascii_lowercase());
    b.lit("}");
    if let Some(parts) = &e.message {
        b.lit(",\"message\":\"");
        message(parts, Esc::JsonLf, "\n", &e.missing, b);
        b.lit("\"");
    }
    b.lit(",\"winlog\":{\"api\":\"wineventlog\"");
    text(b, ",\"channel\":", &source.channel);
    b.lit(",\"computer_name\":\"");
    b.value(&source.computer, false, Esc::Json, "");
    b.lit("\"");
    if let Some(f) = e.correlation {
        b.optional(",\"activity_id\":\"", &field(f, "guid"), Esc::Json, None, "\"", false);
    }
    data(e, b);
    text(b, ",\"event_id\":", &h.id);
    if let Some(success) = h.audit {
        b.lit(if success { ",\"keywords\":[\"Audit Success\"]" } else { ",\"keywords\":[\"Audit Failure\"]" });
    } else if h.keywords & 0x0080_0000_0000_0000 != 0 {
        b.lit(",\"keywords\":[\"Classic\"]");
    }
    if !h.opcode_name.is_empty() {
        text(b, ",\"opcode\":", &h.opcode_name);
    }
    if let Some((process, thread)) = &e.execution {
        b.lit(",\"process\":{\"pid\":");
        b.value(process, false, Esc::Json, "0");
        b.lit(",\"thread\":{\"id\":");
        b.value(thread, false, Esc::Json, "0");
        b.lit("}}");
    }
    if let Some(g) = &e.product.guid {
        text(b, ",\"provider_guid\":", g);
    }
    text(b, ",\"provider_name\":", &e.product.name);
    b.lit(",\"record_id\":");
    b.value(&field(Field::RecordId, "dec"), false, Esc::Json, "0");
    if let Some(c) = &h.category {
        text(b, ",\"task\":", c);
    }
    if let Some(u) = &e.user {
        b.lit(",\"user\":{\"identifier\":\"");
        b.value(&u.sid, false, Esc::Json, "");
        b.lit("\"");
        if let Some(n) = &u.name {
            b.optional(",\"name\":\"", n, Esc::Json, None, "\"", true);
        }
        if let Some(d) = &u.domain {
            b.optional(",\"domain\":\"", d, Esc::Json, None, "\"", true);
        }
        text(b, ",\"type\":", &u.kind);
        b.lit("}");
    }
    if h.version > 0 {
        b.lit(&format!(",\"version\":{}", h.version));
    }
    b.lit("}");
    extras(options, b);
    b.lit("}");
}

/// What `add_host_metadata`, which is on in the agent's own configuration, knows of the machine it runs on.
fn host(source: &Source, b: &mut Builder) {
    b.lit("\"architecture\":\"x86_64\",\"hostname\":\"");
    b.value(&field(Field::HostHostname, ""), false, Esc::Json, "");
    b.lit("\"");
    b.optional(",\"id\":\"", &field(Field::HostId, ""), Esc::Json, None, "\"", false);
    b.optional(",\"ip\":[\"", &field(Field::HostIp, ""), Esc::Json, None, "\"]", false);
    b.optional(",\"mac\":[\"", &field(Field::HostMac, "upper"), Esc::Json, None, "\"]", false);
    b.lit(",\"name\":\"");
    b.value(&source.computer, false, Esc::Json, "");
    b.lit("\",\"os\":{\"family\":\"windows\",\"platform\":\"windows\",\"type\":\"windows\"");
    b.optional(",\"build\":\"", &field(Field::HostOsBuild, "build"), Esc::Json, None, "\"", false);
    let kernel_end = " (WinBuild.160101.0800)\"";
    b.optional(",\"kernel\":\"", &field(Field::HostOsBuild, ""), Esc::Json, None, kernel_end, false);
    b.optional(",\"name\":\"", &field(Field::HostOs, ""), Esc::Json, None, "\"", false);
    b.optional(",\"version\":\"", &field(Field::HostOsVersion, ""), Esc::Json, None, "\"", false);
    b.lit("}");
}

/// `event_data` or `user_data`. Its first member has no comma before it, and any may be left out: `xml_name` leads
/// user data; in event data a value that is always there leads, and where there is none the commas stand behind.
fn data(e: &Event, b: &mut Builder) {
    let mut named: Vec<(String, &crate::source::expr::Expr)> = e
        .data
        .iter()
        .enumerate()
        .filter_map(|(i, c)| match &c.value {
            Shape::One(v) if e.unnamed => Some((format!("param{}", i + 1), v)),
            Shape::One(v) => Some((c.name.clone(), v)),
            _ => None,
        })
        .collect();
    named.extend(e.binary.iter().map(|b| ("Binary".to_owned(), b)));
    let missing = Some(e.missing.as_str());
    match &e.user_data {
        Some((element, _)) => {
            b.lit(",\"user_data\":{\"xml_name\":\"");
            b.text(Esc::Json, element);
            b.lit("\"");
            for (name, v) in &named {
                b.optional(&format!(",\"{name}\":\""), v, Esc::JsonLf, missing, "\"", true);
            }
            b.lit("}");
        }
        None if named.is_empty() => {}
        None => {
            b.lit(",\"event_data\":{");
            b.members(&named, Esc::JsonLf, &e.missing);
            b.lit("}");
        }
    }
}
