//! What the configuration of a program that pulls must say so that it pulls through Seawall.
//!
//! ```text
//! program, address, registries ──> pieces: a path, a text ──> edit: what is there, and what was there before
//! ```
//!
//! Every piece can be put twice without harm, and be taken back exactly: it is marked.

mod address;
mod block;
mod edit;
mod json;
mod text;
mod watch;

pub use address::{Address, BadAddress};
pub use edit::{Edit, Found, Trouble, put, shown, take};
pub use text::registries_beside;
pub use watch::{Step, Watch};

use crate::policy::naming::Pattern;

/// Where containerd has a directory for each registry; the first that is there hides `_default`.
pub const CERTS_D: &str = "etc/containerd/certs.d";

/// A program that pulls, or that hands what it pulls to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// containerd, with whatever asks it: the kubelet, `ctr`, nerdctl.
    Containerd,
    /// dockerd.
    Docker,
    /// podman, buildah and skopeo.
    Podman,
    /// CRI-O, which reads podman's files.
    Crio,
    /// buildkitd.
    Buildkit,
    /// k3s and rke2.
    K3s,
    /// kaniko, which has flags and no file.
    Kaniko,
}

impl Program {
    /// All of them, as they are named on the command line.
    pub const ALL: [(&str, Self); 7] = [
        ("containerd", Self::Containerd),
        ("docker", Self::Docker),
        ("podman", Self::Podman),
        ("crio", Self::Crio),
        ("buildkit", Self::Buildkit),
        ("k3s", Self::K3s),
        ("kaniko", Self::Kaniko),
    ];

    /// Where what names no registry in its requests finds one: they are told apart by the path of the mirror.
    fn takes_patterns(self, pattern: &Pattern) -> bool {
        match (self, pattern) {
            (Self::Docker, Pattern::Exact(registry)) => registry.as_str() == crate::oci::Registry::DOCKER_HUB,
            (_, Pattern::Exact(_)) => true,
            // One catch-all stands for every registry.
            (Self::Containerd | Self::K3s, Pattern::Suffix(_) | Pattern::Any) => true,
            (_, Pattern::Suffix(_) | Pattern::Any) => false,
        }
    }

    /// What must be done for the program to see what was written; `None`: nothing.
    pub const fn then(self) -> Option<&'static str> {
        match self {
            Self::Containerd => Some(
                "containerd reads this at the next pull, if its config.toml has config_path = \
                 \"/etc/containerd/certs.d\" under the registry section of its CRI plugin",
            ),
            Self::Docker => Some("now: systemctl reload docker"),
            Self::Podman | Self::Kaniko => None,
            Self::Crio => Some("now: systemctl reload crio"),
            Self::Buildkit => Some("now: restart buildkitd, or make the builder anew with --config"),
            Self::K3s => Some("now: systemctl restart k3s, or k3s-agent"),
        }
    }
}

/// How a piece stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is the file.
    Whole,
    /// Tables at the end of a TOML file.
    Toml,
    /// Entries below `mirrors:` of a YAML file.
    Yaml,
    /// Entries of lists in a JSON object.
    Json,
    /// It stands in no file, but behind a command.
    Flags,
}

/// A text, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The path of the file below the root directory, without a leading slash.
    pub path: String,
    /// How it stands there.
    pub how: How,
    /// What is to be there.
    pub text: String,
}

impl Piece {
    /// True if its directory is there for it alone, and hides something while it is empty.
    pub fn has_own_directory(&self) -> bool {
        self.path.starts_with(CERTS_D)
    }
}

/// What a program's configuration must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Piece by piece.
    pub pieces: Vec<Piece>,
    /// The registries that the program cannot be told of: it pulls from them as before.
    pub left_out: Vec<Pattern>,
}

/// What `program` must be told to pull what is named by `patterns` through `address`.
pub fn pieces(program: Program, address: &Address, patterns: &[Pattern]) -> Pieces {
    let (told, left_out): (Vec<_>, Vec<_>) = patterns
        .iter()
        .cloned()
        .partition(|pattern| program.takes_patterns(pattern));
    let mut registries: Vec<&str> = told
        .iter()
        .filter_map(|pattern| match pattern {
            Pattern::Exact(registry) => Some(registry.as_str()),
            Pattern::Suffix(_) | Pattern::Any => None,
        })
        .collect();
    registries.sort_unstable();
    registries.dedup();
    let pieces = match program {
        Program::Containerd => text::containerd(address, &registries),
        Program::Docker => vec![text::docker(address)],
        Program::Podman | Program::Crio => vec![text::containers(address, &registries)],
        Program::Buildkit => vec![text::buildkit(address, &registries)],
        Program::K3s => vec![text::k3s(address, &registries)],
        Program::Kaniko => vec![text::kaniko(address, &registries)],
    };
    Pieces { pieces, left_out }
}

#[cfg(test)]
mod tests;
