//! Whether time tells what is kept from somebody (S066): answers to who may not have a private image that is held,
//! beside answers for one that never was, to the same client in the same moments.
//!
//! The two are compared as distributions, by Kolmogorov and Smirnov: `p` is how often two samples of one and the same
//! distribution lie at least as far apart.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Options;
use crate::content::REPOSITORY;
use crate::machine::{median, pin};
use crate::servers::{QUIET, seawall};
use crate::shelf::Shelf;
use crate::support::Result;
use crate::table::{Goal, Row, Table};

/// Private images, and as many that are not there.
const IMAGES: usize = 1000;
/// What a difference that means nothing has to reach.
const GOAL: Goal = Goal::AtLeast(0.01);
/// Where the registry has what it shows to alice, and where it has nothing.
const OWNERS: [&str; 2] = ["team", "gone"];
/// What is asked for, by the place of its path.
const ASKED: [&str; 2] = ["manifest", "blob"];
/// Bob asks for everything twice: what is remembered of him the second time is another way through the cache.
const TIMES: [&str; 2] = ["first", "again"];

/// What bob, who may have nothing, can learn from how long an answer takes.
pub(crate) fn answers(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let [manifest, _] = shelf.manifest()?;
    let paths = [manifest, shelf.blob(1 << 10, 0)?];
    pin("1")?;
    let registry = serve(shelf.files())?;
    let password = shelf.root().join("password");
    fs::write(&password, "robot")?;
    let access = format!(
        "access = \"per_client\"\naccess_ttl = \"1h\"\n\
         credentials = [{{ username = \"robot\", password = {{ file = {password:?} }} }}]\n{QUIET}"
    );
    let cases: Vec<(usize, usize)> = (0..ASKED.len())
        .flat_map(|asked| (0..TIMES.len()).map(move |time| (asked, time)))
        .collect();
    let named = |(asked, time): &(usize, usize)| format!("HEAD of a {}, {}", ASKED[*asked], TIMES[*time]);
    let mut micros: Vec<Row> = cases
        .iter()
        .map(|case| Row::new(named(case) + ", µs", 0, 2))
        .collect();
    let mut same: Vec<Row> = cases
        .iter()
        .map(|case| Row::new(named(case) + ", p", 3, 2).itself(GOAL))
        .collect();
    for _ in 0..options.rounds {
        pin("0")?;
        let seawall = seawall(shelf.root(), &registry, "", &access)?;
        pin("1")?;
        let mut client = Client::connect(&seawall.server.address)?;
        for number in 0..IMAGES {
            for path in &paths {
                client.ask("GET", "alice", &path_of(path, OWNERS[0], number), 200)?;
            }
        }
        for (case, (asked, _)) in cases.iter().enumerate() {
            let mut took = [Vec::new(), Vec::new()];
            for number in 0..IMAGES {
                // Whoever goes first finds other things in the processor's cache.
                for owner in [number % 2, 1 - number % 2] {
                    let path = path_of(&paths[*asked], OWNERS[owner], number);
                    took[owner].push(client.ask("HEAD", "bob", &path, 404)?);
                }
            }
            for (owner, took) in took.iter().enumerate() {
                micros[case].push(owner, median(took.iter().copied()));
            }
            let [private, missing] = took;
            same[case].push(0, alike(private, missing));
        }
    }
    let title = "Private images that are held beside none, for who may have neither";
    let mut table = Table::new(title, &["private", "not there"]);
    table.add(micros);
    table.add(same);
    Ok(vec![table])
}

/// The same in one of many repositories.
fn path_of(path: &str, owner: &str, number: usize) -> String {
    path.replace(REPOSITORY, &format!("{owner}/app{number}"))
}

/// How often two samples of one distribution lie at least as far apart as these.
fn alike(mut these: Vec<f64>, mut those: Vec<f64>) -> f64 {
    these.sort_by(f64::total_cmp);
    those.sort_by(f64::total_cmp);
    let part = |of: &[f64], value: f64| of.partition_point(|other| *other <= value) as f64 / of.len() as f64;
    let apart = |value: &f64| (part(&these, *value) - part(&those, *value)).abs();
    let most = these.iter().chain(&those).map(apart).fold(0.0, f64::max);
    let (n, m) = (these.len() as f64, those.len() as f64);
    let root = (n * m / (n + m)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * most;
    let term = |k: f64| (if k % 2.0 == 1.0 { 1.0 } else { -1.0 }) * (-2.0 * k * k * lambda * lambda).exp();
    let sum: f64 = (1..=100).map(|k| term(f64::from(k))).sum();
    (2.0 * sum).clamp(0.0, 1.0)
}

/// A client on one connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for something, and reads the answer; how long its head took, in µs.
    fn ask(&mut self, method: &str, user: &str, path: &str, expected: u16) -> Result<f64> {
        let login = login(user);
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: cache.test\r\nAuthorization: {login}\r\n\r\n");
        let begun = Instant::now();
        self.0.get_mut().write_all(request.as_bytes())?;
        let head = head(&mut self.0)?.ok_or("the connection was closed")?;
        let took = begun.elapsed().as_secs_f64() * 1e6;
        let status = head[0].split(' ').nth(1).unwrap_or_default();
        if status != expected.to_string() {
            return Err(format!("{method} {path} of {user}: {status} in place of {expected}").into());
        }
        let length = header(&head, "content-length").and_then(|length| length.parse().ok());
        if method == "GET" {
            let mut body = vec![0; length.unwrap_or(0)];
            std::io::Read::read_exact(&mut self.0, &mut body)?;
        }
        Ok(took)
    }
}

fn login(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{user}")))
}

/// The lines of a head; `None` if the connection ended before.
fn head(reader: &mut impl BufRead) -> Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => return Ok(Some(lines)),
            line => lines.push(line.to_owned()),
        }
    }
}

fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    let mut pairs = head[1..].iter().filter_map(|line| line.split_once(':'));
    let pair = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name));
    pair.map(|(_, value)| value.trim())
}

/// A registry that asks for a login, and shows what is below `team` to alice and the robot; until the program ends.
fn serve(files: PathBuf) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let files = files.clone();
            // An error ends the connection.
            thread::spawn(move || drop(answer_all(&client, &files)));
        }
    });
    Ok(address)
}

fn answer_all(mut client: &TcpStream, files: &Path) -> Result {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client);
    while let Some(head) = head(&mut reader)? {
        let mut words = head[0].split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let who = header(&head, "authorization");
        let sees = ["alice", "robot"]
            .iter()
            .any(|user| who == Some(login(user).as_str()));
        let shown = Some(path).filter(|path| sees && path.starts_with("/v2/team/"));
        let (status, body) = match (who, shown.and_then(|path| content(files, path))) {
            (None, _) => (
                "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"bench\"",
                Vec::new(),
            ),
            (Some(_), _) if path == "/v2/" => ("200 OK", b"{}".to_vec()),
            (Some(_), Some(body)) => ("200 OK", body),
            (Some(_), None) => ("404 Not Found", Vec::new()),
        };
        let kind = match path.contains("/manifests/") {
            true => "application/vnd.oci.image.manifest.v1+json",
            false => "application/octet-stream",
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(head.as_bytes())?;
        if method == "GET" {
            client.write_all(&body)?;
        }
    }
    Ok(())
}

/// What stands at a path of any repository.
fn content(files: &Path, path: &str) -> Option<Vec<u8>> {
    let (_, rest) = path.strip_prefix("/v2/team/")?.split_once('/')?;
    fs::read(files.join("v2").join(REPOSITORY).join(rest)).ok()
}
