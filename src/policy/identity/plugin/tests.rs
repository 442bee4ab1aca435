//! Patterns of images, durations, and answers that are none.

use proptest::prelude::*;

use super::*;

fn registry(text: &str) -> Registry {
    text.parse().unwrap()
}

fn below(path: &str) -> Prefix {
    Prefix::parse(path).unwrap()
}

/// An answer that has a login under each of these keys: the key's number is the user.
fn answer(keys: &[&str], keep: &str) -> String {
    let auth: Vec<String> = keys
        .iter()
        .enumerate()
        .map(|(number, key)| format!(r#""{key}":{{"username":"u{number}","password":"CANARY"}}"#))
        .collect();
    format!(
        r#"{{"kind":"CredentialProviderResponse","apiVersion":"{VERSION}","cacheKeyType":"Registry"{keep},"auth":{{{}}}}}"#,
        auth.join(",")
    )
}

fn user(keys: &[&str], name: &str, path: &str) -> Option<String> {
    let read = read(answer(keys, "").as_bytes(), &registry(name), &below(path));
    read.unwrap_or_else(|why| panic!("{why}"))
        .login
        .map(|(user, _)| user)
}

#[test]
fn a_plugin_is_asked_about_an_image_of_the_registry() {
    assert_eq!(
        request(&registry("r.example:5000"), &below("team/apps")),
        r#"{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"r.example:5000/team/apps"}"#
    );
    let whole = request(&registry("docker.io"), &Prefix::ALL);
    assert!(whole.contains(r#""image":"docker.io/image""#), "{whole}");
}

#[test]
fn a_pattern_fits_label_by_label_at_its_port_and_below_its_path() {
    for (key, name, path, fits) in [
        (
            "123.dkr.ecr.us-east-1.amazonaws.com",
            "123.dkr.ecr.us-east-1.amazonaws.com",
            "",
            true,
        ),
        (
            "*.dkr.ecr.*.amazonaws.com",
            "123.dkr.ecr.us-east-1.amazonaws.com",
            "",
            true,
        ),
        ("*.azurecr.io", "team.azurecr.io", "", true),
        ("*.azurecr.io", "a.team.azurecr.io", "", false),
        ("*.io", "team.azurecr.io", "", false),
        ("*", "azurecr.io", "", false),
        ("app*.k8s.io", "app1.k8s.io", "", true),
        ("app*.k8s.io", "web.k8s.io", "", false),
        ("*-docker.*.dev", "europe-docker.pkg.dev", "", true),
        ("*.EXAMPLE.com", "r.example.com", "", true),
        ("r.example.com", "r.example.com:5000", "", false),
        ("*.example.com:5000", "r.example.com:5000", "", true),
        ("*.example.com:50", "r.example.com:5000", "", false),
        ("r.example.com/team", "r.example.com", "team/apps", true),
        ("r.example.com/team", "r.example.com", "teams", false),
        ("r.example.com/team", "r.example.com", "", false),
        ("*.example.com/team", "r.example.com", "team", true),
        ("*.example.com/team", "r.example.com", "", false),
        ("https://index.docker.io/v1/", "docker.io", "", true),
        ("", "r.example.com", "", false),
    ] {
        assert_eq!(
            user(&[key], name, path).is_some(),
            fits,
            "{key} for {name}/{path}"
        );
    }
}

#[test]
fn of_several_that_fit_the_most_specific_goes_first() {
    let keys = [
        "*.example.com",
        "r.example.com",
        "r.example.com/team",
        "zzz.example.com",
    ];
    assert_eq!(user(&keys, "r.example.com", "team/x").as_deref(), Some("u2"));
    assert_eq!(user(&keys, "r.example.com", "").as_deref(), Some("u1"));
    assert_eq!(user(&keys, "x.example.com", "").as_deref(), Some("u0"));
}

#[test]
fn durations_are_read_as_their_language_writes_them() {
    for (text, seconds) in [
        ("12h0m0s", Some(43_200.0)),
        ("1.5h", Some(5_400.0)),
        ("300ms", Some(0.3)),
        ("1m30s", Some(90.0)),
        ("0", Some(0.0)),
        ("0s", Some(0.0)),
        ("9999999h", Some(604_800.0)),
        ("-1h", None),
        ("10", None),
        ("", None),
        ("h", None),
        ("1d", None),
        ("1..2s", None),
    ] {
        let read = duration(text).map(|read| read.as_secs_f64());
        assert_eq!(read, seconds, "{text}");
    }
    let kept = read(
        answer(&["r.example"], r#","cacheDuration":"6h0m0s""#).as_bytes(),
        &registry("r.example"),
        &Prefix::ALL,
    );
    assert_eq!(
        kept.unwrap_or_else(|why| panic!("{why}")).keep,
        Some(Duration::from_secs(21_600))
    );
}

#[test]
fn what_is_no_answer_is_refused_without_quoting_it() {
    let other = answer(&[], "").replace("io/v1", "io/v1beta1");
    let strange = answer(&[], "").replace(VERSION, "CANARY");
    let kind = answer(&[], "").replace("ProviderResponse", "ProviderRequest");
    let empty = answer(&["r.example"], "").replace("CANARY", "");
    let colon = answer(&["r.example"], "").replace("u0", "u:CANARY");
    let expected = "expected a CredentialProviderResponse in credentialprovider.kubelet.k8s.io/v1";
    for (text, told) in [
        (
            "CANARY",
            "it wrote no CredentialProviderResponse (line 1, column 1)".to_owned(),
        ),
        (
            &*other,
            format!("it answered in credentialprovider.kubelet.k8s.io/v1beta1: {expected}"),
        ),
        (&*strange, format!("it answered in another protocol: {expected}")),
        (&*kind, format!("it answered in {VERSION}: {expected}")),
        (
            &*empty,
            "what it wrote for the image is no user and password".to_owned(),
        ),
        (
            &*colon,
            "what it wrote for the image is no user and password".to_owned(),
        ),
        (
            &*answer(&[], r#","cacheDuration":"CANARY""#),
            "its cacheDuration is no duration such as \"10m0s\"".to_owned(),
        ),
    ] {
        let read = read(text.as_bytes(), &registry("r.example"), &Prefix::ALL);
        assert_eq!(read.err().map(|why| why.to_string()), Some(told), "{text}");
    }
    let nothing = answer(&[], "").replace("{}", "null");
    let nothing = read(nothing.as_bytes(), &registry("r.example"), &Prefix::ALL);
    assert!(nothing.is_ok_and(|answer| answer.login.is_none() && answer.keep.is_none()));
}

proptest! {
    /// Whatever is written: it is read or refused, and only what was written for the image is given.
    #[test]
    fn no_text_breaks_it(key in "[a-z*.:/-]{0,24}", keep in "[0-9a-zµ.-]{0,12}") {
        let text = answer(&[&key], &format!(r#","cacheDuration":"{keep}""#));
        let _ = read(text.as_bytes(), &registry("r.example"), &below("team"));
    }
}
