//! F042: what a registry gives back unread over HTTP/2, stream by stream or by going away, is asked for again at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use h2::Reason;
use seawall::policy::budget::Asker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Those who ask at once: far more than there are retries for what fails (ten).
const CROWD: u64 = 60;

/// How long it takes until something is heard of a registry.
const LATE: Duration = Duration::from_millis(100);

/// A way to `peer` on which it hears nothing for a while: of what is said by then, how many requests are taken at once.
fn heard_late(peer: TlsStream<DuplexStream>) -> DuplexStream {
    let (near, far) = tokio::io::duplex(256 * 1024);
    let (mut from_peer, mut to_peer) = tokio::io::split(peer);
    let (mut said, mut heard) = tokio::io::split(far);
    // Each way ends with the connection.
    tokio::spawn(async move {
        tokio::time::sleep(LATE).await;
        tokio::io::copy(&mut said, &mut to_peer).await.ok();
        to_peer.shutdown().await.ok();
    });
    tokio::spawn(async move {
        tokio::io::copy(&mut from_peer, &mut heard).await.ok();
        heard.shutdown().await.ok();
    });
    near
}

/// What the crowd is answered, each for a blob of their own.
async fn crowd(hub: Upstreams, digest: impl Fn(u64) -> Digest) -> Vec<Result<usize, Refusal>> {
    let hub = Arc::new(hub);
    let mut pulls = tokio::task::JoinSet::new();
    for number in 0..CROWD {
        let (hub, digest) = (hub.clone(), digest(number));
        pulls.spawn(async move { blob(&hub, &digest).await });
    }
    pulls.join_all().await
}

#[tokio::test(start_paused = true)]
async fn f042_a_crowd_pulls_from_a_registry_that_takes_one_request_at_a_time_and_refuses_the_others() {
    for streams in [1, 3] {
        let (registry, authority) = (Registry::default(), Authority::new());
        let acceptor = authority.server("hub.test", &["h2"]);
        let serving = registry.clone();
        let dialer = dialer_by(&acceptor, move |stream| {
            let bounds = Bounds {
                streams,
                ..Bounds::default()
            };
            serving.clone().serve_some(heard_late(stream), bounds)
        });
        let answers = crowd(hub(&dialer, &authority.der), |number| {
            registry.blob("app", content(40_000, number))
        });
        let answers = answers.await;
        assert!(answers.iter().all(|answer| *answer == Ok(40_000)), "{answers:?}");
        // What was refused was not begun there.
        assert_eq!(registry.journal().len() as u64, CROWD, "{streams} at a time");
    }
}

/// Answers the first `most` requests of a connection that they are for nothing, then goes away in order. Later ones
/// are not read.
async fn go_away_after(most: u32, mut stream: DuplexStream) -> std::io::Result<()> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const GOAWAY: u8 = 7;
    let frame = |kind: u8, flags: u8, id: u32, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        frame
    };
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let mut answered = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes(id);
        match kind {
            SETTINGS if flags == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            HEADERS if answered < most => {
                answered += 1;
                // The end of head and stream; `:status: 404` of the static table.
                stream.write_all(&frame(HEADERS, 5, id, &[0x80 | 13])).await?;
                if answered == most {
                    let last = [id.to_be_bytes(), [0; 4]].concat();
                    stream.write_all(&frame(GOAWAY, 0, 0, &last)).await?;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f042_a_crowd_is_answered_by_a_registry_that_goes_away_while_they_ask() {
    let authority = Authority::new();
    let acceptor = authority.server("hub.test", &["h2"]);
    let dialer = dialer_by(&acceptor, |stream| async {
        // It ends when its client has gone.
        let _ = go_away_after(CROWD as u32 / 3, heard_late(stream)).await;
    });
    let answers = crowd(hub(&dialer, &authority.der), |number| {
        Digest::sha256(&number.to_be_bytes())
    });
    let answers = answers.await;
    let not_found = |answer: &Result<usize, Refusal>| *answer == Err(Refusal::NotFound);
    assert!(answers.iter().all(not_found), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn f042_what_is_refused_each_time_ends_and_was_not_counted() {
    let (authority, refused) = (Authority::new(), Arc::new(AtomicUsize::new(0)));
    let acceptor = authority.server("hub.test", &["h2"]);
    let count = refused.clone();
    let dialer = dialer_by(&acceptor, move |stream| {
        let count = count.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                respond.send_reset(Reason::REFUSED_STREAM);
            }
        }
    });
    let hub = hub(&dialer, &authority.der);
    let chosen = chosen();
    let asker = Asker {
        tier: 0,
        client: 0,
        deadline: seawall::clock::Time::from_millis(u64::MAX),
    };
    let counted = std::cell::Cell::new(false);
    let spent = |_: &seawall::policy::budget::Ledger, left| counted.set(counted.get() | left);
    let tag = seawall::oci::Reference::Tag("latest".parse().unwrap());
    let upstream = hub.get(&chosen);
    let bought = upstream.buy(&chosen.repository.path, &tag, asker, spent).await;
    let why = bought.map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("refused stream"), "{why}");
    assert!(!counted.get(), "nothing was done about it there");
    // Until its host is left alone after five failures in a row; each is three tries at once.
    assert_eq!(refused.load(Ordering::Relaxed), 15);
}
