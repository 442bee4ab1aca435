//! `explain`: how a pull would be answered now, and why, without taking it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::Method;
use serde::{Deserialize, Serialize};

use super::inspect::{Refused, bad, full, read};
use super::{Ask, Reply};
use crate::cache::{Asker, Explained};
use crate::clock::Time;
use crate::oci::Repository;
use crate::policy::access::{self, Evidence, Judge, Verdict, Wanted};
use crate::policy::clients::{Clients, Identity, Mark, Standing, patience};
use crate::policy::issuers::{Bearer, Claims};
use crate::policy::naming::Chosen;
use crate::policy::outlook::Outlook;
use crate::policy::quota::UsedUp;
use crate::server::{Inner, permit};

/// How a pull would be answered now. What the cache knows of it is left out where nothing would be looked up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The full name of what would be pulled.
    pub name: String,
    /// The registry that it is on.
    pub registry: String,
    /// True if there is an upstream for that registry.
    pub configured: bool,
    /// Who asks.
    pub client: ExplainedClient,
    /// Whether that may: `granted`; `login`: not before it says who it is; `denied`: it may pull, but not this;
    /// `unoffered`: nobody may pull this; `closed`: nobody may pull from there.
    pub access: String,
    /// The entry of the client's `allow` that lets it, or of its `deny` that keeps it away; `None` if there is none.
    #[serde(default)]
    pub scope: Option<String>,
    /// What it would come to, and how the cache stands to it.
    pub pull: Option<Explained>,
}

/// Who asks. Limits that are `None` do not exist.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedClient {
    /// Where it comes from.
    pub address: String,
    /// Its name, or its address.
    pub name: String,
    /// True if a `[[client]]` names it.
    pub named: bool,
    /// By what it is known; empty if by nothing but its address.
    #[serde(default)]
    pub by: Vec<ExplainedMark>,
    /// Its tier.
    pub tier: String,
    /// Requests a minute.
    pub reads: Option<u32>,
    /// Objects a minute that are fetched because it asked.
    pub writes: Option<u32>,
    /// Bytes a second.
    pub bandwidth: Option<u64>,
    /// Fetches at once.
    pub fills: Option<u64>,
    /// What it has used up of that; `None` if nothing.
    #[serde(default)]
    pub used_up: Option<ExplainedQuota>,
}

/// What a client has used up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedQuota {
    /// `reads`: whatever it asks for is refused. `writes`: what has to be fetched for it waits, and is then refused.
    pub quota: String,
    /// Until when, in milliseconds since the Unix epoch.
    pub until: u64,
    /// The moment.
    pub now: u64,
}

/// Something by which a client is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedMark {
    /// `network`, `user`, `certificate`, `issuer` or `claim`.
    pub kind: String,
    /// The network, the name; of a claim its name, and behind `=` what it says.
    pub value: String,
}

/// Answers what asks for that; `None` for anything else.
pub(super) async fn answer(inner: &Arc<Inner>, ask: &Ask) -> Option<Reply> {
    if ask.method == Method::POST || ask.path != "explain" {
        return None;
    }
    let explained = explain(inner, ask).await;
    Some(explained.map_or_else(Refused::reply, |explained| Reply::json(&explained)))
}

async fn explain(inner: &Inner, ask: &Ask) -> Result<Explanation, Refused> {
    let (repository, reference) = read(inner, ask.value("reference").unwrap_or_default())?;
    let clients = &inner.options.clients;
    let (certificate, bearer) = (certificate(ask), bearer(clients, ask)?);
    let entry = inner.names.entry(&repository.registry);
    let chosen = entry.map(|entry| Chosen {
        entry,
        repository: repository.clone(),
    });
    let judge = permit::judge(inner, chosen.as_ref());
    // There what it logs in with says nothing to this cache.
    let is_ours = judge == Judge::Cache;
    let evidence = Evidence {
        user: user(clients, ask)?.filter(|_| is_ours),
        bearer: bearer.as_ref().filter(|_| is_ours),
        certificate: &certificate,
        ..Evidence::from(address(ask)?)
    };
    let who = clients.identify(&evidence);
    let name = full(&repository, &reference);
    let scope = scope(clients, &who, &repository);
    let registry = repository.registry.to_string();
    let now = inner.clock.now();
    let asker = Asker {
        tier: who.tier,
        client: who.client,
        deadline: now + patience(""),
    };
    let used_up = inner.cache.quotas().used_up(&asker);
    let wanted = chosen.as_ref().map(|chosen| inner.names.wanted(chosen));
    let wanted = wanted.unwrap_or(Wanted::Repository(&repository));
    let verdict = access::decide(clients, &who, wanted, judge);
    let pull = match (&chosen, verdict) {
        (Some(chosen), Verdict::Granted) => {
            let mut pull = inner.cache.explain(chosen, &reference, &asker).await;
            if let Some((UsedUp::Reads, _)) = used_up {
                pull.outlook = Outlook::Refused.name().to_owned();
            }
            Some(pull)
        }
        _ => None,
    };
    let tier = &clients.tiers[who.tier];
    Ok(Explanation {
        name,
        registry,
        configured: entry.is_some(),
        client: ExplainedClient {
            address: evidence.address.to_string(),
            name: clients.name_of(who.client),
            named: matches!(who.standing, Standing::Named(_)),
            by: clients.marks(&who, &evidence).into_iter().map(mark).collect(),
            tier: tier.name.clone(),
            reads: tier.quota.reads.map(Into::into),
            writes: tier.quota.writes.map(Into::into),
            bandwidth: tier.quota.bandwidth,
            fills: tier.quota.fills.map(|fills| fills as u64),
            used_up: used_up.map(|(which, until)| ExplainedQuota {
                quota: which.name().to_owned(),
                until: until.as_millis(),
                now: now.as_millis(),
            }),
        },
        access: word(verdict, wanted).to_owned(),
        scope,
        pull,
    })
}

/// Where the pull would come from; this machine, if nothing is said.
fn address(ask: &Ask) -> Result<IpAddr, Refused> {
    let Some(text) = ask.value("client").filter(|text| !text.is_empty()) else {
        return Ok(Ipv4Addr::LOCALHOST.into());
    };
    let parsed = text.parse();
    parsed.map_err(|_| {
        bad(format!(
            "`client` is `{text}`; an IP address is expected, such as 10.0.0.7"
        ))
    })
}

/// The user that would have logged in.
fn user(clients: &Clients, ask: &Ask) -> Result<Option<usize>, Refused> {
    let Some(name) = ask.value("user").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let place = clients.access.user(name);
    let unknown = || match clients.access.users.is_empty() {
        true => bad(format!(
            "`user` is `{name}`, and nobody has a password here: [access] names no `htpasswd`"
        )),
        false => bad(format!(
            "`user` is `{name}`, whom the htpasswd file does not name"
        )),
    };
    place.map(Some).ok_or_else(unknown)
}

/// The names in the certificate that would have been shown.
fn certificate(ask: &Ask) -> Vec<String> {
    let names = ask.values("certificate").filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Whom an issuer would have vouched for.
fn bearer(clients: &Clients, ask: &Ask) -> Result<Option<Bearer>, Refused> {
    let claims: Vec<&str> = ask.values("claim").collect();
    let Some(name) = ask.value("issuer").filter(|text| !text.is_empty()) else {
        return match claims.first() {
            Some(claim) => Err(bad(format!("`claim` is `{claim}`, and no `issuer` says so"))),
            None => Ok(None),
        };
    };
    let issuers = &clients.access.issuers;
    if !issuers.iter().any(|issuer| issuer.name == name) {
        let names: Vec<&str> = issuers.iter().map(|issuer| issuer.name.as_str()).collect();
        let known = match names.is_empty() {
            true => "there is none".to_owned(),
            false => format!("expected one of {}", names.join(", ")),
        };
        return Err(bad(format!(
            "`issuer` is `{name}`, which is no [[issuer]]; {known}"
        )));
    }
    let split = |claim: &&str| match claim.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(bad(format!(
            "`claim` is `{claim}`; a name and a value are expected, such as ref=refs/heads/main"
        ))),
    };
    let said: Result<Vec<_>, _> = claims.iter().map(split).collect();
    Ok(Some(Bearer {
        issuer: name.to_owned(),
        claims: Claims::told(said?),
        until: Time::from_millis(u64::MAX),
    }))
}

/// What of a client's `allow` and `deny` decides about a repository.
fn scope(clients: &Clients, who: &Identity, repository: &Repository) -> Option<String> {
    let grant = clients.grant(who)?;
    let (registry, path) = (&repository.registry, &repository.path);
    let decides = grant
        .denied_by(registry, path)
        .or_else(|| grant.allowed_by(registry, path));
    decides.map(ToString::to_string)
}

fn mark(mark: Mark) -> ExplainedMark {
    let (kind, value) = match mark {
        Mark::Network(network) => ("network", network.to_string()),
        Mark::User(name) => ("user", name),
        Mark::Certificate(name) => ("certificate", name),
        Mark::Issuer(name) => ("issuer", name),
        Mark::Claim(name, value) => ("claim", format!("{name}={value}")),
    };
    ExplainedMark {
        kind: kind.to_owned(),
        value,
    }
}

const fn word(verdict: Verdict, wanted: Wanted<'_>) -> &'static str {
    match (verdict, wanted) {
        (Verdict::Granted, _) => "granted",
        (Verdict::Login, _) => "login",
        (Verdict::Denied(_), Wanted::Unoffered(_)) => "unoffered",
        (Verdict::Denied(_), _) => "denied",
        (Verdict::Closed, _) => "closed",
    }
}
