//! What comes before the first request: the PROXY header of a trusted proxy.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::Inner;
use crate::policy::proxies::preface::{Step, look};

/// The client behind a connection. `None` if the connection is to be dropped: its proxy did not say for whom
/// it asks, not in time, or not any more.
pub(super) async fn client<I>(inner: &Inner, io: &mut I, peer: SocketAddr) -> Option<SocketAddr>
where
    I: AsyncRead + Unpin,
{
    if !inner.options.proxies.begins_with_preface(peer) {
        return Some(peer);
    }
    let limit = inner.options.bounds.header_timeout;
    let told = tokio::select! {
        told = tokio::time::timeout(limit, read(io)) => told,
        () = inner.draining.cancelled() => return None,
    };
    match told {
        Ok(Ok(told)) => Some(told.unwrap_or(peer)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(
                %peer,
                "a connection of a trusted proxy was dropped: {error}; have the proxy send one, or set [server] \
                 proxy_protocol = false"
            );
            None
        }
        // A health check that only connects, or a peer that went away.
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a connection ended within its PROXY header");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "a PROXY header did not arrive in time: connection dropped");
            None
        }
    }
}

/// Reads a PROXY header, and nothing that follows it. Returns the client, or `None` where the peer speaks
/// for itself.
///
/// # Errors
/// `InvalidData` if something else comes, or what reading fails with. Not cancel-safe: bytes are lost.
async fn read<I>(io: &mut I) -> io::Result<Option<SocketAddr>>
where
    I: AsyncRead + Unpin,
{
    let mut bytes = Vec::new();
    loop {
        match look(&bytes) {
            Step::More(count) => {
                let begin = bytes.len();
                bytes.resize(begin + count, 0);
                io.read_exact(&mut bytes[begin..]).await?;
            }
            Step::Whole(client) => return Ok(client),
            Step::Wrong(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        }
    }
}
