//! What is done by the calendar.

use super::Cache;
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
    /// Waits for the next run of a schedule; `None` if there is none any more. Cancel-safe. What takes longer than
    /// until the next run misses that.
    pub async fn next_run(&self, schedule: &Schedule) -> Option<()> {
        let due = schedule.next(self.clock.now())?;
        tokio::time::sleep(due.since(self.clock.now())).await;
        Some(())
    }

    /// Purges whenever it is time. Ends only where a schedule does; to be dropped when Seawall stops.
    pub async fn purge_by_calendar(&self, purge: &ScheduledPurge) {
        while self.next_run(&purge.schedule).await.is_some() {
            let filters: Vec<String> = purge.rules.filters.iter().map(ToString::to_string).collect();
            let filters = filters.join(" ");
            match self.purge(Purge::Rules(purge.rules.clone()), None).await {
                Ok(purged) => tracing::info!(
                    filters,
                    removed = purged.plan.goes.len(),
                    stay = purged.plan.stays.len(),
                    bytes = purged.plan.bytes(),
                    failed = purged.failed,
                    "purged by schedule"
                ),
                Err(error) => {
                    tracing::error!(filters, %error, "a scheduled purge failed; the next one comes")
                }
            }
        }
    }
}
