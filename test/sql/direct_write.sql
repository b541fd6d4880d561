-- Promise: a consume writes what INSERT and UPDATE would write, whatever has
-- become of the tables since the session first wrote.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "ada", "name": "Ada", "status": "active"}'),
       svc_grant_entitlement('ada', 'api_calls', 100, id => 'g', alert_percents => ARRAY[20]) \g /dev/null
CREATE TABLE seen (what text, amount numeric);
GRANT ALL ON seen TO svc_owner;
GRANT USAGE, CREATE ON SCHEMA svc TO svc_owner;
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO svc.seen VALUES (concat_ws(' ', TG_NAME, TG_WHEN, TG_OP), CASE TG_TABLE_NAME WHEN 'svc_entitlement' THEN (to_jsonb(NEW) ->> 'used_amount')::numeric ELSE (to_jsonb(NEW) ->> 'amount')::numeric END);
    RETURN NEW;
END $$;
CREATE FUNCTION raises(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE call;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN RETURN concat(SQLSTATE, ': ', SQLERRM);
END $$;
CREATE SEQUENCE n;
CREATE VIEW consume AS SELECT allowed, remaining FROM svc_consume_entitlement('ada', 'api_calls', 1, 'k' || nextval('n'), metadata => '{"a": 1}');
CREATE VIEW books AS SELECT used_amount, remaining_amount, usage_percent, g.ledger_seq, alerted_percent, g.revision,
    (SELECT sum(amount) FROM svc_entitlement_ledger) AS ledger, (SELECT count(*) FROM svc_entitlement_ledger WHERE answer ->> 'remaining' IS NOT NULL) AS answers,
    (SELECT count(*) FROM svc_event WHERE entity_id = 'g') AS events FROM svc_entitlement g;
SELECT * FROM consume; SELECT * FROM books;
BEGIN;
SELECT * FROM consume;
SELECT line, recorded_at = now() AS recorded, amount, held, overage, kind, code, idempotency_key, actor IS NOT NULL AS actor, request, answer, metadata, spent_on
FROM svc_entitlement_ledger ORDER BY seq DESC LIMIT 1;
COMMIT;
-- an alert, and the end of the quota
SELECT allowed, remaining FROM svc_consume_entitlement('ada', 'api_calls', 20, 'alert'); SELECT * FROM books;
BEGIN;
SELECT allowed, remaining FROM svc_consume_entitlement('ada', 'api_calls', 78, 'all'); SELECT * FROM books;
SELECT event, revision FROM svc_event WHERE entity_id = 'g' ORDER BY id;
ROLLBACK;
-- in a savepoint
BEGIN;
SAVEPOINT a;
SELECT * FROM consume;
ROLLBACK TO a;
SELECT * FROM books;
SELECT * FROM consume; SELECT * FROM consume;
COMMIT;
SELECT * FROM books;

-- a user's triggers
CREATE TRIGGER mine BEFORE UPDATE ON svc_entitlement FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER mine_too AFTER INSERT ON svc_entitlement_ledger FOR EACH ROW EXECUTE FUNCTION see();
SELECT * FROM consume;
TABLE seen;
DROP TRIGGER mine ON svc_entitlement;
DROP TRIGGER mine_too ON svc_entitlement_ledger;
-- our own, disabled: no event of the end
BEGIN;
ALTER TABLE svc_entitlement DISABLE TRIGGER zzz_svc_event_update;
SELECT allowed, remaining FROM svc_consume_entitlement('ada', 'api_calls', 75); SELECT * FROM books;
ROLLBACK;

-- constraints
ALTER TABLE svc_entitlement ADD CONSTRAINT mine CHECK (used_amount < 26);
ALTER TABLE svc_entitlement_ledger ADD CONSTRAINT mine CHECK (amount < 50);
SELECT raises('SELECT * FROM svc.consume');
SELECT raises($$SELECT svc_consume_entitlement('ada', 'api_calls', 50)$$);
SELECT * FROM books;
ALTER TABLE svc_entitlement DROP CONSTRAINT mine;
ALTER TABLE svc_entitlement_ledger DROP CONSTRAINT mine;

-- one of svc's own is replaced, and PostgreSQL gives the new one its name
BEGIN;
ALTER TABLE svc_entitlement DROP CONSTRAINT svc_entitlement_used_amount_check;
ALTER TABLE svc_entitlement ADD CHECK (used_amount >= 0 AND used_amount < 30);
SELECT raises($$SELECT svc_consume_entitlement('ada', 'api_calls', 10)$$);
ROLLBACK;
-- constraints that are triggers
CREATE TABLE statuses (status text PRIMARY KEY);
GRANT SELECT ON statuses TO svc_owner;
INSERT INTO statuses VALUES ('active');
ALTER TABLE svc_entitlement ADD CONSTRAINT mine FOREIGN KEY (status) REFERENCES statuses;
SELECT raises($$SELECT svc_consume_entitlement('ada', 'api_calls', remaining) FROM svc_check_entitlement('ada', 'api_calls')$$);
ALTER TABLE svc_entitlement DROP CONSTRAINT mine;
BEGIN;
SELECT svc_grant_entitlement('ada', 'seats', 1, id => 's1'), svc_consume_entitlement('ada', 'seats', 1), svc_grant_entitlement('ada', 'seats', 1, id => 's2') \g /dev/null
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE svc_entitlement ADD CONSTRAINT mine UNIQUE (customer_id, code, status) DEFERRABLE;
SELECT raises($$SELECT svc_consume_entitlement('ada', 'seats', 1)$$);
ROLLBACK;

-- types, and defaults
BEGIN;
DROP VIEW books;
ALTER TABLE svc_entitlement_ledger ALTER amount TYPE numeric(12,2);
SELECT allowed FROM svc_consume_entitlement('ada', 'api_calls', 0.001);
SELECT amount FROM svc_entitlement_ledger ORDER BY seq DESC LIMIT 1;
ROLLBACK;
BEGIN;
ALTER TABLE svc_entitlement_ledger ALTER recorded_at SET DEFAULT '2001-01-01', ALTER limit_before SET DEFAULT 7;
SELECT allowed FROM svc_consume_entitlement('ada', 'api_calls', 1);
SELECT recorded_at = now() AS recorded, limit_before FROM svc_entitlement_ledger ORDER BY seq DESC LIMIT 1;
ROLLBACK;

-- columns
ALTER TABLE svc_entitlement ADD COLUMN twice numeric GENERATED ALWAYS AS (used_amount * 2) STORED;
ALTER TABLE svc_entitlement_ledger ADD COLUMN note text DEFAULT 'mine';
SELECT * FROM consume;
SELECT used_amount, twice, (SELECT note FROM svc_entitlement_ledger ORDER BY seq DESC LIMIT 1) FROM svc_entitlement;
ALTER TABLE svc_entitlement DROP COLUMN twice;
ALTER TABLE svc_entitlement_ledger DROP COLUMN note;
SELECT * FROM consume; SELECT * FROM books;

-- indexes: on a counter, on an expression, over some rows, unique
CREATE INDEX ON svc_entitlement (remaining_amount);
CREATE INDEX ON svc_entitlement ((used_amount + 1)) WHERE used_amount > 10;
CREATE UNIQUE INDEX mine ON svc_entitlement_ledger ((metadata ->> 'order'));
CREATE INDEX ON svc_entitlement_ledger (amount) WHERE amount > 5;
CREATE INDEX ON svc_entitlement_ledger (actor) WHERE spent_on IS NULL AND line = 0;
SELECT * FROM consume; SELECT * FROM books;
SELECT allowed FROM svc_consume_entitlement('ada', 'api_calls', 6, metadata => '{"order": 1}');
SELECT raises($$SELECT allowed FROM svc_consume_entitlement('ada', 'api_calls', 6, metadata => '{"order": 1}')$$);
DROP INDEX mine;
SET enable_seqscan = off;
SELECT id, remaining_amount FROM svc_entitlement WHERE remaining_amount = 66;
SELECT id FROM svc_entitlement WHERE used_amount + 1 = 35 AND used_amount > 10;
SELECT amount, seq FROM svc_entitlement_ledger WHERE amount > 5 ORDER BY amount;
SELECT count(*) FROM svc_entitlement_ledger WHERE actor = current_user AND spent_on IS NULL AND line = 0;
SELECT count(*) FROM svc_entitlement_ledger WHERE customer_id = 'ada' AND entitlement_id = 'g';
RESET enable_seqscan;

-- a rule, and a policy that binds the owner, too
CREATE RULE mine AS ON INSERT TO svc_entitlement_ledger DO ALSO INSERT INTO seen VALUES ('rule', NEW.amount);
SELECT * FROM consume;
SELECT a.replayed, r.replayed FROM svc_consume_entitlement('ada', 'api_calls', 20, 'alert') a, svc_consume_entitlement('ada', 'api_calls', 1, 'ruled') r;
SELECT raises($$SELECT svc_consume_entitlement('ada', 'api_calls', 2, 'ruled')$$);
SELECT * FROM seen WHERE what = 'rule';
SELECT * FROM books;
DROP RULE mine ON svc_entitlement_ledger;
ALTER TABLE svc_entitlement ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT allowed, reason FROM svc_consume_entitlement('ada', 'api_calls', 1);
ALTER TABLE svc_entitlement DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
-- a session that replicates fires no triggers
SET session_replication_role = replica;
SELECT allowed FROM svc_consume_entitlement('ada', 'api_calls', 1);
SELECT used_amount, remaining_amount FROM svc_entitlement;
RESET session_replication_role;
UPDATE svc_entitlement SET description = 'mine';
SELECT * FROM consume; SELECT * FROM books;
-- without the index of keys nothing is taken
DROP INDEX svc_entitlement_ledger_key;
SELECT left(raises('SELECT * FROM svc.consume'), 5);
SELECT * FROM books;
CREATE UNIQUE INDEX svc_entitlement_ledger_key ON svc_entitlement_ledger (customer_id, idempotency_key) WHERE line = 0 AND idempotency_key IS NOT NULL;
SELECT raises('SELECT * FROM svc.consume');
-- nothing is written where nothing may be
BEGIN READ ONLY;
SELECT raises('SELECT * FROM svc.consume');
ROLLBACK;
SELECT * FROM svc_verify();
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
