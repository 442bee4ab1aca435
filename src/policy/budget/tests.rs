//! Properties of the machine: whatever happens in whatever order.

use proptest::prelude::*;

use super::*;

proptest! {
    // Reserves are never breached, nothing is spent while nothing is left, and nobody waits past a deadline.
    #[test]
    fn a_tier_never_spends_what_it_must_leave(
        limit in 1_u64..200,
        remaining in 0_u64..200,
        asks in proptest::collection::vec((0_usize..3, 0_u64..4, 0_u64..30), 1..80),
    ) {
        let reserves = vec![0.0, 0.2, 0.4];
        let start = Time::from_millis(10_000_000_000);
        let mut budget = Budget::new(Rules { reserves: reserves.clone() }, 1, None, start);
        let mut left = remaining.min(limit);
        let reading = Reading { limit, remaining: left, window: Some(Duration::from_secs(3600)) };
        budget.learn("app", &Observed { account: 0, source: None, reading: Some(reading) }, start);
        let mut now = start;
        for (key, (tier, client, pause)) in asks.into_iter().enumerate() {
            now = now + Duration::from_millis(pause * 100);
            let asker = Asker { tier, client, deadline: now + Duration::from_secs(20) };
            match budget.ask(&key, "app", asker, now) {
                Verdict::Go(charge) => {
                    prop_assert!(left as f64 > reserves[tier] * limit as f64, "tier {tier} took one of {left}");
                    left -= 1;
                    budget.settle(&charge, true, now);
                }
                Verdict::Refuse(withheld) => prop_assert!(withheld.until > now),
                Verdict::Wait | Verdict::Read(_) => {}
            }
        }
        let _ = budget.turn(now + Duration::from_secs(21));
        prop_assert_eq!(budget.waiting().iter().sum::<u64>(), 0);
    }
}
