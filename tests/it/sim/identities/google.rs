//! Google: the metadata service of a machine or pod, the exchange of tokens, and the tokens of service accounts.

use std::time::Duration;

use super::super::state::{Reply, Request};
use super::{Identities, form};

/// The life of tokens.
const TOKEN: Duration = Duration::from_secs(3600);
/// What a provider of a pool is called.
pub(crate) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/ci";
/// Where the account is that may be taken.
pub(crate) const ACCOUNT: &str =
    "/v1/projects/-/serviceAccounts/pull@p.iam.gserviceaccount.com:generateAccessToken";

/// Where the token of a job is, and the header that opens it.
pub(crate) const SUBJECT: &str = "/job/token";
pub(crate) const OPENS: (&str, &str) = ("x-job-secret", "of the job");

/// What of it can be chosen.
#[derive(Default)]
pub(crate) struct Google {
    /// The machine has no service account.
    pub(crate) no_account: bool,
    /// The token that the provider accepts now.
    pub(crate) subject: String,
    /// Nobody may take the account.
    pub(crate) denied: bool,
}

impl Identities {
    /// The metadata service.
    pub(super) fn machine(&mut self, request: &Request) -> Reply {
        if request.header("metadata-flavor").as_deref() != Some("Google") {
            return Reply::new(403).text("text/html", "<html>missing Metadata-Flavor</html>");
        }
        let is_token = request.path == "/computeMetadata/v1/instance/service-accounts/default/token";
        match is_token && !self.google.no_account {
            true => self.token(request).with("metadata-flavor", "Google"),
            false => Reply::new(404).text("text/html", "<html>not found</html>"),
        }
    }

    fn token(&mut self, request: &Request) -> Reply {
        let token = self.issue(request.at, TOKEN);
        let body = format!(r#"{{"access_token":"{token}","expires_in":3600,"token_type":"Bearer"}}"#);
        Reply::new(200).text("application/json", body)
    }

    /// The token of a job, for whoever shows its secret.
    pub(super) fn subject(&self, request: &Request) -> Reply {
        match request.header(OPENS.0).as_deref() == Some(OPENS.1) {
            true => Reply::new(200).text(
                "application/json",
                format!(r#"{{"count":1,"value":"{}"}}"#, self.google.subject),
            ),
            false => Reply::new(403),
        }
    }

    /// A token for one of somebody who is trusted.
    pub(super) fn federate(&mut self, request: &Request) -> Reply {
        let form = form(request);
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let right = field("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange"
            && field("requested_token_type") == "urn:ietf:params:oauth:token-type:access_token"
            && field("subject_token_type") == "urn:ietf:params:oauth:token-type:jwt"
            && field("scope") == "https://www.googleapis.com/auth/cloud-platform"
            && field("audience") == AUDIENCE;
        if !right || field("subject_token") != self.google.subject {
            let body = r#"{"error":"invalid_grant","error_description":"The given credential is rejected"}"#;
            return Reply::new(400).text("application/json", body);
        }
        self.token(request)
    }

    /// A token of a service account, for one that was given in exchange.
    pub(super) fn impersonate(&mut self, request: &Request) -> Reply {
        let shown = request.header("authorization").unwrap_or_default();
        let shown = shown.strip_prefix("Bearer ").unwrap_or_default();
        let good = self.accepts("", shown, request.at) && !self.google.denied && request.path == ACCOUNT;
        let asked: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        if !good || asked["scope"][0] != "https://www.googleapis.com/auth/cloud-platform" {
            let body = r#"{"error":{"code":403,"message":"Permission denied","status":"PERMISSION_DENIED"}}"#;
            return Reply::new(403).text("application/json", body);
        }
        let token = self.issue(request.at, TOKEN);
        let end = self.now() + TOKEN;
        let body = format!(r#"{{"accessToken":"{token}","expireTime":"{end:#}"}}"#);
        Reply::new(200).text("application/json", body)
    }
}
