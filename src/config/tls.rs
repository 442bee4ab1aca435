//! The certificate that clients are shown.

use std::path::PathBuf;

use super::problem::Problems;
use super::section::Section;
use super::values;
use crate::net::serving::{Serving, Unusable};

/// Reads `server.tls`, and the files that it names.
pub(super) fn read(server: &Section<'_>, problems: &mut Problems) -> Option<Serving> {
    let node = server.node("tls")?;
    let tls = server.section("tls", &["certificate", "key", "client_ca"], problems);
    let path = |key, what: &'static str, problems: &mut Problems| -> Option<PathBuf> {
        if tls.node(key).is_none() {
            let why = format!("{}{key} is missing: expected {what}", tls.name);
            let hint =
                r#"write both: tls = { certificate = "/etc/seawall/tls.crt", key = "/etc/seawall/tls.key" }"#;
            problems.add(&node.place, why, Some(hint.into()));
        }
        tls.read(key, None, |node| values::path(node, what).map(Some), problems)
    };
    let certificate = path(
        "certificate",
        "the path of a PEM file with certificates",
        problems,
    );
    let key = path("key", "the path of a PEM file with a private key", problems);
    let authorities = "the path of a PEM file with certificates";
    let client_ca = tls.read(
        "client_ca",
        None,
        |node| values::path(node, authorities).map(Some),
        problems,
    );
    match Serving::read(certificate?, key?, client_ca) {
        Ok(serving) => Some(serving),
        Err(unusable) => {
            let key = match unusable {
                Unusable::Certificate { .. } => "certificate",
                Unusable::Key { .. } => "key",
                Unusable::Authority { .. } => "client_ca",
            };
            let place = tls.node(key).map_or(&tls.place, |node| &node.place);
            let hint = "name PEM files that this account can read: the server's certificate first, then those \
                        between it and a root, and its key";
            problems.add(place, format!("{}{key}: {unusable}", tls.name), Some(hint.into()));
            None
        }
    }
}
