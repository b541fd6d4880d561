-- Promise: the lifecycles compiled into the library are those of the design,
-- line by line (test/data/transitions.csv).
CREATE EXTENSION svc;
SET client_min_messages = warning;
CREATE TEMP TABLE csv (line int GENERATED ALWAYS AS IDENTITY, noun text, action text,
                       from_status text, to_status text, events text, origin text, guard text);
\getenv dir PG_ABS_SRCDIR
\set file :dir '/data/transitions.csv'
COPY csv (noun, action, from_status, to_status, events, origin, guard)
FROM :'file' WITH (FORMAT csv, HEADER true);

CREATE TEMP VIEW expected AS
SELECT line, noun, action, f AS from_status,
       CASE to_status WHEN '=' THEN f ELSE to_status END AS to_status,
       string_to_array(events, '+') AS events, nullif(guard, '') AS guard
FROM csv, LATERAL unnest(CASE from_status WHEN '-' THEN ARRAY[NULL]
                         ELSE string_to_array(from_status, '|') END) AS f;

SELECT count(*) > 100 AS many_lines, count(DISTINCT noun) AS nouns FROM csv;
-- in one and not in the other: nothing, both ways
SELECT 'only in the design' AS where, * FROM (TABLE expected EXCEPT SELECT * FROM svc_transitions()) d
UNION ALL
SELECT 'only in the library', * FROM (SELECT * FROM svc_transitions() EXCEPT TABLE expected) l
ORDER BY 1, 2, 5;

-- what it looks like
SELECT line, action, from_status, to_status, events FROM svc_transitions()
WHERE noun = 'entitlement' AND action = 'consume';
DROP EXTENSION svc;
