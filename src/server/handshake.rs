//! What comes before the first request where clients are served by TLS: the handshake.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::net::serving::Serving;

/// What a client reads that speaks HTTP without TLS here: its own error would be about garbled bytes.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 60\r\n\r\nThis address is served by TLS only: ask again by https://.\r\n";

/// A connection of which the first byte was looked at.
type Peeked<I> = BufReader<I>;

/// Shakes hands with a client, within the time that a request's head has. `None` if the connection is to be
/// dropped, and once it is `over`.
pub(super) async fn shake<I>(
    inner: &Inner,
    tls: &Serving,
    io: I,
    peer: SocketAddr,
    over: &CancellationToken,
) -> Option<TlsStream<Peeked<I>>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let limit = inner.options.bounds.header_timeout;
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limit, accept(tls, io)) => shaken,
        () = over.cancelled() => return None,
    };
    match shaken {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a TLS handshake failed: connection dropped");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "a TLS handshake did not end in time: connection dropped");
            None
        }
    }
}

async fn accept<I>(tls: &Serving, io: I) -> io::Result<TlsStream<Peeked<I>>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    // Holds one byte; all that follows is read past it.
    let mut io = Peeked::with_capacity(1, io);
    let first = io.fill_buf().await?.first().copied();
    if first.is_some_and(|byte| byte.is_ascii_uppercase()) {
        // A method. Whether the answer is read or not: the connection ends.
        io.write_all(SPEAK_TLS).await?;
        io.shutdown().await?;
        return Err(io::Error::other("the client speaks HTTP without TLS"));
    }
    tls.accept(io).await
}
