//! The keys that requests to Amazon are signed with, by the first way that is set up.

use std::time::Duration;

use http::Method as Verb;
use serde::Deserialize;

use super::super::form;
use super::super::variables::token_in;
use super::super::web::{Answer, Message, guarded};
use super::{Keys, Variables, Web, ecr, service};
use crate::net::url::Url;
use crate::upstream::Secret;
use crate::upstream::token::FORM;

const STS: &str = "STS";
const AGENT: &str = "the credentials agent";
const IMDS: &str = "the instance's metadata service";
/// What we are called where nobody says.
const SESSION: &str = "seawall";
/// How long the metadata service is waited for: it is on this machine, or not there at all.
const SOON: Duration = Duration::from_secs(1);
/// How long its own token is to be good for, in seconds: it is used at once.
const TOKEN_LIFE: &str = "60";

/// A way to keys.
pub(super) enum Method {
    /// They are in the environment.
    Static(Keys),
    /// A token in a file opens a role.
    WebIdentity {
        sts: Url,
        role: String,
        session: String,
        file: String,
    },
    /// An agent hands them out.
    Agent {
        url: Url,
        authorization: Option<Authorization>,
    },
    /// The role of the machine.
    Instance { base: Url },
}

/// What proves us to an agent.
pub(super) enum Authorization {
    Text(Secret),
    File(String),
}

/// Keys as agents and metadata services write them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
}

impl From<Written> for Keys {
    fn from(written: Written) -> Self {
        Self {
            id: written.access_key_id,
            secret: Secret::new(written.secret_access_key),
            session: written.token.map(Secret::new),
        }
    }
}

impl Method {
    /// The first way that is set up, in the order of Amazon's own tools.
    pub(super) fn of(variables: &Variables, region: &str) -> Result<Self, String> {
        if let Some(id) = variables.get("AWS_ACCESS_KEY_ID") {
            let secret = variables.needed("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")?;
            let session = variables.get("AWS_SESSION_TOKEN");
            return Ok(Self::Static(Keys {
                id: id.to_owned(),
                secret: Secret::new(secret.to_owned()),
                session: session.map(|session| Secret::new(session.to_owned())),
            }));
        }
        if let Some(file) = variables.get("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let role = variables.needed("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")?;
            let region = variables
                .first(&["AWS_REGION", "AWS_DEFAULT_REGION"])
                .unwrap_or(region);
            if !ecr::is_region(region) {
                return Err(format!(
                    "AWS_REGION = {region:?}: expected a region such as \"eu-west-1\""
                ));
            }
            return Ok(Self::WebIdentity {
                sts: service(variables, "AWS_ENDPOINT_URL_STS", &ecr::sts(region))?,
                role: role.to_owned(),
                session: variables
                    .get("AWS_ROLE_SESSION_NAME")
                    .unwrap_or(SESSION)
                    .to_owned(),
                file: file.to_owned(),
            });
        }
        match agent(variables)? {
            Some(agent) => Ok(agent),
            None => instance(variables),
        }
    }

    /// Asks for the keys.
    pub(super) async fn keys(self, web: &Web<'_>) -> Result<Keys, String> {
        match self {
            Self::Static(keys) => Ok(keys),
            Self::WebIdentity {
                sts,
                role,
                session,
                file,
            } => {
                let token = token_in(&file, "AWS_WEB_IDENTITY_TOKEN_FILE").await?;
                assume(web, sts, [&role, &session, token.expose()]).await
            }
            Self::Agent { url, authorization } => of_agent(web, url, authorization).await,
            Self::Instance { base } => of_instance(web, &base).await,
        }
    }
}

fn agent(variables: &Variables) -> Result<Option<Method>, String> {
    let relative = variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let (name, url) = match (relative, variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
        (Some(path), _) if path.starts_with('/') => (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            format!("http://169.254.170.2{path}"),
        ),
        (Some(_), _) => return Err("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: expected a path".to_owned()),
        (None, Some(url)) => ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.to_owned()),
        (None, None) => return Ok(None),
    };
    let file = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let text = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    let authorization = match (file, text) {
        (Some(file), _) => Some(Authorization::File(file.to_owned())),
        (None, text) => text.map(|text| Authorization::Text(Secret::new(text.to_owned()))),
    };
    Ok(Some(Method::Agent {
        url: guarded(name, &url)?,
        authorization,
    }))
}

fn instance(variables: &Variables) -> Result<Method, String> {
    let disabled = variables.get("AWS_EC2_METADATA_DISABLED");
    if disabled.is_some_and(|word| word.eq_ignore_ascii_case("true")) {
        return Err(
            "there are no keys of Amazon: no AWS_ACCESS_KEY_ID, no AWS_WEB_IDENTITY_TOKEN_FILE, no \
             AWS_CONTAINER_CREDENTIALS_FULL_URI, and AWS_EC2_METADATA_DISABLED is true"
                .to_owned(),
        );
    }
    let mode = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    let usual = match mode {
        Some(mode) if mode.eq_ignore_ascii_case("ipv6") => "http://[fd00:ec2::254]",
        _ => "http://169.254.169.254",
    };
    let name = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
    let base = guarded(name, variables.get(name).unwrap_or(usual))?;
    Ok(Method::Instance { base })
}

/// The keys of a role, for a token.
async fn assume(web: &Web<'_>, sts: Url, [role, session, token]: [&str; 3]) -> Result<Keys, String> {
    let body = form([
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", session),
        ("WebIdentityToken", token),
    ]);
    let message = Message::post(STS, sts, body).with("content-type", FORM);
    let answer = web.send(&message).await?;
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status != 200 {
        let (code, said) = (within(&text, "Code"), within(&text, "Message"));
        let code = code.unwrap_or_default();
        let told = answer.refused(STS, &code, &said.unwrap_or_default());
        return Err(match code.as_str() {
            "AccessDenied" => format!("{told}; let the role of AWS_ROLE_ARN trust the issuer of the token"),
            "ExpiredTokenException" | "ExpiredToken" => {
                format!("{told}; see whether the file of AWS_WEB_IDENTITY_TOKEN_FILE is renewed")
            }
            _ => told,
        });
    }
    let part = |name| within(&text, name).ok_or_else(|| format!("STS answered without {name}"));
    Ok(Keys {
        id: part("AccessKeyId")?,
        secret: Secret::new(part("SecretAccessKey")?),
        session: Some(Secret::new(part("SessionToken")?)),
    })
}

/// The text of the first element of this name: what is looked for holds no others.
pub(super) fn within(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    let plain = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    (!plain.is_empty()).then_some(plain)
}

async fn of_agent(web: &Web<'_>, url: Url, authorization: Option<Authorization>) -> Result<Keys, String> {
    let mut message = Message::get(AGENT, url);
    let token = match authorization {
        None => None,
        Some(Authorization::Text(text)) => Some(text),
        Some(Authorization::File(file)) => {
            Some(token_in(&file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").await?)
        }
    };
    if let Some(token) = token {
        message = message.with("authorization", token.expose());
    }
    let answer = web.send(&message).await?;
    written(&answer, AGENT)
}

/// By the second version of the protocol, which a request that something was tricked into cannot speak.
async fn of_instance(web: &Web<'_>, base: &Url) -> Result<Keys, String> {
    let at = |path: &str| {
        let base = base.path().trim_end_matches('/').to_owned() + path;
        move |url: &Url| url.join(&base).map_err(|why| format!("{IMDS}: {why}"))
    };
    let mut message = Message::get(IMDS, at("/latest/api/token")(base)?);
    message.method = Verb::PUT;
    let message = message.with("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_LIFE);
    let answer = tokio::time::timeout(SOON, web.send_once(&message))
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "{IMDS} did not answer within {SOON:?}: in a container, its answer's hop limit must be 2 \
             (HttpPutResponseHopLimit); where this is no machine of Amazon's, set AWS_ACCESS_KEY_ID, \
             AWS_WEB_IDENTITY_TOKEN_FILE or AWS_CONTAINER_CREDENTIALS_FULL_URI"
            ))
        })?;
    if answer.status != 200 {
        return Err(answer.refused(IMDS, "", "it gives no token"));
    }
    let token = String::from_utf8_lossy(&answer.body).trim().to_owned();
    let ask = |path: String| {
        let url = at(&path)(base);
        let token = token.clone();
        async move {
            let message = Message::get(IMDS, url?).with("x-aws-ec2-metadata-token", token);
            web.send(&message).await
        }
    };
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let answer = ask(ROLES.to_owned()).await?;
    let none = || format!("{IMDS} knows no role: attach an instance profile that may pull");
    match answer.status {
        200 => {}
        404 => return Err(none()),
        _ => return Err(answer.refused(IMDS, "", "")),
    }
    let list = String::from_utf8_lossy(&answer.body).into_owned();
    let role = list.lines().next().unwrap_or_default().trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if role.is_empty() || role.len() > 128 || !role.bytes().all(plain) {
        return Err(none());
    }
    let answer = ask(format!("{ROLES}{role}")).await?;
    written(&answer, IMDS)
}

pub(super) fn written(answer: &Answer, to: &str) -> Result<Keys, String> {
    match answer.status {
        200 => answer.read::<Written>(to, "keys").map(Keys::from),
        _ => Err(answer.refused(to, "", "")),
    }
}
