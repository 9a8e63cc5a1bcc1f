//! For tests only: a server that speaks Flight SQL as Dremio's documentation and grammar have it,
//! refuses what they do not have, and fails when a test wants it to. It is not Dremio: what it
//! takes, a real one should take; what only a real one can show, it cannot.
//!
//! **Calls.** Statements are planned by `GetFlightInfo` (or `CreatePreparedStatement`) and run by
//! `DoGet`, whatever they are. `CommandStatementUpdate` is refused unless [`Options::updates`], bulk
//! ingestion and parameters always. `GetSqlInfo`, `GetDbSchemas`, `GetTables` and
//! `GetTableTypes` answer; there are no catalogs and no transactions. Changes answer one
//! `Records` BIGINT, definitions `ok` BOOLEAN and `summary` VARCHAR, COPY INTO `Rows Inserted` and
//! `Rejected Records`.
//!
//! **Log-in.** Basic (base64 padded or not; the password may be a personal access token) on any
//! call, whose answer has `authorization: Bearer …`; or a personal access token as Bearer. A
//! session begins with a `set-cookie` and takes the header `schema`; without its cookie a call
//! is another session's, or refused with [`Options::demand_cookies`].
//!
//! **Statements.** `CREATE TABLE [IF NOT EXISTS]` with types or `AS`, `DROP TABLE [IF EXISTS]`, `ALTER
//! TABLE … ADD COLUMNS (…)`, `… DROP COLUMN c`, `TRUNCATE [TABLE]`, `CREATE [OR REPLACE] VIEW`, `DROP
//! VIEW`, `CREATE FOLDER` in a catalog, `INSERT INTO t [(…)] VALUES … | SELECT …`, `DELETE … [USING …]`, `UPDATE … [FROM …]`, `MERGE INTO t
//! USING … ON … [WHEN MATCHED THEN UPDATE SET c = …] [WHEN NOT MATCHED THEN INSERT (…) VALUES (…)]`,
//! `COPY INTO t FROM '@source/path' [FILES ('…')] FILE_FORMAT 'parquet' [(ON_ERROR 'abort')]`, and
//! queries. No RENAME, no `;`, no parameters, no second MATCHED clause and none with AND; functions are those on
//! a list. Each is one commit: all or nothing.
//!
//! **Types.** BOOLEAN, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p ≤ 38, s), VARCHAR, VARBINARY, DATE, TIME and
//! TIMESTAMP, of milliseconds and without a zone. What VALUES puts into a column must be of
//! its type: `DATE '…'`, `TIME '…'`, `TIMESTAMP '2024-02-29 12:00:00.123'`, `CAST('…' AS DECIMAL(38, 9))`.
//! A numeric literal has no more digits than a BIGINT; a string that is written no more than
//! 32,000 bytes ([`Options::field_limit`]); a merge that finds two source rows for one
//! target row is refused.
//!
//! **Names.** Case-insensitive, kept as written; reserved words need quotes. At the top are sources
//! ([`Source`]): `lake`, a catalog with tables and views; `store`, a store of objects with tables,
//! files and no views; `space`, with views only. Folders come into being with the first table
//! ([`Options::folders_first`]).
//! `INFORMATION_SCHEMA.SCHEMATA`, `"TABLES"`, `COLUMNS` and `VIEWS`, `sys.jobs_recent` and `sys.version` can be queried.
//!
//! **Errors.** As Dremio maps them: grammar and names `INVALID_ARGUMENT`, privileges `PERMISSION_DENIED`,
//! conflicts of commits, memory and queues `UNAVAILABLE`, the rest `INTERNAL`. Messages repeat the statement,
//! values and all, as far as 2,000 bytes go ([`Options::whole_messages`]).
//!
//! Rows are kept by DuckDB, in a process of its own (Python's, which `cargo xtask servers` installs).

mod desk;
mod engine;
mod error;
mod faults;
mod gate;
mod metadata;
mod people;
mod server;
mod service;
mod sql;
mod statements;
mod wire;

pub use faults::{Fault, Stage};
pub use server::{Dremio, Options};
pub use sql::Source;
pub use tonic::Code;
