//! `[[trust]]`: whose signature the content of some repositories needs, and how long their tags wait.

mod keyless;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use super::clients::scope;
use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, duration, text};
use super::units::show_duration;
use super::{show, values};
use crate::policy::trust::notation::Signers;
use crate::policy::trust::{Authority, BadAuthority, Key, Rule, Rules, Subject};

/// The keys of an entry.
const KEYS: [&str; 5] = ["repositories", "cosign", "keyless", "notation", "minimum_age"];
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
    let asks = KEYS[1..].iter().any(|key| entry.node(key).is_some());
    if !asks {
        let what = format!("{}it asks for nothing", entry.name);
        let hint = "write whose signature is needed, cosign = { keys = [\"/etc/seawall/cosign.pub\"] }, keyless or notation = \
                    { ca = \"/etc/seawall/notation.pem\" }, or how long new tags wait, minimum_age = \"3d\"; \"0s\" \
                    excepts what later entries mean, too";
        problems.add(&node.place, what, Some(hint.into()));
    }
    let cosign = entry.section("cosign", &["keys"], problems);
    if entry.node("cosign").is_some() && is_missing(&cosign, "keys") {
        let what = format!("{}no signature would ever hold", cosign.name);
        let hint = "name files with the public keys: keys = [\"/etc/seawall/cosign.pub\"]";
        problems.add(&cosign.place, what, Some(hint.into()));
    }
    Rule {
        repositories,
        keys: cosign.read_list("keys", key, problems),
        keyless: keyless::read(&entry, problems),
        notation: notation(&entry, problems),
        minimum_age: entry.read("minimum_age", None, |node| duration(node).map(Some), problems),
    }
}

/// Whose Notation signatures are enough.
fn notation(entry: &Section<'_>, problems: &mut Problems) -> Option<Signers> {
    entry.node("notation")?;
    let section = entry.section("notation", &["ca", "identities"], problems);
    let path = |node: &Node| values::path(node, "a path");
    let Some(ca) = section.node("ca") else {
        let what = format!("{}no signature would ever hold", section.name);
        let hint = "name the file with the certificates of authorities: ca = \"/etc/seawall/notation.pem\"";
        problems.add(&section.place, what, Some(hint.into()));
        return None;
    };
    Some(Signers {
        path: path(ca).map_or_else(|_| String::new(), |path| path.to_string_lossy().into_owned()),
        authorities: section.read("ca", Vec::new(), authorities, problems),
        identities: section.read_list("identities", identity, problems),
    })
}

/// The certificates in a PEM file, to which those of signers lead.
fn authorities(node: &Node) -> Result<Vec<Authority>, Wrong> {
    let certificates = values::certificates(node)?.into_iter();
    let authorities: Result<Vec<Authority>, BadAuthority> = certificates.map(Authority::new).collect();
    authorities.map_err(|bad| Wrong::expected("a PEM file with certificates").hint(bad.to_string()))
}

fn identity(node: &Node) -> Result<Subject, Wrong> {
    let expected = "parts of the subject of a certificate: \"C=US, ST=WA, O=team\"";
    Subject::parse(&text(node)?).map_err(|bad| Wrong::expected(expected).hint(bad.to_string()))
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
    if let Some(signers) = &rule.keyless {
        shown.push(("keyless", keyless::show(signers)));
    }
    if let Some(signers) = &rule.notation {
        let ca = show::quoted(&signers.path);
        let identities = signers.identities.iter().map(ToString::to_string).collect();
        let identities = list(identities);
        shown.push(("notation", format!("{{ ca = {ca}, identities = {identities} }}")));
    }
    if let Some(age) = rule.minimum_age {
        shown.push(("minimum_age", show::quoted(&show_duration(age))));
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
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

    /// A new certificate.
    fn certificate() -> String {
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    /// The rules of a configuration are read as they are shown, and follow these files, sorted, when each gets this
    /// content.
    pub(super) fn is_shown_and_follows(text: &str, files: &[(&PathBuf, String)]) {
        let settings = settings(text);
        let shown = effective(&settings);
        assert_eq!(
            self::settings(&shown).cache.trust,
            settings.cache.trust,
            "{shown}"
        );
        let mut named = Vec::new();
        file::named_files(&file::parse(text, &mut Problems::default()), &mut named);
        named.sort();
        assert!(named.iter().eq(files.iter().map(|(path, _)| *path)), "{named:?}");
        for (path, content) in files {
            let before = self::settings(text);
            std::fs::write(path, content).unwrap();
            let changes = Changes::between(&before, &self::settings(text));
            let told: Vec<String> = changes.live.iter().map(ToString::to_string).collect();
            assert_eq!(told, ["a key or an authority of a [[trust]] has new content"]);
        }
    }

    #[test]
    fn a_rule_is_read_and_shown_and_follows_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cosign.pub");
        std::fs::write(&path, pem()).unwrap();
        let ca = folder.path().join("notation.pem");
        std::fs::write(&ca, certificate()).unwrap();
        let text = format!(
            "[[trust]]\nrepositories = [\"ghcr.io/team/**\", \"quay.io\"]\ncosign = {{ keys = [{path:?}] }}\nnotation = {{ ca = {ca:?}, identities = [\"x509.subject: C=DE, O=a\\\\,b\"] }}\nminimum_age = \"3d\"\n\n[[trust]]\nrepositories = [\"gcr.io\"]\nminimum_age = \"0s\"\n"
        );
        let settings = settings(&text);
        let [rule, excepted] = settings.cache.trust.all() else {
            panic!("{:?}", settings.cache.trust)
        };
        assert_eq!((rule.repositories.len(), rule.keys.len()), (2, 1));
        let signers = rule.notation.as_ref().unwrap();
        assert_eq!(
            (signers.authorities.len(), signers.identities[0].to_string()),
            (1, "C=DE, O=a\\,b".to_owned())
        );
        assert_eq!(rule.minimum_age, Some(Duration::from_secs(72 * 3600)));
        assert_eq!(
            (excepted.keys.len(), excepted.minimum_age),
            (0, Some(Duration::ZERO))
        );
        is_shown_and_follows(&text, &[(&path, pem()), (&ca, certificate())]);
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
            (
                "repositories = [\"quay.io\"]\nnotation = {}",
                "no signature would ever hold",
            ),
            (
                "repositories = [\"quay.io\"]\nnotation = { ca = PATH }",
                "a PEM file with certificates",
            ),
            (
                "repositories = [\"quay.io\"]\nnotation = { ca = PATH, identities = [\"*\"] }",
                "parts of the subject",
            ),
        ] {
            let text = text.replace("PATH", &format!("{path:?}"));
            let report = refused(&format!("[[trust]]\n{text}\n"));
            assert!(report.contains(what), "{what} in {report}");
        }
    }
}
