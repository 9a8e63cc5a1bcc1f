-- A shop in the database postgres, with what change data capture needs of it (wal_level=logical), and an empty warehouse.
CREATE DATABASE warehouse;
CREATE SCHEMA store;
CREATE TABLE store.products (
  sku    text PRIMARY KEY,
  title  text NOT NULL,
  price  numeric(10,2) NOT NULL,
  tags   text[] NOT NULL DEFAULT '{}'
);
CREATE TABLE store.sales (
  id       bigint PRIMARY KEY,
  sku      text NOT NULL REFERENCES store.products,
  pieces   integer NOT NULL,
  sold_at  timestamptz NOT NULL,
  buyer    jsonb
);
INSERT INTO store.products
SELECT 'P' || lpad(i::text, 4, '0'), 'Product ' || i, round(i * 0.73, 2), ARRAY['new', 'tag' || i % 7] FROM generate_series(1, 300) i;
INSERT INTO store.sales
SELECT i, 'P' || lpad((1 + i % 300)::text, 4, '0'), 1 + i % 4, timestamptz '2024-06-01 00:00Z' + i * interval '7 minutes',
  jsonb_build_object('email', 'buyer' || i % 50 || '@example.com')
FROM generate_series(1, 5000) i;
CREATE PUBLICATION ferry_store FOR TABLE store.products, store.sales;
SELECT pg_create_logical_replication_slot('ferry_store', 'pgoutput');
