#!/usr/bin/env bash
#
# bench.sh - every ratio of the speed table, both sides measured in this run
#
# Run by "make bench" in a private server; each scenario of test/bench/ gets a
# database of its own. Absolute times drift from machine to machine; the
# ratios are what counts.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/bench"

printf 'machine: %s, %s cores, %s; PostgreSQL %s, shared_buffers %s, fsync %s\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
    "$(awk '/MemTotal/ {printf "%d GiB", $2 / 1048576}' /proc/meminfo)" \
    "$(psql -AtXc 'SHOW server_version')" "$(psql -AtXc 'SHOW shared_buffers')" "$(psql -AtXc 'SHOW fsync')"

for scenario in *.sql *.sh; do
    dropdb --if-exists svc_bench 2>/dev/null
    createdb svc_bench
    psql -qX -d svc_bench -v ON_ERROR_STOP=1 -o /dev/null \
        -c 'CREATE EXTENSION svc' -c 'SELECT svc_install()'
    case $scenario in
        *.sql) psql -qX -d svc_bench -f "$scenario" ;;
        *.sh) PGDATABASE=svc_bench bash "$scenario" ;;
    esac
done
