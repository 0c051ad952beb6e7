//! `skirmish schema`: JSON Schema for editors.

mod language;
mod sensors;

use std::io::Write;

use serde_json::Value;

/// Documents that have a schema.
pub const KINDS: [&str; 7] = ["config", "scenario", "effect", "persona", "background", "source", "policy"];

/// The schema of a kind of document; none for an unknown kind.
pub fn schema(kind: &str) -> Option<Value> {
    Some(match kind {
        // written by hand, and held against the loader by its tests
        "config" => serde_json::from_str(include_str!("../../config/config.schema.json")).expect("JSON"),
        "scenario" => language::scenario(),
        "effect" => language::effect(),
        "persona" => language::persona(),
        "background" => language::background(),
        "source" => sensors::source(),
        "policy" => sensors::policy(),
        _ => return None,
    })
}

/// Arguments of `schema`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// config, scenario, effect, persona (also role and program), background, source or policy
    kind: String,
}

impl Args {
    pub(crate) fn run(self) -> super::Outcome {
        let Some(schema) = schema(&self.kind) else {
            let mut p = crate::yaml::Problems::new();
            let near = crate::yaml::suggest(&self.kind, KINDS);
            p.plain(format!("unknown schema `{}`", self.kind)).help(near);
            return Err(p.into());
        };
        let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        writeln!(std::io::stdout(), "{text}").map_err(anyhow::Error::from)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::TEMPLATES;
    use crate::config::{Config, Layers, document_json, to_json};
    use crate::yaml;
    use serde_json::{Map, Value, json};
    use std::path::Path;

    fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(r) => root.pointer(&r[1..]).unwrap_or_else(|| panic!("no {r}")),
            None => schema,
        }
    }

    /// What the schema uses of JSON Schema. Returns what is wrong with `v` at `at`.
    fn check(root: &Value, schema: &Value, v: &Value, at: &str) -> Result<(), String> {
        let s = resolve(root, schema);
        let wrong = |what: &str| Err(format!("{at}: {v} {what}"));
        if let Some(any) = s.get("anyOf").and_then(Value::as_array) {
            let tries: Vec<_> = any.iter().map(|s| check(root, s, v, at)).collect();
            if tries.iter().all(Result::is_err) {
                return wrong(&format!("is none of {tries:?}"));
            }
        }
        if s.get("const").is_some_and(|c| c != v) || s.get("enum").is_some_and(|e| !e.as_array().unwrap().contains(v)) {
            return wrong("is another value");
        }
        let is = |t: &str| match t {
            "object" => v.is_object(),
            "array" => v.is_array(),
            "string" => v.is_string(),
            "boolean" => v.is_boolean(),
            "integer" => v.is_i64() || v.is_u64(),
            "number" => v.is_number(),
            "null" => v.is_null(),
            other => panic!("type {other}"),
        };
        let typed = match s.get("type") {
            None => true,
            Some(Value::Array(all)) => all.iter().any(|t| is(t.as_str().unwrap())),
            Some(t) => is(t.as_str().unwrap()),
        };
        if !typed {
            return wrong(&format!("is not {}", s["type"]));
        }
        if let (Some(p), Some(t)) = (s.get("pattern").and_then(Value::as_str), v.as_str())
            && !regex::Regex::new(p).unwrap().is_match(t)
        {
            return wrong(&format!("is not like {p}"));
        }
        if let Some(n) = v.as_f64() {
            let bound = |k: &str| s.get(k).and_then(Value::as_f64);
            let below = bound("minimum").is_some_and(|m| n < m) || bound("exclusiveMinimum").is_some_and(|m| n <= m);
            if below || bound("maximum").is_some_and(|m| n > m) {
                return wrong("is out of range");
            }
        }
        for item in v.as_array().into_iter().flatten() {
            check(root, s.get("items").unwrap_or(&Value::Null), item, at)?;
        }
        let Some(map) = v.as_object() else { return Ok(()) };
        for name in s.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !map.contains_key(name.as_str().unwrap()) {
                return wrong(&format!("lacks {name}"));
            }
        }
        for (k, v) in map {
            let at = format!("{at}.{k}");
            let like = s.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
            let like = like.into_iter().find(|(p, _)| regex::Regex::new(p).unwrap().is_match(k)).map(|(_, s)| s);
            match (s.get("properties").and_then(|p| p.get(k)).or(like), s.get("additionalProperties")) {
                (Some(s), _) => check(root, s, v, &at)?,
                (None, Some(Value::Bool(false))) => return Err(format!("{at}: unknown")),
                (None, Some(s)) => check(root, s, v, &at)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn examples() -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut all: Vec<_> = TEMPLATES.iter().map(|(name, _, text)| (name.to_string(), text.to_string())).collect();
        for folder in ["config", "examples"] {
            let mut paths: Vec<_> = std::fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
            paths.sort();
            for p in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "yaml")) {
                all.push((p.display().to_string(), std::fs::read_to_string(p).unwrap()));
            }
        }
        // every whole configuration of the reference
        let reference = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
        for (i, block) in reference.split("```yaml\n").skip(1).enumerate() {
            all.push((format!("docs/configuration.md block {i}"), block.split("```").next().unwrap().into()));
        }
        all
    }

    #[test]
    fn every_example_is_valid_by_the_schema_and_the_loader() {
        let root = schema("config").unwrap();
        let all = examples();
        assert!(all.len() > 12, "{}", all.len());
        for (name, text) in all {
            let name: &'static str = Box::leak(name.into_boxed_str());
            let text: &'static str = Box::leak(text.into_boxed_str());
            let mut layers = Layers { base: vec![(name, text)], ..Layers::default() };
            if name.ends_with("run-kafka.yaml") {
                // lies over run.yaml and gets its brokers from the command line
                layers = Layers::default().or_run(Some("localhost:9092"));
            }
            let tree = layers.merge().unwrap_or_else(|e| panic!("{e}"));
            check(&root, &root, &to_json(&tree, ""), name).unwrap_or_else(|e| panic!("{e}"));
            if cfg!(feature = "kafka") || !text.contains("kafka: {") && !text.contains("    kafka:\n") {
                Config::load(&layers).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
    }

    /// Every document that is shipped, by the schema that it should satisfy.
    fn shipped() -> Vec<(&'static str, yaml::Node)> {
        let data = crate::data::Data::load(&[]).unwrap_or_else(|e| panic!("{e}"));
        let world = data.world.into_iter().filter(|n| n.get("background").is_some());
        let all = [
            ("scenario", data.scenarios),
            ("effect", data.effects),
            ("persona", data.personas),
            ("background", world.collect()),
            ("source", data.sources),
            ("policy", data.policies),
        ];
        all.into_iter().flat_map(|(k, nodes)| nodes.into_iter().filter(|n| !n.is_null()).map(move |n| (k, n))).collect()
    }

    #[test]
    fn every_shipped_document_is_valid_by_its_schema() {
        let schemas: std::collections::BTreeMap<&str, Value> = KINDS.map(|k| (k, schema(k).unwrap())).into();
        let mut seen = std::collections::BTreeMap::<&str, usize>::new();
        let mut wrong = vec![];
        for (kind, node) in shipped() {
            // a script may stand beside anything; it has the scenario's schema
            let kind = if node.get("script").is_some() { "scenario" } else { kind };
            *seen.entry(kind).or_default() += 1;
            let (line, _) = node.file.line_col(node.at.start);
            let at = format!("{}:{line}", node.file.name);
            wrong.extend(check(&schemas[kind], &schemas[kind], &document_json(&node), &at).err());
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(seen.len() == KINDS.len() - 1 && seen["effect"] > 100, "{seen:?}");
    }

    /// What a loader refuses as an unknown field, the schema refuses too, anywhere in a document.
    #[test]
    fn a_key_too_many_is_refused_by_every_schema() {
        let mut refused = 0;
        for (kind, node) in shipped() {
            if node.get("script").is_some() {
                continue;
            }
            let root = schema(kind).unwrap();
            let mut whole = document_json(&node);
            assert!(check(&root, &root, &whole, kind).is_ok());
            whole.as_object_mut().unwrap().insert("zzzz".into(), json!(1));
            assert!(check(&root, &root, &whole, kind).is_err(), "{kind}");
            for list in ["steps", "does", "habits", "events", "tests", "background"] {
                let mut whole = document_json(&node);
                let Some(one) = whole.get_mut(list).and_then(Value::as_array_mut).and_then(|l| l.first_mut()) else {
                    continue;
                };
                let Some(map) = one.as_object_mut() else { continue };
                map.insert("zzzz".into(), json!(1));
                assert!(check(&root, &root, &whole, kind).is_err(), "{kind} {list}");
                refused += 1;
            }
        }
        assert!(refused > 100, "{refused}");
    }

    /// The other direction for the language: every action and every activity with arguments can be written.
    #[test]
    fn every_action_is_in_the_schema_of_a_step() {
        let root = schema("scenario").unwrap();
        let step = &root["$defs"]["step"]["properties"];
        for name in crate::effect::action::names() {
            assert!(step.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_schema_refuses_what_is_wrong() {
        let root = schema("config").unwrap();
        for (text, says) in [
            ("sead: 1", "sead: unknown"),
            ("seed: -1", "out of range"),
            ("streams: {x: {source: s}}", "lacks \"to\""),
            ("streams: {x: {source: s, to: [{sink: a}], rate: 3000}}", "is none of"),
            ("clock: {live: maybe}", "is not \"boolean\""),
        ] {
            let tree = yaml::parse("x", text).unwrap().remove(0);
            let e = check(&root, &root, &to_json(&tree, ""), "x").unwrap_err();
            assert!(e.contains(says), "{e}");
        }
    }

    /// Every mapping of the schema with all its keys, wrapped into a whole configuration.
    fn mappings(
        root: &Value,
        schema: &Value,
        wrap: &dyn Fn(Value) -> Value,
        depth: usize,
        into: &mut Vec<(Value, Value)>,
    ) {
        if depth > 12 {
            return;
        }
        let s = resolve(root, schema);
        for any in s.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            mappings(root, any, wrap, depth + 1, into);
        }
        if let Some(items) = s.get("items") {
            mappings(root, items, &|v| wrap(json!([v])), depth + 1, into);
        }
        if let Some(more @ Value::Object(_)) = s.get("additionalProperties") {
            mappings(root, more, &|v| wrap(json!({"x": v})), depth + 1, into);
        }
        let Some(properties) = s.get("properties").and_then(Value::as_object) else { return };
        let nothing: Map<String, Value> = properties.keys().map(|k| (k.clone(), Value::Null)).collect();
        into.push((wrap(Value::Object(nothing)), json!(properties.keys().collect::<Vec<_>>())));
        for (k, p) in properties {
            mappings(root, p, &|v| wrap(json!({k: v})), depth + 1, into);
        }
    }

    #[test]
    fn every_key_of_the_schema_is_known_to_the_loader_and_the_reference() {
        let root = schema("config").unwrap();
        let mut all = vec![];
        mappings(&root, &root, &|v| v, 0, &mut all);
        assert!(all.len() > 40, "{}", all.len());
        let reference =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
        for (document, keys) in all {
            let text = document.to_string();
            for key in keys.as_array().unwrap() {
                let key = key.as_str().unwrap();
                assert!(
                    reference.contains(&format!("`{key}`")) || reference.contains(&format!("{key}:")),
                    "{key} is not in the reference"
                );
            }
            if text.contains("kafka") && !cfg!(feature = "kafka") {
                continue;
            }
            // a kind of sink is exactly one, and one schedule too: their mappings are looked at one by one
            let tree = yaml::parse("x", &text).unwrap().remove(0);
            let problems = Config::from_node(tree).err().map_or(String::new(), |e| e.to_string());
            let unknown: Vec<&str> = problems.lines().filter(|l| l.contains("unknown field")).collect();
            assert!(unknown.is_empty(), "{text}: {unknown:?}");
        }
    }

    /// The other way round: what the loader says it knows stands in the schema.
    #[test]
    fn every_key_that_the_loader_names_is_in_the_schema() {
        let root = schema("config").unwrap();
        let mut all = vec![];
        mappings(&root, &root, &|v| v, 0, &mut all);
        let mut named = 0;
        for (document, keys) in all {
            let keys = keys.as_array().unwrap().clone();
            let text = document.to_string();
            // the innermost mapping of nulls, with a key that is near to none
            let nulls = format!("\"{}\":null", keys.first().and_then(Value::as_str).unwrap_or(""));
            let text = text.replacen(&nulls, &format!("\"zzzzzzzzzzzzzzzzzzzz\":0,{nulls}"), 1);
            let Ok(mut docs) = yaml::parse("x", &text) else { continue };
            let Err(e) = Config::from_node(docs.remove(0)) else { continue };
            for p in e.0.iter().filter(|p| p.message.contains("`zzzz") && !p.message.contains("kind of")) {
                let help = p.help.clone().unwrap_or_default();
                for word in help.split('`').skip(1).step_by(2) {
                    named += 1;
                    // refused with a word of advice instead of being unknown
                    let advice = ["token", "kafka", "password", "key_password", "client_secret"].contains(&word);
                    assert!(advice || keys.iter().any(|k| k == word), "{word} is not in the schema of {text}");
                }
            }
        }
        assert!(named > 100, "{named}");
    }
}
