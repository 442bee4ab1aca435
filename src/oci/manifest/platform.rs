//! What a manifest is for: operating system, architecture and variant, as one word for people.
//!
//! Read apart from the manifest itself: no pull needs it.

use serde::Deserialize;

use crate::oci::Digest;

/// Longest part of a platform, in bytes; the longest in use is `loong64`.
const MAX_PART: usize = 32;

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

/// The platforms that an index gives to the manifests it lists: `linux/arm64/v8`. Those without one are left
/// out; `unknown/unknown`, which builders write beside attestations, is none. Empty if it is not an index.
pub fn platforms(index: &[u8]) -> Vec<(Digest, String)> {
    let index: Option<Index> = serde_json::from_slice(index).ok();
    let entries = index.map(|index| index.manifests).unwrap_or_default();
    let named = entries
        .into_iter()
        .filter_map(|entry| Some((entry.digest.parse().ok()?, entry.platform?.name()?)));
    named.collect()
}

/// The platform that an image's configuration names.
pub fn platform_of_config(config: &[u8]) -> Option<String> {
    serde_json::from_slice::<Platform>(config).ok()?.name()
}

impl Platform {
    /// One word, unless a part is missing or is no plain word: it goes to terminals as it is.
    fn name(&self) -> Option<String> {
        let is_plain = |part: &&String| {
            let mut bytes = part.bytes();
            let fits = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            fits && (1..=MAX_PART).contains(&part.len()) && *part != "unknown"
        };
        let os = self.os.as_ref().filter(is_plain)?;
        let architecture = self.architecture.as_ref().filter(is_plain)?;
        let variant = self.variant.as_ref().filter(is_plain);
        Some(match variant {
            Some(variant) => format!("{os}/{architecture}/{variant}"),
            None => format!("{os}/{architecture}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_platforms_to_what_it_lists() {
        let [one, two, three] = [b"1", b"2", b"3"].map(|text| Digest::sha256(text));
        let index = format!(
            r#"{{"manifests":[
                {{"digest":"{one}","platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}},
                {{"digest":"{two}","platform":{{"os":"linux","architecture":"amd64"}}}},
                {{"digest":"{three}","platform":{{"os":"unknown","architecture":"unknown"}}}},
                {{"digest":"{three}"}}]}}"#
        );
        let expected = [
            (one, "linux/arm64/v8".to_owned()),
            (two, "linux/amd64".to_owned()),
        ];
        assert_eq!(platforms(index.as_bytes()), expected);
        assert_eq!(platforms(b"{}"), []);
    }

    #[test]
    fn a_configuration_names_its_platform_and_nothing_that_a_terminal_would_obey() {
        let platform = |os: &str| {
            let config = serde_json::json!({ "os": os, "architecture": "amd64", "variant": "" });
            platform_of_config(config.to_string().as_bytes())
        };
        assert_eq!(platform("linux"), Some("linux/amd64".to_owned()));
        assert_eq!(platform("\u{1b}[2Jlinux"), None);
        assert_eq!(platform("li nux"), None);
        assert_eq!(platform(&"x".repeat(33)), None);
        assert_eq!(platform_of_config(b"[]"), None);
    }
}
