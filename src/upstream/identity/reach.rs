//! The ways to where credentials come from: programs, and the services of clouds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock;
use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate, Proxies};

/// How long a connection, and the head of an answer, may take: to services anywhere, and on this machine.
const FAR: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(10));
const NEAR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What all sources share.
pub(in crate::upstream) struct Reach {
    /// Programs run one at a time each: some break when several of them log in at once.
    programs: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// To services anywhere. Like the one below it may connect to every address: it is given no URL but ours and
    /// the operator's.
    pub(super) far: Client,
    /// To services of this machine and its link: no proxy leads there.
    pub(super) near: Client,
}

impl Reach {
    pub(in crate::upstream) fn new(dialer: &Dialer, tls: &Arc<ClientConfig>) -> Self {
        let direct = Dialer {
            proxies: Proxies::Never,
            ..dialer.clone()
        };
        Self {
            programs: Mutex::default(),
            far: Client::new(dialer.clone(), Gate::open(), tls, FAR.0, FAR.1),
            near: Client::new(direct, Gate::open(), tls, NEAR.0, NEAR.1),
        }
    }

    /// The right to run a program, of which the configuration names a few.
    pub(super) async fn program(&self, name: &str) -> OwnedSemaphorePermit {
        let turns = {
            let mut programs = lock(&self.programs);
            let turns = programs.entry(name.to_owned());
            Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        turns
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }
}
