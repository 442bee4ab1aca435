//! Credentials that a cloud gives for what vouches for us: kept, renewed at half of their life, and replaced.

mod amazon;
mod azure;
mod google;
mod logged;

use std::path::Path;
use std::time::Duration;

use seawall::cache::AccountStatus;
use seawall::policy::identity::Prefix;
use seawall::upstream::{Account, Cloud, Provider, Secret, Source, Variables};

use super::super::client::Shop;
use super::super::identities::Identities;
use super::super::journal::Role;
use super::super::presets;
use super::over::put;
use crate::support::seawall::Choices;

const SEED: u64 = 0xc10d;
const HOUR: u64 = 3600;

/// An account whose credential this cloud gives, by these variables.
fn account(provider: Provider, variables: &[(&str, &str)]) -> Account {
    let variable = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
    let cloud = Cloud {
        provider,
        variables: Variables(variables.iter().map(variable).collect()),
        timeout: Duration::from_secs(10),
    };
    Account {
        identity: Source::Cloud(cloud).into(),
        prefix: Prefix::ALL,
    }
}

/// A registry that this cloud has, and a Seawall in front of it.
fn shop(name: &str, account: Account) -> Shop {
    let mut presets = presets::all().into_iter();
    let mut switches = presets.find(|preset| preset.name == name).unwrap().switches;
    switches.private = true;
    let user = match name {
        "acr" => Some("00000000-0000-0000-0000-000000000000"),
        "gar" => Some("oauth2accesstoken"),
        _ => None,
    };
    if let Some(user) = user {
        switches = presets::with_account(switches, user, None);
    }
    let choices = Choices {
        credentials: vec![account],
        ..Choices::default()
    };
    let shop = Shop::open_with("clouds", switches, choices, SEED);
    shop.sim.identities(|all| all.reachable = true);
    shop
}

/// Pulls something that is not held yet.
async fn pull(shop: &Shop, number: u64) -> bool {
    let path = put(shop, &format!("team/app{number}"), number);
    shop.curt().get(&path).await.is_good()
}

pub(super) async fn pass(hours: f64) {
    tokio::time::sleep(Duration::from_secs_f64(hours * HOUR as f64)).await;
}

/// How the account stands, as `seawall status` has it.
pub(super) fn standing(shop: &Shop) -> AccountStatus {
    let status = shop.seawall.cache.status();
    let upstream = status
        .upstreams
        .iter()
        .find(|upstream| upstream.registry == "docker.io");
    upstream.unwrap().accounts[0].clone()
}

/// Sees that no pull comes, and that the status says why, with this among its words and without what is secret.
async fn fails(shop: &Shop, why: &str) {
    assert!(!pull(shop, 0).await);
    let told = standing(shop);
    assert_eq!(told.state, "failing");
    assert!(
        told.why.as_deref().is_some_and(|told| told.contains(why)),
        "{told:?}"
    );
    assert!(!format!("{told:?}").contains("CANARY"), "{told:?}");
}

/// A change of what the clouds know.
type Turn = fn(&mut Identities);

/// How often these hosts were asked.
fn asked(shop: &Shop, role: Role) -> usize {
    shop.sim
        .journal()
        .iter()
        .filter(|entry| entry.role == role)
        .count()
}

fn write(directory: &Path, token: &str) -> String {
    let path = directory.join("token");
    std::fs::write(&path, format!("{token}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}
