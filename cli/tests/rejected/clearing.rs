//! `rejected clear`.

use crate::fixture::REJECTED;
use crate::support::Said;
use crate::support::redis::Redis;

#[tokio::test]
async fn nothing_is_cleared_without_yes_and_only_the_requested_entries_with_it() {
    let mut redis = Redis::start().await;
    let ids: Vec<_> = (0..10).map(|n| redis.reject(&n.to_string(), "bad")).collect();
    let refused = redis.rejected(&["clear"]);
    assert_eq!((refused.code, &*refused.stdout), (2, ""));
    assert_eq!(
        refused.stderr,
        "10 rejected messages would be removed from messages:rejected permanently. Nothing was removed: use --yes to \
         remove them.\n"
    );
    assert_eq!(redis.length(REJECTED), 10);

    let removed = |end: Said| {
        assert_eq!(end.code, 0, "{}", end.stderr);
        end.stdout
    };
    let one = redis.rejected(&["clear", "--yes", "--id", &ids[4], "--id", &ids[8], "--id", "1-1"]);
    assert_eq!(removed(one), "Removed 2 rejected messages from messages:rejected.\n");
    let older = redis.rejected(&["clear", "--yes", "--before", &ids[3]]);
    assert_eq!(removed(older), "Removed 3 rejected messages from messages:rejected.\n");
    let old = redis.rejected(&["clear", "--yes", "--before", "1h"]);
    assert_eq!((&*removed(old), redis.length(REJECTED)), ("", 5));
    let left: Vec<_> = redis.entries(REJECTED).into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [3, 5, 6, 7, 9].map(|n: usize| ids[n].clone()));
    assert_eq!(
        removed(redis.rejected(&["clear", "--yes"])),
        "Removed 5 rejected messages from messages:rejected.\n"
    );
    assert_eq!(redis.length(REJECTED), 0);
}
