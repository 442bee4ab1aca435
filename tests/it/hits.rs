//! Hits are answered beneath hyper, and nobody can tell: the same bytes, in the order of the requests.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use seawall::oci::Digest;
use seawall::policy::clients::{Clients, Tier};
use seawall::policy::quota::Quota;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use crate::support::configured::{Configured, hub};
use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{MIB, OCI_MANIFEST, World, blob_path, content, manifest_path, world};

/// A header that leaves a request to hyper, and changes nothing.
const NOT_PLAIN: &str = "x-plain: no\r\n";

/// A connection to Seawall.
pub(crate) struct Wire(DuplexStream);

impl Wire {
    /// Connects, and has hyper answer the first request: which protocol is spoken is known from then on.
    async fn new(world: &World) -> Self {
        Self::from(&world.seawall, [127, 0, 0, 1]).await
    }

    /// The same from this address.
    pub(crate) async fn from(seawall: &Seawall, address: [u8; 4]) -> Self {
        let mut wire = Self(seawall.connect((address, 9).into()));
        wire.ask("GET", "/v2/", "").await;
        wire
    }

    async fn send(&mut self, method: &str, path: &str, headers: &str) {
        let request = request(method, path, headers);
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    /// Head and body of the next answer.
    async fn read(&mut self, method: &str) -> (String, Vec<u8>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        if method == "HEAD" {
            body.clear();
        }
        self.0.read_exact(&mut body).await.unwrap();
        (head, body)
    }

    pub(crate) async fn ask(&mut self, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
        self.send(method, path, headers).await;
        self.read(method).await
    }
}

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: cache.test\r\nUser-Agent: containerd/v2.1.4\r\n{headers}\r\n")
}

/// Puts a manifest of about this length under a tag, and has it in memory.
async fn held_manifest(world: &World, tag: &str, length: usize) -> Digest {
    let filler = "x".repeat(length);
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","annotations":{{"filler":"{filler}"}}}}"#
    );
    let digest = world
        .registry
        .manifest("library/app", Some(tag), OCI_MANIFEST, &body);
    assert!(world.seawall.get(&manifest_path(tag)).await.is_good());
    tokio::time::sleep(Duration::from_secs(1)).await;
    digest
}

/// A head without its date, which is the machine's own.
fn dateless(head: &str) -> String {
    let mut text = String::new();
    for line in head.lines() {
        let line = if line.starts_with("date: ") {
            "date: …"
        } else {
            line
        };
        writeln!(text, "{line}").unwrap();
    }
    text
}

#[tokio::test(start_paused = true)]
async fn a_hit_has_the_bytes_that_hyper_would_send() {
    let world = world(Choices::default());
    let small = held_manifest(&world, "v1", 2000).await;
    held_manifest(&world, "long", 100_000).await;
    let blob = world.registry.blob("library/app", content(1000, 1));
    // Small enough for memory, once it was pulled.
    for _ in 0..2 {
        assert!(world.seawall.get(&blob_path(&blob)).await.is_good());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut wire = Wire::new(&world).await;
    for path in [
        manifest_path("v1"),
        manifest_path(small),
        manifest_path("long"),
        format!("{}?ns=docker.io", manifest_path("v1")),
        blob_path(&blob),
    ] {
        for method in ["GET", "HEAD"] {
            let (head, body) = wire.ask(method, &path, "").await;
            let (wanted, wanted_body) = wire.ask(method, &path, NOT_PLAIN).await;
            assert_eq!(dateless(&head), dateless(&wanted), "{method} {path}");
            assert!(
                head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\ndate: "),
                "{head}"
            );
            assert!(
                body == wanted_body && body.is_empty() == (method == "HEAD"),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hits_are_counted_as_all_requests_are() {
    let world = world(Choices::default());
    held_manifest(&world, "v1", 2000).await;
    let mut wire = Wire::new(&world).await;
    let counted = || {
        let text = world.seawall.metrics.exposition();
        let of = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        [
            of(r#"seawall_requests_total{class="2xx",from="memory",outcome="hit",route="manifest"}"#),
            of(r#"seawall_sent_bytes_total{from="memory"}"#),
            of(r#"seawall_spends_avoided_total{reason="fresh",upstream="docker.io"}"#),
        ]
    };
    let (_, body) = wire.ask("GET", &manifest_path("v1"), NOT_PLAIN).await;
    let before = counted();
    for _ in 0..3 {
        wire.ask("GET", &manifest_path("v1"), "").await;
    }
    let length = body.len() as u64;
    assert_eq!(counted(), [before[0] + 3, before[1] + 3 * length, before[2] + 3]);
}

#[tokio::test(start_paused = true)]
async fn a_hit_does_not_overtake_the_answer_before_it() {
    let world = world(Choices::default());
    let manifest = held_manifest(&world, "v1", 2000).await;
    let bytes = content(4 * MIB, 1);
    let blob = world.registry.blob("library/app", bytes.clone());
    world
        .registry
        .script(blob_path(&blob), Script::paced(Duration::from_secs(1)));
    let mut wire = Wire::new(&world).await;
    wire.send("GET", &blob_path(&blob), "").await;
    // Its head has gone, and most of its body has not.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    wire.send("GET", &manifest_path("v1"), "").await;
    let (head, body) = wire.read("GET").await;
    assert!(head.contains(&blob.to_string()) && body == bytes, "{head}");
    let (head, _) = wire.read("GET").await;
    assert!(head.contains(&manifest.to_string()), "{head}");
}

#[tokio::test(start_paused = true)]
async fn a_hit_does_not_overtake_an_answer_that_its_reader_has_not_taken() {
    let world = world(Choices::default());
    let (long, short) = (
        held_manifest(&world, "long", MIB / 2).await,
        held_manifest(&world, "v1", 2000).await,
    );
    let mut wire = Wire::new(&world).await;
    for headers in [NOT_PLAIN, ""] {
        wire.send("GET", &manifest_path("long"), headers).await;
        // More than the connection takes: the rest waits.
        tokio::time::sleep(Duration::from_secs(1)).await;
        wire.send("GET", &manifest_path("v1"), "").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (head, body) = wire.read("GET").await;
        assert!(
            head.contains(&long.to_string()) && Digest::sha256(&body) == long,
            "{head}"
        );
        let (head, body) = wire.read("GET").await;
        assert!(
            head.contains(&short.to_string()) && Digest::sha256(&body) == short,
            "{head}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_arrive_together_or_in_pieces_are_answered_in_their_order() {
    let world = world(Choices::default());
    let digests = [
        held_manifest(&world, "a", 2000).await,
        held_manifest(&world, "b", 3000).await,
    ];
    let ask = |tag: &str, headers: &str| request("GET", &manifest_path(tag), headers);
    for headers in [["", ""], [NOT_PLAIN, ""], ["", NOT_PLAIN]] {
        let both = Bytes::from(ask("a", headers[0]) + &ask("b", headers[1]));
        for cut in (0..both.len()).step_by(7) {
            let mut wire = Wire::new(&world).await;
            for piece in [both.slice(..cut), both.slice(cut..)] {
                wire.0.write_all(&piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            for digest in digests {
                let (head, body) = wire.read("GET").await;
                assert!(Digest::sha256(&body) == digest, "cut at {cut}: {head}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_a_hit_is_dropped_and_who_asks_for_hits_is_not_idle() {
    // S113
    let world = world(Choices::default());
    held_manifest(&world, "long", MIB / 2).await;
    let mut wire = Wire::new(&world).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        wire.ask("GET", &manifest_path("long"), "").await;
    }
    wire.send("GET", &manifest_path("long"), "").await;
    tokio::time::sleep(Duration::from_secs(63)).await;
    let mut rest = Vec::new();
    wire.0.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() < MIB / 2, "{} bytes: it was not dropped", rest.len());
}

/// Everybody is in one tier, with this quota.
fn granting(quota: Quota) -> Choices {
    let clients = Clients {
        tiers: vec![Tier {
            name: "basic".to_owned(),
            reserve: 0.0,
            quota,
        }],
        ..Clients::default()
    };
    Choices {
        clients,
        ..Choices::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_quota_is_counted_told_and_refused_as_by_hyper() {
    let quota = Quota {
        reads: NonZeroU32::new(6),
        bandwidth: Some(10_000_000),
        ..Quota::UNLIMITED
    };
    let world = world(granting(quota));
    let digest = held_manifest(&world, "v1", 2000).await;
    let blob = world.registry.blob("library/app", content(1000, 1));
    for _ in 0..2 {
        assert!(world.seawall.get(&blob_path(&blob)).await.is_good());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut wires = [
        Wire::from(&world.seawall, [10, 0, 0, 1]).await,
        Wire::from(&world.seawall, [10, 0, 0, 2]).await,
    ];
    let tag = manifest_path("v1");
    for (turn, (method, path)) in [
        ("GET", tag.clone()),
        ("GET", blob_path(&blob)),
        ("HEAD", tag.clone()),
        ("GET", manifest_path(digest)),
        ("GET", tag.clone()),
        ("GET", tag.clone()),
        ("GET", tag),
    ]
    .into_iter()
    .enumerate()
    {
        let mut told = Vec::new();
        for (wire, headers) in wires.iter_mut().zip(["", NOT_PLAIN]) {
            let (head, body) = wire.ask(method, &path, headers).await;
            let of_manifest = turn < 6 && path.contains("manifests");
            let left = format!(
                "\r\nratelimit-remaining: {};w=60\r\n",
                5_usize.saturating_sub(turn)
            );
            assert_eq!(head.contains(&left), of_manifest || turn == 6, "{head}");
            let body = String::from_utf8_lossy(&body).replace("10.0.0.2", "10.0.0.1");
            told.push((dateless(&head), body));
        }
        assert_eq!(told[0].0.starts_with("HTTP/1.1 429"), turn == 6, "{}", told[0].0);
        // A refusal is held back, so that the second is told another moment.
        if turn < 6 {
            assert!(told[0] == told[1], "{}\n{}", told[0].0, told[1].0);
        }
    }
    let metrics = world.seawall.metrics.exposition();
    let refusals = r#"seawall_quota_refusals_total{reason="reads",tier="basic"} 2"#;
    assert!(metrics.contains(refusals), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn hits_keep_to_the_rate_of_their_client() {
    let rate = 100_000;
    let world = world(granting(Quota {
        bandwidth: Some(rate),
        ..Quota::UNLIMITED
    }));
    held_manifest(&world, "v1", 2000).await;
    let mut took = Vec::new();
    for (address, headers) in [([10, 0, 0, 1], ""), ([10, 0, 0, 2], NOT_PLAIN)] {
        let mut wire = Wire::from(&world.seawall, address).await;
        let (began, mut bytes) = (Instant::now(), 0);
        for _ in 0..200 {
            bytes += wire.ask("GET", &manifest_path("v1"), headers).await.1.len();
        }
        let least = bytes as f64 / rate as f64;
        took.push(began.elapsed().as_secs_f64() / least);
    }
    assert!(took.iter().all(|took| (0.97..1.02).contains(took)), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_what_a_connection_is_granted_from_its_next_hit_on() {
    let registry = Registry::default();
    registry.manifest("library/app", Some("v1"), OCI_MANIFEST, "{}");
    let client = "[[client]]\nname = \"ci\"\ntier = \"ci\"\nmatch = { cidr = [\"127.0.0.0/8\"] }\n";
    let file = |figure: usize| format!("{}[tier.ci]\nread_ops_per_minute = {figure}\n{client}", hub(""));
    let mut configured = Configured::start(&registry.dialer(), &file(10));
    let path = manifest_path("v1");
    assert!(configured.seawall.get(&path).await.is_good());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut wire = Wire::from(&configured.seawall, [127, 0, 0, 1]).await;
    let began = Instant::now();
    let mut told = Vec::new();
    for figure in [10, 20, 10] {
        assert!(figure == 10 && told.is_empty() || configured.change(&file(figure)).await.applied);
        for _ in 0..2 {
            let (head, _) = wire.ask("GET", &path, "").await;
            let left = head
                .lines()
                .find_map(|line| line.strip_prefix("ratelimit-remaining: "));
            told.push((figure, left.unwrap().to_owned()));
        }
    }
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    let wanted = [(10, 8), (10, 7), (20, 19), (20, 18), (10, 9), (10, 8)];
    assert_eq!(
        told,
        wanted.map(|(figure, left)| (figure, format!("{left};w=60")))
    );
}
