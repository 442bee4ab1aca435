//! From the tree as written to [`Settings`]: every value is read and judged, and every problem reported.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::environment::Environment;
use super::file::{Node, Table};
use super::problem::Problems;
use super::section::{Section, Wrong, boolean, count, duration, limit, size, text, word};
use super::{
    LogOptions, Logins, Settings, admin, clients, defaults, issuers, logins, proxies, purges, scrub, shared,
    space, tiers, tls, trace, trusts, upstreams, values, warms,
};
use crate::policy::flight;
use crate::server::Bounds;

/// The tables of the file.
pub(super) const TABLES: [&str; 13] = [
    "server", "admin", "access", "cache", "log", "trace", "upstream", "tier", "issuer", "client", "trust",
    "purge", "warm",
];

/// Least size of a request's head: hyper's read buffer is never smaller.
const LEAST_HEADER_BYTES: u64 = 8 * 1024;

/// Largest size of a request's head: beyond, a few thousand clients fill a machine's memory.
const MOST_HEADER_BYTES: u64 = 1024 * 1024;

/// Most connections: beyond, no single machine has the descriptors.
const MOST_CONNECTIONS: usize = 1_000_000;

/// Most headers of a request: each costs a slot in memory before it is looked at.
const MOST_HEADERS: usize = 1000;

/// Levels of a log, loudest last.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads the whole tree. Where a value is wrong its default stands in, and `problems` is not empty.
pub(super) fn check(tree: &Table, environment: &Environment, problems: &mut Problems) -> Settings {
    let top = Section::top(tree, &TABLES, problems);
    let upstreams = upstreams::read(&top, environment, problems);
    let cache = top.section(
        "cache",
        &[
            "directory",
            "capacity",
            "high_watermark",
            "low_watermark",
            "min_free",
            "memory",
            "verify_first_serve",
            "scrub",
            "finish_abandoned",
            "cooling",
            "shared",
        ],
        problems,
    );
    let flights = flight::Rules {
        cooling: cache.read("cooling", defaults::FLIGHTS.cooling, duration, problems),
        finish_below: cache.read("finish_abandoned", defaults::FLIGHTS.finish_below, size, problems),
    };
    let (server, logins) = server(&top, environment, problems);
    Settings {
        logins,
        shared: shared::read(&cache, environment, problems),
        cache: crate::cache::Options {
            directory: directory(&cache, environment, problems),
            space: space::read(&cache, problems),
            memory: cache.read("memory", defaults::MEMORY, size, problems),
            freshness: upstreams.iter().map(|each| each.freshness.clone()).collect(),
            on_exhausted: upstreams.iter().map(|each| each.on_exhausted).collect(),
            clients: server.clients.clone(),
            bandwidth: bandwidth(&top, problems),
            trust: trusts::read(&top, problems),
            flights,
            verify_first_serve: cache.read("verify_first_serve", true, boolean, problems),
            scrub: cache.read("scrub", Some(defaults::SCRUB), scrub::period, problems),
        },
        server,
        purges: purges::read(&top, problems),
        warms: warms::read(&top, problems),
        log: log(&top, problems),
        trace: trace::read(&top, environment, problems),
        names: upstreams.iter().map(|each| each.name.clone()).collect(),
        upstreams: upstreams.into_iter().map(|each| each.options).collect(),
    }
}

fn server(
    top: &Section<'_>,
    environment: &Environment,
    problems: &mut Problems,
) -> (crate::server::Options, Logins) {
    let server = top.section(
        "server",
        &[
            "listen",
            "admin",
            "drain",
            "tls",
            "trusted_proxies",
            "proxy_protocol",
            "default_tier",
            "bandwidth",
            "bounds",
        ],
        problems,
    );
    let listen = server.read("listen", defaults::LISTEN, address, problems);
    let (mut access, logins) = logins::read(top, listen, environment, problems);
    let (believed, sources) = issuers::read(top, environment, problems).into_iter().unzip();
    access.issuers = believed;
    let options = crate::server::Options {
        listen,
        admin: server.read("admin", defaults::ADMIN, address, problems),
        drain: server.read("drain", defaults::DRAIN, duration, problems),
        bounds: bounds(&server, problems),
        tls: tls::read(&server, problems),
        clients: clients::read(top, access, problems),
        proxies: proxies::read(&server, problems),
        token_keys: logins.token_keys.clone(),
        operators: admin::read(top, environment, problems),
        issuers: sources,
    };
    admin::judge(&server, &options, problems);
    if options.listen == options.admin && options.listen.port() != 0 {
        let place = ["admin", "listen"].iter().find_map(|key| server.node(key));
        let what = format!("server.admin and server.listen are both {}", options.listen);
        let hint = "give the operator's pages a port of their own".into();
        let place = place.map_or(&server.place, |node| &node.place);
        problems.add(place, what, Some(hint));
    }
    (options, logins)
}

/// The link that all clients share; the server's other keys are judged elsewhere.
fn bandwidth(top: &Section<'_>, problems: &mut Problems) -> Option<u64> {
    let server = top.section("server", &[], &mut Problems::default());
    server.read("bandwidth", None, tiers::bandwidth, problems)
}

fn bounds(server: &Section<'_>, problems: &mut Problems) -> Bounds {
    let known = [
        "connections",
        "header_timeout",
        "idle_timeout",
        "stall_timeout",
        "header_bytes",
        "header_count",
    ];
    let bounds = server.section("bounds", &known, problems);
    let usual = defaults::BOUNDS;
    let connections = |node: &Node| count(node, MOST_CONNECTIONS);
    let headers = |node: &Node| count(node, MOST_HEADERS);
    Bounds {
        connections: bounds.read("connections", usual.connections, connections, problems),
        header_timeout: bounds.read("header_timeout", usual.header_timeout, limit, problems),
        idle_timeout: bounds.read("idle_timeout", usual.idle_timeout, limit, problems),
        stall_timeout: bounds.read("stall_timeout", usual.stall_timeout, limit, problems),
        header_bytes: bounds.read("header_bytes", usual.header_bytes, header_bytes, problems),
        header_count: bounds.read("header_count", usual.header_count, headers, problems),
    }
}

fn directory(cache: &Section<'_>, environment: &Environment, problems: &mut Problems) -> PathBuf {
    if cache.node("directory").is_some() {
        return cache.read("directory", PathBuf::new(), path, problems);
    }
    environment.cache_directory().unwrap_or_else(|| {
        let what = "cache.directory is missing: neither CACHE_DIRECTORY nor XDG_CACHE_HOME nor HOME is set";
        problems.add(&cache.place, what, Some("say where to keep the cache".into()));
        PathBuf::new()
    })
}

fn log(top: &Section<'_>, problems: &mut Problems) -> LogOptions {
    let log = top.section("log", &["format", "level", "requests"], problems);
    let format = |node: &Node| word(node, &["text", "json"]);
    LogOptions {
        json: log.read("format", "text", format, problems) == "json",
        level: log.read("level", defaults::LEVEL.to_owned(), level, problems),
        requests: log.read("requests", true, boolean, problems),
    }
}

fn address(node: &Node) -> Result<SocketAddr, Wrong> {
    let wrong = || Wrong::expected("an address and a port, such as \"127.0.0.1:5000\" or \"[::]:5000\"");
    text(node).map_err(|_| wrong())?.parse().map_err(|_| {
        wrong().hint("write 0.0.0.0 or [::] to listen on every interface; names are not resolved")
    })
}

fn path(node: &Node) -> Result<PathBuf, Wrong> {
    values::path(node, "the path of a directory")
}

fn header_bytes(node: &Node) -> Result<usize, Wrong> {
    let wrong = || Wrong::expected("a size from \"8KiB\" to \"1MiB\"");
    let bytes = size(node)?;
    if !(LEAST_HEADER_BYTES..=MOST_HEADER_BYTES).contains(&bytes) {
        return Err(wrong());
    }
    usize::try_from(bytes).map_err(|_| wrong())
}

/// A level, or levels by module: `info`, `seawall=debug`, `warn,seawall::upstream=trace`.
fn level(node: &Node) -> Result<String, Wrong> {
    let level = text(node)?;
    for part in level.split(',') {
        let (module, word) = part.split_once('=').unwrap_or(("seawall", part));
        let is_module = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
        if !LEVELS.contains(&word) || module.is_empty() || !module.bytes().all(is_module) {
            let wrong = Wrong::expected(format!("one of {}, or `module=level`", LEVELS.join(", ")));
            return Err(match super::problem::did_you_mean(word, &LEVELS) {
                Some(hint) => wrong.hint(hint),
                None => wrong,
            });
        }
    }
    Ok(level)
}
