//! The group against a model: whatever processes do and whatever happens to them, every entry ends in the output once.
//!
//! Random stories are played with the real steward, reader, scripts and lanes on a real server. Time plays no part in
//! them: leases lapse and requests arrive late when the story says so. So a story that fails, fails again, and is
//! shortened to what matters.
//!
//! | file | |
//! |---|---|
//! | `command` | what may happen |
//! | `world` | makes it happen, and knows what must be true |
//! | `process` | one process |
//! | `wire` | its connections, which lose and delay what they are told to |

mod command;
mod process;
mod wire;
mod world;

use std::cell::Cell;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use redis_private_server::PrivateServer;
use tokio::runtime;

use self::command::{Story, story};
use self::world::World;

#[test]
fn every_entry_ends_in_the_output_once_whatever_happens_to_whom() {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(PrivateServer::builder().start()).unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().unwrap();
    let client = redis::Client::open(server.unix_url()).unwrap();
    let eye = runtime.block_on(client.get_multiplexed_async_connection()).unwrap();
    let names = Cell::new(0);

    let play = async |story: Story| -> Result<(), TestCaseError> {
        names.set(names.get() + 1);
        let mut eye = eye.clone();
        redis::cmd("FLUSHDB").query_async::<()>(&mut eye).await.unwrap();
        let mut world = World::new(eye, server.socket(), folder.path(), &story, names.get()).await;
        for command in &story.commands {
            world.run(command).await?;
        }
        world.end(story.survivor).await
    };
    let config = Config { cases: 1000, failure_persistence: None, ..Config::default() };
    match TestRunner::new(config).run(&story(), |story| runtime.block_on(play(story))) {
        Ok(()) => {}
        Err(TestError::Fail(why, story)) => panic!("{why}\n{story}"),
        Err(error) => panic!("{error}"),
    }
}
