//! What is known of what clients log in with, and for how long.

use super::*;

/// Takes `alice`, to whom it shows `a/b`, and nobody else.
const JUDGE: Script = |_, line, head| {
    // `alice:good`
    let is_alice = head.contains("authorization: Basic YWxpY2U6Z29vZA==");
    match is_alice {
        true if line.contains("/a/b/") || line.ends_with("/v2/") => answer("200 OK", "", r#"{"tags":["x"]}"#),
        true => answer("404 Not Found", "", ""),
        false => answer("401 Unauthorized", "www-authenticate: Basic realm=\"r\"\r\n", ""),
    }
};

const SECOND: Duration = Duration::from_secs(1);

fn per_client(options: &mut Options) {
    options.sharing = Sharing::PerClient;
    options.credentials.clear();
}

fn client(username: &str, password: &str) -> Credential {
    Credential {
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
    }
}

impl World {
    fn knows(&self, credential: &Credential, path: &str) -> bool {
        self.upstream
            .knows(credential, &path.parse().unwrap(), self.now())
    }

    async fn shows(&self, credential: &Credential, path: &str) -> Shown {
        let path = path.parse().unwrap();
        let shown = self.upstream.shows(&path, &Wants::List, Some(credential), SECOND);
        shown.await
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_is_no_guess_for_five_minutes_if_it_was_taken_and_for_one_if_it_was_refused() {
    let world = world(JUDGE, per_client);
    let (alice, mallory) = (client("alice", "good"), client("alice", "guess"));
    for credential in [&alice, &mallory] {
        assert!(!world.knows(credential, "a/b"));
    }
    assert_eq!(world.upstream.takes(&alice, &path(), SECOND).await, Shown::Yes);
    let refused = Shown::No {
        login: true,
        tried: true,
    };
    assert_eq!(world.upstream.takes(&mallory, &path(), SECOND).await, refused);
    for (seconds, taken, refused) in [
        (0, true, true),
        (59, true, true),
        (1, true, false),
        (240, false, false),
    ] {
        tokio::time::advance(seconds * SECOND).await;
        for path in ["a/b", "c/d"] {
            assert_eq!(world.knows(&alice, path), taken, "after {seconds} s more");
            assert_eq!(world.knows(&mallory, path), refused, "after {seconds} s more");
        }
        assert!(
            !world.knows(&client("mallory", "guess"), "a/b"),
            "it is another user's"
        );
        assert!(
            !world.knows(&client("alice", "other"), "a/b"),
            "it is another password"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_for_one_repository_is_asked_about_for_none() {
    let world = world(JUDGE, per_client);
    let mallory = client("alice", "guess");
    let refused = |tried| Shown::No { login: true, tried };
    assert_eq!(world.shows(&mallory, "a/b").await, refused(true));
    let asked = world.count("authorization: ");
    for path in ["a/b", "c/d"] {
        assert!(world.knows(&mallory, path));
        assert_eq!(world.shows(&mallory, path).await, refused(false), "{path}");
    }
    assert_eq!(world.count("authorization: "), asked);
}

#[tokio::test(start_paused = true)]
async fn for_how_long_a_right_is_believed_may_change_and_costs_no_connection_and_nothing_that_was_said() {
    let world = world(JUDGE, |options| {
        per_client(options);
        options.alternates = vec![AlternateOptions {
            url: http::Uri::from_static("http://mirror.test"),
            prefix: None,
        }];
    });
    let alice = client("alice", "good");
    assert_eq!(world.shows(&alice, "a/b").await, Shown::Yes);
    let verify = |fetched: Fetched| Some(fetched.bytes);
    let elsewhere = async |upstream: &Upstream| {
        let deadline = world.now() + 20 * SECOND;
        let (path, digest) = (path(), digest());
        let found = upstream.manifest_elsewhere(&path, &digest, deadline, verify);
        found.await.is_some()
    };
    let _ = elsewhere(&world.upstream).await;
    let dialled = world.dialled.lock().unwrap().len();
    tokio::time::advance(40 * SECOND).await;
    for (seconds, asked) in [(50, false), (600, false), (30, true)] {
        let before = world.count("authorization: ");
        let options = Options {
            access_ttl: seconds * SECOND,
            ..world.options.clone()
        };
        let changed = world.upstreams.changed(vec![options], Budgets::default());
        let upstream = changed.get(&chosen());
        let shown = upstream.shows(&path(), &Wants::List, Some(&alice), SECOND).await;
        assert_eq!(shown, Shown::Yes);
        assert_eq!(world.count("authorization: ") > before, asked, "{seconds} s");
        let _ = elsewhere(&upstream).await;
        assert_eq!(world.dialled.lock().unwrap().len(), dialled, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn s120_guesses_that_nobody_is_asked_about_drive_out_nothing_that_is_known() {
    let world = world(JUDGE, per_client);
    let alice = client("alice", "good");
    assert_eq!(world.shows(&alice, "a/b").await, Shown::Yes);
    for number in 0..17_000 {
        assert!(!world.knows(&client("alice", &format!("guess-{number}")), "a/b"));
    }
    assert!(world.knows(&alice, "a/b"));
}
