//! What is warmed by the calendar.

use tokio_util::sync::CancellationToken;

use super::{Wanted, Warm, WarmEvent};
use crate::cache::Cache;
use crate::oci::{Named, Platforms, Repository};
use crate::policy::budget::PREFETCH;
use crate::policy::naming::{Chosen, Names};
use crate::policy::schedule::Schedule;

/// The longest that an image of a scheduled warm waits for its upstream: what expires unused may come late.
const WAIT: std::time::Duration = std::time::Duration::from_secs(3600);

/// Images that are warmed again and again, by the lowest rank.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledWarm {
    /// The images, as they were written.
    pub references: Vec<String>,
    /// The platforms wanted of an index.
    pub platforms: Platforms,
    /// Whether what refers to them is wanted as well.
    pub referrers: bool,
    /// When.
    pub schedule: Schedule,
}

impl Wanted {
    /// What a reference means, among the registries that are known.
    pub fn named(name: String, names: &Names) -> Self {
        let found = name.parse::<Named>().map_err(|error| error.to_string());
        let found = found.and_then(|named| {
            let chosen = names.choose(&named.target, None);
            let chosen = chosen.map_err(|unknown| format!("{unknown}; add it as [[upstream]]"))?;
            match names.offers(&chosen) {
                true => Ok((chosen, named.reference)),
                false => Err(unoffered(&chosen)),
            }
        });
        Self { name, found }
    }
}

fn unoffered(chosen: &Chosen) -> String {
    let Repository { registry, .. } = &chosen.repository;
    format!("`allow` and `deny` of the [[upstream]] for {registry} say that nobody may pull it")
}

impl Cache {
    /// Warms whenever it is time, until `replaced`, which lets a warm that is under way end. To be dropped when
    /// Seawall stops, which ends that as well.
    pub async fn warm_by_calendar(&self, warm: &ScheduledWarm, names: &Names, replaced: &CancellationToken) {
        while self.next_run(&warm.schedule, replaced, |_| ()).await {
            let images = warm.references.iter().cloned();
            let mut events = self.warm(Warm {
                images: images.map(|name| Wanted::named(name, names)).collect(),
                platforms: warm.platforms.clone(),
                referrers: warm.referrers,
                tier: PREFETCH,
                wait: WAIT,
            });
            while let Some(event) = events.recv().await {
                let WarmEvent::Summary(summary) = event else {
                    continue;
                };
                for missed in &summary.missed {
                    tracing::warn!(
                        image = missed.image,
                        why = missed.why,
                        "a scheduled warm missed an image"
                    );
                }
                tracing::info!(
                    images = summary.images,
                    missed = summary.missed.len(),
                    counted = summary.counted,
                    fetched = summary.fetched,
                    "warmed by schedule"
                );
            }
        }
    }
}
