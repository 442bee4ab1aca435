//! The presets that a scenario runs over: all of them, less those to which it cannot apply, each left out for
//! a reason that is named here; and what is turned on top of them.
//!
//! A scenario turns its own switch on each of these; the rest of the preset stays as it is.

use super::super::client::Shop;
use super::super::presets::{self, PASSWORD, Preset};
use super::super::switches::{
    Account, Allowance, Auth, Delivery, Figures, Lockout, Realm, Scope, Switches, TokenAnswer,
};
use crate::support::seawall::Choices;
use std::time::Duration;

/// The first seed of the worlds here.
const SEED: u64 = 0x0be5;

/// All whose faults do not come by chance: those would hide what a scenario looks for.
pub(super) fn steady() -> Vec<Preset> {
    let mut all = presets::all();
    all.retain(|preset| preset.switches.chaos == 0.0);
    all
}

/// The steady ones, without a rate of their own and without stores that refuse at first: many requests at one
/// moment of virtual time would meet those, not the scenario. Rates and refusals have scenarios of their own.
pub(super) fn unhurried() -> Vec<Preset> {
    turned(steady(), |switches| {
        switches.rate = None;
        switches.store_refusals = 0;
    })
}

/// Those that give tokens; where there are none, nothing can go wrong with them.
pub(super) fn with_tokens() -> Vec<Preset> {
    let mut presets = unhurried();
    presets.retain(|preset| gives_tokens(&preset.switches));
    presets
}

/// Those that give tokens, from a host of its own: on the registry's host a token service does not fail alone,
/// so it is moved away from there.
pub(super) fn with_token_host() -> Vec<Preset> {
    turned(with_tokens(), |switches| {
        if switches.token_path().is_some() {
            switches.realm = Realm::Service;
        }
    })
}

/// Those whose blobs are in stores; what is read from the registry itself meets no store.
pub(super) fn with_stores() -> Vec<Preset> {
    let mut presets = unhurried();
    presets.retain(|preset| preset.switches.blobs != Delivery::Inline);
    presets
}

/// Those where a HEAD tells what a tag points at; elsewhere it costs a pull to know.
pub(super) fn where_head_tells(mut presets: Vec<Preset>) -> Vec<Preset> {
    presets.retain(|preset| preset.switches.head_tells());
    presets
}

/// Those that are not asked with an account: neighbours share an address, not an account.
pub(super) fn without_accounts(mut presets: Vec<Preset>) -> Vec<Preset> {
    presets.retain(|preset| preset.switches.accounts.is_empty());
    presets
}

/// Those that can know an account, with these instead of their own; a registry that asks nobody who he is
/// knows none.
pub(super) fn with_accounts(accounts: &[(&'static str, Option<Allowance>)]) -> Vec<Preset> {
    let mut presets = unhurried();
    presets.retain(|preset| preset.switches.auth != Auth::Nobody);
    let account = |(name, allowance): &(&'static str, Option<Allowance>)| Account {
        name,
        password: PASSWORD,
        former: None,
        allowance: *allowance,
    };
    turned(presets, |switches| {
        switches.accounts = accounts.iter().map(account).collect();
        switches.lockout = Some(LOCKOUT);
        count_whole_pulls(switches);
    })
}

/// How the largest registry locks user names.
pub(super) const LOCKOUT: Lockout = Lockout {
    failures: 5,
    within: Duration::from_secs(300),
    length: Duration::from_secs(600),
};

/// The unhurried ones, each of which allows everybody this much and says so, without neighbours.
pub(super) fn allowing(allowance: Allowance) -> Vec<Preset> {
    turned(unhurried(), |switches| {
        switches.allow(Some(allowance));
        switches.foreign_per_hour = 0.0;
        count_whole_pulls(switches);
    })
}

/// Pulls count one each and figures are told: what costs half has a scenario of its own.
fn count_whole_pulls(switches: &mut Switches) {
    switches.gets_per_unit = 1;
    switches.source = true;
    if switches.figures == Figures::Silent {
        switches.figures = Figures::Both;
    }
}

/// Tokens that say that they are good for five minutes, and are.
pub(super) fn for_five_minutes(switches: &mut Switches) {
    let field = switches.token.field;
    switches.token = TokenAnswer {
        field,
        expires_in: Some(300),
    };
    switches.token_life = Duration::from_secs(300);
}

/// Turns something on each of these.
pub(super) fn turned(presets: Vec<Preset>, turn: impl Fn(&mut Switches)) -> Vec<Preset> {
    let each = presets.into_iter().map(|preset| preset.turned(&turn));
    each.collect()
}

/// True where somebody gives tokens.
fn gives_tokens(switches: &Switches) -> bool {
    match switches.auth {
        Auth::Nobody | Auth::Basic => false,
        Auth::Bearer | Auth::BothOnOneLine | Auth::BothInTwoFields => true,
    }
}

/// True where one token opens every repository, and the challenge says so.
pub(super) fn one_token_for_all(switches: &Switches) -> bool {
    matches!(switches.scope, Scope::Fixed(_))
}

/// Opens in front of a preset; the case is for messages.
pub(super) fn shop(preset: &Preset, case: &str) -> Shop {
    shop_with(preset, case, Choices::default())
}

/// Likewise, with choices.
pub(super) fn shop_with(preset: &Preset, case: &str, choices: Choices) -> Shop {
    let name = format!("{} {case}", preset.name);
    Shop::open_with(&name, preset.switches.clone(), choices, SEED)
}

/// Puts a small image, all it takes to cost one pull, and says where it is.
pub(super) fn put(shop: &Shop, repository: &str, number: u64) -> String {
    let tag = format!("t{number}");
    shop.sim
        .content(|content| content.small(repository, &tag, number));
    super::super::client::manifest(repository, tag)
}
#[test]
fn no_filter_leaves_out_more_than_it_names() {
    let counts = [
        ("all", presets::all(), 24),
        ("steady", steady(), 23),
        ("with tokens", with_tokens(), 18),
        ("with a token host", with_token_host(), 18),
        ("with stores", with_stores(), 21),
        ("with accounts", with_accounts(&[]), 19),
        ("where HEAD tells", where_head_tells(steady()), 22),
        ("without accounts", without_accounts(steady()), 19),
    ];
    for (name, presets, count) in counts {
        assert_eq!(presets.len(), count, "{name}");
    }
}
