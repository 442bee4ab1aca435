//! Azure: a registry's refresh token for what the directory (Entra ID) says of us, which knows us by a secret, by a
//! token in a file (workload identity), or by the machine or service that we run on (managed identity).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

use super::super::{Given, Site};
use super::variables::token_in;
use super::web::{Answer, Message, guarded};
use super::{Variables, Web, form};
use crate::net::url::Url;
use crate::policy::identity::Life;
use crate::upstream::body::read_whole;
use crate::upstream::token::FORM;
use crate::upstream::{Credential, Secret};

/// What it goes by.
pub(super) const VARIABLES: [&str; 8] = [
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
];
/// What a token of the directory must be for: one for resources in general may be refused by policy.
const AUDIENCE: &str = "https://containerregistry.azure.net";
/// The user that a refresh token is the password of.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
const DIRECTORY: &str = "Entra ID";
const IMDS: &str = "the instance's metadata service";
const SERVICE: &str = "the identity service of IDENTITY_ENDPOINT";
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// Most bytes of a registry's answer.
const MAX_ANSWER: u64 = 64 << 10;
/// The longest that a refresh token is believed; and how long one is kept that does not say.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const UNTOLD: Duration = Duration::from_secs(3600);

/// A way to a token of the directory.
enum Method {
    /// By an application's secret, or by a token of a cluster or job that the directory trusts.
    Application { url: Url, client: String, proof: Proof },
    /// By where we run.
    Managed {
        to: &'static str,
        message: Message<'static>,
    },
}

enum Proof {
    Secret(Secret),
    File(String),
}

/// What is wrong with these variables.
pub(super) fn check(variables: &Variables) -> Result<(), String> {
    Method::of(variables).map(|_| ())
}

/// Asks for a refresh token of the registry.
pub(super) async fn ask(web: &Web<'_>, variables: &Variables, site: &Site) -> Result<Given, String> {
    let token = Method::of(variables)?.token(web).await?;
    exchange(site, variables.get("AZURE_TENANT_ID"), &token).await
}

impl Method {
    /// The first way that is set up, in the order of Azure's own tools.
    fn of(variables: &Variables) -> Result<Self, String> {
        let client = variables.get("AZURE_CLIENT_ID");
        let secret = variables.get("AZURE_CLIENT_SECRET");
        let file = variables.get("AZURE_FEDERATED_TOKEN_FILE");
        let (proof, name) = match (secret, file) {
            (Some(secret), _) => (
                Proof::Secret(Secret::new(secret.to_owned())),
                "AZURE_CLIENT_SECRET",
            ),
            (None, Some(file)) => (Proof::File(file.to_owned()), "AZURE_FEDERATED_TOKEN_FILE"),
            (None, None) => return Self::managed(variables, client),
        };
        let tenant = variables.needed("AZURE_TENANT_ID", name)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if !tenant.bytes().all(plain) {
            return Err(format!(
                "AZURE_TENANT_ID = {tenant:?}: expected the ID of a directory"
            ));
        }
        let host = variables
            .get("AZURE_AUTHORITY_HOST")
            .unwrap_or(AUTHORITY)
            .trim_end_matches('/');
        Ok(Self::Application {
            url: guarded(
                "AZURE_AUTHORITY_HOST",
                &format!("{host}/{tenant}/oauth2/v2.0/token"),
            )?,
            client: variables.needed("AZURE_CLIENT_ID", name)?.to_owned(),
            proof,
        })
    }

    fn managed(variables: &Variables, client: Option<&str>) -> Result<Self, String> {
        let query = form([("resource", AUDIENCE), ("client_id", client.unwrap_or_default())]);
        if let Some(endpoint) = variables.get("IDENTITY_ENDPOINT") {
            let header = variables.needed("IDENTITY_HEADER", "IDENTITY_ENDPOINT")?;
            let url = guarded(
                "IDENTITY_ENDPOINT",
                &format!("{endpoint}?api-version=2019-08-01&{query}"),
            )?;
            let message = Message::get(SERVICE, url).with("x-identity-header", header);
            return Ok(Self::Managed { to: SERVICE, message });
        }
        let name = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
        let base = variables
            .get(name)
            .unwrap_or("http://169.254.169.254")
            .trim_end_matches('/');
        let path = "/metadata/identity/oauth2/token?api-version=2018-02-01";
        let url = guarded(name, &format!("{base}{path}&{query}"))?;
        let message = Message::get(IMDS, url).with("metadata", "true");
        Ok(Self::Managed { to: IMDS, message })
    }

    async fn token(self, web: &Web<'_>) -> Result<Secret, String> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
        }
        let (to, message) = match self {
            Self::Application { url, client, proof } => {
                let scope = format!("{AUDIENCE}/.default");
                let proof = match &proof {
                    Proof::Secret(secret) => vec![("client_secret", secret.clone())],
                    Proof::File(file) => {
                        let bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned();
                        vec![
                            ("client_assertion_type", Secret::new(bearer)),
                            (
                                "client_assertion",
                                token_in(file, "AZURE_FEDERATED_TOKEN_FILE").await?,
                            ),
                        ]
                    }
                };
                let fixed = [
                    ("grant_type", "client_credentials"),
                    ("client_id", &client),
                    ("scope", &scope),
                ];
                let proof = proof.iter().map(|(name, value)| (*name, value.expose()));
                let body = form(fixed.into_iter().chain(proof));
                (
                    DIRECTORY,
                    Message::post(DIRECTORY, url, body).with("content-type", FORM),
                )
            }
            Self::Managed { to, message } => (to, message),
        };
        let answer = web.send(&message).await?;
        if answer.status != 200 {
            return Err(refused(&answer, to));
        }
        let granted: Granted = answer.read(to, "an access_token")?;
        Ok(Secret::new(granted.access_token))
    }
}

/// What was refused with, and what helps.
fn refused(answer: &Answer, to: &str) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Refused {
        error: String,
        error_description: String,
    }
    const TRUST: &str =
        "; let the application or identity of AZURE_CLIENT_ID trust the issuer and subject of the token";
    const RENEW: &str = "; renew AZURE_CLIENT_SECRET";
    const FILE: &str = "; see whether the file of AZURE_FEDERATED_TOKEN_FILE is renewed";
    const ASSIGN: &str =
        "; assign an identity to this machine, and name it in AZURE_CLIENT_ID if there are several";
    let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = refused.error_description.split(':').next().unwrap_or_default();
    let next = match (code, to, answer.status) {
        ("AADSTS70021" | "AADSTS700211" | "AADSTS700212" | "AADSTS700213", ..) => TRUST,
        ("AADSTS7000215" | "AADSTS7000222", ..) => RENEW,
        ("AADSTS700024", ..) => FILE,
        (_, IMDS, 400 | 404) => ASSIGN,
        _ => "",
    };
    answer.refused(to, &refused.error, &refused.error_description) + next
}

/// A refresh token of the registry for a token of the directory.
async fn exchange(site: &Site, tenant: Option<&str>, token: &Secret) -> Result<Given, String> {
    #[derive(Deserialize)]
    struct Granted {
        refresh_token: String,
    }
    let host = site.base.host();
    let told = |why: &dyn std::fmt::Display| format!("{host}: {why}");
    let url = site.base.join("/oauth2/exchange").map_err(|why| told(&why))?;
    let body = form([
        ("grant_type", "access_token"),
        ("service", host),
        ("tenant", tenant.unwrap_or_default()),
        ("access_token", token.expose()),
    ]);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    let sent = site.wire.post(&url, headers, Bytes::from(body)).await;
    let response = sent.map_err(|refusal| told(&refusal))?;
    let status = response.status().as_u16();
    let body = read_whole(response, MAX_ANSWER, Duration::from_secs(5), "an answer").await;
    let answer = Answer {
        status,
        body: body.map_err(|refusal| told(&refusal))?,
        date: None,
    };
    match status {
        200 => {}
        401 | 403 => {
            let next = "; give the identity the role AcrPull for it";
            return Err(answer.refused(host, "", "it does not exchange the token") + next);
        }
        _ => return Err(answer.refused(host, "", "it does not exchange the token")),
    }
    let granted: Granted = answer.read(host, "a refresh_token")?;
    if granted.refresh_token.is_empty() {
        return Err(format!("{host} answered without a refresh_token"));
    }
    let life = life(&granted.refresh_token).map_or(Life::untold(UNTOLD), Life::of);
    let credential = Credential {
        username: NOBODY.to_owned(),
        password: Secret::new(granted.refresh_token),
    };
    Ok((Some(credential), life))
}

/// How long a token says it is good for: from when it was issued, which is now, whatever the clocks say.
fn life(token: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
        iat: f64,
    }
    let claims = token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let seconds = claims.exp - claims.iat;
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

#[cfg(test)]
mod tests;
