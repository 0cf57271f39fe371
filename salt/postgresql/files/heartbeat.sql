-- Managed by Salt (salt/postgresql).
SET statement_timeout = '10s';
SELECT NOT pg_is_in_recovery() AS primary \gset
\if :primary
CREATE TABLE IF NOT EXISTS heartbeat (one boolean PRIMARY KEY DEFAULT true CHECK (one), at timestamptz NOT NULL);
INSERT INTO heartbeat (at) VALUES (clock_timestamp()) ON CONFLICT (one) DO UPDATE SET at = excluded.at;
\endif
