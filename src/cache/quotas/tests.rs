//! What the quotas of operations promise: never more than the figure, all of the figure, and a refusal that
//! names a time at which asking succeeds.

use std::num::NonZeroU32;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::clock::Time;
use crate::policy::clients::{Rule, Tier};
use crate::policy::quota::Quota;

fn quotas(quota: Quota) -> Quotas {
    quotas_on(None, quota)
}

/// The same for clients who share a link of so many bytes per second.
fn quotas_on(link: Option<u64>, quota: Quota) -> Quotas {
    let tier = |name: &str, quota| Tier {
        name: name.to_owned(),
        reserve: 0.0,
        quota,
    };
    let clients = Clients {
        tiers: vec![tier("unlimited", Quota::UNLIMITED), tier("basic", quota)],
        rules: vec![Rule::at("ci", 1, Vec::new())],
        ..Clients::default()
    };
    Quotas::new(
        clients,
        link,
        Arc::new(Metrics::new()),
        TaskTracker::new(),
        Clock::start(),
    )
}

fn asker(tier: usize, client: u64) -> Asker {
    Asker {
        tier,
        client,
        deadline: Time::from_millis(u64::MAX),
    }
}

/// The outcome of `work` in a runtime whose time only it moves.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

fn reads(figure: u32) -> Quota {
    Quota {
        reads: NonZeroU32::new(figure),
        ..Quota::UNLIMITED
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_quota_has_no_record() {
    let quotas = quotas(reads(7));
    assert!(quotas.of(&asker(0, 1)).is_none());
    assert!(quotas.of(&asker(9, 1)).is_none());
    let client = quotas.of(&asker(1, 1)).unwrap();
    assert!(quotas.pacer(&client).is_none());
    assert!(Arc::ptr_eq(&client, &quotas.of(&asker(1, 1)).unwrap()));
    assert!(!Arc::ptr_eq(&client, &quotas.of(&asker(1, 2)).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_at_once_costs_neither_the_clients_pace_nor_the_link() {
    let quota = Quota {
        bandwidth: Some(1),
        ..reads(1)
    };
    let quotas = quotas_on(Some(1), quota);
    let [poor, busy, waiting] = [1, 2, 3].map(|client| quotas.of(&asker(1, client)).unwrap());
    let take = |client, bytes| quotas.take(client, bytes, quotas.clock.elapsed());
    assert!(take(&poor, 0).is_ok());
    assert_eq!(take(&poor, 1000).unwrap_err(), NotNow, "no request is left");
    assert!(take(&busy, 1000).is_ok(), "nobody has used the link");
    assert_eq!(take(&waiting, 1000).unwrap_err(), NotNow, "the link is taken");
    for client in [poor, waiting] {
        let pace = client.pace.as_ref().unwrap().lock().unwrap().clone();
        assert_eq!(pace.wait(quotas.clock.nanos()), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_cannot_make_the_records_grow_for_ever() {
    let quotas = quotas(reads(7));
    for client in 0..20_000 {
        let _ = quotas.of(&asker(1, client));
    }
    assert_eq!(quotas.known.lock().unwrap().len(), MOST_CLIENTS.get());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_who_limits_whom_to_what_and_until_when() {
    let quotas = quotas(reads(2));
    let client = quotas.of(&asker(1, 0)).unwrap();
    let left = |remaining| Ok(Some(Left { limit: 2, remaining }));
    let told = |read: Result<Option<Left>, Failure>| read.map_err(|failure| failure.kind);
    assert_eq!(told(quotas.read(&client)), left(1));
    assert_eq!(told(quotas.read(&client)), left(0));
    advance(Duration::from_millis(700)).await;
    let refused = quotas.read(&client).unwrap_err();
    assert_eq!(
        refused.kind,
        Kind::OverQuota(Some(Left {
            limit: 2,
            remaining: 0
        }))
    );
    assert_eq!(refused.retry_after, Some(Duration::from_secs(30)));
    for words in [
        "this Seawall allows",
        "the client ci (tier basic) 2 requests per minute",
        "ask again in 30 s, at ",
    ] {
        assert!(refused.public.contains(words), "{}", refused.public);
    }
    let text = quotas.metrics.exposition();
    assert!(
        text.contains(r#"seawall_quota_refusals_total{reason="reads",tier="basic"} 1"#),
        "{text}"
    );
}

proptest! {
    #[test]
    fn no_minute_has_more_than_a_tenth_over_the_figure_however_bursts_come(
        figure in prop_oneof![1_u32..50, 1_u32..3000, 1_u32..100_000],
        pauses in prop::collection::vec(prop_oneof![0_u64..2000, 0_u64..70_000], 1..100),
        batch in 1_u32..2000,
    ) {
        in_virtual_time(async {
            let quotas = quotas(reads(figure));
            let client = quotas.of(&asker(1, 1)).unwrap();
            let mut took: Vec<(Duration, u32)> = Vec::new();
            for pause in pauses {
                advance(Duration::from_millis(pause)).await;
                let count = (0..batch).filter(|_| quotas.read(&client).is_ok()).count();
                took.push((quotas.clock.elapsed(), u32::try_from(count).unwrap()));
            }
            for (first, (from, _)) in took.iter().enumerate() {
                let mut total = 0;
                for (to, count) in &took[first..] {
                    total += count;
                    let time = (*to - *from).as_secs_f64();
                    let most = f64::from(figure) * (time / 60.0 + 1.0);
                    prop_assert!(f64::from(total) <= most + 1.0, "{total} in {time} s at {figure}");
                    let tenth = figure.div_ceil(10);
                    prop_assert!(time >= 60.0 || total <= figure + tenth, "{total} in {time} s at {figure}");
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn who_asks_when_told_gets_all_of_the_figure(figure in 1_u32..3000, minutes in 1_u32..5) {
        in_virtual_time(async {
            let quotas = quotas(reads(figure));
            let client = quotas.of(&asker(1, 1)).unwrap();
            let mut total = 0_u32;
            let end = Duration::from_secs(u64::from(minutes) * 60);
            while quotas.clock.elapsed() < end {
                match quotas.read(&client) {
                    Ok(_) => total += 1,
                    Err(refused) => {
                        advance(refused.retry_after.unwrap()).await;
                        // The time that was told is one at which asking succeeds.
                        prop_assert!(quotas.read(&client).is_ok());
                        total += 1;
                    }
                }
            }
            prop_assert!(f64::from(total) >= 0.95 * f64::from(figure * minutes));
            Ok(())
        })?;
    }

    #[test]
    fn absurd_figures_break_nothing(figure in any::<u32>(), pauses in prop::collection::vec(0_u64..1 << 40, 0..20)) {
        in_virtual_time(async {
            let quotas = quotas(reads(figure));
            let Some(client) = quotas.of(&asker(1, 1)) else { return };
            for pause in pauses {
                advance(Duration::from_millis(pause)).await;
                let _ = quotas.read(&client);
            }
        });
    }
}
