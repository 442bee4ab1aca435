//! Buys manifests of one upstream: each when it is its turn to cost something.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Shield, key};
use crate::oci::{Reference, RepositoryPath};
use crate::policy::budget::{Asker, Charge, Ledger, Verdict};
use crate::upstream::{Fetched, Refusal, Upstream};

/// Most readings taken for one request before it goes by the estimate.
const MAX_READINGS: usize = 2;

/// Most accounts tried for one request.
const MAX_TRIES: usize = 3;

/// The right to send one counted request. When it is dropped, the charge stands if a request left.
#[must_use]
struct Pass<'a> {
    shield: &'a Shield,
    charge: Charge,
    left: AtomicBool,
    /// False: nothing is known of the answer.
    over: bool,
}

impl Pass<'_> {
    /// True if a request left that may have been counted.
    fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.shield.learn_nothing(self.charge.account);
        }
        self.shield.settle(&self.charge, self.has_left());
    }
}

impl Upstream {
    /// Fetches a manifest when it is its turn to cost something. `spent` is told what to write down, before
    /// the request leaves and after its answer: a crash between the two forgets it only while the disk is still
    /// writing, which the request does not wait for. After the answer it is told true if a request left that may
    /// have been counted.
    ///
    /// Cancel-safe: who leaves before the request is sent loses the place in the queue and spends nothing.
    ///
    /// # Errors
    /// [`Refusal::Withheld`] at once if the turn would come too late for its asker.
    pub async fn buy(
        &self,
        path: &RepositoryPath,
        reference: &Reference,
        asker: Asker,
        spent: impl Fn(&Ledger, bool),
    ) -> Result<Fetched, Refusal> {
        let exchange = self.present().exchange()?;
        exchange
            .negatives
            .recall(exchange.shield.account(path), path, reference)?;
        let mut tries = 0;
        loop {
            if let Some(refusal) = self.present().exchange()?.shut_out(path) {
                return Err(refusal);
            }
            let mut pass = self.pay(path, reference, asker).await?;
            // The credentials may be others than when it began to wait; where the accounts are, it asks again.
            let present = self.present();
            let exchange = present.exchange()?;
            let shield = &exchange.shield;
            if !std::ptr::eq(&raw const **shield, pass.shield) {
                continue;
            }
            spent(&shield.ledger(), false);
            let account = pass.charge.account;
            let fetched = present
                .counted_manifest(path, reference, account, Some(&pass.left), Some(asker))
                .await;
            exchange.note(account, path, reference, &fetched);
            pass.over = true;
            let left = pass.has_left();
            drop(pass);
            spent(&shield.ledger(), left);
            tries += 1;
            let has_choice = shield.has_choice() || !std::ptr::eq(present, self.present());
            match fetched {
                // A neighbour was faster, or the account is no good: the machine knows now, and says what next.
                Err(Refusal::Limited { .. } | Refusal::Denied(_)) if tries < MAX_TRIES && has_choice => {}
                fetched => return fetched,
            }
        }
    }

    /// Waits for the right to send a counted request, as long as its asker can wait.
    async fn pay(
        &self,
        path: &RepositoryPath,
        reference: &Reference,
        asker: Asker,
    ) -> Result<Pass<'_>, Refusal> {
        let key = key(path, reference);
        let mut readings = 0;
        loop {
            let present = self.present();
            let shield = &present.exchange()?.shield;
            match shield.verdict(&key, path.as_str(), asker).await {
                Verdict::Go(charge) => {
                    return Ok(Pass {
                        shield,
                        charge,
                        left: AtomicBool::new(false),
                        over: false,
                    });
                }
                Verdict::Refuse(withheld) => return Err(Refusal::Withheld(withheld)),
                Verdict::Read(account) if readings < MAX_READINGS => {
                    readings += 1;
                    // What it tells about the budget is learnt on the way; the rest is of no interest here.
                    let _ = present.head_with(path, reference, account).await;
                }
                // Readings without end, or a word that got lost: never a busy loop.
                Verdict::Read(_) | Verdict::Wait => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Whether a manifest of this repository could be bought as things stand; nothing is spent.
    ///
    /// # Errors
    /// [`Refusal::Withheld`], or that no account can log in, as [`Self::buy`] would say at once.
    pub fn would_sell(&self, path: &RepositoryPath, asker: Asker) -> Result<(), Refusal> {
        let exchange = self.present().exchange()?;
        if let Some(refusal) = exchange.shut_out(path) {
            return Err(refusal);
        }
        let shield = &exchange.shield;
        let would = shield
            .lock()
            .budget
            .would_go(path.as_str(), asker, shield.clock.now());
        would.map_err(Refusal::Withheld)
    }

    /// Somebody else wants what is being waited for.
    pub fn joined(&self, path: &RepositoryPath, reference: &Reference, asker: Asker) {
        if let Ok(exchange) = self.present().exchange() {
            let shield = &exchange.shield;
            let now = shield.clock.now();
            let mut state = shield.lock();
            state.budget.raise(&key(path, reference), asker);
            state.turn(now);
        }
    }

    /// True while it wants to be left alone, having called us too much.
    pub fn is_parked(&self) -> bool {
        let exchange = self.exchange();
        exchange.is_ok_and(|exchange| exchange.shield.parked().is_some())
    }

    /// How it keeps failing, while it is left alone for that.
    pub fn left_alone(&self) -> Option<Refusal> {
        let exchange = self.exchange().ok()?;
        exchange.client.left_alone(&exchange.base)
    }
}
