#!/usr/bin/env bash
#
# fuzz.sh - look for documents that the parser of segment criteria cannot stand
#
# Run by "make fuzz" with clang, which has libFuzzer; for SECONDS_EACH=60 seconds.
# It begins with the documents of the tests. What it finds is left in the current
# directory, as crash-*, and belongs into test/data/criteria_corpus.txt.

set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pg_config=${PG_CONFIG:-pg_config}
command -v clang >/dev/null || { echo 'fuzz.sh: needs clang, and its compiler-rt' >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

clang -g -O1 -fsanitize=fuzzer,address,undefined -Wno-ignored-attributes -DFRONTEND -I"$top/src" -I"$("$pg_config" --includedir-server)" \
    "$top"/test/fuzz/criteria.c "$top"/src/criteria_{parse,time,version}.c \
    -L"$("$pg_config" --pkglibdir)" -L"$("$pg_config" --libdir)" -lpgcommon -lpgport -o "$work/criteria"
mkdir "$work/corpus"
split -l 1 -a 5 "$top/test/data/criteria_corpus.txt" "$work/corpus/"
ASAN_OPTIONS=detect_leaks=0 "$work/criteria" -max_total_time="${SECONDS_EACH:-60}" -max_len=4096 -print_final_stats=1 \
    "$work/corpus"
