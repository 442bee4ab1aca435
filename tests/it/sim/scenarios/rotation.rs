//! A password that changes: at the upstream, and in the file that Kubernetes mounts, in the middle of the work.
//!
//! Seawall runs under a configuration file and watches the secret itself, or Docker's `config.json`, as it does in a
//! cluster.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::super::client::{Client, blob, manifest};
use super::super::content::Image;
use super::super::journal::{Entry, Role};
use super::super::presets::Preset;
use super::super::switches::{Auth, Scope};
use super::super::wire::host;
use super::super::{BodyFault, Sim};
use super::over::{LOCKOUT, for_five_minutes, turned, with_accounts};
use crate::support::configured::Configured;

/// How long Seawall takes at most to see that a file is another and has come to rest.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// When the password changes.
const CHANGE: Duration = Duration::from_millis(7_700);
/// How long the old one holds beside it, if it does.
const GRACE: Duration = Duration::from_secs(6);
/// How long the work goes on, and its beat.
const WORK: Duration = Duration::from_secs(20);
const BEAT: Duration = Duration::from_millis(500);
/// Bytes of a layer that comes slowly, and breaks off once the new password is known.
const LAYER: usize = 100_000;

/// How an upstream changes a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Both hold for a while.
    WithGrace,
    /// The old one is no good any more; tokens that were given for it are.
    AtOnce,
    /// Nor are the tokens.
    WithTokens,
}

/// How the password is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Alone,
    /// As Docker's `config.json`, which is what Kubernetes keeps logins in.
    Docker,
}

impl Form {
    const ALL: [Self; 2] = [Self::Alone, Self::Docker];

    fn write(self, password: &str) -> String {
        match self {
            Self::Alone => password.to_owned(),
            Self::Docker => {
                let login = BASE64_STANDARD.encode(format!("robot:{password}"));
                format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{login}"}}}}}}"#)
            }
        }
    }

    /// What the configuration says of the file.
    fn named(self, file: &Path) -> String {
        match self {
            Self::Alone => format!("username = \"robot\", password = {{ file = {file:?} }}"),
            Self::Docker => format!("docker_config = {file:?}"),
        }
    }
}

/// Every registry that can know accounts, with one.
fn with_one() -> Vec<Preset> {
    turned(with_accounts(&[("robot", None)]), for_five_minutes)
}

/// A secret as Kubernetes mounts it: `token` leads through `..data` into a folder of its own.
fn mount(folder: &Path, version: &str, secret: &str) {
    fs::create_dir(folder.join(version)).unwrap();
    fs::write(folder.join(version).join("token"), secret).unwrap();
    symlink(version, folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    if !folder.join("token").exists() {
        symlink("..data/token", folder.join("token")).unwrap();
    }
}

/// An upstream, its secret, and a Seawall that watches it.
struct Cluster {
    sim: Sim,
    configured: Configured,
    secrets: tempfile::TempDir,
    form: Form,
    start: Instant,
}

/// A pull.
#[derive(Debug)]
struct Pulled {
    what: &'static str,
    began: Duration,
    status: StatusCode,
}

impl Cluster {
    fn open(preset: &Preset, form: Form) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        mount(secrets.path(), "..1", &form.write("right"));
        let token = secrets.path().join("token");
        let text = format!(
            "[[upstream]]\nregistry = \"docker.io\"\nurl = \"http://{}{}\"\ninsecure = true\naccess = \"shared\"\n\
             credentials = [{{ {} }}]\n",
            host(Role::Registry),
            preset.switches.prefix,
            form.named(&token),
        );
        let sim = Sim::new(preset.switches.clone(), 0x0707);
        Self {
            configured: Configured::start(&sim.dialer(), &text),
            secrets,
            form,
            start: Instant::now(),
            sim,
        }
    }

    fn client(&self) -> Client {
        Client::patient(&self.configured.seawall).trying(1)
    }

    /// Begins to pull, once in every beat, what is held, something new of a known repository, and of a new one.
    fn begin(&self) -> JoinSet<Pulled> {
        let mut pulls = JoinSet::new();
        let beats = u32::try_from(WORK.as_millis() / BEAT.as_millis()).unwrap();
        for beat in 1..=beats {
            let (tag, repository) = (format!("t{beat}"), format!("library/new{beat}"));
            self.sim.content(|content| {
                content.small("library/known", &tag, u64::from(beat));
                content.small(&repository, "1", u64::from(1000 + beat));
            });
            for (what, path) in [
                ("held", manifest("library/known", "1")),
                ("known", manifest("library/known", &tag)),
                ("new", manifest(&repository, "1")),
            ] {
                let (client, start, began) = (self.client(), self.start, BEAT * beat);
                pulls.spawn(async move {
                    sleep_until(start + began).await;
                    let status = client.get(&path).await.status;
                    Pulled { what, began, status }
                });
            }
        }
        pulls
    }

    /// Begins to pull a layer that comes slowly, and breaks off at fifteen seconds.
    fn begin_slowly(&self, image: &Image, pulls: &mut JoinSet<Pulled>) {
        let slow = BodyFault {
            cut_after: Some(LAYER * 7 / 10),
            pace: Some((LAYER / 20, Duration::from_secs(1))),
            times: Some(1),
            ..BodyFault::default()
        };
        for role in [Role::Registry, Role::Store(0)] {
            self.sim.spoil(role, slow.clone());
        }
        let (client, began) = (self.client(), Duration::from_secs(1));
        let path = blob(&image.repository, &image.platforms[0].blobs[1]);
        pulls.spawn(async move {
            let pulled = client.get(&path).await;
            let status = if pulled.complete {
                pulled.status
            } else {
                StatusCode::BAD_GATEWAY
            };
            Pulled {
                what: "slow",
                began,
                status,
            }
        });
    }

    /// Changes the password in the middle of the work. Comes back with what was pulled, and when Seawall had the
    /// new one.
    async fn work(&mut self, change: Change) -> (Vec<Pulled>, Duration) {
        let image = self.sim.image("library/known", "1", 1, LAYER);
        assert!(self.client().get(&manifest("library/known", "1")).await.is_good());
        let mut pulls = self.begin();
        sleep_until(self.start + Duration::from_secs(1)).await;
        self.begin_slowly(&image, &mut pulls);
        let (sim, start, secrets) = (&self.sim, self.start, self.secrets.path());
        let new = self.form.write("new");
        let rotate = async {
            sleep_until(start + CHANGE).await;
            sim.turn(|switches| {
                let account = &mut switches.accounts[0];
                account.former = (change == Change::WithGrace).then_some(account.password);
                account.password = "new";
            });
            if change == Change::WithTokens {
                sim.revoke_tokens();
            }
            mount(secrets, "..2", &new);
            sleep_until(start + CHANGE + GRACE).await;
            sim.turn(|switches| switches.accounts[0].former = None);
        };
        let Configured { running, source, .. } = &mut self.configured;
        let follow = async {
            let reload = running.follow_files(source).await;
            assert_eq!(reload.changed.len(), 1, "{reload:?}");
            start.elapsed()
        };
        let ((), seen) = tokio::join!(rotate, follow);
        (pulls.join_all().await, seen)
    }

    /// Logins: when, with which password, and whether they were taken.
    fn logins(&self) -> Vec<(Duration, String, bool)> {
        let journal = self.sim.journal();
        let each = |entry: &Entry| {
            let taken = !matches!(entry.status, 401 | 429);
            let password = entry.password.clone()?;
            Some((Duration::from_millis(entry.at), password, taken))
        };
        journal.iter().filter_map(each).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let sprung = self.sim.sprung();
        assert!(std::thread::panicking() || sprung.is_empty(), "{sprung:#?}");
    }
}

/// True where a repository that was asked for before is asked for again without a login.
fn keeps_tokens(preset: &Preset) -> bool {
    preset.switches.auth != Auth::Basic
}

/// True where one token opens every repository: nobody logs in for a new one.
fn has_one_token(preset: &Preset) -> bool {
    let scope = preset.switches.scope;
    keeps_tokens(preset) && matches!(scope, Scope::Fixed(_))
}

#[tokio::test(start_paused = true)]
async fn a_password_that_changes_with_a_grace_costs_nobody_a_pull() {
    for (preset, form) in with_one()
        .into_iter()
        .flat_map(|preset| Form::ALL.map(|form| (preset.clone(), form)))
    {
        let mut cluster = Cluster::open(&preset, form);
        let (pulls, seen) = cluster.work(Change::WithGrace).await;
        assert!(seen <= CHANGE + SEEN_WITHIN, "{}: {seen:?}", preset.name);
        for pulled in &pulls {
            assert_eq!(pulled.status, StatusCode::OK, "{}: {pulled:?}", preset.name);
        }
        let logins = cluster.logins();
        assert!(
            logins.iter().all(|(.., taken)| *taken),
            "{}: {logins:?}",
            preset.name
        );
        let mut late = logins.iter().filter(|(at, ..)| *at > seen);
        assert!(
            late.all(|(_, password, _)| password == "new"),
            "{}: {logins:?}",
            preset.name
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_changes_at_once_fails_once_and_costs_only_what_could_not_be_had() {
    let cases = [Change::AtOnce, Change::WithTokens];
    let cases = cases.map(|change| Form::ALL.map(|form| (change, form)));
    for (preset, (change, form)) in with_one().into_iter().flat_map(|preset| {
        cases
            .as_flattened()
            .iter()
            .map(move |case| (preset.clone(), *case))
    }) {
        let label = format!("{}, {change:?}, {form:?}", preset.name);
        let mut cluster = Cluster::open(&preset, form);
        let (pulls, seen) = cluster.work(change).await;
        assert!(seen <= CHANGE + SEEN_WITHIN, "{label}: {seen:?}");
        let logins = cluster.logins();
        // The old one fails for those who are on their way, fewer of them than any registry locks for; and is
        // never tried again.
        let nobody = change == Change::AtOnce && has_one_token(&preset);
        let failed: Vec<_> = logins.iter().filter(|(.., taken)| !taken).collect();
        assert_eq!(failed.is_empty(), nobody, "{label}: {failed:?}");
        assert!(failed.len() < LOCKOUT.failures, "{label}: {failed:?}");
        let last = failed
            .first()
            .map_or(CHANGE, |(at, ..)| *at + Duration::from_millis(100));
        let mut late = logins.iter().filter(|(at, ..)| *at > last);
        assert!(
            late.all(|(_, password, _)| password == "new"),
            "{label}: {logins:?}"
        );
        for pulled in &pulls {
            let in_between = pulled.began >= CHANGE && pulled.began <= seen;
            let needs_login = match pulled.what {
                // It goes on by the time that the new one is known.
                "held" | "slow" => false,
                "known" => change == Change::WithTokens || !keeps_tokens(&preset),
                _ => change == Change::WithTokens || !has_one_token(&preset),
            };
            if !(in_between && needs_login) {
                assert_eq!(
                    pulled.status,
                    StatusCode::OK,
                    "{label}: {pulled:?}, seen at {seen:?}"
                );
            }
        }
    }
}
