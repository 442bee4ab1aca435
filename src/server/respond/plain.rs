//! The head of a hit as text: what [`super::serve`] and hyper make of one together, in the same order.

use super::{cache_status, etag};
use crate::cache::Served;
use crate::oci::Registry;

/// Bytes of a head, about: room for them is made at once.
const USUAL: usize = 640;

/// The head that answers a plain request with `length` bytes of content, and room behind it for `more` bytes. `date`
/// is that of HTTP.
pub(in crate::server) fn write_hit(
    served: &Served,
    namespace: Option<&Registry>,
    length: u64,
    date: &str,
    more: usize,
) -> Vec<u8> {
    let etag = etag(&served.digest);
    let (age, length) = (served.age.as_secs().to_string(), length.to_string());
    let (named, namespace) = match namespace {
        Some(namespace) => ("\r\noci-namespace: ", namespace.as_str()),
        None => ("", ""),
    };
    let mut head = Vec::with_capacity(USUAL + more);
    for part in [
        "HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\n\
         x-content-type-options: nosniff\r\ncache-status: ",
        cache_status(served.outcome),
        "\r\ncontent-type: ",
        served.media_type.as_str(),
        "\r\ndocker-content-digest: ",
        etag.trim_matches('"'),
        "\r\netag: ",
        &etag,
        "\r\naccept-ranges: bytes\r\nage: ",
        &age,
        named,
        namespace,
        "\r\ncontent-length: ",
        &length,
        "\r\ndate: ",
        date,
        "\r\n\r\n",
    ] {
        head.extend_from_slice(part.as_bytes());
    }
    head
}
