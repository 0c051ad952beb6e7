//! What a configuration says about itself: warnings, and JSON for the manifest.

use super::{Config, Stream};
use crate::schedule::Rate;
use crate::yaml::{Data, Node};

impl Config {
    /// What is allowed and worth a word: caps below the rates.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = vec![];
        for (i, sink) in self.sinks.iter().enumerate() {
            let to = |s: &Stream| s.to.iter().filter(|d| d.sink == i).count();
            let rates = |unit| {
                let of = |s: &Stream| s.rate.as_ref().filter(|r| r.0.unit == unit).map(|r| r.0.peak() * to(s) as u64);
                self.streams.iter().filter_map(of).fold(0, u64::saturating_add)
            };
            if let Some(cap) = sink.cap
                && rates(cap.unit) > cap.per_day_milli
            {
                let rate = Rate { per_day_milli: rates(cap.unit), ..cap };
                all.push(format!(
                    "the cap {cap} of sink `{}` is below the {rate} of its streams: it is a slow sink",
                    sink.name
                ));
            }
        }
        for s in &self.streams {
            for d in &s.to {
                let rate = s.rate.as_ref().map(|r| Rate { per_day_milli: r.0.peak(), unit: r.0.unit });
                if let (Some(cap), Some(rate)) = (d.cap, rate)
                    && cap.unit == rate.unit
                    && cap.per_day_milli < rate.per_day_milli
                {
                    let (stream, sink) = (&s.name, &self.sink(d).name);
                    all.push(format!("the cap {cap} of stream `{stream}` to sink `{sink}` is below its rate {rate}: it is a slow sink"));
                }
            }
        }
        all
    }

    /// The merged tree as JSON, for the manifest: what it holds of secrets are references, and what looks like
    /// one all the same (a property passed through to a client library) is left out.
    pub fn to_json(&self) -> serde_json::Value {
        to_json(&self.written, "")
    }
}

/// A tree as JSON, without what looks like a secret; `key` is where it stands.
pub fn to_json(node: &Node, key: &str) -> serde_json::Value {
    json(node, key, true)
}

/// A document of the data folders as JSON: what looks like a secret there is a word like any other.
pub fn document_json(node: &Node) -> serde_json::Value {
    json(node, "", false)
}

fn json(node: &Node, key: &str, hide: bool) -> serde_json::Value {
    use serde_json::Value;
    let low = key.to_lowercase();
    let reference = low.ends_with("_file") || low.ends_with("_env") || low.ends_with(".location");
    match &node.data {
        _ if node.is_null() => Value::Null,
        Data::Scalar { .. }
            if hide
                && !reference
                && ["password", "secret", "token", "jaas", "key.pem"].iter().any(|w| low.contains(w)) =>
        {
            Value::String("[not shown]".into())
        }
        Data::Scalar { text, plain: true } => match (text.as_str(), text.parse::<i64>()) {
            ("true", _) => Value::Bool(true),
            ("false", _) => Value::Bool(false),
            (_, Ok(n)) if n.to_string() == *text => n.into(),
            _ => match text.parse::<f64>() {
                Ok(n) if n.is_finite() => n.into(),
                _ => Value::String(text.clone()),
            },
        },
        Data::Scalar { text, .. } => Value::String(text.clone()),
        Data::Seq(items) => items.iter().map(|n| json(n, key, hide)).collect(),
        Data::Map(pairs) => {
            let pair = |(k, v): &(Node, Node)| {
                let k = k.as_str().unwrap_or("").to_owned();
                let v = json(v, &k, hide);
                (k, v)
            };
            Value::Object(pairs.iter().map(pair).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{self, Problems};

    fn load(text: &str) -> Result<Config, Problems> {
        Config::from_node(yaml::parse("skirmish.yaml", text)?.remove(0))
    }

    #[test]
    fn what_looks_like_a_secret_is_not_shown() {
        let docs = yaml::parse(
            "x",
            "{password_file: /a, properties: {sasl.password: hunter2, ssl.key.location: /k}, token: [hunter2], n: 3, s: '3', z: ~}",
        );
        insta::assert_snapshot!(to_json(&docs.unwrap()[0], ""), @r#"{"password_file":"/a","properties":{"sasl.password":"[not shown]","ssl.key.location":"/k"},"token":["[not shown]"],"n":3,"s":"3","z":null}"#);
    }

    #[test]
    fn a_cap_below_the_rate_is_a_slow_sink() {
        let c = load(
            "{sinks: {a: {null: {}, cap: 5k/s}, b: {null: {}, cap: 1MB/s}, c: {stdout: {}}}, streams: {
              x: {source: s, rate: {ramp: {from: 0/s, to: 3k/s, over: 1m}}, to: [{sink: a}, {sink: b, cap: 2k/s}]},
              y: {source: s, rate: 2500/s, to: [{sink: a, cap: 3k/s}]}}}",
        );
        insta::assert_snapshot!(c.unwrap().warnings().join("\n"), @"
        the cap 5k/s of sink `a` is below the 5.5k/s of its streams: it is a slow sink
        the cap 2k/s of stream `x` to sink `b` is below its rate 3k/s: it is a slow sink
        ");
        let e = load("{sinks: {a: {null: {}, cap: 0/s}}, streams: {x: {source: s, to: [{sink: a, cap: {}}]}}}");
        insta::assert_snapshot!(e.unwrap_err(), @"
        skirmish.yaml:1:29: a cap of zero lets nothing pass
        skirmish.yaml:1:81: cap must be text, not a mapping
        ");
    }
}
