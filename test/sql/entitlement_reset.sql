-- Promise: a reset happens at its boundary, whoever looks, and whenever: a
-- check computes it, a consume and svc_run_due() write it, and n periods that
-- were missed give what n resets, one after the other, would have given.
\pset null ~
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
CREATE VIEW grants AS SELECT id, status, limit_amount AS "limit", rollover_amount AS rollover, used_amount AS used, held_amount AS held,
    remaining_amount AS remaining, last_reset_at, reset_at FROM svc_entitlement;
CREATE VIEW ledger AS SELECT entitlement_id AS id, seq, kind, amount, rollover_before, limit_before, occurred_at, metadata ->> 'until' AS until
FROM svc_entitlement_ledger ORDER BY entitlement_id, seq;

-- ---- svc_run_due: the oldest first, as many as wanted, once ----
SELECT id, svc_grant_entitlement('c1', 'due', 10, id => id, valid_from => '2030-01-31Z', reset_anchor => at, reset_period => 'monthly')
FROM (VALUES ('due1', '2030-01-05Z'::timestamptz), ('due2', '2030-01-04Z'), ('due3', '2030-01-03Z'), ('due4', '2030-01-02Z'), ('due5', '2030-01-01Z')) AS v (id, at);
SELECT allowed FROM svc_consume_entitlement('c1', 'due', 50, at => '2030-01-31Z');
SELECT id, status, used, reset_at FROM grants ORDER BY id;
SELECT * FROM svc_run_due('2030-01-31 23:59:59.999999Z');
SELECT * FROM svc_run_due('2030-02-05Z', 2);
SELECT id, status, used, last_reset_at, reset_at FROM grants ORDER BY id;
SELECT * FROM svc_run_due('2030-02-05Z', 2);
SELECT * FROM svc_run_due('2030-02-05Z', 2);
SELECT * FROM svc_run_due('2030-02-05Z', 2);
SELECT * FROM svc_run_due('2030-02-05Z');
SELECT id, status, used, last_reset_at, reset_at FROM grants ORDER BY id;
-- an instant before what was done does nothing, and is no error
SELECT * FROM svc_run_due('2030-01-01Z');
SELECT entity_id, count(*) FILTER (WHERE event = 'reset') AS resets FROM svc_event WHERE noun = 'entitlement' GROUP BY entity_id ORDER BY entity_id;
SELECT svc_run_due('2030-02-05Z', 0);
\echo :SQLSTATE
SELECT svc_run_due('2030-02-05Z', -1);
\echo :SQLSTATE
SELECT svc_run_due('2030-02-05Z', 100001);
\echo :SQLSTATE
SELECT svc_run_due('2030-02-05Z', NULL);
\echo :SQLSTATE
SELECT svc_run_due('infinity');
\echo :SQLSTATE
SELECT count(*) FROM svc_run_due('2030-02-05Z', 1);
SELECT count(*) FROM svc_run_due('2030-02-05Z', 100000);
DO $$ BEGIN PERFORM svc_revoke_entitlement('c1', id) FROM svc_entitlement; END $$;

-- ---- lazy: a check computes, a consume writes ----
SELECT svc_grant_entitlement('c1', 'calls', 10, id => 'e1', valid_from => '2040-01-31Z', reset_period => 'monthly');
SELECT id, reset_anchor, reset_timezone FROM svc_entitlement WHERE id = 'e1';
SELECT allowed, remaining, reset_at FROM svc_consume_entitlement('c1', 'calls', 10, at => '2040-02-10Z');
SELECT at, d.allowed, d.reason, d.remaining, d.reset_at
FROM unnest(ARRAY['2040-02-28 23:59:59.999999Z', '2040-02-29Z', '2040-03-30 23:59:59.999999Z', '2040-03-31Z', '2041-02-28Z']::timestamptz[]) AS at,
     svc_check_entitlement('c1', 'calls', 1, at) d;
SELECT * FROM grants WHERE id = 'e1';
SELECT * FROM ledger WHERE id = 'e1';
SELECT allowed, remaining, reset_at FROM svc_consume_entitlement('c1', 'calls', 4, at => '2040-02-29Z');
SELECT * FROM grants WHERE id = 'e1';
SELECT * FROM ledger WHERE id = 'e1';
-- a denial writes what time has done, too
SELECT allowed, remaining, reset_at FROM svc_consume_entitlement('c1', 'calls', 11, at => '2040-06-01Z');
SELECT * FROM grants WHERE id = 'e1';
SELECT * FROM ledger WHERE id = 'e1';
SELECT revision, event, from_status, to_status FROM svc_event WHERE entity_id = 'e1' ORDER BY revision;
-- an instant before the present period is an error; the present is never before it
SELECT * FROM svc_check_entitlement('c1', 'calls', 1, '2040-05-30 23:59:59.999999Z');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'calls', 1, at => '2040-05-30 23:59:59.999999Z');
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c1', 'calls', -1, at => '2040-05-30 23:59:59.999999Z');
\echo :SQLSTATE
SELECT * FROM svc_hold_entitlement('c1', 'calls', 1, at => '2040-05-30 23:59:59.999999Z');
\echo :SQLSTATE
SELECT allowed, remaining, reset_at FROM svc_check_entitlement('c1', 'calls', 1, '2040-05-31Z');
SELECT allowed, remaining, reset_at FROM svc_consume_entitlement('c1', 'calls', 1);
SELECT seq, kind, occurred_at FROM ledger WHERE id = 'e1' ORDER BY seq DESC LIMIT 1;

-- ---- rollover: used first, of this period's own limit only, at most rollover_max ----
SELECT svc_grant_entitlement('c1', 'roll', 10, id => 'r1', valid_from => '2040-01-31Z', reset_period => 'monthly', rollover_max => 8);
SELECT svc_grant_entitlement('c1', 'roll25', 10, id => 'r2', valid_from => '2040-01-31Z', reset_period => 'monthly', rollover_max => 25);
SELECT svc_grant_entitlement('c1', 'roll0', 10, id => 'r3', valid_from => '2040-01-31Z', reset_period => 'monthly', rollover_max => 0);
-- 7 of 10 are left, and carried
SELECT code, c.remaining FROM unnest(ARRAY['roll', 'roll25', 'roll0']) AS code, svc_consume_entitlement('c1', code, 3, at => '2040-02-01Z') c;
SELECT code, c.remaining FROM unnest(ARRAY['roll', 'roll25', 'roll0']) AS code, svc_consume_entitlement('c1', code, 2, at => '2040-03-01Z') c;
SELECT * FROM grants WHERE id IN ('r1', 'r2', 'r3') ORDER BY id;
-- 2 came from the 7, which perish; all 10 of the limit are left: 8, 10
SELECT code, c.remaining FROM unnest(ARRAY['roll', 'roll25', 'roll0']) AS code, svc_consume_entitlement('c1', code, 9, at => '2040-04-01Z') c;
SELECT * FROM grants WHERE id IN ('r1', 'r2', 'r3') ORDER BY id;
-- 9 of 8 + 10: 9 of the own 10 are left; of 10 + 10, 10; of 10, 1, which is not carried
SELECT code, c.remaining FROM unnest(ARRAY['roll', 'roll25', 'roll0']) AS code, svc_check_entitlement('c1', code, 1, '2040-05-01Z') c;
-- rollover is exhausted, too: a grant is when limit and rollover are used
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'roll', 10, at => '2040-05-01Z');
SELECT * FROM grants WHERE id = 'r1';
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'roll', 8, at => '2040-05-01Z');
SELECT id, status, usage_percent FROM svc_entitlement WHERE id = 'r1';
SELECT * FROM ledger WHERE id = 'r1';

-- ---- overage: forgiven or carried ----
SELECT svc_create_customer('{"id": "over", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('over', 'forgive', 10, id => 'o1', valid_from => '2040-01-31Z', reset_period => 'monthly', overage => 'allow');
SELECT svc_grant_entitlement('over', 'carry', 10, id => 'o2', valid_from => '2040-01-31Z', reset_period => 'monthly', overage => 'allow', carry_overage => true, rollover_max => 5);
SELECT code, c.overage FROM unnest(ARRAY['forgive', 'carry']) AS code, svc_consume_entitlement('over', code, 34, at => '2040-02-01Z') c;
SELECT code, at, d.used_amount, d.rollover_amount, d.remaining_amount, d.overage
FROM unnest(ARRAY['2040-02-29Z', '2040-03-31Z', '2040-04-30Z', '2040-05-31Z', '2040-06-30Z']::timestamptz[]) AS at, svc_entitlements('over', at) d
WHERE code IN ('forgive', 'carry') ORDER BY code DESC, at;
-- carried overage that uses up the new period: exhausted, with an event
SELECT allowed, remaining, overage FROM svc_consume_entitlement('over', 'carry', 1, at => '2040-02-29Z');
SELECT * FROM grants WHERE id = 'o2';
SELECT * FROM ledger WHERE id = 'o2';
SELECT revision, event, from_status, to_status FROM svc_event WHERE entity_id = 'o2' ORDER BY revision;
SELECT allowed, remaining, overage FROM svc_consume_entitlement('over', 'carry', 1, at => '2040-04-30Z');
SELECT * FROM grants WHERE id = 'o2';
SELECT revision, event, from_status, to_status FROM svc_event WHERE entity_id = 'o2' AND revision > 3 ORDER BY revision;
-- what is carried and no limit: it is never worked off
SELECT svc_grant_entitlement('over', 'never', 0, id => 'o3', valid_from => '2040-01-31Z', reset_period => 'daily', overage => 'allow', carry_overage => true);
SELECT allowed, overage FROM svc_consume_entitlement('over', 'never', 7, at => '2040-02-01Z');
SELECT used_amount, overage FROM svc_entitlements('over', '2050-01-01Z') WHERE code = 'never';
-- unlimited: used returns to 0
SELECT svc_grant_entitlement('over', 'free', unlimited => true, id => 'o4', valid_from => '2040-01-31Z', reset_period => 'monthly', rollover_max => 5);
SELECT allowed, remaining FROM svc_consume_entitlement('over', 'free', 100, at => '2040-02-01Z');
SELECT allowed, remaining, reset_at FROM svc_consume_entitlement('over', 'free', 1, at => '2040-05-01Z');
SELECT * FROM grants WHERE id = 'o4';

-- ---- closed form and step by step ----
-- Grants of every combination, that have used and hold something. What they
-- are said to be in a year, a check a month, is what they are when svc_run_due()
-- resets them every month; and what they are when somebody consumes at last.
SELECT svc_create_customer('{"id": "steps", "name": "x", "status": "active"}');
SELECT svc_create_customer('{"id": "jump", "name": "x", "status": "active"}');
CREATE TEMP TABLE combination AS
SELECT format('limit %s, rollover %s, carry %s, used %s, held %s', l, r, carry, u, h) AS code, *
FROM unnest(ARRAY[0, 3, 10]) AS l, unnest(ARRAY[NULL, 4, 25]) AS r, unnest(ARRAY[false, true]) AS carry,
     unnest(ARRAY[0, 2, 47]) AS u, unnest(ARRAY['nothing', 'for ever', 'up to a boundary', 'between boundaries']) AS h;
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, rollover_max, overage, carry_overage, valid_from, reset_period)
SELECT customer, code, code, 'x', l, r, 'allow', carry, '2040-01-31Z', 'monthly' FROM combination, unnest(ARRAY['steps', 'jump']) AS customer;
SELECT h, count(*), sum(d.held)
FROM combination, unnest(ARRAY['steps', 'jump']) AS customer,
     svc_hold_entitlement(customer, code, 3, mode => 'cap', at => '2040-01-31Z',
                          ttl => CASE h WHEN 'up to a boundary' THEN '2040-05-31Z'::timestamptz - '2040-01-31Z'
                                        WHEN 'between boundaries' THEN '2040-06-15Z'::timestamptz - '2040-01-31Z' END) d
WHERE h <> 'nothing' AND l > 0 GROUP BY h ORDER BY h;
SELECT count(*), sum(c.overage)
FROM combination, unnest(ARRAY['steps', 'jump']) AS customer, svc_consume_entitlement(customer, code, u, mode => 'overflow', at => '2040-02-01Z') c WHERE u > 0;
CREATE TEMP TABLE month AS SELECT n, (svc_period_at('monthly', '2040-01-31Z', '2040-02-10Z'::timestamptz + n * interval '1 month')).starts_at AS at FROM generate_series(0, 13) AS n;
CREATE TEMP TABLE foreseen AS
SELECT n, e.code, e.used_amount, e.rollover_amount, e.held_amount, e.remaining_amount, e.overage, e.usage_percent, e.reset_at FROM month, svc_entitlements('steps', at) e;
SELECT count(*), count(DISTINCT code) FROM foreseen;
-- the other customer consumes in the last month
SELECT count(*) FROM combination, month, svc_consume_entitlement('jump', code, 1, mode => 'overflow', at => at) c WHERE n = 13;
CREATE TEMP TABLE stepped (n int, LIKE svc_entitlement);
DO $$
BEGIN
    FOR i IN 0..13 LOOP
        PERFORM svc_run_due(at, 100000) FROM month WHERE n = i;
        INSERT INTO stepped SELECT i, e.* FROM svc_entitlement e WHERE customer_id = 'steps';
    END LOOP;
END $$;
SELECT count(*), count(DISTINCT n) FROM stepped;
-- no rows
SELECT f.*, s.used_amount, s.rollover_amount, s.held_amount, s.remaining_amount, s.reset_at
FROM foreseen f FULL JOIN stepped s USING (n, code)
WHERE (f.used_amount, f.rollover_amount, f.held_amount, f.remaining_amount, f.overage, f.usage_percent, f.reset_at)
    IS DISTINCT FROM (s.used_amount, s.rollover_amount, s.held_amount, s.remaining_amount,
                      greatest(s.used_amount - s.limit_amount - s.rollover_amount, 0), s.usage_percent, s.reset_at)
   OR (s.status = 'exhausted') <> (s.used_amount >= s.limit_amount + s.rollover_amount) AND s.limit_amount > 0;
-- the same, reckoned here: one reset after the other; no rows
WITH RECURSIVE model (n, code, l, r, carry, h, used, rollover, held) AS (
    SELECT 0, code, l::numeric, coalesce(r, 0)::numeric, carry, h, u::numeric, 0::numeric,
           CASE WHEN h <> 'nothing' THEN least(l, 3) ELSE 0 END::numeric FROM combination
    UNION ALL
    SELECT m.n + 1, code, l, r, carry, h,
           CASE WHEN carry THEN greatest(used - l - rollover, 0) ELSE 0 END,
           greatest(least(l, l + rollover - used - now.held, r), 0), now.held
    FROM model m JOIN month ON month.n = m.n + 1,
         LATERAL (SELECT CASE WHEN h = 'up to a boundary' AND month.at >= '2040-05-31Z' THEN 0
                              WHEN h = 'between boundaries' AND month.at >= '2040-06-15Z' THEN 0 ELSE m.held END AS held) now)
SELECT n, code, m.used, s.used_amount, m.rollover, s.rollover_amount, m.held, s.held_amount
FROM model m FULL JOIN stepped s USING (n, code)
WHERE (m.used, m.rollover, m.held) IS DISTINCT FROM (s.used_amount, s.rollover_amount, s.held_amount);
-- the other customer's, who consumed at last: no rows
SELECT s.code, j.used_amount - 1, s.used_amount, j.rollover_amount, s.rollover_amount, j.reset_at, s.reset_at
FROM stepped s FULL JOIN svc_entitlement j ON j.customer_id = 'jump' AND j.code = s.code
WHERE s.n = 13 AND (s.used_amount + 1, s.rollover_amount, s.reset_at, s.last_reset_at)
    IS DISTINCT FROM (j.used_amount, j.rollover_amount, j.reset_at, j.last_reset_at);
-- by 13 rows of the ledger and events there, and one here
SELECT customer_id, count(*), count(DISTINCT entitlement_id), min(occurred_at), max(occurred_at), min(metadata ->> 'until'), max(metadata ->> 'until')
FROM svc_entitlement_ledger WHERE kind = 'reset' AND customer_id IN ('steps', 'jump') GROUP BY customer_id ORDER BY customer_id;
SELECT customer_id, count(*) FROM svc_event WHERE event = 'reset' AND customer_id IN ('steps', 'jump') GROUP BY customer_id ORDER BY customer_id;
-- the ledgers add up; what has lapsed is written by svc_run_due only
SELECT task FROM svc_run_due('2041-02-28Z', 100000) WHERE done = 0;
SELECT * FROM svc_verify('steps');
SELECT * FROM svc_verify('jump');

-- ---- hours, after ten years: 87,660 resets, at once ----
SET statement_timeout = '5s';
SELECT svc_grant_entitlement('c1', 'hour', 7, id => 'h1', valid_from => '2040-01-31Z', reset_period => 'hourly', rollover_max => 3);
SELECT svc_grant_entitlement('c1', 'hours', 7, id => 'h2', valid_from => '2040-01-31Z', reset_period => 'hourly', overage => 'allow', carry_overage => true);
SELECT allowed FROM svc_consume_entitlement('c1', 'hour', 7, at => '2040-01-31Z');
SELECT allowed, overage FROM svc_consume_entitlement('c1', 'hours', 1000000, at => '2040-01-31Z');
SELECT held FROM svc_hold_entitlement('c1', 'hours', 1, '9 years', at => '2040-01-31Z');
SELECT code, e.used_amount, e.rollover_amount, e.held_amount, e.remaining_amount, e.overage, e.reset_at
FROM unnest(ARRAY[87659, 87660, 87661]) AS n, svc_entitlements('c1', '2040-01-31Z'::timestamptz + n * interval '1 hour') e
WHERE code IN ('hour', 'hours') ORDER BY code, n;
-- 1,000,000 - 142,857 × 7 = 1: after that many hours, and the one before
SELECT n, e.used_amount, e.overage, e.reset_at
FROM unnest(ARRAY[142855, 142856, 142857, 142858]) AS n, svc_entitlements('c1', '2040-01-31Z'::timestamptz + n * interval '1 hour') e
WHERE code = 'hours';
SELECT allowed, remaining, reset_at FROM svc_consume_entitlement('c1', 'hour', 1, at => '2040-01-31Z'::timestamptz + 87660 * interval '1 hour');
SELECT * FROM grants WHERE id = 'h1';
SELECT * FROM ledger WHERE id = 'h1';
RESET statement_timeout;

-- ---- holds across resets ----
SELECT svc_create_customer('{"id": "hold", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('hold', 'held', 10, id => 'x1', valid_from => '2040-01-31Z', reset_period => 'monthly', rollover_max => 10);
SELECT held, remaining, hold_id AS hold FROM svc_hold_entitlement('hold', 'held', 4, '45 days', at => '2040-02-01Z') \gset
\echo :held :remaining
-- it lapses on 17 March, between the boundaries: 6 and 4 are what is not held
SELECT at, e.used_amount, e.rollover_amount, e.held_amount, e.remaining_amount
FROM unnest(ARRAY['2040-02-28 23:59:59.999999Z', '2040-02-29Z', '2040-03-16 23:59:59.999999Z', '2040-03-17Z', '2040-03-31Z']::timestamptz[]) AS at,
     svc_entitlements('hold', at) e WHERE code = 'held';
-- settled in the period in which it is settled
SELECT allowed, remaining, consumed FROM svc_settle_hold('hold', :'hold', 3, at => '2040-03-01Z');
SELECT * FROM grants WHERE id = 'x1';
SELECT seq, kind, amount, held, rollover_before, occurred_at FROM svc_entitlement_ledger WHERE entitlement_id = 'x1' ORDER BY seq;

-- ---- a change while a reset is due: what was over keeps its limit ----
-- These have been due since 2001, and are reset as of now: no instants here.
CREATE VIEW undated AS SELECT id, status, "limit", rollover, used, held, remaining, last_reset_at IS NOT NULL AS was_reset, reset_at > now() AS is_ahead FROM grants;
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, valid_from, reset_period, rollover_max)
SELECT 'c1', id, id, 'x', 10, '2000-01-01Z', 'yearly', 100 FROM unnest(ARRAY['u1', 'u2', 'u3', 'u4', 'u5', 'u6']) AS id;
SELECT bool_and(allowed) FROM unnest(ARRAY['u1', 'u2', 'u3', 'u4', 'u5', 'u6']) AS id, svc_consume_entitlement('c1', id, 10, at => '2000-06-01Z');
SELECT * FROM grants WHERE id IN ('u1', 'u6') ORDER BY id;
UPDATE svc_entitlement SET limit_amount = 50 WHERE id = 'u1';
UPDATE svc_entitlement SET limit_amount = 5 WHERE id = 'u2';
UPDATE svc_entitlement SET description = 'changed' WHERE id = 'u3';
UPDATE svc_entitlement SET status = 'suspended' WHERE id = 'u4';
SELECT svc_update_entitlement('c1', 'u5', '{"rollover_max": 1}');
UPDATE svc_entitlement SET status = 'revoked' WHERE id = 'u6';
SELECT * FROM undated WHERE id ~ '^u' ORDER BY id;
SELECT id, seq, kind, amount, rollover_before, limit_before, CASE kind WHEN 'reset' THEN occurred_at END AS occurred_at, until IS NOT NULL AS has_until
FROM ledger WHERE id ~ '^u' AND kind <> 'consume';
SELECT entity_id, revision, event, from_status, to_status FROM svc_event WHERE entity_id ~ '^u' AND revision > 3 ORDER BY entity_id, revision;
SELECT * FROM svc_verify('c1');

-- ---- svc_reset_entitlement ----
SELECT svc_grant_entitlement('c1', 'hand', 10, id => 'm1', reset_anchor => '2000-01-31Z', reset_period => 'yearly', rollover_max => 100);
SELECT reset_at AS planned FROM svc_entitlement WHERE id = 'm1' \gset
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'hand', 10);
SELECT * FROM undated WHERE id = 'm1';
SELECT svc_reset_entitlement('c1', 'm1', reason => 'goodwill');
SELECT * FROM undated WHERE id = 'm1';
-- the next one is where it would have been
SELECT reset_at = :'planned' AS as_planned, reset_anchor FROM svc_entitlement WHERE id = 'm1';
SELECT seq, kind, amount, rollover_before, occurred_at = recorded_at AS is_now, metadata FROM svc_entitlement_ledger WHERE entitlement_id = 'm1' ORDER BY seq;
SELECT revision, event, from_status, to_status FROM svc_event WHERE entity_id = 'm1' ORDER BY revision;
-- what is left is carried; the anchor moves here
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'hand', 4);
BEGIN;
SELECT svc_reset_entitlement('c1', 'm1', true);
SELECT reset_at = now() + interval '1 year' AS in_a_year, reset_anchor = now() AS is_now, last_reset_at = now() AS was_now FROM svc_entitlement WHERE id = 'm1';
COMMIT;
SELECT * FROM undated WHERE id = 'm1';
-- those that are due come first: two events, two rows
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, valid_from, reset_period, rollover_max)
VALUES ('c1', 'm2', 'm2', 'x', 10, '2000-01-01Z', 'yearly', 100);
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'm2', 10, at => '2000-06-01Z');
SELECT svc_reset_entitlement('c1', 'm2');
SELECT * FROM undated WHERE id = 'm2';
SELECT seq, kind, amount, rollover_before, CASE WHEN occurred_at < '2002-01-01Z' THEN occurred_at END AS occurred_at FROM ledger WHERE id = 'm2';
SELECT revision, event, from_status, to_status FROM svc_event WHERE entity_id = 'm2' ORDER BY revision;
-- suspended: reset, and stays suspended; resets that come by themselves come to it, too
SELECT svc_suspend_entitlement('c1', 'm2');
SELECT svc_reset_entitlement('c1', 'm2');
SELECT * FROM undated WHERE id = 'm2';
SELECT svc_grant_entitlement('c1', 'asleep', 10, id => 'm3', valid_from => '2040-01-31Z', reset_period => 'monthly', rollover_max => 5);
SELECT allowed FROM svc_consume_entitlement('c1', 'asleep', 10, at => '2040-02-01Z');
SELECT svc_suspend_entitlement('c1', 'm3');
SELECT done > 0 AS done FROM svc_run_due('2040-02-29Z') WHERE task = 'reset entitlements';
SELECT * FROM grants WHERE id = 'm3';
SELECT event, from_status, to_status FROM svc_event WHERE entity_id = 'm3' ORDER BY revision DESC LIMIT 1;
-- overage that is carried may use up the new period: exhausted as before
SELECT svc_grant_entitlement('c1', 'm4', 10, id => 'm4', carry_overage => true);
SELECT overage FROM svc_consume_entitlement('c1', 'm4', 25, mode => 'overflow');
SELECT svc_reset_entitlement('c1', 'm4');
SELECT used, remaining, status FROM grants WHERE id = 'm4';
SELECT svc_reset_entitlement('c1', 'm4');
SELECT used, remaining, status, reset_at FROM grants WHERE id = 'm4';
-- refusals
SELECT svc_grant_entitlement('c1', 'sso', id => 'm5');
SELECT svc_reset_entitlement('c1', 'm5');
\echo :SQLSTATE
SELECT svc_revoke_entitlement('c1', 'm4');
SELECT svc_reset_entitlement('c1', 'm4');
\echo :SQLSTATE
SELECT svc_reset_entitlement('c1', 'nothing');
\echo :SQLSTATE
SELECT svc_reset_entitlement('c1', 'm1', NULL);
\echo :SQLSTATE
SELECT svc_reset_entitlement('c1', 'm1', revision => 1);
\echo :SQLSTATE
-- a right without validity yet keeps its schedule
SELECT svc_grant_entitlement('c1', 'ahead', 10, id => 'm6', valid_from => '2040-01-31Z', reset_period => 'monthly');
SELECT svc_reset_entitlement('c1', 'm6');
SELECT id, used, reset_at FROM grants WHERE id = 'm6';

-- ---- validity: resets at boundaries before its end ----
SELECT svc_grant_entitlement('c1', 'short', 10, id => 'v1', valid_from => '2040-01-31Z', valid_until => '2040-03-31Z', reset_period => 'monthly', rollover_max => 10);
SELECT allowed FROM svc_consume_entitlement('c1', 'short', 6, at => '2040-02-01Z');
SELECT * FROM svc_run_due('2040-05-01Z') WHERE task = 'expire entitlements';
SELECT * FROM grants WHERE id = 'v1';
SELECT * FROM ledger WHERE id = 'v1';
SELECT event, from_status, to_status FROM svc_event WHERE entity_id = 'v1' ORDER BY revision;
-- brought back, it goes on where it was
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, valid_from, valid_until, reset_period)
VALUES ('c1', 'v2', 'v2', 'x', 10, '2000-01-01Z', '2003-07-01Z', 'yearly');
SELECT allowed FROM svc_consume_entitlement('c1', 'v2', 6, at => '2000-06-01Z');
SELECT reason FROM svc_consume_entitlement('c1', 'v2');
SELECT * FROM grants WHERE id = 'v2';
SELECT * FROM ledger WHERE id = 'v2';
UPDATE svc_entitlement SET valid_until = '2100-01-01Z' WHERE id = 'v2';
SELECT * FROM grants WHERE id = 'v2';
SELECT allowed, remaining FROM svc_check_entitlement('c1', 'v2', 1, '2003-12-31Z');
SELECT event, from_status, to_status FROM svc_event WHERE entity_id = 'v2' ORDER BY revision;
-- revoked: no resets any more
SELECT svc_grant_entitlement('c1', 'v3', 10, id => 'v3', valid_from => '2040-01-31Z', reset_period => 'monthly');
SELECT allowed FROM svc_consume_entitlement('c1', 'v3', 6, at => '2040-02-01Z');
SELECT svc_revoke_entitlement('c1', 'v3');
SELECT * FROM grants WHERE id = 'v3';
SELECT * FROM svc_run_due('2040-05-01Z') WHERE done > 0 AND task = 'reset entitlements';
SELECT used, reset_at FROM grants WHERE id = 'v3';

-- ---- time zones ----
SELECT svc_create_customer('{"id": "ny", "name": "x", "status": "active", "timezone": "America/New_York"}');
SELECT svc_grant_entitlement('ny', 'z', 10, id => 'z1', valid_from => '2040-01-31 00:00 America/New_York', reset_period => 'monthly');
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, valid_from, reset_period, reset_timezone)
VALUES ('ny', 'z2', 'z', 'x', 10, '2040-01-31 00:00 America/New_York', 'monthly', 'UTC');
SELECT id, reset_timezone, reset_at FROM svc_entitlement WHERE customer_id = 'ny' ORDER BY id;
-- of New York the clock is put forward on 11 March
SELECT id, reset_timezone, p.ends_at FROM svc_entitlement, svc_period_at(reset_period, reset_anchor, '2040-03-10Z', reset_timezone) p WHERE customer_id = 'ny' ORDER BY id;
SELECT at, d.reset_at FROM unnest(ARRAY['2040-02-29 05:00Z', '2040-03-31 03:59:59.999999Z', '2040-03-31 04:00Z', '2040-03-31 05:00Z']::timestamptz[]) AS at,
     svc_check_entitlement('ny', 'z', 1, at) d;
-- the customer moves: so do the grants that had his time zone
UPDATE svc_customer SET timezone = 'Asia/Kathmandu' WHERE id = 'ny';
SELECT id, reset_timezone, reset_at FROM svc_entitlement WHERE customer_id = 'ny' ORDER BY id;
SELECT id, p.ends_at FROM svc_entitlement, svc_period_at(reset_period, reset_anchor, '2040-03-10Z', reset_timezone) p WHERE customer_id = 'ny' ORDER BY id;
SELECT entity_id, revision, event FROM svc_event WHERE customer_id = 'ny' AND noun = 'entitlement' ORDER BY entity_id, revision;
UPDATE svc_customer SET timezone = NULL WHERE id = 'ny';
SELECT id, reset_timezone FROM svc_entitlement WHERE customer_id = 'ny' ORDER BY id;
UPDATE svc_entitlement SET reset_timezone = 'Europe/Atlantis' WHERE id = 'z1';
\echo :SQLSTATE

-- ---- another period, another anchor ----
SELECT svc_grant_entitlement('c1', 'p', 10, id => 'p1', valid_from => '2040-01-31Z', reset_period => 'monthly');
SELECT allowed FROM svc_consume_entitlement('c1', 'p', 6, at => '2040-03-01Z');
UPDATE svc_entitlement SET reset_period = 'weekly' WHERE id = 'p1';
SELECT * FROM grants WHERE id = 'p1';
UPDATE svc_entitlement SET reset_anchor = '2040-02-01Z' WHERE id = 'p1';
SELECT * FROM grants WHERE id = 'p1';
UPDATE svc_entitlement SET reset_period = 'never' WHERE id = 'p1';
SELECT * FROM grants WHERE id = 'p1';
SELECT allowed, remaining, reset_at FROM svc_check_entitlement('c1', 'p', 1, '2050-01-01Z');
UPDATE svc_entitlement SET reset_period = NULL WHERE id = 'p1';
SELECT used, reset_at FROM grants WHERE id = 'p1';
UPDATE svc_entitlement SET reset_period = 'yearly' WHERE id = 'p1';
SELECT * FROM grants WHERE id = 'p1';
UPDATE svc_entitlement SET reset_period = 'fortnightly' WHERE id = 'p1';
\echo :SQLSTATE
UPDATE svc_entitlement SET reset_anchor = 'infinity' WHERE id = 'p1';
\echo :SQLSTATE
-- what only svc writes
UPDATE svc_entitlement SET reset_at = '2050-01-01Z' WHERE id = 'p1';
\echo :SQLSTATE
UPDATE svc_entitlement SET last_reset_at = '2050-01-01Z' WHERE id = 'p1';
\echo :SQLSTATE
UPDATE svc_entitlement SET rollover_amount = 5 WHERE id = 'p1';
\echo :SQLSTATE
UPDATE svc_entitlement SET used_amount = 0 WHERE id = 'p1';
\echo :SQLSTATE
-- periods are for what is counted
SELECT svc_grant_entitlement('c1', 'sso', reset_period => 'monthly');
\echo :SQLSTATE

-- everything adds up
SELECT * FROM svc_verify();
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
