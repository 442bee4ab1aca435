//! Paced bodies over real sockets, where the kernel sends the files; and the end of a server amid them.

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::policy::clients::Tier;
use crate::policy::quota::Quota;

/// Bytes per second that the only tier grants.
const RATE: u64 = 4_000_000;

/// Everybody is in one tier, at [`RATE`].
fn paced() -> Clients {
    let quota = Quota {
        bandwidth: Some(RATE),
        ..Quota::UNLIMITED
    };
    Clients {
        tiers: vec![Tier {
            name: "basic".to_owned(),
            reserve: 0.0,
            quota,
        }],
        ..Clients::default()
    }
}

/// A server on two listeners, and what stops it.
async fn running(server: Server, tasks: &TaskTracker) -> (std::net::SocketAddr, CancellationToken) {
    let data = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (data.local_addr().unwrap(), CancellationToken::new());
    let (stop, inner) = (shutdown.clone(), tasks.clone());
    tasks.spawn(async move { server.run(data, admin, stop, inner).await });
    (address, shutdown)
}

/// Asks for the blob; the connection closes after it.
async fn ask(address: std::net::SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    let digest = Digest::sha256(&limits::content());
    let request =
        format!("GET /v2/library/app/blobs/{digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

/// The body that follows; empty if there is no whole head.
async fn rest(mut client: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A connection that is cut may be reset.
    let _ = client.read_to_end(&mut answer).await;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    answer.split_off(head.map_or(answer.len(), |at| at + 4))
}

#[tokio::test(start_paused = true)]
async fn files_that_the_kernel_sends_are_paced_over_all_connections() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let server = server_for(directory.path(), paced(), None, Duration::from_secs(1));
    let (address, shutdown) = running(server, &tasks).await;
    let began = Instant::now();
    let clients = [ask(address).await, ask(address).await];
    for client in clients {
        assert!(rest(client).await == limits::content());
    }
    // Time that stands still but for sleeps may jump while a socket is waited for: only "no faster" can be seen.
    let least = 2.0 * limits::content().len() as f64 / RATE as f64;
    let took = began.elapsed().as_secs_f64();
    assert!(took >= least * 0.95, "{took} s instead of {least} s");
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_paced_bodies_and_cuts_those_that_take_too_long() {
    for (drain, whole) in [(600, true), (1, false)] {
        let directory = tempfile::tempdir().unwrap();
        let tasks = TaskTracker::new();
        let drain = Duration::from_secs(drain);
        // The link is slower than the client's rate: its task has to end as well.
        let server = server_for(directory.path(), paced(), Some(RATE / 2), drain);
        let (address, shutdown) = running(server, &tasks).await;
        let client = ask(address).await;
        let mut first = [0; 12];
        client.peek(&mut first).await.unwrap();
        shutdown.cancel();
        assert_eq!(rest(client).await == limits::content(), whole, "{drain:?}");
        tasks.close();
        let ended = tokio::time::timeout(Duration::from_secs(600), tasks.wait()).await;
        assert!(ended.is_ok(), "{drain:?}");
    }
}
