//! The questions a cache asks of a registry.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::body::{ContentRange, Counted, identity, number, read_whole, text};
use super::exchange::{Answer, Ask, Exchange, MAX_REFUSAL};
use super::negative::Asked;
use super::{Fetched, Incoming, Refusal, Upstream, Want, pages};
use crate::oci::{Descriptor, Digest, MediaType, Reference, RepositoryPath};
use crate::policy::budget::Asker;

/// Codes of refusals that are about what was asked for, and not about asking for referrers.
const OF_THE_SUBJECT: [&str; 5] = [
    "NAME_UNKNOWN",
    "NAME_INVALID",
    "MANIFEST_UNKNOWN",
    "DENIED",
    "UNAUTHORIZED",
];

/// What an upstream says of the referrers of a digest.
enum Referrers {
    Index(Bytes),
    /// It does not know what they would refer to.
    Unknown,
    /// It has no such API.
    NoApi,
}

impl Referrers {
    /// What a refusal with this body says.
    fn refused(body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        match OF_THE_SUBJECT.iter().any(|code| body.contains(code)) {
            true => Self::Unknown,
            false => Self::NoApi,
        }
    }
}

/// Most bytes of a referrers index; the specification lets a client refuse manifests above 4 MiB.
const MAX_REFERRERS: u64 = 4 << 20;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Upstream {
    /// Asks what a reference points at, by HEAD, which costs no budget. The media type is what the registry says,
    /// which need not be a manifest's: some call all of theirs plain text.
    ///
    /// Cancel-safe, as all of these are: dropping the future abandons the request.
    ///
    /// # Errors
    /// [`Refusal::Unusable`] if this registry's HEAD does not tell and a GET may: registries refuse it, leave
    /// headers out, or redirect it to a URL that is signed for GET only.
    pub async fn head(&self, path: &RepositoryPath, reference: &Reference) -> Result<Descriptor, Refusal> {
        self.head_for(path, reference, None).await
    }

    /// As [`Self::head`], for somebody who waits no longer than for his answer to be of use.
    ///
    /// # Errors
    /// As [`Self::head`]; at once if the upstream would take the request too late.
    pub async fn head_for(
        &self,
        path: &RepositoryPath,
        reference: &Reference,
        asker: Option<Asker>,
    ) -> Result<Descriptor, Refusal> {
        let exchange = self.present().exchange()?;
        let account = exchange.shield.account(path);
        exchange.negatives.recall(account, path, reference)?;
        // Not that HEAD were of no use: the GET in its place would be shut out as well, or, with a password that came
        // in between, be spent by tag.
        exchange.shut_out(path).map_or(Ok(()), Err)?;
        let mut ask = manifest_ask(exchange, Method::HEAD, path, reference, account)?;
        ask.asker = asker;
        let answer = pointed_at(exchange, exchange.ask_freely(&mut ask).await);
        exchange.note(ask.account, path, reference, &answer);
        answer
    }

    /// As [`Self::head`], with this account.
    pub(super) async fn head_with(
        &self,
        path: &RepositoryPath,
        reference: &Reference,
        account: usize,
    ) -> Result<Descriptor, Refusal> {
        let exchange = self.exchange()?;
        let ask = manifest_ask(exchange, Method::HEAD, path, reference, account)?;
        pointed_at(exchange, exchange.ask(&ask).await)
    }

    /// Fetches a manifest by GET, which is counted: [`Self::buy`] is the way to it.
    ///
    /// # Errors
    /// See [`Refusal`]; a body above the configured limit is unusable.
    pub(super) async fn manifest(
        &self,
        path: &RepositoryPath,
        reference: &Reference,
        account: usize,
    ) -> Result<Fetched, Refusal> {
        self.counted_manifest(path, reference, account, None, None).await
    }

    /// As [`Self::manifest`], for this asker; `left` becomes true if a request left that may have been counted.
    pub(super) async fn counted_manifest(
        &self,
        path: &RepositoryPath,
        reference: &Reference,
        account: usize,
        left: Option<&AtomicBool>,
        asker: Option<Asker>,
    ) -> Result<Fetched, Refusal> {
        let exchange = self.exchange()?;
        let ask = Ask {
            left,
            asker,
            ..manifest_ask(exchange, Method::GET, path, reference, account)?
        };
        let response = exchange.ask_for(&ask).await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(exchange, response.status()));
        }
        let label = text(response.headers(), CONTENT_TYPE).and_then(MediaType::parse);
        let idle = exchange.timeouts.idle;
        let bytes = read_whole(response, self.manifest_limit, idle, "a manifest").await?;
        Ok(Fetched { bytes, label })
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// See [`Refusal`]; an answer with another range than wanted is unusable, one that ignores the range is not.
    pub async fn blob(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        want: Want,
    ) -> Result<Incoming, Refusal> {
        let range = match want {
            Want::From(0) => None,
            Want::From(start) => Some(format!("bytes={start}-")),
            Want::Run(range) => Some(format!("bytes={}-{}", range.start, range.end)),
        };
        self.present().open(path, digest, want, range).await
    }

    /// Asks how long a blob is, without HEAD, which some registries refuse.
    ///
    /// # Errors
    /// See [`Refusal`]; an answer that does not tell the length is unusable.
    pub async fn blob_size(&self, path: &RepositoryPath, digest: &Digest) -> Result<u64, Refusal> {
        let first = crate::oci::ByteRange { start: 0, end: 0 };
        let opened = self.blob(path, digest, Want::Run(first)).await?;
        opened
            .total
            .ok_or_else(|| Refusal::Unusable("the answer does not tell the blob's length".to_owned()))
    }

    /// Lists the tags of a repository, all pages.
    ///
    /// # Errors
    /// See [`Refusal`]; a list without end is unusable.
    pub async fn tags(&self, path: &RepositoryPath) -> Result<Vec<String>, Refusal> {
        let exchange = self.present().exchange()?;
        let account = exchange.shield.account(path);
        exchange.negatives.recall(account, path, Asked::Tags)?;
        let tags = pages::tags(exchange, path).await;
        exchange.note(account, path, Asked::Tags, &tags);
        tags
    }

    /// Fetches the referrers of a digest as an image index; `None` if the registry has no such API.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn referrers(&self, path: &RepositoryPath, digest: &Digest) -> Result<Option<Bytes>, Refusal> {
        let exchange = self.present().exchange()?;
        let (account, negatives) = (exchange.shield.account(path), &exchange.negatives);
        if !negatives.may_have_referrers() {
            return Ok(None);
        }
        match negatives.recall(account, path, Asked::Referrers(*digest)) {
            Ok(()) => {}
            Err(Refusal::NotFound) => return Ok(None),
            Err(refusal) => return Err(refusal),
        }
        let told = ask_referrers(exchange, path, digest).await;
        let (answer, index) = match told {
            Ok(Referrers::Index(bytes)) => (Ok(()), Ok(Some(bytes))),
            Ok(Referrers::Unknown) => (Err(Refusal::NotFound), Ok(None)),
            Ok(Referrers::NoApi) => {
                negatives.note_no_referrers();
                return Ok(None);
            }
            Err(refusal) => (Err(refusal.clone()), Err(refusal)),
        };
        exchange.note(account, path, Asked::Referrers(*digest), &answer);
        index
    }

    async fn open(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        want: Want,
        range: Option<String>,
    ) -> Result<Incoming, Refusal> {
        let exchange = self.exchange()?;
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            let value = HeaderValue::try_from(range).expect("digits are a header value");
            headers.insert(RANGE, value);
        }
        let mut ask = blob_ask(exchange, path, digest, headers)?;
        exchange
            .negatives
            .recall(ask.account, path, Asked::Blob(*digest))?;
        let mut answer = exchange.ask_freely(&mut ask).await?;
        if answer.elsewhere && matches!(answer.response.status().as_u16(), 401 | 403 | 404 | 410) {
            // A signed URL may have run out, and a store may lag behind: the registry names another one (F037).
            answer = exchange.ask(&ask).await?;
        }
        match exchange.refusal(&answer) {
            Some(refusal) => {
                let refused = Err::<(), _>(refusal.clone());
                // A store's word is not the registry's.
                if !answer.elsewhere {
                    exchange.note(ask.account, path, Asked::Blob(*digest), &refused);
                }
                Err(refusal)
            }
            None => accept(exchange, answer, want),
        }
    }
}

async fn ask_referrers(
    exchange: &Exchange,
    path: &RepositoryPath,
    digest: &Digest,
) -> Result<Referrers, Refusal> {
    let mut ask = Ask {
        headers: accepting(MediaType::OCI_INDEX.as_str()),
        account: exchange.shield.account(path),
        ..Ask::plain(path, exchange.url(&format!("{path}/referrers/{digest}"))?)
    };
    let answer = exchange.ask_freely(&mut ask).await?;
    let idle = exchange.timeouts.idle;
    if matches!(answer.response.status().as_u16(), 400 | 404 | 405 | 406) {
        let why = read_whole(answer.response, MAX_REFUSAL, idle, "a refusal").await;
        return Ok(Referrers::refused(&why.unwrap_or_default()));
    }
    if let Some(refusal) = exchange.refusal(&answer) {
        return Err(refusal);
    }
    // Some registries redirect to the page where people sign in.
    let label = text(answer.response.headers(), CONTENT_TYPE).and_then(MediaType::parse);
    if label != Some(MediaType::OCI_INDEX) {
        return Ok(Referrers::NoApi);
    }
    read_whole(answer.response, MAX_REFERRERS, idle, "a list of referrers")
        .await
        .map(Referrers::Index)
}

/// The request for a blob, or for what the headers say of it.
pub(super) fn blob_ask<'a>(
    exchange: &Exchange,
    path: &'a RepositoryPath,
    digest: &Digest,
    headers: HeaderMap,
) -> Result<Ask<'a>, Refusal> {
    Ok(Ask {
        headers,
        account: exchange.shield.account(path),
        ..Ask::plain(path, exchange.url(&format!("{path}/blobs/{digest}"))?)
    })
}

/// What the answer to a HEAD says that a reference points at.
fn pointed_at(exchange: &Exchange, answer: Result<Answer, Refusal>) -> Result<Descriptor, Refusal> {
    let answer = answer.map_err(|refusal| match refusal {
        Refusal::Denied(status) => head_failed(status),
        other => other,
    })?;
    let response = match (answer.response.status().as_u16(), exchange.refusal(&answer)) {
        (200, _) => answer.response,
        (status @ (401 | 403 | 501), _) | (status, None) => return Err(head_failed(status)),
        (_, Some(refusal)) => return Err(refusal),
    };
    describe(response.headers()).ok_or_else(|| {
        let host = exchange.base.host();
        Refusal::Unusable(format!(
            "{host} answered HEAD without digest, media type and length"
        ))
    })
}

pub(super) fn manifest_ask<'a>(
    exchange: &Exchange,
    method: Method,
    path: &'a RepositoryPath,
    reference: &Reference,
    account: usize,
) -> Result<Ask<'a>, Refusal> {
    let wanted = MediaType::MANIFESTS.each_ref().map(MediaType::as_str).join(", ");
    Ok(Ask {
        method,
        url: exchange.url(&format!("{path}/manifests/{reference}"))?,
        headers: accepting(&wanted),
        path,
        account,
        manifest: true,
        left: None,
        asker: None,
    })
}

fn accepting(types: &str) -> HeaderMap {
    let value = HeaderValue::from_str(types).expect("media types are a header value");
    HeaderMap::from_iter([(ACCEPT, value)])
}

fn head_failed(status: u16) -> Refusal {
    Refusal::Unusable(format!("HEAD was answered with status {status}"))
}

fn unexpected(exchange: &Exchange, status: StatusCode) -> Refusal {
    Refusal::Unusable(format!("{} answered with status {status}", exchange.base.host()))
}

fn describe(headers: &HeaderMap) -> Option<Descriptor> {
    Some(Descriptor {
        media_type: MediaType::parse(text(headers, CONTENT_TYPE)?)?,
        digest: text(headers, DIGEST)?.parse().ok()?,
        size: number(headers, CONTENT_LENGTH)?,
    })
}

/// Holds a blob's answer against what was wanted.
pub(super) fn accept(exchange: &Exchange, answer: Answer, want: Want) -> Result<Incoming, Refusal> {
    let response = answer.response;
    identity(response.headers())?;
    let length = number(response.headers(), CONTENT_LENGTH);
    let (start, total, promised) = match response.status().as_u16() {
        200 => (0, length, length),
        206 => {
            let range = ContentRange::of(response.headers()).filter(|range| fits(*range, want));
            let range =
                range.filter(|range| length.is_none_or(|length| length == range.end - range.start + 1));
            let Some(range) = range else {
                let host = exchange.base.host();
                return Err(Refusal::Unusable(format!(
                    "{host} answered with another range than asked for"
                )));
            };
            (range.start, range.total, Some(range.end - range.start + 1))
        }
        _ => return Err(unexpected(exchange, response.status())),
    };
    Ok(Incoming {
        start,
        total,
        alternate: None,
        body: Counted::new(response.into_body(), promised, exchange.timeouts.idle),
    })
}

/// True if `range` is all that was wanted, as far as the blob reaches.
fn fits(range: ContentRange, want: Want) -> bool {
    match want {
        Want::From(start) => range.start == start && range.is_tail() && (start > 0 || range.total.is_some()),
        Want::Run(run) => {
            let ends = range.end == run.end || (range.end < run.end && range.total == Some(range.end + 1));
            range.start == run.start && ends
        }
    }
}
