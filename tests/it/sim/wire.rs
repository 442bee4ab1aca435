//! The hosts on the net: names, connections, and HTTP/1.1 written by hand, because a simulated registry must
//! be able to send what no library lets it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use seawall::net::dial::{Dialer, Io, Proxies};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::journal::{Ended, Role};
use super::tripwires::Trip;
use super::{Reply, Request, Sim};

/// Bytes that a connection holds on their way.
const PIPE: usize = 64 << 10;

/// Every host, and the last byte of its address.
const HOSTS: [(Role, &str, u8); 6] = [
    (Role::Registry, "registry.example.com", 1),
    (Role::Tokens, "auth.example.com", 2),
    (Role::Store(0), "cdn0.example.net", 3),
    (Role::Store(1), "cdn1.example.net", 4),
    (Role::Alternate, "mirror.example.org", 5),
    (Role::Stranger, "stranger.example.org", 6),
];

/// Those who are at an address of this machine or its link: the metadata service, the agent, and what stands for a
/// cloud's own services.
const NEAR: [(Role, [u8; 4]); 3] = [
    (Role::Metadata, [169, 254, 169, 254]),
    (Role::Agent, [169, 254, 170, 23]),
    (Role::Cloud, [127, 0, 0, 9]),
];

/// The name of a host.
pub(crate) fn host(role: Role) -> &'static str {
    let found = HOSTS.into_iter().find(|(known, ..)| *known == role);
    found.map(|(_, name, _)| name).unwrap()
}

fn address(last: u8) -> IpAddr {
    // Public addresses, which the dial filter lets pass; they are never dialled.
    IpAddr::V4(Ipv4Addr::new(1, 2, 3, last))
}

impl Sim {
    /// Who is at an address.
    fn role_at(&self, at: IpAddr) -> Option<Role> {
        let far = HOSTS.into_iter().find(|(.., last)| address(*last) == at);
        let near = NEAR.into_iter().find(|(_, near)| IpAddr::from(*near) == at);
        let near = near.filter(|_| self.lock().identities.reachable);
        far.map(|(role, ..)| role).or(near.map(|(role, _)| role))
    }

    /// A dialer that reaches the simulator's hosts, and nothing else.
    pub(crate) fn dialer(&self) -> Dialer {
        let sim = self.clone();
        Dialer {
            proxies: Proxies::Never,
            resolve: Arc::new(|name| {
                let found = HOSTS.into_iter().find(|(_, known, _)| *known == name);
                let found = found.map(|(_, _, last)| vec![address(last)]);
                Box::pin(async move { found.ok_or_else(|| std::io::ErrorKind::NotFound.into()) })
            }),
            connect: Arc::new(move |target| {
                let sim = sim.clone();
                Box::pin(async move {
                    let Some(role) = sim.role_at(target.ip()) else {
                        sim.tripwires(|trips| trips.spring(Trip::PrivateDial, target.to_string()));
                        return Err(std::io::ErrorKind::ConnectionRefused.into());
                    };
                    if sim.is_down(role) {
                        return Err(std::io::ErrorKind::ConnectionRefused.into());
                    }
                    let (near, far) = tokio::io::duplex(PIPE);
                    tokio::spawn(serve(sim, role, far));
                    Ok(Box::new(near) as Box<dyn Io>)
                })
            }),
        }
    }
}

/// Serves one connection until either side ends it.
async fn serve(sim: Sim, role: Role, mut io: DuplexStream) {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut io, &mut buffer).await {
        // A connection that was given up a moment ago is seen to have ended first.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        if sim.is_down(role) {
            return;
        }
        let mut request = parse(&head, role, sim.now());
        let Some(body) = read_body(&mut io, &mut buffer, &request).await else {
            return;
        };
        request.body = body;
        let (number, reply) = sim.handle(&request);
        let (sent, ended) = match wait(&mut io, &mut buffer, reply.delay).await {
            true => send(&mut io, &request, &reply).await,
            false => (0, Ended::Left),
        };
        sim.finish(number, &reply, sent, ended);
        if ended == Ended::Left || reply.hang_up || reply.bare || reply.fault.cut_after.is_some() {
            return;
        }
    }
}

/// Lets time go by before an answer. False if who asked went away meanwhile.
async fn wait(io: &mut DuplexStream, buffer: &mut Vec<u8>, delay: Duration) -> bool {
    let left = async {
        let mut piece = [0; 8192];
        while let Ok(count @ 1..) = io.read(&mut piece).await {
            buffer.extend_from_slice(&piece[..count]);
        }
    };
    tokio::time::timeout(delay, left).await.is_err()
}

/// The next head, without the empty line after it.
async fn read_head(io: &mut DuplexStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = end_of_head(buffer) {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            buffer.drain(..end + 4);
            return Some(head);
        }
        let mut piece = [0; 8192];
        match io.read(&mut piece).await {
            Ok(count) if count > 0 => buffer.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

/// The body that a head promises.
async fn read_body(io: &mut DuplexStream, buffer: &mut Vec<u8>, request: &Request) -> Option<String> {
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        let mut piece = [0; 8192];
        match io.read(&mut piece).await {
            Ok(count) if count > 0 => buffer.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
    Some(String::from_utf8(buffer.drain(..length).collect()).unwrap())
}

/// Where the empty line after a head is. Line by line: one of them may hold a token of thousands of bytes.
fn end_of_head(buffer: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(buffer).ok()?;
    let lines = text.match_indices('\n').map(|(at, _)| at + 1);
    let mut empty = lines.filter(|end| buffer[..*end].ends_with(b"\r\n\r\n"));
    empty.next().map(|end| end - 4)
}

fn parse(head: &str, role: Role, at: u64) -> Request {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap().split(' ');
    let method = Method::from_bytes(words.next().unwrap().as_bytes()).unwrap();
    let target = words.next().unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value.trim()).unwrap(),
        );
    }
    Request {
        at,
        role,
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::new(),
    }
}

/// Writes an answer. Comes back with the bytes of the body that went out, and how it ended.
async fn send(io: &mut DuplexStream, request: &Request, reply: &Reply) -> (u64, Ended) {
    if reply.hang_up {
        return (0, Ended::Faulty);
    }
    let end = if reply.bare { "\n" } else { "\r\n" };
    let mut head = format!("HTTP/1.1 {} Said{end}", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}{end}");
    }
    let unsized_head = request.method == Method::HEAD && reply.body.is_empty();
    match reply.bare {
        true => head += "connection: close\n",
        false if unsized_head => {}
        false => head += &format!("content-length: {}\r\n", reply.body.len()),
    }
    head += end;
    if io.write_all(head.as_bytes()).await.is_err() {
        return (0, Ended::Left);
    }
    if request.method == Method::HEAD {
        return (0, Ended::Complete);
    }
    send_body(io, reply).await
}

async fn send_body(io: &mut DuplexStream, reply: &Reply) -> (u64, Ended) {
    let fault = &reply.fault;
    let mut body = reply.body.to_vec();
    if let Some(byte) = fault.flip.and_then(|at| body.get_mut(at)) {
        *byte ^= 1;
    }
    let spoilt = fault.flip.is_some() || fault.claims.is_some();
    body.truncate(fault.cut_after.unwrap_or(body.len()));
    let (piece, pause) = fault.pace.unwrap_or((PIPE, Duration::ZERO));
    let mut sent = 0;
    for piece in body.chunks(piece) {
        tokio::time::sleep(pause).await;
        if io.write_all(piece).await.is_err() {
            return (sent, Ended::Left);
        }
        sent += piece.len() as u64;
    }
    if fault.cut_after.is_some() {
        // The pause lets what was sent arrive before the connection breaks.
        tokio::time::sleep(Duration::from_millis(1)).await;
        return (sent, Ended::Faulty);
    }
    (sent, if spoilt { Ended::Faulty } else { Ended::Complete })
}
