#!/usr/bin/env bash
#
# Question: what does svc_consume_entitlement() cost with an idempotency key,
# against equal work in one statement (by_hand.inc): per call inside a
# transaction; and for 8 clients that consume grants of their own, each in a
# transaction of its own?
#
# Inside a transaction: a loop in plpgsql, which keeps the plan of both. Rounds are
# interleaved; medians. Settings: ROUNDS=7 CUSTOMERS=20000 SECONDS_EACH=4

set -euo pipefail
rounds=${ROUNDS:-7} customers=${CUSTOMERS:-20000} seconds=${SECONDS_EACH:-4}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. ./by_hand.inc
psql -qX -v ON_ERROR_STOP=1 -o /dev/null -c "CALL make_customers($customers)" -c "VACUUM ANALYZE"

loop() { # name, statement: microseconds per call
    cat > "$work/$1.loop.sql" <<SQL
SET client_min_messages = notice;
DO \$\$
DECLARE
    start timestamptz := clock_timestamp();
    c text;
BEGIN
    FOR n IN 1 .. $customers LOOP
        c := 'cus_' || 1 + (n * 7919) % $customers;
        PERFORM * FROM ($2) s;
    END LOOP;
    RAISE NOTICE 'us %', 1e6 * extract(epoch FROM clock_timestamp() - start) / $customers;
END \$\$;
SQL
}
loop svc "$(consume_by_svc c ":key || c")"
# (a statement that writes cannot stand in FROM)
loop hand "SELECT"
sed -i "s/PERFORM .*/$(consume_by_hand c ":key || c" | tr '\n' ' ' | sed 's/[&/\]/\\&/g');/" "$work/hand.loop.sql"

# (round 0 gives the ledgers their first rows, and the planner something to know)
for ((i = 0; i <= rounds; i++)); do
    for side in hand svc; do
        psql -qX -o /dev/null -c 'VACUUM svc_entitlement, entitlement_by_hand' -c CHECKPOINT
        sed "s/:key/'$i '/g" "$work/$side.loop.sql" | psql -X 2>&1 | sed -n 's/.*NOTICE:  us //p' >> "$work/$side.us"
    done
    [ "$i" -gt 0 ] || { rm "$work"/*.us; psql -qX -c 'VACUUM ANALYZE'; }
done
for side in hand svc; do
    { printf '\\set n random(1, %d)\n\\set k random(1, 1000000000000)\n' "$customers"
      "consume_by_$side" "('cus_' || :n)" "('k' || :k)"; echo ';'; } > "$work/$side.sql"
done
for ((i = 0; i < rounds; i++)); do
    for side in hand svc; do
        psql -qX -o /dev/null -c 'VACUUM svc_entitlement, entitlement_by_hand' -c CHECKPOINT
        throughput 8 "$seconds" "$work/$side.sql" >> "$work/$side.tps"
    done
done

awk -v n="$customers" -v r="$rounds" -v svc="$(median "$work/svc.us")" -v hand="$(median "$work/hand.us")" \
    -v svc_tps="$(median "$work/svc.tps")" -v hand_tps="$(median "$work/hand.tps")" 'BEGIN {
    printf "\nA consume with a key; medians of %d rounds\n", r
    printf "  inside a transaction, %d calls, us per call: by hand %.2f, svc %.2f: ratio %.2f, goal <= 0.8\n", n, hand, svc, svc / hand
    printf "  8 clients, one a transaction, per second: by hand %d, svc %d: ratio %.2f, goal >= 1.1\n\n", hand_tps, svc_tps, svc_tps / hand_tps
}'
