-- Promise: svc_guard() makes each row of a user's table worth its amount of a
-- code: a row that comes consumes it or is refused, one that goes gives it back,
-- one that changes moves the difference; all of a statement, or nothing.
\pset null ~
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc, public;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer(jsonb_build_object('id', id, 'name', id, 'status', 'active')) FROM unnest(ARRAY['c1', 'c2', 'c3']) AS id;
SELECT svc_grant_entitlement(id, 'seats', 3, id => id) FROM unnest(ARRAY['c1', 'c2']) AS id;
CREATE VIEW used AS SELECT id, status, used_amount AS used, remaining_amount AS remaining FROM svc_entitlement ORDER BY id COLLATE "C";

-- ---- one argument: seats ----
CREATE TABLE member (customer_id text COLLATE "C", name text, note text, PRIMARY KEY (customer_id, name));
CREATE TRIGGER seats AFTER INSERT OR UPDATE OR DELETE ON member FOR EACH ROW EXECUTE FUNCTION svc_guard('seats');
INSERT INTO member VALUES ('c1', 'ann'), ('c1', 'ben');
TABLE used;
-- what is not inserted takes no seat
INSERT INTO member VALUES ('c1', 'ann'), ('c1', 'cyd') ON CONFLICT DO NOTHING;
INSERT INTO member VALUES ('c1', 'ann') ON CONFLICT DO NOTHING;
TABLE used;
-- all seats are taken: one more is refused, one that is there is not
INSERT INTO member VALUES ('c1', 'dan');
\echo :SQLSTATE
INSERT INTO member VALUES ('c1', 'dan') ON CONFLICT DO NOTHING;
\echo :SQLSTATE
INSERT INTO member VALUES ('c1', 'ann', 'again') ON CONFLICT (customer_id, name) DO UPDATE SET note = excluded.note;
INSERT INTO member VALUES ('c1', 'ann'), ('c1', 'dan') ON CONFLICT (customer_id, name) DO UPDATE SET note = 'lost';
SELECT * FROM member ORDER BY name;
TABLE used;
-- an UPDATE that changes neither takes nothing
UPDATE member SET note = 'seen', name = upper(name);
TABLE used;
-- who goes gives his seat back, in the same statement, too
DELETE FROM member WHERE name = 'BEN';
TABLE used;
INSERT INTO member VALUES ('c1', 'fay');
WITH gone AS (DELETE FROM member WHERE name = 'CYD' RETURNING customer_id) INSERT INTO member SELECT customer_id, 'eve' FROM gone;
SELECT customer_id, name FROM member ORDER BY name;
TABLE used;
DELETE FROM member WHERE name = 'fay';
-- a statement that is refused in its middle leaves nothing
INSERT INTO member SELECT 'c2', 'm' || n FROM generate_series(1, 4) AS n;
\echo :SQLSTATE
SELECT count(*) FROM member WHERE customer_id = 'c2';
SELECT count(*) FROM svc_entitlement_ledger WHERE customer_id = 'c2';
TABLE used;
INSERT INTO member SELECT 'c2', 'm' || n FROM generate_series(1, 3) AS n;
TABLE used;
-- rolled back, to a savepoint or all
BEGIN;
DELETE FROM member WHERE customer_id = 'c2' AND name = 'm1';
SAVEPOINT s;
INSERT INTO member VALUES ('c2', 'm4');
INSERT INTO member VALUES ('c2', 'm5');
ROLLBACK TO s;
INSERT INTO member VALUES ('c2', 'm6');
COMMIT;
SELECT name FROM member WHERE customer_id = 'c2' ORDER BY name;
TABLE used;
-- a row that goes from one customer to another: c1 has a seat left, c2 none
UPDATE member SET customer_id = 'c1' WHERE name = 'm2';
TABLE used;
UPDATE member SET customer_id = 'c1' WHERE name = 'm3';
\echo :SQLSTATE
TABLE used;
UPDATE member SET customer_id = 'c2' WHERE name = 'm2';
-- a customer without the right, one that does not exist, one that is not served
INSERT INTO member VALUES ('c3', 'x');
\echo :SQLSTATE
INSERT INTO member VALUES ('nobody', 'x');
\echo :SQLSTATE
SELECT svc_suspend_customer('c2');
\set VERBOSITY terse
UPDATE member SET customer_id = 'c2' WHERE name = 'eve';
\set VERBOSITY default
-- who is not served may still let go
DELETE FROM member WHERE name = 'm2';
TABLE used;
SELECT svc_reactivate_customer('c2');
-- TRUNCATE gives nothing back
TRUNCATE member;
TABLE used;
SELECT kind, entitlement_id, count(*), sum(amount) FROM svc_entitlement_ledger GROUP BY 1, 2 ORDER BY 2, 1;

-- ---- a row that goes after a reset: what was taken back is not given back again ----
SELECT svc_grant_entitlement('c3', 'seats', 3, id => 'c3');
INSERT INTO member SELECT 'c3', 'm' || n FROM generate_series(1, 2) AS n;
SELECT svc_reset_entitlement('c3', 'c3');
INSERT INTO member VALUES ('c3', 'm3');
DELETE FROM member WHERE customer_id = 'c3';
SELECT * FROM used WHERE id = 'c3';
-- the right is revoked: what was used is given back; the code is unheard of: nothing to give
INSERT INTO member VALUES ('c3', 'm1');
SELECT svc_revoke_entitlement('c3', 'c3');
DELETE FROM member WHERE customer_id = 'c3';
SELECT * FROM used WHERE id = 'c3';
DROP TABLE member;

-- ---- two arguments: another column ----
CREATE TABLE device (owner text, serial int);
CREATE TRIGGER devices AFTER INSERT OR UPDATE OR DELETE ON device FOR EACH ROW EXECUTE FUNCTION svc_guard('devices', 'owner');
SELECT svc_grant_entitlement('c1', 'devices', 2, id => 'd1');
INSERT INTO device VALUES ('c1', 1), ('c1', 2);
INSERT INTO device VALUES ('c1', 3);
\echo :SQLSTATE
-- nobody's row is worth nothing, until it is somebody's
INSERT INTO device VALUES (NULL, 3), (NULL, 4);
UPDATE device SET owner = NULL WHERE serial = 1;
SELECT * FROM used WHERE id = 'd1';
UPDATE device SET owner = 'c1' WHERE serial = 3;
UPDATE device SET owner = 'c1' WHERE serial = 4;
\echo :SQLSTATE
DELETE FROM device WHERE owner IS NULL;
SELECT * FROM used WHERE id = 'd1';
DELETE FROM device;
SELECT * FROM used WHERE id = 'd1';
DROP TABLE device;

-- ---- three arguments: amounts, in columns of several types ----
SELECT svc_grant_entitlement('c1', 'gb', 100, id => 'gb');
CREATE TABLE upload (id int PRIMARY KEY, customer_id varchar(20), i integer, b bigint, n numeric, t text, s smallint);
CREATE TRIGGER i AFTER INSERT OR UPDATE OR DELETE ON upload FOR EACH ROW EXECUTE FUNCTION svc_guard('gb', 'customer_id', 'i');
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON upload FOR EACH ROW EXECUTE FUNCTION svc_guard('gb', 'customer_id', 'b');
CREATE TRIGGER n AFTER INSERT OR UPDATE OR DELETE ON upload FOR EACH ROW EXECUTE FUNCTION svc_guard('gb', 'customer_id', 'n');
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON upload FOR EACH ROW EXECUTE FUNCTION svc_guard('gb', 'customer_id', 't');
CREATE TRIGGER s AFTER INSERT OR UPDATE OR DELETE ON upload FOR EACH ROW EXECUTE FUNCTION svc_guard('gb', 'customer_id', 's');
INSERT INTO upload VALUES (1, 'c1', 1, 2, 0.5, ' 4.25 ', 8);
SELECT * FROM used WHERE id = 'gb';
-- 0 and null are nothing
INSERT INTO upload VALUES (2, 'c1', 0, NULL, 0.000, '0', NULL);
SELECT * FROM used WHERE id = 'gb';
-- the difference: up, down, from and to null
UPDATE upload SET i = 11, b = 1, n = NULL, t = '4.25' WHERE id = 1;
SELECT * FROM used WHERE id = 'gb';
UPDATE upload SET b = 70 WHERE id = 2;
SELECT * FROM used WHERE id = 'gb';
-- the last unit, and one more
UPDATE upload SET n = 5.75 WHERE id = 2;
SELECT * FROM used WHERE id = 'gb';
UPDATE upload SET n = 5.750000000000000001 WHERE id = 2;
\echo :SQLSTATE
UPDATE upload SET n = 5.75, t = '0.00' WHERE id = 2;
SELECT * FROM used WHERE id = 'gb';
-- values that are no amounts
INSERT INTO upload VALUES (3, 'c1', -1);
\echo :SQLSTATE
UPDATE upload SET n = -0.000000000000000001 WHERE id = 1;
\echo :SQLSTATE
UPDATE upload SET n = 'NaN' WHERE id = 1;
\echo :SQLSTATE
UPDATE upload SET n = 'Infinity' WHERE id = 1;
\echo :SQLSTATE
UPDATE upload SET n = 1e36 WHERE id = 1;
\echo :SQLSTATE
UPDATE upload SET n = 0.0000000000000000001 WHERE id = 1;
\echo :SQLSTATE
UPDATE upload SET t = 'much' WHERE id = 1;
\echo :SQLSTATE
UPDATE upload SET t = '' WHERE id = 1;
\echo :SQLSTATE
-- ids that are none
INSERT INTO upload VALUES (3, '', 1);
\echo :SQLSTATE
-- ... are nobody's where nothing is asked for
INSERT INTO upload VALUES (4, '', 0);
DELETE FROM upload WHERE id = 4;
-- another customer and another amount at once: both, in full
SELECT svc_grant_entitlement('c2', 'gb', 15, id => 'gb2');
UPDATE upload SET customer_id = 'c2', i = 1, s = NULL WHERE id = 1;
SELECT * FROM used WHERE id ~ 'gb';
UPDATE upload SET customer_id = 'c2' WHERE id = 2;
\echo :SQLSTATE
SELECT * FROM used WHERE id ~ 'gb';
DELETE FROM upload;
SELECT * FROM used WHERE id ~ 'gb';
DROP TABLE upload;
-- rights that are not counted cannot be consumed
SELECT svc_grant_entitlement('c1', 'sso', id => 'sso');
CREATE TABLE login (customer_id text);
CREATE TRIGGER sso AFTER INSERT ON login FOR EACH ROW EXECUTE FUNCTION svc_guard('sso');
INSERT INTO login VALUES ('c1');
\echo :SQLSTATE
DROP TABLE login;
-- where overage is allowed, the guard lets it pass
SELECT svc_grant_entitlement('c1', 'over', 1, id => 'over', overage => 'allow', overage_limit => 1);
CREATE TABLE thing (customer_id text, id int);
CREATE TRIGGER things AFTER INSERT OR DELETE ON thing FOR EACH ROW EXECUTE FUNCTION svc_guard('over');
INSERT INTO thing VALUES ('c1', 1), ('c1', 2);
INSERT INTO thing VALUES ('c1', 3);
\echo :SQLSTATE
DELETE FROM thing WHERE id = 1;
SELECT * FROM used WHERE id = 'over';
DROP TABLE thing;

-- ---- triggers of the wrong kind ----
CREATE TABLE t (customer_id text, n int);
INSERT INTO t VALUES ('c1', 1);
CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_guard('seats');
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
DROP TRIGGER g ON t;
CREATE TRIGGER g AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION svc_guard('seats');
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
DROP TRIGGER g ON t;
CREATE TRIGGER g AFTER TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION svc_guard('seats');
TRUNCATE t;
\echo :SQLSTATE
DROP TRIGGER g ON t;
CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_guard();
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
DROP TRIGGER g ON t;
CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_guard('seats', 'customer_id', 'n', 'more');
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
DROP TRIGGER g ON t;
CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_guard('seats', 'customer');
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
DROP TRIGGER g ON t;
CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_guard('seats', 'customer_id', 'weight');
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
DROP TRIGGER g ON t;
CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_guard('seats', 'ctid');
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
DROP TRIGGER g ON t;
CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_guard('');
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
DROP TRIGGER g ON t;
-- not the default column
ALTER TABLE t RENAME customer_id TO who;
CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION svc_guard('seats');
INSERT INTO t VALUES ('c1', 2);
\echo :SQLSTATE
SELECT svc_guard();
\echo :SQLSTATE
SELECT count(*) FROM t;
DROP TABLE t;

-- ---- deferred, for some rows only, on a partitioned table, with a BEFORE trigger ----
UPDATE svc_entitlement SET limit_amount = used_amount + 2 WHERE id = 'c1';
SELECT used_amount AS before FROM svc_entitlement WHERE id = 'c1' \gset
CREATE TABLE p (customer_id text, n int) PARTITION BY RANGE (n);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
CREATE TRIGGER g AFTER INSERT OR UPDATE OR DELETE ON p FOR EACH ROW EXECUTE FUNCTION svc_guard('seats');
INSERT INTO p VALUES ('c1', 1), ('c1', 11);
INSERT INTO p VALUES ('c1', 2);
\echo :SQLSTATE
UPDATE p SET n = 12 WHERE n = 1; -- to another partition
SELECT used_amount - :before AS taken FROM svc_entitlement WHERE id = 'c1';
DELETE FROM p;
SELECT used_amount - :before AS taken FROM svc_entitlement WHERE id = 'c1';
DROP TABLE p;
CREATE TABLE t (customer_id text, n int);
CREATE FUNCTION doubled() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := NEW.n * 2; RETURN NEW; END $$;
CREATE TRIGGER doubled BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION doubled();
CREATE CONSTRAINT TRIGGER g AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION svc_guard('seats', 'customer_id', 'n');
INSERT INTO t VALUES ('c1', 1), ('c1', 0);
SELECT used_amount - :before AS taken FROM svc_entitlement WHERE id = 'c1';
BEGIN;
INSERT INTO t VALUES ('c1', 1);
SELECT used_amount - :before AS taken FROM svc_entitlement WHERE id = 'c1';
COMMIT;
\echo :SQLSTATE
SELECT count(*) FROM t;
DROP TABLE t;

-- ---- a role of an application, on its own table ----
CREATE ROLE regress_svc_app;
CREATE ROLE regress_svc_none;
SELECT svc_grant('regress_svc_app', 'app');
GRANT USAGE ON SCHEMA svc TO regress_svc_none;
CREATE SCHEMA mine;
GRANT ALL ON SCHEMA mine TO regress_svc_app, regress_svc_none;
SELECT svc_grant_entitlement('c3', 'rooms', 1, id => 'rooms');
SET ROLE regress_svc_app;
CREATE TABLE mine.room (customer_id text, name text);
CREATE TRIGGER rooms AFTER INSERT OR UPDATE OR DELETE ON mine.room FOR EACH ROW EXECUTE FUNCTION svc_guard('rooms');
INSERT INTO mine.room VALUES ('c3', 'red');
INSERT INTO mine.room VALUES ('c3', 'blue');
\echo :SQLSTATE
SELECT count(*) FROM svc_entitlement;
\echo :SQLSTATE
-- who may write the table needs no right of his own: the trigger is the table's
GRANT INSERT, DELETE, SELECT ON mine.room TO regress_svc_none;
RESET ROLE;
SET ROLE regress_svc_none;
INSERT INTO mine.room VALUES ('c3', 'blue');
\echo :SQLSTATE
DELETE FROM mine.room;
INSERT INTO mine.room VALUES ('c3', 'green');
CREATE TABLE mine.other (customer_id text);
CREATE TRIGGER rooms AFTER INSERT ON mine.other FOR EACH ROW EXECUTE FUNCTION svc_guard('rooms');
\echo :SQLSTATE
RESET ROLE;
SELECT * FROM used WHERE id = 'rooms';
SELECT kind, amount, actor FROM svc_entitlement_ledger WHERE entitlement_id = 'rooms' ORDER BY seq;

-- everything adds up
SELECT * FROM svc_verify();
SET client_min_messages = warning;
DROP SCHEMA mine CASCADE;
DROP OWNED BY regress_svc_app, regress_svc_none;
DROP ROLE regress_svc_app, regress_svc_none;
DROP SCHEMA svc CASCADE;
