//! Takes leases for one body, and waits for them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_util::task::TaskTracker;

use super::Client;
use crate::clock::Clock;
use crate::policy::pacing::{Link, Next, Pace, Ticket};

/// The link that all clients share, and the task that hands out its turns while anybody waits.
pub(super) struct SharedLink {
    /// Bytes per second.
    pub(super) rate: u64,
    queue: Mutex<Queue>,
    tasks: TaskTracker,
    clock: Clock,
}

struct Queue {
    /// Whom to tell of each turn; nobody where it came at once.
    link: Link<Option<oneshot::Sender<()>>>,
    /// Whether the task runs.
    attended: bool,
}

impl Queue {
    /// Hands out every turn that has come; the time of the next one, if somebody still waits.
    fn hand_out(&mut self, now: u64) -> Option<u64> {
        loop {
            match self.link.next(now) {
                // Who has gone meanwhile gives its lease back itself.
                Next::Grant(turn) => drop(turn.map(|turn| turn.send(()))),
                Next::At(at) => return Some(at),
                Next::Idle => return None,
            }
        }
    }
}

impl SharedLink {
    pub(super) fn new(rate: u64, weights: &[u32], tasks: TaskTracker, clock: Clock) -> Self {
        let queue = Queue {
            link: Link::new(rate, weights),
            attended: false,
        };
        Self {
            rate,
            queue: Mutex::new(queue),
            tasks,
            clock,
        }
    }

    /// Takes a lease, if it may be sent at once.
    pub(super) fn take(&self, client: &Client, now: u64, bytes: u64) -> bool {
        let mut queue = self.queue();
        let is_free = queue.link.is_free(now);
        if is_free {
            let _ = queue.link.enter(client.tier, client.number, bytes, None);
            let _ = queue.hand_out(now);
        }
        is_free
    }

    /// Gives back what was granted and is not sent.
    pub(super) fn give_back(&self, bytes: u64) {
        self.queue().link.give_back(bytes);
    }

    /// Asks for a lease. `None` if it may be sent at once.
    fn ask(self: &Arc<Self>, client: &Client, bytes: u64) -> Option<(Ticket, oneshot::Receiver<()>)> {
        let (turn, mut came) = oneshot::channel();
        let mut queue = self.queue();
        let ticket = queue.link.enter(client.tier, client.number, bytes, Some(turn))?;
        let more = queue.hand_out(self.clock.nanos());
        if more.is_some() && !queue.attended {
            queue.attended = true;
            self.tasks.spawn(attend(self.clone()));
        }
        came.try_recv().is_err().then_some((ticket, came))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands out turns until nobody waits.
async fn attend(link: Arc<SharedLink>) {
    loop {
        let now = link.clock.nanos();
        let next = {
            let mut queue = link.queue();
            let next = queue.hand_out(now);
            queue.attended = next.is_some();
            next
        };
        let Some(at) = next else { return };
        tokio::time::sleep(Duration::from_nanos(at.saturating_sub(now))).await;
    }
}

impl Client {
    /// Takes a lease of so many bytes, if its pace has them go at once, as [`Pacer`] would.
    pub(super) fn take_bytes(&self, now: u64, bytes: u64) -> bool {
        if bytes > self.lease {
            return false;
        }
        let Some(pace) = self.pace.as_ref().filter(|_| bytes > 0) else {
            return true;
        };
        let mut pace = lock(pace);
        let may_go = pace.wait(now) == 0;
        if may_go {
            pace.take(now, bytes);
        }
        may_go
    }

    /// Gives back what was taken and is not sent.
    pub(super) fn give_back(&self, bytes: u64) {
        if let Some(pace) = self.pace.as_ref().filter(|_| bytes > 0) {
            lock(pace).give_back(bytes);
        }
    }
}

/// Where a lease is on its way.
enum State {
    /// Nowhere: none was asked for.
    Idle,
    /// The client's own pace allows it when the sleep ends.
    Sleeping(u64, Pin<Box<Sleep>>),
    /// The client's own pace allows it.
    Allowed(u64),
    /// It waits for the link.
    Queued(u64, Ticket, oneshot::Receiver<()>),
}

/// Paces one body: it sends no more than it has leases for.
pub struct Pacer {
    client: Arc<Client>,
    link: Option<Arc<SharedLink>>,
    /// Bytes that may be sent.
    credit: u64,
    state: State,
    /// When a wait began, in nanoseconds of the clock.
    waits_since: Option<u64>,
    clock: Clock,
}

impl Pacer {
    pub(super) fn new(client: Arc<Client>, link: Option<Arc<SharedLink>>, clock: Clock) -> Self {
        Self {
            client,
            link,
            credit: 0,
            state: State::Idle,
            waits_since: None,
            clock,
        }
    }

    /// How many bytes may be sent now, one at least. Takes a lease if there are none, of no more than `wanted`,
    /// and waits for it.
    pub fn poll_credit(&mut self, context: &mut Context<'_>, wanted: u64) -> Poll<u64> {
        while self.credit == 0 {
            match &mut self.state {
                State::Idle => self.take_lease(wanted),
                State::Sleeping(lease, sleep) => {
                    ready!(sleep.as_mut().poll(context));
                    self.state = State::Allowed(*lease);
                }
                State::Allowed(lease) => {
                    let lease = *lease;
                    let queued = self.link.as_ref().and_then(|link| link.ask(&self.client, lease));
                    if let Some((ticket, turn)) = queued {
                        self.wait();
                        self.state = State::Queued(lease, ticket, turn);
                    } else {
                        (self.credit, self.state) = (lease, State::Idle);
                    }
                }
                State::Queued(lease, _, turn) => {
                    // Nobody drops a turn unsent; if it were so, sending would be better than waiting for ever.
                    let _ = ready!(Pin::new(turn).poll(context));
                    (self.credit, self.state) = (*lease, State::Idle);
                }
            }
        }
        if let Some(since) = self.waits_since.take() {
            let waited = self.clock.nanos().saturating_sub(since);
            self.client.waits.waited(Duration::from_nanos(waited));
        }
        Poll::Ready(self.credit)
    }

    /// A wait begins, or one more that follows another at once.
    fn wait(&mut self) {
        self.client.waits.paced();
        self.waits_since.get_or_insert(self.clock.nanos());
    }

    /// So many bytes are sent.
    pub fn sent(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_sub(bytes);
    }

    fn take_lease(&mut self, wanted: u64) {
        let lease = self.client.lease.min(wanted).max(1);
        let Some(pace) = &self.client.pace else {
            self.state = State::Allowed(lease);
            return;
        };
        let wait = lock(pace).take(self.clock.nanos(), lease);
        if wait == 0 {
            self.state = State::Allowed(lease);
            return;
        }
        self.wait();
        let sleep = tokio::time::sleep(Duration::from_nanos(wait));
        self.state = State::Sleeping(lease, Box::pin(sleep));
    }
}

impl Drop for Pacer {
    /// Gives back what was taken and not sent.
    fn drop(&mut self) {
        let (of_pace, of_link) = match &self.state {
            State::Idle => (self.credit, self.credit),
            State::Sleeping(lease, _) | State::Allowed(lease) => (*lease, 0),
            State::Queued(lease, ticket, _) => {
                let left = self
                    .link
                    .as_ref()
                    .is_some_and(|link| link.queue().link.leave(*ticket));
                (*lease, if left { 0 } else { *lease })
            }
        };
        self.client.give_back(of_pace);
        if let Some(link) = self.link.as_ref().filter(|_| of_link > 0) {
            link.give_back(of_link);
        }
    }
}

fn lock(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}
