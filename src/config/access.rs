//! Who may have what an upstream's credentials can see, and over which wire they travel.

use super::environment::Environment;
use super::file::Node;
use super::problem::Problems;
use super::section::{self, Section, Wrong, boolean};
use super::{identities, values};
use crate::policy::access::visibility::Sharing;
use crate::policy::naming::Pattern;
use crate::upstream::{Account, AlternateOptions};

/// Reads who may have what the credentials of an entry can see.
pub(super) fn sharing(entry: &Section<'_>, problems: &mut Problems) -> Sharing {
    let sharing = entry.read("access", Sharing::default(), word, problems);
    if sharing == Sharing::PerClient
        && entry.list("credentials", &mut Problems::default()).is_empty()
        && let Some(node) = entry.node("access")
    {
        let what = format!("{}access = \"per_client\" without credentials", entry.name);
        let hint =
            "what clients may have is fetched with them: give credentials that can see all of it".into();
        problems.add(&node.place, what, Some(hint));
    }
    sharing
}

fn word(node: &Node) -> Result<Sharing, Wrong> {
    let word = section::word(node, &Sharing::ALL.map(Sharing::name))?;
    Ok(Sharing::ALL
        .into_iter()
        .find(|sharing| sharing.name() == word)
        .unwrap_or_default())
}

/// Reads the credentials of an entry.
pub(super) fn credentials(
    entry: &Section<'_>,
    pattern: &Pattern,
    environment: &Environment,
    problems: &mut Problems,
) -> Vec<Account> {
    let list = entry.list("credentials", problems);
    let mut accounts: Vec<Account> = Vec::new();
    for node in list {
        for account in identities::read(node, entry, pattern, environment, problems) {
            let name = account.name();
            // By its name each has its budget, its metrics and its place in the status.
            if accounts.iter().any(|other| other.name() == name) {
                let what = format!("{}credentials has \"{name}\" twice", entry.name);
                let hint = "keep one, or say what each is for: prefix = \"team\"";
                problems.add(&node.place, what, Some(hint.into()));
            }
            accounts.push(account);
        }
    }
    accounts
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
