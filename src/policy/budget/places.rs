//! Places in the queue go to those who have few: somebody may lose one by it, and hears of it at once.

use std::fmt::Debug;
use std::hash::Hash;

use super::gate::Held;
use super::machine::Budget;
use crate::clock::Time;

impl<K: Clone + Eq + Hash + Debug> Budget<K> {
    /// Takes those out of the queue who cannot be served in time any more, since somebody of this tier has a place
    /// before theirs: the last of its rank and of those below. [`Self::turn`] tells them.
    pub(super) fn displace(&mut self, tier: usize, now: Time) {
        for rank in self.queue.rank(tier)..self.queue.ranks() {
            while let Some((key, entry, ahead)) = self.queue.last(rank) {
                let (key, asker) = (key.clone(), entry.asker);
                match self.way(&entry.repository, asker.tier, ahead, now) {
                    Err(Held::Until(because, until)) if until > asker.deadline => {
                        let repository = entry.repository.clone();
                        self.queue.remove(&key);
                        let until = self.until_all_went(&repository, asker.tier, until, now);
                        self.displaced.push((key, self.withheld(because, until, now)));
                    }
                    Ok(_) | Err(_) => break,
                }
            }
        }
    }

    /// When all will have had theirs who wait now and might go first, if that is later than this: who asks again
    /// then succeeds, however short his patience.
    pub(super) fn until_all_went(&self, repository: &str, tier: usize, until: Time, now: Time) -> Time {
        match self.way(repository, tier, self.queue.line(tier), now) {
            Err(Held::Until(_, last)) => last.max(until),
            Ok(_) | Err(Held::Stale(_)) => until,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::refusals::tell;
    use super::super::{Asker, Rules, Verdict};
    use super::*;

    const LIMIT: u64 = 36_000;

    fn asker(client: u64, now: Time) -> Asker {
        Asker {
            tier: 0,
            client,
            deadline: now + Duration::from_secs(10),
        }
    }

    /// A tier that has used up what it may spend at once, and now goes by its pace.
    fn paced(now: Time) -> Budget<u64> {
        let rules = Rules { reserves: vec![0.2] };
        let mut budget = Budget::new(rules, 1, None, now);
        tell(&mut budget, LIMIT, LIMIT, now);
        for key in 0..LIMIT / 10 {
            match budget.ask(&(1_000_000 + key), "app", asker(1, now), now) {
                Verdict::Go(charge) => budget.settle(&charge, true, now),
                verdict => panic!("{key}: {verdict:?}"),
            }
        }
        budget
    }

    fn waits(budget: &mut Budget<u64>, client: u64, keys: std::ops::Range<u64>, now: Time) -> usize {
        let verdicts = keys.map(|key| budget.ask(&key, "app", asker(client, now), now));
        verdicts
            .filter(|verdict| matches!(verdict, Verdict::Wait))
            .count()
    }

    #[test]
    fn one_who_wants_much_does_not_keep_one_who_wants_little_from_a_turn() {
        let now = Time::from_millis(1_000_000);
        let mut budget = paced(now);
        let places = waits(&mut budget, 1, 0..200, now);
        assert!((50..100).contains(&places), "{places} in ten seconds");
        assert_eq!(waits(&mut budget, 2, 500..503, now), 3);
        // Whoever lost a place hears of it at once.
        let told = budget.turn(now);
        assert_eq!(told.len(), 3, "{told:?}");
        for (key, verdict) in told {
            assert!(
                (places as u64 - 3..places as u64).contains(&key),
                "{key}: the youngest lose it"
            );
            let late = now + Duration::from_secs(10);
            assert!(matches!(verdict, Verdict::Refuse(withheld) if withheld.until > late));
        }
        // Turns go round: three of each within a second.
        let soon = now + Duration::from_secs(1);
        let gone: Vec<u64> = budget.turn(soon).into_iter().map(|(key, _)| key).collect();
        assert_eq!(gone[..6], [0, 500, 1, 501, 2, 502]);
    }

    #[test]
    fn whoever_leaves_after_losing_a_place_is_told_nothing() {
        let now = Time::from_millis(1_000_000);
        let mut budget = paced(now);
        let places = waits(&mut budget, 1, 0..200, now) as u64;
        assert_eq!(waits(&mut budget, 2, 500..501, now), 1);
        assert_eq!(budget.wake(now), Some(now));
        budget.withdraw(&(places - 1));
        assert!(budget.turn(now).is_empty());
    }
}
