//! `seawall run -- COMMAND…`: a Seawall for as long as a command takes.
//!
//! It is a process of its own, on ports of its own, and ends with us. The command finds its way by variables of its
//! environment; nothing on the machine is changed.

mod environment;
mod saved;
mod scratch;
mod told;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use self::environment::variables;
use self::saved::Saved;
use self::scratch::{Scratch, sweep};
use self::told::Told;
use super::admin::Admin;
use super::mirror::probe;
use super::{Configuration, complain, configured};
use crate::config::Settings;
use crate::policy::mirrors::Address;

/// How long Seawall may take to answer: it answers before it looks at what is in its directory.
const START: Duration = Duration::from_secs(30);
/// How long it may take to end after a SIGTERM.
const STOP: Duration = Duration::from_secs(30);
/// What a shell answers for a command that cannot be run.
const NOT_RUN: u8 = 127;
/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

#[derive(Debug, Args)]
pub(super) struct Running {
    /// Where to keep what is pulled, for the next run; without it, a directory that is removed at the end
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Say nothing of what was saved
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    configuration: Configuration,
    /// The command, and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

/// A Seawall of our own.
struct Own {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Running {
    /// Runs the command, and ends as it does.
    pub(super) fn run(&self) -> ExitCode {
        configured(&self.configuration, |settings| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| format!("the runtime cannot start: {error}"));
            match runtime.and_then(|runtime| runtime.block_on(Box::pin(self.go(&settings)))) {
                Ok(code) => code,
                Err(why) => {
                    complain(format_args!("error: {why}"));
                    ExitCode::FAILURE
                }
            }
        })
    }

    async fn go(&self, settings: &Settings) -> Result<ExitCode, String> {
        let mut told = Told::new().map_err(|error| format!("signals cannot be received: {error}"))?;
        let parent = std::env::temp_dir();
        sweep(&parent);
        let scratch = Scratch::new(&parent).map_err(|error| {
            let parent = parent.display();
            format!("a temporary directory cannot be made in {parent}: {error}; TMPDIR names another place")
        })?;
        let cache = self.cache.clone().unwrap_or_else(|| scratch.path().join("cache"));
        let started = tokio::select! {
            started = self.start(&cache, settings.server.tls.is_some()) => started,
            // There is no command yet to be told, and nothing to be kept.
            signal = told.next() => return Ok(code_of(ExitStatus::from_raw(signal.as_raw()))),
        };
        let mut own = started?;
        let address = Address::of_listener(own.address, settings.server.tls.is_some());
        let patterns: Vec<_> = settings.names.iter().map(|name| name.pattern.clone()).collect();
        let variables = variables(scratch.path(), &address, &patterns, &|name| {
            std::env::var(name).ok()
        })?;
        let ended = self.command(variables, &mut told).await;
        if !self.quiet {
            match Saved::ask(own.admin).await {
                Ok(saved) => complain(saved),
                Err(why) => complain(format_args!("warning: what was saved is not known: {why}")),
            }
        }
        own.stop().await;
        let status = ended?;
        Ok(code_of(status))
    }

    /// Starts Seawall, and waits until it answers.
    async fn start(&self, cache: &Path, tls: bool) -> Result<Own, String> {
        let (address, admin) = free_addresses().map_err(|error| format!("no port is free: {error}"))?;
        let binary =
            std::env::current_exe().map_err(|error| format!("our own binary cannot be found: {error}"))?;
        let mut serve = Command::new(binary);
        serve.args(["serve", "--with-parent"]);
        if let Some(file) = &self.configuration.config {
            serve.arg("--config").arg(file);
        }
        // The terminal is the command's, whatever the file says for a Seawall that serves others.
        for (name, value) in [("SEAWALL_LOG__LEVEL", "warn"), ("SEAWALL_LOG__REQUESTS", "false")] {
            if std::env::var_os(name).is_none() {
                serve.env(name, value);
            }
        }
        serve.env("SEAWALL_SERVER__LISTEN", address.to_string());
        serve.env("SEAWALL_SERVER__ADMIN", admin.to_string());
        serve.env("SEAWALL_CACHE__DIRECTORY", cache);
        // What a terminal sends to the command is not for Seawall, which is still needed then.
        serve.process_group(0).kill_on_drop(true).stdin(Stdio::null());
        // What it has to complain of, it tells in the same place as we.
        serve.stderr(Stdio::inherit());
        let child = serve
            .spawn()
            .map_err(|error| format!("seawall serve does not start: {error}"))?;
        let mut own = Own {
            child,
            address,
            admin,
        };
        let probe = probe(&Address::of_listener(address, tls))?;
        tokio::select! {
            ready = probe.wait(START) => ready?,
            ended = own.child.wait() => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(format!("seawall serve ended at its start ({how})"));
            }
        }
        Ok(own)
    }

    /// Runs the command to its end, and passes on what we are told meanwhile.
    async fn command(&self, variables: Vec<(String, String)>, told: &mut Told) -> Result<ExitStatus, String> {
        let (program, arguments) = self.command.split_first().ok_or("there is no command")?;
        let mut command = Command::new(program);
        command.args(arguments).envs(variables).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                complain(format_args!("error: {program}: {error}"));
                return Ok(ExitStatus::from_raw(i32::from(NOT_RUN) << 8));
            }
        };
        // A terminal sends its SIGINT and SIGHUP to the command as well.
        let terminal = rustix::termios::isatty(std::io::stdin());
        loop {
            let signal = tokio::select! {
                ended = child.wait() => return ended.map_err(|error| format!("{program}: {error}")),
                signal = told.next() => signal,
            };
            let knows = terminal && signal != Signal::TERM;
            if let Some(pid) = pid_of(&child).filter(|_| !knows) {
                // Who is gone needs no signal.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

impl Own {
    async fn stop(&mut self) {
        if let Some(pid) = pid_of(&self.child) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP, self.child.wait()).await.is_err() {
            complain("warning: seawall serve did not end in time, and is killed");
            let _ = self.child.kill().await;
        }
    }
}

impl Saved {
    async fn ask(admin: SocketAddr) -> Result<Self, String> {
        let asked = tokio::task::spawn_blocking(move || {
            let admin = Admin::at(admin);
            let status = admin.get("/api/v1/status").map_err(|why| why.to_string())?;
            let metrics = admin.get("/metrics").map_err(|why| why.to_string())?;
            Self::read(&status, &String::from_utf8_lossy(&metrics))
        });
        asked.await.map_err(|error| error.to_string())?
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// Two ports of loopback that were free a moment ago: nobody is given them again soon.
fn free_addresses() -> std::io::Result<(SocketAddr, SocketAddr)> {
    let sockets = [0; 2].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    let [clients, admin] = sockets;
    Ok((clients?.local_addr()?, admin?.local_addr()?))
}

/// A command's end as a shell tells it.
fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_as_a_shell_would_say() {
        for (raw, code) in [
            (0, 0),
            (3 << 8, 3),
            (i32::from(NOT_RUN) << 8, 127),
            (15, 143),
            (9, 137),
        ] {
            let code_of = code_of(ExitStatus::from_raw(raw));
            assert_eq!(
                format!("{code_of:?}"),
                format!("{:?}", ExitCode::from(code)),
                "{raw}"
            );
        }
    }
}
