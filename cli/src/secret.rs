//! Masks credentials in texts that repeat user input.

/// Replaces the credentials of URLs by `…`. Otherwise an error about a URL in the wrong place, on the command line or
/// in a file, would show its password.
///
/// A password that was not escaped may contain any character, also white space. So everything from the first `://` to
/// the last `@` is masked, and everything after the `?` of a unix socket: rather too much than part of a password.
pub(crate) fn without_credentials(text: &str) -> String {
    const UNIX: &str = "unix://";
    // The credentials of a unix socket are parameters.
    let parameters = text.find(UNIX).and_then(|unix| Some(unix + text[unix..].find('?')?));
    let (text, end) = match parameters {
        Some(at) => (&text[..at], "?…"),
        None => (text, ""),
    };
    let mut starts = text.match_indices("://").map(|(at, mark)| at + mark.len());
    let start = starts.find(|start| !text[..*start].ends_with(UNIX));
    // The last `@`: a password may contain one that was not escaped.
    match start.and_then(|start| Some((start, start + text[start..].rfind('@')?))) {
        Some((start, at)) => format!("{}…{}{end}", &text[..start], &text[at..]),
        None => format!("{text}{end}"),
    }
}

/// Like [`without_credentials`], but word by word, for texts that do not repeat user input: their addresses are already
/// masked, and the answer of a server may contain an `@`.
pub(crate) fn words_without_credentials(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| {
            let end = word.trim_end().len();
            without_credentials(&word[..end]) + &word[end..]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_loses_its_credentials_and_nothing_else() {
        for (text, expected) in [
            (
                "error: unknown 'redis://u:hu@sh@h:1/2'\n\nUsage: x\n",
                "error: unknown 'redis://…@h:1/2'\n\nUsage: x\n",
            ),
            ("see unix:///run/r.sock?pass=hush", "see unix:///run/r.sock?…"),
            ("'unix:///s?user=a&pass=h@sh'", "'unix:///s?…"),
            ("see redis://localhost:6379 for more", "see redis://localhost:6379 for more"),
            ("see unix:///run/a@b.sock for more", "see unix:///run/a@b.sock for more"),
            ("write to me@example.org?", "write to me@example.org?"),
        ] {
            assert_eq!(without_credentials(text), expected);
            assert_eq!(words_without_credentials(text), expected);
        }
    }

    #[test]
    fn a_password_with_white_space_goes_as_a_whole() {
        for (text, expected) in [
            ("'redis://u:pa ss@h:1' is no number", "'redis://…@h:1' is no number"),
            ("'redis://u:pa\nss @ h@h:1'", "'redis://…@h:1'"),
            ("'redis://a:x@h' or 'redis://b:y z@h'", "'redis://…@h'"),
            ("'unix:///s?pass=pa ss' is no number", "'unix:///s?…"),
            ("'redis://u:a b@h' or 'unix:///s?pass=c d'", "'redis://…@h' or 'unix:///s?…"),
        ] {
            assert_eq!(without_credentials(text), expected);
        }
    }

    #[test]
    fn the_answer_of_a_server_stays() {
        let text = "at redis://h:1: no permission script: 6fb8, on @user_script:1.; grant +eval";
        assert_eq!(words_without_credentials(text), text);
    }
}
