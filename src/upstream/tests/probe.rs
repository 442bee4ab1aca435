//! Budgets that are read before the first pull.

use super::*;
use crate::policy::budget::Standing;

const FIGURES: Script = |_, _, head| {
    let left = if head.contains("authorization") { 180 } else { 80 };
    let figures = format!("ratelimit-limit: 200;w=3600\r\nratelimit-remaining: {left};w=3600\r\n");
    let kind = "content-type: application/vnd.oci.image.index.v1+json\r\n";
    format!(
        "HTTP/1.1 200 OK\r\n{kind}{figures}docker-content-digest: {}\r\ncontent-length: 10\r\n\r\n",
        digest()
    )
};

fn hub(options: &mut Options) {
    options.registry = Pattern::parse("docker.io").unwrap();
    options.url = Some(http::Uri::from_static("http://registry-1.docker.io"));
    options.credentials.clear();
}

fn of_hub(world: &World) -> Arc<Upstream> {
    let used = world.upstreams.used();
    let hub = used.iter().find(|used| used.registry.as_str() == "docker.io");
    hub.unwrap().upstream.clone()
}

#[tokio::test(start_paused = true)]
async fn docker_hubs_budget_is_read_once_by_head_for_each_account() {
    let world = world(FIGURES, hub);
    world.upstreams.read_budgets(|_| false).await;
    let budget = of_hub(&world).budget().0;
    assert_eq!((budget[0].limit, budget[0].remaining), (200, 80));
    assert_eq!(world.count("HEAD /v2/ratelimitpreview/test/manifests/latest"), 1);
    assert_eq!(world.count("HTTP/1.1"), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_another_host_or_another_registry() {
    let elsewhere = world(FIGURES, |options| {
        hub(options);
        options.url = Some(http::Uri::from_static("http://hub.mirror.example"));
    });
    elsewhere.upstreams.read_budgets(|_| false).await;
    let other = world(FIGURES, |_| {});
    other.upstreams.read_budgets(|_| false).await;
    assert_eq!(elsewhere.count("") + other.count(""), 0);
}

#[tokio::test(start_paused = true)]
async fn accounts_that_are_parked_are_skipped_and_the_others_read() {
    let script: Script = |host, line, head| match line {
        _ if head.contains("cm9ib3Q6") => answer("401 Unauthorized", "www-authenticate: Basic\r\n", ""),
        _ if head.contains("authorization") => FIGURES(host, line, head),
        _ => answer("401 Unauthorized", "www-authenticate: Basic\r\n", ""),
    };
    let world = world(script, |options| {
        let robot = options.credentials[0].clone();
        hub(options);
        let spare = login("spare", "hunter2");
        options.credentials = vec![robot, spare];
    });
    for _ in 0..2 {
        world.upstreams.read_budgets(|_| false).await;
    }
    assert_eq!(world.count("Basic cm9ib3Q6"), 1);
    assert_eq!(world.count("Basic c3BhcmU6"), 2);
    let budget = of_hub(&world).budget().0;
    let standings: Vec<_> = budget.iter().map(|bucket| bucket.standing).collect();
    assert!(standings.contains(&Standing::Known), "{standings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_offline_gives_up_after_the_first_account() {
    // The connection is closed unanswered.
    let world = world(
        |_, _, _| String::new(),
        |options| {
            let robot = options.credentials[0].clone();
            hub(options);
            options.credentials = vec![robot.clone(), robot];
        },
    );
    world.upstreams.read_budgets(|_| false).await;
    assert!(world.count("HEAD") <= 3, "{}", world.count("HEAD"));
    assert_eq!(world.count("GET"), 0);
}
