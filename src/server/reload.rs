//! What is asked of whoever has the configuration, and what they answer.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Asks for a reload, and waits for what came of it.
pub type ReloadRequest = oneshot::Sender<Reload>;

/// Where reloads are asked for.
pub type Reloads = mpsc::Sender<ReloadRequest>;

/// What came of reading the configuration again, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// True if what was read holds now.
    pub applied: bool,
    /// What has changed at once, a sentence each.
    pub changed: Vec<String>,
    /// What changes at the next start, a sentence each.
    pub restart: Vec<String>,
    /// Why nothing was changed: every problem, with its place.
    pub problems: Vec<String>,
}
