//! Programs for paths of one registry: each repository is pulled with what its own gave.

use super::super::super::switches::Closed;
use super::*;

/// Two teams, each of which is shown its own repositories alone.
pub(super) fn divided() -> Vec<Preset> {
    turned(registries(), |switches| {
        switches.closed = vec![
            Closed {
                below: "team/",
                to: &["team"],
            },
            Closed {
                below: "other/",
                to: &["other"],
            },
        ];
    })
}

fn two(first: Protocol, second: Protocol) -> (Program, Program) {
    let life = |protocol| (protocol == Protocol::Plugin).then_some(HOUR);
    (
        Program::new(first, "team", life(first)),
        Program::new(second, "other", life(second)),
    )
}

#[tokio::test(start_paused = true)]
async fn each_repository_is_pulled_with_what_the_program_of_its_path_gave() {
    use Protocol::{Helper, Plugin};
    for preset in divided() {
        for (first, second) in [(Helper, Helper), (Plugin, Plugin), (Helper, Plugin)] {
            let (team, other) = two(first, second);
            let accounts = vec![team.account("team"), other.account("other")];
            let desk = Desk::open(&preset, accounts, &[&team, &other]);
            for pull in 0..4 {
                for path in ["team/app", "other/app"] {
                    let answer = desk.get(&format!("{path}{pull}"), pull).await;
                    assert!(answer.is_good(), "{path}{pull}: {}", desk.label());
                }
            }
            assert_eq!((team.runs(), other.runs()), (1, 1), "{}", desk.label());
            assert!(team.asked().contains("docker.io/team"), "{}", team.asked());
            assert!(other.asked().contains("docker.io/other"), "{}", other.asked());
            // Neither is for what stands elsewhere.
            assert!(!desk.get("third/app", 0).await.is_good(), "{}", desk.label());
            let journal = desk.shop.sim.journal();
            let mut about = journal
                .iter()
                .filter(|entry| entry.path.contains("/third/") && entry.user.is_some());
            assert_eq!(about.next().map(|entry| &entry.path), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_fails_fails_for_its_own_path_alone() {
    for preset in divided() {
        for (protocol, _) in BOTH {
            let (team, other) = two(protocol, protocol);
            let accounts = vec![team.account("team"), other.account("other")];
            let desk = Desk::open(&preset, accounts, &[&team, &other]);
            for mode in [Mode::Fails, Mode::Hangs] {
                team.does(mode);
                for pull in 0..20 {
                    let number = pull + if mode == Mode::Hangs { 100 } else { 0 };
                    let answer = desk.get(&format!("team/app{number}"), number).await;
                    assert_eq!(answer.status.as_u16(), 503, "{mode:?}, {pull}: {}", desk.label());
                    let answer = desk.get(&format!("other/app{number}"), number).await;
                    assert!(answer.is_good(), "{mode:?}, {pull}: {}", desk.label());
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
            }
            assert!(other.runs() <= 2, "{}: {}", other.runs(), desk.label());
            team.does(Mode::Gives);
            tokio::time::sleep(MINUTE * 2).await;
            assert!(desk.get("team/late", 0).await.is_good(), "{}", desk.label());
        }
    }
}
