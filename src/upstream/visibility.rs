//! Asks an upstream whether it shows a repository: to nobody in particular, or to a client of ours by its own
//! credential.
//!
//! Only by requests that cost no budget: HEAD of a manifest, one byte of a blob, a list of one tag. What came of it
//! is remembered under the name of the repository, for a client under a hash whose key nobody knows; the client's
//! credential goes where the upstream's own would go, and is forgotten with the answer.

mod asking;
mod slot;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use http::StatusCode;
use lru::LruCache;
use tokio::time::timeout;

use self::asking::{ask, shown_by};
use self::slot::{Slot, silent};
use super::exchange::{Ask, Exchange};
use super::{Credential, Refusal, Upstream, lock};
use crate::clock::Time;
use crate::oci::{Digest, Reference, RepositoryPath};
use crate::policy::access::visibility::{Known, Lives, Said};
use crate::telemetry::metrics::upstreams::{Verdict, Verdicts, Whom};

/// Most repositories, and clients of repositories, of which it is remembered whether they are shown: strangers
/// choose the names (S120). About 4 MiB.
const MAX_RECORDS: NonZeroUsize = NonZeroUsize::new(16_384).expect("is not zero");
/// What it is remembered under that a credential was taken: no repository's path.
const PROVEN: &str = " ";
/// For how long that is believed.
const PROVEN_LIVES: Lives = Lives::of_clients(Duration::from_secs(300));

/// What somebody wants of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A manifest.
    Manifest(Reference),
    /// A blob.
    Blob(Digest),
    /// A list: of tags, or of referrers.
    List,
}

/// Whether a repository may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It may.
    Yes,
    /// The upstream does not show it, or what is wanted of it is not there: nobody can tell which.
    No {
        /// True if the upstream did not take the credential at all.
        login: bool,
        /// True if it was asked just now, and not long ago.
        tried: bool,
    },
    /// The upstream could not be asked.
    Unknown(Refusal),
}

/// What a client's right to a repository is remembered under.
type Tag = [u8; 32];

/// Asks one upstream, and remembers what it said.
pub(super) struct Witness {
    /// The upstream, without any of its credentials.
    nobody: Box<Upstream>,
    /// Of everybody.
    repositories: Mutex<LruCache<RepositoryPath, Arc<Slot>>>,
    /// Of clients.
    clients: Mutex<LruCache<Tag, Arc<Slot>>>,
    key: hmac::Key,
    verdicts: Verdicts,
}

impl Witness {
    /// Nothing was asked yet. What comes of asking is counted.
    pub(super) fn new(nobody: Upstream, verdicts: Verdicts) -> Self {
        let key: [u8; 32] = rand::random();
        Self {
            verdicts,
            nobody: Box::new(nobody),
            repositories: Mutex::new(LruCache::new(MAX_RECORDS)),
            clients: Mutex::new(LruCache::new(MAX_RECORDS)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }

    /// True if it is known that everybody is shown a repository. Asks nobody.
    pub(super) fn is_public(&self, path: &RepositoryPath, now: Time) -> bool {
        let mut slots = lock(&self.repositories);
        let slot = slots.get(path);
        slot.is_some_and(|slot| slot.known(&Lives::EVERYBODY, now) == Known::Shown)
    }

    /// What is known of whether everybody is shown a repository, of which somebody wants this; and whether it would be
    /// while the upstream cannot be asked. Asks nobody.
    fn said_of(&self, path: &RepositoryPath, wants: &Wants, now: Time) -> (Known, bool) {
        let slots = lock(&self.repositories);
        let Some(slot) = slots.peek(path) else {
            return (Known::Ask, false);
        };
        let state = slot.lock();
        let known = match state.record.known(&Lives::EVERYBODY, now) {
            Known::Ask if state.is_missing(wants, now) => Known::Hidden,
            known => known,
        };
        (known, state.record.has_grace(&Lives::EVERYBODY, now))
    }

    /// True if the upstream did not answer a moment ago when it was asked about a repository.
    pub(super) fn rests(&self, path: &RepositoryPath, now: Time) -> bool {
        let mut slots = lock(&self.repositories);
        let slot = slots.get(path);
        slot.is_some_and(|slot| slot.lock().record.rests(now))
    }

    /// Whether everybody is shown a repository, of which somebody wants this. Takes no longer than `within`.
    ///
    /// Cancel-safe: if the one who asks leaves, the next one does.
    pub(super) async fn shows(&self, path: &RepositoryPath, wants: &Wants, within: Duration) -> Shown {
        let exchange = match self.nobody.exchange() {
            Ok(exchange) => exchange,
            Err(refusal) => return Shown::Unknown(refusal),
        };
        let slot = Arc::clone(lock(&self.repositories).get_or_insert_ref(path, Slot::new));
        let asking = async |within| ask_in_time(exchange, path, wants, within).await;
        let (shown, said) = slot
            .judge(&Lives::EVERYBODY, wants, exchange.clock, within, asking)
            .await;
        self.count(Whom::Everybody, said, false);
        shown
    }

    /// Whether the client with this credential is shown a repository, of which it wants this. What was said of clients
    /// is believed for `lives`. Takes no longer than `within`.
    ///
    /// Cancel-safe: if the one who asks leaves, the next one does.
    async fn shows_to(
        &self,
        credential: &Credential,
        path: &RepositoryPath,
        wants: &Wants,
        lives: &Lives,
        within: Duration,
    ) -> Shown {
        let exchange = match self.nobody.exchange() {
            Ok(exchange) => exchange,
            Err(refusal) => return Shown::Unknown(refusal),
        };
        let clock = exchange.clock;
        // A password that the upstream does not take is not tried for every repository: it would lock the user.
        let login = self.client(credential, "");
        if login.known(lives, clock.now()) == Known::Hidden {
            return Shown::No {
                login: true,
                tried: false,
            };
        }
        let slot = self.client(credential, path.as_str());
        let asking = async |within| {
            let named = exchange.named(credential.clone());
            let said = ask_in_time(&named, path, wants, within).await;
            self.note_proven(credential, &named);
            if named.accounts.iter().any(|account| account.parked().is_some()) {
                login.lock().record.hear(Said::Hidden, clock.now());
            }
            said
        };
        let (shown, said) = slot.judge(lives, wants, clock, within, asking).await;
        let refused = login.known(lives, clock.now()) == Known::Hidden;
        self.count(Whom::Client, said, refused);
        match shown {
            Shown::No { .. } => Shown::No {
                login: refused,
                tried: said.is_some(),
            },
            shown => shown,
        }
    }

    fn count(&self, whom: Whom, said: Option<Said>, refused: bool) {
        let verdict = match said {
            None => return,
            Some(_) if refused => Verdict::Login,
            Some(Said::Shown) => Verdict::Shown,
            Some(Said::Hidden) => Verdict::Hidden,
            Some(Said::Missing) => Verdict::Missing,
            Some(Said::Nothing) => Verdict::Unknown,
        };
        self.verdicts.said(whom, verdict);
    }

    /// Whether the upstream takes a credential, as far as it says so. Takes no longer than `within`.
    ///
    /// Cancel-safe: if the one who asks leaves, the next one does.
    async fn takes(
        &self,
        credential: &Credential,
        path: &RepositoryPath,
        lives: &Lives,
        within: Duration,
    ) -> Shown {
        let exchange = match self.nobody.exchange() {
            Ok(exchange) => exchange,
            Err(refusal) => return Shown::Unknown(refusal),
        };
        let slot = self.client(credential, "");
        let asking = async |within| {
            let named = exchange.named(credential.clone());
            let asking = async {
                let ask = Ask::plain(path, named.url("")?);
                shown_by(&named, &ask, |_| true).await
            };
            let said = timeout(within, Box::pin(asking)).await;
            self.note_proven(credential, &named);
            let is_refused = named.accounts.iter().any(|account| account.parked().is_some());
            match said {
                _ if is_refused => Err(Refusal::Denied(StatusCode::UNAUTHORIZED.as_u16())),
                // What it may see is another question.
                Ok(Err(Refusal::Denied(_))) => Ok(()),
                Ok(said) => said,
                Err(_) => Err(silent()),
            }
        };
        let clock = exchange.clock;
        let (shown, said) = slot.judge(lives, &Wants::List, clock, within, asking).await;
        match shown {
            Shown::No { .. } => Shown::No {
                login: true,
                tried: said.is_some(),
            },
            shown => shown,
        }
    }

    /// Remembers a credential that was taken by whoever judges it: an upstream that shows a repository need not
    /// have looked at it.
    fn note_proven(&self, credential: &Credential, named: &Exchange) {
        if named.accounts.iter().any(|account| account.is_proven()) {
            let proven = self.client(credential, PROVEN);
            proven.lock().record.hear(Said::Shown, named.clock.now());
        }
    }

    /// True if a client's credential is no guess: it was taken of late, or need not be looked at to tell whether the
    /// client is shown a repository. Of a guess nothing is remembered: it would drive out what is known of others.
    fn knows(&self, credential: &Credential, path: &RepositoryPath, lives: &Lives, now: Time) -> bool {
        let known = |path: &str, lives| {
            let mut slots = lock(&self.clients);
            let slot = slots.get(&self.tag(credential, path));
            slot.map_or(Known::Ask, |slot| slot.known(lives, now))
        };
        known(PROVEN, &PROVEN_LIVES) == Known::Shown
            || known("", lives) == Known::Hidden
            || known(path.as_str(), lives) != Known::Ask
    }

    /// What is known of a client's right to a repository.
    fn client(&self, credential: &Credential, path: &str) -> Arc<Slot> {
        let tag = self.tag(credential, path);
        Arc::clone(lock(&self.clients).get_or_insert(tag, Slot::new))
    }

    /// What a client's right to a repository is remembered under: nothing can be read from it.
    fn tag(&self, credential: &Credential, path: &str) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // Neither a user's name nor a path has a NUL; a password stands last.
        for part in [&credential.username, path, credential.password.expose()] {
            context.update(part.as_bytes());
            context.update(b"\0");
        }
        let mut tag = Tag::default();
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

impl Upstream {
    /// Whether it shows a repository, of which somebody wants this: to everybody, or to the client with this
    /// credential. Takes no longer than `within`. Where that is no question, it does.
    ///
    /// Cancel-safe.
    pub async fn shows(
        &self,
        path: &RepositoryPath,
        wants: &Wants,
        credential: Option<&Credential>,
        within: Duration,
    ) -> Shown {
        match (&self.witness, credential) {
            (None, _) => Shown::Yes,
            (Some(witness), None) => witness.shows(path, wants, within).await,
            (Some(witness), Some(credential)) => {
                let lives = self.lives();
                witness.shows_to(credential, path, wants, &lives, within).await
            }
        }
    }

    /// Whether it takes a client's credential, whatever that may see: `path` stands for anything. Takes no longer than
    /// `within`.
    ///
    /// Cancel-safe.
    pub async fn takes(&self, credential: &Credential, path: &RepositoryPath, within: Duration) -> Shown {
        match &self.witness {
            Some(witness) => witness.takes(credential, path, &self.lives(), within).await,
            None => Shown::Yes,
        }
    }

    /// True if it need not be asked to judge a client's credential, or took it of late.
    pub fn knows(&self, credential: &Credential, path: &RepositoryPath, now: Time) -> bool {
        let witness = self.witness.as_ref();
        witness.is_none_or(|witness| witness.knows(credential, path, &self.lives(), now))
    }

    /// How long what was said of clients is believed.
    fn lives(&self) -> Lives {
        Lives::of_clients(self.options.access_ttl)
    }

    /// What is known of whether it shows a repository to everybody, of which somebody wants this; and whether that is
    /// believed while it cannot be asked. Asks nobody.
    pub fn said_of(&self, path: &RepositoryPath, wants: &Wants, now: Time) -> (Known, bool) {
        match &self.witness {
            Some(witness) => witness.said_of(path, wants, now),
            None => (Known::Shown, true),
        }
    }

    /// True if it is left alone for a moment by who asks what it shows.
    pub fn is_not_asked(&self) -> bool {
        let witness = self.witness.as_ref();
        witness.is_some_and(|witness| witness.nobody.left_alone().is_some() || witness.nobody.is_parked())
    }

    /// True if it is known that it shows a repository to everybody. Asks nobody.
    pub fn is_known_public(&self, path: &RepositoryPath, now: Time) -> bool {
        let witness = self.witness.as_ref();
        witness.is_none_or(|witness| witness.is_public(path, now))
    }
}

async fn ask_in_time(
    exchange: &Exchange,
    path: &RepositoryPath,
    wants: &Wants,
    within: Duration,
) -> Result<(), Refusal> {
    let answer = timeout(within, Box::pin(ask(exchange, path, wants))).await;
    answer.unwrap_or_else(|_| Err(silent()))
}
