//! Repositories that an upstream shows to some: what one user may have, another gets nothing of, however he asks.
//!
//! The operator's robot sees everything, alice and bob each what is theirs; and everybody what is everybody's,
//! but for the registries that only know users.

use http::Method;
use seawall::policy::access::visibility::Sharing;

use super::super::client::{Client, Shop, blob, manifest};
use super::super::content::Image;
use super::super::journal::{About, Entry};
use super::super::presets::{PASSWORD, Preset};
use super::super::switches::{Auth, Closed, Hidden, Switches};
use super::over::{shop_with, turned, with_accounts};
use crate::support::seawall::{Choices, login};

const CLOSED: [Closed; 2] = [
    Closed {
        below: "alices/",
        to: &["robot", "alice"],
    },
    Closed {
        below: "bobs/",
        to: &["robot", "bob"],
    },
];

/// Every registry that can know accounts, in each of the ways to hide something. One that wants a password with
/// every request says by a 401 that it does not take it, and hides nothing so.
fn that_hide() -> Vec<(Preset, Hidden)> {
    let each = |hidden: Hidden| {
        let presets = with_accounts(&[("robot", None), ("alice", None), ("bob", None)]);
        let presets = turned(presets, move |switches| {
            switches.closed = CLOSED.to_vec();
            switches.hidden = hidden;
        });
        let says_so =
            move |preset: &Preset| hidden != Hidden::Challenged || preset.switches.auth != Auth::Basic;
        presets
            .into_iter()
            .filter(says_so)
            .map(move |preset| (preset, hidden))
    };
    let ways = [Hidden::Missing, Hidden::Challenged, Hidden::Denied];
    ways.into_iter().flat_map(each).collect()
}

/// True where nobody has to log in for what is everybody's.
fn is_open(switches: &Switches) -> bool {
    switches.auth != Auth::Basic && !switches.private
}

/// In front of such a registry, with the operator's robot.
fn open(preset: &Preset, hidden: Hidden) -> Shop {
    let choices = Choices {
        credentials: vec![login("robot", PASSWORD)],
        sharing: Sharing::PerClient,
        ..Choices::default()
    };
    let shop = shop_with(preset, &format!("{hidden:?}"), choices);
    shop.sim.tripwires(|trips| trips.strangers = vec!["alice", "bob"]);
    shop
}

fn user(shop: &Shop, name: &str) -> Client {
    shop.curt().logged_in(name, PASSWORD)
}

/// Every way to ask for something of an image.
fn paths(image: &Image) -> Vec<String> {
    let repository = image.repository.as_str();
    let platform = &image.platforms[0];
    let mut paths = vec![
        manifest(repository, &image.tag),
        manifest(repository, image.index),
        manifest(repository, platform.manifest),
        format!("/v2/{repository}/tags/list"),
    ];
    paths.extend(platform.blobs.iter().map(|digest| blob(repository, digest)));
    paths
}

/// The client is told the same of the image, by status, as of one that never was.
async fn assert_hidden(shop: &Shop, client: &Client, image: &Image, status: u16) {
    for path in paths(image) {
        let missing = path.replace("/app/", "/none/");
        for (method, more) in [
            (Method::GET, &[][..]),
            (Method::HEAD, &[]),
            (Method::GET, &[("range", "bytes=0-9")]),
        ] {
            for path in [&path, &missing] {
                let answer = client.ask_with(method.clone(), path, more).await;
                let text = String::from_utf8_lossy(&answer.body);
                assert_eq!(answer.status, status, "{}: {method} {path}: {text}", shop.label());
                assert!(
                    text.is_empty() || text.starts_with(r#"{"errors":"#),
                    "{}: {method} {path}: {text}",
                    shop.label()
                );
            }
        }
    }
}

/// What was fetched whole from the registry, and could have cost something: by whom.
fn buyers(journal: &[Entry]) -> Vec<Option<&str>> {
    let bought = journal.iter().filter(|entry| {
        let is_manifest = matches!(entry.about, About::Manifest { .. }) && entry.path.contains("/v2/");
        is_manifest && entry.method == Method::GET && entry.status < 400
    });
    bought.map(|entry| entry.user.as_deref()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_one_user_has_pulled_another_gets_nothing_of() {
    for (preset, hidden) in that_hide() {
        let shop = open(&preset, hidden);
        let images = [("alices/app", 1), ("bobs/app", 2), ("library/open", 3)];
        let [alices, bobs, everybodys] = images.map(|(name, seed)| shop.sim.image(name, "1", seed, 500));
        let (alice, bob, nobody) = (user(&shop, "alice"), user(&shop, "bob"), shop.curt().anonymous());
        assert_eq!(alice.pull(&alices, 0).await, Ok(alices.index), "{}", shop.label());
        assert_hidden(&shop, &bob, &alices, 404).await;
        assert_hidden(&shop, &nobody, &alices, 401).await;
        assert_eq!(bob.pull(&bobs, 0).await, Ok(bobs.index), "{}", shop.label());
        assert_hidden(&shop, &alice, &bobs, 404).await;
        // Each has what is his, and everybody what is everybody's.
        assert_eq!(alice.pull(&alices, 0).await, Ok(alices.index), "{}", shop.label());
        for client in [&alice, &bob] {
            let pulled = client.pull(&everybodys, 0).await;
            assert_eq!(pulled, Ok(everybodys.index), "{}", shop.label());
        }
        let pulled = nobody.pull(&everybodys, 0).await;
        assert_eq!(
            pulled.is_ok(),
            is_open(&preset.switches),
            "{}: {pulled:?}",
            shop.label()
        );
        // What costs is the operator's affair, and was bought once: an index and a platform of each.
        let journal = shop.sim.journal();
        assert_eq!(buyers(&journal), [Some("robot"); 6], "{}", shop.label());
    }
}
