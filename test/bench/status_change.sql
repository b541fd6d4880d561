-- Question: what do svc's triggers add to a bulk change of status, against a
-- plpgsql trigger that writes the same event row; and what to an UPDATE that
-- changes nothing?
--
-- Three tables with the same columns and indexes: svc_customer; "plain", where
-- the statement itself keeps revision and updated_at; and "by_hand", the same
-- with a plpgsql trigger that writes the event. Added time is the time over
-- that of "plain". Rounds are interleaved; medians are shown.
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
SET svc.notify = off;
SET synchronous_commit = off;
\if :{?rows} \else \set rows 100000
\endif
\if :{?rounds} \else \set rounds 7
\endif

INSERT INTO svc_customer (id, name, status, email, company, country, monthly_spend)
SELECT 'cus_' || i, 'Customer ' || i, 'active', 'c' || i || '@example.com', 'Company ' || i, 'DE', i % 1000
FROM generate_series(1, :rows) i;
CREATE TABLE plain (LIKE svc_customer INCLUDING ALL);
INSERT INTO plain SELECT * FROM svc_customer;
CREATE TABLE by_hand (LIKE svc_customer INCLUDING ALL);
INSERT INTO by_hand SELECT * FROM svc_customer;
CREATE TABLE event_by_hand (LIKE svc_event INCLUDING ALL);
CREATE SEQUENCE event_by_hand_id;
CREATE FUNCTION write_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_by_hand (id, xid, cluster, revision, occurred_at, customer_id, noun, entity_id, event,
        type, action, from_status, to_status, actor, request_id, changes)
    VALUES (nextval('event_by_hand_id'), pg_current_xact_id(), 1, NEW.revision, clock_timestamp(), NEW.id,
        'customer', NEW.id, NEW.status, 'svc.customer.' || NEW.status, NEW.status, OLD.status, NEW.status,
        current_user, NULL,
        jsonb_build_object('status', jsonb_build_object('old', OLD.status, 'new', NEW.status)));
    RETURN NULL;
END $$;
CREATE TRIGGER write_event AFTER UPDATE ON by_hand FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION write_event();

CREATE TABLE measured (what text, ms numeric);
CREATE PROCEDURE measure(what text, statement text) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz;
BEGIN
    start := clock_timestamp();
    EXECUTE statement;
    INSERT INTO measured VALUES (what, 1000 * extract(epoch FROM clock_timestamp() - start));
    COMMIT;
END $$;

-- one statement a column, since VACUUM must be alone
SELECT 'VACUUM svc_customer, plain, by_hand', 'CHECKPOINT',
       format($$CALL measure('change: plain', 'UPDATE plain SET status = ''%s'', revision = revision + 1, updated_at = now()')$$, status),
       format($$CALL measure('change: svc', 'UPDATE svc_customer SET status = ''%s''')$$, status),
       format($$CALL measure('change: plpgsql', 'UPDATE by_hand SET status = ''%s'', revision = revision + 1, updated_at = now()')$$, status),
       'VACUUM svc_customer, plain, by_hand', 'CHECKPOINT',
       $$CALL measure('nothing: plain', 'UPDATE plain SET status = status')$$,
       $$CALL measure('nothing: svc', 'UPDATE svc_customer SET status = status')$$
FROM generate_series(1, :rounds) AS round,
     LATERAL (SELECT CASE round % 2 WHEN 1 THEN 'suspended' ELSE 'active' END) AS s (status) \gexec

\echo
\echo Status of :rows customers changed in one statement; event log on, NOTIFY off; medians of :rounds rounds, ms
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms FROM measured GROUP BY what),
     t AS (SELECT (SELECT ms FROM m WHERE what = 'change: plain') AS plain,
                  (SELECT ms FROM m WHERE what = 'change: svc') AS svc,
                  (SELECT ms FROM m WHERE what = 'change: plpgsql') AS plpgsql,
                  (SELECT ms FROM m WHERE what = 'nothing: plain') AS nothing_plain,
                  (SELECT ms FROM m WHERE what = 'nothing: svc') AS nothing_svc)
SELECT r.path, r.added::int AS "svc adds", r.reference::int AS "plpgsql adds",
       round((r.added / r.reference)::numeric, 2) AS ratio, r.goal
FROM t, LATERAL (VALUES
    ('change of status with event row', svc - plain, plpgsql - plain, '<= 0.7'),
    ('UPDATE that changes nothing', nothing_svc - nothing_plain, plpgsql - plain, '<= 0.2')) AS r (path, added, reference, goal);
