-- Promise: ids, codes, keys, names and schemas with quotes, spaces, backslashes,
-- control characters and any script are data, everywhere.
\pset format unaligned
CREATE SCHEMA "a b.c";
CREATE EXTENSION svc SCHEMA "a b.c";
SELECT "a b.c".svc_install();
CREATE TEMP TABLE odd (n int, t text);
INSERT INTO odd VALUES (1, 'a''b'), (2, 'a"b'), (3, 'a\b'), (4, 'a b'), (5, E'a\nb\tc\x01'), (6, '$1; DROP TABLE x; --'),
    (7, '@extschema@'), (8, '%s %n'), (9, 'Zoë 顧客 🙂'), (10, '{"a":1}'), (11, '   ');
SELECT n, "a b.c".svc_create_customer(jsonb_build_object('id', t, 'name', t, 'attributes', jsonb_build_object(t, t))) = t AS made
FROM odd ORDER BY n;
SELECT n, "a b.c".svc_grant_entitlement(t, t, 1, id => t, source_id => t, name => t) = t AS granted FROM odd ORDER BY n;
SELECT n, (c).allowed, (c).entitlement_id = t AS same, (c).replayed
FROM (SELECT n, t, "a b.c".svc_consume_entitlement(t, t, 1, t, metadata => to_jsonb(t)) AS c FROM odd ORDER BY n) x;
SELECT n, (c).allowed, (c).entitlement_id = t AS same, (c).replayed
FROM (SELECT n, t, "a b.c".svc_consume_entitlement(t, t, 1, t) AS c FROM odd ORDER BY n) x;
-- all of it arrived, unharmed
SELECT count(*) FROM odd
JOIN "a b.c".svc_customer c ON c.id = t AND c.name = t AND c.attributes ->> t = t
JOIN "a b.c".svc_entitlement e ON e.customer_id = t AND e.id = t AND e.code = t AND e.used_amount = 1
JOIN "a b.c".svc_entitlement_ledger l ON l.customer_id = t AND l.idempotency_key = t AND l.metadata #>> '{}' = t
     AND l.request ->> 'code' = t AND l.answer ->> 'entitlement_id' = t
JOIN "a b.c".svc_event v ON v.customer_id = t AND v.entity_id = t AND v.event = 'exhausted';
UPDATE "a b.c".svc_customer SET status = 'churned' WHERE id = 'a''b';
UPDATE "a b.c".svc_customer SET status = 'active' WHERE id = 'a"b';
UPDATE "a b.c".svc_customer SET name = E'new \\ "name"\n' WHERE id = 'a\b';
SELECT changes FROM "a b.c".svc_event WHERE customer_id = 'a\b' AND event = 'updated';
-- a user's column is a property and is reported
ALTER TABLE "a b.c".svc_customer ADD COLUMN "Mood ""of"" day" text;
SELECT "a b.c".svc_create_customer('{"id": "m", "name": "M", "Mood \"of\" day": "fine"}');
UPDATE "a b.c".svc_customer SET "Mood ""of"" day" = 'better' WHERE id = 'm';
SELECT changes FROM "a b.c".svc_event WHERE customer_id = 'm' AND event = 'updated';
SET client_min_messages = warning;
DROP SCHEMA "a b.c" CASCADE;
