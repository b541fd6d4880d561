-- Promise: svc_customer_document() tells of a customer just what is documented, the
-- same in every session, and of paths only what they lead to.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA "Our svc";
CREATE EXTENSION svc SCHEMA "Our svc";
SET search_path = "Our svc", public;
SELECT svc_install() \g /dev/null
CREATE TYPE mood AS ENUM ('glad', 'sad');
-- usage is of the time after the customer was created
ALTER TABLE svc_customer ALTER COLUMN created_at SET DEFAULT '2019-01-01 00:00Z';
CREATE DOMAIN code AS text;
CREATE DOMAIN deadline AS timestamptz;
CREATE TYPE span AS (since timestamptz, days interval);
ALTER TABLE svc_customer
    ADD COLUMN score numeric, ADD COLUMN most numeric, ADD COLUMN exact numeric, ADD COLUMN big bigint, ADD COLUMN small smallint, ADD COLUMN ratio float8, ADD COLUMN vip boolean,
    ADD COLUMN label varchar(9), ADD COLUMN fixed char(4), ADD COLUMN ever timestamptz, ADD COLUMN never timestamptz, ADD COLUMN far timestamptz, ADD COLUMN local timestamp,
    ADD COLUMN born date, ADD COLUMN wakes time, ADD COLUMN every interval, ADD COLUMN bytes bytea, ADD COLUMN tags text[], ADD COLUMN moments timestamptz[], ADD COLUMN mood mood,
    ADD COLUMN code code, ADD COLUMN deadline deadline, ADD COLUMN span span, ADD COLUMN list jsonb, ADD COLUMN scalar jsonb, ADD COLUMN nothing jsonb, ADD COLUMN plain json,
    ADD COLUMN "Odd "".\col" text, ADD COLUMN usage text, ADD COLUMN segments text, ADD COLUMN gone text, ADD COLUMN length integer GENERATED ALWAYS AS (length(name)) STORED;
ALTER TABLE svc_customer DROP COLUMN gone;
-- instants that tests cannot know
CREATE FUNCTION shown(document jsonb) RETURNS text LANGUAGE sql AS
$$SELECT regexp_replace(jsonb_pretty(document), '"20(2[4-9]|3\d)-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"', '"<instant>"', 'g')$$;

-- ---- all of it ----
SELECT svc_create_plan('{"id": "pro", "name": "Pro", "price": 50, "currency": "EUR", "billing_interval": "monthly", "limits": {"calls": 100, "sso": true, "tier": {"value": "gold"}, "chat": {"unlimited": true}}}') \g /dev/null
INSERT INTO svc_customer (id, name, status, health_score, email, timezone, attributes, score, most, exact, big, small, ratio, vip, label, fixed, ever, never, far, local, born, wakes, every, bytes, tags, moments, mood, code,
    deadline, span, list, scalar, nothing, plain, "Odd "".\col", usage, segments)
VALUES ('c1', 'Ann', 'active', 99.50, '', 'Europe/Berlin', '{"a.b": 1, "tags": ["x"], "plan": {"tier": {"n": 1}}, "none": null}', 'NaN', 'Infinity', 1.10, 9007199254740993, -1, 'NaN', true, 'l', 'f', 'infinity', '-infinity',
    '2020-02-29 23:30:00.5+01', '2020-01-01 12:00', '2020-01-01', '12:00', '1 day 02:00', '\x00ff', '{a,NULL}', '{2020-01-01 00:00+01}', 'sad', 'x', '2020-01-01 00:00+01', ('2020-01-01 00:00+01', '1 mon'), '[{"n": 1}, {"n": 2}]', '5', 'null', '{"b": 1, "a": 2}',
    'odd', 'hidden', 'hidden');
SELECT shown(svc_customer_document('c1') - 'subscriptions' - 'entitlements' - 'usage' - 'segments');
SELECT svc_create_subscription('c1', 'pro', properties => '{"id": "s1", "service_id": "web"}'), svc_create_subscription('c1', 'pro', 2, trial_days => 14, allow_duplicate => true, properties => '{"id": "s2"}'),
       svc_grant_entitlement('c1', 'calls', 50), svc_grant_entitlement('c1', 'seats', 0), svc_grant_entitlement('c1', 'over', 10, overage => 'allow'), svc_grant_entitlement('c1', 'flag', value => '{"deep": [1]}'),
       svc_grant_entitlement('c1', 'later', 5, valid_from => now() + interval '1 day') \g /dev/null
SELECT (svc_consume_entitlement('c1', 'calls', 20)).allowed, (svc_consume_entitlement('c1', 'over', 12.5)).allowed, (svc_consume_entitlement('c1', 'chat', 3)).allowed, svc_revoke_entitlement('c1', svc_grant_entitlement('c1', 'taken', 5)) \g /dev/null
SELECT svc_record_usage('c1', 'calls', n, now() - ago::interval) FROM (VALUES (1, '0'), (2, '7 days'), (4, '29 days'), (8, '31 days'), (16, '89 days'), (32, '400 days'), (64, '-1 day')) v (n, ago) \g /dev/null
SELECT svc_create_segment('{"id": "b", "name": "b"}'), svc_create_segment('{"id": "a", "name": "a"}'), svc_create_segment('{"id": "idle", "name": "idle", "criteria": {"usage.exports.last_30d": {"$lt": 5}}}') \g /dev/null
SELECT svc_add_segment_customer('b', 'c1'), svc_add_segment_customer('a', 'c1'), svc_archive_segment('a');
SELECT shown(jsonb_build_object('subscriptions', d -> 'subscriptions', 'entitlements', d -> 'entitlements', 'segments', d -> 'segments', 'usage', d #- '{usage,calls,current_period}' -> 'usage')) FROM svc_customer_document('c1') d;
-- with each figure as svc_entitlements() has it
SELECT count(*) AS codes, count(*) FILTER (WHERE (d ->> 'used', d ->> 'remaining', d ->> 'percent', d -> 'value', d ->> 'limit') IS DISTINCT FROM
    (used_amount::text, remaining_amount::text, usage_percent::text, value, CASE WHEN NOT unlimited THEN (limit_amount + rollover_amount)::text END)) AS differ
FROM svc_entitlements('c1') e, LATERAL (SELECT svc_customer_document('c1') #> ARRAY['entitlements', e.code] AS d OFFSET 0) x WHERE d IS NOT NULL;

-- ---- only what is asked for ----
CREATE FUNCTION part(paths text[]) RETURNS text LANGUAGE sql AS $$SELECT svc_customer_document('c1', paths)::text$$;
SELECT p AS paths, part(p::text[]) AS document FROM unnest(ARRAY['{}', '{NULL}', '{""}', '{name}', '{name,name,id}', '{name.x}', '{attributes}', '{attributes.plan}', '{attributes.plan.tier.n}', '{"attributes.a\\.b"}', '{attributes.a.b}', '{attributes.a.b,attributes}', '{attributes.missing}', '{attributes.none}',
    '{missing}', '{list}', '{list.0.n}', '{list.n}', '{scalar.x}', '{nothing}', '{"Odd \"\\.\\\\col"}', '{revision,has_pools,changes_at}', '{segments}', '{segments.0}', '{subscription}', '{entitlements.seats}', '{entitlements.seats.limit}', '{entitlements.none}', '{entitlements.later,entitlements.taken.used}',
    '{usage.calls.last_7d}', '{usage.calls.last_7d,usage.calls.lifetime}', '{usage.calls.nothing}', '{usage.never.lifetime}', '{"usage.o\\.dd.last_90d"}', '{usage.exports}', '{email,vip,score}', '{"name\\"}', '{.name}', '{name.}', '{{id,vip},{NULL,mood}}']) p;
SELECT p, jsonb_array_length(d -> 'subscriptions') AS subscriptions, d - 'subscriptions' AS rest FROM unnest('{subscriptions,subscriptions.0.plan,subscriptions.plan}'::text[]) p, svc_customer_document('c1', ARRAY[p]) d;
-- each path leads to the same value in the part as in the whole
SELECT count(*) > 40 AS many, count(*) FILTER (WHERE part -> key IS DISTINCT FROM value) AS differ FROM svc_customer_document('c1') d, jsonb_each(d) e, svc_customer_document('c1', ARRAY[replace(replace(key, '\', '\\'), '.', '\.')]) part;
SELECT svc_customer_document(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT svc_customer_document('');
\echo :LAST_ERROR_SQLSTATE
SELECT svc_customer_document('nobody') IS NULL AS whole, svc_customer_document('nobody', '{id}') IS NULL AS part;

-- ---- the same in every session ----
CREATE TABLE known AS SELECT svc_customer_document('c1') AS document;
SET timezone = 'Pacific/Kiritimati';
SET datestyle = 'German, DMY';
SET intervalstyle = 'postgres_verbose';
SET bytea_output = 'escape';
SET extra_float_digits = -5;
SET search_path = pg_temp;
CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS $$SELECT 'mine'$$;
SELECT "Our svc".svc_customer_document('c1') = document AS same FROM "Our svc".known;
SHOW timezone;
SHOW datestyle;
-- and with an error in the middle of it, the settings are the session's
ALTER TABLE "Our svc".svc_customer ADD COLUMN bad "Our svc".mood;
UPDATE "Our svc".svc_customer SET bad = 'sad';
CREATE FUNCTION "Our svc".to_bad(x "Our svc".mood) RETURNS json LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$;
CREATE CAST ("Our svc".mood AS json) WITH FUNCTION "Our svc".to_bad;
DO $$ BEGIN PERFORM "Our svc".svc_customer_document('c1'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', sqlerrm; END $$;
SHOW timezone;
RESET ALL;
SET search_path = "Our svc", public;
DROP CAST (mood AS json);
ALTER TABLE svc_customer DROP COLUMN bad;

-- ---- the current period: of the oldest subscription that is under way, else the month where the customer is ----
SELECT svc_create_customer(jsonb_build_object('id', id, 'name', id, 'status', 'active', 'timezone', zone)) FROM (VALUES ('utc', NULL), ('east', 'Pacific/Kiritimati'), ('west', 'Pacific/Honolulu'), ('sub', 'Pacific/Honolulu'), ('two', NULL), ('over', NULL)) v (id, zone) \g /dev/null
SELECT svc_record_usage(id, 'calls', 1, date_trunc('month', now(), coalesce(timezone, 'UTC'))), svc_record_usage(id, 'calls', 100, date_trunc('month', now(), coalesce(timezone, 'UTC')) - interval '1 microsecond') FROM svc_customer WHERE id IN ('utc', 'east', 'west', 'over') \g /dev/null
BEGIN;
SELECT svc_create_subscription('sub', 'pro', at => now() - interval '3 days'), svc_create_subscription('two', 'pro', at => now() - interval '3 days', properties => '{"id": "z"}'),
       svc_create_subscription('two', 'pro', allow_duplicate => true, at => now() - interval '1 day', properties => '{"id": "a"}'), svc_create_subscription('over', 'pro', properties => '{"id": "x"}') \g /dev/null
SELECT svc_cancel_subscription('over', 'x');
SELECT svc_record_usage(c, 'calls', 1, now() - interval '3 days'), svc_record_usage(c, 'calls', 10, now() - interval '2 days'), svc_record_usage(c, 'calls', 100, now() - interval '3 days 1 microsecond') FROM unnest('{sub,two}'::text[]) c \g /dev/null
COMMIT;
BEGIN;
SELECT svc_create_customer('{"id": "edge", "name": "edge"}'), svc_create_subscription('edge', 'pro', at => now()) \g /dev/null
SELECT svc_record_usage('edge', 'calls', 1, now()), svc_record_usage('edge', 'calls', 100, now() - interval '168 hours'), svc_record_usage('edge', 'calls', 10, now() - interval '168 hours' + interval '1 microsecond') \g /dev/null
SELECT svc_customer_document('edge', '{usage.calls}');
COMMIT;
SELECT id, d #> '{usage,calls}' AS calls FROM svc_customer c, svc_customer_document(id, '{usage.calls.current_period,usage.calls.lifetime}') d WHERE id <> 'c1' AND id <> 'edge' ORDER BY id;

-- ---- merged, deleted; as the query sees it ----
SELECT svc_merge_customer('utc', 'east'), svc_cancel_subscription('two', 'z'), svc_cancel_subscription('two', 'a'), svc_delete_customer('two');
SELECT id, svc_customer_document(id) - '{created_at,updated_at,last_activity_at,subscriptions,first_purchase_at}'::text[] #- '{usage,calls,current_period}' #- '{usage,calls,last_7d}' #- '{usage,calls,last_30d}' AS document FROM unnest('{utc,two}'::text[]) id;
SELECT svc_customer_document('east', '{usage.calls.lifetime}');
WITH changed AS (UPDATE svc_customer SET name = 'New' WHERE id = 'c1' RETURNING id, name) SELECT name, svc_customer_document(id, '{name}') AS as_before FROM changed;
SELECT svc_customer_document('c1', '{name,length}');
CREATE FUNCTION seen_anew(id text) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$BEGIN UPDATE svc_customer c SET name = 'Newer' WHERE c.id = seen_anew.id; RETURN svc_customer_document(id, '{name}'); END$$;
SELECT seen_anew('c1');
SET client_min_messages = warning;
DROP SCHEMA "Our svc" CASCADE;
