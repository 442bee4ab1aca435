//! systemd, or whoever else started us: the sockets it opened, and what it is told.
//!
//! Nothing here does anything where nobody asks for it: no sockets, no `NOTIFY_SOCKET`, no `WATCHDOG_USEC`.

use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;

/// The variable that names the sockets, in their order.
const NAMES: &str = "LISTEN_FDNAMES";

/// The sockets that were opened for us.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Where clients are served.
    pub(super) clients: Option<TcpListener>,
    /// Where the operator is served.
    pub(super) admin: Option<TcpListener>,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Clients,
    Admin,
}

impl Sockets {
    /// Takes those that came with the process.
    ///
    /// # Errors
    /// If they cannot be told apart, or are no listening TCP sockets.
    pub(super) fn inherited() -> Result<Self, StartError> {
        let mut given = ListenFd::from_env();
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut sockets = Self::default();
        for (number, role) in roles(given.len(), &names)
            .map_err(StartError)?
            .into_iter()
            .enumerate()
        {
            let unusable = |error| {
                StartError(format!(
                    "socket {number} of those that systemd opened cannot be used: {error}; seawall.socket must have \
                     ListenStream= with an address and a port"
                ))
            };
            let socket = given.take_tcp_listener(number).map_err(unusable)?;
            match role {
                Role::Clients => sockets.clients = socket,
                Role::Admin => sockets.admin = socket,
            }
        }
        Ok(sockets)
    }
}

/// What each of `count` sockets is for: by its name, else the first that is left is for clients, the second for the
/// operator.
fn roles(count: usize, names: &str) -> Result<Vec<Role>, String> {
    let names: Vec<&str> = names.split(':').collect();
    let named = |number: usize| match names.get(number).copied() {
        Some("clients") => Some(Role::Clients),
        Some("admin") => Some(Role::Admin),
        Some(_) | None => None,
    };
    let mut left = vec![Role::Clients, Role::Admin];
    left.retain(|role| (0..count).all(|number| named(number) != Some(*role)));
    let mut left = left.into_iter();
    let found: Option<Vec<Role>> = (0..count)
        .map(|number| named(number).or_else(|| left.next()))
        .collect();
    let twice = |found: &Vec<Role>| {
        let of = |wanted| found.iter().filter(|role| **role == wanted).count();
        of(Role::Clients) < 2 && of(Role::Admin) < 2
    };
    found.filter(twice).ok_or_else(|| {
        format!(
            "systemd opened {count} sockets (named {names:?}): expected one for clients and at most one for the \
             operator; name them with FileDescriptorName=clients and FileDescriptorName=admin, or have two at most"
        )
    })
}

/// Says that clients are served, later that we stop, and meanwhile, if anybody listens, that we live; until `done`.
pub(super) fn tell(watchers: &TaskTracker, shutdown: &CancellationToken, done: &CancellationToken) {
    ready();
    let (stopping, done) = (shutdown.clone(), done.clone());
    let limit = sd_notify::watchdog_enabled();
    watchers.spawn(async move {
        tokio::select! {
            () = stopping.cancelled() => notify(&[NotifyState::Stopping]),
            () = done.cancelled() => return,
            () = beat(limit, lives) => {}
        }
        tokio::select! {
            () = done.cancelled() => {}
            () = beat(limit, lives) => {}
        }
    });
}

/// Says that the configuration is being read again; [`ready`] says that it has been.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "systemd could not be told"),
    }
}

/// Says that clients are served.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells that we live, twice within `limit`; for ever. It is a task like those that serve: where they no longer run,
/// it does not either, and that is what the watchdog is to find out.
async fn beat(limit: Option<Duration>, tell: impl Fn()) {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    let mut beats = interval(limit / 2);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        tell();
    }
}

fn lives() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn sockets_are_told_apart_by_name_and_else_by_order() {
        use Role::{Admin, Clients};
        for (count, names, expected) in [
            (0, "", vec![]),
            (1, "", vec![Clients]),
            (1, "seawall.socket", vec![Clients]),
            (1, "admin", vec![Admin]),
            (2, "seawall.socket:seawall.socket", vec![Clients, Admin]),
            (2, "admin:clients", vec![Admin, Clients]),
            (2, "admin:other", vec![Admin, Clients]),
            (2, "other:clients", vec![Admin, Clients]),
        ] {
            assert_eq!(roles(count, names), Ok(expected), "{count} {names}");
        }
    }

    #[test]
    fn sockets_that_nobody_can_tell_apart_are_refused() {
        for (count, names) in [(3, "a:b:c"), (2, "clients:clients"), (3, "clients:admin:x")] {
            let why = roles(count, names).unwrap_err();
            assert!(why.contains("FileDescriptorName=clients"), "{why}");
        }
    }

    #[test]
    fn who_hangs_does_not_say_that_it_lives() {
        let soon = Duration::from_secs(20);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (beats, heard) = channel();
        let limit = Duration::from_millis(10);
        runtime.spawn(beat(Some(limit), move || {
            // Nobody listens any more once the test is over.
            let _ = beats.send(());
        }));
        for _ in 0..3 {
            heard.recv_timeout(soon).unwrap();
        }
        let ((hanging, hangs), (release, released)) = (channel(), channel::<()>());
        runtime.spawn(async move {
            hanging.send(()).unwrap();
            // As a task that holds its thread up does.
            released.recv().unwrap();
        });
        hangs.recv_timeout(soon).unwrap();
        while heard.try_recv().is_ok() {}
        assert!(heard.recv_timeout(10 * limit).is_err());
        release.send(()).unwrap();
        heard.recv_timeout(soon).unwrap();
    }
}
