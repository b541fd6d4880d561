-- Promise: whatever the owner of the tables does to them, svc gives an error
-- that says what is wrong; it neither crashes nor answers wrongly.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
SELECT svc_grant_entitlement('c1', 'calls', 5, id => 'e1');
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;

-- triggers that swallow rows
CREATE TRIGGER a BEFORE INSERT ON svc_customer FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT svc_create_customer('{"id": "c2", "name": "Bob"}');
DROP TRIGGER a ON svc_customer;
CREATE TRIGGER a BEFORE INSERT ON svc_entitlement FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT svc_grant_entitlement('c1', 'calls', 5);
DROP TRIGGER a ON svc_entitlement;
CREATE TRIGGER a BEFORE INSERT ON svc_entitlement_ledger FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT svc_consume_entitlement('c1', 'calls', 1);
SELECT svc_consume_entitlement('c1', 'calls', 1, 'k');
DROP TRIGGER a ON svc_entitlement_ledger;
CREATE TRIGGER a BEFORE INSERT ON svc_entitlement_ledger FOR EACH ROW WHEN (NEW.line = 1) EXECUTE FUNCTION swallow();
SELECT svc_grant_entitlement('c1', 'calls', 5, id => 'e2');
SELECT svc_consume_entitlement('c1', 'calls', 7, 'k');
DROP TRIGGER a ON svc_entitlement_ledger;
CREATE TRIGGER a BEFORE INSERT ON svc_event FOR EACH ROW EXECUTE FUNCTION swallow();
UPDATE svc_customer SET status = 'suspended';
DROP TRIGGER a ON svc_event;
UPDATE svc_customer SET status = 'active';
SELECT event, revision FROM svc_event WHERE noun = 'customer' ORDER BY revision;

-- a trigger that gives units back behind svc's back
CREATE FUNCTION cheat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.used_amount := 0; RETURN NEW; END $$;
CREATE TRIGGER a BEFORE UPDATE ON svc_entitlement FOR EACH ROW EXECUTE FUNCTION cheat();
SELECT svc_consume_entitlement('c1', 'calls', 1);
DROP TRIGGER a ON svc_entitlement;
SELECT sum(used_amount) AS used, (SELECT count(*) FROM svc_entitlement_ledger) AS ledger FROM svc_entitlement;

-- extra columns, indexes, constraints and triggers on the log: the same rows
ALTER TABLE svc_event ADD COLUMN mark text DEFAULT 'x';
UPDATE svc_customer SET status = 'suspended';
SELECT event, revision, mark FROM svc_event WHERE noun = 'customer' ORDER BY revision DESC LIMIT 1;
ALTER TABLE svc_event DROP COLUMN mark;
CREATE INDEX ON svc_event (lower(actor));
UPDATE svc_customer SET status = 'active';
CREATE TABLE seen (revision bigint);
GRANT INSERT ON seen TO svc_owner;
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO svc.seen VALUES (NEW.revision); RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON svc_event FOR EACH ROW EXECUTE FUNCTION see();
UPDATE svc_customer SET status = 'suspended';
DROP TRIGGER see ON svc_event;
UPDATE svc_customer SET status = 'active';
SELECT * FROM seen;
SELECT revision, event, from_status, to_status FROM svc_event WHERE noun = 'customer' ORDER BY revision;

-- columns of another type, or gone, or null
ALTER TABLE svc_entitlement ALTER limit_amount TYPE bigint;
SELECT allowed FROM svc_check_entitlement('c1', 'calls', 1);
SELECT allowed FROM svc_consume_entitlement('c1', 'calls', 1);
ALTER TABLE svc_entitlement ALTER limit_amount TYPE numeric;
ALTER TABLE svc_customer DROP CONSTRAINT svc_customer_status_check, ALTER status DROP NOT NULL;
UPDATE svc_customer SET status = NULL;
ALTER TABLE svc_customer DISABLE TRIGGER ALL;
UPDATE svc_customer SET status = NULL;
ALTER TABLE svc_customer ENABLE TRIGGER ALL;
UPDATE svc_customer SET risk_level = 'high';
UPDATE svc_customer SET status = 'active', risk_level = 'high';
SELECT allowed, reason FROM svc_check_entitlement('c1', 'calls', 1);
ALTER TABLE svc_customer DISABLE TRIGGER ALL;
UPDATE svc_customer SET status = 'active';
ALTER TABLE svc_customer ENABLE TRIGGER ALL;
ALTER TABLE svc_customer DROP COLUMN updated_at CASCADE;
UPDATE svc_customer SET name = 'Eve';

-- our trigger functions in the wrong place
CREATE TRIGGER a BEFORE DELETE ON svc_entitlement FOR EACH ROW EXECUTE FUNCTION svc_lifecycle_event('entitlement');
DELETE FROM svc_entitlement;
DROP TRIGGER a ON svc_entitlement;
CREATE TRIGGER a AFTER DELETE ON svc_plan FOR EACH ROW EXECUTE FUNCTION svc_lifecycle('plan');
ALTER TABLE svc_plan DISABLE TRIGGER zzz_svc_lifecycle;
INSERT INTO svc_plan (id, name, price, revision, created_at, updated_at) VALUES ('p', 'p', 1, 1, 'epoch', 'epoch');
DELETE FROM svc_plan;

-- a ledger that others have written to
\set VERBOSITY sqlstate
INSERT INTO svc_entitlement_ledger (customer_id, entitlement_id, seq, line, occurred_at, amount, kind, code, idempotency_key, request)
VALUES ('c1', 'e1', 100, 0, 'epoch', 0, 'x', 'calls', 'forged', '{}') \g /dev/null
\set VERBOSITY default
ALTER TABLE svc_entitlement_ledger DROP CONSTRAINT svc_entitlement_ledger_check;
INSERT INTO svc_entitlement_ledger (customer_id, entitlement_id, seq, line, occurred_at, amount, kind, code, idempotency_key, request)
VALUES ('c1', 'e1', 100, 0, 'epoch', 0, 'x', 'calls', 'forged', '{"kind": "consume", "code": "calls", "amount": 1, "mode": "reject"}');
SELECT svc_consume_entitlement('c1', 'calls', 1, 'forged');

-- no svc_meta, or something else in its place
ALTER TABLE svc_meta RENAME TO kept;
CREATE VIEW svc_meta AS SELECT 1 AS schema_version;
SELECT schema FROM svc_version();
SELECT allowed FROM svc_check_entitlement('c1', 'calls', 1);
DROP VIEW svc_meta;
ALTER TABLE kept RENAME TO svc_meta;
SELECT allowed FROM svc_check_entitlement('c1', 'calls', 1);
ALTER TABLE svc_meta ALTER schema_version TYPE text;
SELECT allowed FROM svc_check_entitlement('c1', 'calls', 1);
ALTER TABLE svc_meta ALTER schema_version TYPE integer USING 7;
SELECT allowed FROM svc_check_entitlement('c1', 'calls', 1);
SELECT svc_install();

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
