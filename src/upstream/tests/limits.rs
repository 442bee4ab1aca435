//! The kinds of 429, and what answers say of budgets.

use super::*;
use crate::policy::budget::Standing;

/// What Docker Hub's front sends: lines that end with a bare LF, which HTTP does not allow.
fn bare() -> String {
    let head =
        "HTTP/1.1 429 Too Many Requests\nContent-Type: text/plain\nRetry-After: 60\nConnection: close\n";
    format!("{head}\nToo Many Requests (HAP429).\n")
}

#[tokio::test(start_paused = true)]
async fn an_abuse_429_with_bare_line_feeds_parks_the_upstream() {
    let abuse = Refusal::Limited {
        kind: LimitKind::Abuse,
        retry_after: Some(Duration::from_secs(60)),
    };
    for ask in 0..3 {
        let world = world(|_, _, _| bare(), |_| {});
        let refused = match ask {
            0 => world.upstream.head(&path(), &tag()).await.err(),
            1 => world.read(Want::From(0)).await.err(),
            _ => world.buy("a/b").await.err(),
        };
        assert_eq!(refused, Some(abuse.clone()), "{ask}");
        assert_eq!(world.upstream.head(&path(), &tag()).await, Err(abuse.clone()));
        assert_eq!(world.count("a/b"), 1, "{ask}");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(world.upstream.head(&path(), &tag()).await.is_err());
        assert_eq!(world.count("a/b"), 2, "{ask}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_microseconds_is_waited_and_parks_nothing() {
    let script: Script = |_, _, head| {
        static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let words = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 880.092µs, allowed: 44000/minute"}]}"#;
        match count % 3 {
            2 if head.contains("/blobs/") => answer("200 OK", "", "0123456789"),
            2 => answer("200 OK", "", "{}"),
            _ => answer("429 Too Many Requests", "", words),
        }
    };
    let world = world(script, |_| {});
    let start = tokio::time::Instant::now();
    assert!(world.buy("a/b").await.is_ok());
    assert_eq!(world.read(Want::From(0)).await.unwrap().1, b"0123456789");
    // Four waits of 50 to 100 ms each.
    let took = start.elapsed().as_millis();
    assert!((200..=420).contains(&took), "{took}");
    assert_eq!(world.count("GET"), 6);
    assert_eq!(world.upstream.exchange().unwrap().shield.parked(), None);
}

#[tokio::test(start_paused = true)]
async fn a_stores_429_is_no_limit_of_the_registrys() {
    let script: Script = |host, _, _| {
        static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        match host {
            "cdn0.example" => answer(
                "429 Too Many Requests",
                "retry-after: 600\r\n",
                "<html>busy</html>",
            ),
            "cdn1.example" => answer("200 OK", "", "0123456789"),
            _ => match ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => to("http://cdn0.example/blob"),
                _ => to("http://cdn1.example/blob"),
            },
        }
    };
    let world = world(script, |_| {});
    assert_eq!(world.read(Want::From(0)).await.unwrap().1, b"0123456789");
    assert_eq!(
        (world.count("cdn0.example GET"), world.count("cdn1.example GET")),
        (1, 1)
    );
    assert_eq!(world.upstream.exchange().unwrap().shield.parked(), None);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_names_no_figures_is_not_limited() {
    let world = world(|_, _, _| answer("200 OK", "", "{}"), |_| {});
    for number in 0..50 {
        assert!(world.buy(&format!("a/b{number}")).await.is_ok());
    }
    assert_eq!(world.upstream.budget().0[0].standing, Standing::Unlimited);
}

#[tokio::test(start_paused = true)]
async fn the_window_is_what_the_last_answer_says() {
    let script: Script = |_, _, head| {
        let window = if head.contains("/old/") { 21600 } else { 3600 };
        let figures = format!("ratelimit-limit: 100;w={window}\r\nratelimit-remaining: 0;w={window}\r\n");
        answer("200 OK", &figures, "{}")
    };
    let world = world(script, |_| {});
    for (repository, hours) in [("a/old/b", 6), ("a/new/b", 1)] {
        assert!(
            world
                .upstream
                .manifest(&repository.parse().unwrap(), &tag(), 0)
                .await
                .is_ok()
        );
        let window = world.upstream.budget().0[0].window;
        assert_eq!(window, Some(Duration::from_secs(hours * 3600)));
        // All of it was spent by others: it comes back within the window that was named last.
        let Err(Refusal::Withheld(withheld)) = world.buy(repository).await else {
            panic!("it was spent")
        };
        let wait = withheld.until.since(world.now());
        assert!(wait <= Duration::from_secs(hours * 3600 + 200), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_credentials_the_one_with_most_left_pays_and_keeps_its_repositories() {
    // Everybody has 100; who came first has spent 90 of them elsewhere.
    let script: Script = |_, _, head| {
        let Some((user, left)) = [("dXNlcjA6", 10), ("dXNlcjE6", 60), ("dXNlcjI6", 40)]
            .into_iter()
            .find(|(user, _)| head.contains(&format!("Basic {user}")))
        else {
            return answer("401 Unauthorized", "www-authenticate: Basic\r\n", "");
        };
        let figures = format!(
            "ratelimit-limit: 100;w=3600\r\nratelimit-remaining: {left};w=3600\r\ndocker-ratelimit-source: {user}\r\n"
        );
        answer("200 OK", &figures, "{}")
    };
    let world = world(script, |options| {
        options.credentials = (0..3)
            .map(|number| login(&format!("user{number}"), "x"))
            .collect();
    });
    let spent = |user: &str| world.count(&format!("authorization: Basic {user}"));
    // While nothing is known of an account it may have everything.
    for number in 0..3 {
        assert!(world.buy(&format!("first/{number}")).await.is_ok());
    }
    assert_eq!(
        [spent("dXNlcjA6"), spent("dXNlcjE6"), spent("dXNlcjI6")],
        [1, 1, 1]
    );
    for number in 0..5 {
        world.buy(&format!("second/{number}")).await.unwrap();
    }
    assert_eq!(
        [spent("dXNlcjA6"), spent("dXNlcjE6"), spent("dXNlcjI6")],
        [1, 6, 1]
    );
    // A repository stays with the account it began with.
    assert!(world.buy("first/2").await.is_ok());
    assert_eq!(
        [spent("dXNlcjA6"), spent("dXNlcjE6"), spent("dXNlcjI6")],
        [1, 6, 2]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_success_frees_no_repository_of_the_budget() {
    let script: Script = |host, line, _| match line {
        _ if host == "store.example" => answer("200 OK", "", "{}"),
        line if line.starts_with("GET /v2/a/b/") => {
            let figures = "ratelimit-limit: 100;w=3600\r\nratelimit-remaining: 0;w=3600\r\n";
            answer("200 OK", figures, "{}")
        }
        line if line.contains("/a/store/") => to("http://store.example/object"),
        line => answer(line.split('/').nth(3).unwrap(), "www-authenticate: Basic\r\n", ""),
    };
    for repository in ["a/404", "a/401", "a/403", "a/500", "a/store"] {
        let world = world(script, |options| options.credentials.clear());
        assert!(world.buy("a/b").await.is_ok());
        let path = repository.parse().unwrap();
        assert!(world.upstream.head(&path, &tag()).await.is_err(), "{repository}");
        let refused = world.buy(repository).await;
        assert!(
            matches!(refused, Err(Refusal::Withheld(_))),
            "{repository}: {refused:?}"
        );
        assert_eq!(world.count(&format!("GET /v2/{repository}")), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_sends_everybody_elsewhere_and_names_no_figures_is_not_limited() {
    let script: Script = |host, _, _| match host {
        "store.example" => answer("200 OK", "", "{}"),
        _ => to("http://store.example/object"),
    };
    let world = world(script, |_| {});
    assert!(world.buy("a/b").await.is_ok());
    assert_eq!(world.upstream.budget().0[0].standing, Standing::Unlimited);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_refused_at_once_take_no_place_from_those_that_go() {
    use super::super::throttle::Throttle;
    for (throttle, seconds) in [(Throttle::default(), 8), (Throttle::impatient(), 3)] {
        let world = world(|_, _, _| answer("200 OK", "", "{}"), |_| {});
        let exchange = world.upstream.exchange().unwrap();
        let retry_after = Some(Duration::from_secs(seconds));
        exchange.shield.refused(0, LimitKind::Abuse, retry_after);
        throttle.refused(&exchange.shield, world.now());
        for _ in 0..20 {
            assert!(
                throttle
                    .place(None, &exchange.shield, exchange.clock)
                    .await
                    .is_err()
            );
        }
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let start = tokio::time::Instant::now();
        throttle
            .place(None, &exchange.shield, exchange.clock)
            .await
            .unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_place_past_its_deadline_and_low_ranks_leave_some() {
    let world = world(|_, _, _| answer("404 Not Found", "", ""), |_| {});
    let exchange = world.upstream.exchange().unwrap();
    exchange.throttle.refused(&exchange.shield, world.now());
    let asker = |tier, seconds| {
        Some(crate::policy::budget::Asker {
            tier,
            client: 0,
            deadline: world.now() + Duration::from_secs(seconds),
        })
    };
    let start = tokio::time::Instant::now();
    let limited = |answer| matches!(answer, Err(Refusal::Limited { .. }));
    assert!(limited(
        world.upstream.head_for(&path(), &tag(), asker(0, 1)).await
    ));
    assert!(start.elapsed().is_zero(), "told at once");
    // Of one in two seconds, the places of six seconds are asked for.
    let (path, tag) = (path(), tag());
    let head = |tier| world.upstream.head_for(&path, &tag, asker(tier, 20));
    let (first, second, third, low) = tokio::join!(head(0), head(0), head(0), head(1));
    assert!(limited(low), "the places behind are kept");
    for answer in [first, second, third] {
        assert_eq!(answer.unwrap_err(), Refusal::NotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn a_seawall_that_sends_its_clients_on_is_out_of_budget_and_not_broken() {
    let onward: Script = |_, _, _| {
        let head = "retry-after: 600\r\ncache-status: seawall; fwd=miss; detail=upstream-limited\r\n";
        answer("503 Service Unavailable", head, "{}")
    };
    let world = world(onward, |_| {});
    let limited = Refusal::Limited {
        kind: LimitKind::Pull,
        retry_after: Some(Duration::from_secs(600)),
    };
    assert_eq!(world.buy("a/b").await.unwrap_err(), limited);
    assert_eq!(world.count("a/b"), 1, "no 503 that is tried again");
    // It is left alone until it has budget again.
    assert!(matches!(world.buy("a/b").await, Err(Refusal::Withheld(_))));
    assert_eq!(world.count("a/b"), 1);
    let broken: Script = |_, _, _| {
        answer(
            "503 Service Unavailable",
            "cache-status: seawall; fwd=miss\r\n",
            "",
        )
    };
    let world = self::world(broken, |_| {});
    assert!(matches!(world.buy("a/b").await, Err(Refusal::Failing(503))));
}
