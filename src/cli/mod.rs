//! The command line.
//!
//! Exit codes: 0 done, 1 a start or run that failed, 2 wrong arguments (clap), 64 a wrong configuration
//! (`EX_USAGE` of sysexits.h, which tells a supervisor that starting again will not help).

mod admin;
mod status;

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::config::{self, Environment, Settings};

/// The configuration is wrong.
const WRONG_CONFIGURATION: u8 = 64;

/// A pull-through cache and rate-limit shield for container registries.
#[derive(Debug, Parser)]
#[command(name = "seawall", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve pulls until SIGTERM; works without a configuration file
    Serve(Configuration),
    /// Validate the configuration and print it as it takes effect, secrets hidden
    Check(Configuration),
    /// Show the upstreams of a running Seawall: budgets, queues, credentials, requests saved
    Status(Asking),
}

#[derive(Debug, Args)]
struct Configuration {
    /// The configuration file (TOML); variables such as SEAWALL_SERVER__LISTEN override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Asking {
    #[command(flatten)]
    configuration: Configuration,
    /// The admin listener to ask; without it, the one that the configuration names
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Print JSON for scripts
    #[arg(long)]
    json: bool,
}

/// Runs the command the process was started with, and says how it ended.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(configuration) => configured(&configuration, |settings| {
            app::serve(settings).map_or_else(
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
    }
}

/// Asks a running Seawall how its upstreams stand.
fn status(asking: &Asking) -> ExitCode {
    let ask = |address| {
        let shown = admin::get(address, "/api/v1/status").and_then(|body| {
            if asking.json {
                return Ok(String::from_utf8_lossy(&body).into_owned());
            }
            let status = serde_json::from_slice(&body);
            status
                .map(|status| status::draw(&status, status::Colours::of_stdout()))
                .map_err(|error| format!("the admin listener at {address} answered with no status: {error}"))
        });
        match shown {
            Ok(text) => print(&text),
            Err(why) => {
                complain(format_args!("error: {why}"));
                ExitCode::FAILURE
            }
        }
    };
    match asking.admin {
        Some(address) => ask(address),
        None => configured(&asking.configuration, |settings| ask(settings.server.admin)),
    }
}

/// Goes on with the settings, or reports every problem with them.
fn configured(configuration: &Configuration, go_on: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    match config::load(configuration.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(format_args!("warning: {warning}"));
            }
            go_on(loaded.settings)
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
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_names_its_file() {
        Arguments::command().debug_assert();
        let parsed = Arguments::try_parse_from(["seawall", "serve", "--config", "a.toml"]).unwrap();
        let Command::Serve(configuration) = parsed.command else {
            panic!("another command")
        };
        assert_eq!(configuration.config, Some("a.toml".into()));
        assert!(Arguments::try_parse_from(["seawall"]).is_err());
    }
}
