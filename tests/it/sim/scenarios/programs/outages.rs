//! Programs that fail, in each way they can: what is held is used as long as it is good, and whoever can have nothing
//! is told why.

use http::StatusCode;
use seawall::cache::AccountStatus;

use super::super::super::identities::programs::{SECRET, TIMEOUT};
use super::*;
use crate::support::finest::Finest;

/// The ways in which a program fails, and words of why.
fn failures(protocol: Protocol) -> Vec<(Mode, &'static str)> {
    let (garbage, only) = match protocol {
        Protocol::Helper => ("it wrote no user and secret", None),
        Protocol::Plugin => (
            "it wrote no CredentialProviderResponse",
            Some((
                Mode::OtherVersion,
                "it answered in credentialprovider.kubelet.k8s.io/v1alpha9",
            )),
        ),
    };
    let all = [
        (Mode::Fails, "it failed (exit status: 1): the vault is locked"),
        (Mode::GivesAndFails, "it failed (exit status: 1)"),
        (Mode::Hangs, "it did not end within 10s"),
        (Mode::Garbage, garbage),
    ];
    all.into_iter().chain(only).collect()
}

/// Sees that the account fails for this reason, and that nothing secret is told.
fn assert_failing(told: &AccountStatus, why: &str, label: &str) {
    assert_eq!(told.state, "failing", "{label}");
    let said = told.why.as_deref().unwrap_or_default();
    assert!(said.contains(why) && !said.contains(SECRET), "{label}");
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_gave_is_used_to_its_end_however_it_fails_and_the_next_is_found() {
    for preset in registries() {
        for (mode, why) in failures(Protocol::Plugin) {
            let (desk, program) = Desk::with_one(&preset, Protocol::Plugin, Some(HOUR));
            assert!(desk.pulls(0).await, "{}", desk.label());
            program.does(mode);
            for pull in 1..=11 {
                tokio::time::sleep(MINUTE * 5).await;
                assert!(desk.pulls(pull).await, "{mode:?}, {pull}: {}", desk.label());
            }
            assert_failing(&standing(&desk.shop), why, &format!("{mode:?}: {}", desk.label()));
            // Once for each pull that found it due.
            assert!(
                (5..=8).contains(&program.runs()),
                "{}: {}",
                program.runs(),
                desk.label()
            );
            tokio::time::sleep(MINUTE * 10).await;
            let late = desk.get("team/late", 100).await;
            assert_eq!(
                late.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{mode:?}: {}",
                desk.label()
            );
            program.does(Mode::Gives);
            tokio::time::sleep(MINUTE * 2).await;
            assert!(desk.pulls(101).await, "{mode:?}: {}", desk.label());
            assert_eq!(standing(&desk.shop).state, "ok", "{}", desk.label());
            assert_eq!(desk.failed_logins(), 0, "{}", desk.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_helper_gave_is_used_for_days_however_it_fails() {
    for preset in registries() {
        for (mode, why) in failures(Protocol::Helper) {
            let (desk, program) = Desk::with_one(&preset, Protocol::Helper, None);
            assert!(desk.pulls(0).await, "{}", desk.label());
            program.does(mode);
            for pull in 1..=12 {
                tokio::time::sleep(HOUR * 4).await;
                assert!(desk.pulls(pull).await, "{mode:?}, {pull}: {}", desk.label());
            }
            assert_failing(&standing(&desk.shop), why, &format!("{mode:?}: {}", desk.label()));
            program.does(Mode::Gives);
            // Until then, a token that is good for all may do.
            tokio::time::sleep(MINUTE * 6).await;
            assert!(desk.pulls(100).await, "{mode:?}: {}", desk.label());
            assert_eq!(standing(&desk.shop).state, "ok", "{}", desk.label());
            assert_eq!(desk.failed_logins(), 0, "{}", desk.label());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_held_all_clients_are_told_which_program_fails_and_it_is_run_once() {
    for preset in registries() {
        for (protocol, life) in BOTH {
            for (mode, why) in failures(protocol) {
                let (desk, program) = Desk::with_one(&preset, protocol, life);
                program.does(mode);
                let began = Instant::now();
                for answer in desk.at_once(0..20).await {
                    let body = String::from_utf8_lossy(&answer.body);
                    let label = format!("{mode:?}: {}: {body}", desk.label());
                    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{label}");
                    assert!(body.contains(program.name()) && body.contains(why), "{label}");
                    assert!(!body.contains(SECRET), "{label}");
                }
                assert!(began.elapsed() < TIMEOUT * 3 / 2, "{:?}", began.elapsed());
                assert_eq!(program.runs(), 1, "{mode:?}: {}", desk.label());
                assert_failing(&standing(&desk.shop), why, &format!("{mode:?}: {}", desk.label()));
                assert_eq!(desk.shop.sim.journal().pulls(), 0, "{}", desk.label());
                program.does(Mode::Gives);
                tokio::time::sleep(MINUTE).await;
                assert!(desk.pulls(100).await, "{mode:?}: {}", desk.label());
                assert_eq!(program.runs(), 2, "{mode:?}: {}", desk.label());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_helper_that_has_no_login_is_told_and_one_that_is_made_is_found_within_a_minute() {
    for preset in registries() {
        let log = Finest::begin();
        let (desk, program) = Desk::with_one(&preset, Protocol::Helper, None);
        program.does(Mode::HasNone);
        for pull in 0..3 {
            let answer = desk.get(&format!("team/app{pull}"), pull).await;
            assert!(
                answer.status.is_client_error(),
                "{}: {}",
                desk.label(),
                answer.status
            );
        }
        assert_eq!(program.runs(), 1, "{}", desk.label());
        log.logged("docker-credential-vault has no credential for it");
        assert!(shown(&desk.shop, &[Role::Registry, Role::Tokens]).is_empty());
        program.does(Mode::Gives);
        tokio::time::sleep(MINUTE).await;
        // This one has it asked; the next has what it gave.
        let _ = desk.pulls(10).await;
        assert!(desk.pulls(11).await, "{}", desk.label());
        assert_eq!(desk.failed_logins(), 0, "{}", desk.label());
    }
}
