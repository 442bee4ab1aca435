//! The operator's pages: how they are served to other machines, and to whom: `[admin]`.

use super::environment::Environment;
use super::file::Node;
use super::problem::Problems;
use super::section::{Section, Wrong, boolean, text, word};
use super::{secret, tls};
use crate::policy::access::Role;
use crate::policy::clients::Rule;
use crate::server::{Operator, Operators, Options};

/// Characters of a token that cannot be guessed.
const LEAST_TOKEN: usize = 32;
/// What a token may allow.
const ROLES: [Role; 3] = [Role::Read, Role::Operate, Role::Admin];

/// Reads `[admin]`.
pub(super) fn read(top: &Section<'_>, environment: &Environment, problems: &mut Problems) -> Operators {
    let admin = top.section("admin", &["tls", "token", "require_role"], problems);
    let mut tokens: Vec<Operator> = Vec::new();
    for node in admin.list("token", problems) {
        let Some(read) = token(node, environment, problems) else {
            continue;
        };
        if tokens.iter().any(|other| other.name == read.name) {
            let what = format!("admin.token \"{}\" is there twice", read.name);
            problems.add(
                &node.place,
                what,
                Some("give each a name of its own: the log tells them apart".into()),
            );
        }
        tokens.push(read);
    }
    Operators {
        tls: tls::read(&admin, problems),
        tokens,
        require_role: admin.read("require_role", true, boolean, problems),
    }
}

fn token(node: &Node, environment: &Environment, problems: &mut Problems) -> Option<Operator> {
    let keys = ["name", "role", "secret"];
    let mut token = Section::open("admin.token: ".into(), Some(node), &keys, problems);
    let name = token.read("name", None, |node| name(node).map(Some), problems);
    if let Some(name) = &name {
        token.name = format!("admin.token \"{name}\": ");
    }
    for (key, hint) in [
        (
            "name",
            "write what the log calls whoever has it: name = \"alice\"",
        ),
        (
            "role",
            "write how far it goes: role = \"read\", \"operate\" or \"admin\"",
        ),
        (
            "secret",
            "write where the token stands: secret = { file = \"PATH\" } or { env = \"NAME\" }",
        ),
    ] {
        if token.node(key).is_none() {
            let what = format!("{}`{key}` is missing", token.name);
            problems.add(&node.place, what, Some(hint.into()));
        }
    }
    let role = token.read("role", None, |node| role(node).map(Some), problems);
    let secret = secret::read(&token, "secret", environment, problems);
    if let (Some(secret), Some(node)) = (&secret, token.node("secret"))
        && secret.expose().len() < LEAST_TOKEN
    {
        let what = format!(
            "{}secret is too short: expected {LEAST_TOKEN} characters at least",
            token.name
        );
        problems.add(
            &node.place,
            what,
            Some("make one with `openssl rand -base64 32`".into()),
        );
    }
    Some(Operator {
        name: name?,
        role: role?,
        secret: secret?,
    })
}

fn name(node: &Node) -> Result<String, Wrong> {
    let name = text(node)?;
    match name.is_empty() || name.contains(char::is_control) {
        true => Err(Wrong::expected("a name for the log")),
        false => Ok(name),
    }
}

fn role(node: &Node) -> Result<Role, Wrong> {
    let found = word(node, &ROLES.map(Role::name))?;
    let role = ROLES.into_iter().find(|role| role.name() == found);
    role.ok_or_else(|| Wrong::expected("a role"))
}

/// True if somebody on another machine may see the operator's pages.
fn has_somebody(server: &Options) -> bool {
    let tls = server.operators.tls.as_ref();
    let takes_certificates = tls.is_some_and(|tls| tls.client_ca.is_some());
    // A client that is known by a certificate only can show it only where one is asked for.
    let can_come = |rule: &Rule| takes_certificates || rule.matches.certificates.is_empty();
    let sees = |rule: &&Rule| rule.grant.role > Role::Pull;
    !server.operators.tokens.is_empty() || server.clients.rules.iter().filter(sees).any(can_come)
}

/// Refuses to be reached from other machines where nobody there has a role: whoever listens for others says for whom.
pub(super) fn judge(section: &Section<'_>, server: &Options, problems: &mut Problems) {
    if server.admin.ip().is_loopback() || !server.operators.require_role || has_somebody(server) {
        return;
    }
    let place = section.node("admin").map_or(&section.place, |node| &node.place);
    let what = format!(
        "server.admin = \"{}\": the operator's pages are reached from other machines, and nobody there has a role",
        server.admin
    );
    let hint = "name who may see them, by an [[admin.token]] or a [[client]] with role = \"read\", \"operate\" or \
                \"admin\"; or accept that others see /livez and /readyz only: [admin] require_role = false";
    problems.add(place, what, Some(hint.into()));
}

/// What an operator should know although it is no mistake.
pub(super) fn warnings(server: &Options) -> Vec<String> {
    if server.admin.ip().is_loopback() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let admin = server.admin;
    if !has_somebody(server) {
        warnings.push(format!(
            "from other machines, {admin} tells only whether this cache is alive and ready: for metrics and the rest, \
             give a token to somebody ([[admin.token]]), or a [[client]] role = \"read\", \"operate\" or \"admin\""
        ));
    }
    let has_secrets = !server.operators.tokens.is_empty() || server.clients.access.has_logins();
    if has_secrets && server.operators.tls.is_none() {
        warnings.push(format!(
            "tokens and passwords travel to {admin} in the clear: set admin.tls, or let nobody on the way read them"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{refused, settings};
    use crate::policy::access::Role;

    const ELSEWHERE: &str = "[server]\nadmin = \"0.0.0.0:5001\"\n";
    const CLIENT: &str = "[[client]]\nname = \"ops\"\ntier = \"unlimited\"\n";

    /// A token of 32 characters in a file, for as long as the directory is there.
    fn token() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "CANARY-0123456789-0123456789-012\n").unwrap();
        (directory, path.display().to_string())
    }

    #[test]
    fn whoever_listens_for_other_operators_says_for_whom() {
        // S073
        let report = refused(ELSEWHERE);
        for words in [
            "2:9 ",
            "server.admin = \"0.0.0.0:5001\"",
            "nobody there has a role",
            "[[admin.token]]",
        ] {
            assert!(report.contains(words), "{words}: {report}");
        }
        let pulls = format!("{ELSEWHERE}{CLIENT}match = {{ cidr = [\"10.0.0.0/8\"] }}\n");
        assert!(refused(&pulls).contains("nobody there has a role"));
        let shows = format!("{ELSEWHERE}{CLIENT}match = {{ certificate = [\"ops\"] }}\nrole = \"admin\"\n");
        assert!(
            refused(&shows).contains("nobody there has a role"),
            "no certificate is asked for"
        );
        settings("[server]\nadmin = \"[::1]:5001\"\n");
        settings(&format!("{ELSEWHERE}[admin]\nrequire_role = false\n"));
        settings(&format!("{pulls}role = \"read\"\n"));
        let (_directory, path) = token();
        let named = format!(
            "{ELSEWHERE}[[admin.token]]\nname = \"a\"\nrole = \"read\"\nsecret = {{ file = '{path}' }}\n"
        );
        let operators = settings(&named).server.operators;
        assert_eq!(
            (operators.tokens[0].name.as_str(), operators.tokens[0].role),
            ("a", Role::Read)
        );
        assert!(!format!("{operators:?}").contains("CANARY"));
    }

    #[test]
    fn a_token_that_cannot_be_meant_is_refused_with_a_hint() {
        let (directory, path) = token();
        std::fs::write(directory.path().join("short"), "CANARY").unwrap();
        let short = directory.path().join("short").display().to_string();
        let with = |keys: &str| format!("[[admin.token]]\n{keys}\n");
        let good = format!("name = \"a\"\nrole = \"admin\"\nsecret = {{ file = '{path}' }}");
        for (text, what) in [
            (with(""), "admin.token: `name` is missing"),
            (
                with("name = \"a\"\nrole = \"pull\""),
                "expected one of \"read\", \"operate\", \"admin\"",
            ),
            (
                with("name = \"a\"\nrole = \"read\""),
                "admin.token \"a\": `secret` is missing",
            ),
            (
                with("name = \"a\"\nrole = \"read\"\nsecret = \"CANARY\""),
                "expected a reference",
            ),
            (
                with(&format!(
                    "name = \"a\"\nrole = \"read\"\nsecret = {{ file = '{short}' }}"
                )),
                "secret is too short: expected 32 characters",
            ),
            (with(&good) + &with(&good), "admin.token \"a\" is there twice"),
        ] {
            let report = refused(&text);
            assert!(
                report.contains(what) && !report.contains("CANARY"),
                "{what}: {report}"
            );
        }
    }
}
