//! Routes: no path and no query makes the parser panic, and what is understood is bounded and plain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::oci::Route;

fuzz_target!(|text: &str| {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    // Most inputs would stop at the prefix; both are tried.
    for path in [path.to_owned(), format!("/v2/{path}")] {
        let Ok(route) = Route::parse(&path, query) else {
            continue;
        };
        assert_eq!(Route::parse(&path, query), Ok(route.clone()));
        assert!(!path.contains(['%', '\\', '\0', ' ']), "{path:?} was understood");
        if let Route::Tags(_, page) | Route::Catalog(_, page) = &route {
            assert!(page.count <= 1000);
        }
        if let Some(target) = route.target() {
            assert!(path.contains(target.path.as_str()));
        }
    }
});
