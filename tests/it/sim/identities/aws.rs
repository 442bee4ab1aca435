//! Amazon: instances' metadata (IMDSv2), the agent of pods, STS, and the service of ECR, which checks signatures.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use seawall::oci::Digest;

use super::super::limits::millis;
use super::super::state::{Reply, Request};
use super::Identities;

/// The life of keys, and of tokens of ECR.
const KEYS: Duration = Duration::from_secs(3600);
const TOKEN: Duration = Duration::from_secs(12 * 3600);
/// How far the clocks of a signature may be apart, in ms.
const APART: u64 = 300_000;

/// What of it can be chosen.
pub(crate) struct Aws {
    /// The roles of the machine, a line each.
    pub(crate) roles: Option<String>,
    /// The metadata service's answers do not reach a container.
    pub(crate) one_hop: bool,
    /// What the agent wants to see: what is in the pod's file now.
    pub(crate) agent_token: String,
    /// What STS takes for the role: what is in the pod's file now.
    pub(crate) web_token: String,
    /// The service answers with one, as the public one does, not with a list.
    pub(crate) one: bool,
    /// Metadata tokens, by when they end.
    sessions: HashMap<String, u64>,
    /// Keys that were given out.
    keys: HashMap<String, Keys>,
}

struct Keys {
    secret: String,
    session: Option<String>,
    /// In ms.
    ends: u64,
}

impl Default for Aws {
    fn default() -> Self {
        let known = Keys {
            secret: "CANARYsecret/key".to_owned(),
            session: None,
            ends: u64::MAX,
        };
        Self {
            roles: Some("node+role".to_owned()),
            one_hop: false,
            agent_token: String::new(),
            web_token: String::new(),
            one: false,
            sessions: HashMap::new(),
            keys: HashMap::from([("AKIDEXAMPLE".to_owned(), known)]),
        }
    }
}

impl Aws {
    fn give(&mut self, at: u64) -> [String; 3] {
        let number = self.keys.len();
        let given = [
            format!("ASIA{number}"),
            format!("CANARYsecret{number}/+="),
            // As text of XML it is written otherwise.
            format!("session{number}//+==&lt;"),
        ];
        let keys = Keys {
            secret: given[1].clone(),
            session: Some(given[2].clone()),
            ends: at + millis(KEYS),
        };
        self.keys.insert(given[0].clone(), keys);
        given
    }

    fn written(&mut self, at: u64) -> Reply {
        let [id, secret, token] = self.give(at);
        let body = format!(
            r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"{token}","Expiration":"2030-01-01T00:00:00Z"}}"#
        );
        Reply::new(200).text("application/json", body)
    }
}

impl Identities {
    /// The metadata service of an instance.
    pub(super) fn instance(&mut self, request: &Request) -> Reply {
        const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
        let aws = &mut self.aws;
        if request.path == "/latest/api/token" {
            let life = request.header("x-aws-ec2-metadata-token-ttl-seconds");
            let life = life.and_then(|life| life.parse::<u64>().ok());
            return match life {
                Some(life) if request.method == http::Method::PUT => {
                    let token = format!("session{}", aws.sessions.len());
                    aws.sessions.insert(token.clone(), request.at + life * 1000);
                    let mut reply = Reply::new(200).text("text/plain", token);
                    if aws.one_hop {
                        reply.delay = Duration::from_secs(3600);
                    }
                    reply
                }
                _ => Reply::new(400),
            };
        }
        let token = request.header("x-aws-ec2-metadata-token").unwrap_or_default();
        if aws.sessions.get(&token).is_none_or(|end| *end < request.at) {
            return Reply::new(401);
        }
        match (request.path.strip_prefix(ROLES), &aws.roles) {
            (Some(""), Some(roles)) => Reply::new(200).text("text/plain", roles.clone()),
            (Some(asked), Some(roles)) if roles.lines().any(|role| role == asked) => aws.written(request.at),
            _ => Reply::new(404).text("text/html", "<html>404 - Not Found</html>"),
        }
    }

    /// The agent on the node that a pod's identity comes from.
    pub(super) fn agent(&mut self, request: &Request) -> Reply {
        let shown = request.header("authorization").unwrap_or_default();
        if shown != self.aws.agent_token {
            return Reply::new(401).text("text/plain", "Authorization header does not match");
        }
        self.aws.written(request.at)
    }

    pub(super) fn sts(&mut self, request: &Request) -> Reply {
        let form = super::form(request);
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let right = field("Action") == "AssumeRoleWithWebIdentity"
            && field("Version") == "2011-06-15"
            && field("RoleArn") == "arn:aws:iam::123456789012:role/pull"
            && !field("RoleSessionName").is_empty();
        if !right || request.header("authorization").is_some() {
            return error(
                403,
                "AccessDenied",
                "Not authorized to perform sts:AssumeRoleWithWebIdentity",
            );
        }
        if field("WebIdentityToken") != self.aws.web_token {
            return error(
                400,
                "ExpiredTokenException",
                "Token expired: current date/time must be before it",
            );
        }
        let [id, secret, token] = self.aws.give(request.at);
        let token = token.replace('&', "&amp;");
        let body = format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
             <AssumeRoleWithWebIdentityResult>\n    <Credentials>\n      <SessionToken>{token}</SessionToken>\n      \
             <SecretAccessKey>{secret}</SecretAccessKey>\n      <Expiration>2030-01-01T00:00:00Z</Expiration>\n      \
             <AccessKeyId>{id}</AccessKeyId>\n    </Credentials>\n  </AssumeRoleWithWebIdentityResult>\n\
             </AssumeRoleWithWebIdentityResponse>\n"
        );
        Reply::new(200).text("text/xml", body)
    }

    /// The service of ECR.
    pub(super) fn ecr(&mut self, request: &Request, target: &str) -> Reply {
        let refuse = |kind: &str, message: &str| {
            let body = format!(r#"{{"__type":"com.amazon.coral.service#{kind}","message":"{message}"}}"#);
            Reply::new(400).text("application/x-amz-json-1.1", body)
        };
        if target != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
            || request.header("content-type").as_deref() != Some("application/x-amz-json-1.1")
        {
            return refuse("UnknownOperationException", "");
        }
        let Some((scope, names, signature)) = authorization(request) else {
            return refuse("MissingAuthenticationTokenException", "");
        };
        let (id, scope) = scope.split_once('/').unwrap_or_default();
        let Some(keys) = self.aws.keys.get(id) else {
            return refuse("UnrecognizedClientException", "The security token is invalid");
        };
        if request.at >= keys.ends {
            return refuse("ExpiredTokenException", "The security token is expired");
        }
        let stamp = request.header("x-amz-date").unwrap_or_default();
        let region = scope.split('/').nth(1).unwrap_or_default();
        if scope != format!("{}/{region}/ecr/aws4_request", &stamp[..8]) {
            return refuse(
                "InvalidSignatureException",
                "Credential should be scoped to the service",
            );
        }
        let moment = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &stamp[..4],
            &stamp[4..6],
            &stamp[6..8],
            &stamp[9..11],
            &stamp[11..13],
            &stamp[13..15]
        );
        let moment = seawall::clock::Time::parse(&moment).unwrap().as_millis();
        if moment.abs_diff(self.now().as_millis()) > APART {
            return refuse("InvalidSignatureException", "Signature expired");
        }
        let covered = ["host", "x-amz-date", "x-amz-target"]
            .iter()
            .all(|name| names.contains(name));
        let session = request.header("x-amz-security-token");
        let right = sign(request, &names, (&stamp, scope), &keys.secret);
        if !covered || session != keys.session || signature != right {
            return refuse(
                "InvalidSignatureException",
                "The request signature we calculated does not match",
            );
        }
        let end = (self.now() + TOKEN).as_millis() as f64 / 1000.0;
        let password = self.issue(request.at, TOKEN);
        let token = BASE64_STANDARD.encode(format!("AWS:{password}"));
        let data =
            format!(r#"{{"authorizationToken":"{token}","expiresAt":{end:.3},"proxyEndpoint":"https://x"}}"#);
        let data = if self.aws.one { data } else { format!("[{data}]") };
        let body = format!(r#"{{"authorizationData":{data}}}"#);
        Reply::new(200).text("application/x-amz-json-1.1", body)
    }
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
         <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n</ErrorResponse>\n"
    );
    Reply::new(status).text("text/xml", body)
}

/// Credential, names of the signed headers, and signature.
fn authorization(request: &Request) -> Option<(String, Vec<&str>, String)> {
    let value = request.headers.get("authorization")?.to_str().ok()?;
    let rest = value.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let mut parts = rest.split(", ");
    let scope = parts.next()?.strip_prefix("Credential=")?;
    let names = parts.next()?.strip_prefix("SignedHeaders=")?;
    let signature = parts.next()?.strip_prefix("Signature=")?;
    Some((scope.to_owned(), names.split(';').collect(), signature.to_owned()))
}

/// The signature of what came: by the rules, not by what Seawall makes of them.
fn sign(request: &Request, names: &[&str], (stamp, scope): (&str, &str), secret: &str) -> String {
    let mut canonical = vec![
        request.method.to_string(),
        request.path.clone(),
        request.query.clone(),
    ];
    for name in names {
        let value = request.header(name).unwrap_or_default();
        canonical.push(format!("{name}:{}", value.trim()));
    }
    canonical.push(String::new());
    canonical.push(names.join(";"));
    canonical.push(hash(request.body.as_bytes()));
    let text = [
        "AWS4-HMAC-SHA256",
        stamp,
        scope,
        &hash(canonical.join("\n").as_bytes()),
    ]
    .join("\n");
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| keyed(&key, part));
    hex(&keyed(&key, &text))
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    hex(Digest::sha256(bytes).as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
