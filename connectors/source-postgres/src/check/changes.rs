//! What change data capture needs: of the server and the user, of the slot, of the
//! publication, and of each table.

use connector_kit::{Error, Result, tracing};
use postgres_kit::{Connection, Endpoint, Purpose, quote_identifier, server_error};

use super::{names, version};
use crate::config::Cdc;
use crate::slots;
use crate::tables::{self, Publication, ReplicaIdentity, Table};

/// Older servers end a slot's stream differently, and nobody runs them any more.
const OLDEST: u32 = 140_000;
/// Since this version a standby can have logical slots of its own.
const STANDBY: u32 = 160_000;

/// The server's side: log, user, slot, publication.
pub(super) async fn server(connection: &mut Connection, endpoint: &Endpoint, cdc: &Cdc) -> Result<()> {
    version(connection.server_version(), OLDEST, "CDC needs")?;
    log_level(connection).await?;
    replication_connection(endpoint).await?;
    let slot = match slots::slot(connection, &cdc.replication_slot).await? {
        Some(slot) => slot,
        None => return Err(no_slot(connection, &cdc.replication_slot).await?),
    };
    if let Some(error) = slot.problem().or_else(|| slot.in_use()) {
        return Err(error);
    }
    if let Some(danger) = slot.danger() {
        tracing::warn!("{danger}");
    }
    limits(connection).await
}

async fn setting(connection: &mut Connection, name: &str) -> Result<String> {
    let sql = format!("SELECT COALESCE(pg_catalog.current_setting('{name}', true), '')");
    let rows = connection.query(&sql).await?;
    Ok(rows.first().and_then(|row| row.get(0)).unwrap_or("").to_owned())
}

async fn log_level(connection: &mut Connection) -> Result<()> {
    let standby = connection.query("SELECT pg_catalog.pg_is_in_recovery()").await?;
    let standby = standby.first().is_some_and(|row| row.get(0) == Some("t"));
    if standby && connection.server_version() < STANDBY {
        return Err(Error::config(format!(
            "The server is a standby of version {}, which cannot decode its log: that takes 16 or later. Give `host` and `port` of the primary, or upgrade both.",
            connection.server_version() / 10_000
        )));
    }
    let level = setting(connection, "wal_level").await?;
    if level == "logical" {
        return Ok(());
    }
    let place = if standby { "on the primary" } else { "as a superuser" };
    Err(Error::config(format!(
        "The server's wal_level is {level}, and CDC needs logical. Run ALTER SYSTEM SET wal_level = logical; {place} and restart the server (on managed servers: set rds.logical_replication, cloudsql.logical_decoding or azure.replication_support)."
    )))
}

/// Opens one, because the right to may come from an attribute or from a role that a cloud
/// provider has made up.
async fn replication_connection(endpoint: &Endpoint) -> Result<()> {
    let user = quote_identifier(&endpoint.user);
    let Err(error) = endpoint.connect(Purpose::Replication).await else { return Ok(()) };
    Err(match server_error(&error).map(|e| e.code.as_str()) {
        Some("42501") => Error::config(format!(
            "The user {user} may not open replication connections. Run ALTER ROLE {user} REPLICATION; (on Amazon RDS: GRANT rds_replication TO {user};)."
        ))
        .with_source(error),
        Some("53300") => Error::config(
            "The server has no room for another replication connection. Raise max_wal_senders and restart the server, or end a reader that SELECT * FROM pg_stat_replication; shows and nobody needs.",
        )
        .with_source(error),
        _ => error,
    })
}

async fn no_slot(connection: &mut Connection, name: &str) -> Result<Error> {
    let rows = connection
        .query(
            "SELECT pg_catalog.current_database(), \
               (SELECT count(*) FROM pg_catalog.pg_replication_slots) >= \
                 pg_catalog.current_setting('max_replication_slots')::int",
        )
        .await?;
    let row = rows.first();
    let database = row.and_then(|r| r.get(0)).unwrap_or("");
    let error = slots::missing(name, database);
    if row.and_then(|r| r.get(1)) != Some("t") {
        return Ok(error);
    }
    Ok(Error::config(format!(
        "{} There is no room for it at present: max_replication_slots are in use; drop one that nobody needs, or raise the setting and restart the server.",
        error.message()
    )))
}

/// What does not stop this sync, but the next one, or the server's administrator.
async fn limits(connection: &mut Connection) -> Result<()> {
    let rows = connection
        .query(
            "SELECT (SELECT count(*) FROM pg_catalog.pg_replication_slots), \
               pg_catalog.current_setting('max_replication_slots'), \
               (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender'), \
               pg_catalog.current_setting('max_wal_senders'), \
               (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'idle_replication_slot_timeout')",
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let number = |column: usize| row.get(column).and_then(|n| n.parse::<i64>().ok());
    for (used, most, setting) in [(0, 1, "max_replication_slots"), (2, 3, "max_wal_senders")] {
        if let (Some(used), Some(most)) = (number(used), number(most))
            && used >= most
        {
            tracing::warn!(
                "All {most} of {setting} are in use; another connection will find none. Raise it and restart the server, or drop what nobody needs."
            );
        }
    }
    if let Some(seconds) = number(4).filter(|seconds| *seconds > 0) {
        tracing::warn!(
            "idle_replication_slot_timeout is {seconds} s: the server drops a slot that nobody reads for longer. Sync more often than that, or set it to 0."
        );
    }
    Ok(())
}

/// The publication and its tables.
pub(super) async fn tables(connection: &mut Connection, cdc: &Cdc, tables: &[Table]) -> Result<()> {
    let Some(publication) = tables::publication(connection, &cdc.publication).await? else {
        return Err(no_publication(&cdc.publication, tables));
    };
    kinds_of_change(&publication)?;
    broken_writes(connection, &publication).await?;
    let quoted = quote_identifier(&publication.name);
    let publishable: Vec<&Table> = tables.iter().filter(|t| t.selectable && t.can_be_published()).collect();
    let absent: Vec<&&Table> = publishable
        .iter()
        .filter(|t| t.published.is_none() && !is_inside_another(t, &publication, tables))
        .collect();
    if let Some(first) = absent.first() {
        let what = format!(
            "{} not in the publication {quoted}. Run ALTER PUBLICATION {quoted} ADD TABLE {};",
            names(absent.iter().map(|t| t.quoted())),
            first.quoted()
        );
        if tables.iter().all(|t| t.published.is_none()) {
            return Err(Error::config(format!(
                "No table of the config's schemas can be read by CDC: {what}"
            )));
        }
        tracing::warn!("Offered for full refresh only, because {what} to capture changes.");
    }
    let published = || publishable.iter().filter(|t| t.published.is_some());
    let keyless: Vec<&&Table> = published().filter(|t| t.change_key().is_empty()).collect();
    if let Some(first) = keyless.first() {
        tracing::warn!(
            "Offered for full refresh only, because they have no primary key: {}. Run ALTER TABLE {} ADD PRIMARY KEY (COLUMN); or, with a unique index over columns that are NOT NULL, ALTER TABLE {} REPLICA IDENTITY USING INDEX INDEX_NAME;",
            names(keyless.iter().map(|t| t.quoted())),
            first.quoted(),
            first.quoted()
        );
    }
    let other: Vec<String> = published()
        .filter(|t| !t.primary_key.is_empty() && t.change_key() != t.primary_key)
        .map(|t| t.quoted())
        .collect();
    if !other.is_empty() {
        tracing::warn!(
            "Deleted rows of {} are known only by the index that is their replica identity, which lacks columns of the primary key; the index's columns are offered as the key.",
            names(other.into_iter())
        );
    }
    Ok(())
}

/// A partition's changes may be sent as those of the table it belongs to, or the other way
/// round; then it is no omission that only one of them is listed.
fn is_inside_another(table: &Table, publication: &Publication, tables: &[Table]) -> bool {
    if table.is_partition {
        publication.via_root
    } else {
        let parts = tables.iter().any(|t| t.is_partition && t.published.is_some());
        matches!(table.kind, tables::RelationKind::Partitioned) && !publication.via_root && parts
    }
}

fn no_publication(name: &str, tables: &[Table]) -> Error {
    let some: Vec<String> = tables
        .iter()
        .filter(|t| t.selectable && t.can_be_published() && !t.is_partition && !t.primary_key.is_empty())
        .take(super::NAMED)
        .map(Table::quoted)
        .collect();
    let list = if some.is_empty() { "TABLE_NAME".to_owned() } else { some.join(", ") };
    let quoted = quote_identifier(name);
    Error::config(format!(
        "There is no publication {quoted} in this database. Run CREATE PUBLICATION {quoted} FOR TABLE {list}; with the tables that are wanted. The slot sees a publication only from then on, so create it before the slot, or make the slot anew."
    ))
}

fn kinds_of_change(publication: &Publication) -> Result<()> {
    let quoted = quote_identifier(&publication.name);
    let fix = format!("ALTER PUBLICATION {quoted} SET (publish = 'insert, update, delete, truncate');");
    if !publication.inserts {
        return Err(Error::config(format!(
            "The publication {quoted} does not publish inserts, so new rows would never arrive. Run {fix}"
        )));
    }
    let left_out: Vec<&str> = [
        (publication.updates, "updates"),
        (publication.deletes, "deletes"),
        (publication.truncates, "truncates"),
    ]
    .into_iter()
    .filter(|(published, _)| !published)
    .map(|(_, what)| what)
    .collect();
    if !left_out.is_empty() {
        tracing::warn!(
            "The publication {quoted} does not publish {}: the destination will not hear of them. Unless that is meant, run {fix}",
            left_out.join(" and ")
        );
    }
    Ok(())
}

/// Tables whose own UPDATE and DELETE fail because they are in the publication: the server
/// insists on knowing which row was meant. All tables of the publication, whatever `schemas`
/// says: it is our publication that breaks them.
async fn broken_writes(connection: &mut Connection, publication: &Publication) -> Result<()> {
    if !publication.updates && !publication.deletes {
        return Ok(());
    }
    let broken = broken_tables(connection, &publication.name).await?;
    let Some((first, identity, columns)) = broken.first() else { return Ok(()) };
    let what = match (publication.updates, publication.deletes) {
        (true, true) => "UPDATE and DELETE",
        (true, false) => "UPDATE",
        _ => "DELETE",
    };
    let publication = quote_identifier(&publication.name);
    let list = names(broken.iter().map(|(name, ..)| name.clone()));
    let fix = match (identity, columns) {
        (ReplicaIdentity::Nothing, _) => format!(
            "ALTER TABLE {first} REPLICA IDENTITY DEFAULT; if it has a primary key, else ALTER TABLE {first} REPLICA IDENTITY FULL;"
        ),
        (_, true) => format!(
            "ALTER PUBLICATION {publication} SET TABLE …; with every column of the replica identity in the column list of {first}, and only such columns in its WHERE condition; or ALTER TABLE {first} REPLICA IDENTITY USING INDEX INDEX_NAME; with an index over them"
        ),
        _ => format!(
            "ALTER TABLE {first} ADD PRIMARY KEY (COLUMN); or ALTER TABLE {first} REPLICA IDENTITY FULL; (more log is written then), or take it out with ALTER PUBLICATION {publication} DROP TABLE {first};"
        ),
    };
    Err(Error::config(format!(
        "The publication {publication} makes {what} fail for everybody who uses {list}, because the replica identity does not tell which row is meant. Run {fix}"
    )))
}

/// Name, identity, and whether the fault is in the publication's list of columns or condition.
async fn broken_tables(
    connection: &mut Connection,
    publication: &str,
) -> Result<Vec<(String, ReplicaIdentity, bool)>> {
    // Rows lie in the leaves of a partitioned table; their identity is what counts. What a
    // publication's list and condition use is recorded as dependencies: the columns one by one.
    let lists = if connection.server_version() >= 150_000 {
        "EXISTS (SELECT FROM pg_catalog.pg_publication_rel r \
            WHERE r.prpubid = p.oid AND r.prrelid = t.relid AND r.prattrs IS NOT NULL AND \
              (i.identity IS NULL OR NOT i.identity <@ r.prattrs::int2[])) \
         OR i.identity IS NOT NULL AND EXISTS (SELECT FROM pg_catalog.pg_publication_rel r \
            JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_publication_rel'::regclass \
              AND d.objid = r.oid AND d.refobjsubid > 0 \
            WHERE r.prpubid = p.oid AND r.prrelid = t.relid AND r.prattrs IS NULL AND r.prqual IS NOT NULL \
              AND d.refobjsubid <> ALL (i.identity))"
    } else {
        "false"
    };
    let sql = format!(
        "WITH named AS ( \
           SELECT p.oid, c.oid AS relid, c.relkind \
           FROM pg_catalog.pg_publication p \
             JOIN pg_catalog.pg_publication_tables t ON t.pubname = p.pubname \
             JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname \
             JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename \
           WHERE p.pubname::text = {publication}), \
         leaves AS ( \
           SELECT oid, relid FROM named WHERE relkind <> 'p' \
           UNION \
           SELECT named.oid, part.relid FROM named \
             CROSS JOIN LATERAL pg_catalog.pg_partition_tree(named.relid) part \
           WHERE named.relkind = 'p' AND part.isleaf), \
         p AS (SELECT DISTINCT oid, relid FROM leaves) \
         SELECT n.nspname, c.relname, c.relreplident, c.relreplident IN ('d', 'i') AND i.identity IS NOT NULL OR c.relreplident = 'f' \
         FROM p JOIN pg_catalog.pg_class c ON c.oid = p.relid \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           CROSS JOIN LATERAL (SELECT p.relid) t (relid) \
           LEFT JOIN LATERAL ( \
             SELECT (x.indkey::int2[])[0:x.indnkeyatts - 1] AS identity FROM pg_catalog.pg_index x \
             WHERE x.indrelid = c.oid AND x.indisvalid AND x.indislive AND CASE c.relreplident \
               WHEN 'd' THEN x.indisprimary AND x.indimmediate WHEN 'i' THEN x.indisreplident ELSE false END \
             LIMIT 1) i ON true \
         WHERE c.relkind = 'r' AND (c.relreplident = 'n' \
           OR c.relreplident IN ('d', 'i') AND i.identity IS NULL \
           OR {lists}) \
         ORDER BY n.nspname, c.relname",
        publication = postgres_kit::quote_literal(publication),
    );
    let rows = connection.query(&sql).await?;
    rows.iter()
        .map(|row| {
            let identity = match row.text(2)? {
                "n" => ReplicaIdentity::Nothing,
                "f" => ReplicaIdentity::Full,
                "i" => ReplicaIdentity::Index { columns: Vec::new() },
                _ => ReplicaIdentity::Default,
            };
            Ok((tables::quoted(row.text(0)?, row.text(1)?), identity, row.flag(3)?))
        })
        .collect()
}
