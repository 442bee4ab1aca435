//! What an operator waits for in such a cache: lists, usage, a purge.
//!
//! A tenth of the objects are manifests, a hundred to a repository, each under a tag and naming nine blobs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall::cache::{Cache, Options};
use seawall::clock::Clock;
use seawall::net::dial::Dialer;
use seawall::oci::{Descriptor, Digest, MediaType, Repository, Tag};
use seawall::policy::catalog::Catalog;
use seawall::policy::clients::Clients;
use seawall::policy::eviction::{Content, Shelf};
use seawall::policy::flight;
use seawall::policy::freshness::TagRecord;
use seawall::policy::listing::{self, Query};
use seawall::policy::retention::{Filter, Purge, Rules};
use seawall::store::{Disk, ManifestRecord, Records, Space};
use seawall::telemetry::metrics::Metrics;
use seawall::upstream::{Budgets, Upstreams};
use tokio_util::task::TaskTracker;

use super::{Result, SIZE};

/// Objects of an image: its manifest and its blobs.
pub(super) const IMAGE: usize = 10;
/// Images of a repository.
const TAGS: usize = 100;
/// Records written before the writer is waited for: it drops what waits in thousands.
const BATCH: usize = 2000;

/// The content of object `index`: every tenth is a manifest.
pub(super) fn content(index: usize) -> Content {
    let shelf = if index.is_multiple_of(IMAGE) {
        Shelf::Manifests
    } else {
        Shelf::Blobs
    };
    Content {
        shelf,
        digest: Digest::sha256(&index.to_le_bytes()),
    }
}

/// Writes down the names of so many objects.
pub(super) fn name(records: &Records, number: usize) -> Result {
    let now = Clock::start().now();
    for image in 0..number / IMAGE {
        let repository: Repository = format!("ghcr.io/team/app-{}", image / TAGS).parse()?;
        let tag: Tag = format!("v{}", image % TAGS).parse()?;
        let digest = content(image * IMAGE).digest;
        let blobs = (1..IMAGE).map(|blob| (content(image * IMAGE + blob).digest, SIZE));
        let record = ManifestRecord {
            media_type: MediaType::OCI_MANIFEST,
            size: SIZE,
            source: "ghcr.io".to_owned(),
            stored: now,
            children: Vec::new(),
            blobs: blobs.collect(),
            has_config: false,
            platform: None,
            subject: None,
        };
        records.put_held(&repository, &digest, &record);
        let descriptor = Descriptor {
            media_type: MediaType::OCI_MANIFEST,
            digest,
            size: SIZE,
        };
        let tagged = TagRecord {
            descriptor,
            validated: now,
        };
        records.put_tag(&repository, &tag, tagged);
        if image.is_multiple_of(BATCH) {
            records.flush();
        }
    }
    Ok(())
}

/// Asks for lists, and purges a tenth of the repositories.
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
            let count = move |catalog: &Catalog, _| listing::manifests_of(catalog, &repository).len();
            Ok(cache.survey(count).await?)
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
