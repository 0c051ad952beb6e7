//! What the commands start from when no configuration is given.

use super::Layers;

const RUN: (&str, &str) = ("builtin:config/run.yaml", include_str!("../../config/run.yaml"));
const RUN_KAFKA: (&str, &str) = ("builtin:config/run-kafka.yaml", include_str!("../../config/run-kafka.yaml"));
const GENERATE: (&str, &str) = ("builtin:config/generate.yaml", include_str!("../../config/generate.yaml"));

impl Layers {
    /// Starts from what `run` does without `-c`; with brokers also into topics `skirmish.<source id>`. Without effect
    /// when files are given.
    pub fn or_run(mut self, kafka: Option<&str>) -> Layers {
        if !self.files.is_empty() {
            return self;
        }
        self.base = vec![RUN];
        if let Some(brokers) = kafka {
            self.base.push(RUN_KAFKA);
            // as JSON, which is YAML too: whatever was typed is one text
            let brokers = serde_json::Value::from(brokers);
            self.set.insert(0, format!("sinks.kafka.kafka.brokers={brokers}"));
        }
        self
    }

    /// Starts from what `generate` does without `-c`, to which the command adds streams and a sink. Without effect
    /// when files are given.
    pub fn or_generate(mut self) -> Layers {
        if self.files.is_empty() {
            self.base = vec![GENERATE];
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Clock, Config, Speed};

    #[test]
    fn run_starts_three_streams_at_a_thousand_records_a_second() {
        // which kinds of sinks there are depends on the features
        let set = vec!["sinks.live=~".into(), "sinks.live={null: {}}".into()];
        let c = Config::load(&Layers { set, ..Layers::default() }.or_run(None)).unwrap_or_else(|e| panic!("{e}"));
        let rates = c.streams.iter().map(|s| {
            let (shape, _) = s.rate.clone().expect("has a rate");
            crate::schedule::Schedule::new(crate::time::Time(0), shape).due(crate::time::Time(1_000_000_000))
        });
        assert_eq!((c.streams.len(), rates.sum::<u64>()), (3, 1_000));
        assert!(c.attacks.first.is_some_and(|f| f.as_secs_f64() <= 30.0));
    }

    #[test]
    fn kafka_adds_a_topic_for_every_source() {
        let tree = Layers::default().or_run(Some("a:1,b:2")).merge().unwrap();
        let brokers = ["sinks", "kafka", "kafka", "brokers"].iter().try_fold(&tree, |n, k| n.get(k));
        assert_eq!(brokers.unwrap().as_str(), Some("a:1,b:2"));
        for (_, s) in tree.get("streams").unwrap().pairs(&mut crate::yaml::Problems::new(), "streams") {
            let topic = s.get("to").unwrap().items()[1].get("topic").unwrap().as_str().unwrap();
            assert_eq!(topic, format!("skirmish.{}", s.get("source").unwrap().as_str().unwrap()));
        }
    }

    #[test]
    fn generate_starts_on_a_monday_morning() {
        let c = Config::load(&Layers::default().or_generate()).unwrap_or_else(|e| panic!("{e}"));
        let from = crate::time::Time(1_772_438_400_000_000_000);
        assert_eq!((c.clock, c.world.hosts), (Clock::From { from, speed: Speed::Max }, Some(300)));
    }

    #[test]
    fn files_replace_what_is_built_in() {
        let l = Layers { files: vec!["x.yaml".into()], ..Layers::default() };
        assert!(l.clone().or_run(Some("a:1")).base.is_empty() && l.or_generate().base.is_empty());
    }
}
