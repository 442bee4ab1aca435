//! Makes a cache of many small objects on disk, as a Seawall that pulled them would have left it.
//!
//! A tenth of the objects are manifests, a hundred to a repository, each under a tag and naming nine blobs.

use std::error::Error;
use std::path::Path;

use seawall::clock::Clock;
use seawall::oci::{Descriptor, Digest, MediaType, Repository, Tag};
use seawall::policy::eviction::{Content, Facts, Shelf};
use seawall::policy::freshness::TagRecord;
use seawall::store::{Disk, ManifestRecord, Records, Space};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of each: its number.
const SIZE: u64 = 8;
/// Rows written down at a time.
const ROWS: usize = 50_000;
/// Objects of an image: its manifest and its blobs.
const IMAGE: usize = 10;
/// Images of a repository.
const TAGS: usize = 100;
/// Records written before the writer is waited for: it drops what waits in thousands.
const BATCH: usize = 2000;

/// Makes the files, and has them written down.
pub(crate) fn make(directory: &Path, number: usize) -> Result {
    let (disk, records) = start(directory)?;
    let now = Clock::start().now();
    let facts = Facts {
        size: SIZE,
        stored: now,
        used: None,
        pulls: 0,
        closed: false,
    };
    let mut rows = Vec::new();
    for index in 0..number {
        let content = content(index);
        let hex = content.digest.hex();
        let shelf = match content.shelf {
            Shelf::Blobs => "blobs",
            Shelf::Manifests => "manifests",
        };
        let folder = directory.join("v1").join(shelf).join("sha256").join(&hex[..2]);
        let file = folder.join(hex);
        let written = std::fs::write(&file, index.to_le_bytes());
        if written.is_err() {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(&file, index.to_le_bytes())?;
        }
        rows.push((content, Some(facts)));
        if rows.len() == ROWS || index + 1 == number {
            records.put_objects(std::mem::take(&mut rows), |_| true);
        }
    }
    records.objects_are_complete();
    name(&records, number)?;
    records.flush();
    drop((disk, records));
    Ok(())
}

/// The disk shelf as a start has it, ready to serve.
pub(crate) fn start(directory: &Path) -> Result<(Disk, Records)> {
    let mut disk = Disk::open(directory)?;
    let records = Records::open(&disk.records_path());
    let space = Space {
        capacity: 1 << 40,
        ..Space::UNBOUNDED
    };
    disk.govern(space, Clock::start());
    disk.recall(|each| records.objects(each));
    Ok((disk, records))
}

/// The content of object `index`: every tenth is a manifest.
pub(crate) fn content(index: usize) -> Content {
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
fn name(records: &Records, number: usize) -> Result {
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
            looked: false,
            platform: None,
            created: None,
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
