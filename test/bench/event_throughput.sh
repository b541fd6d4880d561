#!/usr/bin/env bash
#
# Question: what does an event cost 8 clients that change statuses, each in a
# transaction of its own, with and without NOTIFY, against the same change
# without event?
#
# All on svc_customer with svc's BEFORE trigger; "no event" has the AFTER
# trigger disabled. Rounds are interleaved; medians of transactions per second.
# Settings: ROUNDS=5 SECONDS_EACH=5 CLIENTS=8

set -euo pipefail
rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-5} clients=${CLIENTS:-8}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

psql -qX -o /dev/null <<SQL
INSERT INTO svc_customer (id, name, status)
SELECT 'cus_' || i, 'Customer ' || i, 'active' FROM generate_series(1, 10000) i;
VACUUM ANALYZE svc_customer;
SQL
cat > "$work/change.sql" <<'SQL'
\set n random(1, 10000)
UPDATE svc_customer SET status = CASE status WHEN 'active' THEN 'suspended' ELSE 'active' END WHERE id = 'cus_' || :n;
SQL

run() { # name, value of svc.notify, ENABLE or DISABLE
    psql -qXc "ALTER TABLE svc_customer $3 TRIGGER zzz_svc_event_update"
    PGOPTIONS="-c svc.notify=$2" pgbench -n -c "$clients" -j 2 -T "$seconds" -f "$work/change.sql" 2>/dev/null |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p' >> "$work/$1"
}
median() { sort -n "$work/$1" | awk '{ v[NR] = $1 } END { printf "%.0f", v[int((NR + 1) / 2)] }'; }

for ((i = 0; i < rounds; i++)); do
    run none off DISABLE
    run log off ENABLE
    run bell on ENABLE
done

printf '\n%s clients change statuses, one a transaction; synchronous_commit on; medians of %s rounds of %s s, per second\n' \
    "$clients" "$rounds" "$seconds"
awk -v none="$(median none)" -v log_="$(median log)" -v bell="$(median bell)" 'BEGIN {
    printf "  no event %d\n", none
    printf "  event log, no NOTIFY %d: ratio %.2f, goal >= 0.85\n", log_, log_ / none
    printf "  event log and NOTIFY %d: ratio %.2f\n\n", bell, bell / none
}'
