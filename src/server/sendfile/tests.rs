//! What the kernel sends, and what it must not: short writes, files that shrink, other connections, TLS, HTTP/2.

use std::io::{Read as _, Write as _};

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::*;
use crate::server::tests::limits::{content, get_blob, running};
use crate::server::tests::{certified, server, server_by_tls};

/// A socket, and the client at its other end.
async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Socket::new(listener.accept().await.unwrap().0), client)
}

fn file(bytes: &[u8]) -> (std::fs::File, Arc<OpenFile>) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let open = Arc::new(OpenFile::from(file.try_clone().unwrap()));
    (file, open)
}

#[tokio::test]
async fn a_run_that_the_socket_takes_bit_by_bit_arrives_as_the_bytes_of_its_file() {
    let bytes = content();
    let (_file, open) = file(&bytes);
    let (mut socket, mut client) = pair().await;
    rustix::net::sockopt::set_socket_send_buffer_size(&socket.stream, 1 << 16).unwrap();
    let runs = socket.runs();
    let sending = async move {
        let (mut offset, mut was_short) = (0, false);
        while offset < content().len() as u64 {
            let run = runs.stand_in(&open, offset, LONGEST_RUN, u64::MAX).unwrap();
            let mut left = &run[..];
            // A head goes before the first.
            let head: &[u8] = if offset == 0 { b"head" } else { b"" };
            let mut before = head;
            while !left.is_empty() {
                let slices = [IoSlice::new(before), IoSlice::new(left)];
                let sent = socket.write_vectored(&slices).await.unwrap();
                let of_head = sent.min(before.len());
                was_short |= of_head == 0 && sent < left.len();
                before = &before[of_head..];
                left = &left[sent - of_head..];
            }
            offset += LONGEST_RUN;
        }
        assert!(was_short, "no write was short");
        assert!(runs.noted().runs.is_empty(), "a run is noted that has been sent");
    };
    let reading = async {
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        read
    };
    let ((), read) = tokio::join!(sending, reading);
    assert!(read[..4] == *b"head" && read[4..] == bytes);
}

#[tokio::test]
async fn a_client_that_reads_as_fast_as_it_is_sent_to_leaves_others_their_turn() {
    let (_file, open) = file(&vec![7; 16 << 20]);
    let (mut socket, mut client) = pair().await;
    let runs = socket.runs();
    let mut read = vec![0; 4 << 20];
    let (mut turn, mut turns) = (0, 0);
    for run in 0..16 << 20 >> 16 {
        let run = runs.stand_in(&open, run << 16, 1 << 16, u64::MAX).unwrap();
        let mut left = &run[..];
        while !left.is_empty() {
            let sent = std::future::poll_fn(|context| {
                let outcome = Pin::new(&mut socket).poll_write(context, left);
                if outcome.is_pending() {
                    (turn, turns) = (0, turns + 1);
                }
                outcome
            });
            let sent = sent.await.unwrap();
            client.read_exact(&mut read[..sent]).await.unwrap();
            left = &left[sent..];
            turn += sent as u64;
            assert!(turn <= LONGEST_TURN, "{turn} bytes before others had a turn");
        }
    }
    assert!(turns >= 7, "{turns} turns were left to others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_the_kernel_has_named_meanwhile_goes_before_a_turn_that_is_over_begins_anew() {
    let (
        Socket {
            stream: mut other, ..
        },
        mut client,
    ) = pair().await;
    let waiting = Arc::new(AtomicBool::new(true));
    let (waits, tasks) = (waiting.clone(), TaskTracker::new());
    let named = tasks.spawn(async move {
        client.read_u8().await.unwrap();
        waits.store(false, Ordering::SeqCst);
    });
    let sends = tasks.spawn(async move {
        tokio::task::yield_now().await;
        other.write_u8(7).await.unwrap();
        let mut turn = Turn::Has(0);
        std::future::poll_fn(|context| turn.poll_begin(context)).await;
        assert!(!waiting.load(Ordering::SeqCst), "another turn of the same");
    });
    named.await.unwrap();
    sends.await.unwrap();
}

#[tokio::test]
async fn what_the_kernel_keeps_back_of_a_file_goes_when_no_more_of_it_is_at_hand() {
    let (_file, open) = file(&[7; 100_000]);
    let (mut socket, mut client) = pair().await;
    let runs = socket.runs();
    let mut read = vec![0; 100_000];
    let odd = runs.stand_in(&open, 0, 70_001, 100_000).unwrap();
    socket.write_all(&odd).await.unwrap();
    socket.flush().await.unwrap();
    assert!(socket.corked, "the rest follows at once");
    let rest = runs.stand_in(&open, 70_001, 20_001, 90_002).unwrap();
    socket.write_all(&rest).await.unwrap();
    socket.flush().await.unwrap();
    assert!(!socket.corked, "the rest is not at hand");
    client.read_exact(&mut read[..90_002]).await.unwrap();
    // So does what is read and not sent from the file.
    let more = runs.stand_in(&open, 90_002, 9_001, 100_000).unwrap();
    socket.write_all(&more).await.unwrap();
    socket.write_all(&[7; 997]).await.unwrap();
    socket.flush().await.unwrap();
    assert!(!socket.corked);
    client.read_exact(&mut read[90_002..]).await.unwrap();
    assert!(read == [7; 100_000]);
}

#[tokio::test]
async fn a_file_that_shrinks_ends_in_an_error_and_never_in_other_bytes() {
    let (file, open) = file(&[7; 100_000]);
    let (mut socket, mut client) = pair().await;
    let run = socket.runs().stand_in(&open, 0, 100_000, 100_000).unwrap();
    file.set_len(50_000).unwrap();
    let error = socket.write_all(&run).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    drop(socket);
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.unwrap();
    assert!(read == [7; 50_000]);
}

#[tokio::test]
async fn a_stand_in_of_another_connection_is_not_sent() {
    let (_file, open) = file(&[7; 1000]);
    let ((one, _), (mut other, mut client)) = (pair().await, pair().await);
    let run = one.runs().stand_in(&open, 0, 1000, 1000).unwrap();
    assert!(other.write_all(&run).await.is_err());
    drop(other);
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.unwrap();
    assert!(read.is_empty());
}

#[tokio::test]
async fn a_file_comes_whole_over_http_2_which_the_kernel_does_not_frame() {
    let directory = tempfile::tempdir().unwrap();
    let (server, tasks) = (server(directory.path()), TaskTracker::new());
    let ([address, _], shutdown) = running(&server, &tasks).await;
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut client, connection) = shaken.unwrap();
    tasks.spawn(async move {
        // It ends with the client.
        let _ = connection.await;
    });
    let path = String::from_utf8(get_blob()).unwrap();
    let path = path.split(' ').nth(1).unwrap();
    let request = http::Request::get(format!("http://a{path}"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body == content());
    shutdown.cancel();
}

/// A socket that has sent much of HTTP/2 in silence, and the client at its other end.
async fn framed() -> (Socket, std::net::TcpStream) {
    let (mut socket, client) = pair().await;
    assert!(socket.runs().of(http::Version::HTTP_2).is_none());
    socket.frames.wrote(1 << 20, false);
    (socket, client.into_std().unwrap())
}

#[tokio::test]
async fn what_the_kernel_has_kept_back_of_http_2_it_sends_when_h2_has_no_more() {
    let (mut socket, mut client) = framed().await;
    let (frame, mut read) = (vec![7; 10 << 10], vec![0; 1 << 20]);
    for _ in 0..3 {
        socket.write_all(&frame).await.unwrap();
        socket.flush().await.unwrap();
    }
    socket.flush().await.unwrap();
    // What one read does not find would come when the kernel has waited for more in vain.
    assert_eq!(client.read(&mut read).unwrap(), 3 * frame.len());
}

#[tokio::test]
async fn of_http_2_the_kernel_keeps_nothing_back_from_a_client_that_was_just_heard() {
    let (mut socket, mut client) = framed().await;
    client.write_all(b"?").unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'?');
    let (frame, mut read) = (vec![7; 10 << 10], vec![0; 1 << 20]);
    for _ in 0..3 {
        socket.write_all(&frame).await.unwrap();
    }
    assert_eq!(client.read(&mut read).unwrap(), 3 * frame.len());
}

#[tokio::test]
async fn a_file_comes_whole_by_tls_which_the_kernel_does_not_encrypt() {
    let directory = tempfile::tempdir().unwrap();
    let (serving, certificate) = certified(directory.path());
    let cache = directory.path().join("cache");
    let (server, tasks) = (server_by_tls(&cache, serving), TaskTracker::new());
    let ([address, _], shutdown) = running(&server, &tasks).await;
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut client = shake(tcp, certificate.into()).await;
    client.write_all(&get_blob()).await.unwrap();
    let mut read = vec![0; content().len()];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    client.read_exact(&mut read).await.unwrap();
    assert!(read == content());
    shutdown.cancel();
}

async fn shake(tcp: TcpStream, root: rustls::pki_types::CertificateDer<'static>) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "cache.test".try_into().unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap()
}
