//! The operations that are counted.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use seawall::oci::Route;
use seawall::policy::quota::Quota;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::seawall::Choices;
use crate::support::world::{OCI_MANIFEST, World, blob_path, content, manifest_path, world};

/// Bytes of a manifest and of a small blob, as common ones have.
const MANIFEST_BYTES: usize = 2048;
const BLOB_BYTES: usize = 1024;

/// Virtual time in which what a request left behind is done.
const SETTLE: Duration = Duration::from_secs(1);

/// One thing that is done again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A manifest by its digest.
    ManifestByDigest,
    /// A manifest by a tag that is fresh.
    ManifestByTag,
    /// The same for a client whose requests and bytes are counted.
    ManifestCounted,
    /// The head of a manifest by a tag that is fresh.
    ManifestHead,
    /// A blob that memory holds.
    SmallBlob,
    /// A path that names a manifest by tag, parsed.
    RouteByTag,
    /// A path and a query that name a blob, parsed.
    RouteOfBlob,
}

impl Operation {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::ManifestByDigest,
        Self::ManifestByTag,
        Self::ManifestCounted,
        Self::ManifestHead,
        Self::SmallBlob,
        Self::RouteByTag,
        Self::RouteOfBlob,
    ];

    /// Its name on the command line and in the file of figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ManifestByDigest => "manifest_by_digest",
            Self::ManifestByTag => "manifest_by_tag",
            Self::ManifestCounted => "manifest_counted",
            Self::ManifestHead => "manifest_head",
            Self::SmallBlob => "small_blob",
            Self::RouteByTag => "route_by_tag",
            Self::RouteOfBlob => "route_of_blob",
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// Does it so many times.
    pub(crate) fn run(self, count: usize) {
        match self {
            Self::RouteByTag => parse(count, "/v2/library/app/manifests/v1.27.3-alpine", None),
            Self::RouteOfBlob => {
                let path = blob_path(&seawall::oci::Digest::sha256(b"blob"));
                parse(count, &path, Some("ns=docker.io"));
            }
            Self::ManifestByDigest
            | Self::ManifestByTag
            | Self::ManifestCounted
            | Self::ManifestHead
            | Self::SmallBlob => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .start_paused(true)
                    .build()
                    .unwrap();
                runtime.block_on(self.ask(count));
            }
        }
    }

    /// Asks a whole Seawall on one connection that is kept alive.
    async fn ask(self, count: usize) {
        let mut choices = Choices::default();
        if self == Self::ManifestCounted {
            choices.clients.tiers[0].quota = plenty();
        }
        let world = world(choices);
        let (method, path) = self.request(&world);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: cache.test\r\nuser-agent: containerd/v2.1.4\r\n\
             accept: {OCI_MANIFEST}, */*\r\naccept-encoding: gzip\r\n\r\n"
        );
        // The first brings it, and it is kept within this second; the next is served as all others are.
        for _ in 0..3 {
            assert!(world.seawall.get(&path).await.is_good());
            tokio::time::sleep(SETTLE).await;
        }
        let mut wire = world.seawall.connect(([127, 0, 0, 1], 9).into());
        let length = first_answer(&mut wire, request.as_bytes(), method == "HEAD").await;
        let mut answer = vec![0; length];
        for _ in 0..count {
            wire.write_all(request.as_bytes()).await.unwrap();
            // Time stands still, so every answer has the length of the first.
            wire.read_exact(&mut answer).await.unwrap();
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }

    /// Puts the content where it is asked for: method and path.
    fn request(self, world: &World) -> (&'static str, String) {
        let registry = &world.registry;
        let filler = "x".repeat(MANIFEST_BYTES - 100);
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","annotations":{{"filler":"{filler}"}}}}"#
        );
        let digest = registry.manifest("library/app", Some("v1"), OCI_MANIFEST, &body);
        match self {
            Self::ManifestByDigest => ("GET", manifest_path(digest)),
            Self::ManifestHead => ("HEAD", manifest_path("v1")),
            Self::SmallBlob => {
                let blob = registry.blob("library/app", content(BLOB_BYTES, 1));
                ("GET", blob_path(&blob))
            }
            Self::ManifestByTag | Self::ManifestCounted | Self::RouteByTag | Self::RouteOfBlob => {
                ("GET", manifest_path("v1"))
            }
        }
    }
}

/// Quotas on everything that are never met. What is left has one number of digits for any count of requests.
fn plenty() -> Quota {
    Quota {
        reads: NonZeroU32::new(4_000_000_000),
        writes: NonZeroU32::new(1_000_000),
        bandwidth: Some(100_000_000_000),
        fills: Some(1000),
        weight: 1,
    }
}

fn parse(count: usize, path: &str, query: Option<&str>) {
    for _ in 0..count {
        assert!(black_box(Route::parse(black_box(path), black_box(query))).is_ok());
    }
}

/// Asks once, and gives the length of the answer, head and body.
async fn first_answer(wire: &mut DuplexStream, request: &[u8], headless: bool) -> usize {
    wire.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let head = loop {
        assert!(wire.read_buf(&mut answer).await.unwrap() > 0);
        if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    if headless {
        return head;
    }
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    let mut headers = text.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = headers.find(|(name, _)| *name == "content-length").unwrap();
    let whole = head + length.parse::<usize>().unwrap();
    let there = answer.len();
    answer.resize(whole, 0);
    wire.read_exact(&mut answer[there..]).await.unwrap();
    whole
}
