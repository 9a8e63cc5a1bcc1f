//! Messages as the server writes them, cut and shaken.

use proptest::prelude::*;

use super::*;
use crate::changes::cells::Value;

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn tuple(out: &mut Vec<u8>, values: &[Value<'_>]) {
    out.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            Value::Null => out.push(b'n'),
            Value::Unchanged => out.push(b'u'),
            Value::Text(t) => {
                out.push(b't');
                out.extend_from_slice(&(t.len() as u32).to_be_bytes());
                out.extend_from_slice(t);
            }
        }
    }
}

fn update(old: Option<(u8, &[Value<'_>])>, new: &[Value<'_>]) -> Vec<u8> {
    let mut m = vec![b'U', 0, 0, 0, 7];
    if let Some((kind, values)) = old {
        m.push(kind);
        tuple(&mut m, values);
    }
    m.push(b'N');
    tuple(&mut m, new);
    m
}

fn relation() -> Vec<u8> {
    let mut m = vec![b'R', 0, 0, 0x40, 1];
    text(&mut m, "public");
    text(&mut m, "Käse \"x\"");
    m.extend_from_slice(&[b'd', 0, 2]);
    for (flags, name, oid) in [(1, "id", 23_u32), (0, "note", 25)] {
        m.push(flags);
        text(&mut m, name);
        m.extend_from_slice(&oid.to_be_bytes());
        m.extend_from_slice(&(-1_i32).to_be_bytes());
    }
    m
}

/// One message of every kind.
fn samples() -> Vec<Vec<u8>> {
    let values = [Value::Text(b"1"), Value::Null, Value::Unchanged, Value::Text(b"")];
    let mut begin = vec![b'B'];
    begin.extend_from_slice(&[0; 16]);
    begin.extend_from_slice(&9_u32.to_be_bytes());
    let mut commit = vec![b'C', 0];
    commit.extend_from_slice(&[1; 24]);
    let mut insert = vec![b'I', 0, 0, 0, 7, b'N'];
    tuple(&mut insert, &values);
    let mut delete = vec![b'D', 0, 0, 0, 7, b'K'];
    tuple(&mut delete, &values);
    let mut origin = vec![b'O', 0, 0, 0, 0, 0, 0, 0, 1];
    text(&mut origin, "elsewhere");
    let mut type_ = vec![b'Y', 0, 0, 0, 9];
    text(&mut type_, "public");
    text(&mut type_, "mood");
    let truncate = vec![b'T', 0, 0, 0, 2, 1, 0, 0, 0, 7, 0, 0, 0, 8];
    let mut logical = vec![b'M', 1, 0, 0, 0, 0, 0, 0, 0, 5];
    text(&mut logical, "p");
    logical.extend_from_slice(&[0, 0, 0, 2, b'h', b'i']);
    let full = update(Some((b'O', &values)), &values);
    vec![
        begin,
        commit,
        insert,
        delete,
        origin,
        type_,
        truncate,
        logical,
        relation(),
        update(None, &values),
        full,
    ]
}

fn parse(message: &[u8]) -> Result<Message<'_>> {
    Message::parse(message, &mut Cells::default(), &mut Cells::default())
}

#[test]
fn every_kind_of_message_is_understood() {
    for sample in samples() {
        parse(&sample).unwrap();
    }
}

#[test]
fn a_relation_carries_names_types_and_key() {
    let message = relation();
    let Message::Relation(r) = parse(&message).unwrap() else { panic!("a relation") };
    assert_eq!(
        (r.oid, r.schema.as_str(), r.name.as_str(), r.identity),
        (0x4001, "public", "Käse \"x\"", b'd')
    );
    let columns: Vec<_> =
        r.columns.iter().map(|c| (c.key, c.name.as_str(), c.type_oid, c.modifier)).collect();
    assert_eq!(columns, [(true, "id", 23, -1), (false, "note", 25, -1)]);
}

#[test]
fn an_unchanged_value_is_not_a_null_and_an_old_key_is_told_from_an_old_row() {
    let (mut old, mut new) = (Cells::default(), Cells::default());
    let message =
        update(Some((b'K', &[Value::Text(b"1"), Value::Null])), &[Value::Text(b"22"), Value::Unchanged]);
    let parsed = Message::parse(&message, &mut old, &mut new).unwrap();
    assert_eq!(parsed, Message::Update { relation: 7, old: Some(Old::Key) });
    assert_eq!(old.get(&message, 0), Value::Text(b"1"));
    assert_eq!([new.get(&message, 0), new.get(&message, 1)], [Value::Text(b"22"), Value::Unchanged]);
    let whole = update(Some((b'O', &[Value::Null])), &[Value::Null]);
    assert_eq!(parse(&whole).unwrap(), Message::Update { relation: 7, old: Some(Old::Full) });
}

#[test]
fn the_clock_of_the_server_begins_in_2000() {
    let mut message = vec![b'B'];
    message.extend_from_slice(&77_u64.to_be_bytes());
    message.extend_from_slice(&1_000_000_i64.to_be_bytes());
    message.extend_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(
        parse(&message).unwrap(),
        Message::Begin { commit: 77, micros: 946_684_801_000_000, xid: u32::MAX }
    );
}

#[test]
fn the_envelope_and_the_status_update_have_their_fixed_shape() {
    let mut data = vec![b'w'];
    data.extend_from_slice(&5_u64.to_be_bytes());
    data.extend_from_slice(&[0; 16]);
    data.extend_from_slice(b"xyz");
    assert_eq!(Envelope::parse(&data).unwrap(), Envelope::Data { start: 5, payload: b"xyz" });
    let mut alive = vec![b'k'];
    alive.extend_from_slice(&6_u64.to_be_bytes());
    alive.extend_from_slice(&[0; 8]);
    alive.push(1);
    assert_eq!(Envelope::parse(&alive).unwrap(), Envelope::KeepAlive { end: 6, reply_now: true });
    let status = status_update(3, 2, EPOCH_MICROS + 4, true);
    assert_eq!((status[0], status[8], status[16], status[24], status[32], status[33]), (b'r', 3, 2, 2, 4, 1));
}

#[test]
fn every_prefix_of_a_message_is_an_error_that_names_its_kind() {
    for sample in samples() {
        for length in 1..sample.len() {
            let error = parse(&sample[..length]).expect_err("cut short");
            assert!(error.message().contains("damaged"), "{error}");
        }
        let mut longer = sample.clone();
        longer.push(0);
        parse(&longer).expect_err("a byte too many");
    }
    assert!(parse(b"I\0\0\0\x07N\0\x01t\xff\xff\xff\xff").unwrap_err().message().contains("Insert"));
    assert!(parse(b"z").unwrap_err().message().contains("unknown kind"));
    assert!(Envelope::parse(b"").is_err() && Envelope::parse(b"k\0").is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(kind in proptest::sample::select(b"BCORYIUDTMwk".to_vec()), mut rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        rest.insert(0, kind);
        let _ = Envelope::parse(&rest);
        let (mut old, mut new) = (Cells::default(), Cells::default());
        if Message::parse(&rest, &mut old, &mut new).is_ok() {
            (0..new.len()).for_each(|i| { new.get(&rest, i); });
        }
    }

    #[test]
    fn a_message_with_one_byte_changed_never_panics(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let samples = samples();
        let mut message = samples[which.index(samples.len())].clone();
        let at = at.index(message.len());
        message[at] = byte;
        let (mut old, mut new) = (Cells::default(), Cells::default());
        let _ = Message::parse(&message, &mut old, &mut new);
        (0..old.len()).for_each(|i| { old.get(&message, i); });
    }
}
