//! TLS towards clients, with real handshakes: what is spoken, and what those are told who do not speak it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use seawall::net::dial::Io;
use seawall::net::serving::{Serving, Unusable};
use seawall::oci::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::configured::{Configured, hub};
use crate::support::registry::{Registry, Script};
use crate::support::seawall::{Answer, Choices, read};
use crate::support::world::{MIB, World, blob_path, content, world};

/// A certificate of its own for `cache.test`, in files.
struct Certified {
    directory: tempfile::TempDir,
    der: CertificateDer<'static>,
}

impl Certified {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let der = Self::write(directory.path());
        Self { directory, der }
    }

    /// Another certificate, in the same files.
    fn renew(&mut self) {
        self.der = Self::write(self.directory.path());
    }

    fn write(directory: &std::path::Path) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["cache.test".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn serving(&self) -> Serving {
        let at = |name| self.directory.path().join(name);
        Serving::read(at("tls.crt"), at("tls.key"), None).unwrap()
    }

    fn world(&self) -> World {
        world(Choices {
            tls: Some(self.serving()),
            ..Choices::default()
        })
    }

    /// Shakes hands on a connection, offering these protocols.
    async fn shake(&self, near: DuplexStream, protocols: &[&str]) -> TlsStream<DuplexStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|each| each.as_bytes().to_vec()).collect();
        let name = "cache.test".try_into().unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, near)
            .await
            .unwrap()
    }
}

/// Clients that pull side by side, how often each does, and of how many blobs.
const CLIENTS: u64 = 12;
const PULLS: usize = 20;
const BLOBS: usize = 8;

const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

#[tokio::test(start_paused = true)]
async fn a_blob_comes_whole_by_tls_while_it_is_filled_and_from_disk() {
    let certified = Certified::new();
    let world = certified.world();
    let bytes = content(3 * MIB + 7, 1);
    let path = blob_path(&world.registry.blob("library/app", bytes.clone()));
    for turn in ["cold", "warm"] {
        let stream = certified
            .shake(world.seawall.connect(PEER.into()), &["http/1.1"])
            .await;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let asked = Request::get(&path).header("host", "cache.test");
        let answer = sender
            .send_request(asked.body(Empty::<Bytes>::new()).unwrap())
            .await;
        let answer = read(answer.unwrap()).await;
        assert!(
            answer.is_good() && answer.body == bytes,
            "{turn}: {}",
            answer.status
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_offers_http_2_gets_it_and_who_offers_nothing_gets_http_1() {
    let certified = Certified::new();
    let world = certified.world();
    let bytes = content(MIB, 2);
    let path = blob_path(&world.registry.blob("library/app", bytes.clone()));
    let stream = certified
        .shake(world.seawall.connect(PEER.into()), &["h2", "http/1.1"])
        .await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let asked = Request::get(format!("https://cache.test{path}"));
    let answer = sender
        .send_request(asked.body(Empty::<Bytes>::new()).unwrap())
        .await;
    let answer = read(answer.unwrap()).await;
    assert!(answer.is_good() && answer.body == bytes, "{}", answer.status);

    let stream = certified.shake(world.seawall.connect(PEER.into()), &[]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
}

/// A connection on which requests follow each other.
enum Talk {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Talk {
    /// Connects, by TLS if there is a certificate.
    async fn begin(world: &World, certified: Option<&Certified>, is_http2: bool) -> Self {
        let near = world.seawall.connect(PEER.into());
        let protocol = if is_http2 { "h2" } else { "http/1.1" };
        let io: Box<dyn Io> = match certified {
            Some(certified) => Box::new(certified.shake(near, &[protocol]).await),
            None => Box::new(near),
        };
        let io = TokioIo::new(io);
        // Whoever hangs up ends its connection with an error.
        if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(async move { connection.await.ok() });
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(async move { connection.await.ok() });
            Self::Http1(sender)
        }
    }

    async fn get(&mut self, path: &str) -> Answer {
        let asked = |uri: &str| Request::get(uri).header("host", "cache.test").body(Empty::new());
        let answer = match self {
            Self::Http1(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(asked(path).unwrap()).await
            }
            Self::Http2(sender) => {
                sender.ready().await.unwrap();
                let uri = format!("https://cache.test{path}");
                sender.send_request(asked(&uri).unwrap()).await
            }
        };
        read(answer.unwrap()).await
    }
}

/// Pulls blobs by chance, one after the other, and hangs up now and then.
async fn pull_by_chance(
    world: Arc<World>,
    certified: Option<Arc<Certified>>,
    blobs: Arc<[Bytes]>,
    seed: u64,
) {
    let (world, certified) = (&*world, certified.as_deref());
    let mut random = StdRng::seed_from_u64(seed);
    let is_http2 = seed.is_multiple_of(2);
    let mut talk: Option<Talk> = None;
    for _ in 0..PULLS {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..20_000))).await;
        let bytes = &blobs[random.random_range(0..blobs.len())];
        let path = blob_path(&Digest::sha256(bytes));
        let patience = match random.random_bool(0.2) {
            true => Duration::from_millis(random.random_range(1..200)),
            false => Duration::from_secs(60),
        };
        let mut with = match talk.take() {
            Some(talk) => talk,
            None => Talk::begin(world, certified, is_http2).await,
        };
        // Who does not wait for the end hangs up.
        if let Ok(answer) = tokio::time::timeout(patience, with.get(&path)).await {
            assert!(
                answer.is_good() && answer.body == *bytes,
                "{seed}: {}",
                answer.status
            );
            talk = Some(with);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_speaks_http_1_and_who_speaks_http_2_pull_side_by_side_for_minutes() {
    // F112: by TLS and without, while some hang up.
    let certificate = Arc::new(Certified::new());
    for certified in [Some(certificate), None] {
        let world = certified
            .as_ref()
            .map_or_else(|| world(Choices::default()), |it| it.world());
        let blobs = (0..BLOBS).map(|number| content(1000 + number * MIB / 6, 2 * number as u64 + 1));
        let blobs: Arc<[Bytes]> = blobs.collect();
        for bytes in blobs.iter() {
            let path = blob_path(&world.registry.blob("library/app", bytes.clone()));
            let slow = Script {
                chunk: MIB / 8,
                ..Script::paced(Duration::from_millis(50))
            };
            world.registry.script(path, slow);
        }
        let (world, began) = (Arc::new(world), tokio::time::Instant::now());
        let client = |seed| pull_by_chance(world.clone(), certified.clone(), blobs.clone(), seed);
        let clients: tokio::task::JoinSet<()> = (0..CLIENTS).map(client).collect();
        clients.join_all().await;
        assert!(
            began.elapsed() > Duration::from_secs(120),
            "{:?}",
            began.elapsed()
        );
        for bytes in blobs.iter() {
            let path = blob_path(&Digest::sha256(bytes));
            assert_eq!(world.registry.seen(&Method::GET, &path).len(), 1, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_speaks_http_without_tls_is_told_so_in_http() {
    let certified = Certified::new();
    let world = certified.world();
    let mut near = world.seawall.connect(PEER.into());
    near.write_all(b"GET /v2/ HTTP/1.1\r\nHost: cache.test\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{answer}"
    );
    assert!(body.contains("https://"), "{answer}");
}

// S104
#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_dropped_when_a_head_would_be() {
    let certified = Certified::new();
    let world = certified.world();
    let mut near = world.seawall.connect(PEER.into());
    near.write_all(&[22, 3, 1]).await.unwrap();
    let began = tokio::time::Instant::now();
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(rest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_range_by_tls_is_the_part_that_was_asked_for() {
    let certified = Certified::new();
    let world = certified.world();
    let bytes = content(2 * MIB, 3);
    let path = blob_path(&world.registry.blob("library/app", bytes.clone()));
    let stream = certified.shake(world.seawall.connect(PEER.into()), &[]).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let asked = Request::builder()
        .method(Method::GET)
        .uri(&path)
        .header("host", "cache.test");
    let asked = asked
        .header("range", "bytes=1000000-1999999")
        .body(Empty::<Bytes>::new());
    let answer = read(sender.send_request(asked.unwrap()).await.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.complete), (206, true));
    assert!(answer.body == bytes[1_000_000..2_000_000]);
}

#[test]
fn a_key_of_another_certificate_is_refused_by_name_and_shown_nowhere() {
    let (one, other) = (Certified::new(), Certified::new());
    let (one, other) = (one.directory.path(), other.directory.path());
    let wrong = Serving::read(one.join("tls.crt"), other.join("tls.key"), None).unwrap_err();
    assert!(matches!(wrong, Unusable::Key { .. }), "{wrong}");
    let told = wrong.to_string();
    assert!(told.contains("tls.key") && told.contains("tls.crt"), "{told}");
    let swapped = Serving::read(one.join("tls.key"), one.join("tls.key"), None).unwrap_err();
    assert!(matches!(swapped, Unusable::Certificate { .. }), "{swapped}");
    let missing = Serving::read(one.join("tls.crt"), one.join("none"), None).unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");
}

// S148
#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_shown_to_who_connects_next_and_a_wrong_key_to_nobody() {
    let mut certified = Certified::new();
    let at = |name: &str| certified.directory.path().join(name).display().to_string();
    let text = format!(
        "{}[server]\ntls = {{ certificate = {:?}, key = {:?} }}\n",
        hub(""),
        at("tls.crt"),
        at("tls.key")
    );
    let mut configured = Configured::start(&Registry::default().dialer(), &text);
    let before = certified
        .shake(configured.seawall.connect(PEER.into()), &["http/1.1"])
        .await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(before))
        .await
        .unwrap();
    tokio::spawn(connection);
    certified.renew();
    assert_eq!(
        configured.change(&text).await.changed,
        ["server.tls has new content"]
    );
    certified
        .shake(configured.seawall.connect(PEER.into()), &["http/1.1"])
        .await;
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(certified.directory.path().join("tls.key"), other).unwrap();
    let reload = configured.change(&text).await;
    assert!(
        !reload.applied && reload.problems[0].contains("it is not the key of"),
        "{reload:?}"
    );
    certified
        .shake(configured.seawall.connect(PEER.into()), &["http/1.1"])
        .await;
    let asked = Request::get("/v2/").header("host", "cache.test");
    let asked = asked.body(Empty::<Bytes>::new()).unwrap();
    let answer = read(sender.send_request(asked).await.unwrap()).await;
    assert!(answer.is_good(), "the first connection goes on");
}

/// What the operator's pages answer elsewhere to who shows this token.
async fn metrics(configured: &Configured, certified: &Certified, token: &str) -> StatusCode {
    let near = configured.seawall.connect_operator(([192, 0, 2, 9], 9).into());
    let stream = certified.shake(near, &["http/1.1"]).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let asked = Request::get("/metrics")
        .header("host", "cache.test")
        .header("authorization", format!("Bearer {token}"));
    let asked = asked.body(Empty::<Bytes>::new()).unwrap();
    read(sender.send_request(asked).await.unwrap()).await.status
}

// S148
#[tokio::test(start_paused = true)]
async fn the_operators_pages_follow_their_certificate_and_their_tokens() {
    const TOKENS: [&str; 2] = [
        "the-first-token-of-alice-0123456789",
        "the-second-token-of-alice-123456789",
    ];
    let mut certified = Certified::new();
    let at = |name: &str| certified.directory.path().join(name);
    let secret = at("token");
    std::fs::write(&secret, TOKENS[0]).unwrap();
    let text = format!(
        "{}[admin]\ntls = {{ certificate = {:?}, key = {:?} }}\n\
         token = [{{ name = \"alice\", role = \"read\", secret = {{ file = {secret:?} }} }}]\n",
        hub(""),
        at("tls.crt"),
        at("tls.key"),
    );
    let mut configured = Configured::start(&Registry::default().dialer(), &text);
    let statuses = async |configured: &Configured, certified: &Certified| {
        [
            metrics(configured, certified, TOKENS[0]).await,
            metrics(configured, certified, TOKENS[1]).await,
        ]
    };
    let (good, refused) = (StatusCode::OK, StatusCode::UNAUTHORIZED);
    assert_eq!(statuses(&configured, &certified).await, [good, refused]);
    certified.renew();
    std::fs::write(&secret, TOKENS[1]).unwrap();
    let changed = configured.change(&text).await.changed;
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(
        changed
            .iter()
            .all(|each| each.starts_with("admin.") && each.contains("new content")),
        "{changed:?}"
    );
    assert!(TOKENS.iter().all(|token| !changed.concat().contains(token)));
    // Only the new certificate is trusted from here on.
    assert_eq!(statuses(&configured, &certified).await, [refused, good]);
}
