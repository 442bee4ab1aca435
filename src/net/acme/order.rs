//! Asks an authority for a certificate, and proves to it that the names lead here.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Limited};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::Acme;
use crate::net::client::Client;
use crate::net::dial::{Dialer, Gate};
use crate::net::shown::Shown;
use crate::net::tls;
use crate::net::url::Url;

/// Time to connect to the authority, and until the head of its answer is there.
const CONNECT: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const MAX_BYTES: usize = 1 << 20;
/// How long the authority may take to look at the proofs, and then to issue.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .timeout(Duration::from_secs(90));
/// What the authority says of an account that it does not know.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Asks for a certificate; the certificate, those between it and a root, and its key, in PEM. `account` is what was kept
/// of the account, and what is to be kept of it afterwards, whatever comes of asking. Proofs are shown by `shown`.
///
/// Cancel-safe: what is dropped is an order that the authority forgets by itself.
///
/// # Errors
/// Why there is none, in words that hold no secret.
pub async fn obtain(
    acme: &Acme,
    shown: &Shown,
    dialer: &Dialer,
    account: &mut Option<String>,
) -> Result<String, String> {
    let _forgets = Forgets(shown);
    let outcome = Box::pin(attempt(acme, shown, dialer, account)).await;
    match outcome {
        // It lost its accounts, or this is not the one that knew ours: who we are is of no importance.
        Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
            *account = None;
            let again = Box::pin(attempt(acme, shown, dialer, account)).await;
            again.map_err(|error| words(&error))
        }
        other => other.map_err(|error| words(&error)),
    }
}

/// Forgets all proofs at the end.
struct Forgets<'a>(&'a Shown);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.0.forget_proofs();
    }
}

async fn attempt(
    acme: &Acme,
    shown: &Shown,
    dialer: &Dialer,
    kept: &mut Option<String>,
) -> Result<String, Error> {
    let account = account(acme, dialer, kept).await?;
    let names: Vec<Identifier> = acme.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    prove(&mut order, shown).await?;
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(refusal(&mut order).await),
        Err(error) => return Err(error),
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    Ok(format!("{}\n{key}", chain.trim_end()))
}

/// The account that was kept, or a new one.
async fn account(acme: &Acme, dialer: &Dialer, kept: &mut Option<String>) -> Result<Account, Error> {
    let directory = acme.directory.to_string();
    let tls = tls::client_config(&acme.roots);
    // The operator has chosen the authority: it may stand in the own network.
    let client = Client::new(dialer.clone(), Gate::open(), &tls, CONNECT, HEADERS);
    let builder = Account::builder_with_http(Box::new(Http(Arc::new(client))));
    if let Some(credentials) = kept.as_deref().and_then(|kept| of_directory(kept, &directory)) {
        return builder.from_credentials(credentials).await;
    }
    let contact: Vec<String> = acme.contact.iter().map(|mail| format!("mailto:{mail}")).collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, credentials) = builder.create(&new, directory, None).await?;
    *kept = Some(serde_json::to_string(&credentials)?);
    Ok(account)
}

/// What was kept of an account, if it is one of this authority's.
fn of_directory(kept: &str, directory: &str) -> Option<AccountCredentials> {
    let value: serde_json::Value = serde_json::from_str(kept).ok()?;
    let is_its = value["directory"].as_str() == Some(directory);
    is_its.then(|| serde_json::from_value(value).ok()).flatten()
}

/// Proves every name that the authority wants proved.
async fn prove(order: &mut Order, shown: &Shown) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or(Error::Unsupported("tls-alpn-01, the only proof given here"))?;
        let name = challenge.identifier().to_string();
        let proof = proof(&name, challenge.key_authorization().digest().as_ref());
        shown.prove(&name, proof.map_err(Error::Other)?);
        challenge.set_ready().await?;
    }
    Ok(())
}

/// The certificate that proves a name: its owner's own, with the authority's challenge in it.
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, Box<dyn StdError + Send + Sync>> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    // What compares a certificate with its key refuses one with an extension that is critical and unknown to it.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// Why the authority did not believe the proofs.
async fn refusal(order: &mut Order) -> Error {
    let mut why = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let name = state.identifier().to_string();
        for error in state
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.as_ref())
        {
            why.push(format!("{name}: {error}"));
        }
    }
    let why = match why.is_empty() {
        true => "it did not say why".to_owned(),
        false => why.join("; "),
    };
    Error::Other(format!("the authority does not find that the names lead here: {why}").into())
}

/// An error and what caused it, in one line that a log can take.
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words.replace(char::is_control, " ")
}

/// Our own client, for the library.
struct Http(Arc<Client>);

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let url = Url::from_uri(parts.uri).map_err(|error| Error::Other(Box::new(error)))?;
            let sent = client.send_with(parts.method, &url, parts.headers, body.to_bytes());
            let answer = sent.await.map_err(|error| Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(
                answer.map(|body| Limited::new(body, MAX_BYTES)),
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_for_one_name_and_holds_the_challenge_in_an_extension_that_must_be_understood() {
        let proof = proof("cache.test", &[7; 32]).unwrap();
        let der = proof.cert[0].to_vec();
        assert!(crate::net::identity::names(&der).contains(&"cache.test".to_owned()));
        // RFC 8737: 1.3.6.1.5.5.7.1.31, critical, an octet string of the digest in an octet string.
        let mut extension = vec![
            0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 1, 31, 0x01, 0x01, 0xff, 0x04, 34, 0x04, 32,
        ];
        extension.extend([7; 32]);
        assert!(der.windows(extension.len()).any(|part| part == extension));
    }
}
