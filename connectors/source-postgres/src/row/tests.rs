//! Streams as the server sends them, and as it never would.

use connector_kit::bench::{EmitterToMemory, select};
use connector_kit::protocol::ConfiguredCatalog;
use proptest::prelude::{any, prop, prop_oneof, proptest};
use proptest::strategy::Just;
use serde_json::Value;

use super::CopyDecoder;
use crate::types::{ColumnType, Locale, TypeInfo};

const HEADER: &[u8] = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &[0xFF, 0xFF];

fn built_in(name: &str) -> ColumnType {
    let info = TypeInfo {
        schema: "pg_catalog".into(),
        name: name.into(),
        kind: 'b',
        category: 'X',
        delimiter: ',',
        modifier: -1,
        element: None,
        base: None,
    };
    ColumnType::of(&info, -1, Locale::default())
}

/// Two columns, `a` an int4 and `b` a text, after one field that is not emitted.
fn decoder() -> CopyDecoder {
    CopyDecoder::new("public.t", 1, vec![(built_in("int4"), 0), (built_in("text"), 1)])
}

fn tuple(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut out = i16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
    for field in fields {
        match field {
            Some(value) => {
                out.extend_from_slice(&i32::try_from(value.len()).unwrap().to_be_bytes());
                out.extend_from_slice(value);
            }
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
    out
}

fn one() -> Vec<u8> {
    tuple(&[Some(b"(0,1)"), Some(&[0, 0, 0, 7]), Some("ä".as_bytes())])
}

/// The leading fields and the rows of some messages.
fn read(decoder: &mut CopyDecoder, messages: &[&[u8]]) -> Result<(Vec<String>, Vec<Value>), String> {
    let catalog = r#"{"streams":[{"stream":{"name":"t","json_schema":{"type":"object","properties":{"a":{},"b":{}}},
        "supported_sync_modes":["full_refresh"]},"sync_mode":"full_refresh","destination_sync_mode":"append"}]}"#;
    let stream = select(ConfiguredCatalog::parse(catalog.as_bytes()).unwrap().streams.remove(0));
    let mut out = EmitterToMemory::new(&stream);
    let mut leading = Vec::new();
    for message in messages {
        let mut data = *message;
        while let Some(mut tuple) = decoder.tuple(&mut data).map_err(|e| e.to_string())? {
            let field = tuple.leading().map_err(|e| e.to_string())?;
            leading.push(String::from_utf8_lossy(field.unwrap_or(b"null")).into_owned());
            let mut result = Ok(());
            out.row(|row| result = tuple.write(row));
            result.map_err(|e| e.to_string())?;
        }
    }
    let bytes = out.into_bytes();
    let rows = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let rows = rows.map(|line| serde_json::from_slice::<Value>(line).unwrap()["record"]["data"].clone());
    Ok((leading, rows.collect()))
}

#[test]
fn reads_a_stream_however_it_is_cut_between_tuples() {
    let nulls = tuple(&[None, None, None]);
    let expected = (
        vec!["(0,1)".to_owned(), "null".into()],
        vec![serde_json::json!({"a": 7, "b": "ä"}), serde_json::json!({"a": null, "b": null})],
    );
    let one = one();
    let whole = [HEADER, &one, &nulls, TRAILER].concat();
    let usual = [[HEADER, &one].concat(), nulls.clone(), TRAILER.to_vec()];
    for messages in [
        vec![whole.as_slice()],
        usual.iter().map(Vec::as_slice).collect(),
        vec![HEADER, &one, &[], &nulls, TRAILER],
    ] {
        let mut decoder = decoder();
        assert_eq!(read(&mut decoder, &messages), Ok(expected.clone()));
        decoder.finish().unwrap();
    }
}

#[test]
fn an_empty_table_is_a_header_and_a_trailer() {
    let mut decoder = decoder();
    assert_eq!(read(&mut decoder, &[&[HEADER, TRAILER].concat()]), Ok((vec![], vec![])));
    decoder.finish().unwrap();
}

#[test]
fn extensions_of_the_header_are_passed_over() {
    let mut header = HEADER.to_vec();
    header[18] = 3;
    header.extend_from_slice(b"abc");
    assert_eq!(read(&mut decoder(), &[&header, &one()]).unwrap().0, ["(0,1)"]);
}

#[test]
fn a_stream_without_its_end_is_not_whole() {
    let mut decoder = decoder();
    read(&mut decoder, &[HEADER, &one()]).unwrap();
    let fault = decoder.finish().unwrap_err();
    assert!(fault.message().contains("public.t") && fault.message().contains("stops before its end"));
}

#[test]
fn a_lying_server_is_told_by_table_and_field() {
    let one = one();
    let mut flags = HEADER.to_vec();
    flags[11] = 1;
    let mut long = HEADER.to_vec();
    long[15] = 0x7F;
    let negative = [&3_i16.to_be_bytes()[..], &(-2_i32).to_be_bytes()].concat();
    let huge = [&3_i16.to_be_bytes()[..], &(-1_i32).to_be_bytes(), &i32::MAX.to_be_bytes(), b"abc"].concat();
    for (messages, told) in [
        (vec![&b"PGCOPX"[..]], "does not begin like one"),
        (vec![&HEADER[..18]], "does not begin like one"),
        (vec![&flags], "a form that is not known"),
        (vec![&long], "a form that is not known"),
        (vec![HEADER, &[0]], "a piece of a row"),
        (vec![HEADER, &tuple(&[None, None])], "another number of columns"),
        (vec![HEADER, &[0xFF, 0xFE]], "another number of columns"),
        (vec![HEADER, &negative], "field 1 "),
        (vec![HEADER, &huge], "field 2 "),
        (vec![HEADER, &one[..one.len() - 1]], "field 3 "),
        (vec![HEADER, TRAILER, TRAILER], "goes on after its end"),
        (vec![HEADER, &[TRAILER, &one].concat()], "goes on after its end"),
    ] {
        let fault = read(&mut decoder(), &messages).unwrap_err();
        assert!(fault.contains("public.t") && fault.contains(told), "{fault}");
    }
    let short = tuple(&[None, Some(&[0, 7]), None]);
    let fault = read(&mut decoder(), &[HEADER, &short]).unwrap_err();
    assert!(fault.contains("an integer in column \"a\""), "{fault}");
}

#[test]
fn leading_fields_need_not_be_asked_for() {
    let mut decoder = decoder();
    let message = [HEADER, &one(), TRAILER].concat();
    let stream = r#"{"streams":[{"stream":{"name":"t","json_schema":{"type":"object","properties":{"a":{},"b":{}}},
        "supported_sync_modes":["full_refresh"]},"sync_mode":"full_refresh","destination_sync_mode":"append"}]}"#;
    let stream = select(ConfiguredCatalog::parse(stream.as_bytes()).unwrap().streams.remove(0));
    let mut out = EmitterToMemory::new(&stream);
    let mut data = message.as_slice();
    while let Some(tuple) = decoder.tuple(&mut data).unwrap() {
        let mut tuple = Some(tuple);
        out.row(|row| tuple.take().unwrap().write(row).unwrap());
    }
    decoder.finish().unwrap();
    assert!(String::from_utf8(out.into_bytes()).unwrap().contains(r#""data":{"a":7,"b":"ä"}"#));
}

proptest! {
    #[test]
    fn random_bytes_are_an_error_and_never_a_panic(
        start in prop_oneof![Just(HEADER.to_vec()), Just(Vec::new())],
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        at in 0..200_usize,
        byte in any::<u8>(),
    ) {
        let _ = read(&mut decoder(), &[&start, &bytes]);
        let mut broken = [HEADER, &one(), &one(), TRAILER].concat();
        if let Some(place) = broken.get_mut(at) {
            *place = byte;
        }
        let _ = read(&mut decoder(), &[&broken]);
    }
}
