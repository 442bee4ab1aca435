//! Putting into and taking out of real files.

use super::*;
use crate::policy::mirrors::{Program, pieces};
use crate::policy::naming::Pattern;

fn told(program: Program, registries: &[&str]) -> Vec<Piece> {
    let patterns: Vec<Pattern> = registries
        .iter()
        .map(|name| Pattern::parse(name).unwrap())
        .collect();
    pieces(program, &"127.0.0.1:5000".parse().unwrap(), &patterns).pieces
}

/// Every file below `root` with its text, in the order of their names.
fn tree(root: &Path) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    found.push((name, fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    found.sort();
    found
}

fn root() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root(directory.path().to_owned());
    (directory, root)
}

fn place(root: &Root, path: &str, text: &str, mode: u32) {
    let path = root.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn every_program_is_left_as_it_was_found() {
    for (_, program) in Program::ALL {
        let (_directory, root) = root();
        place(&root, "etc/docker/daemon.json", "{\"debug\":true}", 0o640);
        place(
            &root,
            "etc/containerd/certs.d/ghcr.io/hosts.toml",
            "server = \"https://x\"\n",
            0o600,
        );
        place(&root, "etc/buildkit/buildkitd.toml", "debug = true", 0o644);
        let before = tree(&root.0);
        let told = told(program, &["docker.io", "ghcr.io"]);
        let (first, second) = (root.put(&told).unwrap(), root.put(&told).unwrap());
        assert_eq!(
            first.iter().any(Done::is_change),
            program != Program::Kaniko,
            "{program:?}"
        );
        assert!(!second.iter().any(Done::is_change), "{program:?}: {second:?}");
        root.take(&told).unwrap();
        assert_eq!(tree(&root.0), before, "{program:?}");
        assert_eq!(mode_of(&root.path("etc/docker/daemon.json")), 0o640);
        let kept_apart = root.path("etc/containerd/certs.d/docker.io");
        assert!(!kept_apart.exists(), "an empty directory would hide `_default`");
    }
}

#[test]
fn what_a_file_was_stands_beside_it_and_is_as_closed_as_it() {
    let (_directory, root) = root();
    place(&root, "etc/docker/daemon.json", "{\"debug\":true}", 0o600);
    root.put(&told(Program::Docker, &["docker.io"])).unwrap();
    let backup = root.path("etc/docker/daemon.json.before-seawall");
    assert_eq!(fs::read_to_string(&backup).unwrap(), "{\"debug\":true}");
    for path in [
        backup,
        root.path("etc/docker/daemon.json"),
        root.path("etc/docker/daemon.json.seawall"),
    ] {
        assert_eq!(mode_of(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_registry_that_is_no_longer_configured_is_taken_out_and_those_of_others_stay() {
    let (_directory, root) = root();
    place(
        &root,
        "etc/containerd/certs.d/corp/hosts.toml",
        "# theirs\n",
        0o644,
    );
    root.put(&told(Program::Containerd, &["docker.io", "quay.io"]))
        .unwrap();
    let done = root.put(&told(Program::Containerd, &["docker.io"])).unwrap();
    let gone = root.path("etc/containerd/certs.d/quay.io/hosts.toml");
    assert!(done.contains(&Done::Removed(gone)), "{done:?}");
    root.take(&told(Program::Containerd, &[])).unwrap();
    let left = [(
        "etc/containerd/certs.d/corp/hosts.toml".to_owned(),
        "# theirs\n".to_owned(),
    )];
    assert_eq!(tree(&root.0), left);
}

#[test]
fn if_one_file_cannot_be_edited_none_is() {
    let (_directory, root) = root();
    let told = told(Program::Containerd, &["docker.io", "ghcr.io"]);
    root.put(&told).unwrap();
    let edited = root.path("etc/containerd/certs.d/ghcr.io/hosts.toml");
    let text = fs::read_to_string(&edited).unwrap();
    fs::write(&edited, text + "skip_verify = true\n").unwrap();
    let before = tree(&root.0);
    let why = root.take(&told).unwrap_err();
    assert!(
        why.contains("ghcr.io/hosts.toml") && why.contains("by hand"),
        "{why}"
    );
    assert_eq!(tree(&root.0), before);
}

#[test]
fn a_link_is_not_followed_out_of_the_root() {
    let ((_directory, root), outside) = (root(), tempfile::NamedTempFile::new().unwrap());
    fs::create_dir_all(root.path("etc/docker")).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path("etc/docker/daemon.json")).unwrap();
    let why = root.put(&told(Program::Docker, &["docker.io"])).unwrap_err();
    assert!(why.contains("daemon.json") && why.contains("by hand"), "{why}");
    assert_eq!(fs::read(outside.path()).unwrap(), b"");
}
