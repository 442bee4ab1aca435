//! Who may pull without saying who they are, and with what others say it: `[access]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::environment::Environment;
use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, word};
use super::{Settings, htpasswd, secret, values};
use crate::policy::access::{Access, Anonymous, Challenge, Denied, User};
use crate::policy::clients::Rule;
use crate::upstream::Secret;

/// The machine itself.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// The networks that are nobody's on the Internet (RFC 1918, RFC 4193), and the machine itself.
const PRIVATE: [&str; 6] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    LOOPBACK[0],
    LOOPBACK[1],
];
/// Words for who may pull without saying who they are.
const WORDS: [&str; 4] = ["everyone", "private", "loopback", "nobody"];

/// Characters of a key that cannot be guessed.
const LEAST_KEY: usize = 32;

/// Where the passwords of those who log in stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// The htpasswd file, if there is one.
    pub htpasswd: Option<PathBuf>,
    /// The keys of tokens, the one that signs first.
    pub token_keys: Vec<Secret>,
}

/// Reads `[access]`, for a server that listens there.
pub(super) fn read(
    top: &Section<'_>,
    listen: SocketAddr,
    environment: &Environment,
    problems: &mut Problems,
) -> (Access, Logins) {
    let known = [
        "anonymous",
        "denied",
        "htpasswd",
        "challenge",
        "url",
        "token_key",
        "previous_token_key",
    ];
    let access = top.section("access", &known, problems);
    // Whoever listens for others and says nothing has not thought of them yet.
    let usual = if listen.ip().is_loopback() {
        "loopback"
    } else {
        "nobody"
    };
    let list = matches!(access.node("anonymous"), Some(node) if matches!(node.value, Value::List(_)));
    let anonymous = match list {
        true => Anonymous::From(access.read_list("anonymous", values::network, problems)),
        false => access.read("anonymous", meaning(usual), anonymous, problems),
    };
    let denied = access.read("denied", Denied::NotFound, denied, problems);
    let what = "the path of a file that htpasswd has written";
    let htpasswd = access.read(
        "htpasswd",
        None,
        |node| values::path(node, what).map(Some),
        problems,
    );
    let users = htpasswd.as_deref().map(|path| users(&access, path, problems));
    let token_keys = token_keys(&access, environment, problems);
    let read = Access {
        anonymous,
        denied,
        users: users.unwrap_or_default(),
        // They have entries of their own.
        issuers: Vec::new(),
        challenge: access.read("challenge", Challenge::Token, challenge, problems),
        url: access.read(
            "url",
            None,
            |node| values::url(node).map(|found| url(&found)),
            problems,
        ),
    };
    (read, Logins { htpasswd, token_keys })
}

/// The keys of tokens, the one that signs first.
fn token_keys(access: &Section<'_>, environment: &Environment, problems: &mut Problems) -> Vec<Secret> {
    let mut keys = Vec::new();
    for key in ["token_key", "previous_token_key"] {
        let Some(secret) = secret::read(access, key, environment, problems) else {
            continue;
        };
        if secret.expose().len() < LEAST_KEY {
            let place = access.node(key).map_or(&access.place, |node| &node.place);
            let what = format!(
                "{}{key} is too short: expected {LEAST_KEY} characters at least",
                access.name
            );
            problems.add(
                place,
                what,
                Some("make one with `openssl rand -base64 32`".into()),
            );
        }
        keys.push(secret);
    }
    if let (Some(node), None) = (access.node("previous_token_key"), access.node("token_key")) {
        let what = format!("{}previous_token_key: expected token_key beside it", access.name);
        problems.add(&node.place, what, None);
    }
    keys
}

fn challenge(node: &Node) -> Result<Challenge, Wrong> {
    word(node, &["token", "basic"]).map(|word| match word {
        "basic" => Challenge::Basic,
        _ => Challenge::Token,
    })
}

/// The URL without a slash at its end: a path follows.
fn url(url: &http::Uri) -> Option<String> {
    Some(url.to_string().trim_end_matches('/').to_owned())
}

fn users(access: &Section<'_>, path: &Path, problems: &mut Problems) -> Vec<User> {
    htpasswd::read(path).unwrap_or_else(|why| {
        let place = access.node("htpasswd").map_or(&access.place, |node| &node.place);
        let hint = "write it with `htpasswd -B -c FILE USER`";
        let what = format!("{}htpasswd: {}: {why}", access.name, path.display());
        problems.add(place, what, Some(hint.into()));
        Vec::new()
    })
}

fn anonymous(node: &Node) -> Result<Anonymous, Wrong> {
    let hint = "or a list of networks: [\"10.20.0.0/16\"]";
    word(node, &WORDS).map(meaning).map_err(|wrong| wrong.hint(hint))
}

fn meaning(word: &str) -> Anonymous {
    let networks: &[&str] = match word {
        "everyone" => return Anonymous::Everyone,
        "private" => &PRIVATE,
        "loopback" => &LOOPBACK,
        _ => &[],
    };
    let network = |text: &&str| -> IpNet { text.parse().expect("the networks above are well formed") };
    Anonymous::From(networks.iter().map(network).collect())
}

fn denied(node: &Node) -> Result<Denied, Wrong> {
    word(node, &["not_found", "forbidden"]).map(|word| match word {
        "forbidden" => Denied::Forbidden,
        _ => Denied::NotFound,
    })
}

/// What `read` reads back, as keys and values in TOML.
pub(super) fn show(access: &Access, logins: &Logins) -> Vec<(&'static str, String)> {
    let networks = |networks: &[IpNet]| {
        let quoted: Vec<String> = networks.iter().map(|network| format!("\"{network}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let named = WORDS.into_iter().find(|word| meaning(word) == access.anonymous);
    let anonymous = match (&access.anonymous, named) {
        (_, Some(word)) => format!("\"{word}\""),
        (Anonymous::Everyone, None) => "\"everyone\"".to_owned(),
        (Anonymous::From(list), None) => networks(list),
    };
    let denied = match access.denied {
        Denied::NotFound => "\"not_found\"",
        Denied::Forbidden => "\"forbidden\"",
    };
    let mut shown = vec![("anonymous", anonymous), ("denied", denied.to_owned())];
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let path = logins
        .htpasswd
        .as_ref()
        .map(|path| quoted(&path.to_string_lossy()));
    shown.extend(path.map(|path| ("htpasswd", path)));
    let challenge = match access.challenge {
        Challenge::Token => "\"token\"",
        Challenge::Basic => "\"basic\"",
    };
    shown.push(("challenge", challenge.to_owned()));
    shown.extend(access.url.as_ref().map(|url| ("url", quoted(url))));
    // Shown, and not read back: what they refer to is not known here.
    let keys = ["# token_key", "# previous_token_key"].into_iter();
    shown.extend(
        keys.zip(&logins.token_keys)
            .map(|(key, _)| (key, "\"***\"".to_owned())),
    );
    shown
}

/// What an operator should know about who may pull, although it is no mistake.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let server = &settings.server;
    let (clients, listen) = (&server.clients, server.listen);
    let nobody = clients.access.anonymous == Anonymous::From(Vec::new());
    let mut warnings = Vec::new();
    let shows_certificates = server.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if nobody && clients.rules.is_empty() && !clients.access.has_logins() && !shows_certificates {
        warnings.push(format!(
            "nobody may pull from {listen}: [access] has to say who may, because it is reached from other machines; \
             write anonymous = \"private\" for every private network, [\"10.20.0.0/16\"] for those you name, or \
             htpasswd = \"FILE\" for who logs in"
        ));
    }
    let is_plain = server.tls.is_none() && server.proxies.trusted.is_empty() && !listen.ip().is_loopback();
    let by_word_alone = |rule: &&Rule| {
        let matches = &rule.matches;
        !matches.issuers.is_empty() && matches.claims.is_empty() && matches.networks.is_empty()
    };
    for rule in clients.rules.iter().filter(by_word_alone) {
        warnings.push(format!(
            "client \"{}\": everybody to whom the issuer \"{}\" gives a token for its audience is this client; some give \
             one to whoever asks: say who is meant by claims in match",
            rule.name,
            rule.matches.issuers.join("\", \"")
        ));
    }
    if clients.access.has_logins() && is_plain {
        warnings.push(format!(
            "passwords travel to {listen} in the clear: set server.tls, or put a proxy with TLS in front and name it \
             in server.trusted_proxies"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
