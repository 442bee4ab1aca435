//! Manifests: whatever bytes come, under whatever label, the outcome is one kind of document or a refusal.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use seawall::oci::{Manifest, MediaType};

fuzz_target!(|content: &[u8]| {
    let bytes = Bytes::copy_from_slice(content);
    for label in MediaType::MANIFESTS.map(Some).into_iter().chain([None]) {
        let Ok(manifest) = Manifest::parse(bytes.clone(), label.as_ref()) else {
            continue;
        };
        assert_eq!(manifest.bytes, bytes);
        assert!(manifest.media_type.is_manifest());
        assert!(label.is_none_or(|label| label == manifest.media_type));
        assert!(manifest.manifests.is_empty() || manifest.blobs.is_empty());
        assert!(manifest.manifests.is_empty() || manifest.media_type.is_index());
    }
    if let Ok(text) = str::from_utf8(content)
        && let Some(kind) = MediaType::parse(text)
    {
        assert_eq!(MediaType::parse(kind.as_str()), Some(kind));
    }
});
