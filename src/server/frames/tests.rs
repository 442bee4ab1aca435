//! What is kept back, and that nothing stays so: by itself, and beneath h2.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::task::TaskTracker;

use super::*;

/// A frame of a body, with its head.
const FRAME: usize = (16 << 10) + 9;

/// Which of so many frames in a row, to a peer that is silent, may be kept back.
fn written(frames: &mut Frames, count: usize) -> Vec<bool> {
    let write = |_| {
        let waits = frames.may_wait(FRAME);
        frames.wrote(FRAME, waits);
        assert!(!frames.flushed(), "a frame was written since the last flush");
        waits
    };
    (0..count).map(write).collect()
}

#[test]
fn a_silent_peer_gets_four_frames_one_by_one_and_from_then_on_four_at_once() {
    let mut frames = Frames::default();
    assert_eq!(written(&mut frames, 4), [false; 4]);
    let four = [true, true, true, false];
    assert_eq!(written(&mut frames, 8), [four, four].concat());
}

#[test]
fn a_peer_that_is_heard_after_each_half_of_a_small_window_waits_for_nothing() {
    let mut frames = Frames::default();
    for _ in 0..100 {
        assert_eq!(written(&mut frames, 4), [false; 4]);
        frames.heard();
    }
}

#[test]
fn what_is_no_full_frame_waits_for_nothing_and_lets_go_what_does() {
    let mut frames = Frames::default();
    written(&mut frames, 6);
    assert!(!frames.may_wait(SHORTEST - 1));
    frames.wrote(SHORTEST - 1, false);
    assert!(!frames.flushed());
    assert!(!frames.flushed(), "nothing is kept back");
}

#[test]
fn what_is_kept_back_goes_with_the_first_flush_that_no_write_came_before_and_once() {
    let mut frames = Frames::default();
    written(&mut frames, 6);
    assert!(frames.flushed());
    assert!(!frames.flushed());
}

/// A kernel that sends nothing of what it was told to keep back until it is told to, however long that takes.
struct Kernel {
    io: DuplexStream,
    frames: Frames,
    back: Vec<u8>,
    pushes: Arc<Mutex<usize>>,
}

impl Kernel {
    fn poll_push(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.back.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(context, &self.back))?;
            self.back.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Kernel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        let waits = self.frames.may_wait(len);
        for slice in slices {
            self.back.extend_from_slice(slice);
        }
        self.frames.wrote(len, waits);
        if !waits {
            // The test's pipe is as wide as the body.
            assert!(self.poll_push(context)?.is_ready());
        }
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.frames.flushed() {
            *self.pushes.lock().unwrap() += 1;
            assert!(self.poll_push(context)?.is_ready());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl AsyncRead for Kernel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.frames.heard();
        }
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn h2_flushes_once_more_when_it_has_no_frame_left_whatever_the_bodys_length() {
    let (tasks, pushes) = (TaskTracker::new(), Arc::new(Mutex::new(0)));
    let (here, there) = tokio::io::duplex(4 << 20);
    let kernel = Kernel {
        io: there,
        frames: Frames::default(),
        back: Vec::new(),
        pushes: pushes.clone(),
    };
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let answer = service_fn(|request: Request<hyper::body::Incoming>| async move {
        let len = request.uri().path()[1..].parse().unwrap();
        Ok::<_, io::Error>(Response::new(Full::new(Bytes::from(vec![7; len]))))
    });
    tasks.spawn(server.serve_connection(TokioIo::new(kernel), answer));
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    client
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(4 << 20);
    let (mut client, connection) = client.handshake(TokioIo::new(here)).await.unwrap();
    tasks.spawn(connection);
    for len in (4..40).flat_map(|frames| [0, 1, SHORTEST, (16 << 10) - 1].map(|more| (frames << 14) + more)) {
        let request = Request::get(format!("http://a/{len}")).body(Empty::<Bytes>::new());
        let pulled = async {
            let answer = client.send_request(request.unwrap()).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes()
        };
        let body = tokio::time::timeout(Duration::from_secs(60), pulled).await;
        let body = body.unwrap_or_else(|_| panic!("the end of {len} bytes was kept back"));
        assert!(body == vec![7; len]);
    }
    assert!(
        *pushes.lock().unwrap() > 0,
        "nothing was ever kept back to the end"
    );
}
