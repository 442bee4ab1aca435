//! Manifests, lists and the statuses of failing registries.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

// F041
#[tokio::test(start_paused = true)]
async fn connections_closed_by_the_upstream_do_not_fail_requests() {
    // Without a length the server closes after each answer.
    let world = world(|_, _, _| "HTTP/1.1 200 OK\r\n\r\n{}".to_owned(), |_| {});
    for _ in 0..3 {
        assert!(world.upstream.manifest(&path(), &tag(), 0).await.is_ok());
    }
}

// F041
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_under_a_request_is_replaced_by_another() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let script: Script = |_, _, _| match ASKED.fetch_add(1, Ordering::Relaxed) {
        // The second request comes on the first connection, which ends without an answer.
        1 => String::new(),
        _ => answer("200 OK", "", "{}"),
    };
    let world = world(script, |_| {});
    for _ in 0..2 {
        assert!(world.upstream.manifest(&path(), &tag(), 0).await.is_ok());
    }
    assert_eq!((world.count("GET"), world.dialled.lock().unwrap().len()), (3, 2));
}

// F031
#[tokio::test(start_paused = true)]
async fn a_failing_upstream_is_tried_three_times() {
    let world = world(|_, _, _| answer("503 Busy", "", ""), |_| {});
    let failed = world.upstream.manifest(&path(), &tag(), 0).await;
    assert_eq!(failed.unwrap_err(), Refusal::Failing(503));
    assert_eq!(world.count("GET"), 3);
}

// F029
#[tokio::test(start_paused = true)]
async fn a_limit_is_passed_on_and_not_tried_again() {
    let world = world(|_, _, _| answer("429 Slow", "retry-after: 7\r\n", ""), |_| {});
    let retry_after = Some(Duration::from_secs(7));
    let limited = world.upstream.manifest(&path(), &tag(), 0).await;
    assert_eq!(
        limited.unwrap_err(),
        Refusal::Limited {
            kind: LimitKind::Abuse,
            retry_after
        }
    );
    assert_eq!(world.count("GET"), 1);
}

#[tokio::test(start_paused = true)]
async fn head_tells_only_if_it_tells_all() {
    let full: Script = |_, _, _| {
        let kind = "content-type: application/vnd.oci.image.index.v1+json\r\n";
        let headers = format!("{kind}docker-content-digest: {}\r\n", digest());
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: 10\r\n\r\n")
    };
    let found = world(full, |_| {}).upstream.head(&path(), &tag()).await.unwrap();
    assert_eq!((found.digest, found.size), (digest(), 10));
    // Some call every manifest plain text. Which it is, they tell.
    let plain: Script = |_, _, _| {
        let headers = format!(
            "content-type: text/plain\r\ndocker-content-digest: {}\r\n",
            digest()
        );
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: 10\r\n\r\n")
    };
    let found = world(plain, |_| {}).upstream.head(&path(), &tag()).await.unwrap();
    assert_eq!((found.digest, found.media_type.is_manifest()), (digest(), false));
    for script in [
        (|_, _, _| answer("200 OK", "", "")) as Script,
        |_, _, _| answer("405 No", "", ""),
        |_, _, _| answer("401 No", "", ""),
        |_, _, _| answer("501 No", "", ""),
    ] {
        unusable(world(script, |_| {}).upstream.head(&path(), &tag()).await);
    }
    let missing: Script = |_, _, _| answer("404 No", "", "");
    let missing = world(missing, |_| {}).upstream.head(&path(), &tag()).await;
    assert_eq!(missing, Err(Refusal::NotFound));
}

#[tokio::test(start_paused = true)]
async fn tags_are_read_from_all_pages_and_circles_end() {
    let script: Script = |_, line, _| match line {
        line if line.ends_with("n=1000") => answer(
            "200 OK",
            "link: </v2/a/b/tags/list?last=y>; rel=\"next\"\r\n",
            r#"{"tags":["x","<y>"]}"#,
        ),
        _ => answer("200 OK", "", r#"{"tags":["z"]}"#),
    };
    assert_eq!(
        world(script, |_| {}).upstream.tags(&path()).await.unwrap(),
        ["x", "z"]
    );
    let circle: Script = |_, _, _| {
        answer(
            "200 OK",
            "link: </v2/a/b/tags/list?n=1000>; rel=\"next\"\r\n",
            r#"{"tags":null}"#,
        )
    };
    unusable(world(circle, |_| {}).upstream.tags(&path()).await);
}

#[tokio::test(start_paused = true)]
async fn referrers_are_an_index_or_nothing() {
    let index: Script = |_, _, _| {
        answer(
            "200 OK",
            "content-type: application/vnd.oci.image.index.v1+json\r\n",
            "{}",
        )
    };
    let page: Script = |_, _, _| answer("200 OK", "content-type: text/html\r\n", "sign in");
    let missing: Script = |_, _, _| answer("404 No", "", "");
    let ask = async |script| world(script, |_| {}).upstream.referrers(&path(), &digest()).await;
    assert_eq!(ask(index).await, Ok(Some(Bytes::from_static(b"{}"))));
    assert_eq!(ask(page).await, Ok(None));
    assert_eq!(ask(missing).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_asked_for_once_in_a_while_whatever_it_is() {
    let script: Script = |_, _, _| answer("404 Not Found", "", "");
    let world = world(script, |options| options.negative_ttl = Duration::from_secs(10));
    for (seconds, asked) in [(0, 1), (9, 1), (1, 2)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        for _ in 0..3 {
            assert_eq!(world.read(Want::From(0)).await.unwrap_err(), Refusal::NotFound);
            assert_eq!(world.upstream.tags(&path()).await.unwrap_err(), Refusal::NotFound);
        }
        for part in ["/blobs/", "/tags/list"] {
            assert_eq!(world.count(part), asked, "{part} after {seconds} s more");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_a_referrers_api_is_asked_for_it_once_in_an_hour_whatever_the_digest() {
    let plain: Script = |_, _, _| answer("404 Not Found", "", "404 page not found\n");
    let page: Script = |_, _, _| answer("200 OK", "content-type: text/html\r\n", "sign in");
    for script in [plain, page] {
        let world = world(script, |options| options.negative_ttl = Duration::from_secs(10));
        for (seconds, asked) in [(0, 1), (3599, 1), (1, 2)] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            for content in ["one", "other"] {
                let digest = Digest::sha256(content.as_bytes());
                assert_eq!(world.upstream.referrers(&path(), &digest).await, Ok(None));
            }
            assert_eq!(world.count("/referrers/"), asked, "after {seconds} s more");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_subject_that_a_registry_does_not_know_says_nothing_of_its_api() {
    let unknown: Script = |_, _, _| {
        let body = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known"}]}"#;
        answer("404 Not Found", "content-type: application/json\r\n", body)
    };
    let world = world(unknown, |options| options.negative_ttl = Duration::from_secs(10));
    for (seconds, asked) in [(0, 2), (9, 2), (1, 4)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        for content in ["one", "other", "one"] {
            let digest = Digest::sha256(content.as_bytes());
            assert_eq!(world.upstream.referrers(&path(), &digest).await, Ok(None));
        }
        assert_eq!(world.count("/referrers/"), asked, "after {seconds} s more");
    }
}
