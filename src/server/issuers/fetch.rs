//! One fetch of an issuer's keys: from where the configuration says, or from where the issuer says below its own URL.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use tokio::time::timeout;

use super::{Place, Source};
use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate};
use crate::net::tls::client_config;
use crate::net::url::Url;
use crate::policy::issuers::KeySet;

/// Most bytes of an answer: a set of some ten keys, each with its certificates.
const MAX_ANSWER: usize = 256 * 1024;
/// How long connecting may take, the head of an answer, and the rest of it: a client may wait for all three.
const CONNECT: Duration = Duration::from_secs(3);
const HEADERS: Duration = Duration::from_secs(5);
const BODY: Duration = Duration::from_secs(5);
/// Where an issuer describes itself.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// How the keys of one issuer are fetched.
pub(super) struct Fetch {
    /// Asked first; `Ok` if it has the keys, `Err` if it says where they are.
    start: Result<Url, Url>,
    issuer: String,
    client: Client,
    token: Option<HeaderValue>,
}

/// What an issuer says of itself.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Fetch {
    /// `None` if nothing has to be fetched. Reads the machine's certificates from disk.
    pub(super) fn new(source: &Source, dialer: &Dialer) -> Option<Self> {
        let start = match &source.keys {
            Place::Held { .. } => return None,
            Place::At(uri) => Ok(Url::from_uri(uri.clone()).ok()?),
            Place::Discovered => {
                let base = source.url.trim_end_matches('/');
                Err(Url::parse(&format!("{base}{DISCOVERY}")).ok()?)
            }
        };
        let (Ok(own) | Err(own)) = &start;
        let gate = Gate::new(Some(own), Vec::new());
        let token = source.token.as_ref();
        let token = token.and_then(|token| HeaderValue::try_from(format!("Bearer {}", token.expose())).ok());
        Some(Self {
            client: Client::new(dialer.clone(), gate, &client_config(&source.ca), CONNECT, HEADERS),
            issuer: source.url.clone(),
            start,
            token: token.map(|mut token| {
                token.set_sensitive(true);
                token
            }),
        })
    }

    /// The keys, and how long their issuer says they are good.
    ///
    /// # Errors
    /// What is in the way, in words that hold no secret.
    pub(super) async fn keys(&self) -> Result<(KeySet, Option<Duration>), String> {
        let at = match &self.start {
            Ok(at) => at.clone(),
            Err(discovery) => self.discover(discovery).await?,
        };
        let (body, life) = self.get(&at).await?;
        let keys = KeySet::parse(&body).map_err(|why| format!("{at}: {why}"))?;
        Ok((keys, life))
    }

    /// Where the issuer has its keys: on the host that it is itself, or nowhere.
    async fn discover(&self, discovery: &Url) -> Result<Url, String> {
        let (body, _) = self.get(discovery).await?;
        let said: Discovery = serde_json::from_slice(&body)
            .map_err(|_| format!("{discovery}: it does not say where the keys are (issuer, jwks_uri)"))?;
        if said.issuer != self.issuer {
            return Err(format!(
                "{discovery} is of another issuer: write its url exactly as its tokens have it in `iss`"
            ));
        }
        let at = Url::parse(&said.jwks_uri).map_err(|why| format!("{discovery}: jwks_uri: {why}"))?;
        match at.same_origin(discovery) {
            true => Ok(at),
            false => Err(format!(
                "{discovery} has its keys on another host, {}: write jwks = \"https://…\" if that is meant",
                at.host()
            )),
        }
    }

    /// What stands there. No redirect is followed.
    async fn get(&self, at: &Url) -> Result<(Bytes, Option<Duration>), String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, application/jwk-set+json"),
        );
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let answer = self.client.send(Method::GET, at, headers).await;
        let answer = answer.map_err(|why| why.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{at} answers {}", answer.status().as_u16()));
        }
        let life = max_age(answer.headers());
        let body = timeout(BODY, Limited::new(answer.into_body(), MAX_ANSWER).collect()).await;
        let body = body.map_err(|_| format!("{at} does not end its answer within {BODY:?}"))?;
        let body =
            body.map_err(|_| format!("the answer of {at} broke off, or is longer than {MAX_ANSWER} bytes"))?;
        Ok((body.to_bytes(), life))
    }
}

/// How long an answer says that it is good.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = said
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_keys_are_good_is_read_and_nonsense_is_not() {
        let age = |said: &str| {
            let headers = [(CACHE_CONTROL, HeaderValue::from_str(said).unwrap())];
            max_age(&headers.into_iter().collect())
        };
        assert_eq!(age("public, max-age=300"), Some(Duration::from_secs(300)));
        for said in [
            "no-store",
            "max-age=",
            "max-age=-1",
            "max-age=99999999999999999999",
        ] {
            assert_eq!(age(said), None, "{said}");
        }
    }
}
