-- Question: what do svc's checks add to a COPY of usage records, and what does rolling
-- them up cost, against the same by hand?
--
-- A million records of 10,000 customers and four resources, over six hours of one day.
-- References: COPY into a table with the same columns and indexes, without triggers;
-- six statements INSERT ... SELECT date_trunc, sum ... GROUP BY ... ON CONFLICT into a
-- table with the same columns and indexes as the roll-ups. Rounds are interleaved;
-- medians. Settings: -v records=1000000 -v customers=10000 -v rounds=3
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
\if :{?records} \else \set records 1000000
\endif
\if :{?customers} \else \set customers 10000
\endif
\if :{?rounds} \else \set rounds 3
\endif
SET max_parallel_workers_per_gather = 0;
SET jit = off;
SET work_mem = '64MB';

INSERT INTO svc_customer (id, name, status, created_at)
SELECT 'cus_' || i, 'Customer ' || i, 'active', '2020-01-01Z' FROM generate_series(1, :customers) i;
CREATE TABLE measured (what text, ms numeric);
CREATE TABLE reference (LIKE svc_usage INCLUDING ALL);
ALTER TABLE reference ALTER revision SET DEFAULT 0, ALTER created_at SET DEFAULT now(), ALTER updated_at SET DEFAULT now(),
    ALTER booked_at SET DEFAULT now(), ALTER xid SET DEFAULT pg_current_xact_id(), ALTER cluster SET DEFAULT 1;
CREATE TABLE by_hand (LIKE svc_customer_usage INCLUDING ALL);
ALTER TABLE by_hand ALTER revision SET DEFAULT 1, ALTER created_at SET DEFAULT now(), ALTER updated_at SET DEFAULT now();

-- the input, as a file that COPY reads
CREATE TABLE input AS
SELECT 'cus_' || 1 + (i * 7919) % :customers AS customer_id,
       (ARRAY['api_calls', 'tokens_used', 'storage_gb', 'emails'])[1 + i % 4] AS resource, 1 + i % 7 AS quantity,
       date_trunc('day', now(), 'UTC') - interval '20 hours' + i * (interval '6 hours' / :records) AS occurred_at
FROM generate_series(1::bigint, :records) i;
SELECT current_setting('data_directory') || '/usage.copy' AS file \gset
COPY input TO :'file';
DROP TABLE input;
CREATE PROCEDURE measure(what text, statement text) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
BEGIN
    EXECUTE statement;
    INSERT INTO measured VALUES (what, 1000 * extract(epoch FROM clock_timestamp() - start));
END $$;
CREATE PROCEDURE roll_up_by_hand() LANGUAGE plpgsql AS $$
DECLARE
    kind text;
BEGIN
    FOREACH kind IN ARRAY '{hour,day,week,month,quarter,year}'::text[] LOOP
        EXECUTE format('INSERT INTO by_hand AS t (customer_id, id, period_type, period_start, period_end, api_calls, tokens_used, storage_gb, usage_by_resource)
            SELECT customer_id, concat(left(%1$L, 1), period_start), %1$L, period_start, period_start + %2$L::interval, a, b, c,
                   CASE WHEN e IS NOT NULL THEN jsonb_build_object(''emails'', e) END
            FROM (SELECT customer_id, date_trunc(%1$L, occurred_at, ''UTC'') AS period_start,
                         sum(quantity) FILTER (WHERE resource = ''api_calls'') AS a, sum(quantity) FILTER (WHERE resource = ''tokens_used'') AS b,
                         sum(quantity) FILTER (WHERE resource = ''storage_gb'') AS c, sum(quantity) FILTER (WHERE resource = ''emails'') AS e
                  FROM reference GROUP BY 1, 2) s
            ON CONFLICT (customer_id, period_type, period_start, is_folded) DO UPDATE SET api_calls = t.api_calls + excluded.api_calls,
                tokens_used = t.tokens_used + excluded.tokens_used, storage_gb = t.storage_gb + excluded.storage_gb,
                usage_by_resource = jsonb_build_object(''emails'', coalesce((t.usage_by_resource ->> ''emails'')::numeric, 0)
                    + coalesce((excluded.usage_by_resource ->> ''emails'')::numeric, 0))',
            kind, CASE kind WHEN 'quarter' THEN '3 months' ELSE '1 ' || kind END);
    END LOOP;
END $$;

SELECT statement FROM generate_series(1, :rounds) round, (VALUES
    -- (svc's tables do not let themselves be emptied otherwise)
    (1, 'SET session_replication_role = replica'),
    (2, 'TRUNCATE reference, by_hand, svc_usage, svc_customer_usage, svc_usage_fold, svc_usage_horizon, svc_event'),
    (3, 'RESET session_replication_role'),
    (4, format('CALL measure(''COPY by hand'', %L)', format('COPY reference (customer_id, resource, quantity, occurred_at) FROM %L', :'file'))),
    (5, format('CALL measure(''COPY'', %L)', format('COPY svc_usage (customer_id, resource, quantity, occurred_at) FROM %L', :'file'))),
    (6, 'VACUUM ANALYZE reference'),
    (7, 'VACUUM ANALYZE svc_usage'),
    (8, 'CALL measure(''roll-up by hand'', ''CALL roll_up_by_hand()'')'),
    (9, 'CALL measure(''roll-up'', ''DO $d$ BEGIN PERFORM svc_aggregate_usage(upto => to_timestamp(0)); END $d$'')'),
    (10, 'CALL measure(''completing'', ''DO $d$ BEGIN PERFORM svc_aggregate_usage(); END $d$'')')) s (n, statement)
ORDER BY round, n \gexec

\echo
\echo Recording and rolling up :records records of :customers customers; medians of :rounds rounds, milliseconds
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms FROM measured GROUP BY what)
SELECT x.what, round(svc.ms) AS svc, round(hand.ms) AS by_hand, round((hand.ms / svc.ms)::numeric, 2) AS throughput, round((svc.ms / hand.ms)::numeric, 2) AS time, x.goal
FROM (VALUES ('COPY', 'COPY by hand', 'throughput >= 0.7'), ('roll-up', 'roll-up by hand', 'time <= 1.5')) x (what, reference, goal)
JOIN m svc ON svc.what = x.what JOIN m hand ON hand.what = x.reference
UNION ALL
SELECT 'COPY and roll-up', round(c.ms + r.ms), round(h.ms), round((h.ms / (c.ms + r.ms))::numeric, 2), round(((c.ms + r.ms) / h.ms)::numeric, 2), 'throughput >= 0.4'
FROM m c, m r, m h WHERE c.what = 'COPY' AND r.what = 'roll-up' AND h.what = 'COPY by hand'
UNION ALL
SELECT 'completing periods', round(ms), NULL, NULL, NULL, '' FROM m WHERE what = 'completing';
SELECT period_type, count(*), min(status) FROM svc_customer_usage GROUP BY 1 ORDER BY 2;
