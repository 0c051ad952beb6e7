//! Schemas of the language: scenarios, effects, personas, background. Built from the same tables as the loaders, so that
//! an action or an activity that is added is in the schema.

use serde_json::{Map, Value, json};

use crate::activity::Kind;
use crate::effect::action::{self, INTEGRITIES};

/// A mapping with these keys and no others.
pub(super) fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// What a plain YAML scalar may be read as by a generic parser.
pub(super) fn text() -> Value {
    json!({"type": ["string", "number", "boolean"]})
}

/// One, or a list of them.
pub(super) fn some(item: Value) -> Value {
    json!({"anyOf": [item.clone(), {"type": "array", "items": item}]})
}

/// A mapping from any name.
pub(super) fn names_to(value: Value) -> Value {
    json!({"type": "object", "additionalProperties": value})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn document(title: &str, body: Value) -> Value {
    let mut v = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$defs": definitions(),
    });
    v.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
    v
}

fn definitions() -> Value {
    let span = r"^-?[0-9][0-9._]*(ns|us|ms|s|m|h|d|w)?(\.\.[0-9][0-9._]*(ns|us|ms|s|m|h|d|w))?$";
    let lognormal = |of: Value| {
        object(json!({"lognormal": object(json!({"median": of, "p99": of}), &["median", "p99"])}), &["lognormal"])
    };
    json!({
        "text": text(),
        "flag": {"type": "boolean"},
        "duration": {"description": "3s, 2s..9s or {lognormal: {median: 4m, p99: 40m}}",
            "anyOf": [{"type": "string", "pattern": span}, lognormal(json!({"type": "string", "pattern": span}))]},
        "wait": {"description": "a duration, or one with captures in it",
            "anyOf": [{"type": "string", "pattern": format!("{span}|\\{{")}, lognormal(json!({"type": "string", "pattern": span}))]},
        "count": {"description": "3, 2..4 or {lognormal: {median: 5, p99: 60}}",
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9_]+(\.\.[0-9_]+)?$"}, lognormal(json!({"type": "number"}))]},
        "share": {"description": "30% or 0.3",
            "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": r"^[0-9.]+ ?%$"}]},
        "condition": {"type": "string", "description": "a == 'x' and not b"},
        "step": step(),
        "action": {"anyOf": [{"type": "string"}, action_mapping()]},
        "actions": {"anyOf": [reference("action"), {"type": "array", "items": reference("action")}]},
        "cast": cast(),
        "vars": names_to(var()),
        "habit": habit(),
    })
}

fn cast() -> Value {
    let one = |key: &str, value: Value| object(json!({key: value}), &[key]);
    let nothing = json!({"type": "null"});
    names_to(json!({"anyOf": [
        object(json!({"host": text(), "persona": text()}), &["host"]),
        object(json!({"hosts": text(), "take": {"type": ["string", "integer"], "pattern": r"^[1-9][0-9]*(\.\.[1-9][0-9]*)?$"}, "reach": text()}), &["hosts"]),
        one("user_of", text()),
        one("user", text()),
        one("dc_of", text()),
        one("new_account", text()),
        one("domain_admin", nothing.clone()),
        one("service_account", nothing),
    ]}))
}

fn var() -> Value {
    let one = |key: &str, value: Value| object(json!({key: value}), &[key]);
    let nothing = json!({"type": "null"});
    json!({"anyOf": [
        text(),
        one("choice", json!({"anyOf": [names_to(json!({"type": "integer", "minimum": 0})), {"type": "array", "items": text()}]})),
        one("number", json!({"type": ["string", "integer"], "pattern": r"^-?[0-9_]+(\.\.-?[0-9_]+)?$"})),
        one("domain", json!({"anyOf": [{"enum": ["random", "lookalike", "dga"]}, nothing.clone()]})),
        one("address", nothing.clone()),
        one("url", text()),
        one("document", text()),
        one("name", text()),
        one("word", text()),
        one("password", nothing.clone()),
        one("hex", json!({"type": "integer", "minimum": 1, "maximum": 255})),
        one("guid", nothing),
        object(json!({"script": text(), "with": names_to(text())}), &["script"]),
    ]})
}

/// Fields of a step that are no actions.
fn step_fields() -> Map<String, Value> {
    let v = json!({
        "id": text(),
        "technique": {"type": "string", "pattern": r"^T[0-9]{4}(\.[0-9]{3})?$"},
        "tactic": {"type": "string", "pattern": "^[a-z-]+$"},
        "actor": {"type": "string", "pattern": "^[^@]+@[^@]+$"},
        "host": text(),
        "account": text(),
        "parent": text(),
        "elevated": reference("flag"),
        "directory": text(),
        "name": text(),
        "names": names_to(text()),
        "needs": some(text()),
        "after": reference("duration"),
        "between": {"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2}$"},
        "repeat": reference("count"),
        "gap": reference("duration"),
        "chance": reference("share"),
        "if": reference("condition"),
        "each": text(),
        "as": text(),
        "parallel": reference("flag"),
        "wait": reference("flag"),
        "play": text(),
        "with": names_to(text()),
        "run": some(text()),
        "actions": reference("actions"),
    });
    v.as_object().expect("an object").clone()
}

fn step() -> Value {
    let mut all = step_fields();
    for (name, value) in actions() {
        all.entry(name).or_insert(value);
    }
    object(Value::Object(all), &["id"])
}

fn habit() -> Value {
    let mut all = step_fields();
    let more = json!({
        "per_day": {"type": "number", "exclusiveMinimum": 0},
        "per_hour": {"type": "number", "exclusiveMinimum": 0},
        "every": {"type": "string", "description": "at least 1s"},
        "jitter": {"type": "string"},
        "at_logon": reference("flag"),
        "cast": reference("cast"),
        "vars": reference("vars"),
        "scripts": names_to(text()),
        "steps": {"type": "array", "items": reference("step")},
    });
    all.extend(more.as_object().expect("an object").clone());
    for (name, value) in actions() {
        all.entry(name).or_insert(value);
    }
    object(Value::Object(all), &["id"])
}

/// What modifies any action.
fn common() -> Map<String, Value> {
    let v =
        json!({"by": text(), "after": reference("wait"), "chance": reference("share"), "if": reference("condition")});
    v.as_object().expect("an object").clone()
}

/// An action's own mapping, in which its modifiers may stand too.
fn with_common(own: Value, required: &[&str]) -> Value {
    let mut all = common();
    all.extend(own.as_object().expect("an object").clone());
    object(Value::Object(all), required)
}

/// Every action: its name and what it takes.
fn actions() -> Map<String, Value> {
    let mut all = Map::new();
    for name in action::names() {
        all.insert(name.to_owned(), action_value(name));
    }
    all
}

fn action_value(name: &str) -> Value {
    let acts = || reference("actions");
    let or_text = |v: Value| json!({"anyOf": [text(), v]});
    match name {
        "run" => or_text(with_common(
            json!({"command": text(), "parent": text(), "as": text(), "elevated": reference("flag"), "name": text(),
                "directory": text(), "wait": reference("flag"), "shell": {"enum": ["cmd", "powershell"]},
                "integrity": {"enum": INTEGRITIES.iter().map(|(w, _)| *w).collect::<Vec<_>>()}}),
            &["command"],
        )),
        "process.access" => with_common(
            json!({"target": text(), "granted": {"type": ["string", "integer"]}, "trace": text()}),
            &["target"],
        ),
        "process.inject" => with_common(json!({"target": text(), "function": text(), "module": text()}), &["target"]),
        "end" => {
            or_text(with_common(json!({"process": text(), "code": {"type": "integer", "minimum": 0}}), &["process"]))
        }
        "connect" => with_common(
            json!({"to": text(), "port": {"type": ["integer", "string"], "minimum": 1, "maximum": 65535}, "udp": reference("flag"),
                "out": reference("count"), "in": reference("count"), "server": text(), "logon": reference("flag")}),
            &["to"],
        ),
        "resolve" => or_text(with_common(json!({"name": text(), "exists": reference("flag")}), &["name"])),
        "ticket" => {
            let results: Vec<&str> = action::TICKETS.iter().map(|(w, _)| *w).collect();
            let of = json!({"service": text(), "spn": text(), "tgt": text(), "every": reference("flag"),
                "forward": reference("flag"), "rc4": reference("flag"), "result": {"enum": results}});
            with_common(of, &[])
        }
        "logon" => with_common(
            json!({"host": text(), "account": text(), "type": {"enum": [2, 3, 4, 5, 7, 8, 9, 10, 11]},
                "result": {"enum": action::results()}, "ntlm": reference("flag"), "explicit": reference("flag"),
                "hold": reference("duration"), "do": acts()}),
            &[],
        ),
        "share" => with_common(
            json!({"host": text(), "account": text(), "explicit": reference("flag"), "do": acts()}),
            &["host"],
        ),
        "logoff" => json!({"type": "null"}),
        "remote" => object(
            json!({"host": text(), "by": text(), "after": reference("wait"), "do": acts()}),
            &["host", "by", "do"],
        ),
        "repeat" => {
            object(json!({"times": reference("count"), "gap": reference("duration"), "do": acts()}), &["times", "do"])
        }
        "chance" => object(json!({"share": reference("share"), "do": acts(), "else": acts()}), &["share", "do"]),
        "choose" => {
            json!({"type": "array", "items": object(json!({"weight": {"type": "integer", "minimum": 0}, "do": acts()}), &["do"])})
        }
        "fork" => json!({"anyOf": [acts(), object(json!({"do": acts()}), &["do"])]}),
        "files" => with_common(
            json!({"count": reference("count"), "gap": reference("duration"), "place": {"enum": ["documents", "data"]}, "do": acts()}),
            &["count", "do"],
        ),
        "files.rewrite" => with_common(
            json!({"count": reference("count"), "gap": reference("duration"), "place": {"enum": ["documents", "data"]}, "ext": text()}),
            &["count", "ext"],
        ),
        "wait" => reference("wait"),
        other => {
            let kind = Kind::parse(other).expect("an action is a verb or an activity");
            let own: Map<String, Value> = kind.args().iter().map(|(n, _)| ((*n).to_owned(), text())).collect();
            json!({"anyOf": [with_common(Value::Object(own), &[]), {"type": "null"}]})
        }
    }
}

/// A mapping with one action and its modifiers.
fn action_mapping() -> Value {
    let mut all = actions();
    for (name, value) in common() {
        match all.get_mut(&name) {
            // `chance` is both
            Some(own) => *own = json!({"anyOf": [own.clone(), value]}),
            None => {
                all.insert(name, value);
            }
        }
    }
    object(Value::Object(all), &[])
}

/// `scenario:`, and `script:` beside it.
pub(super) fn scenario() -> Value {
    let kinds: Vec<&str> = Kind::ALL.iter().map(|k| k.name()).collect();
    let expect = format!("^({}) *>= *[0-9]+$", kinds.join("|").replace('.', r"\."));
    let scenario = object(
        json!({
            "scenario": text(), "name": text(), "description": text(), "attack": reference("flag"),
            "cast": reference("cast"), "vars": reference("vars"), "scripts": names_to(text()),
            "steps": {"type": "array", "items": reference("step")},
            "expect": some(json!({"type": "string", "pattern": expect})),
        }),
        &["scenario", "steps"],
    );
    let script = object(json!({"script": text(), "text": text(), "description": text()}), &["script", "text"]);
    document("a scenario of skirmish (docs/language.md)", json!({"anyOf": [scenario, script]}))
}

/// `effect:`
pub(super) fn effect() -> Value {
    let words = || some(text());
    let number = || json!({"type": "integer", "minimum": 0});
    let leaf = json!({"anyOf": [{"type": "string"}, names_to(json!({"anyOf": [names_to(text()), {"type": "null"}]}))]});
    let body = object(
        json!({
            "effect": text(), "description": text(), "also": reference("flag"), "why": text(),
            "match": object(json!({
                "platform": {"enum": ["windows"]}, "image": words(), "cmdlet": words(),
                "args": object(json!({
                    "has": words(), "any": words(), "none": words(), "position": names_to(words()), "regex": words(),
                    "empty": reference("flag"),
                }), &[]),
            }), &[]),
            "args": object(json!({
                "style": {"enum": ["slash", "dash", "equals", "words"]},
                "take": names_to(text()), "flags": names_to(text()), "default": names_to(text()),
            }), &[]),
            "let": names_to(json!({"anyOf": [text(), {"type": "array", "items":
                {"anyOf": [text(), object(json!({"if": reference("condition"), "is": text()}), &["if", "is"]),
                    object(json!({"if": reference("condition"), "written": text(), "value": text()}), &["written"])]}}]})),
            "on": {"anyOf": [text(), object(json!({"host": text()}), &["host"])]},
            "needs": some(object(json!({
                "elevated": {"anyOf": [reference("flag"), reference("condition")]},
                "that": reference("condition"), "if": reference("condition"),
                "else": object(json!({"exit": number(), "after": reference("wait"), "does": reference("actions")}), &[]),
            }), &[])),
            "does": reference("actions"), "prints": {"type": "array", "items": text()},
            "exit": {"anyOf": [{"enum": ["never"]}, number(), object(json!({"code": number(), "after": reference("wait")}), &[])]},
            "tests": some(object(json!({
                "run": text(), "leaves": some(leaf.clone()), "not": some(leaf), "exit": number(), "elevated": reference("flag"),
            }), &["run"])),
        }),
        &["effect", "match"],
    );
    document("an effect of skirmish (docs/language.md)", body)
}

/// `persona:`, `role:` and `program:` with their habits.
pub(super) fn persona() -> Value {
    let habits = json!({"type": "array", "items": reference("habit")});
    let share = || reference("share");
    let hours = json!({"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2}$"});
    let persona = object(
        json!({
            "persona": text(), "description": text(), "share": share(), "habits": habits,
            "hours": hours, "lunch": hours, "home": share(), "evening": share(),
            "presence": object(json!({"weekday": share(), "saturday": share(), "sunday": share()}), &[]),
            "night": share(), "departments": names_to(json!({"type": "integer", "minimum": 0})),
            "admin": reference("flag"), "local_admin": reference("flag"),
        }),
        &["persona", "share"],
    );
    let holder = |key: &str| {
        object(
            json!({key: text(), "description": text(), "habits": {"type": "array", "items": reference("habit")}}),
            &[key, "habits"],
        )
    };
    document(
        "a persona, role or program with habits (docs/language.md)",
        json!({"anyOf": [persona, holder("role"), holder("program")]}),
    )
}

/// `background:`
pub(super) fn background() -> Value {
    let entry = object(
        json!({"by": text(), "per_hour": {"type": "number", "exclusiveMinimum": 0}, "every": text(), "do": reference("actions"), "description": text()}),
        &["by", "do"],
    );
    let body = object(json!({"background": {"type": "array", "items": entry}}), &["background"]);
    document("what programs do all the time (docs/language.md)", body)
}
