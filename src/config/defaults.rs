//! What holds where the configuration is silent, each value with its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::policy::{flight, freshness};
use crate::server::Bounds;
use crate::store::Space;
use crate::upstream::Timeouts;

/// Loopback: a cache that nobody has configured yet serves nobody else. The port is the registries' own.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// Beside the clients' port, and not on it: the operator's pages are not for everyone who may pull.
pub(super) const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);

/// What Kubernetes grants between SIGTERM and SIGKILL (`terminationGracePeriodSeconds`).
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// Bounds on what clients may take.
pub(super) const BOUNDS: Bounds = Bounds {
    // With one upstream connection or file each, well within a service's usual 65,536 descriptors.
    connections: 4096,
    // A request's head fits one packet; ten seconds forgive three lost ones.
    header_timeout: Duration::from_secs(10),
    // nginx's figure; longer than containerd keeps idle connections itself.
    idle_timeout: Duration::from_secs(75),
    // nginx's figure (`send_timeout`); a node under disk pressure may well stop reading for half of it.
    stall_timeout: Duration::from_secs(60),
    // Room for the longest bearer tokens in use, about 16 KiB.
    header_bytes: 32 * 1024,
    // hyper's figure; container clients send about ten.
    header_count: 100,
};

/// How much of the disk is taken.
pub(super) const SPACE: Space = Space {
    // The images of a small cluster, some hundred, on the smallest disks that clouds attach.
    capacity: 20 << 30,
    // One part in twenty above it is room for downloads that begin while room is made.
    high: 0.95,
    // A twentieth at a time, so that room is made in few long runs instead of one file for each that comes.
    low: 0.90,
    // For the machine's logs, the records' own file and what file systems need to stay fast.
    min_free: 1 << 30,
};

/// A week: bit rot is found before most backups of it are overwritten, and 20 GiB are read at 36 KB/s.
pub(super) const SCRUB: Duration = Duration::from_secs(7 * 86_400);

/// Some 40,000 manifests of usual size: enough for the working set of a large cluster.
pub(super) const MEMORY: u64 = 256 << 20;

/// Decides about fills that nobody reads any more.
pub(super) const FLIGHTS: flight::Rules = flight::Rules {
    // containerd tries five times within a moment; they meet one failure instead of making five.
    cooling: Duration::from_millis(500),
    // Ten seconds on a line of 1 Gbit/s; more is given up unless half is paid for.
    finish_below: 1 << 30,
};

/// How a tag is kept.
pub(super) fn freshness() -> freshness::Rules {
    freshness::Rules {
        // A pushed tag is seen within a coffee, and a thousand nodes ask twelve times an hour.
        ttl: Duration::from_secs(5 * 60),
        // Nobody who waited for the ttl gets what is older: a HEAD is free, and takes a round trip.
        stale_while_revalidate: Duration::ZERO,
        // An upstream's outage or an exhausted budget over a long weekend stays invisible.
        stale_if_error: Duration::from_secs(7 * 86_400),
        immutable: freshness::Patterns::default(),
        offline: false,
    }
}

/// How long it is believed that a client may see a repository.
pub(super) const ACCESS_TTL: Duration = Duration::from_secs(300);

/// How long a definite "no" is repeated: who pushes and pulls at once waits no longer than that, and a crash
/// loop asks six times a minute.
pub(super) const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// The size the distribution specification has registries accept at least (4 MiB).
pub(super) const MANIFEST_LIMIT: u64 = 4 << 20;

/// Time limits towards upstreams. Connect and headers together stay below containerd's 30 seconds.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    headers: Duration::from_secs(20),
    idle: Duration::from_secs(30),
};

/// Least level shown.
pub(super) const LEVEL: &str = "info";

/// All requests begin a trace where there is a collector: who set one up wants to see something at once.
pub(super) const TRACED: f64 = 1.0;

/// What collectors call this server.
pub(super) const SERVICE: &str = "seawall";

/// An upstream that is known without being configured.
pub(super) struct BuiltIn {
    /// Its name, or the pattern of its names.
    pub(super) registry: &'static str,
    /// Its base URL, where that is not `https://` and its name.
    pub(super) url: Option<&'static str>,
}

const fn known(registry: &'static str) -> BuiltIn {
    BuiltIn { registry, url: None }
}

/// The public registries that serve anonymous pulls; the first is the default.
pub(super) const BUILT_IN: [BuiltIn; 11] = [
    BuiltIn {
        registry: "docker.io",
        url: Some("https://registry-1.docker.io"),
    },
    known("ghcr.io"),
    known("quay.io"),
    known("gcr.io"),
    known("*.pkg.dev"),
    known("registry.k8s.io"),
    known("mcr.microsoft.com"),
    known("public.ecr.aws"),
    known("nvcr.io"),
    known("*.azurecr.io"),
    known("registry.gitlab.com"),
];
