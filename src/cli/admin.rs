//! Asks a running Seawall by its admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer may take: it asks nobody else.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const MAX_ANSWER: usize = 16 << 20;

/// The body of what `path` answers, or a sentence for the operator.
pub(super) fn get(admin: SocketAddr, path: &str) -> Result<Bytes, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let asking = async {
        let answer = tokio::time::timeout(PATIENCE, ask(admin, path)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    };
    runtime.block_on(asking).map_err(|why| {
        format!(
            "the admin listener at {admin} cannot be asked: {why}; is `seawall serve` running, with this address \
             as [server] admin?"
        )
    })
}

async fn ask(admin: SocketAddr, path: &str) -> Result<Bytes, String> {
    let socket = TcpStream::connect(admin)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get(path).header(header::HOST, admin.to_string());
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            status => Err(format!("it answered {path} with status {status}")),
        }
    };
    let exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = exchange => answer,
        ended = connection => Err(ended.err().map_or("the connection ended".to_owned(), |error| error.to_string())),
    }
}
