-- Question: what does a poll of 1,000 events out of a log of 5,000,000 cost,
-- against SELECT ... ORDER BY id LIMIT 1000?
--
-- Once for a consumer at the beginning of the log, once for one that is 1,000
-- events behind its end. Each poll is rolled back, so that all do the same.
-- Settings: -v events=5000000 -v rounds=15
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
\if :{?events} \else \set events 5000000
\endif
\if :{?rounds} \else \set rounds 15
\endif
INSERT INTO svc_event (id, xid, cluster, revision, occurred_at, customer_id, noun, entity_id, event, type, action,
                       from_status, to_status, actor, changes)
SELECT i, ((pg_current_xact_id()::text::bigint)::text)::xid8, (SELECT system_identifier FROM pg_control_system()), i / 1000 + 1,
       now(), 'cus_' || i % 1000, 'customer', 'cus_' || i % 1000, 'suspended', 'svc.customer.suspended', 'suspend',
       'active', 'suspended', 'bench', '{"status": {"old": "active", "new": "suspended"}}'
FROM generate_series(1, :events - 1000) i;
SELECT setval('svc_event_id_seq', :events - 1000) \g /dev/null
SELECT svc_create_consumer('beginning', 'beginning') \g /dev/null
SELECT svc_create_consumer('end') \g /dev/null
INSERT INTO svc_customer (id, name) SELECT 'new_' || i, 'n' FROM generate_series(1, 1000) i;
VACUUM ANALYZE svc_event;

CREATE TABLE measured (what text, ms numeric);
CREATE PROCEDURE measure(what text, statement text) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz;
    ms numeric;
    rows bigint;
BEGIN
    start := clock_timestamp();
    EXECUTE statement INTO rows;
    ms := 1000 * extract(epoch FROM clock_timestamp() - start);
    ROLLBACK;
    ASSERT rows = 1000;
    INSERT INTO measured VALUES (what, ms);
    COMMIT;
END $$;
SELECT $$CALL measure('select', 'SELECT count(x) FROM (SELECT e AS x FROM svc_event e ORDER BY id LIMIT 1000) s')$$,
       $$CALL measure('poll at the beginning', 'SELECT count(p) FROM svc_poll_events(''beginning'', 1000) p')$$,
       $$CALL measure('poll at the end', 'SELECT count(p) FROM svc_poll_events(''end'', 1000) p')$$
FROM generate_series(1, :rounds) \gexec

\echo
\echo A poll of 1,000 events out of :events; medians of :rounds rounds, ms
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms FROM measured GROUP BY what)
SELECT p.what AS path, round(p.ms::numeric, 2) AS poll, round(s.ms::numeric, 2) AS "ORDER BY id LIMIT 1000",
       round((p.ms / s.ms)::numeric, 1) AS ratio, '<= 10' AS goal
FROM m p, m s WHERE p.what <> 'select' AND s.what = 'select' ORDER BY 1;
