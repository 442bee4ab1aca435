//! Credentials that are refused: parked, not hammered; and who takes over.

use super::*;

/// Wants tokens for everything, and refuses everybody one.
const REFUSING: Script = |_, line, _| match line {
    line if line.starts_with("GET /token") => answer("401 Unauthorized", "", ""),
    _ => challenge("/token"),
};

/// Refuses `robot` a token, and gives others one.
const ROBOT_REFUSED: Script = |_, line, head| match line {
    line if line.starts_with("GET /token") && head.contains(ROBOT) => answer("401 Unauthorized", "", ""),
    line if line.starts_with("GET /token") => answer("200 OK", "", r#"{"token":"t1","expires_in":300}"#),
    _ if head.contains("Bearer t1") => answer("200 OK", "", "{}"),
    _ => challenge("/token"),
};

/// `robot:hunter2` and `spare:hunter2`, as they are sent.
const ROBOT: &str = "authorization: Basic cm9ib3Q6aHVudGVyMg==";
const SPARE: &str = "authorization: Basic c3BhcmU6aHVudGVyMg==";

fn with_spare(options: &mut Options) {
    options.credentials.push(login("spare", "hunter2"));
}

async fn storm(world: &World) {
    let asking: tokio::task::JoinSet<_> = (0..20)
        .map(|number| {
            let upstream = Arc::clone(&world.upstream);
            async move {
                let path = format!("a/b{number}").parse().unwrap();
                upstream.manifest(&path, &tag(), 0).await.unwrap_err()
            }
        })
        .collect();
    for refusal in asking.join_all().await {
        assert_eq!(refusal, Refusal::Denied(401));
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_who_ask_one_logs_in_for_each_step() {
    let world = world(REFUSING, |_| {});
    // The pauses after which another login is tried: a minute, then two, then four.
    for (step, seconds) in [(1, 0), (1, 59), (2, 1), (2, 119), (3, 1), (3, 239), (4, 1)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        storm(&world).await;
        assert_eq!(world.count("GET /token"), step, "after {seconds} s more");
    }
    let accounts = world.upstream.accounts();
    let parked = accounts[0].parked.unwrap().since(world.now());
    assert!(parked > Duration::from_secs(470), "{parked:?}");
    // The upstream itself is not to blame.
    assert_eq!(world.upstream.exchange().unwrap().shield.parked(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_that_travels_with_requests_is_parked_as_well() {
    let script: Script = |_, _, _| answer("401 Unauthorized", "www-authenticate: Basic realm=\"r\"\r\n", "");
    let world = world(script, |_| {});
    for (step, seconds) in [(1, 0), (1, 59), (2, 1), (2, 119), (3, 1)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        storm(&world).await;
        assert_eq!(world.count(ROBOT), step, "after {seconds} s more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_locked_account_is_left_alone_for_a_quarter_of_an_hour() {
    let script: Script = |_, line, _| match line {
        line if line.starts_with("GET /token") => answer(
            "429 Too Many Requests",
            "retry-after: 3\r\n",
            r#"{"details":"too many failed login attempts for username or IP address"}"#,
        ),
        _ => challenge("/token"),
    };
    let world = world(script, |_| {});
    for (minutes, logins) in [(0, 1), (14, 1), (1, 2)] {
        tokio::time::advance(Duration::from_secs(minutes * 60)).await;
        let limited = world.buy("a/b").await.unwrap_err();
        let Refusal::Limited { kind, .. } = limited else {
            panic!("{limited}");
        };
        assert_eq!((kind, world.count("GET /token")), (LimitKind::Login, logins));
    }
    assert_eq!(world.upstream.exchange().unwrap().shield.parked(), None);
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_of_any_kind_at_the_token_service_park_the_upstream_not_the_account() {
    let script: Script = |_, line, _| match line {
        line if line.starts_with("GET /token") => answer(
            "429 Too Many Requests",
            "retry-after: 60\r\n",
            "Too Many Requests (HAP429).\n",
        ),
        _ => challenge("/token"),
    };
    let world = world(script, |_| {});
    assert!(world.buy("a/b").await.is_err());
    let parked = world.upstream.exchange().unwrap().shield.parked();
    assert_eq!(parked, Some(Duration::from_secs(60)));
    assert_eq!(world.upstream.accounts()[0].parked, None);
}

#[tokio::test(start_paused = true)]
async fn only_a_429_that_speaks_of_failed_logins_locks_the_account() {
    const WORDS: [(&str, bool); 5] = [
        ("Too Many Failed Login attempts", true),
        ("this address has too many failed authentications", true),
        ("<html>slow down, retry-after: 7s</html>", false),
        (
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 7s, allowed: 9"}]}"#,
            false,
        ),
        (r#"{"message":"rate exceeded; retry-after: 7s"}"#, false),
    ];
    let script: Script = |_, line, _| match line {
        line if line.starts_with("GET /token") => {
            let asked = line.split("repository%3Aa%2Fb").nth(1).unwrap_or("0");
            let number: usize = asked[..1].parse().unwrap();
            answer("429 Too Many Requests", "", WORDS[number].0)
        }
        _ => challenge("/token"),
    };
    for (number, (words, locks)) in WORDS.into_iter().enumerate() {
        let world = world(script, |_| {});
        assert!(world.buy(&format!("a/b{number}")).await.is_err());
        let account = world.upstream.accounts()[0].parked;
        assert_eq!(account.is_some(), locks, "{words}");
        let parked = world.upstream.exchange().unwrap().shield.parked();
        assert_eq!(parked, (!locks).then_some(Duration::from_secs(7)), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_account_takes_over_and_nobody_takes_over_for_the_last() {
    let pool = world(ROBOT_REFUSED, with_spare);
    for number in 0..5 {
        assert!(pool.buy(&format!("a/b{number}")).await.is_ok());
        let path = format!("a/c{number}").parse().unwrap();
        assert!(pool.upstream.tags(&path).await.is_ok());
    }
    assert_eq!(pool.count(ROBOT), 1);
    assert_eq!(pool.count(SPARE), 10);
    let states: Vec<_> = pool.upstream.accounts();
    assert!(states[0].parked.is_some() && states[1].parked.is_none());

    let alone = world(ROBOT_REFUSED, |_| {});
    for _ in 0..5 {
        assert_eq!(alone.buy("a/b").await.unwrap_err(), Refusal::Denied(401));
    }
    // One question that was answered with a challenge, one login; and no request without it.
    assert_eq!(alone.count("GET"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_head_goes_on_with_another_account_instead_of_costing_a_get() {
    let script: Script = |host, line, head| match line {
        line if line.starts_with("HEAD") && head.contains("Bearer t1") => {
            let headers = "content-type: application/vnd.oci.image.index.v1+json\r\n";
            format!(
                "HTTP/1.1 200 OK\r\n{headers}docker-content-digest: {}\r\ncontent-length: 10\r\n\r\n",
                digest()
            )
        }
        _ => ROBOT_REFUSED(host, line, head),
    };
    let world = world(script, with_spare);
    assert_eq!(
        world.upstream.head(&path(), &tag()).await.unwrap().digest,
        digest()
    );
    assert_eq!((world.count(ROBOT), world.count(SPARE)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_used_to_its_end_although_its_credential_is_parked() {
    let script: Script = |_, line, head| {
        static LOGINS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        match line {
            line if line.starts_with("GET /token") => {
                match LOGINS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => answer("200 OK", "", r#"{"token":"t1","expires_in":300}"#),
                    _ => answer("401 Unauthorized", "", ""),
                }
            }
            _ if head.contains("Bearer t1") => answer("200 OK", "", "{}"),
            _ => challenge("/token"),
        }
    };
    let world = world(script, |_| {});
    for (seconds, logins) in [(0, 1), (241, 2), (10, 2), (40, 2)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert!(world.upstream.manifest(&path(), &tag(), 0).await.is_ok());
        assert_eq!(world.count("GET /token"), logins);
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(world.upstream.manifest(&path(), &tag(), 0).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_token_service_that_hangs_holds_up_all_together_not_one_after_another() {
    let world = world(
        |_, line, _| match line {
            line if line.starts_with("GET /token") => {
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned()
            }
            _ => challenge("/token"),
        },
        |_| {},
    );
    let start = tokio::time::Instant::now();
    let asking: tokio::task::JoinSet<_> = (0..10)
        .map(|number| {
            let upstream = Arc::clone(&world.upstream);
            async move {
                let path = format!("a/b{number}").parse().unwrap();
                assert!(upstream.manifest(&path, &tag(), 0).await.is_err());
            }
        })
        .collect();
    asking.join_all().await;
    assert!(start.elapsed() < Duration::from_secs(35), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_turns_from_passwords_to_tokens_has_refused_no_credential() {
    let script: Script = |_, line, head| {
        static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        match line {
            line if line.starts_with("GET /token") => answer("200 OK", "", r#"{"token":"t1"}"#),
            _ if head.contains("Bearer t1") => answer("200 OK", "", "{}"),
            _ if ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 => challenge("/token"),
            _ => answer("401 Unauthorized", "www-authenticate: Basic\r\n", ""),
        }
    };
    let world = world(script, |_| {});
    // A request follows one challenge: this one ends with the second.
    assert!(world.buy("a/b").await.is_err());
    assert_eq!(world.upstream.accounts()[0].parked, None);
    let second = tokio::time::timeout(Duration::from_secs(5), world.buy("a/b"));
    assert!(second.await.unwrap().is_ok());
    assert_eq!(world.count(ROBOT), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_started_again_and_again_does_not_show_a_wrong_password_each_time() {
    const BASIC: Script = |_, line, head| match line {
        _ if line.starts_with("GET /token") => REFUSING("", line, head),
        _ => answer("401 Unauthorized", "www-authenticate: Basic realm=\"r\"\r\n", ""),
    };
    for script in [REFUSING, BASIC] {
        let mut world = world(script, |_| {});
        // As the reading at the start asks.
        for start in 0..5 {
            assert!(world.upstream.head(&path(), &tag()).await.is_err());
            assert_eq!(world.count(ROBOT), 1, "start {start}");
            tokio::time::advance(Duration::from_secs(10)).await;
            world.restart();
        }
        let pause = world.upstream.accounts()[0].parked.unwrap().since(world.now());
        assert_eq!(pause, Duration::from_secs(10));
        // The next pause is twice as long, over one more start.
        tokio::time::advance(pause).await;
        for seconds in [0, 119] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert!(world.buy("a/b").await.is_err());
            assert_eq!(world.count(ROBOT), 2, "{seconds} s after the second refusal");
            world.restart();
        }
        // The operator mends the password: that is another credential.
        world.options.credentials[0] = login("robot", "right");
        world.restart();
        assert_eq!(world.upstream.accounts()[0].parked, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_starts_with_the_account_that_is_not_refused() {
    let mut world = world(ROBOT_REFUSED, with_spare);
    for _ in 0..3 {
        assert!(world.upstream.tags(&path()).await.is_ok());
        world.restart();
    }
    assert_eq!(world.count(ROBOT), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_called_it_too_much_is_left_alone_over_a_restart_whatever_was_asked() {
    let script: Script = |_, _, _| answer("429 Too Many Requests", "retry-after: 60\r\n", "");
    let mut world = world(script, |_| {});
    assert!(world.read(Want::From(0)).await.is_err());
    world.restart();
    let parked = world.upstream.exchange().unwrap().shield.parked();
    assert_eq!(parked, Some(Duration::from_secs(60)));
}
