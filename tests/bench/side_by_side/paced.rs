//! Cold pulls from upstreams that are slower than loopback: one that gives 1 GB/s in all, and one far away that
//! gives 50 MB/s per connection.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::cold::{Between, Pull, SIZE, SMALL};
use crate::machine::unpin;
use crate::shelf::Shelf;
use crate::support::Result;
use crate::table::{Goal, Row, Table};

/// Sent at a time.
const PIECE: u64 = 256 << 10;

/// What a pace that fell behind may catch up.
const SLACK: Duration = Duration::from_millis(2);

/// Turns of the far upstream: a minute each, and the pace makes them alike.
const FAR_ROUNDS: usize = 2;

/// How slow an upstream is.
#[derive(Clone, Copy)]
struct Slow {
    /// Before each answer.
    delay: Duration,
    /// Bytes a second.
    rate: f64,
    /// Whether the rate is that of each connection, or of all together.
    each: bool,
}

/// Lets bytes through at a steady rate. Clones share it.
#[derive(Clone)]
struct Pace {
    next: Arc<Mutex<Instant>>,
    rate: f64,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self {
            next: Arc::new(Mutex::new(Instant::now())),
            rate,
        }
    }

    /// Waits until so many more bytes may leave.
    fn wait(&self, bytes: u64) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let least = Instant::now().checked_sub(SLACK);
            let turn = least.map_or(*next, |least| least.max(*next));
            *next = turn + Duration::from_secs_f64(bytes as f64 / self.rate);
            turn
        };
        thread::sleep(turn.saturating_duration_since(Instant::now()));
    }
}

/// Serves the files below `files` at that pace, until the program ends; its host and port.
fn serve(files: &Path, slow: Slow) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // The pace is its own: BBR, where the machine has it, would pace it again by what it saw of the loopback, and never
    // make up for a pause.
    rustix::net::sockopt::set_tcp_congestion(&listener, "reno")?;
    let address = listener.local_addr()?.to_string();
    let (files, all) = (files.to_owned(), Pace::new(slow.rate));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let files = files.clone();
            let pace = if slow.each {
                Pace::new(slow.rate)
            } else {
                all.clone()
            };
            // An error ends the connection: that is what its client is to see.
            thread::spawn(move || drop(answer_all(&client, &files, slow.delay, &pace)));
        }
    });
    Ok(address)
}

/// Answers one request after the other.
fn answer_all(client: &TcpStream, files: &Path, delay: Duration, pace: &Pace) -> Result {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut range = None;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("range") {
                range = Some(value.trim().to_owned());
            }
        }
        thread::sleep(delay);
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let file = files.join(path.trim_start_matches('/'));
        answer(client, method, file, range.as_deref(), pace)?;
    }
}

fn answer(mut client: &TcpStream, method: &str, path: PathBuf, range: Option<&str>, pace: &Pace) -> Result {
    let Some(file) = File::open(path).ok().filter(is_file) else {
        // Only the question whether this is a registry at all names no file.
        return Ok(client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?);
    };
    let size = file.metadata()?.len();
    let (start, end) = range.and_then(|range| bounds(range, size)).unwrap_or((0, size));
    let mut head = match range {
        Some(_) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}\r\n",
            end - 1
        ),
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    head.push_str(&format!(
        "Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n",
        end - start
    ));
    client.write_all(head.as_bytes())?;
    let mut at = start;
    while method == "GET" && at < end {
        let piece = PIECE.min(end - at);
        pace.wait(piece);
        let stop = at + piece;
        while at < stop {
            let left = (stop - at) as usize;
            rustix::fs::sendfile(client, &file, Some(&mut at), left)?;
        }
    }
    Ok(())
}

fn is_file(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// The bytes of `bytes=START-[END]`, the end left out.
fn bounds(range: &str, size: u64) -> Option<(u64, u64)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start = start.parse().ok()?;
    let end = end.parse::<u64>().map_or(size, |end| size.min(end + 1));
    (start < end).then_some((start, end))
}

const CONTESTANTS: [(&str, Between); 2] = [("seawall", Between::Seawall), ("direct", Between::Nobody)];

/// An upstream that gives 1 GB/s: what Seawall adds to it.
pub(crate) fn pulls(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let slow = Slow {
        delay: Duration::ZERO,
        rate: 1e9,
        each: false,
    };
    let names = CONTESTANTS.map(|(name, _)| name);
    let mut table = Table::new("Cold 1 GiB, one client, upstream of 1 GB/s", &names);
    let time = Row::new("s", 3, 2).to(1, Goal::AtMost(1.05));
    table.add(rows(options.rounds, shelf, slow, time, Some(Goal::AtMost(0.5)))?);
    Ok(vec![table])
}

/// An upstream that gives 50 MB/s per connection, 40 ms away: several connections are several times faster.
pub(crate) fn far_pulls(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let slow = Slow {
        delay: Duration::from_millis(40),
        rate: 50e6,
        each: true,
    };
    let names = CONTESTANTS.map(|(name, _)| name);
    let title = "Cold 1 GiB, one client, upstream of 50 MB/s per connection, 40 ms away";
    let mut table = Table::new(title, &names);
    let time = Row::new("s", 2, 2).to(1, Goal::AtMost(0.333));
    let rounds = options.rounds.min(FAR_ROUNDS);
    table.add(rows(rounds, shelf, slow, time, None)?);
    Ok(vec![table])
}

fn rows(
    rounds: usize,
    shelf: &mut Shelf,
    slow: Slow,
    mut time: Row,
    added: Option<Goal>,
) -> Result<[Row; 3]> {
    unpin()?;
    let paths = [shelf.blob(SIZE, 0)?, shelf.blob(SMALL, 0)?];
    let upstream = serve(&shelf.files(), slow)?;
    let mut first = Row::new("first byte, ms", 2, 2);
    let mut more = Row::new("first byte later by, ms", 2, 2);
    if let Some(goal) = added {
        more = more.itself(goal);
    }
    for _ in 0..rounds {
        let mut firsts = [0.0; 2];
        for (contestant, (_, between)) in CONTESTANTS.into_iter().enumerate() {
            let pull = Pull::cold(between, shelf, &upstream, &paths, 1)?;
            time.push(contestant, pull.seconds);
            first.push(contestant, pull.first_byte);
            firsts[contestant] = pull.first_byte;
        }
        more.push(0, firsts[0] - firsts[1]);
    }
    Ok([time, first, more])
}
