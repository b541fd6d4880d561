-- Question: what does svc_check_entitlement() cost per call inside a query,
-- against the same work in SQL: the customer's gate joined to the grant, and
-- the same columns in the answer?
--
-- Both on the same tables; each side looks at every customer once, in random
-- order, by its own index descents (OFFSET 0 keeps the reference from becoming
-- a hash join over all). plpgsql by hand stands beside for orientation. Rounds
-- are interleaved; medians. Settings: -v customers=20000 -v rounds=7
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
\if :{?customers} \else \set customers 20000
\endif
\if :{?rounds} \else \set rounds 7
\endif

INSERT INTO svc_customer (id, name, status, email, company, country)
SELECT 'cus_' || i, 'Customer ' || i, 'active', 'c' || i || '@example.com', 'Company ' || i, 'DE' FROM generate_series(1, :customers) i;
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount)
SELECT 'cus_' || i, 'ent_' || c, c, c, 1000000 FROM generate_series(1, :customers) i, unnest(ARRAY['api_calls', 'seats', 'tokens']) c;
CREATE TABLE ids AS SELECT id COLLATE "C" AS id FROM svc_customer ORDER BY md5(id);
VACUUM ANALYZE;

CREATE FUNCTION check_by_hand(customer text, wanted text, amount numeric) RETURNS svc_decision LANGUAGE plpgsql STABLE AS $$
DECLARE
    d svc_decision;
    g record;
BEGIN
    SELECT status INTO g FROM svc_customer WHERE id = customer;
    IF NOT FOUND OR g.status IN ('suspended', 'churned', 'merged', 'deleted') THEN
        d.allowed := false;
        d.reason := 'customer_inactive';
        RETURN d;
    END IF;
    SELECT e.id, limit_amount + rollover_amount - used_amount - held_amount AS remaining, e.reset_at, e.value INTO g
    FROM svc_entitlement e WHERE customer_id = customer AND code = wanted AND status IN ('active', 'exhausted')
      AND (valid_from IS NULL OR valid_from <= now()) AND (valid_until IS NULL OR valid_until > now());
    d.allowed := FOUND AND g.remaining >= amount;
    d.reason := CASE WHEN NOT FOUND THEN 'no_entitlement' WHEN d.allowed THEN 'ok' ELSE 'limit_exceeded' END;
    d.remaining := g.remaining;
    d.reset_at := g.reset_at;
    d.value := g.value;
    d.entitlement_id := g.id;
    RETURN d;
END $$;

CREATE TABLE measured (what text, us numeric);
CREATE PROCEDURE measure(what text, statement text, calls int) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
BEGIN
    EXECUTE statement;
    INSERT INTO measured VALUES (what, 1e6 * extract(epoch FROM clock_timestamp() - start) / calls);
    COMMIT;
END $$;

-- a function is called once for each row of a subquery that is not flattened
SELECT format('CALL measure(%L, %L, %s)', what, format('SELECT count(*) FILTER (WHERE (d).allowed), sum((d).remaining) FROM (SELECT %s FROM ids%s) x', d, source), :customers)
FROM generate_series(1, :rounds), (VALUES
    ('svc', $$svc_check_entitlement(ids.id, 'api_calls', 1) AS d$$, ' OFFSET 0'),
    ('sql', $$s AS d$$, $$, LATERAL (SELECT coalesce(k.status NOT IN ('suspended', 'churned', 'merged', 'deleted'), false) AND coalesce(e.remaining >= 1, false) AS allowed,
         CASE WHEN k.status IN ('suspended', 'churned', 'merged', 'deleted') THEN 'customer_inactive' WHEN e.id IS NULL THEN 'no_entitlement'
              WHEN e.remaining >= 1 THEN 'ok' ELSE 'limit_exceeded' END AS reason, e.remaining, e.reset_at, e.value, e.id
      FROM svc_customer k LEFT JOIN LATERAL (SELECT e.id, limit_amount + rollover_amount - used_amount - held_amount AS remaining, reset_at, value
           FROM svc_entitlement e WHERE e.customer_id = k.id AND e.code = 'api_calls' AND e.status IN ('active', 'exhausted')
             AND (valid_from IS NULL OR valid_from <= now()) AND (valid_until IS NULL OR valid_until > now())) e ON true
      WHERE k.id = ids.id OFFSET 0) s$$),
    ('plpgsql', $$check_by_hand(ids.id, 'api_calls', 1) AS d$$, ' OFFSET 0')) AS s (what, d, source) \gexec

\echo
\echo A check inside a query, :customers calls; medians of :rounds rounds, microseconds per call
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY us) AS us FROM measured GROUP BY what)
SELECT round(a.us::numeric, 2) AS svc, round(b.us::numeric, 2) AS "gate joined to grant", round(c.us::numeric, 2) AS "plpgsql by hand",
       round((a.us / b.us)::numeric, 2) AS ratio, '<= 0.6' AS goal
FROM m a, m b, m c WHERE a.what = 'svc' AND b.what = 'sql' AND c.what = 'plpgsql';
