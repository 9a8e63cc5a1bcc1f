-- Two tables, and what change data capture needs: wal_level=logical, a publication, a slot.
CREATE SCHEMA shop;
CREATE TABLE shop.customers (
  id       integer PRIMARY KEY,
  name     text NOT NULL,
  email    text,
  joined   date NOT NULL
);
CREATE TABLE shop.orders (
  id          bigint PRIMARY KEY,
  customer_id integer NOT NULL REFERENCES shop.customers,
  amount      numeric(12,2) NOT NULL,
  placed_at   timestamptz NOT NULL,
  attributes  jsonb
);
INSERT INTO shop.customers
SELECT i, 'Customer ' || i, 'customer' || i || '@example.com', date '2024-01-01' + i FROM generate_series(1, 200) i;
INSERT INTO shop.orders
SELECT i, 1 + i % 200, round(i * 1.37, 2), timestamptz '2024-06-01 00:00Z' + i * interval '7 minutes', jsonb_build_object('items', i % 5)
FROM generate_series(1, 5000) i;
CREATE PUBLICATION ferry_shop FOR TABLE shop.customers, shop.orders;
SELECT pg_create_logical_replication_slot('ferry_shop', 'pgoutput');
