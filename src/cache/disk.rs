//! The disk's troubles: found out when they are over, and told to the operator.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Cache;
use crate::store::{Health, PATIENCE};

/// Whether the disk takes what is pulled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// `ok`, or in a word why nothing is kept.
    pub state: String,
    /// The error that told.
    pub reason: Option<String>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: Option<u64>,
    /// What the operator can do about it.
    pub next_step: Option<String>,
}

impl Default for DiskStatus {
    fn default() -> Self {
        Self {
            state: "ok".to_owned(),
            reason: None,
            since: None,
            next_step: None,
        }
    }
}

impl Cache {
    /// How the disk does.
    pub fn disk_health(&self) -> &Arc<Health> {
        self.shelves.disk.health()
    }

    /// Tries the disk again and again while it is left alone. Never ends; cancel-safe.
    pub async fn heal_disk(&self) {
        let health = self.shelves.disk.health();
        loop {
            health.probe_due().await;
            let shelves = self.shelves.clone();
            let outcome = health.working(PATIENCE, move || shelves.disk.probe()).await;
            let is_well = outcome.is_ok();
            health.probed(outcome);
            if is_well {
                self.recover().await;
            }
        }
    }

    /// Does what had to wait for the disk.
    async fn recover(&self) {
        let shelves = self.shelves.clone();
        let put_away = move || {
            shelves.disk.put_hidden_away();
            Ok(())
        };
        let health = self.shelves.disk.health();
        // What goes wrong is told to the health.
        let _ = health.writing("quarantine", PATIENCE, put_away).await;
    }

    /// Whether the disk takes what is pulled.
    pub fn disk_status(&self) -> DiskStatus {
        let Some(ailing) = self.shelves.disk.health().ailing() else {
            return DiskStatus::default();
        };
        DiskStatus {
            state: ailing.trouble.word().to_owned(),
            reason: Some(ailing.error),
            since: Some(ailing.since.as_millis()),
            next_step: Some(ailing.trouble.next_step().to_owned()),
        }
    }

    /// What is wrong with the disk, in half a sentence; `None` if nothing is.
    pub fn disk_in_words(&self) -> Option<String> {
        let ailing = self.shelves.disk.health().ailing()?;
        let (word, since) = (ailing.trouble.word(), ailing.since);
        Some(format!("disk: {word} since {since}, streaming without keeping"))
    }
}
