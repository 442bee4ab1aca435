//! Logins that an upstream judges: who guesses them waits as who guesses ours does.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::{LONGEST_WAIT, Logins, RETRY, lock};
use crate::policy::access::Attempts;
use crate::policy::clients::by_address;

/// Logins of which nothing is known that upstreams are asked about at once: as many guesses get by before the first
/// of them is counted.
pub(super) const AT_ONCE: usize = 16;

impl Logins {
    /// The turn to have an upstream judge a login of which nothing is known, that comes from this address.
    ///
    /// Cancel-safe: who leaves loses the turn.
    ///
    /// # Errors
    /// How long to wait: too many have failed from there, or too many are being judged.
    pub(in crate::server) async fn turn_to_ask(
        &self,
        address: IpAddr,
    ) -> Result<SemaphorePermit<'_>, Duration> {
        let address = by_address(address.to_canonical());
        if let Some(wait) = self.wait(address) {
            return Err(wait);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| RETRY)?;
        let turn = timeout(LONGEST_WAIT, self.asking.acquire()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(RETRY);
        };
        // Those before may have failed meanwhile.
        self.wait(address).map_or(Ok(turn), Err)
    }

    /// An upstream has refused a login from this address.
    pub(in crate::server) fn failed(&self, address: IpAddr) {
        let now = self.clock.now();
        let address = by_address(address.to_canonical());
        let mut failing = lock(&self.failing);
        failing
            .get_or_insert_mut(address, || Attempts::new(now))
            .fail(now);
    }
}
