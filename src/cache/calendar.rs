//! What is done by the calendar.

use tokio_util::sync::CancellationToken;

use super::{Cache, Purged};
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

impl Cache {
    /// Waits for the next run of a schedule; `None` if there is none any more, or `replaced` comes before. Cancel-safe.
    /// What takes longer than until the next run misses that.
    pub async fn next_run(&self, schedule: &Schedule, replaced: &CancellationToken) -> Option<()> {
        let due = schedule.next(self.clock.now())?;
        tokio::select! {
            // What is due now is done, whatever comes at the same time: who waits next waits for the run after.
            biased;
            () = tokio::time::sleep(due.since(self.clock.now())) => Some(()),
            () = replaced.cancelled() => None,
        }
    }

    /// Purges whenever it is time, until `replaced`, which lets a purge that is under way end. To be dropped when
    /// Seawall stops.
    pub async fn purge_by_calendar(&self, purge: &ScheduledPurge, replaced: &CancellationToken) {
        while self.next_run(&purge.schedule, replaced).await.is_some() {
            let filters: Vec<String> = purge.rules.filters.iter().map(ToString::to_string).collect();
            let filters = filters.join(" ");
            match self.purge(Purge::Rules(purge.rules.clone()), None).await {
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
        "purged by schedule"
    );
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::oci::Digest;
    use crate::policy::holds::Kind;
    use crate::policy::retention::{Going, Item, Plan, Staying, Why};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

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
        };
        let paper = Paper::default();
        let writer = paper.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(subscriber, || tell("a.io/b:.*", &purged));
        let written = paper.0.lock().unwrap().clone();
        serde_json::from_slice(&written).unwrap()
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
