-- Question: what does it take to say what a customer has used in a month, out of ten
-- million raw records that are rolled up to date, against the sum of the raw records by
-- the index?
--
-- 100 customers, four resources, three months. Each question is about another customer
-- and resource; rounds are interleaved, medians.
-- Settings: -v records=10000000 -v questions=40 -v rounds=5
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
\if :{?records} \else \set records 10000000
\endif
\if :{?questions} \else \set questions 40
\endif
\if :{?rounds} \else \set rounds 5
\endif
SET max_parallel_workers_per_gather = 0;
SET jit = off;
SET timezone = 'UTC';
SET work_mem = '64MB';

INSERT INTO svc_customer (id, name, status, created_at)
SELECT 'cus_' || i, 'Customer ' || i, 'active', '2020-01-01Z' FROM generate_series(1, 100) i;
-- written as a restore would write them: without triggers, indexes afterwards
SET session_replication_role = replica;
ALTER TABLE svc_usage DROP CONSTRAINT svc_usage_pkey;
DROP INDEX svc_usage_key, svc_usage_booked, svc_usage_customer_xid, svc_usage_xid, svc_usage_subscription, svc_usage_invoice, svc_usage_adjusts;
INSERT INTO svc_usage (customer_id, id, revision, created_at, updated_at, occurred_at, booked_at, xid, cluster, quantity, resource)
SELECT 'cus_' || 1 + i % 100, 'u' || i, 0, now(), now(), t, t, pg_current_xact_id(), c.system_identifier, 1 + i % 7,
       (ARRAY['api_calls', 'tokens_used', 'storage_gb', 'emails'])[1 + i / 100 % 4]
FROM pg_control_system() c, generate_series(1::bigint, :records) i,
     LATERAL (SELECT timestamptz '2026-01-01' + i * (interval '90 days' / :records) AS t) t;
RESET session_replication_role;
SET maintenance_work_mem = '512MB';
ALTER TABLE svc_usage ADD CONSTRAINT svc_usage_pkey PRIMARY KEY (customer_id, id);
SELECT svc_make_tables(true) \g /dev/null
VACUUM ANALYZE svc_usage;
SELECT svc_aggregate_usage() AS rolled_up \g /dev/null
VACUUM ANALYZE svc_customer_usage;
-- and a tail
INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at)
SELECT 'cus_' || i, r, 1, '2026-02-15Z' FROM generate_series(1, 100) i, unnest('{api_calls,tokens_used,storage_gb,emails}'::text[]) r;

CREATE TABLE measured (what text, ms numeric, sum numeric);
CREATE PROCEDURE measure(what text, questions int) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
    total numeric := 0;
    answer numeric;
    customer text;
    of_resource text;
BEGIN
    FOR i IN 1 .. questions LOOP
        customer := 'cus_' || 1 + i * 7 % 100;
        of_resource := (ARRAY['api_calls', 'tokens_used', 'storage_gb', 'emails'])[1 + i % 4];
        CASE what
            WHEN 'raw' THEN
                SELECT sum(quantity) INTO answer FROM svc_usage
                WHERE customer_id = customer AND resource = of_resource AND booked_at >= '2026-02-01Z' AND booked_at < '2026-03-01Z';
            WHEN 'svc' THEN
                SELECT quantity INTO answer FROM svc_get_usage(customer, of_resource, '2026-02-01Z', '2026-03-01Z');
            ELSE
                SELECT quantity INTO answer FROM svc_get_usage(customer, of_resource, '2026-01-31 22:10Z', '2026-03-02 14:40Z');
        END CASE;
        total := total + answer;
    END LOOP;
    INSERT INTO measured VALUES (what, 1000 * extract(epoch FROM clock_timestamp() - start) / questions, total);
END $$;
SELECT format('CALL measure(%L, %s)', what, :questions) FROM generate_series(1, :rounds), unnest(ARRAY['raw', 'svc', 'svc, not by whole months']) what \gexec

\echo
\echo Usage of a month, out of :records records; medians of :rounds rounds of :questions questions, milliseconds
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms, min(sum) AS sum FROM measured GROUP BY what)
SELECT s.what, round(s.ms::numeric, 3) AS svc, round(r.ms::numeric, 3) AS raw_records, round((s.ms / r.ms)::numeric, 4) AS ratio,
       CASE s.what WHEN 'svc' THEN '<= 0.01' END AS goal, s.what <> 'svc' OR s.sum = r.sum AS equal
FROM m s, m r WHERE s.what LIKE 'svc%' AND r.what = 'raw' ORDER BY 1;
