//! Which requests count as sent: those that left, whatever became of them.

use std::cell::Cell;

use super::*;

impl World {
    /// Buys, and tells how many requests left.
    async fn counted(&self, path: &str) -> (Result<Fetched, Refusal>, u64) {
        let asker = crate::policy::budget::Asker {
            tier: 0,
            client: 0,
            deadline: self.now() + Duration::from_secs(20),
        };
        let left = Cell::new(0);
        let spent = |_: &crate::policy::budget::Ledger, sent| left.set(left.get() + u64::from(sent));
        let path = path.parse().unwrap();
        let bought = self.upstream.buy(&path, &tag(), asker, spent).await;
        (bought, left.get())
    }

    /// How many of our requests the ledger holds for counted.
    fn own(&self) -> u64 {
        self.upstream.budget().0[0].own
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_counted_and_once_whatever_the_answer() {
    for (status, sent) in [("200 OK", 1), ("404 No", 1), ("403 No", 1), ("401 No", 0)] {
        let script: Script = match status {
            "200 OK" => |_, _, _| answer("200 OK", "", "{}"),
            "404 No" => |_, _, _| answer("404 No", "", ""),
            "403 No" => |_, _, _| answer("403 No", "", ""),
            _ => |_, _, _| answer("401 No", "www-authenticate: Basic\r\n", ""),
        };
        let world = world(script, |_| {});
        assert_eq!(world.counted("a/b").await.1, sent, "{status}");
        assert_eq!(world.own(), sent, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_got_no_answer_in_time_may_have_been_counted() {
    // The head never ends.
    let world = world(
        |_, _, _| "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n".to_owned(),
        |_| {},
    );
    let (bought, left) = world.counted("a/b").await;
    assert!(matches!(bought, Err(Refusal::Unreachable(_))), "{bought:?}");
    assert_eq!((left, world.own()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_broke_on_its_way_may_have_been_counted_and_what_found_nobody_was_not() {
    let world = world(|_, _, _| "HTTP/1.1 200 OK\r\n".to_owned(), |_| {});
    let (bought, left) = world.counted("a/b").await;
    assert!(matches!(bought, Err(Refusal::Unreachable(_))), "{bought:?}");
    assert_eq!((left, world.own()), (1, 1));
    let world = super::world(
        |_, _, _| answer("200 OK", "", "{}"),
        |options| options.url = Some(http::Uri::from_static("http://refused.example")),
    );
    let (bought, left) = world.counted("a/b").await;
    assert!(bought.is_err());
    assert_eq!((left, world.own()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_on_its_way_may_have_been_counted() {
    let world = world(
        |_, _, _| "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n".to_owned(),
        |_| {},
    );
    let given_up = tokio::time::timeout(Duration::from_secs(1), world.counted("a/b")).await;
    assert!(given_up.is_err());
    assert_eq!(world.own(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_never_left_is_not_counted() {
    // The token service refuses: the only manifest request was the one that asked for a token.
    for status in ["429 Too Many Requests", "401 No", "403 No", "500 No"] {
        let script: Script = match status {
            "429 Too Many Requests" => |_, line, _| refusing(line, "429 Too Many Requests"),
            "401 No" => |_, line, _| refusing(line, "401 No"),
            "403 No" => |_, line, _| refusing(line, "403 No"),
            _ => |_, line, _| refusing(line, "500 No"),
        };
        let world = world(script, |_| {});
        let (bought, left) = world.counted("a/b").await;
        assert!(bought.is_err());
        assert_eq!((left, world.own()), (0, 0), "{status}");
        // And now it is not even tried.
        assert_eq!(world.counted("a/b").await.1, 0, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_not_to_be_there_is_not_asked_and_not_counted() {
    let world = world(
        |_, _, _| answer("404 No", "", r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        |options| options.negative_ttl = Duration::from_secs(60),
    );
    for sent in [1, 0, 0] {
        let (bought, left) = world.counted("a/b").await;
        assert_eq!((bought.unwrap_err(), left), (Refusal::NotFound, sent));
    }
    assert_eq!(world.own(), 1);
}

fn refusing(line: &str, status: &str) -> String {
    match line.starts_with("GET /token") {
        true => answer(status, "", ""),
        false => challenge("/token"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_reading_taken_meanwhile_is_no_answer_to_what_got_none() {
    let script: Script = |_, line, _| {
        let figures = "ratelimit-limit: 100;w=3600\r\nratelimit-remaining: 50;w=3600\r\n";
        match line.contains("/a/late/") {
            true => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n".to_owned(),
            false => answer("200 OK", figures, "{}"),
        }
    };
    let world = world(script, |_| {});
    let free = "a/free".parse().unwrap();
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.upstream.manifest(&free, &tag(), 0).await
    };
    let (late, read) = tokio::join!(world.counted("a/late"), meanwhile);
    assert!(late.0.is_err() && read.is_ok());
    let left = world.upstream.budget().0[0].remaining;
    assert_eq!(left, 49, "the reading may have come before it was counted");
}
