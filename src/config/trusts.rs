//! `[[trust]]`: whose signature the content of some repositories needs, and how long their tags wait.

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use super::clients::scope;
use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, duration};
use super::units::show_duration;
use super::{show, values};
use crate::policy::trust::{Key, Rule, Rules};

/// The keys of an entry.
const KEYS: [&str; 3] = ["repositories", "cosign", "minimum_age"];
/// Most rules: each is held against the name of every repository that is asked for.
const MOST_RULES: usize = 64;

/// Reads every entry.
pub(super) fn read(top: &Section<'_>, problems: &mut Problems) -> Rules {
    let nodes = top.list("trust", problems);
    if let Some(node) = nodes.get(MOST_RULES) {
        let what = format!("trust: more than {MOST_RULES} entries");
        problems.add(&node.place, what, Some("join those that want the same".into()));
    }
    Rules::new(nodes.iter().map(|node| rule(node, problems)).collect())
}

fn rule(node: &Node, problems: &mut Problems) -> Rule {
    let entry = Section::open("trust: ".into(), Some(node), &KEYS, problems);
    let repositories = entry.read_list("repositories", scope, problems);
    if is_missing(&entry, "repositories") {
        let what = format!("{}`repositories` is missing", entry.name);
        let hint = "write what it is for: repositories = [\"ghcr.io/team/**\"]";
        problems.add(&node.place, what, Some(hint.into()));
    }
    let cosign = entry.section("cosign", &["keys"], problems);
    if entry.node("cosign").is_none() {
        if entry.node("minimum_age").is_none() {
            let what = format!("{}it asks for nothing", entry.name);
            let hint = "write whose signature is needed, cosign = { keys = [\"/etc/seawall/cosign.pub\"] }, or how long \
                        new tags wait, minimum_age = \"3d\"; \"0s\" excepts what later entries mean, too";
            problems.add(&node.place, what, Some(hint.into()));
        }
    } else if is_missing(&cosign, "keys") {
        let what = format!("{}no signature would ever hold", cosign.name);
        let hint = "name files with the public keys: keys = [\"/etc/seawall/cosign.pub\"]";
        problems.add(&cosign.place, what, Some(hint.into()));
    }
    Rule {
        repositories,
        keys: cosign.read_list("keys", key, problems),
        minimum_age: entry.read("minimum_age", None, |node| duration(node).map(Some), problems),
    }
}

/// True for a list that is not there or empty. One of which nothing could be read has been reported.
fn is_missing(section: &Section<'_>, key: &str) -> bool {
    match section.node(key).map(|node| &node.value) {
        None => true,
        Some(Value::List(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// The public key in a PEM file, as cosign writes it.
fn key(node: &Node) -> Result<Key, Wrong> {
    let what = "the path of a PEM file with a public key";
    let wrong = |why: String| Wrong::expected(what).hint(why);
    let path = values::path(node, what)?;
    let pem = std::fs::read(&path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem).map_err(|_| {
        wrong("there is no PUBLIC KEY in it; `cosign public-key --key …` prints the one of a signer".into())
    })?;
    let name = path.to_string_lossy().into_owned();
    Key::new(name, der.to_vec()).map_err(|bad| wrong(bad.to_string()))
}

/// An entry as the configuration says it: its keys and their values.
pub(super) fn show(rule: &Rule) -> Vec<(&'static str, String)> {
    let list = |texts: Vec<String>| {
        let quoted: Vec<String> = texts.iter().map(|text| show::quoted(text)).collect();
        format!("[{}]", quoted.join(", "))
    };
    let repositories = rule.repositories.iter().map(ToString::to_string).collect();
    let keys = rule.keys.iter().map(|key| key.name().to_owned()).collect();
    let mut shown = vec![("repositories", list(repositories))];
    if !rule.keys.is_empty() {
        shown.push(("cosign", format!("{{ keys = {} }}", list(keys))));
    }
    if let Some(age) = rule.minimum_age {
        shown.push(("minimum_age", show::quoted(&show_duration(age))));
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use base64::Engine as _;

    use crate::config::tests::{refused, settings};
    use crate::config::{Changes, effective, file, problem::Problems};

    /// A new public key, as cosign writes it.
    fn pem() -> String {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der = pair.public_key().as_der().unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    #[test]
    fn a_rule_is_read_and_shown_and_follows_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cosign.pub");
        std::fs::write(&path, pem()).unwrap();
        let text = format!(
            "[[trust]]\nrepositories = [\"ghcr.io/team/**\", \"quay.io\"]\ncosign = {{ keys = [{path:?}] }}\nminimum_age = \"3d\"\n\n[[trust]]\nrepositories = [\"gcr.io\"]\nminimum_age = \"0s\"\n"
        );
        let settings = settings(&text);
        let [rule, excepted] = settings.cache.trust.all() else {
            panic!("{:?}", settings.cache.trust)
        };
        assert_eq!((rule.repositories.len(), rule.keys.len()), (2, 1));
        assert_eq!(rule.minimum_age, Some(Duration::from_secs(72 * 3600)));
        assert_eq!(
            (excepted.keys.len(), excepted.minimum_age),
            (0, Some(Duration::ZERO))
        );
        let shown = effective(&settings);
        assert_eq!(
            self::settings(&shown).cache.trust,
            settings.cache.trust,
            "{shown}"
        );
        let mut files = Vec::new();
        file::named_files(&file::parse(&text, &mut Problems::default()), &mut files);
        assert_eq!(files, std::slice::from_ref(&path));

        std::fs::write(&path, pem()).unwrap();
        let changes = Changes::between(&settings, &self::settings(&text));
        let told: Vec<String> = changes.live.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["the key of a [[trust]] has new content"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cosign.pub");
        std::fs::write(&path, "no key").unwrap();
        for (text, what) in [
            ("repositories = [\"quay.io\"]", "asks for nothing"),
            (
                "repositories = [\"quay.io\"]\nminimum_age = 3",
                "expected a duration",
            ),
            (
                "repositories = []\ncosign = { keys = [] }",
                "`repositories` is missing",
            ),
            (
                "repositories = [\"quay.io\"]\ncosign = {}",
                "no signature would ever hold",
            ),
            ("repositories = [\"A b\"]", "expected repositories"),
            (
                "repositories = [\"quay.io\"]\ncosign = { keys = [\"/none\"] }",
                "cannot be read",
            ),
            (
                "repositories = [\"quay.io\"]\ncosign = { keys = [PATH] }",
                "no PUBLIC KEY in it",
            ),
            ("cosigns = {}", "unknown key"),
        ] {
            let text = text.replace("PATH", &format!("{path:?}"));
            let report = refused(&format!("[[trust]]\n{text}\n"));
            assert!(report.contains(what), "{what} in {report}");
        }
    }
}
