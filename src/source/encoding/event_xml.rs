//! Windows event XML, with RenderingInfo (what Windows Event Forwarding sends as RenderedText) or without. Attributes stand in
//! apostrophes and text keeps its quotes, as the event log renders it.

use super::{field, level_name, message};
use crate::activity::Field;
use crate::source::compile::Builder;
use crate::source::escape::Esc;
use crate::source::{Event, Shape, Source};

fn attribute(name: &str, value: &str, b: &mut Builder) {
    b.lit(" ");
    b.lit(name);
    b.lit("='");
    b.text(Esc::XmlAttribute, value);
    b.lit("'");
}

fn element(name: &str, value: &str, b: &mut Builder) {
    b.lit(&format!("<{name}>"));
    b.text(Esc::Xml, value);
    b.lit(&format!("</{name}>"));
}

pub(super) fn build(source: &Source, e: &Event, rendered: bool, b: &mut Builder) {
    let h = &e.head;
    b.lit("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider");
    attribute("Name", &e.product.name, b);
    if let Some(g) = &e.product.guid {
        attribute("Guid", g, b);
    }
    if let Some(s) = &e.product.event_source {
        attribute("EventSourceName", s, b);
    }
    b.lit("/><EventID");
    if let Some(q) = h.qualifiers {
        attribute("Qualifiers", &q.to_string(), b);
    }
    b.lit(&format!(
        ">{}</EventID><Version>{}</Version><Level>{}</Level><Task>{}</Task><Opcode>{}</Opcode><Keywords>0x{:x}</Keywords>",
        h.id, h.version, h.level, h.task, h.opcode, h.keywords
    ));
    b.lit("<TimeCreated SystemTime='");
    b.value(&field(Field::TimeWrite, "iso:7"), false, Esc::Xml, "");
    b.lit("'/><EventRecordID>");
    b.value(&field(Field::RecordId, "dec"), false, Esc::Xml, "0");
    b.lit("</EventRecordID>");
    match e.correlation {
        Some(f) => {
            b.lit("<Correlation");
            b.optional(" ActivityID='", &field(f, "guid"), Esc::Xml, None, "'", false);
            b.lit("/>");
        }
        None => b.lit("<Correlation/>"),
    }
    if let Some((process, thread)) = &e.execution {
        b.lit("<Execution ProcessID='");
        b.value(process, false, Esc::XmlAttribute, "0");
        b.lit("' ThreadID='");
        b.value(thread, false, Esc::XmlAttribute, "0");
        b.lit("'/>");
    }
    element("Channel", &source.channel, b);
    b.lit("<Computer>");
    b.value(&source.computer, false, Esc::Xml, "");
    b.lit("</Computer><Security");
    if let Some(u) = &e.user {
        b.optional(" UserID='", &u.sid, Esc::XmlAttribute, None, "'", true);
    }
    b.lit("/></System>");
    data(e, b);
    if let Some(parts) = e.message.as_ref().filter(|_| rendered) {
        b.lit("<RenderingInfo Culture='en-US'><Message>");
        message(parts, Esc::Xml, "\r\n", &e.missing, b);
        b.lit("</Message>");
        element("Level", level_name(h.level), b);
        element("Task", h.category.as_deref().unwrap_or(""), b);
        element("Opcode", &h.opcode_name, b);
        element("Channel", &source.channel, b);
        element("Provider", e.product.display.as_deref().unwrap_or(""), b);
        b.lit("<Keywords>");
        if let Some(success) = h.audit {
            element("Keyword", if success { "Audit Success" } else { "Audit Failure" }, b);
        }
        b.lit("</Keywords></RenderingInfo>");
    }
    b.lit("</Event>");
}

fn data(e: &Event, b: &mut Builder) {
    if let Some((name, xmlns)) = &e.user_data {
        b.lit(&format!("<UserData><{name}"));
        attribute("xmlns", xmlns, b);
        b.lit(">");
        for c in &e.data {
            if let Shape::One(v) = &c.value {
                b.lit(&format!("<{}>", c.name));
                b.value(v, false, Esc::Xml, &e.missing);
                b.lit(&format!("</{}>", c.name));
            }
        }
        return b.lit(&format!("</{name}></UserData>"));
    }
    if e.data.is_empty() && e.binary.is_none() {
        return b.lit("<EventData></EventData>");
    }
    b.lit("<EventData>");
    for c in &e.data {
        if let Shape::One(v) = &c.value {
            b.lit("<Data");
            if !e.unnamed {
                attribute("Name", &c.name, b);
            }
            b.lit(">");
            b.value(v, false, Esc::Xml, &e.missing);
            b.lit("</Data>");
        }
    }
    if let Some(binary) = &e.binary {
        b.lit("<Binary>");
        b.value(binary, false, Esc::Xml, "");
        b.lit("</Binary>");
    }
    b.lit("</EventData>");
}
