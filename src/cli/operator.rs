//! Which admin listener a command asks, and what it shows there of who asks.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use rustls::pki_types::ServerName;

use crate::config::Environment;
use crate::net::tls;
use crate::upstream::Secret;

/// Where a token stands if no file is named.
const TOKEN: &str = "SEAWALL_ADMIN_TOKEN";
/// Most bytes of a token's file.
const MAX_TOKEN: usize = 64 * 1024;

/// How an operator says who they are.
#[derive(Clone, Debug, Args)]
pub(super) struct Showing {
    /// Say who asks by the token in this file; without it, by that in the variable SEAWALL_ADMIN_TOKEN, if it is set
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Ask by TLS, and trust the certificates in this PEM file instead of the machine's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Ask by TLS, and show the certificate in this PEM file
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

/// An admin listener: `127.0.0.1:5001`, or `https://cache.example.com:5001`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) host: String,
    pub(super) port: u16,
    is_tls: bool,
}

impl FromStr for Listener {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, plain) => (false, plain.unwrap_or(text)),
        };
        let wrong =
            || "expected an address and a port, such as 127.0.0.1:5001 or https://cache.example.com:5001";
        let authority: http::uri::Authority = rest.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || rest.contains('@') {
            return Err(wrong().to_owned());
        }
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().ok_or_else(wrong)?,
            is_tls,
        })
    }
}

impl Listener {
    /// The listener of a configuration.
    pub(super) fn at(address: SocketAddr, is_tls: bool) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            is_tls,
        }
    }

    /// As it stands in `Host`.
    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn is_here(&self) -> bool {
        let address: Result<IpAddr, _> = self.host.parse();
        self.host == "localhost"
            || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
    }
}

/// TLS towards an admin listener.
#[derive(Clone)]
pub(super) struct Encrypted {
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// What a command asks with: TLS if it is spoken there, and a token if there is one.
pub(super) struct Shown {
    pub(super) tls: Option<Encrypted>,
    pub(super) token: Option<Secret>,
}

impl Showing {
    /// Reads what is shown to a listener. Blocks on the disk.
    ///
    /// # Errors
    /// What is wrong with a file, in words that name it; or that the token would travel in the clear.
    pub(super) fn to(&self, listener: &Listener, environment: &Environment) -> Result<Shown, String> {
        let is_tls = listener.is_tls || self.ca.is_some() || self.certificate.is_some();
        let tls = is_tls.then(|| self.encrypted(listener)).transpose()?;
        let token = self.token(environment)?;
        if token.is_some() && tls.is_none() && !listener.is_here() {
            return Err(format!(
                "the token would travel to {} in the clear: ask by --admin https://…, once admin.tls is set there",
                listener.authority()
            ));
        }
        Ok(Shown { tls, token })
    }

    fn encrypted(&self, listener: &Listener) -> Result<Encrypted, String> {
        let name = ServerName::try_from(listener.host.clone());
        let name = name.map_err(|_| format!("{} is no name that a certificate can have", listener.host))?;
        let trusted = match &self.ca {
            None => Vec::new(),
            Some(path) => tls::certificates(path)
                .map_err(|why| format!("--ca {}: {why}", path.display()))?
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
        };
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => tls::identified_config(&trusted, certificate, key)?,
            _ => tls::client_config(&trusted),
        };
        Ok(Encrypted { config, name })
    }

    fn token(&self, environment: &Environment) -> Result<Option<Secret>, String> {
        let (text, place) = match &self.token_file {
            None => match environment.get(TOKEN) {
                None => return Ok(None),
                Some(token) => (token.to_owned(), TOKEN.to_owned()),
            },
            Some(path) => {
                let place = format!("--token-file {}", path.display());
                let text = std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?;
                (text, place)
            }
        };
        let token = text.trim_end_matches(['\r', '\n']);
        let is_good = !token.is_empty()
            && token.len() <= MAX_TOKEN
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        match is_good {
            true => Ok(Some(Secret::new(token.to_owned()))),
            false => Err(format!(
                "{place}: expected a token, one line of letters, digits and signs"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::cli::admin::{Admin, NoAnswer};
    use crate::net::serving::Serving;

    fn showing(token_file: Option<PathBuf>) -> Showing {
        Showing {
            token_file,
            ca: None,
            certificate: None,
            key: None,
        }
    }

    #[test]
    fn a_listener_is_an_address_or_a_name_with_a_port() {
        for (text, authority, is_tls, is_here) in [
            ("127.0.0.1:5001", "127.0.0.1:5001", false, true),
            ("[::1]:5001", "[::1]:5001", false, true),
            ("http://localhost:1", "localhost:1", false, true),
            (
                "https://cache.example.com:5001/",
                "cache.example.com:5001",
                true,
                false,
            ),
        ] {
            let listener: Listener = text.parse().unwrap();
            assert_eq!(listener.authority(), authority);
            assert_eq!((listener.is_tls, listener.is_here()), (is_tls, is_here), "{text}");
        }
        for text in [
            "5001",
            "cache.example.com",
            "https://",
            "https://a@b:1",
            "a b:1",
            ":1",
        ] {
            assert!(text.parse::<Listener>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_comes_from_the_file_or_the_variable_and_goes_nowhere_in_the_clear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from-the-file\n").unwrap();
        let variable = Environment::of(&[(TOKEN, "from-the-variable")]);
        let here: Listener = "127.0.0.1:5001".parse().unwrap();
        let there: Listener = "10.0.0.1:5001".parse().unwrap();
        let token = |showing: Showing, environment: &Environment| {
            let shown = showing.to(&here, environment).unwrap();
            shown.token.map(|token| token.expose().to_owned())
        };
        assert_eq!(token(showing(None), &Environment::of(&[])), None);
        assert_eq!(
            token(showing(None), &variable).as_deref(),
            Some("from-the-variable")
        );
        let file = showing(Some(path.clone()));
        assert_eq!(token(file.clone(), &variable).as_deref(), Some("from-the-file"));
        let refused = file.to(&there, &variable).err().unwrap();
        assert!(
            refused.contains("in the clear") && !refused.contains("from-the"),
            "{refused}"
        );
        std::fs::write(&path, "two\nlines\n").unwrap();
        let refused = file.to(&here, &variable).err().unwrap();
        assert!(
            refused.contains("one line") && !refused.contains("two"),
            "{refused}"
        );
    }

    /// A certificate of its own for this machine, and its key, in files by that name.
    fn certify(folder: &Path, name: &str) -> [PathBuf; 2] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let texts = [params.self_signed(&key).unwrap().pem(), key.serialize_pem()];
        let files = ["crt", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
        for (file, text) in files.iter().zip(texts) {
            std::fs::write(file, text).unwrap();
        }
        files
    }

    /// A listener that speaks TLS on this machine, and answers each request with its head.
    fn echo(serving: Serving) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let Ok(mut stream) = serving.accept(stream).await else {
                        continue;
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n")
                        && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
                    {}
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
                    let answer = [answer.into_bytes(), head].concat();
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                }
            });
        });
        address
    }

    #[test]
    fn a_listener_that_speaks_tls_is_shown_the_token_if_its_certificate_is_trusted_and_nothing_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let [own, key] = certify(folder.path(), "own");
        let [other, _] = certify(folder.path(), "other");
        let token = folder.path().join("token");
        std::fs::write(&token, "a-token-of-thirty-two-characters\n").unwrap();
        let address = echo(Serving::read(own.clone(), key, None).unwrap());
        let listener: Listener = format!("https://{address}").parse().unwrap();
        let ask = |ca: Option<PathBuf>| {
            let showing = Showing {
                ca,
                ..showing(Some(token.clone()))
            };
            let shown = showing.to(&listener, &Environment::of(&[])).unwrap();
            Admin::with(listener.clone(), shown).get("/api/v1/status")
        };
        let head = ask(Some(own)).unwrap();
        let head = String::from_utf8_lossy(&head).to_lowercase();
        for part in [
            "get /api/v1/status ",
            "authorization: bearer a-token-of-thirty-two-characters\r\n",
            &format!("host: {address}\r\n"),
        ] {
            assert!(head.contains(part), "{part}: {head}");
        }
        for ca in [None, Some(other)] {
            let Err(NoAnswer::Unreachable(why)) = ask(ca) else {
                panic!("a certificate of nobody was trusted");
            };
            assert!(why.contains("certificate") && !why.contains("a-token"), "{why}");
        }
    }
}
