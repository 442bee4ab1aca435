//! `seawall reload`: has a running Seawall read its configuration again, and tells what has changed.

use std::process::ExitCode;

use http::StatusCode;
use serde_json::json;

use super::admin::NoAnswer;
use super::{Asking, WRONG_CONFIGURATION, complain, refused, words};
use crate::server::Reload;

/// Asks for it. A configuration that the running Seawall refuses exits as one that is refused at a start.
pub(super) fn run(asking: &Asking) -> ExitCode {
    asking.with(|admin| match admin.post("/api/v1/reload", &json!({})) {
        Ok(body) => asking.print(&body, |body| Ok(draw(&serde_json::from_slice(body)?))),
        Err(NoAnswer::Refused(StatusCode::UNPROCESSABLE_ENTITY, why)) => {
            for line in format!("error: {why}").lines() {
                complain(words::clean(line));
            }
            ExitCode::from(WRONG_CONFIGURATION)
        }
        Err(no_answer) => refused(&no_answer),
    })
}

fn draw(reload: &Reload) -> String {
    let changed = reload.changed.iter().map(|change| format!("changed: {change}\n"));
    let restart = reload
        .restart
        .iter()
        .map(|change| format!("restart to apply: {change}\n"));
    let all: String = changed
        .chain(restart)
        .map(|line| words::clean(line.trim_end()) + "\n")
        .collect();
    match all.is_empty() {
        true => "nothing has changed since the configuration was last read\n".to_owned(),
        false => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_a_line_and_nothing_is_said_as_well() {
        let reload = Reload {
            applied: true,
            changed: vec!["server.drain from \"30s\" to \"5s\"".to_owned()],
            restart: vec!["log.format from \"text\" to \"json\"".to_owned()],
            problems: Vec::new(),
        };
        let wanted = "changed: server.drain from \"30s\" to \"5s\"\n\
                      restart to apply: log.format from \"text\" to \"json\"\n";
        assert_eq!(draw(&reload), wanted);
        assert_eq!(
            draw(&Reload::default()),
            "nothing has changed since the configuration was last read\n"
        );
    }
}
