//! Credentials that programs give, by Docker's protocol of helpers and by the kubelet's of plugins: asked for once,
//! renewed in time, kept through their outages, replaced when they are refused, each for its own path.
//!
//! The programs are real ones, and the registries want tokens or passwords.

mod docker;
mod logged;
mod outages;
mod paths;
mod refused;

use std::time::Duration;

use seawall::upstream::Account;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::client::Shop;
use super::super::identities::programs::{Mode, Program, Protocol, during};
use super::super::journal::{Counted, Role};
use super::super::presets::Preset;
use super::clouds::standing;
use super::over::{for_five_minutes, put, shop_with, turned, with_accounts};
use crate::support::seawall::{Answer, Choices};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// The protocols, and how long what they give is good for: helpers cannot say.
const BOTH: [(Protocol, Option<Duration>); 2] = [(Protocol::Helper, None), (Protocol::Plugin, Some(HOUR))];

/// Registries that show nothing without a login: with a token for each repository, with one for all, and by
/// passwords alone.
fn registries() -> Vec<Preset> {
    let mut presets = with_accounts(&[("team", None), ("other", None)]);
    presets.retain(|preset| ["hub-paid", "gitea", "ecr-private"].contains(&preset.name));
    assert_eq!(presets.len(), 3);
    turned(presets, |switches| {
        for_five_minutes(switches);
        switches.private = true;
    })
}

/// A registry, a Seawall in front of it, and the programs that know its passwords.
struct Desk {
    shop: Shop,
    programs: Vec<Program>,
}

impl Desk {
    /// With one program, for all repositories.
    fn with_one(preset: &Preset, protocol: Protocol, life: Option<Duration>) -> (Self, Program) {
        let program = Program::new(protocol, "team", life);
        let accounts = vec![program.account("")];
        (Self::open(preset, accounts, &[&program]), program)
    }

    fn open(preset: &Preset, credentials: Vec<Account>, programs: &[&Program]) -> Self {
        let choices = Choices {
            credentials,
            ..Choices::default()
        };
        let shop = shop_with(preset, "programs", choices);
        for program in programs {
            shop.sim.identities(|all| all.trust(program));
        }
        Self {
            shop,
            programs: programs.iter().map(|program| (*program).clone()).collect(),
        }
    }

    /// Does this, as [`during`].
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let done = during(&self.programs, work).await;
        let now = self.shop.sim.now();
        self.shop.sim.identities(|all| all.hear_of_programs(now));
        done
    }

    /// Asks for something new in the repository.
    async fn get(&self, repository: &str, number: u64) -> Answer {
        let path = put(&self.shop, repository, number);
        self.during(self.shop.curt().get(&path)).await
    }

    /// Asks for something in a repository that is not known yet.
    async fn pulls(&self, number: u64) -> bool {
        self.get(&format!("team/app{number}"), number).await.is_good()
    }

    /// So many at once ask, each for something in a repository that is not known yet.
    async fn at_once(&self, numbers: std::ops::Range<u64>) -> Vec<Answer> {
        let mut clients = JoinSet::new();
        for number in numbers {
            let path = put(&self.shop, &format!("team/app{number}"), number);
            let client = self.shop.curt();
            clients.spawn(async move { client.get(&path).await });
        }
        self.during(clients.join_all()).await
    }

    /// How many logins failed.
    fn failed_logins(&self) -> usize {
        let journal = self.shop.sim.journal();
        let failed = journal
            .iter()
            .filter(|entry| entry.password.is_some() && entry.status == 401);
        failed.count()
    }

    /// Which world this is, and how its account stands, for messages.
    fn label(&self) -> String {
        format!("{}: {:?}", self.shop.label(), standing(&self.shop))
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_clients_at_once_one_has_the_program_run_and_all_pull_with_what_it_gave() {
    for preset in registries() {
        for (protocol, life) in BOTH {
            let (desk, program) = Desk::with_one(&preset, protocol, life);
            let answers = desk.at_once(0..100).await;
            assert!(answers.iter().all(Answer::is_good), "{}", desk.label());
            assert_eq!(program.runs(), 1, "{}", desk.label());
            let standing = standing(&desk.shop);
            let found = (standing.name.as_str(), standing.state.as_str());
            assert_eq!(found, (program.name(), "ok"));
            assert_eq!(desk.failed_logins(), 0, "{}", desk.label());
            let journal = desk.shop.sim.journal();
            assert_eq!(journal.pulls(), 100);
            let named = match protocol {
                Protocol::Helper => "https://index.docker.io/v1/",
                Protocol::Plugin => r#""image":"docker.io/image""#,
            };
            let asked = program.asked();
            assert!(asked.contains(named), "{asked}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_clients_who_find_that_it_has_ended_one_has_the_program_run() {
    for preset in registries() {
        let (desk, program) = Desk::with_one(&preset, Protocol::Plugin, Some(HOUR));
        // What it gave is kept for 20 s: its login is known to be good when it ends.
        program.does(Mode::NotToBeKept);
        assert!(desk.pulls(0).await, "{}", desk.label());
        for round in 1..=3 {
            tokio::time::sleep(Duration::from_secs(25)).await;
            desk.shop.sim.revoke_tokens();
            let answers = desk.at_once(round * 1000..round * 1000 + 100).await;
            assert!(answers.iter().all(Answer::is_good), "{}", desk.label());
        }
        assert_eq!(program.runs(), 4, "{}", desk.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_is_run_again_at_half_of_what_it_said_and_no_pull_waits_for_it() {
    for preset in registries() {
        let (desk, program) = Desk::with_one(&preset, Protocol::Plugin, Some(HOUR));
        for pull in 0..40 {
            assert!(desk.pulls(pull).await, "{pull}: {}", desk.label());
            if pull == 4 {
                assert_eq!(program.runs(), 1, "{}", desk.label());
            }
            tokio::time::sleep(MINUTE * 6).await;
        }
        // At 0, and at each half hour of the four.
        assert_eq!(program.runs(), 8, "{}", desk.label());
        assert_eq!(desk.failed_logins(), 0, "{}", desk.label());
    }
}

#[tokio::test(start_paused = true)]
async fn a_helper_cannot_say_how_long_and_is_run_again_each_quarter_of_an_hour() {
    for preset in registries() {
        let (desk, program) = Desk::with_one(&preset, Protocol::Helper, None);
        for pull in 0..24 {
            assert!(desk.pulls(pull).await, "{pull}: {}", desk.label());
            tokio::time::sleep(MINUTE * 5).await;
        }
        let runs = program.runs();
        assert!((7..=8).contains(&runs), "{runs}: {}", desk.label());
        assert_eq!(standing(&desk.shop).ends, None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_says_is_not_to_be_kept_is_kept_for_seconds() {
    for preset in registries() {
        let (desk, program) = Desk::with_one(&preset, Protocol::Plugin, Some(HOUR));
        program.does(Mode::NotToBeKept);
        let began = Instant::now();
        let mut pull = 0;
        while began.elapsed() < MINUTE * 2 {
            assert!(desk.pulls(pull).await, "{pull}: {}", desk.label());
            pull += 1;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        // Not for each pull, and seldom where a token is good for all.
        let runs = program.runs();
        assert!((1..=13).contains(&runs), "{runs} for {pull}: {}", desk.label());
        assert!(pull > 40, "{pull}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_its_time_is_waited_for_once_and_never_again() {
    for preset in registries() {
        for (protocol, life) in BOTH {
            let (desk, program) = Desk::with_one(&preset, protocol, life);
            program.does(Mode::Waits);
            let later = async {
                tokio::time::sleep(Duration::from_secs(8)).await;
                program.go_on().await;
            };
            let path = put(&desk.shop, "team/first", 0);
            let client = desk.shop.curt();
            let (answer, ()) = desk
                .during(async { tokio::join!(client.get(&path), later) })
                .await;
            assert!(answer.is_good(), "{}", desk.label());
            tokio::time::sleep(MINUTE * 31).await;
            let (began, path) = (Instant::now(), put(&desk.shop, "team/second", 1));
            let pulled = async {
                let answer = client.get(&path).await;
                (answer.is_good(), began.elapsed())
            };
            let (good, took) = desk.during(pulled).await;
            assert!(
                good && took < Duration::from_secs(1),
                "{took:?}: {}",
                desk.label()
            );
            assert_eq!(program.runs(), 2, "{}", desk.label());
            program.go_on().await;
            assert!(desk.pulls(2).await, "{}", desk.label());
            assert_eq!(standing(&desk.shop).state, "ok");
        }
    }
}

/// The passwords that hosts of these roles were shown, in their order, each once.
fn shown(shop: &Shop, roles: &[Role]) -> Vec<String> {
    let mut shown = Vec::new();
    for entry in shop.sim.journal() {
        if let Some(password) = entry.password.filter(|_| roles.contains(&entry.role))
            && !shown.contains(&password)
        {
            shown.push(password);
        }
    }
    shown
}
