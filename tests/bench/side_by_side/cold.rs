//! What is not held yet: 1 GiB for one client and for thirty-two at once. Every turn starts its server anew, with
//! an empty cache; nothing of the turn before is left to be written to the disk.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::load::{Wire, request};
use crate::machine::{each_in_a_thread, median, peak, unpin};
use crate::servers::{Nginx, QUIET, Running, nginx, nginx_cache, registry, seawall};
use crate::shelf::Shelf;
use crate::support::Result;
use crate::table::{Goal, Row, Table};

/// What is pulled.
pub(crate) const SIZE: u64 = 1 << 30;

/// What is pulled before.
pub(crate) const SMALL: u64 = 1 << 10;

/// Clients that ask at once.
const MANY: usize = 32;

/// Until the upstream has written its last line, and the server what it keeps of a small blob.
const SETTLE: Duration = Duration::from_millis(100);

/// Who stands between the clients and the upstream.
#[derive(Clone, Copy)]
pub(crate) enum Between {
    /// Seawall.
    Seawall,
    /// Nobody.
    Nobody,
    /// nginx with a cache and a lock.
    Nginx,
    /// docker-registry as a pull-through cache.
    Registry,
}

impl Between {
    /// Starts it before the upstream at that address.
    pub(crate) fn start(self, shelf: &Shelf, upstream: &str) -> Result<Option<Running>> {
        match self {
            Self::Seawall => seawall(shelf.root(), upstream, "", QUIET).map(Some),
            Self::Nobody => Ok(None),
            Self::Nginx => nginx_cache(shelf.root(), upstream).map(Some),
            Self::Registry => registry(shelf.root(), Some(upstream)).map(Some),
        }
    }
}

/// What one cold pull came to.
pub(crate) struct Pull {
    /// From the first request to the last byte of the last answer.
    pub(crate) seconds: f64,
    /// Milliseconds from a request to the head of its answer: the median of the clients.
    pub(crate) first_byte: f64,
    /// Megabytes that the server had at most; nothing if nobody stood between.
    pub(crate) memory: Option<f64>,
}

impl Pull {
    /// Starts whoever is `between`, has `clients` pull the first of `paths` at once, and clears everything away. The
    /// second is small: a server that runs has had its first request, and has kept what it brought. Each client asks
    /// for it once more on the connection of its pull, as all who pull an image ask for small things first.
    pub(crate) fn cold(
        between: Between,
        shelf: &Shelf,
        upstream: &str,
        paths: &[String; 2],
        clients: usize,
    ) -> Result<Self> {
        rustix::fs::sync();
        let running = between.start(shelf, upstream)?;
        let address = running
            .as_ref()
            .map_or(upstream, |running| running.server.address.as_str());
        let [large, small] = paths.each_ref().map(|path| request(address, "GET", path));
        ask(&mut Wire::connect(address)?, &small)?;
        thread::sleep(SETTLE);
        let mut wires = Vec::new();
        for _ in 0..clients {
            let mut wire = Wire::connect(address)?;
            ask(&mut wire, &small)?;
            wires.push(wire);
        }
        let begun = Instant::now();
        let heads = each_in_a_thread(wires, |mut wire| {
            Ok((ask(&mut wire, &large)? - begun).as_secs_f64() * 1e3)
        })?;
        let mut pull = Self {
            seconds: begun.elapsed().as_secs_f64(),
            first_byte: median(heads),
            memory: None,
        };
        if let Some(running) = running {
            pull.memory = Some(peak(running.server.id)?);
            let directory = running.directory.clone();
            drop(running);
            fs::remove_dir_all(directory)?;
        }
        Ok(pull)
    }
}

/// Asks, and receives the whole answer; when its head was there.
fn ask(wire: &mut Wire, request: &[u8]) -> Result<Instant> {
    wire.send(request)?;
    Ok(wire.receive(true)?.head_at)
}

const CONTESTANTS: [(&str, Between); 4] = [
    ("seawall", Between::Seawall),
    ("direct", Between::Nobody),
    ("nginx proxy_cache", Between::Nginx),
    ("docker-registry", Between::Registry),
];

/// An upstream as fast as loopback, which notes the bytes that it sent.
struct Upstream {
    running: Running,
    notes: PathBuf,
}

impl Upstream {
    fn start(shelf: &Shelf) -> Result<Self> {
        let notes = shelf.root().join("upstream.bytes");
        let how = Nginx {
            http: format!(
                "log_format bytes '$body_bytes_sent'; access_log {} bytes;",
                notes.display()
            ),
            ..Nginx::default()
        };
        let running = nginx(shelf.root(), &shelf.files(), &how)?;
        Ok(Self { running, notes })
    }

    /// Bytes of bodies sent so far.
    fn sent(&self) -> Result<u64> {
        thread::sleep(SETTLE);
        let notes = fs::read_to_string(&self.notes)?;
        Ok(notes.lines().filter_map(|line| line.parse::<u64>().ok()).sum())
    }
}

/// Cold pulls from an upstream that is as fast as loopback.
pub(crate) fn pulls(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    unpin()?;
    let paths = [shelf.blob(SIZE, 0)?, shelf.blob(SMALL, 0)?];
    let upstream = Upstream::start(shelf)?;
    let names = CONTESTANTS.map(|(name, _)| name);
    let mut one = Table::new("Cold 1 GiB, one client", &names);
    let time = Row::new("s", 2, 4).to(2, Goal::AtMost(0.95));
    one.add(rows(options, shelf, &upstream, &paths, 1, time)?);
    let mut many = Table::new("Cold 1 GiB, 32 clients at once", &names);
    let time = Row::new("s", 2, 4)
        .to(1, Goal::AtMost(1.0))
        .to(2, Goal::AtMost(0.75))
        .to(3, Goal::AtMost(0.33));
    many.add(rows(options, shelf, &upstream, &paths, MANY, time)?);
    Ok(vec![one, many])
}

fn rows(
    options: &Options,
    shelf: &Shelf,
    upstream: &Upstream,
    paths: &[String; 2],
    clients: usize,
    mut time: Row,
) -> Result<[Row; 4]> {
    let mut first = Row::new("first byte, ms", 2, 4);
    let mut bytes = Row::new("upstream bytes per byte", 2, 4).itself(Goal::AtMost(1.0));
    let mut memory = Row::new("peak RSS, MB", 0, 4);
    if clients > 1 {
        memory = memory.itself(Goal::AtMost(60.0));
    }
    for _ in 0..options.rounds {
        for (contestant, (_, between)) in CONTESTANTS.into_iter().enumerate() {
            let before = upstream.sent()?;
            let pull = Pull::cold(between, shelf, &upstream.running.server.address, paths, clients)?;
            time.push(contestant, pull.seconds);
            first.push(contestant, pull.first_byte);
            let sent = upstream.sent()? - before;
            bytes.push(contestant, sent.saturating_sub(SMALL) as f64 / SIZE as f64);
            if let Some(megabytes) = pull.memory {
                memory.push(contestant, megabytes);
            }
        }
    }
    Ok([time, first, bytes, memory])
}
