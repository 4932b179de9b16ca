use proptest::prelude::*;
use redis::Value;

use super::feed::{Scanned, feed, pieces};
use super::*;
use crate::redis::channel::ChannelKind;

const CHANNEL: &[u8] = b"messages:published";
const MAX_PAYLOAD: usize = 300;

/// A frame as a Redis server sends it to a subscriber.
#[derive(Clone, Debug)]
enum Frame {
    Message(Vec<u8>, Vec<u8>),
    Confirmed(&'static str, Option<Vec<u8>>, i64),
    Pong(Vec<u8>),
    PlainPong,
    Error(String),
    Status(String),
    Int(i64),
    /// Nested arrays of bulk strings: how many in each, and how deep.
    Nested(usize, usize),
    Nil,
}

impl Frame {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Message(channel, payload) => resp::command(out, &[b"message", channel, payload]),
            Frame::Confirmed(kind, channel, count) => {
                resp::array(out, 3);
                push_bulk(out, kind.as_bytes());
                match channel {
                    Some(channel) => push_bulk(out, channel),
                    None => out.extend(b"$-1\r\n"),
                }
                out.extend(format!(":{count}\r\n").bytes());
            }
            Frame::Pong(token) => resp::command(out, &[b"pong", token]),
            Frame::PlainPong => out.extend(b"+PONG\r\n"),
            Frame::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
            Frame::Status(text) => out.extend(format!("+{text}\r\n").bytes()),
            Frame::Int(n) => out.extend(format!(":{n}\r\n").bytes()),
            Frame::Nested(width, 0) => push_bulk(out, &vec![b'x'; *width]),
            Frame::Nested(width, depth) => {
                resp::array(out, *width);
                (0..*width).for_each(|_| Frame::Nested(*width, depth - 1).encode(out));
            }
            Frame::Nil => out.extend(b"*-1\r\n"),
        }
    }

    fn scanned(&self) -> Scanned {
        Scanned::Event(match self {
            Frame::Message(channel, payload) if channel == CHANNEL => match payload.len() {
                0..=MAX_PAYLOAD => return Scanned::Message(payload.clone().into()),
                len => Event::Oversize {
                    len: len as u64,
                    head: Bytes::copy_from_slice(&payload[..len.min(OVERSIZE_HEAD)]),
                },
            },
            Frame::Confirmed("subscribe" | "ssubscribe", Some(channel), count) => {
                Event::Subscribed { channel: channel.clone().into(), count: *count }
            }
            Frame::Confirmed("unsubscribe" | "sunsubscribe", channel, count) => {
                Event::Unsubscribed { channel: channel.clone().map(Bytes::from), count: *count }
            }
            // In RESP3, a lone token and OK are answers.
            Frame::Pong(_) | Frame::PlainPong | Frame::Nested(_, 0) => Event::Pong,
            Frame::Status(text) if text == "OK" => Event::Pong,
            Frame::Error(text) => Event::Error(text.clone()),
            _ => Event::Other,
        })
    }
}

/// The frame as redis-rs reads it, in our terms.
fn told_by_redis_rs(frame: &[u8]) -> Scanned {
    let channel = |value: &Value| match value {
        Value::BulkString(bytes) => Some(Bytes::from(bytes.clone())),
        _ => None,
    };
    Scanned::Event(match redis::parse_redis_value(frame).unwrap() {
        Value::SimpleString(text) if text == "PONG" => Event::Pong,
        Value::Okay | Value::BulkString(_) => Event::Pong,
        Value::ServerError(error) => {
            Event::Error([error.code(), error.details().unwrap_or_default()].join(" ").trim_end().to_owned())
        }
        Value::Array(elements) => match elements.as_slice() {
            [Value::BulkString(kind), of, Value::BulkString(payload)]
                if kind == b"message" && *of == Value::BulkString(CHANNEL.to_vec()) =>
            {
                return Frame::Message(CHANNEL.to_vec(), payload.clone()).scanned();
            }
            [Value::BulkString(kind), of, Value::Int(count)]
                if kind == b"subscribe" || kind == b"ssubscribe" =>
            {
                Event::Subscribed { channel: channel(of).unwrap(), count: *count }
            }
            [Value::BulkString(kind), of, Value::Int(count)]
                if kind == b"unsubscribe" || kind == b"sunsubscribe" =>
            {
                Event::Unsubscribed { channel: channel(of), count: *count }
            }
            [Value::BulkString(kind), _] if kind == b"pong" => Event::Pong,
            _ => Event::Other,
        },
        _ => Event::Other,
    })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..80),
        1 => proptest::collection::vec(any::<u8>(), MAX_PAYLOAD - 1..MAX_PAYLOAD + 3),
        1 => Just(b"*3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n$1\r\nx\r\n".to_vec()),
        1 => (4000_usize..10_000).prop_map(|len| (0..len).map(|at| at as u8).collect()),
    ]
}

fn channel() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(CHANNEL.to_vec()),
        Just(b"messages:publisher".to_vec()),
        Just(b"messages:published:0".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..30),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let kinds = proptest::sample::select(vec![
        "subscribe",
        "unsubscribe",
        "psubscribe",
        "ssubscribe",
        "sunsubscribe",
    ]);
    prop_oneof![
        12 => payload().prop_map(|payload| Frame::Message(CHANNEL.to_vec(), payload)),
        2 => (channel(), payload()).prop_map(|(channel, payload)| Frame::Message(channel, payload)),
        1 => (kinds, channel(), 0_i64..9).prop_map(|(kind, name, n)| Frame::Confirmed(kind, Some(name), n)),
        1 => Just(Frame::Confirmed("unsubscribe", None, 0)),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Frame::Pong),
        1 => Just(Frame::PlainPong),
        1 => "[A-Z]{2,8} [a-z][a-z ]{0,20}[a-z]".prop_map(Frame::Error),
        1 => "[a-zA-Z ]{0,20}|OK".prop_map(Frame::Status),
        1 => any::<i64>().prop_map(Frame::Int),
        1 => (0_usize..4, 0_usize..5).prop_map(|(width, depth)| Frame::Nested(width, depth)),
        1 => Just(Frame::Nil),
    ]
}

fn cuts() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![1]),
        proptest::collection::vec(1_u8..8, 1..20),
        proptest::collection::vec(1_u8.., 1..20)
    ]
}

/// Bytes that resemble frames, so that they get far into the parser.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        2 => proptest::sample::select(b"*$:+-\r\n0123459".to_vec()).prop_map(|byte| vec![byte]),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        2 => Just(b"*3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n$".to_vec()),
        2 => (0_usize..20).prop_map(|n| format!("*{n}\r\n").into_bytes()),
        2 => (0_usize..600).prop_map(|n| format!("${n}\r\n").into_bytes()),
        2 => frame().prop_map(|frame| encoded(&[frame])),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut out));
    out
}

fn one_event(bytes: &[u8]) -> Event {
    let mut input = BytesMut::from(bytes);
    let event = Scanner::new(ChannelKind::Plain, CHANNEL, MAX_PAYLOAD).next(&mut input).unwrap().unwrap();
    assert!(input.is_empty());
    event
}

proptest! {
    #[test]
    fn frames_are_scanned_the_same_however_they_are_cut(
        frames in proptest::collection::vec(frame(), 0..40), cuts in cuts(),
    ) {
        let bytes = encoded(&frames);
        let expected = Vec::from_iter(frames.iter().map(Frame::scanned));
        prop_assert_eq!(&feed(CHANNEL, MAX_PAYLOAD, [bytes.as_slice()]), &expected);
        prop_assert_eq!(&feed(CHANNEL, MAX_PAYLOAD, pieces(&bytes, &cuts)), &expected);
    }

    #[test]
    fn a_frame_is_read_as_redis_rs_reads_it(frame in frame()) {
        let bytes = encoded(&[frame]);
        prop_assert_eq!(feed(CHANNEL, MAX_PAYLOAD, [bytes.as_slice()]), vec![told_by_redis_rs(&bytes)]);
    }

    #[test]
    fn any_bytes_are_scanned_the_same_however_they_are_cut(bytes in noise(), cuts in cuts(), max in 0_usize..600) {
        let whole = feed(CHANNEL, max, [bytes.as_slice()]);
        prop_assert_eq!(feed(CHANNEL, max, pieces(&bytes, &cuts)), whole);
    }
}

/// As Redis 7.0 answered to `HELLO 3`, `SUBSCRIBE`, `PING` and `AUTH`, with messages between.
#[test]
fn pushes_of_resp3_are_told_apart_from_answers() {
    let bytes = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:9\r\n\
        $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*1\r\n%1\r\n$4\r\nname\r\n$1\r\nx\r\n\
        >3\r\n$9\r\nsubscribe\r\n$18\r\nmessages:published\r\n:1\r\n\
        >3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n$1\r\na\r\n\
        >3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n$1\r\nb\r\n\
        $5\r\ntoken\r\n+OK\r\n-WRONGPASS invalid\r\n\
        >3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n$1\r\nc\r\n";
    for cut in [1, 7, bytes.len()] {
        let mut scanner = Scanner::new(ChannelKind::Plain, CHANNEL, 10).of_pushes();
        let (mut input, mut scanned) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(cut) {
            input.extend_from_slice(piece);
            while let Some(event) = scanner.next(&mut input).unwrap() {
                match event {
                    Event::Messages { bytes, spans } => {
                        let payload =
                            |span: &Span| bytes[span.start as usize..][..span.len as usize].to_vec();
                        scanned.extend(spans.iter().map(|span| String::from_utf8(payload(span)).unwrap()));
                    }
                    Event::Subscribed { .. } => scanned.push("subscribed".to_owned()),
                    other => scanned.push(format!("{other:?}")),
                }
            }
        }
        let expected = ["Other", "subscribed", "a", "b", "Pong", "Pong", "Error(\"WRONGPASS invalid\")", "c"];
        assert_eq!(scanned, expected, "in pieces of {cut}");
        assert!(input.is_empty());
    }
}

#[test]
fn a_run_shares_the_memory_that_the_socket_was_read_into() {
    let mut input = BytesMut::from(&*encoded(&vec![Frame::Message(CHANNEL.to_vec(), b"{}".to_vec()); 3]));
    let memory = input.as_ptr();
    let Ok(Some(Event::Messages { bytes, spans })) =
        Scanner::new(ChannelKind::Plain, CHANNEL, 10).next(&mut input)
    else {
        panic!()
    };
    assert_eq!((bytes.as_ptr(), spans.len()), (memory, 3));
}

#[test]
fn a_run_ends_at_its_limits() {
    let mut scanner = Scanner::new(ChannelKind::Plain, CHANNEL, MAX_RUN_BYTES * 2);
    let mut lens = |frames: &[Frame]| {
        let mut input = BytesMut::from(&*encoded(frames));
        let mut lens = Vec::new();
        while let Some(event) = scanner.next(&mut input).unwrap() {
            let Event::Messages { spans, .. } = event else { panic!("{event:?}") };
            lens.push(spans.len());
        }
        lens
    };
    let message = |len| Frame::Message(CHANNEL.to_vec(), vec![b'x'; len]);
    assert_eq!(lens(&vec![message(1); 5000]), [4096, 904]);
    assert_eq!(lens(&vec![message(100_000); 5]), [2, 2, 1]);
    assert_eq!(lens(&[message(1), message(MAX_RUN_BYTES), message(1), message(1)]), [1, 1, 2]);
}

#[test]
fn the_missing_bytes_of_a_long_message_are_told_once_its_length_is_known() {
    let whole = encoded(&[Frame::Message(CHANNEL.to_vec(), vec![b'x'; 200])]);
    let header = whole.len() - 202;
    for cut in 0..whole.len() {
        let mut scanner = Scanner::new(ChannelKind::Plain, CHANNEL, 200);
        assert_eq!(scanner.next(&mut BytesMut::from(&whole[..cut])), Ok(None));
        assert_eq!(scanner.wanted(), if cut < header { 0 } else { whole.len() - cut }, "cut at {cut}");
    }
}

#[test]
fn a_message_that_is_too_long_is_dropped_as_it_arrives_and_counts_when_it_is_whole() {
    const LEN: usize = 10_000_000;
    let mut scanner = Scanner::new(ChannelKind::Plain, CHANNEL, 1000);
    let mut input =
        BytesMut::from(&*format!("*3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n${LEN}\r\n"));
    for _ in 0..LEN / 1000 {
        assert_eq!(scanner.next(&mut input), Ok(None));
        assert!(input.is_empty());
        input.extend_from_slice(&[b'x'; 1000]);
    }
    input.extend_from_slice(b"\r");
    assert_eq!(scanner.next(&mut input), Ok(None));
    input.extend_from_slice(b"\n+PONG\r\n");
    let head = Bytes::from(vec![b'x'; 4096]);
    assert_eq!(scanner.next(&mut input), Ok(Some(Event::Oversize { len: LEN as u64, head })));
    assert_eq!(scanner.next(&mut input), Ok(Some(Event::Pong)));
}

#[test]
fn a_huge_reply_of_another_kind_is_never_held() {
    let mut scanner = Scanner::new(ChannelKind::Plain, CHANNEL, 1000);
    let mut input = BytesMut::from("*1000000\r\n");
    for _ in 0..999_999 {
        input.extend_from_slice(b"$3\r\nabc\r\n");
        assert_eq!(scanner.next(&mut input), Ok(None));
        assert!(input.is_empty());
    }
    input.extend_from_slice(b"*0\r\n");
    assert_eq!(scanner.next(&mut input), Ok(Some(Event::Other)));
}

#[test]
fn confirmations_name_their_channel() {
    let channel = Bytes::from_static(b"messages:published");
    assert_eq!(
        one_event(b"*3\r\n$9\r\nsubscribe\r\n$18\r\nmessages:published\r\n:1\r\n"),
        Event::Subscribed { channel: channel.clone(), count: 1 }
    );
    assert_eq!(
        one_event(b"*3\r\n$11\r\nunsubscribe\r\n$18\r\nmessages:published\r\n:0\r\n"),
        Event::Unsubscribed { channel: Some(channel), count: 0 }
    );
    assert_eq!(
        one_event(b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"),
        Event::Unsubscribed { channel: None, count: 0 }
    );
}

#[test]
fn both_answers_to_a_ping_are_known() {
    assert_eq!(one_event(b"+PONG\r\n"), Event::Pong);
    assert_eq!(one_event(b"*2\r\n$4\r\npong\r\n$5\r\ntoken\r\n"), Event::Pong);
}

#[test]
fn messages_before_a_malformed_frame_are_told_first() {
    let good = encoded(&vec![Frame::Message(CHANNEL.to_vec(), b"{}".to_vec()); 2]);
    let two = [Scanned::Message("{}".into()), Scanned::Message("{}".into())];
    for bad in [
        "HTTP/1.1 400 Bad Request\r\n",
        "*3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n$2\r\n{}xy",
        "*3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n$02\r\n{}\r\n",
        "*3\r\n$7\r\nmessage\r\n$18\r\nmessages:published\r\n$1000000000\r\n",
        "*-2\r\n",
        "*03\r\n",
        ":1x\r\n",
    ] {
        let scanned = feed(CHANNEL, MAX_PAYLOAD, [good.as_slice(), bad.as_bytes()]);
        assert_eq!(scanned[..2], two);
        assert!(matches!(scanned[2..], [Scanned::Malformed(_)]), "{bad:?}: {scanned:?}");
    }
}

#[test]
fn nobody_makes_it_nest_without_end() {
    let scanned = feed(CHANNEL, MAX_PAYLOAD, [b"*1\r\n".repeat(1000).as_slice()]);
    assert_eq!(scanned, [Scanned::Malformed("arrays inside each other")]);
}
