//! Manifests: what is read, and what is refused because two readers could read two things.

use super::*;

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Parses a text in which `@` stands for a digest's hex digits.
fn parse(text: &str, label: Option<&MediaType>) -> Result<Manifest, ManifestError> {
    Manifest::parse(Bytes::from(text.replace('@', HEX)), label)
}

const ITEM: &str = r#"{"mediaType":"application/x","digest":"sha256:@","size":3}"#;

fn image(extra: &str) -> String {
    format!(r#"{{"schemaVersion":2,"config":{ITEM},"layers":[{ITEM},{ITEM}]{extra}}}"#)
}

fn index(extra: &str) -> String {
    format!(r#"{{"schemaVersion":2,"manifests":[{ITEM}]{extra}}}"#)
}

fn is_json_error(outcome: &Result<Manifest, ManifestError>) -> bool {
    matches!(outcome, Err(ManifestError::Json(_)))
}

#[test]
fn an_image_names_its_config_and_layers() {
    let manifest = parse(&image(""), Some(&MediaType::OCI_MANIFEST)).unwrap();
    assert_eq!(manifest.blobs.len(), 3);
    assert_eq!(manifest.blobs[0].size, 3);
    assert_eq!(manifest.blobs[0].digest.hex(), HEX);
    assert_eq!(manifest.blobs[0].media_type.as_str(), "application/x");
    assert!(manifest.manifests.is_empty() && manifest.subject.is_none());
    assert_eq!(
        manifest.bytes,
        image("").replace('@', HEX).as_bytes(),
        "byte for byte"
    );
}

#[test]
fn an_index_names_its_manifests_and_a_referrer_its_subject() {
    let subject = format!(r#","subject":{ITEM},"annotations":{{"a":"b"}}"#);
    let manifest = parse(&index(&subject), Some(&MediaType::DOCKER_LIST)).unwrap();
    assert_eq!(manifest.media_type, MediaType::DOCKER_LIST);
    assert_eq!(manifest.manifests.len(), 1);
    assert_eq!(manifest.subject.unwrap().hex(), HEX);
}

#[test]
fn layers_that_live_elsewhere_are_not_followed() {
    let foreign = r#"{"digest":"sha256:@","size":1,"urls":["https://elsewhere.test/x"]}"#;
    let here = r#"{"digest":"sha256:@","size":1,"urls":[]},{"digest":"sha256:@","size":1,"urls":null}"#;
    let text = format!(r#"{{"config":{ITEM},"layers":[{foreign},{here}]}}"#);
    assert_eq!(parse(&text, None).unwrap().blobs.len(), 3);
}

#[test]
fn the_type_is_the_label_else_the_body_else_the_shape() {
    let list = r#","mediaType":"application/vnd.docker.distribution.manifest.list.v2+json""#;
    let plain = MediaType::parse("application/json; charset=utf-8").unwrap();
    assert_eq!(
        parse(&index(""), Some(&MediaType::DOCKER_LIST))
            .unwrap()
            .media_type,
        MediaType::DOCKER_LIST
    );
    assert_eq!(
        parse(&index(list), Some(&plain)).unwrap().media_type,
        MediaType::DOCKER_LIST
    );
    assert_eq!(
        parse(&index(list), None).unwrap().media_type,
        MediaType::DOCKER_LIST
    );
    assert_eq!(
        parse(&index(""), Some(&plain)).unwrap().media_type,
        MediaType::OCI_INDEX
    );
    assert_eq!(
        parse(&image(""), None).unwrap().media_type,
        MediaType::OCI_MANIFEST
    );
    let old = r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"sha256:@"}]}"#;
    let old = parse(old, Some(&plain)).unwrap();
    assert_eq!((old.media_type, old.blobs.len()), (MediaType::DOCKER_SCHEMA1, 1));
    for text in [
        "{}",
        r#"{"schemaVersion":2}"#,
        r#"{"errors":[]}"#,
        r#"{"mediaType":"text/html"}"#,
    ] {
        assert_eq!(
            parse(text, None).unwrap_err(),
            ManifestError::Unrecognised,
            "{text}"
        );
    }
}

#[test]
fn s045_a_body_that_contradicts_its_label_is_refused() {
    let says_image = r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#;
    let outcome = parse(&image(says_image), Some(&MediaType::DOCKER_MANIFEST));
    assert!(
        matches!(outcome, Err(ManifestError::Mislabelled { .. })),
        "{outcome:?}"
    );
    for (text, label) in [
        (index(""), MediaType::OCI_MANIFEST),
        (image(""), MediaType::OCI_INDEX),
        ("{}".to_owned(), MediaType::OCI_INDEX),
        (r#"{"fsLayers":[]}"#.to_owned(), MediaType::DOCKER_MANIFEST),
        (index(says_image), MediaType::OCI_MANIFEST),
    ] {
        assert_eq!(
            parse(&text, Some(&label)).unwrap_err(),
            ManifestError::Ambiguous,
            "{text} as {label}"
        );
    }
}

#[test]
fn s046_a_document_of_two_kinds_is_refused() {
    for extra in [
        format!(r#","layers":[{ITEM}]"#),
        r#","layers":[]"#.to_owned(),
        format!(r#","config":{ITEM}"#),
        r#","fsLayers":[]"#.to_owned(),
        format!(r#","blobs":[{ITEM}]"#),
    ] {
        for label in [None, Some(&MediaType::OCI_INDEX), Some(&MediaType::OCI_MANIFEST)] {
            assert_eq!(
                parse(&index(&extra), label).unwrap_err(),
                ManifestError::Ambiguous,
                "{extra}"
            );
        }
    }
    let outcome = parse(&image(r#","fsLayers":[]"#), None);
    assert_eq!(outcome.unwrap_err(), ManifestError::Ambiguous);
    assert!(
        parse(&image(r#","manifests":null"#), None).is_ok(),
        "null is how Go writes an absent list"
    );
}

#[test]
fn s055_a_known_key_given_twice_is_refused() {
    for extra in [
        r#","layers":[]"#,
        r#","lay\u0065rs":[]"#,
        r#","schemaVersion":2"#,
        r#","mediaType":"application/vnd.oci.image.manifest.v1+json","mediaType":"application/vnd.oci.image.index.v1+json""#,
        r#","subject":null,"subject":null"#,
    ] {
        assert!(is_json_error(&parse(&image(extra), None)), "{extra}");
    }
    let twice = r#"{"manifests":[{"digest":"sha256:@","size":1,"digest":"sha256:@"}]}"#;
    assert!(is_json_error(&parse(twice, None)));
}

#[test]
fn s055_a_known_key_in_another_case_is_refused() {
    for extra in [
        r#","Layers":[]"#,
        r#","MANIFESTS":[]"#,
        r#","mediatype":"x/y""#,
        r#","Config":{}"#,
        ",\"f\u{17f}Layers\":[]",
    ] {
        assert!(is_json_error(&parse(&image(extra), None)), "{extra}");
    }
    for item in [
        r#"{"digest":"sha256:@","Digest":"sha256:@","size":1}"#,
        r#"{"digest":"sha256:@","size":1,"SIZE":2}"#,
        r#"{"digest":"sha256:@","size":1,"\u017fize":2}"#,
    ] {
        assert!(
            is_json_error(&parse(&format!(r#"{{"manifests":[{item}]}}"#), None)),
            "{item}"
        );
    }
}

#[test]
fn s055_an_unknown_key_given_twice_is_harmless() {
    let extra = r#","annotations":{"a":"1","a":"2"},"x":1,"x":[2]"#;
    assert!(parse(&image(extra), None).is_ok());
}

#[test]
fn s055_what_is_not_exactly_one_json_object_is_refused() {
    for text in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "\"x\"".to_owned(),
        format!("\u{feff}{}", image("")),
        format!("{}x", image("")),
        format!("{}{}", image(""), image("")),
        image(r#","x":NaN"#),
        image(","),
        image(r#","layers""#),
        image("").replace("\"size\":3", "\"size\":-3"),
        image("").replace("\"size\":3", "\"size\":3.5"),
        image("").replace("\"size\":3", "\"size\":18446744073709551616"),
        image("").replace("\"size\":3", "\"size\":\"3\""),
        image("").replace("sha256:@", "sha256:../@"),
        image("").replace("sha256:@", "md5:@"),
    ] {
        assert!(is_json_error(&parse(&text, None)), "{text}");
    }
    assert!(
        parse(&format!(" {}\r\n", image("")), None).is_ok(),
        "white space around it is JSON"
    );
    let mut bytes = image(r#","annotations":{"a":"!"}"#)
        .replace('@', HEX)
        .into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'!').unwrap();
    bytes[at] = 0xff;
    assert!(
        is_json_error(&Manifest::parse(Bytes::from(bytes), None)),
        "invalid UTF-8 in a text nobody reads"
    );
}

#[test]
fn s056_deep_nesting_does_not_overflow_the_stack() {
    let depth = 1_000_000;
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    let object = "{\"a\":".repeat(depth);
    for text in [
        image(&format!(r#","x":{open}{close}"#)),
        image(&format!(r#","x":{open}"#)),
        image(&format!(r#","x":{object}1{}"#, "}".repeat(depth))),
        format!(r#"{{"layers":{open}{close}}}"#),
        format!(r#"{{"subject":{object}"#),
        open,
        object,
    ] {
        // Refused or passed over; what matters is that the process lives.
        let _ = parse(&text, None);
    }
}

#[test]
fn media_types_are_read_without_parameters_and_case() {
    for (value, expected) in [
        ("application/json", Some("application/json")),
        ("Application/JSON; charset=utf-8", Some("application/json")),
        (" text/plain ;x", Some("text/plain")),
        (
            "application/vnd.oci.image.index.v1+json",
            Some("application/vnd.oci.image.index.v1+json"),
        ),
        ("", None),
        ("json", None),
        ("a/", None),
        ("/b", None),
        ("a/b/c", None),
        ("a/b c", None),
        ("a/b\r\nX: y", None),
        ("a/b\"", None),
        ("a/\u{e9}", None),
    ] {
        let read = MediaType::parse(value);
        assert_eq!(read.as_ref().map(MediaType::as_str), expected, "{value:?}");
    }
    assert_eq!(MediaType::parse(&format!("a/{}", "b".repeat(254))), None);
    for known in MediaType::MANIFESTS {
        assert_eq!(MediaType::parse(known.as_str()), Some(known));
    }
}
