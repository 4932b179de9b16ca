use super::map::tests::{map, node};
use super::*;

/// Node 1 has the lower half of the slots, node 2 the upper one.
const HALVES: [(u16, u16, u16); 2] = [(0, 8191, 1), (8192, 16_383, 2)];

fn cluster() -> Cluster {
    Cluster::new(view_of(1, &HALVES, 1))
}

fn view_of(by: u16, ranges: &[(u16, u16, u16)], epoch: u64) -> View {
    View { by: Some(node(by)), map: map(ranges), state: State { is_ok: true, epoch: Some(epoch) } }
}

async fn learn(cluster: &Cluster, by: u16, ranges: &[(u16, u16, u16)]) {
    cluster.turn(Duration::ZERO).await.unwrap().end(vec![view_of(by, ranges, 1)]);
}

async fn asked_next(cluster: &Cluster) -> Vec<u16> {
    let turn = cluster.turn(Duration::ZERO).await.unwrap();
    turn.nodes().iter().map(|node| node.port).collect()
}

async fn is_over(waiting: impl Future<Output = Instant>) -> bool {
    tokio::select! {
        biased;
        _ = waiting => true,
        () = std::future::ready(()) => false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_sends_us_elsewhere_is_believed_for_two_seconds_whatever_others_say() {
    let cluster = cluster();
    cluster.learn("MOVED 7 127.0.0.1:2");
    assert_eq!(cluster.primary(7), Some(node(2)));
    assert_eq!(cluster.primary(8), Some(node(1)));
    learn(&cluster, 1, &HALVES).await;
    assert_eq!(cluster.primary(7), Some(node(2)), "node 1 has not heard of it yet");
    tokio::time::advance(Cluster::REDIRECT_LASTS).await;
    learn(&cluster, 1, &HALVES).await;
    assert_eq!(cluster.primary(7), Some(node(1)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_to_a_node_that_lost_its_slot_is_notified_also_after_a_single_redirect() {
    let cluster = cluster();
    let (one, two) = (node(1), node(2));
    assert!(!is_over(cluster.left(7, &one)).await);
    cluster.learn("MOVED 7 127.0.0.1:2");
    assert!(is_over(cluster.left(7, &one)).await);
    let at_two = cluster.left(7, &two);
    let mut at_two = std::pin::pin!(at_two);
    assert!(!is_over(at_two.as_mut()).await);
    tokio::time::advance(Cluster::REDIRECT_LASTS).await;
    learn(&cluster, 1, &HALVES).await;
    assert!(is_over(at_two).await, "what was heard has turned out to be wrong");
}

#[tokio::test(start_paused = true)]
async fn only_a_complete_moved_reply_is_learned() {
    let cluster = cluster();
    for answer in [
        "ASK 7 127.0.0.1:2",
        "MOVED",
        "MOVED 7",
        "MOVED x 127.0.0.1:2",
        "MOVED 7 127.0.0.1",
        "MOVED 7 :2",
        "MOVED 7 ?:2",
    ] {
        cluster.learn(answer);
        assert_eq!(cluster.primary(7), Some(node(1)), "{answer}");
    }
    cluster.learn("MOVED 7 ::1:2");
    assert_eq!(cluster.primary(7), Some(Node { host: "::1".to_owned(), port: 2 }));
}

#[tokio::test(start_paused = true)]
async fn one_request_serves_all_and_the_node_that_answered_is_asked_first_next_time() {
    let cluster = cluster();
    assert!(cluster.turn(Cluster::FRESH).await.is_none(), "it was just made");
    tokio::time::advance(Cluster::FRESH).await;
    let turn = cluster.turn(Cluster::FRESH).await.unwrap();
    turn.end(vec![view_of(2, &HALVES, 1)]);
    assert!(cluster.turn(Cluster::FRESH).await.is_none());
    assert_eq!(asked_next(&cluster).await, [2, 1]);
    learn(&cluster, 9, &HALVES).await;
    assert_eq!(asked_next(&cluster).await, [1, 2], "node 9 is no part of what it tells");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_have_left_are_asked_last_and_their_connections_are_notified() {
    let cluster = cluster();
    let one = node(1);
    learn(&cluster, 3, &[(0, 16_383, 3)]).await;
    assert_eq!(asked_next(&cluster).await, [3, 1, 2]);
    assert!(is_over(cluster.gone(&one)).await);
    assert!(!is_over(cluster.gone(&node(3))).await);
    learn(&cluster, 1, &HALVES).await;
    assert_eq!(asked_next(&cluster).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_is_avoided_for_a_while_where_others_can() {
    let cluster = cluster();
    assert_eq!(cluster.any(7), Some(node(1)));
    cluster.suspect(&node(1));
    assert_eq!(cluster.any(7), Some(node(2)));
    learn(&cluster, 2, &HALVES).await;
    assert_eq!(cluster.any(7), Some(node(2)), "also by a new map");
    cluster.suspect(&node(2));
    assert_eq!(cluster.any(7), Some(node(1)), "nobody else is left");
    tokio::time::advance(Cluster::AVOIDED).await;
    assert_eq!((cluster.any(7), cluster.any(16_383)), (Some(node(1)), Some(node(2))));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_missed_a_failover_is_not_believed_and_the_time_before_it_is_known() {
    let cluster = cluster();
    tokio::time::advance(Duration::from_secs(3)).await;
    learn(&cluster, 1, &HALVES).await;
    let before = Instant::now();
    tokio::time::advance(Duration::from_secs(3)).await;
    let failed_over = [(0, 8191, 3), (8192, 16_383, 2)];
    let turn = cluster.turn(Duration::ZERO).await.unwrap();
    assert!(turn.is_sound(&view_of(1, &HALVES, 1)), "nobody knows of another epoch yet");
    turn.end(vec![view_of(1, &HALVES, 1), view_of(2, &failed_over, 2)]);
    assert_eq!(cluster.primary(7), Some(node(3)), "who has heard of more is believed");
    assert_eq!(cluster.left(7, &node(1)).await, before);
    tokio::time::advance(Duration::from_secs(3)).await;
    let turn = cluster.turn(Duration::ZERO).await.unwrap();
    assert!(!turn.is_sound(&view_of(1, &HALVES, 1)));
    turn.end(vec![view_of(1, &HALVES, 1), view_of(2, &failed_over, 2)]);
    assert_eq!(cluster.primary(7), Some(node(3)));
    assert_eq!(cluster.left(7, &node(1)).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_worse_map_does_not_replace_a_better_one_unless_nobody_has_a_better_one_for_long() {
    let cluster = cluster();
    let failed_over = [(0, 8191, 3), (8192, 16_383, 2)];
    cluster.turn(Duration::ZERO).await.unwrap().end(vec![view_of(2, &failed_over, 2)]);
    // The other nodes are slow to answer now.
    cluster.turn(Duration::ZERO).await.unwrap().end(vec![view_of(1, &HALVES, 1)]);
    assert_eq!(cluster.primary(7), Some(node(3)));
    tokio::time::advance(Cluster::SOUND_MAP_LASTS).await;
    cluster.turn(Duration::ZERO).await.unwrap().end(vec![view_of(1, &HALVES, 1)]);
    assert_eq!(cluster.primary(7), Some(node(1)), "the cluster was made anew");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_cannot_be_reached_are_asked_last() {
    let cluster = cluster();
    cluster.suspect(&node(1));
    assert_eq!(asked_next(&cluster).await, [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_known_map_stays_while_no_node_answers() {
    let cluster = cluster();
    cluster.turn(Duration::ZERO).await.unwrap().end(Vec::new());
    assert_eq!(cluster.primary(16_383), Some(node(2)));
    assert_eq!(cluster.unserved(), None);
}

#[tokio::test(start_paused = true)]
async fn slots_that_no_node_has_are_named() {
    let cluster = Cluster::new(view_of(1, &[(0, 99, 1), (110, 16_382, 2)], 1));
    assert_eq!(cluster.unserved().as_deref(), Some("100-109,16383"));
    assert_eq!(cluster.primary(105), None);
    assert!(!is_over(cluster.left(105, &node(1))).await, "nobody else has it");
}
