//! What the README shows of each command is what the command prints.
//!
//! A Seawall in memory and in virtual time is asked, and the commands' own code draws its answers. Between
//! `<!-- capture: NAME -->` and `<!-- end -->` the README must have what comes out; to write that down:
//!
//! ```text
//! UPDATE_CAPTURES=1 cargo test --test it captures
//! ```
//! To capture another command, add it to [`CAPTURES`] and put its two markers into the README. What it is about
//! must be in [`shown::shown`], or comes from a registry that is put there.

mod shown;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::{Method, StatusCode};
use seawall::cli::{Capture, capture};

use crate::support::seawall::{Answer, Seawall, read};

/// The captures: their names, and what is typed behind `seawall`.
const CAPTURES: [(&str, &str); 16] = [
    ("status", "status"),
    ("repository list", "repository list --sort size"),
    ("tags", "tags alpine"),
    ("manifests", "manifests docker.io/library/alpine"),
    ("show", "show alpine:3.20"),
    ("explain", "explain alpine:3.20"),
    (
        "explain unknown",
        "explain ghcr.io/owner/app:2 --client 10.20.0.7",
    ),
    ("usage", "usage --top 3"),
    ("not held", "show docker.io/library/alpin:3.20"),
    (
        "purge",
        "purge --filter docker.io/library/alpine:.* --ago 7d --untagged --dry-run",
    ),
    ("lock", "lock alpine:3.20 ghcr.io/owner/app:1.5"),
    ("holds", "holds"),
    ("warm", "warm redis:8 alpine:3.20 redis:7 --platform linux/amd64"),
    ("export", "export alpine:3.20 ghcr.io/owner/app:1.5 -o bundle.tar"),
    ("import", "import bundle.tar"),
    ("verify", "verify --all --refetch"),
];

/// What `seawall` prints for these arguments, asking `seawall`.
pub(crate) async fn printed(seawall: &Seawall, arguments: &[&str]) -> Capture {
    let mut answers: HashMap<String, (StatusCode, Bytes)> = HashMap::new();
    loop {
        match capture(arguments, &|path| answers.get(path).cloned()).unwrap() {
            Capture::Asks(path) => {
                let answer = answer(seawall, &path).await;
                assert!(answer.complete, "{path}");
                answers.insert(path, (answer.status, answer.body));
            }
            done => return done,
        }
    }
}

/// A text with a usual figure for what is free on the file system of this machine.
fn without_machine(text: &str) -> String {
    let line = |line: &str| match line.starts_with("  file system ") {
        true => "  file system  96.0 GiB free\n".to_owned(),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// What a Seawall answers to what a capture asks. The file that is uploaded is a bundle of its own.
async fn answer(seawall: &Seawall, asks: &str) -> Answer {
    let get = async |path: &str| read(seawall.operate(Method::GET, path, &[], "").await).await;
    match asks.split(' ').collect::<Vec<_>>()[..] {
        ["UPLOAD", path] => {
            let bundle = get("/api/v1/export?reference=alpine%3A3.20").await.body;
            let tar = [("content-type", "application/x-tar")];
            read(seawall.operate(Method::POST, path, &tar, bundle).await).await
        }
        ["POST", path, ..] => {
            let body = asks.splitn(3, ' ').last().unwrap();
            seawall.post(path, &serde_json::from_str(body).unwrap()).await
        }
        _ => get(asks).await,
    }
}

/// The README with the blocks that are given; and the names of those it has.
fn with_blocks(readme: &str, blocks: &HashMap<&str, String>) -> (String, Vec<String>) {
    let (mut out, mut seen) = (String::new(), Vec::new());
    let mut rest = readme;
    while let Some((before, after)) = rest.split_once("<!-- capture: ") {
        let (name, after) = after.split_once(" -->\n").unwrap();
        let (old, after) = after.split_once("<!-- end -->").unwrap();
        let block = blocks.get(name).map_or(old, String::as_str);
        out += &format!("{before}<!-- capture: {name} -->\n{block}<!-- end -->");
        seen.push(name.to_owned());
        rest = after;
    }
    (out + rest, seen)
}

#[tokio::test(start_paused = true)]
async fn captures_in_the_readme_are_what_the_commands_print() {
    let world = shown::shown().await;
    let mut blocks = HashMap::new();
    for (name, line) in CAPTURES {
        let arguments: Vec<&str> = line.split(' ').collect();
        if name == "verify" {
            shown::damage(&world);
        }
        let text = match printed(&world.seawall, &arguments).await {
            Capture::Text(text) | Capture::Complains(text) => text,
            asks @ Capture::Asks(_) => panic!("{asks:?}"),
        };
        let text = without_machine(&text);
        blocks.insert(name, format!("```text\n$ seawall {line}\n{text}```\n"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (true_now, mut seen) = with_blocks(&readme, &blocks);
    if std::env::var_os("UPDATE_CAPTURES").is_some() {
        fs::write(&path, &true_now).unwrap();
    } else {
        for (line, (is, should)) in (1..).zip(readme.lines().zip(true_now.lines())) {
            assert_eq!(
                is, should,
                "README.md:{line}: not what is printed now; UPDATE_CAPTURES=1 cargo test --test it captures"
            );
        }
        assert_eq!(readme, true_now);
    }
    seen.sort_unstable();
    let mut names = CAPTURES.map(|(name, _)| name.to_owned());
    names.sort_unstable();
    assert_eq!(
        seen, names,
        "each capture has its place in the README, and each place its capture"
    );
}

#[test]
fn a_block_is_put_between_its_markers_and_nothing_else_is_touched() {
    let readme = "a\n<!-- capture: x -->\nold\n<!-- end -->\nb\n<!-- capture: y -->\n<!-- end -->\n";
    let blocks = HashMap::from([("x", "new\n".to_owned())]);
    let (changed, seen) = with_blocks(readme, &blocks);
    assert_eq!(changed, readme.replace("old", "new"));
    assert_eq!(seen, ["x", "y"]);
}
