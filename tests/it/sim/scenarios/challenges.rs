//! Challenges as strange as they come, and realms that no password may go to.

use http::StatusCode;

use super::super::client::verified;
use super::super::journal::{About, Counted, Entry, Role};
use super::super::presets::with_account;
use super::super::switches::{Auth, Realm, Scope, Spelling, Switches};
use super::over::{put, shop, turned, with_tokens};

/// A form of a challenge, and how it is turned on.
type Form = (&'static str, fn(&mut Switches));

/// Every form in which a challenge comes.
const FORMS: [Form; 14] = [
    ("relative", |s| s.realm = Realm::Relative("/v2/token")),
    ("with a query", |s| s.realm = Realm::WithQuery),
    ("same host", |s| s.realm = Realm::SameHost("/token")),
    ("no scope", |s| s.scope = Scope::Absent),
    ("scope aws", |s| s.scope = Scope::Fixed("aws")),
    ("scope *", |s| s.scope = Scope::Fixed("*")),
    ("lower case", |s| s.spelling = Spelling::LowerCase),
    ("odd spaces", |s| s.spelling = Spelling::OddSpaces),
    ("unquoted", |s| s.spelling = Spelling::UnquotedService),
    ("one line", |s| s.auth = Auth::BothOnOneLine),
    ("two fields", |s| s.auth = Auth::BothInTwoFields),
    ("basic", |s| s.auth = Auth::Basic),
    ("no service", |s| s.service = None),
    ("only at /v2/", |s| s.challenge_on_repository = false),
];

/// With an account, if it has none.
fn with_robot(switches: &mut Switches) {
    if switches.accounts.is_empty() {
        *switches = with_account(switches.clone(), "robot", None);
    }
}

#[tokio::test(start_paused = true)]
async fn every_oddity_of_a_challenge_is_satisfied() {
    for (number, preset) in turned(with_tokens(), with_robot).into_iter().enumerate() {
        for (form, (name, turn)) in FORMS.iter().enumerate() {
            // Every form and every preset meets both; a registry that is private anyway stays so.
            let private = (number + form) % 2 == 0;
            let preset = preset.clone().turned(|switches| {
                turn(switches);
                switches.private |= private;
            });
            let shop = shop(&preset, name);
            let answer = shop.curt().get(&put(&shop, "library/app", 1)).await;
            assert!(verified(&answer, None).is_ok(), "{}: {answer:?}", shop.label());
            let tokens = usize::from(preset.switches.auth != Auth::Basic);
            assert_eq!(shop.sim.journal().tokens(), tokens, "{}", shop.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_not_the_registrys_gets_neither_question_nor_password() {
    // S014, S018, S024
    let realms = [
        "http://stranger.example.org/token",
        "http://auth.example.com.stranger.example.org/token",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:5001/metrics",
        "http://[::1]/token",
        "http://10.0.0.1/token",
    ];
    for preset in turned(with_tokens(), with_robot) {
        for realm in realms {
            let preset = preset
                .clone()
                .turned(|switches| switches.realm = Realm::Elsewhere(realm));
            let shop = shop(&preset, realm);
            let answer = shop.curt().get(&put(&shop, "library/app", 1)).await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", shop.label());
            let journal = shop.sim.journal();
            let unnamed = |entry: &Entry| {
                entry.role == Role::Registry && entry.about != About::Token && entry.scheme.is_none()
            };
            assert!(
                !journal.is_empty() && journal.iter().all(unnamed),
                "{}: {journal:#?}",
                shop.label()
            );
        }
    }
}
