//! What has begun goes on by the credentials that are good by then.

use super::*;

/// Two pulls in ten seconds, for whoever logs in.
const LIMITED: Script = |_, line, text| {
    if !text.contains("authorization: ") {
        return answer("401 No", "www-authenticate: Basic\r\n", "");
    }
    let left = usize::from(line.contains("/first/"));
    let headers = format!("ratelimit-limit: 2;w=10\r\nratelimit-remaining: {left};w=10\r\n");
    answer("200 OK", &headers, "{}")
};

impl World {
    /// The same upstream with another login. Whoever holds the one before goes on with it.
    fn log_in_as(&self, username: &str, password: &str) -> Upstreams {
        let options = Options {
            credentials: vec![login(username, password)],
            ..self.options.clone()
        };
        let mut budgets = Budgets::default();
        budgets.rules.reserves = vec![0.0];
        self.upstreams.changed(vec![options], budgets)
    }

    /// How many requests for a manifest of this repository showed this login.
    fn shown(&self, path: &str, username: &str, password: &str) -> usize {
        let credential = Credential {
            username: username.to_owned(),
            password: Secret::new(password.to_owned()),
        };
        let header = crate::upstream::auth::basic(&credential).unwrap();
        let header = header.to_str().unwrap();
        let seen = self.seen.lock().unwrap();
        let about = seen
            .iter()
            .filter(|head| head.contains(&format!("GET /v2/{path}/manifests/")));
        about.filter(|head| head.contains(header)).count()
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_to_spend_shows_the_login_that_is_good_when_it_is_its_turn() {
    for (username, at_once) in [("robot", false), ("other", true)] {
        let world = world(LIMITED, |_| {});
        for path in ["a/first/b", "a/second/b"] {
            assert!(world.buy(path).await.is_ok());
        }
        let began = world.now();
        let change = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            world.log_in_as(username, "new")
        };
        let (bought, _changed) = tokio::join!(world.buy("a/third/b"), change);
        assert!(bought.is_ok(), "{bought:?}");
        let waited = world.now().since(began).as_secs();
        // Another account has an allowance of its own.
        assert_eq!(waited < 5, at_once, "{username}: {waited} s");
        assert_eq!(world.shown("a/third/b", "robot", "hunter2"), 0);
        assert_eq!(world.shown("a/third/b", username, "new"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_began_before_a_change_asks_by_the_new_login() {
    let world = world(LIMITED, |_| {});
    let _changed = world.log_in_as("robot", "new");
    let upstream = &world.upstream;
    let asked = [
        upstream.head(&path(), &tag()).await.err(),
        upstream.tags(&path()).await.err(),
        upstream.referrers(&path(), &digest()).await.err(),
        world.read(Want::From(0)).await.err(),
    ];
    let old = "authorization: Basic cm9ib3Q6aHVudGVyMg==";
    assert_eq!(world.count(old), 0, "{asked:?}");
    assert!(world.count("authorization: Basic cm9ib3Q6bmV3") >= 4);
}
