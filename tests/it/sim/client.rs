//! A Seawall in front of a simulated upstream, and the clients that pull through it.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use seawall::oci::Digest;
use seawall::policy::clients::{Clients, Rule, Tier};
use seawall::policy::quota::Quota;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::content::Image;
use super::presets::{PASSWORD, Preset};
use super::switches::Switches;
use super::wire::host;
use super::{Role, Sim};
use crate::support::seawall::{Answer, Choices, Seawall, login};
use crate::support::world::in_memory;

/// The first seed; every world prints its own when it fails.
const SEED: u64 = 0x5ea_0a11;

/// An upstream, a Seawall, and its directory. What the tripwires caught fails the test at the end.
pub(crate) struct Shop {
    pub(crate) sim: Sim,
    pub(crate) seawall: Arc<Seawall>,
    directory: TempDir,
    choices: Choices,
    name: String,
    seed: u64,
}

impl Shop {
    /// Opens in front of a preset, with its account if it has one.
    pub(crate) fn of(preset: &Preset) -> Self {
        Self::open_with(preset.name, preset.switches.clone(), Choices::default(), SEED)
    }

    /// Opens with choices. Where they name no credential, those of the upstream's accounts are used.
    pub(crate) fn open_with(name: &str, switches: Switches, mut choices: Choices, seed: u64) -> Self {
        choices.url = format!("http://{}{}", host(Role::Registry), switches.prefix);
        if choices.credentials.is_empty() {
            let names = switches.accounts.iter().map(|account| account.name);
            choices.credentials = names.map(|name| login(name, PASSWORD)).collect();
        }
        let sim = Sim::new(switches, seed);
        let directory = in_memory();
        let seawall = Seawall::start_over(directory.path(), &sim.dialer(), choices.clone());
        Self {
            sim,
            seawall: Arc::new(seawall),
            directory,
            choices,
            name: name.to_owned(),
            seed,
        }
    }

    /// Stops Seawall and starts it again over what it had written down.
    pub(crate) async fn restart(&mut self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let elsewhere = in_memory();
        let stand_in = Seawall::start_over(elsewhere.path(), &self.sim.dialer(), self.choices.clone());
        let old = std::mem::replace(&mut self.seawall, Arc::new(stand_in));
        Arc::into_inner(old).unwrap().stop().await;
        let again = Seawall::start_over(self.directory.path(), &self.sim.dialer(), self.choices.clone());
        self.seawall = Arc::new(again);
        self.sim.tripwires(super::tripwires::Tripwires::forget_tokens);
    }

    /// A client that waits when it is told to, and tries again.
    pub(crate) fn patient(&self) -> Client {
        Client::patient(&self.seawall)
    }

    /// A client that takes the first answer.
    pub(crate) fn curt(&self) -> Client {
        self.patient().trying(1)
    }

    /// One of the low tier's clients, which takes the first answer.
    pub(crate) fn ci(&self) -> Client {
        Client {
            address: [10, 20, 0, 1],
            ..self.curt()
        }
    }

    /// Asks by digest for images with these seeds, each a pull of its own, all at once, by clients that take the
    /// first answer; how many came.
    pub(crate) async fn at_once(&self, seeds: std::ops::Range<u64>) -> u64 {
        let mut clients = JoinSet::new();
        for seed in seeds {
            let digest = self
                .sim
                .content(|content| content.small("library/app", "x", seed));
            let client = self.curt();
            clients.spawn(async move { client.get(&manifest("library/app", digest)).await.status });
        }
        let answers = clients.join_all().await;
        answers.iter().filter(|status| **status == StatusCode::OK).count() as u64
    }

    /// What is at work: tasks, and files that are open below the directory. To be asked once all is quiet.
    pub(crate) fn at_work(&self) -> (usize, Vec<PathBuf>) {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        // Others of this process close theirs meanwhile.
        let open = open.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
        let mut open: Vec<PathBuf> = open
            .filter(|file| file.starts_with(self.directory.path()))
            .collect();
        open.sort();
        (Handle::current().metrics().num_alive_tasks(), open)
    }

    /// Which world this is, for messages.
    pub(crate) fn label(&self) -> String {
        format!("{} (seed {:#x})", self.name, self.seed)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let sprung = self.sim.sprung();
        assert!(sprung.is_empty(), "{}: {sprung:#?}", self.label());
    }
}

/// Production, which may have everything, and CI from 10.20.0.0/16, which may not touch this part of it.
pub(crate) fn tiers(reserve: f64) -> Clients {
    let tier = |name: &str, reserve| Tier {
        name: name.to_owned(),
        reserve,
        quota: Quota::UNLIMITED,
    };
    Clients {
        tiers: vec![tier("production", 0.0), tier("ci", reserve)],
        rules: vec![Rule::at("ci", 1, vec!["10.20.0.0/16".parse().unwrap()])],
        ..Clients::default()
    }
}

/// Where a manifest is.
pub(crate) fn manifest(repository: &str, reference: impl Display) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

/// Where a blob is.
pub(crate) fn blob(repository: &str, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// Who pulls.
#[derive(Clone)]
pub(crate) struct Client {
    seawall: Arc<Seawall>,
    address: [u8; 4],
    agent: &'static str,
    tries: u32,
    /// What it logs in with here.
    authorization: String,
}

impl Client {
    /// One that waits when it is told to, and tries again.
    pub(crate) fn patient(seawall: &Arc<Seawall>) -> Self {
        Self {
            seawall: seawall.clone(),
            address: [127, 0, 0, 1],
            agent: "containers/5.30",
            tries: 30,
            authorization: "Basic Q0FOQVJZ".to_owned(),
        }
    }

    /// The same, who logs in.
    pub(crate) fn logged_in(self, user: &str, password: &str) -> Self {
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        Self {
            authorization: format!("Basic {pair}"),
            ..self
        }
    }

    /// The same, without any login.
    pub(crate) fn anonymous(self) -> Self {
        Self {
            authorization: String::new(),
            ..self
        }
    }

    /// The same, by another name.
    pub(crate) fn named(self, agent: &'static str) -> Self {
        Self { agent, ..self }
    }

    /// The same, at another address.
    pub(crate) fn from(self, address: [u8; 4]) -> Self {
        Self { address, ..self }
    }

    /// The same, with so many tries.
    pub(crate) fn trying(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// Asks; again after the pause that was named, as long as there are tries left. Everything it sends
    /// beside the question is its own business: none of it may reach an upstream.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        self.ask_with(method, path, &[]).await
    }

    /// As [`Self::ask`], with more headers.
    pub(crate) async fn ask_with(&self, method: Method, path: &str, more: &[(&str, &str)]) -> Answer {
        let mut own = vec![
            ("user-agent", self.agent),
            ("cookie", "session=CANARY"),
            ("x-forwarded-for", "198.51.100.7, CANARY"),
            ("referer", "http://CANARY.example/"),
        ];
        if !self.authorization.is_empty() {
            own.push(("authorization", &self.authorization));
        }
        own.extend(more);
        let mut left = self.tries;
        loop {
            let opened = self.seawall.open_from(self.address, method.clone(), path, &own);
            let answer = crate::support::seawall::read(opened.await).await;
            left -= 1;
            // A blob that cannot be had just now is a 404, so that clients ask elsewhere before they return.
            let elsewhere = String::from_utf8_lossy(&answer.body).contains("BLOB_UNKNOWN");
            let passing = answer.status == StatusCode::TOO_MANY_REQUESTS
                || answer.status.is_server_error()
                || elsewhere
                || !answer.complete;
            if !passing || left == 0 {
                return answer;
            }
            let pause = answer.header("retry-after").parse().unwrap_or(1);
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
    }

    /// How long it takes until an answer begins.
    pub(crate) async fn waits(&self, method: Method, path: &str) -> Duration {
        let own = [("user-agent", self.agent), ("authorization", &self.authorization)];
        let asked = tokio::time::Instant::now();
        let opened = self.seawall.open_from(self.address, method, path, &own);
        drop(opened.await);
        asked.elapsed()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    /// Pulls an image for one platform, and holds every byte against its digest. Comes back with what the
    /// tag pointed at.
    pub(crate) async fn pull(&self, image: &Image, platform: usize) -> Result<Digest, String> {
        let repository = &image.repository;
        let answer = self.get(&manifest(repository, &image.tag)).await;
        let index = verified(&answer, None)?;
        let platform = &image.platforms[platform];
        let answer = self.get(&manifest(repository, platform.manifest)).await;
        verified(&answer, Some(&platform.manifest))?;
        for digest in &platform.blobs {
            verified(&self.get(&blob(repository, digest)).await, Some(digest))?;
        }
        Ok(index)
    }
}

/// The digest of a complete answer, which is what it says, and what was wanted.
pub(crate) fn verified(answer: &Answer, wanted: Option<&Digest>) -> Result<Digest, String> {
    if !answer.is_good() {
        let text = String::from_utf8_lossy(&answer.body);
        return Err(format!(
            "{} (complete: {}) {text}",
            answer.status, answer.complete
        ));
    }
    let digest = Digest::sha256(&answer.body);
    let said = answer.header("docker-content-digest").to_owned();
    if said != digest.to_string() || wanted.is_some_and(|wanted| *wanted != digest) {
        return Err(format!("{said} and {wanted:?} for what is {digest}"));
    }
    Ok(digest)
}
