//! Amazon: a token for ECR, by whatever keys there are: those in the environment, those of a role that a token in a
//! file opens (IRSA), those that an agent hands to a pod or task, or those of the machine's own role (IMDSv2).

mod keys;
mod sign;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use self::keys::Method;
use self::sign::{Signing, stamp};
use super::super::Given;
use super::web::{Answer, Message, guarded};
use super::{Variables, Web};
use crate::clock::Time;
use crate::net::url::Url;
use crate::policy::identity::Life;
use crate::policy::identity::ecr::{self, Ecr};
use crate::upstream::{Credential, Secret};

/// What it goes by.
pub(super) const VARIABLES: [&str; 19] = [
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_STS",
];
/// What the service is called.
const ECR: &str = "ECR";
/// The longest that a token is believed; they are good for twelve hours.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How far two clocks may differ before it is worth to sign by the other.
const SKEW: Duration = Duration::from_secs(60);

/// What requests are signed with.
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session: Option<Secret>,
}

/// What is wrong with these variables, for a registry at this host.
pub(super) fn check(variables: &Variables, host: &str) -> Result<(), String> {
    let registry = registry(variables, host)?;
    endpoint(variables, &registry)?;
    Method::of(variables, &registry.region).map(|_| ())
}

/// Asks for a token.
pub(super) async fn ask(web: &Web<'_>, variables: &Variables, host: &str) -> Result<Given, String> {
    let registry = registry(variables, host)?;
    let url = endpoint(variables, &registry)?;
    let keys = Method::of(variables, &registry.region)?.keys(web).await?;
    let now = web.clock.now();
    let answer = web.send(&message(&registry, &url, &keys, now)).await?;
    let there = answer.date.unwrap_or(now);
    let apart = there.since(now).max(now.since(there));
    // Its clock counts: a signature is good for five minutes.
    let answer = match answer.status {
        400 | 403 if apart > SKEW => web.send(&message(&registry, &url, &keys, there)).await?,
        _ => answer,
    };
    granted(&answer, answer.date.unwrap_or(now))
}

fn registry(variables: &Variables, host: &str) -> Result<Ecr, String> {
    let region = variables.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]);
    let named = Ecr::of(host).or_else(|| Ecr::in_region(region?));
    named.ok_or_else(|| format!("{host} is no name of ECR that tells its region: set AWS_REGION"))
}

fn endpoint(variables: &Variables, registry: &Ecr) -> Result<Url, String> {
    let own = match registry.is_public() {
        true => "AWS_ENDPOINT_URL_ECR_PUBLIC",
        false => "AWS_ENDPOINT_URL_ECR",
    };
    service(variables, own, &registry.endpoint())
}

/// Where a service is: where one of two variables says, else at its usual place.
fn service(variables: &Variables, own: &str, usual: &str) -> Result<Url, String> {
    let set = [own, "AWS_ENDPOINT_URL"].into_iter();
    let set = set.filter_map(|name| Some((name, variables.get(name)?))).next();
    let (name, url) = set.unwrap_or((own, usual));
    guarded(name, url)
}

fn message(registry: &Ecr, url: &Url, keys: &Keys, now: Time) -> Message<'static> {
    const BODY: &str = "{}";
    const TYPE: &str = "application/x-amz-json-1.1";
    let (stamp, host) = (stamp(now), host(url));
    let session = keys.session.as_ref().map_or("", Secret::expose);
    let headers = [
        ("content-type", TYPE),
        ("host", &host),
        ("x-amz-date", &stamp),
        ("x-amz-security-token", session),
        ("x-amz-target", registry.operation()),
    ];
    let sent: Vec<(&'static str, &str)> = headers
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let signing = Signing {
        region: &registry.region,
        service: registry.service(),
        method: "POST",
        path: url.path(),
        headers: &sent,
        body: BODY.as_bytes(),
    };
    let mut message = Message::post(ECR, url.clone(), BODY.to_owned());
    message = message.with("authorization", signing.sign(keys, &stamp));
    // The client writes the host itself.
    let rest = sent.into_iter().filter(|(name, _)| *name != "host");
    rest.fold(message, |message, (name, value)| message.with(name, value))
}

/// The host as it is written into a request: with its port where that is not the usual one.
fn host(url: &Url) -> String {
    let uri = url.uri();
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        Some(port)
            if !matches!(
                (uri.scheme_str(), port),
                (Some("http"), 80) | (Some("https"), 443)
            ) =>
        {
            format!("{host}:{port}")
        }
        _ => host.to_owned(),
    }
}

/// The token, and how long it is good for.
fn granted(answer: &Answer, now: Time) -> Result<Given, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Granted {
        authorization_data: OneOrMany,
    }
    /// ECR has a list of them, the public one has one.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<Data>),
        One(Data),
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        authorization_token: String,
        expires_at: f64,
    }
    if answer.status != 200 {
        return Err(refused(answer));
    }
    let granted: Granted = answer.read(ECR, "an authorizationToken")?;
    let data = match granted.authorization_data {
        OneOrMany::One(data) => Some(data),
        OneOrMany::Many(list) => list.into_iter().next(),
    };
    let data = data.ok_or("ECR answered without an authorizationToken")?;
    let decoded = BASE64_STANDARD.decode(&data.authorization_token).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = text.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) =
        pair.ok_or("ECR answered with an authorizationToken that is no user and password")?;
    let end = Time::from_millis((data.expires_at.max(0.0) * 1000.0) as u64);
    let credential = Credential {
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
    };
    Ok((Some(credential), Life::of(end.since(now).min(LONGEST))))
}

/// What it refused with, and what helps.
fn refused(answer: &Answer) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Refused {
        __type: String,
        #[serde(alias = "Message")]
        message: String,
    }
    let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = refused.__type.rsplit('#').next().unwrap_or_default();
    let told = answer.refused(ECR, code, &refused.message);
    match code {
        "AccessDeniedException" => {
            format!("{told}; allow its role ecr:GetAuthorizationToken, and what pulls need")
        }
        "ExpiredTokenException" | "UnrecognizedClientException" | "InvalidClientTokenId" => {
            format!("{told}; its keys are not valid any more")
        }
        _ => told,
    }
}

#[cfg(test)]
mod tests;
