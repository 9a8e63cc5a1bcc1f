CREATE SCHEMA "_information";
CREATE SCHEMA "_sys";
CREATE TABLE "_sys".jobs_recent (job_id VARCHAR, status VARCHAR, query_type VARCHAR, user_name VARCHAR, submitted_ts TIMESTAMP_MS, query VARCHAR);
CREATE TABLE "_sys".written (schema VARCHAR, name VARCHAR, sql VARCHAR);
CREATE TABLE "_sys".version (version VARCHAR);
INSERT INTO "_sys".version VALUES ('26.0.0');
CREATE VIEW "_information"."SCHEMATA" AS
  SELECT 'DREMIO' AS "CATALOG_NAME", schema_name AS "SCHEMA_NAME", '<owner>' AS "SCHEMA_OWNER", 'SIMPLE' AS "TYPE", 'NO' AS "IS_MUTABLE"
  FROM duckdb_schemas() WHERE NOT internal AND schema_name NOT LIKE '\_%' ESCAPE '\' AND schema_name <> 'main';
CREATE VIEW "_information"."TABLES" AS
  SELECT 'DREMIO' AS "TABLE_CATALOG", schema_name AS "TABLE_SCHEMA", table_name AS "TABLE_NAME", 'TABLE' AS "TABLE_TYPE"
  FROM duckdb_tables() WHERE NOT internal AND schema_name NOT LIKE '\_%' ESCAPE '\'
  UNION ALL
  SELECT 'DREMIO', schema_name, view_name, 'VIEW' FROM duckdb_views() WHERE NOT internal AND schema_name NOT LIKE '\_%' ESCAPE '\';
CREATE VIEW "_information"."VIEWS" AS
  SELECT 'DREMIO' AS "TABLE_CATALOG", schema_name AS "TABLE_SCHEMA", view_name AS "TABLE_NAME", w.sql AS "VIEW_DEFINITION"
  FROM duckdb_views() v JOIN "_sys".written w ON lower(w.schema) = lower(v.schema_name) AND lower(w.name) = lower(v.view_name) WHERE NOT internal AND schema_name NOT LIKE '\_%' ESCAPE '\';
CREATE VIEW "_information"."COLUMNS" AS
  SELECT 'DREMIO' AS "TABLE_CATALOG", schema_name AS "TABLE_SCHEMA", table_name AS "TABLE_NAME", column_name AS "COLUMN_NAME",
    CAST(column_index AS INTEGER) AS "ORDINAL_POSITION", 'YES' AS "IS_NULLABLE",
    CASE
      WHEN data_type = 'VARCHAR' THEN 'CHARACTER VARYING'
      WHEN data_type = 'BLOB' THEN 'BINARY VARYING'
      WHEN data_type LIKE 'DECIMAL%' THEN 'DECIMAL'
      WHEN data_type LIKE 'TIMESTAMP%' THEN 'TIMESTAMP'
      ELSE data_type
    END AS "DATA_TYPE",
    CASE
      WHEN data_type LIKE 'DECIMAL%' THEN CAST(numeric_precision AS INTEGER)
      WHEN data_type = 'BIGINT' THEN 64
      WHEN data_type = 'INTEGER' THEN 32
      WHEN data_type = 'DOUBLE' THEN 53
      WHEN data_type = 'FLOAT' THEN 24
    END AS "NUMERIC_PRECISION",
    CASE WHEN data_type LIKE 'DECIMAL%' THEN CAST(numeric_scale AS INTEGER) WHEN data_type IN ('BIGINT', 'INTEGER') THEN 0 END AS "NUMERIC_SCALE"
  FROM duckdb_columns() WHERE NOT internal AND schema_name NOT LIKE '\_%' ESCAPE '\'
