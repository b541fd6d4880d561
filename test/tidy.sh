#!/usr/bin/env bash
#
# tidy.sh - rules of this project that a machine can check
#
# Prints what breaks a rule and fails. Each check says why the rule is there.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
shopt -s nullglob
broken=0

complain() {
    printf 'tidy: %s\n' "$*" >&2
    broken=1
}

# The level of a source file: its includes point down only, so that each can be
# understood, and tested, with what is below it. Within level 2 the order is
# that of this list; files of level 3 never include each other.
level() {
    case $1 in
        compat|error)                               echo 0 ;;
        amount|argument|balance|calendar|clock|identifier|noun|period|snapshot|transition|usage_sql) echo 1 ;;
        criteria|criteria_explain|criteria_match|criteria_parse) echo 1 ;;
        criteria_set|criteria_set_sql|criteria_support|criteria_time|criteria_version|criteria_write) echo 1 ;;
        catalog|plain)                              echo 20 ;;
        attempt|statement|row|insert|doorbell|early_release) echo 21 ;;
        changes|direct|event|gate|handover|meter|touch) echo 22 ;;
        update|usage_read)                          echo 23 ;;
        grant|lifecycle)                            echo 24 ;;
        ledger|pool|property|usage_rollup)          echo 25 ;;
        action|booking|counter|membership|total|usage_fold) echo 26 ;;
        grant_rule)                                 echo 27 ;;
        offer|plan_grant|plan_limits)               echo 27 ;;
        subscription_due)                           echo 28 ;;
        consume|document|subscription_rule)         echo 29 ;;
        criteria_sql|segment_check|usage_row)       echo 30 ;;
        segment_sync|usage_close)                   echo 31 ;;
        segment_rule|segment_watch|usage)           echo 32 ;;
        segment_due)                                echo 33 ;;
        svc)                                        echo 40 ;;
        *)                                          echo 34 ;;
    esac
}

check_includes() {
    local file name included
    for file in src/*.[ch]; do
        name=$(basename "${file%.*}")
        while read -r included; do
            [ -f "src/$included.h" ] || continue # a header of PostgreSQL
            [ "$included" = "$name" ] && continue
            if [ "$(level "$included")" -gt 1 ] &&
               [ "$(level "$included")" -ge "$(level "$name")" ]; then
                complain "$file includes $included.h, which is not below it"
            fi
            if [ "$(level "$name")" -le 1 ] && [ "$(level "$included")" -gt 1 ]; then
                complain "$file includes $included.h, but is to be free of the catalog"
            fi
        done < <(sed -n 's/^#include "\([a-z_]*\)\.h".*/\1/p' "$file")
    done
}

# A test without an expected file proves nothing; an expected file without a
# test was forgotten.
check_expected_files() {
    local file name
    for file in test/sql/*.sql test/specs/*.spec; do
        name=$(basename "$file"); name=${name%.*}
        [ -s "expected/$name.out" ] || complain "$file has no expected/$name.out"
    done
    for file in expected/*.out; do
        name=$(basename "$file" .out)
        [ -f "test/sql/$name.sql" ] || [ -f "test/specs/$name.spec" ] ||
            complain "$file belongs to no test"
    done
}

# Every SQLSTATE of ours is documented and can be provoked.
check_sqlstates() {
    local state
    while read -r state; do
        grep -q "$state" README.md || complain "$state is not in README.md"
        grep -q "$state" expected/*.out || complain "no expected output shows $state"
    done < <(sed -n "s/.*MAKE_SQLSTATE('\(.\)', '\(.\)', '\(.\)', '\(.\)', '\(.\)').*/\1\2\3\4\5/p" src/error.h)
}

# What a user can see is in the README.
check_readme() {
    local name
    while read -r name; do
        grep -qw "$name" README.md || complain "function $name is not in README.md"
    done < <(sed -n 's/^CREATE FUNCTION \(svc_[a-z_]*\).*/\1/p' sql/*.sql | sort -u)
    while read -r name; do
        grep -q "$name" README.md || complain "setting $name is not in README.md"
    done < <(sed -n 's/.*DefineCustom[A-Za-z]*Variable("\([a-z_.]*\)".*/\1/p' src/*.c)
}

# A user's mistake must not look like an internal error, and a state that a
# switch forgets must be found by the compiler (types, in three files, are open).
check_errors() {
    grep -nE 'ereport\((ERROR|WARNING)' -A1 src/*.c | grep -vE 'ereport|errcode|^--' |
        while read -r line; do complain "no errcode first: $line"; done
    grep -nE '^\s*default:' src/*.c | grep -vE 'property\.c|changes\.c|document\.c' |
        while read -r line; do complain "switch with a default: $line"; done
}

check_includes
check_expected_files
check_sqlstates
check_readme
errors=$(check_errors 2>&1) || true
[ -z "$errors" ] || { printf '%s\n' "$errors" >&2; broken=1; }
exit "$broken"
