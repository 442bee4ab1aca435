//! The kubelet's credential plugins, run as the kubelet runs them: those of a node's clouds give us what they give it.

use std::path::PathBuf;
use std::time::Duration;

use super::process::Command;
use super::{Given, Reach};
use crate::oci::Registry;
use crate::policy::identity::{Life, Prefix, plugin};
use crate::upstream::{Credential, Secret};

/// How long what a plugin gave is kept where it does not say so.
const KEEP: Duration = Duration::from_secs(15 * 60);

/// A plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its path, or its name where it is on the `PATH`.
    pub program: PathBuf,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// Variables of its environment, besides those that every program gets.
    pub environment: Vec<(String, Secret)>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Plugin {
    /// What people call it.
    pub(super) fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        name.to_string_lossy().into_owned()
    }

    pub(super) async fn ask(
        &self,
        reach: &Reach,
        registry: &Registry,
        prefix: &Prefix,
    ) -> Result<Given, String> {
        let _turn = reach.program(&self.program.to_string_lossy()).await;
        let command = Command {
            program: self.program.as_os_str(),
            arguments: &self.arguments,
            environment: &self.environment,
            timeout: self.timeout,
        };
        let ended = command
            .run(plugin::request(registry, prefix).into_bytes())
            .await?;
        if !ended.success {
            // It says why on its other output, which is no place for secrets.
            return Err(match ended.complaint.as_str() {
                "" => format!("it failed ({})", ended.status),
                complaint => format!("it failed ({}): {complaint}", ended.status),
            });
        }
        let answer = plugin::read(&ended.output, registry, prefix).map_err(|why| why.to_string())?;
        let credential = answer.login.map(|(username, password)| Credential {
            username,
            password: Secret::new(password),
        });
        let life = answer.keep.map_or_else(|| Life::untold(KEEP), Life::of);
        Ok((credential, life))
    }
}
