//! Who makes which part of what is due.

/// Exact shares of a growing total by whole weights (hosts per cell).
///
/// The parts add up to the total at every moment, no part ever falls, and over each full round of the weights'
/// sum every part is exactly its weight. The obvious difference of cumulative floors adds up too, but a part can
/// fall: between 40 % and 60 % it has one of two records and none of three. So the order in which records are
/// handed out is fixed once (Sainte-Laguë: the k-th record of a weight w stands at (k + 1/2) / w of the round)
/// and a part is how often its turn came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    round: u64,
    /// Per part: the turns of a round that are its own, ascending.
    turns: Vec<Vec<u32>>,
}

impl Division {
    /// The division by these weights; with all of them 0 nothing is ever shared out.
    ///
    /// Takes memory for as many turns as the weights add up to, after their common divisor.
    pub fn new(weights: &[u32]) -> Division {
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
        let weights: Vec<u64> = weights.iter().map(|w| (w / divisor) as u64).collect();
        let round = weights.iter().sum();
        let mut order: Vec<(u64, u64, usize)> = vec![];
        for (part, w) in weights.iter().enumerate() {
            order.extend((0..*w).map(|k| (2 * k + 1, *w, part)));
        }
        order.sort_unstable_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
        let mut turns: Vec<Vec<u32>> = weights.iter().map(|w| Vec::with_capacity(*w as usize)).collect();
        for (turn, (_, _, part)) in order.iter().enumerate() {
            turns[*part].push(turn as u32);
        }
        Division { round, turns }
    }
    /// Parts.
    pub fn parts(&self) -> usize {
        self.turns.len()
    }
    /// Weight of a part, after division by the weights' common divisor.
    pub fn weight(&self, part: usize) -> u64 {
        self.turns[part].len() as u64
    }
    /// What of `due` falls to a part.
    #[inline]
    pub fn share(&self, due: u64, part: usize) -> u64 {
        if self.round == 0 {
            return 0;
        }
        let (rounds, rest) = (due / self.round, (due % self.round) as u32);
        let turns = &self.turns[part];
        rounds * turns.len() as u64 + turns.partition_point(|t| *t < rest) as u64
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_add_up_never_fall_and_stay_near_their_quota(
            weights in proptest::collection::vec(0u32..300, 1..20),
            start in 0u64..1 << 60,
            steps in proptest::collection::vec(0u64..50, 1..100),
        ) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let d = Division::new(&weights);
            let total: u32 = weights.iter().sum();
            let mut due = start;
            let mut last = vec![0; weights.len()];
            for step in steps {
                due += step;
                let shares: Vec<u64> = (0..weights.len()).map(|c| d.share(due, c)).collect();
                prop_assert_eq!(shares.iter().sum::<u64>(), due);
                for (c, (now, before)) in shares.iter().zip(&last).enumerate() {
                    prop_assert!(now >= before);
                    let quota = due as u128 * weights[c] as u128 / total as u128;
                    prop_assert!((*now as i128 - quota as i128).abs() <= 1 + weights.len() as i128 / 2);
                }
                last = shares;
            }
            for (c, w) in weights.iter().enumerate() {
                prop_assert_eq!(d.share(total as u64 * 1_000, c), *w as u64 * 1_000);
            }
        }
    }

    #[test]
    fn nothing_to_share_with_is_not_a_crash() {
        assert_eq!(Division::new(&[0, 0]).share(100, 1), 0);
        assert_eq!(Division::new(&[]).parts(), 0);
    }
}
