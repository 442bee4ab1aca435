//! Tokens that take the place of a password (docker's identity token): they end, nobody makes one, and nothing else is
//! taken for one.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use seawall::upstream::Secret;

use super::super::support::world::World;
use super::{APP, Choices, FORM, STRANGER, ask, basic, closed, json, locked, post, start, token, with};

/// A Seawall whose tokens outlast it.
fn lasting(key: &str) -> World {
    start(Choices {
        clients: closed(),
        token_keys: vec![Secret::new(key.to_owned())],
        ..locked()
    })
}

/// What a password gives that takes its place.
async fn instead(world: &World) -> String {
    let form = "grant_type=password&username=alice&password=right&access_type=offline";
    let told = json(&post(&world.seawall, form, &[FORM]).await);
    told["refresh_token"].as_str().unwrap().to_owned()
}

/// What comes of it where it is taken.
async fn renewed(world: &World, token: &str) -> StatusCode {
    let form = format!("grant_type=refresh_token&refresh_token={token}");
    post(&world.seawall, &form, &[FORM]).await.status
}

#[tokio::test(start_paused = true)]
async fn what_takes_the_place_of_a_password_is_made_by_nobody_else() {
    // S077, S078
    let world = lasting("first");
    let good = instead(&world).await;
    assert_eq!(renewed(&world, &good).await, StatusCode::OK);
    let (said, mac) = good.split_once('.').unwrap();
    let pull = token(&world.seawall, "alice", &["team/app"]).await;
    let (_, mac_of_another) = pull.split_once('.').unwrap();
    let read = URL_SAFE_NO_PAD
        .decode(said.trim_start_matches("seawall_"))
        .unwrap();
    let read = String::from_utf8(read).unwrap();
    let saying = |from: &str, to: &str| {
        let changed = read.replacen(from, to, 1);
        assert_ne!(changed, read, "{from}");
        format!("seawall_{}.{mac}", URL_SAFE_NO_PAD.encode(changed))
    };
    for forged in [
        &instead(&lasting("second")).await,
        &saying("alice", "root"),
        &saying("\"until\":", "\"until\":9"),
        &saying("\"refresh\"", "\"pull\""),
        &format!("{said}."),
        &format!("{said}.{}", "A".repeat(mac.len())),
        &format!("{said}.{mac_of_another}"),
        &format!("{said}.{mac}x"),
        said,
        &good["seawall_".len()..],
    ] {
        assert_eq!(
            renewed(&world, forged).await,
            StatusCode::UNAUTHORIZED,
            "{forged}"
        );
        assert_eq!(
            with(&world.seawall, forged, APP).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_the_place_of_a_password_opens_nothing_itself_and_ends() {
    // S078
    let world = lasting("first");
    let good = instead(&world).await;
    assert_eq!(
        with(&world.seawall, &good, APP).await.status,
        StatusCode::UNAUTHORIZED
    );
    let said = basic("alice", &good);
    let answer = ask(&world.seawall, STRANGER, APP, &[("authorization", &said)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let day = Duration::from_secs(86_400);
    tokio::time::advance(34 * day).await;
    assert_eq!(renewed(&world, &good).await, StatusCode::OK);
    tokio::time::advance(day).await;
    assert_eq!(renewed(&world, &good).await, StatusCode::UNAUTHORIZED);
}
