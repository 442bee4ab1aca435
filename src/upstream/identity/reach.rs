//! The ways to where credentials come from: programs, the machine's own services, those of the clouds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock;
use crate::net::dial::Dialer;

/// The media type of a form.
pub(in crate::upstream) const FORM: &str = "application/x-www-form-urlencoded";

/// What all sources share.
pub(in crate::upstream) struct Reach {
    /// Programs run one at a time each: some break when several of them log in at once.
    programs: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Reach {
    pub(in crate::upstream) fn new(_dialer: &Dialer, _tls: &Arc<rustls::ClientConfig>) -> Self {
        Self {
            programs: Mutex::default(),
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
