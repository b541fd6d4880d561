-- Promise: a period begins at anchor + n periods, reckoned from the anchor by
-- the clock of the time zone, and on the last day of a month that has no such
-- day; every instant lies in exactly one. The cases of others who bill by
-- anniversaries hold (data/reset_periods.json names their sources).
\pset null ~
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION svc;

-- The entries of the file, by kind. Left out of the copy are the kinds that
-- know no anchor: unit_start_windows (windows begin at the unit of the
-- calendar that the first event lies in, and of two weeks, three days),
-- usage_anchored_windows (windows begin with use) and local_date_to_instant
-- (dates, no periods).
\getenv dir PG_ABS_SRCDIR
\set file :dir '/data/reset_periods.json'
CREATE TEMP TABLE line (number serial, text text);
COPY line (text) FROM :'file' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02');
CREATE TEMP TABLE vector AS
WITH file AS (SELECT string_agg(text, E'\n' ORDER BY number)::jsonb AS body FROM line)
SELECT k.key AS kind, e.number, e.entry
FROM file, jsonb_each(file.body) AS k,
     LATERAL jsonb_array_elements(CASE WHEN k.key = 'derived_sequences' THEN k.value -> 'items' ELSE k.value END)
         WITH ORDINALITY AS e (entry, number)
WHERE k.key NOT IN ('rule', 'provenance');
SELECT kind, count(*) FROM vector GROUP BY kind ORDER BY kind COLLATE "C";

-- Durations that are one of our periods, or a number of them. Half a year is
-- two quarters where only boundaries are asked for; it is no period of ours.
CREATE TEMP TABLE duration (duration text PRIMARY KEY, period text, times int);
INSERT INTO duration VALUES
    ('PT1H', 'hourly', 1), ('PT3H', 'hourly', 3), ('P1D', 'daily', 1), ('P1W', 'weekly', 1), ('P1M', 'monthly', 1),
    ('P-3M', 'quarterly', -1), ('P3M', 'quarterly', 1), ('P6M', 'quarterly', 2), ('P1Y', 'yearly', 1), ('P2Y', 'yearly', 2);

-- The boundary that is n periods after the anchor: by steps of one period from
-- the anchor, forth or back.
CREATE FUNCTION pg_temp.boundary(period text, anchor timestamptz, n int, zone text DEFAULT 'UTC') RETURNS timestamptz
LANGUAGE sql AS $$
    WITH RECURSIVE step (n, at) AS (
        VALUES (0, anchor)
        UNION ALL
        SELECT step.n + 1,
               CASE WHEN boundary.n > 0 THEN (svc_period_at(period, anchor, step.at, zone)).ends_at
                    ELSE (svc_period_at(period, anchor, step.at - interval '1 microsecond', zone)).starts_at END
        FROM step WHERE step.n < abs(boundary.n))
    SELECT at FROM step ORDER BY n DESC LIMIT 1
$$;
-- A date is its beginning by the clock of the zone.
CREATE FUNCTION pg_temp.start_of(day text, zone text DEFAULT 'UTC') RETURNS timestamptz
LANGUAGE sql AS $$ SELECT day::date::timestamp AT TIME ZONE zone $$;
-- What was compared, and what came out otherwise.
CREATE TEMP TABLE compared (kind text, number bigint, what text, expected timestamptz, found timestamptz);

-- add_duration: a boundary. Left out: what is no number of periods (30 minutes,
-- 45 seconds, a composite, nothing).
INSERT INTO compared
SELECT kind, number, 'boundary', (entry ->> 'expect')::timestamptz,
       pg_temp.boundary(d.period, (entry ->> 'start')::timestamptz, d.times)
FROM vector JOIN duration d ON d.duration = entry ->> 'duration' WHERE kind = 'add_duration';

INSERT INTO compared
SELECT kind, number, w.what, w.expected, w.found
FROM vector JOIN duration d ON d.duration = entry ->> 'interval',
     svc_period_at(d.period, (entry ->> 'anchor')::timestamptz, (entry ->> 'at')::timestamptz) p,
     LATERAL (VALUES ('starts_at', (entry #>> '{expect,from}')::timestamptz, p.starts_at),
                     ('ends_at', (entry #>> '{expect,to}')::timestamptz, p.ends_at)) AS w (what, expected, found)
WHERE kind = 'period_at';

-- next_after: the end of the period, or, inclusive, an instant that is a
-- boundary; prev_before: the start, or, exclusive, the one before a boundary.
INSERT INTO compared
SELECT kind, number, entry ->> 'boundary', (entry ->> 'expect')::timestamptz,
       CASE WHEN kind = 'next_after' THEN
                CASE WHEN entry ->> 'boundary' = 'inclusive' AND p.starts_at = a.t THEN a.t ELSE p.ends_at END
            WHEN entry ->> 'boundary' = 'exclusive' AND p.starts_at = a.t THEN
                (svc_period_at(d.period, a.anchor, a.t - interval '1 microsecond')).starts_at
            ELSE p.starts_at END
FROM vector JOIN duration d ON d.duration = entry ->> 'interval',
     LATERAL (SELECT (entry ->> 'anchor')::timestamptz AS anchor, (entry ->> 't')::timestamptz AS t) a,
     svc_period_at(d.period, a.anchor, a.t) p
WHERE kind IN ('next_after', 'prev_before');

-- reset_timeline: the boundaries within the query, of entries with one anchor.
-- That a beginning counts as a reset is not for periods to say: left out are
-- instants that are no boundary, and entries with two anchors.
INSERT INTO compared
SELECT v.kind, v.number, 'boundary ' || b.n, b.expected,
       (svc_period_at('daily', r.anchor, CASE b.n WHEN 1 THEN b.expected ELSE
           lag(b.expected) OVER (PARTITION BY v.number ORDER BY b.n) END)).ends_at
       - CASE b.n WHEN 1 THEN interval '1 day' ELSE interval '0' END
FROM vector v,
     LATERAL (SELECT (entry #>> '{recurrences,0,anchor}')::timestamptz AS anchor) r,
     LATERAL (SELECT row_number() OVER (ORDER BY e.expected) AS n, e.expected
              FROM (SELECT e::timestamptz AS expected FROM jsonb_array_elements_text(entry -> 'expect') e) e
              WHERE e.expected <> (entry #>> '{recurrences,0,since}')::timestamptz) b
WHERE v.kind = 'reset_timeline' AND jsonb_array_length(entry -> 'recurrences') = 1;
INSERT INTO compared -- and no other lies between the last one and the end of the query
SELECT v.kind, v.number, 'last', (entry -> 'expect' ->> -1)::timestamptz,
       (svc_period_at('daily', (entry #>> '{recurrences,0,anchor}')::timestamptz, (entry #>> '{query,1}')::timestamptz)).starts_at
FROM vector v
WHERE v.kind = 'reset_timeline' AND jsonb_array_length(entry -> 'recurrences') = 1;
-- one of those with two asks for a period that lies before the second begins:
-- its start is of the first period, which is truncated, and so left out
INSERT INTO compared
SELECT kind, number, 'ends_at', (entry #>> '{expect,to}')::timestamptz,
       (svc_period_at('monthly', (entry #>> '{recurrences,0,anchor}')::timestamptz,
                      (entry #>> '{recurrences,0,since}')::timestamptz, entry ->> 'timezone')).ends_at
FROM vector WHERE kind = 'reset_timeline' AND entry ->> 'kind' = 'periodAt';

-- anniversary_period_containing: of half a year, the two quarters that an even
-- boundary begins
CREATE FUNCTION pg_temp.period_of(duration text, anchor timestamptz, at timestamptz, zone text,
                                  OUT starts_at timestamptz, OUT ends_at timestamptz)
LANGUAGE sql AS $$
    SELECT max(b.at) FILTER (WHERE b.at <= period_of.at), min(b.at) FILTER (WHERE b.at > period_of.at)
    FROM duration d, generate_series(0, 40) AS i,
         LATERAL (SELECT pg_temp.boundary(d.period, anchor, i * d.times, zone) AS at) b
    WHERE d.duration = period_of.duration AND duration = 'P6M'
    UNION ALL
    SELECT p.starts_at, p.ends_at FROM duration d, svc_period_at(d.period, anchor, at, zone) p
    WHERE d.duration = period_of.duration AND d.times = 1
    ORDER BY 1 NULLS LAST LIMIT 1
$$;
INSERT INTO compared
SELECT kind, number, w.what, w.expected, w.found
FROM vector,
     pg_temp.period_of(entry ->> 'interval', pg_temp.start_of(entry ->> 'subscribedOn'),
                       pg_temp.start_of(entry ->> 'on'), 'UTC') p,
     LATERAL (VALUES ('starts_at', pg_temp.start_of(entry #>> '{expect,from}'), p.starts_at),
                     ('ends_at', pg_temp.start_of(entry #>> '{expect,toInclusive}') + interval '1 day', p.ends_at)
             ) AS w (what, expected, found)
WHERE kind = 'anniversary_period_containing' AND w.expected IS NOT NULL;

-- last_closed_period and next_end_of_period: billing by the calendar is an
-- anchor on the first of a year, which is a Monday where weeks are asked for,
-- by the clock of the zone. The period that was closed last is the one before
-- the period of the day; the day is that of the clock in the zone. "To the last
-- second" is up to the next.
INSERT INTO compared
SELECT v.kind, v.number, w.what, w.expected, w.found
FROM vector v,
     LATERAL (SELECT entry ->> 'timezone' AS zone, (entry ->> 'asOf')::timestamptz AS at,
                     pg_temp.start_of(coalesce(entry ->> 'anchorDate', '2018-01-01'), entry ->> 'timezone') AS anchor) a,
     pg_temp.period_of(entry ->> 'interval', a.anchor, a.at, a.zone) now,
     pg_temp.period_of(entry ->> 'interval', a.anchor, now.starts_at - interval '1 microsecond', a.zone) p,
     LATERAL (VALUES ('starts_at', 'last_closed_period', (entry #>> '{expect,from}')::timestamptz, p.starts_at),
                     ('ends_at', 'last_closed_period',
                      (entry #>> '{expect,toInclusive}')::timestamptz + interval '1 second', p.ends_at),
                     ('next end', 'next_end_of_period',
                      (CASE v.kind WHEN 'next_end_of_period' THEN entry ->> 'expect' END)::timestamptz + interval '1 second',
                      now.ends_at)
             ) AS w (what, kind, expected, found)
WHERE v.kind = w.kind AND w.expected IS NOT NULL;

-- month_end_next_reset: those with an anchor on a boundary; another anchor, or
-- none, is what svc makes of a change of the anchor, not of periods
INSERT INTO compared
SELECT kind, number, 'next', pg_temp.start_of(entry ->> 'expectNextReset'),
       (svc_period_at('monthly', pg_temp.start_of(entry ->> 'anchor'), pg_temp.start_of(entry ->> 'currentReset'))).ends_at
FROM vector
WHERE kind = 'month_end_next_reset' AND entry ->> 'anchor' <> '2026-05-15';

-- derived_sequences: one after the other, and each computed from the anchor alone
INSERT INTO compared
SELECT v.kind, v.number, 'boundary ' || b.n - 1, pg_temp.start_of(b.day),
       pg_temp.boundary(d.period, pg_temp.start_of(entry ->> 'anchor'), b.n::int - 1)
FROM vector v JOIN duration d ON d.duration = entry ->> 'interval',
     jsonb_array_elements_text(entry -> 'expect') WITH ORDINALITY AS b (day, n)
WHERE v.kind = 'derived_sequences';

-- how many were compared, of how many entries; and what came out otherwise: nothing
SELECT v.kind, count(DISTINCT v.number) AS entries, count(DISTINCT c.number) AS used, count(c.kind) AS compared
FROM vector v LEFT JOIN compared c USING (kind, number)
GROUP BY v.kind ORDER BY v.kind COLLATE "C";
SELECT * FROM compared WHERE expected IS DISTINCT FROM found;
SELECT v.kind, v.number, coalesce(v.entry ->> 'name', v.entry ->> 'duration') AS not_used
FROM vector v LEFT JOIN compared c USING (kind, number) WHERE c.kind IS NULL ORDER BY 1, 2;

-- what it looks like: the boundaries belong to the period that they begin
SELECT * FROM svc_period_at('monthly', '2024-01-31Z', '2024-02-28 23:59:59.999999Z');
SELECT * FROM svc_period_at('monthly', '2024-01-31Z', '2024-02-29Z');
SELECT * FROM svc_period_at('monthly', '2024-01-31Z', '2024-03-31Z');
-- before the anchor
SELECT * FROM svc_period_at('monthly', '2024-01-31Z', '2023-02-28Z');
SELECT * FROM svc_period_at('monthly', '2024-01-31Z', '2023-02-27 23:59:59.999999Z');
-- never, and nulls
SELECT * FROM svc_period_at('never', '2024-01-31Z', '2024-02-28Z');
SELECT * FROM svc_period_at(NULL, '2024-01-31Z', '2024-02-28Z');
SELECT * FROM svc_period_at('monthly', NULL, '2024-02-28Z');
SELECT * FROM svc_period_at('monthly', '2024-01-31Z', NULL);
SELECT * FROM svc_period_at('monthly', '2024-01-31Z', '2024-02-28Z', NULL);

-- Europe/Berlin puts its clock forward on 2024-03-31 from 2:00 to 3:00, and
-- back on 2024-10-27 from 3:00 to 2:00. A day may have 23 or 25 hours.
SELECT d.day, p.starts_at, p.ends_at, p.ends_at - p.starts_at AS length
FROM (VALUES ('2024-03-30'), ('2024-03-31'), ('2024-04-01'), ('2024-10-26'), ('2024-10-27'), ('2024-10-28')) AS d (day),
     svc_period_at('daily', '2024-01-01 00:00 Europe/Berlin', (d.day || ' 12:00 Europe/Berlin')::timestamptz, 'Europe/Berlin') p;
-- A boundary that the clock skips, and one that it passes twice: as the server
-- reads such a local time.
SELECT p.starts_at AT TIME ZONE 'Europe/Berlin' AS local, p.starts_at, p.starts_at = '2024-03-31 02:30 Europe/Berlin' AS as_server
FROM svc_period_at('daily', '2024-01-01 02:30 Europe/Berlin', '2024-03-31 12:00 Europe/Berlin', 'Europe/Berlin') p;
SELECT p.starts_at AT TIME ZONE 'Europe/Berlin' AS local, p.starts_at, p.starts_at = '2024-10-27 02:30 Europe/Berlin' AS as_server
FROM svc_period_at('daily', '2024-01-01 02:30 Europe/Berlin', '2024-10-27 12:00 Europe/Berlin', 'Europe/Berlin') p;
-- the day after, the clock shows the hour of the anchor again
SELECT p.ends_at AT TIME ZONE 'Europe/Berlin' AS local
FROM svc_period_at('daily', '2024-01-01 02:30 Europe/Berlin', '2024-03-31 12:00 Europe/Berlin', 'Europe/Berlin') p;
-- hours are 3,600 seconds long, whatever a clock does: 23 of them on one day, 25 on the other
SELECT d.day, count(*), count(DISTINCT p.starts_at), min(p.ends_at - p.starts_at), max(p.ends_at - p.starts_at)
FROM (VALUES ('2024-03-31'), ('2024-10-27')) AS d (day),
     generate_series((d.day || ' 00:00 Europe/Berlin')::timestamptz, (d.day || ' 23:45 Europe/Berlin')::timestamptz, interval '15 minutes') AS at,
     svc_period_at('hourly', '2024-01-01 00:00 Europe/Berlin', at, 'Europe/Berlin') p
GROUP BY d.day ORDER BY d.day;
-- Apia had no 2011-12-30: its clock went from the end of the 29th to the 31st.
SELECT d.day, p.starts_at, p.ends_at, p.ends_at - p.starts_at AS length
FROM (VALUES ('2011-12-29'), ('2011-12-31'), ('2012-01-01')) AS d (day),
     svc_period_at('daily', '2011-12-01 00:00 Pacific/Apia', (d.day || ' 12:00 Pacific/Apia')::timestamptz, 'Pacific/Apia') p;
SELECT p.starts_at AT TIME ZONE 'Pacific/Apia' AS starts, p.ends_at AT TIME ZONE 'Pacific/Apia' AS ends
FROM svc_period_at('monthly', '2011-10-30 00:00 Pacific/Apia', '2012-01-01 12:00 Pacific/Apia', 'Pacific/Apia') p;

-- Everywhere: each instant lies in its period, periods adjoin, and the period
-- of a boundary begins there. Zero rows.
SELECT z.zone, k.period, a.anchor, i.at, p.*
FROM (VALUES ('UTC'), ('Europe/Berlin'), ('America/New_York'), ('Pacific/Apia'), ('Australia/Lord_Howe'), ('Asia/Kathmandu')) AS z (zone),
     (VALUES ('hourly'), ('daily'), ('weekly'), ('monthly'), ('quarterly'), ('yearly')) AS k (period),
     (VALUES ('2024-02-29 02:30Z'::timestamptz), ('2023-12-31 23:59:59.999999Z'), ('1900-01-01 00:15Z'), ('2040-05-31 12:00Z')) AS a (anchor),
     LATERAL (SELECT '2011-12-28Z'::timestamptz + n * interval '37 days 5 hours 7 minutes' AS at FROM generate_series(0, 40) AS n) i,
     svc_period_at(k.period, a.anchor, i.at, z.zone) p,
     svc_period_at(k.period, a.anchor, p.ends_at, z.zone) next,
     svc_period_at(k.period, a.anchor, p.starts_at - interval '1 microsecond', z.zone) before
WHERE NOT coalesce(i.at >= p.starts_at AND i.at < p.ends_at AND next.starts_at = p.ends_at AND before.ends_at = p.starts_at, false);

-- the ends of time: the year 1 BC is a leap year; what is out of range is an infinity
SELECT * FROM svc_period_at('yearly', '0001-02-28 BC', '0001-02-29 12:00 BC');
SELECT * FROM svc_period_at('monthly', '2024-01-31Z', '0001-02-29Z BC');
SELECT * FROM svc_period_at('hourly', '2024-01-31Z', '0001-02-29Z BC');
SELECT period, p.*
FROM unnest(ARRAY['hourly', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly']) AS period,
     svc_period_at(period, '2024-01-31Z', '294276-12-31 23:59:59.999999Z') p;
SELECT period, p.*
FROM unnest(ARRAY['hourly', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly']) AS period,
     svc_period_at(period, '2024-01-31Z', '4714-11-24Z BC') p;
SELECT period, p.*
FROM unnest(ARRAY['hourly', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly']) AS period,
     svc_period_at(period, '294276-12-31 23:59:59.999999Z', '4714-11-24Z BC') p;
SELECT period, p.*
FROM unnest(ARRAY['hourly', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly']) AS period,
     svc_period_at(period, '4714-11-24Z BC', '294276-12-31 23:59:59.999999Z') p;

-- refusals
SELECT svc_period_at('fortnightly', '2024-01-31Z', '2024-02-28Z');
\echo :SQLSTATE
SELECT svc_period_at('Monthly', '2024-01-31Z', '2024-02-28Z');
SELECT svc_period_at('', '2024-01-31Z', '2024-02-28Z');
SELECT svc_period_at('monthly', '2024-01-31Z', '2024-02-28Z', 'Europe/Atlantis');
\echo :SQLSTATE
SELECT svc_period_at('monthly', '2024-01-31Z', '2024-02-28Z', '');
SELECT svc_period_at('monthly', 'infinity', '2024-02-28Z');
\echo :SQLSTATE
SELECT svc_period_at('monthly', '2024-01-31Z', '-infinity');
\echo :SQLSTATE

-- The session's own time zone makes no difference. Zero rows.
CREATE TEMP TABLE seen AS
SELECT k.period, i.n, p.*
FROM unnest(ARRAY['hourly', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly']) AS k (period), generate_series(0, 30) AS i (n),
     svc_period_at(k.period, '2024-01-31 02:30Z', '2024-01-01Z'::timestamptz + i.n * interval '313 hours', 'Europe/Berlin') p;
SELECT count(*) FROM seen;
CREATE PROCEDURE pg_temp.compare(zone text) LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    PERFORM set_config('timezone', zone, true);
    FOR r IN SELECT s.* FROM seen s,
                    svc_period_at(s.period, '2024-01-31 02:30Z', '2024-01-01 00:00Z'::timestamptz + s.n * interval '313 hours', 'Europe/Berlin') p
             WHERE (s.starts_at, s.ends_at) IS DISTINCT FROM (p.starts_at, p.ends_at) LOOP
        RAISE WARNING '% % %', zone, r.period, r.n;
    END LOOP;
END $$;
CALL pg_temp.compare('America/New_York');
CALL pg_temp.compare('Pacific/Apia');
CALL pg_temp.compare('Asia/Kathmandu');

RESET client_min_messages;
DROP EXTENSION svc;
