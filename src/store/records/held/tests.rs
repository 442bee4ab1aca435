//! Records of held manifests, and their pulls.

use super::*;

fn digest(seed: usize) -> Digest {
    Digest::sha256(&seed.to_le_bytes())
}

fn record() -> ManifestRecord {
    ManifestRecord {
        media_type: MediaType::OCI_INDEX,
        size: 9,
        source: "http://mirror.test/".to_owned(),
        stored: Time::from_millis(5),
        children: vec![(digest(1), Some("linux/amd64".to_owned())), (digest(2), None)],
        blobs: vec![(digest(3), 77)],
        has_config: true,
        looked: true,
        platform: Some("linux/arm64".to_owned()),
        created: Some(Time::from_millis(3)),
        subject: Some(digest(4)),
    }
}

/// Every record: its repository, its digest and its pulls.
fn all(records: &Records) -> Vec<(String, Digest, u32)> {
    records.flush();
    let mut all = Vec::new();
    records.each_held(|repository, digest, _, pulls| {
        all.push((
            repository.to_string(),
            digest,
            pulls.map_or(0, |pulls| pulls.count),
        ));
    });
    all
}

#[test]
fn a_record_is_read_as_it_was_written() {
    assert_eq!(ManifestRecord::decode(&record().encode()), Some(record()));
    assert_eq!(ManifestRecord::decode(b"{}"), None);
}

#[test]
fn pulls_are_added_up_and_forgotten_with_what_was_held() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records.redb"));
    let [one, two]: [Repository; 2] =
        ["docker.io/library/a", "docker.io/library/a-b"].map(|name| name.parse().unwrap());
    for repository in [&one, &two] {
        records.put_held(repository, &digest(1), &record());
    }
    records.put_held(&one, &digest(2), &record());
    for _ in 0..3 {
        records.pulled(&one, &digest(1), Time::from_millis(8));
        records.pulled(&one, &digest(1), Time::from_millis(9));
        records.put_pulls(&records.take_pulls());
    }
    assert!(records.take_pulls().is_empty());
    assert_eq!(all(&records).iter().map(|(_, _, pulls)| pulls).sum::<u32>(), 6);
    records.amend_held(&one, &digest(9), &record());
    assert_eq!(records.held(&one, &digest(9)), None);
    records.put_held(&one, &digest(1), &record());
    assert!(all(&records).iter().all(|(_, _, pulls)| *pulls == 0));
    assert_eq!(all(&records).len(), 3);
    records.remove_manifest(&digest(1));
    assert_eq!(all(&records), [(one.to_string(), digest(2), 0)]);
    assert_eq!(records.held_anywhere(&digest(1)), None);
    records.remove_held(&[(&one, &digest(2))]);
    assert!(all(&records).is_empty());
}

#[test]
fn pulls_of_ever_new_manifests_are_counted_up_to_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records.redb"));
    let repository = "docker.io/library/a".parse().unwrap();
    for seed in 0..MAX_COUNTED + 10 {
        records.pulled(&repository, &digest(seed), Time::from_millis(1));
    }
    records.pulled(&repository, &digest(0), Time::from_millis(2));
    let counted = records.take_pulls();
    assert_eq!(counted.len(), MAX_COUNTED);
    assert!(
        counted
            .iter()
            .any(|(_, digest, pulls)| *digest == self::digest(0) && pulls.count == 2)
    );
}
