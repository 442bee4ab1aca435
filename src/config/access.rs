//! Who may have what an upstream's credentials can see, and over which wire they travel.

use super::environment::Environment;
use super::problem::Problems;
use super::section::{Section, Wrong, boolean, text};
use super::{secret, upstreams, values};
use crate::upstream::{AlternateOptions, Credential};

/// Why credentials need `access = "shared"` for now.
const NOT_YET: &str = "\"public\" and \"per_client\" are not available with credentials yet";

/// What the only choice means, for those who are about to make it.
const WHAT_SHARED_MEANS: &str =
    "access = \"shared\" lets everyone who may use this cache have what the credentials can see";

/// Reads the credentials of an entry, and refuses those that would open private images without saying so.
pub(super) fn credentials(
    entry: &Section<'_>,
    environment: &Environment,
    problems: &mut Problems,
) -> Vec<Credential> {
    let access = entry.read("access", "public", upstreams::access_word, problems);
    let list = entry.list("credentials", problems);
    let place = |key| entry.node(key).map(|node| &node.place);
    if access == "per_client" {
        let what = format!("{}access = \"per_client\": {NOT_YET}", entry.name);
        problems.add(
            place("access").unwrap_or(&entry.place),
            what,
            Some(WHAT_SHARED_MEANS.into()),
        );
    } else if access != "shared" && !list.is_empty() {
        let what = format!("{}credentials with access = \"{access}\": {NOT_YET}", entry.name);
        problems.add(
            place("credentials").unwrap_or(&entry.place),
            what,
            Some(WHAT_SHARED_MEANS.into()),
        );
    }
    let mut credentials = Vec::new();
    for node in list {
        let name = format!("{}credentials.", entry.name);
        let each = Section::open(name, Some(node), &["username", "password"], problems);
        for key in ["username", "password"] {
            if each.node(key).is_none() && matches!(node.value, super::file::Value::Table(_)) {
                problems.add(&node.place, format!("{}{key} is missing", each.name), None);
            }
        }
        let username = each.read("username", String::new(), username, problems);
        let password = secret::read(&each, "password", environment, problems);
        credentials.extend(password.map(|password| Credential { username, password }));
    }
    credentials
}

/// Judges an entry's URLs: `http://` is for this machine, elsewhere only if the operator insists.
pub(super) fn judge(
    entry: &Section<'_>,
    url: Option<&http::Uri>,
    alternates: &[AlternateOptions],
    problems: &mut Problems,
) {
    let insecure = entry.read("insecure", false, boolean, problems);
    let is_plain = |url: &http::Uri| url.scheme_str() == Some("http");
    let plain = url.is_some_and(is_plain);
    let away = url.is_some_and(|url| !values::is_loopback(url));
    let mut others = alternates.iter().map(|alternate| &alternate.url);
    if insecure
        && !plain
        && !others.any(is_plain)
        && let Some(node) = entry.node("insecure")
    {
        let what = format!(
            "{}insecure = true: it accepts an http:// url, and there is none",
            entry.name
        );
        let hint = "remove it; for certificates of your own, name them in `ca`".into();
        problems.add(&node.place, what, Some(hint));
    }
    if plain
        && away
        && !insecure
        && let Some(node) = entry.node("url")
    {
        let with = match entry.node("credentials") {
            Some(_) => "credentials over http://",
            None => "an http:// url beyond this machine",
        };
        let hint = "use https://, or set insecure = true to accept this".into();
        problems.add(&node.place, format!("{}{with}", entry.name), Some(hint));
    }
    let mut others = alternates.iter().map(|alternate| &alternate.url);
    if !insecure
        && others.any(|url| is_plain(url) && !values::is_loopback(url))
        && let Some(node) = entry.node("alternates")
    {
        let what = format!("{}an http:// alternate beyond this machine", entry.name);
        let hint = "use https://, or set insecure = true to accept this".into();
        problems.add(&node.place, what, Some(hint));
    }
}

/// RFC 7617: a user name has no colon, for that is where the password begins.
fn username(node: &super::file::Node) -> Result<String, Wrong> {
    let name = text(node).map_err(Wrong::secret)?;
    if name.is_empty() || name.contains(':') || name.contains(char::is_control) {
        return Err(Wrong::expected("a user name without a colon").secret());
    }
    Ok(name)
}
