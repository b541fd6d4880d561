-- Promise: WHERE svc_criteria_sql(criteria) finds just the customers whose document
-- matches the criteria, whatever these are and whatever the columns hold; indexes of
-- columns apply. And: until the instant that svc_next_change() tells, time alone
-- changes no answer.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc, public;
SET timezone = 'UTC';
SELECT svc_install() \g /dev/null

-- ---- what it looks like ----
ALTER TABLE svc_customer ADD COLUMN visits integer, ADD COLUMN vip boolean, ADD COLUMN "Odd ""x"".y" text, ADD COLUMN "order" text;
\pset format unaligned
\pset tuples_only on
SELECT c || E'\n  ' || svc_criteria_sql(c::svc_criteria) FROM unnest(ARRAY[
    '{}', '{"status": "active"}', '{"status": {"$in": ["active", "at-risk", null, 5]}}', '{"email": null}', '{"email": {"$ne": null}}', '{"email": {"$nin": ["a", null]}}', '{"status": 5}', '{"status": {"$in": []}}', '{"visits": {"$nin": []}}',
    '{"monthly_spend": {"$gte": 1000, "$lt": 5e3}}', '{"visits": {"$gt": -1.5}}', '{"monthly_spend": "NaN"}', '{"vip": true}', '{"vip": {"$gt": false}}', '{"name": {"$gte": "M"}}',
    '{"created_at": {"$gte": {"$date": "2026-01-31T12:00:00+01:00"}}}', '{"created_at": {"$lt": {"$date": "now-30d/d"}}}', '{"created_at": "2026-01-31T11:00:00.000000Z"}', '{"name": {"$date": "2026-01-31"}}',
    '{"last_activity_at": {"$withinLast": "30d"}}', '{"last_activity_at": {"$withinNext": "9000y"}}',
    '{"name": {"$startsWith": "it''s 5%"}}', '{"name": {"$endsWith": "\\"}}', '{"name": {"$icontains": "ÄB"}}', '{"name": {"$regexi": "^a\\b"}}', '{"name": {"$ini": ["A", "b"]}}', '{"name": {"$vgte": "1.2"}}', '{"name": {"$empty": true}}', '{"visits": {"$exists": false}}',
    '{"visits": {"$mod": [4, -1]}}', '{"visits": {"$type": "number"}}', '{"visits": {"$size": 2}}',
    '{"email": {"$not": {"$regex": "x"}}}', '{"$nor": [{"status": "active"}, {"visits": {"$gt": 5}}]}', '{"$or": [{"status": "active"}, {"vip": true, "visits": 1}]}', '{"$not": {"$or": [{"status": "active"}]}}',
    '{"attributes.plan": "pro"}', '{"attributes.a\\.b.c": {"$ne": null}}', '{"attributes.list": {"$elemMatch": {"n": {"$gte": 1}, "s": "x"}}}', '{"billing_address.city": "Wien"}', '{"attributes": {"$exists": true}}',
    '{"Odd \"x\"\\.y": "a"}', '{"order": "a"}', '{"$inSegment": ["a", "it''s"]}', '{"$notInSegment": "a"}',
    '{"status": "active", "usage.calls.last_7d": {"$lt": 5}}', '{"$or": [{"status": "active"}, {"subscriptions": {"$elemMatch": {"plan": "pro"}}}]}', '{"nonsense": 1, "$inSegment": "a"}', '{"revision": 5}']) c;
\pset format aligned
\pset tuples_only off
SELECT svc_criteria_sql(NULL);
-- what would be too deep, or too long, when it is spelled for a column, is asked of the document
CREATE FUNCTION found(criteria svc_criteria) RETURNS text[] LANGUAGE plpgsql AS
$$DECLARE found text[]; BEGIN EXECUTE 'SELECT array_agg(id) FROM svc_customer WHERE ' || svc_criteria_sql(criteria) INTO found; RETURN found; END$$;
INSERT INTO svc_customer (id, name, attributes) SELECT 'deep ' || depth, '', (repeat('{"l": [', depth + 1) || '{"n": 1}' || repeat(']}', depth + 1))::jsonb FROM unnest('{5,14,15,30}'::int[]) depth;
SELECT depth, svc_criteria_sql(c) ~ 'svc_customer_document' AS of_document, found(c)
FROM unnest('{5,14,15,30}'::int[]) depth, LATERAL (SELECT ('{"attributes.l": {"$elemMatch": ' || repeat('{"l": {"$elemMatch": ', depth) || '{"n": 1}' || repeat('}}', depth + 1))::svc_criteria) x (c);
SELECT n, svc_criteria_sql(format('{"attributes.l": {"$elemMatch": {%s}}}', (SELECT string_agg(format('"%s":1', i), ',') FROM generate_series(1, n) i))::svc_criteria) ~ 'svc_customer_document' AS of_document FROM unnest('{10,2500,3900}'::int[]) n;
-- a far date is the same under any DateStyle
SET datestyle = 'SQL, DMY';
SELECT count(*) FROM svc_customer WHERE svc_customer.created_at < '10000-01-01Z' AND svc_customer.created_at >= '0001-01-01Z';
RESET datestyle;
SELECT svc_criteria_sql('{"created_at": {"$lt": {"$date": "0000-12-31"}}}');
SELECT svc_criteria_sql('{"created_at": {"$lt": {"$date": "9999-12-31T23:59:59-01:00"}}}');

-- ---- the differential test: 600 random criteria, 50 random customers ----
CREATE TYPE mood AS ENUM ('glad', 'sad', '5');
CREATE DOMAIN code AS text CHECK (value <> 'never');
CREATE DOMAIN deadline AS timestamptz;
ALTER TABLE svc_customer
    ADD COLUMN score numeric, ADD COLUMN small smallint, ADD COLUMN big bigint, ADD COLUMN ratio float8,
    ADD COLUMN label varchar(30), ADD COLUMN note text COLLATE "C", ADD COLUMN "Odd "".\col" text,
    ADD COLUMN fixed char(5), ADD COLUMN seen_at timestamptz, ADD COLUMN born date, ADD COLUMN tags text[], ADD COLUMN prefs jsonb,
    ADD COLUMN mood mood, ADD COLUMN code code, ADD COLUMN deadline deadline, ADD COLUMN folded text, ADD COLUMN usage text,
    ADD COLUMN length integer GENERATED ALWAYS AS (length(name)) STORED;
-- equal is not the same there; ICU is optional
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') THEN
        CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
        ALTER TABLE svc_customer ALTER COLUMN folded TYPE text COLLATE lax;
    END IF;
END $$;

CREATE FUNCTION pick(VARIADIC choices text[]) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN choices[1 + floor(random() * cardinality(choices))::int]; END$$;
CREATE FUNCTION some_string() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN pick('a', 'A', 'a', 'b', 'ab', 'aB', '', ' ', 'Ä', 'ä', 'ß', 'SS', 'ss', 'İ', 'i', 'I', '🙂', '顧客', 'it''s', 'say "x"', E'back\\slash', '100%', 'un_der', '%', '_',
    '\', '''', 'a.b', '$1', '%s', E'two\nlines', E'tab\t', 'pro', 'basic', 'active', 'glad', 'NaN', 'Infinity', 'infinity', '-infinity', 'true', 'null', '5', '1.2.3', 'v1.2.3-beta', '1.10',
    '2026-01-01', '2026-01-01T00:00:00Z', '2026-01-01T02:00:00+02:00', '2026-02-30', to_char(now() - interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SSOF')); END$$;
CREATE FUNCTION some_number() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN pick('0', '-0.0', '1', '1.0', '1', '2', '3', '5', '5', '5.5', '10', '50', '99.99', '100', '1e2', '-3', '0.1', '32768', '2147483648', '9007199254740993', '9007199254740992', '9223372036854775808', '1e300', '1E-5'); END$$;
CREATE FUNCTION some_instant() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS
$$BEGIN
    IF random() < 0.5 THEN RETURN now() + (floor(random() * 80) - 60) * interval '1 day'; END IF;
    RETURN pick('infinity', '-infinity', '2026-01-01Z', '2026-01-01 00:00:00.123456Z', '12000-05-05Z', '9999-12-31 23:59:59Z', '0001-01-01Z', '0001-01-01 BC', '4000-01-01 BC', '1999-12-31 23:59:59.999999Z', now()::text)::timestamptz;
END$$;
-- as they stand in $date
CREATE FUNCTION some_date() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN pick('now', 'now-1d', 'now-1d/d', 'now-30d', 'now-7d/w', 'now+10d', 'now-1M/M', 'now/y', 'now+1y', 'now-20d', 'now+2000y', 'now-6700y', 'now+292270y',
    '2026-01-01', '2026-01-01T00:00:00Z', '2026-01-01T02:00+02:00', '2026-01-01T00:00:00.123456Z', '0001-01-01', '0001-01-01T15:00:00+15:00', '9999-12-31T23:59:59Z', '1999-12-31T23:59:59.999999Z'); END$$;
-- a literal of a kind: one in ten is of another
CREATE FUNCTION some_literal(kind text) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN
    IF random() < 0.1 THEN kind := pick('string', 'number', 'boolean', 'date', 'null', 'array', 'object'); END IF;
    RETURN CASE kind WHEN 'string' THEN to_json(some_string())::text WHEN 'number' THEN some_number() WHEN 'boolean' THEN pick('true', 'false')
        WHEN 'date' THEN format('{"$date": "%s"}', some_date()) WHEN 'null' THEN 'null'
        WHEN 'array' THEN pick('[]', '["a"]', '["a", "b"]', '[1, 5]', '[null]', '[{"n": 1}]') ELSE pick('{}', '{"n": 1}', '{"s": "a", "n": 1.0}', '{"n": {"n": [1]}}') END;
END$$;
CREATE FUNCTION some_ordered(kind text) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN
    IF random() < 0.15 OR kind = 'object' THEN kind := pick('string', 'number', 'boolean', 'date'); END IF;
    RETURN CASE kind WHEN 'string' THEN to_json(some_string())::text WHEN 'number' THEN some_number() WHEN 'boolean' THEN pick('true', 'false') ELSE format('{"$date": "%s"}', some_date()) END;
END$$;
CREATE FUNCTION some_text() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN to_json(coalesce(nullif(some_string(), ''), 'a'))::text; END$$;
CREATE FUNCTION some_path(kind text) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN CASE kind
    WHEN 'string' THEN pick('id', 'name', 'name', 'email', 'email', 'company', 'company', 'country', 'label', 'label', 'note', 'note', 'Odd "\.\\col', 'fixed', 'status', 'risk_level', 'mood', 'code', 'code', 'folded', 'tags', 'tags.0',
        'attributes.s', 'attributes.s', 'attributes.a\.b', 'attributes.list.s', 'attributes.tags', 'subscriptions.plan', 'subscriptions.status', 'subscriptions.0.plan', 'prefs.s', 'prefs', 'billing_address.city', 'segments', 'timezone', 'usage')
    WHEN 'number' THEN pick('health_score', 'monthly_spend', 'score', 'score', 'visits', 'visits', 'small', 'big', 'big', 'ratio', 'length', 'revision', 'attributes.n', 'attributes.n', 'attributes.list.n', 'attributes.list.0.n', 'prefs.n', 'prefs.0',
        'usage.calls.last_7d', 'usage.calls.lifetime', 'usage.calls.current_period', 'usage.storage.last_30d', 'usage.never.last_90d', 'entitlements.calls.remaining', 'entitlements.calls.percent', 'entitlements.calls.used',
        'entitlements.storage.limit', 'entitlements.none.limit', 'subscriptions.price', 'subscriptions.1.quantity')
    WHEN 'boolean' THEN pick('vip', 'vip', 'attributes.b', 'entitlements.calls.unlimited', 'entitlements.sso.metered', 'subscriptions.on_trial', 'subscriptions.cancel_at_period_end')
    WHEN 'date' THEN pick('created_at', 'last_activity_at', 'last_activity_at', 'first_purchase_at', 'seen_at', 'seen_at', 'seen_at', 'deadline', 'born', 'attributes.at', 'attributes.at', 'subscriptions.current_period_end', 'subscriptions.started_at', 'note')
    ELSE pick('attributes', 'attributes.list', 'attributes.list', 'attributes.o', 'attributes.missing', 'missing', 'changes_at', 'subscriptions', 'subscriptions.9', 'entitlements', 'entitlements.calls', 'entitlements.sso.value.tier', 'usage.calls', 'usage', 'segments',
        'prefs', 'billing_address', 'tags', 'attributes.tags', 'name.x', 'health_score.0', 'seen_at.x') END;
END$$;
CREATE FUNCTION some_condition(kind text, depth integer) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$DECLARE
    -- what suits the kind, or anything
    n int := CASE WHEN random() < 0.2 THEN floor(random() * 28) WHEN kind = 'string' THEN pick('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '20')::int
        WHEN kind = 'number' THEN pick('0', '1', '2', '3', '5', '5', '13', '14')::int WHEN kind = 'boolean' THEN pick('0', '0', '1', '5')::int
        WHEN kind = 'date' THEN pick('0', '5', '5', '5', '15', '15', '16')::int ELSE pick('17', '18', '18', '19', '21', '22', '23', '0')::int END;
BEGIN
    RETURN CASE n
    WHEN 0 THEN some_literal(kind)
    WHEN 1 THEN format('{"$ne": %s}', some_literal(kind))
    WHEN 2 THEN format('{"$in": [%s, %s, %s]}', some_literal(kind), some_literal(kind), some_literal(pick(kind, 'null')))
    WHEN 3 THEN format('{"$nin": [%s, %s]}', some_literal(kind), some_literal(pick(kind, 'null')))
    WHEN 4 THEN format('{"%s": [%s, %s]}', pick('$ini', '$nini'), some_literal('string'), some_literal(kind))
    WHEN 5 THEN format('{"%s": %s}', pick('$gt', '$gte', '$lt', '$lte'), some_ordered(kind))
    WHEN 6 THEN format('{"%s": "%s"}', pick('$regex', '$regexi', '$notRegex', '$notRegexi'), pick('^a', 'b$', '\\ba', '.', '^.$', '[^a]', '\\d', '^\\s*$', 'a|5', '[\\]%_]', 'ä', '^İ'))
    WHEN 7 THEN format('{"$regex": "%s", "$options": "%s"}', pick('^l', 'two.lines', 'A b', '[^x]l', 's$'), pick('', 'i', 'm', 's', 'x', 'ims', 'imx'))
    WHEN 8 THEN format('{"%s": %s}', pick('$startsWith', '$endsWith'), some_text())
    WHEN 9 THEN format('{"%s": %s}', pick('$contains', '$icontains'), some_text())
    WHEN 10 THEN format('{"$empty": %s}', pick('true', 'false'))
    WHEN 11 THEN format('{"%s": "%s"}', pick('$veq', '$vne', '$vgt', '$vgte', '$vlt', '$vlte'), pick('1.2.3', '1.2', '1.9', '5', '1.2.3-alpha'))
    WHEN 12 THEN format('{"$not": %s}', CASE WHEN depth > 0 THEN regexp_replace(some_condition('string', 0), '^[^{].*$|^{}$|^{"[^$].*$|^{"\$date.*$', '{"$gt": "a"}') ELSE '{"$regexi": "^A"}' END)
    WHEN 13 THEN format('{"$mod": [%s, %s]}', pick('2', '3', '-2', '2.9', '1'), pick('0', '1', '-1', '1.5'))
    WHEN 14 THEN format('{"$gte": %s, "$lt": %s}', some_number(), some_number())
    WHEN 15 THEN CASE WHEN random() < 0.5 THEN format('{"$withinLast": "%s"}', pick('1d', '30d', '12h', '2M', '1y', '2000y', '6700y', '0s')) ELSE format('{"$withinNext": "%s"}', pick('1d', '30d', '12h', '2M', '1y', '9000y', '292270y', '0s')) END
    WHEN 16 THEN format('{"$gte": {"$date": "%s"}, "$lt": {"$date": "%s"}}', some_date(), some_date())
    WHEN 17 THEN format('{"$exists": %s}', pick('true', 'false'))
    WHEN 18 THEN format('{"$elemMatch": %s}', pick('{}', '{"n": {"$gte": 1}}', '{"$eq": "a"}', '{"$gt": 0, "$lt": 6}', '{"$not": {"$eq": 1}}', '{"$or": [{"n": 1}, {"s": {"$ne": "a"}}]}', '{"$nor": [{"n": 5}]}', '{"s": {"$regexi": "^A"}, "n": {"$exists": true}}',
        '{"plan": "pro", "status": "active"}', '{"current_period_end": {"$withinNext": "20d"}}', '{"tags": {"$elemMatch": {"$in": ["a", "b"]}}}', '{"n": {"$size": 1}}', '{"at": {"$lt": {"$date": "now"}}}', '{"$startsWith": "a", "$regex": "\\bA", "$options": "i"}', '{"a.b": {"$not": {"$type": "string"}}}'))
    WHEN 19 THEN format('{"$size": %s}', pick('0', '1', '2', '{"$gte": 1}', '{"$ne": 2}', '{"$in": [1, 2]}', '{"$gt": 0, "$lt": 3}'))
    WHEN 20 THEN format('{"%s": [%s]}', pick('$all', '$alli'), pick('', '"a"', '"a", "B"', '1, "a"', 'null', '{"$elemMatch": {"n": 1}}'))
    WHEN 21 THEN format('{"$type": ["%s", "%s"]}', pick('null', 'string', 'number'), pick('array', 'object', 'bool'))
    WHEN 22 THEN pick('{"$in": []}', '{"$nin": []}', '{"$eq": null}', '{"$ne": null}', '{"$exists": 1}')
    WHEN 23 THEN some_literal(pick('array', 'object'))
    ELSE some_literal(pick('string', 'number', 'boolean', 'date', 'null')) END;
END$$;
CREATE FUNCTION some_criteria(depth integer) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$DECLARE
    kind text := pick('string', 'string', 'string', 'number', 'number', 'boolean', 'date', 'date', 'object');
    parts text;
BEGIN
    IF depth = 0 OR random() < 0.4 THEN
        IF random() < 0.1 THEN RETURN pick('{"$inSegment": "s"}', '{"$inSegment": ["u", "s"]}', '{"$notInSegment": ["it''s", "u"]}', '{"$inSegment": "none"}', '{}'); END IF;
        RETURN format('{%s: %s}', to_json(some_path(kind)), some_condition(kind, 1));
    END IF;
    parts := some_criteria(depth - 1) || ', ' || some_criteria(depth - 1) || CASE WHEN random() < 0.4 THEN ', ' || some_criteria(depth - 1) ELSE '' END;
    RETURN CASE WHEN random() < 0.15 THEN format('{"$not": %s}', some_criteria(depth - 1))
        WHEN random() < 0.15 THEN format('{%s: %s, "$and": [%s]}', to_json(some_path(kind)), some_condition(kind, 0), parts)
        ELSE format('{"%s": [%s]}', pick('$and', '$and', '$or', '$or', '$nor'), parts) END;
END$$;
CREATE FUNCTION some_json() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN CASE floor(random() * 12)::int WHEN 0 THEN '[]' WHEN 1 THEN '5' WHEN 2 THEN '"a"' WHEN 3 THEN 'null' WHEN 4 THEN '[{"n": 1, "s": "a"}, {"n": 5}]' WHEN 5 THEN '[1, 5, "a"]' WHEN 6 THEN NULL
    WHEN 7 THEN '{"n": [1, 2], "s": ["a", "b"]}' ELSE jsonb_build_object('n', some_number()::numeric, 's', some_string(), 'city', some_string()) END; END$$;

CREATE TABLE customer AS SELECT 'c' || n AS id FROM generate_series(1, 49) n UNION ALL SELECT 'it''s "c"\';
CREATE PROCEDURE make_customers() LANGUAGE plpgsql AS $$
DECLARE c text;
BEGIN
    FOR c IN SELECT id FROM customer LOOP
        INSERT INTO svc_customer (id, name, status, email, company, country, risk_level, health_score, monthly_spend, last_activity_at, first_purchase_at, timezone, billing_address, attributes,
            score, visits, small, big, ratio, vip, label, note, "Odd "".\col", fixed, seen_at, born, tags, prefs, mood, code, deadline, folded, usage)
        SELECT c, some_string(), pick('active', 'prospect', 'active'), CASE WHEN random() < 0.7 THEN some_string() END, CASE WHEN random() < 0.5 THEN some_string() END, pick('DE', 'AT', NULL), pick('low', NULL),
            CASE WHEN random() < 0.7 THEN least(abs(some_number()::numeric), 100) END, CASE WHEN random() < 0.7 THEN abs(some_number()::numeric) END, CASE WHEN random() < 0.7 THEN some_instant() END,
            CASE WHEN random() < 0.3 THEN some_instant() END, pick('Europe/Berlin', 'Pacific/Kiritimati', NULL), some_json(),
            jsonb_strip_nulls(jsonb_build_object('s', CASE WHEN random() < 0.7 THEN some_string() END, 'n', CASE WHEN random() < 0.7 THEN some_number()::numeric END, 'b', pick('true', 'false', NULL)::boolean, 'a.b', some_string(),
                'at', CASE WHEN random() < 0.6 THEN some_instant() END, 'list', pick(NULL, '[]', '[{"n": 1, "s": "a"}, {"n": 5, "tags": ["b"]}]', '[{"n": [1], "s": "A"}]', '["a", 5]', '[[{"n": 1}], {"at": "2026-01-01"}]')::jsonb,
                'tags', pick(NULL, '["a"]', '["a", "b"]', '[]')::jsonb, 'o', some_json())) || CASE WHEN random() < 0.2 THEN '{"n": null}' ELSE '{}' END::jsonb,
            CASE WHEN random() < 0.8 THEN pick('NaN', 'Infinity', '-Infinity', some_number(), some_number(), some_number())::numeric END, CASE WHEN random() < 0.7 THEN pick('0', '1', '2', '3', '5', '-3', '50')::int END, pick('1', '5', '-1', NULL)::smallint,
            pick('9007199254740993', '9007199254740992', '9223372036854775807', '5', '2147483648', NULL)::bigint, pick('NaN', 'Infinity', '0.1', '5', NULL)::float8, pick('true', 'false', NULL)::boolean, CASE WHEN random() < 0.7 THEN some_string() END,
            CASE WHEN random() < 0.8 THEN some_string() END, some_string(), pick('a', 'ab', NULL), CASE WHEN random() < 0.8 THEN some_instant() END, pick('2026-01-01', '2000-02-29', NULL)::date, pick('{a,b}', '{}', '{A}', NULL)::text[], some_json(),
            pick('glad', 'sad', '5', NULL)::mood, CASE WHEN random() < 0.7 THEN some_string() END, CASE WHEN random() < 0.7 THEN some_instant() END, CASE WHEN random() < 0.7 THEN some_string() END, some_string();
        UPDATE svc_customer SET created_at = now() - interval '1 year' WHERE id = c;
        IF random() < 0.6 THEN
            PERFORM svc_create_subscription(c, pick('basic', 'pro'), properties => '{"id": "s1"}');
        END IF;
        IF random() < 0.3 THEN
            PERFORM svc_create_subscription(c, pick('basic', 'pro'), trial_days => 10, allow_duplicate => true, properties => '{"id": "s2"}');
        END IF;
        IF random() < 0.3 THEN
            PERFORM svc_grant_entitlement(c, 'calls', unlimited => true);
        END IF;
        IF random() < 0.3 THEN
            PERFORM svc_grant_entitlement(c, 'sso', value => '{"tier": 1}');
        END IF;
        PERFORM svc_record_usage(c, pick('calls', 'storage'), pick('1', '5', '50', '0.5')::numeric, now() - pick('0 s', '1 day', '8 days', '40 days', '200 days')::interval) FROM generate_series(1, floor(random() * 5)::int);
        PERFORM (svc_consume_entitlement(c, 'calls', pick('1', '5', '10')::numeric)).allowed;
    END LOOP;
END $$;
SELECT svc_create_plan('{"id": "basic", "name": "Basic", "price": 5, "limits": {"calls": 10}}'),
       svc_create_plan('{"id": "pro", "name": "Pro", "price": 50, "billing_interval": "monthly", "limits": {"calls": 100, "storage": 5, "sso": true}}') \g /dev/null
SELECT svc_create_segment(jsonb_build_object('id', s, 'name', s)) FROM unnest('{s,u,it''s}'::text[]) s \g /dev/null
-- (of usage, a document has what a segment asks for)
SELECT svc_create_segment('{"id": "usage", "name": "Usage", "sync_frequency": "weekly", "criteria": {"$nor": [{"usage.calls.lifetime": 1}, {"usage.storage.lifetime": 1}, {"usage.never.lifetime": 1}]}}') \g /dev/null
SELECT setseed(0.31415) \g /dev/null
CALL make_customers();
SELECT svc_add_segment_customer(s, id) FROM unnest('{s,u,it''s}'::text[]) s, customer WHERE random() < 0.4 \g /dev/null

CREATE TABLE asked (n integer, criteria svc_criteria, condition text, by_sql text[], by_document text[], by_paths text[]);
CREATE PROCEDURE ask(questions integer) LANGUAGE plpgsql AS $$
DECLARE
    c svc_criteria;
    condition text;
    by_sql text[];
BEGIN
    CREATE TEMP TABLE document ON COMMIT DROP AS SELECT id, svc_customer_document(id) AS doc FROM svc_customer;
    FOR n IN 1 .. questions LOOP
        c := some_criteria(2)::svc_criteria;
        condition := svc_criteria_sql(c);
        BEGIN
            EXECUTE 'SELECT array_agg(id ORDER BY id) FROM svc_customer WHERE ' || condition INTO by_sql;
        EXCEPTION WHEN OTHERS THEN
            by_sql := ARRAY[sqlerrm];
        END;
        INSERT INTO asked SELECT n, c, condition, coalesce(by_sql, '{}'),
            array(SELECT d.id FROM document d WHERE d.doc @~ c ORDER BY id),
            array(SELECT k.id FROM svc_customer k WHERE svc_customer_document(k.id, svc_criteria_paths(c)) @~ c ORDER BY id);
    END LOOP;
END $$;
CALL ask(600);
SELECT count(*) AS criteria, count(*) * (SELECT count(*) FROM customer) >= 20000 AS enough, count(*) FILTER (WHERE cardinality(by_document) BETWEEN 1 AND 49) > 200 AS many_divide,
       count(*) FILTER (WHERE condition !~ 'svc_customer_document') > 150 AS many_translate, count(*) FILTER (WHERE condition ~ ' AND .*svc_customer_document') > 30 AS some_in_part FROM asked;
SELECT criteria, condition, by_sql, by_document, by_paths FROM asked WHERE by_sql <> by_document OR by_paths <> by_document ORDER BY n LIMIT 10;

-- ---- until the instant that svc_next_change() tells, the answer stays ----
-- a rounding brings the change of the month's day nearer; a fall over the end of a month is one of days
SELECT math, svc_next_change(jsonb_build_object('at', instant), format('{"at": {"$lt": {"$date": "%s"}}}', math)::svc_criteria, at) <= falls AS in_time,
       svc_instant(math, falls - interval '1 us') AS before, svc_instant(math, falls) AS after
FROM (VALUES ('now/h-1M', '2026-02-28T12:00:00Z', '2026-03-30 23:59:59Z'::timestamptz, '2026-03-31Z'::timestamptz),
             ('now-1M+12h-1M', '2026-01-29T00:00:00Z', '2026-03-30 23:59:00Z', '2026-03-31Z')) v (math, instant, at, falls);
-- too early is allowed, late is not; and never means never
SELECT svc_next_change(doc::jsonb, c::svc_criteria, '2026-01-10Z') FROM (VALUES ('{"at": "2026-01-01"}', '{"at": {"$withinLast": "30d"}}'), ('{"at": "2026-02-01"}', '{"at": {"$withinLast": "30d"}}'), ('{"at": "2025-01-01"}', '{"at": {"$withinLast": "30d"}}'),
    ('{"at": "2026-02-20"}', '{"at": {"$withinNext": "30d"}}'), ('{"at": "2026-01-10"}', '{"at": {"$withinNext": "30d"}}'), ('{"at": "2026-01-09"}', '{"at": {"$lt": {"$date": "now/d"}}}'), ('{"at": "2026-01-10"}', '{"at": {"$lt": {"$date": "now/d"}}}'),
    ('{"at": "2026-01-10"}', '{"at": {"$lte": {"$date": "2026-01-11"}}}'), ('{"at": "2026-03-01"}', '{"at": {"$date": "now/M"}}'), ('{"at": ["x", {"at": 1}, null]}', '{"at": {"$withinNext": "30d"}}'), ('{}', '{"at": {"$withinNext": "30d"}}'),
    ('{"at": [{"end": "2026-02-01"}, {"end": "2026-01-20"}]}', '{"at": {"$elemMatch": {"end": {"$lte": {"$date": "now+7d"}}}}}'), (NULL, '{}'), ('{}', NULL)) v (doc, c);
CREATE FUNCTION some_math() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN pick('now', 'now', 'now/h', 'now/d', 'now+12h', 'now/w', 'now/M') || pick('', '-1d', '-30d', '+7d', '-1M', '-1M', '+1M', '-3M', '-1y', '+2w') || pick('', '', '', '/d', '/M', '/w', '/h', '+12h', '-1M', '-1M/d', '+12h-1M', '/y'); END$$;
CREATE FUNCTION some_moment() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN pick('2026-01-28', '2026-03-29', '2026-03-31', '2026-05-29', '2024-02-28', '2024-12-30', '2026-07-04')::timestamp AT TIME ZONE 'UTC' + floor(random() * 4) * interval '1 day' + pick('0', '0', '12:00', '23:59:59', '00:30', '14:15:16.789')::interval; END$$;
CREATE FUNCTION some_time_condition() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN CASE WHEN random() < 0.6 THEN format('{"%s": {"$date": "%s"}}', pick('$gt', '$gte', '$lt', '$lte', '$eq', '$ne'), some_math())
    WHEN random() < 0.6 THEN format('{"%s": "%s"}', pick('$withinLast', '$withinNext'), pick('1d', '12h', '30d', '1M', '2M', '1y', '1w', '0s'))
    ELSE format('{"$gte": {"$date": "%s"}, "$lt": {"$date": "%s"}}', some_math(), some_math()) END; END$$;
CREATE FUNCTION some_time_criteria() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN CASE floor(random() * 6)::int WHEN 0 THEN format('{"$or": [{"a": %s}, {"b": %s}]}', some_time_condition(), some_time_condition()) WHEN 1 THEN format('{"$nor": [{"a": %s}, {"l.a": %s}]}', some_time_condition(), some_time_condition())
    WHEN 2 THEN format('{"l": {"$elemMatch": {"a": %s}}}', some_time_condition()) WHEN 3 THEN format('{"l.a": %s, "$not": {"b": %s}}', some_time_condition(), some_time_condition())
    ELSE format('{"a": %s}', some_time_condition()) END; END$$;
CREATE FUNCTION some_time_document(at timestamptz, math text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN jsonb_build_object('a', svc_instant(math, at) + pick('0', '1 us', '-1 us', '5 hours', '-7 hours', '12 hours', '3 days', '-2 days', '40 days')::interval, 'b', at + pick('0', '1 day', '-10 days', '35 days')::interval,
    'l', jsonb_build_array(jsonb_build_object('a', at + random() * interval '60 days' - interval '30 days'), jsonb_build_object('a', svc_instant(some_math(), at)), 'x')); END$$;
CREATE TABLE stepped (criteria text, doc jsonb, at timestamptz, next timestamptz, wrong timestamptz);
CREATE PROCEDURE step_on(questions integer) LANGUAGE plpgsql AS $$
DECLARE
    c text; d jsonb; t timestamptz; n timestamptz; till timestamptz;
BEGIN
    FOR i IN 1 .. questions LOOP
        c := some_time_criteria();
        t := some_moment();
        d := some_time_document(t, coalesce(substring(c FROM '"(now[^"]*)"'), some_math()));
        FOR step IN 1 .. 5 LOOP
            n := svc_next_change(d, c::svc_criteria, t);
            till := coalesce(n, t + interval '500 days');
            INSERT INTO stepped SELECT c, d, t, n, (SELECT min(p) FROM unnest(ARRAY[t + interval '1 us', till - interval '1 us', t + random() * (till - t), t + random() * random() * random() * (till - t),
                    date_trunc('day', t, 'UTC') + interval '1 day', date_trunc('day', t, 'UTC') + interval '1 day 6 hours', date_trunc('month', till, 'UTC'), date_trunc('month', t, 'UTC') + interval '2 month' - interval '1 day']) p
                WHERE p > t AND p < till AND svc_matches(d, c::svc_criteria, p) <> svc_matches(d, c::svc_criteria, t));
            IF n <= t THEN
                UPDATE stepped SET wrong = n WHERE criteria = c AND doc = d AND at = t;
            END IF;
            EXIT WHEN n IS NULL;
            t := n;
        END LOOP;
    END LOOP;
END $$;
SELECT setseed(0.27182) \g /dev/null
CALL step_on(3000);
SELECT count(*) > 10000 AS many_steps, count(*) FILTER (WHERE next IS NULL) > 500 AS some_never,
       count(*) FILTER (WHERE svc_matches(doc, criteria::svc_criteria, next) <> svc_matches(doc, criteria::svc_criteria, at)) > 800 AS some_change FROM stepped;
SELECT * FROM stepped WHERE wrong IS NOT NULL ORDER BY criteria LIMIT 10;

-- ---- indexes apply ----
INSERT INTO svc_customer (id, name, status, visits, attributes) SELECT 'i' || n, 'name ' || n, 'active', n, jsonb_build_object('n', n) FROM generate_series(1, 2000) n;
CREATE INDEX ON svc_customer (visits);
CREATE INDEX ON svc_customer (name COLLATE "C");
CREATE INDEX ON svc_customer (created_at);
ANALYZE svc_customer;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
CREATE FUNCTION plan_of(criteria svc_criteria) RETURNS SETOF text LANGUAGE plpgsql AS
$$BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) SELECT id FROM svc_customer WHERE ' || svc_criteria_sql(criteria); END$$;
SELECT plan_of('{"visits": 7}');
SELECT plan_of('{"visits": {"$gte": 7, "$lt": 9}, "name": {"$regexi": "^NAME"}}');
SELECT plan_of('{"name": {"$gte": "name 7", "$lt": "name 70"}}');
SELECT plan_of('{"created_at": {"$lt": {"$date": "now-1d"}}}');
SELECT plan_of('{"visits": {"$in": [7, 8]}, "usage.calls.lifetime": 0}');
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
