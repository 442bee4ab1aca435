//! Alternate sources: what is asked of them, and what never is.

use super::*;

const ECR: &str = "ecr.test GET /v2/docker/a/b/manifests/sha256:";
const MIRROR: &str = "mirror.test GET /v2/a/b/manifests/sha256:";

/// Two alternates; the second keeps everything below `docker/`.
fn two(options: &mut Options) {
    options.credentials.clear();
    let at = |url, prefix: Option<&str>| AlternateOptions {
        url: http::Uri::from_static(url),
        prefix: prefix.map(|prefix| prefix.parse().unwrap()),
    };
    options.alternates = vec![
        at("http://mirror.test", None),
        at("http://ecr.test", Some("docker")),
    ];
}

fn two_and_a_credential(options: &mut Options) {
    let robot = options.credentials[0].clone();
    two(options);
    options.credentials = vec![robot];
}

impl World {
    async fn elsewhere(&self, bytes: &[u8]) -> Option<Bytes> {
        let digest = Digest::sha256(bytes);
        let verify = |fetched: Fetched| (Digest::sha256(&fetched.bytes) == digest).then_some(fetched.bytes);
        let deadline = self.now() + Duration::from_secs(20);
        let path = path();
        let found = self
            .upstream
            .manifest_elsewhere(&path, &digest, deadline, verify)
            .await;
        found.map(|(bytes, _)| bytes)
    }

    async fn blob_elsewhere(&self, from: u64, refused: &Refusal) -> Option<Incoming> {
        self.upstream
            .blob_elsewhere(&path(), &digest(), Want::From(from), refused)
            .await
    }
}

#[tokio::test(start_paused = true)]
async fn alternates_are_asked_in_order_by_digest_and_what_one_lacks_is_remembered() {
    let script: Script = |host, _, _| match host {
        "ecr.test" => answer("200 OK", "", "{}"),
        _ => answer("404 No", "", ""),
    };
    let world = world(script, two);
    for (seconds, asked) in [(0, [1, 1]), (60, [1, 2]), (60, [2, 3])] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert_eq!(world.elsewhere(b"{}").await.unwrap(), "{}");
        assert_eq!([world.count(MIRROR), world.count(ECR)], asked);
    }
    assert_eq!(world.count("r.example"), 0, "the upstream is not asked");
}

#[tokio::test(start_paused = true)]
async fn an_alternate_is_talked_to_as_any_registry_but_anonymously() {
    let script: Script = |host, line, head| match (host, line) {
        ("mirror.test", line) if line.starts_with("GET /token") => answer("200 OK", "", r#"{"token":"m"}"#),
        ("mirror.test", _) if head.contains("Bearer m") => to("http://store.test/object"),
        ("mirror.test", _) => challenge("/token"),
        ("store.test", _) => answer("200 OK", "", "{}"),
        (_, line) if line.starts_with("HEAD") => {
            let kind = "content-type: application/vnd.oci.image.index.v1+json\r\n";
            let digest = Digest::sha256(b"{}");
            format!("HTTP/1.1 200 OK\r\n{kind}docker-content-digest: {digest}\r\ncontent-length: 2\r\n\r\n")
        }
        _ => answer("404 No", "", ""),
    };
    let world = world(script, two_and_a_credential);
    assert_eq!(world.elsewhere(b"{}").await.unwrap(), "{}");
    assert_eq!(world.count("Basic"), 0);
    assert_eq!(world.count("store.test GET /object"), 1);
    let seen = world.seen.lock().unwrap();
    assert!(
        seen.iter()
            .all(|head| !head.starts_with("store.test") || !head.contains("authorization"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_repository_that_is_not_public_is_never_told() {
    for status in ["401 No", "403 No", "404 No", "429 No", "500 No"] {
        let script: Script = match status {
            "401 No" => |_, _, head| hidden(head, "401 No"),
            "403 No" => |_, _, head| hidden(head, "403 No"),
            "404 No" => |_, _, head| hidden(head, "404 No"),
            "429 No" => |_, _, head| hidden(head, "429 No"),
            _ => |_, _, head| hidden(head, "500 No"),
        };
        let world = world(script, two_and_a_credential);
        for _ in 0..5 {
            assert_eq!(world.elsewhere(b"{}").await, None, "{status}");
            let refused = Refusal::Failing(503);
            assert!(world.blob_elsewhere(0, &refused).await.is_none());
        }
        assert_eq!(
            world.count("mirror.test") + world.count("ecr.test"),
            0,
            "{status}"
        );
        assert!(world.count("HEAD") <= 3, "{status}: {}", world.count("HEAD"));
    }
}

fn hidden(head: &str, status: &str) -> String {
    match head.contains("authorization") {
        true => answer("200 OK", "", "{}"),
        false => answer(status, "", ""),
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_not_used_and_not_asked_for_again() {
    let script: Script = |host, _, _| match host {
        "mirror.test" => answer("200 OK", "", "{ }"),
        _ => answer("200 OK", "", "{}"),
    };
    let world = world(script, two);
    for _ in 0..3 {
        assert_eq!(world.elsewhere(b"{}").await.unwrap(), "{}");
    }
    assert_eq!([world.count(MIRROR), world.count(ECR)], [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_or_limits_costs_little_and_is_left_alone() {
    let script: Script = |host, _, _| match host {
        "mirror.test" => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned(),
        _ => answer(
            "429 Slow",
            "retry-after: 100\r\n",
            "toomanyrequests: Rate exceeded",
        ),
    };
    let world = world(script, two);
    let start = tokio::time::Instant::now();
    for number in 0..20_u8 {
        assert_eq!(world.elsewhere(&[number]).await, None);
    }
    assert_eq!(start.elapsed().as_secs(), 6, "three times two seconds");
    assert_eq!([world.count(MIRROR), world.count(ECR)], [3, 1]);
    tokio::time::advance(Duration::from_secs(16)).await;
    assert_eq!(world.elsewhere(b"x").await, None);
    assert_eq!([world.count(MIRROR), world.count(ECR)], [4, 1]);
}

#[tokio::test(start_paused = true)]
async fn all_together_take_no_longer_than_the_asker_waits() {
    let script: Script = |_, _, _| "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned();
    for (patience, longest) in [(20_000, 4000), (1500, 1500), (50, 0)] {
        let world = world(script, two);
        let start = tokio::time::Instant::now();
        let deadline = world.now() + Duration::from_millis(patience);
        let verify = |fetched: Fetched| Some(fetched.bytes);
        let (path, digest) = (path(), digest());
        let found = world
            .upstream
            .manifest_elsewhere(&path, &digest, deadline, verify);
        assert_eq!(found.await, None);
        let took = start.elapsed().as_millis();
        assert!(took <= longest, "{took} of {patience}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_asked_for_where_the_upstream_says_nothing_of_it() {
    let script: Script = |host, _, head| match host {
        "ecr.test" if head.contains("range: bytes=4-") => {
            answer("206 Partial", "content-range: bytes 4-9/10\r\n", "456789")
        }
        "ecr.test" => answer("200 OK", "", "0123456789"),
        _ => answer("404 No", "", ""),
    };
    let limited = Refusal::Limited {
        kind: LimitKind::Abuse,
        retry_after: None,
    };
    for (refusal, helps) in [
        (Refusal::Unreachable(String::new()), true),
        (Refusal::Failing(503), true),
        (limited, true),
        (Refusal::NotFound, false),
        (Refusal::Denied(403), false),
    ] {
        let world = world(script, two);
        let found = world.blob_elsewhere(4, &refusal).await;
        assert_eq!(found.is_some(), helps, "{refusal}");
        if let Some(mut found) = found {
            assert_eq!((found.start, found.alternate), (4, Some(1)));
            assert_eq!(found.chunk().await.unwrap().unwrap(), "456789");
            world.upstream.alternate_failed(1, &digest(), true);
            let again = world.blob_elsewhere(4, &refusal).await;
            assert!(again.is_none(), "its bytes were wrong");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_is_not_there_makes_no_repository_private() {
    let script: Script = |host, line, _| {
        let digest = Digest::sha256(b"{}");
        match host {
            "r.example" if line.ends_with(&digest.to_string()) => {
                let kind = "content-type: application/vnd.oci.image.index.v1+json\r\n";
                format!(
                    "HTTP/1.1 200 OK\r\n{kind}docker-content-digest: {digest}\r\ncontent-length: 2\r\n\r\n"
                )
            }
            "mirror.test" => answer("200 OK", "", "{}"),
            _ => answer("404 No", "", ""),
        }
    };
    let world = world(script, two_and_a_credential);
    assert_eq!(world.elsewhere(b"gone").await, None);
    assert_eq!(world.elsewhere(b"gone").await, None);
    assert_eq!(world.elsewhere(b"{}").await.unwrap(), "{}");
    assert_eq!(world.elsewhere(b"{}").await.unwrap(), "{}");
    assert_eq!(world.count("HEAD"), 2);
}

#[tokio::test(start_paused = true)]
async fn alternates_that_hang_hold_a_blob_up_for_seconds_in_all() {
    // The head never ends.
    let script: Script = |_, _, _| "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n".to_owned();
    let world = world(script, |options| {
        two(options);
        let (first, second) = (options.alternates[0].clone(), options.alternates[1].clone());
        options
            .alternates
            .extend([first.clone(), second.clone(), first, second]);
    });
    let start = tokio::time::Instant::now();
    let found = world.blob_elsewhere(0, &Refusal::Failing(503)).await;
    assert!(found.is_none());
    let took = start.elapsed();
    assert!(took <= Duration::from_secs(4), "{took:?}");
    assert!(world.count("ecr.test") > 0, "more than one is asked");
}
