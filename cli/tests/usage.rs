//! The errors for a wrong command line, variable or file. They need no server.

mod support;

use std::process::Stdio;

use support::{file, program, run};

#[test]
fn a_wrong_flag_is_a_usage_error_that_names_it() {
    for (args, said) in [
        (["--consumers", "many"], r#"error: --consumers: "many" is not a valid number (for example 4)"#),
        (["--consumers", "0"], "error: --consumers: 0 consumers is out of range; use 1 to 10000"),
        (["--buffer", "big"], r#"error: --buffer: "big" is not a size"#),
        (["--report-every", "3"], r#"error: --report-every: "3" is not a duration (for example 3s, 250ms)"#),
        (["--report-every", "0s"], "error: --report-every: 0s is too short; use 10ms or more"),
        (["--overflow", "explode"], "error: invalid value 'explode' for '--overflow <WORD>'"),
        (["--redis-addr", "redis://h"], "error: --redis-addr: the address is not of the form HOST:PORT"),
        (["--log", "loud"], r#"error: --log: "loud" is not a log level"#),
        (["--json=perhaps", "--quiet"], r#"error: --json: "perhaps" is not true or false"#),
    ] {
        let end = run(&mut program(&args));
        assert_eq!(end.code, 2, "{args:?}: {}", end.stderr);
        assert!(end.stderr.starts_with(said), "{args:?}: {}", end.stderr);
        assert!(end.stdout.is_empty());
    }
}

#[test]
fn a_wrong_variable_is_a_configuration_error_that_names_it() {
    for (name, value, said) in [
        ("RCG_CONSUMERS", "many", r#"error: RCG_CONSUMERS: "many" is not a valid number"#),
        ("RCG_CONSUMERS", "0", "error: RCG_CONSUMERS: 0 consumers is out of range"),
        ("RCG_OVERFLOW", "explode", r#"error: RCG_OVERFLOW: "explode" is not one of drop, wait"#),
        ("RCG_TLS_CERT", "our.pem", "error: RCG_TLS_CERT: a certificate and its key go together"),
        ("RCG_URL", "http://h", r#"error: RCG_URL: the URL's scheme "http" is not one of Redis"#),
        ("REDIS_URL", "http://h", "error: REDIS_URL: the URL's scheme"),
        ("RCG_LOG", "loud", "error: RCG_LOG: "),
    ] {
        let end = run(program(&[]).env(name, value));
        assert_eq!(end.code, 78, "{name}={value}: {}", end.stderr);
        assert!(end.stderr.starts_with(said), "{name}={value}: {}", end.stderr);
    }
}

#[test]
fn every_subcommand_that_reads_variables_warns_of_an_unknown_one() {
    for args in [&["publish", "hello"][..], &["load", "--count", "1"], &["ids"], &["ids", "clear"]] {
        let end = run(program(args).args(["--url", "redis://127.0.0.1:0"]).env("RCG_REDIS_ADR", "h:1"));
        assert_eq!(end.code, 2, "{args:?}: {}", end.stderr);
        let said = "warning: RCG_REDIS_ADR: unknown variable, ignored; did you mean RCG_";
        assert!(end.stderr.starts_with(said), "{args:?}: {}", end.stderr);
    }
}

#[test]
fn a_wrong_value_in_the_file_is_reported_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "group.toml", "# our group\nbuffer = '64KiB'\nconsumers = 'many'\n");
    let end = run(program(&["--config", "group.toml"]).current_dir(&folder));
    assert_eq!(end.code, 78);
    assert!(
        end.stderr.starts_with(r#"error: group.toml, line 3: consumers: "many" is not a valid number"#),
        "{}",
        end.stderr
    );
}

#[test]
fn an_unknown_key_in_the_file_is_reported_with_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "group.toml", "\nredis_addr = 'localhost:6379'\n");
    let end = run(program(&["run"]).env("RCG_CONFIG", "group.toml").current_dir(&folder));
    assert_eq!(end.code, 78);
    assert_eq!(
        end.stderr,
        "error: group.toml, line 2: redis_addr: unknown option; did you mean redis-addr?\n"
    );
}

#[test]
fn a_wrong_value_that_a_higher_layer_overrides_is_not_an_error() {
    let end = run(program(&["--consumers", "3", "--input", ""]).env("RCG_CONSUMERS", "many"));
    assert!(end.stderr.starts_with("error: --input: the name is empty"), "{}", end.stderr);
}

#[test]
fn a_missing_file_is_a_configuration_error_reported_once() {
    for flag in ["--config", "--password-file"] {
        let end = run(&mut program(&[flag, "no-such-file"]));
        assert_eq!(end.code, 78);
        assert!(end.stderr.contains("cannot read no-such-file: "), "{}", end.stderr);
        assert_eq!(end.stderr.matches("os error").count(), 1, "{}", end.stderr);
    }
}

#[test]
fn a_layer_that_names_the_server_twice_is_an_error() {
    let end = run(&mut program(&["--url", "redis://a", "--redis-addr", "b:1"]));
    assert_eq!(end.code, 2);
    assert_eq!(end.stderr, "error: --redis-addr: the server is already given by --url; use one of the two\n");
    let end = run(program(&[]).env("RCG_URL", "redis://a").env("RCG_REDIS_ADDR", "b:1"));
    assert_eq!(end.code, 78);
}

#[test]
fn the_program_without_a_subcommand_is_run() {
    let args = ["--consumers", "0"];
    let [plain, named] = [&args[..], &["run", args[0], args[1]]].map(|args| run(&mut program(args)));
    assert_eq!((plain.code, &plain.stderr), (named.code, &named.stderr));
    let mixed = run(&mut program(&["--consumers", "2", "ids"]));
    assert_eq!(mixed.code, 2, "flags of run stand behind it or alone: {}", mixed.stderr);
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let end = run(&mut program(&["completions", shell]));
        assert_eq!(end.code, 0);
        assert!(end.stdout.contains("report-every"), "{shell}");
    }
    let page = run(&mut program(&["man"]));
    assert_eq!(page.code, 0);
    assert!(page.stdout.contains(".TH redis-consumer-group 1"));
}

#[test]
fn a_closed_stdout_or_stderr_causes_no_panic() {
    for args in [&["--help"][..], &["man"], &["completions", "bash"], &["--consumers", "0"]] {
        let mut child = program(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        // The exit code of a panic would be 101.
        assert!(matches!(child.wait().unwrap().code(), Some(0 | 2)), "{args:?}");
    }
}

#[test]
fn several_servers_are_not_a_url_and_the_error_says_what_to_write() {
    let end = run(&mut program(&["--url", "redis://a:1,b:2"]));
    assert_eq!(end.code, 2, "{}", end.stderr);
    assert!(
        end.stderr.contains("in a cluster, any node") && end.stderr.contains("redis+sentinel://"),
        "{}",
        end.stderr
    );
}

#[test]
fn a_stdout_that_is_closed_early_is_not_an_error_and_a_full_disk_is() {
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let end = program(&["man"]).stdout(closed).output().unwrap();
    assert_eq!((end.status.code(), end.stderr.len()), (Some(0), 0));
    // Only Linux has a device that is always full.
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let end = program(&["man"]).stdout(full).output().unwrap();
    assert_eq!(end.status.code(), Some(1));
    assert!(end.stderr.starts_with(b"error: cannot write to stdout: "), "{:?}", end.stderr.escape_ascii());
}
