//! The operator in front of a Seawall: requests to the admin side.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::seawall::{Answer, Seawall, read};

impl Seawall {
    /// Sends a request to the admin side and returns as soon as the head of the answer is there.
    pub(crate) async fn operate(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        self.operate_from([127, 0, 0, 1], method, path, headers, body)
            .await
    }

    /// As [`Self::operate`], from another address.
    pub(crate) async fn operate_from(
        &self,
        address: [u8; 4],
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let near = self.connect_operator((address, 9).into());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
            .await
            .unwrap();
        tokio::spawn(async move {
            // A broken body shows in the body; the connection's own error adds nothing.
            let _ = connection.await;
        });
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:5001");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        sender.send_request(request).await.unwrap()
    }

    /// Posts JSON to the admin side and reads the answer to its end.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        read(self.operate(Method::POST, path, &json, body.to_string()).await).await
    }
}

/// The values of an answer that came line by line.
pub(crate) fn lines(answer: &Answer) -> Vec<Value> {
    assert!(answer.is_good(), "{} {:?}", answer.status, answer.body);
    let lines = answer
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}
