//! What names become.

use std::collections::{HashMap, HashSet};

use connector_kit::protocol::StreamDescriptor;
use proptest::prelude::{prop, proptest};

use super::{LONGEST, TableName, Wanted, beside, clean, columns, index, raw_table, tell_apart};

fn tables(streams: &[(Option<&str>, &str)]) -> Vec<String> {
    let descriptors: Vec<StreamDescriptor> = streams
        .iter()
        .map(|(namespace, name)| StreamDescriptor {
            name: (*name).to_owned(),
            namespace: namespace.map(str::to_owned),
        })
        .collect();
    let wanted: Vec<Wanted<'_>> = descriptors
        .iter()
        .map(|descriptor| {
            let namespace = descriptor.namespace.as_deref().unwrap_or("public");
            let table = TableName::new(clean(namespace), clean(&descriptor.name));
            Wanted { descriptor, namespace, table }
        })
        .collect();
    tell_apart(&wanted, []).into_iter().map(|t| format!("{}.{}", t.schema, t.table)).collect()
}

#[test]
fn names_become_letters_digits_and_underscores() {
    for (name, expected) in [
        ("Orders", "Orders"),
        ("order lines", "order_lines"),
        ("a  \t b", "a_b"),
        ("a--b", "a__b"),
        ("Größe", "Große".replace('ß', "_").as_str()),
        ("naïve ﬁle", "naive_file"),
        ("2024", "_2024"),
        ("a.b", "a_b"),
        ("\"; DROP TABLE x", "___DROP_TABLE_x"),
        ("a\0b", "a_b"),
        ("🦀", "_"),
        ("select", "select"),
    ] {
        assert_eq!(clean(name), expected, "{name:?}");
    }
    assert_eq!(clean(""), "default_name_e3b0c44298fc1c149afbf4c8996fb924");
    assert_ne!(clean("\u{301}"), clean("\u{302}"));
}

#[test]
fn long_names_end_in_the_hash_that_airbyte_gives_them() {
    // As java.lang.String defines it.
    let hash = (0..64).fold(0_i32, |h, _| h.wrapping_mul(31).wrapping_add(97)).to_string();
    let name = clean(&"a".repeat(64));
    assert_eq!(name, format!("{}_{}", "a".repeat(54), &hash[hash.len() - 8..]));
    assert_eq!(clean(&"a".repeat(63)), "a".repeat(63));
    assert_eq!(clean(&format!("{}1", "x".repeat(300))).len(), LONGEST);
}

#[test]
fn dp_06_names_that_are_cut_alike_stay_apart() {
    // Equal in the first 54 characters, and in the hash: "Aa" and "BB" have the same one.
    let (a, b) = (format!("{}Aa", "x".repeat(70)), format!("{}BB", "x".repeat(70)));
    assert_eq!(clean(&a), clean(&b));
    let both = tables(&[(None, &a), (None, &b)]);
    assert!(both[0] != both[1] && both.iter().all(|t| t.len() <= "public.".len() + LONGEST), "{both:?}");
    assert_eq!(columns([a.as_str(), &b].into_iter(), &[])[1].len(), LONGEST);
}

#[test]
fn dp_06_case_alone_tells_tables_apart() {
    assert_eq!(tables(&[(None, "Users"), (None, "users")]), ["public.Users", "public.users"]);
    assert_eq!(columns(["Id", "id", "ID"].into_iter(), &[]), ["Id", "id", "ID"]);
}

#[test]
fn dp_06_who_gets_the_plain_name_does_not_depend_on_the_order_of_the_catalog() {
    let streams = [(None, "a-b"), (None, "a b"), (None, "a_b"), (Some("public"), "a_b"), (None, "a_b_c")];
    let expected: HashMap<_, _> = streams.iter().copied().zip(tables(&streams)).collect();
    assert_eq!(expected[&(None, "a_b")], "public.a_b");
    assert_eq!(expected[&(None, "a_b_c")], "public.a_b_c");
    // The first digits of sha1 of "public&airbyte&a b".
    assert_eq!(expected[&(None, "a b")], "public.a_b_152");
    assert_eq!(expected.values().collect::<HashSet<_>>().len(), streams.len(), "{expected:?}");
    for turn in 1..streams.len() {
        let mut turned = streams;
        turned.rotate_left(turn);
        let again: HashMap<_, _> = turned.iter().copied().zip(tables(&turned)).collect();
        assert_eq!(again, expected);
    }
}

#[test]
fn a_column_may_not_take_the_name_of_one_that_is_added() {
    let names = columns(["_airbyte_raw_id", "a b", "a-b", "a_b", "a_b_1"].into_iter(), &super::ADDED);
    assert_eq!(names, ["_airbyte_raw_id_1", "a_b_2", "a_b_3", "a_b", "a_b_1"]);
}

#[test]
fn names_of_tables_beside_are_airbytes() {
    let name = beside(&TableName::new("public", "users"), "_airbyte_tmp");
    // The first half of sha256 of "public_raw__stream_users_airbyte_tmp".
    assert_eq!(name, "publicusers316a5ae463c1e6afd909707844bd831e");
    let long = beside(&TableName::new("s".repeat(40), "t".repeat(40)), "_airbyte_tmp");
    assert!(long.starts_with("ssssssssssssssssttttttttttttttt") && long.len() == LONGEST, "{long}");
    assert_eq!(raw_table("public", "users"), "public_raw__stream_users");
    assert_eq!(raw_table("pub__lic", "us___ers"), "pub__lic_raw____stream_us___ers");
    assert_eq!(index("pk", "users"), "idx_pk_users");
    assert!(index("extracted_at", &"t".repeat(60)) != index("extracted_at", &format!("{}u", "t".repeat(59))));
}

proptest! {
    #[test]
    fn any_names_are_told_apart_and_fit(names in prop::collection::hash_set("\\PC{0,8}|[ab\\-_ .]{1,3}|[x]{60,70}", 1..40)) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let streams: Vec<_> = names.iter().map(|name| (None, *name)).collect();
        for all in [tables(&streams), columns(names.iter().copied(), &super::ADDED)] {
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), names.len());
            for name in all {
                let name = name.strip_prefix("public.").unwrap_or(&name);
                assert!(!name.is_empty() && name.len() <= LONGEST, "{name}");
                assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{name}");
                assert!(!name.as_bytes()[0].is_ascii_digit());
            }
        }
    }
}
