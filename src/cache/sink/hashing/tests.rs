//! Batches in any order of arrival and hashing come to one digest, and nobody waits longer than he asked to.

use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::oci::{Algorithm, Digest};

/// One thread for all that blocks.
fn runtime() -> Runtime {
    Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap()
}

fn hashing() -> Hashing {
    Hashing::new(Hasher::new(Algorithm::Sha256))
}

fn batch(bytes: &[u8]) -> Arc<Vec<Bytes>> {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    Arc::new(vec![Bytes::copy_from_slice(one), Bytes::copy_from_slice(other)])
}

/// True if this would have to be waited for.
fn waits(future: impl Future) -> bool {
    pin!(future)
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}

/// Keeps the thread until something is sent.
fn occupy() -> mpsc::Sender<()> {
    let (free, freed) = mpsc::channel();
    tokio::task::spawn_blocking(move || freed.recv());
    free
}

proptest! {
    #[test]
    fn batches_are_hashed_in_their_order_however_they_are_waited_for(
        batches in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), 0_u64..400), 0..20),
    ) {
        runtime().block_on(async {
            let (hashing, mut whole) = (hashing(), Vec::new());
            for (bytes, most) in &batches {
                hashing.push(batch(bytes));
                whole.extend_from_slice(bytes);
                hashing.within(*most).await;
                prop_assert!(hashing.behind() <= *most);
            }
            prop_assert_eq!(hashing.hasher().await.finish(), Digest::sha256(&whole));
            prop_assert_eq!(hashing.behind(), 0);
            Ok(())
        })?;
    }
}

#[test]
fn a_hash_that_lags_is_waited_for_as_far_as_was_asked() {
    runtime().block_on(async {
        let (hashing, free) = (hashing(), occupy());
        for bytes in [[1; 100], [2; 100], [3; 100]] {
            hashing.push(batch(&bytes));
        }
        assert_eq!(hashing.behind(), 300);
        assert!(!waits(hashing.within(300)));
        for most in [299, 100, 0] {
            assert!(waits(hashing.within(most)), "{most} bytes");
        }
        assert!(waits(hashing.hasher()), "it is not hashed yet");
        free.send(()).unwrap();
        hashing.within(0).await;
        let whole = [[1; 100], [2; 100], [3; 100]].concat();
        assert_eq!(hashing.hasher().await.finish(), Digest::sha256(&whole));
    });
}

#[test]
fn a_hash_goes_on_after_it_has_caught_up() {
    runtime().block_on(async {
        let hashing = hashing();
        hashing.push(batch(b"before"));
        assert_eq!(hashing.hasher().await.finish(), Digest::sha256(b"before"));
        hashing.push(batch(b" and after"));
        assert_eq!(
            hashing.hasher().await.finish(),
            Digest::sha256(b"before and after")
        );
    });
}
