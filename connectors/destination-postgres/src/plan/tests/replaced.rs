//! Tables that take the place of others.

use std::sync::OnceLock;

use connector_kit::SelectedStream;
use serde_json::json;
use testkit::services::{Postgres, Version};

use super::{
    OPTIONS, again, fail, indexes, open, open_with, put, rows, stream, sync, sync_with, tables, talk,
    with_fields,
};
use crate::plan::Options;

fn overwrite() -> SelectedStream {
    stream(json!({"sync_mode": "full_refresh", "destination_sync_mode": "overwrite",
        "generation_id": 2, "minimum_generation_id": 2}))
}

fn refresh(mode: &str) -> SelectedStream {
    stream(json!({"destination_sync_mode": mode, "generation_id": 2, "minimum_generation_id": 2}))
}

fn place(server: &Postgres) -> String {
    server.psql("SELECT oid FROM pg_class WHERE relname = 't'")
}

#[test]
fn an_overwrite_is_seen_when_it_is_complete_and_not_before() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        talk(&server, async |mut lane| {
            sync(&mut lane, &stream(json!({})), &["1, 'old'"]).await;
            fail(&mut lane, &overwrite(), &["2, 'half'"]).await;
            assert_eq!((rows(&server).as_str(), tables(&server).as_str()), ("1=old", "t"));
            again(&server, &mut lane).await;
            let mut plan = open(&mut lane, &overwrite()).await.unwrap();
            put(&mut lane, &plan, &["3, 'new'", "4, 'new'"]).await;
            lane.commit().await.unwrap();
            assert_eq!(rows(&server), "1=old");
            plan.publish(&mut lane).await.unwrap();
            lane.commit().await.unwrap();
            assert_eq!((rows(&server).as_str(), tables(&server).as_str()), ("3=new 4=new", "t"));
            assert_eq!(indexes(&server), "idx_extracted_at_t (_airbyte_extracted_at)");
        });
    }
}

#[test]
fn a_load_that_a_killed_run_left_behind_is_dropped() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        let plan = open(&mut lane, &overwrite()).await.unwrap();
        put(&mut lane, &plan, &["1, 'half'"]).await;
        lane.commit().await.unwrap();
        again(&server, &mut lane).await;
        sync(&mut lane, &overwrite(), &["2, 'whole'"]).await;
        assert_eq!((rows(&server).as_str(), tables(&server).as_str()), ("2=whole", "t"));
    });
}

#[test]
fn grants_and_comments_survive_a_swap() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        server.psql("CREATE ROLE reader; CREATE ROLE \"Ed\"; CREATE ROLE other; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO other");
        talk(&server, async |mut lane| {
            sync(&mut lane, &overwrite(), &["1, 'old'"]).await;
            server.psql(
            "REVOKE ALL ON t FROM other; GRANT SELECT ON t TO reader, PUBLIC; GRANT UPDATE ON t TO \"Ed\" WITH GRANT OPTION;
             COMMENT ON TABLE t IS 'it''s ours'; COMMENT ON COLUMN t.v IS 'a value'",
        );
            let before = place(&server);
            sync(&mut lane, &overwrite(), &["2, 'new'"]).await;
            assert_ne!(place(&server), before, "it was not swapped");
        });
        let grants = "SELECT string_agg(grantee || ' ' || privilege_type || ' ' || is_grantable, ', ' ORDER BY grantee COLLATE \"C\")
        FROM information_schema.role_table_grants WHERE table_name = 't' AND grantee <> 'postgres'";
        assert_eq!(server.psql(grants), "Ed UPDATE YES, PUBLIC SELECT NO, reader SELECT NO");
        let comments = "SELECT obj_description('t'::regclass), col_description('t'::regclass, 6)";
        assert_eq!(server.psql(comments), "it's ours|a value");
    }
}

/// Several servers would take longer than what is tried on them.
fn shared(version: Version) -> &'static Postgres {
    static SERVERS: [OnceLock<Postgres>; 2] = [OnceLock::new(), OnceLock::new()];
    SERVERS[usize::from(version == Version::V18)].get_or_init(|| Postgres::start(version))
}

#[test]
fn dp_13_what_hangs_on_a_table_stays_and_shows_the_new_rows() {
    let hanging = [
        "CREATE VIEW w AS SELECT * FROM t",
        "CREATE MATERIALIZED VIEW w AS SELECT * FROM t",
        "CREATE FUNCTION w() RETURNS SETOF t LANGUAGE sql AS 'SELECT * FROM t'",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON t USING (id > 0)",
        "CREATE PUBLICATION p FOR TABLE t",
        "CREATE RULE r AS ON DELETE TO t DO NOTHING",
        "CREATE INDEX own ON t (v)",
        "ALTER TABLE t ADD UNIQUE (id); CREATE TABLE other (t_id bigint REFERENCES t (id))",
        "CREATE STATISTICS own ON id, v FROM t",
        "GRANT SELECT (id) ON t TO pg_monitor",
        "ALTER TABLE t ALTER COLUMN v SET DEFAULT 'x'",
        "ALTER TABLE t SET (fillfactor = 70)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    ];
    for (version, hung) in [Version::V15, Version::V18].into_iter().flat_map(|v| hanging.map(|h| (v, h))) {
        let server = shared(version);
        server.psql("DROP PUBLICATION IF EXISTS p; DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        talk(server, async |mut lane| {
            sync(&mut lane, &overwrite(), &["1, 'old'"]).await;
            server.psql(hung);
            let before = place(server);
            sync(&mut lane, &overwrite(), &["2, 'new'"]).await;
            assert_eq!(place(server), before, "{hung}");
            assert_eq!(rows(server), "2=new", "{hung}");
            if hung.starts_with("CREATE VIEW") {
                assert_eq!(server.psql("SELECT id, v FROM w"), "2|new");
            }
        });
    }
}

#[test]
fn dp_13_views_go_when_the_config_says_so() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        sync(&mut lane, &overwrite(), &["1, 'old'"]).await;
        server.psql("CREATE VIEW w AS SELECT * FROM t; CREATE VIEW x AS SELECT * FROM w");
        let options = Options { drop_cascade: true, ..OPTIONS };
        sync_with(&mut lane, &overwrite(), &["2, 'new'"], options).await;
        assert_eq!((rows(&server).as_str(), tables(&server).as_str()), ("2=new", "t"));
    });
}

#[test]
fn dp_13_a_type_that_a_view_shows_is_not_changed() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        sync(&mut lane, &overwrite(), &["1, 'old'"]).await;
        server.psql("CREATE VIEW \"W w\" AS SELECT v FROM t");
        let changed = |mode: &str| {
            let fields = json!({"id": {"type": "integer"}, "v": {"type": "object"}});
            with_fields(fields, json!({"destination_sync_mode": mode}))
        };
        for mode in ["overwrite", "append"] {
            let error = open(&mut lane, &changed(mode)).await.unwrap_err();
            assert!(error.message().contains("view \"public\".\"W w\""), "{error}");
            assert!(error.message().contains("\"v\" in the table"), "{error}");
        }
        assert_eq!((rows(&server).as_str(), tables(&server).as_str()), ("1=old", "W w t"));
        let options = Options { drop_cascade: true, ..OPTIONS };
        open_with(&mut lane, &changed("overwrite"), options).await.unwrap();
    });
}

#[test]
fn a_truncating_refresh_goes_on_with_what_an_earlier_attempt_has_loaded() {
    for (mode, key) in [("append", ""), ("append_dedup", ", idx_pk_t (id)")] {
        let server = Postgres::start(Version::V15);
        talk(&server, async |mut lane| {
            sync(&mut lane, &stream(json!({"destination_sync_mode": mode})), &["1, 'old'"]).await;
            fail(&mut lane, &refresh(mode), &["2, 'first'"]).await;
            assert_eq!(rows(&server), "1=old");
            again(&server, &mut lane).await;
            fail(&mut lane, &refresh(mode), &["3, 'second'"]).await;
            again(&server, &mut lane).await;
            sync(&mut lane, &refresh(mode), &["4, 'third'"]).await;
            assert_eq!(
                (rows(&server).as_str(), tables(&server).as_str()),
                ("2=first 3=second 4=third", "t"),
                "{mode}"
            );
            assert_eq!(indexes(&server), format!("idx_extracted_at_t (_airbyte_extracted_at){key}"));
            // The generation is reached: another attempt has nothing to replace.
            again(&server, &mut lane).await;
            sync(&mut lane, &refresh(mode), &["5, 'more'"]).await;
            assert_eq!(rows(&server), "2=first 3=second 4=third 5=more");
        });
    }
}

#[test]
fn a_kept_load_of_an_older_generation_is_made_anew() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        sync(&mut lane, &stream(json!({})), &["1, 'old'"]).await;
        fail(&mut lane, &refresh("append"), &["2, 'first'"]).await;
        again(&server, &mut lane).await;
        let later = stream(json!({"generation_id": 3, "minimum_generation_id": 3}));
        sync(&mut lane, &later, &["3, 'newer'"]).await;
        assert_eq!((rows(&server).as_str(), tables(&server).as_str()), ("3=newer", "t"));
    });
}

#[test]
fn the_rows_of_a_refresh_that_was_given_up_are_taken_in() {
    for mode in ["append", "append_dedup"] {
        let server = Postgres::start(Version::V15);
        talk(&server, async |mut lane| {
            sync(&mut lane, &stream(json!({"destination_sync_mode": mode})), &["1, 'old'"]).await;
            fail(&mut lane, &refresh(mode), &["2, 'first'"]).await;
            again(&server, &mut lane).await;
            let after = stream(json!({"destination_sync_mode": mode, "generation_id": 2}));
            sync(&mut lane, &after, &["3, 'more'"]).await;
            assert_eq!(
                (rows(&server).as_str(), tables(&server).as_str()),
                ("1=old 2=first 3=more", "t"),
                "{mode}"
            );
        });
    }
}

#[test]
fn a_stream_that_starts_over_after_a_failure_leaves_nothing_of_it() {
    let server = Postgres::start(Version::V15);
    let whole = stream(json!({"sync_mode": "full_refresh"}));
    talk(&server, async |mut lane| {
        sync(&mut lane, &whole, &["1, 'first'"]).await;
        assert_eq!(rows(&server), "1=first");
        fail(&mut lane, &whole, &["1, 'half'"]).await;
        assert_eq!(rows(&server), "1=first");
        again(&server, &mut lane).await;
        sync(&mut lane, &whole, &["1, 'second'"]).await;
        assert_eq!((rows(&server).as_str(), tables(&server).as_str()), ("1=first 1=second", "t"));
    });
}

#[test]
fn indexes_of_an_earlier_mode_do_not_keep_a_table_from_being_swapped() {
    let server = Postgres::start(Version::V15);
    let dedup = {
        let mut dedup = stream(json!({"destination_sync_mode": "append_dedup"}));
        dedup.cursor_field = vec!["v".into()];
        dedup
    };
    talk(&server, async |mut lane| {
        sync(&mut lane, &dedup, &["1, 'old'"]).await;
        let before = place(&server);
        sync(&mut lane, &overwrite(), &["2, 'new'"]).await;
        assert_ne!(place(&server), before);
        assert_eq!(rows(&server), "2=new");
    });
}

#[test]
fn rows_of_other_tables_are_not_deleted_along() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        sync(&mut lane, &overwrite(), &["1, 'old'"]).await;
        server.psql(
            "ALTER TABLE t ADD UNIQUE (id); CREATE TABLE other (t_id bigint REFERENCES t (id) ON DELETE CASCADE);
             INSERT INTO other VALUES (1)",
        );
        let error = open(&mut lane, &overwrite()).await.unwrap_err();
        assert!(error.message().contains("other_t_id_fkey"), "{error}");
        assert_eq!((rows(&server).as_str(), server.psql("SELECT * FROM other").as_str()), ("1=old", "1"));
        // Without the action, the server itself refuses; nothing is changed then either.
        server.psql(
            "ALTER TABLE other DROP CONSTRAINT other_t_id_fkey; ALTER TABLE other ADD FOREIGN KEY (t_id) REFERENCES t (id)",
        );
        let mut plan = open(&mut lane, &overwrite()).await.unwrap();
        put(&mut lane, &plan, &["2, 'new'"]).await;
        let error = plan.publish(&mut lane).await.unwrap_err();
        assert_eq!(error.kind(), connector_kit::ErrorKind::Config);
        assert!(
            error.message().contains("other_t_id_fkey") && error.message().contains("\"other\""),
            "{error}"
        );
        lane.rollback().await.unwrap();
        assert_eq!((rows(&server).as_str(), server.psql("SELECT * FROM other").as_str()), ("1=old", "1"));
    });
}
