-- A small shop: run it once in the database that sync.yaml names.
CREATE SCHEMA production_public;

CREATE TABLE production_public.customers (
  id bigint PRIMARY KEY, name text NOT NULL, email text, contact jsonb, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE production_public.orders (
  id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES production_public.customers,
  status text NOT NULL, total numeric(12, 2) NOT NULL, ordered_on date NOT NULL, updated_at timestamptz NOT NULL
);
CREATE TABLE production_public.products (id int PRIMARY KEY, title text NOT NULL, price numeric(10, 2), tags text[]);

INSERT INTO production_public.customers (id, name, email, contact)
SELECT i, 'customer ' || i, 'c' || i || '@example.com', jsonb_build_object('phone', '+49 30 ' || i, 'city', 'Berlin')
FROM generate_series(1, 200) i;
INSERT INTO production_public.orders
SELECT i, 1 + i % 200, (ARRAY['new', 'paid', 'shipped'])[1 + i % 3], i * 1.25, date '2024-01-01' + i % 365,
  timestamptz '2024-01-01Z' + i * interval '1 minute'
FROM generate_series(1, 5000) i;
INSERT INTO production_public.products SELECT i, 'product ' || i, i * 9.99, ARRAY['a', 'b'] FROM generate_series(1, 50) i;
