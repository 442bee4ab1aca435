//! Nothing that anybody logs in with is written down, at the finest level of the log or on any page.

use std::path::Path;

use super::{CI, Scene, exchange, json_of, locked, main_branch, with};
use crate::access::{APP, STRANGER, ask, basic};
use crate::support::configured::hub;
use crate::support::finest::Finest;
use crate::support::signing::{SigningKey, encode};

/// A Seawall with a secret in every place that takes one.
fn configuration(folder: &Path) -> String {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let hash = bcrypt::hash("CANARY-right", 4).unwrap();
    let access = format!(
        "htpasswd = '{}'\ntoken_key = {{ file = '{}' }}\n",
        file("htpasswd", &format!("alice:{hash}\n")),
        file("key", "CANARY-key, of more than 32 characters")
    );
    let token = format!(
        "token = {{ file = '{}' }}\n[[client]]",
        file("issuer", "CANARY-issuer")
    );
    let login = format!(
        "access = \"shared\"\ncredentials = [{{ username = \"robot\", password = {{ file = '{}' }} }}]",
        file("robot", "CANARY-robot")
    );
    locked(&format!("{access}{}", CI.replace("[[client]]", &token))).replace(&hub(""), &hub(&login))
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_in_the_finest_log_of_logins_and_pulls_or_on_any_page() {
    // S032, S033
    let log = Finest::begin();
    let (key, evil, folder) = (
        SigningKey::ec("one"),
        SigningKey::ec("one"),
        tempfile::tempdir().unwrap(),
    );
    let scene = Scene::with(&[&key], &configuration(folder.path()));
    let seawall = scene.seawall();
    scene
        .registry
        .close("team/app", &[&basic("robot", "CANARY-robot")]);

    let mut secrets = vec!["CANARY".to_owned()];
    let forged = evil.token(&scene.issuer.claims(300, &main_branch()));
    let good = scene.token(&key);
    for token in [&good, &forged] {
        let _ = with(seawall, token, APP).await;
        let _ = exchange(seawall, "oidc", token, "team/app").await;
        secrets.extend(token.split('.').map(str::to_owned));
    }
    for password in ["CANARY-right", "CANARY-wrong"] {
        let said = basic("alice", password);
        let _ = ask(seawall, STRANGER, APP, &[("authorization", &said)]).await;
        secrets.push(said.replace("Basic ", ""));
    }
    let told = json_of(&exchange(seawall, "alice", "CANARY-right", "team/app").await);
    for (name, opens) in [("token", true), ("refresh_token", false)] {
        let token = told[name].as_str().unwrap();
        assert_eq!(with(seawall, token, APP).await.is_good(), opens, "{name}");
        secrets.push(token.to_owned());
    }
    secrets.extend(["robot:CANARY-robot", "CANARY-issuer"].map(encode));
    secrets.push(basic("robot", "CANARY-robot").replace("Basic ", ""));
    // It came from the registry, with the robot's login.
    let proofs = |name: &str| {
        let seen = scene.registry.journal();
        seen.iter().filter(|seen| seen.headers.contains_key(name)).count()
    };
    assert!(proofs("authorization") > 0);

    let secrets: Vec<String> = secrets.into_iter().filter(|secret| secret.len() > 4).collect();
    log.assert_hides(&secrets, seawall, "a token was refused").await;
}
