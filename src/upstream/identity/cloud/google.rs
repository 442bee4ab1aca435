//! Google: an access token, by the account of the machine or pod that we run on, or by what the file of
//! `GOOGLE_APPLICATION_CREDENTIALS` describes: a token of somebody whom Google trusts (workload identity federation),
//! or the key of a service account.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::Given;
use super::variables::{self, token_in};
use super::web::{Answer, Message, guarded};
use super::{Variables, Web, form};
use crate::clock::Time;
use crate::net::url::Url;
use crate::policy::identity::Life;
use crate::upstream::token::FORM;
use crate::upstream::{Credential, Secret};

/// What it goes by.
pub(super) const VARIABLES: [&str; 2] = [FILE, "GCE_METADATA_HOST"];
const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// The user that an access token is the password of, and that a key is.
const TOKEN_USER: &str = "oauth2accesstoken";
const KEY_USER: &str = "_json_key";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const METADATA: &str = "the metadata service";
const STS: &str = "Google's token exchange";
const IAM: &str = "Google's IAM";
const SUBJECT: &str = "the service of credential_source";
/// How long an impersonated account's token is asked for, in seconds.
const LIFETIME: u32 = 3600;
/// The longest that a token is believed; and how long a key is kept before its file is looked at again.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
const KEY: Duration = Duration::from_secs(900);

/// What a file describes.
#[derive(Deserialize)]
struct Described {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    subject_token_type: String,
    #[serde(default)]
    token_url: String,
    service_account_impersonation_url: Option<String>,
    #[serde(default)]
    credential_source: Source,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Source {
    file: Option<String>,
    url: Option<String>,
    headers: BTreeMap<String, String>,
    format: Format,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Format {
    #[serde(rename = "type")]
    kind: String,
    subject_token_field_name: String,
}

/// What is wrong with these variables.
pub(super) fn check(variables: &Variables) -> Result<(), String> {
    match variables.get(FILE) {
        Some(_) => Ok(()),
        None => metadata(variables).map(|_| ()),
    }
}

/// Asks for a token.
pub(super) async fn ask(web: &Web<'_>, variables: &Variables) -> Result<Given, String> {
    let Some(path) = variables.get(FILE) else {
        let message = Message::get(METADATA, metadata(variables)?).with("metadata-flavor", "Google");
        let answer = web.send(&message).await?;
        return match answer.status {
            404 => Err(format!(
                "{METADATA} knows no service account: give one to this machine or pod"
            )),
            _ => issued(&answer, METADATA),
        };
    };
    let text = variables::read(path, FILE).await?;
    let described: Described = serde_json::from_str(text.expose()).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("{FILE}: {path} is no JSON of Google's (line {line}, column {column})")
    })?;
    match described.kind.as_str() {
        "external_account" => federated(web, &described, path).await,
        "service_account" => Ok((
            Some(Credential {
                username: KEY_USER.to_owned(),
                password: text,
            }),
            Life::untold(KEY),
        )),
        _ => Err(format!(
            "{FILE}: {path} describes neither an external_account nor a service_account: have one written for a \
             workload identity pool, or for a service account"
        )),
    }
}

/// The token of the machine's account.
fn metadata(variables: &Variables) -> Result<Url, String> {
    let name = "GCE_METADATA_HOST";
    let host = variables.get(name).unwrap_or("169.254.169.254");
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    // No secret is sent there.
    Url::parse(&format!("http://{host}{path}")).map_err(|why| format!("{name}: {why}"))
}

async fn federated(web: &Web<'_>, described: &Described, path: &str) -> Result<Given, String> {
    let subject = subject(web, &described.credential_source, path).await?;
    let body = form([
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("audience", &described.audience),
        ("scope", SCOPE),
        ("subject_token_type", &described.subject_token_type),
        ("subject_token", subject.expose()),
    ]);
    let url = guarded(&format!("{FILE}: token_url"), &described.token_url)?;
    let answer = web
        .send(&Message::post(STS, url, body).with("content-type", FORM))
        .await?;
    let Some(account) = &described.service_account_impersonation_url else {
        return issued(&answer, STS);
    };
    let (Some(own), _) = issued(&answer, STS)? else {
        return Ok((None, Life::untold(KEY)));
    };
    let url = guarded(&format!("{FILE}: service_account_impersonation_url"), account)?;
    let body = format!(r#"{{"scope":["{SCOPE}"],"lifetime":"{LIFETIME}s"}}"#);
    let message = Message::post(IAM, url, body)
        .with("content-type", "application/json")
        .with("authorization", format!("Bearer {}", own.password.expose()));
    impersonated(&web.send(&message).await?, web.clock.now())
}

/// The token of whom Google trusts.
async fn subject(web: &Web<'_>, source: &Source, path: &str) -> Result<Secret, String> {
    let is_json = source.format.kind == "json";
    let text = match (&source.file, &source.url) {
        (Some(file), None) if !is_json => return token_in(file, "credential_source.file").await,
        (Some(file), None) => variables::read(file, "credential_source.file").await?,
        (None, Some(url)) => {
            let url = guarded("credential_source.url", url)?;
            let mut message = Message::get(SUBJECT, url);
            message.more = source.headers.clone().into_iter().collect();
            let answer = web.send(&message).await?;
            if answer.status != 200 {
                return Err(answer.refused(SUBJECT, "", ""));
            }
            Secret::new(String::from_utf8_lossy(&answer.body).trim().to_owned())
        }
        _ => {
            return Err(format!(
                "{FILE}: {path}: its credential_source names neither a file nor a URL, which are the ways to a token \
                 that are known here"
            ));
        }
    };
    if !is_json {
        return Ok(text);
    }
    let field = &source.format.subject_token_field_name;
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(text.expose()).unwrap_or_default();
    let token = all.get(field).and_then(serde_json::Value::as_str);
    let token =
        token.ok_or_else(|| format!("credential_source: there is no {field:?} in what it leads to"))?;
    Ok(Secret::new(token.to_owned()))
}

/// A token as Google's services write them.
fn issued(answer: &Answer, to: &str) -> Result<Given, String> {
    #[derive(Deserialize)]
    struct Issued {
        access_token: String,
        expires_in: f64,
    }
    if answer.status != 200 {
        return Err(refused(answer, to));
    }
    let issued: Issued = answer.read(to, "an access_token")?;
    let life = Duration::from_secs_f64(issued.expires_in.clamp(0.0, LONGEST.as_secs_f64()));
    Ok(token(issued.access_token, life))
}

/// A token of the account that is impersonated; it says when it ends, by the clock of whoever issued it.
fn impersonated(answer: &Answer, now: Time) -> Result<Given, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Issued {
        access_token: String,
        expire_time: String,
    }
    if answer.status != 200 {
        return Err(refused(answer, IAM));
    }
    let issued: Issued = answer.read(IAM, "an accessToken")?;
    let end = Time::parse(&issued.expire_time);
    let end = end.ok_or_else(|| format!("{IAM} answered with an expireTime that is no time"))?;
    let life = end.since(answer.date.unwrap_or(now)).min(LONGEST);
    Ok(token(issued.access_token, life))
}

fn token(token: String, life: Duration) -> Given {
    let credential = Credential {
        username: TOKEN_USER.to_owned(),
        password: Secret::new(token),
    };
    (Some(credential), Life::of(life))
}

/// What was refused with, and what helps.
fn refused(answer: &Answer, to: &str) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Refused {
        error: serde_json::Value,
        error_description: String,
    }
    let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = refused
        .error
        .as_str()
        .or_else(|| refused.error["status"].as_str());
    let said = refused.error["message"]
        .as_str()
        .unwrap_or(&refused.error_description);
    let told = answer.refused(to, code.unwrap_or_default(), said);
    match (to, answer.status) {
        (IAM, 403) => {
            format!("{told}; let the principal of the pool be roles/iam.workloadIdentityUser of the account")
        }
        (STS, 400) => {
            format!("{told}; see whether the token is renewed, and whether its pool's provider accepts it")
        }
        _ => told,
    }
}

#[cfg(test)]
mod tests;
