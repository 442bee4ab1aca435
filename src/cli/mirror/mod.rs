//! `seawall mirror-config`: prints or writes what makes other programs pull through Seawall.
//!
//! What the files must say is decided in [`crate::policy::mirrors`].

mod files;
mod ready;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use self::files::{Done, Root};
pub(super) use self::ready::Probe;
use super::{Configuration, WRONG_ARGUMENTS, complain, configured, print};
use crate::config::{self, Settings};
use crate::net::dial::{Dialer, Proxies};
use crate::policy::mirrors::{Address, How, Pieces, Program, Step, Watch, pieces, shown};

/// How often a mirror that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Mirroring {
    /// The program that is to pull through Seawall
    #[arg(value_name = "PROGRAM", value_parser = program())]
    program: Program,
    /// Where it reaches Seawall, such as http://127.0.0.1:5000; without it, where the configuration listens
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Address>,
    /// Write the files, if Seawall answers there; what they were is kept beside them
    #[arg(long, conflicts_with = "remove")]
    write: bool,
    /// Take out what was written, and nothing else
    #[arg(long)]
    remove: bool,
    /// Wait as long as this for Seawall to answer before writing
    #[arg(long, value_name = "DURATION", requires = "write", value_parser = duration)]
    wait: Option<Duration>,
    /// Stay: write when Seawall answers, take it out while Seawall does not, and at SIGTERM
    #[arg(long, requires = "write", conflicts_with = "wait")]
    follow: bool,
    /// Write even if nothing answers there, for the image of a machine
    #[arg(long, requires = "write", conflicts_with_all = ["wait", "follow"])]
    unchecked: bool,
    /// Where the machine's files are
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    configuration: Configuration,
}

fn program() -> impl TypedValueParser<Value = Program> {
    PossibleValuesParser::new(Program::ALL.map(|(name, _)| name)).map(|chosen| {
        let known = Program::ALL.into_iter().find(|(name, _)| *name == chosen);
        known.map_or(Program::Containerd, |(_, program)| program)
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration with a unit, such as 30s or 5m";
    config::duration(text).ok_or_else(|| expected.to_owned())
}

/// What the options add up to.
enum Todo {
    Print,
    Remove,
    Write { wait: Option<Duration> },
    Follow,
}

impl Mirroring {
    /// Does it.
    pub(super) fn run(&self) -> ExitCode {
        configured(&self.configuration, |settings| match self.go(&settings) {
            Ok(code) => code,
            Err(why) => {
                complain(format_args!("error: {why}"));
                ExitCode::FAILURE
            }
        })
    }

    fn go(&self, settings: &Settings) -> Result<ExitCode, String> {
        let server = &settings.server;
        let own = || Address::of_listener(server.listen, server.tls.is_some());
        let address = self.address.clone().unwrap_or_else(own);
        let patterns: Vec<_> = settings.names.iter().map(|name| name.pattern.clone()).collect();
        let told = pieces(self.program, &address, &patterns);
        let root = Root(self.root.clone());
        let todo = match (self.write, self.remove, self.follow) {
            (_, true, _) => Todo::Remove,
            (true, _, true) => Todo::Follow,
            (true, _, false) if self.unchecked => Todo::Write { wait: None },
            (true, _, false) => Todo::Write {
                wait: Some(self.wait.unwrap_or_default()),
            },
            (false, false, _) => Todo::Print,
        };
        let has_files = told.pieces.iter().all(|piece| piece.how != How::Flags);
        if !has_files && !matches!(todo, Todo::Print) {
            complain(
                "error: this program has flags and no file: give it those that are printed without --write and --remove",
            );
            return Ok(ExitCode::from(WRONG_ARGUMENTS));
        }
        match todo {
            Todo::Print => Ok(self.show(&root, &told)),
            Todo::Remove => Ok(self.tell(&root.take(&told.pieces)?)),
            Todo::Write { wait } => {
                if let Some(limit) = wait {
                    let answered = runtime()?.block_on(probe(&address)?.wait(limit));
                    answered.map_err(|why| {
                        format!(
                            "nothing was written, for no registry answers there: {why}; start Seawall, wait for it \
                             with --wait 1m, or write all the same with --unchecked"
                        )
                    })?;
                }
                left_out(&told);
                Ok(self.tell(&root.put(&told.pieces)?))
            }
            Todo::Follow => {
                left_out(&told);
                runtime()?.block_on(self.follow(&probe(&address)?, &root, &told))
            }
        }
    }

    /// Prints what the files would say.
    fn show(&self, root: &Root, told: &Pieces) -> ExitCode {
        left_out(told);
        let mut text = String::new();
        for piece in &told.pieces {
            let path = root.path(&piece.path);
            match (piece.how, told.pieces.len()) {
                (How::Flags, _) => {}
                (_, 1) => complain(format_args!("{}:", path.display())),
                // As `head` shows several files.
                _ => {
                    let between = if text.is_empty() { "" } else { "\n" };
                    text += &format!("{between}==> {} <==\n", path.display());
                }
            }
            text += &shown(piece);
        }
        print(&text)
    }

    fn tell(&self, done: &[Done]) -> ExitCode {
        let lines: String = done.iter().map(|done| format!("{done}\n")).collect();
        let code = print(&lines);
        let then = self.program.then();
        if let Some(then) = then.filter(|_| done.iter().any(Done::is_change)) {
            complain(then);
        }
        code
    }

    /// Keeps the files in step with Seawall until SIGTERM or SIGINT.
    async fn follow(&self, probe: &Probe, root: &Root, told: &Pieces) -> Result<ExitCode, String> {
        let failed = |error: std::io::Error| format!("signals cannot be received: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Watch::default();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = looks.tick() => {}
            }
            let step = watch.look(probe.answers().await.is_ok());
            let done = match step {
                Step::Put => root.put(&told.pieces),
                Step::Take => root.take(&told.pieces),
                Step::Leave => continue,
            };
            match done {
                Ok(done) if done.iter().any(Done::is_change) => {
                    self.tell(&done);
                }
                Ok(_) => {}
                // The next look tries again.
                Err(why) => complain(format_args!("error: {why}")),
            }
        }
        Ok(self.tell(&root.take(&told.pieces)?))
    }
}

/// Names the registries that the program cannot be told of.
fn left_out(told: &Pieces) {
    if !told.left_out.is_empty() {
        let names: Vec<String> = told.left_out.iter().map(ToString::to_string).collect();
        complain(format_args!(
            "warning: this program has no mirrors for {}; it pulls from there as before",
            names.join(", ")
        ));
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("the runtime cannot start: {error}"))
}

/// Asks `address` as programs do.
pub(super) fn probe(address: &Address) -> Result<Probe, String> {
    let direct = Dialer {
        // Programs reach a mirror directly, too.
        proxies: Proxies::Never,
        ..Dialer::system()
    };
    Probe::new(direct, address)
}
