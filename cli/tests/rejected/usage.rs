//! Wrong options of `rejected replay`, and their exit codes.

use crate::support::{file, program, run};

#[test]
fn a_value_that_only_a_replay_refuses_has_the_exit_code_of_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "config.toml", "buffer = '64KiB'\n");
    // 4 shards share the buffer of a replay.
    let replay = || program(&["rejected", "replay", "--shards", "4"]);
    for (mut command, code, origin) in [
        (replay(), 2, "--buffer: "),
        (replay(), 78, "RCG_BUFFER: "),
        (replay(), 78, "config.toml, line 1: buffer: "),
    ] {
        match origin {
            "--buffer: " => command.args(["--buffer", "64KiB"]),
            "RCG_BUFFER: " => command.env("RCG_BUFFER", "64KiB"),
            _ => command.args(["--config", &config]),
        };
        let end = run(&mut command);
        assert_eq!(end.code, code, "{origin} {}", end.stderr);
        assert!(end.stderr.contains(origin) && end.stderr.contains("4 shards"), "{}", end.stderr);
    }
}
