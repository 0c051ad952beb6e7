//! Defender XDR: rows of advanced hunting tables, alone or as the streaming API sends them to an Event Hub.

use super::{extras, field};
use crate::activity::Field;
use crate::source::compile::{Builder, Options};
use crate::source::escape::Esc;
use crate::source::{Column, Event, Shape, Source};

/// The row alone.
pub(super) fn row(e: &Event, options: Options<'_>, b: &mut Builder) {
    b.lit("{");
    columns(&e.data, &e.missing, b);
    extras(options, b);
    b.lit("}");
}

/// One member of `records`.
pub(super) fn eventhub(source: &Source, e: &Event, options: Options<'_>, b: &mut Builder) {
    b.lit("{\"time\":\"");
    b.value(&field(Field::TimeRelease, "iso:7"), false, Esc::Json, "");
    b.lit("\",\"tenantId\":\"");
    b.value(&source.tenant, false, Esc::Json, "");
    b.lit("\",\"operationName\":\"Publish\",\"category\":\"");
    b.text(Esc::Json, &source.category);
    b.lit("\",\"_TimeReceivedBySvc\":\"");
    b.value(&field(Field::TimeWrite, "iso:7"), false, Esc::Json, "");
    b.lit("\",\"properties\":{");
    columns(&e.data, &e.missing, b);
    extras(options, b);
    b.lit("},\"Tenant\":\"DefaultTenant\"}");
}

fn columns(all: &[Column], missing: &str, b: &mut Builder) {
    for (i, c) in all.iter().enumerate() {
        let mut head = vec![];
        head.extend_from_slice(if i == 0 { b"\"" } else { b",\"" });
        crate::source::escape::text(Esc::Json, c.name.as_bytes(), &mut head);
        head.extend_from_slice(b"\":");
        let head = String::from_utf8(head).unwrap_or_default();
        match (&c.value, c.optional) {
            (Shape::One(e), true) => b.optional_typed(&head, e),
            (v, _) => {
                b.lit(&head);
                shape(v, missing, b);
            }
        }
    }
}

fn shape(v: &Shape, missing: &str, b: &mut Builder) {
    match v {
        Shape::One(e) => b.typed(e, missing),
        Shape::Object(all) => {
            b.lit("{");
            columns(all, missing, b);
            b.lit("}");
        }
        Shape::Array(all) => {
            b.lit("[");
            for (i, v) in all.iter().enumerate() {
                if i > 0 {
                    b.lit(",");
                }
                shape(v, missing, b);
            }
            b.lit("]");
        }
    }
}
