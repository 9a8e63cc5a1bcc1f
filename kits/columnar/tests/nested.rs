//! Groups and lists: what fits them, and what does not.

use std::fs::File;
use std::sync::Arc;

use columnar::{AvroCodec, AvroFile, AvroStyle, Budget, Codec, Error, Layout, ParquetFile, ParquetOptions};
use connector_kit::{Column, FieldType, RecordBatch, RowDecoder, Stamp};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use proptest::prelude::{ProptestConfig, any, prop, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};
use serde_json::{Value, json};

fn layout() -> Arc<Layout> {
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "list": {"type": "array", "items": {"type": "string"}},
        "deep": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "boolean"}}}},
    }});
    let column = Column { name: "o".into(), field_type: FieldType::of(&schema), schema };
    Arc::new(Layout::nested(&[column]).unwrap())
}

fn batch(rows: &[&[u8]]) -> RecordBatch {
    let mut batch = RecordBatch::default();
    rows.iter().zip(1..).for_each(|(row, line)| batch.push(row, None, 0, line));
    batch
}

fn parquet(rows: &[&[u8]]) -> Result<File, Error> {
    let layout = layout();
    let options = ParquetOptions::new(Codec::Snappy, "test");
    let sink = tempfile::tempfile().unwrap();
    let file = ParquetFile::new(sink, &layout, Stamp::new(None, None), options, &Budget::new(1 << 20));
    let mut decoder = RowDecoder::new(layout.names());
    {
        let mut open = file.lock();
        for row in batch(rows).rows() {
            decoder.decode(row.data, open.sink()).unwrap();
            open.end_row(&row)?;
        }
    }
    file.close().map(|(file, ..)| file)
}

fn avro(rows: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let layout = layout();
    let style = AvroStyle { codec: AvroCodec::Null, name: "s".into(), namespace: None };
    let mut file = AvroFile::new(Vec::new(), &layout, Stamp::new(None, None), &style)?;
    let mut decoder = RowDecoder::new(layout.names());
    for row in batch(rows).rows() {
        decoder.decode(row.data, file.sink()).unwrap();
        file.end_row(&row)?;
    }
    file.close().map(|(bytes, ..)| bytes)
}

/// The column and the changes of each row.
fn read(rows: &[&[u8]]) -> Vec<(Value, String)> {
    let reader = SerializedFileReader::new(parquet(rows).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(|row| json_of(&Field::Group(row.unwrap())));
    rows.map(|row| (row["o"].clone(), row["_airbyte_meta"]["changes"].to_string())).collect()
}

fn json_of(field: &Field) -> Value {
    match field {
        Field::Bool(b) => (*b).into(),
        Field::Long(n) => (*n).into(),
        Field::Str(text) => text.as_str().into(),
        Field::Group(row) => {
            Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), json_of(field))).collect())
        }
        Field::ListInternal(list) => list.elements().iter().map(json_of).collect(),
        _ => Value::Null,
    }
}

#[test]
fn what_does_not_fit_inside_is_null_and_named_by_its_path() {
    let rows: [&[u8]; 3] = [
        br#"{"o":{"n":1,"list":["a","b"],"deep":[{"b":true},null]}}"#,
        br#"{"o":{"deep":[{"b":1}, 2 ],"list":"a","n":1,"n":2}}"#,
        br#"{"o":[1]}"#,
    ];
    let read = read(&rows);
    assert_eq!(read[0], (json!({"n": 1, "list": ["a", "b"], "deep": [{"b": true}, null]}), "[]".into()));
    assert_eq!(read[1].0, json!({"n": 2, "list": null, "deep": [{"b": null}, null]}));
    for path in ["o.deep.b", "o.deep", "o.list"] {
        assert!(read[1].1.contains(&format!("\"field\":\"{path}\"")), "{}", read[1].1);
    }
    assert!(read[2].0.is_null() && read[2].1.contains(r#""field":"o""#), "{:?}", read[2]);
    assert!(avro(&rows).is_ok());
}

#[test]
fn text_inside_of_a_list_that_is_not_utf8_is_named_by_its_line() {
    let rows: [&[u8]; 3] =
        [br#"{"o":{"list":["a","b"]}}"#, br#"{"o":{"list":[]}}"#, b"{\"o\":{\"list\":[\"c\",\"\xFF\"]}}"];
    for error in [parquet(&rows).unwrap_err(), avro(&rows).unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("line 3") && text.contains("field o"), "{text}");
    }
}

#[test]
fn a_row_with_more_faults_than_are_told_apart_names_some() {
    let members: Vec<String> = (0..1_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let row = format!("{{\"o\":{{{}}}}}", members.join(","));
    let (value, changes) = read(&[row.as_bytes()]).remove(0);
    assert_eq!(value, json!({"n": null, "list": null, "deep": null}));
    assert_eq!(changes.matches("TRUNCATED").count(), 64);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(
                (prop_oneof![Just("n"), Just("list"), Just("deep"), Just("b"), Just("x")], inner),
                0..4
            )
            .prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_record_holds_is_written_or_named(values in prop::collection::vec(value(), 1..6)) {
        let rows: Vec<String> = values.iter().map(|value| json!({"o": value}).to_string()).collect();
        let rows: Vec<&[u8]> = rows.iter().map(String::as_bytes).collect();
        let read = read(&rows);
        assert_eq!(read.len(), values.len());
        for ((found, changes), value) in read.iter().zip(&values) {
            assert!(!found.is_null() || value.is_null() || changes != "[]", "{value} is gone");
        }
        assert!(avro(&rows).is_ok());
    }
}
