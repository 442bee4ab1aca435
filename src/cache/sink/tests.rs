//! What readers of the first bytes are given, before those are written and afterwards.

use std::sync::Mutex;

use tempfile::TempDir;

use super::super::fill::Fill;
use super::super::tests::empty;
use super::super::{Piece, Reader};
use super::*;
use crate::oci::Digest;
use crate::upstream::Refusal;

/// A download whose file is open, where its bytes go, and who reads them.
async fn begun(folder: &TempDir, whole: &Bytes) -> (Download, Sink, Reader) {
    let cache = empty(folder);
    let refusal = Err(Refusal::Unreachable("nobody is asked".to_owned()));
    let repository = "docker.io/library/app".parse().unwrap();
    let fill = Arc::new(Fill::new(Digest::sha256(whole), refusal, repository, None));
    fill.publish(|progress| progress.total = Some(whole.len() as u64));
    let download = Download {
        fill: fill.clone(),
        shelves: cache.shelves.clone(),
        registry: "docker.io".to_owned(),
        disk: true,
        shelved: Default::default(),
        received: cache.shelves.metrics.upstreams.received("docker.io"),
        begun: Mutex::default(),
    };
    let sink = Sink::open(&download).await;
    (download, sink, cache.seat(fill, None).read(None))
}

fn bytes() -> Bytes {
    (0..300_000_u32).map(|at| at.to_le_bytes()[1]).collect()
}

#[tokio::test]
async fn the_first_bytes_are_had_before_they_are_written_and_the_rest_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes();
    let batch = vec![bytes.slice(..200_000), bytes.slice(200_000..)];
    let (download, sink, mut reader) = begun(&folder, &bytes).await;
    let mut sink = sink.behind(pass_on(&batch[0], &download).await);
    let progress = download.fill.snapshot();
    assert_eq!((progress.visible, progress.on_disk), (FIRST as u64, 0));
    // Some of it, so that the reader is in the middle of it when it is written.
    let Some(Piece::Bytes(first)) = reader.next(1000).await.unwrap() else {
        panic!("the first bytes are had from the file");
    };
    assert_eq!(first, bytes[..1000]);
    sink.take(batch, &download).await;
    assert!(
        download.fill.relayed(1000).is_none(),
        "what is written is still in memory"
    );
    let Some(Piece::File { offset, len, .. }) = reader.next(u64::MAX).await.unwrap() else {
        panic!("what was written is not had from the file");
    };
    assert_eq!((offset, len), (1000, 300_000 - HELD_BACK - 1000));
    assert_eq!(sink.hashing.hasher().await.finish(), download.fill.digest);
}

#[tokio::test]
async fn who_has_not_heard_yet_that_the_first_bytes_are_written_finds_them_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes();
    let (download, sink, mut reader) = begun(&folder, &bytes).await;
    let mut sink = sink.behind(pass_on(&bytes, &download).await);
    let before = download.fill.snapshot();
    sink.take(vec![bytes], &download).await;
    let found = reader.available(&before, u64::MAX).unwrap();
    assert!(matches!(found, Some(Piece::File { offset: 0, .. })), "{found:?}");
}

#[tokio::test]
async fn a_batch_is_hashed_before_the_next_one_where_nobody_else_may_lag() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Bytes = (0..20).flat_map(|_| bytes()).collect();
    let (download, mut sink, _reader) = begun(&folder, &bytes).await;
    let every = u32::try_from(LAGGING).unwrap();
    let others = download.shelves.lagging.acquire_many(every).await.unwrap();
    for at in (0..bytes.len()).step_by(1_000_000) {
        sink.take(vec![bytes.slice(at..at + 1_000_000)], &download).await;
        assert_eq!(sink.hashing.behind(), 0, "after {at} bytes");
    }
    drop(others);
    assert_eq!(sink.hashing.hasher().await.finish(), download.fill.digest);
}

#[tokio::test]
async fn what_lags_is_bounded_and_its_place_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Bytes = (0..20).flat_map(|_| bytes()).collect();
    let (download, mut sink, _reader) = begun(&folder, &bytes).await;
    for at in (0..bytes.len()).step_by(1_000_000) {
        sink.take(vec![bytes.slice(at..at + 1_000_000)], &download).await;
        assert!(sink.hashing.behind() <= LAG, "after {at} bytes");
        let given = LAGGING - download.shelves.lagging.available_permits();
        assert!(
            given <= 1 && (given == 1 || sink.hashing.behind() == 0),
            "{given} places"
        );
    }
    sink.hashing.within(0).await;
    sink.catch_up(&download).await;
    assert_eq!(download.shelves.lagging.available_permits(), LAGGING);
}

#[tokio::test]
async fn large_batches_are_written_up_to_an_even_end_and_small_ones_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_download, mut sink, _reader) = begun(&folder, &bytes()).await;
    for (written, length, kept) in [
        (0, EVEN - 1, 0),
        (0, EVEN, 0),
        (0, EVEN + 1, 1),
        (0, 3 * EVEN - 1, EVEN - 1),
        (5, EVEN - 6, 0),
        (5, EVEN - 5, 0),
        (5, EVEN, 0),
        (5, 2 * EVEN, 5),
        (EVEN - 1, EVEN, 0),
    ] {
        sink.written = written;
        let whole: Bytes = (0..length).map(|at| at.to_le_bytes()[1]).collect();
        let (one, other) = (whole.len() / 3, whole.len() / 2);
        let mut batch = vec![whole.slice(..one), whole.slice(one..other), whole.slice(other..)];
        let odd = sink.keep_odd(&mut batch);
        assert_eq!(total_len(&odd), kept, "{length} bytes behind {written}");
        assert_eq!([batch, odd].concat().concat(), whole);
    }
}
