//! Tags that move, and tags that are forgotten, at the same time.

use std::sync::mpsc::{SyncSender, sync_channel};

use super::*;
use crate::store::records::writer::MAX_WAITING;

fn repository() -> Repository {
    "docker.io/library/app".parse().unwrap()
}

fn tag() -> Tag {
    "1".parse().unwrap()
}

fn record(content: &str) -> TagRecord {
    TagRecord {
        descriptor: Descriptor {
            media_type: MediaType::OCI_MANIFEST,
            digest: Digest::sha256(content.as_bytes()),
            size: 1,
        },
        validated: Time::from_millis(1),
    }
}

/// Forgets the tag unless it has moved; says where it has.
fn forget(records: &Records, digest: &Digest) -> Option<Digest> {
    records.remove_tags(&[(&repository(), &tag(), digest)])[0]
}

/// What the tag points at, in memory and on disk.
fn points_at(records: &Records) -> (Option<Digest>, Option<Digest>) {
    records.flush();
    let mut written = None;
    records.each_tag(|_, _, record| written = Some(record.descriptor.digest));
    let known = records.tag(&repository(), &tag());
    (known.map(|record| record.descriptor.digest), written)
}

#[test]
fn a_tag_that_has_moved_keeps_what_it_points_at_now() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records.redb"));
    let (old, new) = (record("old"), record("new"));
    records.put_tag(&repository(), &tag(), old.clone());
    records.put_tag(&repository(), &tag(), new.clone());
    let digest = new.descriptor.digest;
    assert_eq!(forget(&records, &old.descriptor.digest), Some(digest));
    assert_eq!(points_at(&records), (Some(digest), Some(digest)));
    assert_eq!(forget(&records, &digest), None);
    assert_eq!(points_at(&records), (None, None));
    assert_eq!(records.have_written(&[(&repository(), &tag(), &digest)]), [false]);
}

/// Has the writer at work on a batch until what is returned is dropped.
fn held_up(records: &Records) -> SyncSender<()> {
    let (go, wait) = sync_channel::<()>(0);
    let (begun, began) = sync_channel(1);
    let wait = std::sync::Mutex::new(wait);
    records.change_surely(move |_| {
        let _ = begun.try_send(());
        let _ = wait.lock().unwrap().recv();
        Ok(())
    });
    began.recv().unwrap();
    go
}

#[test]
fn a_tag_that_moves_while_it_is_being_forgotten_keeps_what_it_points_at_then() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records.redb"));
    let (old, new) = (record("old"), record("new"));
    records.put_tag(&repository(), &tag(), old.clone());
    records.flush();
    // The new record is written between the look in memory and the removal on disk.
    let go = held_up(&records);
    let key = tag_key(&repository(), &tag());
    let stored = StoredTag {
        digest: new.descriptor.digest.to_string(),
        media_type: new.descriptor.media_type.to_string(),
        size: 1,
        validated: 2,
    };
    records.put_bytes(TAGS, key, serde_json::to_vec(&stored).unwrap());
    forget(&records, &old.descriptor.digest);
    drop(go);
    assert_eq!(points_at(&records).1, Some(new.descriptor.digest));
}

#[test]
fn what_a_purge_forgets_is_forgotten_however_much_waits_to_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records.redb"));
    let old = record("old");
    records.put_tag(&repository(), &tag(), old.clone());
    records.flush();
    let go = held_up(&records);
    for _ in 0..2 * MAX_WAITING {
        records.change(|_| Ok(()));
    }
    std::thread::scope(|scope| {
        let forget = || forget(&records, &old.descriptor.digest);
        let forgetting = scope.spawn(forget);
        // It is about to ask the writer then, who has no place for it.
        while records.tag(&repository(), &tag()).is_some() {
            std::thread::yield_now();
        }
        drop(go);
        assert_eq!(forgetting.join().unwrap(), None);
    });
    assert_eq!(points_at(&records), (None, None));
}

/// The same, with a full queue behind it.
fn held_up_with_a_full_queue(records: &Records) -> SyncSender<()> {
    let go = held_up(records);
    while records.change(|_| Ok(())) {}
    go
}

#[test]
fn a_tag_that_its_upstream_took_down_is_forgotten_however_much_waits_to_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let records = Records::open(&path);
    records.put_tag(&repository(), &tag(), record("old"));
    records.flush();
    let go = held_up_with_a_full_queue(&records);
    records.remove_tag(&repository(), &tag());
    // Memory is bounded and may have forgotten it, while the disk still has it.
    records.hot.invalidate_all();
    assert_eq!(records.tag(&repository(), &tag()), None);
    drop(go);
    drop(records);
    assert_eq!(points_at(&Records::open(&path)), (None, None));
}

#[test]
fn a_tag_that_comes_back_before_it_was_forgotten_stays() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records.redb"));
    let (old, new) = (record("old"), record("new"));
    let digest = Some(new.descriptor.digest);
    records.put_tag(&repository(), &tag(), old.clone());
    records.flush();
    records.remove_tag(&repository(), &tag());
    records.put_tag(&repository(), &tag(), new);
    assert_eq!(points_at(&records), (digest, digest));
    // Where the new record is dropped, at least the old one does not come back.
    let go = held_up_with_a_full_queue(&records);
    records.remove_tag(&repository(), &tag());
    records.put_tag(&repository(), &tag(), old);
    drop(go);
    assert_eq!(points_at(&records).1, None);
}

#[test]
fn a_tag_that_its_upstream_took_down_is_not_put_back_by_what_was_asked_for_before() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records.redb"));
    let go = held_up(&records);
    records.put_tag(&repository(), &tag(), record("old"));
    records.remove_tag(&repository(), &tag());
    drop(go);
    assert_eq!(points_at(&records), (None, None));
}
