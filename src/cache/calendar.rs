//! What is done by the calendar.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::purge::By;
use super::{Cache, PurgeError, Purged};
use crate::clock::Time;
use crate::policy::retention::{Purge, Rules};
use crate::policy::schedule::Schedule;

/// A purge that is carried out again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledPurge {
    /// What goes.
    pub rules: Rules,
    /// When.
    pub schedule: Schedule,
}

/// How a scheduled purge stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledStatus {
    /// Which tags go.
    pub filters: Vec<String>,
    /// When it runs: a cron expression, and a time zone.
    pub schedule: String,
    /// When it runs next, in milliseconds since the Unix epoch; `None` while it does.
    pub next: Option<u64>,
    /// What its last run came to, since the configuration was last read.
    pub last: Option<LastRun>,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// When it ended, in milliseconds since the Unix epoch.
    pub ended: u64,
    /// How many tags, manifests and blobs went.
    pub removed: usize,
    /// Bytes won.
    pub bytes: u64,
    /// Tags and files that could not be removed.
    pub failed: usize,
    /// What stayed although it was to go, because it came to be wanted.
    pub spared: usize,
    /// What it had not come to when it was stopped.
    pub left: usize,
    /// Why nothing was removed.
    pub error: Option<String>,
}

/// The purges that have a schedule, in the order in which they are configured.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    rows: Mutex<Vec<(u64, ScheduledStatus)>>,
    number: AtomicU64,
}

/// A purge is in the calendar until this is dropped.
struct Row<'a> {
    calendar: &'a Calendar,
    number: u64,
}

impl Calendar {
    fn rows(&self) -> MutexGuard<'_, Vec<(u64, ScheduledStatus)>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, purge: &ScheduledPurge) -> Row<'_> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let status = ScheduledStatus {
            filters: purge.rules.filters.iter().map(ToString::to_string).collect(),
            schedule: purge.schedule.to_string(),
            ..ScheduledStatus::default()
        };
        self.rows().push((number, status));
        let calendar = self;
        Row { calendar, number }
    }

    pub(super) fn status(&self) -> Vec<ScheduledStatus> {
        self.rows().iter().map(|(_, status)| status.clone()).collect()
    }
}

impl Row<'_> {
    fn change(&self, change: impl FnOnce(&mut ScheduledStatus)) {
        let mut rows = self.calendar.rows();
        if let Some((_, status)) = rows.iter_mut().find(|(number, _)| *number == self.number) {
            change(status);
        }
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        self.calendar.rows().retain(|(number, _)| *number != self.number);
    }
}

impl LastRun {
    fn of(purged: &Result<Purged, PurgeError>, now: Time) -> Self {
        let ended = now.as_millis();
        match purged {
            Ok(purged) => {
                let removed = purged.removed();
                Self {
                    ended,
                    removed: removed.goes.len(),
                    bytes: removed.bytes(),
                    failed: purged.failed,
                    spared: purged.spared.len(),
                    left: purged.left.len(),
                    error: None,
                }
            }
            Err(error) => Self {
                ended,
                error: Some(error.to_string()),
                ..Self::default()
            },
        }
    }
}

impl Cache {
    /// Waits for the next run of a schedule, of which `told` is told when it is; false if there is none any more, or
    /// `replaced` comes before. Cancel-safe. What takes longer than until the next run misses that.
    pub(super) async fn next_run(
        &self,
        schedule: &Schedule,
        replaced: &CancellationToken,
        told: impl FnOnce(Option<Time>),
    ) -> bool {
        let due = schedule.next(self.clock.now());
        told(due);
        let Some(due) = due else { return false };
        tokio::select! {
            // What is due now is done, whatever comes at the same time: who waits next waits for the run after.
            biased;
            () = tokio::time::sleep(due.since(self.clock.now())) => true,
            () = replaced.cancelled() => false,
        }
    }

    /// Purges whenever it is time, until `replaced`, which lets a purge that is under way end. To be dropped when
    /// Seawall stops.
    pub async fn purge_by_calendar(&self, purge: &ScheduledPurge, replaced: &CancellationToken) {
        let row = self.calendar.add(purge);
        let filters: Vec<String> = purge.rules.filters.iter().map(ToString::to_string).collect();
        let filters = filters.join(" ");
        loop {
            let told = |next: Option<Time>| row.change(|status| status.next = next.map(Time::as_millis));
            if !self.next_run(&purge.schedule, replaced, told).await {
                return;
            }
            row.change(|status| status.next = None);
            let rules = Purge::Rules(purge.rules.clone());
            let purged = self.purge_by(By::Schedule, rules, None).await;
            let last = LastRun::of(&purged, self.clock.now());
            row.change(|status| status.last = Some(last));
            match purged {
                Ok(purged) => tell(&filters, &purged),
                Err(error) => {
                    tracing::error!(filters, %error, "a scheduled purge failed; the next one comes")
                }
            }
        }
    }
}

/// One line for each run.
fn tell(filters: &str, purged: &Purged) {
    let removed = purged.removed();
    tracing::info!(
        filters,
        removed = removed.goes.len(),
        stay = removed.stays.len(),
        bytes = removed.bytes(),
        failed = purged.failed,
        spared = purged.spared_in_words(),
        left = purged.left.len(),
        "purged by schedule"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use crate::policy::holds::Kind;
    use crate::policy::retention::{Going, Item, Plan, Staying, Why};
    use crate::telemetry::Paper;

    /// The line that tells of a purge of as many blobs, of which the first ones were spared.
    fn line(goes: u8, spared: u8) -> serde_json::Value {
        let item = |seed: u8| Item::Blob(Digest::sha256(&[seed]));
        let goes = (0..goes).map(|seed| Going {
            item: item(seed),
            won: Some(10),
        });
        let spared = (0..spared).map(|seed| Staying {
            item: item(seed),
            why: Why::Held(Kind::Lock),
        });
        let purged = Purged {
            plan: Plan {
                goes: goes.collect(),
                ..Plan::default()
            },
            failed: 0,
            spared: spared.collect(),
            left: Vec::new(),
        };
        let paper = Paper::default();
        let writer = paper.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(subscriber, || tell("a.io/b:.*", &purged));
        serde_json::from_str(&paper.text()).unwrap()
    }

    #[test]
    fn the_log_of_a_scheduled_purge_says_what_was_spared_and_why() {
        let all = line(2, 0);
        assert_eq!((&all["removed"], &all["spared"]), (&2.into(), &"nothing".into()));
        let one = line(2, 1);
        assert_eq!((&one["removed"], &one["bytes"]), (&1.into(), &10.into()));
        let told = format!("{} (locked)", Digest::sha256(&[0]));
        assert_eq!(one["spared"], told);
        let many = line(9, 8)["spared"].as_str().unwrap().to_owned();
        assert!(
            many.starts_with(&told) && many.ends_with(", and 3 more"),
            "{many}"
        );
    }
}
