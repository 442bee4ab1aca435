//! Refuses keys that only some readers recognise.
//!
//! Go's JSON reader, which most clients use, takes `Layers` for `layers`; Rust's does not. A manifest with
//! such a key would mean one thing here and another there. The values are passed over; the check is of the
//! keys of the document and of the descriptors in it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// The keys of a document that mean something here.
const DOCUMENT: [&str; 8] = [
    "schemaVersion",
    "mediaType",
    "manifests",
    "config",
    "layers",
    "blobs",
    "fsLayers",
    "subject",
];
/// The keys of a descriptor, or of a layer of schema 1.
const DESCRIPTOR: [&str; 5] = ["mediaType", "digest", "size", "urls", "blobSum"];

/// Checks the keys of a manifest.
pub(super) fn check(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Document>(text).map(|_| ())
}

struct Document;
struct Descriptor;

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Document {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            check_key(&key, &DOCUMENT)?;
            match key.as_ref() {
                "manifests" | "layers" | "blobs" | "fsLayers" => {
                    map.next_value::<Option<Vec<Descriptor>>>()?;
                }
                "config" | "subject" => {
                    map.next_value::<Option<Descriptor>>()?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Descriptor {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a descriptor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            check_key(&key, &DESCRIPTOR)?;
            map.next_value::<IgnoredAny>()?;
        }
        Ok(self)
    }
}

fn check_key<E: Error>(key: &str, names: &[&str]) -> Result<(), E> {
    let folded = fold(key);
    match names.iter().find(|name| **name != key && fold(name) == folded) {
        Some(name) => Err(E::custom(format_args!(
            "the key `{}` is spelt `{name}`; some clients take one for the other",
            key.escape_debug()
        ))),
        None => Ok(()),
    }
}

/// As Go compares keys: without case, the long s and the Kelvin sign included.
fn fold(key: &str) -> String {
    let lower = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(lower).collect()
}
