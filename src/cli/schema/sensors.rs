//! Schemas of sources and sensor policies.

use serde_json::{Value, json};

use super::language::{names_to, object, some, text};
use crate::activity::Kind;
use crate::source::{Encoding, Hash, PowerShellLog, Subcategory, SysmonRule};

fn document(title: &str, body: Value) -> Value {
    let mut v = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title});
    v.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
    v
}

/// `source:`
pub(super) fn source() -> Value {
    let kinds: Vec<&str> = Kind::ALL.iter().map(|k| k.name()).collect();
    let encodings: Vec<&str> = Encoding::ALL.iter().map(|e| e.name()).collect();
    let product = object(
        json!({"name": text(), "guid": text(), "event_source": text(), "display": text(), "version": text()}),
        &[],
    );
    let delay = json!({"anyOf": [
        {"type": "string"},
        object(json!({"range": {"type": "string"}}), &["range"]),
        object(json!({"lognormal": object(json!({"median": {"type": "string"}, "p99": {"type": "string"}}), &["median", "p99"])}), &["lognormal"]),
    ]});
    let execution = object(json!({"process": text(), "thread": text()}), &["process", "thread"]);
    let user = object(json!({"sid": text(), "name": text(), "domain": text(), "type": text()}), &["sid"]);
    let event = object(
        json!({
            "on": some(json!({"enum": kinds})), "id": text(), "when": text(), "version": text(), "level": text(), "task": text(),
            "opcode": text(), "opcode_name": text(), "qualifiers": {"type": "integer", "minimum": 0}, "keywords": text(),
            "audit": text(), "category": text(), "product": product, "missing": text(),
            "data": some(names_to(json!({}))), "message": text(),
            "user_data": object(json!({"element": text(), "xmlns": text()}), &["element", "xmlns"]),
            "unnamed": {"type": "boolean"}, "binary": text(), "write_after": delay, "execution": execution, "user": user,
            "correlation": text(),
        }),
        &["on", "id"],
    );
    let mut body = object(
        json!({
            "source": {"type": "string", "pattern": r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"},
            "platform": {"enum": ["windows", "linux", "cloud", "network"]},
            "product": product, "channel": text(), "category": text(), "computer": text(), "tenant": text(),
            "encodings": some(json!({"enum": encodings})), "write_after": delay, "execution": execution, "user": user,
            "correlation": text(), "key": some(text()), "missing": text(), "tables": names_to(names_to(json!({"anyOf": [text(), {"type": "array", "items": text(), "minItems": 2, "maxItems": 2}]}))),
            "events": {"type": "array", "items": event},
        }),
        &["source", "platform", "encodings", "key", "events"],
    );
    body["patternProperties"] = json!({"^x-": {}});
    document("a source of skirmish (docs/sources.md)", body)
}

/// `policy:`
pub(super) fn policy() -> Value {
    let conditions = || some(json!({"type": "string"}));
    let selection = json!({"anyOf": [
        {"enum": ["all", "none"]},
        object(json!({"include": conditions(), "exclude": conditions()}), &[]),
    ]});
    let rules: serde_json::Map<String, Value> =
        SysmonRule::ALL.iter().map(|r| (r.name().to_owned(), selection.clone())).collect();
    let hashes: Vec<&str> = Hash::ALL.iter().map(|h| h.name()).collect();
    let logs: Vec<&str> = PowerShellLog::ALL.iter().map(|l| l.name()).collect();
    let outcome = json!({"enum": ["success", "failure", "both", "none"]});
    let mut audit: serde_json::Map<String, Value> =
        Subcategory::ALL.iter().map(|s| (s.name().to_owned(), outcome.clone())).collect();
    audit.insert("all".into(), outcome);
    audit.insert("command_line".into(), json!({"type": "boolean"}));
    let body = object(
        json!({
            "policy": text(), "about": text(),
            "sysmon": object(json!({"hashes": some(json!({"enum": hashes})), "rules": object(Value::Object(rules), &[])}), &["hashes", "rules"]),
            "audit": object(Value::Object(audit), &[]),
            "sacl": conditions(), "powershell": some(json!({"enum": logs})),
        }),
        &["policy", "about"],
    );
    document("a sensor policy of skirmish (docs/sources.md)", body)
}
