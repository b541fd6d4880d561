-- Promise: what a consume takes, of which grants and how much, follows from
-- burn order, mode and overage; what is given back follows the same way back;
-- who is not served, and what is not valid, is denied at the exact instant.
\pset null ~
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc, public;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');

-- ---- burn order: each of its five criteria decides once ----
-- The grants of a pair differ in one criterion, and in the next ones the other
-- way round. The first one must pay.
INSERT INTO svc_entitlement (customer_id, id, code, name, priority, unlimited, limit_amount, valid_until, reset_period, reset_anchor, created_at) VALUES
    ('c1', '01-first', 'priority', 'x', 99, false, 9, '2050-01-01Z', NULL, NULL, '2020-02-01Z'),
    ('c1', '00-second', 'priority', 'x', 100, true, NULL, '2045-01-01Z', NULL, NULL, '2020-01-01Z'),
    ('c1', '2-first', 'unlimited', 'x', 100, true, NULL, '2050-01-01Z', NULL, NULL, '2020-02-01Z'),
    ('c1', '1-second', 'unlimited', 'x', 100, false, 9, '2045-01-01Z', NULL, NULL, '2020-01-01Z'),
    ('c1', '4-first', 'valid_until', 'x', 100, false, 9, '2045-01-01Z', NULL, NULL, '2020-02-01Z'),
    ('c1', '3-second', 'valid_until', 'x', 100, false, 9, '2050-01-01Z', NULL, NULL, '2020-01-01Z'),
    ('c1', '6-first', 'never', 'x', 100, false, 9, '2050-01-01Z', NULL, NULL, '2020-02-01Z'),
    ('c1', '5-second', 'never', 'x', 100, false, 9, NULL, NULL, NULL, '2020-01-01Z'),
    ('c1', '8-first', 'reset_at', 'x', 100, false, 9, '2050-01-01Z', 'yearly', '2040-06-01Z', '2020-02-01Z'),
    ('c1', '7-second', 'reset_at', 'x', 100, false, 9, '2041-01-01Z', NULL, NULL, '2020-01-01Z'),
    ('c1', 'b-oldest', 'created_at', 'x', 100, false, 9, '2050-01-01Z', NULL, NULL, '2020-01-01Z'),
    ('c1', 'aa-second', 'created_at', 'x', 100, false, 9, '2050-01-01Z', NULL, NULL, '2020-01-01 00:00:00.000001Z'),
    ('c1', 'B-bytewise', 'id', 'x', 100, false, 9, '2050-01-01Z', NULL, NULL, '2020-01-01Z'),
    ('c1', 'aaa-second', 'id', 'x', 100, false, 9, '2050-01-01Z', NULL, NULL, '2020-01-01Z');
SELECT code, c.allowed, c.entitlement_id, c.remaining, c.reset_at
FROM unnest(ARRAY['priority', 'unlimited', 'valid_until', 'never', 'reset_at', 'created_at', 'id']) AS code,
     svc_consume_entitlement('c1', code, 1, at => '2040-01-31Z') c;
-- who is spent is passed over; of the next reset, grants are what they are at the instant
SELECT allowed, entitlement_id, remaining FROM svc_consume_entitlement('c1', 'reset_at', 8, at => '2040-01-31Z');
SELECT allowed, entitlement_id, remaining FROM svc_consume_entitlement('c1', 'reset_at', 1, at => '2040-01-31Z');
SELECT allowed, entitlement_id, remaining, reset_at FROM svc_consume_entitlement('c1', 'reset_at', 1, at => '2040-06-01Z');
-- the same order in the explanation
SELECT step, what, entitlement_id, state, available, pays FROM svc_explain_entitlement('c1', 'reset_at', 10, '2040-06-01Z');

-- ---- stacking and splits ----
SELECT svc_grant_entitlement('c1', 'gb', 3, id => 's1', priority => 1);
SELECT svc_grant_entitlement('c1', 'gb', 2.5, id => 's2', priority => 2);
SELECT svc_grant_entitlement('c1', 'gb', 0, id => 's3', priority => 3);
SELECT svc_grant_entitlement('c1', 'gb', 4, id => 's4', priority => 4);
CREATE VIEW gb AS SELECT id, status, used_amount AS used, remaining_amount AS remaining, usage_percent AS percent
FROM svc_entitlement WHERE code = 'gb' ORDER BY priority;
SELECT allowed, remaining, entitlement_id, consumed FROM svc_consume_entitlement('c1', 'gb', 2);
SELECT allowed, remaining, entitlement_id, consumed FROM svc_consume_entitlement('c1', 'gb', 4.5, 'split');
TABLE gb;
SELECT entitlement_id, line, amount, idempotency_key FROM svc_entitlement_ledger WHERE code = 'gb' ORDER BY recorded_at, line;
-- max, max + 1
SELECT allowed, reason, remaining, consumed FROM svc_consume_entitlement('c1', 'gb', 3.000000000000000001);
SELECT allowed, reason, remaining, consumed FROM svc_consume_entitlement('c1', 'gb', 3);
SELECT allowed, reason, remaining, consumed, entitlement_id FROM svc_consume_entitlement('c1', 'gb', 0.000000000000000001);
TABLE gb;

-- ---- refunds: against the burn order, not below zero used ----
SELECT allowed, reason, remaining, consumed, entitlement_id FROM svc_consume_entitlement('c1', 'gb', -1);
TABLE gb;
SELECT allowed, remaining, consumed, entitlement_id FROM svc_consume_entitlement('c1', 'gb', -5.5, 'back');
TABLE gb;
SELECT entitlement_id, line, kind, amount FROM svc_entitlement_ledger WHERE idempotency_key = 'back' ORDER BY line;
SELECT allowed, consumed, replayed FROM svc_consume_entitlement('c1', 'gb', -5.50, 'back');
-- excess: 3 are used
SELECT * FROM svc_consume_entitlement('c1', 'gb', -3.000000000000000001);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'gb', -4, mode => 'overflow');
\echo :SQLSTATE
SELECT * FROM svc_require_entitlement('c1', 'gb', -4);
\echo :SQLSTATE
TABLE gb;
-- cap gives back what there is, and no more; nothing is what it says when there is nothing
SELECT * FROM svc_consume_entitlement('c1', 'gb', -4, mode => 'cap');
SELECT * FROM svc_consume_entitlement('c1', 'gb', -4, mode => 'cap');
SELECT * FROM svc_consume_entitlement('c1', 'gb', -1);
\echo :SQLSTATE
TABLE gb;
-- a key of a refund of nothing is known, and belongs to that request
SELECT allowed, consumed, replayed FROM svc_consume_entitlement('c1', 'gb', -4, 'nothing', 'cap');
SELECT allowed, consumed, replayed FROM svc_consume_entitlement('c1', 'gb', -4, 'nothing', 'cap');
SELECT allowed, consumed, replayed FROM svc_consume_entitlement('c1', 'gb', 4, 'nothing', 'cap');
\echo :SQLSTATE
-- what was never granted
SELECT * FROM svc_consume_entitlement('c1', 'unheard-of', -1);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'unheard-of', -1, mode => 'cap');

-- ---- modes, where overage is denied ----
SELECT svc_grant_entitlement('c1', 'm', 5, id => 'm1', priority => 1);
SELECT svc_grant_entitlement('c1', 'm', 5, id => 'm2', priority => 2);
SELECT 'reject' AS mode, * FROM svc_consume_entitlement('c1', 'm', 11, mode => 'reject');
SELECT 'cap' AS mode, * FROM svc_consume_entitlement('c1', 'm', 7, mode => 'cap');
SELECT 'cap' AS mode, * FROM svc_consume_entitlement('c1', 'm', 7, mode => 'cap');
-- there is nothing: a denial, not 0 of 7
SELECT 'cap' AS mode, * FROM svc_consume_entitlement('c1', 'm', 7, mode => 'cap');
-- overflow books on the last one, whatever its overage says
SELECT 'overflow' AS mode, * FROM svc_consume_entitlement('c1', 'm', 7, mode => 'overflow');
SELECT id, status, used_amount, remaining_amount, usage_percent FROM svc_entitlement WHERE code = 'm' ORDER BY id;
-- beyond the limit there is nothing for the other modes
SELECT allowed, reason, remaining FROM svc_consume_entitlement('c1', 'm', 1);
SELECT allowed, reason, remaining FROM svc_consume_entitlement('c1', 'm', 1, mode => 'cap');
-- a refund goes to overage first: what is live of it is spent as before
SELECT allowed, remaining, consumed, entitlement_id FROM svc_consume_entitlement('c1', 'm', -7);
SELECT id, status, used_amount, remaining_amount FROM svc_entitlement WHERE code = 'm' ORDER BY id;
SELECT allowed, remaining, consumed, entitlement_id FROM svc_consume_entitlement('c1', 'm', -1);
SELECT id, status, used_amount, remaining_amount FROM svc_entitlement WHERE code = 'm' ORDER BY id;
-- overflow takes what is there first
SELECT allowed, remaining, overage, consumed, entitlement_id FROM svc_consume_entitlement('c1', 'm', 1.25, mode => 'overflow');
-- overage in the first of the burn order is given back before use within the limit of the last
SELECT svc_grant_entitlement('c1', 'over', 5, id => 'o1', priority => 1, overage => 'allow', overage_limit => 3);
SELECT svc_grant_entitlement('c1', 'over', 5, id => 'o2', priority => 2);
SELECT allowed, remaining, overage, consumed, entitlement_id FROM svc_consume_entitlement('c1', 'over', 12);
SELECT id, status, used_amount, remaining_amount, usage_percent FROM svc_entitlement WHERE code = 'over' ORDER BY id;
SELECT allowed, remaining, consumed, entitlement_id FROM svc_consume_entitlement('c1', 'over', -3);
SELECT id, status, used_amount, remaining_amount FROM svc_entitlement WHERE code = 'over' ORDER BY id;
-- a denial in mode cap or overflow where no grant is live takes nothing
SELECT allowed, reason, consumed FROM svc_consume_entitlement('c1', 'unheard-of', 1, mode => 'overflow');
-- no other modes
SELECT * FROM svc_consume_entitlement('c1', 'm', 1, mode => 'Reject');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'm', 1, mode => NULL);
\echo :SQLSTATE

-- ---- overage allowed ----
SELECT svc_grant_entitlement('c1', 'pay', 5, id => 'p1', overage => 'allow');
SELECT allowed, reason, remaining, overage FROM svc_check_entitlement('c1', 'pay', 1000000);
SELECT allowed, remaining, overage, consumed FROM svc_consume_entitlement('c1', 'pay', 7);
SELECT allowed, remaining, overage, consumed FROM svc_consume_entitlement('c1', 'pay', 7, mode => 'cap');
SELECT id, status, used_amount, remaining_amount, usage_percent FROM svc_entitlement WHERE id = 'p1';
SELECT event, from_status, to_status FROM svc_event WHERE entity_id = 'p1' ORDER BY revision;
SELECT svc_grant_entitlement('c1', 'lim', 5, id => 'l1', overage => 'allow', overage_limit => 2);
SELECT allowed, reason, remaining, overage FROM svc_check_entitlement('c1', 'lim', 7);
SELECT allowed, reason, remaining, overage FROM svc_check_entitlement('c1', 'lim', 7.000000000000000001);
SELECT allowed, remaining, overage, consumed FROM svc_consume_entitlement('c1', 'lim', 6);
SELECT allowed, reason, remaining, overage, consumed FROM svc_consume_entitlement('c1', 'lim', 1.5);
SELECT allowed, reason, remaining, overage, consumed FROM svc_consume_entitlement('c1', 'lim', 1.5, mode => 'cap');
SELECT allowed, reason, remaining, overage, consumed FROM svc_consume_entitlement('c1', 'lim', 1.5, mode => 'cap');
SELECT allowed, reason, remaining, overage, consumed FROM svc_consume_entitlement('c1', 'lim', 1.5, mode => 'overflow');
SELECT status, used_amount, remaining_amount, usage_percent FROM svc_entitlement WHERE id = 'l1';
-- what is beyond even the overage limit leaves no room
SELECT allowed, reason FROM svc_check_entitlement('c1', 'lim', 0.5);
SELECT allowed, remaining, consumed FROM svc_consume_entitlement('c1', 'lim', -2);
SELECT allowed, reason, remaining, overage FROM svc_check_entitlement('c1', 'lim', 0.5);
-- an overage limit of 0 is none; limits first, then overage, each in burn order
SELECT svc_grant_entitlement('c1', 'zero', 1, id => 'z1', priority => 1, overage => 'allow', overage_limit => 0);
SELECT svc_grant_entitlement('c1', 'zero', 1, id => 'z2', priority => 2, overage => 'allow', overage_limit => 2);
SELECT svc_grant_entitlement('c1', 'zero', 1, id => 'z3', priority => 3);
SELECT svc_grant_entitlement('c1', 'zero', 1, id => 'z4', priority => 4, overage => 'allow');
SELECT entitlement_id, available, pays, explanation FROM svc_explain_entitlement('c1', 'zero', 9);
SELECT allowed, remaining, overage, consumed FROM svc_consume_entitlement('c1', 'zero', 9);
SELECT id, used_amount FROM svc_entitlement WHERE code = 'zero' ORDER BY id;
-- an overage_limit without overage, and one below 0
SELECT svc_grant_entitlement('c1', 'zero', 1, overage_limit => -1);
\echo :SQLSTATE
SELECT svc_grant_entitlement('c1', 'zero', 1, overage => 'perhaps');
\echo :SQLSTATE

-- ---- unlimited ----
SELECT svc_grant_entitlement('c1', 'u', unlimited => true, id => 'u1');
SELECT * FROM svc_check_entitlement('c1', 'u', 999999999999999999999999999999999999);
SELECT * FROM svc_consume_entitlement('c1', 'u', 999999999999999999999999999999999999.999999999999999999);
SELECT * FROM svc_consume_entitlement('c1', 'u', 5, mode => 'cap');
SELECT status, used_amount, remaining_amount, usage_percent FROM svc_entitlement WHERE id = 'u1';
-- more than was used cannot be given back here either
SELECT allowed, remaining, consumed FROM svc_consume_entitlement('c1', 'u', -999999999999999999999999999999999999.999999999999999999);
SELECT * FROM svc_consume_entitlement('c1', 'u', -6);
\echo :SQLSTATE
-- limited grants that burn first are used up first, then the unlimited one
SELECT svc_grant_entitlement('c1', 'u', 3, id => 'u0', priority => 1);
SELECT allowed, remaining, overage, entitlement_id FROM svc_consume_entitlement('c1', 'u', 4);
SELECT id, status, used_amount FROM svc_entitlement WHERE code = 'u' ORDER BY id;

-- ---- static and boolean rights ----
SELECT svc_grant_entitlement('c1', 'tier', value => '{"level": 2}', id => 't2', priority => 2);
SELECT svc_grant_entitlement('c1', 'tier', value => '{"level": 1}', id => 't1', priority => 1);
SELECT svc_grant_entitlement('c1', 'sso', id => 'sso');
-- of any amount
SELECT code, d.* FROM unnest(ARRAY['tier', 'sso']) AS code, svc_check_entitlement('c1', code, 1000) d;
SELECT * FROM svc_consume_entitlement('c1', 'tier');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'sso', mode => 'overflow');
\echo :SQLSTATE
SELECT * FROM svc_require_entitlement('c1', 'sso');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT * FROM svc_consume_entitlement('c1', 'sso', -1);
\set VERBOSITY default
-- of a code with both kinds, what is counted is consumed; the value is that of the first that has one
SELECT svc_grant_entitlement('c1', 'tier', 2, id => 't3', priority => 3);
SELECT allowed, remaining, value, entitlement_id, consumed FROM svc_consume_entitlement('c1', 'tier', 1);
SELECT allowed, reason, remaining, value, entitlement_id FROM svc_check_entitlement('c1', 'tier', 2);
-- a null value is a value of its own; no value is null
SELECT svc_grant_entitlement('c1', 'jsonnull', value => 'null') \g /dev/null
SELECT value, jsonb_typeof(value) FROM svc_check_entitlement('c1', 'jsonnull');

-- ---- validity, at the exact instants ----
SELECT svc_grant_entitlement('c1', 'w', 5, id => 'w1', valid_from => '2040-01-31Z', valid_until => '2040-02-29Z');
SELECT svc_grant_entitlement('c1', 'w', 7, id => 'w2', valid_from => '2040-02-29Z', valid_until => '2040-03-31Z');
SELECT t.at, d.allowed, d.reason, d.remaining, d.entitlement_id
FROM (VALUES ('2040-01-30 23:59:59.999999Z'), ('2040-01-31Z'), ('2040-02-28 23:59:59.999999Z'), ('2040-02-29Z'),
             ('2040-03-30 23:59:59.999999Z'), ('2040-03-31Z'), ('2060-01-01Z')) AS t (at),
     svc_check_entitlement('c1', 'w', 1, t.at::timestamptz) d;
SELECT allowed, reason, remaining FROM svc_consume_entitlement('c1', 'w', 1, at => '2040-01-30 23:59:59.999999Z');
SELECT allowed, reason, remaining FROM svc_consume_entitlement('c1', 'w', 1, at => '2040-01-31Z');
SELECT allowed, reason, remaining FROM svc_consume_entitlement('c1', 'w', 6, at => '2040-02-28 23:59:59.999999Z');
SELECT allowed, reason, remaining, entitlement_id FROM svc_consume_entitlement('c1', 'w', 6, at => '2040-02-29Z');
SELECT allowed, reason FROM svc_consume_entitlement('c1', 'w', 1, at => '2040-03-31Z');
-- an instant that was made up expires nothing
SELECT id, status, used_amount FROM svc_entitlement WHERE code = 'w' ORDER BY id;
\set VERBOSITY sqlstate
SELECT svc_grant_entitlement('c1', 'w', 5, valid_from => '2040-01-31Z', valid_until => '2040-01-31Z');
\set VERBOSITY default
SELECT svc_grant_entitlement('c1', 'w', 5, valid_until => '2020-01-31Z');
\echo :SQLSTATE
SELECT svc_grant_entitlement('c1', 'forever', 5, valid_from => '-infinity', valid_until => 'infinity', id => 'f1');
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'forever', 1, at => '294276-12-31 23:59:59.999999Z');
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'forever', 1, at => '4714-11-24Z BC');
SELECT * FROM svc_check_entitlement('c1', 'forever', 1, 'infinity');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'forever', 1, at => '-infinity');
\echo :SQLSTATE

-- ---- the customer at the door, for each status ----
-- Each gets a grant of 5 of which 2 are used, while he is served.
CREATE TEMP TABLE door (status text PRIMARY KEY, served boolean);
INSERT INTO door VALUES ('prospect', true), ('active', true), ('at-risk', true), ('reactivated', true),
    ('suspended', false), ('churned', false), ('merged', false), ('deleted', false);
-- these are all that there are
SELECT DISTINCT to_status FROM svc_transitions() WHERE noun = 'customer' AND to_status NOT IN (SELECT status FROM door);
SELECT count(svc_create_customer(jsonb_build_object('id', 'd-' || status, 'name', 'x', 'status',
                                                    CASE status WHEN 'prospect' THEN 'prospect' ELSE 'active' END))) FROM door;
SELECT count(svc_grant_entitlement('d-' || status, 'calls', 5, id => 'g')) FROM door;
SELECT bool_and(c.allowed) FROM door, svc_consume_entitlement('d-' || status, 'calls', 2, 'key') c;
UPDATE svc_customer SET status = substr(id, 3) WHERE id IN ('d-at-risk', 'd-suspended', 'd-churned');
UPDATE svc_customer SET status = 'churned' WHERE id = 'd-reactivated';
UPDATE svc_customer SET status = 'reactivated' WHERE id = 'd-reactivated';
SELECT svc_create_customer('{"id": "survivor", "name": "x"}');
SELECT svc_merge_customer('d-merged', 'survivor');
SELECT svc_delete_customer('d-deleted');
SELECT door.status, c.status AS is_now FROM door JOIN svc_customer c ON c.id = 'd-' || door.status WHERE c.status <> door.status;
SELECT door.status, c.allowed, c.reason, c.consumed, h.allowed, h.reason, svc_has_entitlement('d-' || status, 'calls')
FROM door, svc_consume_entitlement('d-' || status, 'calls') c, svc_hold_entitlement('d-' || status, 'calls') h
ORDER BY served DESC, door.status;
-- who is not served is told the same by a check and by a consume: no rows
SELECT door.status, d.*, c.remaining, c.overage, c.reset_at, c.value, c.entitlement_id
FROM door, svc_check_entitlement('d-' || status, 'calls') d, svc_consume_entitlement('d-' || status, 'calls') c
WHERE NOT served AND (d.allowed, d.reason, d.remaining, d.overage, d.reset_at, d.value, d.entitlement_id)
    IS DISTINCT FROM (c.allowed, c.reason, c.remaining, c.overage, c.reset_at, c.value, c.entitlement_id)
ORDER BY door.status;
-- a retry of what was allowed is answered, and what was used is given back
-- (a merged customer's grants and keys are the other's now)
SELECT door.status, c.allowed, c.replayed, r.allowed, r.reason, r.consumed
FROM door, svc_consume_entitlement('d-' || status, 'calls', 2, 'key') c, svc_consume_entitlement('d-' || status, 'calls', -1) r
WHERE status <> 'merged' ORDER BY served DESC, door.status;
SELECT allowed, replayed FROM svc_consume_entitlement('survivor', 'calls', 2, 'key');
SELECT customer_id, status, used_amount, held_amount FROM svc_entitlement WHERE id = 'g' ORDER BY customer_id;
SELECT reason, svc_has_entitlement('nobody', 'calls') FROM svc_check_entitlement('nobody', 'calls');

-- ---- refunds to grants that are not live ----
-- Live ones come first, then the others, each against the burn order.
SELECT svc_create_customer('{"id": "r", "name": "x", "status": "active"}');
CREATE PROCEDURE start_over(code text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM svc_grant_entitlement('r', code, 2, id => code || '-1', priority => 1);
    PERFORM svc_grant_entitlement('r', code, 2, id => code || '-2', priority => 2, valid_until => '2040-01-31Z');
    PERFORM svc_grant_entitlement('r', code, 2, id => code || '-3', priority => 3);
    PERFORM svc_grant_entitlement('r', code, 2, id => code || '-4', priority => 4);
    PERFORM svc_consume_entitlement('r', code, 10, at => '2040-01-30Z', mode => 'overflow');
END $$;
CALL start_over('a');
SELECT id, used_amount FROM svc_entitlement WHERE code = 'a' ORDER BY id;
UPDATE svc_entitlement SET status = 'suspended' WHERE id = 'a-4';
-- overage first, also of a grant that is not live: "what was used beyond limits first"
SELECT allowed, reason, remaining, consumed, entitlement_id FROM svc_consume_entitlement('r', 'a', -1, at => '2040-02-01Z');
SELECT id, status, used_amount FROM svc_entitlement WHERE code = 'a' ORDER BY id;
SELECT allowed, reason, remaining, consumed, entitlement_id FROM svc_consume_entitlement('r', 'a', -2, at => '2040-02-01Z');
SELECT id, status, used_amount FROM svc_entitlement WHERE code = 'a' ORDER BY id;
-- then the live ones, 3 and 1
SELECT allowed, reason, remaining, consumed, entitlement_id FROM svc_consume_entitlement('r', 'a', -3, at => '2040-02-01Z');
SELECT id, status, used_amount FROM svc_entitlement WHERE code = 'a' ORDER BY id;
-- the others: 4, suspended; 2, whose validity is over
SELECT allowed, reason, remaining, consumed, entitlement_id FROM svc_consume_entitlement('r', 'a', -2.5, at => '2040-02-01Z');
SELECT id, status, used_amount FROM svc_entitlement WHERE code = 'a' ORDER BY id;
SELECT * FROM svc_consume_entitlement('r', 'a', -2, at => '2040-02-01Z');
\echo :SQLSTATE
SELECT allowed, reason, remaining, consumed FROM svc_consume_entitlement('r', 'a', -2, at => '2040-02-01Z', mode => 'cap');
-- none is live: revoked, suspended, expired ones are given back what they have used
CALL start_over('b');
UPDATE svc_entitlement SET status = 'suspended' WHERE id = 'b-1';
UPDATE svc_entitlement SET status = 'revoked' WHERE id = 'b-3';
UPDATE svc_entitlement SET status = 'suspended' WHERE id = 'b-4';
SELECT reason FROM svc_check_entitlement('r', 'b', 1, '2040-02-01Z');
SELECT allowed, reason, remaining, consumed, entitlement_id FROM svc_consume_entitlement('r', 'b', -4, at => '2040-02-01Z');
SELECT id, status, used_amount, remaining_amount FROM svc_entitlement WHERE code = 'b' ORDER BY id;
SELECT allowed, reason, remaining, consumed, entitlement_id FROM svc_consume_entitlement('r', 'b', -5.5, at => '2040-02-01Z');
SELECT id, status, used_amount, remaining_amount FROM svc_entitlement WHERE code = 'b' ORDER BY id;
-- who is resumed is active with what was given back
SELECT svc_resume_entitlement('r', 'b-4');
SELECT remaining FROM svc_check_entitlement('r', 'b', 1, '2040-02-01Z');
-- the status of a grant that is given back follows it, with an event; of one that cannot be used, it stays
SELECT entity_id, event, from_status, to_status FROM svc_event WHERE customer_id = 'r' AND entity_id IN ('a-3', 'b-4')
ORDER BY entity_id, revision;

-- ---- svc_has_entitlement: in a WHERE, in a policy ----
SELECT svc_has_entitlement('c1', 'gb'), svc_has_entitlement('c1', 'gb', 9.5), svc_has_entitlement('c1', 'gb', 9.500000000000000001),
       svc_has_entitlement('c1', 'sso'), svc_has_entitlement('c1', 'unheard-of');
SELECT svc_has_entitlement(NULL, 'gb'), svc_has_entitlement('c1', NULL), svc_has_entitlement('c1', 'gb', NULL);
SELECT svc_has_entitlement('c1', 'gb', 0);
\echo :SQLSTATE
SELECT svc_has_entitlement('c1', 'gb', -1);
\echo :SQLSTATE
SELECT svc_has_entitlement('c1', '');
\echo :SQLSTATE
SELECT id FROM svc_customer WHERE svc_has_entitlement(id, 'calls', 3) ORDER BY id;
CREATE TABLE report (customer_id text COLLATE "C", title text);
INSERT INTO report SELECT 'd-' || status, 'of ' || status FROM door;
INSERT INTO report VALUES (NULL, 'of nobody');
ALTER TABLE report ENABLE ROW LEVEL SECURITY;
CREATE POLICY entitled ON report USING (svc_has_entitlement(customer_id, 'calls', 2));
CREATE ROLE regress_svc_reporter;
GRANT SELECT ON report TO regress_svc_reporter;
GRANT EXECUTE ON FUNCTION svc_has_entitlement(text, text, numeric) TO regress_svc_reporter;
GRANT USAGE ON SCHEMA svc TO regress_svc_reporter;
SET ROLE regress_svc_reporter;
SELECT title FROM report ORDER BY title;
-- the policy asks; the role itself sees none of it
SELECT count(*) FROM svc_entitlement;
RESET ROLE;
DROP TABLE report;

-- ---- several codes at once ----
SELECT svc_create_customer('{"id": "many", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('many', 'calls', 10, id => 'k1');
SELECT svc_grant_entitlement('many', 'tokens', 100, id => 'k2', priority => 1);
SELECT svc_grant_entitlement('many', 'tokens', 100, id => 'k3', priority => 2, overage => 'allow', overage_limit => 50);
SELECT svc_grant_entitlement('many', 'mail', unlimited => true, id => 'k4');
SELECT svc_grant_entitlement('many', 'sso', id => 'k5');
CREATE VIEW many AS SELECT id, status, used_amount FROM svc_entitlement WHERE customer_id = 'many' ORDER BY id;
SELECT * FROM svc_consume_entitlements('many', '{"calls": 1, "tokens": 150.5, "mail": 7}', 'several');
TABLE many;
SELECT entitlement_id, line, amount, request IS NOT NULL AS has_request FROM svc_entitlement_ledger
WHERE customer_id = 'many' ORDER BY line;
-- the same in another order and spelling is the same request
SELECT * FROM svc_consume_entitlements('many', '{"mail": 7.0, "tokens": 150.50, "calls": 1}', 'several');
SELECT * FROM svc_consume_entitlements('many', '{"mail": 7, "tokens": 150.5, "calls": 2}', 'several');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('many', 'calls', 1, 'several');
\echo :SQLSTATE
-- all or nothing; the first that is denied, bytewise
SELECT * FROM svc_consume_entitlements('many', '{"calls": 9, "tokens": 99.500000000000000001}');
SELECT * FROM svc_consume_entitlements('many', '{"calls": 9.000000000000000001, "Zoo": 1, "tokens": 1}');
SELECT * FROM svc_consume_entitlements('many', '{"calls": 10, "tokens": 1000, "mail": 1}');
TABLE many;
SELECT * FROM svc_consume_entitlements('many', '{"calls": 9, "tokens": 99.5}');
TABLE many;
-- a right that is not counted; the door
SELECT * FROM svc_consume_entitlements('many', '{"mail": 1, "sso": 1}');
\echo :SQLSTATE
SELECT allowed, reason, code, consumed, overage FROM svc_consume_entitlements('d-suspended', '{"calls": 1}');
SELECT * FROM svc_consume_entitlements('nobody', '{"calls": 1}');
-- bad amounts
SELECT svc_consume_entitlements('many', a::jsonb) FROM (VALUES (NULL)) AS v (a);
\echo :SQLSTATE
SELECT svc_consume_entitlements('many', '{}');
\echo :SQLSTATE
SELECT svc_consume_entitlements('many', '[1]');
SELECT svc_consume_entitlements('many', '1');
SELECT svc_consume_entitlements('many', '{"mail": "1"}');
SELECT svc_consume_entitlements('many', '{"mail": null}');
SELECT svc_consume_entitlements('many', '{"mail": {"a": 1}}');
SELECT svc_consume_entitlements('many', '{"mail": [1]}');
SELECT svc_consume_entitlements('many', '{"mail": 0}');
SELECT svc_consume_entitlements('many', '{"mail": -1}');
\echo :SQLSTATE
SELECT svc_consume_entitlements('many', '{"": 1}');
\echo :SQLSTATE
SELECT svc_consume_entitlements('many', jsonb_build_object(repeat('x', 256), 1));
\echo :SQLSTATE
SELECT svc_consume_entitlements('many', '{"mail": 1e36}');
\echo :SQLSTATE
SELECT (svc_consume_entitlements('many', jsonb_object_agg('code-' || n, 1))).reason FROM generate_series(1, 1000) AS n;
SELECT svc_consume_entitlements('many', jsonb_object_agg('code-' || n, 1)) FROM generate_series(1, 1001) AS n;
\echo :SQLSTATE

-- ---- amounts: 36 digits before the point, 18 after it ----
SELECT svc_create_customer('{"id": "big", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('big', 'b', 999999999999999999999999999999999999.999999999999999999, id => 'big');
SELECT allowed, remaining FROM svc_consume_entitlement('big', 'b', 0.000000000000000001);
SELECT allowed, remaining FROM svc_consume_entitlement('big', 'b', 999999999999999999999999999999999999.999999999999999998);
SELECT allowed, reason, remaining FROM svc_consume_entitlement('big', 'b', 0.000000000000000001);
SELECT status, used_amount, remaining_amount, usage_percent FROM svc_entitlement WHERE id = 'big';
SELECT svc_grant_entitlement('big', 'b', 1e36);
\echo :SQLSTATE
SELECT svc_grant_entitlement('big', 'b', 0.0000000000000000001);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', 1000000000000000000000000000000000000);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', -1000000000000000000000000000000000000);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', 0.0000000000000000001);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', repeat('9', 100000)::numeric);
\echo :SQLSTATE
SELECT * FROM svc_check_entitlement('c1', 'u', ('0.' || repeat('1', 16383))::numeric);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', 'NaN');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', 'Infinity');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', '-Infinity');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', 0);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'u', NULL);
\echo :SQLSTATE
SELECT * FROM svc_check_entitlement('c1', 'u', 0);
\echo :SQLSTATE
SELECT * FROM svc_check_entitlement('c1', 'u', 'NaN');
SELECT * FROM svc_check_entitlement('c1', 'u', 'Infinity');
SELECT * FROM svc_check_entitlement('c1', 'u', NULL);
\echo :SQLSTATE
SELECT svc_grant_entitlement('c1', 'u', 'NaN');
\echo :SQLSTATE
SELECT svc_grant_entitlement('c1', 'u', 'Infinity');
SELECT svc_grant_entitlement('c1', 'u', -1);
\echo :SQLSTATE
-- 18 decimals are 18, whatever zeros follow the point
SELECT allowed, consumed FROM svc_consume_entitlement('c1', 'u', 1.000000000000000000);

-- everything adds up
SELECT * FROM svc_verify();

SET client_min_messages = warning;
DROP OWNED BY regress_svc_reporter;
DROP ROLE regress_svc_reporter;
DROP SCHEMA svc CASCADE;
