//! The certificate that clients are shown.

use std::path::PathBuf;

use super::problem::Problems;
use super::section::{Section, Wrong, boolean, text};
use super::values;
use crate::net::acme::{Acme, IS_BUILT_IN};
use crate::net::serving::{Serving, Unusable};

/// Reads `server.tls`, and the files that it names.
pub(super) fn read(server: &Section<'_>, problems: &mut Problems) -> Option<Serving> {
    let node = server.node("tls")?;
    let tls = server.section("tls", &["certificate", "key", "client_ca", "acme"], problems);
    let path = |key, what: &'static str, problems: &mut Problems| -> Option<PathBuf> {
        if tls.node(key).is_none() {
            let why = format!("{}{key} is missing: expected {what}", tls.name);
            let hint =
                r#"write both: tls = { certificate = "/etc/seawall/tls.crt", key = "/etc/seawall/tls.key" }"#;
            problems.add(&node.place, why, Some(hint.into()));
        }
        tls.read(key, None, |node| values::path(node, what).map(Some), problems)
    };
    let authorities = "the path of a PEM file with certificates";
    let client_ca = tls.read(
        "client_ca",
        None,
        |node| values::path(node, authorities).map(Some),
        problems,
    );
    if tls.node("acme").is_some() {
        let acme = acme(&tls, problems)?;
        return usable(Serving::issued(acme, client_ca), &tls, problems);
    }
    let certificate = path(
        "certificate",
        "the path of a PEM file with certificates",
        problems,
    );
    let key = path("key", "the path of a PEM file with a private key", problems);
    usable(Serving::read(certificate?, key?, client_ca), &tls, problems)
}

fn usable(read: Result<Serving, Unusable>, tls: &Section<'_>, problems: &mut Problems) -> Option<Serving> {
    match read {
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

/// Where certificates come from if nobody says otherwise.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The names of one certificate: as many as authorities take.
const MAX_NAMES: usize = 100;

/// Reads `server.tls.acme`; `None` if certificates cannot be had that way.
fn acme(tls: &Section<'_>, problems: &mut Problems) -> Option<Acme> {
    let known = ["domains", "contact", "directory", "ca", "store", "accept_terms"];
    let acme = tls.section("acme", &known, problems);
    let before = problems.len();
    let refuse = |what: String, hint: &str, problems: &mut Problems| {
        problems.add(&acme.place, what, Some(hint.into()));
    };
    let name = acme.name.trim_end_matches('.');
    if tls.name != "server.tls." {
        let hint = "name the files of [server]'s: certificate and key = \"STORE/certificate.pem\"";
        refuse(
            format!("{name}: only server.tls has certificates by ACME"),
            hint,
            problems,
        );
    } else if !IS_BUILT_IN {
        let hint =
            "build it with `cargo build --release --features acme`, or name files: certificate and key";
        refuse(
            format!("{name}: this seawall was built without ACME"),
            hint,
            problems,
        );
    }
    for key in ["certificate", "key"] {
        if let Some(node) = tls.node(key) {
            let what = format!("{}{key} stands beside acme: expected one of the two", tls.name);
            let hint =
                "the certificate is in the files that you name, or comes by ACME and is kept in its store";
            problems.add(&node.place, what, Some(hint.into()));
        }
    }
    let mut domains = acme.read_list("domains", domain, problems);
    domains.dedup();
    if domains.is_empty() || domains.len() > MAX_NAMES {
        let what = format!("{name}.domains: expected 1 to {MAX_NAMES} names that lead to this server");
        refuse(what, "domains = [\"cache.example.com\"]", problems);
    }
    let contact = acme.read_list("contact", mail, problems);
    let directory = acme.read(
        "directory",
        DIRECTORY.parse().ok(),
        |node| directory(node).map(Some),
        problems,
    );
    let what = "the path of a PEM file with certificates";
    let ca = acme.read("ca", None, |node| values::path(node, what).map(Some), problems);
    let roots = acme.read("ca", Vec::new(), values::certificates, problems);
    let what = "the path of a directory that is kept, such as \"/var/lib/seawall/acme\"";
    let store = acme.read("store", None, |node| values::path(node, what).map(Some), problems);
    if acme.node("store").is_none() {
        let hint =
            "the account, the certificate and its key are kept there: store = \"/var/lib/seawall/acme\"";
        refuse(
            format!("{name}.store is missing: expected {what}"),
            hint,
            problems,
        );
    }
    if !acme.read("accept_terms", false, boolean, problems) {
        let hint = "read the terms of the authority, and say accept_terms = true";
        refuse(format!("{name}.accept_terms: expected true"), hint, problems);
    }
    (problems.len() == before).then_some(Acme {
        directory: directory?,
        ca,
        roots,
        domains,
        contact,
        store: store?,
    })
}

/// A name that an authority can find to lead here.
fn domain(node: &super::file::Node) -> Result<String, Wrong> {
    let wrong = || Wrong::expected("a host name such as \"cache.example.com\", without port and wildcard");
    let name = values::host(node).map_err(|_| wrong())?;
    let is_name =
        name.contains('.') && !name.contains([':', '*']) && name.parse::<std::net::IpAddr>().is_err();
    is_name.then_some(name).ok_or_else(wrong)
}

fn mail(node: &super::file::Node) -> Result<String, Wrong> {
    let written = text(node)?;
    let is_mail = written
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    let is_plain = written
        .chars()
        .all(|letter| letter.is_ascii_graphic() && !":,?/".contains(letter));
    (is_mail && is_plain)
        .then_some(written)
        .ok_or_else(|| Wrong::expected("an address of mail such as \"ops@example.com\""))
}

fn directory(node: &super::file::Node) -> Result<http::Uri, Wrong> {
    let url = values::url(node)?;
    match url.scheme_str() == Some("https") || values::is_loopback(&url) {
        true => Ok(url),
        false => Err(Wrong::expected("the https:// URL of an authority's directory")),
    }
}
