//! What holds for every value.

use proptest::prelude::{Strategy, any, prop, proptest};
use serde_json::Value;

use super::{array_of, built_in, column, numeric_binary, user, written};
use crate::types::calendar::{MICROS_PER_DAY, civil, day_of};
use crate::types::{BUILT_IN, ColumnType, Locale, Outcome, TypeInfo, numbers, times};

fn every_column() -> Vec<ColumnType> {
    let mut all: Vec<TypeInfo> = BUILT_IN.iter().map(|l| built_in(l.0)).collect();
    all.push(user("hstore", 'b'));
    all.extend(all.clone().into_iter().map(array_of));
    let mut columns: Vec<_> = all.iter().map(column).collect();
    columns.push(ColumnType::of(&array_of(built_in("bit")), 1, Locale::default()));
    columns
}

fn agrees(binary: impl Fn(&mut Vec<u8>) -> Outcome, text: impl Fn(&mut Vec<u8>) -> Outcome) -> String {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    assert_eq!(binary(&mut a), text(&mut b));
    assert_eq!(a, b);
    String::from_utf8(a).unwrap()
}

proptest! {
    #[test]
    fn numerics_keep_every_digit(whole in "0|[1-9][0-9]{0,40}", decimals in "(\\.[0-9]{1,40})?", negative in any::<bool>()) {
        let zero = whole == "0" && decimals.bytes().all(|b| matches!(b, b'.' | b'0'));
        let text = format!("{}{whole}{decimals}", if negative && !zero { "-" } else { "" });
        let binary = numeric_binary(&text);
        let written = agrees(
            |out| numbers::numeric(out, &binary),
            |out| numbers::numeric_text(out, text.as_bytes()),
        );
        assert_eq!(written, text);
    }

    #[test]
    fn floats_read_back_the_same(single in any::<f32>(), double in any::<f64>()) {
        let written = agrees(
            |out| numbers::float4(out, &single.to_be_bytes()),
            |out| numbers::float4_text(out, format!("{single:e}").as_bytes()),
        );
        assert!(written == "null" || written.parse::<f32>().unwrap().to_bits() == single.to_bits());
        let written = agrees(
            |out| numbers::float8(out, &double.to_be_bytes()),
            |out| numbers::float8_text(out, format!("{double:e}").as_bytes()),
        );
        assert!(written == "null" || written.parse::<f64>().unwrap().to_bits() == double.to_bits());
    }

    #[test]
    fn days_between_the_eras_are_the_usual_ones(day in -730_500..-730_000_i32) {
        let written = agrees(
            |out| times::date(out, &day.to_be_bytes()),
            |out| {
                let (year, month, in_month) = civil(day);
                let (year, era) = if year <= 0 { (1 - year, " BC") } else { (year, "") };
                times::date_text(out, format!("{year:04}-{month:02}-{in_month:02}{era}").as_bytes())
            },
        );
        assert_eq!(written.contains("BC"), day < -730_119);
    }

    #[test]
    fn days_and_dates_are_inverse(day in -2_451_545_i32..2_145_031_948) {
        let (year, month, in_month) = civil(day);
        assert_eq!(day_of(year, month, in_month), Some(day));
    }

    #[test]
    fn days_follow_one_another(day in -2_451_545_i32..2_145_031_948) {
        let (today, tomorrow) = (civil(day), civil(day + 1));
        let next_day = (today.0, today.1, today.2 + 1);
        let next_month = (today.0, today.1 + 1, 1);
        let next_year = (today.0 + 1, 1, 1);
        assert!([next_day, next_month, next_year].contains(&tomorrow), "{today:?} {tomorrow:?}");
        assert_eq!(tomorrow == next_year, today.1 == 12 && today.2 == 31);
    }

    #[test]
    fn timestamps_agree_in_both_forms(micros in -211_813_488_000_000_000_i64..9_223_371_331_199_999_999) {
        let (day, in_day) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
        let (year, month, in_month) = civil(i32::try_from(day).unwrap());
        let (shown, era) = if year <= 0 { (1 - year, " BC") } else { (year, "") };
        let seconds = in_day / 1_000_000;
        let fraction = format!(".{:06}", in_day % 1_000_000);
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        let text = format!(
            "{shown:04}-{month:02}-{in_month:02} {:02}:{:02}:{:02}{fraction}",
            seconds / 3_600, seconds / 60 % 60, seconds % 60
        );
        let written = agrees(
            |out| times::timestamp(out, &micros.to_be_bytes()),
            |out| times::timestamp_text(out, format!("{text}{era}").as_bytes()),
        );
        let decimals = match in_day {
            _ if in_day % 60_000_000 == 0 => ".000000".to_owned(),
            _ if in_day % 1_000_000 == 0 => String::new(),
            _ if in_day % 1_000 == 0 => format!(".{:03}", in_day / 1_000 % 1_000),
            _ => format!(".{:06}", in_day % 1_000_000),
        };
        let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
        assert_eq!(written, format!("\"{shown:04}-{month:02}-{in_month:02}T{clock}{decimals}{era}\""));
        let written = agrees(
            |out| times::timestamptz(out, &micros.to_be_bytes()),
            |out| times::timestamptz_text(out, format!("{text}+00{era}").as_bytes()),
        );
        assert_eq!(written, format!("\"{shown:04}-{month:02}-{in_month:02}T{clock}.{:06}Z{era}\"", in_day % 1_000_000));
    }

    #[test]
    fn arrays_of_text_come_back(items in nested_items()) {
        let column = column(&array_of(built_in("text")));
        let text = array_text(&items);
        assert_eq!(written(&column, false, text.as_bytes()), Ok(items.to_string()));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for column in every_column() {
            for binary in [true, false] {
                let _ = written(&column, binary, &bytes);
            }
        }
    }

    #[test]
    fn random_text_gives_json_or_an_error(text in "[-\\[\\]{}(),:;.=0-9 \"\\\\+NULTtfx]{0,24}") {
        for column in every_column() {
            // `written` reads the line back.
            let _ = written(&column, false, text.as_bytes());
        }
    }
}

fn nested_items() -> impl Strategy<Value = Value> {
    let leaf = prop::collection::vec(prop::option::of(".{0,6}|NULL"), 1..4).prop_map(Value::from);
    prop::collection::vec(leaf, 1..3).prop_map(Value::from)
}

/// As the server writes it, with more quotes than it needs.
fn array_text(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("{{{}}}", items.iter().map(array_text).collect::<Vec<_>>().join(","))
        }
        Value::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        _ => "NULL".into(),
    }
}
