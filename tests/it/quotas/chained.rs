//! A Seawall behind a Seawall: the quota of the one is the budget of the other.

use super::*;

/// A dialer that reaches a Seawall under every name, from one address.
fn dialer(parent: &Arc<Seawall>) -> Dialer {
    let parent = parent.clone();
    Dialer {
        proxies: Proxies::Never,
        resolve: Arc::new(|_| Box::pin(async { Ok(vec![ADDRESS]) })),
        connect: Arc::new(move |_| {
            let near = parent.connect((MINE, 9).into());
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Io>) })
        }),
    }
}

/// A Seawall whose upstream is another one.
fn child_of(parent: &World, directory: &tempfile::TempDir) -> Arc<Seawall> {
    let dialer = dialer(&parent.seawall);
    Arc::new(Seawall::start_over(directory.path(), &dialer, Choices::default()))
}

#[tokio::test(start_paused = true)]
async fn a_seawall_behind_a_seawall_obeys_its_parents_quota_as_a_budget() {
    let parent = world(granting(reads(6)));
    let directory = tempfile::tempdir().unwrap();
    let child = child_of(&parent, &directory);
    let images: Vec<_> = (0..12).map(|seed| image(&parent.registry, None, seed)).collect();
    let mut served = 0;
    let mut wait = None;
    for image in &images {
        let answer = child.get(&manifest_path(image.manifest)).await;
        if answer.is_good() {
            served += 1;
        } else {
            let allows = "docker.io allows this cache 6 pulls per 60 s, and 0 are left";
            assert!(text(&answer).contains(allows), "{}", text(&answer));
            wait.get_or_insert(told(&answer));
        }
    }
    assert!((4..=6).contains(&served), "{served}");
    let refuses = || {
        let told = parent.seawall.metrics.exposition();
        let mut refusals = told
            .lines()
            .filter(|line| line.starts_with("seawall_quota_refusals_total{"));
        refusals.any(|line| !line.ends_with(" 0"))
    };
    assert!(!refuses(), "the parent had to refuse");
    tokio::time::sleep(wait.unwrap()).await;
    assert!(child.get(&manifest_path(images[11].manifest)).await.is_good());
    assert!(!refuses(), "the parent had to refuse");
}

#[tokio::test(start_paused = true)]
async fn what_a_parent_cannot_pay_for_is_a_spent_budget_to_its_child_and_the_rest_goes_on() {
    let parent = world(Choices::default());
    let held = image(&parent.registry, Some("held"), 1);
    assert!(parent.seawall.get(&manifest_path("held")).await.is_good());
    let blob = held_blob(&parent, MIB, 9).await;
    let missing = image(&parent.registry, Some("missing"), 2);
    let path = manifest_path(missing.manifest);
    for path in [manifest_path("missing"), path.clone()] {
        parent.registry.script(path, Script::told(0));
    }
    let head = |seawall: Arc<Seawall>| async move {
        let path = manifest_path("missing");
        seawall.ask(Method::HEAD, &path, &[]).await.status
    };
    assert_eq!(head(parent.seawall.clone()).await, StatusCode::OK);
    let refused = parent.seawall.get(&path).await;
    assert_eq!(refused.header("ratelimit-limit"), "100;w=3600");
    assert_eq!(refused.header("ratelimit-remaining"), "0;w=3600");
    let wait = told(&refused);
    let directory = tempfile::tempdir().unwrap();
    let child = child_of(&parent, &directory);
    let refused = child.get(&path).await;
    let spent = "docker.io allows this cache 100 pulls per 3600 s, and 0 are left; all of them are spent";
    assert!(text(&refused).contains(spent), "{}", text(&refused));
    assert_eq!(refused.header("ratelimit-limit"), "100;w=3600");
    assert_eq!(told(&refused), wait);
    assert!(child.get(&blob_path(&blob)).await.is_good());
    assert_eq!(head(child.clone()).await, StatusCode::OK);
    assert!(child.get(&manifest_path("held")).await.is_good());
    // It has found out that the parent holds some, and still obeys.
    told(&child.get(&path).await);
    let spent = parent.registry.seen(&Method::GET, &missing.manifest.to_string());
    assert!(spent.is_empty(), "{spent:?}");
    parent.registry.heal();
    tokio::time::sleep(wait).await;
    assert!(child.get(&path).await.is_good());
    assert!(child.get(&manifest_path(held.manifest)).await.is_good());
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_knows_no_figures_is_no_reason_to_leave_it_alone() {
    let parent = world(Choices::default());
    let blob = held_blob(&parent, MIB, 9).await;
    let image = image(&parent.registry, Some("app"), 1);
    let alone = Script {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        headers: vec![("retry-after", "600".to_owned())],
        ..Script::default()
    };
    for path in [manifest_path("app"), manifest_path(image.manifest)] {
        parent.registry.script(path, alone.clone());
    }
    let directory = tempfile::tempdir().unwrap();
    let child = child_of(&parent, &directory);
    for (method, path) in [
        (Method::HEAD, manifest_path("app")),
        (Method::GET, manifest_path(image.manifest)),
    ] {
        let refused = child.ask(method, &path, &[]).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((590..=600).contains(&wait), "{wait}");
        assert!(child.get(&blob_path(&blob)).await.is_good());
    }
}
