//! Where a limit stands in the way, what is held for somebody else and what nobody has look the same as well.
//!
//! Two worlds are asked the same things at the same moments. In one, alice has pulled the image that somebody then asks
//! for under the name of a repository which does not have it; in the other she has pulled one of the same size instead.

use std::num::NonZeroU32;
use std::time::Duration;

use http::{Method, StatusCode};
use regex::Regex;
use seawall::oci::Digest;
use seawall::policy::access::visibility::Sharing;
use seawall::policy::clients::{Clients, Rule, Tier};
use seawall::policy::quota::Quota;
use tokio::time::Instant;

use super::{alice, asked, attach, choices, get, paths, said, start_with};
use crate::access::STRANGER;
use crate::support::registry::Script;
use crate::support::seawall::{Choices, read};
use crate::support::world::{Image, World, content, image_in};

/// Where somebody asks for what these repositories do not have.
const OTHERS: [&str; 2] = ["library/open", "other.test/library/open"];

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Nothing,
    /// The registry's budget is spent.
    Budget,
    /// The registry wants to be left alone.
    Parked,
    /// The registry is down.
    Down,
    /// The registry does not answer HEAD, so that only fetching a manifest tells.
    NoHead,
    /// The client may begin so many fetches a minute.
    Writes(u32),
    /// The client may send so many requests a minute.
    Reads(u32),
    /// The client may have so many fetches under way, and one of them lasts.
    Fills(usize),
}

impl Limit {
    fn choices(self, sharing: Sharing) -> Choices {
        let quota = match self {
            Self::Writes(figure) => Quota {
                writes: NonZeroU32::new(figure),
                ..Quota::UNLIMITED
            },
            Self::Reads(figure) => Quota {
                reads: NonZeroU32::new(figure),
                ..Quota::UNLIMITED
            },
            Self::Fills(count) => Quota {
                fills: Some(count),
                ..Quota::UNLIMITED
            },
            _ => Quota::UNLIMITED,
        };
        let tier = |name: &str, quota| Tier {
            name: name.to_owned(),
            reserve: 0.0,
            quota,
        };
        let network = format!(
            "{}.{}.{}.{}/32",
            STRANGER[0], STRANGER[1], STRANGER[2], STRANGER[3]
        );
        let usual = choices(sharing);
        Choices {
            clients: Clients {
                tiers: vec![tier("unlimited", Quota::UNLIMITED), tier("basic", quota)],
                rules: vec![Rule::at("somebody", 1, vec![network.parse().unwrap()])],
                ..usual.clients
            },
            ..usual
        }
    }
}

/// One of the two worlds, and the image that somebody asks for in it.
struct Twin {
    world: World,
    image: Image,
    is_down: bool,
}

impl Twin {
    /// As far as somebody has got who may see the other repositories, and alice with hers.
    async fn new(limit: Limit, sharing: Sharing, is_held: bool) -> Self {
        let (world, image) = start_with(limit.choices(sharing));
        let other = image_in(&world.registry, "team/app", Some("2"), 4);
        attach(&world.registry, &other);
        let pulled = if is_held { &image } else { &other };
        for repository in OTHERS {
            let open = format!("/v2/{repository}/manifests/1");
            assert!(get(&world.seawall, None, &open).await.is_good(), "{open}");
        }
        // From where nothing is limited.
        let login = alice();
        for path in paths(pulled).iter().skip(1) {
            let headers = [("authorization", login.as_str())];
            let opened = world
                .seawall
                .open_from([127, 0, 0, 1], Method::GET, path, &headers);
            read(opened.await).await;
        }
        world.registry.take(Duration::from_millis(80));
        let registry = &world.registry;
        match limit {
            Limit::Budget => {
                for repository in ["library/open", "team/app"] {
                    image_in(registry, repository, Some("last"), 5);
                    registry.script(format!("/v2/{repository}/manifests/last"), Script::told(0));
                }
                get(&world.seawall, None, "/v2/library/open/manifests/last").await;
                get(&world.seawall, None, "/v2/other.test/library/open/manifests/last").await;
            }
            Limit::Parked => registry.allow_a_second(0),
            Limit::Down => registry.go_down(),
            Limit::NoHead => registry.answer_no_head(),
            Limit::Nothing | Limit::Writes(_) | Limit::Reads(_) | Limit::Fills(_) => {}
        }
        Self {
            world,
            image,
            is_down: limit == Limit::Down,
        }
    }

    /// All that somebody outside can see of a request: the answer, the time it took, and what the registry was asked,
    /// if not for how much of it: of what is held a byte is enough.
    /// Who cannot connect tries again after a time that is left to chance.
    async fn look(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> String {
        let before = self.world.registry.journal().len();
        let began = Instant::now();
        let answer = asked(&self.world.seawall, method.clone(), path, headers).await;
        let took = if self.is_down {
            Duration::ZERO
        } else {
            began.elapsed()
        };
        let asked = self.world.registry.journal().split_off(before);
        let asked: Vec<String> = asked
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.path))
            .collect();
        let alone = Regex::new("; it is left alone for [0-9]+ s more").unwrap();
        let time = Regex::new(r"(at|in) (\w{3}, [^G]+ GMT|[0-9]+ s)").unwrap();
        let said = format!("{:?}", said(&answer));
        let said = alone.replace_all(&said, "");
        format!(
            "{method} {path} {headers:?}: {} {took:?} {asked:?}",
            time.replace_all(&said, "…")
        )
    }

    /// What comes of asking for the image in every way, time and again; and how much that has cost, which shows by what
    /// is refused of some other things then.
    async fn asked_for(&self, limit: Limit) -> Vec<String> {
        let mut looks = Vec::new();
        let Image {
            manifest,
            config,
            layer,
        } = &self.image;
        let range = [("range", "bytes=0-9")];
        let lasting = match limit {
            Limit::Fills(_) => Some(self.begin_what_lasts().await),
            _ => None,
        };
        for repository in OTHERS {
            let blobs = [config, layer, manifest].map(|blob| format!("/v2/{repository}/blobs/{blob}"));
            let manifests = format!("/v2/{repository}/manifests/{manifest}");
            for path in blobs.iter().chain([&manifests]) {
                for _ in 0..2 {
                    for (method, headers) in
                        [(Method::GET, &[][..]), (Method::HEAD, &[]), (Method::GET, &range)]
                    {
                        looks.push(self.look(method, path, headers).await);
                    }
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
                // At once.
                let pair = tokio::join!(
                    self.look(Method::GET, path, &[]),
                    self.look(Method::GET, path, &[])
                );
                looks.extend([pair.0, pair.1]);
                // Nobody remembers it any more.
                tokio::time::sleep(Duration::from_secs(11)).await;
                looks.push(self.look(Method::GET, path, &[]).await);
            }
            for list in ["tags/list".to_owned(), format!("referrers/{manifest}")] {
                looks.push(
                    self.look(Method::GET, &format!("/v2/{repository}/{list}"), &[])
                        .await,
                );
            }
        }
        if let Limit::Writes(_) | Limit::Reads(_) = limit {
            for number in 0..20_u8 {
                let path = format!("/v2/library/open/blobs/{}", Digest::sha256(&[number]));
                looks.push(self.look(Method::GET, &path, &[]).await);
            }
        }
        drop(lasting);
        looks
    }

    async fn begin_what_lasts(&self) -> impl Sized {
        let lasts = self.world.registry.blob("library/open", content(1 << 20, 9));
        let path = format!("/v2/library/open/blobs/{lasts}");
        let slow = Script {
            chunk: 1024,
            pace: Duration::from_secs(1),
            ..Script::default()
        };
        self.world.registry.script(&path, slow);
        let opened = self
            .world
            .seawall
            .open_from(STRANGER, Method::GET, &path, &[])
            .await;
        assert_eq!(opened.status(), StatusCode::OK);
        opened
    }
}

async fn assert_alike(limit: Limit, sharing: Sharing) -> Vec<String> {
    let held = Twin::new(limit, sharing, true);
    let missing = Twin::new(limit, sharing, false);
    let (held, missing) = tokio::join!(held, missing);
    let (held, missing) = tokio::join!(held.asked_for(limit), missing.asked_for(limit));
    for (held, missing) in held.iter().zip(&missing) {
        assert_eq!(held, missing, "{limit:?} {sharing:?}");
        let is_list = held.contains("tags/list") || held.contains("/referrers/");
        assert!(is_list || !held.contains(": (200"), "{held}");
    }
    held
}

#[tokio::test(start_paused = true)]
async fn s066_by_no_limit_what_is_held_for_others_is_told_from_what_nobody_has() {
    for sharing in [Sharing::PerClient, Sharing::Shared] {
        for (limit, refused) in [
            (Limit::Nothing, None),
            (Limit::Budget, None),
            (Limit::Writes(10), Some("429")),
            (Limit::Writes(25), Some("429")),
            (Limit::Reads(30), Some("429")),
            (Limit::Fills(1), Some("429")),
        ] {
            let looks = assert_alike(limit, sharing).await;
            let is_met = |status| looks.iter().any(|look| look.contains(&format!(": ({status}")));
            assert!(is_met("404"), "{limit:?}");
            assert!(refused.is_none_or(is_met), "{limit:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s066_nor_is_it_where_the_registry_does_not_tell() {
    for sharing in [Sharing::PerClient, Sharing::Shared] {
        for limit in [Limit::NoHead, Limit::Parked, Limit::Down] {
            assert_alike(limit, sharing).await;
        }
    }
}
