//! zip archives: read as the files that are in them, and stopped when they are not what they say.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::json;
use testkit::Exit;

use crate::harness::{Lake, gzip};

/// How an archive lies about its members.
#[derive(Clone, Copy, Debug, Default)]
struct Lies {
    /// All say that they stand where the first does, and only that is there.
    overlap: bool,
    crc: u32,
    size: u32,
    method: u16,
    flags: u16,
}

fn zip(members: &[(&str, &[u8])], lies: Lies) -> Vec<u8> {
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::new(6));
        packed.write_all(content).unwrap();
        let packed = packed.finish().unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let start = if lies.overlap { 0 } else { bytes.len() as u32 };
        let mut fixed = Vec::new();
        for n in [20, lies.flags, if lies.method > 0 { lies.method } else { 8 }, 0, 0] {
            fixed.extend(n.to_le_bytes());
        }
        for n in [crc.sum() ^ lies.crc, packed.len() as u32, content.len() as u32 ^ lies.size] {
            fixed.extend(n.to_le_bytes());
        }
        fixed.extend((name.len() as u16).to_le_bytes());
        fixed.extend([0, 0]);
        if !lies.overlap || bytes.is_empty() {
            bytes.extend([&b"PK\x03\x04"[..], &fixed, name.as_bytes(), &packed].concat());
        }
        let place = [&[0_u8; 10][..], &start.to_le_bytes()].concat();
        list.extend([&b"PK\x01\x02\x14\0"[..], &fixed, &place, name.as_bytes()].concat());
    }
    let (start, count) = (bytes.len() as u32, (members.len() as u16).to_le_bytes());
    bytes.extend(&list);
    bytes.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count].concat());
    bytes.extend([(list.len() as u32).to_le_bytes(), start.to_le_bytes()].concat());
    bytes.extend([0, 0]);
    bytes
}

#[test]
fn s3_14_the_files_in_a_zip_archive_are_read_in_its_order_and_their_names_are_only_names() {
    let compressed = gzip(b"id\n4\n");
    let members: [(&str, &[u8]); 6] = [
        ("one.csv", b"id\n1\n2\n"),
        ("folder/", b""),
        ("../../etc/two.csv", b"id\n3\n"),
        ("three.csv.gz", &compressed),
        ("empty.csv", b""),
        ("a#b.csv", b"id\n5\n"),
    ];
    let lake = Lake::csv();
    lake.put("all.ZIP", zip(&members, Lies::default()), 1);
    lake.put("plain.csv", "id\n6\n", 2);
    assert_eq!(lake.check().error(), "");
    let run = lake.read();
    let ids: Vec<_> = run.ok().rows();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6].map(|id| format!("{{\"id\":\"{id}\"}}")));
    let mut files = run.files();
    files.dedup();
    assert_eq!(
        files,
        [
            "all.ZIP#one.csv",
            "all.ZIP#../../etc/two.csv",
            "all.ZIP#three.csv.gz",
            "all.ZIP#a#b.csv",
            "plain.csv"
        ]
    );
    let run = lake.sync(&lake.found(), None);
    let history = run.ok().state_value()["history"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(history, ["all.ZIP", "plain.csv"], "an archive is read as one");
}

#[test]
fn s3_14_a_large_archive_is_read_by_ranges_with_few_of_them_in_memory() {
    let mut seed = 7_u64;
    let mut word = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:016x}", seed ^ (seed >> 29))
    };
    // Few rows, and long: they are to be many bytes.
    let part: String =
        (0..4_000).map(|id| format!("{id},{}\n", (0..80).map(|_| word()).collect::<String>())).collect();
    let text = format!("id,v\n{part}");
    let members = [
        ("a.csv", text.as_bytes()),
        ("b.csv", text.as_bytes()),
        ("c.csv", text.as_bytes()),
        ("d.csv", text.as_bytes()),
    ];
    let archive = zip(&members, Lies::default());
    assert!(archive.len() > 9 << 20, "{}", archive.len());
    let lake = Lake::csv();
    lake.put("large.zip", archive, 1);
    let run = lake.sync(&lake.stream_of("large.zip"), None);
    assert_eq!(run.ok().rows().len(), 16_000);
    assert!(run.output.peak_kib < 96 << 10, "{} KiB", run.output.peak_kib);
}

#[test]
fn s3_14_many_small_files_in_an_archive_take_no_request_each() {
    let names: Vec<String> = (0..5_000).map(|n| format!("{n}.csv")).collect();
    let members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"id\n1\n"[..])).collect();
    let lake = Lake::csv();
    lake.put("many.zip", zip(&members, Lies::default()), 1);
    assert_eq!(lake.read().ok().rows().len(), 5_000);
}

#[test]
fn s3_14_archives_that_are_not_what_they_say_are_named_and_the_others_are_read() {
    let members: [(&str, &[u8]); 2] = [("one.csv", b"id\n1\n2\n"), ("two.csv", b"id\n3\n")];
    let whole = zip(&members, Lies::default());
    let inner: [(&str, &[u8]); 1] = [("inner.zip", &whole)];
    let zeros = vec![b'\n'; 40 << 20];
    let bomb: [(&str, &[u8]); 1] = [("bomb.csv", &zeros)];
    let many: Vec<(&str, &[u8])> = vec![("same.csv", b"id\n1234567890123456789012345678901234567890\n"); 100];
    for (content, said) in [
        (whole[..whole.len() - 30].to_vec(), "its end is missing"),
        (b"PK\x03\x04................".to_vec(), "too short"),
        (zip(&members, Lies { crc: 1, ..Lies::default() }), "not what its list says"),
        (zip(&members, Lies { size: 64, ..Lies::default() }), "not what its list says"),
        (zip(&members, Lies { method: 14, ..Lies::default() }), "method 14"),
        (zip(&members, Lies { flags: 1, ..Lies::default() }), "encrypted"),
        (zip(&inner, Lies::default()), "compressed as zip"),
        (zip(&bomb, Lies::default()), "decompression bomb"),
        (zip(&many, Lies { overlap: true, ..Lies::default() }), "claim more bytes than it has"),
    ] {
        let lake = Lake::csv();
        lake.put("a.csv", "id\n1\n", 1);
        lake.put("b.zip", content, 2);
        let run = lake.sync(&lake.stream_of("a.csv"), None);
        assert_ne!(run.output.exit, Exit::Code(0), "{said}");
        assert!(run.error().contains(said) && run.error().contains("b.zip"), "{said}: {}", run.error());
        assert_eq!(run.files()[0], "a.csv");
    }
    let lake = Lake::new(json!({"filetype": "parquet"}));
    lake.put("a.zip", zip(&[("a.parquet", b"PAR1")], Lies::default()), 1);
    assert!(lake.check().error().contains("Parquet within a zip"), "{}", lake.check().error());
}
