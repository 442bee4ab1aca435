//! Names: what is read prints to what is read the same, and holds nothing that could hurt a URL or a log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::oci::{Registry, RepositoryPath, Tag};

fuzz_target!(|text: &str| {
    let is_plain = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"%?#@\\".contains(&byte))
    };
    if let Ok(registry) = text.parse::<Registry>() {
        assert!(is_plain(registry.as_str()) && !registry.as_str().contains('/'));
        assert_eq!(registry.as_str().parse(), Ok(registry));
    }
    if let Ok(path) = text.parse::<RepositoryPath>() {
        assert!(is_plain(path.as_str()) && !path.as_str().contains(".."));
        assert_eq!(path.as_str(), text);
        if let Some((_, rest)) = path.split_first() {
            assert_eq!(rest.as_str().parse(), Ok(rest));
        }
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert!(is_plain(tag.as_str()) && !tag.as_str().contains('/'));
        assert_eq!(tag.as_str(), text);
    }
    let _ = RepositoryPath::parse_with_registry(text);
});
