#!/usr/bin/env bash
#
# Question: how many consumes a second do many clients get from one and the same
# grant, each in a transaction of its own that is durable before its answer,
# against equal work in one statement (by_hand.inc), with and without
# svc.early_lock_release?
#
# Rounds are interleaved; medians of transactions per second.
# Settings: ROUNDS=3 SECONDS_EACH=4 CLIENTS="8 32 64"

set -euo pipefail
rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-4}
read -ra crowds <<< "${CLIENTS:-8 32 64}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. ./by_hand.inc
psql -qX -v ON_ERROR_STOP=1 -o /dev/null -c "CALL make_customers(1)" -c "VACUUM ANALYZE"
for side in hand svc; do
    { echo '\set k random(1, 1000000000000)'
      "consume_by_$side" "'cus_1'" "('k' || :k)"; echo ';'; } > "$work/$side.sql"
done

run() { # name, side, value of svc.early_lock_release, clients
    psql -qX -o /dev/null -c 'VACUUM svc_entitlement, entitlement_by_hand'
    PGOPTIONS="-c svc.early_lock_release=$3" throughput "$4" "$seconds" "$work/$2.sql" >> "$work/$1.$4"
}
for ((i = 0; i < rounds; i++)); do
    for clients in "${crowds[@]}"; do
        run hand hand off "$clients"
        run svc svc off "$clients"
        run early svc on "$clients"
    done
done

printf '\nClients consume one grant, one consume a transaction; synchronous_commit on; medians of %s rounds of %s s, per second\n' \
    "$rounds" "$seconds"
for clients in "${crowds[@]}"; do
    awk -v n="$clients" -v hand="$(median "$work/hand.$clients")" -v svc="$(median "$work/svc.$clients")" \
        -v early="$(median "$work/early.$clients")" 'BEGIN {
        goal[8] = 3; goal[32] = 4; goal[64] = 5
        printf "  %d clients: by hand %d, svc %d: ratio %.2f; with early lock release %d: ratio %.2f, goal >= %s\n",
            n, hand, svc, svc / hand, early, early / hand, goal[n]
    }'
done
echo
