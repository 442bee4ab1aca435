//! The `alternates` of an entry: other registries that may have the same digests.

use http::Uri;

use super::file::{Node, Value};
use super::problem::Problems;
use super::section::{Section, Wrong, text};
use super::values;
use crate::oci::RepositoryPath;
use crate::upstream::AlternateOptions;

/// Reads the alternates: each a URL, or `{ url = "…", prefix = "…" }`. They are no credentials' business, so
/// none can be written here.
pub(super) fn read(entry: &Section<'_>, problems: &mut Problems) -> Vec<AlternateOptions> {
    let mut alternates = Vec::new();
    for node in entry.list("alternates", problems) {
        let name = format!("{}alternates", entry.name);
        if !matches!(node.value, Value::Table(_)) {
            let url = entry.take("alternates", node, url, problems);
            alternates.extend(url.map(|url| AlternateOptions { url, prefix: None }));
            continue;
        }
        let each = Section::open(format!("{name}."), Some(node), &["url", "prefix"], problems);
        let url = each.read("url", None, |node| values::url(node).map(Some), problems);
        if each.node("url").is_none() {
            let hint = "write where it is: { url = \"https://public.ecr.aws\", prefix = \"docker\" }".into();
            problems.add(&node.place, format!("{name}.url is missing"), Some(hint));
        }
        let prefix = each.read("prefix", None, |node| prefix(node).map(Some), problems);
        alternates.extend(url.map(|url| AlternateOptions { url, prefix }));
    }
    alternates
}

/// Refuses alternates that cannot help: the upstream itself, and one that is written twice.
pub(super) fn judge(
    entry: &Section<'_>,
    own: Option<&Uri>,
    alternates: &[AlternateOptions],
    problems: &mut Problems,
) {
    let place = entry.node("alternates").map_or(&entry.place, |node| &node.place);
    for (index, alternate) in alternates.iter().enumerate() {
        let url = &alternate.url;
        let why = if own.is_some_and(|own| own.authority() == url.authority()) {
            "is the upstream itself"
        } else if alternates[..index].contains(alternate) {
            "is written twice"
        } else {
            continue;
        };
        let what = format!("{}alternates: {url} {why}", entry.name);
        problems.add(place, what, Some("remove it".into()));
    }
}

fn url(node: &Node) -> Result<Uri, Wrong> {
    values::url(node).map_err(|wrong| wrong.hint("or write { url = \"…\", prefix = \"…\" }"))
}

fn prefix(node: &Node) -> Result<RepositoryPath, Wrong> {
    let wrong = || Wrong::expected("the beginning of a repository's path, such as \"docker\"");
    text(node)?.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::super::effective;
    use super::super::tests::{refused, settings};

    fn entry(alternates: &str) -> String {
        format!("[[upstream]]\nregistry = \"r.example.com\"\nalternates = {alternates}\n")
    }

    #[test]
    fn an_alternate_is_a_url_or_a_url_with_a_prefix() {
        let text =
            entry("[\"https://mirror.gcr.io\", { url = \"https://public.ecr.aws\", prefix = \"docker\" }]");
        let read = settings(&text);
        let alternates = &read.upstreams[0].alternates;
        assert_eq!(alternates[0].url.host(), Some("mirror.gcr.io"));
        assert_eq!(alternates[0].prefix, None);
        assert_eq!(alternates[1].prefix.as_ref().unwrap().as_str(), "docker");
        let again = settings(&effective(&read));
        assert_eq!(again.upstreams[0].alternates, read.upstreams[0].alternates);
    }

    #[test]
    fn an_alternate_that_is_wrong_or_cannot_help_is_refused_with_the_reason() {
        for (alternates, why) in [
            ("\"https://a.io\"", "alternates is a text: expected a list"),
            ("[\"a.io\"]", "alternates = \"a.io\": expected a URL such as"),
            ("[{ prefix = \"docker\" }]", "alternates.url is missing"),
            (
                "[{ url = \"https://a.io\", prefix = \"/x/\" }]",
                "alternates.prefix = \"/x/\": expected the beginning",
            ),
            (
                "[{ url = \"https://a.io\", token = \"x\" }]",
                "alternates.token: unknown key",
            ),
            ("[\"https://r.example.com\"]", "is the upstream itself"),
            ("[\"https://a.io\", \"https://a.io\"]", "is written twice"),
            ("[\"http://a.io\"]", "set insecure = true to accept this"),
        ] {
            let report = refused(&entry(alternates));
            assert!(report.contains(why), "{report}");
            assert!(report.starts_with("error: 1 problem "), "{report}");
        }
        settings(&entry("[\"http://a.io\"]\ninsecure = true"));
        settings(&entry("[\"http://127.0.0.1:5000\"]"));
    }

    #[test]
    fn a_pattern_takes_no_alternates() {
        let report = refused("[[upstream]]\nregistry = \"*.pkg.dev\"\nalternates = [\"https://a.io\"]\n");
        assert!(
            report.contains("alternates is for one registry, not for a pattern"),
            "{report}"
        );
    }
}
