//! Whatever an upstream does, and whatever is asked: an answer begins within 25 seconds. containerd gives up at 30.

use std::time::Duration;

use http::Method;
use seawall::policy::access::visibility::Sharing;
use tokio::task::JoinSet;

use super::super::client::{Client, Shop, blob, manifest};
use super::super::content::Image;
use super::super::journal::Role;
use super::super::presets::PASSWORD;
use super::super::switches::{Auth, Counts, Rate, RateForm};
use super::over::{shop_with, unhurried, with_accounts};
use crate::support::seawall::{Choices, login};

/// The longest that anybody waits for a head, and what the way takes.
const IN_TIME: Duration = Duration::from_millis(25_100);
/// Longer than anybody waits.
const SILENCE: Duration = Duration::from_secs(3600);
/// Every host that an upstream has.
const ALL: [Role; 5] = [
    Role::Registry,
    Role::Tokens,
    Role::Store(0),
    Role::Store(1),
    Role::Alternate,
];

/// What an upstream suffers from.
#[derive(Clone, Copy, Debug)]
enum Ailment {
    Silent(Role),
    /// Every answer comes so many seconds late.
    Late(u64),
    /// Every answer is this.
    Failing(u16),
    Down(Role),
    /// It takes one request in twenty seconds, and says so to all the others.
    Limited,
    /// It takes one in a second, and does not say so.
    Slow,
}

const AILMENTS: [Ailment; 10] = [
    Ailment::Silent(Role::Registry),
    Ailment::Silent(Role::Tokens),
    Ailment::Silent(Role::Store(0)),
    Ailment::Late(4),
    Ailment::Late(9),
    Ailment::Late(19),
    Ailment::Failing(503),
    Ailment::Down(Role::Tokens),
    Ailment::Limited,
    Ailment::Slow,
];

fn fall_ill(shop: &Shop, ailment: Ailment) {
    let rate = |per_second, retry_after| {
        shop.sim.turn(|switches| {
            switches.rate = Some(Rate {
                per_second,
                burst: 2.0,
                counts: Counts::Everything,
                form: RateForm::Plain,
                retry_after,
            });
        });
    };
    match ailment {
        Ailment::Silent(role) => shop.sim.slow(role, SILENCE),
        Ailment::Late(seconds) => {
            for role in ALL {
                shop.sim.slow(role, Duration::from_secs(seconds));
            }
        }
        Ailment::Failing(status) => {
            for role in ALL {
                shop.sim.burst(role, status, u32::MAX);
            }
        }
        Ailment::Down(role) => shop.sim.go_down(&[role]),
        Ailment::Limited => rate(0.05, Some("20")),
        Ailment::Slow => rate(1.0, None),
    }
}

/// Every way to ask for something of an image.
fn questions(image: &Image) -> Vec<(Method, String)> {
    let repository = image.repository.as_str();
    let platform = &image.platforms[0];
    let paths = [
        manifest(repository, &image.tag),
        manifest(repository, platform.manifest),
        blob(repository, &platform.blobs[0]),
        blob(repository, &platform.blobs[1]),
        format!("/v2/{repository}/tags/list"),
        format!("/v2/{repository}/referrers/{}", image.index),
    ];
    let each = |path: String| [(Method::GET, path.clone()), (Method::HEAD, path)];
    paths.into_iter().flat_map(each).collect()
}

/// Has everybody ask for everything at once, of a repository that is known and of one that is not.
async fn ask_all(shop: &Shop, ailment: Ailment, clients: &[Client]) {
    let images = [("library/known", 1), ("library/app", 2)];
    let [known, cold] = images.map(|(repository, seed)| shop.sim.image(repository, "1", seed, 500));
    let pulled = clients[0].get(&manifest("library/known", "1")).await;
    assert!(pulled.is_good(), "{}: {pulled:?}", shop.label());
    // Its tag is stale by then, and what is known of the repository is not.
    tokio::time::sleep(Duration::from_secs(310)).await;
    fall_ill(shop, ailment);
    let mut asking = JoinSet::new();
    for client in clients {
        for (method, path) in questions(&known).into_iter().chain(questions(&cold)) {
            let client = client.clone();
            asking.spawn(async move {
                let took = client.waits(method.clone(), &path).await;
                (took, method, path)
            });
        }
    }
    for (took, method, path) in asking.join_all().await {
        assert!(took <= IN_TIME, "{}: {method} {path} took {took:?}", shop.label());
    }
}

fn clients(shop: &Shop) -> Vec<Client> {
    let robot = || shop.curt().logged_in("robot", PASSWORD);
    let nodes = (1..3).map(|last| robot().named("containerd/v2.1.0").from([10, 1, 0, last]));
    nodes.chain([robot().named("curl/8")]).collect()
}

#[tokio::test(start_paused = true)]
async fn whatever_an_upstream_suffers_from_an_answer_begins_in_time() {
    for preset in unhurried() {
        for ailment in AILMENTS {
            let shop = shop_with(&preset, &format!("{ailment:?}"), Choices::default());
            ask_all(&shop, ailment, &clients(&shop)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nor_does_it_take_longer_where_the_upstream_is_asked_first_who_may_have_what() {
    for sharing in [Sharing::Public, Sharing::PerClient] {
        for preset in with_accounts(&[("robot", None)]) {
            // Where everybody has to log in, there is nothing that is everybody's.
            if sharing == Sharing::Public && preset.switches.auth == Auth::Basic {
                continue;
            }
            let preset = preset.turned(|switches| switches.private = false);
            for ailment in AILMENTS {
                let choices = Choices {
                    credentials: vec![login("robot", PASSWORD)],
                    sharing,
                    ..Choices::default()
                };
                let shop = shop_with(&preset, &format!("{sharing:?} {ailment:?}"), choices);
                shop.sim.tripwires(|trips| trips.strangers = vec!["robot"]);
                ask_all(&shop, ailment, &clients(&shop)).await;
            }
        }
    }
}
