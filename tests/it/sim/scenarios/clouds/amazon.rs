//! ECR, by every way to Amazon's keys.

use std::time::Duration;

use http::StatusCode;
use seawall::upstream::{Account, Provider};
use tokio::task::JoinSet;

use super::super::super::identities::{CLOUD, Identities};
use super::super::super::journal::{Counted, Role};
use super::super::over::put;
use super::{Turn, account, asked, fails, pass, pull, shop, standing, write};

/// By keys in the environment; ECR's services are the simulator's.
pub(super) const STATIC: [(&str, &str); 4] = [
    ("AWS_REGION", "eu-west-1"),
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "CANARYsecret/key"),
    ("AWS_ENDPOINT_URL", CLOUD),
];

pub(super) fn aws(more: &[(&str, &str)]) -> Account {
    let region_and_place = [STATIC[0], STATIC[3]];
    account(Provider::Aws, &[&region_and_place, more].concat())
}

const AGENT: (&str, &str) = (
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "http://169.254.170.23/v1/credentials",
);

/// The variables of the two ways that show a token in a file: to STS, and to an agent.
pub(super) fn by_file(file: &str) -> [[(&str, &str); 2]; 2] {
    let web = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pull"),
    ];
    [web, [AGENT, ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file)]]
}

#[tokio::test(start_paused = true)]
async fn every_way_to_keys_leads_to_ecr_and_a_hundred_pulls_cost_one_token() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "pod.jwt.1");
    let [web, agent] = by_file(&file);
    // The requests that each way takes besides that for the token.
    for (account, near, far) in [
        (account(Provider::Aws, &STATIC), 0, 1),
        (aws(&web), 0, 2),
        (aws(&agent), 1, 1),
        (aws(&[]), 3, 1),
    ] {
        let shop = shop("ecr-private", account);
        shop.sim.identities(|all| {
            (all.aws.agent_token, all.aws.web_token) = ("pod.jwt.1".to_owned(), "pod.jwt.1".to_owned());
        });
        let mut pulls = JoinSet::new();
        for number in 0..100 {
            let path = put(&shop, &format!("team/app{number}"), number);
            let client = shop.curt();
            pulls.spawn(async move { client.get(&path).await.is_good() });
        }
        assert!(
            pulls.join_all().await.into_iter().all(|good| good),
            "{:?}",
            standing(&shop)
        );
        let found = (
            asked(&shop, Role::Metadata) + asked(&shop, Role::Agent),
            asked(&shop, Role::Cloud),
        );
        assert_eq!(found, (near, far));
        let standing = standing(&shop);
        assert_eq!((standing.name.as_str(), standing.state.as_str()), ("aws", "ok"));
    }
}

#[tokio::test(start_paused = true)]
async fn ecrs_token_is_renewed_at_half_of_its_life_and_no_pull_waits_for_it() {
    for one in [false, true] {
        let shop = shop("ecr-private", aws(&[]));
        shop.sim.identities(|all| all.aws.one = one);
        for quarter in 0..96 {
            assert!(
                pull(&shop, quarter).await,
                "after {quarter} quarters: {:?}",
                standing(&shop)
            );
            pass(0.25).await;
        }
        let tokens = shop
            .sim
            .journal()
            .iter()
            .filter(|entry| entry.path == "/")
            .count();
        assert_eq!(tokens, 4, "a token is good for twelve hours");
        assert_eq!(shop.sim.journal().status(401), 1, "the first challenge");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_cloud_is_lived_through_to_the_end_of_the_token_and_told() {
    let shop = shop("ecr-private", aws(&[]));
    assert!(pull(&shop, 0).await);
    pass(5.0).await;
    shop.sim.go_down(&[Role::Cloud]);
    for number in 1..28 {
        pass(0.25).await;
        assert!(pull(&shop, number).await, "{number}: {:?}", standing(&shop));
    }
    let told = standing(&shop);
    assert_eq!(told.state, "failing");
    assert!(
        told.why.as_deref().is_some_and(|why| why.starts_with("ECR: ")),
        "{told:?}"
    );
    pass(0.5).await;
    let path = put(&shop, "team/late", 99);
    let answer = shop.curt().get(&path).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    // It is not asked more than once a minute.
    let before = asked(&shop, Role::Metadata);
    for _ in 0..600 {
        let _ = shop.curt().get(&path).await;
        pass(1.0 / 3600.0).await;
    }
    let questions = (asked(&shop, Role::Metadata) - before) / 3;
    assert!((5..=20).contains(&questions), "{questions}");
    shop.sim.heal();
    pass(0.1).await;
    assert!(pull(&shop, 100).await);
    assert_eq!(standing(&shop).state, "ok");
}

#[tokio::test(start_paused = true)]
async fn tokens_in_files_are_read_anew_each_time_and_old_ones_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "pod.jwt.1");
    let [web, agent] = by_file(&file);
    for (account, why) in [
        (
            aws(&web),
            "see whether the file of AWS_WEB_IDENTITY_TOKEN_FILE is renewed",
        ),
        (aws(&agent), "the credentials agent answered with status 401"),
    ] {
        write(directory.path(), "pod.jwt.1");
        let shop = shop("ecr-private", account);
        let turn = |token: &str| {
            shop.sim.identities(|all| {
                (all.aws.agent_token, all.aws.web_token) = (token.to_owned(), token.to_owned());
            });
        };
        turn("pod.jwt.1");
        assert!(pull(&shop, 0).await, "{:?}", standing(&shop));
        turn("pod.jwt.2");
        pass(6.1).await;
        assert!(pull(&shop, 1).await);
        pass(0.01).await;
        let told = standing(&shop);
        assert!(
            told.why.as_deref().is_some_and(|told| told.contains(why)),
            "{told:?}"
        );
        assert!(!format!("{told:?}").contains("pod.jwt"), "{told:?}");
        write(directory.path(), "pod.jwt.2");
        pass(0.1).await;
        assert!(pull(&shop, 2).await);
        pass(0.01).await;
        assert_eq!(standing(&shop).state, "ok");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_registry_takes_no_more_is_replaced_at_once() {
    let shop = shop("ecr-private", aws(&[]));
    assert!(pull(&shop, 0).await);
    pass(1.0).await;
    shop.sim.identities(Identities::revoke);
    assert!(pull(&shop, 1).await, "{:?}", standing(&shop));
    assert_eq!(asked(&shop, Role::Cloud), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_wrong_is_made_up_for_by_that_of_the_cloud() {
    for ahead in [0, 200, 900, 86_400] {
        let shop = shop("ecr-private", aws(&[]));
        shop.sim.identities(|all| all.ahead = ahead);
        assert!(pull(&shop, 0).await, "{ahead}: {:?}", standing(&shop));
        assert_eq!(
            asked(&shop, Role::Cloud),
            if ahead > 300 { 2 } else { 1 },
            "{ahead}"
        );
        // How long it is good for does not depend on whose clock is right.
        let before = asked(&shop, Role::Cloud);
        pass(5.9).await;
        assert!(pull(&shop, 1).await);
        assert_eq!(asked(&shop, Role::Cloud), before, "{ahead}");
        pass(0.2).await;
        assert!(pull(&shop, 2).await);
        pass(0.01).await;
        assert!(asked(&shop, Role::Cloud) > before, "{ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_set_up_is_told_with_the_next_step_and_without_secrets() {
    let none = ("AWS_ACCESS_KEY_ID", "AKIDNOBODY");
    let secret = ("AWS_SECRET_ACCESS_KEY", "CANARYsecret");
    let file = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pull"),
    ];
    let wrong = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), secret];
    let one_hop: Turn = |all| all.aws.one_hop = true;
    let no_role: Turn = |all| all.aws.roles = None;
    for (variables, turn, why) in [
        (&[][..], one_hop, "its answer's hop limit must be 2"),
        (&[][..], no_role, "attach an instance profile"),
        (&[none, secret][..], |_| (), "its keys are not valid any more"),
        (&wrong[..], |_| (), "InvalidSignatureException"),
        (
            &file[..],
            |_| (),
            "AWS_WEB_IDENTITY_TOKEN_FILE: /nowhere/token cannot be read",
        ),
    ] {
        let shop = shop("ecr-private", aws(variables));
        shop.sim.identities(turn);
        let start = tokio::time::Instant::now();
        fails(&shop, why).await;
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_machines_roles_the_first_is_taken_and_what_is_no_name_of_one_is_not_asked_for() {
    let longest = "r".repeat(128);
    for (roles, taken) in [
        ("node+role", "node+role"),
        ("a=b,c.d@e_f-G9\n", "a=b,c.d@e_f-G9"),
        ("first\nsecond\n", "first"),
        (&longest, &longest),
    ] {
        let shop = shop("ecr-private", aws(&[]));
        shop.sim.identities(|all| all.aws.roles = Some(roles.to_owned()));
        assert!(pull(&shop, 0).await, "{roles:?}: {:?}", standing(&shop));
        let asked_for = format!("/latest/meta-data/iam/security-credentials/{taken}");
        let journal = shop.sim.journal();
        assert!(journal.iter().any(|entry| entry.path == asked_for), "{roles:?}");
    }
    let too_long = "r".repeat(129);
    for roles in [
        "", "\n", "\nsecond", "../x", "a b", "a?b", "a%2fb", "<html>", &too_long,
    ] {
        let shop = shop("ecr-private", aws(&[]));
        shop.sim.identities(|all| all.aws.roles = Some(roles.to_owned()));
        fails(&shop, "knows no role: attach an instance profile").await;
        assert_eq!(asked(&shop, Role::Metadata), 2, "{roles:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_metadata_service_that_fails_is_told_as_failing_and_not_as_one_without_a_role() {
    for (path, why) in [
        (
            "/api/token",
            "metadata service answered with status 503: it gives no token",
        ),
        (
            "/security-credentials/",
            "metadata service answered with status 503",
        ),
        ("/node+role", "metadata service answered with status 503"),
    ] {
        let shop = shop("ecr-private", aws(&[]));
        shop.sim.identities(|all| all.refused = Some((path, 503)));
        fails(&shop, why).await;
        let told = standing(&shop).why.unwrap();
        assert!(!told.contains("attach an instance profile"), "{path}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_services_of_a_cloud_together_have_the_time_that_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "pod.jwt.1");
    let [web, _] = by_file(&file);
    for (seconds, good) in [(4, true), (6, false)] {
        let shop = shop("ecr-private", aws(&web));
        shop.sim.identities(|all| {
            all.aws.web_token = "pod.jwt.1".to_owned();
            all.slow = Duration::from_secs(seconds);
        });
        match good {
            true => assert!(pull(&shop, 0).await, "{:?}", standing(&shop)),
            // STS and ECR.
            false => fails(&shop, "it did not answer within 10s").await,
        }
    }
}
