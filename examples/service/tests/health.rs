//! Tests the health endpoint with the requests of a load balancer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use order_prices::health;
use redis_consumer_group::{Figures, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[test]
fn a_group_is_ready_while_it_is_connected() {
    let mut group = Figures::default();
    assert_eq!(health::readiness(&group), Err("stopping".to_owned()));
    group.state = State::Connected;
    assert!(health::readiness(&group).unwrap().starts_with("received 0 = "));
}

#[tokio::test]
async fn a_service_that_is_not_ready_stays_alive_and_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connected = Arc::new(AtomicBool::new(true));
    let looked_at = connected.clone();
    tokio::spawn(health::serve(listener, move || match looked_at.load(Ordering::Relaxed) {
        true => Ok("connected".to_owned()),
        false => Err("disconnected".to_owned()),
    }));
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("connected"), "{answer}");
    connected.store(false, Ordering::Relaxed);
    let answer = get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("disconnected"), "{answer}");
    assert!(get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get("/").await.starts_with("HTTP/1.1 404"));
}
