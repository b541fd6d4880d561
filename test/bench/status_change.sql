-- Question: what do svc's triggers add to a bulk change of status, against a
-- plpgsql trigger that writes the same event row; and what to an UPDATE that
-- changes nothing?
--
-- All on svc_customer itself, so that keys, indexes and foreign keys are the
-- same, with these triggers enabled: none ("bare", where the statement itself
-- keeps revision and updated_at, as for plpgsql); svc's; the plpgsql one.
-- Added time is the time over that of "bare". Rounds are interleaved; medians
-- are shown. Settings: -v rows=100000 -v rounds=7
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
-- the same rows in a log of its own, so that both logs grow alike
CREATE TABLE event_by_hand (LIKE svc_event INCLUDING ALL);
INSERT INTO event_by_hand SELECT * FROM svc_event;
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
CREATE TRIGGER write_event AFTER UPDATE ON svc_customer FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION write_event();

CREATE TABLE measured (what text, ms numeric);
CREATE PROCEDURE measure(what text, own_trigger text, statement text) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz;
BEGIN
    ALTER TABLE svc_customer DISABLE TRIGGER USER;
    IF own_trigger = 'svc' THEN
        ALTER TABLE svc_customer ENABLE TRIGGER USER;
        ALTER TABLE svc_customer DISABLE TRIGGER write_event;
    ELSIF own_trigger <> '' THEN
        EXECUTE format('ALTER TABLE svc_customer ENABLE TRIGGER %I', own_trigger);
    END IF;
    COMMIT;
    start := clock_timestamp();
    EXECUTE statement;
    INSERT INTO measured VALUES (what, 1000 * extract(epoch FROM clock_timestamp() - start));
    COMMIT;
END $$;

-- one statement a column, since VACUUM must be alone; a status for each
SELECT 'VACUUM svc_customer', 'CHECKPOINT',
       format($$CALL measure('bare', '', 'UPDATE svc_customer SET status = ''%s'', revision = revision + 1, updated_at = now()')$$, a),
       'VACUUM svc_customer', 'CHECKPOINT',
       format($$CALL measure('svc', 'svc', 'UPDATE svc_customer SET status = ''%s''')$$, b),
       'VACUUM svc_customer', 'CHECKPOINT',
       format($$CALL measure('plpgsql', 'write_event', 'UPDATE svc_customer SET status = ''%s'', revision = revision + 1, updated_at = now()')$$, a),
       'VACUUM svc_customer', 'CHECKPOINT',
       $$CALL measure('nothing bare', '', 'UPDATE svc_customer SET status = status')$$,
       'VACUUM svc_customer', 'CHECKPOINT',
       $$CALL measure('nothing svc', 'svc', 'UPDATE svc_customer SET status = status')$$
FROM generate_series(1, :rounds) AS round,
     LATERAL (SELECT CASE round % 2 WHEN 1 THEN 'suspended' ELSE 'active' END,
                     CASE round % 2 WHEN 0 THEN 'suspended' ELSE 'active' END) AS s (a, b) \gexec

\echo
\echo Status of :rows customers changed in one statement; event log on, NOTIFY off; medians of :rounds rounds, ms
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms FROM measured GROUP BY what),
     t AS (SELECT (SELECT ms FROM m WHERE what = 'bare') AS bare,
                  (SELECT ms FROM m WHERE what = 'svc') AS svc,
                  (SELECT ms FROM m WHERE what = 'plpgsql') AS plpgsql,
                  (SELECT ms FROM m WHERE what = 'nothing bare') AS nothing_bare,
                  (SELECT ms FROM m WHERE what = 'nothing svc') AS nothing_svc)
SELECT r.path, r.bare::int AS bare, r.added::int AS "svc adds", r.reference::int AS "plpgsql adds",
       round((r.added / r.reference)::numeric, 2) AS ratio, r.goal
FROM t, LATERAL (VALUES
    ('change of status with event row', bare, svc - bare, plpgsql - bare, '<= 0.7'),
    ('UPDATE that changes nothing', nothing_bare, nothing_svc - nothing_bare, plpgsql - bare, '<= 0.2'))
    AS r (path, bare, added, reference, goal);
