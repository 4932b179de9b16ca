//! The page about rejected messages.

use crate::fixture::REJECTED;
use crate::support::redis::Redis;

#[test]
fn all_commands_of_the_page_succeed() {
    let page = include_str!("../../../docs/rejected.md");
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let commands: Vec<_> = blocks.flat_map(str::lines).collect();
    assert_eq!(commands.len(), 13);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut redis = Redis::start().await;
        for command in commands {
            redis.reject("{\"message_id\":\"a\"}", "no such customer");
            let by_group = ["error", "x", "consumer_id", "c", "source", "s"];
            let one = ["XADD", REJECTED, "1700000000000-0", "payload", "{}"];
            // An entry with this old id can only be added while the stream is empty.
            let _: redis::RedisResult<String> =
                redis::cmd("XADD").arg(&one[1..]).arg(&by_group).query(&mut redis.connection);
            let words = command.strip_prefix("redis-consumer-group rejected ").unwrap();
            let words: Vec<_> = match words.split_once(" '") {
                Some((words, quoted)) => words.split(' ').chain([quoted.trim_end_matches('\'')]).collect(),
                None => words.split(' ').collect(),
            };
            let end = redis.rejected(&words);
            assert_eq!(end.code, 0, "{command}: {}", end.stderr);
        }
    });
}
