//! Encodings: the envelopes records travel in, one file each.

mod defender;
mod event_xml;
mod nxlog;
mod winlogbeat;

use super::compile::{Builder, Options};
use super::escape::Esc;
use super::{Event, Part, Source};
use crate::activity::Field;

/// An envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Windows event XML with its rendered texts.
    EventXml,
    /// Windows event XML without them.
    EventXmlPlain,
    /// JSON as Winlogbeat 8 writes it.
    Winlogbeat,
    /// Flat JSON as NXLog writes it.
    Nxlog,
    /// A row of a Defender table as a JSON object.
    DefenderRow,
    /// Defender's streaming to an Event Hub.
    DefenderEventhub,
}

impl Encoding {
    /// All of them.
    pub const ALL: &'static [Encoding] = &[
        Encoding::EventXml,
        Encoding::EventXmlPlain,
        Encoding::Winlogbeat,
        Encoding::Nxlog,
        Encoding::DefenderRow,
        Encoding::DefenderEventhub,
    ];
    /// As written in files.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::EventXml => "event_xml",
            Encoding::EventXmlPlain => "event_xml_plain",
            Encoding::Winlogbeat => "winlogbeat",
            Encoding::Nxlog => "nxlog",
            Encoding::DefenderRow => "defender_row",
            Encoding::DefenderEventhub => "defender_eventhub",
        }
    }
    /// What it is.
    pub const fn doc(self) -> &'static str {
        match self {
            Encoding::EventXml => {
                "Windows event XML as Windows Event Forwarding sends it with RenderedText (and `wevtutil qe /f:RenderedXml` prints it): System, EventData, RenderingInfo with the message; line ends are character references, so that a record is one line. No static fields, no labels"
            }
            Encoding::EventXmlPlain => {
                "the same without RenderingInfo, as the log itself holds it: forwarding with content format Events, `wevtutil qe /f:xml`, agents that render XML. No static fields, no labels"
            }
            Encoding::Winlogbeat => {
                "JSON as Winlogbeat 8 puts it on Kafka: `@timestamp`, `@metadata`, `agent`, `ecs`, `event`, `host` with what `add_host_metadata` of the default configuration adds, `log`, `message`, `winlog` with `event_data`; empty values are left out, CR LF becomes LF"
            }
            Encoding::Nxlog => {
                "flat JSON as NXLog's im_msvistalog and to_json() write it, collector on UTC; empty values are left out, event data keep the XML entities of the rendered event, a data field `EventType` replaces NXLog's own, any other data field named like an envelope field is lost, and so are UserData"
            }
            Encoding::DefenderRow => "the columns of the advanced hunting table as one JSON object",
            Encoding::DefenderEventhub => {
                "`{\"records\":[{time, tenantId, operationName, category, properties, Tenant}]}`, several rows a message"
            }
        }
    }
    /// The encoding of that name.
    pub fn parse(name: &str) -> Option<Encoding> {
        Encoding::ALL.iter().copied().find(|e| e.name() == name)
    }
    /// Rows of JSON, whose data may nest.
    pub const fn is_row(self) -> bool {
        matches!(self, Encoding::DefenderRow | Encoding::DefenderEventhub)
    }
    /// Records of a Windows event log.
    pub const fn is_event_log(self) -> bool {
        matches!(self, Encoding::EventXml | Encoding::EventXmlPlain | Encoding::Winlogbeat | Encoding::Nxlog)
    }
    /// Several records travel in one message.
    pub const fn is_batch(self) -> bool {
        matches!(self, Encoding::DefenderEventhub)
    }
    /// What begins a message, stands between two records, ends it.
    pub const fn frame(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Encoding::DefenderEventhub => ("{\"records\":[", ",", "]}"),
            _ => ("", "", ""),
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The encodings as a markdown table.
pub fn document() -> String {
    let rows: String = Encoding::ALL.iter().map(|e| format!("| `{e}` | {} |\n", e.doc())).collect();
    format!("| encoding | what |\n|---|---|\n{rows}")
}

/// Lays out one event.
pub(super) fn build(encoding: Encoding, source: &Source, event: &Event, options: Options<'_>, b: &mut Builder) {
    match encoding {
        Encoding::EventXml => event_xml::build(source, event, true, b),
        Encoding::EventXmlPlain => event_xml::build(source, event, false, b),
        Encoding::Winlogbeat => winlogbeat::build(source, event, options, b),
        Encoding::Nxlog => nxlog::build(source, event, options, b),
        Encoding::DefenderRow => defender::row(event, options, b),
        Encoding::DefenderEventhub => defender::eventhub(source, event, options, b),
    }
}

/// The name of a level as the event log renders it.
const fn level_name(level: u32) -> &'static str {
    match level {
        1 => "Critical",
        2 => "Error",
        3 => "Warning",
        5 => "Verbose",
        _ => "Information",
    }
}

/// The message, its template's line ends as given.
fn message(parts: &[Part], esc: Esc, line_end: &str, missing: &str, b: &mut Builder) {
    for part in parts {
        match part {
            Part::Text(t) if line_end == "\n" => b.text(esc, t),
            Part::Text(t) => b.text(esc, &t.replace('\n', line_end)),
            Part::Value(e) => b.value(e, true, esc, missing),
        }
    }
}

/// `,"name":value` for each static field, and the labels.
fn extras(options: Options<'_>, b: &mut Builder) {
    for (name, value) in options.fields {
        b.lit(",\"");
        b.text(Esc::Json, name);
        b.lit("\":");
        b.lit(&value.to_string());
    }
    if options.labels {
        b.lit(",\"truth.attack\":");
        b.typed(&field(Field::TruthAttack, "boolean"), "");
        b.optional_typed(",\"truth.scenario\":", &field(Field::TruthScenario, ""));
        b.optional_typed(",\"truth.technique\":", &field(Field::TruthTechnique, ""));
    }
}

/// A field through a formatter; both are ours and fit.
fn field(f: Field, formatter: &str) -> super::expr::Expr {
    use super::expr::{Expr, Names, Parser};
    let text = if formatter.is_empty() { f.name().to_owned() } else { format!("{f} | {formatter}") };
    Parser::expression(&text, &mut Names::default()).unwrap_or(Expr::Or(vec![]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for e in Encoding::ALL {
            assert_eq!(Encoding::parse(e.name()), Some(*e));
            assert_eq!(e.is_row(), !e.is_event_log());
        }
    }
}
