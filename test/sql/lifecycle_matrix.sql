-- Promise: for every noun and every pair of statuses, a plain UPDATE or INSERT
-- is allowed exactly if a line of the design's table allows it, makes the
-- events of the first such line, and is otherwise refused with SV001.
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET client_min_messages = warning;
SET search_path = svc;
SELECT svc_install() \g /dev/null
CREATE TEMP TABLE csv (line int GENERATED ALWAYS AS IDENTITY, noun text, action text,
                       from_status text, to_status text, events text, origin text, guard text);
\getenv dir PG_ABS_SRCDIR
\set file :dir '/data/transitions.csv'
COPY csv (noun, action, from_status, to_status, events, origin, guard)
FROM :'file' WITH (FORMAT csv, HEADER true);
CREATE TEMP TABLE allowed AS
SELECT line, noun, action, f AS from_status,
       CASE to_status WHEN '=' THEN f ELSE to_status END AS to_status,
       string_to_array(events, '+') AS events
FROM csv, LATERAL unnest(CASE from_status WHEN '-' THEN ARRAY[NULL]
                         ELSE string_to_array(from_status, '|') END) AS f;
CREATE TEMP TABLE statuses AS
SELECT DISTINCT noun, to_status AS status FROM allowed;

-- what a row of each noun needs at least; $1 is its id
CREATE FUNCTION columns_of(of_noun text, OUT c text, OUT v text) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT 'id', '$1'
    UNION ALL SELECT 'customer_id', '''owner''' WHERE of_noun NOT IN ('customer', 'plan', 'customer_segment')
    UNION ALL SELECT 'name', '''n''' WHERE of_noun IN ('customer', 'plan', 'customer_segment', 'entitlement')
    UNION ALL SELECT 'automated', 'false' WHERE of_noun = 'customer_segment'
    UNION ALL SELECT k.c, k.v FROM (VALUES
        ('entitlement', 'code', '$1'), ('entitlement', 'limit_amount', '5'),
        ('plan', 'price', '1'), ('subscription', 'price', '1'), ('subscription', 'plan_id', '''plan'''),
        ('subscription', 'billing_cycle', '''monthly'''), ('subscription', 'allow_duplicate', 'true'),
        ('order', 'total', '1'), ('invoice', 'total', '2'),
        ('customer_usage', 'period_type', '''day'''),
        ('customer_usage', 'period_start', 'timestamptz ''epoch'' + make_interval(mins => hashtext($1))'),
        ('customer_usage', 'period_end', 'timestamptz ''epoch'' + make_interval(mins => hashtext($1) + 1)'),
        ('support_ticket', 'subject', '''s'''), ('usage', 'resource', '''r'''), ('usage', 'quantity', '1'),
        ('usage', 'booked_at', '''epoch'''), ('usage', 'xid', '''3'''), ('usage', 'cluster', '0'))
        AS k (n, c, v) WHERE n = of_noun
$$;
-- put a row into a status: as a restored one, which makes no event
CREATE PROCEDURE put_row(noun text, row_id text, row_status text, row_revision bigint)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I (%s, status, revision, created_at, updated_at%s)
                        SELECT %s, $2, $3, ''epoch'', ''epoch''%s', 'svc_' || noun,
                   (SELECT string_agg(c, ', ') FROM columns_of(noun)),
                   CASE noun WHEN 'invoice' THEN ', amount_due' ELSE '' END,
                   (SELECT string_agg(v, ', ') FROM columns_of(noun)),
                   CASE noun WHEN 'invoice' THEN ', 2' ELSE '' END)
    USING row_id, row_status, row_revision;
END $$;
-- change its status; so that the guard of the line holds
CREATE PROCEDURE change_row(noun text, row_id text, new_status text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('UPDATE %I SET status = $1 %s WHERE id = $2', 'svc_' || noun,
                   CASE noun || ' ' || new_status
                       WHEN 'entitlement exhausted' THEN ', limit_amount = 0'
                       WHEN 'entitlement active' THEN ', limit_amount = 7, valid_until = NULL'
                       WHEN 'entitlement expired' THEN ', valid_until = ''epoch'''
                       WHEN 'invoice overdue' THEN ', due_date = ''epoch'''
                       WHEN 'usage billed' THEN ', invoice_id = ''invoice'''
                       ELSE '' END)
    USING new_status, row_id;
END $$;
CALL put_row('customer', 'owner', 'active', 1);
CALL put_row('plan', 'plan', 'active', 1);
CALL put_row('invoice', 'invoice', 'open', 1);
-- what plain SQL cannot mean: a merge moves rows, a partial payment has an amount
DELETE FROM allowed WHERE from_status IS NOT NULL AND (noun, to_status) IN (('customer', 'merged'), ('invoice', 'partial'))
    AND from_status <> to_status;

CREATE TEMP TABLE outcome (noun text, from_status text, to_status text, sqlstate text, events text[],
                           revisions bigint[], sides boolean);
DO $$
DECLARE
    p record;
    row_id text;
    n int := 0;
BEGIN
    FOR p IN SELECT a.noun, a.status AS from_status, b.status AS to_status
             FROM statuses a JOIN statuses b USING (noun) WHERE a.status <> b.status LOOP
        n := n + 1;
        row_id := 'r' || n;
        CALL put_row(p.noun, row_id, p.from_status, 7);
        BEGIN
            CALL change_row(p.noun, row_id, p.to_status);
            INSERT INTO outcome
            SELECT p.noun, p.from_status, p.to_status, '00000',
                   array_agg(e.event ORDER BY e.revision), array_agg(e.revision ORDER BY e.revision),
                   bool_and(CASE e.revision WHEN 8 THEN e.from_status = p.from_status
                            ELSE e.from_status = e.to_status END AND e.to_status = p.to_status)
            FROM svc_event e WHERE e.noun = p.noun AND e.entity_id = row_id;
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO outcome VALUES (p.noun, p.from_status, p.to_status, SQLSTATE);
        END;
    END LOOP;
END $$;

SELECT noun, count(*) AS pairs, count(*) FILTER (WHERE sqlstate = '00000') AS allowed,
       count(*) FILTER (WHERE sqlstate = 'SV001') AS refused
FROM outcome GROUP BY noun ORDER BY noun COLLATE "C";

-- differences from the table: none
WITH first_line AS (
    SELECT DISTINCT ON (noun, from_status, to_status) noun, from_status, to_status, events
    FROM allowed WHERE from_status IS NOT NULL AND from_status <> to_status
    ORDER BY noun, from_status, to_status, line)
SELECT o.noun, o.from_status, o.to_status, o.sqlstate, o.events, f.events AS expected
FROM outcome o LEFT JOIN first_line f USING (noun, from_status, to_status)
WHERE (f.noun IS NULL) <> (o.sqlstate = 'SV001')
   OR o.sqlstate NOT IN ('00000', 'SV001')
   OR (o.sqlstate = '00000' AND (o.events IS DISTINCT FROM f.events OR NOT o.sides
       OR o.revisions <> (ARRAY[8, 9]::bigint[])[:cardinality(f.events)]));

-- creation: allowed with the statuses of lines that start from nothing (a new
-- usage record is quiet)
TRUNCATE outcome;
DO $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT noun, status FROM statuses LOOP
        BEGIN
            EXECUTE format('INSERT INTO %I (%s, status) SELECT %s, $2', 'svc_' || p.noun,
                           (SELECT string_agg(c, ', ') FROM columns_of(p.noun)),
                           (SELECT string_agg(v, ', ') FROM columns_of(p.noun)))
            USING 'new ' || p.status, p.status;
            INSERT INTO outcome
            SELECT p.noun, NULL, p.status, '00000', array_agg(e.event), array_agg(e.revision),
                   bool_and(e.from_status IS NULL)
            FROM svc_event e WHERE e.noun = p.noun AND e.entity_id = 'new ' || p.status;
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO outcome VALUES (p.noun, NULL, p.status, SQLSTATE);
        END;
    END LOOP;
END $$;
SELECT o.noun, o.to_status, o.sqlstate, o.events, a.events AS expected
FROM outcome o LEFT JOIN allowed a ON a.noun = o.noun AND a.to_status = o.to_status AND a.from_status IS NULL
WHERE (a.noun IS NULL) <> (o.sqlstate = 'SV001')
   OR o.sqlstate NOT IN ('00000', 'SV001')
   OR (o.sqlstate = '00000' AND (o.events IS DISTINCT FROM a.events OR NOT o.sides OR o.revisions <> '{1}') AND a.noun <> 'usage');
SELECT count(*) FILTER (WHERE sqlstate = '00000') AS allowed,
       count(*) FILTER (WHERE sqlstate = 'SV001') AS refused FROM outcome;

DROP SCHEMA svc CASCADE;
