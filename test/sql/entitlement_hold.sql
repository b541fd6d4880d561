-- Promise: a hold sets aside what a consume would take, and ends once: settled
-- with what the work has cost, less or more; released; or lapsed, at its instant,
-- whoever looks. Nothing is held twice or lost, and the rows are svc's to write.
\pset null ~
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
CREATE VIEW grants AS SELECT id, status, used_amount AS used, held_amount AS held, remaining_amount AS remaining FROM svc_entitlement;
CREATE VIEW ledger AS SELECT entitlement_id AS id, seq, line, kind, amount, held, occurred_at, idempotency_key AS key FROM svc_entitlement_ledger ORDER BY entitlement_id, seq;
CREATE VIEW holds AS SELECT line, entitlement_id, status, amount, settled_amount, held_at, expires_at, ended_at, metadata, code, id FROM svc_entitlement_hold ORDER BY line;

-- ---- hold and settle ----
SELECT svc_grant_entitlement('c1', 'tokens', 100, id => 't1');
SELECT allowed, reason, remaining, overage, entitlement_id, held, replayed, expires_at, hold_id AS h, hold_id LIKE 'hold\_%' AS has_id
FROM svc_hold_entitlement('c1', 'tokens', 30, at => '2040-01-31Z', metadata => '{"job": 1}') \gset
\echo :allowed :reason :remaining :overage :entitlement_id :held :replayed :expires_at :has_id
SELECT line, entitlement_id, status, amount, settled_amount, held_at, expires_at, ended_at, metadata, code FROM holds;
SELECT * FROM grants WHERE id = 't1';
-- what is held is not there for others; and is not used, so that nothing is exhausted
SELECT allowed, reason, remaining FROM svc_consume_entitlement('c1', 'tokens', 70.000000000000000001, at => '2040-01-31Z');
SELECT allowed, reason, remaining FROM svc_consume_entitlement('c1', 'tokens', 70, at => '2040-01-31Z');
SELECT * FROM grants WHERE id = 't1';
SELECT allowed, reason, remaining FROM svc_check_entitlement('c1', 'tokens', 1, '2040-01-31 00:30Z');
-- less
SELECT * FROM svc_settle_hold('c1', :'h', 12.5, at => '2040-01-31 00:30Z');
SELECT line, status, amount, settled_amount, ended_at FROM holds;
SELECT * FROM grants WHERE id = 't1';
SELECT * FROM ledger WHERE id = 't1';
-- as much
SELECT hold_id AS h FROM svc_hold_entitlement('c1', 'tokens', 17.5, at => '2040-01-31Z') \gset
SELECT allowed, remaining, overage, consumed FROM svc_settle_hold('c1', :'h', 17.5, at => '2040-01-31Z');
SELECT * FROM grants WHERE id = 't1';
SELECT event, from_status, to_status FROM svc_event WHERE entity_id = 't1' ORDER BY revision;

-- nothing, and release: the same figures
SELECT svc_grant_entitlement('c1', 'jobs', 10, id => 'j1');
SELECT hold_id AS h FROM svc_hold_entitlement('c1', 'jobs', 10, at => '2040-01-31Z') \gset
SELECT allowed, reason, remaining FROM svc_check_entitlement('c1', 'jobs', 1, '2040-01-31Z');
SELECT * FROM svc_settle_hold('c1', :'h', 0, at => '2040-01-31Z');
SELECT hold_id AS h FROM svc_hold_entitlement('c1', 'jobs', 10, at => '2040-01-31Z') \gset
SELECT * FROM svc_release_hold('c1', :'h', at => '2040-01-31Z');
SELECT status, amount, settled_amount FROM holds WHERE code = 'jobs' ORDER BY amount DESC, status DESC;
SELECT * FROM grants WHERE id = 'j1';
SELECT * FROM ledger WHERE id = 'j1';

-- ---- more than was held, in each mode ----
SELECT hold_id AS h FROM svc_hold_entitlement('c1', 'jobs', 4, at => '2040-01-31Z') \gset
-- it is there
SELECT allowed, reason, remaining, overage, consumed FROM svc_settle_hold('c1', :'h', 6, at => '2040-01-31Z');
SELECT * FROM grants WHERE id = 'j1';
-- it is not: a denial, and the hold stays open
SELECT hold_id AS h FROM svc_hold_entitlement('c1', 'jobs', 3, at => '2040-01-31Z') \gset
SELECT * FROM svc_settle_hold('c1', :'h', 4.000000000000000001, at => '2040-01-31Z');
SELECT status, amount, settled_amount FROM holds WHERE id = :'h';
SELECT * FROM grants WHERE id = 'j1';
-- cap takes what is there, and is no denial when that is nothing
SELECT allowed, reason, remaining, overage, consumed FROM svc_settle_hold('c1', :'h', 7, mode => 'cap', at => '2040-01-31Z');
SELECT * FROM grants WHERE id = 'j1';
SELECT svc_update_entitlement('c1', 'j1', '{"limit_amount": 12}');
SELECT hold_id AS h FROM svc_hold_entitlement('c1', 'jobs', 2, at => '2040-01-31Z') \gset
SELECT allowed, reason, remaining, overage, consumed FROM svc_settle_hold('c1', :'h', 7, mode => 'cap', at => '2040-01-31Z');
-- overflow takes all
SELECT svc_update_entitlement('c1', 'j1', '{"limit_amount": 15}');
SELECT hold_id AS h FROM svc_hold_entitlement('c1', 'jobs', 2, at => '2040-01-31Z') \gset
SELECT allowed, reason, remaining, overage, consumed FROM svc_settle_hold('c1', :'h', 7, mode => 'overflow', at => '2040-01-31Z');
SELECT * FROM grants WHERE id = 'j1';
SELECT status, amount, settled_amount FROM holds WHERE code = 'jobs' ORDER BY amount DESC, status DESC;
SELECT * FROM svc_verify();

-- ---- refusals ----
SELECT svc_grant_entitlement('c1', 'r', 10, id => 'r1');
SELECT allowed, reason, held, hold_id, expires_at FROM svc_hold_entitlement('c1', 'r', 11, at => '2040-01-31Z');
SELECT allowed, reason, held FROM svc_hold_entitlement('c1', 'unheard-of');
SELECT allowed, reason, held FROM svc_hold_entitlement('nobody', 'r');
SELECT allowed, held, remaining FROM svc_hold_entitlement('c1', 'r', 11, mode => 'cap', at => '2040-01-31Z');
SELECT allowed, reason, held FROM svc_hold_entitlement('c1', 'r', 11, mode => 'cap', at => '2040-01-31Z');
SELECT svc_grant_entitlement('c1', 'sso', id => 'sso');
SELECT svc_hold_entitlement('c1', 'sso');
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', 1, mode => 'overflow');
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', 0);
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', -1);
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', NULL);
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', 'NaN');
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', 1, '0');
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', 1, '-1 second');
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', 1, '10 years 1 second');
\echo :SQLSTATE
SELECT svc_hold_entitlement('c1', 'r', 1, '1 month -30 days -1 second');
\echo :SQLSTATE
SELECT svc_settle_hold('c1', 'unheard-of', 1);
\echo :SQLSTATE
SELECT svc_release_hold('c1', 'unheard-of');
\echo :SQLSTATE
-- the shortest and the longest time to live
SELECT svc_grant_entitlement('c1', 'ttl', 10, id => 'ttl');
SELECT allowed, expires_at FROM svc_hold_entitlement('c1', 'ttl', 1, '1 microsecond', at => '2040-01-31Z');
SELECT allowed, expires_at FROM svc_hold_entitlement('c1', 'ttl', 2, '10 years', at => '2040-01-31Z');
SELECT at, d.remaining FROM unnest(ARRAY['2040-01-31Z', '2040-01-31 00:00:00.000001Z', '2050-01-30 23:59:59.999999Z', '2050-01-31Z']::timestamptz[]) AS at,
     svc_check_entitlement('c1', 'ttl', 1, at) d;
-- another customer's hold is nobody's
SELECT svc_create_customer('{"id": "c2", "name": "Bob", "status": "active"}');
SELECT svc_grant_entitlement('c2', 'r', 10, id => 'r1');
SELECT hold_id AS other FROM svc_hold_entitlement('c2', 'r', 10, NULL) \gset
\set VERBOSITY sqlstate
SELECT svc_settle_hold('c1', :'other', 1);
SELECT svc_release_hold('c1', :'other');
SELECT svc_settle_hold('nobody', :'other', 1);
SELECT svc_settle_hold('c2', :'other', -1);
SELECT svc_settle_hold('c2', :'other', NULL);
SELECT svc_settle_hold('c2', :'other', 'Infinity');
SELECT svc_settle_hold('c2', :'other', 1e36);
SELECT svc_settle_hold('c2', NULL, 1);
SELECT svc_settle_hold('c2', :'other', 1, mode => 'perhaps');
\set VERBOSITY default
-- a hold without end: as long as it is not ended
SELECT expires_at, status FROM holds WHERE id = :'other';
SELECT allowed, reason FROM svc_check_entitlement('c2', 'r', 1, '2060-01-01Z');
SELECT allowed, consumed, remaining FROM svc_settle_hold('c2', :'other', 1, at => '2060-01-01Z');

-- ---- once only ----
SELECT hold_id AS h FROM svc_hold_entitlement('c2', 'r', 2) \gset
SELECT allowed FROM svc_settle_hold('c2', :'h', 2);
\set VERBOSITY sqlstate
SELECT svc_settle_hold('c2', :'h', 2);
SELECT svc_settle_hold('c2', :'h', 0);
SELECT svc_release_hold('c2', :'h');
SELECT svc_settle_hold('c2', :'h', 2, 'a new key');
SELECT hold_id AS h FROM svc_hold_entitlement('c2', 'r', 2) \gset
SELECT allowed FROM svc_release_hold('c2', :'h');
SELECT svc_settle_hold('c2', :'h', 2);
SELECT svc_release_hold('c2', :'h');
\set VERBOSITY default
SELECT used_amount, held_amount, remaining_amount FROM svc_entitlement WHERE customer_id = 'c2';

-- ---- keys ----
SELECT svc_create_customer('{"id": "k", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('k', 'r', 10, id => 'k1');
-- a denial leaves the key free
SELECT allowed, reason, replayed FROM svc_hold_entitlement('k', 'r', 11, idempotency_key => 'hold', at => '2040-01-31Z');
SELECT allowed, held, replayed, remaining, expires_at, hold_id AS h FROM svc_hold_entitlement('k', 'r', 4, idempotency_key => 'hold', at => '2040-01-31Z') \gset
-- the same hold again, with another time to live and instant
SELECT allowed, held, replayed, remaining, expires_at, hold_id = :'h' AS same
FROM svc_hold_entitlement('k', 'r', 4.0, '2 hours', 'hold', at => '2040-01-31 00:10Z');
SELECT count(*) FROM holds JOIN svc_entitlement_hold h USING (id) WHERE h.customer_id = 'k';
-- another request
\set VERBOSITY sqlstate
SELECT svc_hold_entitlement('k', 'r', 5, idempotency_key => 'hold');
SELECT svc_hold_entitlement('k', 'r', 4, idempotency_key => 'hold', mode => 'cap');
SELECT svc_hold_entitlement('k', 'other', 4, idempotency_key => 'hold');
SELECT svc_consume_entitlement('k', 'r', 4, 'hold');
SELECT svc_settle_hold('k', :'h', 4, 'hold');
SELECT svc_release_hold('k', :'h', 'hold');
\set VERBOSITY default
-- a settlement that is denied leaves its key free
SELECT allowed, reason, replayed FROM svc_settle_hold('k', :'h', 11, 'settle', at => '2040-01-31Z');
SELECT allowed, consumed, remaining, replayed FROM svc_settle_hold('k', :'h', 3, 'settle', at => '2040-01-31Z');
SELECT allowed, consumed, remaining, replayed FROM svc_settle_hold('k', :'h', 3.0, 'settle', at => '2040-01-31Z');
\set VERBOSITY sqlstate
SELECT svc_settle_hold('k', :'h', 2, 'settle', at => '2040-01-31Z');
SELECT svc_settle_hold('k', :'h', 3, 'settle', 'cap', at => '2040-01-31Z');
SELECT svc_release_hold('k', :'h', 'settle', at => '2040-01-31Z');
SELECT svc_settle_hold('k', :'h', 3, 'another', at => '2040-01-31Z');
\set VERBOSITY default
SELECT hold_id AS h2 FROM svc_hold_entitlement('k', 'r', 4, idempotency_key => 'hold 2', at => '2040-01-31Z') \gset
\set VERBOSITY sqlstate
SELECT svc_settle_hold('k', :'h2', 3, 'settle', at => '2040-01-31Z');
\set VERBOSITY default
SELECT allowed, consumed, remaining, replayed FROM svc_release_hold('k', :'h2', 'release', at => '2040-01-31Z');
SELECT allowed, consumed, remaining, replayed FROM svc_release_hold('k', :'h2', 'release', at => '2040-01-31Z');
-- a settlement of nothing is known by its key
SELECT hold_id AS h2 FROM svc_hold_entitlement('k', 'r', 1, at => '2040-01-31Z') \gset
SELECT allowed, consumed, replayed FROM svc_settle_hold('k', :'h2', 0, 'nothing', at => '2040-01-31Z');
SELECT allowed, consumed, replayed FROM svc_settle_hold('k', :'h2', 0, 'nothing', at => '2040-01-31Z');
-- a retry is answered when the customer is not served any more, and when the hold has lapsed since
SELECT hold_id AS h3 FROM svc_hold_entitlement('k', 'r', 5, '1 hour', 'hold 3', at => '2040-01-31Z') \gset
SELECT * FROM svc_run_due('2040-01-31 01:00Z');
SELECT svc_suspend_customer('k');
SELECT allowed, held, replayed, hold_id = :'h3' AS same FROM svc_hold_entitlement('k', 'r', 5, '1 hour', 'hold 3', at => '2040-01-31Z');
SELECT allowed, consumed, replayed FROM svc_settle_hold('k', :'h', 3, 'settle');
SELECT * FROM ledger WHERE id = 'k1';

-- ---- split over grants ----
SELECT svc_create_customer('{"id": "s", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('s', 'gb', 3, id => 'gb1', priority => 1);
SELECT svc_grant_entitlement('s', 'gb', 0, id => 'gb2', priority => 2);
SELECT svc_grant_entitlement('s', 'gb', 5, id => 'gb3', priority => 3);
SELECT svc_grant_entitlement('s', 'gb', 5, id => 'gb4', priority => 4, overage => 'allow', overage_limit => 2);
SELECT allowed, held, remaining, overage, entitlement_id, hold_id AS h FROM svc_hold_entitlement('s', 'gb', 10, at => '2040-01-31Z') \gset
\echo :allowed :held :remaining :overage :entitlement_id
SELECT line, entitlement_id, amount FROM holds WHERE id = :'h';
SELECT * FROM grants WHERE id ~ '^gb' ORDER BY id;
-- less is given back against the burn order
SELECT allowed, consumed, remaining, entitlement_id FROM svc_settle_hold('s', :'h', 4, at => '2040-01-31Z');
SELECT line, entitlement_id, amount, settled_amount, status FROM holds WHERE id = :'h';
SELECT * FROM grants WHERE id ~ '^gb' ORDER BY id;
SELECT id, line, kind, amount, held FROM ledger WHERE id ~ '^gb' ORDER BY kind, line;
-- beyond limits: a hold may take overage that is allowed; then more than it held, on top of it
SELECT allowed, held, remaining, overage, hold_id AS h FROM svc_hold_entitlement('s', 'gb', 10.5, at => '2040-01-31Z') \gset
\echo :allowed :held :remaining :overage
SELECT line, entitlement_id, amount FROM holds WHERE id = :'h';
SELECT allowed, reason FROM svc_settle_hold('s', :'h', 11.000000000000000001, at => '2040-01-31Z');
-- (2 of it is beyond the limit of 5)
SELECT allowed, trim_scale(consumed) AS consumed, remaining, trim_scale(overage) AS overage FROM svc_settle_hold('s', :'h', 11, at => '2040-01-31Z');
SELECT * FROM grants WHERE id ~ '^gb' ORDER BY id;
SELECT line, entitlement_id, amount, settled_amount, status FROM holds WHERE id = :'h';
SELECT * FROM svc_verify('s');

-- ---- lapsing: judged when read, then written ----
SELECT svc_create_customer('{"id": "l", "name": "x", "status": "active"}');
SELECT svc_grant_entitlement('l', 'r', 10, id => 'l1', priority => 1);
SELECT svc_grant_entitlement('l', 'r', 10, id => 'l2', priority => 2);
SELECT held, expires_at, hold_id AS h FROM svc_hold_entitlement('l', 'r', 15, '90 minutes', at => '2040-01-31Z') \gset
\echo :held :expires_at
SELECT at, d.remaining FROM unnest(ARRAY['2040-01-31 01:29:59.999999Z', '2040-01-31 01:30Z', '2050-01-01Z']::timestamptz[]) AS at, svc_check_entitlement('l', 'r', 1, at) d;
SELECT at, e.held_amount, e.remaining_amount FROM unnest(ARRAY['2040-01-31 01:29:59.999999Z', '2040-01-31 01:30Z']::timestamptz[]) AS at, svc_entitlements('l', at) e;
-- it cannot be ended any more at that instant; it can the moment before
SET session_replication_role = replica; -- ids for the eye
UPDATE svc_entitlement_hold SET id = 'known' WHERE id = :'h';
UPDATE svc_entitlement_ledger SET hold_id = 'known' WHERE hold_id = :'h';
RESET session_replication_role;
\set h known
SELECT svc_settle_hold('l', 'known', 1, at => '2040-01-31 01:30Z');
\echo :SQLSTATE
SELECT svc_release_hold('l', 'known', at => '2040-01-31 01:30Z');
\echo :SQLSTATE
BEGIN;
SELECT allowed FROM svc_settle_hold('l', 'known', 1, at => '2040-01-31 01:29:59.999999Z');
SAVEPOINT s;
SELECT svc_settle_hold('l', 'known', 1, at => '2040-01-31 01:29:59.999999Z');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT allowed FROM svc_release_hold('l', 'known', at => '2040-01-31 01:29:59.999999Z');
SAVEPOINT s;
SELECT svc_settle_hold('l', 'known', 1, at => '2040-01-31 01:29:59.999999Z');
\echo :SQLSTATE
ROLLBACK;
-- what it held is given to others: who gets it writes first that it has lapsed
SELECT allowed, remaining FROM svc_consume_entitlement('l', 'r', 20, at => '2040-01-31 01:30Z');
SELECT * FROM grants WHERE id ~ '^l' ORDER BY id;
SELECT status, ended_at FROM holds WHERE id = :'h';
SELECT * FROM svc_run_due('2040-01-31 01:29:59.999999Z');
SELECT * FROM svc_run_due('2040-01-31 02:00Z');
SELECT * FROM svc_run_due('2040-01-31 02:00Z');
SELECT * FROM grants WHERE id ~ '^l' ORDER BY id;
SELECT line, status, amount, settled_amount, ended_at FROM holds WHERE id = :'h';
SELECT * FROM ledger WHERE id ~ '^l';
SELECT svc_settle_hold('l', :'h', 1, at => '2040-01-31 01:00Z');
\echo :SQLSTATE
SELECT svc_release_hold('l', :'h', at => '2040-01-31 01:00Z');
\echo :SQLSTATE
SELECT * FROM svc_verify('l');
-- where nobody consumes, svc_run_due() does, the oldest first; twice is once
SELECT n, svc_grant_entitlement('l', 'many' || n, 10, id => 'm' || n) FROM generate_series(1, 5) AS n;
SELECT n, held FROM generate_series(5, 1, -1) AS n, svc_hold_entitlement('l', 'many' || n, 3, n * interval '1 hour', at => '2040-01-31Z') h ORDER BY n;
SELECT done FROM svc_run_due('2040-01-31 04:00Z', 2) WHERE task = 'lapse holds';
SELECT code, status, expires_at, ended_at FROM holds WHERE code ~ '^many' ORDER BY code;
SELECT done FROM svc_run_due('2040-01-31 04:00Z', 2) WHERE task = 'lapse holds';
SELECT done FROM svc_run_due('2040-01-31 04:00Z', 2) WHERE task = 'lapse holds';
SELECT code, status, expires_at, ended_at FROM holds WHERE code ~ '^many' ORDER BY code;
SELECT * FROM grants WHERE id ~ '^m' ORDER BY id;
-- a split one, on two grants
SELECT svc_grant_entitlement('l', 'two', 2, id => 'n1', priority => 1);
SELECT svc_grant_entitlement('l', 'two', 2, id => 'n2', priority => 2);
SELECT held FROM svc_hold_entitlement('l', 'two', 3, at => '2040-01-31Z');
SELECT done FROM svc_run_due('2040-01-31 01:00Z') WHERE task = 'lapse holds';
SELECT line, status, amount, settled_amount, ended_at FROM holds WHERE code = 'two';
SELECT * FROM grants WHERE id ~ '^n' ORDER BY id;
SELECT id, seq, kind, held, occurred_at FROM ledger WHERE id ~ '^n';

-- ---- what is not in the way of the end of a hold ----
-- The customer is not served, the grant suspended or its validity over: up to
-- what was held all is as ever; beyond it nothing is there.
SELECT svc_create_customer('{"id": "g", "name": "x", "status": "active"}');
SELECT id, svc_grant_entitlement('g', id, 10, id => id, valid_until => CASE id WHEN 'expired' THEN '2040-02-01Z'::timestamptz END)
FROM unnest(ARRAY['suspended', 'expired', 'revoked', 'gate']) AS id;
CREATE TEMP TABLE held AS SELECT code, n, h.hold_id
FROM unnest(ARRAY['suspended', 'expired', 'revoked', 'gate']) AS code, generate_series(1, 3) AS n,
     svc_hold_entitlement('g', code, 2, n * interval '1 year', at => '2040-01-31Z') h;
SELECT count(DISTINCT hold_id) FROM held;
SELECT svc_suspend_entitlement('g', 'suspended');
SELECT svc_revoke_entitlement('g', 'revoked');
SELECT done FROM svc_run_due('2040-02-01Z') WHERE task = 'expire entitlements';
SELECT code, n, s.allowed, s.reason, s.consumed FROM held, svc_settle_hold('g', hold_id, 3, at => '2040-02-02Z') s WHERE n = 1 AND code <> 'gate' ORDER BY code;
SELECT svc_suspend_customer('g');
SELECT code, n, s.allowed, s.reason, s.consumed FROM held, svc_settle_hold('g', hold_id, 3, at => '2040-02-02Z') s WHERE n = 1 ORDER BY code;
SELECT * FROM grants WHERE id IN (SELECT code FROM held) ORDER BY id;
SELECT code, n, s.allowed, s.reason, s.consumed FROM held, svc_settle_hold('g', hold_id, 3, mode => 'cap', at => '2040-02-02Z') s WHERE n = 1 ORDER BY code;
SELECT code, n, s.allowed, s.reason, s.consumed FROM held, svc_settle_hold('g', hold_id, 1, at => '2040-02-02Z') s WHERE n = 2 ORDER BY code;
SELECT code, n, s.allowed, s.reason, s.consumed FROM held, svc_release_hold('g', hold_id, at => '2040-02-02Z') s WHERE n = 3 ORDER BY code;
SELECT * FROM grants WHERE id IN (SELECT code FROM held) ORDER BY id;
SELECT * FROM svc_verify('g');
-- all that is held and used up: resumed, it is exhausted
SELECT svc_reactivate_customer('g');
SELECT hold_id AS h FROM svc_hold_entitlement('g', 'gate', 7, at => '2040-02-02Z') \gset
SELECT svc_suspend_entitlement('g', 'gate');
SELECT allowed, consumed FROM svc_settle_hold('g', :'h', 7, at => '2040-02-02Z');
SELECT svc_resume_entitlement('g', 'gate');

-- ---- merged customers ----
SELECT svc_create_customer(jsonb_build_object('id', id, 'name', 'x', 'status', 'active')) FROM unnest(ARRAY['loser', 'winner', 'loser2', 'winner2']) AS id;
SELECT svc_grant_entitlement(id, 'r', 10, id => 'of ' || id) FROM unnest(ARRAY['loser', 'winner', 'loser2', 'winner2']) AS id;
SELECT hold_id AS h FROM svc_hold_entitlement('loser', 'r', 4, '1 hour', 'key', at => '2040-01-31Z') \gset
SELECT hold_id AS ended FROM svc_hold_entitlement('loser', 'r', 1, at => '2040-01-31Z') \gset
SELECT allowed FROM svc_settle_hold('loser', :'ended', 1, 'end', at => '2040-01-31Z');
SELECT svc_merge_customer('loser', 'winner');
SELECT count(*) FROM svc_entitlement_hold WHERE customer_id = 'loser';
SELECT line, entitlement_id, status, amount, id = :'h' AS is_h FROM holds WHERE entitlement_id = 'of loser' ORDER BY amount DESC;
SELECT allowed, replayed, hold_id = :'h' AS same FROM svc_hold_entitlement('winner', 'r', 4, '1 hour', 'key');
SELECT allowed, replayed, consumed FROM svc_settle_hold('winner', :'ended', 1, 'end');
SELECT allowed, consumed, remaining FROM svc_settle_hold('winner', :'h', 3, at => '2040-01-31Z');
SELECT * FROM grants WHERE id ~ '^of' ORDER BY id;
SELECT * FROM svc_verify('winner');
\set VERBOSITY sqlstate
SELECT svc_settle_hold('loser', :'h', 3);
\set VERBOSITY default
-- both have a hold of the same id, as after a restore: the one that moves gets
-- another id, in its rows and in the ledger, and both can be settled
SELECT hold_id AS h FROM svc_hold_entitlement('loser2', 'r', 4, NULL, 'key a', at => '2040-01-31Z') \gset
SELECT hold_id AS w FROM svc_hold_entitlement('winner2', 'r', 5, NULL, 'key b', at => '2040-01-31Z') \gset
SET session_replication_role = replica;
UPDATE svc_entitlement_hold SET id = 'same' WHERE id IN (:'h', :'w');
UPDATE svc_entitlement_ledger SET hold_id = 'same' WHERE hold_id IN (:'h', :'w');
UPDATE svc_entitlement_ledger SET answer = jsonb_set(answer, '{hold_id}', '"same"') WHERE answer ->> 'hold_id' IN (:'h', :'w');
RESET session_replication_role;
SELECT svc_merge_customer('loser2', 'winner2');
SELECT entitlement_id, status, amount, id = 'same' AS is_same FROM svc_entitlement_hold WHERE customer_id = 'winner2' ORDER BY entitlement_id;
SELECT count(DISTINCT id) FROM svc_entitlement_hold WHERE customer_id = 'winner2';
SELECT h.entitlement_id, l.kind, l.amount, l.held FROM svc_entitlement_hold h JOIN svc_entitlement_ledger l
    ON l.customer_id = h.customer_id AND l.hold_id = h.id AND l.entitlement_id = h.entitlement_id WHERE h.customer_id = 'winner2' ORDER BY 1;
-- a retry of the call that made it is told the id that it has now
SELECT h.hold_id = (SELECT id FROM svc_entitlement_hold WHERE entitlement_id = 'of loser2') AS has_its_id, replayed
FROM svc_hold_entitlement('winner2', 'r', 4, NULL, 'key a') h;
SELECT hold_id, replayed FROM svc_hold_entitlement('winner2', 'r', 5, NULL, 'key b');
SELECT h.entitlement_id, s.allowed, s.consumed FROM svc_entitlement_hold h, svc_settle_hold('winner2', h.id, 2, at => '2040-01-31Z') s
WHERE h.customer_id = 'winner2' ORDER BY h.entitlement_id;
SELECT * FROM grants WHERE id ~ '^of .*2$' ORDER BY id;
SELECT * FROM svc_verify('winner2');

-- ---- rows of holds are svc's ----
SELECT hold_id AS h FROM svc_hold_entitlement('winner', 'r', 1, NULL) \gset
\set VERBOSITY sqlstate
UPDATE svc_entitlement_hold SET amount = 2 WHERE id = :'h';
UPDATE svc_entitlement_hold SET status = 'released', ended_at = now() WHERE id = :'h';
UPDATE svc_entitlement_hold SET expires_at = now() WHERE id = :'h';
DELETE FROM svc_entitlement_hold WHERE id = :'h';
TRUNCATE svc_entitlement_hold;
\set VERBOSITY default
DELETE FROM svc_entitlement_hold WHERE id = 'no such row';
SELECT status, amount FROM holds WHERE id = :'h';
-- the grant's counter, too
UPDATE svc_entitlement SET held_amount = 0 WHERE id = 'of loser';
\echo :SQLSTATE

-- rolled back, a hold was not
BEGIN;
SELECT hold_id AS h FROM svc_hold_entitlement('winner', 'r', 2, NULL, 'undone') \gset
ROLLBACK;
\set VERBOSITY sqlstate
SELECT svc_settle_hold('winner', :'h', 1);
\set VERBOSITY default
SELECT held, replayed FROM svc_hold_entitlement('winner', 'r', 3, NULL, 'undone');

-- everything adds up
SELECT * FROM svc_verify();
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
