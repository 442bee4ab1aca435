//! The sockets that Seawall listens on.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::StartError;

/// Connections that wait to be accepted, as in `config/systemd/seawall.socket`; the kernel may have a lower limit
/// (`net.core.somaxconn`, 4,096 since Linux 5.4). Who finds the queue full tries again a second later: behind the usual
/// 128, the last of 4,096 clients that came at once was connected after four to six.
const BACKLOG: u32 = 4096;

/// Listens at `address`, which `key` names, unless a socket was opened for that already.
///
/// # Errors
/// [`StartError`] if the address is not of this machine, or taken.
pub(super) fn bind(
    key: &str,
    address: SocketAddr,
    inherited: Option<std::net::TcpListener>,
) -> Result<TcpListener, StartError> {
    let listener = match inherited {
        None => listen(address),
        Some(socket) => socket
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(socket)),
    };
    let listener = listener.inspect(|listener| {
        // Slower, and right, where the kernel does not want it.
        let _ = spare_the_loopback(listener);
    });
    listener.map_err(|error| {
        StartError(format!(
            "[server] {key} = \"{address}\": {error}; choose a free address of this machine, or stop what \
             listens there"
        ))
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A start does not wait until the kernel has forgotten the connections of the last.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Has connections by the loopback sent as fast as they are read. Where the machine's congestion control is BBR, it paces
/// them too, though nothing can be congested there: 16 pulls of 64 MiB on two cores came to 4 GB/s by it, and to 9 by
/// Reno, which every kernel has and lets everybody use. Connections take it from who listens; later it would go on pacing.
fn spare_the_loopback(listener: &TcpListener) -> io::Result<()> {
    match listener.local_addr()?.ip().is_loopback() {
        true => Ok(rustix::net::sockopt::set_tcp_congestion(listener, "reno")?),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn three_hundred_clients_that_come_at_once_need_not_come_again() {
        let listener = bind("listen", ([127, 0, 0, 1], 0).into(), None).unwrap();
        let address = listener.local_addr().unwrap();
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let most = most.trim().parse().unwrap_or(300).min(300);
        // Nobody is accepted meanwhile. Who finds the queue full waits for as long as this test likes.
        let clients = (0..most).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(900)));
        let waiting: Vec<_> = clients.map_while(Result::ok).collect();
        assert_eq!(waiting.len(), most);
    }

    #[tokio::test]
    async fn nothing_paces_what_is_sent_by_the_loopback_and_elsewhere_the_machines_congestion_control_stays()
    {
        use rustix::net::sockopt::tcp_congestion;

        let usual = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let usual = tcp_congestion(&usual).unwrap();
        for (address, expected) in [([127, 0, 0, 1], "reno"), ([0, 0, 0, 0], usual.as_str())] {
            let listener = bind("listen", (address, 0).into(), None).unwrap();
            let port = listener.local_addr().unwrap().port();
            let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            assert_eq!(tcp_congestion(&accepted).unwrap(), expected, "{address:?}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_its_key() {
        let listener = bind("listen", ([127, 0, 0, 1], 0).into(), None).unwrap();
        let address = listener.local_addr().unwrap();
        let error = bind("admin", address, None).unwrap_err().to_string();
        let named = format!("[server] admin = \"{address}\": Address already in use");
        assert!(error.starts_with(&named), "{error}");
    }
}
