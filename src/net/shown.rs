//! Which certificate a client is shown: the present one; or, to an authority that asks for nothing else, the proof that a
//! name leads here (RFC 8737).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The protocol of those who ask for a proof.
pub const PROOF: &[u8] = b"acme-tls/1";

/// What clients are shown. Changed while connections go on: a handshake that has begun ends as it began.
#[derive(Debug, Default)]
pub struct Shown {
    present: ArcSwapOption<CertifiedKey>,
    /// By name. As many as one order has names.
    proofs: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Shown {
    /// Shows this from now on.
    pub(super) fn change(&self, certificate: CertifiedKey) {
        self.present.store(Some(Arc::new(certificate)));
    }

    /// What is shown; `None`: nothing, and every handshake fails.
    pub(super) fn present(&self) -> Option<Arc<CertifiedKey>> {
        self.present.load_full()
    }

    /// Proves that `name` leads here, until [`Self::forget_proofs`].
    pub fn prove(&self, name: &str, proof: CertifiedKey) {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(name.to_ascii_lowercase(), Arc::new(proof));
    }

    /// Proves nothing any more.
    pub fn forget_proofs(&self) {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.clear();
    }

    fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(&name.to_ascii_lowercase()).cloned()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = hello.alpn().into_iter().flatten();
        let asks_for_proof = offered.next() == Some(PROOF) && offered.next().is_none();
        match asks_for_proof {
            true => self.proof(hello.server_name()?),
            false => self.present(),
        }
    }
}
