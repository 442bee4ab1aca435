//! Who may use the operator's pages, and what of them.
//!
//! Whoever is on this machine may use all of them: the operator is. Others have the role of the client that they prove
//! to be; by where it comes from alone, nobody changes anything. Whether Seawall is alive and ready is told to everyone.

use std::net::SocketAddr;

use http::request::Parts;
use http::{Method, StatusCode};

use super::{API, Reply};
use crate::policy::access::{Evidence, Role, Wanted};
use crate::server::Inner;
use crate::server::login::Login;

/// What a request needs, by its method and its path, which have to be written exactly so.
fn needed(method: &Method, path: &str) -> Option<Role> {
    let of_api = path.strip_prefix(API);
    match (method == Method::POST, path, of_api) {
        (false, "/livez" | "/readyz", _) => None,
        // It hands out content, whoever may pull that.
        (false, _, Some("export")) => Some(Role::Operate),
        (false, ..) => Some(Role::Read),
        (true, _, Some("warm" | "verify" | "lock" | "pin")) => Some(Role::Operate),
        (true, ..) => Some(Role::Admin),
    }
}

/// Who uses the operator's pages, if that is allowed: its name, for the log.
///
/// # Errors
/// 401 or 403, in a sentence that says what is missing.
pub(super) async fn enter(inner: &Inner, head: &Parts, peer: SocketAddr) -> Result<String, Reply> {
    let address = peer.ip().to_canonical();
    if address.is_loopback() {
        return Ok("this machine".to_owned());
    }
    let Some(needed) = needed(&head.method, head.uri.path()) else {
        return Ok("anybody".to_owned());
    };
    let (clients, keys) = (&inner.options.clients, &inner.keys);
    let login = inner
        .logins
        .who(&clients.access, keys, address, &head.headers, Wanted::Base)
        .await;
    if let Login::Later(wait) = login {
        let wait = wait.as_millis().div_ceil(1000);
        let why = format!("too many logins from there, or too many that failed; try again in {wait} s");
        return Err(Reply::error(StatusCode::TOO_MANY_REQUESTS, why));
    }
    let user = match login {
        Login::User(place) => Some(place),
        _ => None,
    };
    let evidence = Evidence {
        user,
        ..Evidence::from(address)
    };
    let who = clients.identify(&evidence);
    let (name, role) = (clients.name_of(who.client), clients.role(&who));
    if role >= needed {
        return Ok(name);
    }
    let needed = needed.name();
    if !who.proven && clients.access.has_logins() {
        let why = format!("log in as a client with the role \"{needed}\"");
        return Err(Reply::error(StatusCode::UNAUTHORIZED, why));
    }
    let why = format!(
        "{name} has not the role \"{needed}\": the operator says who has, by role in a [[client]]; from the machine \
         itself everything may be done"
    );
    Err(Reply::error(StatusCode::FORBIDDEN, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_written_exactly_needs_as_much_as_any() {
        // S076
        let (get, post) = (Method::GET, Method::POST);
        for (method, path, role) in [
            (&get, "/livez", None),
            (&get, "/readyz", None),
            (&get, "/readyz/", Some(Role::Read)),
            (&get, "/Livez", Some(Role::Read)),
            (&get, "//livez", Some(Role::Read)),
            (&get, "/livez/..;/metrics", Some(Role::Read)),
            (&post, "/livez", Some(Role::Admin)),
            (&get, "/metrics", Some(Role::Read)),
            (&get, "/api/v1/status", Some(Role::Read)),
            (&get, "/api/v1/export", Some(Role::Operate)),
            (&post, "/api/v1/warm", Some(Role::Operate)),
            (&post, "/api/v1/warm/", Some(Role::Admin)),
            (&post, "/api/v1/%77arm", Some(Role::Admin)),
            (&post, "/api/v1/purge", Some(Role::Admin)),
            (&post, "/api/v1/import", Some(Role::Admin)),
            (&post, "/api/v1/anything", Some(Role::Admin)),
        ] {
            assert_eq!(needed(method, path), role, "{method} {path}");
        }
    }
}
