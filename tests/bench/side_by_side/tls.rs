//! What is held, by TLS 1.3: large bodies on connections that stay, and a new connection for each small one.
//!
//! The client is rustls for all servers, a thread for each connection. It decrypts the first answer of each and
//! checks it; of those that follow it reads the length of each record and drops the rest inside the kernel, so that
//! it is not what limits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use crate::Options;
use crate::load::TURN;
use crate::machine::{Server, cpu_seconds, pin};
use crate::servers::{Nginx, QUIET, nginx, registry, registry_by_tls, seawall};
use crate::shelf::Shelf;
use crate::support::Result;
use crate::table::{Goal, Row, Table};

/// The name that the certificate is for.
const NAME: &str = "cache.test";
/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// How long nothing may arrive: an answer that is shorter than the first was would be waited for without end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands before the content of a record (RFC 8446, 5.1): its type, a version and its length.
const RECORD_HEADER: usize = 5;
/// The type of all records once the keys are agreed on.
const APPLICATION_DATA: u8 = 0x17;
/// What a record holds beside plain bytes (RFC 8446, 5.2): their type, and the tag of AES-GCM or ChaCha20-Poly1305.
const SEALING: u64 = 1 + 16;

/// What is pulled, and what its ratio ought to be.
struct Lane {
    title: &'static str,
    size: u64,
    connections: usize,
    /// A new connection for each request.
    anew: bool,
    goal: f64,
}

const LANES: [Lane; 3] = [
    Lane {
        title: "1 MiB ×16",
        size: 1 << 20,
        connections: 16,
        anew: false,
        goal: 1.9,
    },
    Lane {
        title: "64 MiB ×4",
        size: 64 << 20,
        connections: 4,
        anew: false,
        goal: 1.9,
    },
    Lane {
        title: "1 KiB ×4, each on a new connection",
        size: 1 << 10,
        connections: 4,
        anew: true,
        goal: 1.1,
    },
];

/// Answers and bytes of one turn.
#[derive(Clone, Copy, Default)]
struct Count {
    answers: u64,
    bytes: u64,
}

/// Cached blobs by TLS 1.3.
pub(crate) fn pulls(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let mut paths = Vec::new();
    for lane in &LANES {
        paths.push(shelf.blob(lane.size, 0)?);
    }
    let client = certify(shelf.root())?;
    let (certificate, key) = (shelf.root().join("tls.crt"), shelf.root().join("tls.key"));
    pin("0")?;
    let store = registry(shelf.root(), None)?;
    shelf.push(&store.server.address, &paths, &[])?;
    let registry = registry_by_tls(shelf.root(), &store, (&certificate, &key))?;
    let (certificate, key) = (certificate.display(), key.display());
    let files = nginx(shelf.root(), &shelf.files(), &Nginx::default())?;
    let how = Nginx {
        listen: " ssl",
        http: format!(
            "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; ssl_buffer_size 16k;"
        ),
        ..Nginx::default()
    };
    let beside = nginx(shelf.root(), &shelf.files(), &how)?;
    let tls = format!("tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n");
    let seawall = seawall(shelf.root(), &files.server.address, &tls, QUIET)?;
    pin("1")?;
    let servers = [&seawall.server, &beside.server, &registry.server];
    let mut table = Table::new(
        "Cached blobs, TLS 1.3",
        &["seawall", "nginx with OpenSSL", "docker-registry"],
    );
    for (lane, path) in LANES.iter().zip(&paths) {
        let figure = if lane.anew { "requests/s" } else { "GB/s" };
        let digits = if lane.anew { 0 } else { 2 };
        let mut speed = Row::new(format!("{}, {figure}", lane.title), digits, servers.len())
            .to(1, Goal::AtLeast(lane.goal))
            .to(2, Goal::AtLeast(3.0));
        let mut cpu = Row::new(format!("{}, CPU s per GB", lane.title), 3, servers.len());
        // Twice: Seawall keeps what the first one brought, and verifies it on the second.
        for _ in 0..2 {
            one(&seawall.server, path, &client)?;
        }
        for _ in 0..options.rounds {
            for (contestant, server) in servers.into_iter().enumerate() {
                let (begun, used) = (Instant::now(), cpu_seconds(server.id)?);
                let count = turn(server, path, lane, &client)?;
                let seconds = begun.elapsed().as_secs_f64();
                let gigabytes = count.bytes as f64 / 1e9;
                let done = if lane.anew {
                    count.answers as f64
                } else {
                    gigabytes
                };
                speed.push(contestant, done / seconds);
                if !lane.anew {
                    cpu.push(contestant, (cpu_seconds(server.id)? - used) / gigabytes);
                }
            }
        }
        table.add(if lane.anew { vec![speed] } else { vec![speed, cpu] });
    }
    Ok(vec![table])
}

/// Writes a certificate and its key into files; the client that trusts them.
fn certify(root: &Path) -> Result<Arc<ClientConfig>> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    std::fs::write(root.join("tls.crt"), certificate.pem())?;
    std::fs::write(root.join("tls.key"), key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.der().to_vec()))?;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // What containerd, podman and skopeo offer first (Go's crypto/tls, where the processor has AES).
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = config;
    // Each handshake is a whole one: what is compared is what a new client costs.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn turn(server: &Server, path: &str, lane: &Lane, client: &Arc<ClientConfig>) -> Result<Count> {
    let end = Instant::now() + TURN;
    let counts = thread::scope(|scope| {
        let one = || -> Result<Count> {
            let mut count = Count::default();
            let mut wire = Wire::connect(server, client)?;
            let mut used = false;
            while Instant::now() < end {
                if lane.anew && used {
                    wire = Wire::connect(server, client)?;
                }
                used = true;
                count.bytes += wire.ask(path)?;
                count.answers += 1;
            }
            Ok(count)
        };
        let turns: Vec<_> = (0..lane.connections).map(|_| scope.spawn(one)).collect();
        let ended = turns
            .into_iter()
            .map(|turn| turn.join().map_err(|_| "a client thread panicked")?);
        ended.collect::<Result<Vec<_>>>()
    });
    let mut sum = Count::default();
    for count in counts? {
        sum.answers += count.answers;
        sum.bytes += count.bytes;
    }
    Ok(sum)
}

fn one(server: &Server, path: &str, client: &Arc<ClientConfig>) -> Result {
    Wire::connect(server, client)?.ask(path).map(drop)
}

/// A connection.
struct Wire {
    session: ClientConnection,
    socket: TcpStream,
    buffer: Vec<u8>,
    /// The first answer. Every one after it has as many bytes.
    first: Option<Answer>,
}

/// Plain bytes of an answer.
#[derive(Clone, Copy)]
struct Answer {
    head: u64,
    body: u64,
}

impl Wire {
    fn connect(server: &Server, client: &Arc<ClientConfig>) -> Result<Self> {
        let socket = TcpStream::connect(&server.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            session: ClientConnection::new(client.clone(), NAME.try_into()?)?,
            socket,
            buffer: vec![0; BUFFER],
            first: None,
        })
    }

    /// One request; the bytes of its body, which go nowhere.
    fn ask(&mut self, path: &str) -> Result<u64> {
        let answer = match self.first {
            None => self.read(path)?,
            Some(first) => self.skim(path, first)?,
        };
        self.first = Some(answer);
        Ok(answer.body)
    }

    /// One request whose answer is decrypted.
    fn read(&mut self, path: &str) -> Result<Answer> {
        let mut stream = Stream::new(&mut self.session, &mut self.socket);
        stream.write_all(&request(path))?;
        let mut filled = 0;
        let head = loop {
            let count = stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return Err(format!("{path}: the connection ended within the head").into());
            }
            filled += count;
            let end = self.buffer[..filled]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let mut headers = text.lines().filter_map(|line| line.split_once(':'));
        let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: u64 = match length {
            Some((_, length)) if text.starts_with("HTTP/1.1 200 ") => length.trim().parse()?,
            _ => return Err(format!("not an answer to measure:\n{text}").into()),
        };
        let mut left = length - (filled - head) as u64;
        while left > 0 {
            let count = stream.read(&mut self.buffer)?;
            if count == 0 {
                return Err(format!("{path}: the connection ended {left} bytes too soon").into());
            }
            left -= count as u64;
        }
        Ok(Answer {
            head: head as u64,
            body: length,
        })
    }

    /// One request whose answer is as long as the first was, and stays encrypted. Nothing on this connection can be
    /// decrypted any more.
    fn skim(&mut self, path: &str, first: Answer) -> Result<Answer> {
        self.session.writer().write_all(&request(path))?;
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        let mut left = first.head + first.body;
        while left > 0 {
            let plain = self.drop_record()?;
            left = left
                .checked_sub(plain)
                .ok_or_else(|| format!("{path}: an answer is longer than the first was"))?;
        }
        Ok(first)
    }

    /// Receives a record; how many plain bytes are in it.
    fn drop_record(&mut self) -> Result<u64> {
        let mut header = [0; RECORD_HEADER];
        self.socket.read_exact(&mut header)?;
        let [kind, _, _, high, low] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != APPLICATION_DATA {
            return Err(format!("a record of type {kind} instead of an answer").into());
        }
        let mut left = length;
        while left > 0 {
            let (_, count) = recv(&self.socket, &mut self.buffer[..left], RecvFlags::TRUNC)?;
            if count == 0 {
                return Err("the connection ended within a record".into());
            }
            left -= count;
        }
        Ok(length as u64 - SEALING)
    }
}

/// What is asked. An answer to it is as long each time.
fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into_bytes()
}
