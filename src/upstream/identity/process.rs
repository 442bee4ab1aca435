//! Runs a program that knows a credential: little environment, little time, little output, and it ends with
//! everything it started.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command as Program};
use tokio::time::timeout;

use crate::upstream::Secret;

/// Most bytes of its output: a secret is a few KiB.
const MAX_OUTPUT: u64 = 64 << 10;
/// Most bytes of its complaints that are read, and most characters of them that are logged.
const MAX_COMPLAINT: (u64, usize) = (4 << 10, 200);
/// Longest word of a complaint that is logged: what is longer may be a secret.
const MAX_WORD: usize = 24;
/// What of our own environment it gets.
const INHERITED: [&str; 2] = ["PATH", "HOME"];

/// A program to run.
pub(super) struct Command<'a> {
    pub(super) program: &'a OsStr,
    pub(super) arguments: &'a [String],
    pub(super) environment: &'a [(String, Secret)],
    pub(super) timeout: Duration,
}

/// How it ended.
pub(super) struct Ended {
    pub(super) success: bool,
    /// For people.
    pub(super) status: String,
    /// What it wrote: there may be a secret in it.
    pub(super) output: Vec<u8>,
    /// What it complained of, as a log may have it.
    pub(super) complaint: String,
}

impl Command<'_> {
    /// Runs it with this input, and waits for its end.
    ///
    /// Cancel-safe: whoever leaves has it killed.
    ///
    /// # Errors
    /// A sentence without secrets, if it cannot be run, takes too long or writes too much.
    pub(super) async fn run(&self, input: Vec<u8>) -> Result<Ended, String> {
        let mut program = Program::new(self.program);
        program
            .args(self.arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for name in INHERITED {
            program.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let own = self.environment.iter();
        program.envs(own.map(|(name, value)| (name, value.expose())));
        let child = program
            .spawn()
            .map_err(|error| format!("it cannot be run: {error}"))?;
        let mut group = Group(child);
        let talk = talk(&mut group.0, input);
        let (status, output, complaint) = match timeout(self.timeout, talk).await {
            Ok(ended) => ended?,
            Err(_) => return Err(format!("it did not end within {:?}", self.timeout)),
        };
        let complaint = quotable(&complaint);
        if !complaint.is_empty() {
            let program = self.program.display();
            tracing::warn!(%program, %status, "it complains: {complaint}");
        }
        Ok(Ended {
            success: status.success(),
            status: status.to_string(),
            output,
            complaint,
        })
    }
}

type Talked = (std::process::ExitStatus, Vec<u8>, Vec<u8>);

/// Gives it its input, and takes its output, to its end.
async fn talk(child: &mut Child, input: Vec<u8>) -> Result<Talked, String> {
    let failed = |error: std::io::Error| format!("it cannot be talked to: {error}");
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let tell = async {
        if let Some(mut stdin) = stdin {
            // One that does not read has heard enough.
            let _ = stdin.write_all(&input).await;
        }
    };
    let listen = async {
        let output = bounded(stdout, MAX_OUTPUT + 1).await.map_err(failed)?;
        match output.len() as u64 > MAX_OUTPUT {
            true => Err(format!("it wrote more than {MAX_OUTPUT} bytes")),
            false => Ok(output),
        }
    };
    let hear = async { Ok(bounded(stderr, MAX_COMPLAINT.0).await.unwrap_or_default()) };
    let heard = async { tokio::try_join!(listen, hear) };
    let ((), heard) = tokio::join!(tell, heard);
    let (output, complaint) = heard?;
    let status = child.wait().await.map_err(failed)?;
    Ok((status, output, complaint))
}

/// What it writes, up to so many bytes; what follows is left to break its pipe.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// A complaint as a log may have it: one line, and no word that could be a secret. From a brace on it may be a whole
/// answer, with the secret in it.
pub(super) fn quotable(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let (text, answer) = match text.split_once('{') {
        Some((text, _)) => (text, Some("***".to_owned())),
        None => (&*text, None),
    };
    let word = |word: &str| match word.chars().count() > MAX_WORD {
        true => "***".to_owned(),
        false => word.chars().filter(|letter| !letter.is_control()).collect(),
    };
    let words: Vec<String> = text.split_whitespace().map(word).chain(answer).collect();
    words.join(" ").chars().take(MAX_COMPLAINT.1).collect()
}

/// A program, and whatever it started: killed together, unless it has ended by itself.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Once it was waited for, its number may be another's.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests;
