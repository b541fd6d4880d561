# svc: PGXS makefile
#
#   make demo, make check, make bench
#       in a private server, with nothing installed; see test/run.sh
#   make fuzz
#       looks for documents that the parser of criteria cannot stand; see test/fuzz.sh
#   make, make install, make installcheck
#       as for any PostgreSQL extension; PG_CONFIG=... chooses the server

HARNESS_GOALS = demo check bench

ifneq ($(filter $(HARNESS_GOALS),$(MAKECMDGOALS)),)

# The harness has to start on a machine without pg_config, because it is what
# installs PostgreSQL there; so PGXS is left out.  That also avoids a clash
# with the "check" target of PGXS, which only says that it is not supported.

asked_harness := $(filter $(HARNESS_GOALS),$(MAKECMDGOALS))
asked_other := $(filter-out $(HARNESS_GOALS),$(MAKECMDGOALS))

.PHONY: $(asked_harness) $(asked_other)
.NOTPARALLEL:

$(asked_harness):
	@test/run.sh $@

ifneq ($(asked_other),)
$(asked_other):
	@$(MAKE) --no-print-directory $@
endif

else

EXTENSION = svc
MODULE_big = svc
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

# svc.control is the one place where the version stands.
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" svc.control)
SQL_PARTS := $(sort $(wildcard sql/[0-9][0-9]_*.sql))
SQL_TABLES := $(sort $(wildcard sql/tables/[0-9][0-9]_*.sql))
DATA_built = svc--$(EXTVERSION).sql

PG_CPPFLAGS = -DSVC_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Wshadow \
	-Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

# "make installcheck REGRESS=one_test ISOLATION= PROVE_TESTS=" runs that one:
# PGXS skips a suite whose list is empty, except TAP, which it would then look
# for in t/.  Hence the condition.
REGRESS := $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
ISOLATION := $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
PROVE_TESTS := $(sort $(wildcard test/t/*.pl))
ifneq ($(PROVE_TESTS),)
TAP_TESTS = 1
endif

# The expected files are found in the output directory's expected/.  Beware:
# pg_regress reads ./sql/X.sql before test/sql/X.sql, so no test may have the
# name of a file in sql/.
REGRESS_OPTS = --inputdir=test --outputdir=. --encoding=UTF8
ISOLATION_OPTS = --inputdir=test --outputdir=. --encoding=UTF8

# PGXS cleans up after a suite only if it is in use.
EXTRA_CLEAN = results regression.diffs regression.out log output_iso tmp_check tmp_check_iso

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(PGXS),)
$(error PG_CONFIG=$(PG_CONFIG) does not work; "make demo" installs what is missing)
endif
include $(PGXS)

.PHONY: fuzz
fuzz:
	PG_CONFIG=$(PG_CONFIG) test/fuzz.sh

# PGXS tracks no headers.  The bitcode counts too: the server inlines it.
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h) svc.control

# The installation script is the parts in load order.  One of them builds
# svc_install() around a line @TABLES@, which the table definitions replace;
# without that line they would be missing, hence the grep.
$(DATA_built): svc.control Makefile $(SQL_PARTS) $(SQL_TABLES)
	grep -qx '@TABLES@' $(SQL_PARTS) /dev/null
	printf '%s\n\n' '\echo Use "CREATE EXTENSION svc" to load this file. \quit' > $@
	sed $(foreach file,$(SQL_TABLES),-e '/^@TABLES@$$/r $(file)') -e '/^@TABLES@$$/d' \
		$(SQL_PARTS) >> $@

endif
