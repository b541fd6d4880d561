-- Promise: bad input gets an error that says what, where and how to mend it,
-- never an internal one, and loses nothing.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
SELECT svc_grant_entitlement('c1', 'calls', 5, id => 'e1');

-- what a call raises
CREATE FUNCTION raises(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    -- generated ids and times are no part of the promise
    d := regexp_replace(d, '^Failing row contains .*', 'Failing row ...');
    d := regexp_replace(d, '"(cus|ent)_[0-9a-z]{26}"', '"\1_..."');
    RETURN concat_ws(E'\n', SQLSTATE || ': ' || m, '  detail: ' || nullif(d, ''), '  hint: ' || nullif(h, ''));
END $$;
\pset format unaligned
\pset tuples_only on

-- amounts
SELECT raises(format('SELECT svc_%s_entitlement(''c1'', ''calls'', %s)', f, a))
FROM unnest(ARRAY['check', 'consume', 'require']) f,
     unnest(ARRAY['0', '-1', '''NaN''', '''Infinity''', '''-Infinity''', 'NULL', '1e36',
                  '0.0000000000000000001']) a;
SELECT raises('SELECT svc_consume_entitlement(''c1'', ''calls'', repeat(''9'', 100000)::numeric)');
SELECT raises('SELECT svc_grant_entitlement(''c1'', ''calls'', ' || a || ')')
FROM unnest(ARRAY['-1', '''NaN''', '''Infinity''', '1e36']) a;

-- ids, codes and keys
SELECT raises(format('SELECT svc_check_entitlement(%s)', a))
FROM unnest(ARRAY['NULL, ''calls''', '''c1'', NULL', ''''', ''calls''', '''c1'', ''''',
                  'repeat(''x'', 256), ''calls''', '''c1'', repeat(''ü'', 256)']) a;
SELECT reason FROM svc_check_entitlement(repeat('ü', 255), repeat('x', 255));
SELECT raises(format('SELECT svc_consume_entitlement(%s)', a))
FROM unnest(ARRAY['NULL, ''calls''', '''c1'', ''calls'', 1, ''''', '''c1'', ''calls'', 1, repeat(''k'', 256)',
                  '''c1'', ''calls'', mode => ''rejekt''', '''c1'', ''calls'', mode => NULL',
                  '''c1'', ''calls'', at => ''infinity''']) a;
SELECT raises(format('SELECT svc_grant_entitlement(%s)', a))
FROM unnest(ARRAY['NULL, ''calls'', 1', '''c1'', NULL, 1', '''c1'', ''calls'', 1, id => ''''',
                  '''c1'', ''calls'', 1, id => repeat(''x'', 256)', '''c1'', ''calls'', 1, id => ''e1''',
                  '''nobody'', ''calls'', 1', '''c1'', ''calls'', 1, unlimited => NULL',
                  '''c1'', ''calls'', 1, priority => -1', '''c1'', ''calls'', 1, priority => NULL',
                  '''c1'', ''calls'', 1, valid_until => ''2020-01-01Z''',
                  '''c1'', ''calls'', 1, valid_from => ''2099-01-02Z'', valid_until => ''2099-01-01Z''']) a;
UPDATE svc_customer SET status = 'deleted' WHERE id = 'c1';
SELECT raises('SELECT svc_grant_entitlement(''c1'', ''calls'', 1)');

-- idempotency keys with other arguments
SELECT svc_create_customer('{"id": "c2", "name": "Bob"}');
SELECT svc_grant_entitlement('c2', 'calls', 5), svc_grant_entitlement('c2', 'gb', 5) \g /dev/null
SELECT allowed FROM svc_consume_entitlement('c2', 'calls', 1, 'key');
SELECT raises('SELECT svc_consume_entitlement(''c2'', ' || a || ')')
FROM unnest(ARRAY['''calls'', 2, ''key''', '''gb'', 1, ''key''', '''nothing'', 1, ''key''']) a;

-- properties
SELECT raises(format('SELECT svc_create_customer(%s)', p))
FROM unnest(ARRAY['NULL', '''[]''', '''"x"''', '''null''', '''{}''', '''{"name": 5}''', '''{"name": null}''',
                  '''{"name": "x", "helth_score": 5}''', '''{"name": "x", "healthScore": 5}''',
                  '''{"name": "x", "something_else_entirely": 5}''', '''{"name": "x", "revision": 5}''',
                  '''{"name": "x", "updated_at": "2020-01-01"}''', '''{"name": "x", "health_score": "5"}''',
                  '''{"name": "x", "health_score": 101}''', '''{"name": "x", "health_score": -1}''',
                  '''{"name": "x", "lifetime_value": -0.01}''', '''{"name": "x", "attributes": []}''',
                  '''{"name": "x", "attributes": 5}''', '''{"name": "x", "last_activity_at": true}''',
                  '''{"name": "x", "last_activity_at": "yesterdayish"}''', '''{"name": "x", "risk_level": "some"}''',
                  '''{"name": "x", "id": ""}''', '''{"name": "x", "id": 5}''', '''{"name": "x", "id": null}''',
                  '''{"name": "x", "id": "c1"}''', '''{"name": "x", "status": "churned"}''',
                  '''{"name": {"first": "x"}}''',
                  'format(''{"name": "x", "id": "%s"}'', repeat(''x'', 256))::jsonb',
                  'format(''{"%s": 1}'', repeat(''x'', 3000))::jsonb']) p;
-- the table's own checks, for who writes it by hand
SELECT raises('INSERT INTO svc_customer (id, name) VALUES ('''', ''x'')');
SELECT raises('INSERT INTO svc_customer (id, name) VALUES (repeat(''x'', 256), ''x'')');
SELECT raises('INSERT INTO svc_customer (id, name, lifetime_value) VALUES (''x'', ''x'', ''NaN'')');
SELECT raises('INSERT INTO svc_entitlement (customer_id, code, name, limit_amount) VALUES (''c2'', ''x'', ''x'', ' || l || ')')
FROM unnest(ARRAY['-1', '''NaN''', '''Infinity''']) l;
SELECT raises('INSERT INTO svc_entitlement (customer_id, code, name, valid_from, valid_until) VALUES (''c2'', ''x'', ''x'', ''2020-01-01'', ''2020-01-01'')');
SELECT raises('INSERT INTO svc_entitlement (customer_id, code, name) VALUES (''nobody'', ''x'', ''x'')');
SELECT raises('INSERT INTO svc_customer (id, name, revision) VALUES (NULL, ''x'', 1)');

-- new ids
SELECT raises(format('SELECT svc_new_id(%L)', p))
FROM unnest(ARRAY['', '_a', 'a_', 'A', 'a-b', 'ä', repeat('a', 64)]) p;
SELECT svc_new_id(NULL) IS NULL, length(svc_new_id('a')), length(svc_new_id(repeat('a', 63)));
SELECT count(DISTINCT id), bool_and(id > previous COLLATE "C")
FROM (SELECT id, lag(id) OVER (ORDER BY n) AS previous
      FROM (SELECT n, svc_new_id('a_b') AS id FROM generate_series(1, 10000) n) a) b;
SELECT bool_and(id ~ '^a_[0-7][0-9a-hjkmnp-tv-z]{25}$') FROM (SELECT svc_new_id('a') AS id FROM generate_series(1, 100)) a;
-- the first ten digits are the milliseconds since 1970
SELECT abs(extract(epoch FROM now()) * 1000 -
           (SELECT sum((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(id, 2 + i, 1)) - 1) * 32::numeric ^ (10 - i))
            FROM generate_series(1, 10) i)) < 60000 AS is_now
FROM (SELECT svc_new_id('a') AS id) a;

-- nothing of all that has left a trace
SELECT sum(used_amount), (SELECT count(*) FROM svc_entitlement_ledger), (SELECT count(*) FROM svc_customer) FROM svc_entitlement;

-- holds: unknown, another customer's, settled, released, lapsed
SELECT svc_create_customer('{"id": "h1", "name": "Eve", "status": "active"}') \g /dev/null
SELECT svc_grant_entitlement('h1', 'calls', 5) \g /dev/null
SELECT hold_id AS settled FROM svc_hold_entitlement('h1', 'calls') \gset
SELECT hold_id AS released FROM svc_hold_entitlement('h1', 'calls') \gset
SELECT hold_id AS lapsed FROM svc_hold_entitlement('h1', 'calls') \gset
SELECT consumed FROM svc_settle_hold('h1', :'settled', 0);
SELECT consumed FROM svc_release_hold('h1', :'released');
SELECT regexp_replace(raises(format('SELECT svc_%s(%L, %L%s)', f, c, h, a)), 'hold_[0-9a-z]{26}|20[0-9-]+ [0-9:.]+\+00|Wed.*', '...', 'g')
FROM (VALUES ('settle_hold', ', 1'), ('release_hold', '')) f (f, a),
     (VALUES ('h1', 'nothing'), ('c2', :'lapsed'), ('h1', :'settled'), ('h1', :'released')) h (c, h);
SELECT split_part(raises(format('SELECT svc_settle_hold(''h1'', %L, 1, at => now() + interval ''2 hours'')', :'lapsed')), ': ', 1);
SELECT raises(format('SELECT svc_%s', c)) FROM unnest(ARRAY['settle_hold(''h1'', ''h'', -1)', 'settle_hold(''h1'', ''h'', NULL)',
    'settle_hold(''h1'', NULL, 1)', 'hold_entitlement(''h1'', ''calls'', 0)', 'hold_entitlement(''h1'', ''calls'', 1, ''0'')',
    'hold_entitlement(''h1'', ''calls'', 1, ''-1 hour'')', 'hold_entitlement(''h1'', ''calls'', 1, ''11 years'')',
    'hold_entitlement(''h1'', ''calls'', 1, mode => ''overflow'')', 'consume_entitlements(''h1'', ''[]'')',
    'consume_entitlements(''h1'', ''{}'')', 'consume_entitlements(''h1'', ''{"a": 0}'')', 'consume_entitlements(''h1'', ''{"a": "1"}'')',
    'run_due(NULL, 0)', 'run_due(''infinity'')', 'grant_entitlement(''h1'', ''x'', 1, reset_period => ''fortnightly'')',
    'grant_entitlement(''h1'', ''x'', 1, overage => ''maybe'')', 'grant_entitlement(''h1'', ''x'', 1, alert_percents => ''{101}'')',
    'grant_entitlement(''h1'', ''x'', reset_period => ''daily'')', 'grant_entitlement(''h1'', ''x'', 1, reset_period => ''daily'', reset_anchor => ''infinity'')']) c;

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
