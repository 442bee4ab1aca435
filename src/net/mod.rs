//! Plumbing to the outside: one HTTP client, one TLS setup, URLs that hide their secrets.

pub mod acme;
pub mod bucket;
pub mod client;
mod connector;
pub mod dial;
mod gate;
pub mod identity;
mod near;
pub mod secret;
pub mod serving;
pub mod shown;
pub mod tls;
pub mod url;
