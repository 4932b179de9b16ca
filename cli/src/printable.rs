//! Texts of others, as a terminal and a log can take them.

/// The text with an escape for each character that is not plain to see: `\n`, `\u{1b}`.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, &[])
}

/// The same for a text of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    escaped(text, &['\n'])
}

fn escaped(text: &str, but: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        // These three are plain to see, and stand in the texts of errors.
        if but.contains(&char) || matches!(char, '\'' | '"' | '\\') {
            escaped.push(char);
        } else {
            escaped.extend(char.escape_debug());
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_is_escaped_and_what_can_be_read_is_not() {
        assert_eq!(printable("it's \"a\\b\" für 日本 …"), "it's \"a\\b\" für 日本 …");
        assert_eq!(printable("\u{1b}[2Jx\r\ny\u{9b}\u{202e}"), "\\u{1b}[2Jx\\r\\ny\\u{9b}\\u{202e}");
        assert_eq!(printable_lines("one\n\ttwo"), "one\n\\ttwo");
    }
}
