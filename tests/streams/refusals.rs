//! A server that begins to refuse commands: no entry is acknowledged without its record.

use std::collections::HashMap;

use redis_consumer_group::{ConsumerGroup, Error, SourceKind};
use redis_private_server::PrivateServer;

use crate::fixture::{GROUP, append, pending, soon};
use crate::support::{INPUT, OUTPUT, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_without_a_record_stay_pending_when_the_permission_to_append_is_revoked() {
    for _ in 0..20 {
        let server =
            Server::start_with(PrivateServer::builder().acl_user("group on >secret ~* &* +@all")).await;
        let sent = append(&server, 0..30_000).await;
        let mut group = ConsumerGroup::builder(format!("redis://group:secret@{}", server.addr()))
            .source(SourceKind::Stream)
            .consumers(1)
            .start()
            .await
            .unwrap();
        soon("it is in the middle", async || group.ledger().processed > 2_000).await;
        let _: String = server.run("ACL SETUSER group -xadd").await;
        let error = group.join().await.unwrap_err();
        assert!(matches!(&error, Error::Refused { .. }), "{error}");
        let groups: Vec<HashMap<String, redis::Value>> = server.run(&format!("XINFO GROUPS {INPUT}")).await;
        let mut of_ours = groups.into_iter().next().expect(GROUP);
        let read: usize = redis::from_redis_value(of_ours.remove("entries-read").unwrap()).unwrap();
        assert!(read < sent.len(), "it was not in the middle any more");
        let acknowledged = read - pending(&server).await;
        assert_eq!(acknowledged, server.length(OUTPUT).await, "of {read} that were read");
    }
}
