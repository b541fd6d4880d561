-- Promise: every row stays within its lifecycle, whoever writes it: what svc
-- maintains cannot be written by hand, one change makes one event, nothing
-- makes none, and only an owner may restore.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
INSERT INTO svc_customer (id, name, status) VALUES ('c1', 'Ada', 'active');
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount) VALUES ('c1', 'e1', 'api', 'API', 5);

-- an UPDATE that changes nothing is nothing; one that does is one event
UPDATE svc_customer SET name = 'Ada', status = 'active';
UPDATE svc_customer SET name = 'Ada L.', email = 'ada@example.com';
SELECT revision, event, action, from_status, to_status, changes FROM svc_event
WHERE noun = 'customer' ORDER BY revision;

-- risk moves the status, unless the statement sets it itself
UPDATE svc_customer SET risk_level = 'high';
SELECT status, revision FROM svc_customer;
UPDATE svc_customer SET risk_level = 'medium';
SELECT status, revision FROM svc_customer;
UPDATE svc_customer SET risk_level = 'critical', status = 'suspended';
SELECT status, revision FROM svc_customer;
UPDATE svc_customer SET risk_level = NULL, status = 'active';

-- the limit moves the status of a grant, and the guards hold for who sets it
UPDATE svc_entitlement SET limit_amount = 0;
SELECT status, remaining_amount, usage_percent, revision FROM svc_entitlement;
UPDATE svc_entitlement SET unlimited = true;
SELECT status, remaining_amount, usage_percent, revision FROM svc_entitlement;
UPDATE svc_entitlement SET unlimited = false, limit_amount = 8;
SELECT status, remaining_amount, usage_percent, revision FROM svc_entitlement;
UPDATE svc_entitlement SET status = 'exhausted';
UPDATE svc_entitlement SET status = 'expired', valid_until = '2020-01-01';
UPDATE svc_entitlement SET valid_until = NULL;
SELECT status, revision FROM svc_entitlement;
-- status and counters do not contradict each other, whichever is written
UPDATE svc_entitlement SET status = 'expired';
UPDATE svc_entitlement SET status = 'suspended';
UPDATE svc_entitlement SET status = 'active', limit_amount = 0;
SELECT status, remaining_amount FROM svc_entitlement;
UPDATE svc_entitlement SET status = 'active';
UPDATE svc_entitlement SET limit_amount = 8;
SELECT status, remaining_amount FROM svc_entitlement;
-- derived columns are computed, whatever is written
UPDATE svc_entitlement SET remaining_amount = 1000, usage_percent = 1, description = 'd';
SELECT remaining_amount, usage_percent FROM svc_entitlement;
SELECT revision, event, from_status, to_status FROM svc_event WHERE noun = 'entitlement' ORDER BY revision;

-- what svc maintains
UPDATE svc_customer SET id = 'c2';
UPDATE svc_customer SET revision = 1;
UPDATE svc_entitlement SET customer_id = 'c2';
UPDATE svc_entitlement SET id = 'e2';
UPDATE svc_entitlement SET used_amount = 0.5;
\echo :SQLSTATE
UPDATE svc_entitlement SET ledger_seq = 3;
UPDATE svc_entitlement SET revision = revision + 1;
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, used_amount) VALUES ('c1', 'x', 'x', 'x', 5, 1);
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, ledger_seq) VALUES ('c1', 'x', 'x', 'x', 5, 1);

-- nothing is deleted
DELETE FROM svc_entitlement;
DELETE FROM svc_customer;
\echo :SQLSTATE
SET client_min_messages = warning;
TRUNCATE svc_customer CASCADE;
RESET client_min_messages;
UPDATE svc_event SET actor = 'nobody';
DELETE FROM svc_event;
\echo :SQLSTATE
TRUNCATE svc_event;
TRUNCATE svc_entitlement_ledger;
TRUNCATE svc_meta;

-- forbidden, final and unknown statuses
UPDATE svc_customer SET status = 'prospect';
\echo :SQLSTATE
UPDATE svc_customer SET status = 'asleep';
\set VERBOSITY sqlstate
UPDATE svc_customer SET status = NULL;
\set VERBOSITY default
INSERT INTO svc_customer (id, name, status) VALUES ('x', 'x', 'churned');
UPDATE svc_entitlement SET status = 'revoked';
UPDATE svc_entitlement SET status = 'active';
UPDATE svc_entitlement SET description = 'final';

-- a user's trigger: what it does counts and is judged, before ours and after it
CREATE FUNCTION churn() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.status := 'churned'; RETURN NEW; END $$;
CREATE TRIGGER aaa_churn BEFORE UPDATE ON svc_customer FOR EACH ROW EXECUTE FUNCTION churn();
UPDATE svc_customer SET name = 'Ada';
SELECT event, from_status, to_status FROM svc_event WHERE noun = 'customer' ORDER BY revision DESC LIMIT 1;
DROP TRIGGER aaa_churn ON svc_customer;
UPDATE svc_customer SET status = 'reactivated';
UPDATE svc_customer SET status = 'active';
CREATE TRIGGER zzzz_churn BEFORE UPDATE ON svc_customer FOR EACH ROW EXECUTE FUNCTION churn();
UPDATE svc_customer SET name = 'Ada K.';
SELECT event, from_status, to_status FROM svc_event WHERE noun = 'customer' ORDER BY revision DESC LIMIT 1;
UPDATE svc_customer SET status = 'reactivated';
DROP TRIGGER zzzz_churn ON svc_customer;
CREATE FUNCTION unborn() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.status := 'merged'; RETURN NEW; END $$;
CREATE TRIGGER zzzz_unborn BEFORE INSERT ON svc_customer FOR EACH ROW EXECUTE FUNCTION unborn();
INSERT INTO svc_customer (id, name) VALUES ('x', 'x');
DROP TRIGGER zzzz_unborn ON svc_customer;

-- what a user's trigger does inside a call of svc is plain SQL
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN UPDATE svc.svc_entitlement SET used_amount = 0 WHERE id = 'e9'; RETURN NULL; END $$;
SELECT svc_create_customer('{"id": "c5", "name": "Eve"}');
SELECT svc_grant_entitlement('c5', 'm', 5, id => 'e9');
CREATE TRIGGER meddle AFTER UPDATE ON svc_entitlement FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT * FROM svc_consume_entitlement('c5', 'm', 1);
DROP TRIGGER meddle ON svc_entitlement;
-- and one that swallows svc's update makes an error, not a free lunch
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER swallow BEFORE UPDATE ON svc_entitlement FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT * FROM svc_consume_entitlement('c5', 'm', 1);
DROP TRIGGER swallow ON svc_entitlement;
SELECT used_amount, (SELECT count(*) FROM svc_entitlement_ledger l WHERE l.entitlement_id = e.id) AS ledger FROM svc_entitlement e WHERE id = 'e9';

-- restored rows: as they are, without event, and by an owner only
INSERT INTO svc_customer (id, name, status, revision, created_at, updated_at)
VALUES ('r1', 'Old', 'churned', 7, '2020-01-01Z', '2021-01-01Z');
SELECT count(*) AS events FROM svc_event WHERE entity_id = 'r1';
UPDATE svc_customer SET status = 'reactivated' WHERE id = 'r1';
SELECT event, revision, from_status, to_status FROM svc_event WHERE entity_id = 'r1';
-- restored, rolled back, and made anew in one transaction: the new one has its event
BEGIN;
SAVEPOINT s;
INSERT INTO svc_customer (id, name, status, revision, created_at, updated_at)
VALUES ('r2', 'Old', 'active', 1, '2020-01-01Z', '2021-01-01Z');
ROLLBACK TO s;
INSERT INTO svc_customer (id, name) VALUES ('r2', 'New');
COMMIT;
SELECT event, revision FROM svc_event WHERE entity_id = 'r2';
-- two rows of one key in a statement that discards the second: what is stored
-- decides whether there is an event, whatever the triggers of the other noted
INSERT INTO svc_customer (id, name, status, revision, created_at, updated_at)
VALUES ('r4', 'New', 'active', NULL, now(), now()), ('r4', 'Old', 'active', 1, now(), now()) ON CONFLICT DO NOTHING;
INSERT INTO svc_customer (id, name, status, revision, created_at, updated_at)
VALUES ('r5', 'Old', 'active', 1, now(), now()), ('r5', 'New', 'active', NULL, now(), now()) ON CONFLICT DO NOTHING;
-- (the rule of an entitlement runs statements of its own between the two)
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, remaining_amount, status, revision, created_at, updated_at)
VALUES ('c5', 'r6', 'm', 'm', 5, 5, 'active', 1, now(), now()), ('c5', 'r6', 'm', 'm', 5, 5, 'active', NULL, now(), now()),
       ('c5', 'r7', 'm', 'm', 5, 5, 'active', NULL, now(), now()), ('c5', 'r7', 'm', 'm', 5, 5, 'active', 1, now(), now())
ON CONFLICT DO NOTHING;
SELECT r.id, count(e.*) AS events FROM (SELECT id FROM svc_customer UNION ALL SELECT id FROM svc_entitlement) r
LEFT JOIN svc_event e ON e.entity_id = r.id WHERE r.id BETWEEN 'r4' AND 'r7' GROUP BY r.id ORDER BY r.id;
-- but what a statement has noted that failed does not bind the next
BEGIN;
SAVEPOINT s;
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount) VALUES ('c5', 'r8', 'm', 'm', 5) RETURNING 1 / (limit_amount - 5);
ROLLBACK TO s;
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, remaining_amount, status, revision, created_at, updated_at)
VALUES ('c5', 'r8', 'm', 'm', 5, 5, 'active', 1, now(), now());
COMMIT;
SELECT count(*) AS events FROM svc_event WHERE entity_id = 'r8';
CREATE ROLE regress_svc_writer;
GRANT USAGE ON SCHEMA svc TO regress_svc_writer;
GRANT INSERT, SELECT, UPDATE ON svc_customer TO regress_svc_writer;
SET ROLE regress_svc_writer;
INSERT INTO svc_customer (id, name, status, revision, created_at, updated_at)
VALUES ('r3', 'Forged', 'merged', 1, '2020-01-01Z', '2021-01-01Z');
-- without it a writer needs no right to the event log
INSERT INTO svc_customer (id, name) VALUES ('r3', 'Honest');
UPDATE svc_customer SET status = 'active' WHERE id = 'r3';
RESET ROLE;
SELECT event, revision, actor FROM svc_event WHERE entity_id = 'r3' ORDER BY revision;
SET svc.actor = 'agent:7';
SET svc.request_id = 'req-1';
UPDATE svc_customer SET status = 'churned' WHERE id = 'r3';
SELECT actor, request_id FROM svc_event WHERE entity_id = 'r3' ORDER BY revision DESC LIMIT 1;
RESET svc.actor;
RESET svc.request_id;

-- the trigger functions are for tables of svc only
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.t (id text, status text, revision bigint);
CREATE TRIGGER t BEFORE INSERT ON elsewhere.t FOR EACH ROW EXECUTE FUNCTION svc_lifecycle('customer');
INSERT INTO elsewhere.t VALUES ('x', 'active');
CREATE TABLE t (id text);
CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_lifecycle('unicorn');
INSERT INTO t VALUES ('x');
SELECT svc_lifecycle();
DROP TABLE t, elsewhere.t;
DROP SCHEMA elsewhere;
-- settings are checked
SET svc.consumed_event = on;
SET svc.consumed_events = perhaps;

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
DROP ROLE regress_svc_writer;
