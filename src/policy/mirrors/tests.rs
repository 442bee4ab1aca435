//! What each program is told, word for word; and what is put is taken back.

mod readers;

use proptest::prelude::*;

use super::*;

const ALL: [&str; 4] = ["ghcr.io", "docker.io", "registry.corp:8443", "*.azurecr.io"];

fn patterns() -> Vec<Pattern> {
    ALL.map(|name| Pattern::parse(name).unwrap()).to_vec()
}

fn told(program: Program, address: &str) -> Pieces {
    pieces(program, &address.parse().unwrap(), &patterns())
}

/// Each piece as `path: text`.
fn written(program: Program, address: &str) -> String {
    let each = told(program, address).pieces;
    let each = each
        .iter()
        .map(|piece| format!("{}:\n{}", piece.path, piece.text));
    each.collect::<Vec<_>>().join("\n")
}

fn left_out(program: Program) -> String {
    let names = told(program, "127.0.0.1:5000").left_out;
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn containerd_gets_a_file_for_each_registry_and_one_for_all_others() {
    let expected = r#"etc/containerd/certs.d/docker.io/hosts.toml:
[host."http://127.0.0.1:5000"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"

etc/containerd/certs.d/ghcr.io/hosts.toml:
[host."http://127.0.0.1:5000"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"

etc/containerd/certs.d/registry.corp_8443_/hosts.toml:
[host."http://127.0.0.1:5000"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"

etc/containerd/certs.d/_default/hosts.toml:
[host."http://127.0.0.1:5000"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"
"#;
    assert_eq!(written(Program::Containerd, "127.0.0.1:5000"), expected);
    assert_eq!(left_out(Program::Containerd), "");
}

#[test]
fn the_file_for_containerd_that_is_shipped_is_the_one_that_is_written() {
    let shipped = include_str!("../../../config/containerd/hosts.toml");
    let own: String = shipped
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(own, told(Program::Containerd, "127.0.0.1:5000").pieces[3].text);
}

#[test]
fn dockerd_is_told_of_docker_hub_and_of_what_speaks_no_tls() {
    let expected = "etc/docker/daemon.json:\n{\n    \"registry-mirrors\": [\n        \"http://127.0.0.1:5000\"\n    ]\n}\n";
    assert_eq!(written(Program::Docker, "127.0.0.1:5000"), expected);
    let expected = r#"etc/docker/daemon.json:
{
    "registry-mirrors": [
        "http://cache.corp:5000"
    ],
    "insecure-registries": [
        "cache.corp:5000"
    ]
}
"#;
    assert_eq!(written(Program::Docker, "http://cache.corp:5000"), expected);
    assert!(!written(Program::Docker, "https://cache.corp").contains("insecure"));
    assert_eq!(
        left_out(Program::Docker),
        "ghcr.io registry.corp:8443 *.azurecr.io"
    );
}

#[test]
fn podman_and_crio_get_a_file_whose_mirrors_name_the_registry_in_their_path() {
    let expected = r#"etc/containers/registries.conf.d/50-seawall.conf:
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "127.0.0.1:5000/docker.io"
insecure = true

[[registry]]
prefix = "ghcr.io"
location = "ghcr.io"
[[registry.mirror]]
location = "127.0.0.1:5000/ghcr.io"
insecure = true

[[registry]]
prefix = "registry.corp:8443"
location = "registry.corp:8443"
[[registry.mirror]]
location = "127.0.0.1:5000/registry.corp:8443"
insecure = true
"#;
    assert_eq!(written(Program::Podman, "127.0.0.1:5000"), expected);
    assert_eq!(written(Program::Crio, "127.0.0.1:5000"), expected);
    assert!(!written(Program::Podman, "https://cache.corp").contains("insecure"));
    assert_eq!(left_out(Program::Podman), "*.azurecr.io");
}

#[test]
fn buildkitd_gets_a_table_for_each_registry_and_one_for_the_mirror() {
    let expected = r#"etc/buildkit/buildkitd.toml:
[registry."docker.io"]
  mirrors = ["127.0.0.1:5000"]
[registry."ghcr.io"]
  mirrors = ["127.0.0.1:5000"]
[registry."registry.corp:8443"]
  mirrors = ["127.0.0.1:5000"]
[registry."127.0.0.1:5000"]
  http = true
"#;
    assert_eq!(written(Program::Buildkit, "127.0.0.1:5000"), expected);
    assert!(!written(Program::Buildkit, "https://cache.corp").contains("http"));
}

#[test]
fn k3s_gets_an_entry_for_each_registry_and_one_for_all_others() {
    let expected = r#"etc/rancher/k3s/registries.yaml:
"docker.io":
  endpoint:
    - "http://127.0.0.1:5000"
"ghcr.io":
  endpoint:
    - "http://127.0.0.1:5000"
"registry.corp:8443":
  endpoint:
    - "http://127.0.0.1:5000"
"*":
  endpoint:
    - "http://127.0.0.1:5000"
"#;
    assert_eq!(written(Program::K3s, "127.0.0.1:5000"), expected);
}

#[test]
fn registries_of_others_stay_beside_the_mirrors_unless_they_contradict() {
    let piece = piece(Program::Podman, "127.0.0.1:5000");
    let beside = |theirs| registries_beside(theirs, &piece);
    assert!(beside("").is_some());
    let both = beside("short-name-mode = \"enforcing\"\n[[registry]]\nlocation = \"quay.io\"").unwrap();
    assert!(
        both.parse::<toml::Table>().unwrap()["registry"]
            .as_array()
            .unwrap()
            .len()
            == 4
    );
    for theirs in [
        "[[registry]]\nlocation = \"docker.io\"",
        "[[registry]]\nprefix = \"ghcr.io\"\nlocation = \"x\"",
        "registry = 1",
        "=",
    ] {
        assert_eq!(beside(theirs), None, "{theirs}");
    }
}

#[test]
fn kaniko_is_told_by_flags() {
    let expected = "--registry-map=index.docker.io=127.0.0.1:5000/docker.io\n\
                    --registry-map=ghcr.io=127.0.0.1:5000/ghcr.io\n\
                    --registry-map=registry.corp:8443=127.0.0.1:5000/registry.corp:8443\n\
                    --insecure-registry=127.0.0.1:5000\n";
    assert_eq!(told(Program::Kaniko, "127.0.0.1:5000").pieces[0].text, expected);
}

/// A file and what is kept beside it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Disk {
    now: Option<String>,
    before: Option<String>,
    record: Option<String>,
}

impl Disk {
    fn of(now: &str) -> Self {
        let now = Some(now.to_owned());
        Self {
            now,
            ..Self::default()
        }
    }

    fn found(&self) -> Found<'_> {
        let (now, before, record) = (
            self.now.as_deref(),
            self.before.as_deref(),
            self.record.as_deref(),
        );
        Found { now, before, record }
    }

    fn put(&mut self, piece: &Piece) -> Result<bool, Trouble> {
        let edit = put(piece, self.found())?;
        let changed = edit != Edit::Nothing;
        if let Edit::Write { text, record, backup } = edit {
            *self = Self {
                now: Some(text),
                record,
                before: backup.or(self.before.take()),
            };
        }
        Ok(changed)
    }

    fn take(&mut self, piece: &Piece) -> Result<(), Trouble> {
        match take(piece, self.found())? {
            Edit::Nothing => {}
            Edit::Write { text, .. } => *self = Self::of(&text),
            Edit::Delete => *self = Self::default(),
        }
        Ok(())
    }
}

fn piece(program: Program, address: &str) -> Piece {
    told(program, address).pieces.remove(0)
}

#[test]
fn what_others_have_written_stays_and_what_is_ours_goes() {
    let daemon = "{\n  \"log-driver\": \"journald\",\n  \"registry-mirrors\": [\"https://other\"]\n}";
    let mut disk = Disk::of(daemon);
    disk.put(&piece(Program::Docker, "cache.corp:5000")).unwrap();
    let merged: serde_json::Value = serde_json::from_str(disk.now.as_ref().unwrap()).unwrap();
    let expected = serde_json::json!({
        "log-driver": "journald", "registry-mirrors": ["http://cache.corp:5000", "https://other"],
        "insecure-registries": ["cache.corp:5000"],
    });
    assert_eq!(merged, expected);
    // Somebody adds a key meanwhile.
    disk.now = disk.now.map(|now| now.replacen('{', "{ \"debug\": true,", 1));
    disk.take(&piece(Program::Docker, "another:1")).unwrap();
    let left: serde_json::Value = serde_json::from_str(disk.now.as_ref().unwrap()).unwrap();
    let expected = serde_json::json!({
        "debug": true, "log-driver": "journald", "registry-mirrors": ["https://other"],
    });
    assert_eq!(left, expected);
}

#[test]
fn a_mirror_that_somebody_else_wrote_is_not_ours_to_remove() {
    let daemon = "{\"registry-mirrors\":[\"http://127.0.0.1:5000\"]}";
    let mut disk = Disk::of(daemon);
    assert!(!disk.put(&piece(Program::Docker, "127.0.0.1:5000")).unwrap());
    disk.take(&piece(Program::Docker, "127.0.0.1:5000")).unwrap();
    assert_eq!(disk, Disk::of(daemon));
}

#[test]
fn entries_of_k3s_stand_among_those_of_others() {
    let theirs = "configs:\n  a:\n    auth: {}\nmirrors: # ours\n\n    quay.io:\n        endpoint: [x]\n";
    let mut disk = Disk::of(theirs);
    disk.put(&piece(Program::K3s, "127.0.0.1:5000")).unwrap();
    let now = disk.now.clone().unwrap();
    let (head, rest) = now.split_once("    # Written by").unwrap();
    assert!(head.ends_with("mirrors: # ours\n"), "{now}");
    assert!(
        rest.contains("\n    \"docker.io\":\n      endpoint:\n        - \"http://127.0.0.1:5000\"\n"),
        "{now}"
    );
    assert!(
        now.ends_with(
            "    # End of what `seawall mirror-config` wrote\n\n    quay.io:\n        endpoint: [x]\n"
        ),
        "{now}"
    );
    disk.take(&piece(Program::K3s, "127.0.0.1:5000")).unwrap();
    assert_eq!(disk.now.as_deref(), Some(theirs));
}

#[test]
fn an_entry_that_was_added_below_ours_keeps_its_key() {
    let mut disk = Disk::default();
    let ours = piece(Program::K3s, "127.0.0.1:5000");
    disk.put(&ours).unwrap();
    disk.now = disk.now.map(|now| now + "  quay.io:\n    endpoint: [x]\n");
    disk.take(&ours).unwrap();
    assert_eq!(
        disk.now.as_deref(),
        Some("mirrors:\n  quay.io:\n    endpoint: [x]\n")
    );
}

#[test]
fn what_cannot_be_merged_is_named() {
    let taken = |name: &str| Trouble::Taken(name.to_owned());
    for (program, theirs, expected) in [
        (
            Program::Buildkit,
            "[registry.\"docker.io\"]\nhttp = true\n",
            taken("[registry.\"docker.io\"]"),
        ),
        (
            Program::Buildkit,
            "registry = 1\n",
            taken("[registry.\"127.0.0.1:5000\"]"),
        ),
        (
            Program::K3s,
            "mirrors:\n  docker.io:\n    endpoint: []\n",
            taken("mirrors: docker.io:"),
        ),
    ] {
        let found = Disk::of(theirs).put(&piece(program, "127.0.0.1:5000"));
        assert_eq!(found, Err(expected), "{theirs}");
    }
    for (program, theirs, word) in [
        (Program::Docker, "{", "EOF"),
        (
            Program::Docker,
            "{\"registry-mirrors\": \"x\"}",
            "expected a list",
        ),
        (Program::Buildkit, "a = ", "string"),
        (Program::Buildkit, "registry = { a = 1 }", "inline table"),
        (Program::K3s, "mirrors: {}\n", "lines of their own"),
        (Program::K3s, "mirrors:\n- docker.io\n", "found a list"),
    ] {
        let found = Disk::of(theirs)
            .put(&piece(program, "127.0.0.1:5000"))
            .unwrap_err();
        assert!(matches!(&found, Trouble::Unreadable(_)), "{theirs}: {found:?}");
        assert!(found.to_string().contains(word), "{theirs}: {found}");
    }
}

#[test]
fn what_was_changed_by_hand_is_left_alone() {
    for program in [
        Program::Containerd,
        Program::Podman,
        Program::Buildkit,
        Program::K3s,
    ] {
        let mut disk = Disk::default();
        disk.put(&piece(program, "127.0.0.1:5000")).unwrap();
        disk.now = disk
            .now
            .map(|now| now.replacen("127.0.0.1:5000", "127.0.0.1:6000", 1));
        let changed = disk.clone();
        assert_eq!(
            disk.put(&piece(program, "127.0.0.1:5000")),
            Err(Trouble::ByHand),
            "{program:?}"
        );
        assert_eq!(
            disk.take(&piece(program, "127.0.0.1:5000")),
            Err(Trouble::ByHand),
            "{program:?}"
        );
        assert_eq!(disk, changed);
    }
}

#[test]
fn a_mirror_is_taken_back_only_after_three_misses_and_put_back_at_once() {
    let mut watch = Watch::default();
    let looks = [true, false, false, true, false, false, false, false, true];
    let steps = looks.map(|answers| watch.look(answers));
    use Step::{Leave, Put, Take};
    assert_eq!(steps, [Put, Leave, Leave, Put, Leave, Leave, Take, Take, Put]);
}

fn files() -> impl Strategy<Value = (Program, Option<&'static str>)> {
    let json = [
        "{}",
        "",
        "{ \"debug\": true }",
        "{\"registry-mirrors\":[]}",
        "{\"registry-mirrors\":[\"https://a\",\"http://127.0.0.1:5000\"],\"x\":{\"y\":[1]}}\n",
    ];
    let toml = [
        "",
        "# only a comment",
        "debug = true",
        "[worker.oci]\n  gc = true\n",
        "[registry.\"quay.io\"]\n  http = true",
    ];
    let yaml = [
        "",
        "configs:\n  a: {}",
        "mirrors:",
        "mirrors:\n",
        "mirrors:\n   quay.io:\n     endpoint: []\nconfigs: {}\n",
    ];
    let whole = ["", "[host.\"https://other\"]\n", "no end"];
    let pick = |program, texts: Vec<&'static str>| {
        (
            Just(program),
            proptest::option::of(proptest::sample::select(texts)),
        )
    };
    prop_oneof![
        pick(Program::Docker, json.to_vec()),
        pick(Program::Buildkit, toml.to_vec()),
        pick(Program::K3s, yaml.to_vec()),
        pick(Program::Containerd, whole.to_vec()),
        pick(Program::Podman, whole.to_vec()),
    ]
}

proptest! {
    /// Putting any number of addresses, each any number of times, and taking back is nothing.
    #[test]
    fn what_is_put_is_put_once_and_taken_back_to_the_byte(
        (program, theirs) in files(),
        addresses in proptest::collection::vec(proptest::sample::select(vec!["127.0.0.1:5000", "cache.corp:80", "https://c.d"]), 1..5),
    ) {
        let mut disk = theirs.map_or_else(Disk::default, Disk::of);
        for address in &addresses {
            disk.put(&piece(program, address)).unwrap();
            prop_assert!(!disk.put(&piece(program, address)).unwrap(), "a second time changes nothing");
            prop_assert!(disk.now.as_ref().unwrap().contains(address.trim_start_matches("https://")));
        }
        disk.take(&piece(program, "127.0.0.1:5000")).unwrap();
        // An empty file and none are the same to every program.
        let expected = theirs.filter(|text| !text.is_empty()).map(str::to_owned);
        prop_assert_eq!(disk.now.filter(|text| !text.is_empty()), expected);
    }
}
