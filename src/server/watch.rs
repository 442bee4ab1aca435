//! Is a connection still worth its place?
//!
//! The parts of a connection leave [`Signs`], the [`Watchdog`] reads them once a second.
//!
//! ```text
//! nothing asked, a head half here   header_timeout              ──> dropped   (S104)
//! nothing asked, nothing under way  idle_timeout                ──> closed gracefully
//!                                   idle_timeout + stall_timeout ─> dropped
//! an answer its reader does not take  stall_timeout             ──> dropped   (S113)
//! an answer that waits for the cache  never: the cache has its own limits
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::Bounds;

/// How often the watchdog looks: the limits are exact to this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a connection's parts tell each other.
///
/// Relaxed ordering everywhere: these are counters that are compared a second apart.
#[derive(Default)]
pub(super) struct Signs {
    /// A line of the peer's ended with a bare line feed.
    tainted: AtomicBool,
    /// Counts heads that began and heads that ended: even while a head is under way, as it is from the
    /// start.
    heads: AtomicU64,
    /// Counts the requests that hyper has handed on to be answered.
    asked: AtomicU64,
    /// Requests being answered.
    active: AtomicUsize,
    /// Of those, the ones that wait for the cache and not for their reader.
    waiting: AtomicUsize,
    /// Counts up with everything that moves towards the peer.
    moved: AtomicU64,
}

impl Signs {
    /// Something moved towards the peer.
    pub(super) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// A head began, or ended.
    pub(super) fn head_turned(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    /// True while part of a head is here, or none has come yet.
    #[cfg(test)]
    pub(super) fn is_head_under_way(&self) -> bool {
        self.heads.load(Ordering::Relaxed).is_multiple_of(2)
    }

    /// How many requests hyper has handed on so far, if all of them have been answered.
    pub(super) fn settled(&self) -> Option<u64> {
        let settled = self.active.load(Ordering::Relaxed) == 0;
        settled.then(|| self.asked.load(Ordering::Relaxed))
    }

    /// The peer sent a line that ends with a bare line feed.
    pub(super) fn taint(&self) {
        self.tainted.store(true, Ordering::Relaxed);
    }

    /// True if the peer ever sent a line that ends with a bare line feed.
    pub(super) fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::Relaxed)
    }
}

/// Whom an answer waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The cache: there is nothing to send yet.
    Cache,
    /// The reader: there is something it has not taken yet.
    Reader,
}

/// Counts a request as being answered while it lives.
pub(super) struct Active {
    signs: Arc<Signs>,
    turn: Turn,
}

impl Active {
    /// A request that has just come: the cache has the turn.
    pub(super) fn new(signs: Arc<Signs>) -> Self {
        signs.asked.fetch_add(1, Ordering::Relaxed);
        signs.active.fetch_add(1, Ordering::Relaxed);
        signs.waiting.fetch_add(1, Ordering::Relaxed);
        signs.moved();
        Self {
            signs,
            turn: Turn::Cache,
        }
    }

    /// An answer that is made, and that hyper knows nothing of: its reader has the turn.
    pub(super) fn made(signs: Arc<Signs>) -> Self {
        signs.active.fetch_add(1, Ordering::Relaxed);
        Self {
            signs,
            turn: Turn::Reader,
        }
    }

    /// What the connection's parts told.
    pub(super) fn signs(&self) -> &Signs {
        &self.signs
    }

    /// Passes the turn. That the reader gets it means that something moved.
    pub(super) fn pass(&mut self, turn: Turn) {
        if turn == Turn::Reader {
            self.signs.moved();
        }
        match (self.turn, turn) {
            (Turn::Cache, Turn::Reader) => self.signs.waiting.fetch_sub(1, Ordering::Relaxed),
            (Turn::Reader, Turn::Cache) => self.signs.waiting.fetch_add(1, Ordering::Relaxed),
            (Turn::Cache, Turn::Cache) | (Turn::Reader, Turn::Reader) => return,
        };
        self.turn = turn;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.pass(Turn::Reader);
        self.signs.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the watchdog thinks of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may go on.
    Well,
    /// Nobody has asked anything for long: close it gracefully.
    Idle,
    /// The peer holds it up: drop it.
    Stalled,
}

/// Watches one connection.
pub(super) struct Watchdog {
    signs: Arc<Signs>,
    bounds: Bounds,
    /// The signs as last seen.
    moved: u64,
    heads: u64,
    /// How long nothing has moved.
    still: Duration,
    /// How long the same head has been under way.
    head: Duration,
}

impl Watchdog {
    /// Watches the connection that leaves these signs.
    pub(super) fn new(signs: Arc<Signs>, bounds: Bounds) -> Self {
        Self {
            signs,
            bounds,
            moved: 0,
            heads: 0,
            still: Duration::ZERO,
            head: Duration::ZERO,
        }
    }

    /// Waits for the next look, and looks. Cancel-safe: a look that did not happen has no effect.
    pub(super) async fn look(&mut self) -> Verdict {
        tokio::time::sleep(LOOK_EVERY).await;
        let moved = self.signs.moved.load(Ordering::Relaxed);
        let heads = self.signs.heads.load(Ordering::Relaxed);
        let active = self.signs.active.load(Ordering::Relaxed);
        let waiting = self.signs.waiting.load(Ordering::Relaxed);
        let same_head = std::mem::replace(&mut self.heads, heads) == heads;
        let same_place = std::mem::replace(&mut self.moved, moved) == moved;

        // While a request is answered nobody reads on, so the next head cannot arrive.
        let head_under_way = active == 0 && heads.is_multiple_of(2);
        self.head = elapsed(self.head, head_under_way && same_head);
        let reader_or_nobody = active == 0 || waiting < active;
        self.still = elapsed(self.still, same_place && reader_or_nobody);
        self.judge(active)
    }

    fn judge(&self, active: usize) -> Verdict {
        let bounds = &self.bounds;
        // An HTTP/2 answer may be handed over whole and still not be taken: no request is active then.
        let limit = if active > 0 {
            bounds.stall_timeout
        } else {
            bounds.idle_timeout.saturating_add(bounds.stall_timeout)
        };
        if self.head >= bounds.header_timeout || self.still >= limit {
            Verdict::Stalled
        } else if active == 0 && self.still >= bounds.idle_timeout {
            Verdict::Idle
        } else {
            Verdict::Well
        }
    }
}

/// `so_far` and one look more, if it `goes_on`.
fn elapsed(so_far: Duration, goes_on: bool) -> Duration {
    if goes_on {
        so_far + LOOK_EVERY
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections: 1,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        stall_timeout: Duration::from_secs(20),
        header_bytes: 8192,
        header_count: 100,
    };

    /// The first verdict but [`Verdict::Well`], and the second it came at; within ten minutes.
    async fn verdict(signs: &Arc<Signs>) -> Option<(Verdict, u64)> {
        let mut watchdog = Watchdog::new(signs.clone(), BOUNDS);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(600) {
            let verdict = watchdog.look().await;
            if verdict != Verdict::Well {
                return Some((verdict, began.elapsed().as_secs()));
            }
        }
        None
    }

    fn after_one_head() -> Arc<Signs> {
        let signs = Arc::new(Signs::default());
        signs.head_turned();
        signs
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_nothing_has_the_time_of_a_head() {
        // S104
        assert_eq!(verdict(&Arc::default()).await, Some((Verdict::Stalled, 10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_asks_nothing_more_is_idle() {
        assert_eq!(verdict(&after_one_head()).await, Some((Verdict::Idle, 75)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stays_after_it_was_asked_to_leave_is_dropped() {
        let mut watchdog = Watchdog::new(after_one_head(), BOUNDS);
        let began = Instant::now();
        while watchdog.look().await != Verdict::Stalled {}
        assert_eq!(began.elapsed().as_secs(), 95);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_the_cache_as_long_as_it_takes_and_for_its_reader_no_longer_than_that() {
        // S113
        let signs = after_one_head();
        let mut active = Active::new(signs.clone());
        assert_eq!(verdict(&signs).await, None);
        active.pass(Turn::Reader);
        assert_eq!(verdict(&signs).await, Some((Verdict::Stalled, 21)));
        active.pass(Turn::Cache);
        assert_eq!(verdict(&signs).await, None);
        drop(active);
        assert_eq!(verdict(&signs).await, Some((Verdict::Idle, 76)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_head_is_not_timed_while_the_first_request_is_answered() {
        let signs = after_one_head();
        let active = Active::new(signs.clone());
        signs.head_turned();
        assert_eq!(verdict(&signs).await, None);
        drop(active);
        assert_eq!(verdict(&signs).await, Some((Verdict::Stalled, 11)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_reader_that_stands_still_is_not_hidden_by_an_answer_that_waits() {
        let signs = after_one_head();
        let _waits = Active::new(signs.clone());
        let mut reader = Active::new(signs.clone());
        reader.pass(Turn::Reader);
        assert_eq!(verdict(&signs).await, Some((Verdict::Stalled, 21)));
    }
}
