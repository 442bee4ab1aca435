//! `[[trust]]`'s `keyless`: who may sign without a key, by which root of trust.

use super::super::file::Node;
use super::super::problem::Problems;
use super::super::section::{Section, Wrong, text};
use super::super::{show, values};
use super::is_missing;
use crate::policy::trust::keyless::{IS_BUILT_IN, Identity, Signers};

/// Most identities of an entry: each is held against the name of every signer.
const MOST_IDENTITIES: usize = 64;
/// Longest root of trust, in bytes; sigstore's has 7 KiB.
const LONGEST_ROOT: u64 = 1 << 20;

/// Whose signatures without a key are enough.
pub(super) fn read(entry: &Section<'_>, problems: &mut Problems) -> Option<Signers> {
    entry.node("keyless")?;
    let section = entry.section("keyless", &["root", "identities"], problems);
    let mut refuse = |what: &str, hint: &str| {
        problems.add(
            &section.place,
            format!("{}{what}", section.name),
            Some(hint.into()),
        );
    };
    if !IS_BUILT_IN {
        refuse(
            "this seawall was built without it",
            "build it with `cargo build --release --features keyless`",
        );
        return None;
    }
    if section.node("root").is_none() {
        let hint =
            "name the file with the authorities and the logs: root = \"/etc/seawall/trusted_root.json\"";
        refuse("no signature would ever hold", hint);
    }
    if is_missing(&section, "identities") {
        let hint = "anybody can have a certificate: say who is meant, identities = [{ issuer = \
                    \"https://token.actions.githubusercontent.com\", subject = \"https://github.com/team/.*\" }]";
        refuse("`identities` is missing", hint);
    }
    let nodes = section.list("identities", problems);
    if nodes.len() > MOST_IDENTITIES {
        let what = format!("{}more than {MOST_IDENTITIES} identities", section.name);
        let hint = "join those of one issuer: subject = \"one|other\"";
        problems.add(&section.place, what, Some(hint.into()));
    }
    let read = nodes.iter().filter_map(|node| identity(&section, node, problems));
    let identities: Vec<Identity> = read.collect();
    let signers = |node: &Node| signers(node, identities.clone()).map(Some);
    section.read("root", None, signers, problems)
}

/// The root of trust in a file, and who is believed by it.
fn signers(node: &Node, identities: Vec<Identity>) -> Result<Signers, Wrong> {
    let what = "the path of a trusted_root.json, as sigstore publishes it";
    let wrong = |why: String| Wrong::expected(what).hint(why);
    let path = values::path(node, what)?;
    let cannot = |error: std::io::Error| wrong(format!("it cannot be read: {error}"));
    if std::fs::metadata(&path).map_err(cannot)?.len() > LONGEST_ROOT {
        return Err(wrong(format!("it is longer than {LONGEST_ROOT} bytes")));
    }
    let file = std::fs::read(&path).map_err(cannot)?;
    let name = path.to_string_lossy().into_owned();
    Signers::new(name, &file, identities).map_err(|bad| wrong(bad.to_string()))
}

fn identity(section: &Section<'_>, node: &Node, problems: &mut Problems) -> Option<Identity> {
    let name = format!("{}identities: ", section.name);
    let entry = Section::open(name, Some(node), &["issuer", "subject"], problems);
    let mut part = |key: &str, hint: &str| match entry.node(key) {
        None => {
            let what = format!("{}`{key}` is missing", entry.name);
            problems.add(&node.place, what, Some(hint.into()));
            None
        }
        Some(node) => entry.take(key, node, some_text, problems),
    };
    let issuer = part(
        "issuer",
        "write who vouches for them: issuer = \"https://accounts.google.com\"",
    );
    let subject = part(
        "subject",
        "write as whom, a regular expression: subject = \"release@example\\\\.com\"",
    );
    let identity = Identity::new(issuer?, subject?);
    let report = |why| {
        let what = format!("{}subject: expected a regular expression", entry.name);
        problems.add(&node.place, what, Some(why));
    };
    identity.map_err(report).ok()
}

fn some_text(node: &Node) -> Result<String, Wrong> {
    let text = text(node)?;
    match text.is_empty() {
        true => Err(Wrong::expected("a text that is not empty")),
        false => Ok(text),
    }
}

/// As the configuration says it.
pub(super) fn show(signers: &Signers) -> String {
    let quoted = show::quoted;
    let identity = |identity: &Identity| {
        let (issuer, subject) = (quoted(identity.issuer()), quoted(identity.subject()));
        format!("{{ issuer = {issuer}, subject = {subject} }}")
    };
    let identities: Vec<String> = signers.identities().iter().map(identity).collect();
    let root = quoted(signers.path());
    format!("{{ root = {root}, identities = [{}] }}", identities.join(", "))
}

#[cfg(feature = "keyless")]
#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::PublicKeyData as _;

    use crate::config::tests::{refused, settings};
    use crate::config::trusts::tests::is_shown_and_follows;

    /// A new root of trust.
    fn root() -> String {
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = STANDARD.encode(params.self_signed(&key).unwrap().der());
        let log = STANDARD.encode(key.subject_public_key_info());
        format!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.trustedroot.v0.2+json","tlogs":[{{"publicKey":{{"rawBytes":"{log}"}}}}],"certificateAuthorities":[{{"certChain":{{"certificates":[{{"rawBytes":"{certificate}"}}]}}}}]}}"#
        )
    }

    #[test]
    fn who_signs_without_a_key_is_read_and_shown_and_follows_the_root_of_trust() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trusted_root.json");
        std::fs::write(&path, root()).unwrap();
        let text = format!(
            "[[trust]]\nrepositories = [\"quay.io\"]\nkeyless = {{ root = {path:?}, identities = [{{ issuer = \"https://a.test\", subject = 'https://b\\.test/.*' }}, {{ issuer = \"c\", subject = \"d|e\" }}] }}\n"
        );
        let settings = settings(&text);
        let signers = settings.cache.trust.all()[0].keyless.as_ref().unwrap();
        let [one, other] = signers.identities() else {
            panic!("{signers:?}")
        };
        assert!(
            one.is("https://a.test", "https://b.test/x") && !one.is("https://a.test", "https://bxtest/x")
        );
        assert!(other.is("c", "d") && other.is("c", "e") && !other.is("c", "de") && !other.is("d", "d"));
        is_shown_and_follows(&text, &[(&path, root())]);
    }

    #[test]
    fn what_nobody_could_sign_by_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trusted_root.json");
        std::fs::write(&path, root()).unwrap();
        let empty = folder.path().join("empty.json");
        std::fs::write(&empty, "{}").unwrap();
        let someone = "identities = [{ issuer = \"a\", subject = \"b\" }]";
        let many = format!(
            "identities = [{}]",
            "{ issuer = \"a\", subject = \"b\" },".repeat(65)
        );
        for (text, what) in [
            (someone, "no signature would ever hold"),
            ("root = ROOT", "`identities` is missing"),
            ("root = ROOT, identities = []", "`identities` is missing"),
            ("root = ROOT, identities = [\"a\"]", "expected a table"),
            (
                "root = ROOT, identities = [{ issuer = \"a\" }]",
                "`subject` is missing",
            ),
            (
                "root = ROOT, identities = [{ subject = \"a\" }]",
                "`issuer` is missing",
            ),
            (
                "root = ROOT, identities = [{ issuer = \"\", subject = \"a\" }]",
                "expected a text that is not empty",
            ),
            (
                "root = ROOT, identities = [{ issuer = \"a\", subject = \"(\" }]",
                "expected a regular expression",
            ),
            ("root = ROOT, identities = [{ name = \"a\" }]", "unknown key"),
            (&many, "more than 64 identities"),
            ("root = \"/none\", SOMEONE", "cannot be read"),
            ("root = EMPTY, SOMEONE", "missing field `mediaType`"),
            ("roots = []", "unknown key"),
        ] {
            let text = text.replace("SOMEONE", someone);
            let text = text.replace("ROOT", &format!("{path:?}"));
            let text = text.replace("EMPTY", &format!("{empty:?}"));
            let report = refused(&format!(
                "[[trust]]\nrepositories = [\"quay.io\"]\nkeyless = {{ {text} }}\n"
            ));
            assert!(report.contains(what), "{what} in {report}");
        }
    }
}
