//! The ACL rules of the documentation, and the commands, keys and channels that a server refuses to their user.

use redis::cmd;

use super::Server;

/// The words of a rule in `docs/permissions.md`, after the user's name.
pub(crate) fn rule(name: &str) -> Vec<&'static str> {
    let page = include_str!("../../docs/permissions.md");
    let (_, rest) = page.split_once(&format!("<!-- {name} -->")).unwrap();
    let (block, _) = rest.split_once(&format!("<!-- /{name} -->")).unwrap();
    let lines = block.trim().strip_prefix("```text\n").unwrap().strip_suffix("```").unwrap().lines();
    lines.flat_map(|line| line.strip_prefix("ACL SETUSER group ").unwrap().split(' ')).collect()
}

/// Gives these words to the user of the rules.
pub(crate) async fn grant(server: &Server, words: &[&str]) {
    let mut command = cmd("ACL");
    command.arg("SETUSER").arg("group").arg(words);
    command.exec_async(&mut server.connection().await).await.unwrap();
}

/// What the server refused to the group's user: commands, keys and channels.
pub(crate) async fn refusals(server: &Server) -> Vec<String> {
    let log: Vec<std::collections::HashMap<String, redis::Value>> = server.run("ACL LOG").await;
    let text = |value: &redis::Value| redis::from_redis_value_ref::<String>(value).unwrap();
    log.iter().map(|entry| text(&entry["object"])).collect()
}
