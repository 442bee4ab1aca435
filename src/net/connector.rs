//! The connector of the client's pool: our dial, behind the operator's proxy where there is one.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::dial::{BoxFuture, DialError, Dialer, Gate, Io, Proxies};
use super::url::bare_host;

/// Opens the pool's connections.
#[derive(Clone)]
pub(super) struct Connector(Arc<Shared>);

struct Shared {
    dialer: Dialer,
    gate: Gate,
    proxies: Option<Arc<Matcher>>,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(dialer: Dialer, gate: Gate, limit: Duration) -> Self {
        let proxies = match &dialer.proxies {
            Proxies::Never => None,
            Proxies::By(rules) => Some(Arc::clone(rules)),
        };
        Self(Arc::new(Shared {
            dialer,
            gate,
            proxies,
            limit,
        }))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = DialError;
    type Future = BoxFuture<Result<Stream, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            match shared
                .proxies
                .as_ref()
                .and_then(|proxies| proxies.intercept(&uri))
            {
                Some(proxy) => shared.through(&proxy, uri).await,
                None => shared.directly(&uri).await,
            }
        })
    }
}

impl Shared {
    async fn directly(&self, uri: &Uri) -> Result<Stream, DialError> {
        let (host, port) = host_and_port(uri);
        let admits = |address| self.gate.admits(&host, port, address);
        let io = self.dialer.dial(&host, port, admits, self.limit).await?;
        Ok(Stream::new(io, false))
    }

    /// The proxy resolves names, so only an IP literal can be held against the gate here.
    async fn through(&self, proxy: &Intercept, uri: Uri) -> Result<Stream, DialError> {
        let (host, port) = host_and_port(&uri);
        if let Ok(address) = host.parse::<IpAddr>()
            && !self.gate.admits(&host, port, address)
        {
            return Err(DialError::Forbidden { host, address });
        }
        if proxy.uri().scheme_str() != Some("http") {
            let text = "only proxies with an http:// URL are supported".to_owned();
            return Err(DialError::Proxy(host, text));
        }
        let to_proxy = ToProxy(self.dialer.clone(), self.limit);
        if uri.scheme_str() == Some("http") {
            let io = to_proxy.dial(proxy.uri()).await?;
            return Ok(Stream::new(io, true));
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let opened = tokio::time::timeout(self.limit.saturating_mul(2), tunnel.call(uri));
        let reason = match opened.await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        Err(DialError::Proxy(host, reason))
    }
}

/// Dials a proxy: the operator named it, so it may be anywhere.
#[derive(Clone)]
struct ToProxy(Dialer, Duration);

impl ToProxy {
    async fn dial(&self, proxy: &Uri) -> Result<Box<dyn Io>, DialError> {
        let (host, port) = host_and_port(proxy);
        self.0.dial(&host, port, |_| true, self.1).await
    }
}

impl Service<Uri> for ToProxy {
    type Response = Stream;
    type Error = DialError;
    type Future = BoxFuture<Result<Stream, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, proxy: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(Stream::new(this.dial(&proxy).await?, false)) })
    }
}

fn host_and_port(uri: &Uri) -> (String, u16) {
    let usual = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let host = bare_host(uri.host().unwrap_or_default());
    (host, uri.port_u16().unwrap_or(usual))
}

/// A connection as hyper wants it.
pub(super) struct Stream {
    io: TokioIo<Box<dyn Io>>,
    proxied: bool,
}

impl Stream {
    fn new(io: Box<dyn Io>, proxied: bool) -> Self {
        Self {
            io: TokioIo::new(io),
            proxied,
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests;
