//! The command line.
//!
//! Exit codes: 0 done, 1 a start or run that failed, 2 wrong arguments, 3 what was named is not held,
//! 4 done, but something is wrong with what was looked at (damaged content, a warm that missed some, a purge of what
//! is locked), 64 a wrong configuration (`EX_USAGE` of sysexits.h, which tells a supervisor that starting again will
//! not help).

mod admin;
mod bundle;
mod capture;
mod colours;
mod examples;
mod explain;
mod holds;
mod images;
mod inspect;
mod look;
mod mirror;
mod operator;
mod pages;
mod patience;
mod progress;
mod purge;
mod reload;
mod run;
mod status;
mod table;
mod verify;
mod warm;
mod words;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use http::StatusCode;

use self::admin::{Admin, NoAnswer};
pub use self::capture::{Capture, capture};
use self::colours::Colours;
use self::look::Look;
use self::operator::{Listener, Showing};
use crate::app::{self, Source};
use crate::config::{self, Environment, Loaded, Settings};

/// The configuration is wrong.
const WRONG_CONFIGURATION: u8 = 64;
/// What was named is not held.
const NOT_HELD: u8 = 3;
/// The arguments do not go together; clap's own code.
const WRONG_ARGUMENTS: u8 = 2;
/// It is done, but something is wrong with what was looked at.
const SOMETHING_WRONG: u8 = 4;

/// The exit codes, for scripts.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 what was named is not held, 4 done, but \
    something is wrong with what was looked at, 64 a wrong configuration";

/// A pull-through cache and rate-limit shield for container registries.
#[derive(Debug, Parser)]
#[command(name = "seawall", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve pulls until SIGTERM; works without a configuration file
    Serve(Serving),
    /// Validate the configuration and print it as it takes effect, secrets hidden
    Check(Configuration),
    /// Show the upstreams of a running Seawall: budgets, queues, credentials, requests saved
    Status(Asking),
    #[command(flatten)]
    Inspect(inspect::Inspect),
    /// Tell how a pull would be answered now and why, without spending anything
    Explain(explain::Explaining),
    /// Remove tags, manifests and blobs; shows what goes, what stays and why, and asks
    Purge(purge::Purging),
    /// Keep content, and let its tag not move: it is served as it is, whatever the upstream says
    Lock(holds::Holding),
    /// Take a lock back
    Unlock(holds::Holding),
    /// Keep content, and what its tag points at next
    Pin(holds::Holding),
    /// Take a pin back
    Unpin(holds::Holding),
    /// List what is locked and pinned
    Holds(Asking),
    /// Print or write what makes containerd, Docker, podman, CRI-O, BuildKit, k3s and kaniko pull through Seawall
    MirrorConfig(mirror::Mirroring),
    /// Run a command that pulls through a Seawall of its own, and say what that saved
    Run(run::Running),
    /// Fetch images before anybody asks for them
    Warm(warm::Warming),
    /// Write images that are held into a file: an OCI image layout, for where no registry can be reached
    Export(bundle::Exporting),
    /// Read images from such a file, verify them, and serve them from now on
    Import(bundle::Importing),
    /// Hash what is held again, put aside what is damaged, and fetch that again if asked to
    Verify(verify::Verifying),
    /// Have a running Seawall read its configuration again, and tell what has changed
    Reload(Asking),
    /// Print completions for a shell
    Completions(pages::Completions),
    /// Print the manual, or write all its pages
    Man(pages::Man),
}

#[derive(Debug, Args)]
struct Configuration {
    /// The configuration file (TOML); variables such as SEAWALL_SERVER__LISTEN override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Serving {
    #[command(flatten)]
    configuration: Configuration,
    /// End when the process that started this ends, however it ends
    #[arg(long, hide = true)]
    with_parent: bool,
}

#[derive(Debug, Args)]
struct Asking {
    #[command(flatten)]
    configuration: Configuration,
    /// The admin listener to ask, by TLS if it begins with https://; without it, the one that the configuration names
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Listener>,
    #[command(flatten)]
    showing: Showing,
    /// Print JSON for scripts
    #[arg(long)]
    json: bool,
}

/// Runs the command the process was started with, and says how it ended.
pub fn main() -> ExitCode {
    match arguments().command {
        Command::Serve(serving) => loaded(&serving.configuration, |loaded| {
            if serving.with_parent {
                end_with_parent();
            }
            let source = Source {
                file: serving.configuration.config.clone(),
                environment: Environment::of_process(),
            };
            // The terminal is the parent's, if there is one.
            app::serve(loaded, source, !serving.with_parent).map_or_else(
                |error| {
                    complain(format_args!("error: {error}"));
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            )
        }),
        Command::Check(configuration) => {
            configured(&configuration, |settings| print(&config::effective(&settings)))
        }
        Command::Status(asking) => status(&asking),
        Command::Inspect(inspect) => {
            let answer = |admin: &Admin| inspect.answer(&|path| admin.get(path));
            inspect
                .asking()
                .tell(answer, |body| inspect.draw(body, Look::of_stdout()))
        }
        Command::Explain(explaining) => explaining.run(),
        Command::Purge(purging) => purging.run(),
        Command::Lock(holding) => holding.run("lock"),
        Command::Unlock(holding) => holding.run("unlock"),
        Command::Pin(holding) => holding.run("pin"),
        Command::Unpin(holding) => holding.run("unpin"),
        Command::Holds(asking) => holds::list(&asking),
        Command::MirrorConfig(mirroring) => mirroring.run(),
        Command::Run(running) => running.run(),
        Command::Warm(warming) => warm::run(&warming),
        Command::Export(exporting) => bundle::export(&exporting),
        Command::Import(importing) => bundle::import(&importing),
        Command::Verify(verifying) => verify::run(&verifying),
        Command::Reload(asking) => reload::run(&asking),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

/// Has the kernel send us SIGTERM when our parent is gone, were it by SIGKILL.
fn end_with_parent() {
    let signal = Some(rustix::process::Signal::TERM);
    if let Err(error) = rustix::process::set_parent_process_death_signal(signal) {
        complain(format_args!(
            "warning: this will not end with its parent: {error}"
        ));
    }
}

/// The command line, as it is parsed, completed and described.
fn definition() -> clap::Command {
    examples::added(Arguments::command())
}

/// What the process was started with; what is wrong with it ends the process.
fn arguments() -> Arguments {
    let matches = definition().get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Asks a running Seawall how its upstreams stand.
fn status(asking: &Asking) -> ExitCode {
    asking.show("/api/v1/status", |body| {
        let status = serde_json::from_slice(body)?;
        Ok(status::draw(&status, Colours::of_stdout()))
    })
}

impl Asking {
    /// Goes on with the running Seawall that is meant.
    fn with(&self, go_on: impl FnOnce(&Admin) -> ExitCode) -> ExitCode {
        let go_on = |listener: Listener| match self.showing.to(&listener, &Environment::of_process()) {
            Ok(shown) => go_on(&Admin::with(listener, shown)),
            Err(why) => {
                complain(words::clean(&format!("error: {why}")));
                ExitCode::from(WRONG_ARGUMENTS)
            }
        };
        match &self.admin {
            Some(listener) => go_on(listener.clone()),
            None => configured(&self.configuration, |settings| {
                let server = settings.server;
                go_on(Listener::at(server.admin, server.operators.tls.is_some()))
            }),
        }
    }

    /// Prints what `path` answers: as it is for scripts, drawn for people.
    fn show(&self, path: &str, draw: impl FnOnce(&[u8]) -> Result<String, serde_json::Error>) -> ExitCode {
        self.tell(|admin| admin.get(path), draw)
    }

    /// Prints what is answered: as it is for scripts, drawn for people.
    fn tell(
        &self,
        answer: impl FnOnce(&Admin) -> Result<Bytes, NoAnswer>,
        draw: impl FnOnce(&[u8]) -> Result<String, serde_json::Error>,
    ) -> ExitCode {
        self.with(|admin| match answer(admin) {
            Ok(body) => self.print(&body, draw),
            Err(no_answer) => refused(&no_answer),
        })
    }

    /// Prints an answer: as it is for scripts, drawn for people.
    fn print(&self, body: &[u8], draw: impl FnOnce(&[u8]) -> Result<String, serde_json::Error>) -> ExitCode {
        if self.json {
            let json = words::clean_json(&String::from_utf8_lossy(body));
            return print(&format!("{}\n", json.trim_end()));
        }
        match draw(body) {
            Ok(text) => print(&text),
            Err(error) => {
                complain(format_args!(
                    "error: the answer of the running Seawall is not understood: {error}"
                ));
                ExitCode::FAILURE
            }
        }
    }
}

/// The summary that an answer line by line ends with; without one, says why, and how to exit.
fn summary_of<T>(followed: Result<(), NoAnswer>, summary: Option<T>) -> Result<T, ExitCode> {
    match (followed, summary) {
        (Err(no_answer), _) => Err(refused(&no_answer)),
        (Ok(()), Some(summary)) => Ok(summary),
        (Ok(()), None) => {
            complain("error: the running Seawall ended the answer without a summary; was it stopped?");
            Err(ExitCode::FAILURE)
        }
    }
}

/// Says why there is no answer, and exits as that deserves.
fn refused(no_answer: &NoAnswer) -> ExitCode {
    complain(words::clean(&format!("error: {no_answer}")));
    match no_answer {
        NoAnswer::Refused(StatusCode::NOT_FOUND, _) => ExitCode::from(NOT_HELD),
        NoAnswer::Refused(StatusCode::BAD_REQUEST, _) => ExitCode::from(WRONG_ARGUMENTS),
        NoAnswer::Refused(..) | NoAnswer::Unreachable(_) | NoAnswer::Left => ExitCode::FAILURE,
    }
}

/// Goes on with the settings, or reports every problem with them.
fn configured(configuration: &Configuration, go_on: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    loaded(configuration, |loaded| go_on(loaded.settings))
}

/// As [`configured`], with what else was read.
fn loaded(configuration: &Configuration, go_on: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match config::load(configuration.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(format_args!("warning: {warning}"));
            }
            go_on(loaded)
        }
        Err(report) => {
            complain(report);
            ExitCode::from(WRONG_CONFIGURATION)
        }
    }
}

/// Writes to standard output. A reader that went away (`seawall check | head`) is no failure of ours.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("error: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

/// Writes a line to standard error, where a closed pipe is no reason to fail either.
fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_names_its_file() {
        definition().debug_assert();
        let parsed = Arguments::try_parse_from(["seawall", "serve", "--config", "a.toml"]).unwrap();
        let Command::Serve(serving) = parsed.command else {
            panic!("another command")
        };
        assert_eq!(serving.configuration.config, Some("a.toml".into()));
        assert!(Arguments::try_parse_from(["seawall"]).is_err());
    }

    #[test]
    fn scripts_are_told_by_the_exit_code_why_there_is_no_answer() {
        let refusal = |status| NoAnswer::Refused(status, "why".to_owned());
        for (no_answer, code) in [
            (refusal(StatusCode::NOT_FOUND), 3),
            (refusal(StatusCode::BAD_REQUEST), 2),
            (refusal(StatusCode::CONFLICT), 1),
            (refusal(StatusCode::SERVICE_UNAVAILABLE), 1),
            (NoAnswer::Unreachable("why".to_owned()), 1),
            (NoAnswer::Left, 1),
        ] {
            let told = format!("{:?}", refused(&no_answer));
            assert_eq!(told, format!("{:?}", ExitCode::from(code)), "{no_answer:?}");
        }
    }
}
