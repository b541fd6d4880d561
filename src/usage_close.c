/*-------------------------------------------------------------------------
 *
 * usage_close.c
 *	  The end of periods of usage: complete when they are over, final when they are
 *	  billed, and raw records that are no longer needed.
 *
 * A roll-up is *complete* when its period is over and there is nothing left to roll up
 * in it.  What comes late all the same makes it partial again.
 *
 * *Final* is all usage of a customer up to an instant, closed_until, the end of a
 * period: of every resource and in periods of every kind.  Whoever records something
 * about an earlier time later has it booked at that instant (usage_row.c), in periods
 * that are still open.  So a final figure never changes.
 *
 * Who closes is alone with the customer: recorders hold it FOR KEY SHARE until they
 * commit, and we take it FOR UPDATE, and so wait for all that are on their way.  What
 * they have recorded is then visible, and rolled up; whoever comes after us sees the
 * new closed_until.
 *
 * Raw records of what is final can be deleted; sums since ever are the sums of
 * roll-ups.  They become "aggregated" by and by, in svc_run_due(), which is no event of
 * theirs: there are too many of them.
 *
 * Locks: the customer FOR UPDATE; then as for rolling up (usage_fold.c).  What
 * completes roll-ups, or marks records, takes these alone and skips what is locked.  So
 * a transaction that has completed all customers', by svc_run_due(), and goes on to roll
 * up one whose period somebody closes meanwhile, fails with 40P01, or the other does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/xid8.h"

#include "argument.h"
#include "attempt.h"
#include "calendar.h"
#include "catalog.h"
#include "clock.h"
#include "error.h"
#include "gate.h"
#include "lifecycle.h"
#include "meter.h"
#include "snapshot.h"
#include "statement.h"
#include "usage_close.h"
#include "usage_fold.h"
#include "usage_row.h"
#include "usage_sql.h"

/* A period that is being closed. */
typedef struct Closing
{
	Datum		customer_id;
	SvcPeriod	kind;
	TimestampTz end;			/* of the period */
	SvcNote		note;			/* goes with the events */
} Closing;

/* What is to be completed. */
typedef struct Completion
{
	const char *customer_id;	/* empty: of all customers */
	bool		skips_locked;
	TimestampTz upto;
	int32		max_rows;
	int64		completed;
} Completion;

/* What is to be marked. */
typedef struct Marking
{
	Datum		customer_id;
	int32		max_rows;
	int32		marked;
} Marking;

static SvcPeriod kind_argument(FunctionCallInfo fcinfo, int n);
static void find_period(Closing *closing, TimestampTz at);
static void refuse_own_records(const Closing *closing);
static void finalize_customer(const Closing *closing);
static TimestampTz advance(const Closing *closing);
static void complete_customer(Datum customer_id, TimestampTz upto);
static void complete_rows(void *state);
static void mark_rows(void *state);

PG_FUNCTION_INFO_V1(svc_aggregate_usage);
PG_FUNCTION_INFO_V1(svc_finalize_usage);
PG_FUNCTION_INFO_V1(svc_purge_usage);

/*
 * svc_aggregate_usage(customer_id, upto) -> bigint
 *
 * Rolls up what is new, of one customer or of all, and completes periods that have
 * ended by "upto", the start of the transaction if null or later.
 */
Datum
svc_aggregate_usage(PG_FUNCTION_ARGS)
{
	TimestampTz upto = svc_argument_at(fcinfo, 1);
	int64		failed = 0;
	int64		folded;
	SvcCall		call;

	svc_call_begin(&call, fcinfo);
	if (PG_ARGISNULL(0))
	{
		folded = svc_usage_fold_all(PG_INT32_MAX, &failed);
		(void) svc_usage_complete(upto, PG_INT32_MAX, &failed);
	}
	else
	{
		Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
		SvcFoundRow row;

		svc_gate_read_row(&row, SVC_CUSTOMER, (Datum) 0, customer_id);
		folded = svc_usage_fold_customer(customer_id);
		complete_customer(customer_id, upto);
	}
	svc_call_end(&call);
	PG_RETURN_INT64(folded);
}

/*
 * svc_finalize_usage(customer_id, period_type, at, reason) -> timestamptz
 *
 * Closes the customer's usage up to the end of the period that "at" is in, which must
 * be over; where it is closed up to already, if that is later.
 */
Datum
svc_finalize_usage(PG_FUNCTION_ARGS)
{
	Closing		closing = {.customer_id = svc_argument_id(fcinfo, 0, "customer id"),
	.kind = kind_argument(fcinfo, 1)};
	TimestampTz at;
	TimestampTz closed_until;
	SvcFoundRow row;
	SvcCall		call;

	svc_argument_not_null(fcinfo, 2, "instant");
	at = svc_argument_at(fcinfo, 2);
	if (!PG_ARGISNULL(3))
	{
		closing.note.name = "reason";
		closing.note.new_value = text_to_cstring(PG_GETARG_TEXT_PP(3));
	}

	svc_call_begin(&call, fcinfo);
	svc_gate_read_committed("usage is finalized",
							"A record that this transaction cannot see would be missing from what is final.");
	svc_gate_take_customer(closing.customer_id);
	svc_gate_read_row(&row, SVC_CUSTOMER, (Datum) 0, closing.customer_id);
	(void) svc_usage_fold_customer(closing.customer_id);
	find_period(&closing, at);
	complete_customer(closing.customer_id, closing.end);
	closed_until = advance(&closing);
	/* what we know of it, as one who has recorded, is out of date: also by triggers */
	svc_usage_row_forget();
	refuse_own_records(&closing);
	finalize_customer(&closing);
	svc_call_end(&call);
	PG_RETURN_TIMESTAMPTZ(closed_until);
}

/*
 * svc_purge_usage(before) -> bigint
 *
 * Deletes raw records of what is final and before an instant; disputed ones stay, and
 * what is not rolled up, which svc_verify() would tell of.
 */
Datum
svc_purge_usage(PG_FUNCTION_ARGS)
{
	static SvcStatement note = {
		"UPDATE @extschema@.svc_usage_fold f SET purged_until = greatest(f.purged_until, least($1, c.closed_until))"
		" FROM @extschema@.svc_customer c WHERE c.id = f.customer_id AND c.closed_until IS NOT NULL"
		"  AND coalesce(f.purged_until, '-infinity') < least($1, c.closed_until)",
		1, {TIMESTAMPTZOID}
	};
	static SvcStatement purge = {
		"DELETE FROM @extschema@.svc_usage u USING @extschema@.svc_usage_fold f"
		" WHERE f.customer_id = u.customer_id AND u.booked_at < f.purged_until AND u.booked_at < $1 AND u.status <> 'disputed'"
		"  AND NOT (" SVC_USAGE_IS_NEW("u", "f", "$2") ")",
		2, {TIMESTAMPTZOID, INT8OID}
	};
	Datum		values[2];
	int64		purged;
	SvcCall		call;

	svc_argument_not_null(fcinfo, 0, "instant");
	values[0] = PG_GETARG_DATUM(0);
	values[1] = svc_cluster();
	svc_call_begin(&call, fcinfo);
	svc_statement_run(&note, values, NULL);
	purged = (int64) svc_lifecycle_rewrite(&purge, values, NULL);
	svc_call_end(&call);
	PG_RETURN_INT64(purged);
}

/*
 * Complete roll-ups, of whichever customer, whose periods have ended; how many.  Where
 * that fails it is done one customer at a time.
 */
int64
svc_usage_complete(TimestampTz upto, int32 max_rows, int64 *failed)
{
	static SvcStatement find = {
		"SELECT t.customer_id::text FROM @extschema@.svc_customer_usage t"
		" WHERE t.status = 'partial' AND t.is_folded AND t.period_end <= $1"
		" GROUP BY t.customer_id ORDER BY min(t.period_end), t.customer_id",
		1, {TIMESTAMPTZOID}
	};
	Completion	completion = {"", true, upto, max_rows};
	Datum		until = TimestampTzGetDatum(Min(upto, svc_clock_now()));
	uint64		rows;
	SPITupleTable *due;
	int64		completed = 0;

	if (svc_attempt_work(complete_rows, &completion) == NULL)
		return completion.completed;
	rows = svc_statement_run(&find, &until, NULL);
	due = SPI_tuptable;
	for (uint64 row = 0; row < rows && completed < max_rows; row++)
	{
		bool		isnull;
		Datum		customer_id = SPI_getbinval(due->vals[row], due->tupdesc, 1, &isnull);

		completion.customer_id = TextDatumGetCString(customer_id);
		completion.max_rows = max_rows - (int32) completed;
		completion.completed = 0;
		if (svc_attempt(complete_rows, &completion, SVC_CUSTOMER, (Datum) 0, customer_id))
			completed += completion.completed;
		else
			(*failed)++;
	}
	return completed;
}

/*
 * Raw records of what is final are aggregated: so many of them at a time.  Returns how
 * many.
 */
int64
svc_usage_mark_aggregated(int32 max_rows, int64 *failed)
{
	static SvcStatement find = {
		"SELECT customer_id::text FROM @extschema@.svc_usage_fold WHERE to_mark_from IS NOT NULL ORDER BY customer_id", 0
	};
	uint64		rows = svc_statement_run(&find, NULL, NULL);
	SPITupleTable *due = SPI_tuptable;
	int32		left = max_rows;

	for (uint64 row = 0; row < rows && left > 0; row++)
	{
		Marking		marking = {.max_rows = left};
		bool		isnull;

		marking.customer_id = SPI_getbinval(due->vals[row], due->tupdesc, 1, &isnull);
		if (svc_attempt(mark_rows, &marking, SVC_CUSTOMER, (Datum) 0, marking.customer_id))
			left -= marking.marked;
		else
			(*failed)++;
	}
	return max_rows - left;
}

/* (closed_until is read when the customer's state is locked: so it stays) */
#define TO_MARK \
	"u.customer_id = $1 AND u.status = 'recorded' AND u.booked_at >= $2" \
	" AND u.booked_at < (SELECT c.closed_until FROM @extschema@.svc_customer c WHERE c.id = $1)"

static void
mark_rows(void *state)
{
	static const SvcDeed deed = {.noun = SVC_USAGE, .action = "aggregate", .counters_only = true};
	static SvcStatement lock = {
		"SELECT to_mark_from::timestamptz FROM @extschema@.svc_usage_fold"
		" WHERE customer_id = $1 AND to_mark_from IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED",
		1, {TEXTOID}
	};
	static SvcStatement mark = {
		"UPDATE @extschema@.svc_usage SET status = 'aggregated' WHERE customer_id = $1 AND id = ANY (ARRAY("
		"  SELECT u.id FROM @extschema@.svc_usage u WHERE " TO_MARK " LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED))",
		3, {TEXTOID, TIMESTAMPTZOID, INT4OID}
	};
	/* (some may have been skipped) */
	static SvcStatement done = {
		"UPDATE @extschema@.svc_usage_fold SET to_mark_from = NULL WHERE customer_id = $1 AND NOT EXISTS ("
		"  SELECT FROM @extschema@.svc_usage u WHERE " TO_MARK ")",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	Marking    *marking = state;
	Datum		values[3] = {marking->customer_id, 0, Int32GetDatum(marking->max_rows)};
	bool		isnull;

	if (svc_statement_run(&lock, values, NULL) == 0)
		return;
	values[1] = svc_statement_value(0, 1, &isnull);
	marking->marked = (int32) svc_lifecycle_write(&deed, &mark, values, NULL);
	if (marking->marked < marking->max_rows)
		svc_statement_run(&done, values, NULL);
}

/* ---- closing ---- */

static SvcPeriod
kind_argument(FunctionCallInfo fcinfo, int n)
{
	svc_argument_not_null(fcinfo, n, "period type");
	return svc_calendar_kind(text_to_cstring(PG_GETARG_TEXT_PP(n)));
}

/* The period, in the time zone that the customer is rolled up in; it must be over. */
static void
find_period(Closing *closing, TimestampTz at)
{
	static SvcStatement statement = {
		"SELECT timezone::text FROM @extschema@.svc_usage_fold WHERE customer_id = $1", 1, {TEXTOID}
	};
	Datum		values[1] = {closing->customer_id};

	svc_statement_run(&statement, values, NULL);
	closing->end = svc_calendar_span(closing->kind, at, svc_period_zone(svc_statement_text(0, 1))).end;
	if (closing->end > svc_clock_now())
		ereport(ERROR,
				(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
				 errmsg("cannot finalize usage of customer \"%s\": the %s is not over",
						TextDatumGetCString(closing->customer_id), svc_calendar_name(closing->kind)),
				 errdetail("It ends at %s.", timestamptz_to_str(closing->end)),
				 errhint("Finalize a period that has ended.")));
}

/* They are not rolled up yet, and would be missing for ever. */
static void
refuse_own_records(const Closing *closing)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_usage WHERE customer_id = $1 AND xid = $2 AND cluster = $3 AND booked_at < $4 LIMIT 1",
		4, {TEXTOID, XID8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {closing->customer_id, FullTransactionIdGetDatum(GetTopFullTransactionId()),
	svc_cluster(), TimestampTzGetDatum(closing->end)};

	if (svc_statement_run(&statement, values, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("usage cannot be finalized in the transaction that has recorded it"),
				 errdetail("Customer \"%s\" has records of this transaction, which the next one rolls up.",
						   TextDatumGetCString(closing->customer_id)),
				 errhint("Commit first.")));
}

static void
finalize_customer(const Closing *closing)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer_usage SET status = 'finalized'"
		" WHERE customer_id = $1 AND is_folded AND status = 'complete' AND period_end <= $2",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	SvcDeed		deed = {.noun = SVC_CUSTOMER_USAGE, .action = "finalize", .note = closing->note};
	Datum		values[2] = {closing->customer_id, TimestampTzGetDatum(closing->end)};

	(void) svc_lifecycle_write(&deed, &statement, values, NULL);
}

/* Up to where the customer's usage is final now. */
static TimestampTz
advance(const Closing *closing)
{
	static const SvcDeed deed = {.noun = SVC_CUSTOMER, .action = "update", .counters_only = true};
	static SvcStatement mark = {
		"UPDATE @extschema@.svc_usage_fold f SET to_mark_from = coalesce(f.to_mark_from, c.closed_until, '-infinity')"
		" FROM @extschema@.svc_customer c WHERE c.id = $1 AND f.customer_id = c.id"
		"  AND coalesce(c.closed_until < $2, true)",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	static SvcStatement move = {
		"UPDATE @extschema@.svc_customer SET closed_until = $2 WHERE id = $1 AND coalesce(closed_until < $2, true)",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	static SvcStatement read = {
		"SELECT closed_until::timestamptz FROM @extschema@.svc_customer WHERE id = $1", 1, {TEXTOID}
	};
	Datum		values[2] = {closing->customer_id, TimestampTzGetDatum(closing->end)};
	bool		isnull;

	svc_statement_run(&mark, values, NULL);
	(void) svc_lifecycle_write(&deed, &move, values, NULL);
	svc_statement_run(&read, values, NULL);
	return DatumGetTimestampTz(svc_statement_value(0, 1, &isnull));
}

/* ---- completing ---- */

/* What a roll-up amounts to, to be compared: its costs, or the sum of its figures. */
#define AMOUNT(u) \
	"CASE WHEN t.currency = p.currency THEN " #u ".estimated_cost ELSE " SVC_FIGURES(FIGURE_##u, " + ") \
	" + coalesce((SELECT sum(e.value::numeric) FROM jsonb_each_text(" #u ".usage_by_resource) e), 0) END"
#define FIGURE_t(column)	"coalesce(t." #column ", 0)"
#define FIGURE_p(column)	"coalesce(p." #column ", 0)"

/* Change against the period before, in percent of what that amounts to. */
#define CHANGE \
	"(SELECT round((" AMOUNT(t) " - (" AMOUNT(p) ")) * 100 / nullif(abs(" AMOUNT(p) "), 0), 2)" \
	" FROM @extschema@.svc_customer_usage p" \
	" WHERE p.customer_id = t.customer_id AND p.period_type = t.period_type AND p.is_folded" \
	"  AND p.period_start = @extschema@.svc_period_start(t.period_type, t.period_start - interval '1 microsecond'," \
	"   (SELECT z.timezone FROM @extschema@.svc_usage_fold z WHERE z.customer_id = t.customer_id)))"

/* Complete those of one customer, and wait for who has them locked. */
static void
complete_customer(Datum customer_id, TimestampTz upto)
{
	Completion	completion = {TextDatumGetCString(customer_id), false, upto, PG_INT32_MAX};

	complete_rows(&completion);
}

/*
 * Complete roll-ups whose periods have ended by an instant, and by now, if everything in
 * them is rolled up, and so many of them: of one customer, or of those that nobody else
 * has locked.
 *
 * What came late to a period changes how the next one compares, if that is complete
 * already.  If somebody has that locked the period is left for the next time.
 */
static void
complete_rows(void *state)
{
	static const SvcDeed deed = {.noun = SVC_CUSTOMER_USAGE, .action = "aggregate"};
	Completion *completion = state;
	Oid			types[5] = {TIMESTAMPTZOID, INT8OID, INT4OID, TEXTOID, XID8OID};
	Datum		values[5] = {TimestampTzGetDatum(Min(completion->upto, svc_clock_now())), svc_cluster(),
		Int32GetDatum(completion->max_rows), CStringGetTextDatum(completion->customer_id),
	FullTransactionIdGetDatum(svc_usage_horizon())};
	bool		one = completion->customer_id[0] != '\0';
	const char *locked = completion->skips_locked ? " SKIP LOCKED" : "";
	StringInfoData sql;
	bool		isnull;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "WITH new AS MATERIALIZED (SELECT u.customer_id, min(u.booked_at) AS since FROM @extschema@.svc_usage u"
					 "   JOIN @extschema@.svc_usage_fold f ON f.customer_id = u.customer_id"
					 "  WHERE u.xid >= $5 AND (%s) AND " SVC_USAGE_IS_NEW("u", "f", "$2") " GROUP BY u.customer_id),"
					 " due AS MATERIALIZED (SELECT t.customer_id, t.id, t.period_type, t.period_end FROM @extschema@.svc_customer_usage t"
					 "  WHERE t.status = 'partial' AND t.is_folded AND t.period_end <= $1 AND (%s)"
					 "   AND NOT EXISTS (SELECT FROM new n WHERE n.customer_id = t.customer_id AND n.since < t.period_end)"
					 "  ORDER BY t.period_end LIMIT $3 FOR NO KEY UPDATE OF t%s),"
					 " follower AS MATERIALIZED (SELECT d.customer_id, d.id AS due_id, t.id FROM due d"
					 "  JOIN @extschema@.svc_customer_usage t ON t.customer_id = d.customer_id AND t.period_type = d.period_type"
					 "   AND t.period_start = d.period_end AND t.is_folded AND t.status = 'complete'),"
					 " next AS MATERIALIZED (SELECT t.customer_id, t.id FROM follower f"
					 "  JOIN @extschema@.svc_customer_usage t ON t.customer_id = f.customer_id AND t.id = f.id"
					 "  WHERE t.status = 'complete' FOR NO KEY UPDATE OF t%s),"
					 " done AS (UPDATE @extschema@.svc_customer_usage t SET status = 'complete', change_from_previous = " CHANGE
					 "  FROM (SELECT d.customer_id, d.id, true AS is_due FROM due d"
					 "    WHERE NOT EXISTS (SELECT FROM follower f WHERE f.customer_id = d.customer_id AND f.due_id = d.id"
					 "     AND NOT EXISTS (SELECT FROM next n WHERE n.customer_id = f.customer_id AND n.id = f.id))"
					 "   UNION ALL SELECT customer_id, id, false FROM next) d"
					 "  WHERE t.customer_id = d.customer_id AND t.id = d.id"
					 "   AND (d.is_due OR t.change_from_previous IS DISTINCT FROM " CHANGE ")"
					 "  RETURNING d.is_due)"
					 " SELECT count(*) FILTER (WHERE is_due) FROM done",
					 one ? "u.customer_id = $4" : "$4 = ''", one ? "t.customer_id = $4" : "$4 = ''",
					 locked, locked);
	svc_lifecycle_write_once(&deed, sql.data, lengthof(types), types, values, NULL);
	completion->completed = DatumGetInt64(svc_statement_value(0, 1, &isnull));
}
