//! A limited upstream: it passes requests on to the real registry, counts manifest GETs as Docker Hub does,
//! and answers 429 when they are used up.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::http;
use super::process::Result;

/// The window of a limit that no test lives to see renewed.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Between two looks at whether an answer may leave.
const MOMENT: Duration = Duration::from_millis(20);

/// What an upstream without budget says, in Docker Hub's words.
const REFUSAL: &str = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit"}]}"#;

/// The counts of a limited upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Counted requests left.
    pub(crate) remaining: u64,
    /// Requests answered 429.
    pub(crate) refused: u64,
}

/// A limited upstream. Its threads end with their connections, the last with the program.
pub(crate) struct Limited {
    /// Host and port.
    pub(crate) address: String,
    window: Arc<Mutex<Window>>,
}

/// What is counted, and since when.
struct Window {
    counts: Counts,
    began: Instant,
    /// Answers to what is counted stay on their way.
    holding: bool,
}

impl Limited {
    /// Stands before `target` and lets `limit` manifest GETs pass in each `window`.
    pub(crate) fn start(target: &str, limit: u64, window: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let state = Arc::new(Mutex::new(Window {
            counts: Counts {
                remaining: limit,
                refused: 0,
            },
            began: Instant::now(),
            holding: false,
        }));
        let (target, counter) = (target.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, counter) = (target.clone(), Arc::clone(&counter));
                // An error ends the connection: that is what its client is to see.
                thread::spawn(move || drop(answer(client, &target, limit, window, &counter)));
            }
        });
        Ok(Self {
            address,
            window: state,
        })
    }

    /// Whether requests are counted from now on, and not answered.
    #[allow(dead_code, reason = "the benchmark waits for its answers")]
    pub(crate) fn hold(&self, holding: bool) -> Result {
        let window = self.window.lock();
        window
            .map_err(|_| "a thread of the limited upstream panicked")?
            .holding = holding;
        Ok(())
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let window = self.window.lock();
        Ok(window
            .map_err(|_| "a thread of the limited upstream panicked")?
            .counts)
    }
}

/// Answers the one request of a connection.
fn answer(client: TcpStream, target: &str, limit: u64, window: Duration, state: &Mutex<Window>) -> Result {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        if ["accept", "range"].contains(&name.to_lowercase().as_str()) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let manifest = path.contains("/manifests/");
    let (allowed, remaining) = {
        let mut state = state.lock().map_err(|_| "poisoned")?;
        if state.began.elapsed() >= window {
            state.counts.remaining = limit;
            state.began = Instant::now();
        }
        let counts = &mut state.counts;
        let counted = manifest && method == "GET";
        let allowed = !counted || counts.remaining > 0;
        counts.remaining -= u64::from(counted && allowed);
        counts.refused += u64::from(!allowed);
        (allowed, counts.remaining)
    };
    while manifest && method == "GET" && state.lock().map_err(|_| "poisoned")?.holding {
        thread::sleep(MOMENT);
    }
    let mut head = String::new();
    if manifest {
        let seconds = window.as_secs();
        head.push_str(&format!("ratelimit-limit: {limit};w={seconds}\r\n"));
        head.push_str(&format!("ratelimit-remaining: {remaining};w={seconds}\r\n"));
        head.push_str("docker-ratelimit-source: 192.0.2.1\r\n");
    }
    if !allowed {
        return write(client, 429, &head, REFUSAL.len(), REFUSAL.as_bytes());
    }
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let given = http::request(target, method, path, &headers, &[])?;
    for name in [
        "content-type",
        "docker-content-digest",
        "content-range",
        "accept-ranges",
        "etag",
    ] {
        if !given.header(name).is_empty() {
            head.push_str(&format!("{name}: {}\r\n", given.header(name)));
        }
    }
    let length = given.header("content-length").parse().unwrap_or(given.body.len());
    write(client, given.status, &head, length, &given.body)
}

fn write(mut client: TcpStream, status: u16, head: &str, length: usize, body: &[u8]) -> Result {
    let line = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n");
    client.write_all(line.as_bytes())?;
    Ok(client.write_all(body)?)
}
