//! Has `object_store` send its requests over our own client: our dial, our TLS, our bounds.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};

use crate::net::client::{Client, SendError};
use crate::net::dial::{Dialer, Gate, Proxies};
use crate::net::tls;
use crate::net::url::{Scheme, Url};

/// Time to reach the object store.
const CONNECT: Duration = Duration::from_secs(5);
/// Time until it has answered, which is after all of a part has been sent. Who reads waits for a shorter time.
const ANSWER: Duration = Duration::from_secs(60);

/// The way to the object store, and to what hands out keys. Clones share everything.
#[derive(Clone)]
pub(super) struct Over {
    far: Arc<Client>,
    /// Without proxies: for services of keys, which are on this machine or beside it.
    near: Arc<Client>,
}

/// What the object store answered, where that is no success.
#[derive(Debug, thiserror::Error)]
#[error("it answered {0}")]
pub(super) struct Answered(pub(super) u16);

impl Over {
    /// Reads the machine's certificates, unless others are to be trusted in place of them.
    pub(super) fn new(dialer: &Dialer, ca: &[Vec<u8>]) -> Self {
        let tls = tls::client_config(ca);
        // Every URL is the operator's, or one of those that clouds have for their machines; no redirect is followed.
        let client = |dialer| Arc::new(Client::new(dialer, Gate::open(), &tls, CONNECT, ANSWER));
        let direct = Dialer {
            proxies: Proxies::Never,
            ..dialer.clone()
        };
        Self {
            far: client(dialer.clone()),
            near: client(direct),
        }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let url = Url::from_uri(head.uri).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let body = body.collect().await?.to_bytes();
        let client = match url.scheme() {
            Scheme::Http => &self.near,
            Scheme::Https => &self.far,
        };
        let sent = client.send_with(head.method, &url, head.headers, body).await;
        let response = sent.map_err(|error| {
            let kind = match error {
                SendError::Unconnected(_) | SendError::Unread(_) => HttpErrorKind::Connect,
                SendError::Broken(_) => HttpErrorKind::Interrupted,
                SendError::Late(_) => HttpErrorKind::Timeout,
                SendError::Forbidden(_) => HttpErrorKind::Unknown,
            };
            HttpError::new(kind, error)
        })?;
        match response.status() {
            // Its body says what there is not: the object, or the bucket.
            StatusCode::NOT_FOUND => {}
            status if status.is_success() => {}
            status => {
                return Err(HttpError::new(HttpErrorKind::Unknown, Answered(status.as_u16())));
            }
        }
        let broken = |error| HttpError::new(HttpErrorKind::Interrupted, error);
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(broken))))
    }
}

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Over")
    }
}

impl HttpConnector for Over {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Over {
    // As `async_trait` writes it.
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}
