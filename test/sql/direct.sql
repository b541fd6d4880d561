-- Promise: a check says what a SELECT would find, whatever has become of the
-- tables since the session first looked.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "ada", "name": "Ada", "status": "active"}'), svc_grant_entitlement('ada', 'api_calls', 5, id => 'g') \g /dev/null
CREATE VIEW c AS SELECT allowed, reason, remaining, entitlement_id FROM svc_check_entitlement('ada', 'api_calls');
SELECT * FROM c;
-- the snapshot of the query, and what the transaction itself has done
BEGIN;
SELECT allowed FROM svc_consume_entitlement('ada', 'api_calls', 5);
SELECT * FROM c;
ROLLBACK;
SELECT * FROM c;
-- columns that come and go
ALTER TABLE svc_entitlement ADD COLUMN note text DEFAULT 'none', ADD COLUMN other text;
ALTER TABLE svc_entitlement DROP COLUMN note;
SELECT * FROM c;
-- without the index that it is found by, and with another one
DROP INDEX svc_entitlement_code;
SELECT * FROM c;
CREATE INDEX ON svc_entitlement (customer_id, code COLLATE "C" text_pattern_ops);
SELECT * FROM c;
CREATE INDEX ON svc_entitlement (customer_id, code) WHERE status = 'revoked';
SELECT * FROM c;
CREATE INDEX svc_entitlement_code ON svc_entitlement (customer_id, code, id);
SELECT * FROM c;
-- an heir's rows are the table's, too
CREATE TABLE heir () INHERITS (svc_entitlement);
INSERT INTO heir SELECT * FROM svc_entitlement;
UPDATE heir SET id = 'h';
SELECT * FROM c;
DROP TABLE heir;
SELECT * FROM c;
-- a rule in place of the table's rows
BEGIN;
ALTER TABLE svc_entitlement RENAME TO kept;
CREATE VIEW svc_entitlement AS SELECT * FROM kept WHERE false;
ALTER VIEW svc_entitlement OWNER TO svc_owner;
SELECT * FROM c;
ROLLBACK;
SELECT * FROM c;
-- a table of another make
VACUUM FULL svc_entitlement;
REINDEX TABLE svc_entitlement;
CLUSTER svc_entitlement USING svc_entitlement_pkey;
SELECT * FROM c;
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
