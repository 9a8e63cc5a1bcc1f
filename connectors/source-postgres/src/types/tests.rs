//! Every branch by example; the real server's say is in `server_tests.rs`.

mod properties;

use connector_kit::bench::{EmitterToMemory, select};
use connector_kit::protocol::ConfiguredCatalog;
use serde_json::{Value, json};

use super::calendar::MICROS_PER_DAY;
use super::{BUILT_IN, ColumnType, Fate, Kind, Locale, TypeInfo, scalar_text};

fn built_in(name: &str) -> TypeInfo {
    TypeInfo {
        schema: "pg_catalog".into(),
        name: name.into(),
        kind: 'b',
        category: 'X',
        delimiter: if name == "box" { ';' } else { ',' },
        modifier: -1,
        element: None,
        base: None,
    }
}

fn array_of(element: TypeInfo) -> TypeInfo {
    TypeInfo {
        name: format!("_{}", element.name),
        kind: 'b',
        category: 'A',
        element: Some(Box::new(element.clone())),
        base: None,
        ..element
    }
}

fn domain(name: &str, base: TypeInfo, modifier: i32) -> TypeInfo {
    TypeInfo {
        schema: "public".into(),
        name: name.into(),
        kind: 'd',
        modifier,
        base: Some(Box::new(base.clone())),
        element: None,
        ..base
    }
}

fn user(name: &str, kind: char) -> TypeInfo {
    TypeInfo { schema: "public".into(), kind, ..built_in(name) }
}

fn column(info: &TypeInfo) -> ColumnType {
    ColumnType::of(info, -1, Locale::default())
}

fn typmod(precision: i32, scale: i32) -> i32 {
    (precision << 16 | scale & 0x7FF) + 4
}

/// What a column of this type writes: the JSON value, or the fault.
fn written(column: &ColumnType, binary: bool, value: &[u8]) -> Result<String, String> {
    let catalog = r#"{"streams":[{"stream":{"name":"t","json_schema":{"type":"object","properties":{"c":{}}},
        "supported_sync_modes":["full_refresh"]},"sync_mode":"full_refresh","destination_sync_mode":"append"}]}"#;
    let stream = select(ConfiguredCatalog::parse(catalog.as_bytes()).unwrap().streams.remove(0));
    let mut out = EmitterToMemory::new(&stream);
    let mut result = Ok(());
    out.row(|row| {
        result = if binary { column.write_binary(row, 0, value) } else { column.write_text(row, 0, value) };
    });
    result.map_err(|e| e.to_string())?;
    let line: Value = serde_json::from_slice(&out.into_bytes()).expect("a JSON line");
    let nulled = json!([{"field": "c", "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"}]);
    let record = &line["record"];
    let mark = match record.pointer("/meta/changes") {
        Some(changes) if *changes == nulled => " nulled",
        Some(other) => return Err(format!("unexpected changes {other}")),
        None => "",
    };
    Ok(format!("{}{mark}", record["data"]["c"]))
}

fn text(info: &TypeInfo, value: &str) -> Result<String, String> {
    written(&column(info), false, value.as_bytes())
}

fn scalar(kind: Kind, value: &[u8]) -> Option<String> {
    let mut out = Vec::new();
    let outcome = scalar_text(kind, Locale::default(), &mut out, value);
    outcome.ok().map(|_| String::from_utf8(out).unwrap())
}

/// A numeric as the server sends it, from its text: straightforward, not fast.
fn numeric_binary(text: &str) -> Vec<u8> {
    let (sign, digits) = text.strip_prefix('-').map_or((0_u16, text), |digits| (0x4000, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let after = format!("{decimals}{}", "0".repeat((4 - decimals.len() % 4) % 4));
    let mut groups: Vec<u16> = format!("{padded}{after}")
        .as_bytes()
        .chunks(4)
        .map(|c| std::str::from_utf8(c).unwrap().parse().unwrap())
        .collect();
    let mut weight = i16::try_from(padded.len() / 4).unwrap() - 1;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let head = [
        u16::try_from(groups.len()).unwrap(),
        weight.cast_unsigned(),
        sign,
        u16::try_from(decimals.len()).unwrap(),
    ];
    head.into_iter().chain(groups).flat_map(u16::to_be_bytes).collect()
}

/// Type, binary form, text form, what both write.
#[test]
fn both_decoders_write_the_same_value() {
    let mut cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("bool", vec![1], "t", "true"),
        ("bool", vec![0], "f", "false"),
        ("int2", (-5_i16).to_be_bytes().into(), "-5", "-5"),
        ("int4", i32::MIN.to_be_bytes().into(), "-2147483648", "-2147483648"),
        ("int8", i64::MIN.to_be_bytes().into(), "-9223372036854775808", "-9223372036854775808"),
        ("int8", 0_i64.to_be_bytes().into(), "0", "0"),
        ("oid", u32::MAX.to_be_bytes().into(), "4294967295", "4294967295"),
        ("float4", 1.1_f32.to_be_bytes().into(), "1.1", "1.1"),
        ("float4", f32::NAN.to_be_bytes().into(), "NaN", "null nulled"),
        ("float8", 0.1_f64.to_be_bytes().into(), "0.1", "0.1"),
        ("float8", 3_f64.to_be_bytes().into(), "3", "3.0"),
        ("float8", 1e300_f64.to_be_bytes().into(), "1e+300", "1e300"),
        ("float8", f64::INFINITY.to_be_bytes().into(), "Infinity", "null nulled"),
        ("float8", f64::NEG_INFINITY.to_be_bytes().into(), "-Infinity", "null nulled"),
        ("text", "a\"\n😀".into(), "a\"\n😀", r#""a\"\n😀""#),
        ("text", vec![], "", r#""""#),
        ("bpchar", b"ab  ".into(), "ab  ", r#""ab  ""#),
        ("json", b"{ \"a\":1}".into(), "{ \"a\":1}", r#""{ \"a\":1}""#),
        ("jsonb", b"\x01{\"a\": 1}".into(), "{\"a\": 1}", r#""{\"a\": 1}""#),
        ("bytea", b"kp\0\xFF".into(), "\\x6b7000ff", r#""\\x6b7000ff""#),
        ("bytea", vec![], "\\x", r#""\\x""#),
        (
            "uuid",
            0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11_u128.to_be_bytes().into(),
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#,
        ),
        ("date", 0_i32.to_be_bytes().into(), "2000-01-01", r#""2000-01-01""#),
        ("date", i32::MAX.to_be_bytes().into(), "infinity", r#""Infinity""#),
        ("date", i32::MIN.to_be_bytes().into(), "-infinity", r#""-Infinity""#),
        ("time", 46_801_010_000_i64.to_be_bytes().into(), "13:00:01.01", r#""13:00:01.010""#),
        ("time", 46_800_000_000_i64.to_be_bytes().into(), "13:00:00", r#""13:00:00.000000""#),
        ("time", 46_800_500_000_i64.to_be_bytes().into(), "13:00:00.5", r#""13:00:00.500""#),
        ("time", 46_801_000_000_i64.to_be_bytes().into(), "13:00:01", r#""13:00:01""#),
        ("time", 46_801_000_001_i64.to_be_bytes().into(), "13:00:01.000001", r#""13:00:01.000001""#),
        ("time", MICROS_PER_DAY.to_be_bytes().into(), "24:00:00", r#""23:59:59.999999999""#),
        ("timestamp", i64::MAX.to_be_bytes().into(), "infinity", r#""Infinity""#),
        ("timestamptz", i64::MIN.to_be_bytes().into(), "-infinity", r#""-Infinity""#),
    ];
    for (micros, zone, expected) in [
        (46_801_000_000_i64, "13:00:01+08", "13:00:01+08:00"),
        (46_804_000_000, "13:00:04+00", "13:00:04Z"),
        (46_800_000_000, "13:00:00-05:30", "13:00:00.000000-05:30"),
        (1_000_000, "00:00:01+15:59:59", "00:00:01+15:59:59"),
        (MICROS_PER_DAY, "24:00:00-01", "23:59:59.999999999-01:00"),
    ] {
        let west: i32 = match zone.get(8..) {
            Some("+08") => -28_800,
            Some("+00") => 0,
            Some("-05:30") => 19_800,
            Some("+15:59:59") => -57_599,
            _ => 3_600,
        };
        let binary = [micros.to_be_bytes().as_slice(), &west.to_be_bytes()].concat();
        cases.push(("timetz", binary, zone, Box::leak(format!("\"{expected}\"").into_boxed_str())));
    }
    for numeric in [
        "0",
        "0.00",
        "1",
        "-1",
        "10000",
        "1.50",
        "-0.001",
        "0.00001234",
        "12345.6789",
        "99999999.0000",
        "100000000",
    ] {
        cases.push(("numeric", numeric_binary(numeric), numeric, numeric));
    }
    for (sign, name) in [(0xC000_u16, "NaN"), (0xD000, "Infinity"), (0xF000, "-Infinity")] {
        let binary = [0, 0, sign, 0].into_iter().flat_map(u16::to_be_bytes).collect();
        cases.push(("numeric", binary, name, "null nulled"));
    }
    for (name, binary, text, expected) in cases {
        let column = column(&built_in(name));
        // serde_json writes floats anew when the line is read back; compare what it makes of both.
        let expected = expected.strip_suffix(" nulled").map_or_else(
            || serde_json::from_str::<Value>(expected).unwrap().to_string(),
            |null| format!("{null} nulled"),
        );
        assert_eq!(written(&column, true, &binary), Ok(expected.clone()), "{name} from binary, {text}");
        assert_eq!(written(&column, false, text.as_bytes()), Ok(expected), "{name} from text {text}");
    }
}

#[test]
fn every_day_of_a_thousand_years_has_its_own_date() {
    let mut previous = None;
    for day in -730_500..-365_000 {
        let date = super::calendar::civil(day);
        assert_eq!(super::calendar::day_of(date.0, date.1, date.2), Some(day));
        assert!(Some(date) > previous, "{date:?}");
        previous = Some(date);
    }
}

#[test]
fn timestamps_are_written_as_documented() {
    for (kind, text, expected) in [
        (Kind::Timestamp, "2004-10-19 10:23:54.123456", "2004-10-19T10:23:54.123456"),
        (Kind::Timestamp, "2004-10-19 10:23:54.12", "2004-10-19T10:23:54.120"),
        (Kind::Timestamp, "2004-10-19 10:23:54", "2004-10-19T10:23:54"),
        (Kind::Timestamp, "2004-10-19 10:23:00", "2004-10-19T10:23:00.000000"),
        (Kind::Timestamp, "0044-03-15 00:00:01 BC", "0044-03-15T00:00:01 BC"),
        (Kind::Timestamp, "4713-01-01 00:00:00 BC", "4713-01-01T00:00:00.000000 BC"),
        (Kind::Timestamp, "294276-12-31 23:59:59.999999", "294276-12-31T23:59:59.999999"),
        (Kind::TimestampTz, "2004-10-19 18:23:54+00", "2004-10-19T18:23:54.000000Z"),
        (Kind::TimestampTz, "2004-10-19 18:23:54.5-01:30", "2004-10-19T19:53:54.500000Z"),
        (Kind::TimestampTz, "0001-01-01 00:00:00+00", "0001-01-01T00:00:00.000000Z"),
        (Kind::TimestampTz, "0001-12-31 23:59:59+00 BC", "0001-12-31T23:59:59.000000Z BC"),
        (Kind::TimestampTz, "10000-01-01 00:00:00+00", "10000-01-01T00:00:00.000000Z"),
        (Kind::Date, "1999-01-08", "1999-01-08"),
        (Kind::Date, "0044-03-15 BC", "0044-03-15 BC"),
        (Kind::Date, "0999-03-15 BC", "0999-03-15 BC"),
        (Kind::Date, "0007-03-15 BC", "0007-03-15 BC"),
        (Kind::Date, "5874897-12-31", "5874897-12-31"),
    ] {
        assert_eq!(scalar(kind, text.as_bytes()), Some(format!("\"{expected}\"")), "{text}");
    }
}

#[test]
fn what_is_no_such_value_is_an_error_that_names_the_column() {
    for (name, binary) in [
        ("bool", vec![2]),
        ("bool", vec![]),
        ("int4", vec![0; 3]),
        ("float8", vec![0; 9]),
        ("numeric", vec![0; 7]),
        ("numeric", [1, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect()),
        ("numeric", [1, 0, 0, 0, 10_000].into_iter().flat_map(u16::to_be_bytes).collect()),
        ("numeric", [1, 0, 7, 0, 1].into_iter().flat_map(u16::to_be_bytes).collect()),
        // Digits beyond the scale.
        ("numeric", [1, 0xFFFF, 0, 2, 1_234].into_iter().flat_map(u16::to_be_bytes).collect()),
        ("numeric", [2, 0, 0, 0, 1, 1].into_iter().flat_map(u16::to_be_bytes).collect()),
        ("jsonb", b"\x02{}".to_vec()),
        ("jsonb", vec![]),
        ("uuid", vec![0; 15]),
        ("date", vec![0; 8]),
        ("time", (MICROS_PER_DAY + 1).to_be_bytes().to_vec()),
        ("time", (-1_i64).to_be_bytes().to_vec()),
        ("timetz", vec![0; 8]),
        ("timetz", [0_i64.to_be_bytes().as_slice(), &i32::MIN.to_be_bytes()].concat()),
        ("timestamp", vec![]),
        ("timestamptz", vec![0; 4]),
    ] {
        let fault = written(&column(&built_in(name)), true, &binary).unwrap_err();
        assert!(fault.contains("in column \"c\""), "{fault}");
    }
    for (name, text_form) in [
        ("bool", "true"),
        ("int4", "007"),
        ("int4", ""),
        ("int8", "12345678901234567890"),
        ("float8", "1,5"),
        ("numeric", "1."),
        ("numeric", ".5"),
        ("numeric", "+1"),
        ("numeric", "01"),
        ("numeric", "1e5"),
        ("money", "USD"),
        ("bytea", "kp\\000"),
        ("bytea", "\\x6"),
        ("date", "08.01.1999"),
        ("date", "1999-02-29"),
        ("date", "1999-13-01"),
        ("date", "1999-01-01 "),
        ("time", "13:00"),
        ("time", "24:00:01"),
        ("time", "13:60:00"),
        ("time", "13:00:00.1234567"),
        ("timetz", "13:00:00"),
        ("timetz", "13:00:00+16"),
        ("timetz", "13:00:00+01:60"),
        ("timestamp", "2004-10-19T10:23:54"),
        ("timestamp", "2004-10-19 10:23:54+00"),
        ("timestamptz", "2004-10-19 10:23:54"),
        ("timestamptz", "2004-10-19 10:23:54 CET"),
        ("point", "(1,x)"),
    ] {
        let fault = text(&built_in(name), text_form).unwrap_err();
        assert!(fault.contains("in column \"c\""), "{name} {text_form}: {fault}");
        assert!(text_form.len() < 3 || !fault.contains(text_form), "values stay out of messages: {fault}");
    }
}

#[test]
fn money_keeps_its_digits_in_any_locale() {
    for (text, digits, expected) in [
        ("$1,234.56", 2, "1234.56"),
        ("-$1,234.56", 2, "-1234.56"),
        ("($0.05)", 2, "-0.05"),
        ("1.234,56 €", 2, "1234.56"),
        ("1\u{202f}234,56 €", 2, "1234.56"),
        ("\u{2212}12,50 kr", 2, "-12.50"),
        ("￥1,234", 0, "1234"),
        ("0.000 د.ك", 3, "0.000"),
        ("-$92,233,720,368,547,758.08", 2, "-92233720368547758.08"),
    ] {
        let locale = Locale { money_fraction_digits: digits };
        let mut out = Vec::new();
        assert_eq!(scalar_text(Kind::Money, locale, &mut out, text.as_bytes()), Ok(Fate::Written), "{text}");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn bytes_that_are_no_text_are_nulled_and_reported() {
    let column = column(&built_in("text"));
    for binary in [true, false] {
        assert_eq!(written(&column, binary, b"caf\xE9"), Ok("null nulled".into()));
    }
    assert_eq!(text(&array_of(built_in("text")), "{a,b}"), Ok(r#"["a","b"]"#.into()));
    let array = ColumnType::of(&array_of(built_in("text")), -1, Locale::default());
    assert_eq!(written(&array, false, b"{a,caf\xE9}"), Ok(r#"["a",null] nulled"#.into()));
    let mut out = Vec::new();
    assert_eq!(super::hstore::write(&mut out, b"\"a\"=>\"\xE9\""), Ok(Fate::Nulled));
}

#[test]
fn arrays_become_json_arrays() {
    for (element, from, expected) in [
        ("int4", "{}", "[]"),
        ("int4", "{1,NULL,-3}", "[1,null,-3]"),
        ("int4", "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
        ("int4", "[2:3]={1,2}", "[1,2]"),
        ("int4", "[-1:0][5:5]={{1},{2}}", "[[1],[2]]"),
        (
            "text",
            r#"{"NULL",NULL,"","a,b","\"q\"","\\","{}"}"#,
            r#"["NULL",null,"","a,b","\"q\"","\\","{}"]"#,
        ),
        ("text", "{😀,Ä}", r#"["😀","Ä"]"#),
        ("bool", "{t,f}", "[true,false]"),
        ("numeric", "{1.50,NaN,2}", "[1.5,null,2] nulled"),
        ("float8", "{1,Infinity}", "[1.0,null] nulled"),
        ("bytea", r#"{"\\x6b70"}"#, r#"["XHg2Yjcw"]"#),
        ("date", r#"{1999-01-08,"0044-03-15 BC",infinity}"#, r#"["1999-01-08","0044-03-15 BC","Infinity"]"#),
        ("timestamptz", r#"{"2004-10-19 18:23:54+00"}"#, r#"["2004-10-19T18:23:54.000000Z"]"#),
        ("money", r#"{"$1,000.00",$2.50}"#, "[1000.0,2.5]"),
        ("box", "{(1,1),(0,0);(2,2),(1,1)}", r#"["(1.0,1.0),(0.0,0.0)","(2.0,2.0),(1.0,1.0)"]"#),
        ("point", r#"{"(1,2)"}"#, r#"["(1.0,2.0)"]"#),
        ("jsonb", r#"{"{\"a\": 1}"}"#, r#"["{\"a\": 1}"]"#),
        ("inet", "{10.0.0.1}", r#"["10.0.0.1"]"#),
    ] {
        assert_eq!(text(&array_of(built_in(element)), from), Ok(expected.into()), "{element}[] {from}");
    }
    for fault in [
        "",
        "{",
        "}",
        "1",
        "{1",
        "{1,}",
        "{,1}",
        "{1}2",
        "{1}}",
        "{{1}",
        "{\"1}",
        "{\"1\\",
        "{1 2\"}",
        "[1:2={1}x",
        "[a]={1}",
        "{{{{{{{1}}}}}}}",
    ] {
        assert!(text(&array_of(built_in("text")), fault).is_err(), "{fault}");
    }
}

#[test]
fn bits_in_arrays_are_booleans_only_when_they_are_single() {
    let bits = array_of(built_in("bit"));
    let single = ColumnType::of(&bits, 1, Locale::default());
    assert_eq!(single.schema(), json!({"type": "array", "items": {"type": "boolean"}}));
    assert_eq!(written(&single, false, b"{0,1,NULL}"), Ok("[false,true,null]".into()));
    let longer = ColumnType::of(&bits, 3, Locale::default());
    assert_eq!(longer.schema(), json!({"type": "array", "items": {"type": "string"}}));
    assert_eq!(written(&longer, false, b"{010,111}"), Ok(r#"["010","111"]"#.into()));
    assert_eq!(text(&built_in("bit"), "1"), Ok("\"1\"".into()));
}

#[test]
fn geometry_always_shows_decimals() {
    for (from, expected) in [
        ("(3,7)", "(3.0,7.0)"),
        ("(15,18),(3,7)", "(15.0,18.0),(3.0,7.0)"),
        ("<(5,7),10>", "<(5.0,7.0),10.0>"),
        ("{4,5,6}", "{4.0,5.0,6.0}"),
        ("[(3,7),(15.5,-18)]", "[(3.0,7.0),(15.5,-18.0)]"),
        ("((1e+20,0.1),(NaN,-Infinity))", "((1.0e+20,0.1),(NaN,-Infinity))"),
        ("(1e-07,Infinity)", "(1.0e-7,Infinity)"),
    ] {
        assert_eq!(text(&built_in("point"), from), Ok(format!("\"{expected}\"")));
    }
}

#[test]
fn hstore_becomes_the_text_of_an_object() {
    let hstore = user("hstore", 'b');
    for (from, expected) in [
        ("", json!("{}")),
        (r#""a"=>"1""#, json!(r#"{"a":"1"}"#)),
        (r#""a"=>"1", "b"=>NULL"#, json!(r#"{"a":"1","b":null}"#)),
        (r#""q\"\\"=>"=> , NULL", "😀"=>"NULL""#, json!(r#"{"q\"\\":"=> , NULL","😀":"NULL"}"#)),
    ] {
        assert_eq!(text(&hstore, from), Ok(expected.to_string()));
    }
    for fault in ["a", "\"a\"", "\"a\"=>", "\"a\"=>1", "\"a\"=>\"1\",", "\"a\"=>\"1\" ", "\"a\\"] {
        assert!(text(&hstore, fault).is_err(), "{fault}");
    }
}

#[test]
fn domains_are_their_base_types() {
    let whole = domain("whole", built_in("numeric"), typmod(10, 0));
    assert_eq!(column(&whole).schema(), json!({"type": "number", "airbyte_type": "integer"}));
    let nested = domain("outer", domain("inner", array_of(built_in("int4")), -1), -1);
    assert_eq!(column(&nested), column(&array_of(built_in("int4"))));
    let of_arrays = array_of(domain("inner", array_of(built_in("int4")), -1));
    assert_eq!(column(&of_arrays).schema(), json!({"type": "array"}));
    assert_eq!(text(&of_arrays, r#"{"{1,2}",NULL}"#), Ok(r#"["{1,2}",null]"#.into()));
}

#[test]
fn only_a_scale_of_nothing_makes_a_numeric_an_integer() {
    let schema = |modifier| ColumnType::of(&built_in("numeric"), modifier, Locale::default()).schema();
    let integer = json!({"type": "number", "airbyte_type": "integer"});
    assert_eq!(schema(-1), json!({"type": "number"}));
    assert_eq!(schema(typmod(10, 2)), json!({"type": "number"}));
    assert_eq!(schema(typmod(1, 1000)), json!({"type": "number"}));
    assert_eq!(schema(typmod(10, 0)), integer);
    assert_eq!(schema(typmod(5, -2)), integer);
}

#[test]
fn types_of_users_are_selected_by_their_output() {
    let output = |name: &str| {
        format!("CASE WHEN \"{name}\" IS DISTINCT FROM NULL THEN pg_catalog.concat(\"{name}\") END")
    };
    for (info, expected) in [
        (built_in("int4"), "\"c\"".into()),
        (built_in("money"), "\"c\"::pg_catalog.numeric".into()),
        (built_in("interval"), "\"c\"::pg_catalog.text".into()),
        (array_of(built_in("inet")), "\"c\"::pg_catalog.text".into()),
        (built_in("inet"), output("c")),
        (built_in("xml"), output("c")),
        (user("mood", 'e'), "\"c\"".into()),
        (user("address", 'c'), output("c")),
        (array_of(user("mood", 'e')), output("c")),
        (user("citext", 'b'), output("c")),
        // Nobody's type is taken for a built-in one by its name.
        (user("int4", 'b'), output("c")),
    ] {
        assert_eq!(column(&info).select("\"c\""), expected, "{}", info.name);
    }
}

#[test]
fn what_orders_rows_can_be_a_cursor() {
    let can: Vec<_> =
        BUILT_IN.iter().filter(|l| column(&built_in(l.0)).can_be_cursor()).map(|l| l.0).collect();
    assert_eq!(
        can.join(" "),
        "int2 int4 int8 oid float4 float8 numeric text varchar bpchar name uuid date time timetz timestamp timestamptz"
    );
    assert!(column(&user("citext", 'b')).can_be_cursor());
    assert!(!column(&array_of(built_in("int4"))).can_be_cursor());
}
