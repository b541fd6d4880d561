-- Promise: CREATE EXTENSION makes code, svc_install() makes tables; neither
-- does harm when run in another order, again, in any schema, or undone.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA "My Schema";
CREATE EXTENSION svc SCHEMA "My Schema";

-- before svc_install(): versions are known, calls say what to do
SELECT library = extension AS same_version, schema FROM "My Schema".svc_version();
\set VERBOSITY sqlstate
SELECT "My Schema".svc_create_customer('{"name": "Ada"}');
\set VERBOSITY default
SELECT "My Schema".svc_create_customer('{"name": "Ada"}');

-- an owner must exist and must not be a superuser
SELECT "My Schema".svc_install(owner => 'regress_svc_nobody');
CREATE ROLE regress_svc_super SUPERUSER NOLOGIN;
SELECT "My Schema".svc_install(owner => 'regress_svc_super');
DROP ROLE regress_svc_super;

SELECT "My Schema".svc_install();
SELECT schema FROM "My Schema".svc_version();
SELECT "My Schema".svc_install();

-- the tables are ordinary tables, and all belong to the owner
SELECT c.relname, c.relkind, c.relowner::regrole AS owner,
       EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') AS in_extension
FROM pg_class c
WHERE c.relnamespace = '"My Schema"'::regnamespace AND c.relkind IN ('r', 'S', 'v', 'm', 'p')
ORDER BY c.relname COLLATE "C";
-- only built-in types, so that dropping the extension drops no column
SELECT c.relname, a.attname, a.atttypid::regtype
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = '"My Schema"'::regnamespace AND c.relkind = 'r'
  AND a.attnum > 0 AND a.atttypid >= 16384;

-- whatever the search_path, also one with hostile operators before the system's
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.boom(text, text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.boom);
SET search_path = hostile, pg_catalog;
SELECT "My Schema".svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
SELECT "My Schema".svc_grant_entitlement('c1', 'api_calls', 5, id => 'e1');
SELECT allowed, remaining FROM "My Schema".svc_consume_entitlement('c1', 'api_calls', 1, 'k1');
SELECT allowed, remaining FROM "My Schema".svc_check_entitlement('c1', 'api_calls', 1);
UPDATE "My Schema".svc_customer SET status = 'suspended';
SHOW search_path;
RESET search_path;
SET search_path = '';
SELECT allowed, reason FROM "My Schema".svc_check_entitlement('c1', 'api_calls', 1);
RESET search_path;
DROP SCHEMA hostile CASCADE;

-- the schema can be renamed, also while statements are saved
ALTER SCHEMA "My Schema" RENAME TO "Other ""Schema";
UPDATE "Other ""Schema".svc_customer SET name = 'Ada L.';
ALTER SCHEMA "Other ""Schema" RENAME TO other_schema;
SET search_path = other_schema;
UPDATE svc_customer SET status = 'active';
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'api_calls', 1, 'k2');
SELECT svc_install();
SELECT noun, event, revision FROM svc_event ORDER BY id;

-- dropping the extension is refused; with CASCADE all rows stay
\set VERBOSITY sqlstate
DROP EXTENSION svc;
\set VERBOSITY default
SET client_min_messages = warning;
DROP EXTENSION svc CASCADE;
RESET client_min_messages;
SELECT (SELECT count(*) FROM svc_customer) AS customers,
       (SELECT used_amount FROM svc_entitlement) AS used,
       (SELECT sum(amount) FROM svc_entitlement_ledger) AS ledger,
       (SELECT count(*) FROM svc_event) AS events;

-- and svc_install() attaches to them again: triggers and defaults are back;
-- until then nothing works, because nothing would guard what it writes
CREATE EXTENSION svc SCHEMA other_schema;
SELECT schema FROM svc_version();
SELECT allowed, remaining, replayed FROM svc_consume_entitlement('c1', 'api_calls', 1, 'k3');
SELECT svc_install();
SELECT svc_install();
SELECT allowed, remaining, replayed FROM svc_consume_entitlement('c1', 'api_calls', 1, 'k2');
SELECT allowed, remaining, replayed FROM svc_consume_entitlement('c1', 'api_calls', 1, 'k3');
INSERT INTO svc_customer (name) VALUES ('Grace') RETURNING id LIKE 'cus\_%' AS id_made, status, revision;
UPDATE svc_customer SET status = 'prospect' WHERE id = 'c1';
SELECT count(*) AS triggers FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'other_schema'::regnamespace AND NOT t.tgisinternal;

-- a trigger that somebody dropped is put back
DROP TRIGGER zzz_svc_lifecycle ON svc_customer;
SELECT svc_install();
UPDATE svc_customer SET status = 'prospect' WHERE id = 'c1';

-- another owner
CREATE ROLE regress_svc_owner NOLOGIN;
SELECT svc_install(owner => 'regress_svc_owner');
SELECT DISTINCT c.relowner::regrole FROM pg_class c
WHERE c.relnamespace = 'other_schema'::regnamespace AND c.relkind = 'r';
SELECT allowed FROM svc_consume_entitlement('c1', 'api_calls', 1);

-- tables that a superuser has come to own are not worked on
ALTER TABLE svc_meta OWNER TO CURRENT_USER;
DO $$ BEGIN
    PERFORM svc_check_entitlement('c1', 'api_calls');
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', SQLSTATE, SQLERRM;
END $$;
SELECT svc_install(owner => 'regress_svc_owner');

-- a role that is no superuser can install for itself
SET client_min_messages = warning;
DROP SCHEMA other_schema CASCADE;
CREATE SCHEMA mine AUTHORIZATION regress_svc_owner;
CREATE EXTENSION svc SCHEMA mine;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA mine TO regress_svc_owner;
SET ROLE regress_svc_owner;
SELECT mine.svc_install();
SELECT mine.svc_create_customer('{"id": "c1", "name": "Ada"}');
SELECT mine.svc_install();
RESET ROLE;
DROP SCHEMA mine CASCADE;

-- what others have put in our place is neither used nor run as superuser
CREATE SCHEMA shared;
GRANT CREATE, USAGE ON SCHEMA shared TO regress_svc_owner;
CREATE EXTENSION svc SCHEMA shared;
SET ROLE regress_svc_owner;
CREATE TABLE shared.svc_meta (schema_version int, triggers text[]);
CREATE FUNCTION shared.rise() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RESET ROLE; ALTER ROLE regress_svc_owner SUPERUSER; RETURN NEW; END $$;
CREATE TRIGGER rise BEFORE INSERT OR UPDATE ON shared.svc_meta FOR EACH ROW EXECUTE FUNCTION shared.rise();
CREATE FUNCTION shared.format(text, name, integer) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN ALTER ROLE regress_svc_owner SUPERUSER; RETURN 'x'; END $$;
-- an operator that would become part of a CHECK, and run as whoever inserts
CREATE FUNCTION shared.ge(numeric, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR shared.>= (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = shared.ge);
RESET ROLE;
SELECT shared.svc_install();
SELECT shared.svc_install(owner => 'regress_svc_owner');
SET client_min_messages = warning;
DROP TABLE shared.svc_meta CASCADE;
SELECT shared.svc_install(owner => 'regress_svc_owner');
SELECT count(*) AS checks, count(*) FILTER (WHERE pg_get_constraintdef(oid) LIKE '%shared.%') AS planted
FROM pg_constraint WHERE connamespace = 'shared'::regnamespace AND contype = 'c';
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_svc_owner';
-- a trigger of the owner that sets the path of the superuser who installs
CREATE FUNCTION shared.turn() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM set_config('search_path', 'shared, pg_catalog', false); RETURN NEW; END $$;
CREATE FUNCTION shared.format(text, name, integer, name) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN ALTER ROLE regress_svc_owner SUPERUSER; RETURN 'x'; END $$;
CREATE TRIGGER turn BEFORE INSERT OR UPDATE ON shared.svc_meta FOR EACH ROW EXECUTE FUNCTION shared.turn();
DROP TRIGGER zzz_svc_lifecycle ON shared.svc_customer;
SELECT shared.svc_install();
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_svc_owner';
SHOW search_path;
DROP SCHEMA shared CASCADE;
DROP ROLE regress_svc_owner;
