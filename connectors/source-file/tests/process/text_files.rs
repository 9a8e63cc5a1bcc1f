//! CSV and TSV: types, quoting, encodings, compression, options.

use serde_json::json;

use crate::harness::{Case, gzip, pairs, zstd};

#[test]
fn a_csv_arrives_typed_and_exact() {
    let case = Case::csv(
        "id,big,price,ok,day,at,at_local,zip,note\n\
         1,9007199254740993,12.50,true,2024-02-29,2023-01-01 00:00:23.456789+00,2023-01-01 10:00,007,\"a \"\"b\"\"\nc\"\n\
         -2,123456789012345678901234567890,1e-3,False,1999-12-31,2023-01-01T00:00:00+05:30,2023-01-01T10:00:01.5,+5,NaN\n",
    );
    assert_eq!(
        case.types(),
        pairs(&[
            ("id", "integer"),
            ("big", "integer"),
            ("price", "number"),
            ("ok", "boolean"),
            ("day", "string/date"),
            ("at", "string/date-time/timestamp_with_timezone"),
            ("at_local", "string/date-time/timestamp_without_timezone"),
            ("zip", "string"),
            ("note", "string"),
        ])
    );
    assert_eq!(
        case.read().raw_rows(),
        [
            r#"{"id":1,"big":9007199254740993,"price":12.50,"ok":true,"day":"2024-02-29","at":"2023-01-01T00:00:23.456789Z","at_local":"2023-01-01T10:00:00","zip":"007","note":"a \"b\"\nc"}"#,
            r#"{"id":-2,"big":123456789012345678901234567890,"price":1e-3,"ok":false,"day":"1999-12-31","at":"2023-01-01T00:00:00+05:30","at_local":"2023-01-01T10:00:01.5","zip":"+5","note":"NaN"}"#,
        ]
    );
}

#[test]
fn what_does_not_fit_later_is_null_reported_and_told() {
    let mut text = "n,d,s\n".to_owned();
    for i in 0..10_050 {
        text += &format!("{i},2024-01-01,x\n");
    }
    text += "twelve,2024-02-30,5\n3.5,,y\n";
    let run = Case::csv(&text).read();
    let rows = run.rows();
    assert_eq!(rows.len(), 10_052);
    assert_eq!(rows[10_050], r#"{"n":null,"d":null,"s":"5"}"#);
    assert_eq!(rows[10_051], r#"{"n":null,"d":null,"s":"y"}"#);
    let reason = "NULLED:SOURCE_SERIALIZATION_ERROR";
    assert_eq!(
        run.changes(),
        [(10_050, format!("n:{reason}")), (10_050, format!("d:{reason}")), (10_051, format!("n:{reason}"))]
    );
    assert!(run.logged("Column \"n\": 2 values did not fit") && run.logged("line 10052"));
}

#[test]
fn all_text_on_request_keeps_every_byte() {
    let case = Case::csv("a,b\n1,007\n1e400, x \n").options(json!({"dtype": "string"}));
    assert_eq!(case.types(), pairs(&[("a", "string"), ("b", "string")]));
    assert_eq!(case.read().rows(), [r#"{"a":"1","b":"007"}"#, r#"{"a":"1e400","b":" x "}"#]);
    let case = Case::csv("a,b\n1,7\n").options(json!({"dtype": {"b": "str"}}));
    assert_eq!(case.types(), pairs(&[("a", "integer"), ("b", "string")]));
}

#[test]
fn empty_is_null_quoted_empty_is_text_and_words_are_null_where_they_cannot_be_values() {
    let rows = Case::csv("n,s\n1,NA\nNULL,\n,\"\"\n\"\",x\n").read().rows();
    assert_eq!(
        rows,
        [r#"{"n":1,"s":"NA"}"#, r#"{"n":null,"s":null}"#, r#"{"n":null,"s":""}"#, r#"{"n":null,"s":"x"}"#]
    );
    let run = Case::csv("n,s\n1,NA\n-,-\n").options(json!({"na_values": ["-"]})).read();
    assert_eq!(run.rows(), [r#"{"n":1,"s":"NA"}"#, r#"{"n":null,"s":null}"#]);
    assert!(run.changes().is_empty());
    let rows = Case::csv("n,s\n1,NA\n2,\n").options(json!({"keep_default_na": true})).read().rows();
    assert_eq!(rows, [r#"{"n":1,"s":null}"#, r#"{"n":2,"s":null}"#]);
    let rows = Case::csv("n,s\n1,\n").options(json!({"keep_default_na": false})).read().rows();
    assert_eq!(rows, [r#"{"n":1,"s":""}"#]);
}

#[test]
fn every_line_end_delimiter_and_quote_is_read() {
    let expected = [r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y"}"#];
    for (text, options) in [
        ("a,b\r\n1,x\n2,y", json!({})),
        ("a,b\r1,x\r2,y\r", json!({})),
        ("\u{FEFF}a,b\n1,x\n\n2,y\n", json!({})),
        ("a;b\n1;x\n2;y\n", json!({"sep": ";"})),
        ("a\tb\n1\tx\n2\ty\n", json!({"delimiter": "\t"})),
        ("a\tb\n1\tx\n2\ty\n", json!({"sep": "\\t"})),
        ("a,b\n1,'x'\n'2',y\n", json!({"quotechar": "'"})),
        ("junk \"\nmore\na,b\n1,x\n2,y\n", json!({"skiprows": 2})),
        ("drop,me\na,b\n1,x\n2,y\n", json!({"header": 1})),
        ("1,x\n2,y\n", json!({"names": ["a", "b"]})),
        ("old,names\n1,x\n2,y\n", json!({"names": ["a", "b"], "header": 0})),
        ("a,z,b\n1,9,x\n2,9,y\n", json!({"usecols": ["b", "a"]})),
        ("a,z,b\n1,9,x\n2,9,y\n3,9,z\n", json!({"usecols": [0, 2], "nrows": 2})),
    ] {
        assert_eq!(Case::csv(text).options(options.clone()).read().rows(), expected, "{text:?} {options}");
    }
    assert_eq!(Case::new("f.tsv", "tsv", "a\tb\n1\tx\n2\ty\n").read().rows(), expected);
    assert_eq!(Case::csv("1,x\n").options(json!({"header": null})).read().rows(), [r#"{"0":1,"1":"x"}"#]);
}

#[test]
fn a_quote_that_is_not_the_double_one_may_be_doubled_too() {
    let rows = Case::csv("a\n'it''s \"so\"'\n").options(json!({"quotechar": "'"})).read().rows();
    assert_eq!(rows, [r#"{"a":"it's \"so\""}"#]);
    let rows = Case::csv("a\n\"tab\t\\ \"\"q\"\"\"\n").read().rows();
    assert_eq!(rows, [r#"{"a":"tab\t\\ \"q\""}"#]);
}

#[test]
fn s3_10_encodings_are_read_as_asked_or_by_their_mark() {
    let text = "a,b\n1,Grüße €\n";
    let utf16 = |big: bool, mark: bool| {
        let mut bytes = Vec::new();
        for unit in mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16()) {
            bytes.extend(if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
        }
        bytes
    };
    let expected = ["{\"a\":1,\"b\":\"Grüße €\"}"];
    assert_eq!(Case::csv(utf16(false, true)).read().rows(), expected);
    assert_eq!(Case::csv(utf16(true, true)).options(json!({"encoding": "utf-16"})).read().rows(), expected);
    assert_eq!(Case::csv(utf16(false, false)).options(json!({"encoding": "utf-16"})).read().rows(), expected);
    assert_eq!(
        Case::csv(utf16(true, false)).options(json!({"encoding": "utf_16_be"})).read().rows(),
        expected
    );
    assert_eq!(
        Case::csv(b"a,b\n1,Gr\xFC\xDFe \x80\n").options(json!({"encoding": "cp1252"})).read().rows(),
        expected
    );
    assert_eq!(
        Case::csv(b"a\n\xE9\x80\n").options(json!({"encoding": "latin-1"})).read().rows(),
        ["{\"a\":\"é\u{80}\"}"]
    );
}

#[test]
fn compressed_files_are_recognised_and_members_joined() {
    let expected = [r#"{"a":1}"#, r#"{"a":2}"#];
    let (one, two) = (b"a\n1\n", b"2\n");
    for (name, content) in [
        ("f.csv.gz", [gzip(one), gzip(two)].concat()),
        ("f.csv", [gzip(one), gzip(two)].concat()),
        ("f.csv.zst", [zstd(one), zstd(two)].concat()),
        ("f.csv", zstd(b"a\n1\n2\n")),
        ("f.csv.gz", b"a\n1\n2\n".to_vec()),
    ] {
        assert_eq!(Case::new(name, "csv", content).read().rows(), expected, "{name}");
    }
}

#[test]
fn names_that_are_empty_or_taken_are_told() {
    let run = Case::csv(",x,x\n1,2,3\n").read();
    assert_eq!(run.rows(), [r#"{"Unnamed: 0":1,"x":2,"x.1":3}"#]);
    assert!(run.logged("\"x.1\"") && run.logged("\"Unnamed: 0\""));
}

#[test]
fn the_catalog_decides_columns_and_types() {
    let case = Case::csv("a,b,c\n1,2,3\n");
    let mut stream = case.stream();
    stream["json_schema"]["properties"] = json!({"c": {"type": "string"}, "a": {"type": ["null", "number"]}});
    assert_eq!(case.read_stream(stream).rows(), [r#"{"c":"3","a":1}"#]);
}

#[test]
fn rows_cross_block_boundaries_unharmed() {
    let note = "y".repeat(700);
    let mut text = "id,note\n".to_owned();
    for i in 0..2000 {
        text += &format!("{i},\"{i}, \"\"{note}\"\"\r\nend\"\r\n");
    }
    let rows = Case::csv(&text).read().rows();
    assert_eq!(rows.len(), 2000);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(*row, format!("{{\"id\":{i},\"note\":\"{i}, \\\"{note}\\\"\\r\\nend\"}}"));
    }
}

#[test]
fn a_header_alone_is_a_stream_without_rows() {
    let case = Case::csv("a,b\n");
    assert!(case.check().passed());
    assert_eq!(case.types(), pairs(&[("a", "string"), ("b", "string")]));
    assert!(case.read().rows().is_empty());
}

#[test]
fn s3_09_a_record_of_a_megabyte_and_nul_bytes_pass() {
    let long = "z".repeat(1 << 20);
    let rows = Case::csv(format!("a,b\n1,{long}\n2,x\0y\n")).read().rows();
    assert_eq!(rows[0].len(), long.len() + r#"{"a":1,"b":""}"#.len());
    assert_eq!(rows[1], r#"{"a":2,"b":"x\u0000y"}"#);
}
