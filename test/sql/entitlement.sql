-- Promise: a check tells what a consume would do; a consume takes all or
-- nothing, from the grants in burn order; a key takes effect once.
\pset null ~
\set SHOW_CONTEXT never
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
SELECT svc_grant_entitlement('c1', 'calls', 5, id => 'e1');

-- one grant, down to the last unit and beyond
SELECT * FROM svc_check_entitlement('c1', 'calls');
SELECT * FROM svc_check_entitlement('c1', 'calls', 5);
SELECT * FROM svc_check_entitlement('c1', 'calls', 5.000000000000000001);
SELECT * FROM svc_consume_entitlement('c1', 'calls', 6);
SELECT * FROM svc_consume_entitlement('c1', 'calls');
SELECT * FROM svc_consume_entitlement('c1', 'calls', 3.5);
SELECT * FROM svc_consume_entitlement('c1', 'calls', 0.5);
SELECT * FROM svc_consume_entitlement('c1', 'calls', 0.000001);
SELECT * FROM svc_check_entitlement('c1', 'calls', 0.000001);
SELECT status, used_amount, remaining_amount, usage_percent, ledger_seq, revision FROM svc_entitlement;
SELECT seq, line, kind, code, amount, idempotency_key FROM svc_entitlement_ledger ORDER BY seq;
SELECT revision, event, from_status, to_status FROM svc_event WHERE noun = 'entitlement' ORDER BY revision;

-- require: the same, or an error
SELECT svc_grant_entitlement('c1', 'seats', 1, id => 's1');
SELECT allowed, remaining, consumed FROM svc_require_entitlement('c1', 'seats');
SELECT * FROM svc_require_entitlement('c1', 'seats');
\echo :SQLSTATE

-- burn order: priority; unlimited first; what perishes first; oldest; id
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, priority, created_at, valid_until) VALUES
    ('c1', 'b6-later', 'gb', 'x', 1, 100, '2020-01-02Z', NULL),
    ('c1', 'b5-b', 'gb', 'x', 1, 100, '2020-01-01Z', NULL),
    ('c1', 'b4-a', 'gb', 'x', 1, 100, '2020-01-01Z', NULL),
    ('c1', 'b3-perishes-later', 'gb', 'x', 1, 100, '2020-01-01Z', '2099-02-01Z'),
    ('c1', 'b2-perishes', 'gb', 'x', 1, 100, '2020-01-03Z', '2099-01-01Z'),
    ('c1', 'b1-first', 'gb', 'x', 1, 5, '2020-01-09Z', NULL);
SELECT allowed, remaining, entitlement_id, consumed FROM svc_consume_entitlement('c1', 'gb', 5.5, 'split');
SELECT entitlement_id, line, amount, seq, idempotency_key, request IS NOT NULL AS has_request
FROM svc_entitlement_ledger WHERE code = 'gb' ORDER BY line;
SELECT allowed, reason, remaining, entitlement_id FROM svc_consume_entitlement('c1', 'gb', 1);
SELECT svc_grant_entitlement('c1', 'gb', unlimited => true, id => 'b7-unlimited');
SELECT * FROM svc_consume_entitlement('c1', 'gb', 1000);
SELECT id, status, used_amount, remaining_amount FROM svc_entitlement WHERE code = 'gb' ORDER BY id;

-- rights that are not counted
SELECT svc_grant_entitlement('c1', 'support', value => '{"level": "priority"}', id => 'sup');
SELECT svc_grant_entitlement('c1', 'sso', id => 'sso');
SELECT * FROM svc_check_entitlement('c1', 'support');
SELECT * FROM svc_check_entitlement('c1', 'sso');
SELECT * FROM svc_consume_entitlement('c1', 'sso');
\echo :SQLSTATE
SELECT id, type, name, status, remaining_amount, usage_percent FROM svc_entitlement WHERE id IN ('sup', 'sso', 'e1') ORDER BY id;
-- limit 0 grants nothing; it is counted all the same
SELECT svc_grant_entitlement('c1', 'nothing', 0, id => 'n1');
SELECT allowed, reason, remaining FROM svc_check_entitlement('c1', 'nothing');
SELECT usage_percent FROM svc_entitlement WHERE id = 'n1';

-- reasons: validity, suspension, revocation, at any instant
SELECT svc_grant_entitlement('c1', 'w', 5, id => 'w1', valid_from => '2090-01-01Z', valid_until => '2091-01-01Z');
SELECT t.at, d.allowed, d.reason
FROM (VALUES (NULL), ('2089-12-31 23:59:59.999999Z'), ('2090-01-01Z'),
             ('2090-12-31 23:59:59.999999Z'), ('2091-01-01Z')) AS t (at),
     svc_check_entitlement('c1', 'w', 1, t.at::timestamptz) d;
UPDATE svc_entitlement SET status = 'suspended' WHERE id = 'w1';
SELECT reason FROM svc_check_entitlement('c1', 'w', 1, '2090-06-01Z');
SELECT allowed, reason, consumed FROM svc_consume_entitlement('c1', 'w', 1, at => '2090-06-01Z');
UPDATE svc_entitlement SET status = 'revoked' WHERE id = 'w1';
SELECT reason FROM svc_check_entitlement('c1', 'w', 1, '2090-06-01Z');
SELECT reason FROM svc_consume_entitlement('c1', 'w', 1);
-- the nearest reason wins when there are several
SELECT svc_grant_entitlement('c1', 'w', 5, id => 'w2', valid_from => '2092-01-01Z');
SELECT reason FROM svc_check_entitlement('c1', 'w');
-- a consume that meets an expired grant writes that down; a check does not
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, valid_from, valid_until)
VALUES ('c1', 'x1', 'x', 'x', 5, '2020-01-01Z', '2021-01-01Z');
SELECT reason FROM svc_check_entitlement('c1', 'x');
SELECT reason FROM svc_consume_entitlement('c1', 'x', at => '2022-01-01Z');
SELECT status FROM svc_entitlement WHERE id = 'x1';
SELECT reason FROM svc_consume_entitlement('c1', 'x');
SELECT status FROM svc_entitlement WHERE id = 'x1';
SELECT event, from_status, to_status FROM svc_event WHERE entity_id = 'x1' ORDER BY revision;

-- the customer at the door
SELECT reason FROM svc_check_entitlement('nobody', 'calls');
SELECT reason FROM svc_consume_entitlement('nobody', 'calls');
SELECT reason FROM svc_check_entitlement('c1', 'unheard-of');
SELECT reason FROM svc_consume_entitlement('c1', 'unheard-of');
UPDATE svc_customer SET status = 'suspended' WHERE id = 'c1';
SELECT allowed, reason FROM svc_check_entitlement('c1', 'sso');
SELECT allowed, reason FROM svc_consume_entitlement('c1', 'gb');
-- a repeat is answered all the same
SELECT allowed, remaining, entitlement_id, consumed, replayed FROM svc_consume_entitlement('c1', 'gb', 5.5, 'split');
UPDATE svc_customer SET status = 'active' WHERE id = 'c1';

-- idempotency: numbers by value, not at, not metadata; a denial leaves the key free
SELECT allowed, replayed FROM svc_consume_entitlement('c1', 'gb', 5.50, 'split', at => '2089-01-01Z', metadata => '{"try": 2}');
SELECT svc_grant_entitlement('c1', 'k', 2, id => 'k1');
SELECT allowed, reason, replayed FROM svc_consume_entitlement('c1', 'k', 3, 'free');
SELECT allowed, remaining, replayed FROM svc_consume_entitlement('c1', 'k', 2, 'free', metadata => '{"order": 1}');
SELECT allowed, remaining, replayed FROM svc_consume_entitlement('c1', 'k', 2, 'free');
SELECT allowed, remaining, replayed FROM svc_require_entitlement('c1', 'k', 2, 'free');
SELECT request, answer, metadata FROM svc_entitlement_ledger WHERE idempotency_key = 'free';
BEGIN;
SAVEPOINT s;
SELECT allowed, replayed FROM svc_consume_entitlement('c1', 'gb', 1, 'undone');
ROLLBACK TO s;
SELECT allowed, replayed FROM svc_consume_entitlement('c1', 'gb', 2, 'undone');
COMMIT;
-- another customer's keys are another customer's
SELECT svc_create_customer('{"id": "c2", "name": "Bob"}');
SELECT svc_grant_entitlement('c2', 'k', 2, id => 'k1');
SELECT allowed, remaining, replayed FROM svc_consume_entitlement('c2', 'k', 1, 'free');

-- an event for every consume, if wanted
SET svc.consumed_events = on;
SELECT allowed FROM svc_consume_entitlement('c2', 'k', 1);
RESET svc.consumed_events;
SELECT revision, event, from_status, to_status FROM svc_event WHERE customer_id = 'c2' AND noun = 'entitlement' ORDER BY revision;

-- with the work that it protects: both or neither
CREATE TABLE jobs (id int PRIMARY KEY);
SELECT svc_grant_entitlement('c2', 'jobs', 10, id => 'j1');
BEGIN;
INSERT INTO jobs VALUES (1);
SELECT allowed FROM svc_require_entitlement('c2', 'jobs');
COMMIT;
BEGIN;
SELECT allowed FROM svc_require_entitlement('c2', 'jobs');
INSERT INTO jobs VALUES (1);
COMMIT;
SELECT count(*) AS jobs, (SELECT used_amount FROM svc_entitlement WHERE id = 'j1') AS used FROM jobs;
-- once for each row of a query
SELECT count(*) FILTER (WHERE c.allowed) AS allowed, count(*) AS asked
FROM generate_series(1, 20) AS g, svc_consume_entitlement('c2', 'jobs', 1, 'job-' || g) AS c;
-- read-only transactions can check, and consume nothing
BEGIN READ ONLY;
SELECT allowed, reason FROM svc_check_entitlement('c2', 'jobs');
SELECT allowed FROM svc_consume_entitlement('c1', 'gb');
ROLLBACK;

-- everything adds up
SELECT e.customer_id, e.id, e.used_amount, sum(l.amount) AS ledger, e.ledger_seq, count(l.seq), max(l.seq)
FROM svc_entitlement e LEFT JOIN svc_entitlement_ledger l ON l.customer_id = e.customer_id AND l.entitlement_id = e.id
GROUP BY e.customer_id, e.id
HAVING e.used_amount <> coalesce(sum(l.amount), 0) OR e.ledger_seq <> count(l.seq)
    OR e.ledger_seq <> coalesce(max(l.seq), 0);

DROP TABLE jobs;
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
