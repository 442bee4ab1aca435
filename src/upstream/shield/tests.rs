//! What becomes of turns.

use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_turn_that_its_asker_did_not_live_to_hear_of_is_given_back() {
    let clock = Clock::start();
    let rules = Rules { reserves: vec![0.0] };
    let shield = Shield::new(rules, (vec!["anonymous".to_owned()], &[]), None, clock);
    let asker = Asker {
        tier: 0,
        client: 0,
        deadline: clock.now() + Duration::from_secs(20),
    };
    let path: RepositoryPath = "a/b".parse().unwrap();
    let key = |tag: usize| key(&path, &Reference::Tag(format!("t{tag}").parse().unwrap()));
    let mut charges = Vec::new();
    for tag in 0..8 {
        match shield.verdict(&key(tag), path.as_str(), asker).await {
            Verdict::Go(charge) => charges.push(charge),
            other => panic!("{other:?}"),
        }
    }
    let ninth = key(8);
    {
        let mut waiting = pin!(shield.verdict(&ninth, path.as_str(), asker));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        shield.settle(&charges.pop().unwrap(), true);
    }
    for charge in charges {
        shield.settle(&charge, false);
    }
    let settled = shield.lock().budget.status(clock.now())[0].own;
    assert_eq!(settled, 1, "one was sent");
}
