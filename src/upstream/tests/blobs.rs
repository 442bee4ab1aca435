//! Blobs: ranges, redirects, and bodies that break off.

use super::*;

// F036
#[tokio::test(start_paused = true)]
async fn redirects_without_end_are_given_up() {
    let world = world(|_, _, _| to("/v2/again"), |_| {});
    assert!(unusable(world.read(Want::From(0)).await).contains("redirected"));
    assert_eq!(world.count("GET"), 6);
}

// F001
#[tokio::test(start_paused = true)]
async fn a_short_body_is_an_error() {
    let world = world(
        |_, _, _| "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234".to_owned(),
        |_| {},
    );
    assert!(matches!(
        world.read(Want::From(0)).await,
        Err(Refusal::Unreachable(_))
    ));
}

// F020
#[tokio::test(start_paused = true)]
async fn a_body_without_length_is_held_against_its_content_range() {
    let script: Script = |_, _, head| {
        let head_of = |more| format!("HTTP/1.1 206 Partial\r\ncontent-range: bytes 5-9/10\r\n\r\n{more}");
        head_of(if head.contains("bytes=5-9") {
            "56789"
        } else {
            "567"
        })
    };
    let run = Want::Run(ByteRange { start: 5, end: 9 });
    assert_eq!(world(script, |_| {}).read(run).await, Ok((5, b"56789".to_vec())));
    let short = world(script, |_| {}).read(Want::From(5)).await;
    assert!(matches!(short, Err(Refusal::Unreachable(_))), "{short:?}");
}

// F016, F017
#[tokio::test(start_paused = true)]
async fn ranges_are_held_against_what_was_wanted() {
    let script: Script = |_, _, head| match head {
        head if head.contains("bytes=5-") => {
            answer("206 Partial", "content-range: bytes 5-9/10\r\n", "56789")
        }
        head if head.contains("bytes=6-") => {
            answer("206 Partial", "content-range: bytes 5-9/10\r\n", "56789")
        }
        head if head.contains("bytes=0-0") => answer("206 Partial", "content-range: bytes 0-0/10\r\n", "0"),
        head if head.contains("range:") => answer("200 OK", "", "0123456789"),
        _ => answer("206 Partial", "content-range: bytes 0-4/10\r\n", "01234"),
    };
    let world = world(script, |_| {});
    assert_eq!(world.read(Want::From(5)).await.unwrap(), (5, b"56789".to_vec()));
    assert_eq!(
        world.read(Want::From(7)).await.unwrap(),
        (0, b"0123456789".to_vec())
    );
    unusable(world.read(Want::From(6)).await);
    unusable(world.read(Want::From(0)).await); // F015
    assert_eq!(world.upstream.blob_size(&path(), &digest()).await, Ok(10));
}

// F018, S053 and the manifest limit
#[tokio::test(start_paused = true)]
async fn bodies_that_must_not_be_used_are_not() {
    let gzip: Script = |_, _, _| answer("200 OK", "content-encoding: gzip\r\n", "0123456789");
    unusable(world(gzip, |_| {}).read(Want::From(0)).await);
    unusable(world(gzip, |_| {}).upstream.manifest(&path(), &tag(), 0).await);
    // Nobody asked whether it has changed.
    let unasked: Script = |_, _, _| answer("304 Not Modified", "", "");
    assert!(world(unasked, |_| {}).read(Want::From(0)).await.is_err());
    let manifest = world(unasked, |_| {}).upstream.manifest(&path(), &tag(), 0).await;
    assert!(manifest.is_err());
    let large: Script = |_, _, _| answer("200 OK", "", &"x".repeat(101));
    let text = unusable(world(large, |_| {}).upstream.manifest(&path(), &tag(), 0).await);
    assert!(text.contains("101") && text.contains("100"), "{text}");
}

// F037
#[tokio::test(start_paused = true)]
async fn an_expired_redirect_is_asked_for_again_once() {
    let world = world(
        |host, _, _| match host {
            "cdn.example" => answer("403 Expired", "", ""),
            _ => to("http://cdn.example/blob"),
        },
        |_| {},
    );
    assert_eq!(
        world.read(Want::From(0)).await.unwrap_err(),
        Refusal::Failing(403)
    );
    assert_eq!(world.count("cdn.example GET"), 2);
}

// F043
#[tokio::test(start_paused = true)]
async fn a_silent_body_ends_at_the_idle_limit() {
    let script: Script = |_, _, _| "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0".to_owned();
    let start = tokio::time::Instant::now();
    let failed = world(script, |_| {}).read(Want::From(0)).await;
    assert!(matches!(failed, Err(Refusal::Unreachable(_))));
    assert_eq!(start.elapsed().as_secs(), 10);
}

// F007
#[tokio::test(start_paused = true)]
async fn bytes_behind_a_body_are_dropped_with_their_connection() {
    let more: Script = |_, _, _| answer("200 OK", "", "0123456789") + &answer("200 OK", "", "smuggled!!");
    let world = world(more, |_| {});
    for connections in 1..=3 {
        assert_eq!(world.read(Want::From(0)).await, Ok((0, b"0123456789".to_vec())));
        assert_eq!(world.dialled.lock().unwrap().len(), connections);
    }
}

// F007
#[tokio::test(start_paused = true)]
async fn a_body_that_is_longer_than_its_range_is_an_error() {
    let long: Script = |_, _, _| {
        let head = "HTTP/1.1 206 Partial\r\ncontent-range: bytes 5-9/10\r\n\r\n";
        head.to_owned() + "56789more"
    };
    let read = world(long, |_| {}).read(Want::From(5)).await;
    // Known when it comes, not when it ends: it might never.
    let Err(Refusal::Unreachable(why)) = read else {
        panic!("{read:?}")
    };
    assert!(why.ends_with("it is longer than announced"), "{why}");
}

// F012
#[tokio::test(start_paused = true)]
async fn a_chunk_whose_size_is_no_number_breaks_the_body() {
    let script: Script = |_, _, head| {
        let size = if head.contains("bytes=1-") {
            "ffffffffffffffffff"
        } else {
            "zz"
        };
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n{size}\r\n56789\r\n0\r\n\r\n"
        )
    };
    let world = world(script, |_| {});
    for start in [0, 1] {
        let read = world.read(Want::From(start)).await;
        assert!(matches!(read, Err(Refusal::Unreachable(_))), "{read:?}");
    }
}

// F019
#[tokio::test(start_paused = true)]
async fn hundreds_of_answers_that_are_none_yet_are_read_past() {
    let hints: Script = |_, _, _| {
        let hint = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
        hint.repeat(200) + &answer("200 OK", "", "0123456789")
    };
    let read = world(hints, |_| {}).read(Want::From(0)).await;
    assert_eq!(read, Ok((0, b"0123456789".to_vec())));
}

// F020
#[tokio::test(start_paused = true)]
async fn a_body_of_http_1_0_ends_with_its_connection() {
    let old: Script = |_, _, _| "HTTP/1.0 200 OK\r\n\r\n0123456789".to_owned();
    let read = world(old, |_| {}).read(Want::From(0)).await;
    assert_eq!(read, Ok((0, b"0123456789".to_vec())));
}
