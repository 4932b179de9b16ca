//! A port on the loopback interface that is probably free, and stays reserved while the server restarts.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below the range from which Linux (from 32768) and macOS (from 49152) take ports for outgoing connections, so
/// no such connection takes the port while a server restarts. The bus port of a cluster node, 10000 above, is below
/// that range too, and is not the port of another private server.
const RANGE: std::ops::Range<u16> = 10_000..20_000;

/// A port that no other private server takes, in this process or in others, until this is dropped, even while its
/// server does not run.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// Holds the UDP port of the same number, which no server uses. Its holder owns the TCP port among private servers.
    _reservation: UdpSocket,
}

impl Port {
    /// A port that was free a moment ago. Another program may take it first: the server's own bind decides, and the
    /// caller tries the next port.
    pub(crate) fn probably_free() -> Option<Self> {
        const TRIES: usize = 100;
        (0..TRIES).find_map(|_| {
            let number = fastrand::u16(RANGE);
            let address = (Ipv4Addr::LOCALHOST, number);
            let reservation = UdpSocket::bind(address).ok()?;
            TcpListener::bind(address).ok()?;
            Some(Self { number, _reservation: reservation })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_and_its_cluster_bus_stay_below_the_ports_of_outgoing_connections() {
        for _ in 0..50 {
            let port = Port::probably_free().unwrap();
            assert!(RANGE.contains(&port.number));
            assert!(port.number + 10_000 < 32_768);
        }
    }

    #[test]
    fn a_port_is_reserved_while_no_server_listens_on_it() {
        let port = Port::probably_free().unwrap();
        let address = (Ipv4Addr::LOCALHOST, port.number);
        assert!(TcpListener::bind(address).is_ok());
        assert!(UdpSocket::bind(address).is_err());
        drop(port);
        assert!(UdpSocket::bind(address).is_ok());
    }
}
