/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  The ledger of entitlements, and the idempotency that lives in it.
 *
 * Every change of a grant's used_amount is a row of the ledger, written under
 * the lock of the grant's row and numbered by the grant's own counter, so
 * that a grant's rows are numbered 1, 2, 3 ... and their sum is its
 * used_amount at every instant.
 *
 * One request may make several rows, its *lines*, on as many grants.  Line 0
 * of a request with an idempotency key stores the request and its answer.  A
 * unique index over (customer_id, idempotency_key) where line = 0 decides
 * which of several calls with the same key takes effect: line 0 is inserted
 * before anything else is written, waits there for a rival that is still in
 * progress, and finds itself either first or told to replay.  A call that is
 * denied or rolled back leaves no line and so leaves the key free.
 *
 * A replay says that the first call has happened, so it must not be answered
 * before that call is durable.  The first call may have committed without
 * waiting for the disk; we flush the log up to its end, which is behind any
 * commit that we can have seen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#include "compat.h"
#include "amount.h"
#include "error.h"
#include "event.h"
#include "ledger.h"
#include "statement.h"

static void flush_log(void);
pg_noreturn static void report_key_reused(const SvcRequest *request);
pg_noreturn static void report_no_answer(const SvcRequest *request);
pg_noreturn static void report_suppressed(void);

/*
 * Find the answer to an earlier request with the same key; false when there
 * is none.  The answer is a row of svc_consumption.
 *
 * Raises SV004 when the earlier request was another one.
 */
bool
svc_ledger_replay(const SvcRequest *request, Datum *answer)
{
	static SvcStatement statement = {
		"SELECT l.request = jsonb_build_object("
		"  'kind', $3, 'code', $4, 'amount', $5, 'mode', $6),"
		" jsonb_populate_record(NULL::@extschema@.svc_consumption,"
		"  l.answer || '{\"replayed\": true}'),"
		" l.request::text"
		" FROM @extschema@.svc_entitlement_ledger l"
		" WHERE l.customer_id = $1 AND l.idempotency_key = $2 AND l.line = 0",
		6, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, NUMERICOID, TEXTOID}
	};
	Datum		values[6];
	bool		isnull;

	if (!request->has_key)
		return false;

	values[0] = request->customer_id;
	values[1] = request->key;
	values[2] = CStringGetTextDatum(request->kind);
	values[3] = request->code;
	values[4] = request->amount;
	values[5] = CStringGetTextDatum(request->mode);
	if (svc_statement_run(&statement, values, NULL) == 0)
		return false;
	if (!DatumGetBool(svc_statement_value(0, 1, &isnull)))
		report_key_reused(request);

	flush_log();
	*answer = svc_statement_value(0, 2, &isnull);
	if (isnull)
		report_no_answer(request);
	return true;
}

/*
 * Before a denial under REPEATABLE READ: has the request taken effect after
 * our snapshot?  Then the denial would be wrong, and the answer is not for us
 * to see: raises 40001.
 */
void
svc_ledger_check_unseen(const SvcRequest *request)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_entitlement_ledger"
		" WHERE customer_id = $1 AND idempotency_key = $2 AND line = 0",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {request->customer_id, request->key};

	if (request->has_key && IsolationUsesXactSnapshot() &&
		svc_statement_read_latest(&statement, values) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to a concurrent request with the same idempotency key"),
				 errhint("Retry the transaction.")));
}

/*
 * Append a line of a request: what was taken from one grant, which the caller
 * has locked.  "answer" is a row, stored with line 0 of a request with a key.
 *
 * Returns false, and has written nothing, when another call with the same key
 * has taken effect meanwhile.
 */
bool
svc_ledger_append(const SvcRequest *request, const SvcGrant *grant, int line, Datum answer)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_entitlement_ledger"
		" (customer_id, entitlement_id, seq, line, kind, code, amount, occurred_at,"
		"  idempotency_key, request, answer, metadata, actor, request_id)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,"
		"  CASE WHEN $4 = 0 AND $9 IS NOT NULL THEN"
		"   jsonb_build_object('kind', $5, 'code', $6, 'amount', $11, 'mode', $12) END,"
		"  CASE WHEN $4 = 0 AND $9 IS NOT NULL THEN to_jsonb($13) END,"
		"  $10, $14, $15)"
		" ON CONFLICT (customer_id, idempotency_key)"
		"  WHERE line = 0 AND idempotency_key IS NOT NULL DO NOTHING",
		15, {TEXTOID, TEXTOID, INT8OID, INT4OID, TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID,
			TEXTOID, JSONBOID, NUMERICOID, TEXTOID, RECORDOID, TEXTOID, TEXTOID}
	};
	Datum		values[15];
	bool		isnull[15] = {false};

	values[0] = request->customer_id;
	values[1] = grant->id;
	values[2] = Int64GetDatum(grant->ledger_seq + 1);
	values[3] = Int32GetDatum(line);
	values[4] = CStringGetTextDatum(request->kind);
	values[5] = request->code;
	values[6] = grant->taken;
	values[7] = TimestampTzGetDatum(request->at);
	values[8] = request->key;
	isnull[8] = !request->has_key;
	values[9] = request->metadata;
	isnull[9] = !request->has_metadata || line > 0;
	values[10] = request->amount;
	values[11] = CStringGetTextDatum(request->mode);
	values[12] = answer;
	isnull[12] = !request->has_key;
	values[13] = CStringGetTextDatum(svc_event_actor());
	values[14] = svc_event_request_id(&isnull[14]);
	if (svc_statement_run(&statement, values, isnull) == 1)
		return true;
	if (!request->has_key || line > 0)
		report_suppressed();
	return false;
}

/* Append a line that takes back all that was used of a grant. */
void
svc_ledger_append_reset(Datum customer_id, const SvcGrant *grant)
{
	SvcRequest	request = {.kind = "reset", .customer_id = customer_id, .code = grant->code,
		.amount = svc_amount_from(0), .mode = "",
	.at = GetCurrentTransactionStartTimestamp()};
	SvcGrant	line = *grant;

	line.taken = svc_amount_subtract(svc_amount_from(0), grant->used_amount);
	(void) svc_ledger_append(&request, &line, 0, (Datum) 0);
}

/*
 * Flush the write-ahead log up to its end.
 *
 * The insert pointer stands behind the header of a page that is still empty
 * when the last record ended with its predecessor; to flush up to there would
 * be refused as past the end.
 */
static void
flush_log(void)
{
	XLogRecPtr	end = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(end, wal_segment_size) == SizeOfXLogLongPHD)
		end -= SizeOfXLogLongPHD;
	else if (end % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		end -= SizeOfXLogShortPHD;
	XLogFlush(end);
}

static void
report_key_reused(const SvcRequest *request)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_KEY_REUSED),
			 errmsg("idempotency key \"%s\" was used for another request",
					TextDatumGetCString(request->key)),
			 errdetail("That request was %s.", svc_statement_text(0, 3)),
			 errhint("A key belongs to one request and all its retries; use a new one.")));
}

/* Not ours: svc stores request and answer together. */
static void
report_no_answer(const SvcRequest *request)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("the ledger has no answer for idempotency key \"%s\"",
					TextDatumGetCString(request->key)),
			 errdetail("Somebody else than svc has written this row of the ledger."),
			 errhint("Use another key.")));
}

static void
report_suppressed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("a row of the ledger was not written"),
			 errdetail("A trigger, rule or policy on table \"svc_entitlement_ledger\" has suppressed it."),
			 errhint("Such triggers must let svc's own rows pass.")));
}
