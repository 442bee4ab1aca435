//! Docker's `config.json`: a helper for one path, a password for another, and what comes of it as it is written anew.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use super::super::super::client::{Client, manifest};
use super::super::super::wire::host;
use super::super::super::{Role, Sim};
use super::paths::divided;
use super::*;
use crate::support::configured::Configured;

/// A registry, the file, and a Seawall that watches it.
struct Home {
    sim: Sim,
    configured: Configured,
    helper: Program,
    folder: TempDir,
}

/// What the file holds for the path `other`.
fn holding(password: &str) -> String {
    let login = BASE64_STANDARD.encode(format!("other:{password}"));
    format!(
        r#"{{"credHelpers":{{"docker.io/team":"vault"}},"auths":{{"docker.io/other":{{"auth":"{login}"}}}}}}"#
    )
}

/// Writes it as `docker login` does: whole, under another name first.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

impl Home {
    fn open(preset: &Preset) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        write(&file, &holding("right"));
        let helper = Program::new(Protocol::Helper, "team", None);
        let text = format!(
            "[[upstream]]\nregistry = \"docker.io\"\nurl = \"http://{}{}\"\ninsecure = true\naccess = \"shared\"\n\
             credentials = [{{ docker_config = {file:?}, env = {{ PATH = {:?} }} }}]\n",
            host(Role::Registry),
            preset.switches.prefix,
            helper.search_path(),
        );
        let sim = Sim::new(preset.switches.clone(), 0xd0c);
        sim.identities(|all| all.trust(&helper));
        Self {
            configured: Configured::start(&sim.dialer(), &text),
            helper,
            folder,
            sim,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.json")
    }

    async fn pulls(&self, repository: &str) -> bool {
        self.sim.content(|content| content.small(repository, "1", 1));
        let client = Client::patient(&self.configured.seawall).trying(1);
        let path = manifest(repository, "1");
        let pull = during(std::slice::from_ref(&self.helper), client.get(&path));
        pull.await.is_good()
    }

    /// Writes the file anew; comes back once it is in force.
    async fn change(&mut self, text: &str) {
        let file = self.file();
        let Configured { running, source, .. } = &mut self.configured;
        let change = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            write(&file, text);
        };
        let (reload, ()) = tokio::join!(running.follow_files(source), change);
        assert!(reload.applied, "{reload:?}");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let sprung = self.sim.sprung();
        assert!(std::thread::panicking() || sprung.is_empty(), "{sprung:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_path_of_dockers_file_is_pulled_with_what_it_says_and_as_it_says_from_then_on() {
    for preset in divided() {
        let mut home = Home::open(&preset);
        for repository in ["team/a", "other/a", "team/b", "other/b"] {
            assert!(home.pulls(repository).await, "{}: {repository}", preset.name);
        }
        assert_eq!(home.helper.runs(), 1, "{}", preset.name);
        assert_eq!(home.helper.asked(), "docker.io/team", "{}", preset.name);
        assert!(!home.pulls("third/a").await, "{}", preset.name);
        // The password is another, there and in the file.
        home.sim.turn(|switches| switches.accounts[1].password = "new");
        home.sim.revoke_tokens();
        home.change(&holding("new")).await;
        for repository in ["team/c", "other/c"] {
            assert!(home.pulls(repository).await, "{}: {repository}", preset.name);
        }
        // Whoever logs out of one path stays logged in for the other.
        home.change(r#"{"credHelpers":{"docker.io/team":"vault"}}"#).await;
        assert!(!home.pulls("other/d").await, "{}", preset.name);
        assert!(home.pulls("team/d").await, "{}", preset.name);
        let journal = home.sim.journal();
        let failed =
            |entry: &&super::super::super::journal::Entry| entry.password.is_some() && entry.status == 401;
        assert_eq!(journal.iter().filter(failed).count(), 0, "{}", preset.name);
    }
}
