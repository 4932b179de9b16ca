//! Several faults at once.

use std::time::Duration;

use redis_consumer_group::ConsumerGroup;
use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, INPUT, order};
use crate::judge::Witness;
use crate::load::Load;
use crate::proxy::{Fault, Proxy, When, Whose};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_break_while_connections_are_cut_and_the_server_stutters() {
    let server = PrivateServer::builder().start().await.unwrap();
    let proxy = Proxy::before(server.addr()).await;
    let witness = Witness::default();
    let group = witness.beside(ConsumerGroup::builder(proxy.url()).consumers(8)).start().await.unwrap();
    let load = Load::start(server.addr(), INPUT, 3_000);
    let fixture = Fixture { server, group, witness, load };
    fixture.goes_on().await;

    let mut redis = fixture.redis().await;
    let (mut broken, end) = (0, Instant::now() + Duration::from_secs(8));
    for round in (1..).take_while(|_| Instant::now() < end) {
        let after = round * 97 % 3_000;
        let fault = match round % 5 {
            0 => Fault::CutCommit(after),
            1 => Fault::CutAnswer(after % 400),
            2 => Fault::Late(after, When::BeforeTheFence),
            3 => Fault::Late(after, When::AfterTheFence),
            _ => Fault::Late(after, When::AfterTheCommit),
        };
        if proxy.is_free() {
            proxy.arm(fault);
            broken += 1;
        }
        match round % 12 {
            3 => drop(order(&mut redis, "CLIENT KILL TYPE pubsub").await),
            6 => {
                fixture.server.freeze().unwrap();
                sleep(Duration::from_millis(150)).await;
                fixture.server.thaw().unwrap();
            }
            9 => drop(proxy.hold(Whose::Subscriber)),
            11 => drop(proxy.release(Whose::Subscriber)),
            _ => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(broken > 30, "{broken}");
    proxy.release(Whose::Subscriber);
    fixture.goes_on().await;
    let (_, ledger) = fixture.end().await;
    assert!(ledger.gaps.count > 3, "{ledger}");
    assert_eq!((ledger.dropped, ledger.abandoned), (0, 0), "{ledger}");
}
