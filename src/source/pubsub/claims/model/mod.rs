//! The protocol as a state machine, and stories that try it.
//!
//! | file | |
//! |---|---|
//! | `stored` | what is stored, and the scripts |
//! | `member` | what a member knows |
//! | `event` | what may happen |
//! | `world` | lets it happen, and checks the promises |
//! | `real` | the same steps with the real scripts |

mod event;
mod member;
mod real;
mod stored;
mod world;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use redis_private_server::PrivateServer;

use self::event::Left;
use self::world::{Checked, Entry, World};

/// A mistake in the protocol that a story has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    NothingIsFenced,
    ClaimsOfTheDeadStay,
    ClaimsAreGivenTwice,
    ClaimsAreNotRepeated,
    LostAnswersAreNotRecognized,
    CountsOnAfterACut,
    CutsAreNotReported,
    MarkersOfOthersAreIgnored,
    LateReportsCount,
    VainClaimsStay,
    DoneIsForgotten,
    NothingIsKnownAgain,
    EpochsOutliveTheirServer,
    GivesUpTooEarly,
}

const MUTATIONS: [Mutation; 14] = [
    Mutation::NothingIsFenced,
    Mutation::ClaimsOfTheDeadStay,
    Mutation::ClaimsAreGivenTwice,
    Mutation::ClaimsAreNotRepeated,
    Mutation::LostAnswersAreNotRecognized,
    Mutation::CountsOnAfterACut,
    Mutation::CutsAreNotReported,
    Mutation::MarkersOfOthersAreIgnored,
    Mutation::LateReportsCount,
    Mutation::VainClaimsStay,
    Mutation::DoneIsForgotten,
    Mutation::NothingIsKnownAgain,
    Mutation::EpochsOutliveTheirServer,
    Mutation::GivesUpTooEarly,
];

const MANY: Left =
    Left { messages: 4, subscriptions: 6, cuts: 2, deaths: 1, errors: 2, lost_answers: 2, failovers: 2 };
const EVENTS: usize = 80;

/// A random story of three members. It is the same for the same seed.
fn play(seed: u64, with: Mutation) -> Checked {
    tell(World::new(3, MANY), seed, with).map(drop)
}

/// What happened to the stored state in this story.
fn journal(seed: u64) -> Vec<Entry> {
    let mut world = World::new(3, MANY);
    world.journal = Some(Vec::new());
    let told = tell(world, seed, Mutation::None).unwrap_or_else(|broken| panic!("{broken}"));
    told.journal.unwrap_or_default()
}

/// Lets random events happen. Returns the world after them.
fn tell(mut world: World, seed: u64, with: Mutation) -> Result<World, String> {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut random = |below: usize| {
        for (left, shift) in [(true, 13), (false, 7), (true, 17)] {
            state ^= if left { state << shift } else { state >> shift };
        }
        (state % below as u64) as usize
    };
    let mut story = Vec::new();
    let told = |broken: String, story: &[_]| format!("story {seed}: {broken}: {story:?}");
    for number in 1..=EVENTS {
        let events = world.events(with);
        if events.is_empty() {
            break;
        }
        let event = events[random(events.len())];
        story.push(event);
        world.happens(event, with).map_err(|broken| told(broken, &story))?;
        if number % 10 == 0 {
            world.clone().must_settle(with).map_err(|broken| told(broken, &story))?;
        }
    }
    let end = world.clone();
    world.must_settle(with).map_err(|broken| told(broken, &story))?;
    Ok(end)
}

/// Plays every story of two members. Returns how many states there are.
fn play_all(left: Left) -> Result<usize, String> {
    let hash = |world: &World| {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        hasher.finish()
    };
    let first = World::new(2, left);
    let mut seen = HashSet::from([hash(&first)]);
    let mut next = vec![first];
    while let Some(world) = next.pop() {
        for event in world.events(Mutation::None) {
            let mut after = world.clone();
            after
                .happens(event, Mutation::None)
                .map_err(|broken| format!("{broken}: {world:?}, {event:?}"))?;
            if seen.insert(hash(&after)) {
                after.clone().must_settle(Mutation::None).map_err(|broken| format!("{broken}: {after:?}"))?;
                next.push(after);
            }
        }
    }
    Ok(seen.len())
}

fn all_end_well(left: Left) -> usize {
    play_all(left).unwrap_or_else(|broken| panic!("{left:?}: {broken}"))
}

fn the_first_end_well(stories: u64) {
    for seed in 0..stories {
        play(seed, Mutation::None).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

const STORIES: u64 = 1_000;
/// Stories that are played with the real scripts.
const SCRIPTED: u64 = 100;
const ONE_MESSAGE: Left =
    Left { messages: 1, subscriptions: 2, cuts: 0, deaths: 0, errors: 0, lost_answers: 0, failovers: 0 };

#[test]
fn each_message_that_a_member_has_is_appended_once_in_every_story() {
    the_first_end_well(STORIES);
}

#[test]
fn with_two_members_of_whom_one_may_die_each_order_of_events_ends_well() {
    let states = all_end_well(Left { deaths: 1, ..ONE_MESSAGE });
    assert!(states > 10_000, "{states}");
}

#[tokio::test]
async fn the_scripts_do_what_the_model_does() {
    let server = PrivateServer::builder().start().await.unwrap();
    let client = redis::Client::open(server.unix_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for seed in 0..SCRIPTED {
        let replayed = real::replay(&mut connection, &journal(seed)).await;
        replayed.unwrap_or_else(|differs| panic!("story {seed}: {differs}"));
    }
}

#[test]
fn every_mistake_in_the_protocol_breaks_a_story() {
    for mutation in MUTATIONS {
        assert!((0..5 * STORIES).any(|seed| play(seed, mutation).is_err()), "{mutation:?} is not noticed");
    }
}

mod long {
    use super::*;

    #[test]
    #[ignore = "takes minutes"]
    fn many_more_stories_end_well() {
        // A million with `--release`.
        the_first_end_well(if cfg!(debug_assertions) { 20 } else { 1_000 } * STORIES);
        all_end_well(Left { errors: 1, ..ONE_MESSAGE });
        all_end_well(Left { cuts: 1, ..ONE_MESSAGE });
        all_end_well(Left { lost_answers: 1, ..ONE_MESSAGE });
        all_end_well(Left { failovers: 1, ..ONE_MESSAGE });
        all_end_well(Left { messages: 2, deaths: 1, ..ONE_MESSAGE });
    }
}
