#!/usr/bin/env bash
#
# Question: how many checks a second do 8 clients get, against the same work in
# SQL, the customer's gate joined to the grant?
#
# On the same tables, both prepared. Rounds are interleaved; medians of
# transactions per second. Settings: ROUNDS=7 CUSTOMERS=20000 SECONDS_EACH=4

set -euo pipefail
rounds=${ROUNDS:-7} customers=${CUSTOMERS:-20000} seconds=${SECONDS_EACH:-4}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. ./by_hand.inc
psql -qX -v ON_ERROR_STOP=1 -o /dev/null -c "CALL make_customers($customers)" -c "VACUUM ANALYZE"
cat > "$work/svc.sql" <<SQL
\\set n random(1, $customers)
SELECT * FROM svc_check_entitlement('cus_' || :n, 'api_calls', 1);
SQL
cat > "$work/hand.sql" <<SQL
\\set n random(1, $customers)
SELECT coalesce(k.status NOT IN ('suspended', 'churned', 'merged', 'deleted'), false) AND coalesce(e.remaining >= 1, false) AS allowed,
    CASE WHEN k.status IN ('suspended', 'churned', 'merged', 'deleted') THEN 'customer_inactive' WHEN e.id IS NULL THEN 'no_entitlement'
         WHEN e.remaining >= 1 THEN 'ok' ELSE 'limit_exceeded' END AS reason, e.remaining, e.reset_at, e.value, e.id
FROM svc_customer k LEFT JOIN LATERAL (SELECT e.id, limit_amount + rollover_amount - used_amount - held_amount AS remaining, reset_at, value
    FROM svc_entitlement e WHERE e.customer_id = k.id AND e.code = 'api_calls' AND e.status IN ('active', 'exhausted')
      AND (valid_from IS NULL OR valid_from <= now()) AND (valid_until IS NULL OR valid_until > now())) e ON true
WHERE k.id = 'cus_' || :n;
SQL
for ((i = 0; i < rounds; i++)); do
    for side in hand svc; do
        throughput 8 "$seconds" "$work/$side.sql" >> "$work/$side.tps"
    done
done
awk -v r="$rounds" -v svc="$(median "$work/svc.tps")" -v hand="$(median "$work/hand.tps")" 'BEGIN {
    printf "\n8 clients check, per second; medians of %d rounds\n", r
    printf "  gate joined to grant %d, svc %d: ratio %.2f, goal >= 0.95\n\n", hand, svc, svc / hand
}'
