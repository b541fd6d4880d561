-- Promise: every change of what is used and held is a row of the ledger, which
-- nobody changes; from it the past is told, and svc_verify() finds what was
-- damaged. A key takes effect once. A threshold is reached once per period.
\pset null ~
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');

-- ---- rows of every kind ----
SET svc.actor = 'tester';
SET svc.request_id = 'request 1';
SELECT svc_grant_entitlement('c1', 'calls', 10, id => 'e1', valid_from => '2040-01-31Z', reset_period => 'monthly', rollover_max => 4);
SELECT allowed FROM svc_consume_entitlement('c1', 'calls', 5, 'consume', at => '2040-02-01Z', metadata => '{"n": 1}');
SELECT allowed FROM svc_consume_entitlement('c1', 'calls', -1, 'refund', 'cap', at => '2040-02-02Z');
RESET svc.request_id;
SELECT hold_id AS h FROM svc_hold_entitlement('c1', 'calls', 3, at => '2040-02-03Z', idempotency_key => 'hold') \gset
SELECT allowed FROM svc_settle_hold('c1', :'h', 2, 'settle', at => '2040-02-03 00:01Z');
SELECT hold_id AS h2 FROM svc_hold_entitlement('c1', 'calls', 1, at => '2040-02-03Z') \gset
SELECT allowed FROM svc_release_hold('c1', :'h2', 'release', at => '2040-02-03 00:01Z');
SELECT allowed FROM svc_hold_entitlement('c1', 'calls', 1, at => '2040-02-03Z');
SELECT done FROM svc_run_due('2040-02-04Z') WHERE task = 'lapse holds';
SELECT allowed FROM svc_consume_entitlement('c1', 'calls', 12, at => '2040-04-30Z');
UPDATE svc_entitlement SET limit_amount = 20 WHERE id = 'e1';
UPDATE svc_entitlement SET unlimited = true WHERE id = 'e1';
UPDATE svc_entitlement SET unlimited = false, limit_amount = NULL, reset_period = NULL, rollover_max = NULL WHERE id = 'e1';
UPDATE svc_entitlement SET limit_amount = 15 WHERE id = 'e1';
SELECT svc_revoke_entitlement('c1', 'e1');
SELECT seq, kind, amount, held, sum(amount) OVER w AS used, sum(held) OVER w AS held, limit_before, rollover_before,
       CASE WHEN occurred_at >= '2040-01-01Z' THEN occurred_at END AS occurred_at, metadata
FROM svc_entitlement_ledger WINDOW w AS (ORDER BY seq) ORDER BY seq;
SELECT seq, line, idempotency_key, request - 'hold' AS request, answer IS NOT NULL AS has_answer,
       CASE hold_id WHEN :'h' THEN 'h' WHEN :'h2' THEN 'h2' ELSE hold_id IS NOT NULL || '' END AS hold, actor, request_id
FROM svc_entitlement_ledger ORDER BY seq;
SELECT used_amount, held_amount, ledger_seq FROM svc_entitlement WHERE id = 'e1';
RESET svc.actor;

-- ---- append-only, also for the owner ----
\set VERBOSITY terse
UPDATE svc_entitlement_ledger SET amount = 0 WHERE seq = 1;
UPDATE svc_entitlement_ledger SET metadata = NULL WHERE seq = 2;
DELETE FROM svc_entitlement_ledger WHERE seq = 1;
TRUNCATE svc_entitlement_ledger;
\echo :SQLSTATE
\set VERBOSITY default
DELETE FROM svc_entitlement_ledger WHERE seq = 1;
\echo :SQLSTATE
UPDATE svc_entitlement_ledger SET amount = 0 WHERE false;
-- and so is the number of the last row
UPDATE svc_entitlement SET ledger_seq = 99 WHERE id = 'e1';
\echo :SQLSTATE
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, used_amount) VALUES ('c1', 'used', 'x', 'x', 10, 1);
\echo :SQLSTATE
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, ledger_seq) VALUES ('c1', 'used', 'x', 'x', 10, 1);
\echo :SQLSTATE

-- ---- the past: what was, before and after each change ----
SELECT svc_create_customer('{"id": "p", "name": "x", "status": "active"}');
SELECT clock_timestamp() AS t0 \gset
SELECT svc_grant_entitlement('p', 'calls', 10, id => 'p1');
SELECT clock_timestamp() AS t1 \gset
SELECT allowed FROM svc_consume_entitlement('p', 'calls', 3);
SELECT clock_timestamp() AS t2 \gset
SELECT svc_update_entitlement('p', 'p1', '{"limit_amount": 20}');
SELECT clock_timestamp() AS t3 \gset
SELECT hold_id AS h FROM svc_hold_entitlement('p', 'calls', 5, NULL) \gset
SELECT clock_timestamp() AS t4 \gset
SELECT allowed FROM svc_settle_hold('p', :'h', 2);
SELECT clock_timestamp() AS t5 \gset
SELECT allowed FROM svc_consume_entitlement('p', 'calls', -1);
SELECT clock_timestamp() AS t6 \gset
UPDATE svc_entitlement SET unlimited = true WHERE id = 'p1';
SELECT clock_timestamp() AS t7 \gset
SELECT allowed FROM svc_consume_entitlement('p', 'calls', 100);
SELECT clock_timestamp() AS t8 \gset
UPDATE svc_entitlement SET unlimited = false WHERE id = 'p1';
SELECT clock_timestamp() AS t9 \gset
SELECT svc_grant_entitlement('p', 'calls', 7, id => 'p2', valid_from => '2040-01-31Z', valid_until => '2040-02-29Z');
SELECT svc_suspend_entitlement('p', 'p1');
SELECT clock_timestamp() AS t10 \gset
SELECT svc_revoke_entitlement('p', 'p1');
SELECT clock_timestamp() AS t11 \gset
SELECT t.n, b.* FROM (VALUES (0, :'t0'), (1, :'t1'), (2, :'t2'), (3, :'t3'), (4, :'t4'), (5, :'t5'), (6, :'t6'), (7, :'t7'),
    (8, :'t8'), (9, :'t9'), (10, :'t10'), (11, :'t11')) AS t (n, at), svc_balance_at('p', 'calls', t.at::timestamptz) b ORDER BY t.n;
-- the future, if nothing happens; validity is that of now
SELECT at, b.* FROM unnest(ARRAY['2040-01-30 23:59:59.999999Z', '2040-01-31Z', '2040-02-28 23:59:59.999999Z', '2040-02-29Z']::timestamptz[]) AS at,
     svc_balance_at('p', 'calls', at) b;
SELECT * FROM svc_balance_at('p', 'calls', NULL);
SELECT * FROM svc_balance_at('p', 'unheard-of', '2040-01-31Z');
SELECT * FROM svc_balance_at('nobody', 'calls', '2040-01-31Z');
SELECT svc_grant_entitlement('p', 'sso', id => 'p3', value => '1');
SELECT * FROM svc_balance_at('p', 'sso', '2040-01-31Z');
SELECT svc_balance_at(NULL, 'calls', now());
\echo :SQLSTATE
SELECT svc_balance_at('p', '', now());
\echo :SQLSTATE
SELECT svc_balance_at('p', 'calls', 'infinity');
\echo :SQLSTATE

-- ---- the past of resets: what was foreseen is what is told ----
-- Periods that are over, some of which nobody has seen, a hold that lapsed among them.
SELECT svc_create_customer('{"id": "b", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('b', 'roll', 10, id => 'b1', valid_from => '2040-01-31Z', reset_period => 'monthly', rollover_max => 25);
SELECT svc_grant_entitlement('b', 'carry', 10, id => 'b2', valid_from => '2040-01-31Z', reset_period => 'monthly', overage => 'allow', carry_overage => true, rollover_max => 3);
SELECT code, c.allowed FROM unnest(ARRAY['roll', 'carry']) AS code, svc_consume_entitlement('b', code, CASE code WHEN 'roll' THEN 4 ELSE 37 END, at => '2040-02-10Z') c;
SELECT held, expires_at FROM svc_hold_entitlement('b', 'roll', 3, '70 days', at => '2040-03-05Z');
CREATE TEMP TABLE instant AS
SELECT at FROM generate_series('2040-03-05 12:00Z'::timestamptz, '2040-08-10 12:00Z', '5 days') AS at
UNION SELECT unnest(ARRAY['2040-03-31Z', '2040-03-30 23:59:59.999999Z', '2040-05-13 23:59:59.999999Z', '2040-05-14Z', '2040-07-31Z', '2040-07-30 23:59:59.999999Z']::timestamptz[]);
CREATE TEMP TABLE foreseen AS
SELECT at, e.code, e.limit_amount, e.rollover_amount, e.used_amount, e.held_amount, e.remaining_amount, e.overage
FROM instant, svc_entitlements('b', at) e;
-- the present tells the future likewise
SELECT count(*) FROM foreseen;
SELECT f.*, b.* FROM foreseen f, svc_balance_at('b', code, at) b
WHERE (f.limit_amount, f.rollover_amount, f.used_amount, f.held_amount, f.remaining_amount, f.overage)
    IS DISTINCT FROM (b.limit_amount, b.rollover_amount, b.used_amount, b.held_amount, b.remaining_amount, b.overage);
-- somebody looks, months later: the past is what was foreseen, no rows
SELECT code, c.allowed, c.remaining FROM unnest(ARRAY['roll', 'carry']) AS code, svc_consume_entitlement('b', code, 9, at => '2040-08-11Z') c;
SELECT f.*, b.* FROM foreseen f, svc_balance_at('b', code, at) b
WHERE (f.limit_amount, f.rollover_amount, f.used_amount, f.held_amount, f.remaining_amount, f.overage)
    IS DISTINCT FROM (b.limit_amount, b.rollover_amount, b.used_amount, b.held_amount, b.remaining_amount, b.overage);
SELECT at, code, b.* FROM unnest(ARRAY['2040-02-10Z', '2040-02-28Z', '2040-03-05Z', '2040-04-15Z', '2040-05-31Z', '2040-08-11Z']::timestamptz[]) AS at,
     unnest(ARRAY['roll', 'carry']) AS code, svc_balance_at('b', code, at) b ORDER BY code DESC, at;
-- the hold has lapsed at its instant
SELECT kind, held, occurred_at FROM svc_entitlement_ledger WHERE entitlement_id = 'b1' AND held <> 0 ORDER BY seq;
-- further resets, and a longer rest: the past stays
SELECT code, c.allowed FROM unnest(ARRAY['roll', 'carry']) AS code, svc_consume_entitlement('b', code, 1, at => '2041-08-11Z') c;
SELECT f.*, b.* FROM foreseen f, svc_balance_at('b', code, at) b
WHERE (f.limit_amount, f.rollover_amount, f.used_amount, f.held_amount, f.remaining_amount, f.overage)
    IS DISTINCT FROM (b.limit_amount, b.rollover_amount, b.used_amount, b.held_amount, b.remaining_amount, b.overage);
-- a limit that changes while resets are due: the old one counts for what was over
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, valid_from, reset_period, rollover_max, created_at)
VALUES ('b', 'b3', 'old', 'x', 10, '2000-01-01Z', 'yearly', 6, '2000-01-01Z');
SELECT allowed FROM svc_consume_entitlement('b', 'old', 8, at => '2000-06-01Z');
SELECT allowed FROM svc_consume_entitlement('b', 'old', 5, at => '2002-06-01Z');
SELECT svc_update_entitlement('b', 'b3', '{"limit_amount": 50}');
SELECT at, b.* FROM unnest(ARRAY['1999-12-31Z', '2000-05-31Z', '2000-06-01Z', '2001-01-01Z', '2002-01-01Z', '2002-06-01Z', '2003-01-01Z', '2004-01-01Z']::timestamptz[]) AS at,
     svc_balance_at('b', 'old', at) b;
SELECT * FROM svc_balance_at('b', 'old', NULL);

-- ---- svc_entitlements ----
SELECT svc_create_customer('{"id": "s", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('s', 'calls', 10, id => 's1', source => 'plan', valid_until => '2040-06-01Z', reset_period => 'monthly', reset_anchor => '2040-01-31Z', valid_from => '2040-01-31Z');
SELECT svc_grant_entitlement('s', 'calls', 5, id => 's2', source => 'promotion', value => '"bonus"');
SELECT svc_grant_entitlement('s', 'free', unlimited => true, id => 's3');
SELECT svc_grant_entitlement('s', 'free', 3, id => 's4');
SELECT svc_grant_entitlement('s', 'sso', id => 's5', value => '{"a": 1}');
SELECT svc_grant_entitlement('s', 'gone', 3, id => 's6');
SELECT svc_grant_entitlement('s', 'asleep', 3, id => 's7');
SELECT svc_grant_entitlement('s', 'later', 3, id => 's8', valid_from => '2041-01-01Z');
SELECT svc_grant_entitlement('s', 'none', 0, id => 's9');
SELECT svc_grant_entitlement('s', 'Upper', 3, id => 's10', overage => 'allow');
SELECT svc_revoke_entitlement('s', 's6');
SELECT svc_suspend_entitlement('s', 's7');
SELECT allowed FROM svc_consume_entitlement('s', 'calls', 12, at => '2040-02-01Z');
SELECT allowed FROM svc_consume_entitlement('s', 'Upper', 4, at => '2040-02-01Z');
SELECT held FROM svc_hold_entitlement('s', 'calls', 2, NULL, at => '2040-02-01Z');
SELECT code, reason, metered, unlimited, limit_amount, rollover_amount, used_amount, held_amount, remaining_amount, overage, usage_percent
FROM svc_entitlements('s', '2040-02-01Z');
SELECT code, value, reset_at, valid_until, sources FROM svc_entitlements('s', '2040-02-01Z');
SELECT code, reason, used_amount, held_amount, remaining_amount, reset_at, valid_until FROM svc_entitlements('s', '2040-03-01Z') WHERE code = 'calls';
SELECT code, reason, limit_amount, used_amount, reset_at, valid_until FROM svc_entitlements('s', '2040-06-01Z') WHERE code = 'calls';
SELECT * FROM svc_entitlements('nobody');
SELECT svc_entitlements(NULL);
\echo :SQLSTATE
SELECT svc_entitlements('s', '-infinity');
\echo :SQLSTATE
SELECT svc_entitlements('b', '2040-03-05Z');
\echo :SQLSTATE

-- ---- svc_explain_entitlement ----
SELECT * FROM svc_explain_entitlement('s', 'calls', 2, '2040-02-01Z');
SELECT * FROM svc_explain_entitlement('s', 'calls', 1, '2040-02-01Z');
SELECT * FROM svc_explain_entitlement('s', 'calls', 12, '2040-03-01Z');
SELECT * FROM svc_explain_entitlement('s', 'free', 4, '2040-02-01Z');
SELECT * FROM svc_explain_entitlement('s', 'sso', 4, '2040-02-01Z');
SELECT * FROM svc_explain_entitlement('s', 'gone', 4, '2040-02-01Z');
SELECT * FROM svc_explain_entitlement('s', 'asleep', 4, '2040-02-01Z');
SELECT * FROM svc_explain_entitlement('s', 'later', 4, '2040-02-01Z');
SELECT * FROM svc_explain_entitlement('s', 'unheard-of', 4, '2040-02-01Z');
SELECT * FROM svc_explain_entitlement('nobody', 'calls', 4, '2040-02-01Z');
SELECT svc_suspend_customer('s');
SELECT step, what, state, explanation FROM svc_explain_entitlement('s', 'calls', 1, '2040-02-01Z') WHERE what <> 'grant';
SELECT code, reason, remaining_amount FROM svc_entitlements('s', '2040-02-01Z') WHERE code IN ('calls', 'sso');
SELECT svc_explain_entitlement('s', 'calls', 0);
\echo :SQLSTATE
SELECT svc_explain_entitlement('s', NULL);
\echo :SQLSTATE

-- ---- thresholds ----
SELECT svc_create_customer('{"id": "a", "name": "x", "status": "active"}');
CREATE VIEW alerts AS SELECT entity_id, revision, event, changes #>> '{threshold,new}' AS threshold, from_status, to_status FROM svc_event WHERE customer_id = 'a' AND noun = 'entitlement' AND event <> 'granted';
SELECT svc_grant_entitlement('a', 'r', 100, id => 'a1', valid_from => '2040-01-31Z', reset_period => 'monthly', alert_percents => '{80,50,100,80}');
SELECT alert_percents, alerted_percent FROM svc_entitlement WHERE id = 'a1';
SELECT allowed FROM svc_consume_entitlement('a', 'r', 49.999999999999999999, at => '2040-02-01Z');
SELECT * FROM alerts ORDER BY entity_id, revision;
SELECT allowed FROM svc_consume_entitlement('a', 'r', 0.000000000000000001, at => '2040-02-01Z');
SELECT * FROM alerts ORDER BY entity_id, revision;
-- once per period, whatever is given back meanwhile
SELECT allowed FROM svc_consume_entitlement('a', 'r', -20, at => '2040-02-01Z');
SELECT allowed FROM svc_consume_entitlement('a', 'r', 20, at => '2040-02-01Z');
-- what is held is not used
SELECT hold_id AS h FROM svc_hold_entitlement('a', 'r', 40, at => '2040-02-01Z') \gset
SELECT count(*), max(alerted_percent) FROM alerts, svc_entitlement WHERE id = 'a1';
-- several at once, with exhaustion, each an event
SELECT allowed FROM svc_settle_hold('a', :'h', 50, at => '2040-02-01Z');
SELECT * FROM alerts WHERE revision > 3 ORDER BY entity_id, revision;
SELECT alerted_percent, usage_percent FROM svc_entitlement WHERE id = 'a1';
-- a reset begins anew
SELECT allowed FROM svc_consume_entitlement('a', 'r', 80, at => '2040-03-01Z');
SELECT * FROM alerts WHERE revision > 7 ORDER BY entity_id, revision;
SELECT alerted_percent FROM svc_entitlement WHERE id = 'a1';
-- a lowered limit reaches them; a raised one takes none back
UPDATE svc_entitlement SET limit_amount = 80 WHERE id = 'a1';
UPDATE svc_entitlement SET limit_amount = 1000 WHERE id = 'a1';
SELECT * FROM alerts WHERE revision > 9 ORDER BY entity_id, revision;
SELECT alerted_percent, usage_percent FROM svc_entitlement WHERE id = 'a1';
-- beyond 100, where there is overage
SELECT svc_grant_entitlement('a', 'o', 10, id => 'a2', overage => 'allow', alert_percents => '{100,150,1000}');
SELECT allowed FROM svc_consume_entitlement('a', 'o', 10);
SELECT allowed FROM svc_consume_entitlement('a', 'o', 4);
SELECT allowed FROM svc_consume_entitlement('a', 'o', 1);
SELECT allowed FROM svc_consume_entitlement('a', 'o', 85);
SELECT * FROM alerts WHERE entity_id = 'a2' ORDER BY revision;
-- of a reset by hand it begins anew, too; overage that is carried may reach one at once
SELECT svc_grant_entitlement('a', 'c', 10, id => 'a3', overage => 'allow', carry_overage => true, alert_percents => '{50}');
SELECT allowed FROM svc_consume_entitlement('a', 'c', 16);
SELECT svc_reset_entitlement('a', 'a3');
SELECT used_amount, alerted_percent FROM svc_entitlement WHERE id = 'a3';
SELECT svc_reset_entitlement('a', 'a3');
SELECT used_amount, alerted_percent FROM svc_entitlement WHERE id = 'a3';
SELECT * FROM alerts WHERE entity_id = 'a3' ORDER BY revision;
-- unlimited reaches none; with limit 0, all are reached, each with an event
SELECT svc_grant_entitlement('a', 'u', unlimited => true, id => 'a4', alert_percents => '{1}');
SELECT allowed FROM svc_consume_entitlement('a', 'u', 100);
SELECT alerted_percent FROM svc_entitlement WHERE id = 'a4';
SELECT svc_grant_entitlement('a', 'zero', 0, id => 'a7', alert_percents => '{50,100}');
SELECT overage FROM svc_consume_entitlement('a', 'zero', 1, mode => 'overflow');
SELECT event, threshold FROM alerts WHERE entity_id = 'a7' AND event = 'thresholdReached' ORDER BY revision;
-- a threshold that is set below what is used is reached with that
SELECT svc_grant_entitlement('a', 'late', 10, id => 'a8');
SELECT allowed FROM svc_consume_entitlement('a', 'late', 6);
SELECT svc_update_entitlement('a', 'a8', '{"alert_percents": [50, 70]}');
SELECT * FROM alerts WHERE entity_id = 'a8' ORDER BY revision;
-- a grant that is suspended reaches them by the end of a hold
SELECT hold_id AS h FROM svc_hold_entitlement('a', 'late', 2, NULL) \gset
SELECT svc_suspend_entitlement('a', 'a8');
SELECT allowed FROM svc_settle_hold('a', :'h', 2);
SELECT svc_resume_entitlement('a', 'a8');
SELECT * FROM alerts WHERE entity_id = 'a8' AND revision > 3 ORDER BY revision;
-- a split: each grant has its own
SELECT svc_grant_entitlement('a', 's', 10, id => 'a5', priority => 1, alert_percents => '{100}');
SELECT svc_grant_entitlement('a', 's', 10, id => 'a6', priority => 2, alert_percents => '{50}');
SELECT allowed FROM svc_consume_entitlement('a', 's', 15);
SELECT * FROM alerts WHERE entity_id IN ('a5', 'a6') ORDER BY entity_id, revision;
-- values
SELECT svc_grant_entitlement('a', 'v', 10, id => 'v1', alert_percents => '{}');
SELECT svc_grant_entitlement('a', 'v', 10, id => 'v2', alert_percents => '{1,100}');
SELECT svc_grant_entitlement('a', 'v', 10, id => 'v3', overage => 'allow', alert_percents => '{1000}');
SELECT svc_grant_entitlement('a', 'v', 10, id => 'v4', alert_percents => (SELECT array_agg(n) FROM generate_series(1, 20) n));
SELECT svc_grant_entitlement('a', 'v', 10, alert_percents => '{0}');
\echo :SQLSTATE
SELECT svc_grant_entitlement('a', 'v', 10, alert_percents => '{-1}');
SELECT svc_grant_entitlement('a', 'v', 10, alert_percents => '{101}');
\echo :SQLSTATE
SELECT svc_grant_entitlement('a', 'v', 10, overage => 'allow', alert_percents => '{1001}');
\echo :SQLSTATE
SELECT svc_grant_entitlement('a', 'v', 10, alert_percents => '{50,NULL}');
\echo :SQLSTATE
SELECT svc_grant_entitlement('a', 'v', 10, alert_percents => '{{50},{60}}');
\echo :SQLSTATE
SELECT svc_grant_entitlement('a', 'v', 10, alert_percents => (SELECT array_agg(n) FROM generate_series(1, 21) n));
\echo :SQLSTATE
SELECT svc_grant_entitlement('a', 'v', alert_percents => '{50}');
\echo :SQLSTATE
UPDATE svc_entitlement SET overage = 'deny' WHERE id = 'v3';
\echo :SQLSTATE
UPDATE svc_entitlement SET alerted_percent = 50 WHERE id = 'v2';
\echo :SQLSTATE

-- ---- idempotency ----
SELECT svc_create_customer('{"id": "k", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('k', 'r', 10, id => 'k1', overage => 'deny');
SELECT svc_grant_entitlement('k', 'q', 10, id => 'k2');
SELECT allowed, remaining, consumed, replayed FROM svc_consume_entitlement('k', 'r', 4, 'key');
-- the same request: whatever its instant and metadata, however its number is written
SELECT allowed, remaining, consumed, replayed FROM svc_consume_entitlement('k', 'r', 4.000, 'key', at => '2099-01-01Z', metadata => '{"try": 2}');
SELECT allowed, remaining, consumed, replayed FROM svc_require_entitlement('k', 'r', 4, 'key', 'reject');
-- another one: amount, mode, code, kind
SELECT svc_consume_entitlement('k', 'r', 5, 'key');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT svc_consume_entitlement('k', 'r', 4, 'key', 'cap');
SELECT svc_consume_entitlement('k', 'q', 4, 'key');
SELECT svc_consume_entitlement('k', 'unheard-of', 4, 'key');
SELECT svc_consume_entitlement('k', 'r', -4, 'key');
SELECT svc_require_entitlement('k', 'r', 6, 'key');
SELECT svc_hold_entitlement('k', 'r', 4, idempotency_key => 'key');
SELECT svc_settle_hold('k', 'h', 4, 'key');
SELECT svc_release_hold('k', 'h', 'key');
SELECT svc_consume_entitlements('k', '{"r": 4}', 'key');
\set VERBOSITY default
-- keys of denied calls are free, for any request
SELECT allowed, reason FROM svc_consume_entitlement('k', 'r', 7, 'free');
SELECT allowed, reason FROM svc_consume_entitlement('k', 'unheard-of', 7, 'free');
SELECT svc_require_entitlement('k', 'r', 7, 'free');
SELECT svc_consume_entitlement('k', 'r', -7, 'free');
\echo :SQLSTATE
SELECT allowed, reason, code FROM svc_consume_entitlements('k', '{"q": 1, "r": 7}', 'free');
SELECT allowed, replayed, remaining FROM svc_consume_entitlement('k', 'r', 6, 'free');
-- the quota is spent, the grant revoked, the customer not served: a repeat has its answer
SELECT allowed, replayed, remaining, consumed FROM svc_consume_entitlement('k', 'r', 4, 'key');
SELECT svc_revoke_entitlement('k', 'k1');
SELECT svc_suspend_customer('k');
SELECT allowed, replayed, remaining, consumed FROM svc_consume_entitlement('k', 'r', 6, 'free');
SELECT allowed, reason, replayed FROM svc_consume_entitlement('k', 'r', 6, 'other');
SELECT svc_reactivate_customer('k');
-- keys: 1 to 255 characters, any of them; of each customer his own
SELECT allowed, replayed FROM svc_consume_entitlement('k', 'q', 1, 'x'), generate_series(1, 1);
SELECT allowed, replayed FROM svc_consume_entitlement('k', 'q', 1, repeat('ä', 255));
SELECT allowed, replayed FROM svc_consume_entitlement('k', 'q', 1, repeat('ä', 255));
SELECT allowed, replayed FROM svc_consume_entitlement('k', 'q', 1, E'"\\\n''; DROP');
SELECT allowed, replayed FROM svc_consume_entitlement('k', 'q', 1, E'"\\\n''; DROP');
SELECT allowed, replayed FROM svc_consume_entitlement('k', 'q', 1, 'KEY');
SELECT allowed, replayed FROM svc_consume_entitlement('a', 'o', 1, 'x');
SELECT svc_consume_entitlement('k', 'q', 1, repeat('ä', 256));
\echo :SQLSTATE
SELECT svc_consume_entitlement('k', 'q', 1, '');
\echo :SQLSTATE
SELECT used_amount FROM svc_entitlement WHERE id = 'k2';
-- each row of a query is a request; the same key within one is a repeat
SELECT count(*), count(*) FILTER (WHERE c.replayed) AS replayed FROM generate_series(0, 9) AS n, svc_consume_entitlement('k', 'q', 1, 'batch ' || n / 2) c;
SELECT used_amount FROM svc_entitlement WHERE id = 'k2';

-- ---- svc_verify ----
SELECT * FROM svc_verify();
SELECT svc_verify('');
\echo :SQLSTATE
SELECT * FROM svc_verify('nobody');
-- Each kind of damage, done where no trigger keeps us from it, and undone.
SELECT svc_create_customer('{"id": "v", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('v', 'r', 10, id => 'd1');
SELECT allowed FROM svc_consume_entitlement('v', 'r', 6), generate_series(1, 1);
SELECT allowed FROM svc_consume_entitlement('v', 'r', 1);
SELECT held FROM svc_hold_entitlement('v', 'r', 2, NULL);
SELECT svc_update_entitlement('v', 'd1', '{"limit_amount": 11}');
SET session_replication_role = replica;
BEGIN; -- what was used
UPDATE svc_entitlement SET used_amount = 8 WHERE id = 'd1';
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- the same, with what is derived from it
UPDATE svc_entitlement SET used_amount = 8, remaining_amount = 1, usage_percent = 72.73 WHERE id = 'd1';
SELECT * FROM svc_verify('v');
SELECT * FROM svc_verify('k');
ROLLBACK;
BEGIN; -- what is held
UPDATE svc_entitlement SET held_amount = 0, remaining_amount = 4 WHERE id = 'd1';
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- a hold that has ended by somebody else's hand
UPDATE svc_entitlement_hold SET status = 'released', ended_at = now() WHERE customer_id = 'v';
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- a hold that is gone, and one that came
DELETE FROM svc_entitlement_hold WHERE customer_id = 'v';
INSERT INTO svc_entitlement_hold (customer_id, id, line, held_at, amount, entitlement_id, code) VALUES ('v', 'made up', 0, now(), 5, 'd1', 'r');
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- a row of the ledger
UPDATE svc_entitlement_ledger SET amount = amount + 1 WHERE customer_id = 'v' AND seq = 1;
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- a row that is gone: in the middle, the last, one that changed no amount
DELETE FROM svc_entitlement_ledger WHERE customer_id = 'v' AND seq = 2;
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN;
DELETE FROM svc_entitlement_ledger WHERE customer_id = 'v' AND seq = 4;
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- a row that was invented
INSERT INTO svc_entitlement_ledger (customer_id, entitlement_id, seq, line, occurred_at, amount, kind, code) VALUES ('v', 'd1', 5, 0, now(), 0, 'consume', 'r');
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- rows of a grant that does not exist, a hold on it
INSERT INTO svc_entitlement_ledger (customer_id, entitlement_id, seq, line, occurred_at, amount, held, kind, code) VALUES ('v', 'nothing', 1, 0, now(), 3, 2, 'consume', 'r');
INSERT INTO svc_entitlement_hold (customer_id, id, line, held_at, amount, entitlement_id, code) VALUES ('v', 'made up', 0, now(), 2, 'nothing', 'r');
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- a grant that is gone
DELETE FROM svc_entitlement WHERE id = 'd1';
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- the number of the last row
UPDATE svc_entitlement SET ledger_seq = 5 WHERE id = 'd1';
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- derived columns
UPDATE svc_entitlement SET remaining_amount = 3, usage_percent = 1 WHERE id = 'd1';
UPDATE svc_entitlement SET remaining_amount = 3, usage_percent = 1 WHERE id = 'p3';
UPDATE svc_entitlement SET remaining_amount = NULL, usage_percent = NULL WHERE id = 'k2';
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- the limit, which changes what is derived from it
UPDATE svc_entitlement SET limit_amount = 100 WHERE id = 'd1';
SELECT * FROM svc_verify();
ROLLBACK;
BEGIN; -- a status that the figures contradict
UPDATE svc_entitlement SET status = 'exhausted' WHERE id = 'd1';
SELECT * FROM svc_verify();
ROLLBACK;
RESET session_replication_role;
SELECT * FROM svc_verify();

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
