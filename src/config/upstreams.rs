//! The `[[upstream]]` entries, and behind them the built-in ones.

use std::collections::HashMap;

use super::defaults::{self, BUILT_IN, BuiltIn};
use super::environment::Environment;
use super::file::{Node, Value};
use super::problem::{Place, Problems};
use super::section::{Section, Wrong, boolean, count, duration, limit, size, text, word};
use super::{access, alternates, freshness, offer, values};
use crate::cache::OnExhausted;
use crate::oci::Registry;
use crate::policy::access::Offer;
use crate::policy::access::visibility::Sharing;
use crate::policy::freshness::Policy;
use crate::policy::naming::{Entry, Pattern};
use crate::upstream::{self, Options, Timeouts};

/// The keys of an entry.
pub(super) const KEYS: [&str; 20] = [
    "registry",
    "url",
    "default",
    "hosts",
    "allow",
    "deny",
    "access",
    "access_ttl",
    "credentials",
    "alternates",
    "token_hosts",
    "allow_addresses",
    "ca",
    "insecure",
    "manifest_limit",
    "lanes",
    "timeouts",
    "freshness",
    "freshness_for",
    "on_exhausted",
];

/// Everything about one upstream.
pub(super) struct Configured {
    /// What clients call it.
    pub(super) name: Entry,
    /// How it is reached.
    pub(super) options: Options,
    /// How its tags are kept.
    pub(super) freshness: Policy,
    /// What clients are told when its budget is used up.
    pub(super) on_exhausted: OnExhausted,
}

/// An entry of the file, and what must be known to compare it with the others.
struct Written {
    configured: Configured,
    default: Option<bool>,
    place: Place,
}

/// Reads the entries, checks them against each other, and adds the built-in ones nobody wrote.
pub(super) fn read(top: &Section<'_>, environment: &Environment, problems: &mut Problems) -> Vec<Configured> {
    let mut written = Vec::new();
    for node in top.list("upstream", problems) {
        written.extend(entry(node, environment, problems));
    }
    refuse_twice(&written, problems);
    let default = default_of(&written, problems);
    let mut all: Vec<Configured> = written.into_iter().map(|each| each.configured).collect();
    for built_in in &BUILT_IN {
        all.extend(Pattern::parse(built_in.registry).and_then(|pattern| {
            let named = all.iter().any(|each| each.name.pattern == pattern);
            (!named).then(|| anonymous(built_in, pattern))
        }));
    }
    for each in &mut all {
        each.name.default = Some(&each.name.pattern) == default.as_ref();
    }
    all
}

fn entry(node: &Node, environment: &Environment, problems: &mut Problems) -> Option<Written> {
    let mut entry = Section::open("upstream: ".into(), Some(node), &[], &mut Problems::default());
    let pattern = match entry.node("registry") {
        Some(_) => entry.read("registry", None, |node| pattern(node).map(Some), problems),
        None if matches!(node.value, Value::Table(_)) => {
            let hint = "write the name that clients use: registry = \"ghcr.io\"".into();
            problems.add(&node.place, "upstream: `registry` is missing", Some(hint));
            None
        }
        None => None,
    };
    if let Some(pattern) = &pattern {
        entry.name = format!("upstream \"{}\": ", pattern);
    }
    let entry = Section::open(entry.name, Some(node), &KEYS, problems);
    if matches!(pattern, Some(Pattern::Suffix(_) | Pattern::Any)) {
        refuse_for_pattern(&entry, problems);
    }
    // The rest is read even if the name is wrong, so that its problems show as well.
    let named = pattern.is_some();
    let offer = offer::read(&entry, pattern.as_ref(), problems);
    let pattern = pattern.unwrap_or(Pattern::Any);
    let options = options(&entry, &pattern, environment, problems);
    let default = entry.read("default", None, |node| boolean(node).map(Some), problems);
    let name = Entry {
        pattern,
        hosts: entry.read_list("hosts", values::registry, problems),
        default: false,
        offer,
    };
    let configured = Configured {
        name,
        options,
        freshness: freshness::read(&entry, problems),
        on_exhausted: entry.read("on_exhausted", OnExhausted::Refuse, on_exhausted, problems),
    };
    named.then(|| Written {
        configured,
        default,
        place: node.place.clone(),
    })
}

fn options(
    entry: &Section<'_>,
    pattern: &Pattern,
    environment: &Environment,
    problems: &mut Problems,
) -> Options {
    let url = entry.read("url", None, |node| values::url(node).map(Some), problems);
    let alternates = alternates::read(entry, problems);
    access::judge(entry, url.as_ref(), &alternates, problems);
    let url = url.or_else(|| built_in_url(pattern));
    let usual = format!("https://{pattern}").parse().ok();
    alternates::judge(entry, url.as_ref().or(usual.as_ref()), &alternates, problems);
    Options {
        registry: pattern.clone(),
        credentials: access::credentials(entry, pattern, environment, problems),
        sharing: access::sharing(entry, problems),
        access_ttl: entry.read("access_ttl", defaults::ACCESS_TTL, duration, problems),
        alternates,
        url,
        token_hosts: entry.read_list("token_hosts", values::host, problems),
        allow_addresses: entry.read_list("allow_addresses", values::network, problems),
        ca: entry.read("ca", Vec::new(), values::certificates, problems),
        manifest_limit: entry.read(
            "manifest_limit",
            defaults::MANIFEST_LIMIT,
            manifest_limit,
            problems,
        ),
        lanes: entry.read(
            "lanes",
            upstream::lanes::usual(pattern),
            |node| lanes(node).map(Some),
            problems,
        ),
        negative_ttl: freshness::negative_ttl(entry, problems),
        timeouts: timeouts(entry, problems),
    }
}

fn timeouts(entry: &Section<'_>, problems: &mut Problems) -> Timeouts {
    let timeouts = entry.section("timeouts", &["connect", "headers", "idle"], problems);
    let usual = defaults::TIMEOUTS;
    Timeouts {
        connect: timeouts.read("connect", usual.connect, limit, problems),
        headers: timeouts.read("headers", usual.headers, limit, problems),
        idle: timeouts.read("idle", usual.idle, limit, problems),
    }
}

/// What makes sense for one registry only. A credential for a pattern would go to whoever registers a name
/// under it.
fn refuse_for_pattern(entry: &Section<'_>, problems: &mut Problems) {
    for key in ["url", "default", "hosts", "credentials", "alternates"] {
        if let Some(node) = entry.node(key) {
            let what = format!("{}{key} is for one registry, not for a pattern", entry.name);
            let hint = "name the registry in an [[upstream]] of its own".into();
            problems.add(&node.place, what, Some(hint));
        }
    }
}

/// Two entries must not answer to the same name.
fn refuse_twice(written: &[Written], problems: &mut Problems) {
    let mut patterns: HashMap<String, usize> = HashMap::new();
    for each in written {
        *patterns
            .entry(each.configured.name.pattern.to_string())
            .or_default() += 1;
    }
    let mut hosts: HashMap<&Registry, &Pattern> = HashMap::new();
    for each in written {
        let own = &each.configured.name.pattern;
        let shown = own.to_string();
        if let Some(count) = patterns.remove(&shown).filter(|count| *count > 1) {
            let what = format!("upstream \"{shown}\" is configured {count} times");
            problems.add(&each.place, what, Some("join the entries".into()));
        }
        for host in &each.configured.name.hosts {
            let named = written
                .iter()
                .map(|other| &other.configured.name.pattern)
                .find(|pattern| **pattern == Pattern::Exact(host.clone()) && *pattern != own);
            let other = hosts.insert(host, own).filter(|other| *other != own);
            if let Some(other) = named.or(other) {
                let other = other.to_string();
                let what =
                    format!("upstream \"{shown}\": hosts has \"{host}\", which means \"{other}\" already");
                problems.add(&each.place, what, None);
            }
        }
    }
}

/// The upstream for requests that name no registry: the entry that says so, else Docker Hub.
fn default_of(written: &[Written], problems: &mut Problems) -> Option<Pattern> {
    let mut chosen = written.iter().filter(|each| each.default == Some(true));
    let first = chosen.next();
    for other in chosen {
        let what = "a second upstream says `default = true`";
        problems.add(&other.place, what, Some("only one can be the default".into()));
    }
    let hub = Pattern::parse(Registry::DOCKER_HUB);
    let declined =
        |each: &Written| each.default == Some(false) && Some(&each.configured.name.pattern) == hub.as_ref();
    match first {
        Some(first) => Some(first.configured.name.pattern.clone()),
        None if written.iter().any(declined) => None,
        None => hub,
    }
}

fn anonymous(built_in: &BuiltIn, pattern: Pattern) -> Configured {
    let options = Options {
        lanes: upstream::lanes::usual(&pattern),
        registry: pattern.clone(),
        url: built_in.url.and_then(|url| url.parse().ok()),
        credentials: Vec::new(),
        sharing: Sharing::default(),
        access_ttl: defaults::ACCESS_TTL,
        alternates: Vec::new(),
        token_hosts: Vec::new(),
        allow_addresses: Vec::new(),
        ca: Vec::new(),
        manifest_limit: defaults::MANIFEST_LIMIT,
        negative_ttl: defaults::NEGATIVE_TTL,
        timeouts: defaults::TIMEOUTS,
    };
    Configured {
        name: Entry {
            pattern,
            hosts: Vec::new(),
            default: false,
            offer: Offer::default(),
        },
        options,
        freshness: Policy::plain(defaults::freshness()),
        on_exhausted: OnExhausted::Refuse,
    }
}

/// A registry we know keeps its URL when its entry names none.
fn built_in_url(pattern: &Pattern) -> Option<http::Uri> {
    let known = |each: &&BuiltIn| Pattern::parse(each.registry).as_ref() == Some(pattern);
    BUILT_IN.iter().find(known)?.url?.parse().ok()
}

fn pattern(node: &Node) -> Result<Pattern, Wrong> {
    let wrong = || Wrong::expected("a registry as clients name it: \"ghcr.io\", \"*.azurecr.io\" or \"*\"");
    let written = text(node).map_err(|_| wrong())?;
    Pattern::parse(&written).ok_or_else(|| match written.contains("://") {
        true => wrong().hint("leave out the scheme here and write it in `url`"),
        false => wrong(),
    })
}

fn manifest_limit(node: &Node) -> Result<u64, Wrong> {
    size(node).and_then(|bytes| {
        let wrong = || Wrong::expected("a size of at least \"1KiB\"");
        (bytes >= 1024).then_some(bytes).ok_or_else(wrong)
    })
}

fn lanes(node: &Node) -> Result<usize, Wrong> {
    count(node, upstream::lanes::MOST)
}

fn on_exhausted(node: &Node) -> Result<OnExhausted, Wrong> {
    Ok(match word(node, &["refuse", "fall_through"])? {
        "fall_through" => OnExhausted::FallThrough,
        _ => OnExhausted::Refuse,
    })
}

#[cfg(test)]
mod tests;
