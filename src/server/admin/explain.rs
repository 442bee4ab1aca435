//! `explain`: how a pull would be answered now, and why, without taking it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::Method;
use serde::{Deserialize, Serialize};

use super::inspect::{Refused, bad, full, read};
use super::{Ask, Reply};
use crate::cache::{Asker, Explained};
use crate::policy::access::{self, Evidence, Verdict, Wanted};
use crate::policy::clients::{Clients, Standing, patience};
use crate::policy::naming::Chosen;
use crate::server::Inner;

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
    /// `closed`: nobody may pull from there.
    pub access: String,
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
    let evidence = Evidence {
        user: user(clients, ask)?,
        ..Evidence::from(address(ask)?)
    };
    let who = clients.identify(&evidence);
    let verdict = access::decide(clients, &who, Wanted::Repository(&repository));
    let entry = inner.names.entry(&repository.registry);
    let name = full(&repository, &reference);
    let registry = repository.registry.to_string();
    let pull = match (entry, verdict) {
        (Some(entry), Verdict::Granted) => {
            let asker = Asker {
                tier: who.tier,
                client: who.client,
                deadline: inner.clock.now() + patience(""),
            };
            let chosen = Chosen { entry, repository };
            Some(inner.cache.explain(&chosen, &reference, &asker).await)
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
            tier: tier.name.clone(),
            reads: tier.quota.reads.map(Into::into),
            writes: tier.quota.writes.map(Into::into),
            bandwidth: tier.quota.bandwidth,
            fills: tier.quota.fills.map(|fills| fills as u64),
        },
        access: word(verdict).to_owned(),
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
    let place = clients.access.users.iter().position(|user| user.name == name);
    let place = place.ok_or_else(|| {
        bad(format!(
            "`user` is `{name}`, whom the htpasswd file does not name"
        ))
    });
    place.map(Some)
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Granted => "granted",
        Verdict::Login => "login",
        Verdict::Denied(_) => "denied",
        Verdict::Closed => "closed",
    }
}
