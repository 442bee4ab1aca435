//! An hour in which everything that can be renewed is: no pull of anybody who may fails.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;

use super::{CI, content, json_of, locked, main_branch, status_of, with};
use crate::access::{APP, STRANGER, ask, basic};
use crate::support::configured::Configured;
use crate::support::issuer::Issuer;
use crate::support::registry::{Registry, Script};
use crate::support::seawall::Seawall;
use crate::support::signing::SigningKey;

/// Secrets as Kubernetes mounts them: a folder behind a symlink, swapped as a whole.
struct Mount {
    folder: PathBuf,
    version: u32,
    files: Vec<(&'static str, String)>,
}

impl Mount {
    fn new(folder: &Path, files: &[(&'static str, &str)]) -> Self {
        let mut mount = Self {
            folder: folder.to_owned(),
            version: 0,
            files: Vec::new(),
        };
        mount.swap(files);
        mount
    }

    /// Writes all files anew, these with other content, and swaps the symlink.
    fn swap(&mut self, changed: &[(&'static str, &str)]) {
        for (name, text) in changed {
            self.files.retain(|(known, _)| known != name);
            self.files.push((name, (*text).to_owned()));
        }
        self.version += 1;
        let (next, link) = (
            self.folder.join(format!("..{}", self.version)),
            self.folder.join("..next"),
        );
        std::fs::create_dir(&next).unwrap();
        for (name, text) in &self.files {
            std::fs::write(next.join(name), text).unwrap();
        }
        std::os::unix::fs::symlink(&next, &link).unwrap();
        std::fs::rename(&link, self.folder.join("live")).unwrap();
    }
}

fn hashed(password: &str) -> String {
    format!("alice:{}\n", bcrypt::hash(password, 4).unwrap())
}

/// Somebody who trades what they log in with for a token, and asks for another when it is over, as clients do.
#[derive(Default)]
struct Client {
    token: Option<(String, tokio::time::Instant)>,
    logins: u32,
}

impl Client {
    /// Pulls; with a token that is held, or one that is asked for, and once more if it is refused.
    async fn pull(&mut self, seawall: &Seawall, user: &str, password: &str) {
        for _ in 0..2 {
            let now = tokio::time::Instant::now();
            let token = match self.token.take().filter(|(_, until)| now < *until) {
                Some(held) => held,
                None => self.log_in(seawall, user, password).await,
            };
            let answer = with(seawall, &token.0, APP).await;
            if answer.is_good() {
                self.token = Some(token);
                return;
            }
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        panic!("{user} was refused with a new token");
    }

    async fn log_in(
        &mut self,
        seawall: &Seawall,
        user: &str,
        password: &str,
    ) -> (String, tokio::time::Instant) {
        self.logins += 1;
        let path = "/v2/_auth/token?scope=repository:team/app:pull";
        let said = basic(user, password);
        let answer = ask(seawall, STRANGER, path, &[("authorization", &said)]).await;
        assert!(answer.is_good(), "{user} cannot log in: {}", answer.status);
        let told = json_of(&answer);
        let life = Duration::from_secs(told["expires_in"].as_u64().unwrap());
        (
            told["token"].as_str().unwrap().to_owned(),
            tokio::time::Instant::now() + life,
        )
    }
}

const FIRST: &str = "the first key, of more than 32 characters";
const SECOND: &str = "the second key, of more than 32 characters";

/// Keys that are good for ten minutes, so that they are asked for again after five.
fn good_for_ten_minutes() -> Script {
    Script {
        headers: vec![("cache-control", "max-age=600".to_owned())],
        ..Script::default()
    }
}

/// A Seawall that reads all its secrets from below `live`.
fn configuration(live: &Path) -> String {
    let ci = CI.replace(
        "[[client]]",
        &format!(
            "token = {{ file = '{}' }}\n[[client]]",
            live.join("issuer").display()
        ),
    );
    let file = |name: &str| live.join(name).display().to_string();
    let access = format!(
        "htpasswd = '{}'\ntoken_key = {{ file = '{}' }}\nprevious_token_key = {{ file = '{}' }}\n",
        file("htpasswd"),
        file("key"),
        file("previous")
    );
    locked(&format!("{access}{ci}"))
}

// The hour: issuer and Seawall renew their keys, the users their passwords, and the issuer is away for twenty minutes.
#[tokio::test(start_paused = true)]
async fn an_hour_of_new_keys_new_passwords_and_an_outage_costs_nobody_a_pull() {
    let registry = Registry::default();
    content(&registry);
    let keys = ["one", "two", "three"].map(SigningKey::ec);
    let [one, two, three] = &keys;
    let issuer = Issuer::beside(&registry, &[one]);
    issuer.host.script("/keys", good_for_ten_minutes());
    let folder = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(
        folder.path(),
        &[
            ("htpasswd", &hashed("old")),
            ("key", FIRST),
            ("previous", FIRST),
            ("issuer", "for the issuer"),
        ],
    );
    let text = configuration(&folder.path().join("live"));
    let mut configured = Configured::start(&registry.dialer(), &text);
    let (mut alice, mut job, mut pod) = (Client::default(), Client::default(), Client::default());
    let (mut signs, mut password, new) = (one, "old", hashed("new"));
    let mut pods_token = (String::new(), 0);
    for third in 0..180_i64 {
        let (minute, begins) = (third / 3, third % 3 == 0);
        match minute {
            // Keys overlap: published before they sign, and gone after they did.
            10 if begins => issuer.publish(&[one, two]),
            15 if begins => signs = two,
            20 if begins => issuer.publish(&[two]),
            25 if begins => issuer.host.go_down(),
            33 if begins => password = "new",
            45 if begins => {
                issuer.host.heal();
                issuer.host.script("/keys", good_for_ten_minutes());
            }
            // Not published before it signs: it is looked for.
            50 if begins => {
                issuer.publish(&[two, three]);
                signs = three;
            }
            _ => {}
        }
        let renewed: &[(&'static str, &str)] = match minute {
            28 if begins => &[("key", SECOND), ("previous", FIRST)],
            33 if begins => &[("htpasswd", new.as_str())],
            40 if begins => &[("issuer", "for the issuer, renewed")],
            _ => &[],
        };
        if !renewed.is_empty() {
            let swap = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                mount.swap(renewed);
            };
            let Configured { running, source, .. } = &mut configured;
            let (reload, ()) = tokio::join!(running.follow_files(source), swap);
            assert!(reload.applied && !reload.changed.is_empty(), "{reload:?}");
        }
        let seawall = &configured.seawall;
        alice.pull(seawall, "alice", password).await;
        // A job has a token of five minutes, and a new one for each pull; a pod has one of half an hour, renewed by the kubelet.
        let token = signs.token(&issuer.claims(300, &main_branch()));
        job.pull(seawall, "oidc", &token).await;
        assert!(with(seawall, &token, APP).await.is_good(), "in minute {minute}");
        if pods_token.1 < issuer.at(360) {
            pods_token = (signs.token(&issuer.claims(1800, &main_branch())), issuer.at(1800));
        }
        pod.pull(seawall, "pod", &pods_token.0).await;
        let stands = status_of(seawall).await;
        // All of these pulled while its keys were asked for in vain, or it is there.
        match minute {
            31..45 => assert!(!stands["error"].is_null(), "in minute {minute}: {stands}"),
            0..25 | 50.. => assert!(stands["error"].is_null(), "in minute {minute}: {stands}"),
            // It just left, or just came back.
            _ => {}
        }
        assert_eq!(stands["usable"], true, "in minute {minute}: {stands}");
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    // Nobody had to log in more often than tokens end and secrets are renewed.
    assert!((4..=6).contains(&alice.logins), "{}", alice.logins);
    assert!((12..=14).contains(&job.logins), "{}", job.logins);
    // What was withdrawn opens nothing.
    let seawall = &configured.seawall;
    let withdrawn = one.token(&issuer.claims(300, &main_branch()));
    assert_eq!(
        with(seawall, &withdrawn, APP).await.status,
        StatusCode::UNAUTHORIZED
    );
    let old = ask(
        seawall,
        STRANGER,
        APP,
        &[("authorization", &basic("alice", "old"))],
    )
    .await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
    // The issuer saw what is for it, the renewed one at last, and nobody else did.
    let seen = issuer.host.journal();
    let said =
        |seen: &crate::support::registry::Seen| seen.headers["authorization"].to_str().unwrap().to_owned();
    assert_eq!(said(&seen[0]), "Bearer for the issuer");
    assert_eq!(said(seen.last().unwrap()), "Bearer for the issuer, renewed");
    let to_registry = registry.journal();
    assert!(
        to_registry
            .iter()
            .all(|seen| !seen.headers.contains_key("authorization"))
    );
}
