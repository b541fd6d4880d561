#!/usr/bin/env bash
#
# Question: what does rolling up, every two seconds, cost 8 clients that record usage, each
# record in a transaction of its own? And what does a record cost, per call inside a
# transaction, against a prepared INSERT with the same key and a check of the customer?
#
# Rounds are interleaved; medians. Settings: ROUNDS=5 SECONDS_EACH=5 CLIENTS=8 ROLL_UP_EVERY=2

set -euo pipefail
rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-5} clients=${CLIENTS:-8} every=${ROLL_UP_EVERY:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

psql -qX -v ON_ERROR_STOP=1 -o /dev/null <<'SQL'
SET client_min_messages = warning;
INSERT INTO svc_customer (id, name, status, created_at)
SELECT 'cus_' || i, 'Customer ' || i, 'active', '2020-01-01Z' FROM generate_series(1, 10000) i;
VACUUM ANALYZE svc_customer;
CREATE TABLE reference (LIKE svc_usage INCLUDING ALL);
ALTER TABLE reference ALTER revision SET DEFAULT 0, ALTER created_at SET DEFAULT now(), ALTER updated_at SET DEFAULT now(),
    ALTER booked_at SET DEFAULT now(), ALTER xid SET DEFAULT pg_current_xact_id(), ALTER cluster SET DEFAULT 1;
CREATE TABLE measured (what text, us numeric);
-- 10,000 records, of a customer each
CREATE PROCEDURE record_by_svc(turn text) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
BEGIN
    FOR i IN 1 .. 10000 LOOP
        PERFORM svc_record_usage('cus_' || i, 'api_calls', 1, NULL, turn);
    END LOOP;
    INSERT INTO measured VALUES ('svc', 100 * extract(epoch FROM clock_timestamp() - start));
END $$;
CREATE PROCEDURE record_by_hand(turn text) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
    customer text;
    made text;
BEGIN
    FOR i IN 1 .. 10000 LOOP
        customer := 'cus_' || i;
        INSERT INTO reference (customer_id, resource, quantity, occurred_at, idempotency_key)
        SELECT c.id, 'api_calls', 1, now(), turn FROM svc_customer c
        WHERE c.id = customer AND c.status NOT IN ('merged', 'deleted') FOR KEY SHARE OF c
        ON CONFLICT (customer_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING id INTO made;
    END LOOP;
    INSERT INTO measured VALUES ('by hand', 100 * extract(epoch FROM clock_timestamp() - start));
END $$;
SQL
for ((i = 0; i < rounds * 3; i++)); do
    psql -qX -c "CALL record_by_hand('k$i')" -c "CALL record_by_svc('k$i')"
done
printf '\nA record, per call inside a transaction, microseconds; medians of %s rounds of 10,000\n' $((rounds * 3))
psql -X -P footer=off -c "
    WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY us) AS us FROM measured GROUP BY what)
    SELECT round(s.us::numeric, 1) AS svc, round(h.us::numeric, 1) AS by_hand, round((s.us / h.us)::numeric, 2) AS ratio, '<= 1.2' AS goal
    FROM m s, m h WHERE s.what = 'svc' AND h.what = 'by hand'"

cat > "$work/record.sql" <<'SQL'
\set n random(1, 10000)
SELECT svc_record_usage('cus_' || :n, 'api_calls', 1);
SQL
run() { # name
    pgbench -n -c "$clients" -j 2 -T "$seconds" -f "$work/record.sql" 2>/dev/null |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p' >> "$work/$1"
}
median() { sort -n "$work/$1" | awk '{ v[NR] = $1 } END { printf "%.0f", v[int((NR + 1) / 2)] }'; }

for ((i = 0; i < rounds; i++)); do
    psql -qXc 'SELECT svc_aggregate_usage()' -o /dev/null
    run alone
    psql -qXc 'SELECT svc_aggregate_usage()' -o /dev/null
    (for ((s = 0; s < seconds; s += every)); do echo "SELECT pg_sleep($every); SELECT svc_aggregate_usage();"; done | psql -qX -o /dev/null) &
    run beside
    wait
done
printf '%s clients record usage, one a transaction; synchronous_commit on; medians of %s rounds of %s s, per second\n' \
    "$clients" "$rounds" "$seconds"
awk -v every="$every" -v alone="$(median alone)" -v beside="$(median beside)" 'BEGIN {
    printf "  alone %d\n  with a roll-up every " every " s beside them %d: ratio %.2f, goal >= 0.8\n\n", alone, beside, beside / alone
}'
