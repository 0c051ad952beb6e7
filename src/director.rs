//! Decides when attacks start. Depends on logical time, seed and what runs, never on threads or clocks.

use crate::engine::Launch;
use crate::rng::{Rng, mix, purpose};
use crate::time::{Span, Time};
use crate::world::instance::Choices;
use crate::world::program::ScenarioId;

/// When instances start.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Only when somebody says so.
    Never,
    /// At random, so many an hour on average.
    PerHour(f64),
    /// At these instants.
    At(Vec<Time>),
    /// As often as makes this part of all records.
    Share(f64),
    /// Every scenario once, at the start, in order.
    Each,
}

/// A scenario to choose from.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Which.
    pub scenario: ScenarioId,
    /// How often next to the others.
    pub weight: u32,
    /// What the configuration settles.
    pub choices: Choices,
}

/// Starts attacks.
#[derive(Clone, Debug)]
pub struct Director {
    seed: u64,
    when: When,
    options: Vec<Choice>,
    cumulative: Vec<u32>,
    max_parallel: usize,
    next: Option<Time>,
    /// Instances started so far.
    pub started: u64,
}

/// Shortest pause between two starts of [`When::Share`], so that an instance has time to show what it brings.
const SHARE_GAP: Span = Span::s(5);

impl Director {
    /// A director; the first instance starts at `first` if it is given, else when the rule says so.
    pub fn new(
        seed: u64,
        when: When,
        options: Vec<Choice>,
        max_parallel: usize,
        start: Time,
        first: Option<Time>,
    ) -> Director {
        let mut sum = 0;
        let cumulative = options
            .iter()
            .map(|o| {
                sum += o.weight.max(1);
                sum
            })
            .collect();
        let mut d = Director { seed, when, options, cumulative, max_parallel, next: None, started: 0 };
        d.next = match &d.when {
            When::Never => None,
            When::PerHour(n) if *n <= 0.0 => None,
            When::PerHour(_) => first.or_else(|| d.after(start)),
            When::At(times) => times.iter().copied().min(),
            When::Share(_) | When::Each => Some(first.unwrap_or(start)),
        };
        d
    }

    fn after(&self, t: Time) -> Option<Time> {
        let mut rng = Rng::of(self.seed, self.started, purpose("attack times"));
        match &self.when {
            When::PerHour(n) => Some(t + rng.exponential(Span((3600e9 / n) as i64))),
            When::At(times) => times.iter().copied().filter(|x| *x > t).min(),
            When::Share(_) => Some(t + SHARE_GAP),
            When::Each => ((self.started as usize) < self.options.len()).then_some(t + Span::ms(200)),
            When::Never => None,
        }
    }

    /// No instance starts by itself any more.
    pub fn done(&self) -> bool {
        self.next.is_none()
    }

    /// The instances that start before `end`, given how many run and how many records there were (all, of attacks).
    pub fn due(&mut self, end: Time, running: usize, records: (u64, u64)) -> Vec<Launch> {
        let mut launches = vec![];
        while let Some(time) = self.next.filter(|t| *t < end) {
            if self.options.is_empty() {
                self.next = None;
                break;
            }
            if running + launches.len() >= self.max_parallel && self.when != When::Each {
                // tried again later, so that none is lost
                self.next = Some(end + Span::s(1));
                break;
            }
            if let When::Share(share) = self.when
                && records.1 as f64 >= share * records.0 as f64
                && self.started > 0
            {
                self.next = Some(time + SHARE_GAP);
                continue;
            }
            launches.push(self.launch(time, None, Choices::default()));
            self.next = self.after(time);
        }
        launches
    }

    /// The next instance: of a given scenario with choices that go before the configured ones, or drawn.
    pub fn launch(&mut self, time: Time, scenario: Option<ScenarioId>, mut choices: Choices) -> Launch {
        self.started += 1;
        let mut rng = Rng::of(self.seed, self.started, purpose("attack"));
        let option = match (scenario, &self.when) {
            (Some(s), _) => self.options.iter().find(|o| o.scenario == s),
            (None, When::Each) => self.options.get(self.started as usize - 1),
            (None, _) => self.options.get(rng.weighted(&self.cumulative)),
        };
        if let Some(o) = option {
            choices.cast.extend(o.choices.cast.iter().cloned());
            choices.vars.extend(o.choices.vars.iter().cloned());
        }
        let scenario = scenario.or(option.map(|o| o.scenario)).unwrap_or_default();
        Launch {
            time,
            id: self.started,
            scenario,
            seed: mix(self.seed, mix(self.started, purpose("instance"))),
            choices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(n: u16) -> Vec<Choice> {
        (0..n).map(|i| Choice { scenario: ScenarioId(i), weight: 1, choices: Choices::default() }).collect()
    }

    #[test]
    fn per_hour_is_met_on_average_and_never_beyond_max_parallel() {
        let mut d = Director::new(7, When::PerHour(60.0), options(3), 1000, Time(0), Some(Time(20_000_000_000)));
        let mut n = 0;
        for hour in 1..=20 {
            n += d.due(Time(hour * 3_600_000_000_000), 0, (0, 0)).len();
        }
        assert!((1_000..1_400).contains(&n), "{n}");
        let mut d = Director::new(7, When::PerHour(60.0), options(3), 2, Time(0), None);
        assert!(d.due(Time(7_200_000_000_000), 2, (0, 0)).is_empty());
        assert!(!d.due(Time(7_300_000_000_000), 0, (0, 0)).is_empty());
    }

    #[test]
    fn each_plays_every_scenario_once() {
        let mut d = Director::new(7, When::Each, options(4), 1, Time(0), None);
        let all = d.due(Time(10_000_000_000), 0, (0, 0));
        assert_eq!(all.iter().map(|l| l.scenario.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
