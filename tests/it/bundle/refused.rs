//! What is no whole bundle is refused in words, and leaves nothing behind.

use super::*;

/// Imports something wrong, expects these words, and that nothing is called anything.
async fn refused(bytes: Vec<u8>, query: &str, words: &str) {
    let island = island();
    let answer = import(&island.seawall, query, bytes).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{words}");
    assert!(text(&answer).contains(words), "{words} in {}", text(&answer));
    let answer = island.seawall.get(&manifest_path("1")).await;
    assert!(!answer.is_good(), "{words}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let filling = std::fs::read_dir(island.directory.path().join("v1/filling")).unwrap();
    assert_eq!(filling.count(), 0, "{words}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_whole_layout_is_refused_in_words_and_leaves_nothing() {
    let good = good().await;
    let whole = archive(&good);
    refused(whole[..whole.len() / 2].to_vec(), "", "was cut off").await;
    refused(b"not an archive, ".repeat(64), "", "no tar archive").await;
    refused([0x1f, 0x8b].repeat(400), "", "gzip -dc FILE | seawall import -").await;
    let without =
        |name: &str| -> Vec<_> { good.iter().filter(|(other, _)| other != name).cloned().collect() };
    refused(archive(&without("oci-layout")), "", "no OCI image layout").await;
    let docker = [("manifest.json".to_owned(), b"[]".to_vec())];
    refused(archive(&docker), "", "podman save --format oci-archive").await;
    let with = |name: &str, bytes: &[u8]| {
        let mut files = good.clone();
        files.push((name.to_owned(), bytes.to_vec()));
        archive(&files)
    };
    refused(with("../evil", b"x"), "", "outside of it").await;
    refused(with("blobs/sha256/abc", b"x"), "", "named after no digest").await;
    refused(with("index.json", b"{}"), "", "two files").await;
    let mut link = with("x", b"");
    let at = link.len() - tar::END.len() - 512;
    link[at + 156] = b'2';
    link[at + 154] = 0;
    let sum: u32 = (at..at + 512)
        .map(|byte| match byte - at {
            148..156 => 32,
            _ => u32::from(link[byte]),
        })
        .sum();
    link[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    refused(link, "", "a symbolic link").await;
    let old = with("oci-layout", b"{}");
    refused(old, "", "two files `oci-layout`").await;
    let mut newer = good.clone();
    newer[0].1 = br#"{"imageLayoutVersion":"2.0.0"}"#.to_vec();
    refused(archive(&newer), "", "names the version 2.0.0").await;
    let mut long = tar::header("index.json", (16 << 20) + 1).to_vec();
    long.extend_from_slice(&tar::END);
    refused(long, "", "at most 16777216 are read").await;
    let mut renamed = good.clone();
    let other = format!("docker.io/library/app@{}", Digest::sha256(b"another"));
    index_of(&mut renamed, |index| rename(&mut index["manifests"][0], &other));
    refused(archive(&renamed), "", "by another digest").await;
    for (name, _) in good.iter().filter(|(name, _)| name.starts_with("blobs/")) {
        refused(archive(&without(name)), "", "not whole").await;
        let mut damaged = good.clone();
        let (_, bytes) = damaged.iter_mut().find(|(other, _)| other == name).unwrap();
        bytes[3] ^= 1;
        refused(archive(&damaged), "", "does not hash to its name").await;
    }
}

#[tokio::test(start_paused = true)]
async fn more_manifests_than_memory_is_set_aside_for_are_refused() {
    let mut files = good().await;
    for number in 0..17 {
        let note = format!("{number:02}").repeat((2 << 20) - 200);
        let body = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "annotations": {"note": note}})
            .to_string();
        files.push(as_file(body));
    }
    refused(archive(&files), "", "split it").await;
}

#[tokio::test(start_paused = true)]
async fn a_large_blob_that_is_damaged_or_cut_off_leaves_nothing_behind() {
    let large = content(6 * MIB, 3).to_vec();
    let mut files = good().await;
    files.push(as_file(large));
    let whole = archive(&files);
    refused(whole[..whole.len() - 2 * MIB].to_vec(), "", "was cut off").await;
    let mut damaged = whole.clone();
    let at = damaged.len() - 3 * MIB;
    damaged[at] ^= 1;
    refused(damaged, "", "does not hash to its name").await;
    let island = island();
    imported(&island.seawall, "", whole).await;
}

#[tokio::test(start_paused = true)]
async fn an_image_without_a_whole_name_needs_one_from_the_operator() {
    let mut files = good().await;
    let key = "org.opencontainers.image.ref.name";
    index_of(&mut files, |index| {
        index["manifests"][0]["annotations"] = json!({key: "v7"})
    });
    let tagged = archive(&files);
    refused(tagged.clone(), "", "--as docker.io/library/alpine:3.20").await;
    refused(tagged.clone(), "?as=example.com/a/b", "not configured").await;
    for (query, name) in [
        ("?as=app", "docker.io/library/app:v7"),
        ("?as=docker.io/library/app:other", "docker.io/library/app:other"),
    ] {
        let island = island();
        let told = imported(&island.seawall, query, tagged.clone()).await;
        assert_eq!(told["images"][0]["image"], name);
        let path = manifest_path(name.rsplit(':').next().unwrap());
        assert!(island.seawall.get(&path).await.is_good(), "{path}");
    }
    index_of(&mut files, |index| {
        index["manifests"][0]["annotations"] = json!({})
    });
    let island = island();
    let told = imported(&island.seawall, "?as=app:1", archive(&files)).await;
    assert_eq!(told["images"][0]["image"], "docker.io/library/app:1");
}
