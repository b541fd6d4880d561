#!/usr/bin/env bash
#
# Question: what does svc_consume_entitlement() cost with an idempotency key,
# against equal work in one statement (by_hand.inc): per call inside a
# transaction; and for 8 clients that consume grants of their own, each in a
# transaction of its own? And what, where svc cannot write directly, because there
# are a user's triggers on the tables, on those of both sides?
#
# Beside them for orientation: svc with nothing done directly (svc.direct_access =
# off), and plpgsql by hand, which unlike the statement replays.
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
loop plpgsql "$(consume_by_plpgsql c ":key || c")"
# (a statement that writes cannot stand in FROM)
loop hand "SELECT"
sed -i "s/PERFORM .*/$(consume_by_hand c ":key || c" | tr '\n' ' ' | sed 's/[&/\]/\\&/g');/" "$work/hand.loop.sql"
for side in hand svc plpgsql; do
    { printf '\\set n random(1, %d)\n\\set k random(1, 1000000000000)\n' "$customers"
      "consume_by_$side" "('cus_' || :n)" "('k' || :k)"; echo ';'; } > "$work/$side.sql"
done
cp "$work/svc.loop.sql" "$work/spi.loop.sql"
cp "$work/svc.sql" "$work/spi.sql"

measure() { # name of the pass, sides
    local pass=$1 side i access
    shift
    for ((i = 1; i <= rounds; i++)); do
        for side; do
            [ "$side" = spi ] && access=off || access=on
            export PGOPTIONS="-c svc.direct_access=$access"
            psql -qX -o /dev/null -c 'VACUUM svc_entitlement, entitlement_by_hand' -c CHECKPOINT
            sed "s/:key/'$pass $side $i '/g" "$work/$side.loop.sql" | psql -X 2>&1 |
                sed -n 's/.*NOTICE:  us //p' >> "$work/$pass.$side.us"
            psql -qX -o /dev/null -c 'VACUUM svc_entitlement, entitlement_by_hand' -c CHECKPOINT
            throughput 8 "$seconds" "$work/$side.sql" >> "$work/$pass.$side.tps"
        done
    done
}

# (the ledgers get their first rows, and the planner something to know)
rounds=1 seconds=1 measure first hand svc
psql -qX -c 'VACUUM ANALYZE'
measure plain hand svc spi plpgsql
psql -qX -v ON_ERROR_STOP=1 <<'SQL'
CREATE FUNCTION a_users_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER a_users AFTER UPDATE ON svc_entitlement FOR EACH ROW WHEN (NEW.used_amount < 0) EXECUTE FUNCTION a_users_trigger();
CREATE TRIGGER a_users AFTER UPDATE ON entitlement_by_hand FOR EACH ROW WHEN (NEW.used_amount < 0) EXECUTE FUNCTION a_users_trigger();
CREATE TRIGGER a_users AFTER INSERT ON svc_entitlement_ledger FOR EACH ROW WHEN (NEW.amount < 0) EXECUTE FUNCTION a_users_trigger();
CREATE TRIGGER a_users AFTER INSERT ON ledger_by_hand FOR EACH ROW WHEN (NEW.amount < 0) EXECUTE FUNCTION a_users_trigger();
SQL
measure triggers hand svc

ratio() { # what, pass, side, goals
    awk -v what="$1" -v us="$(median "$work/$2.$3.us")" -v hand_us="$(median "$work/$2.hand.us")" \
        -v tps="$(median "$work/$2.$3.tps")" -v hand_tps="$(median "$work/$2.hand.tps")" -v goals="${4:-}" 'BEGIN {
        printf "  %-28s  %6.2f / %6.2f = %.2f    %5d / %5d = %.2f    %s\n",
            what, us, hand_us, us / hand_us, tps, hand_tps, tps / hand_tps, goals
    }'
}
printf '\nA consume with a key, against the statement by hand; medians of %s rounds\n' "$rounds"
printf '  %-28s  %-24s    %-22s\n' '' 'us, in a transaction' '8 clients, per second'
ratio svc plain svc '<= 0.8, >= 1.1'
ratio "svc, tables with triggers" triggers svc '>= 0.85 per second'
ratio "svc, nothing directly" plain spi
ratio "plpgsql by hand" plain plpgsql
echo
