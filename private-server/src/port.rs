//! A port on the loopback interface that is probably free, and stays ours while the server restarts.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below the range from which Linux (32768 on) and macOS (49152 on) take ports for outgoing connections, so
/// that nothing takes the port while a server restarts. The bus of a cluster node, 10000 above, stays below
/// it as well, and is nobody's port.
const RANGE: std::ops::Range<u16> = 10_000..20_000;

/// A port that other private servers leave alone, in this process and in others, until this is dropped: also
/// while its server does not run.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// The UDP port of the same number, for which no server has a use: whoever holds it has the other one.
    _reservation: UdpSocket,
}

impl Port {
    /// One that nobody held a moment ago. Others may be faster: the server's own bind decides, and who
    /// starts it tries the next one.
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
