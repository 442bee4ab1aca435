//! From where the bytes are to the socket.
//!
//! A file is sent or read without leaving the reactor while its pages are in memory, and brought there on the
//! blocking pool when they are not ([`pages`]). A fill is followed piece by piece. A body that cannot be completed ends
//! with an error, which breaks the connection: a client never mistakes it for a complete one.

mod buffers;
mod pages;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc::Receiver;

pub(super) use self::pages::resident;
use super::sendfile::{LONGEST_RUN, Runs};
use crate::cache::{Body, Broken, Pacer, Piece, Reader, Rescue};
use crate::oci::ByteRange;
use crate::store::OpenFile;

/// Bytes read and handed to hyper at a time.
const CHUNK: u64 = buffers::WHOLE as u64;
/// The same for HTTP/2.
const CHUNK_OF_HTTP2: u64 = buffers::HALF_WINDOW as u64;

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A run of a file.
struct Run {
    file: Arc<OpenFile>,
    offset: u64,
    end: u64,
    /// What goes on when the file cannot be read.
    rescue: Option<Arc<Rescue>>,
}

/// A reader gives its next piece, and itself back.
type Step = (Box<Reader>, Result<Option<Piece>, Broken>);

enum Segment {
    Bytes(Bytes),
    File(Run),
    Reader(Box<Reader>),
    Lines(Receiver<Bytes>),
}

enum State {
    Ready,
    /// A read that began at this offset; the rest of the file is the next segment.
    Reading(Pending<io::Result<Bytes>>, u64),
    /// Pages from this offset on are on their way into memory; the file is the next segment.
    BringingIn(Pending<io::Result<()>>, u64),
    Rescuing(Pending<Result<Reader, Broken>>),
    Following(Pending<Step>),
    Awaiting(Pending<(Receiver<Bytes>, Option<Bytes>)>),
}

/// The body of a response.
pub(crate) struct PullBody {
    segments: VecDeque<Segment>,
    state: State,
    /// Bytes still to come, where known.
    left: Option<u64>,
    /// Where to note files to be sent by the kernel; only for plain HTTP/1 connections.
    runs: Option<Runs>,
    /// What says how much may be sent, and when; `None` for as much as the reader takes.
    pacer: Option<Box<Pacer>>,
    /// The offset from which on pages were last brought in. Those that are gone again are read instead.
    brought_in: Option<u64>,
    /// Bytes that are read and handed over at a time.
    chunk: u64,
}

impl PullBody {
    /// What these give, one after the other; `left` bytes, if that is known.
    fn of(segments: VecDeque<Segment>, left: Option<u64>) -> Self {
        Self {
            segments,
            state: State::Ready,
            left,
            runs: None,
            pacer: None,
            brought_in: None,
            chunk: CHUNK,
        }
    }

    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::of(VecDeque::new(), Some(0))
    }

    /// These bytes.
    pub(crate) fn bytes(bytes: Bytes) -> Self {
        let left = Some(bytes.len() as u64);
        Self::of(VecDeque::from([Segment::Bytes(bytes)]), left)
    }

    /// What a task sends, as it comes; if `length` is known and the task ends before, the body is broken.
    pub(crate) fn lines(lines: Receiver<Bytes>, length: Option<u64>) -> Self {
        Self::of(VecDeque::from([Segment::Lines(lines)]), length)
    }

    /// All of `body`, which is `length` bytes long if that is known.
    pub(crate) fn whole(body: &Body, length: Option<u64>) -> Self {
        let segments = segment(body, None).into_iter().collect();
        Self::of(segments, length)
    }

    /// One run of `body`.
    pub(crate) fn run(body: &Body, range: ByteRange) -> Self {
        let segments = segment(body, Some(range)).into_iter().collect();
        Self::of(segments, Some(range.len()))
    }

    /// Several runs of `body`, each behind its head, and what closes them.
    pub(crate) fn parts(body: &Body, parts: Vec<(Bytes, ByteRange)>, closing: Bytes) -> Self {
        let mut left = closing.len() as u64;
        let mut segments = VecDeque::with_capacity(parts.len() * 2 + 1);
        for (head, range) in parts {
            left += head.len() as u64 + range.len();
            segments.push_back(Segment::Bytes(head));
            segments.extend(segment(body, Some(range)));
        }
        segments.push_back(Segment::Bytes(closing));
        Self::of(segments, Some(left))
    }

    /// Lets the kernel send what stands in files.
    pub(crate) fn with_runs(self, runs: Option<Runs>) -> Self {
        Self { runs, ..self }
    }

    /// Reads as suits this version of HTTP.
    pub(crate) fn for_version(self, version: Version) -> Self {
        let chunk = match version {
            Version::HTTP_2 => CHUNK_OF_HTTP2,
            _ => CHUNK,
        };
        Self { chunk, ..self }
    }

    /// Sends no faster than this pacer says.
    pub(crate) fn paced(self, pacer: Pacer) -> Self {
        Self {
            pacer: Some(Box::new(pacer)),
            ..self
        }
    }

    /// Waits until bytes may be sent, if some are at hand: nobody takes a lease for what is still to come.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        let at_hand = match self.segments.front() {
            Some(Segment::Bytes(bytes)) => bytes.len() as u64,
            Some(Segment::File(run)) => run.end.saturating_sub(run.offset),
            Some(Segment::Reader(_) | Segment::Lines(_)) | None => 0,
        };
        match &mut self.pacer {
            Some(pacer) if at_hand > 0 => pacer.poll_credit(context, self.left.unwrap_or(at_hand)),
            _ => Poll::Ready(u64::MAX),
        }
    }

    /// A stand-in for the next run of a file whose pages are in memory.
    fn stand_in(&self, file: &Arc<OpenFile>, offset: u64, end: u64) -> Option<Bytes> {
        let runs = self.runs.as_ref()?;
        match pages::resident(file, offset, end) {
            0 => None,
            len => runs.stand_in(file, offset, len, end),
        }
    }

    fn emit(&mut self, bytes: Bytes) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let len = bytes.len() as u64;
        match self.left {
            Some(left) if len > left => Poll::Ready(Some(Err(io::Error::other("more bytes than announced")))),
            left => {
                self.left = left.map(|left| left - len);
                if let Some(pacer) = &mut self.pacer {
                    pacer.sent(len);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    /// The end: a body that is short of what was announced is an error.
    fn end(&self) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.left {
            None | Some(0) => Poll::Ready(None),
            Some(left) => Poll::Ready(Some(Err(io::Error::other(format!(
                "the body ends {left} bytes too soon"
            ))))),
        }
    }

    /// The file of the next segment cannot be read at `from`: what is left of it comes from elsewhere, if there
    /// is a way.
    fn go_on_elsewhere(&mut self, from: u64, error: io::Error) -> io::Result<()> {
        match self.segments.pop_front() {
            Some(Segment::File(Run {
                end,
                rescue: Some(rescue),
                ..
            })) => {
                let rest = async move { rescue.read(from, end, error).await };
                self.state = State::Rescuing(Box::pin(rest));
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Sends what is in memory of a file, with at most `room` bytes, or begins to fetch it from the disk.
    fn step_file(&mut self, mut run: Run, room: u64) -> Option<Poll<Option<io::Result<Frame<Bytes>>>>> {
        let (offset, end) = (run.offset, run.end.min(run.offset.saturating_add(room)));
        let len = usize::try_from((end - offset).min(self.chunk)).unwrap_or(0);
        let stand_in = self.stand_in(&run.file, offset, end);
        let bring_in = stand_in.is_none() && self.runs.is_some() && self.brought_in != Some(offset);
        if bring_in {
            let pages = pages::bring_in(run.file.clone(), offset, run.end);
            self.brought_in = Some(offset);
            self.state = State::BringingIn(Box::pin(pages), offset);
            self.segments.push_front(Segment::File(run));
            return None;
        }
        if let Some(bytes) = stand_in.or_else(|| pages::read_resident(&run.file, offset, len)) {
            run.offset += bytes.len() as u64;
            self.segments.push_front(Segment::File(run));
            return Some(self.emit(bytes));
        }
        run.offset += len as u64;
        let reading = pages::read(run.file.clone(), offset, len);
        self.state = State::Reading(Box::pin(reading), offset);
        self.segments.push_front(Segment::File(run));
        None
    }

    /// Takes the next step that needs no waiting, with at most `room` bytes; `None` if the state has to be polled.
    fn step(&mut self, room: u64) -> Option<Poll<Option<io::Result<Frame<Bytes>>>>> {
        let Some(segment) = self.segments.pop_front() else {
            return Some(self.end());
        };
        match segment {
            Segment::Bytes(bytes) if bytes.is_empty() => None,
            Segment::Bytes(mut bytes) => {
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                if bytes.len() > room {
                    self.segments.push_front(Segment::Bytes(bytes.split_off(room)));
                }
                Some(self.emit(bytes))
            }
            Segment::File(run) if run.offset >= run.end => None,
            Segment::File(run) => self.step_file(run, room),
            Segment::Lines(mut lines) => {
                self.state = State::Awaiting(Box::pin(async move {
                    let line = lines.recv().await;
                    (lines, line)
                }));
                None
            }
            Segment::Reader(mut reader) => {
                self.state = State::Following(Box::pin(async move {
                    let piece = reader.next(LONGEST_RUN).await;
                    (reader, piece)
                }));
                None
            }
        }
    }
}

impl http_body::Body for PullBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            match &mut self.state {
                State::Ready => {
                    let room = ready!(self.poll_room(context));
                    if let Some(outcome) = self.step(room) {
                        return outcome;
                    }
                }
                State::Reading(reading, from) => {
                    let (read, from) = (ready!(reading.as_mut().poll(context)), *from);
                    self.state = State::Ready;
                    match read {
                        Ok(bytes) => return self.emit(bytes),
                        Err(error) => self.go_on_elsewhere(from, error)?,
                    }
                }
                State::BringingIn(pages, from) => {
                    let (brought, from) = (ready!(pages.as_mut().poll(context)), *from);
                    self.state = State::Ready;
                    if let Err(error) = brought {
                        self.go_on_elsewhere(from, error)?;
                    }
                }
                State::Rescuing(rescue) => {
                    let reader = ready!(rescue.as_mut().poll(context)).map_err(io::Error::other)?;
                    self.state = State::Ready;
                    self.segments.push_front(Segment::Reader(Box::new(reader)));
                }
                State::Awaiting(next) => {
                    let (lines, line) = ready!(next.as_mut().poll(context));
                    self.state = State::Ready;
                    if let Some(line) = line {
                        self.segments.push_front(Segment::Lines(lines));
                        return self.emit(line);
                    }
                }
                State::Following(next) => {
                    let (reader, piece) = ready!(next.as_mut().poll(context));
                    self.state = State::Ready;
                    match piece {
                        Ok(None) => {}
                        Ok(Some(Piece::Bytes(bytes))) => {
                            self.segments.push_front(Segment::Reader(reader));
                            self.segments.push_front(Segment::Bytes(bytes));
                        }
                        Ok(Some(Piece::File { file, offset, len })) => {
                            self.segments.push_front(Segment::Reader(reader));
                            self.segments.push_front(Segment::File(Run {
                                file,
                                offset,
                                end: offset + len,
                                rescue: None,
                            }));
                        }
                        Err(broken) => return Poll::Ready(Some(Err(io::Error::other(broken)))),
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0) && matches!(self.state, State::Ready)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn segment(body: &Body, range: Option<ByteRange>) -> Option<Segment> {
    match body {
        Body::Empty => None,
        Body::Memory(bytes) => Some(Segment::Bytes(match range {
            None => bytes.clone(),
            Some(range) => {
                let start = usize::try_from(range.start)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let end = usize::try_from(range.end + 1)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                bytes.slice(start..end)
            }
        })),
        Body::File(file, size, rescue) => {
            let (offset, end) = range.map_or((0, *size), |range| (range.start, range.end + 1));
            Some(Segment::File(Run {
                file: file.clone(),
                offset,
                end,
                rescue: Some(rescue.clone()),
            }))
        }
        Body::Filling(following) => Some(Segment::Reader(Box::new(following.read(range)))),
    }
}
