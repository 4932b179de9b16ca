//! The syntax of RESP2: the line that begins every value, its errors, and how commands are written.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use crate::record::push_bulk;

/// A longer line is not from Redis, whose longest lines are errors that quote a command.
pub(crate) const MAX_LINE: usize = 64 * 1024;
/// More elements than any reply to our commands has.
pub(crate) const MAX_ARRAY: usize = 1 << 20;
/// Redis' default for `proto-max-bulk-len`.
pub(crate) const MAX_BULK: usize = 512 << 20;
/// The limit of nesting, which bounds the recursion in [`super::reply`]. Real replies nest three or four deep
/// (`XREADGROUP`).
pub(crate) const MAX_DEPTH: usize = 32;

/// The server sent something that RESP2 does not allow, or that no Redis sends. The rest of the input cannot be
/// parsed, so the connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(
        "expected {expected}, found \"{found}\"; check that the address is the port of a Redis server, with or \
         without TLS as in the URL"
    )]
    Malformed { expected: &'static str, found: String },
    #[error(
        "{what}: {size}, more than {limit}; check that the address is the port of a Redis server, and its \
         proto-max-bulk-len"
    )]
    TooLarge { what: &'static str, size: usize, limit: usize },
}

/// The first line of a value. For a bulk string or an array it holds the length (`None` for nil). The content follows
/// the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head<'a> {
    Status(&'a [u8]),
    Error(&'a [u8]),
    Int(i64),
    Bulk(Option<usize>),
    Array(Option<usize>),
}

/// The text of an error reply. A server quotes the arguments of a command that it does not know, and those of a login
/// have the password in them: they are left out.
pub(crate) fn error(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.split(", with args beginning with").next().unwrap_or_default().to_owned()
}

/// Reads the line at the front of `input`. Returns it with its length in bytes, CRLF included, or `None` until it is
/// complete. On the next call, `searched` may say how many bytes are known to hold no CRLF (not counting a final CR).
///
/// # Errors
///
/// If the line does not begin a value, or a length in it exceeds the limits of this module.
pub(crate) fn head(input: &[u8], searched: usize) -> Result<Option<(Head<'_>, usize)>, FrameError> {
    let Some(&kind) = input.first() else { return Ok(None) };
    // Pushes and maps are RESP3, which a subscriber may have switched to.
    if !b"+-:$*>%".contains(&kind) {
        return Err(malformed("one of + - : $ *", input));
    }
    let window = &input[..input.len().min(MAX_LINE + 2)];
    let Some(end) = line_end(window, searched) else {
        if window.len() == MAX_LINE + 2 {
            return Err(FrameError::TooLarge {
                what: "bytes in a line",
                size: window.len(),
                limit: MAX_LINE,
            });
        }
        return Ok(None);
    };
    let text = &input[1..end];
    let head = match kind {
        b'+' => Head::Status(text),
        b'-' => Head::Error(text),
        b':' => Head::Int(int(text)?),
        b'$' => Head::Bulk(length(text, "bytes in a bulk string", MAX_BULK)?),
        // A map has twice as many elements as pairs: keys and values.
        b'%' => Head::Array(length(text, "pairs in a map", MAX_ARRAY / 2)?.map(|pairs| pairs * 2)),
        _ => Head::Array(length(text, "elements in an array", MAX_ARRAY)?),
    };
    Ok(Some((head, end + 2)))
}

/// Checks that `input`, the bytes after the content of a bulk string, begins with CRLF. `None` until two bytes are
/// there.
pub(crate) fn bulk_end(input: &[u8]) -> Result<Option<()>, FrameError> {
    match input {
        [b'\r', b'\n', ..] => Ok(Some(())),
        [] | [_] => Ok(None),
        other => Err(malformed("CRLF after a bulk string", other)),
    }
}

/// Refuses an array inside `depth` others if that is too deep.
pub(crate) fn check_depth(depth: usize) -> Result<(), FrameError> {
    if depth < MAX_DEPTH {
        return Ok(());
    }
    Err(FrameError::TooLarge { what: "arrays inside each other", size: depth + 1, limit: MAX_DEPTH })
}

/// Begins an array of `n` elements.
pub(crate) fn array(out: &mut Vec<u8>, n: usize) {
    out.push(b'*');
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole command. The first of `args` is its name.
pub(crate) fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    array(out, args.len());
    for arg in args {
        push_bulk(out, arg);
    }
}

fn line_end(line: &[u8], searched: usize) -> Option<usize> {
    let from = searched.min(line.len());
    line[from..].windows(2).position(|pair| pair == b"\r\n").map(|at| from + at)
}

fn int(text: &[u8]) -> Result<i64, FrameError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("an integer", text))
}

/// Accepts only the spelling that Redis uses. `$07` is an error, so a message of ours cannot escape the scanner's byte
/// comparison through another spelling of its length.
fn length(text: &[u8], what: &'static str, limit: usize) -> Result<Option<usize>, FrameError> {
    let size = match text {
        b"-1" => return Ok(None),
        b"0" => 0,
        // 18 digits always fit, so a length that is too large is shown as a number.
        [b'1'..=b'9', rest @ ..] if rest.len() < 18 && rest.iter().all(u8::is_ascii_digit) => text
            .iter()
            .fold(0, |sum: usize, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))),
        _ => return Err(malformed("a length", text)),
    };
    if size > limit { Err(FrameError::TooLarge { what, size, limit }) } else { Ok(Some(size)) }
}

fn malformed(expected: &'static str, found: &[u8]) -> FrameError {
    const SHOWN: usize = 48;
    let cut = found.len() > SHOWN;
    let shown = found[..found.len().min(SHOWN)].escape_ascii();
    FrameError::Malformed { expected, found: format!("{shown}{}", if cut { "…" } else { "" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_as_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"XADD", b"", b"a\r\nb"]);
        assert_eq!(out, b"*3\r\n$4\r\nXADD\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn an_incomplete_line_is_waited_for_at_every_cut() {
        let line = b":-42\r\n";
        for cut in 0..line.len() {
            assert_eq!(head(&line[..cut], cut.saturating_sub(1)), Ok(None), "cut at {cut}");
        }
        assert_eq!(head(line, 4), Ok(Some((Head::Int(-42), 6))));
    }

    #[test]
    fn a_length_has_one_spelling() {
        assert_eq!(head(b"$0\r\n", 0), Ok(Some((Head::Bulk(Some(0)), 4))));
        assert_eq!(head(b"$-1\r\n", 0), Ok(Some((Head::Bulk(None), 5))));
        for other in
            ["$07\r\n", "$+7\r\n", "$\r\n", "$-2\r\n", "$7 \r\n", "$-0\r\n", "*1111111111111111111\r\n"]
        {
            assert!(matches!(head(other.as_bytes(), 0), Err(FrameError::Malformed { .. })), "{other:?}");
        }
    }

    #[test]
    fn a_reply_that_exceeds_a_limit_is_refused_before_it_arrives() {
        for line in ["$536870913\r\n", "*1048577\r\n", "$111111111111111111\r\n"] {
            assert!(matches!(head(line.as_bytes(), 0), Err(FrameError::TooLarge { .. })), "{line:?}");
        }
        let mut line = vec![b'+'; MAX_LINE + 1];
        assert_eq!(head(&line, 0), Ok(None));
        line.push(b'+');
        assert!(matches!(head(&line, 0), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn an_error_shows_what_was_found_shortened_and_escaped() {
        let found = format!("HTTP/1.1 400 Bad Request\r\n{}", "x".repeat(1000));
        let error = head(found.as_bytes(), 0).unwrap_err().to_string();
        assert!(error.contains(r#"found "HTTP/1.1 400 Bad Request\r\nxxx"#), "{error}");
        assert!(error.len() < 250, "{error}");
    }
}
