//! Which files a sync reads, and what its state says.

use serde_json::json;
use testkit::services::{Action, FaultyStore, ObjectStore};

use crate::harness::Lake;

#[test]
fn the_second_sync_reads_only_what_is_new_and_the_state_is_airbytes() {
    let lake = Lake::csv();
    lake.put("a.csv", "id\n1\n", 10);
    lake.put("b.csv", "id\n2\n", 20);
    let stream = lake.found();
    let first = lake.sync(&stream, None);
    assert_eq!(first.ok().files(), ["a.csv", "b.csv"]);
    assert_eq!(
        first.state_value(),
        json!({
            "history": {"a.csv": "2026-01-01T00:00:10.000000Z", "b.csv": "2026-01-01T00:00:20.000000Z"},
            "_ab_source_file_last_modified": "2026-01-01T00:00:20.000000Z_b.csv",
        })
    );
    let second = lake.sync(&stream, Some(&first.state()));
    assert_eq!((second.ok().rows().len(), second.state_value()), (0, first.state_value()));
    lake.put("c.csv", "id\n3\n", 30);
    let third = lake.sync(&stream, Some(&second.state()));
    assert_eq!(third.ok().rows(), [r#"{"id":"3"}"#]);
}

#[test]
fn s3_01_a_file_that_appears_late_with_an_older_time_is_read() {
    let lake = Lake::csv();
    lake.put("b.csv", "id\n2\n", 1_000);
    let stream = lake.found();
    let first = lake.sync(&stream, None);
    lake.put("a.csv", "id\n1\n", 5);
    let second = lake.sync(&stream, Some(&first.state()));
    assert_eq!(second.ok().files(), ["a.csv"]);
    assert_eq!(second.state_value()["_ab_source_file_last_modified"], "2026-01-01T00:16:40.000000Z_b.csv");
}

#[test]
fn a_file_that_was_written_again_is_read_again_whole() {
    let lake = Lake::csv();
    lake.put("a.csv", "id\n1\n", 0);
    let stream = lake.found();
    let first = lake.sync(&stream, None);
    lake.put("a.csv", "id\n1\n2\n", 60);
    let second = lake.sync(&stream, Some(&first.state()));
    assert_eq!(second.ok().rows(), [r#"{"id":"1"}"#, r#"{"id":"2"}"#]);
}

#[test]
fn files_come_oldest_first_and_by_key_where_the_time_is_the_same() {
    let lake = Lake::csv();
    for (key, after) in [("z.csv", 1), ("a.csv", 3), ("m/x.csv", 2), ("b.csv", 2)] {
        lake.put(key, "id\n1\n", after);
    }
    assert_eq!(lake.read().ok().files(), ["z.csv", "b.csv", "m/x.csv", "a.csv"]);
}

#[test]
fn only_files_from_the_start_date_on_are_read() {
    let lake = Lake::csv().set("start_date", json!("2026-01-01T00:01:00.000000Z"));
    lake.put("old.csv", "id\n1\n", 59);
    lake.put("new.csv", "id\n2\n", 60);
    let run = lake.read();
    assert_eq!(run.ok().files(), ["new.csv"]);
    assert!(run.logged("1 older than start_date"));
}

#[test]
fn s3_04_a_listing_that_fails_on_a_page_goes_on_there_and_no_file_comes_twice() {
    let lake = Lake::csv();
    for n in 0..2_500 {
        lake.put(&format!("p/{n:05}.csv"), format!("id\n{n}\n"), n / 100);
    }
    let failed = std::sync::atomic::AtomicUsize::new(0);
    let proxy = FaultyStore::before(lake.store.port, move |asked| {
        let second_page = asked.is("GET", &["list-type=2", "continuation-token"])
            || asked.is("GET", &["list-type=2", "start-after"]);
        if second_page && failed.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3 {
            Action::Answer(500, "InternalError")
        } else {
            Action::Pass
        }
    });
    let lake = lake.through(&proxy).stream("input_schema", json!(r#"{"id": "integer"}"#));
    let stream = lake.found();
    let run = lake.sync(&stream, None);
    let mut ids: Vec<String> = run.ok().rows();
    assert_eq!(ids.len(), 2_500);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2_500);
    assert_eq!(run.state_value()["history"].as_object().unwrap().len(), 2_500);
    assert!(proxy.seen().iter().any(|a| a.is("GET", &[ObjectStore::BUCKET, "list-type=2"])));
}

#[test]
fn a_full_refresh_ends_with_a_state_that_nothing_is_left_out_by() {
    let lake = Lake::csv();
    lake.put("a.csv", "id\n1\n", 0);
    let stream = lake.found();
    let first = lake.read_stream(&stream, "full_refresh", None);
    assert_eq!(first.ok().rows().len(), 1);
    let again = lake.read_stream(&stream, "full_refresh", Some(&first.state()));
    assert_eq!(again.ok().rows().len(), 1);
}

/// A store that lists so many pages of a thousand long keys, and has none of them to give.
fn endless(pages: usize) -> u16 {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let (status, body) = if first.contains("list-type=2") {
                let page = first
                    .split("continuation-token=")
                    .nth(1)
                    .map_or(0, |t| t.split(['&', ' ']).next().unwrap().parse::<usize>().unwrap());
                let mut body = String::from("<?xml version=\"1.0\"?><ListBucketResult><Name>lake</Name>");
                for n in 0..1_000 {
                    body += &format!(
                        "<Contents><Key>{}/{page:06}-{n:04}.csv</Key><LastModified>2026-01-01T00:00:{:02}.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>9</Size></Contents>",
                        "x".repeat(400),
                        n % 60
                    );
                }
                if page + 1 < pages {
                    body += &format!(
                        "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>",
                        page + 1
                    );
                } else {
                    body += "<IsTruncated>false</IsTruncated>";
                }
                ("200 OK", body + "</ListBucketResult>")
            } else {
                ("403 Forbidden", "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned())
            };
            let mut connection = connection;
            let _ = write!(
                connection,
                "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

#[test]
fn s3_04_a_listing_takes_no_more_memory_the_longer_it_is() {
    // Kept in memory, the keys alone would be 100 MB.
    let port = endless(250);
    let mut lake = Lake::csv();
    lake.config["endpoint"] = format!("http://127.0.0.1:{port}").into();
    let run = lake.sync(&lake.stream_given(), None);
    assert!(run.logged("250000 files of 2250000 bytes to read"), "{}", run.output.log());
    assert!(run.error().contains("denied"), "{}", run.error());
    assert!(run.output.peak_kib < 80 << 10, "{} KiB", run.output.peak_kib);
}
