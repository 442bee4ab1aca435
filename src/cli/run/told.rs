//! The signals by which a run is told to end: they are the command's, and what is ours is tidied up whatever they say.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, from now on: none of them ends us by itself any more.
pub(super) struct Told {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Told {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe: none is lost.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}
