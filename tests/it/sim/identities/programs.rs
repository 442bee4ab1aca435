//! Programs that know a password: a credential helper, and a plugin of the kubelet. They are real ones; what one
//! does is switched while Seawall runs.
//!
//! The registry takes what they gave, and nothing else. Time is virtual, and theirs is not: it stands still while one
//! is at work ([`during`]).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use seawall::policy::identity::Prefix;
use seawall::upstream::{Account, Helper, Plugin, Secret, Source};
use tempfile::TempDir;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use super::super::limits::millis;
use super::Identities;

/// How long one may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether one is at work.
const TICK: Duration = Duration::from_millis(100);
/// What each password begins with.
pub(crate) const SECRET: &str = "hidden";

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Helper,
    Plugin,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It gives a password, another one each time.
    Gives,
    /// Likewise, once it is told to go on.
    Waits,
    /// It has none, in the words of helpers.
    HasNone,
    /// It fails, and says why.
    Fails,
    /// It gives one, and fails.
    GivesAndFails,
    Hangs,
    Garbage,
    /// It gives one in a version of the protocol that is none of ours.
    OtherVersion,
    /// It gives one that is not to be kept.
    NotToBeKept,
}

/// A program, in a folder of its own. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Program {
    directory: Arc<TempDir>,
    protocol: Protocol,
    /// Whose passwords it gives.
    user: &'static str,
    /// How long they are good for, which a plugin says; else until they are revoked.
    life: Option<Duration>,
    /// How many of them the registry has heard of.
    noted: usize,
}

impl Program {
    /// One that gives passwords of this user.
    pub(crate) fn new(protocol: Protocol, user: &'static str, life: Option<Duration>) -> Self {
        let program = Self {
            directory: Arc::new(tempfile::tempdir().unwrap()),
            protocol,
            user,
            life,
            noted: 0,
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sim/identities/program.sh");
        // It is never open for writing here, which would keep it from being run.
        symlink(script, program.path(program.name())).unwrap();
        let password = format!("{SECRET}-{user}-$number");
        let answer = match protocol {
            Protocol::Helper => {
                format!(r#"{{ "ServerURL": "x", "Username": "{user}", "Secret": "{password}" }}"#)
            }
            Protocol::Plugin => format!(
                r#"{{ "kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/$version",
                     "cacheKeyType": "Registry", "cacheDuration": "$keep",
                     "auth": {{ "docker.io": {{ "username": "{user}", "password": "{password}" }} }} }}"#
            ),
        };
        let give = format!("echo >> given\nnumber=$(($(wc -l < given)))\ncat <<END\n{answer}\nEND\n");
        fs::write(program.path("give"), give).unwrap();
        program.does(Mode::Gives);
        program
    }

    /// Has it do this from now on.
    pub(crate) fn does(&self, mode: Mode) {
        let keep = self.life.unwrap_or_default().as_secs();
        let plain = format!("version=v1 keep={keep}s; . ./give");
        let script = match mode {
            Mode::Gives => plain,
            Mode::Waits => format!("[ -p gate ] || mkfifo gate; exec sh -c 'read -r _ < gate; {plain}'"),
            Mode::HasNone => "echo 'credentials not found in native keychain'; exit 1".to_owned(),
            Mode::Fails => "echo 'the vault is locked' | tee /dev/stderr; exit 1".to_owned(),
            Mode::GivesAndFails => format!("{plain} | tee /dev/stderr; exit 1"),
            Mode::Hangs => "exec sleep 300".to_owned(),
            Mode::Garbage => format!("echo '{{ \"Secret\": \"{SECRET}'"),
            Mode::OtherVersion => format!("version=v1alpha9 keep={keep}s; . ./give"),
            Mode::NotToBeKept => "version=v1 keep=0s; . ./give".to_owned(),
        };
        fs::write(self.path("mode"), script).unwrap();
    }

    /// Has one that waits go on, and waits for its end.
    pub(crate) async fn go_on(&self) {
        let (gate, directory) = (self.path("gate"), self.directory.path().to_owned());
        let go_on = move || {
            // It is open once the program reads.
            let gate = fs::OpenOptions::new().write(true).open(gate).unwrap();
            drop(gate);
            wait_while(|process| fs::read_link(process.join("cwd")).is_ok_and(|at| at == directory));
        };
        spawn_blocking(go_on).await.unwrap();
    }

    /// An account that it knows the password of, for what stands below this path.
    pub(crate) fn account(&self, prefix: &str) -> Account {
        let source = match self.protocol {
            Protocol::Helper => Source::Helper(Helper {
                name: "vault".to_owned(),
                environment: vec![("PATH".to_owned(), Secret::new(self.search_path()))],
                timeout: TIMEOUT,
            }),
            Protocol::Plugin => Source::Plugin(Plugin {
                program: self.path(self.name()),
                arguments: Vec::new(),
                environment: Vec::new(),
                timeout: TIMEOUT,
            }),
        };
        Account {
            identity: source.into(),
            prefix: Prefix::parse(prefix).unwrap(),
        }
    }

    /// The `PATH` on which it is found.
    pub(crate) fn search_path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.directory.path().display())
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &'static str {
        match self.protocol {
            Protocol::Helper => "docker-credential-vault",
            Protocol::Plugin => "vault-provider",
        }
    }

    /// How often it was run.
    pub(crate) fn runs(&self) -> usize {
        self.lines("runs")
    }

    /// What it was asked last.
    pub(crate) fn asked(&self) -> String {
        fs::read_to_string(self.path("asked")).unwrap()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn lines(&self, file: &str) -> usize {
        fs::read(self.path(file)).map_or(0, |lines| lines.len())
    }
}

impl Identities {
    /// Takes the passwords that this program gives.
    pub(crate) fn trust(&mut self, program: &Program) {
        self.programs.push(program.clone());
    }

    /// Hears of what the programs gave by now.
    pub(crate) fn hear_of_programs(&mut self, at: u64) {
        for program in &mut self.programs {
            let end = program.life.map_or(u64::MAX, |life| at + millis(life));
            let given = program.lines("given");
            for number in program.noted + 1..=given {
                let password = format!("{SECRET}-{}-{number}", program.user);
                self.issued.insert(password, (Some(program.user), end));
            }
            program.noted = given;
        }
    }
}

/// Does this, which may have programs run; time stands still while one is at work. One that hangs, or waits to be
/// told to go on, is not.
pub(crate) async fn during<T>(programs: &[Program], work: impl Future<Output = T>) -> T {
    let folder = |program: &Program| program.directory.path().to_str().unwrap().to_owned();
    let folders: Arc<Vec<String>> = Arc::new(programs.iter().map(folder).collect());
    let mut watch = JoinSet::new();
    watch.spawn(async move {
        loop {
            sleep(TICK).await;
            let folders = folders.clone();
            let wait = spawn_blocking(move || wait_while(|process| is_at_work(process, &folders)));
            wait.await.unwrap();
        }
    });
    let done = work.await;
    // What was begun behind everybody's back.
    sleep(TICK * 3).await;
    done
}

/// Waits until there is no such process.
fn wait_while(is_one: impl Fn(&Path) -> bool) {
    let there = || fs::read_dir("/proc").unwrap().flatten();
    while there().any(|process| is_one(&process.path())) {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn is_at_work(process: &Path, folders: &[String]) -> bool {
    let Ok(line) = fs::read(process.join("cmdline")) else {
        return false;
    };
    let line = String::from_utf8_lossy(&line);
    match line.is_empty() {
        true => is_ending(process),
        false => folders.iter().any(|folder| line.contains(folder)),
    }
}

/// True for a child of ours whose end cannot be seen yet, although nothing else of it is left.
fn is_ending(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let (state, parent) = (fields.next(), fields.next());
    parent == Some(std::process::id().to_string().as_str()) && !matches!(state, Some("Z" | "X"))
}
