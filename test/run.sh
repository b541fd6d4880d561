#!/usr/bin/env bash
#
# run.sh - build svc and use it in a private PostgreSQL server
#
#   test/run.sh demo          run test/demo.sh
#   test/run.sh bench         run test/bench.sh
#   test/run.sh check         run test/tidy.sh, then make installcheck
#   test/run.sh shell         open psql
#   test/run.sh exec CMD...   run a command in the built copy of the tree
#
# Commands find the server by PGHOST, PGPORT, PGUSER and PGDATABASE, and its
# programs first in PATH.
#
# The machine stays as it was, except that missing Debian packages are
# installed.  A copy of the tree is built and installed below a temporary
# directory, the server listens only on a socket in another one, and both
# directories and the server are gone when the script ends, however it ends.
# Other servers on the machine are neither used nor disturbed.
#
# Neither initdb nor the TAP tests run as root, so root hands the copy to the
# user postgres; everybody else works as himself and needs no privileges once
# the packages are there.
#
# Environment:
#   PG_MAJOR      PostgreSQL version to use, such as 17; the default is 15
#                 where it is to be had, else the newest
#   PG_CONFIG     pg_config of a PostgreSQL that is not Debian's, 18 or later
#   REGRESS, ISOLATION, PROVE_TESTS
#                 run only these tests; an empty value runs none of the suite
#   KEEP_RESULTS  directory that receives what the tests wrote
#   TMPDIR        where to build and keep the data, by default /tmp; a
#                 measurement wants a disk here, not a file system in memory

set -euo pipefail

# The oldest version svc supports is also the one it is developed on.
readonly MAJOR_MIN=15

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
goal=
keep=             # KEEP_RESULTS as an absolute path, or empty
major=            # set by find_postgres, with pg_config and bindir
pg_config=
bindir=
as_root=()        # prefix that runs a command as root
as_server=()      # prefix that runs a command as the server's user
work=             # private directory: tree, inst, data, logs
sockets=          # private directory of the sockets
job=              # process group of the phase that is running

main() {
    parse_arguments "$@"
    shift
    clean_environment
    find_postgres
    make_directories
    copy_tree

    if [ "$goal" = check ]; then
        tidy
    fi
    build
    start_server

    case $goal in
        demo) run test/demo.sh </dev/null ;;
        bench) run test/bench.sh </dev/null ;;
        check) check ;;
        shell) run_here psql ;;
        exec) run_here "$@" ;;
    esac
}

say() { printf '== %s\n' "$*"; }

die() {
    printf 'run.sh: %s\n' "$@" >&2
    exit 1
}

parse_arguments() {
    goal=${1:-}
    case $goal:$# in
        demo:1 | bench:1 | check:1 | shell:1) ;;
        exec:0 | exec:1) goal= ;;
        exec:*) ;;
        *) goal= ;;
    esac
    [ -n "$goal" ] || die "usage: test/run.sh demo | bench | check | shell | exec COMMAND..."
}

# What the caller has set for his own servers and his own make must not reach
# ours: PGOPTIONS changes expected output, MAKEFLAGS names a job server that
# we do not inherit, and a translated compiler says no "warning".
clean_environment() {
    local name

    if [ -n "${KEEP_RESULTS:-}" ]; then
        mkdir -p "$KEEP_RESULTS"
        keep=$(cd "$KEEP_RESULTS" && pwd)
    fi
    for name in ${!PG@}; do
        case $name in
            PG_*) ;;
            *) unset "$name" ;;
        esac
    done
    unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL DESTDIR LANGUAGE CDPATH
    export LC_ALL=C.UTF-8

    # Some supervisors start jobs without a standard input, and the first file
    # opened would take its place.
    { true <&0; } 2>/dev/null || exec </dev/null
}

# ---- PostgreSQL: find it, install what is missing ----

find_postgres() {
    local missing=()

    if [ -n "${PG_CONFIG:-}" ]; then
        pg_config=$(command -v "$PG_CONFIG") || die "PG_CONFIG=$PG_CONFIG is not a program"
        major=$("$pg_config" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
        bindir=$("$pg_config" --bindir)
    else
        choose_major
        bindir=/usr/lib/postgresql/$major/bin
        pg_config=$bindir/pg_config
    fi
    [[ "$major" =~ ^[0-9]+$ ]] || die "not a major version of PostgreSQL: \"$major\""
    [ "$major" -ge "$MAJOR_MIN" ] || die "svc needs PostgreSQL $MAJOR_MIN or later, not $major"

    mapfile -t missing < <(missing_packages)
    if [ "${#missing[@]}" -gt 0 ]; then
        install_packages "${missing[@]}"
        mapfile -t missing < <(missing_packages)
        [ "${#missing[@]}" -eq 0 ] || die "installed, and yet not usable: ${missing[*]}"
    fi
    export PG_CONFIG=$pg_config
    export PATH=$bindir:$PATH
}

choose_major() {
    if [ -n "${PG_MAJOR:-}" ]; then
        major=$PG_MAJOR
    elif is_installed "$MAJOR_MIN" || apt_knows "postgresql-$MAJOR_MIN"; then
        major=$MAJOR_MIN
    else
        major=$(installed_majors | tail -n 1)
    fi
    [ -z "$major" ] || return 0

    # Fresh images come without package lists.
    apt_update "postgresql-N and postgresql-server-dev-N for an N from $MAJOR_MIN on, libipc-run-perl, gcc"
    if apt_knows "postgresql-$MAJOR_MIN"; then
        major=$MAJOR_MIN
    else
        major=$(known_majors | tail -n 1)
    fi
    [ -n "$major" ] || die "found no PostgreSQL $MAJOR_MIN or later, and apt offers none"
}

is_installed() { [ -x "/usr/lib/postgresql/$1/bin/postgres" ]; }

installed_majors() {
    local program

    for program in /usr/lib/postgresql/*/bin/postgres; do
        [ ! -x "$program" ] || echo "$program"
    done | cut -d / -f 5 | majors_supported
}

known_majors() {
    local package

    for package in $(apt-cache pkgnames postgresql-); do
        case $package in
            postgresql-[1-9][0-9])
                ! apt_knows "$package" || echo "${package#postgresql-}" ;;
        esac
    done | majors_supported
}

majors_supported() { sort -n | awk -v min="$MAJOR_MIN" '$1 >= min'; }

apt_knows() {
    case $(apt-cache policy "$1" 2>/dev/null) in
        *'Candidate: '[0-9]*) return 0 ;;
        *) return 1 ;;
    esac
}

# Asks for files rather than packages: software from elsewhere counts as well.
missing_packages() {
    [ -x "$bindir/postgres" ] || echo "postgresql-$major"
    # Its makefiles come with the client already; the headers do not.
    [ -e "$("$pg_config" --includedir-server 2>/dev/null)/postgres.h" ] ||
        echo "postgresql-server-dev-$major"
    perl -MIPC::Run -e 1 2>/dev/null || echo libipc-run-perl
    # README's partitions are made by it; who builds PostgreSQL may do without.
    [ "$goal" != check ] || [ -n "${PG_CONFIG:-}" ] ||
        [ -e "$("$pg_config" --sharedir 2>/dev/null)/extension/pg_partman.control" ] ||
        echo "postgresql-$major-partman"
    command -v gcc >/dev/null || printf '%s\n' gcc libc6-dev
    command -v make >/dev/null || echo make
}

install_packages() {
    [ -z "${PG_CONFIG:-}" ] || [[ "$*" != *postgresql* ]] ||
        die "PG_CONFIG=$PG_CONFIG lacks its server or its development files"

    apt_update "$*"
    say "installing $*"
    "${as_root[@]}" bash -c "$(declare -f apt_install); apt_install $*" </dev/null
}

# Runs in a shell of root's.  While it runs, a setting keeps Debian from
# creating a server "main" on port 5432 along with a package that is wanted
# for its programs only.  Ctrl-C ends a download, but would leave dpkg's work
# half done: that runs out of the terminal's reach.
apt_install() {
    set -eu
    dir=/etc/postgresql-common/createcluster.d
    mkdir -p "$dir"
    setting=$(mktemp "$dir/zz-svc-XXXXXX.conf")
    log=$(mktemp)
    trap 'rm -f "$log" "$setting"; rmdir -p --ignore-fail-on-non-empty "$dir"' EXIT
    trap 'exit 1' HUP INT TERM
    echo "create_main_cluster = false" >"$setting"

    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    set -- apt-get install --yes --no-install-recommends "$@"
    { "$@" --download-only && setsid --wait "$@"; } >"$log" 2>&1 || {
        cat "$log" >&2
        exit 1
    }
}

# apt_update WANTED reads the package lists, once.  One unreachable source
# among several is no reason to stop: what is not to be had shows later.
apt_updated=
apt_update() {
    [ -z "$apt_updated" ] || return 0
    apt_updated=yes
    find_root "$1"
    say "reading package lists"
    "${as_root[@]}" apt-get update >/dev/null 2>&1 </dev/null || true
}

# Set as_root, or name what somebody else has to install.
find_root() {
    local installed

    command -v apt-get >/dev/null || die "missing, without apt-get to install it: $1"
    [ "$(id -u)" != 0 ] || return 0

    as_root=(sudo)
    if [ -t 0 ]; then
        ! sudo -v || return 0
    else
        ! sudo -n true 2>/dev/null || return 0
    fi
    installed=$(installed_majors | tail -n 1)
    die "missing, and only root can install it: $1" \
        ${installed:+"PG_MAJOR=$installed would use the PostgreSQL that is here"}
}

# ---- the private copy ----

# Servers need a socket path under 108 bytes, so that directory is always in
# /tmp; its own TMPDIR gives the servers of the TAP tests short ones, too.
make_directories() {
    local base=${TMPDIR:-/tmp}

    if [ "$(id -u)" = 0 ]; then
        as_server=(runuser -u postgres --)
        # root's own temporary directory is often closed to others.
        "${as_server[@]}" test -w "$base" || base=/tmp
    fi
    work=$(mktemp -d "$base/svc.XXXXXX")
    sockets=$(mktemp -d /tmp/svc.XXXXXX)
    mkdir "$work/tree"
    cd "$work/tree"
    export HOME=$work TMPDIR=$sockets
}

copy_tree() {
    (cd "$tree" && tar -cf - --null --no-recursion -T <(list_sources)) | tar -xof -
    if [ "$(id -u)" = 0 ]; then
        chown -R postgres: "$work" "$sockets"
    fi
}

# Sources are what git would take: build products are from another version of
# PostgreSQL, perhaps.  git lists files that were deleted, too.
list_sources() {
    local file

    {
        if [ -e .git ] && command -v git >/dev/null; then
            git -c safe.directory="$tree" ls-files -z --cached --others --exclude-standard
        else
            find . -name .git -prune -o \
                ! -type d ! -name '*.o' ! -name '*.bc' ! -name '*.so' -print0
        fi
    } | while IFS= read -r -d '' file; do
        [ ! -e "$file" ] || printf '%s\0' "$file"
    done
}

tidy() {
    [ -e test/tidy.sh ] || return 0
    say "checking the sources"
    run test/tidy.sh </dev/null || die "test/tidy.sh is not content"
}

# Without the bitcode for the JIT compiler, which takes as long as the rest.
build() {
    say "building for $("$pg_config" --version)"
    run make --jobs="$(nproc)" with_llvm=no install DESTDIR="$work/inst" \
        </dev/null >"$work/build.log" 2>"$work/build.err" || {
        cat "$work/build.log" "$work/build.err" >&2
        die "cannot build svc"
    }
    cat "$work/build.err" >&2
    if [ "$goal" = check ] && grep -q '^src/.*: warning: ' "$work/build.err"; then
        die "the compiler warns, and check does not allow that"
    fi
}

# ---- the private server ----

start_server() {
    say "starting a server"
    load_paths >"$work/load_paths.conf"
    run initdb --pgdata="$work/data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync \
        </dev/null >"$work/initdb.log" 2>&1 || {
        cat "$work/initdb.log" >&2
        die "initdb failed"
    }
    server_settings >>"$work/data/postgresql.conf"
    run pg_ctl --pgdata="$work/data" --log="$work/server.log" --silent --wait start </dev/null || {
        cat "$work/server.log" >&2
        die "the server does not start"
    }
    # TEMP_CONFIG is read by PostgreSQL::Test::Cluster.
    export TEMP_CONFIG=$work/load_paths.conf
    export PGHOST=$sockets PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

# The settings that let a server load an extension from outside its own
# installation: Debian has a patch for it, PostgreSQL 18 does it by itself.
load_paths() {
    case $("$bindir/postgres" --describe-config | cut -f 1) in
        *extension_control_path*)
            echo "extension_control_path = '$work/inst$("$pg_config" --sharedir):\$system'" ;;
        *extension_destdir*)
            echo "extension_destdir = '$work/inst'" ;;
        *)
            die "this PostgreSQL cannot load an extension from a private directory" ;;
    esac
    echo "dynamic_library_path = '$work/inst$("$pg_config" --pkglibdir):\$libdir'"
}

# The port is but part of the name of a socket in a directory of our own.
server_settings() {
    cat <<-END
	listen_addresses = ''
	port = 5432
	unix_socket_directories = '$sockets'
	max_prepared_transactions = 10
	END
    cat "$work/load_paths.conf"
}

# ---- running things ----

# Run a command as the server's user.  Waiting for a background job is what
# a signal can interrupt; job control gives the job a process group to be
# ended by, and leaves it standard input and SIGINT.
run() {
    local status=0

    set -m
    "${as_server[@]}" "$@" <&0 &
    set +m
    job=$!
    wait "$job" || status=$?
    job=
    return "$status"
}

# Run a command that may want the terminal: that, only a foreground job has.
# Ctrl-C is then the command's to handle (psql cancels a query with it).
run_here() {
    if [ ! -t 0 ]; then
        run "$@"
        return
    fi
    trap true INT
    "${as_server[@]}" "$@"
}

check() {
    local suites=()

    [ -z "${REGRESS+set}" ] || suites+=("REGRESS=$REGRESS")
    [ -z "${ISOLATION+set}" ] || suites+=("ISOLATION=$ISOLATION")
    [ -z "${PROVE_TESTS+set}" ] || suites+=("PROVE_TESTS=$PROVE_TESTS")

    add_expected_files
    # first with everything by SPI and early lock release, which is to give the same results
    say "testing, without direct access to tables, and with early lock release"
    PGOPTIONS='-c svc.direct_access=off -c svc.early_lock_release=on' installcheck "${suites[@]}" PROVE_TESTS=
    say "testing"
    installcheck "${suites[@]}"
}

installcheck() { # suites
    run make --silent with_llvm=no installcheck "$@" </dev/null || {
        show_failures >&2
        die "a test failed; KEEP_RESULTS=directory keeps what the tests wrote"
    }
}

# pg_regress stops at a test without an expected file, and names another file
# than the missing one.  With an empty one, it shows the output of the test.
add_expected_files() {
    local test

    "${as_server[@]}" mkdir -p expected
    for test in test/sql/*.sql test/specs/*.spec; do
        test=$(basename "${test%.*}")
        [ -e "expected/$test.out" ] || "${as_server[@]}" touch "expected/$test.out"
    done
}

show_failures() {
    local log server test

    shopt -s nullglob
    if [ -s regression.diffs ]; then
        say "regression.diffs"
        head -n 300 regression.diffs
    fi
    for log in tmp_check/log/regress_log_*; do
        ! tap_passed "$log" || continue
        say "$log"
        tail -n 60 "$log"
        test=${log#*/regress_log_}
        for server in tmp_check/log/"${test}"_*.log; do
            say "$server"
            tail -n 30 "$server"
        done
    done
    if grep -E 'was terminated by signal|PANIC:|TRAP:' "$work/server.log"; then
        say "the server crashed; its log ends"
        tail -n 60 "$work/server.log"
    fi
}

# A test that died before its end has printed no plan, "1..N".
tap_passed() {
    grep -q '1\.\.[0-9]' "$1" && ! grep -qE '(not ok|# Looks like) ' "$1"
}

# ---- leaving ----

cleanup() {
    trap '' HUP INT TERM PIPE
    set +e
    [ -n "$work" ] || return
    end_job
    stop_servers
    keep_results
    cd /
    rm -rf "$work" "$sockets"
}

end_job() {
    [ -n "$job" ] || return
    kill -TERM -- "-$job" 2>/dev/null
    for _ in {1..50}; do
        kill -0 -- "-$job" 2>/dev/null || return
        sleep 0.1
    done
    kill -KILL -- "-$job" 2>/dev/null
}

# Stop ours, and those that a TAP test left behind when it was interrupted.
# A server works in its data directory; a process that does not has merely
# inherited the number of one that crashed.  The data is thrown away, so
# there is no need for a checkpoint.
stop_servers() {
    local file pid

    find "$work" -name postmaster.pid 2>/dev/null | while IFS= read -r file; do
        pid=$(head -n 1 "$file")
        if [ "/proc/$pid/cwd" -ef "${file%/*}" ]; then
            "${as_server[@]}" pg_ctl --pgdata="${file%/*}" --mode=immediate --silent --wait stop </dev/null
        fi
    done
}

keep_results() {
    local name

    [ -n "$keep" ] || return
    for name in results regression.out regression.diffs output_iso tmp_check; do
        [ ! -e "$work/tree/$name" ] || cp -r "$work/tree/$name" "$keep/"
    done
    for name in build.log build.err server.log; do
        [ ! -e "$work/$name" ] || cp "$work/$name" "$keep/"
    done
}

trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

main "$@"
