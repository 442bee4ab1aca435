//! Platforms: for which machines an index lists a manifest.
//!
//! Read apart from [`super::Manifest`]: who passes an index on needs none of it.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::Digest;

/// `linux/amd64`, `linux/arm64/v8`: a system, an architecture and perhaps a variant of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A text is not a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a platform is a system and an architecture, such as linux/amd64 or linux/arm/v7")]
pub struct PlatformError;

impl Platform {
    /// The platform this program was built for, as images name it.
    pub fn of_machine() -> Self {
        let (architecture, variant) = if cfg!(target_arch = "aarch64") {
            ("arm64", None)
        } else if cfg!(target_arch = "arm") {
            ("arm", Some("v7"))
        } else if cfg!(target_arch = "powerpc64") {
            ("ppc64le", None)
        } else if cfg!(target_arch = "s390x") {
            ("s390x", None)
        } else if cfg!(target_arch = "riscv64") {
            ("riscv64", None)
        } else {
            ("amd64", None)
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The platform that an image's configuration names.
    pub fn of_config(config: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Machine>(config).ok()?.platform()
    }

    /// When an image was made, as its configuration says; nobody has looked whether that is a date.
    pub fn made(config: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Made {
            created: Option<String>,
        }
        serde_json::from_slice::<Made>(config).ok()?.created
    }

    /// True for what is no machine's: the place where builders keep attestations (`unknown/unknown`).
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// True if `offered` is what is asked for here. Without a variant, any is; arm64 is v8 whether it says so or
    /// not.
    pub fn takes(&self, offered: &Self) -> bool {
        let variant = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("arm64", Some("v8")) | (_, None) => None,
            (_, Some(variant)) => Some(variant.to_owned()),
        };
        self.os == offered.os
            && self.architecture == offered.architecture
            && variant(self).is_none_or(|wanted| variant(offered) == Some(wanted))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let is_word = |part: &&str| {
            (1..=64).contains(&part.len())
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(PlatformError),
        };
        if !parts.iter().all(is_word) {
            return Err(PlatformError);
        }
        Ok(Self {
            os: os.to_ascii_lowercase(),
            architecture: architecture.to_ascii_lowercase(),
            variant: variant.map(str::to_ascii_lowercase),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// One manifest that an index lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name.
    pub digest: Digest,
    /// The machines it is for, if the index says so in a form that reads.
    pub platform: Option<Platform>,
    /// The manifest it attests, for an attestation that a builder put beside it.
    pub attests: Option<Digest>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    platform: Option<Machine>,
    annotations: Option<std::collections::HashMap<String, String>>,
}

#[derive(Deserialize)]
struct Machine {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl Machine {
    fn platform(self) -> Option<Platform> {
        let variant = self.variant.filter(|variant| !variant.is_empty());
        let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("{}/{}{variant}", self.os?, self.architecture?)
            .parse()
            .ok()
    }
}

/// The manifests that an index lists, in its order; none for bytes that are no index.
pub fn children(index: &[u8]) -> Vec<Child> {
    let Ok(index) = serde_json::from_slice::<Index>(index) else {
        return Vec::new();
    };
    let entries = index.manifests.into_iter();
    entries
        .filter_map(|entry| {
            let platform = entry.platform.and_then(Machine::platform);
            let annotations = entry.annotations.unwrap_or_default();
            let attests = annotations.get("vnd.docker.reference.digest");
            Some(Child {
                digest: entry.digest.parse().ok()?,
                platform,
                attests: attests.and_then(|digest| digest.parse().ok()),
            })
        })
        .collect()
}

/// Which machines are wanted of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// All that it lists.
    All,
    /// Those that one of these takes.
    Of(Vec<Platform>),
}

impl Platforms {
    /// Parses names separated by commas; `all` stands for all.
    ///
    /// # Errors
    /// [`PlatformError`] if one of them is no platform.
    pub fn parse(names: &str) -> Result<Self, PlatformError> {
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        if names.contains(&"all") {
            return Ok(Self::All);
        }
        let parsed: Result<_, _> = names.into_iter().map(str::parse).collect();
        parsed.map(Self::Of)
    }

    /// Those of an index's manifests that are wanted, each once, in its order; with the attestations of them. What
    /// names no platform is for every machine.
    pub fn choose(&self, children: &[Child]) -> Vec<Child> {
        let wanted = |child: &Child| match (self, &child.platform) {
            (Self::All, _) | (Self::Of(_), None) => true,
            (Self::Of(_), Some(offered)) if offered.is_unknown() => false,
            (Self::Of(wanted), Some(offered)) => wanted.iter().any(|wanted| wanted.takes(offered)),
        };
        let chosen: Vec<Digest> = children
            .iter()
            .filter(|child| wanted(child))
            .map(|child| child.digest)
            .collect();
        let follows = |child: &Child| child.attests.is_some_and(|attested| chosen.contains(&attested));
        let mut seen = std::collections::HashSet::new();
        let all = children.iter().filter(|child| wanted(child) || follows(child));
        all.filter(|child| seen.insert(child.digest)).cloned().collect()
    }
}

impl fmt::Display for Platforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Of(platforms) => {
                let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn a_platform_reads_as_it_is_written() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(platform(text).to_string(), text);
        }
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/am d64", "//"] {
            assert_eq!(text.parse::<Platform>(), Err(PlatformError), "{text}");
        }
        assert_eq!(Platforms::parse("linux/amd64,all"), Ok(Platforms::All));
        assert!(Platforms::parse("linux/amd64,").is_err());
    }

    #[test]
    fn a_variant_is_asked_for_or_it_does_not_matter() {
        assert!(platform("linux/arm").takes(&platform("linux/arm/v7")));
        assert!(!platform("linux/arm/v6").takes(&platform("linux/arm/v7")));
        assert!(!platform("linux/arm/v7").takes(&platform("linux/arm")));
        assert!(platform("linux/arm64/v8").takes(&platform("linux/arm64")));
        assert!(platform("linux/arm64").takes(&platform("linux/arm64/v8")));
        assert!(!platform("linux/amd64").takes(&platform("windows/amd64")));
    }

    #[test]
    fn the_wanted_platforms_are_chosen_with_their_attestations() {
        let digest = |seed: &str| Digest::sha256(seed.as_bytes());
        let [amd, arm, paper, other] = ["amd", "arm", "paper", "other"].map(digest);
        let index = format!(
            r#"{{"manifests":[
                {{"digest":"{amd}","platform":{{"os":"linux","architecture":"amd64"}}}},
                {{"digest":"{arm}","platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}},
                {{"digest":"{paper}","platform":{{"os":"unknown","architecture":"unknown"}},
                  "annotations":{{"vnd.docker.reference.digest":"{amd}"}}}},
                {{"digest":"{other}","platform":{{"os":"unknown","architecture":"unknown"}},
                  "annotations":{{"vnd.docker.reference.digest":"{arm}"}}}},
                {{"digest":"{amd}","platform":{{"os":"linux","architecture":"amd64"}}}}
            ]}}"#
        );
        let children = children(index.as_bytes());
        let chosen = |names: &str| -> Vec<Digest> {
            let chosen = Platforms::parse(names).unwrap().choose(&children);
            chosen.iter().map(|child| child.digest).collect()
        };
        assert_eq!(chosen("linux/amd64"), [amd, paper]);
        assert_eq!(chosen("linux/arm64,linux/s390x"), [arm, other]);
        assert_eq!(chosen("all"), [amd, arm, paper, other]);
        assert!(chosen("linux/s390x").is_empty());
    }

    #[test]
    fn a_configuration_names_its_platform_and_nothing_that_a_terminal_would_obey() {
        let of = |os: &str| {
            let config = serde_json::json!({ "os": os, "architecture": "amd64", "variant": "" });
            Platform::of_config(config.to_string().as_bytes())
        };
        assert_eq!(of("linux"), Some(platform("linux/amd64")));
        assert_eq!(of("\u{1b}[2Jlinux"), None);
        assert_eq!(Platform::of_config(b"[]"), None);
    }

    #[test]
    fn what_is_no_index_has_no_children() {
        assert!(children(b"\xff{").is_empty());
        assert!(children(br#"{"manifests":[{"digest":"nonsense"}]}"#).is_empty());
    }
}
