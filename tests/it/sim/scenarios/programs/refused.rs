//! Passwords that the registry takes no more: the program has another by then.

use super::super::super::identities::Identities;
use super::super::over::LOCKOUT;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_password_that_is_refused_is_replaced_at_once_and_costs_nobody_a_pull() {
    for preset in registries() {
        for (protocol, life) in BOTH {
            let (desk, program) = Desk::with_one(&preset, protocol, life);
            assert!(desk.pulls(0).await, "{}", desk.label());
            for rotation in 1..=3 {
                tokio::time::sleep(MINUTE * 8).await;
                desk.shop.sim.identities(Identities::revoke);
                desk.shop.sim.revoke_tokens();
                let answers = desk.at_once(rotation * 100..rotation * 100 + 20).await;
                let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
                assert!(
                    answers.iter().all(Answer::is_good),
                    "{statuses:?}: {}",
                    desk.label()
                );
            }
            // As many are on their way at most as may fail without a lock.
            let (failed, runs) = (desk.failed_logins(), program.runs());
            assert!(failed < 3 * LOCKOUT.failures, "{failed}: {}", desk.label());
            // Besides those of which a helper was due anyway.
            assert!((4..=5).contains(&runs), "{runs}: {}", desk.label());
            let shown = shown(&desk.shop, &[Role::Registry, Role::Tokens]);
            assert_eq!(shown.last().unwrap(), &format!("hidden-team-{runs}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_while_its_program_fails_is_shown_no_more_until_there_is_another() {
    for preset in registries() {
        for (protocol, life) in BOTH {
            let (desk, program) = Desk::with_one(&preset, protocol, life);
            assert!(desk.pulls(0).await, "{}", desk.label());
            tokio::time::sleep(MINUTE * 6).await;
            program.does(Mode::Fails);
            desk.shop.sim.identities(Identities::revoke);
            for pull in 1..=5 {
                assert!(!desk.pulls(pull).await, "{}", desk.label());
            }
            assert_eq!(desk.failed_logins(), 1, "{}", desk.label());
            assert_eq!(program.runs(), 2, "{}", desk.label());
            program.does(Mode::Gives);
            tokio::time::sleep(MINUTE * 2).await;
            assert!(desk.pulls(10).await, "{}", desk.label());
            assert_eq!(standing(&desk.shop).state, "ok", "{}", desk.label());
        }
    }
}
