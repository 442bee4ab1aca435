//! An operator's commands, run by the real binary: what they say, and how they end.

use std::io::Write as _;
use std::process::{Output, Stdio};

use super::process::{Result, command};
use super::seawall::Seawall;

/// Runs a command of Seawall with `input` to read; it must end with `code` and say all of `words`.
pub(crate) fn expect(
    seawall: &Seawall,
    arguments: &[&str],
    input: &str,
    code: i32,
    words: &[&str],
) -> Result<String> {
    let mut asking = command(env!("CARGO_BIN_EXE_seawall"))
        .args(arguments)
        .args(["--admin", &seawall.admin])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It may end before it has read what it needs not.
    let _ = asking
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.as_bytes()));
    let Output {
        status,
        stdout,
        stderr,
    } = asking.wait_with_output()?;
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    if status.code() == Some(code) && words.iter().all(|word| text.contains(word)) {
        return Ok(text);
    }
    Err(
        format!("{arguments:?} ended with {status} and said:\n{text}\nexpected {code} and all of {words:?}")
            .into(),
    )
}
