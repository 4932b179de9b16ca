//! Parses the replies on connections that commit, as slices of the bytes that were read.

use super::resp::{self, FrameError, Head};

/// One reply. A [`Reply::Error`] may also be inside an array: a transaction does not roll back, so check each reply of
/// an `EXEC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Status(&'a [u8]),
    Error(&'a [u8]),
    Int(i64),
    Bulk(Option<&'a [u8]>),
    /// Nil (`None`) is the reply to an `EXEC` whose watched key was changed.
    Array(Option<Vec<Reply<'a>>>),
}

impl Reply<'_> {
    /// The text of an error reply, without its leading `-`.
    pub(crate) fn error(&self) -> Option<String> {
        match self {
            Reply::Error(text) => Some(resp::error(text)),
            _ => None,
        }
    }
}

/// Parses the reply at the front of `input`. Returns it with its length in bytes, or `None` until it is complete.
///
/// Each call starts again at the front, so read all that is available before the next call.
///
/// # Errors
///
/// See [`resp::head`]. Also if arrays are nested deeper than [`resp::MAX_DEPTH`].
pub(crate) fn parse(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, FrameError> {
    let mut at = 0;
    Ok(value(input, &mut at, 0)?.map(|reply| (reply, at)))
}

/// The encoded length of a bulk string of 10 to 99 bytes, such as an entry's id, if a whole one is at the front of
/// `input`.
#[inline]
pub(crate) fn skip_short_bulk(input: &[u8]) -> Option<usize> {
    let [b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', rest @ ..] = input else { return None };
    let len = usize::from(tens - b'0') * 10 + usize::from(ones - b'0');
    (rest.get(len..len + 2)? == b"\r\n").then_some(len + 7)
}

fn value<'a>(input: &'a [u8], at: &mut usize, depth: usize) -> Result<Option<Reply<'a>>, FrameError> {
    let Some((head, used)) = resp::head(&input[*at..], 0)? else { return Ok(None) };
    *at += used;
    let reply = match head {
        Head::Status(text) => Reply::Status(text),
        Head::Error(text) => Reply::Error(text),
        Head::Int(n) => Reply::Int(n),
        Head::Bulk(None) => Reply::Bulk(None),
        Head::Bulk(Some(len)) => {
            let Some((content, rest)) = input[*at..].split_at_checked(len) else { return Ok(None) };
            if resp::bulk_end(rest)?.is_none() {
                return Ok(None);
            }
            *at += len + 2;
            Reply::Bulk(Some(content))
        }
        Head::Array(None) => Reply::Array(None),
        Head::Array(Some(len)) => {
            resp::check_depth(depth)?;
            // The announced length is not trusted: memory grows with the elements that arrive.
            let mut elements = Vec::with_capacity(len.min(1024));
            for _ in 0..len {
                let Some(element) = value(input, at, depth + 1)? else { return Ok(None) };
                elements.push(element);
            }
            Reply::Array(Some(elements))
        }
    };
    Ok(Some(reply))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis::Value;

    use super::*;

    #[derive(Clone, Debug)]
    enum Tree {
        Status(String),
        Error(String),
        Int(i64),
        Bulk(Option<Vec<u8>>),
        Array(Option<Vec<Tree>>),
    }

    impl Tree {
        fn encode(&self, out: &mut Vec<u8>) {
            match self {
                Tree::Status(text) => out.extend(format!("+{text}\r\n").bytes()),
                Tree::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
                Tree::Int(n) => out.extend(format!(":{n}\r\n").bytes()),
                Tree::Bulk(None) => out.extend(b"$-1\r\n"),
                Tree::Bulk(Some(bytes)) => crate::record::push_bulk(out, bytes),
                Tree::Array(None) => out.extend(b"*-1\r\n"),
                Tree::Array(Some(elements)) => {
                    resp::array(out, elements.len());
                    elements.iter().for_each(|element| element.encode(out));
                }
            }
        }

        fn encoded(&self) -> Vec<u8> {
            let mut out = Vec::new();
            self.encode(&mut out);
            out
        }
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            "[a-zA-Z0-9 é]{0,20}".prop_map(Tree::Status),
            "[A-Z]{1,8} [a-z ]{0,20}".prop_map(Tree::Error),
            any::<i64>().prop_map(Tree::Int),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)).prop_map(Tree::Bulk),
            Just(Tree::Array(None)),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            proptest::collection::vec(inner, 0..6).prop_map(|elements| Tree::Array(Some(elements)))
        })
    }

    fn same(reply: &Reply<'_>, value: &Value) -> bool {
        match (reply, value) {
            (Reply::Status(b"OK"), Value::Okay) => true,
            (Reply::Status(text), Value::SimpleString(other)) => *text == other.as_bytes(),
            (Reply::Error(text), Value::ServerError(error)) => {
                let text = String::from_utf8_lossy(text);
                text.split(' ').next() == Some(error.code())
            }
            (Reply::Int(n), Value::Int(other)) => n == other,
            (Reply::Bulk(None) | Reply::Array(None), Value::Nil) => true,
            (Reply::Bulk(Some(bytes)), Value::BulkString(other)) => bytes == other,
            (Reply::Array(Some(elements)), Value::Array(others)) => {
                elements.len() == others.len()
                    && elements.iter().zip(others).all(|(one, other)| same(one, other))
            }
            _ => false,
        }
    }

    #[test]
    fn a_short_bulk_string_is_stepped_over_only_as_a_whole() {
        let id = b"$15\r\n1700000000000-0\r\n";
        assert_eq!(skip_short_bulk(id), Some(id.len()));
        assert!((0..id.len()).all(|end| skip_short_bulk(&id[..end]).is_none()));
        for other in ["$5\r\nshort\r\n", "$015\r\n", ":10\r\n", "$10\r\n0123456789x\r\n", "$-1\r\n"] {
            assert_eq!(skip_short_bulk(other.as_bytes()), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn well_formed_replies_are_read_as_redis_rs_reads_them(tree in tree()) {
            let bytes = tree.encoded();
            let (reply, used) = parse(&bytes).unwrap().unwrap();
            prop_assert_eq!(used, bytes.len());
            let value = redis::parse_redis_value(&bytes).unwrap();
            prop_assert!(same(&reply, &value), "{:?} is not {:?}", reply, value);
        }

        #[test]
        fn a_reply_is_waited_for_at_every_cut_and_what_follows_is_left(tree in tree(), tail in any::<[u8; 3]>()) {
            let mut bytes = tree.encoded();
            let len = bytes.len();
            for cut in 0..len {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
            }
            bytes.extend(tail);
            prop_assert_eq!(parse(&bytes).unwrap().unwrap().1, len);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(
            prop_oneof![3 => proptest::sample::select(b"*$:+-\r\n0123".to_vec()), 1 => any::<u8>()], 0..200)) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn a_refused_transaction_is_a_nil_array_and_a_missing_value_a_nil_bulk_string() {
        assert_eq!(parse(b"*-1\r\n"), Ok(Some((Reply::Array(None), 5))));
        assert_eq!(parse(b"$-1\r\n"), Ok(Some((Reply::Bulk(None), 5))));
    }

    #[test]
    fn arrays_nest_only_so_deep() {
        let nested = |depth| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        assert!(parse(&nested(resp::MAX_DEPTH)).unwrap().is_some());
        assert!(matches!(parse(&nested(resp::MAX_DEPTH + 1)), Err(FrameError::TooLarge { .. })));
    }
}
