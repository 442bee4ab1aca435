//! What travels in the clear because the configuration insists on it: told at each start and each reload, so that what
//! was meant for a day is not forgotten.

use http::Uri;

use super::{Settings, values};
use crate::policy::access::visibility::Sharing;
use crate::server::issuers::{Place, Source};
use crate::upstream::Options;

/// One sentence for each upstream, and each issuer, that is asked in the clear beyond this machine.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let upstreams = settings.upstreams.iter().filter_map(upstream);
    let issuers = settings.server.issuers.iter();
    upstreams.chain(issuers.filter_map(issuer)).collect()
}

fn upstream(options: &Options) -> Option<String> {
    let name = &options.registry;
    let alternates: Vec<String> = options
        .alternates
        .iter()
        .map(|alternate| &alternate.url)
        .filter(|url| values::is_bare(url))
        .map(Uri::to_string)
        .collect();
    let others = alternates.join(" and ");
    let next = "use https://, and name a certificate of your own in `ca`";
    let Some(url) = options.url.as_ref().filter(|url| values::is_bare(url)) else {
        // What comes of them is asked for by digest, without credentials.
        return (!alternates.is_empty()).then(|| {
            format!(
                "upstream \"{name}\": its alternate {others} is asked without encryption: whoever is on the way reads \
                 what is pulled (it is verified by its digest); use https://"
            )
        });
    };
    let logins = match (options.sharing, options.credentials.is_empty()) {
        (Sharing::PerClient, _) => ", reads its credentials and what clients log in with",
        (_, false) => ", reads its credentials",
        (_, true) => "",
    };
    let others = match alternates.is_empty() {
        true => String::new(),
        false => format!(", as is its alternate {others}"),
    };
    Some(format!(
        "upstream \"{name}\": {url} is asked without encryption{others}: whoever is on the way reads what is \
         pulled{logins}, and says which image a tag is (only what is asked for by its digest is verified); {next}"
    ))
}

fn issuer(source: &Source) -> Option<String> {
    let from = match &source.keys {
        Place::Held { .. } => return None,
        Place::At(at) => at.clone(),
        Place::Discovered => source.url.parse().ok()?,
    };
    let token = match &source.token {
        Some(_) => ", and reads the token that is sent there",
        None => "",
    };
    values::is_bare(&from).then(|| {
        format!(
            "issuer \"{}\": its keys come from {from} without encryption: whoever is on the way can exchange them and \
             log in as anybody whom it vouches for{token}; use https://, and name a certificate of your own in `ca`",
            source.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::load_text;

    const CREDENTIALS: &str = "credentials = [{ username = \"u\", password = { env = \"SECRET\" } }]";

    fn told(text: &str) -> Vec<String> {
        let loaded = load_text(text, &[("SECRET", "canary-S152")]);
        loaded.unwrap_or_else(|report| panic!("{report}")).warnings
    }

    fn entry(keys: &str) -> String {
        format!("[[upstream]]\nregistry = \"r.example.com\"\n{keys}\n")
    }

    #[test]
    fn s152_whoever_insists_on_plain_http_is_told_at_each_start_what_that_puts_at_risk() {
        let bare = "url = \"http://r.example.com:81\"\ninsecure = true\n";
        for (more, logins) in [
            (String::new(), None),
            (
                format!("access = \"shared\"\n{CREDENTIALS}"),
                Some("reads its credentials,"),
            ),
            (
                format!("access = \"per_client\"\n{CREDENTIALS}"),
                Some("what clients log in with,"),
            ),
        ] {
            let warnings = told(&entry(&format!("{bare}{more}")));
            let [warning] = warnings.as_slice() else {
                panic!("{warnings:?}")
            };
            assert!(
                warning.starts_with("upstream \"r.example.com\": http://r.example.com:81/ is asked without"),
                "{warning}"
            );
            assert!(warning.contains("which image a tag is"), "{warning}");
            assert!(warning.ends_with("use https://, and name a certificate of your own in `ca`"));
            assert_eq!(warning.contains("credentials"), logins.is_some(), "{warning}");
            assert!(
                logins.is_none_or(|logins| warning.contains(logins)),
                "{logins:?}: {warning}"
            );
            assert!(!warning.contains("canary"), "{warning}");
        }
    }

    #[test]
    fn s152_each_upstream_has_one_line_and_its_alternates_are_in_it() {
        let other =
            "alternates = [\"http://a.example.com\", \"https://b.example.com\", \"http://localhost:1\"]";
        let both = entry(&format!("url = \"http://10.0.0.1\"\ninsecure = true\n{other}"));
        let beside = entry(&format!("insecure = true\n{other}")).replace("r.example", "s.example");
        let warnings = told(&(both + &beside));
        let [own, alternate] = warnings.as_slice() else {
            panic!("{warnings:?}")
        };
        assert!(
            own.contains(
                "http://10.0.0.1/ is asked without encryption, as is its alternate http://a.example.com/:"
            ),
            "{own}"
        );
        assert!(
            alternate.starts_with("upstream \"s.example.com\": its alternate http://a.example.com/ is asked"),
            "{alternate}"
        );
        let all = warnings.concat();
        assert!(!all.contains("b.example") && !all.contains("localhost"), "{all}");
    }

    #[test]
    fn s152_nothing_is_told_of_what_is_encrypted_or_stays_on_this_machine() {
        for url in [
            "https://r.example.com",
            "http://localhost:5000",
            "http://127.0.0.7",
            "http://[::1]:80",
        ] {
            assert_eq!(told(&entry(&format!("url = \"{url}\""))), [""; 0], "{url}");
        }
    }

    #[test]
    fn s152_keys_of_an_issuer_that_come_in_the_clear_are_told_of() {
        let issuer = |keys: &str| {
            format!(
                "[[issuer]]\nname = \"ci\"\nurl = \"http://ci.example.com\"\naudience = \"cache\"\n{keys}\n\
                 [[client]]\nname = \"ci\"\ntier = \"basic\"\nmatch = {{ issuer = \"ci\", claims = {{ sub = \"a\" }} }}\n"
            )
        };
        for (keys, from, token) in [
            ("insecure = true", "http://ci.example.com/", false),
            (
                "insecure = true\njwks = \"http://10.0.0.1/keys\"\ntoken = { env = \"SECRET\" }",
                "http://10.0.0.1/keys",
                true,
            ),
        ] {
            let warnings = told(&issuer(keys));
            let [warning] = warnings.as_slice() else {
                panic!("{warnings:?}")
            };
            assert!(
                warning.starts_with(&format!(
                    "issuer \"ci\": its keys come from {from} without encryption"
                )),
                "{warning}"
            );
            assert_eq!(warning.contains("token"), token, "{warning}");
            assert!(!warning.contains("canary"), "{warning}");
        }
        for keys in ["https://10.0.0.1/keys", "http://localhost/keys"] {
            assert_eq!(told(&issuer(&format!("jwks = \"{keys}\""))), [""; 0], "{keys}");
        }
    }
}
