//! Azure: the directory, the metadata service of a machine, and the exchange of a registry.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::super::limits::millis;
use super::super::state::{Reply, Request};
use super::{Identities, form};

/// The life of the directory's tokens, and of a registry's refresh token.
const TOKEN: Duration = Duration::from_secs(3600);
const REFRESH: Duration = Duration::from_secs(3 * 3600);
const AUDIENCE: &str = "https://containerregistry.azure.net";

/// What of it can be chosen.
#[derive(Default)]
pub(crate) struct Azure {
    /// What the directory takes for the application: what is in the pod's file now.
    pub(crate) assertion: String,
    /// No identity is assigned to the machine.
    pub(crate) unassigned: bool,
    /// The identity has no role at the registry.
    pub(crate) denied: bool,
    /// The tenant that whoever exchanges a token is to name.
    pub(crate) tenant: &'static str,
    /// An exchange gives nothing.
    pub(crate) empty: bool,
    /// So many exchanges are refused, for there are too many.
    pub(crate) throttled: u32,
    /// Tokens of the directory, by when they end.
    tokens: HashMap<String, u64>,
}

impl Azure {
    fn give(&mut self, at: u64) -> Reply {
        let token = format!("CANARYdirectory{}", self.tokens.len());
        self.tokens.insert(token.clone(), at + millis(TOKEN));
        let body = format!(
            r#"{{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"{token}"}}"#
        );
        Reply::new(200).text("application/json", body)
    }
}

impl Identities {
    /// The directory.
    pub(super) fn directory(&mut self, request: &Request) -> Reply {
        let form = form(request);
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let right = request.path == "/tenant-1/oauth2/v2.0/token"
            && field("grant_type") == "client_credentials"
            && field("client_id") == "client-1"
            && field("scope") == format!("{AUDIENCE}/.default");
        if !right {
            return refused(
                400,
                "invalid_request",
                "AADSTS900144: The request body is not as it must be.",
            );
        }
        if field("client_secret") == "CANARY-secret" {
            return self.azure.give(request.at);
        }
        if form.contains_key("client_secret") {
            return refused(
                401,
                "invalid_client",
                "AADSTS7000215: Invalid client secret provided.",
            );
        }
        if field("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
            return refused(
                400,
                "invalid_request",
                "AADSTS900144: The request body is not as it must be.",
            );
        }
        match field("client_assertion") == self.azure.assertion {
            true => self.azure.give(request.at),
            false => refused(
                401,
                "invalid_client",
                "AADSTS700024: Client assertion is not within its valid time range.",
            ),
        }
    }

    /// The metadata service of a machine.
    pub(super) fn managed(&mut self, request: &Request) -> Reply {
        if request.header("metadata").as_deref() != Some("true") {
            return refused(400, "bad_request_102", "Required metadata header not specified");
        }
        let asked: HashMap<_, _> = super::super::token::parameters(&request.query)
            .into_iter()
            .collect();
        let right = asked
            .get("api-version")
            .is_some_and(|version| version == "2018-02-01")
            && asked.get("resource").is_some_and(|resource| resource == AUDIENCE);
        match (right, self.azure.unassigned) {
            (true, false) => self.azure.give(request.at),
            (true, true) => refused(400, "invalid_request", "Identity not found"),
            (false, _) => refused(
                400,
                "invalid_resource",
                "AADSTS500011: The resource was not found",
            ),
        }
    }

    /// The registry's exchange.
    pub(in crate::sim) fn exchange(&mut self, request: &Request) -> Reply {
        let form = form(request);
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        if let Some(refused) = self.refused_to(request) {
            return refused;
        }
        if self.azure.throttled > 0 {
            self.azure.throttled -= 1;
            return Reply::error(429, "TOOMANYREQUESTS", "too many requests");
        }
        if self.azure.empty {
            return Reply::new(200).text("application/json", r#"{"refresh_token":""}"#);
        }
        let right = field("grant_type") == "access_token"
            && field("service") == "registry.example.com"
            && field("tenant") == self.azure.tenant;
        let known = self.azure.tokens.get(field("access_token"));
        if !right || known.is_none_or(|end| *end <= request.at) || self.azure.denied {
            return Reply::error(401, "UNAUTHORIZED", "authentication required");
        }
        let issued = self.now().as_millis() / 1000;
        let claims = format!(
            r#"{{"iat":{issued},"exp":{},"grant_type":"refresh_token"}}"#,
            issued + REFRESH.as_secs()
        );
        let number = self.issue(request.at, REFRESH);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.{number}");
        self.accept(&token, request.at, REFRESH);
        Reply::new(200).text("application/json", format!(r#"{{"refresh_token":"{token}"}}"#))
    }
}

fn refused(status: u16, error: &str, description: &str) -> Reply {
    let body = format!(r#"{{"error":"{error}","error_description":"{description}"}}"#);
    Reply::new(status).text("application/json", body)
}
