//! A port on the loopback interface that is probably free.

use std::net::{Ipv4Addr, TcpListener};

/// Below the range from which Linux (32768 on) and macOS (49152 on) take ports for outgoing connections, so
/// that nothing takes the port while a server restarts. The bus of a cluster node, 10000 above, stays below
/// it as well.
const RANGE: std::ops::Range<u16> = 10_000..22_768;

/// A port that nobody held a moment ago. Another process may be faster: the server's own bind decides, and
/// who starts it tries the next one.
pub(crate) fn probably_free() -> Option<u16> {
    const TRIES: usize = 100;
    (0..TRIES)
        .map(|_| fastrand::u16(RANGE))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_and_its_cluster_bus_stay_below_the_ports_of_outgoing_connections() {
        for _ in 0..50 {
            let port = probably_free().unwrap();
            assert!(RANGE.contains(&port));
            assert!(port + 10_000 < 32_768);
        }
    }
}
