#!/usr/bin/env bash
#
# demo.sh - the main job of svc on realistic input, as a person would watch it
#
# Run by "make demo" in a private server. A second connection LISTENs all the
# while, and what it received is shown at the end.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

createdb svc_demo
export PGDATABASE=svc_demo
work=$(mktemp -d)
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --command 'CREATE EXTENSION svc' --output /dev/null

# The listener: a psql that is fed a trivial statement now and then, after
# each of which it prints the notifications that have come in.
wait_until_heard() { # text
    local tries
    for tries in {1..200}; do
        grep -q "$1" "$work/heard" && return
        echo 'SELECT;' >&3
        sleep 0.05
    done
    echo "the listener has not heard: $1" >&2
    return 1
}

mkfifo "$work/listener"
psql --no-psqlrc --quiet --tuples-only --no-align < "$work/listener" > "$work/heard" 2>&1 &
listener=$!
trap 'exec 3>&- || true; wait "$listener" || true; rm -rf "$work"' EXIT
exec 3> "$work/listener"
printf "LISTEN svc;\nSELECT 'listening';\n" >&3
wait_until_heard listening

psql --no-psqlrc --quiet --file demo.sql

# One more of our own, so that we know when all others have arrived.
psql --no-psqlrc --quiet --command "NOTIFY svc, 'end of the demo'"
wait_until_heard 'end of the demo'

printf '\n== What the second connection, which LISTENs on channel svc, has received\n\n'
grep -o '"{.*}"' "$work/heard" | sed 's/^"//; s/"$//'
printf '\nThe rolled-back consume and the denial are not among them: nothing happened.\n'
