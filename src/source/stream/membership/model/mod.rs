//! Tests the group against a model: whatever happens to its processes, every entry ends up in the output once.
//!
//! Random stories are played with the real membership, reader, scripts and lanes on a real server. They do not depend
//! on time: leases lapse and requests arrive late when the story says so. So a failing story fails again, and is
//! shortened to the commands that matter.
//!
//! | file | |
//! |---|---|
//! | `command` | the commands of a story |
//! | `world` | executes them, and checks the invariants |
//! | `process` | one process |
//! | `wire` | its connections, which lose and delay requests on demand |

mod command;
mod process;
mod seen;
mod wire;
mod world;

use std::cell::Cell;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use redis::aio::MultiplexedConnection;
use redis_private_server::PrivateServer;
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

use self::command::{Command, Conditions, FAIR, Story, story};
use self::wire::{Trouble, Which};
use self::world::World;

/// A server for stories, played one after the other.
struct Stage {
    runtime: Runtime,
    server: PrivateServer,
    /// Contains the sockets of the wires.
    folder: TempDir,
    eye: MultiplexedConnection,
    /// The number of stories played. Part of all keys, so that no story uses those of another one.
    played: Cell<u32>,
}

impl Stage {
    fn new() -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(PrivateServer::builder().start());
        let server = server.unwrap_or_else(|error| panic!("{error}"));
        let folder = tempfile::tempdir().unwrap();
        let client = redis::Client::open(server.unix_url()).unwrap();
        let eye = runtime.block_on(client.get_multiplexed_async_connection()).unwrap();
        Self { runtime, server, folder, eye, played: Cell::new(0) }
    }

    fn play(&self, story: &Story) -> Result<(), TestCaseError> {
        self.played.set(self.played.get() + 1);
        self.runtime.block_on(async {
            let mut eye = self.eye.clone();
            redis::cmd("FLUSHDB").query_async::<()>(&mut eye).await.unwrap();
            let name = self.played.get();
            let mut world = World::new(eye, self.server.socket(), self.folder.path(), story, name).await;
            for command in &story.commands {
                world.run(command).await?;
            }
            world.end(story.survivor).await
        })
    }
}

#[test]
fn every_entry_of_an_input_ends_in_the_output_once_whatever_happens_to_whom() {
    let stage = Stage::new();
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    match TestRunner::new(config).run(&story(), |story| stage.play(&story)) {
        Ok(()) => {}
        Err(TestError::Fail(why, story)) => panic!("{why}\n{story}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_epoch_that_is_over_is_not_brought_back_by_a_request_that_arrives_late() {
    play_one(vec![
        Command::Append(1),
        Command::BeginNext { who: 0, conditions: bad(Trouble::Late(None)) },
        Command::Read { who: 0, most: 1, conditions: FAIR },
        Command::Lapse { who: 0, unlisted: false },
        // Takes over from the former epoch, and then from this one.
        Command::Claim { who: 1, most: 1 },
        Command::Claim { who: 1, most: 1 },
        Command::Deliver,
        Command::Commit { who: 0, lane: 0, most: 1, conditions: FAIR },
    ]);
}

#[test]
fn entries_that_were_taken_over_are_not_mistaken_for_entries_lost_in_transit() {
    play_one(vec![
        Command::Append(1),
        Command::Read { who: 0, most: 1, conditions: FAIR },
        Command::Lapse { who: 0, unlisted: false },
        Command::Claim { who: 1, most: 1 },
        Command::Append(1),
        Command::Read { who: 1, most: 1, conditions: bad(Trouble::LostAnswer) },
        Command::TakeOver { who: 1, most: 1, conditions: FAIR },
        Command::Commit { who: 1, lane: 0, most: 1, conditions: FAIR },
    ]);
}

#[test]
fn a_read_that_arrives_late_hands_entries_to_nobody() {
    play_one(vec![
        Command::Append(1),
        Command::Read { who: 1, most: 1, conditions: FAIR },
        Command::Append(1),
        Command::Read { who: 1, most: 1, conditions: bad(Trouble::Late(None)) },
        // Asks again for entries whose answer may have been lost.
        Command::TakeOver { who: 1, most: 1, conditions: FAIR },
        Command::Deliver,
    ]);
}

/// The trouble happens to the first exchange.
fn bad(trouble: Trouble) -> Conditions {
    Conditions { strike: Some((Which::After(0), trouble)), deadly: false }
}

/// Plays a story of two processes. The second one takes over everything.
fn play_one(commands: Vec<Command>) {
    let story = Story { processes: 2, commands, survivor: 1 };
    if let Err(why) = Stage::new().play(&story) {
        panic!("{why}\n{story}");
    }
}
