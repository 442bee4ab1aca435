//! Hits are answered beneath hyper, and nobody can tell: the same bytes, in the order of the requests.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use seawall::oci::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::registry::Script;
use crate::support::seawall::Choices;
use crate::support::world::{MIB, OCI_MANIFEST, World, blob_path, content, manifest_path, world};

/// A header that leaves a request to hyper, and changes nothing.
const NOT_PLAIN: &str = "x-plain: no\r\n";

/// A connection to Seawall.
struct Wire(DuplexStream);

impl Wire {
    /// Connects, and has hyper answer the first request: which protocol is spoken is known from then on.
    async fn new(world: &World) -> Self {
        let mut wire = Self(world.seawall.connect(([127, 0, 0, 1], 9).into()));
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

    async fn ask(&mut self, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
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
