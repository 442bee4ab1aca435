//! The questions by which an upstream tells what it shows, none of which costs budget; and the same upstream, asked
//! with somebody else's credential.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::Wants;
use crate::oci::{MediaType, RepositoryPath};
use crate::policy::budget::Rules;
use crate::upstream::body::text;
use crate::upstream::exchange::{Ask, Exchange};
use crate::upstream::fetch::{blob_ask, manifest_ask};
use crate::upstream::negative::Negatives;
use crate::upstream::shield::Shield;
use crate::upstream::{Credential, LimitKind, Refusal};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Exchange {
    /// The same registry, asked by somebody else over the same connections; what is learnt of them is forgotten
    /// with this.
    pub(super) fn named(&self, credential: Credential) -> Self {
        let clock = self.clock;
        Self {
            base: self.base.clone(),
            client: self.client.clone(),
            accounts: vec![Arc::new(self.accounts[0].of_another(credential, clock))],
            marks: vec![None],
            shield: Arc::new(Shield::new(
                Rules::default(),
                (vec![String::new()], &[]),
                None,
                clock,
            )),
            throttle: self.throttle.clone(),
            rest: self.rest.clone(),
            retries: self.retries.clone(),
            negatives: Arc::new(Negatives::new(Duration::ZERO, clock)),
            lanes: self.lanes.clone(),
            redirects_tell: AtomicBool::new(false),
            timeouts: self.timeouts,
            clock,
        }
    }
}

/// Asks for what is wanted; where that does not tell, for a list.
pub(super) async fn ask(exchange: &Exchange, path: &RepositoryPath, wants: &Wants) -> Result<(), Refusal> {
    let told = match wants {
        Wants::Manifest(reference) => {
            let ask = manifest_ask(exchange, Method::HEAD, path, reference, 0)?;
            shown_by(exchange, &ask, is_manifest).await
        }
        Wants::Blob(digest) => {
            let first = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))]);
            let ask = blob_ask(exchange, path, digest, first)?;
            shown_by(exchange, &ask, |headers| !is_page(headers)).await
        }
        Wants::List => Err(Refusal::Unusable(String::new())),
    };
    match told {
        // A HEAD is refused, or says too little; or anonymous pulls are used up, of which a list takes none.
        Err(
            Refusal::Unusable(_)
            | Refusal::Limited {
                kind: LimitKind::Pull,
                ..
            },
        ) => {
            let ask = Ask::plain(path, exchange.url(&format!("{path}/tags/list?n=1"))?);
            shown_by(exchange, &ask, |headers| !is_page(headers)).await
        }
        told => told,
    }
}

/// True if the answer shows it: a success that looks as it should.
pub(super) async fn shown_by(
    exchange: &Exchange,
    ask: &Ask<'_>,
    looks_right: impl Fn(&HeaderMap) -> bool,
) -> Result<(), Refusal> {
    let answer = exchange.ask(ask).await?;
    match exchange.refusal(&answer) {
        // A store's refusal, or of a method, says nothing of the repository.
        Some(_) if answer.elsewhere || answer.response.status() == StatusCode::NOT_IMPLEMENTED => {
            Err(Refusal::Unusable("its answer does not tell".to_owned()))
        }
        Some(refusal) => Err(refusal),
        None if looks_right(answer.response.headers()) => Ok(()),
        None => Err(Refusal::Unusable("it is not what was asked for".to_owned())),
    }
}

fn is_manifest(headers: &HeaderMap) -> bool {
    let kind = text(headers, CONTENT_TYPE).and_then(MediaType::parse);
    headers.contains_key(DIGEST) || kind.is_some_and(|kind| kind.is_manifest())
}

/// Some registries answer those whom they do not know with the page where people sign in.
fn is_page(headers: &HeaderMap) -> bool {
    text(headers, CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"))
}
