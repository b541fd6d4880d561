/*-------------------------------------------------------------------------
 *
 * segment_due.c
 *	  What a scheduler does about segments.
 *
 * Customers whose place in a segment time may have changed are asked again; segments
 * are synced that want it every hour, day or week, those that somebody could not fill
 * (segment_rule.c), and, every svc.segment_refresh, those in real time that depend on
 * what makes no event.
 *
 * Locks: as in segment_watch.c and segment_sync.c, but what somebody else has is left
 * for the next time, so that several can run at once, and none waits for another; and a
 * transaction takes no more customers than there is room for among the server's locks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "attempt.h"
#include "clock.h"
#include "membership.h"
#include "segment_due.h"
#include "segment_sync.h"
#include "segment_watch.h"
#include "statement.h"

int			svc_segment_refresh = 300;

/* A customer, or a segment, whose turn it is. */
typedef struct Turn
{
	TimestampTz at;
	Datum		id;
	List	   *segment_ids;	/* of a customer */
	Datum		synced_at;		/* of a segment */
	bool		never_synced;
	int		   *customers_left; /* to be taken by this transaction */
	bool		done;
} Turn;

static void ask_in_turn(void *state);
static void run_turn(void *state);
static void forget_timer(Datum customer_id, const char *segment_id);
static void sync_in_turn(void *state);
static void run_sync(void *state);
static bool try_lock_due(const Turn *turn);

/*
 * Ask again where time is up.  Returns how many answers were given; customers that
 * somebody else is busy with are left for the next time, as are more than may be taken.
 */
int64
svc_segment_run_timers(TimestampTz at, int32 max_rows, int *customers_left, int64 *failed)
{
	static SvcStatement statement = {
		"SELECT customer_id::text, segment_id::text FROM @extschema@.svc_segment_timer"
		" WHERE customer_id IN (SELECT customer_id FROM @extschema@.svc_segment_timer"
		"   WHERE due_at <= $1 ORDER BY due_at LIMIT $2) AND due_at <= $1"
		" ORDER BY customer_id, segment_id",
		2, {TIMESTAMPTZOID, INT4OID}
	};
	Datum		values[2] = {TimestampTzGetDatum(at), Int32GetDatum(Min(max_rows, *customers_left))};
	uint64		rows = svc_statement_run(&statement, values, NULL);
	SPITupleTable *due = SPI_tuptable;
	int64		answers = 0;
	uint64		row = 0;

	while (row < rows)
	{
		Turn		turn = {.at = at, .customers_left = customers_left};
		char	   *customer_id = SPI_getvalue(due->vals[row], due->tupdesc, 1);

		CHECK_FOR_INTERRUPTS();
		for (; row < rows && strcmp(SPI_getvalue(due->vals[row], due->tupdesc, 1), customer_id) == 0; row++)
			turn.segment_ids = lappend(turn.segment_ids, SPI_getvalue(due->vals[row], due->tupdesc, 2));
		turn.id = CStringGetTextDatum(customer_id);
		if (!svc_attempt(ask_in_turn, &turn, SVC_CUSTOMER, turn.id, turn.id))
			(*failed)++;
		else if (turn.done)
			answers += list_length(turn.segment_ids);
	}
	return answers;
}

/*
 * Sync the segments whose turn it is; those that somebody else has locked, or whose
 * customers, are left for the next time, and keep no others back, nor do those that
 * fail.  Returns how many it were.
 */
int64
svc_segment_run_syncs(TimestampTz at, int32 max_rows, int *customers_left, int64 *failed)
{
	static SvcStatement statement = {
		"SELECT id::text, last_synced_at::timestamptz FROM @extschema@.svc_customer_segment"
		/* (one that people fill is pruned if that could not be done when it got its parent) */
		" WHERE status = 'active' AND (automated OR (parent_segment_id IS NOT NULL AND last_synced_at IS NULL))"
		"  AND (last_synced_at IS NULL OR last_synced_at <= $1 -"
		"   CASE sync_frequency WHEN 'hourly' THEN interval '1 hour' WHEN 'daily' THEN interval '24 hours'"
		"    WHEN 'weekly' THEN interval '168 hours' WHEN 'realtime' THEN CASE WHEN id = ANY ($2) THEN $3 END END)"
		" ORDER BY last_synced_at NULLS FIRST, id",
		3, {TIMESTAMPTZOID, TEXTARRAYOID, INTERVALOID}
	};
	Interval	refresh = {.time = svc_segment_refresh * USECS_PER_SEC};
	Datum		values[3] = {TimestampTzGetDatum(at)};
	int64		syncs = 0;
	SPITupleTable *due;
	uint64		rows;

	/* (an old snapshot does not show all customers) */
	if (IsolationUsesXactSnapshot())
		return 0;
	values[1] = svc_segment_list_counting();
	values[2] = IntervalPGetDatum(&refresh);
	rows = svc_statement_run(&statement, values, NULL);
	due = SPI_tuptable;
	for (uint64 row = 0; row < rows && syncs < max_rows; row++)
	{
		bool		isnull;
		Turn		turn = {.at = at, .customers_left = customers_left, .id = SPI_getbinval(due->vals[row], due->tupdesc, 1, &isnull)};

		CHECK_FOR_INTERRUPTS();
		turn.synced_at = SPI_getbinval(due->vals[row], due->tupdesc, 2, &turn.never_synced);
		if (!svc_attempt(sync_in_turn, &turn, SVC_CUSTOMER_SEGMENT, (Datum) 0, turn.id))
			(*failed)++;
		else
			syncs += turn.done;
	}
	return syncs;
}

static void
ask_in_turn(void *state)
{
	Turn	   *turn = state;

	svc_clock_run_at(turn->at, run_turn, turn);
}

static void
run_turn(void *state)
{
	Turn	   *turn = state;
	ListCell   *cell;

	if (!svc_membership_try_take(turn->id))
		return;
	(*turn->customers_left)--;
	foreach(cell, svc_segment_ask(turn->id, turn->segment_ids, turn->at))
		forget_timer(turn->id, lfirst(cell));
	turn->done = true;
}

/* Of a segment that does not follow time any more. */
static void
forget_timer(Datum customer_id, const char *segment_id)
{
	static SvcStatement statement = {
		"DELETE FROM @extschema@.svc_segment_timer WHERE customer_id = $1 AND segment_id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id, CStringGetTextDatum(segment_id)};

	(void) svc_statement_run(&statement, values, NULL);
}

static void
sync_in_turn(void *state)
{
	Turn	   *turn = state;

	svc_clock_run_at(turn->at, run_sync, turn);
}

static void
run_sync(void *state)
{
	Turn	   *turn = state;
	SvcNote		no_note = {0};
	SvcSyncScope scope;
	SvcSegment	segment;

	/* the first of these is before we read it: then it stays what it is */
	if (!svc_membership_try_hold() || !svc_segment_read(&segment, turn->id) ||
		!svc_segment_try_lock_differences(&segment, &scope, turn->customers_left) || !try_lock_due(turn))
		return;
	svc_segment_sync(&segment, &scope, &no_note);
	turn->done = true;
}

/* Lock its row, unless somebody else has, or has just synced it. */
static bool
try_lock_due(const Turn *turn)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_customer_segment"
		" WHERE id = $1 AND status = 'active' AND last_synced_at IS NOT DISTINCT FROM $2"
		" FOR NO KEY UPDATE SKIP LOCKED",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {turn->id, turn->synced_at};
	bool		isnull[2] = {false, turn->never_synced};

	return svc_statement_run(&statement, values, isnull) > 0;
}
