//! The client: sockets that are kept alive, one buffer each, and the server's CPU time beside the clock.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::servers::Server;
use crate::support::Result;

/// How long a turn lasts; answers that began within it are finished and counted.
const TURN: Duration = Duration::from_millis(1500);

/// Received at a time: few system calls, and it stays in the core's own cache.
const BUFFER: usize = 256 << 10;

/// Clock ticks a second in `/proc/<pid>/stat`: 100 on every Linux architecture that has this table.
const TICKS: f64 = 100.0;

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
}

impl Run {
    /// Has `connections` threads ask `server` for `target` again and again for one turn.
    pub(crate) fn of(server: &Server, target: &str, connections: usize) -> Result<Self> {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\n\r\n",
            server.address
        );
        let mut wires = Vec::new();
        for _ in 0..connections {
            wires.push(Wire {
                stream: TcpStream::connect(&server.address)?,
                buffer: vec![0; BUFFER],
            });
        }
        let (cpu, start) = (cpu_ticks(server.id)?, Instant::now());
        let counts = thread::scope(|scope| {
            let turns: Vec<_> = wires
                .iter_mut()
                .map(|wire| scope.spawn(|| wire.take_turn(request.as_bytes(), start + TURN)))
                .collect();
            turns
                .into_iter()
                .map(|turn| turn.join().map_err(|_| "a client thread panicked")?)
                .collect()
        });
        let counts: Vec<(u64, u64)> = Result::<Vec<_>>::from(counts)?;
        Ok(Self {
            answers: counts.iter().map(|(answers, _)| answers).sum(),
            bytes: counts.iter().map(|(_, bytes)| bytes).sum(),
            seconds: start.elapsed().as_secs_f64(),
            cpu_seconds: (cpu_ticks(server.id)? - cpu) as f64 / TICKS,
        })
    }
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Answers and body bytes until `end`.
    fn take_turn(&mut self, request: &[u8], end: Instant) -> Result<(u64, u64)> {
        let (mut answers, mut bytes) = (0, 0);
        while Instant::now() < end {
            bytes += self.ask(request)?;
            answers += 1;
        }
        Ok((answers, bytes))
    }

    /// One request; the bytes of its body, which go nowhere.
    fn ask(&mut self, request: &[u8]) -> Result<u64> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        let head = loop {
            filled += self.receive(filled)?;
            if let Some(at) = self.buffer[..filled]
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
            {
                break at + 4;
            }
        };
        let length = body_length(&self.buffer[..head])?;
        let mut left = length - (filled - head) as u64;
        while left > 0 {
            left -= self.receive(0)? as u64;
        }
        Ok(length)
    }

    fn receive(&mut self, at: usize) -> Result<usize> {
        match self.stream.read(&mut self.buffer[at..])? {
            0 => Err("the server closed the connection".into()),
            count => Ok(count),
        }
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

/// User and system time of a process and its children so far, in ticks.
fn cpu_ticks(id: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
    let fields = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .skip(11)
        .take(2);
    let mut ticks = 0;
    for field in fields {
        ticks += field.parse::<u64>()?;
    }
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        ticks += cpu_ticks(child.parse()?)?;
    }
    Ok(ticks)
}
