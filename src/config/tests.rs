//! What the configuration promises: reports, overrides, defaults and the files beside it.

use std::path::PathBuf;

use super::*;

pub(super) const HOME: (&str, &str) = ("HOME", "/home/somebody");

pub(super) fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Report> {
    let environment = Environment::of(&[&[HOME], variables].concat());
    let mut problems = problem::Problems::default();
    let loaded = understand(text, &environment, &mut problems);
    problems.report(Some("seawall.toml".into())).map(|()| loaded)
}

pub(super) fn settings(text: &str) -> Settings {
    load_text(text, &[])
        .unwrap_or_else(|report| panic!("{report}"))
        .settings
}

pub(super) fn refused(text: &str) -> String {
    load_text(text, &[]).unwrap_err().to_string()
}

fn written(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "config", path].iter().collect()
}

#[test]
fn every_problem_is_reported_at_once_with_its_place_and_a_hint() {
    let text = "\
[server]
listen = 5000
lisen = \"x\"
bounds = { connections = 0, header_bytes = \"1KiB\" }

[log]
format = \"jsn\"
requests = \"yes\"

[cache]
memory = \"256\"

[[upstream]]
registry = \"ghcr.io\"
acces = \"shared\"
freshness = { ttl = 5 }
";
    let wanted = "\
error: 9 problems in seawall.toml
  2:10   server.listen = 5000: expected an address and a port, such as \"127.0.0.1:5000\" or \"[::]:5000\"
  3:1    server.lisen: unknown key
         hint: did you mean \"listen\"?
  4:26   server.bounds.connections = 0: expected a whole number from 1 to 1000000
  4:44   server.bounds.header_bytes = \"1KiB\": expected a size from \"8KiB\" to \"1MiB\"
  7:10   log.format = \"jsn\": expected one of \"text\", \"json\"
         hint: did you mean \"json\"?
  8:12   log.requests = \"yes\": expected true or false
  11:10  cache.memory = \"256\": expected a size with a unit, such as \"20GiB\" or \"512KiB\"
  15:1   upstream \"ghcr.io\": acces: unknown key
         hint: did you mean \"access\"?
  16:21  upstream \"ghcr.io\": freshness.ttl = 5: expected a duration with a unit, such as \"500ms\", \"90s\", \"5m\" or \"7d\"";
    let plain = |report: &str| report.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(plain(&refused(text)), plain(wanted));
}

#[test]
fn what_toml_cannot_read_does_not_hide_other_problems() {
    let report = load_text("[log]\nformat = \"jsn\"\n[server]\nlisten = = 3\n", &[]).unwrap_err();
    let lines: Vec<_> = report.problems.iter().map(|each| each.place.clone()).collect();
    assert!(
        lines
            .iter()
            .any(|place| matches!(place, Place::File { line: 2, .. })),
        "{report}"
    );
    assert!(
        lines
            .iter()
            .any(|place| matches!(place, Place::File { line: 4, .. })),
        "{report}"
    );
}

#[test]
fn every_key_can_be_set_by_environment() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\n[[upstream]]\nregistry = \"ghcr.io\"\n";
    let variables = [
        ("SEAWALL_SERVER__LISTEN", "[::1]:7000"),
        ("SEAWALL_SERVER__BOUNDS__CONNECTIONS", "7"),
        ("SEAWALL_CACHE__MEMORY", "\"1GiB\""),
        ("SEAWALL_CACHE__VERIFY_FIRST_SERVE", "false"),
        ("SEAWALL_LOG", "{ format = 'json' }"),
        ("SEAWALL_UPSTREAM__0__HOSTS", "['a.internal', 'b.internal']"),
        ("SEAWALL_UPSTREAM__0__FRESHNESS__TTL", "1h"),
        ("SEAWALL_UPSTREAM__1__REGISTRY", "quay.io"),
    ];
    let settings = load_text(text, &variables).unwrap().settings;
    assert_eq!(settings.server.listen.to_string(), "[::1]:7000");
    assert_eq!(settings.server.bounds.connections, 7);
    assert_eq!(settings.cache.memory, 1 << 30);
    assert!(!settings.cache.verify_first_serve);
    assert!(settings.log.json);
    assert_eq!(settings.names[0].hosts.len(), 2);
    assert_eq!(settings.cache.freshness[0].usual.ttl.as_secs(), 3600);
    assert_eq!(
        settings.upstreams[1].registry,
        crate::policy::naming::Pattern::parse("quay.io").unwrap()
    );
}

#[test]
fn a_whole_list_can_be_set_by_environment() {
    let list = "[{ registry = 'ghcr.io', manifest_limit = '8MiB' }]";
    let settings = load_text("", &[("SEAWALL_UPSTREAM", list)]).unwrap().settings;
    assert_eq!(settings.upstreams[0].manifest_limit, 8 << 20);
}

#[test]
fn a_problem_in_the_environment_names_its_variable() {
    let variables = [
        ("SEAWALL_SERVER__LISTEN", "everywhere"),
        ("SEAWALL_SERVER__LISTN", "127.0.0.1:1"),
        ("SEAWALL_LOG__LEVEL__DEEP", "x"),
        ("SEAWALL_LOG__LEVEL", "inof"),
        ("SEAWALL_UPSTREAM", "[{"),
    ];
    let report = load_text("", &variables).unwrap_err();
    let text = report.to_string();
    for (name, _) in variables {
        assert!(
            text.contains(&format!("  {name} ")),
            "{name} is missing in\n{text}"
        );
    }
    assert_eq!(report.problems.len(), variables.len(), "{text}");
    assert!(
        text.contains("did you mean \"listen\"?") && text.contains("did you mean \"info\"?"),
        "{text}"
    );
}

#[test]
fn listening_twice_on_one_address_is_refused() {
    let report = refused("[server]\nadmin = \"127.0.0.1:5000\"\n");
    assert!(
        report.contains("server.admin and server.listen are both 127.0.0.1:5000"),
        "{report}"
    );
    settings("[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n");
}

#[test]
fn the_effective_configuration_reads_back_as_the_same_settings() {
    let text = "[server]\nlisten = \"[::]:1\"\ndrain = \"90s\"\n[cache]\ndirectory = 'C:\\odd \"name\"'\n\
        [log]\nlevel = \"warn,seawall=debug\"\n[[upstream]]\nregistry = \"a.io\"\nurl = \"http://b.io:80/base\"\n\
        insecure = true\ndefault = true\nhosts = [\"c.io\"]\nallow_addresses = [\"10.0.0.1/8\", \"::1\"]\n";
    for text in ["", text] {
        let settings = settings(text);
        let again = self::settings(&effective(&settings));
        assert_eq!(format!("{again:?}"), format!("{settings:?}"));
    }
}

#[test]
fn the_file_that_explains_every_key_equals_the_defaults() {
    let text = std::fs::read_to_string(written("seawall.toml")).unwrap();
    assert_eq!(format!("{:?}", settings(&text)), format!("{:?}", settings("")));
    // What `effective` prints has every key but two: `ca` is a comment there, `insecure` shown where it matters.
    let shown = effective(&settings(""));
    let keys = shown
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key);
    for key in keys.chain(upstreams::KEYS) {
        let explained = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
        assert!(text.lines().any(explained), "{key} is missing");
    }
}

#[test]
fn every_example_loads() {
    let variables = [HOME, ("REGISTRY_TOKEN", "token")];
    let mut count = 0;
    for example in std::fs::read_dir(written("examples")).unwrap() {
        let path = example.unwrap().path();
        // Beside them stand those of other programs.
        if path.is_dir() {
            continue;
        }
        let loaded =
            load(Some(&path), &Environment::of(&variables)).unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.is_empty());
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn a_file_that_is_not_there_is_a_problem_that_names_it() {
    let report = load(Some(Path::new("/does/not/exist.toml")), &Environment::of(&[HOME])).unwrap_err();
    let text = report.to_string();
    assert!(
        text.starts_with("error: 1 problem in /does/not/exist.toml\n"),
        "{text}"
    );
}

#[test]
fn proxies_are_read_and_shown() {
    let text = "[server]\ntrusted_proxies = [\"10.0.0.4/31\", \"fd00::7\"]\nproxy_protocol = true\n";
    let settings = settings(text);
    let proxies = &settings.server.proxies;
    assert!(proxies.protocol && proxies.trusts("10.0.0.5".parse().unwrap()));
    assert!(!proxies.trusts("10.0.0.6".parse().unwrap()));
    let shown = effective(&settings);
    assert_eq!(&self::settings(&shown).server.proxies, proxies, "{shown}");
    let variables = [
        ("SEAWALL_SERVER__TRUSTED_PROXIES", "['10.0.0.4']"),
        ("SEAWALL_SERVER__PROXY_PROTOCOL", "true"),
    ];
    let proxies = load_text("", &variables).unwrap().settings.server.proxies;
    assert!(proxies.protocol && proxies.trusts("10.0.0.4".parse().unwrap()));
}

#[test]
fn proxies_that_cannot_be_meant_are_refused() {
    for (text, what, hint) in [
        (
            "proxy_protocol = true",
            "2:18   server.proxy_protocol = true: expected server.trusted_proxies beside it",
            "trusted_proxies = [\"10.0.0.4\"]",
        ),
        (
            "proxy_protocol = true\ntrusted_proxies = []",
            "2:18   server.proxy_protocol = true: expected server.trusted_proxies beside it",
            "trusted_proxies = [\"10.0.0.4\"]",
        ),
        (
            "proxy_protocol = true\ntrusted_proxies = [\"lb.internal\"]",
            "3:20   server.trusted_proxies = \"lb.internal\": expected a network",
            "",
        ),
        (
            "trusted_proxies = [\"0.0.0.0/0\"]",
            "2:20   server.trusted_proxies = \"0.0.0.0/0\": expected the network of the proxies",
            "whoever is in it can claim to be any client",
        ),
        (
            "trusted_proxies = \"10.0.0.4\"",
            "2:19   server.trusted_proxies is a text: expected a list",
            "write it in brackets",
        ),
    ] {
        let report = refused(&format!("[server]\n{text}\n"));
        assert!(report.starts_with("error: 1 problem "), "{report}");
        assert!(report.contains(what) && report.contains(hint), "{report}");
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_its_file_and_its_line() {
    let report =
        refused("[server]\ntls = { certificate = \"/nowhere/tls.crt\", key = \"/nowhere/tls.key\" }\n");
    assert!(report.contains("2:23"), "{report}");
    assert!(
        report.contains("server.tls.certificate") && report.contains("/nowhere/tls.crt"),
        "{report}"
    );
    let report = refused("[server]\ntls = { certificate = \"/nowhere/tls.crt\" }\n");
    assert!(report.contains("server.tls.key is missing"), "{report}");
}

#[test]
fn a_certificate_by_acme_is_asked_for_with_all_that_it_needs_or_refused_in_words() {
    let whole = "domains = [\"Cache.Example.com\"], contact = [\"ops@example.com\"], store = \"/nowhere/acme\", accept_terms = true";
    let text = format!("[server]\ntls = {{ acme = {{ {whole} }} }}\n");
    if !crate::net::acme::IS_BUILT_IN {
        let report = refused(&text);
        assert!(
            report.contains("built without ACME") && report.contains("--features acme"),
            "{report}"
        );
        return;
    }
    let settings = settings(&text);
    let serving = settings.server.tls.as_ref().unwrap();
    let acme = serving.acme.as_ref().unwrap();
    assert_eq!(acme.domains, ["cache.example.com"]);
    assert_eq!(acme.directory.host(), Some("acme-v02.api.letsencrypt.org"));
    assert_eq!(
        serving.certificate.to_str(),
        Some("/nowhere/acme/certificate.pem")
    );
    let shown = effective(&settings);
    assert_eq!(effective(&super::tests::settings(&shown)), shown);
    for (wrong, words) in [
        ("", "domains: expected 1 to 100 names"),
        ("domains = [\"*.example.com\"]", "without port and wildcard"),
        ("domains = [\"10.0.0.1\"]", "without port and wildcard"),
        ("domains = [\"a.example.com:443\"]", "without port and wildcard"),
        ("domains = [\"a.example.com\"]", "accept_terms: expected true"),
        ("domains = [\"a.example.com\"]", "store is missing"),
        ("contact = [\"mailto:ops@example.com\"]", "an address of mail"),
        (
            "directory = \"http://ca.example.com/directory\"",
            "the https:// URL",
        ),
        ("ca = \"/nowhere/ca.pem\"", "a PEM file with certificates"),
    ] {
        let report = refused(&format!("[server]\ntls = {{ acme = {{ {wrong} }} }}\n"));
        assert!(report.contains(words), "{wrong}: {report}");
    }
    let report = refused(&format!(
        "[server]\ntls = {{ key = \"k\", acme = {{ {whole} }} }}\n"
    ));
    assert!(report.contains("server.tls.key stands beside acme"), "{report}");
    let report = refused(&format!("[admin]\ntls = {{ acme = {{ {whole} }} }}\n"));
    assert!(report.contains("only server.tls"), "{report}");
}
