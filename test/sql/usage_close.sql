-- Promise: a final figure does not change any more; what comes late counts where periods
-- are open; corrections, purges and merges leave the sums right.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SET timezone = 'UTC';
SET datestyle = 'ISO';
ALTER TABLE svc_customer ALTER COLUMN created_at SET DEFAULT '2015-01-01Z';
CREATE FUNCTION raises(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(format(E'%s: %s\n  detail: %s\n  hint: %s', SQLSTATE, SQLERRM, detail, hint), 'usg_\w+', '<id>', 'g');
END $$;
INSERT INTO svc_customer (id, name, status) VALUES ('c1', 'c', 'active'), ('c2', 'c', 'active'), ('q', 'q', 'active');
SELECT svc_set_meter('peak', 'max'), svc_set_meter('level', 'last'), svc_set_meter('logins', 'count') \g /dev/null
CREATE VIEW months AS SELECT customer_id, period_start::date AS month, status, revision, api_calls, usage_by_resource AS others FROM svc_customer_usage WHERE is_folded AND period_type = 'month' ORDER BY 1, 2;

-- ---- corrections ----
SELECT svc_record_usage('c1', 'api_calls', 10, '2026-01-10 10:00Z') AS calls, svc_record_usage('c1', 'peak', 50, '2026-01-10 10:01Z') AS peak, svc_record_usage('c1', 'peak', 40, '2026-01-10 10:02Z') AS lower,
       svc_record_usage('c1', 'level', 7, '2026-01-10 10:03Z') AS level, svc_record_usage('c1', 'logins', 1, '2026-01-10 10:04Z') AS login, svc_record_usage('c1', 'logins', 1, '2026-01-10 10:05Z') AS other \gset
SELECT svc_aggregate_usage('c1');
-- before they are rolled up and after
SELECT svc_adjust_usage('c1', :'calls', -4, 'counted twice'), svc_adjust_usage('c1', :'peak', -20, 'a spike of the meter'), svc_adjust_usage('c1', :'level', 1), svc_adjust_usage('c1', :'login', -1) \g /dev/null
SELECT resource, quantity, adjusts_id IS NOT NULL AS corrects, occurred_at, reason FROM svc_usage WHERE customer_id = 'c1' ORDER BY occurred_at, quantity;
CREATE VIEW read AS SELECT r AS resource, g.quantity FROM unnest('{api_calls,peak,level,logins}'::text[]) r, svc_get_usage('c1', r, '2026-01-01Z', '2026-02-01Z') g;
SELECT * FROM read;
SELECT svc_aggregate_usage('c1');
SELECT * FROM read;
SELECT * FROM months;
-- a correction of a correction corrects the record
SELECT svc_adjust_usage('c1', id, 2, 'once more') FROM svc_usage WHERE adjusts_id = :'peak' \g /dev/null
SELECT count(*) AS corrections FROM svc_usage WHERE adjusts_id = :'peak';
SELECT svc_aggregate_usage('c1');
SELECT * FROM read;
SELECT * FROM svc_verify();
SELECT raises(format('SELECT svc_adjust_usage(''c1'', %L)', :'calls')), raises(format('SELECT svc_adjust_usage(''c1'', %L, ''NaN'')', :'calls'));

-- ---- closing ----
SELECT raises(s) FROM unnest(ARRAY[$$SELECT svc_finalize_usage('c1', 'year', '2999-01-01Z')$$, $$SELECT svc_finalize_usage('c1', 'decade', now())$$, $$SELECT svc_finalize_usage('nobody', 'month', '2026-01-01Z')$$,
    $$SELECT svc_finalize_usage('c1', 'month', NULL)$$, $$SELECT svc_finalize_usage('c1', NULL, now())$$, $$SELECT svc_finalize_usage(NULL, 'month', now())$$, $$SELECT svc_finalize_usage('c1', 'month', 'infinity')$$]) s;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT svc_finalize_usage('c1', 'month', '2026-01-01Z');
ROLLBACK;
BEGIN;
SELECT svc_record_usage('c1', 'api_calls', 1, '2026-01-20Z') \g /dev/null
SELECT svc_finalize_usage('c1', 'month', '2026-01-01Z');
ROLLBACK;
SELECT svc_record_usage('c1', 'api_calls', 1, '2026-01-31 23:30Z') \g /dev/null
SELECT svc_finalize_usage('c1', 'month', '2026-01-15Z', 'billed');
SELECT period_type, period_start, status, api_calls FROM svc_customer_usage WHERE is_folded ORDER BY array_position('{hour,day,week,month,quarter,year}', period_type), period_start;
SELECT event, from_status, to_status, changes FROM svc_event e JOIN svc_customer_usage u ON u.id = e.entity_id WHERE u.period_type = 'month' AND event = 'finalized';
SELECT svc_finalize_usage('c1', 'month', '2026-01-15Z') AS again, svc_finalize_usage('c1', 'day', '2026-01-20Z') AS earlier;
SELECT closed_until FROM svc_customer WHERE id = 'c1';
-- nothing gets at what is final
SELECT split_part(raises(s), E'\n', 1) FROM unnest(ARRAY[$$UPDATE svc_customer_usage SET api_calls = 5 WHERE period_type = 'month'$$, $$UPDATE svc_customer_usage SET status = 'partial' WHERE period_type = 'month'$$,
    $$UPDATE svc_customer_usage SET status = 'finalized' WHERE period_type = 'year'$$, $$DELETE FROM svc_customer_usage$$, $$UPDATE svc_customer SET closed_until = NULL WHERE id = 'c1'$$,
    $$INSERT INTO svc_customer_usage (customer_id, period_type, period_start, period_end, is_folded) VALUES ('c1', 'day', '2025-01-01Z', '2025-01-02Z', true)$$]) s;

-- ---- what comes late ----
SELECT svc_record_usage('c1', 'api_calls', 100, '2026-01-10Z') AS late \gset
INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('c1', 'peak', 999, '2026-01-11Z');
SELECT svc_adjust_usage('c1', :'calls', -3, 'too late') \g /dev/null
SELECT resource, quantity, occurred_at, booked_at, adjusts_id IS NOT NULL AS corrects FROM svc_usage WHERE booked_at > occurred_at ORDER BY 1, 2;
SELECT svc_aggregate_usage('c1');
SELECT * FROM months;
SELECT * FROM read;
SELECT quantity AS february FROM svc_get_usage('c1', 'api_calls', '2026-02-01Z', '2026-03-01Z');
SET svc.late_usage = 'reject';
SELECT raises($$SELECT svc_record_usage('c1', 'api_calls', 100, '2026-01-10Z')$$), raises($$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('c1', 'api_calls', 1, '2026-02-01Z')$$);
RESET svc.late_usage;
-- into a complete one: it is open again, and complete again
SELECT status FROM months WHERE month = '2026-02-01';
SELECT svc_aggregate_usage('c1', 'epoch');
SELECT status, api_calls FROM months WHERE month = '2026-02-01';
SELECT task, done FROM svc_run_due() WHERE done > 0;
SELECT status, api_calls FROM months WHERE month = '2026-02-01';
SELECT * FROM svc_verify();
-- what is final is aggregated, without an event of each; and can be billed
SELECT status, count(*), max(revision) FROM svc_usage WHERE customer_id = 'c1' AND adjusts_id IS NULL GROUP BY 1;
SELECT svc_create_invoice('c1', '{"id": "i", "total": 5}') \g /dev/null
SELECT svc_bill_usage('c1', :'calls', 'i'), raises(format('SELECT svc_bill_usage(''c1'', %L, ''i'')', :'late')), svc_dispute_usage('c1', :'calls', 'not me');
SELECT svc_finalize_usage('c1', 'month', '2026-02-15Z') \g /dev/null
-- (even before that is written down)
SELECT status FROM svc_usage WHERE id = :'late';
SELECT svc_bill_usage('c1', :'late', 'i');
SELECT revision, event, from_status, to_status FROM svc_event WHERE entity_id = :'late';

-- ---- raw records that are no longer needed ----
SELECT svc_record_usage('c1', 'api_calls', 7, '2026-03-05Z') \g /dev/null
CREATE TABLE before AS SELECT r, quantity FROM unnest('{api_calls,peak,level,logins}'::text[]) r, svc_get_usage('c1', r);
SELECT svc_purge_usage('2026-01-10 10:02Z') AS some, svc_purge_usage('infinity') AS all_that_is_final, svc_purge_usage('infinity') AS again;
SELECT resource, quantity, booked_at, status FROM svc_usage WHERE customer_id = 'c1' ORDER BY 3, 1;
SELECT r, quantity = (SELECT b.quantity FROM before b WHERE b.r = x.r) AS same FROM unnest('{api_calls,peak,level,logins}'::text[]) x (r), svc_get_usage('c1', r);
SELECT * FROM read;
SELECT svc_aggregate_usage('c1') AS rolled_up;
SELECT * FROM svc_verify();
SELECT raises('SELECT svc_purge_usage(NULL)');

-- ---- records that consume ----
SELECT svc_grant_entitlement('q', 'credits', 10, id => 'g'), svc_set_meter('renders', entitlement_code => 'credits'), svc_set_meter('exports', 'count', entitlement_code => 'credits', consume_mode => 'overflow'),
       svc_set_meter('scans', entitlement_code => 'scanning', consume_mode => 'overflow') \g /dev/null
SELECT svc_record_usage('q', 'renders', 4, idempotency_key => 'r1') AS r1, svc_record_usage('q', 'renders', 4, idempotency_key => 'r1') AS again, svc_record_usage('q', 'exports', 50) AS e1 \gset
SELECT :'r1' = :'again' AS same, used_amount FROM svc_entitlement WHERE id = 'g';
SELECT raises($$SELECT svc_record_usage('q', 'renders', 6)$$), raises($$INSERT INTO svc_usage (customer_id, resource, quantity) VALUES ('q', 'renders', 6)$$);
SELECT raises($$INSERT INTO svc_usage (customer_id, resource, quantity, idempotency_key) VALUES ('q', 'renders', 1, 'r1')$$);
INSERT INTO svc_usage (customer_id, resource, quantity) VALUES ('q', 'renders', 5), ('q', 'exports', 1), ('q', 'scans', 3);
SELECT resource, quantity, overage FROM svc_usage WHERE customer_id = 'q' ORDER BY created_at, resource, quantity;
SELECT item, outcome, sqlstate FROM svc_record_usage_batch('[{"customer_id": "q", "resource": "renders"}, {"customer_id": "q", "resource": "exports", "quantity": -5}, {"customer_id": "q", "resource": "renders", "quantity": 1}]');
SELECT svc_adjust_usage('q', :'r1', -3), svc_adjust_usage('q', :'e1', -1) \g /dev/null
SELECT used_amount, status FROM svc_entitlement WHERE id = 'g';
SELECT * FROM svc_verify();
SELECT svc_aggregate_usage('q') \g /dev/null
SELECT quota_used, quota_remaining, count(*) FROM svc_customer_usage WHERE customer_id = 'q' AND period_end > now() GROUP BY 1, 2;

-- ---- merging ----
SELECT svc_record_usage(c, r, n, '2026-04-10 10:00Z'::timestamptz + n * interval '1 min') FROM unnest('{c1,c2}'::text[]) c, unnest('{api_calls,peak,level,logins}'::text[]) r, generate_series(1, 3) n \g /dev/null
SELECT svc_record_usage('c2', 'api_calls', 1000, '2026-01-10Z'), svc_aggregate_usage() \g /dev/null
SELECT svc_record_usage('c2', 'api_calls', 5, '2026-04-11Z') \g /dev/null
SELECT svc_finalize_usage('c2', 'month', '2025-12-01Z') \g /dev/null
SELECT svc_merge_customer('c2', 'c1');
SELECT * FROM months WHERE customer_id IN ('c1', 'c2');
SELECT (SELECT quantity FROM svc_get_usage('c1', 'api_calls', '2026-04-01Z', '2026-05-01Z')) AS april, booked_at AS january_counts_from FROM svc_usage WHERE customer_id = 'c1' AND quantity = 1000;
SELECT svc_aggregate_usage() AS rolled_up;
SELECT * FROM months WHERE customer_id IN ('c1', 'c2');
SELECT r, quantity FROM unnest('{api_calls,peak,level,logins}'::text[]) r, svc_get_usage('c1', r, '2026-04-01Z', '2026-05-01Z');
SELECT * FROM svc_verify();
SELECT split_part(raises($$SELECT svc_record_usage('c2', 'api_calls')$$), E'\n', 1);

-- ---- by hand, beside what is rolled up ----
SELECT svc_record_customer_usage('c1', '{"period_type": "month", "period_start": "2026-04-01Z", "period_end": "2026-05-01Z", "api_calls": 5}') IS NOT NULL AS recorded;
SELECT is_folded, api_calls FROM svc_customer_usage WHERE customer_id = 'c1' AND period_type = 'month' AND period_start = '2026-04-01Z' ORDER BY 1;
SELECT svc_add_figures('{"a": 1, "b": 2}', '{"b": 0.5, "c": 3}'), svc_add_figures(NULL, '{"a": 1}'), svc_add_figures('{"a": 1}', NULL), svc_add_figures(NULL, NULL), svc_add_figures('{}', '{}'), raises($$SELECT svc_add_figures('{"a": "x"}', '{}')$$);

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
