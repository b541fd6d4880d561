/*-------------------------------------------------------------------------
 *
 * due.c
 *	  What time alone makes due, done by a scheduler.
 *
 * Nothing here is needed for a right answer to a consume: whoever reads a grant
 * sees it as if all that was due had been done (grant.c), and has what its
 * subscription owes done first (subscription_due.c).  It is done so that the
 * events come in time, and so that tables and indexes say what is so.
 *
 * Locks: each task takes the rows that are due, oldest first, and skips those
 * that somebody else has locked; so several can run at once, and none waits for
 * another.  A row that is skipped is done by who has it, or the next time.  The
 * rows stay locked until the end of the transaction: keep max_rows small.  An
 * invoice is locked before its subscription, a subscription before its grants,
 * and only for a change of these: all that will change at once, in the order of
 * consumes (plan_grant.c).  A row that cannot be done stays for the next time
 * and keeps no other back (attempt.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "attempt.h"
#include "booking.h"
#include "catalog.h"
#include "clock.h"
#include "lifecycle.h"
#include "membership.h"
#include "segment_due.h"
#include "statement.h"
#include "subscription_due.h"
#include "usage_close.h"
#include "usage_fold.h"

/* How much of each task was done. */
typedef struct Done
{
	int64		lapsed;
	int64		reset;
	int64		expired;
	int64		overdue;
	int64		noted;
	int64		memberships;
	int64		synced;
	int64		aggregated;
	int64		completed;
	int64		marked;
	int64		failed;
	SvcDueCount subscriptions;
} Done;

/* A row whose turn it is. */
typedef struct Turn
{
	TimestampTz at;
	Datum		customer_id;
	Datum		id;
	Done	   *done;
} Turn;

static SvcStatement with_lapsed_holds = {
	"SELECT customer_id::text, id::text FROM @extschema@.svc_entitlement"
	" WHERE (customer_id, id) IN (SELECT customer_id, entitlement_id FROM @extschema@.svc_entitlement_hold"
	"  WHERE status = 'open' AND expires_at <= $1 ORDER BY expires_at LIMIT $2)"
	" FOR NO KEY UPDATE SKIP LOCKED",
	2, {TIMESTAMPTZOID, INT4OID}
};

static SvcStatement due_grants = {
	"SELECT customer_id::text, id::text FROM @extschema@.svc_entitlement"
	" WHERE status IN ('active', 'exhausted', 'suspended') AND least(reset_at, valid_until) <= $1"
	/* first its subscription */
	"  AND NOT EXISTS (SELECT FROM @extschema@.svc_customer k"
	"   WHERE k.id = svc_entitlement.customer_id AND k.changes_at <= $1)"
	" ORDER BY least(reset_at, valid_until) LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
	2, {TIMESTAMPTZOID, INT4OID}
};

static SvcStatement overdue_invoices = {
	"SELECT customer_id::text, id::text, due_date::timestamptz FROM @extschema@.svc_invoice"
	" WHERE status IN ('open', 'sent', 'partial') AND due_date <= $1 AND amount_due > 0"
	"  AND (due_date, customer_id, id) > ($3, $4, $5)"
	" ORDER BY due_date, customer_id, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
	5, {TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
};

static SvcStatement due_subscriptions = {
	"SELECT customer_id::text, id::text, due_at::timestamptz,"
	"  status = 'trialing' OR cancel_at_period_end OR scheduled_plan_id IS NOT NULL"
	" FROM @extschema@.svc_subscription"
	" WHERE due_at <= $1 AND (due_at, customer_id, id) > ($3, $4, $5)"
	" ORDER BY due_at, customer_id, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
	5, {TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
};

static SvcStatement used_subscriptions = {
	"SELECT customer_id::text, id::text, '-infinity'::timestamptz FROM @extschema@.svc_subscription"
	" WHERE (customer_id, id) IN (SELECT customer_id, subscription_id FROM @extschema@.svc_entitlement"
	"  WHERE NOT usage_noted AND subscription_id IS NOT NULL AND (customer_id, subscription_id) > ($4, $5)"
	"  ORDER BY customer_id, subscription_id LIMIT $2) AND $1 > $3"
	" ORDER BY customer_id, id FOR NO KEY UPDATE SKIP LOCKED",
	5, {TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
};

static void attempt_each(SvcStatement *statement, TimestampTz at, int32 max_rows,
						 void (*work) (void *state), SvcNoun noun, Done *done);
static void lock_grants(SPITupleTable *due, uint64 rows);
static void mark_overdue(void *state);
static void catch_up_subscription(void *state);
static void note_usage(void *state);
static void write_usage(void *state);
static void put_task(ReturnSetInfo *result, const char *task, int64 done);
static void catch_up_grants(SvcStatement *statement, TimestampTz at, int32 max_rows, Done *done);
static void catch_up_grant(void *state);

PG_FUNCTION_INFO_V1(svc_run_due);

/*
 * svc_run_due(at, max_rows) -> task, done
 *
 * Each task does at most max_rows rows, and what is about segments is about at most so
 * many customers as can be locked (membership.h).  Run again at once, there is nothing
 * left to do, or the next rows.
 */
Datum
svc_run_due(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz at = svc_argument_at(fcinfo, 0);
	int32		max_rows = svc_argument_max_rows(fcinfo, 1);
	int			customers_left = SVC_MEMBERSHIP_TAKEN_MAX;
	Done		done = {0};
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	attempt_each(&due_subscriptions, at, max_rows, catch_up_subscription, SVC_SUBSCRIPTION, &done);
	attempt_each(&overdue_invoices, at, max_rows, mark_overdue, SVC_INVOICE, &done);
	catch_up_grants(&with_lapsed_holds, at, max_rows, &done);
	catch_up_grants(&due_grants, at, max_rows, &done);
	attempt_each(&used_subscriptions, at, max_rows, note_usage, SVC_SUBSCRIPTION, &done);
	done.aggregated = svc_usage_fold_all(max_rows, &done.failed);
	done.completed = svc_usage_complete(at, max_rows, &done.failed);
	done.marked = svc_usage_mark_aggregated(max_rows, &done.failed);
	done.memberships = svc_segment_run_timers(at, max_rows, &customers_left, &done.failed);
	done.synced = svc_segment_run_syncs(at, max_rows, &customers_left, &done.failed);
	put_task(result, "end trials", done.subscriptions.trials);
	put_task(result, "change plans", done.subscriptions.changes);
	put_task(result, "renew subscriptions", done.subscriptions.renewals);
	put_task(result, "cancel subscriptions", done.subscriptions.cancellations);
	put_task(result, "mark invoices overdue", done.overdue);
	put_task(result, "lapse holds", done.lapsed);
	put_task(result, "reset entitlements", done.reset);
	put_task(result, "expire entitlements", done.expired);
	put_task(result, "note usage", done.noted);
	put_task(result, "aggregate usage", done.aggregated);
	put_task(result, "complete usage", done.completed);
	put_task(result, "mark usage aggregated", done.marked);
	put_task(result, "ask about segments", done.memberships);
	put_task(result, "sync segments", done.synced);
	put_task(result, "failed", done.failed);
	svc_call_end(&call);
	return (Datum) 0;
}

static void
put_task(ReturnSetInfo *result, const char *task, int64 done)
{
	Datum		values[2] = {CStringGetTextDatum(task), Int64GetDatum(done)};
	bool		isnull[2] = {false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

/*
 * Do a piece of work on each of the rows that a statement finds and locks, as
 * far as it can be done (attempt.c), and go past those that fail: else the
 * oldest of them would keep all others back.
 */
static void
attempt_each(SvcStatement *statement, TimestampTz at, int32 max_rows, void (*work) (void *state),
			 SvcNoun noun, Done *done)
{
	Datum		values[5] = {TimestampTzGetDatum(at), Int32GetDatum(max_rows), TimestampTzGetDatum(DT_NOBEGIN),
	CStringGetTextDatum(""), CStringGetTextDatum("")};
	int32		left = max_rows;
	uint64		rows = 1;

	while (left > 0 && rows > 0)
	{
		SPITupleTable *due;

		values[1] = Int32GetDatum(left);
		rows = svc_statement_run(statement, values, NULL);
		due = SPI_tuptable;
		if (statement == &due_subscriptions)
			lock_grants(due, rows);
		for (uint64 row = 0; row < rows; row++)
		{
			Turn		turn = {.at = at, .done = done};
			Done		before = *done;
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			turn.customer_id = values[3] = SPI_getbinval(due->vals[row], due->tupdesc, 1, &isnull);
			turn.id = values[4] = SPI_getbinval(due->vals[row], due->tupdesc, 2, &isnull);
			values[2] = SPI_getbinval(due->vals[row], due->tupdesc, 3, &isnull);
			if (svc_attempt(work, &turn, noun, turn.customer_id, turn.id))
				left--;
			else
			{
				*done = before;
				done->failed++;
			}
		}
	}
}

/* Those of all subscriptions whose grants will change, at once: plan_grant.c. */
static void
lock_grants(SPITupleTable *due, uint64 rows)
{
	SvcSubscriptionKey *keys = palloc(rows * sizeof(SvcSubscriptionKey));
	int			count = 0;
	bool		isnull;

	for (uint64 row = 0; row < rows; row++)
	{
		if (!DatumGetBool(SPI_getbinval(due->vals[row], due->tupdesc, 4, &isnull)))
			continue;
		keys[count].customer_id = SPI_getbinval(due->vals[row], due->tupdesc, 1, &isnull);
		keys[count].id = SPI_getbinval(due->vals[row], due->tupdesc, 2, &isnull);
		count++;
	}
	svc_plan_lock_all_grants(keys, count);
}

static void
mark_overdue(void *state)
{
	static SvcStatement subscription = {
		"SELECT subscription_id::text FROM @extschema@.svc_invoice"
		" WHERE customer_id = $1 AND id = $2 AND subscription_id IS NOT NULL",
		2, {TEXTOID, TEXTOID}
	};
	Turn	   *turn = state;
	SvcInstant	instant = {.at = turn->at};
	Datum		keys[2] = {turn->customer_id, turn->id};
	SvcSubscriptionKey key = {turn->customer_id};
	bool		isnull;

	if (svc_statement_run(&subscription, keys, NULL) > 0)
	{
		/* who has it locked may wait for this invoice: not now */
		key.id = svc_statement_value(0, 1, &isnull);
		if (!svc_subscription_lock(&key, false))
			return;
	}
	turn->done->overdue += svc_lifecycle_catch_up(SVC_INVOICE, turn->customer_id, turn->id, instant);
}

static void
catch_up_subscription(void *state)
{
	Turn	   *turn = state;
	SvcSubscriptionKey key = {turn->customer_id, turn->id};

	svc_subscription_do_due(&key, turn->at, &turn->done->subscriptions);
}

static void
note_usage(void *state)
{
	Turn	   *turn = state;

	svc_clock_run_at(turn->at, write_usage, turn);
	turn->done->noted++;
}

static void
write_usage(void *state)
{
	Turn	   *turn = state;
	SvcSubscriptionKey key = {turn->customer_id, turn->id};

	svc_plan_note_usage(&key);
}

/* Write down what time has done to the grants that a statement finds and locks. */
static void
catch_up_grants(SvcStatement *statement, TimestampTz at, int32 max_rows, Done *done)
{
	Datum		values[2] = {TimestampTzGetDatum(at), Int32GetDatum(max_rows)};
	uint64		rows = svc_statement_run(statement, values, NULL);
	SPITupleTable *due = SPI_tuptable;

	for (uint64 row = 0; row < rows; row++)
	{
		bool		isnull;
		Turn		turn = {.at = at, .done = done};
		Done		before = *done;

		CHECK_FOR_INTERRUPTS();
		turn.customer_id = SPI_getbinval(due->vals[row], due->tupdesc, 1, &isnull);
		turn.id = SPI_getbinval(due->vals[row], due->tupdesc, 2, &isnull);
		if (!svc_attempt(catch_up_grant, &turn, SVC_ENTITLEMENT, turn.customer_id, turn.id))
		{
			*done = before;
			done->failed++;
		}
	}
}

static void
catch_up_grant(void *state)
{
	Turn	   *turn = state;
	SvcGrant	grant;

	if (!svc_grant_load(&grant, turn->customer_id, turn->id, turn->at))
		return;
	turn->done->reset += grant.resets > 0;
	svc_booking_renew(turn->customer_id, &grant);
	turn->done->lapsed += svc_booking_lapse(turn->customer_id, &grant);
	if (grant.state == SVC_EXPIRED && strcmp(grant.status, "expired") != 0)
	{
		svc_booking_expire(turn->customer_id, &grant);
		turn->done->expired++;
	}
}
