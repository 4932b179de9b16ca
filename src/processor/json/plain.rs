//! A fast path for the JSON objects that most messages are: a few members, each a string without escapes, a plain
//! number, or a literal.
//!
//! It reads each byte once and allocates nothing. It reports no errors: whatever it does not recognize, rare or
//! invalid, is left to the JSON parser. Objects that it does read, the parser reads in the same way.

/// Members of an object, in order: their names and values.
pub(super) struct Members<'a> {
    members: [(&'a [u8], &'a [u8]); Members::MOST],
    count: usize,
}

impl<'a> Members<'a> {
    const MOST: usize = 8;

    pub(super) fn iter(&self) -> impl Iterator<Item = &(&'a [u8], &'a [u8])> + Clone {
        self.members[..self.count].iter()
    }

    /// Adds a member, unless there are too many or its name exists.
    fn add(&mut self, name: &'a [u8], value: &'a [u8]) -> Option<()> {
        if self.iter().any(|(other, _)| *other == name) {
            return None;
        }
        *self.members.get_mut(self.count)? = (name, value);
        self.count += 1;
        Some(())
    }
}

/// The members of a plain object; `None` when the payload is anything else.
pub(super) fn members(payload: &[u8]) -> Option<Members<'_>> {
    // Without these bytes, strings end at the next quotation mark and everything is ASCII. The loop has no early exit,
    // so that it is vectorized.
    let odd = payload
        .iter()
        .fold(0, |odd, &byte| odd | u8::from(byte < 0x20) | u8::from(byte > 0x7f) | u8::from(byte == b'\\'));
    if odd != 0 {
        return None;
    }
    let mut members = Members { members: [(&[], &[]); Members::MOST], count: 0 };
    let mut rest = space(payload).strip_prefix(b"{")?;
    loop {
        let (name, after) = string(space(rest))?;
        let after = space(space(after).strip_prefix(b":")?);
        let (value, after) = string(after).or_else(|| number(after)).or_else(|| literal(after))?;
        members.add(name, value)?;
        match space(after).split_first()? {
            (b',', after) => rest = after,
            (b'}', after) => return space(after).is_empty().then_some(members),
            _ => return None,
        }
    }
}

fn space(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(b" ") {
        text = rest;
    }
    text
}

fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', text)?;
    Some((&text[..end], &text[end + 1..]))
}

/// A number without an exponent.
fn number(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = |at: usize| text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let begin = usize::from(text.first() == Some(&b'-'));
    let whole = digits(begin);
    let mut end = begin + whole;
    if whole == 0 || (whole > 1 && text[begin] == b'0') {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    Some(text.split_at(end))
}

fn literal(text: &[u8]) -> Option<(&[u8], &[u8])> {
    [&b"true"[..], b"false", b"null"]
        .iter()
        .find(|word| text.starts_with(word))
        .map(|word| text.split_at(word.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &str) -> Option<Vec<(String, String)>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Some(members(payload.as_bytes())?.iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn a_plain_object_is_read() {
        let expected = [("id", "67e5"), ("n", "-10.5"), ("ok", "true"), ("", "null")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read(r#"{"id":"67e5","n":-10.5,"ok":true,"":null}"#).unwrap(), expected);
        assert_eq!(read(r#" { "id" : "67e5" , "n" : -10.5,"ok":true,"":null } "#).unwrap(), expected);
    }

    #[test]
    fn everything_else_is_left_to_others() {
        for other in [
            "",
            "{",
            "{}",
            "[]",
            "1",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1} x"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":1e3}"#,
            r#"{"a":-}"#,
            r#"{"a":truex}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":"\n"}"#,
            "{\n\"a\":1}",
            r#"{"a":"é"}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":"b}"#,
            r#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9}"#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
