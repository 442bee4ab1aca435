//! Names that strangers choose add no series, however many there are.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{series, told};
use crate::support::seawall::Choices;
use crate::support::world::{image, manifest_path, world};

/// Names that are asked for in all; and those of them that the upstream is asked about.
const NAMES: usize = 300_000;
const ASKED: usize = 1000;
/// Requests written before their answers are read.
const AT_ONCE: usize = 100;

/// Asks for `paths` over one connection, and reads as many answers of `length` bytes of body.
async fn ask_all(near: &mut DuplexStream, paths: &[String], length: usize) {
    let mut requests = String::new();
    for path in paths {
        requests.push_str(&format!("GET {path} HTTP/1.1\r\nhost: cache.test\r\n\r\n"));
    }
    let (mut reading, mut writing) = tokio::io::split(near);
    let read = async {
        let (mut bytes, mut answers) = (Vec::new(), 0);
        while answers < paths.len() {
            let mut buffer = [0; 4096];
            let count = reading.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the connection ended after {answers} answers");
            bytes.extend_from_slice(&buffer[..count]);
            while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let whole = end + 4 + length;
                if bytes.len() < whole {
                    break;
                }
                assert!(
                    bytes.starts_with(b"HTTP/1.1 200"),
                    "{}",
                    String::from_utf8_lossy(&bytes)
                );
                bytes.drain(..whole);
                answers += 1;
            }
        }
    };
    let (written, ()) = tokio::join!(writing.write_all(requests.as_bytes()), read);
    written.unwrap();
}

#[tokio::test(start_paused = true)]
async fn three_hundred_thousand_repository_names_add_no_series() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 7);
    let config = |name: usize| format!("/v2/team-{name}/app/blobs/{}", image.config);
    let missing = |name: usize| format!("/v2/stranger-{name}/app/manifests/{name}");
    for _ in 0..2 {
        world.seawall.get(&manifest_path("1")).await;
        world
            .seawall
            .get(&format!("/v2/library/app/blobs/{}", image.config))
            .await;
        assert_eq!(world.seawall.get(&missing(0)).await.status, StatusCode::NOT_FOUND);
        // What came is kept within it: the next is answered from memory, as all later ones are.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let before = series(&told(&world.seawall));
    for name in 0..ASKED {
        assert_eq!(
            world.seawall.get(&missing(name)).await.status,
            StatusCode::NOT_FOUND
        );
    }
    let mut near = world.seawall.connect(([127, 0, 0, 1], 9).into());
    let names: Vec<usize> = (ASKED..NAMES).collect();
    for names in names.chunks(AT_ONCE) {
        let paths: Vec<String> = names.iter().map(|name| config(*name)).collect();
        ask_all(&mut near, &paths, r#"{"seed":7}"#.len()).await;
    }
    let after = series(&told(&world.seawall));
    let added: Vec<_> = after.difference(&before).collect();
    assert!(added.is_empty(), "{added:#?}");
}
