/*-------------------------------------------------------------------------
 *
 * due.c
 *	  What time alone makes due, done by a scheduler.
 *
 * Nothing here is needed for a right answer: whoever reads a grant sees it as
 * if all that was due had been done (grant.c).  It is done so that the events
 * come in time, and so that tables and indexes say what is so.
 *
 * Locks: each task takes the rows that are due, oldest first, and skips those
 * that somebody else has locked; so several can run at once, and none waits.
 * A row that is skipped is done by who has it, or the next time.  The rows stay
 * locked until the end of the transaction: keep max_rows small.
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
#include "booking.h"
#include "catalog.h"
#include "statement.h"

#define ROWS_MAX	100000

/* How much of each task was done. */
typedef struct Done
{
	int64		lapsed;
	int64		reset;
	int64		expired;
} Done;

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
	" ORDER BY least(reset_at, valid_until) LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
	2, {TIMESTAMPTZOID, INT4OID}
};

static int32 rows_argument(FunctionCallInfo fcinfo, int n);
static void put_task(ReturnSetInfo *result, const char *task, int64 done);
static void catch_up_grants(FunctionCallInfo fcinfo, SvcStatement *statement, TimestampTz at,
							int32 max_rows, Done *done);
static void catch_up_grant(Datum customer_id, Datum id, TimestampTz at, Done *done);

PG_FUNCTION_INFO_V1(svc_run_due);

/*
 * svc_run_due(at, max_rows) -> task, done
 *
 * Each task does at most max_rows rows.  Run again at once, there is nothing
 * left to do, or the next rows.
 */
Datum
svc_run_due(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz at = svc_argument_at(fcinfo, 0);
	int32		max_rows = rows_argument(fcinfo, 1);
	Done		done = {0};
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	catch_up_grants(fcinfo, &with_lapsed_holds, at, max_rows, &done);
	catch_up_grants(fcinfo, &due_grants, at, max_rows, &done);
	put_task(result, "lapse holds", done.lapsed);
	put_task(result, "reset entitlements", done.reset);
	put_task(result, "expire entitlements", done.expired);
	svc_call_end(&call);
	return (Datum) 0;
}

static int32
rows_argument(FunctionCallInfo fcinfo, int n)
{
	int32		rows;

	svc_argument_not_null(fcinfo, n, "max_rows");
	rows = PG_GETARG_INT32(n);
	if (rows < 1 || rows > ROWS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be between 1 and %d", ROWS_MAX),
				 errdetail("It is %d.", rows),
				 errhint("Leave it out for 1000.")));
	return rows;
}

static void
put_task(ReturnSetInfo *result, const char *task, int64 done)
{
	Datum		values[2] = {CStringGetTextDatum(task), Int64GetDatum(done)};
	bool		isnull[2] = {false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

/*
 * Write down what time has done to the grants that a statement finds and locks:
 * a call for each, so that its memory is free again.
 */
static void
catch_up_grants(FunctionCallInfo fcinfo, SvcStatement *statement, TimestampTz at, int32 max_rows,
				Done *done)
{
	Datum		values[2] = {TimestampTzGetDatum(at), Int32GetDatum(max_rows)};
	uint64		rows = svc_statement_run(statement, values, NULL);
	SPITupleTable *due = SPI_tuptable;

	for (uint64 row = 0; row < rows; row++)
	{
		bool		isnull;
		SvcCall		call;

		CHECK_FOR_INTERRUPTS();
		svc_call_begin(&call, fcinfo);
		catch_up_grant(SPI_getbinval(due->vals[row], due->tupdesc, 1, &isnull),
					   SPI_getbinval(due->vals[row], due->tupdesc, 2, &isnull), at, done);
		svc_call_end(&call);
	}
}

static void
catch_up_grant(Datum customer_id, Datum id, TimestampTz at, Done *done)
{
	SvcGrant	grant;

	if (!svc_grant_load(&grant, customer_id, id, at))
		return;
	done->reset += grant.resets > 0;
	svc_booking_renew(customer_id, &grant);
	done->lapsed += svc_booking_lapse(customer_id, &grant);
	if (grant.state == SVC_EXPIRED && strcmp(grant.status, "expired") != 0)
	{
		svc_booking_expire(customer_id, &grant);
		done->expired++;
	}
}
