//! Escapes texts from outside for a terminal or a log.

/// The text with an escape for each character that is not printable: `\n`, `\u{1b}`.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, &[])
}

/// Like [`printable`], but keeps line feeds.
pub(crate) fn printable_lines(text: &str) -> String {
    escaped(text, &['\n'])
}

fn escaped(text: &str, but: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        // `escape_debug` would escape these three, but they are printable and occur in error texts.
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
    fn control_characters_are_escaped_and_readable_text_is_not() {
        assert_eq!(printable("it's \"a\\b\" für 日本 …"), "it's \"a\\b\" für 日本 …");
        assert_eq!(printable("\u{1b}[2Jx\r\ny\u{9b}\u{202e}"), "\\u{1b}[2Jx\\r\\ny\\u{9b}\\u{202e}");
        assert_eq!(printable_lines("one\n\ttwo"), "one\n\\ttwo");
    }
}
