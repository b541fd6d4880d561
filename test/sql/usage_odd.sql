-- Promise: usage is right where things that are rare come together: purges beside what
-- is open or disputed, retries after closing, corrections of what was not covered, new
-- time zones, prices and currencies, merges, records that are discarded.
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
INSERT INTO svc_customer (id, name, status) SELECT c, c, 'active' FROM unnest('{open,c1,c2,q,o,d,z,p,m1,m2,late}'::text[]) c;
SELECT svc_set_meter('peak', 'max'), svc_set_meter('level', 'last'), svc_set_meter('logins', 'count') \g /dev/null

-- ---- purging beside what is not final, disputed, or corrected ----
-- who has nothing final loses nothing
SELECT svc_record_usage('open', 'api_calls', 5, '2026-01-05Z'), svc_record_usage('c1', 'level', 5, '2026-01-05Z') AS disputed, svc_record_usage('c1', 'level', 20, '2026-01-20Z'),
       svc_record_usage('c1', 'peak', 100, '2026-01-10Z'), svc_record_usage('c1', 'peak', 50, '2026-02-10Z') AS february \gset
SELECT svc_aggregate_usage(), svc_dispute_usage('c1', :'disputed'), svc_finalize_usage('c1', 'month', '2026-01-05Z') \g /dev/null
SELECT svc_purge_usage('infinity');
SELECT customer_id, resource, quantity, status FROM svc_usage ORDER BY 1, 2, 3;
SELECT (SELECT quantity FROM svc_get_usage('open', 'api_calls')) AS api_calls, (SELECT quantity FROM svc_get_usage('c1', 'level')) AS level, (SELECT quantity FROM svc_get_usage('c1', 'peak')) AS peak;
-- with a correction that is not rolled up, and with it
SELECT svc_adjust_usage('c1', :'february', -10) \g /dev/null
SELECT r, g.quantity, f.quantity AS february, w.lifetime FROM unnest('{level,peak}'::text[]) r, svc_get_usage('c1', r) g, svc_get_usage('c1', r, '2026-02-01Z', '2026-03-01Z') f, svc_usage_windows('c1') w WHERE w.resource = r;
SELECT svc_aggregate_usage();
SELECT r, g.quantity, f.quantity AS february FROM unnest('{level,peak}'::text[]) r, svc_get_usage('c1', r) g, svc_get_usage('c1', r, '2026-02-01Z', '2026-03-01Z') f;
SELECT * FROM svc_verify();
-- a late correction stands for itself when what it corrects is purged
SELECT svc_record_usage('c2', 'api_calls', 100, '2026-01-05Z') AS early \gset
SELECT svc_aggregate_usage(), svc_finalize_usage('c2', 'month', '2026-01-05Z'), svc_adjust_usage('c2', :'early', -10), svc_purge_usage('infinity') \g /dev/null
SELECT svc_adjust_usage('c2', id, 3) FROM svc_usage WHERE customer_id = 'c2' AND quantity = -10;
SELECT quantity FROM svc_get_usage('c2', 'api_calls');

-- ---- what a correction is of ----
SELECT svc_record_usage('c1', 'peak', 7, '2026-03-05Z') AS peak \gset
SELECT raises(format('INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at, adjusts_id) VALUES (''c1'', %L, 1, %L, %L)', r, at, :'peak'))
FROM (VALUES ('api_calls', '2026-03-05Z'), ('peak', '2026-03-06Z'), ('peak', '2026-03-05Z')) v (r, at);
SELECT raises(format('INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at, adjusts_id) VALUES (''c1'', ''peak'', 1, ''2026-03-05Z'', %L)', id)) FROM svc_usage WHERE adjusts_id = :'peak';
SELECT quantity FROM svc_get_usage('c1', 'peak', '2026-03-01Z', '2026-04-01Z');

-- ---- a retry after closing ----
SELECT svc_record_usage('late', 'api_calls', 1, '2026-01-05Z', 'k') AS first \gset
SELECT svc_aggregate_usage(), svc_finalize_usage('late', 'month', '2026-01-05Z') \g /dev/null
SET svc.late_usage = 'reject';
SELECT svc_record_usage('late', 'api_calls', 1, '2026-01-05Z', 'k') = :'first' AS repeated, split_part(raises($$SELECT svc_record_usage('late', 'api_calls', 2, '2026-01-05Z', 'k')$$), ':', 1) AS another,
       split_part(raises($$SELECT svc_record_usage('late', 'api_calls', 1, '2026-01-05Z', 'l')$$), ':', 1) AS late;
SELECT outcome, usage_id = :'first' AS first FROM svc_record_usage_batch('[{"customer_id": "late", "resource": "api_calls", "at": "2026-01-05Z", "idempotency_key": "k"}]');
INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at, idempotency_key) VALUES ('late', 'api_calls', 1, '2026-01-05Z', 'k') ON CONFLICT DO NOTHING;
SELECT split_part(raises($$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at, idempotency_key) VALUES ('late', 'api_calls', 1, '2026-01-05Z', 'k')$$), ':', 1) AS by_index;
RESET svc.late_usage;
SELECT item, outcome, sqlstate, message FROM svc_record_usage_batch('[{"customer_id": "late", "resource": "x", "quantity": null}, {"customer_id": "late", "resource": "x", "at": null, "idempotency_key": null, "metadata": null}]');
-- the customer was created after the transaction has begun
BEGIN;
INSERT INTO svc_customer (id, name, status, created_at) VALUES ('young', 'y', 'active', clock_timestamp());
SELECT svc_record_usage('young', 'x') IS NOT NULL AS recorded, split_part(raises($$SELECT svc_record_usage('young', 'x', 1, now() - interval '1 us')$$), E'\n', 1);
COMMIT;
SELECT raises(format('INSERT INTO svc_usage (customer_id, resource, quantity, idempotency_key) VALUES (''late'', %L, 1, %L)', r, k)) FROM (VALUES ('', NULL), (repeat('x', 256), NULL), ('x', '')) v (r, k);

-- ---- consuming ----
SELECT svc_set_meter('renders', entitlement_code => 'credits'), svc_set_meter('scans', entitlement_code => 'scanning', consume_mode => 'overflow'), svc_grant_entitlement('q', 'credits', 10, id => 'g') \g /dev/null
-- what is discarded has consumed nothing
INSERT INTO svc_usage (customer_id, id, resource, quantity, idempotency_key) VALUES ('q', 'x', 'renders', 4, 'k'), ('q', 'x', 'renders', 1, NULL), ('q', 'y', 'renders', 1, 'k') ON CONFLICT DO NOTHING;
INSERT INTO svc_usage (customer_id, id, resource, quantity) VALUES ('q', 'x', 'renders', 4) ON CONFLICT DO NOTHING;
SELECT used_amount, (SELECT count(*) FROM svc_usage WHERE customer_id = 'q') AS records FROM svc_entitlement WHERE id = 'g';
-- a retry of what has used all up
SELECT svc_record_usage('q', 'renders', 6, idempotency_key => 'last') = svc_record_usage('q', 'renders', 6, idempotency_key => 'last') AS repeated, split_part(raises($$SELECT svc_record_usage('q', 'renders')$$), ':', 1) AS another;
SELECT used_amount FROM svc_entitlement WHERE id = 'g';
-- a correction gives back what the record has consumed, even when its meter has changed
SELECT svc_set_meter('renders') \g /dev/null
SELECT svc_adjust_usage('q', 'x', -4), svc_record_usage('q', 'renders') IS NOT NULL AS recorded \g /dev/null
SELECT used_amount FROM svc_entitlement WHERE id = 'g';
-- but not what it has not: there was no grant; what is over the limit counts as used
SELECT svc_record_usage('o', 'scans', 3) AS uncovered \gset
SELECT svc_grant_entitlement('o', 'scanning', 10, id => 'gs') \g /dev/null
SELECT svc_record_usage('o', 'scans', 5), svc_adjust_usage('o', :'uncovered', -2), svc_adjust_usage('o', :'uncovered', -2), svc_record_usage('o', 'scans', 8) AS half \gset
SELECT used_amount, overage_amount FROM svc_entitlement, LATERAL (SELECT sum(overage) AS overage_amount FROM svc_usage WHERE customer_id = 'o') u WHERE id = 'gs';
SELECT svc_adjust_usage('o', :'half', -4) \g /dev/null
SELECT quantity, consumes, consumed, overage, adjusts_id IS NOT NULL AS corrects FROM svc_usage WHERE customer_id = 'o' ORDER BY id;
SELECT used_amount FROM svc_entitlement WHERE id = 'gs';
-- upwards, of what was not covered, while there is nothing, and then; and down again
SELECT svc_record_usage('d', 'scans', 3) AS uncovered \gset
SELECT svc_adjust_usage('d', :'uncovered', 2), svc_grant_entitlement('d', 'scanning', 10, id => 'gd') \g /dev/null
SELECT svc_adjust_usage('d', :'uncovered', 4), svc_adjust_usage('d', :'uncovered', -6), svc_adjust_usage('d', :'uncovered', -2) \g /dev/null
SELECT quantity, consumed, overage FROM svc_usage WHERE customer_id = 'd' ORDER BY id;
SELECT used_amount FROM svc_entitlement WHERE id = 'gd';
-- what a negative record could not give back is not consumed by its correction
SELECT svc_record_usage('d', 'scans', 2), svc_record_usage('d', 'scans', -5) AS negative \gset
SELECT svc_adjust_usage('d', :'negative', 6) \g /dev/null
SELECT quantity, consumed, overage FROM svc_usage WHERE id = :'negative' OR adjusts_id = :'negative' ORDER BY id;
SELECT used_amount FROM svc_entitlement WHERE id = 'gd';
-- one that is to give back more does
SELECT svc_record_usage('d', 'scans', 6), svc_record_usage('d', 'scans', -1) AS negative \gset
SELECT svc_adjust_usage('d', :'negative', -2) \g /dev/null
SELECT used_amount FROM svc_entitlement WHERE id = 'gd';
-- what it has consumed is not for others to say
INSERT INTO svc_usage (customer_id, id, resource, quantity, consumes, consumed, overage) VALUES ('d', 'forged', 'scans', 1, 'gold', 500, 7);
SELECT consumes, consumed, overage FROM svc_usage WHERE id = 'forged';
SELECT raises(format('UPDATE svc_usage SET status = ''disputed'', %s WHERE customer_id = ''d''', c)) FROM unnest('{consumes = NULL,consumed = 0}'::text[]) c;
-- a trigger that keeps svc from writing that down
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE UPDATE ON svc_usage FOR EACH ROW EXECUTE FUNCTION keep();
SELECT raises($$SELECT svc_record_usage('c1', 'scans')$$);
DROP TRIGGER keep ON svc_usage;
CREATE TRIGGER keep BEFORE INSERT ON svc_usage FOR EACH ROW EXECUTE FUNCTION keep();
SELECT left(raises($$SELECT svc_record_usage('c1', 'scans')$$), 5) AS without_key, left(raises($$SELECT svc_record_usage('c1', 'scans', idempotency_key => 'suppressed')$$), 5) AS with_key;
DROP TRIGGER keep ON svc_usage;
-- a restored record consumes nothing, nor does one of its id inherit that
BEGIN;
SAVEPOINT s;
INSERT INTO svc_usage (customer_id, id, resource, quantity, consumes, revision, created_at, updated_at, booked_at, xid, cluster)
SELECT 'd', i, 'scans', 7, 'scanning', 0, now(), now(), now(), '1', 1 FROM unnest('{i,j}'::text[]) i;
SELECT used_amount FROM svc_entitlement WHERE id = 'gd';
ROLLBACK TO s;
INSERT INTO svc_usage (customer_id, id, resource, quantity) VALUES ('d', 'i', 'scans', 1);
SELECT used_amount FROM svc_entitlement WHERE id = 'gd';
COMMIT;
SELECT * FROM svc_verify();
SELECT svc_aggregate_usage() \g /dev/null

-- ---- a new time zone, without a new record ----
SELECT svc_record_usage('z', 'api_calls', 1, '2026-01-01 20:00Z') \g /dev/null
SELECT svc_aggregate_usage() \g /dev/null
UPDATE svc_customer SET timezone = 'Asia/Tokyo' WHERE id = 'z';
SELECT task, done FROM svc_run_due() WHERE task = 'aggregate usage';
SELECT period_start, api_calls FROM svc_customer_usage WHERE customer_id = 'z' AND period_type = 'day';
SELECT svc_aggregate_usage() AS nothing;
SELECT * FROM svc_verify();

-- ---- prices ----
SELECT svc_set_meter('a', unit_cost => 1, currency => 'EUR'), svc_set_meter('b', unit_cost => 1, currency => 'USD') \g /dev/null
SELECT svc_record_usage('p', r, n, at) FROM (VALUES ('b', 5, now()), ('a', 7, now()), ('a', 10, '2026-01-10Z'::timestamptz)) v (r, n, at) \g /dev/null
CREATE VIEW costs AS SELECT status, estimated_cost, currency FROM svc_customer_usage WHERE customer_id = 'p' AND period_type = 'month' ORDER BY period_start;
SELECT svc_aggregate_usage('p');
SELECT * FROM costs;
-- all in one currency; what is complete keeps its price, even when it becomes final
SELECT svc_set_meter('a', unit_cost => 3, currency => 'USD'), svc_record_usage('p', 'a', 1) \g /dev/null
SELECT svc_aggregate_usage('p'), svc_finalize_usage('p', 'month', '2026-01-10Z') \g /dev/null
SELECT * FROM costs;
SELECT svc_set_meter('a'), svc_set_meter('b'), svc_record_usage('p', 'a', 1) \g /dev/null
SELECT svc_aggregate_usage('p') \g /dev/null
SELECT * FROM costs;
-- those of any meter that is used can be changed, its meaning not
SELECT svc_set_meter('peak', 'max', unit_cost => 1, currency => 'EUR', entitlement_code => 'peaks', consume_mode => 'overflow'), split_part(raises($$SELECT svc_set_meter('peak', 'last')$$), ':', 1) AS other, svc_set_meter('peak', 'max');
SELECT raises('TRUNCATE svc_meter'), raises($$SELECT svc_set_meter('x', entitlement_code => '')$$);

-- ---- comparing with the period before, which comes late, or is negative ----
SELECT svc_record_usage('open', 'api_calls', 20, '2026-03-10Z'), svc_aggregate_usage('open') \g /dev/null
SELECT svc_aggregate_usage('open') \g /dev/null
SELECT svc_record_usage('open', 'api_calls', 10, '2026-02-10Z') \g /dev/null
SELECT svc_aggregate_usage('open') \g /dev/null
SELECT svc_record_usage('open', 'api_calls', v, at::timestamptz) FROM (VALUES (-10, '2026-04-10Z'), (10, '2026-05-10Z')) v (v, at) \g /dev/null
SELECT svc_aggregate_usage('open') \g /dev/null
SELECT period_start, api_calls, change_from_previous FROM svc_customer_usage WHERE customer_id = 'open' AND period_type = 'month' ORDER BY 1;
-- what is not over is not complete
SELECT svc_record_usage('open', 'api_calls') \g /dev/null
SELECT svc_aggregate_usage('open', '2999-01-01Z'), svc_aggregate_usage(upto => '2999-01-01Z');
SELECT raises($$UPDATE svc_customer_usage SET status = 'complete' WHERE customer_id = 'open' AND period_type = 'year' AND period_end > now()$$) ~ 'SV001.*its period is not over' AS by_hand;
SELECT count(*) AS not_over FROM svc_customer_usage WHERE period_end > now() AND status <> 'partial';

-- a trigger that records while a period is being closed: as anybody who has recorded
CREATE FUNCTION add_fee() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM svc.svc_record_usage(NEW.customer_id, 'fee', 1, NEW.period_end - interval '1 s'); RETURN NULL; END$$;
CREATE TRIGGER fee AFTER UPDATE ON svc_customer_usage FOR EACH ROW WHEN (NEW.status = 'complete' AND NEW.period_type = 'month') EXECUTE FUNCTION add_fee();
SELECT svc_record_usage('open', 'api_calls', 1, '2026-05-10Z') \g /dev/null
SELECT raises($$SELECT svc_finalize_usage('open', 'month', '2026-05-10Z')$$);
DROP TRIGGER fee ON svc_customer_usage;
CREATE TRIGGER fee AFTER UPDATE ON svc_customer_usage FOR EACH ROW WHEN (NEW.status = 'finalized' AND NEW.period_type = 'month') EXECUTE FUNCTION add_fee();
SELECT svc_finalize_usage('open', 'month', '2026-01-10Z');
SELECT occurred_at, booked_at FROM svc_usage WHERE resource = 'fee';
DROP TRIGGER fee ON svc_customer_usage;
SELECT svc_aggregate_usage('open') \g /dev/null
SELECT * FROM svc_verify();

-- ---- what was merged into another keeps what was final ----
SELECT svc_record_usage('m1', r, n, at::timestamptz) FROM unnest('{api_calls,peak}'::text[]) r, (VALUES (3, '2026-01-10Z'), (4, '2026-02-10Z')) v (n, at) \g /dev/null
SELECT svc_aggregate_usage('m1'), svc_finalize_usage('m1', 'month', '2026-01-10Z') \g /dev/null
SELECT svc_merge_customer('m1', 'm2'), svc_aggregate_usage() \g /dev/null
SELECT c, r, g.quantity, j.quantity AS january, w.lifetime FROM unnest('{m1,m2}'::text[]) c, unnest('{api_calls,peak}'::text[]) r, svc_get_usage(c, r) g, svc_get_usage(c, r, '2026-01-01Z', '2026-02-01Z') j, svc_usage_windows(c) w
WHERE w.resource = r ORDER BY 1, 2;
SELECT * FROM svc_verify();

-- also when the other is deleted
SELECT svc_churn_customer('m2'), svc_delete_customer('m2') \g /dev/null
SELECT quantity FROM svc_get_usage('m1', 'api_calls');
SELECT * FROM svc_verify();
-- records that have had events, and have consumed
SELECT svc_dispute_usage('d', id) FROM svc_usage WHERE customer_id = 'd' AND adjusts_id IS NULL LIMIT 1;
SELECT svc_merge_customer('d', 'o');
SELECT count(*), sum(quantity), sum(coalesce(consumed, quantity)) AS consumed, (SELECT sum(used_amount) FROM svc_entitlement WHERE customer_id = 'o') AS used FROM svc_usage WHERE customer_id = 'o';
SELECT * FROM svc_verify();

-- ---- who cannot be rolled up does not keep the others back ----
SELECT svc_record_usage(c, 'api_calls', 1, '2026-06-10Z') FROM unnest('{c1,c2,open}'::text[]) c \g /dev/null
UPDATE svc_usage_fold SET folded_at = '-infinity' WHERE customer_id = 'c1';
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no' USING ERRCODE = 'P0001'; END$$;
CREATE TRIGGER refuse BEFORE UPDATE ON svc_customer_usage FOR EACH ROW WHEN (NEW.customer_id = 'c1') EXECUTE FUNCTION refuse();
SET client_min_messages = error;
DO 'BEGIN FOR n IN 1 .. 6 LOOP PERFORM svc_run_due(max_rows => 1); END LOOP; END';
SELECT c, quantity = (SELECT sum(api_calls) FROM svc_customer_usage WHERE customer_id = c AND period_type = 'year' AND is_folded) AS rolled_up FROM unnest('{c1,c2,open}'::text[]) c, svc_get_usage(c, 'api_calls');
-- nor who cannot be completed, or marked
SELECT svc_record_usage(c, 'api_calls', 1, '2026-07-10Z') FROM unnest('{c2,open}'::text[]) c \g /dev/null
DROP TRIGGER refuse ON svc_customer_usage;
CREATE TRIGGER refuse BEFORE UPDATE ON svc_customer_usage FOR EACH ROW WHEN (NEW.customer_id = 'c2' AND NEW.status = 'complete') EXECUTE FUNCTION refuse();
SELECT svc_aggregate_usage() AS the_rest;
SELECT customer_id, status FROM svc_customer_usage WHERE period_type = 'month' AND period_start = '2026-07-01Z' ORDER BY 1;
SELECT svc_record_usage('c2', 'api_calls', 1, '2026-08-10Z'), svc_record_usage('open', 'api_calls', 1, '2026-08-10Z') \g /dev/null
DO 'BEGIN FOR n IN 1 .. 12 LOOP PERFORM svc_run_due(max_rows => 1); END LOOP; END';
SELECT customer_id, count(*) FROM svc_customer_usage WHERE customer_id IN ('c2', 'open') AND status = 'partial' AND period_end < now() GROUP BY 1;
DROP TRIGGER refuse ON svc_customer_usage;
SELECT svc_finalize_usage(c, 'month', '2026-08-10Z') FROM unnest('{c2,open}'::text[]) c \g /dev/null
CREATE TRIGGER refuse BEFORE UPDATE ON svc_usage FOR EACH ROW WHEN (NEW.customer_id = 'c2') EXECUTE FUNCTION refuse();
SELECT task, done FROM svc_run_due() WHERE task IN ('mark usage aggregated', 'failed');
SELECT customer_id, status FROM svc_usage WHERE occurred_at = '2026-08-10Z' ORDER BY 1;
DROP TRIGGER refuse ON svc_usage;
RESET client_min_messages;

SELECT raises($$SELECT svc_add_figures('[1, 2]', '{"a": 1}')$$), raises($$SELECT svc_add_figures('{"a": 1}', '7')$$), raises($$SELECT svc_add_figures(NULL, '5')$$);

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
