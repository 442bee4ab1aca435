//! The effective configuration as a file: what `seawall check` prints. Secrets are shown as `***`.

use std::fmt::Write as _;

use super::units::{show_duration, show_size};
use super::{
    Settings, identities, issuers, logins, purges, scrub, shared, space, tiers, trace, trusts, values, warms,
};
use crate::cache::OnExhausted;
use crate::net::acme::Acme;
use crate::net::serving::Serving;
use crate::policy::clients::Matches;
use crate::policy::freshness::{Exception, Patterns, Policy, Rules};
use crate::policy::naming::{Entry, Pattern};
use crate::policy::quota::Quota;
use crate::server::{Operator, Operators};
use crate::upstream::{AlternateOptions, Options};

/// Writes the settings as TOML: every key with its value, whether it was written or is a default.
pub fn effective(settings: &Settings) -> String {
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = server(&mut out, settings).and_then(|()| cache_and_log(&mut out, settings));
    let _ = clients(&mut out, settings);
    out.push_str(&issuers::show(settings));
    let purges = settings.purges.iter().map(|purge| ("purge", purges::show(purge)));
    let warms = settings.warms.iter().map(|warm| ("warm", warms::show(warm)));
    let trusts = settings.cache.trust.all().iter();
    let trusts = trusts.map(|rule| ("trust", trusts::show(rule)));
    for (table, keys) in trusts.chain(purges).chain(warms) {
        let lines: Vec<String> = keys
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let _ = write!(out, "\n[[{table}]]\n{}", lines.concat());
    }
    let policies = settings.cache.freshness.iter().zip(&settings.cache.on_exhausted);
    let upstreams = settings.upstreams.iter().zip(&settings.names).zip(policies);
    for ((options, name), (policy, on_exhausted)) in upstreams {
        let _ = upstream(&mut out, options, name, policy).and_then(|()| exhausted(&mut out, *on_exhausted));
    }
    out
}

fn server(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let (server, bounds) = (&settings.server, &settings.server.bounds);
    writeln!(out, "[server]")?;
    writeln!(out, "listen = \"{}\"", server.listen)?;
    writeln!(out, "admin = \"{}\"", server.admin)?;
    writeln!(out, "drain = \"{}\"", show_duration(server.drain))?;
    if let Some(serving) = &server.tls {
        writeln!(out, "tls = {}", tls(serving))?;
    }
    writeln!(out, "trusted_proxies = {}", list(&server.proxies.trusted))?;
    writeln!(out, "proxy_protocol = {}", server.proxies.protocol)?;
    let default = &server.clients.tiers[server.clients.default];
    writeln!(out, "default_tier = {}", quoted(&default.name))?;
    writeln!(out, "bandwidth = {}", tiers::show_rate(settings.cache.bandwidth))?;
    writeln!(out, "\n[server.bounds]")?;
    writeln!(out, "connections = {}", bounds.connections)?;
    writeln!(
        out,
        "header_timeout = \"{}\"",
        show_duration(bounds.header_timeout)
    )?;
    writeln!(out, "idle_timeout = \"{}\"", show_duration(bounds.idle_timeout))?;
    writeln!(out, "stall_timeout = \"{}\"", show_duration(bounds.stall_timeout))?;
    writeln!(
        out,
        "header_bytes = \"{}\"",
        show_size(bounds.header_bytes as u64)
    )?;
    writeln!(out, "header_count = {}", bounds.header_count)?;
    admin(out, &server.operators)
}

fn admin(out: &mut String, operators: &Operators) -> std::fmt::Result {
    writeln!(out, "\n[admin]")?;
    if let Some(serving) = &operators.tls {
        writeln!(out, "tls = {}", tls(serving))?;
    }
    writeln!(out, "require_role = {}", operators.require_role)?;
    // Shown, and not read back: what they refer to is not known here.
    for Operator { name, role, .. } in &operators.tokens {
        let (name, role) = (quoted(name), role.name());
        writeln!(
            out,
            "# token = {{ name = {name}, role = \"{role}\", secret = \"***\" }}"
        )?;
    }
    Ok(())
}

fn tls(serving: &Serving) -> String {
    let path = |path: &std::path::PathBuf| format!(", client_ca = {}", quoted(&path.to_string_lossy()));
    let client_ca = serving.client_ca.as_ref().map(path).unwrap_or_default();
    if let Some(issued) = &serving.acme {
        return format!("{{ acme = {}{client_ca} }}", acme(issued));
    }
    let [certificate, key] = [&serving.certificate, &serving.key].map(|path| quoted(&path.to_string_lossy()));
    format!("{{ certificate = {certificate}, key = {key}{client_ca} }}")
}

fn acme(acme: &Acme) -> String {
    let ca = acme
        .ca
        .as_ref()
        .map(|path| format!(", ca = {}", quoted(&path.to_string_lossy())));
    format!(
        "{{ domains = {}, contact = {}, directory = {}{}, store = {}, accept_terms = true }}",
        list(&acme.domains),
        list(&acme.contact),
        quoted(&acme.directory.to_string()),
        ca.unwrap_or_default(),
        quoted(&acme.store.to_string_lossy()),
    )
}

fn cache_and_log(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let (cache, log) = (&settings.cache, &settings.log);
    writeln!(out, "\n[cache]")?;
    writeln!(out, "directory = {}", quoted(&cache.directory.to_string_lossy()))?;
    writeln!(out, "capacity = \"{}\"", show_size(cache.space.capacity))?;
    writeln!(out, "high_watermark = {}", space::show(cache.space.high))?;
    writeln!(out, "low_watermark = {}", space::show(cache.space.low))?;
    writeln!(out, "min_free = \"{}\"", show_size(cache.space.min_free))?;
    writeln!(out, "memory = \"{}\"", show_size(cache.memory))?;
    writeln!(out, "verify_first_serve = {}", cache.verify_first_serve)?;
    writeln!(out, "scrub = \"{}\"", scrub::show(cache.scrub))?;
    writeln!(
        out,
        "finish_abandoned = \"{}\"",
        show_size(cache.flights.finish_below)
    )?;
    writeln!(out, "cooling = \"{}\"", show_duration(cache.flights.cooling))?;
    if let Some(shared) = &settings.shared {
        writeln!(out, "shared = {}", shared::show(shared))?;
    }
    writeln!(out, "\n[log]")?;
    writeln!(out, "format = \"{}\"", if log.json { "json" } else { "text" })?;
    writeln!(out, "level = {}", quoted(&log.level))?;
    writeln!(out, "requests = {}", log.requests)?;
    writeln!(out, "\n[trace]\n{}", trace::show(&settings.trace))
}

fn upstream(out: &mut String, options: &Options, name: &Entry, policy: &Policy) -> std::fmt::Result {
    writeln!(out, "\n[[upstream]]")?;
    writeln!(out, "registry = \"{}\"", options.registry)?;
    if let Some(url) = &options.url {
        writeln!(out, "url = {}", quoted(&url.to_string()))?;
    }
    let others = options.alternates.iter().map(|alternate| &alternate.url);
    if options.url.iter().chain(others).any(values::is_bare) {
        writeln!(out, "insecure = true")?;
    }
    if matches!(name.pattern, Pattern::Exact(_)) {
        writeln!(out, "default = {}", name.default)?;
        writeln!(out, "hosts = {}", list(&name.hosts))?;
        writeln!(out, "access = \"{}\"", options.sharing.name())?;
        let credentials: Vec<String> = options.credentials.iter().map(identities::show).collect();
        writeln!(out, "credentials = [{}]", credentials.join(", "))?;
        let alternates: Vec<String> = options.alternates.iter().map(alternate).collect();
        writeln!(out, "alternates = [{}]", alternates.join(", "))?;
    }
    writeln!(out, "allow = {}", list(&name.offer.allow))?;
    writeln!(out, "deny = {}", list(&name.offer.deny))?;
    writeln!(out, "access_ttl = \"{}\"", show_duration(options.access_ttl))?;
    writeln!(out, "token_hosts = {}", list(&options.token_hosts))?;
    writeln!(out, "allow_addresses = {}", list(&options.allow_addresses))?;
    if !options.ca.is_empty() {
        writeln!(
            out,
            "# ca: {} certificates instead of the machine's",
            options.ca.len()
        )?;
    }
    writeln!(out, "manifest_limit = \"{}\"", show_size(options.manifest_limit))?;
    if let Some(lanes) = options.lanes {
        writeln!(out, "lanes = {lanes}")?;
    }
    let (connect, headers, idle) = (
        show_duration(options.timeouts.connect),
        show_duration(options.timeouts.headers),
        show_duration(options.timeouts.idle),
    );
    writeln!(
        out,
        "timeouts = {{ connect = \"{connect}\", headers = \"{headers}\", idle = \"{idle}\" }}"
    )?;
    let negative = show_duration(options.negative_ttl);
    let usual = format!("{}, offline = {}", rules(&policy.usual), policy.usual.offline);
    writeln!(out, "freshness = {{ {usual}, negative_ttl = \"{negative}\" }}")?;
    let exceptions: Vec<String> = policy.exceptions.iter().map(exception).collect();
    writeln!(out, "freshness_for = [{}]", exceptions.join(", "))
}

fn rules(rules: &Rules) -> String {
    format!(
        "ttl = \"{}\", stale_while_revalidate = \"{}\", stale_if_error = \"{}\", immutable = {}",
        show_duration(rules.ttl),
        show_duration(rules.stale_while_revalidate),
        show_duration(rules.stale_if_error),
        list(rules.immutable.written()),
    )
}

fn exception(exception: &Exception) -> String {
    let pattern = |key, patterns: &Patterns| {
        let first = patterns.written().first();
        first.map_or(String::new(), |pattern| format!("{key} = {}, ", quoted(pattern)))
    };
    let repository = pattern("repository", &exception.repository);
    let tag = pattern("tag", &exception.tag);
    // It is for repositories only.
    let offline = match exception.tag.is_empty() {
        true => format!(", offline = {}", exception.rules.offline),
        false => String::new(),
    };
    format!("{{ {repository}{tag}{}{offline} }}", rules(&exception.rules))
}

fn exhausted(out: &mut String, on_exhausted: OnExhausted) -> std::fmt::Result {
    let word = match on_exhausted {
        OnExhausted::Refuse => "refuse",
        OnExhausted::FallThrough => "fall_through",
    };
    writeln!(out, "on_exhausted = \"{word}\"")
}

fn clients(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let clients = &settings.server.clients;
    writeln!(out, "\n[access]")?;
    for (key, value) in logins::show(&clients.access, &settings.logins) {
        writeln!(out, "{key} = {value}")?;
    }
    for tier in &clients.tiers {
        writeln!(out, "\n[tier.{}]", quoted(&tier.name))?;
        writeln!(out, "reserve = \"{}%\"", tier.reserve * 100.0)?;
        quota(out, &tier.quota)?;
    }
    for rule in &clients.rules {
        writeln!(out, "\n[[client]]")?;
        writeln!(out, "name = {}", quoted(&rule.name))?;
        writeln!(out, "tier = {}", quoted(&clients.tiers[rule.tier].name))?;
        let Matches {
            networks,
            users,
            certificates,
            issuers,
            claims,
        } = &rule.matches;
        let (networks, users, certificates) = (list(networks), list(users), list(certificates));
        let claims: Vec<String> = claims
            .iter()
            .map(|claim| format!("{} = {}", quoted(&claim.name), quoted(claim.written())))
            .collect();
        let vouched = match (issuers.as_slice(), claims.as_slice()) {
            ([], _) => String::new(),
            (_, []) => format!(", issuer = {}", list(issuers)),
            _ => format!(
                ", issuer = {}, claims = {{ {} }}",
                list(issuers),
                claims.join(", ")
            ),
        };
        writeln!(
            out,
            "match = {{ cidr = {networks}, user = {users}, certificate = {certificates}{vouched} }}"
        )?;
        writeln!(out, "role = \"{}\"", rule.grant.role.name())?;
        writeln!(out, "allow = {}", list(&rule.grant.allow))?;
        writeln!(out, "deny = {}", list(&rule.grant.deny))?;
    }
    Ok(())
}

fn quota(out: &mut String, quota: &Quota) -> std::fmt::Result {
    writeln!(out, "read_ops_per_minute = {}", tiers::show(quota.reads))?;
    writeln!(out, "write_ops_per_minute = {}", tiers::show(quota.writes))?;
    writeln!(out, "bandwidth = {}", tiers::show_rate(quota.bandwidth))?;
    writeln!(out, "concurrent_fills = {}", tiers::show(quota.fills))?;
    writeln!(out, "weight = {}", quota.weight)
}

fn alternate(alternate: &AlternateOptions) -> String {
    let url = quoted(&alternate.url.to_string());
    match &alternate.prefix {
        None => url,
        Some(prefix) => format!("{{ url = {url}, prefix = {} }}", quoted(prefix.as_str())),
    }
}

/// A list of texts.
pub(super) fn list<T: ToString>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

/// A text as TOML writes it, with what must be escaped.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
