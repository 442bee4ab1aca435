//! Connections to hosts next door, whose answers are looked for a moment before anybody sleeps.
//!
//! A processor that has gone idle takes 0.05 to 0.15 ms to wake in a virtual machine, and a thread on it a little more:
//! as long as a registry in the same network takes to answer. So once a request has left, its socket is looked at until
//! the answer is here or it is clear that it takes longer. That takes the worker for a quarter of a millisecond at
//! most, and all of them together a twentieth of one processor.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::dial::Io;

/// Whoever takes longer to connect to is not near: there and back takes 0.02 ms within a machine, 0.1 to 0.3 ms within a
/// data centre, and the thread that waits for it wakes once.
const NEAR: Duration = Duration::from_micros(500);
/// Looks at one socket: 0.25 ms here. The first byte of a cold pull from an upstream on the same machine came 0.43 to
/// 0.64 ms later than directly without looking, 0.30 to 0.33 after 0.1 ms, 0.24 to 0.30 after 0.25 ms, and 0.35 to 0.46
/// after 0.5 ms, which is in the way of whoever answers.
const LOOKS: usize = 256;
/// Pauses of the processor between two looks.
const SPINS: usize = 16;
/// Between the beginnings of two looks, whoever asks.
const PAUSE: Duration = Duration::from_millis(5);
/// Answers in a row that took longer, after which a connection is not looked at any more.
const MOST_LATE: u8 = 3;

/// Whose turn it is to look: one of all connections that share it, and seldom.
#[derive(Default)]
pub(super) struct Turn(Mutex<Option<Instant>>);

impl Turn {
    /// One for this process; `None` where whoever looks would take the only processor.
    pub(super) fn of_machine() -> Option<Arc<Self>> {
        let processors = std::thread::available_parallelism();
        processors
            .is_ok_and(|processors| processors.get() > 1)
            .then(Arc::default)
    }

    /// True for whoever may look now.
    fn take(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if is_free {
            *last = Some(now);
        }
        is_free
    }
}

/// A connection, looked at by turns if it took so long to open and that is near.
pub(super) fn looked_at(stream: TcpStream, took: Duration, turn: Option<Arc<Turn>>) -> Box<dyn Io> {
    match turn.filter(|_| took < NEAR) {
        Some(turn) => Box::new(Near::new(stream, turn)),
        None => Box::new(stream),
    }
}

/// A connection to a host next door.
struct Near {
    stream: TcpStream,
    turn: Arc<Turn>,
    /// Something was sent that has not been looked for yet.
    asked: bool,
    /// What was seen, of which the reactor may not know yet. The kernel tells of an error once, so it is kept.
    seen: Option<Result<(), Errno>>,
    /// Answers in a row that were not here in time.
    late: u8,
}

impl Near {
    fn new(stream: TcpStream, turn: Arc<Turn>) -> Self {
        Self {
            stream,
            turn,
            asked: false,
            seen: None,
            late: 0,
        }
    }

    /// Looks for the answer to what was sent, and has its reader read it.
    fn look(&mut self, context: &Context<'_>) {
        if !std::mem::take(&mut self.asked) || self.late >= MOST_LATE || !self.turn.take(Instant::now()) {
            return;
        }
        self.seen = (0..LOOKS).find_map(|_| self.peek());
        if self.seen.is_some() {
            self.late = 0;
            context.waker().wake_by_ref();
        } else {
            self.late += 1;
        }
    }

    /// Whether something is here, which may be the end; or what went wrong.
    fn peek(&self) -> Option<Result<(), Errno>> {
        match recv(&self.stream, &mut [0_u8], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => {
                (0..SPINS).for_each(|_| std::hint::spin_loop());
                None
            }
            seen => Some(seen.map(drop)),
        }
    }
}

impl AsyncRead for Near {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(seen) = this.seen.take() {
            let room = buffer.initialize_unfilled();
            match seen.and_then(|()| recv(&this.stream, room, RecvFlags::DONTWAIT)) {
                Ok((_, read)) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // The reactor was faster, and it has been read.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Near {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.asked = true;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.asked = true;
        Pin::new(&mut this.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// All of it has left: now its answer may come.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.look(context);
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection and who is at its other end. The reactor runs only where a test awaits.
    async fn pair() -> (Near, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Near::new(stream, Arc::default()), listener.accept().unwrap().0)
    }

    /// Says that all has left, and how often that woke its reader.
    fn flush(near: &mut (impl Io + ?Sized)) -> usize {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        assert!(
            Pin::new(near)
                .poll_flush(&mut Context::from_waker(&waker))
                .is_ready()
        );
        woken.0.load(Ordering::Relaxed)
    }

    /// Sends something; the rest as [`flush`].
    fn ask(near: &mut (impl Io + ?Sized)) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut *near).poll_write(&mut context, b"?").is_ready());
        flush(near)
    }

    /// What can be read without waiting.
    fn read(near: &mut (impl Io + ?Sized)) -> Option<Vec<u8>> {
        let mut bytes = [0; 8];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(near).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().to_vec()).ok(),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_here_is_read_before_the_reactor_tells_of_it() {
        let (mut near, mut host) = pair().await;
        assert_eq!(read(&mut near), None);
        host.write_all(b"a long answer").unwrap();
        // Nobody has asked yet.
        assert_eq!((flush(&mut near), read(&mut near)), (0, None));
        assert_eq!(ask(&mut near), 1);
        assert_eq!(read(&mut near).unwrap(), b"a long a");
        // The rest as always.
        near.stream.readable().await.unwrap();
        assert_eq!(read(&mut near).unwrap(), b"nswer");
        drop(host);
        near.turn = Arc::default();
        assert_eq!(ask(&mut near), 1);
        assert_eq!(read(&mut near).unwrap(), b"", "the end of the connection");
    }

    #[tokio::test]
    async fn the_reader_is_told_of_the_error_that_was_seen() {
        let (mut near, host) = pair().await;
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut near).poll_write(&mut context, b"?").is_ready());
        // It has not read that: the connection is reset.
        drop(host);
        assert_eq!(flush(&mut near), 1);
        let mut bytes = [0; 8];
        let read = Pin::new(&mut near).poll_read(&mut context, &mut ReadBuf::new(&mut bytes));
        assert!(
            matches!(&read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset),
            "{read:?}"
        );
    }

    #[tokio::test]
    async fn who_is_late_too_often_is_not_looked_for_any_more() {
        for late in [MOST_LATE - 1, MOST_LATE] {
            let (mut near, mut host) = pair().await;
            for _ in 0..late {
                near.turn = Arc::default();
                assert_eq!(ask(&mut near), 0);
            }
            host.write_all(b"late").unwrap();
            near.turn = Arc::default();
            let is_looked_for = late < MOST_LATE;
            assert_eq!(ask(&mut near), usize::from(is_looked_for), "{late}");
            assert_eq!(read(&mut near).is_some(), is_looked_for, "{late}");
            // One that is in time begins anew.
            assert_eq!(near.late, if is_looked_for { 0 } else { late });
        }
    }

    #[tokio::test]
    async fn only_what_is_near_is_looked_for_and_where_there_are_processors_for_it() {
        for (took, turn, is_looked_for) in [
            (NEAR / 2, Some(Arc::default()), true),
            (NEAR, Some(Arc::default()), false),
            (NEAR / 2, None, false),
        ] {
            let (near, mut host) = pair().await;
            let mut near = looked_at(near.stream, took, turn);
            host.write_all(b"!").unwrap();
            assert_eq!(ask(&mut *near), usize::from(is_looked_for), "{took:?}");
            assert_eq!(read(&mut *near).is_some(), is_looked_for, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_looks_at_a_time_and_seldom() {
        let (turn, start) = (Turn::default(), Instant::now());
        let at = |millis| turn.take(start + Duration::from_millis(millis));
        assert_eq!(
            [0, 0, 4, 5, 9, 10, 30].map(at),
            [true, false, false, true, false, true, true]
        );
        let (mut near, mut host) = pair().await;
        host.write_all(b"!").unwrap();
        near.turn.take(Instant::now());
        assert_eq!((ask(&mut near), read(&mut near)), (0, None));
    }
}
