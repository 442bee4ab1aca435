//! Who asks, by what that is known, and what they may: the steps of an explanation before anything is looked up.

use super::super::words::{size, wait};
use crate::clock::Time;
use crate::server::{ExplainedClient, ExplainedMark, ExplainedQuota, Explanation};

/// Who asks, and by what that is known.
pub(super) fn client(client: &ExplainedClient) -> String {
    let mut who = client.name.clone();
    if !client.named {
        who += ", which no [[client]] names";
    }
    let by: Vec<String> = client
        .by
        .iter()
        .filter(|mark| mark.kind != "claim")
        .map(|mark| known_by(mark, client))
        .collect();
    if !by.is_empty() {
        who += &format!(", known by {}", by.join(" and "));
    }
    if client.name != client.address {
        who += &format!(", from {}", client.address);
    }
    who
}

fn known_by(mark: &ExplainedMark, client: &ExplainedClient) -> String {
    let value = &mark.value;
    match mark.kind.as_str() {
        "network" => format!("its network {value}"),
        "user" => format!("its login as {value}"),
        "certificate" => format!("its certificate of {value}"),
        _ => {
            let claims = client.by.iter().filter(|mark| mark.kind == "claim");
            let said: Vec<&str> = claims.map(|claim| claim.value.as_str()).collect();
            match said.is_empty() {
                true => format!("a token of {value}"),
                false => format!("a token of {value} with {}", said.join(", ")),
            }
        }
    }
}

/// What it may take, and what of that it has used up.
pub(super) fn tier(client: &ExplainedClient) -> String {
    let limits: Vec<String> = [
        client.reads.map(|reads| format!("{reads} requests a minute")),
        client.writes.map(|writes| format!("{writes} fetches a minute")),
        client.bandwidth.map(|bytes| format!("{}/s", size(bytes))),
        client.fills.map(|fills| format!("{fills} fetches at once")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let limits = match limits.is_empty() {
        true => "not limited".to_owned(),
        false => limits.join(", "),
    };
    let used_up = client.used_up.as_ref().map(used_up).unwrap_or_default();
    format!("{}: {limits}{used_up}", client.tier)
}

fn used_up(used_up: &ExplainedQuota) -> String {
    let left = wait(Time::from_millis(used_up.until).since(Time::from_millis(used_up.now)));
    let what = match used_up.quota.as_str() {
        "reads" => "requests",
        _ => "fetches",
    };
    format!("; its {what} are used up for {left}")
}

/// Whether it may pull that, and which line of the configuration says so.
pub(super) fn access(explanation: &Explanation) -> String {
    let client = &explanation.client;
    let vouched = client.by.iter().any(|mark| mark.kind == "issuer");
    let (named, scope) = (client.named, explanation.scope.as_deref());
    match (explanation.access.as_str(), scope) {
        ("granted", Some(scope)) => format!("may pull this: `allow` of its [[client]] has {scope}"),
        ("granted", None) if named => {
            "may pull everything: its [[client]] has no `allow` and no `deny`".to_owned()
        }
        ("granted", None) => "may pull everything: [access] lets it".to_owned(),
        ("denied" | "login", Some(scope)) if named => {
            format!("may pull, but not this: `deny` of its [[client]] has {scope}")
        }
        ("denied" | "login", _) if named => {
            "may pull, but not this: `allow` of its [[client]] does not have it".to_owned()
        }
        ("unoffered", _) => "nobody may pull this: `allow` and `deny` of its [[upstream]] say so".to_owned(),
        ("login" | "closed", _) if vouched => {
            "may not pull: a token alone opens nothing, and no [[client]] wants what it says".to_owned()
        }
        ("login", _) => {
            "may not pull before it says who it is: [access] lets nobody in from there".to_owned()
        }
        ("closed", _) => {
            "may not pull: [access] lets nobody in from there, and there is no way to log in".to_owned()
        }
        (other, _) => other.to_owned(),
    }
}

/// How who asks is sent away before anything is looked up.
pub(super) fn before_a_look(explanation: &Explanation) -> String {
    match explanation.access.as_str() {
        "granted" => format!(
            "refused: Seawall asks only registries that are configured, and {} is none of them",
            explanation.registry
        ),
        "login" => "refused with 401, before anything is looked up: it has to log in".to_owned(),
        _ => "refused before anything is looked up, whether that exists or not".to_owned(),
    }
}
