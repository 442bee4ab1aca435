//! A relay: a slow wire that lets bytes through at a steady pace and counts them, or a proxy that leads elsewhere.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::process::Result;

/// Moved at a time.
const PIECE: usize = 64 * 1024;

/// A relay in front of an upstream. Its threads end with their connections, the last with the program.
pub(crate) struct Relay {
    /// Host and port.
    pub(crate) address: String,
    passed: Arc<AtomicU64>,
}

impl Relay {
    /// Relays to `target`, answers at no more than `rate` bytes a second and connection.
    pub(crate) fn start(target: &str, rate: u64) -> Result<Self> {
        Self::start_by(|_| Ok(()), target, rate)
    }

    /// Relays to `target` whatever place it is asked for, as a proxy for TLS is (`CONNECT`).
    pub(crate) fn start_proxy(target: &str) -> Result<Self> {
        Self::start_by(accept_connect, target, u64::MAX)
    }

    /// Relays what comes after `greet`.
    fn start_by(greet: fn(&TcpStream) -> io::Result<()>, target: &str, rate: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let passed = Arc::new(AtomicU64::new(0));
        let (target, counter) = (target.to_owned(), Arc::clone(&passed));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, counter) = (target.clone(), Arc::clone(&counter));
                thread::spawn(move || {
                    if greet(&client).is_ok() {
                        relay(client, &target, rate, &counter);
                    }
                });
            }
        });
        Ok(Self { address, passed })
    }

    /// Bytes of answers that went through.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

/// Reads the request of a client that says nothing more before it has an answer, and says yes.
fn accept_connect(mut client: &TcpStream) -> io::Result<()> {
    for line in BufReader::new(client).lines() {
        if line?.is_empty() {
            break;
        }
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")
}

/// Both directions of one connection. Errors end it: that is what the other side is to see.
fn relay(client: TcpStream, target: &str, rate: u64, passed: &AtomicU64) {
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let pause = Duration::from_secs_f64(PIECE as f64 / rate as f64);
    thread::scope(|scope| {
        scope.spawn(|| pump(from_client, to_server, |_| ()));
        pump(server, client, |count| {
            passed.fetch_add(count as u64, Ordering::Relaxed);
            if count == PIECE {
                thread::sleep(pause);
            }
        });
    });
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut moved: impl FnMut(usize)) {
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
        moved(count);
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
