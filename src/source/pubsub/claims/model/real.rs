//! The steps of a story with the real scripts, on a real server.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Value, cmd};

use super::stored::{Answer, Epoch, Extent, Position, Report, Runs, Segment, Share, Step, Stored};
use super::world::{Checked, Entry};

const PRELUDE: &str = include_str!("../lua/prelude.lua");
const SEGMENTS: &str = "segments";
const RUNS: &str = "runs";
const CLAIMS: &str = "claims";
const CALLS: &str = "calls";
const DONE: &str = "done";
const OUTPUT: &str = "output";

/// Replays what happened to the stored state of a story: each answer and each state must be the same.
pub(super) async fn replay(connection: &mut MultiplexedConnection, journal: &[Entry]) -> Checked {
    let () = cmd("FLUSHDB").query_async(connection).await.unwrap();
    let mut replica = Vec::new();
    for entry in journal {
        match entry {
            Entry::Replicate => replica = dump(connection).await,
            Entry::Failover => restore(connection, &replica).await,
            Entry::Step(epoch, step, answer, stored) => {
                let real = take(connection, *epoch, step).await;
                if real != *answer {
                    return Err(format!("{step:?} of {epoch} answers {real:?}, and not {answer:?}"));
                }
                let real = read(connection).await;
                if real != **stored {
                    return Err(format!("after {step:?} of {epoch}: {real:#?}, and not {stored:#?}"));
                }
            }
        }
    }
    Ok(())
}

async fn take(connection: &mut MultiplexedConnection, epoch: Epoch, step: &Step) -> Answer {
    let (own, member) = (token(epoch), epoch.to_string());
    let text = match step {
        Step::Join(former, runs) => {
            let former = former.map(|former| former.to_string()).unwrap_or_default();
            let other = format!("token:{former}");
            let keys = [&own, SEGMENTS, RUNS, CLAIMS, CALLS, DONE, &other];
            let runs = texts_of_runs(runs);
            let arguments = [&*member, &former, &runs];
            let mut done: Vec<Segment> =
                eval(connection, include_str!("../lua/join.lua"), &keys, &arguments).await;
            done.sort_unstable();
            return Answer::Joined(done);
        }
        Step::Open(segment) => {
            let arguments = [&segment.to_string(), "markers"];
            eval(connection, include_str!("../lua/open.lua"), &[&own, SEGMENTS], &arguments).await
        }
        Step::Report(Report { number, runs, ends }) => {
            let ends: Vec<_> = ends.iter().map(|(segment, end)| format!("{segment}:{end}")).collect();
            let arguments = [&member, &number.to_string(), &texts_of_runs(runs), &ends.join(" ")];
            let keys = [&own, SEGMENTS, RUNS, CLAIMS, CALLS];
            eval(connection, include_str!("../lua/report.lua"), &keys, &arguments.map(|text| text.as_str()))
                .await
        }
        Step::Claim(number) => {
            let keys = [&own, SEGMENTS, RUNS, CLAIMS, CALLS];
            let arguments = [&member, &number.to_string(), "1"];
            let given: Option<String> =
                eval(connection, include_str!("../lua/claim.lua"), &keys, &arguments).await;
            return given.map_or(Answer::Over, |given| Answer::Given(positions(&given).pop_first()));
        }
        Step::Commit(records) => {
            let at: Vec<_> =
                records.keys().map(|(segment, at)| format!("{segment}:{at}-{}", at + 1)).collect();
            let mut arguments = vec![member, at.join(" ")];
            arguments.extend(records.values().map(ToString::to_string));
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            eval(connection, include_str!("commit.lua"), &[&own, CLAIMS, OUTPUT], &arguments).await
        }
        Step::FenceOff(dead) => {
            let keys = [&own, &token(*dead), RUNS, CLAIMS, CALLS];
            eval(connection, include_str!("../lua/fence_off.lua"), &keys, &[&dead.to_string()]).await
        }
        Step::Settle => {
            let keys = [SEGMENTS, RUNS, CLAIMS, DONE];
            let _: u64 = eval(connection, include_str!("../lua/settle.lua"), &keys, &["0"]).await;
            return Answer::Done;
        }
        Step::GiveUp => {
            let script = include_str!("../lua/give_up.lua");
            let lost: String = eval(connection, script, &[SEGMENTS, RUNS, CLAIMS], &[]).await;
            return Answer::Lost(positions(&lost).into_iter().collect());
        }
    };
    let text: String = text;
    match &*text {
        "over" => Answer::Over,
        "done" | "0" => Answer::Done,
        _ => unreachable!("{step:?}: {text}"),
    }
}

/// The whole state.
async fn read(connection: &mut MultiplexedConnection) -> Stored {
    type Hash = BTreeMap<String, String>;
    let mut all = redis::pipe();
    for hash in [SEGMENTS, RUNS, CLAIMS, CALLS] {
        all.cmd("HGETALL").arg(hash);
    }
    all.cmd("ZRANGE").arg(DONE).arg(0).arg(-1).cmd("SMEMBERS").arg(OUTPUT).cmd("KEYS").arg("token:*");
    let (segments, runs, mut claims, calls, done, output, tokens): (
        Hash,
        Hash,
        Hash,
        Hash,
        BTreeSet<Segment>,
        BTreeSet<u8>,
        Vec<String>,
    ) = all.query_async(connection).await.unwrap();
    let extent = |text: &String| {
        let mut numbers = text.split(' ').map(|number| number.parse().unwrap());
        Extent { frontier: numbers.next().unwrap(), end: numbers.next() }
    };
    let free = claims.remove("free").unwrap_or_default();
    let share = |member: &str| {
        let calls: Vec<_> = calls[member].splitn(3, ' ').collect();
        let given = positions(calls[2]).pop_first();
        Share {
            claimed: positions(claims.get(member).map_or("", String::as_str)),
            runs: ranges(runs.get(member).map_or("", String::as_str)).map(|(s, _, to)| (s, to)).collect(),
            reported: calls[0].parse().unwrap(),
            last: (calls[1].parse().unwrap(), given),
        }
    };
    let members = tokens.iter().map(|token| {
        let member = token.strip_prefix("token:").unwrap();
        (member.parse().unwrap(), share(member))
    });
    Stored {
        segments: segments.iter().map(|(segment, text)| (segment.parse().unwrap(), extent(text))).collect(),
        done,
        members: members.collect(),
        free: positions(&free),
        output,
    }
}

/// All keys and their contents.
async fn dump(connection: &mut MultiplexedConnection) -> Vec<(String, Vec<u8>)> {
    let keys: Vec<String> = cmd("KEYS").arg("*").query_async(connection).await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        let content = cmd("DUMP").arg(&key).query_async(connection).await.unwrap();
        all.push((key, content));
    }
    all
}

async fn restore(connection: &mut MultiplexedConnection, all: &[(String, Vec<u8>)]) {
    let mut pipe = redis::pipe();
    pipe.cmd("FLUSHDB");
    for (key, content) in all {
        pipe.cmd("RESTORE").arg(key).arg(0).arg(content);
    }
    let _: Value = pipe.query_async(connection).await.unwrap();
}

async fn eval<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    script: &str,
    keys: &[&str],
    arguments: &[&str],
) -> T {
    let mut eval = cmd("EVAL");
    eval.arg(format!("{PRELUDE}{script}")).arg(keys.len()).arg(keys).arg(arguments);
    eval.query_async(connection).await.unwrap_or_else(|error| panic!("{error}: {script}"))
}

fn token(epoch: Epoch) -> String {
    format!("token:{epoch}")
}

fn texts_of_runs(runs: &Runs) -> String {
    let text = |(segment, upto): (&Segment, &Option<u8>)| {
        format!("{segment}:0-{}", upto.map(|upto| upto.to_string()).unwrap_or_default())
    };
    runs.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn ranges(text: &str) -> impl Iterator<Item = (Segment, u8, Option<u8>)> {
    text.split_whitespace().map(|range| {
        let (segment, range) = range.split_once(':').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        (segment.parse().unwrap(), from.parse().unwrap(), to.parse().ok())
    })
}

fn positions(text: &str) -> BTreeSet<Position> {
    ranges(text)
        .flat_map(|(segment, from, to)| (from..to.unwrap_or(from)).map(move |at| (segment, at)))
        .collect()
}
