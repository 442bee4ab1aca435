//! Warming: fetching images before anybody asks for them.
//!
//! ```text
//! images ── tag: HEAD ── manifests of the wanted platforms ── configs and layers ── referrers, if wanted
//!              │                   └ by the rank of its asker, the lowest unless the operator says otherwise
//!              └ what is held is passed over: a warm that was broken off goes on where it stopped
//! ```
//! Everything goes the ways that clients' requests go: what two want is fetched once, budgets are kept, and what
//! arrives is verified. An image that cannot be had stops no other.

mod calendar;
mod image;
mod told;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

pub use self::calendar::ScheduledWarm;
use self::told::{Board, Tally};
pub use self::told::{Missed, WarmEvent, WarmImage, WarmState, WarmSummary};
use super::{Asker, Cache};
use crate::clock::Time;
use crate::oci::{Platforms, Reference};
use crate::policy::naming::Chosen;

/// Images that are worked on at a time.
const IMAGES_AT_ONCE: usize = 3;
/// Blobs that are fetched at a time, of all images: what one containerd takes for one.
const BLOBS_AT_ONCE: usize = 4;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Events that wait for a reader.
const EVENTS: usize = 64;
/// The number under which a warm asks, among clients: no address and no rule has it.
const CLIENT: u64 = u64::MAX >> 1;

/// What is to be warmed, and how.
#[derive(Clone, Debug)]
pub struct Warm {
    /// The images; one that could not be understood is missed, and says why.
    pub images: Vec<Wanted>,
    /// The platforms wanted of an index.
    pub platforms: Platforms,
    /// Fetch what refers to an image as well: signatures, attestations, lists of contents.
    pub referrers: bool,
    /// The tier that spends: its index, or [`crate::policy::budget::PREFETCH`].
    pub tier: usize,
    /// The longest that an image waits for a budget or an upstream, in all.
    pub wait: Duration,
}

/// One image that is to be warmed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What the operator wrote.
    pub name: String,
    /// What that means, or why it means nothing.
    pub found: Result<(Chosen, Reference), String>,
}

/// What the tasks of one warm share.
struct Run {
    cache: Cache,
    platforms: Platforms,
    referrers: bool,
    tier: usize,
    until: Time,
    blobs: Arc<Semaphore>,
    board: Board,
    tally: Tally,
}

impl Cache {
    /// Warms images, and tells how it goes; the last event is the summary. If the receiver is dropped, no more is
    /// begun, and downloads under way end as those whose readers left.
    pub fn warm(&self, warm: Warm) -> mpsc::Receiver<WarmEvent> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let spent = Arc::new(AtomicU64::new(0));
        let cache = Self {
            spent: spent.clone(),
            ..self.clone()
        };
        let run = Arc::new(Run {
            platforms: warm.platforms,
            referrers: warm.referrers,
            tier: warm.tier,
            until: self.clock.now() + warm.wait,
            blobs: Arc::new(Semaphore::new(BLOBS_AT_ONCE)),
            board: Board::new(warm.images.iter().map(|wanted| wanted.name.clone())),
            tally: Tally::new(spent),
            cache,
        });
        self.tasks.spawn(async move {
            tokio::select! {
                () = Box::pin(drive(run, warm.images, &events)) => {}
                () = events.closed() => tracing::info!("a warm was broken off: nobody listens any more"),
            }
        });
        receiver
    }
}

/// Works on all images, a few at a time, and tells what changes.
async fn drive(run: Arc<Run>, images: Vec<Wanted>, events: &mpsc::Sender<WarmEvent>) {
    let count = images.len();
    let mut waiting = images.into_iter().enumerate();
    let mut working = JoinSet::new();
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        while working.len() < IMAGES_AT_ONCE
            && let Some((index, wanted)) = waiting.next()
        {
            let run = run.clone();
            working.spawn(async move { Box::pin(image::work(&run, index, wanted)).await });
        }
        tokio::select! {
            ended = working.join_next() => match ended {
                None => break,
                // A panic is told in the log, and by the image, which never says that it is done.
                Some(Err(error)) => tracing::error!(%error, "warming an image failed"),
                Some(Ok(())) => {}
            },
            _ = tick.tick() => tell(&run.board, events).await,
        }
    }
    tell(&run.board, events).await;
    let summary = run.tally.summary(count, run.board.missed());
    // Who asked may have gone.
    let _ = events.send(WarmEvent::Summary(summary)).await;
}

async fn tell(board: &Board, events: &mpsc::Sender<WarmEvent>) {
    for image in board.changed() {
        if events.send(WarmEvent::Image(image)).await.is_err() {
            return;
        }
    }
}

impl Run {
    /// Who asks: somebody who waits for no turn, since it is this run that waits.
    fn asker(&self) -> Asker {
        Asker {
            tier: self.tier,
            client: CLIENT,
            deadline: self.cache.clock.now(),
        }
    }
}
