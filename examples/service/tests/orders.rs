//! Tests the processor and the whole group without Redis. The test starts its own price service.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use order_prices::orders::{PriceOrders, group};
use order_prices::prices::Prices;
use redis_consumer_group::Failure;
use redis_consumer_group::testing::{MessageBuilder, Pipeline, process};
use tokio::net::TcpListener;

/// A price service that knows tea, and fails for cake.
async fn prices() -> Prices {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(|request: Request<Incoming>| async move {
                let (status, text) = match request.uri().path() {
                    "/prices/tea" => (200, "250"),
                    "/prices/cake" => (503, "later"),
                    _ => (404, "no such article"),
                };
                let body = Full::new(Bytes::from(text));
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    Prices::new(format!("http://{address}"))
}

fn order(id: &str, article: &str, quantity: u64) -> String {
    format!(r#"{{"id":"{id}","article":"{article}","quantity":{quantity}}}"#)
}

#[tokio::test]
async fn an_order_gets_the_price_of_all_its_pieces() {
    let processor = PriceOrders { prices: prices().await };
    let outcome = process(&processor, order("7", "tea", 3)).await.unwrap();
    let [record] = outcome.records() else { panic!("{outcome:?}") };
    assert_eq!((record.text("id"), record.text("total")), (Some("7"), Some("750")));
}

#[tokio::test]
async fn an_order_that_can_never_be_priced_is_rejected_and_others_are_tried_again() {
    let processor = PriceOrders { prices: prices().await };
    let failure = async |message: MessageBuilder| process(&processor, message).await.unwrap_err();

    let Failure::Reject(reason) = failure("tea, please".into()).await else { panic!() };
    assert!(reason.starts_with("not an order: the payload is not JSON: "), "{reason}");
    let unknown = failure(order("1", "coffee", 1).into()).await;
    assert_eq!(unknown, Failure::Reject(r#"there is no article "coffee""#.into()));
    let away = failure(order("2", "cake", 1).into()).await;
    assert_eq!(away, Failure::TryAgain("the price service answered 503 Service Unavailable".into()));
}

#[tokio::test]
async fn an_unavailable_price_service_is_retried_and_all_causes_are_reported() {
    let processor = PriceOrders { prices: Prices::new("http://127.0.0.1:1") };
    let Err(Failure::TryAgain(reason)) = process(&processor, order("1", "tea", 1)).await else { panic!() };
    assert!(reason.starts_with("no price from the price service: "), "{reason}");
    assert!(reason.contains("Connection refused"), "{reason}");
}

#[tokio::test]
async fn the_group_makes_three_attempts_at_an_order_and_goes_on_with_the_others() {
    let orders = [order("1", "tea", 1), order("2", "cake", 1), order("3", "tea", 0), order("4", "tea", 2)];
    let group = group("redis://localhost:6379", prices().await);
    let finished = Pipeline::of(group).run(orders).await;

    let mut totals: Vec<_> = finished.records.iter().map(|record| record.text("total").unwrap()).collect();
    totals.sort_unstable();
    assert_eq!(totals, ["250", "500"]);
    let [rejected] = &finished.rejected[..] else { panic!("{finished:?}") };
    assert_eq!(rejected.payload(), order("2", "cake", 1).as_bytes());
    let reason = "gave up after 3 attempts: the price service answered 503 Service Unavailable";
    assert_eq!((rejected.reason(), rejected.attempts()), (reason, 3));
    assert_eq!((finished.ledger.processed, finished.ledger.skipped), (3, 1));
}
