//! The client: sockets that are kept alive, bodies that go nowhere, and the server's CPU time beside the clock.
//!
//! It must not be what is measured. One thread holds one connection (or several, asked in turn), and the bytes
//! of a body are dropped inside the kernel (`MSG_TRUNC`), never copied. Small answers come faster than threads are
//! woken for them: there one thread has all connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{RecvFlags, recv};

use crate::machine::{Server, cpu_seconds, each_in_a_thread};
use crate::support::Result;

/// How long a turn lasts; answers that began within it are finished and counted.
pub(crate) const TURN: Duration = Duration::from_millis(1500);

/// The media type of every manifest here.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Room for a head and the beginning of its body.
const HEAD: usize = 16 << 10;

/// Dropped at a time. Never touched, so it is address space only.
const SINK: usize = 1 << 20;

/// Threads at most; more connections share them.
const THREADS: usize = 64;

/// How far apart threads begin among requests that take turns.
const APART: usize = 997;

/// What one turn of one server came to.
pub(crate) struct Run {
    /// Answers received whole.
    pub(crate) answers: u64,
    /// Bytes of their bodies.
    pub(crate) bytes: u64,
    /// Wall-clock seconds from the first request to the last answer.
    pub(crate) seconds: f64,
    /// CPU seconds of the server, its children's included.
    pub(crate) cpu_seconds: f64,
    /// How long each answer took, to its last byte; sorted.
    latencies: Vec<Duration>,
}

impl Run {
    /// Has `connections` ask `server` for `target` again and again for one turn.
    pub(crate) fn of(server: &Server, target: &str, connections: usize) -> Result<Self> {
        let request = request(&server.address, "GET", target);
        Self::each(server, &[request], connections, true)
    }

    /// The same by another method, for small answers: one thread asks on each connection again as soon as that is
    /// answered. A hundred thousand answers a second to threads of their own fill the client's core, and the longest
    /// waits are theirs.
    pub(crate) fn of_small(server: &Server, method: &str, target: &str, connections: usize) -> Result<Self> {
        let request = request(&server.address, method, target);
        Self::measured(server, connections, |wires, end| {
            Ok(vec![ask_all(wires, &request, method != "HEAD", end)?])
        })
    }

    /// The same with requests that take turns.
    pub(crate) fn each(
        server: &Server,
        requests: &[Vec<u8>],
        connections: usize,
        has_body: bool,
    ) -> Result<Self> {
        Self::measured(server, connections, |wires, end| {
            let shared = wires.chunks_mut(connections.div_ceil(THREADS).max(1));
            each_in_a_thread(shared.enumerate(), |(number, wires)| {
                take_turn(wires, requests, number * APART, has_body, end)
            })
        })
    }

    fn measured(
        server: &Server,
        connections: usize,
        turns: impl FnOnce(&mut [Wire], Instant) -> Result<Vec<Turn>>,
    ) -> Result<Self> {
        let mut wires = Vec::new();
        for _ in 0..connections {
            wires.push(Wire::connect(&server.address)?);
        }
        let (cpu, start) = (cpu_seconds(server.id)?, Instant::now());
        let turns = turns(&mut wires, start + TURN)?;
        let seconds = start.elapsed().as_secs_f64();
        let mut latencies: Vec<Duration> = turns.iter().flat_map(|turn| &turn.latencies).copied().collect();
        latencies.sort_unstable();
        Ok(Self {
            answers: latencies.len() as u64,
            bytes: turns.iter().map(|turn| turn.bytes).sum(),
            seconds,
            cpu_seconds: cpu_seconds(server.id)? - cpu,
            latencies,
        })
    }

    /// Gigabytes a second.
    pub(crate) fn gigabytes_a_second(&self) -> f64 {
        self.bytes as f64 / 1e9 / self.seconds
    }

    /// Answers a second.
    pub(crate) fn answers_a_second(&self) -> f64 {
        self.answers as f64 / self.seconds
    }

    /// CPU seconds of the server for each gigabyte.
    pub(crate) fn cpu_per_gigabyte(&self) -> f64 {
        self.cpu_seconds / (self.bytes as f64 / 1e9)
    }

    /// Milliseconds that 99 of 100 answers took at most.
    pub(crate) fn p99(&self) -> f64 {
        p99(&self.latencies)
    }
}

/// Milliseconds that 99 of 100 of these sorted times are below.
pub(crate) fn p99(sorted: &[Duration]) -> f64 {
    let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// The bytes of a request, as a node would send it.
pub(crate) fn request(host: &str, method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAccept: {MANIFEST}\r\n\r\n").into_bytes()
}

struct Turn {
    bytes: u64,
    latencies: Vec<Duration>,
}

/// Asks for the requests from `first` on, again and again.
fn take_turn(
    wires: &mut [Wire],
    requests: &[Vec<u8>],
    first: usize,
    has_body: bool,
    end: Instant,
) -> Result<Turn> {
    let mut next = first;
    let mut turn = Turn {
        bytes: 0,
        latencies: Vec::new(),
    };
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(turn);
        }
        // All are asked before the first is read, so that every connection has a request under way.
        for wire in &mut *wires {
            wire.send(&requests[next % requests.len()])?;
            next += 1;
        }
        for wire in &mut *wires {
            turn.bytes += wire.receive(has_body)?.bytes;
            turn.latencies.push(begun.elapsed());
        }
    }
}

/// Asks the same on every connection, and again as soon as it is answered.
fn ask_all(wires: &mut [Wire], request: &[u8], has_body: bool, end: Instant) -> Result<Turn> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut turn = Turn {
        bytes: 0,
        latencies: Vec::new(),
    };
    let mut begun = Vec::with_capacity(wires.len());
    for (number, wire) in wires.iter_mut().enumerate() {
        let named = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, &wire.stream, named, epoll::EventFlags::IN)?;
        begun.push(Instant::now());
        wire.send(request)?;
    }
    let (mut under_way, mut answered) = (wires.len(), Vec::with_capacity(wires.len()));
    while under_way > 0 {
        epoll::wait(&poll, spare_capacity(&mut answered), None)?;
        for event in answered.drain(..) {
            let number = usize::try_from(event.data.u64())?;
            let (wire, begun) = (&mut wires[number], &mut begun[number]);
            turn.bytes += wire.receive(has_body)?.bytes;
            let now = Instant::now();
            turn.latencies.push(now - *begun);
            *begun = now;
            match now < end {
                true => wire.send(request)?,
                false => under_way -= 1,
            }
        }
    }
    Ok(turn)
}

/// One answer.
pub(crate) struct Received {
    /// Bytes of its body.
    pub(crate) bytes: u64,
    /// When its head was there.
    pub(crate) head_at: Instant,
}

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    head: Vec<u8>,
    sink: Vec<u8>,
}

impl Wire {
    /// Connects to a host and port.
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            head: vec![0; HEAD],
            sink: vec![0; SINK],
        })
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result {
        Ok(self.stream.write_all(request)?)
    }

    /// One answer, to its last byte.
    pub(crate) fn receive(&mut self, has_body: bool) -> Result<Received> {
        let mut filled = 0;
        let head = loop {
            let count = self.stream.read(&mut self.head[filled..])?;
            filled += expect_some(count)?;
            let ends = self.head[..filled]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(at) = ends {
                break at + 4;
            }
        };
        let head_at = Instant::now();
        let length = body_length(&self.head[..head])?;
        let mut left = if has_body {
            length - (filled - head) as u64
        } else {
            0
        };
        while left > 0 {
            left -= self.drop_some(left)? as u64;
        }
        Ok(Received {
            bytes: if has_body { length } else { 0 },
            head_at,
        })
    }

    /// Drops up to so many bytes inside the kernel.
    pub(crate) fn drop_some(&mut self, most: u64) -> Result<usize> {
        let room = (SINK as u64).min(most) as usize;
        let (_, count) = recv(&self.stream, &mut self.sink[..room], RecvFlags::TRUNC)?;
        expect_some(count)
    }
}

fn expect_some(count: usize) -> Result<usize> {
    match count {
        0 => Err("the server closed the connection".into()),
        count => Ok(count),
    }
}

fn body_length(head: &[u8]) -> Result<u64> {
    let head = std::str::from_utf8(head)?;
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    match headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        Some((_, length)) if head.starts_with("HTTP/1.1 200 ") => Ok(length.trim().parse()?),
        _ => Err(format!("not an answer to measure:\n{head}").into()),
    }
}
