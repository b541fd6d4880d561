-- Promise: a role sees and does what its set of privileges says, and nothing
-- else; no function runs as a superuser, or with anybody's objects but svc's.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SELECT svc.svc_install() \g /dev/null
CREATE ROLE regress_svc_app;
CREATE ROLE regress_svc_reader;
CREATE ROLE regress_svc_admin;
CREATE ROLE regress_svc_nobody;
SELECT svc.svc_grant('regress_svc_app', 'app'), svc.svc_grant('regress_svc_reader', 'reader'),
       svc.svc_grant('regress_svc_admin', 'admin') \g /dev/null
GRANT USAGE ON SCHEMA svc TO regress_svc_nobody;

-- the matrix: role by function and table
SELECT p.proname AS function,
       has_function_privilege('regress_svc_nobody', p.oid, 'EXECUTE') AS everybody,
       has_function_privilege('regress_svc_reader', p.oid, 'EXECUTE') AS reader,
       has_function_privilege('regress_svc_app', p.oid, 'EXECUTE') AS app,
       has_function_privilege('regress_svc_admin', p.oid, 'EXECUTE') AS admin,
       has_function_privilege('svc_owner', p.oid, 'EXECUTE WITH GRANT OPTION') AS owner
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
     JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'svc'
ORDER BY p.proname COLLATE "C", p.oid;
SELECT c.relname AS table,
       has_table_privilege('regress_svc_nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS everybody,
       has_table_privilege('regress_svc_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS app,
       has_table_privilege('regress_svc_reader', c.oid, 'SELECT') AS reader_reads,
       has_table_privilege('regress_svc_reader', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS reader_writes,
       has_table_privilege('regress_svc_admin', c.oid, 'SELECT') AS admin_reads,
       has_table_privilege('regress_svc_admin', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS admin_writes
FROM pg_class c WHERE c.relnamespace = 'svc'::regnamespace AND c.relkind IN ('r', 'v')
ORDER BY c.relname COLLATE "C";

-- an application works, and sees no table
SET ROLE regress_svc_app;
SET search_path = svc;
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
SELECT svc_grant_entitlement('c1', 'calls', 5, id => 'e1');
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'calls', 2, 'k');
SELECT allowed, remaining FROM svc_check_entitlement('c1', 'calls');
SELECT svc_suspend_customer('c1'), svc_reactivate_customer('c1');
SELECT action FROM svc_available_actions('customer', NULL, 'c1');
SELECT count(*) FROM svc_customer;
UPDATE svc_entitlement SET limit_amount = 100;
SELECT svc_delete_customer('c1');
SELECT svc_install();
SELECT svc_grant('regress_svc_app', 'admin');
-- what it did is under its own name
RESET ROLE;
SELECT DISTINCT actor FROM svc.svc_event;
SELECT DISTINCT actor FROM svc.svc_entitlement_ledger;

-- a reader reads, under the policies that the owner has made
SET ROLE regress_svc_reader;
SELECT id, status FROM svc_customer;
SELECT allowed FROM svc_check_entitlement('c1', 'calls');
SELECT allowed FROM svc_consume_entitlement('c1', 'calls');
UPDATE svc_customer SET name = 'x';
RESET ROLE;
ALTER TABLE svc.svc_customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY nobody ON svc.svc_customer FOR SELECT TO regress_svc_reader USING (false);
SET ROLE regress_svc_reader;
SELECT id, status FROM svc_customer;
SELECT allowed, reason FROM svc_check_entitlement('c1', 'calls');
RESET ROLE;
ALTER TABLE svc.svc_customer DISABLE ROW LEVEL SECURITY;

-- attacks on functions that run as the owner: tables, operators and functions
-- in front of svc's and the system's
CREATE SCHEMA evil AUTHORIZATION regress_svc_app;
SET ROLE regress_svc_app;
CREATE TEMP TABLE svc_customer (id text, status text);
INSERT INTO svc_customer VALUES ('ghost', 'active');
CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION evil.nextval(regclass) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
SET search_path = evil, pg_temp, pg_catalog, svc;
SELECT reason FROM svc.svc_check_entitlement('ghost', 'calls');
SELECT allowed, remaining FROM svc.svc_consume_entitlement('c1', 'calls', 1, 'k2');
SELECT svc.svc_suspend_customer('c1'), svc.svc_reactivate_customer('c1');
SELECT svc.svc_create_order('c1', '{"id": "o1", "total": 1}');
SHOW search_path;
RESET search_path;
DROP TABLE pg_temp.svc_customer;
RESET ROLE;
SELECT current_user = session_user AS is_me;

-- refusals
SELECT svc.svc_grant('regress_svc_ghost', 'app');
SELECT svc.svc_grant(NULL, 'app');
SELECT svc.svc_grant('regress_svc_app', 'root');
SELECT svc.svc_grant('regress_svc_app', NULL);
SELECT svc.svc_revoke('regress_svc_ghost', 'app');
SELECT svc.svc_revoke('regress_svc_app', 'root');
SELECT svc.svc_revoke('svc_owner', 'admin');

-- the owner can grant, too; and what is revoked is gone
SET ROLE svc_owner;
SELECT svc.svc_grant('regress_svc_nobody', 'app') \g /dev/null
SET ROLE regress_svc_nobody;
SELECT allowed, remaining FROM svc.svc_check_entitlement('c1', 'calls');
SET ROLE svc_owner;
SELECT svc.svc_revoke('regress_svc_nobody', 'app') \g /dev/null
SET ROLE regress_svc_nobody;
SELECT allowed, remaining FROM svc.svc_check_entitlement('c1', 'calls');
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA svc, evil CASCADE;
DROP ROLE regress_svc_app, regress_svc_reader, regress_svc_admin, regress_svc_nobody;
