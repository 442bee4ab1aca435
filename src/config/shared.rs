//! `[cache.shared]`: a bucket that several Seawalls fill and take from.

use super::environment::Environment;
use super::file::Node;
use super::problem::Problems;
use super::section::{Section, Wrong, boolean, text};
use super::show::quoted;
use super::{secret, values};
use crate::net::bucket::{BucketOptions, IS_BUILT_IN, Keys, VARIABLES};
use crate::net::secret::Secret;
use crate::store::SharedOptions;

/// The region that requests are signed for if nobody says; object stores other than Amazon's take any.
const REGION: &str = "us-east-1";
/// Longest name of a bucket, and of a prefix: S3 takes names of 1024 bytes, and ours need some of them.
const LONGEST: (usize, usize) = (63, 512);

/// Reads it; `None` if there is no such shelf.
pub(super) fn read(
    cache: &Section<'_>,
    environment: &Environment,
    problems: &mut Problems,
) -> Option<SharedOptions> {
    cache.node("shared")?;
    let known = [
        "bucket",
        "prefix",
        "endpoint",
        "ca",
        "region",
        "credentials",
        "write",
    ];
    let shared = cache.section("shared", &known, problems);
    if !IS_BUILT_IN {
        let hint = "build it with `cargo build --release --features shared`, or leave [cache.shared] out";
        let what = "cache.shared: this seawall was built without the shared shelf";
        problems.add(&shared.place, what.to_owned(), Some(hint.into()));
        return None;
    }
    if shared.node("bucket").is_none() {
        let hint = "name one that is there, such as bucket = \"seawall\"; Seawall makes none";
        let what = "cache.shared.bucket is missing: expected the name of a bucket";
        problems.add(&shared.place, what.to_owned(), Some(hint.into()));
    }
    let offered = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|name| environment.get(name));
    let usual = offered.unwrap_or(REGION).to_owned();
    Some(SharedOptions {
        prefix: shared.read("prefix", String::new(), prefix, problems),
        write: shared.read("write", true, boolean, problems),
        bucket: BucketOptions {
            keys: keys(&shared, environment, problems),
            endpoint: shared.read("endpoint", None, |node| endpoint(node).map(Some), problems),
            ca: shared.read("ca", Vec::new(), values::certificates, problems),
            region: shared.read("region", usual, region, problems),
            bucket: shared.read("bucket", None, |node| bucket(node).map(Some), problems)?,
        },
    })
}

fn keys(shared: &Section<'_>, environment: &Environment, problems: &mut Problems) -> Keys {
    if shared.node("credentials").is_none() {
        let value = |name: &&'static str| Some((*name, Secret::new(environment.get(name)?.to_owned())));
        return Keys::Offered(VARIABLES.iter().filter_map(value).collect());
    }
    let known = ["access_key_id", "secret_access_key"];
    let credentials = shared.section("credentials", &known, problems);
    for key in known.iter().filter(|key| credentials.node(key).is_none()) {
        let hint = "write credentials = { access_key_id = \"ID\", secret_access_key = { file = \"PATH\" } }, or leave it out: \
                    keys then come from the environment or the machine";
        let what = format!("{}{key} is missing", credentials.name);
        problems.add(&credentials.place, what, Some(hint.into()));
    }
    let id = |node: &Node| {
        let id = text(node)?;
        let fits = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        let wrong = Wrong::expected("the public half of a pair of keys");
        fits.then_some(id).ok_or(wrong)
    };
    Keys::Written {
        id: credentials.read("access_key_id", String::new(), id, problems),
        secret: secret::read(&credentials, "secret_access_key", environment, problems)
            .unwrap_or_else(|| Secret::new(String::new())),
    }
}

fn bucket(node: &Node) -> Result<String, Wrong> {
    let name = text(node)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = name.bytes().next().is_some_and(plain) && name.bytes().last().is_some_and(plain);
    let fits = (3..=LONGEST.0).contains(&name.len())
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'.' | b'-'));
    let wrong = || Wrong::expected("the name of a bucket: 3 to 63 small letters, digits, dots and hyphens");
    (ends && fits).then_some(name).ok_or_else(wrong)
}

fn prefix(node: &Node) -> Result<String, Wrong> {
    let prefix = text(node)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_part = |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(plain);
    let fits = prefix.is_empty() || prefix.len() <= LONGEST.1 && prefix.split('/').all(is_part);
    let wrong = || {
        Wrong::expected("a path such as \"seawall/prod\", of letters, digits, dots, hyphens and underscores")
            .hint("no slash at either end")
    };
    fits.then_some(prefix).ok_or_else(wrong)
}

fn endpoint(node: &Node) -> Result<http::Uri, Wrong> {
    let wrong = || Wrong::expected("the URL of an object store, such as \"http://seaweedfs:8333\"").secret();
    let url = values::url(node).map_err(|_| wrong())?;
    match url.path() {
        "/" => Ok(url),
        _ => Err(wrong().hint("name the bucket by `bucket`, and what names begin with by `prefix`")),
    }
}

fn region(node: &Node) -> Result<String, Wrong> {
    let region = text(node)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=32).contains(&region.len()) && region.bytes().all(plain);
    fits.then_some(region)
        .ok_or_else(|| Wrong::expected("a region such as \"eu-west-1\""))
}

/// What an operator should know although it is no mistake.
pub(super) fn warnings(shared: Option<&SharedOptions>) -> Option<String> {
    let endpoint = shared?.bucket.endpoint.as_ref()?;
    values::is_bare(endpoint).then(|| {
        let host = endpoint.host().unwrap_or_default();
        format!(
            "cache.shared: what goes to {host} and comes from there is not encrypted: whoever is on the way can read \
             it; use https"
        )
    })
}

/// What `read` reads back, but for keys and certificates that were written down.
pub(super) fn show(shared: &SharedOptions) -> String {
    let BucketOptions {
        bucket,
        region,
        endpoint,
        ca,
        keys,
    } = &shared.bucket;
    let endpoint = endpoint.as_ref().map_or(String::new(), |url| {
        format!(", endpoint = {}", quoted(url.to_string().trim_end_matches('/')))
    });
    let mut unread = Vec::new();
    if let Keys::Written { id, .. } = keys {
        let id = quoted(id);
        unread.push(format!(
            "credentials = {{ access_key_id = {id}, secret_access_key = \"***\" }}"
        ));
    }
    if !ca.is_empty() {
        unread.push(format!("ca: {} certificates instead of the machine's", ca.len()));
    }
    let unread = match unread.join(", ") {
        none if none.is_empty() => none,
        some => format!("   # {some}"),
    };
    format!(
        "{{ bucket = {}, prefix = {}{endpoint}, region = {}, write = {} }}{unread}",
        quoted(bucket),
        quoted(&shared.prefix),
        quoted(region),
        shared.write
    )
}

#[cfg(test)]
mod tests {
    use crate::config::tests::refused;

    #[cfg(not(feature = "shared"))]
    #[test]
    fn a_build_without_the_shared_shelf_says_so_and_what_to_do() {
        let report = refused("[cache.shared]\nbucket = \"seawall\"\n");
        assert!(
            report.contains("cache.shared: this seawall was built without the shared shelf"),
            "{report}"
        );
        assert!(
            report.contains("cargo build --release --features shared"),
            "{report}"
        );
    }

    #[cfg(feature = "shared")]
    mod built_in {
        use super::refused;
        use crate::config::effective;
        use crate::config::tests::settings;
        use crate::net::bucket::Keys;
        use crate::net::secret::Secret;

        #[test]
        fn the_shared_shelf_is_read_and_shown_without_its_keys() {
            let own = rcgen::generate_simple_self_signed(["s3.internal".to_owned()]).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("key");
            std::fs::write(&file, "canary-secret\n").unwrap();
            let ca = folder.path().join("ca.pem");
            std::fs::write(&ca, own.cert.pem()).unwrap();
            let text = format!(
                "[cache.shared]\nbucket = \"seawall\"\nprefix = \"prod/a\"\nendpoint = \"https://s3.internal:8334\"\n\
                 ca = {ca:?}\nregion = \"eu-west-1\"\nwrite = false\n\
                 credentials = {{ access_key_id = \"AKID\", secret_access_key = {{ file = {file:?} }} }}\n"
            );
            let read = settings(&text);
            let mut shared = read.shared.clone().unwrap();
            assert_eq!((shared.prefix.as_str(), shared.write), ("prod/a", false));
            let written = Keys::Written {
                id: "AKID".to_owned(),
                secret: Secret::new("canary-secret".to_owned()),
            };
            assert_eq!(shared.bucket.keys, written);
            let shown = effective(&read);
            assert_eq!(shared.bucket.ca, [own.cert.der().to_vec()]);
            assert!(!shown.contains("canary") && !format!("{read:?}").contains("canary"));
            shared.bucket.keys = Keys::Offered(Vec::new());
            shared.bucket.ca.clear();
            assert_eq!(settings(&shown).shared, Some(shared));
            assert_eq!(settings("").shared, None);
            let usual = settings("[cache.shared]\nbucket = \"seawall\"\n").shared.unwrap();
            assert_eq!((usual.bucket.region.as_str(), usual.write), ("us-east-1", true));
            assert_eq!(usual.bucket.endpoint, None);
        }

        #[test]
        fn what_makes_no_shared_shelf_is_refused_with_the_next_step() {
            for (keys, told) in [
                ("", "cache.shared.bucket is missing"),
                (
                    "bucket = \"Sea\"",
                    "cache.shared.bucket = \"Sea\": expected the name of a bucket",
                ),
                ("bucket = \"sea\"\nprefix = \"/a\"", "no slash at either end"),
                ("bucket = \"sea\"\nprefix = \"a/../b\"", "expected a path such as"),
                (
                    "bucket = \"sea\"\nendpoint = \"http://h/sea\"",
                    "name the bucket by `bucket`",
                ),
                (
                    "bucket = \"sea\"\nendpoint = \"http://u:canary@h\"",
                    "expected the URL of an object store",
                ),
                ("bucket = \"sea\"\nregion = \"EU\"", "expected a region such as"),
                ("bucket = \"sea\"\nbukcet = 1", "cache.shared.bukcet: unknown key"),
                (
                    "bucket = \"sea\"\ncredentials = { access_key_id = \"A\" }",
                    "secret_access_key is missing",
                ),
                (
                    "bucket = \"sea\"\ncredentials = { access_key_id = \"A\", secret_access_key = \"canary\" }",
                    "expected a reference",
                ),
            ] {
                let report = refused(&format!("[cache.shared]\n{keys}\n"));
                assert!(
                    report.contains(told) && !report.contains("canary"),
                    "{keys}: {report}"
                );
            }
        }

        #[test]
        fn an_object_store_without_encryption_is_told_of_unless_it_is_this_machine() {
            for (endpoint, told) in [
                ("http://s3.internal:8333", true),
                ("https://s3.internal", false),
                ("http://127.0.0.1:8333", false),
            ] {
                let read = settings(&format!(
                    "[cache.shared]\nbucket = \"sea\"\nendpoint = \"{endpoint}\"\n"
                ));
                assert_eq!(
                    super::super::warnings(read.shared.as_ref()).is_some(),
                    told,
                    "{endpoint}"
                );
            }
        }
    }
}
