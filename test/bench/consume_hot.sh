#!/usr/bin/env bash
#
# Question: how many consumes a second do many clients get from one and the same
# grant, each in a transaction of its own that is durable before its answer,
# against equal work in one statement (by_hand.inc), with and without
# svc.early_lock_release?
#
# For orientation beside: a script in Redis that looks at the customer's status, the
# key and the limit, counts, and keeps its answer under the key, with appendfsync
# always. It has no history, no transaction with the work it protects, and is for
# customers in memory. (redis-server and redis-benchmark, where they are installed.)
#
# Rounds are interleaved; medians of transactions per second.
# Settings: ROUNDS=3 SECONDS_EACH=4 CLIENTS="8 32 64"

set -euo pipefail
rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-4}
read -ra crowds <<< "${CLIENTS:-8 32 64}"
work=$(mktemp -d)
redis=
trap '[ -z "$redis" ] || kill "$redis"; rm -rf "$work"' EXIT

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
# A server of our own, on a socket, that appends to a file where the database is.
start_redis() {

    command -v redis-server redis-benchmark redis-cli >/dev/null || return 0
    data=$(mktemp -d "$(psql -AtXc 'SHOW data_directory')/../redis.XXXXXX")
    redis-server --port 0 --unixsocket "$work/redis" --dir "$data" --save '' \
        --appendonly yes --appendfsync always > "$work/redis.log" &
    redis=$!
    for ((i = 0; i < 50; i++)); do
        redis-cli -s "$work/redis" ping > /dev/null 2>&1 && break
        sleep 0.1
    done
    redis-cli -s "$work/redis" hset cus_1 status active limit 1000000000 used 0 > /dev/null
    script=$(redis-cli -s "$work/redis" script load "
        local answer = redis.call('GET', KEYS[2])
        if answer then return answer end
        local grant = redis.call('HMGET', KEYS[1], 'status', 'limit', 'used')
        if grant[1] ~= 'active' then return 'customer_inactive' end
        if tonumber(grant[3]) + 1 > tonumber(grant[2]) then return 'limit_exceeded' end
        redis.call('HINCRBY', KEYS[1], 'used', 1)
        redis.call('SET', KEYS[2], 'ok')
        return 'ok'")
}
run_redis() { # clients
    [ -n "$redis" ] || return 0
    redis-benchmark -s "$work/redis" -c "$1" -n 50000 -r 1000000000 --csv \
        evalsha "$script" 2 cus_1 k:__rand_int__ | awk -F '","' 'END { print $2 }' >> "$work/redis.$1"
}
start_redis

for ((i = 0; i < rounds; i++)); do
    for clients in "${crowds[@]}"; do
        run hand hand off "$clients"
        run svc svc off "$clients"
        run early svc on "$clients"
        run_redis "$clients"
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
    [ -z "$redis" ] || printf '    for orientation, a script in Redis: %.0f\n' "$(median "$work/redis.$clients")"
done
if [ -n "$redis" ]; then
    echo "    Redis has counted $(redis-cli -s "$work/redis" hget cus_1 used), and its log has $(stat -c %s "$data"/appendonlydir/*.incr.aof) bytes"
else
    echo '    (Redis is not installed)'
fi
echo
