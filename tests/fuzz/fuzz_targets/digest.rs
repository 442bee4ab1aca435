//! Digests: a text is one digest or none, and hashing does not depend on how the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::oci::{Algorithm, Digest, Hasher};

fuzz_target!(|content: &[u8]| {
    if let Ok(text) = str::from_utf8(content)
        && let Ok(digest) = text.parse::<Digest>()
    {
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.as_bytes().len(), digest.algorithm().hash_len());
    }
    let (head, tail) = content.split_at(content.len() / 3);
    for algorithm in Algorithm::ALL {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(head);
        hasher.update(tail);
        assert_eq!(hasher.finish(), Digest::of(algorithm, content));
    }
});
