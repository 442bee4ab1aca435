//! The task behind a fill: fetch, write, hash, publish, commit.
//!
//! Reading the next batch and writing this one overlap, and hashing may lag a little behind; each batch is published as
//! soon as it is written. The commit (sync and rename) comes after the last reader could already have its last
//! byte.

mod lanes;
mod opened;
mod stored;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

pub(super) use lanes::PLACES as AHEAD;
pub(super) use opened::{Giver, Opened};

use self::lanes::Source;
use super::fill::{Fill, Phase};
use super::shared::Shelved;
use super::sink::{self, Sink, total_len};
use super::{Failure, From, Shelves, lock};
use crate::policy::flight::Landing;
use crate::store::{NotKept, PATIENCE, Partial, SYNC_PATIENCE, Shelf};
use crate::telemetry::metrics::fills::Cause;
use crate::telemetry::metrics::{IntCounter, Place};
use crate::upstream::{Incoming, Refusal};

/// Bytes gathered before they are written and hashed together: the best size for one writer
/// (performance.md: 1 MiB 6.5 GB/s, 64 KiB 3–5, 4 MiB 1.7–2.7).
const BATCH: usize = 1 << 20;
/// Attempts to go on after a break, without one byte of progress in between.
const MAX_RESUMES: u32 = 4;
/// The first wait before going on; doubled each time.
const RESUME_WAIT: Duration = Duration::from_millis(100);
/// How long an answer may take to come before the file is made beside it. To make one takes 40 µs to 1 ms, and a processor,
/// which an answer that is here already would have to wait for.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Why a download stopped.
pub(super) enum Stop {
    /// The upstream.
    Refused(Refusal),
    /// The bytes are not what their name says.
    Wrong,
    /// The same, but some of them were left by an earlier attempt, which a crash may have torn.
    Torn,
}

impl std::convert::From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What a batch ends with.
enum Next {
    More,
    End,
    Halt(Halt),
}

/// Why the head has to be asked for anew.
#[derive(PartialEq)]
enum Halt {
    Broken(Refusal),
    /// Nobody was asked for what comes next.
    Gap,
}

pub(super) struct Download {
    pub(super) fill: Arc<Fill>,
    pub(super) shelves: Arc<Shelves>,
    /// The registry's name, for messages.
    pub(super) registry: String,
    /// False for a fill that must not touch the disk, since another one of the same digest does, or what stands
    /// there cannot be read now and is to stay.
    pub(super) disk: bool,
    /// What it has of the shared shelf.
    pub(super) shelved: Shelved,
    /// Counts what comes from the upstream.
    pub(super) received: IntCounter,
    /// What the upstream has begun to give already, from the first byte on.
    pub(super) begun: Mutex<Option<Incoming>>,
}

impl Download {
    /// Runs to the end, whatever it is; the readers learn of it through the fill.
    pub(super) async fn run(mut self) -> Landing {
        let cancel = self.fill.cancel.clone();
        tokio::select! {
            landing = self.fill_up() => landing,
            () = cancel.cancelled() => {
                self.end("the download was stopped because nobody read it");
                Landing::Cancelled
            }
        }
    }

    async fn fill_up(&mut self) -> Landing {
        if self.disk
            && let Some(stored) = self.look_on_disk().await
            && self.serve_from_disk(stored).await
        {
            return Landing::Arrived;
        }
        match self.fetch().await {
            Ok(()) => Landing::Arrived,
            Err(stop) if Box::pin(self.is_spoilt(&stop)).await => {
                self.end("what the shared shelf gave was wrong, and is had from elsewhere");
                Landing::Cancelled
            }
            Err(Stop::Refused(refusal)) => {
                tracing::info!(digest = %self.fill.digest, upstream = %self.registry, error = %refusal, "fill failed");
                self.shelves.metrics.fills.failed(refusal.cause());
                self.fail(Failure::of_blob(&self.registry, &refusal));
                Landing::Failed
            }
            Err(Stop::Torn) => {
                tracing::info!(digest = %self.fill.digest, "what an earlier attempt left was damaged: beginning anew");
                self.end("what an earlier download left was damaged and has been removed");
                Landing::Cancelled
            }
            Err(Stop::Wrong) => {
                let (digest, upstream) = (self.fill.digest, &self.registry);
                tracing::warn!(%digest, %upstream, "the upstream sent bytes that do not hash to their digest");
                self.shelves.metrics.integrity_failure(Place::Upstream);
                self.shelves.metrics.fills.failed(Cause::Wrong);
                self.fail(Failure::wrong_bytes(&self.registry));
                Landing::Failed
            }
        }
    }

    fn fail(&self, failure: Failure) {
        let failure = Arc::new(failure);
        self.fill
            .publish(|progress| progress.phase = Phase::Failed(failure));
    }

    fn end(&self, why: &'static str) {
        self.fill.publish(|progress| progress.phase = Phase::Over(why));
    }

    /// Fetches from the upstream, going on after breaks, until the digest agrees.
    async fn fetch(&self) -> Result<(), Stop> {
        let (mut sink, mut incoming) = Box::pin(self.begin()).await?;
        if !sink.make_room(incoming.total(), self).await && incoming.start() > 0 {
            incoming = self.open(0).await?;
        }
        if let Err(error) = sink.start(incoming.start(), self).await {
            tracing::info!(digest = %self.fill.digest, %error, "what an earlier attempt left cannot be read");
            (sink, incoming) = self.start_over(sink).await?;
        }
        let resumed = sink.written > 0;
        let mut resumes = 0;
        let mut helped = BTreeSet::new();
        let mut from = incoming.giver();
        let mut source = Source::new(self, incoming);
        loop {
            let before = sink.written;
            helped.insert(from);
            let Some(halt) = self.pump(&mut sink, &mut source).await? else {
                break;
            };
            if sink.written > before {
                resumes = 0;
            }
            if halt != Halt::Gap {
                self.blame(from, false);
            }
            let incoming = self.open_again(sink.written, halt, &mut resumes).await?;
            sink.skip = sink.written.saturating_sub(incoming.start());
            from = incoming.giver();
            source.go_on(incoming);
        }
        let finished = self.finish(sink).await;
        if resumed && matches!(finished, Err(Stop::Wrong)) {
            return Err(Stop::Torn);
        }
        if matches!(finished, Err(Stop::Wrong)) {
            // With bytes of the shared shelf among them, it is the first to be doubted.
            if !helped.contains(&Giver::Shared) {
                helped.into_iter().for_each(|each| self.blame(each, true));
            }
        } else if finished.is_ok() && helped.iter().any(|each| *each != Giver::Shared) {
            self.shelves.offer(Shelf::Blobs, self.fill.digest, None);
        }
        finished
    }

    /// Opens the unfinished file, and asks for what it lacks. Where there is none yet it is made while the answer is
    /// waited for; an answer that comes at once is passed on before.
    async fn begin(&self) -> Result<(Sink, Opened), Refusal> {
        if !self.disk || !self.shelves.disk.has_begun(&self.fill.digest) {
            let mut asked = std::pin::pin!(self.ask_and_pass_on());
            let ((incoming, passed_on), sink) = match timeout(AT_ONCE, asked.as_mut()).await {
                Ok(asked) => (asked?, Sink::open(self).await),
                Err(_) => {
                    let (asked, sink) = tokio::join!(asked, Sink::open(self));
                    (asked?, sink)
                }
            };
            return Ok((sink.behind(passed_on), incoming));
        }
        let sink = Sink::open(self).await;
        let incoming = match self.open(sink.resume_at()).await {
            // An unfinished file may be longer than the blob: such a range cannot be had.
            Err(Refusal::Unusable(_) | Refusal::Failing(_)) if sink.resume_at() > 0 => self.open(0).await?,
            opened => opened?,
        };
        Ok((sink, incoming))
    }

    /// Asks for all of it, and passes the beginning on; how much that was.
    async fn ask_and_pass_on(&self) -> Result<(Opened, u64), Refusal> {
        let mut incoming = self.open(0).await?;
        let passed_on = match incoming.peek().await {
            Some(beginning) => sink::pass_on(&beginning, self).await,
            None => 0,
        };
        Ok((incoming, passed_on))
    }

    /// Asks for the rest, after a break as often as is worth it.
    async fn open_again(&self, at: u64, halt: Halt, resumes: &mut u32) -> Result<Opened, Stop> {
        let mut broken = match halt {
            Halt::Broken(broken) => broken,
            Halt::Gap => match self.open(at).await {
                Ok(next) => return Ok(next),
                Err(refusal) => refusal,
            },
        };
        loop {
            *resumes += 1;
            if *resumes > MAX_RESUMES || broken == Refusal::NotFound {
                return Err(broken.into());
            }
            tracing::debug!(digest = %self.fill.digest, at, error = %broken, "resuming a fill");
            let wait = RESUME_WAIT * 2_u32.pow(*resumes - 1);
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            match self.open(at).await {
                Ok(next) => {
                    self.shelves.metrics.fills.resumed();
                    return Ok(next);
                }
                Err(refusal) => broken = refusal,
            }
        }
    }

    /// Begins again, in memory: what is on disk is of no use.
    async fn start_over(&self, sink: Sink) -> Result<(Sink, Opened), Refusal> {
        if let Some(partial) = sink.partial {
            self.discard(partial).await;
        }
        self.fill.publish(|progress| {
            progress.visible = 0;
            progress.on_disk = 0;
            progress.file = None;
        });
        Ok((Sink::in_memory(self), self.open(0).await?))
    }

    /// What the upstream has begun to give, once.
    pub(super) fn begun(&self) -> Option<Incoming> {
        lock(&self.begun).take()
    }

    async fn open(&self, from: u64) -> Result<Opened, Refusal> {
        let fill = &self.fill;
        let incoming = self.open_anywhere(from).await?;
        let known = fill.snapshot().total;
        if let (Some(known), Some(total)) = (known, incoming.total())
            && known != total
        {
            self.blame(incoming.giver(), true);
            return Err(Refusal::Unusable(format!(
                "the blob was {known} bytes long and is now {total}"
            )));
        }
        if incoming.start() > from {
            return Err(Refusal::Unusable(
                "the upstream skipped bytes that were asked for".to_owned(),
            ));
        }
        fill.publish(|progress| {
            progress.total = incoming.total().or(progress.total);
            match incoming.giver() {
                Giver::Upstream => {}
                Giver::Alternate(_) => progress.from = From::Alternate,
                Giver::Shared => progress.from = From::Shared,
            }
        });
        Ok(incoming)
    }

    /// Reads, writes and has hashed until everything is there (`None`), or the head has to be asked for anew.
    async fn pump(&self, sink: &mut Sink, source: &mut Source<'_>) -> Result<Option<Halt>, Stop> {
        let (mut batch, mut next) = source.batch().await;
        let mut kept = Vec::new();
        loop {
            self.count_came(source.giver(), total_len(&batch));
            sink.skip_held(&mut batch);
            batch.splice(..0, kept);
            let total = self.fill.snapshot().total;
            let end = sink.written + total_len(&batch);
            if total.is_some_and(|total| end > total) {
                return Err(Refusal::Unusable("the blob is longer than announced".to_owned()).into());
            }
            match next {
                Next::More => {
                    kept = sink.keep_odd(&mut batch);
                    (batch, next) = sink.take_while(batch, source.batch(), self).await;
                }
                Next::End => {
                    sink.take(batch, self).await;
                    let short = total.is_some_and(|total| end < total);
                    let why = || Refusal::Unusable("the blob ended too soon".to_owned());
                    return Ok(short.then(|| Halt::Broken(why())));
                }
                Next::Halt(halt) => {
                    sink.take(batch, self).await;
                    return Ok(Some(halt));
                }
            }
        }
    }

    /// Compares the digest, lets the readers have the rest, and gives the file its name.
    async fn finish(&self, sink: Sink) -> Result<(), Stop> {
        let fill = &self.fill;
        let size = sink.written;
        if sink.hashing.hasher().await.finish() != fill.digest {
            if let Some(partial) = sink.partial {
                self.discard(partial).await;
            }
            return Err(Stop::Wrong);
        }
        fill.publish(|progress| {
            progress.total = Some(size);
            progress.visible = size;
            progress.phase = Phase::Verified;
        });
        let Some(partial) = sink.partial else {
            return Ok(());
        };
        self.remember_small(&partial.file, size).await;
        let (shelves, digest) = (self.shelves.clone(), fill.digest);
        let given = fill.is_closing().then(|| fill.repository.clone());
        let commit = move || {
            shelves.disk.commit(&partial, Shelf::Blobs, &digest, size)?;
            shelves.records.put_size(&digest, size);
            if let Some(repository) = given {
                shelves.records.put_given(&repository, &digest);
            }
            shelves.write_down_some();
            Ok(())
        };
        let health = self.shelves.disk.health();
        if let Err(error) = health.writing("commit", SYNC_PATIENCE, commit).await {
            tracing::info!(%digest, %error, "a blob could not be kept");
            if let Some(why) = NotKept::of(&error) {
                self.shelves.metrics.space.not_kept(why.name());
            }
        }
        Ok(())
    }

    /// Gives an unfinished file up. Its name goes when the last write to it has come back.
    pub(super) async fn discard(&self, partial: Arc<Partial>) {
        partial.give_up();
        let gone = self.shelves.disk.health().writing("remove", PATIENCE, move || {
            drop(partial);
            Ok(())
        });
        if let Err(error) = gone.await {
            tracing::debug!(%error, "an unfinished file could not be removed");
        }
    }
}

/// Waits for bytes, then takes what else has already arrived, up to about [`BATCH`].
async fn read_batch(incoming: &mut Opened) -> (Vec<Bytes>, Next) {
    let mut batch = Vec::new();
    let mut len = 0;
    loop {
        let chunk = if batch.is_empty() {
            incoming.chunk().await
        } else {
            match poll_once(incoming).await {
                Some(chunk) => chunk,
                None => return (batch, Next::More),
            }
        };
        match chunk {
            Ok(Some(bytes)) => {
                len += bytes.len();
                batch.push(bytes);
            }
            Ok(None) => return (batch, Next::End),
            Err(refusal) => return (batch, Next::Halt(Halt::Broken(refusal))),
        }
        if len >= BATCH {
            return (batch, Next::More);
        }
    }
}

/// The next piece if it is there already.
async fn poll_once(incoming: &mut Opened) -> Option<Result<Option<Bytes>, Refusal>> {
    let mut chunk = std::pin::pin!(incoming.chunk());
    std::future::poll_fn(|context| match chunk.as_mut().poll(context) {
        std::task::Poll::Ready(chunk) => std::task::Poll::Ready(Some(chunk)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
