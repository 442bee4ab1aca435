//! Where a key belongs that stands elsewhere: the operator meant well, and other programs have it there.

/// Keys of single tables, by their whole names.
const HOMES: [&str; 25] = [
    "server.listen",
    "server.admin",
    "server.drain",
    "server.tls",
    "server.trusted_proxies",
    "server.proxy_protocol",
    "server.default_tier",
    "server.bounds.connections",
    "server.bounds.header_timeout",
    "server.bounds.idle_timeout",
    "server.bounds.stall_timeout",
    "admin.token",
    "admin.require_role",
    "cache.directory",
    "cache.capacity",
    "cache.memory",
    "cache.min_free",
    "cache.high_watermark",
    "cache.low_watermark",
    "cache.scrub",
    "log.format",
    "log.level",
    "log.requests",
    "trace.endpoint",
    "trace.ratio",
];

/// Keys of tables of which there may be many: the tables.
const OF_MANY: [(&str, &str); 7] = [
    ("url", "[[upstream]]"),
    ("hosts", "[[upstream]]"),
    ("credentials", "[[upstream]]"),
    ("alternates", "[[upstream]]"),
    ("freshness", "[[upstream]]"),
    ("reserve", "[tier.NAME]"),
    ("match", "[[client]]"),
];

/// What is written elsewhere under another word.
const OTHER_WORDS: [(&str, &str); 9] = [
    ("admin.listen", "server.admin"),
    ("admin.address", "server.admin"),
    ("server.address", "server.listen"),
    ("server.port", "server.listen"),
    ("cache.path", "cache.directory"),
    ("cache.dir", "cache.directory"),
    ("cache.size", "cache.capacity"),
    ("cache.max_size", "cache.capacity"),
    ("server.log_level", "log.level"),
];

/// Where a key may be meant to stand that is unknown where it does: its whole name, such as `admin.listen`.
pub(super) fn hint(name: &str) -> Option<String> {
    let other = OTHER_WORDS.iter().find(|(word, _)| *word == name);
    let key = name.rsplit(['.', ' ']).next().unwrap_or(name);
    let mut homes = HOMES.iter().filter(|home| home.rsplit('.').next() == Some(key));
    if let Some(home) = other.map(|(_, home)| home).or_else(|| homes.next()) {
        return Some(format!("did you mean \"{home}\"?"));
    }
    let (key, table) = OF_MANY.iter().find(|(of_many, _)| *of_many == key)?;
    Some(format!("did you mean \"{key}\" of {table}?"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load_text, refused};
    use super::*;

    #[test]
    fn a_key_that_stands_elsewhere_is_told_where_it_belongs() {
        for (text, told) in [
            (
                "[admin]\nlisten = \"127.0.0.1:1\"",
                "did you mean \"server.admin\"?",
            ),
            ("listen = \"127.0.0.1:1\"", "did you mean \"server.listen\"?"),
            (
                "[server]\ndirectory = \"/x\"",
                "did you mean \"cache.directory\"?",
            ),
            ("[cache]\nsize = \"1GiB\"", "did you mean \"cache.capacity\"?"),
            (
                "[server]\nheader_timeout = \"5s\"",
                "did you mean \"server.bounds.header_timeout\"?",
            ),
            (
                "[server]\nfreshness = {}",
                "did you mean \"freshness\" of [[upstream]]?",
            ),
            (
                "[[upstream]]\nregistry = \"ghcr.io\"\ncapacity = \"1GiB\"",
                "did you mean \"cache.capacity\"?",
            ),
            // What is near by stays nearer.
            ("[server]\nlisen = \"127.0.0.1:1\"", "did you mean \"listen\"?"),
            ("[server]\nsomething = 1", "the keys here are "),
        ] {
            let report = refused(text);
            assert!(report.contains(told), "{text}: {report}");
        }
    }

    #[test]
    fn what_is_hinted_at_is_a_key() {
        let homes = HOMES.iter().chain(OTHER_WORDS.iter().map(|(_, home)| home));
        let single = homes.map(|home| format!("{home} = [[1]]"));
        let head = "[[upstream]]\nregistry = \"ghcr.io\"\n[tier.some]\n[[client]]\nname = \"some\"\n";
        let many = OF_MANY.iter().map(|(key, table)| {
            let table = if table.starts_with("[tier") {
                "[tier.some]"
            } else {
                table
            };
            head.replace(table, &format!("{table}\n{key} = [[1]]"))
        });
        for text in single.chain(many) {
            // Whatever it should have been instead.
            let report = load_text(&text, &[]).err().map(|report| report.to_string());
            let report = report.unwrap_or_default();
            assert!(!report.contains("unknown key"), "{text}: {report}");
        }
    }
}
