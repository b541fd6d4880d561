-- Promise: usage is recorded exactly, by whatever door it comes, and summed up exactly,
-- in whatever periods; what is final does not change any more.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SET timezone = 'UTC';
SET datestyle = 'ISO';
-- usage is of the time after the customer was created
ALTER TABLE svc_customer ALTER COLUMN created_at SET DEFAULT '2015-01-01Z';
CREATE FUNCTION raises(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN format(E'%s: %s\n  detail: %s\n  hint: %s', SQLSTATE, SQLERRM, detail, hint);
END $$;
INSERT INTO svc_customer (id, name, status, timezone) VALUES ('berlin', 'b', 'active', 'Europe/Berlin'), ('line', 'l', 'active', 'Pacific/Kiritimati'),
    ('west', 'w', 'active', 'Etc/GMT+12'), ('howe', 'h', 'active', 'Australia/Lord_Howe'), ('utc', 'u', 'active', NULL), ('gone', 'g', 'active', NULL);

-- ---- doors: a function, a batch, INSERT, COPY; all alike ----
SELECT svc_record_usage('utc', 'calls', 2, '2026-01-15 10:00Z', 'k1', '{"from": "web"}') AS first \gset
SELECT svc_record_usage('utc', 'calls', 2, '2026-01-15 11:00Z', 'k1') = :'first' AS repeated;
INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('utc', 'calls', 3, '2026-01-15 10:30Z'), ('utc', 'calls', 4, '2026-01-16 10:30Z');
COPY svc_usage (customer_id, resource, quantity, occurred_at) FROM stdin;
utc	calls	5	2026-02-01 00:00:00+00
utc	mails	1.5	2026-02-01 00:00:00+00
\.
SELECT item, outcome, sqlstate, message FROM svc_record_usage_batch('[
    {"customer_id": "utc", "resource": "calls", "quantity": 6, "at": "2026-02-02T00:00:00Z", "idempotency_key": "k2"},
    {"customer_id": "utc", "resource": "calls", "quantity": 6, "idempotency_key": "k2"},
    {"customer_id": "utc", "resource": "calls", "quantity": 7, "idempotency_key": "k2"},
    {"customer_id": "nobody", "resource": "calls"},
    {"customer_id": "utc", "resource": "calls", "quantity": "6"},
    {"customer_id": "utc", "resource": 5},
    {"customer_id": "utc", "ressource": "calls"},
    {"customer_id": "utc", "resource": "calls", "at": "yesterday noon"},
    {"customer_id": "utc", "resource": "calls", "at": "2014-12-31Z"},
    {"resource": "calls"}, 5, null,
    {"customer_id": "utc", "resource": "mails", "quantity": 0.5, "at": "2026-02-02Z", "metadata": {"a": [1]}, "subscription_id": null}]');
SELECT raises($$SELECT svc_record_usage_batch('[{"customer_id": "utc", "resource": "never"}, {"customer_id": "nobody", "resource": "never"}]', true)$$);
SELECT count(*) AS never FROM svc_usage WHERE resource = 'never';
SELECT raises(s) FROM unnest(ARRAY['SELECT svc_record_usage_batch(''{"customer_id": "utc"}'')', 'SELECT svc_record_usage_batch(''5'')', 'SELECT svc_record_usage_batch(NULL)',
    'SELECT svc_record_usage_batch((SELECT jsonb_agg(1) FROM generate_series(1, 100001)))', 'SELECT svc_record_usage_batch(''[]'', NULL)']) s;
SELECT count(*) AS nothing FROM svc_record_usage_batch('[]');
-- a bad one among thousands
SELECT outcome, count(*), min(item) FROM svc_record_usage_batch((SELECT jsonb_agg(jsonb_build_object('customer_id', CASE n WHEN 1234 THEN 'nobody' ELSE 'utc' END,
    'resource', 'many', 'quantity', 1, 'at', '2026-03-01Z')) FROM generate_series(1, 2500) n)) GROUP BY 1 ORDER BY 1;
SELECT customer_id, resource, status, revision, quantity, occurred_at, booked_at = occurred_at AS in_time, metadata FROM svc_usage WHERE resource <> 'many' ORDER BY occurred_at, resource, quantity;

-- ---- what is refused, by each door ----
SELECT raises(format(s, 'SELECT svc_record_usage(%s)', 'INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES (%s)'))
FROM unnest(ARRAY[$$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('nobody', 'calls', 1, now())$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('utc', 'calls', 'NaN', now())$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('utc', 'calls', 'Infinity', now())$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('utc', 'calls', 1e40, now())$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity) VALUES ('utc', NULL, 1)$$,
    $$INSERT INTO svc_usage (customer_id, resource) VALUES ('utc', 'calls')$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity) VALUES (NULL, 'calls', 1)$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('utc', 'calls', 1, NULL)$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('utc', 'calls', 1, 'infinity')$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, subscription_id) VALUES ('utc', 'calls', 1, 'none')$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, invoice_id) VALUES ('utc', 'calls', 1, 'none')$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, adjusts_id) VALUES ('utc', 'calls', 1, 'none')$$,
    $$INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) VALUES ('utc', 'calls', 1, '2014-12-31 23:59Z')$$]) s;
SELECT split_part(raises($$SELECT svc_record_usage('utc', 'calls', 1, now() + interval '25 hours')$$), E'\n', 1), raises($$SELECT svc_record_usage('utc', 'soon', 1, now() + interval '23 hours')$$);
SET svc.usage_future_limit = '1h';
SELECT split_part(raises($$SELECT svc_record_usage('utc', 'soon', 1, now() + interval '23 hours')$$), E'\n', 1);
RESET svc.usage_future_limit;
SELECT left(raises($$SET svc.usage_future_limit = -1$$), 5) AS negative, raises($$SET svc.late_usage = sometimes$$);
SELECT raises($$INSERT INTO svc_usage (customer_id, resource, quantity, idempotency_key) VALUES ('utc', 'calls', 1, 'k1')$$);
SELECT raises($$SELECT svc_record_usage('utc', 'calls', 3, idempotency_key => 'k1')$$);
SELECT svc_churn_customer('gone'), svc_delete_customer('gone') \g /dev/null
SELECT raises($$INSERT INTO svc_usage (customer_id, resource, quantity) VALUES ('gone', 'calls', 1)$$);
-- what svc stamps cannot be forged, nor changed
INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at, booked_at, xid, cluster, overage) VALUES ('utc', 'forged', 1, '2026-02-03Z', '2099-01-01Z', '1', 1, 5);
SELECT booked_at, xid = pg_current_xact_id() OR xid > '1' AS xid, cluster = (SELECT system_identifier FROM pg_control_system()) AS cluster, overage FROM svc_usage WHERE resource = 'forged';
SELECT split_part(raises(format('UPDATE svc_usage SET %s WHERE resource = ''forged''', c)), E'\n', 1) FROM unnest(ARRAY['quantity = 5', 'occurred_at = now()', 'booked_at = now()', 'xid = ''7''', 'cluster = 7',
    'overage = 1', 'resource = ''calls''', 'adjusts_id = ''x''', 'idempotency_key = ''x''']) c;
SELECT split_part(raises('DELETE FROM svc_usage'), E'\n', 1) AS deleted, raises('TRUNCATE svc_usage');

-- ---- meters ----
SELECT svc_set_meter('storage', 'max', 'GB', usage_column => 'storage_gb'), svc_set_meter('seats', 'last'), svc_set_meter('logins', 'count'),
       svc_set_meter('tokens', unit_cost => 0.25, currency => 'EUR', usage_column => 'tokens_used') \g /dev/null
SELECT raises(s) FROM unnest(ARRAY[$$SELECT svc_set_meter('x', 'median')$$, $$SELECT svc_set_meter('x', usage_column => 'status')$$, $$SELECT svc_set_meter('x', unit_cost => 1)$$,
    $$SELECT svc_set_meter('x', consume_mode => 'cap')$$, $$SELECT svc_set_meter(NULL)$$, $$SELECT svc_set_meter('x', NULL)$$, $$SELECT svc_set_meter('')$$,
    $$SELECT svc_set_meter('x', usage_column => 'storage_gb')$$, $$SELECT svc_set_meter('x', unit_cost => 'NaN', currency => 'EUR')$$]) s;
-- not once there is usage
SELECT split_part(raises(s), E'\n', 1) FROM unnest(ARRAY[$$SELECT svc_set_meter('calls', 'max')$$, $$SELECT svc_set_meter('calls', usage_column => 'api_calls')$$, $$SELECT svc_set_meter('calls', unit => 'calls')$$,
    $$INSERT INTO svc_meter (resource, aggregation) VALUES ('mails', 'count')$$, $$UPDATE svc_meter SET aggregation = 'last' WHERE resource = 'seats'$$,
    $$UPDATE svc_meter SET resource = 'mails' WHERE resource = 'seats'$$, $$DELETE FROM svc_meter WHERE resource = 'calls'$$]) s;
UPDATE svc_meter SET aggregation = 'last' WHERE resource = 'seats';
SELECT resource, aggregation, unit, unit_cost, currency, usage_column, entitlement_code, consume_mode FROM svc_meter ORDER BY 1;

-- ---- each kind of figure in each kind of period, on days that are special ----
CREATE FUNCTION record_around(customer text, noon timestamptz) RETURNS void LANGUAGE sql AS $$
    SELECT svc_record_usage(customer, r, CASE WHEN h % 17 = 0 THEN -1 ELSE 5 + h % 5 END, noon + h * interval '30 min') FROM generate_series(-60, 60) h, unnest('{calls,storage,seats,logins,tokens}'::text[]) r
$$;
SELECT record_around(c, at::timestamptz) FROM (VALUES
    ('berlin', '2026-03-29 12:00+02'), ('berlin', '2025-10-26 12:00+01'),   -- 23 and 25 hours
    ('utc', '2024-02-29 12:00Z'), ('utc', '2020-12-31 12:00Z'),             -- a leap day; week 53
    ('line', '2026-01-01 00:00+14'), ('west', '2026-01-01 00:00-12'),       -- the ends of the world
    ('howe', '2026-04-05 02:00+1030')) v (c, at)                            -- a clock that goes back by half an hour
\g /dev/null
-- what a recount by the server's own calendar says; Lord Howe's hours are not those of date_trunc
CREATE VIEW recounted AS
SELECT u.customer_id, k AS period_type, u.resource, date_trunc(k, u.booked_at, coalesce(c.timezone, 'UTC')) AS period_start,
       CASE coalesce(m.aggregation, 'sum') WHEN 'sum' THEN sum(quantity) WHEN 'count' THEN sum(CASE WHEN quantity < 0 THEN -1 ELSE 1 END) WHEN 'max' THEN max(quantity)
            ELSE (array_agg(quantity ORDER BY booked_at DESC, u.id DESC))[1] END AS amount
FROM svc_usage u JOIN svc_customer c ON c.id = u.customer_id LEFT JOIN svc_meter m USING (resource), unnest('{hour,day,week,month,quarter,year}'::text[]) k
GROUP BY u.customer_id, k, u.resource, m.aggregation, period_start;
CREATE VIEW rolled_up AS
SELECT u.customer_id, u.period_type, f.resource, u.period_start, f.amount
FROM svc_customer_usage u, LATERAL (SELECT key AS resource, value::numeric AS amount FROM jsonb_each_text(u.usage_by_resource)
    UNION ALL SELECT 'storage', storage_gb WHERE storage_gb IS NOT NULL UNION ALL SELECT 'tokens', tokens_used WHERE tokens_used IS NOT NULL) f
WHERE u.is_folded;
CREATE VIEW differences AS
SELECT count(*) FILTER (WHERE a IS NULL) AS missing, count(*) FILTER (WHERE b IS NULL) AS too_many, count(*) FILTER (WHERE a.amount <> b.amount) AS different, count(*) > 500 AS enough
FROM (SELECT * FROM rolled_up WHERE (customer_id, period_type) <> ('howe', 'hour')) a FULL JOIN (SELECT * FROM recounted WHERE (customer_id, period_type) <> ('howe', 'hour')) b
    USING (customer_id, period_type, resource, period_start);
SELECT svc_aggregate_usage() > 4000 AS rolled_up, svc_aggregate_usage() AS again;
SELECT * FROM differences;
SELECT * FROM svc_verify();
SELECT customer_id, extract(epoch FROM period_end - period_start) / 3600 AS hours, tokens_used, storage_gb, usage_by_resource, estimated_cost, currency, status, change_from_previous
FROM svc_customer_usage WHERE period_type = 'day' AND (customer_id = 'berlin' AND period_start IN ('2026-03-29 00:00+01', '2025-10-26 00:00+02') OR customer_id = 'howe' AND period_start = '2026-04-05 00:00+11')
ORDER BY customer_id, period_start;
SELECT period_type, period_start, period_end FROM svc_customer_usage WHERE customer_id = 'utc' AND period_type IN ('week', 'quarter', 'year') AND period_start < '2024-12-01Z' ORDER BY 1, 2;
SELECT period_start, period_end, (usage_by_resource ->> 'calls')::numeric AS calls FROM svc_customer_usage WHERE customer_id = 'howe' AND period_type = 'hour' AND period_start BETWEEN '2026-04-05 00:30+11' AND '2026-04-05 04:00+1030' ORDER BY 1;
SELECT count(*) AS events, min(revision), max(revision) FROM svc_event WHERE noun = 'customer_usage' AND event = 'recorded';
-- a second time, into the same and into other periods
SELECT record_around('berlin', '2026-03-29 13:00+02'), record_around('line', '2026-02-01 00:00+14'), record_around('utc', '2024-02-29 11:45Z') \g /dev/null
SELECT status, count(*) > 0 AS some FROM svc_customer_usage WHERE customer_id = 'berlin' AND period_start >= '2026-03-28Z' AND period_end <= '2026-04-01Z' GROUP BY 1;
SELECT svc_aggregate_usage('berlin', 'epoch') AS berlin, svc_aggregate_usage('berlin') AS again, svc_aggregate_usage() AS others;
SELECT * FROM differences;
SELECT * FROM svc_verify();
SELECT e.revision, event, from_status, to_status FROM svc_event e JOIN svc_customer_usage u ON e.entity_id = u.id
WHERE u.customer_id = 'berlin' AND u.period_type = 'day' AND u.period_start = '2026-03-29 00:00+01' ORDER BY e.revision;
SELECT raises(s) FROM unnest(ARRAY[$$SELECT svc_aggregate_usage('nobody')$$, $$SELECT svc_aggregate_usage('')$$]) s;
-- a new time zone: all is rolled up anew
UPDATE svc_customer SET timezone = 'Asia/Kolkata' WHERE id = 'west';
SELECT svc_record_usage('west', 'calls', 1, '2026-01-02Z') \g /dev/null
SELECT svc_aggregate_usage('west') > 500 AS anew;
SELECT * FROM differences;
SELECT * FROM svc_verify();

-- a few customers at a time: each has its turn, and what is done is not looked at again
INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) SELECT c, 'calls', 1, '2026-05-01Z' FROM unnest('{berlin,line,utc}'::text[]) c;
SELECT task, done FROM svc_run_due(max_rows => 1) WHERE task = 'aggregate usage';
INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) SELECT c, 'calls', 1, '2026-05-01Z' FROM unnest('{berlin,line,utc}'::text[]) c;
SELECT task, done FROM svc_run_due(max_rows => 1) WHERE task = 'aggregate usage';
SELECT task, done FROM svc_run_due(max_rows => 1) WHERE task = 'aggregate usage';
SELECT customer_id, (usage_by_resource ->> 'calls')::numeric AS calls FROM svc_customer_usage WHERE period_type = 'month' AND period_start BETWEEN '2026-04-30Z' AND '2026-05-02Z' ORDER BY 1;
SELECT svc_aggregate_usage();
SELECT svc_aggregate_usage() AS nothing_left;
SELECT * FROM differences;

-- ---- reading: from roll-ups, parts of hours, and what is not rolled up ----
CREATE FUNCTION summed(customer text, of_resource text, lower timestamptz, upper timestamptz) RETURNS numeric LANGUAGE sql AS $$
    SELECT CASE coalesce(m.aggregation, 'sum') WHEN 'sum' THEN coalesce(sum(quantity), 0) WHEN 'count' THEN coalesce(sum(sign(quantity)), 0) WHEN 'max' THEN max(quantity)
           ELSE (array_agg(quantity ORDER BY booked_at DESC, u.id DESC))[1] END
    FROM (SELECT) x LEFT JOIN svc_usage u ON customer_id = customer AND resource = of_resource AND booked_at >= lower AND booked_at < upper
    LEFT JOIN svc_meter m ON m.resource = of_resource GROUP BY m.aggregation
$$;
SELECT setseed(0.5) \g /dev/null
CREATE FUNCTION compare_reads(n int) RETURNS TABLE (questions bigint, different bigint) LANGUAGE sql AS $$
    WITH q AS MATERIALIZED (SELECT c, r, least(a, b) AS a, greatest(a, b) AS b FROM (
        SELECT (ARRAY['berlin', 'line', 'west', 'utc', 'howe'])[1 + floor(random() * 5)::int] AS c, (ARRAY['calls', 'storage', 'seats', 'logins', 'tokens'])[1 + floor(random() * 5)::int] AS r,
               x + random() * interval '60 days' * random() AS a, x + random() * interval '60 days' * random() AS b
        FROM generate_series(1, n), LATERAL (SELECT (ARRAY['2026-03-20Z', '2025-10-10Z', '2024-02-20Z', '2020-12-20Z', '2025-12-25Z', '2026-03-31 22:00Z'])[1 + floor(random() * 6)::int]::timestamptz AS x) x) q)
    SELECT count(*), count(*) FILTER (WHERE g.quantity IS DISTINCT FROM summed(c, r, a, b)) FROM q, svc_get_usage(c, r, a, b) g
$$;
SELECT * FROM compare_reads(300);
-- with a tail
SELECT record_around('berlin', '2026-03-30 13:00+02'), record_around('howe', '2026-04-06 01:15+1030'), record_around('utc', '2021-01-01Z') \g /dev/null
SELECT * FROM compare_reads(300);
SELECT svc_aggregate_usage() > 0;
SELECT * FROM compare_reads(300);
SELECT * FROM svc_get_usage('utc', 'calls');
SELECT * FROM svc_get_usage('utc', 'nothing'), svc_get_usage('nobody', 'seats') s;
SELECT * FROM svc_get_usage('utc', 'calls', '2024-01-15Z', '2024-04-10 12:00Z', 'month');
SELECT * FROM svc_get_usage('berlin', 'calls', '2026-03-29 00:00+01', '2026-03-29 04:30+02', 'hour');
SELECT count(*) AS days, sum(quantity) = (SELECT quantity FROM svc_get_usage('utc', 'calls', '2024-01-01Z', '2024-04-01Z')) AS same FROM svc_get_usage('utc', 'calls', '2024-01-01Z', '2024-04-01Z', 'day');
SELECT count(*) AS backwards FROM svc_get_usage('utc', 'calls', '2026-01-01Z', '2025-01-01Z', 'day');
SELECT raises(s) FROM unnest(ARRAY[$$SELECT svc_get_usage('utc', 'calls', granularity => 'decade')$$, $$SELECT svc_get_usage('utc', 'calls', granularity => 'day')$$, $$SELECT svc_get_usage(NULL, 'calls')$$,
    $$SELECT svc_get_usage('utc', '')$$, $$SELECT svc_get_usage('utc', 'calls', '1900-01-01Z', '2026-01-01Z', 'hour')$$]) s;
SELECT * FROM svc_usage_windows('utc', '2024-03-02 12:00Z');
SELECT * FROM svc_usage_chart('berlin', 'calls', 'week', '2026-03-29 12:00+02');
SELECT * FROM svc_usage_chart('berlin', 'calls', 'year', '2026-03-29 12:00+02');
SELECT part, quantity FROM svc_usage_chart('utc', 'calls', 'quarter', '2020-12-31Z') WHERE quantity > 0;
SELECT count(*) FROM svc_usage_chart('berlin', 'calls', 'day', '2026-03-29 12:00+02');
SELECT raises(s) FROM unnest(ARRAY[$$SELECT svc_usage_chart('utc', 'calls', 'hour')$$, $$SELECT svc_usage_chart('utc', 'calls', NULL)$$, $$SELECT svc_usage_windows(NULL)$$]) s;

-- ---- periods of the calendar ----
SELECT k, svc_period_start(k, '2026-03-29 03:30+02', 'Europe/Berlin'), svc_period_end(k, '2026-03-29 03:30+02', 'Europe/Berlin') FROM unnest('{hour,day,week,month,quarter,year}'::text[]) k;
SELECT count(*) AS tried, count(*) FILTER (WHERE svc_period_start(k, at, z) <> date_trunc(k, at, z)) AS different, count(*) FILTER (WHERE svc_period_end(k, at, z) <= at OR svc_period_start(k, svc_period_end(k, at, z), z) <> svc_period_end(k, at, z)) AS overlapping
FROM unnest('{hour,day,week,month,quarter,year}'::text[]) k, unnest('{UTC,Europe/Berlin,America/St_Johns,Asia/Kathmandu,Pacific/Apia,America/Sao_Paulo}'::text[]) z,
     LATERAL (SELECT '2008-01-01Z'::timestamptz + n * interval '3 days 5 hours 7 min' AS at FROM generate_series(1, 1500) n) a;
SELECT svc_period_start(NULL, now()), raises($$SELECT svc_period_start('decade', now())$$), raises($$SELECT svc_period_end('day', now(), 'Moon')$$), raises($$SELECT svc_period_end('day', 'infinity')$$);

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
