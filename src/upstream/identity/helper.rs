//! `docker-credential-…`: Docker's protocol for programs that keep passwords.
//!
//! Asked `get` with the registry on its input, a helper writes a user and a secret as JSON, or fails with a
//! sentence on its output. It says nothing of how long that is good, so it is asked again after a quarter of an
//! hour, which is how long the clients that use helpers themselves trust them at most; sooner if it has none.

use std::time::Duration;

use serde::Deserialize;

use super::process::{Command, Ended, quotable};
use super::{Given, Reach};
use crate::oci::Registry;
use crate::policy::identity::{Life, Prefix, docker};
use crate::upstream::{Credential, Secret};

/// How long a secret is kept before the helper is asked again.
const RENEW: Duration = Duration::from_secs(15 * 60);
/// How long one that has none is believed: somebody logs in, and wants to pull.
const MISSING: Duration = Duration::from_secs(30);
/// What a helper says that has no credential for the registry.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// What follows `docker-credential-`.
    pub name: String,
    /// Variables of its environment, besides those that every program gets.
    pub environment: Vec<(String, Secret)>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Helper {
    /// The program.
    pub(super) fn command(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    pub(super) async fn ask(
        &self,
        reach: &Reach,
        registry: &Registry,
        prefix: &Prefix,
    ) -> Result<Given, String> {
        let program = self.command();
        let _turn = reach.program(&program).await;
        let command = Command {
            program: program.as_ref(),
            arguments: &["get".to_owned()],
            environment: &self.environment,
            timeout: self.timeout,
        };
        let ended = command.run(docker::server(registry, prefix).into_bytes()).await?;
        understand(&ended)
    }
}

fn understand(ended: &Ended) -> Result<Given, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    if !ended.success {
        let missing = String::from_utf8_lossy(&ended.output).contains(NOT_FOUND);
        return match missing {
            true => Ok((None, Life::untold(MISSING))),
            // It says why on its output.
            false => Err(format!(
                "it failed ({}): {}",
                ended.status,
                quotable(&ended.output)
            )),
        };
    }
    let answer: Answer =
        serde_json::from_slice(&ended.output).map_err(|_| "it wrote no user and secret".to_owned())?;
    if answer.username.is_empty() || answer.secret.is_empty() || answer.username.contains(':') {
        return Err("it wrote no user and secret".to_owned());
    }
    let credential = Credential {
        username: answer.username,
        password: Secret::new(answer.secret),
    };
    Ok((Some(credential), Life::untold(RENEW)))
}
