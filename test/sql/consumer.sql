-- Promise: a consumer gets every event that it asks for, in order, until it
-- says that it is done with it; and bad input is told what is wrong.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer(jsonb_build_object('id', 'c' || n, 'name', 'n', 'status', 'active')) FROM generate_series(1, 4) n \g /dev/null
SELECT svc_create_consumer('all', 'beginning'), svc_create_consumer('new'),
       svc_create_consumer('grants', 'beginning', ARRAY['svc.entitlement.granted', 'svc.entitlement.exhausted']),
       svc_create_consumer('c2', "from" => 'beginning', customer_id => 'c2');

-- pages; what is not acknowledged comes again, here at once because of the lease
SELECT id, type, customer_id, revision FROM svc_poll_events('all', 3, '0');
SELECT id FROM svc_poll_events('all', 2, '0');
SELECT svc_ack_events('all', 2);
SELECT id FROM svc_poll_events('all', 3, '0');
SELECT svc_ack_events('all', 4);
SELECT id FROM svc_poll_events('all', 3, '0');
SELECT id FROM svc_poll_events('new');

-- what others do, and what the poller itself does, comes with the next poll
UPDATE svc_customer SET status = 'suspended' WHERE id = 'c2';
SELECT svc_grant_entitlement('c2', 'calls', 1, id => 'e1');
SELECT allowed FROM svc_consume_entitlement('c2', 'calls');
BEGIN;
SELECT id, type FROM svc_poll_events('new', lease => '0');
UPDATE svc_customer SET status = 'active' WHERE id = 'c2';
SELECT allowed FROM svc_consume_entitlement('c2', 'calls');
SELECT id, type FROM svc_poll_events('new', lease => '0');
SELECT svc_ack_events('new', 6);
SELECT id, type FROM svc_poll_events('new', lease => '0');
COMMIT;
SELECT id, type, revision, from_status, to_status FROM svc_poll_events('new', lease => '0');
SELECT svc_ack_events('new', 9);
SELECT id FROM svc_poll_events('new');

-- filters
SELECT id, type, entity_id FROM svc_poll_events('grants', lease => '0');
SELECT id, type, entity_id FROM svc_poll_events('c2', lease => '0');
SELECT name, pending, is_reading, is_behind FROM svc_consumer_lag ORDER BY name;

-- an event as CloudEvents 1.0
SELECT jsonb_pretty((c - 'time' - 'source') #- '{data,actor}'),
       c ->> 'source' = '/svc/' || (SELECT system_identifier FROM pg_control_system()) AS source,
       (c ->> 'time')::timestamptz = e.occurred_at AS time
FROM svc_poll_events('c2', lease => '0') AS e, svc_cloudevent(e) AS c WHERE e.type = 'svc.customer.suspended';
SELECT svc_cloudevent(NULL);

-- the lease: until it ends nobody else is handed anything
SELECT count(*) FROM svc_poll_events('all', lease => '1 hour');
SELECT count(*) FROM svc_poll_events('all');
SELECT svc_ack_events('all', 8);
SELECT count(*) FROM svc_poll_events('all');
SELECT svc_ack_events('all', 9);
UPDATE svc_customer SET name = 'm' WHERE id = 'c3';
SELECT id FROM svc_poll_events('all', lease => '0');

-- a consumer from now gets what its own transaction writes
BEGIN;
SELECT svc_create_consumer('mine');
UPDATE svc_customer SET name = 'mine' WHERE id = 'c4';
COMMIT;
SELECT type, customer_id FROM svc_poll_events('mine');
SELECT svc_drop_consumer('mine');

-- rolled back: polled and acknowledged nothing
BEGIN;
SELECT svc_ack_events('all', 10);
ROLLBACK;
SELECT id FROM svc_poll_events('all', lease => '0');

-- bad input
SELECT svc_create_consumer('all');
\echo :SQLSTATE
SELECT svc_create_consumer(NULL);
SELECT svc_create_consumer('');
SELECT svc_create_consumer('x', 'yesterday');
SELECT svc_create_consumer('x', NULL);
SELECT svc_create_consumer('x', types => ARRAY['svc.entitlement.exausted']);
SELECT svc_create_consumer('x', types => ARRAY[NULL]::text[]);
SELECT svc_poll_events('nobody');
\echo :SQLSTATE
SELECT svc_poll_events(NULL);
SELECT svc_poll_events('all', 0);
SELECT svc_poll_events('all', 10001);
SELECT svc_poll_events('all', NULL);
SELECT svc_poll_events('all', lease => '-1 second');
SELECT svc_poll_events('all', lease => '1 year 1 day');
SELECT svc_poll_events('all', lease => '-178000000 years');
SELECT svc_poll_events('all', lease => NULL);
SELECT svc_ack_events('nobody', 1);
SELECT svc_ack_events('all', NULL);
SELECT svc_ack_events('all', 99);
\echo :SQLSTATE
SELECT svc_ack_events('all', -1);
SELECT svc_ack_events('new', 5);
SELECT svc_ack_events('all', 10), svc_ack_events('all', 10);
SELECT svc_ack_events('all', 9);
SELECT svc_drop_consumer('nobody');
SELECT svc_drop_consumer(NULL);
SELECT svc_purge_events(NULL);
SELECT svc_purge_events('infinity');
BEGIN READ ONLY;
SELECT svc_poll_events('all');
\echo :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT svc_purge_events('2000-01-01Z');
\echo :SQLSTATE
ROLLBACK;

-- restored into a cluster whose transaction ids are far lower, a consumer does
-- not search the whole log for ever
SELECT svc_create_consumer('moved');
SELECT floor = (SELECT max(id) FROM svc_event) AS starts_at_the_end FROM svc_event_consumer WHERE name = 'moved';
UPDATE svc_event_consumer SET cluster = cluster - 1, next_floor_xid = '999999999999' WHERE name = 'moved';
SELECT id FROM svc_poll_events('moved');
SELECT floor, next_floor, next_floor_xid <= pg_current_xact_id() AS is_of_here FROM svc_event_consumer WHERE name = 'moved';
SELECT svc_drop_consumer('moved');

-- restored from a copy of this server that has gone on by itself: what it has
-- seen has not happened here, so nothing is handed out, and nothing purged
SELECT svc_create_consumer('copy');
UPDATE svc_event_consumer SET snapshot = '999999999:999999999:' WHERE name = 'copy';
SELECT svc_poll_events('copy');
\echo :SQLSTATE
SELECT count(*) AS polled_by_another FROM svc_poll_events('new', lease => '0');
SELECT svc_purge_events('2000-01-01Z');
\echo :SQLSTATE
SELECT svc_drop_consumer('copy');

-- an acknowledgement that was not stored is none
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
UPDATE svc_customer SET name = 'q' WHERE id = 'c3';
SELECT count(*) AS polled FROM svc_poll_events('all', lease => '0');
CREATE TRIGGER swallow BEFORE UPDATE ON svc_event_consumer FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT svc_ack_events('all', max(id)) FROM svc_event;
\echo :SQLSTATE
SELECT svc_poll_events('new');
DROP TRIGGER swallow ON svc_event_consumer;

-- a column of another type is no way to the server's memory
ALTER TABLE svc_event ALTER request_id TYPE bigint USING 4919;
SELECT DISTINCT request_id FROM svc_poll_events('all', lease => '0');
ALTER TABLE svc_event ALTER request_id TYPE text USING NULL;

-- purge: what somebody has not acknowledged stays, unless it is too old
ALTER TABLE svc_event DISABLE TRIGGER zzz_svc_append_only;
UPDATE svc_event SET occurred_at = '2020-01-01Z' WHERE id <= 6;
UPDATE svc_event SET occurred_at = '2024-01-01Z' WHERE id > 6;
ALTER TABLE svc_event ENABLE TRIGGER zzz_svc_append_only;
SELECT svc_drop_consumer('c2');
SELECT svc_purge_events('2019-01-01Z'), svc_purge_events('2021-01-01Z');
SELECT id, type FROM svc_event ORDER BY id;
SELECT name, pending, is_behind FROM svc_consumer_lag ORDER BY name;
SELECT svc_ack_events('grants', 6);
SELECT svc_purge_events('2021-01-01Z');
SET svc.event_max_retention = '1d';
SHOW svc.event_max_retention;
SELECT svc_purge_events('2025-01-01Z');
SELECT name, pending, is_behind FROM svc_consumer_lag ORDER BY name;
SELECT svc_poll_events('grants');
\echo :SQLSTATE
SELECT svc_poll_events('all');
SELECT svc_drop_consumer('grants'), svc_create_consumer('grants');
SELECT svc_poll_events('grants');
RESET svc.event_max_retention;

-- A change that is made while the statement of another is still running, by a
-- function that this calls or by a trigger of the user's, has the later revision
-- and comes later, though its statement ends before.
SELECT svc_create_customer(jsonb_build_object('id', 'n' || n, 'name', 'n', 'status', 'active')) FROM generate_series(1, 3) n \g /dev/null
SELECT svc_create_consumer('nested');
UPDATE svc_customer SET name = 'm' WHERE id = 'n1' RETURNING name, svc_suspend_customer(id);
WITH u AS (UPDATE svc_customer SET name = 'm' WHERE id = 'n2' RETURNING id) SELECT svc_suspend_customer(id) FROM u;
INSERT INTO svc_customer (id, name, status) VALUES ('n4', 'n', 'active') RETURNING svc_churn_customer(id);
CREATE FUNCTION rename() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN UPDATE svc.svc_customer SET name = 'renamed' WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER rename AFTER UPDATE OF status ON svc_customer FOR EACH ROW EXECUTE FUNCTION rename();
UPDATE svc_customer SET status = 'suspended' WHERE id = 'n3';
DROP TRIGGER rename ON svc_customer;
SELECT entity_id, revision, event FROM svc_poll_events('nested');
SELECT svc_drop_consumer('nested');

-- (its words differ from version to version)
\set VERBOSITY sqlstate
SET svc.event_max_retention = '-1';
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
