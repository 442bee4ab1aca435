//! What a command prints, for the pages that show it.
//!
//! The test that keeps those pages true asks a Seawall of its own and has the same code draw the answers.

use bytes::Bytes;
use clap::Parser as _;
use http::StatusCode;

use super::admin::{self, NoAnswer};
use super::colours::Colours;
use super::look::Look;
use super::{Arguments, Command, bundle, holds, purge, status, verify, warm};
use crate::clock::Time;

/// What a command comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// It prints this.
    Text(String),
    /// It wants to ask this path of the admin listener first; what changes something is `POST`, the path and the
    /// body, or `UPLOAD`, the path, and a file that the asker has.
    Asks(String),
    /// It complains with this, without an answer.
    Complains(String),
}

/// What `seawall` prints for these arguments to a pipe, going by what `answers` says to the paths it asks.
///
/// `None` from `answers` stops it: the path is handed back, to be asked and answered in another turn.
///
/// # Errors
/// If these are no arguments of a command that can be captured.
pub fn capture(
    arguments: &[&str],
    answers: &dyn Fn(&str) -> Option<(StatusCode, Bytes)>,
) -> Result<Capture, String> {
    let line = std::iter::once(&"seawall").chain(arguments);
    let parsed = Arguments::try_parse_from(line).map_err(|error| error.to_string())?;
    let asked = std::cell::RefCell::new(None);
    let get = |path: &str| match answers(path) {
        Some((StatusCode::OK, body)) => Ok(body),
        Some((status, body)) => Err(NoAnswer::Refused(status, admin::reason(path, status, &body))),
        None => {
            asked.replace(Some(path.to_owned()));
            Err(NoAnswer::Unreachable(String::new()))
        }
    };
    let look = Look::plain();
    let drawn = match parsed.command {
        Command::Status(_) => get("/api/v1/status").map(|body| {
            let status = serde_json::from_slice(&body)?;
            Ok(status::draw(&status, Colours::None))
        }),
        Command::Inspect(inspect) => inspect.answer(&get).map(|body| inspect.draw(&body, look)),
        Command::Explain(explaining) => get(&explaining.asks()).map(|body| explaining.drawn(&body, look)),
        Command::Holds(_) => get("/api/v1/holds").map(|body| holds::drawn(&body, Colours::None)),
        Command::Purge(purging) => get(&purging.asks()).map(|body| purge::drawn(&body, Colours::None)),
        Command::Lock(holding) => get(&holding.asks("lock")).map(|body| holds::drawn(&body, Colours::None)),
        Command::Pin(holding) => get(&holding.asks("pin")).map(|body| holds::drawn(&body, Colours::None)),
        Command::Warm(warming) => get(&warming.asks()).map(|body| warm::drawn(&body, Time::from_millis(0))),
        Command::Export(exporting) => {
            get(&exporting.asks()).map(|body| Ok(format!("{}\n", exporting.wrote(body.len() as u64))))
        }
        Command::Import(importing) => {
            get(&format!("UPLOAD {}", importing.asks())).map(|body| bundle::drawn(&body))
        }
        Command::Verify(verifying) => get(&verifying.asks()).map(|body| verify::drawn(&body)),
        Command::Serve(_)
        | Command::Check(_)
        | Command::Unlock(_)
        | Command::Unpin(_)
        | Command::MirrorConfig(_)
        | Command::Reload(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Run(_) => {
            return Err("it is not captured".to_owned());
        }
    };
    if let Some(path) = asked.into_inner() {
        return Ok(Capture::Asks(path));
    }
    match drawn {
        Ok(text) => text
            .map(Capture::Text)
            .map_err(|error: serde_json::Error| error.to_string()),
        Err(no_answer) => Ok(Capture::Complains(format!("error: {no_answer}\n"))),
    }
}
