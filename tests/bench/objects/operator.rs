//! What an operator waits for in such a cache: lists, usage, a purge.
//!
//! The repositories are those of `make`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall::cache::{Cache, Options};
use seawall::clock::Clock;
use seawall::net::dial::Dialer;
use seawall::oci::Repository;
use seawall::policy::clients::Clients;
use seawall::policy::flight;
use seawall::policy::listing::{self, Query};
use seawall::policy::retention::{Filter, Purge, Rules};
use seawall::store::{Disk, Records, Space};
use seawall::telemetry::metrics::Metrics;
use seawall::upstream::{Budgets, Upstreams};
use tokio_util::task::TaskTracker;

use super::Result;

/// Asks for lists, purges a tenth of the repositories, and then everything.
pub(super) fn ask(directory: &Path, disk: Disk, records: Records) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let cache = cache(directory, disk, records);
    runtime.block_on(async {
        let query = Query::default();
        time("list of repositories", async || {
            let listed = cache.survey(move |catalog, now| listing::repositories(catalog, &query, now));
            Ok(listed.await?.map_or(0, |page| page.total))
        })
        .await?;
        time("manifests of one", async || {
            let repository: Repository = "ghcr.io/team/app-0".parse()?;
            let (name, query) = (repository.clone(), Query::default());
            let listed = cache.survey_of(&repository, move |catalog, now| {
                listing::manifests(catalog, &name, &query, now)
            });
            Ok(listed.await?.map_or(0, |page| page.map_or(0, |page| page.total)))
        })
        .await?;
        time("usage", async || Ok(cache.usage(10, 10).await?.next.len())).await?;
        let purge = Purge::Rules(Rules {
            filters: vec![Filter::parse("ghcr.io/team/app-.*7:.*")?],
            ago: None,
            untagged: false,
            keep: 0,
        });
        time("plan of a purge", async || {
            Ok(cache.plan_purge(purge.clone()).await?.goes.len())
        })
        .await?;
        time("purge", async || {
            Ok(cache.purge(purge.clone(), None).await?.plan.goes.len())
        })
        .await?;
        let rest = Purge::Rules(Rules {
            filters: vec![Filter::parse(".*:.*")?],
            ago: None,
            untagged: true,
            keep: 0,
        });
        time("purge of the rest", async || {
            Ok(cache.purge(rest.clone(), None).await?.plan.goes.len())
        })
        .await
    })
}

async fn time(what: &str, work: impl AsyncFnOnce() -> Result<usize>) -> Result {
    let begun = Instant::now();
    let count = work().await?;
    println!("{what:<21} {:>8} ms ({count})", begun.elapsed().as_millis());
    Ok(())
}

fn cache(directory: &Path, disk: Disk, records: Records) -> Cache {
    let clock = Clock::start();
    let options = Options {
        directory: directory.to_owned(),
        space: Space {
            capacity: 1 << 40,
            ..Space::UNBOUNDED
        },
        memory: 1 << 20,
        freshness: Vec::new(),
        on_exhausted: Vec::new(),
        clients: Clients::default(),
        bandwidth: None,
        flights: flight::Rules {
            cooling: Duration::ZERO,
            finish_below: 0,
        },
        trust: Default::default(),
        verify_first_serve: true,
        scrub: None,
    };
    let upstreams = Upstreams::new(Vec::new(), Budgets::default(), &Dialer::system(), clock);
    let tasks = TaskTracker::new();
    Cache::new(
        options,
        disk,
        records,
        Arc::new(upstreams),
        Arc::new(Metrics::new()),
        tasks,
        clock,
    )
}
