//! COPY out and in, and replication.

use connector_kit::{ErrorKind, Result};
use postgres_kit::{Connection, Lsn, Purpose, server_error};
use testkit::services::{Postgres, Version};

use crate::{endpoint, run};

/// All that a copy brings.
async fn drain(connection: &mut Connection) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        while let Some(data) = connection.next_copy_data()? {
            all.extend_from_slice(data);
        }
        if connection.copy_finished() {
            return Ok(all);
        }
        connection.fill().await?;
    }
}

#[test]
fn rows_go_in_and_come_out_as_they_are() {
    let server = Postgres::start(Version::V15);
    run(async {
        let mut connection = endpoint(&server).connect(Purpose::Ordinary).await.unwrap();
        connection.execute("CREATE TABLE t (a int, b text)").await.unwrap();
        connection.copy_in("COPY t FROM STDIN").await.unwrap();
        let mut sent = Vec::new();
        for n in 0..50_000 {
            let row = format!("{n}\trow {n}\n");
            connection.send_copy_data(row.as_bytes()).await.unwrap();
            sent.extend(row.into_bytes());
        }
        // Larger than the buffer is allowed to stay, and rows behind it.
        let giant = format!("50000\t{}\n50001\tlast\n", "x".repeat(9 << 20));
        connection.send_copy_data(giant.as_bytes()).await.unwrap();
        sent.extend(giant.into_bytes());
        assert_eq!(connection.finish_copy_in().await.unwrap(), 50_002);
        connection.copy_out("COPY (SELECT * FROM t ORDER BY a) TO STDOUT").await.unwrap();
        assert!(drain(&mut connection).await.unwrap() == sent);
        assert!(connection.fill().await.is_err());
        assert_eq!(connection.query("SELECT 1").await.unwrap().len(), 1);
    });
}

#[test]
fn a_copy_that_fails_says_so_and_leaves_the_connection_usable() {
    let server = Postgres::start(Version::V15);
    run(async {
        let mut connection = endpoint(&server).connect(Purpose::Ordinary).await.unwrap();
        connection
            .copy_out("COPY (SELECT 1 / (n - 30000) FROM generate_series(1, 40000) n) TO STDOUT")
            .await
            .unwrap();
        let error = drain(&mut connection).await.unwrap_err();
        assert_eq!(server_error(&error).unwrap().code, "22012");
        assert!(connection.copy_finished() && connection.next_copy_data().unwrap().is_none());
        connection.execute("CREATE TABLE t (a int)").await.unwrap();

        connection.copy_in("COPY t FROM STDIN").await.unwrap();
        connection.send_copy_data(b"1\nnot a number\n").await.unwrap();
        assert_eq!(server_error(&connection.finish_copy_in().await.unwrap_err()).unwrap().code, "22P02");

        connection.copy_in("COPY t FROM STDIN").await.unwrap();
        connection.send_copy_data(b"1\n").await.unwrap();
        connection.abandon_copy_in("no\0more").await.unwrap();
        assert_eq!(connection.query("SELECT count(*) FROM t").await.unwrap()[0].int(0).unwrap(), 0);
        assert_eq!(connection.copy_out("SELECT 1").await.unwrap_err().kind(), ErrorKind::System);
    });
}

#[test]
fn a_fill_that_is_cancelled_loses_nothing() {
    let server = Postgres::start(Version::V15);
    run(async {
        let mut connection = endpoint(&server).connect(Purpose::Ordinary).await.unwrap();
        let sql =
            "COPY (SELECT n, pg_sleep(0.0005), repeat('x', 300) FROM generate_series(1, 2000) n) TO STDOUT";
        connection.copy_out(sql).await.unwrap();
        let (mut rows, mut given_up) = (0, 0);
        while !connection.copy_finished() {
            while let Some(data) = connection.next_copy_data().unwrap() {
                rows += 1;
                assert!(data.starts_with(format!("{rows}\t").as_bytes()));
            }
            match tokio::time::timeout(std::time::Duration::from_millis(1), connection.fill()).await {
                Ok(filled) if !connection.copy_finished() => filled.unwrap(),
                Ok(_) => {}
                Err(_) => given_up += 1,
            }
        }
        assert!(rows == 2000 && given_up > 10, "{rows} rows, given up {given_up} times");
    });
}

#[test]
fn changes_stream_until_replication_ends_and_then_commands_work_again() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE TABLE t (a int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t;
         SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
    );
    server.psql("INSERT INTO t SELECT generate_series(1, 1000)");
    run(async {
        let endpoint = endpoint(&server);
        let start = "START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')";
        let mut connection = endpoint.connect(Purpose::Replication).await.unwrap();
        connection.start_replication(start).await.unwrap();
        let (mut inserts, mut end) = (0, Lsn(0));
        while end == Lsn(0) {
            while let Some(data) = connection.next_copy_data().unwrap() {
                match (data[0], data.get(25)) {
                    (b'w', Some(b'I')) => inserts += 1,
                    (b'w', Some(b'C')) => end = Lsn(u64::from_be_bytes(data[43..51].try_into().unwrap())),
                    _ => {}
                }
            }
            if end == Lsn(0) {
                connection.fill().await.unwrap();
            }
        }
        assert_eq!(inserts, 1000);
        let mut feedback = vec![b'r'];
        for _ in 0..3 {
            feedback.extend(end.0.to_be_bytes());
        }
        feedback.extend([0; 9]);
        connection.send_copy_data(&feedback).await.unwrap();
        connection.end_replication().await.unwrap();
        let confirmed =
            connection.query("SELECT confirmed_flush_lsn FROM pg_replication_slots").await.unwrap();
        assert_eq!(confirmed[0].text(0).unwrap().parse(), Ok(end));

        // A slot that another connection reads from names its reader.
        assert_eq!(connection.start_replication(start).await.unwrap_err().kind(), ErrorKind::System);
        let mut connection = endpoint.connect(Purpose::Replication).await.unwrap();
        connection.start_replication(start).await.unwrap();
        let mut second = endpoint.connect(Purpose::Replication).await.unwrap();
        let error = second.start_replication(start).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.message().contains(&connection.backend_pid().to_string()), "{error}");
        let mut third = endpoint.connect(Purpose::Replication).await.unwrap();
        let error = third.start_replication(&start.replace("SLOT s", "SLOT none")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("`replication_slot`"), "{error}");
    });
}
