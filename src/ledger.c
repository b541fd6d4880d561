/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  The ledger of entitlements, and the idempotency that lives in it.
 *
 * Every change of a grant's used_amount and held_amount is a row of the ledger,
 * written under the lock of the grant's row and numbered by the grant's own
 * counter, so that a grant's rows are numbered 1, 2, 3 ... and their sums are
 * these figures at every instant.  Rows of amount 0 tell when the limit changed
 * and when the grant was revoked, so that the past can be read from it.
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

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "compat.h"
#include "amount.h"
#include "catalog.h"
#include "direct.h"
#include "early_release.h"
#include "error.h"
#include "event.h"
#include "gate.h"
#include "insert.h"
#include "ledger.h"
#include "statement.h"

/* which refuses a second request with a key */
#define KEY_INDEX	"svc_entitlement_ledger_key"

#define APPEND \
	"INSERT INTO @extschema@.svc_entitlement_ledger" \
	" (customer_id, entitlement_id, seq, line, kind, code, amount, held, occurred_at, hold_id," \
	"  idempotency_key, request, answer, metadata, actor, request_id, spent_on, spent_amount, overage," \
	"  recorded_at, limit_before, rollover_before)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, to_jsonb($13), $14, $15, $16," \
	"  $17, $18, $19, now(), NULL, NULL)"
#define APPEND_PARAMETERS \
	19, {TEXTOID, TEXTOID, INT8OID, INT4OID, TEXTOID, TEXTOID, NUMERICOID, NUMERICOID, \
		TIMESTAMPTZOID, TEXTOID, TEXTOID, JSONBOID, RECORDOID, JSONBOID, TEXTOID, TEXTOID, \
	TEXTOID, NUMERICOID, NUMERICOID}

static SvcStatement append = {
	APPEND
	" ON CONFLICT (customer_id, idempotency_key)"
	"  WHERE line = 0 AND idempotency_key IS NOT NULL DO NOTHING",
	APPEND_PARAMETERS
};

static SvcStatement append_without_conflict = {APPEND, APPEND_PARAMETERS};

static void check_unseen(const SvcRequest *request);
static bool is_new_key(const Datum *keys);
static bool has_rules(void);
static bool append_under_rules(Datum *values, const bool *isnull);
static bool append_directly(const Datum *parameters, const bool *no_parameter);
static Datum as_jsonb(Datum row);
static Datum overage_of(const SvcGrant *grant);
static Datum identify(const SvcRequest *request);
pg_noreturn static void report_key_reused(const SvcRequest *request);
pg_noreturn static void report_no_answer(const SvcRequest *request);
pg_noreturn static void report_lost_key(const SvcRequest *request);

/*
 * Find the answer to an earlier request with the same key; false when there
 * is none.  The answer is a row of the request's answer type.
 *
 * Raises SV004 when the earlier request was another one.
 */
bool
svc_ledger_replay(const SvcRequest *request, Datum *answer)
{
#define REPLAY_AS(type) \
	"SELECT l.request = $3," \
	" CASE WHEN l.request = $3 THEN jsonb_populate_record(NULL::@extschema@." type "," \
	"  l.answer || '{\"replayed\": true}') END, l.request::text" \
	" FROM @extschema@.svc_entitlement_ledger l" \
	" WHERE l.customer_id = $1 AND l.idempotency_key = $2 AND l.line = 0", \
	3, {TEXTOID, TEXTOID, JSONBOID}
	static SvcStatement statements[] = {
		[SVC_ANSWER_CONSUMPTION] = {REPLAY_AS("svc_consumption")},
		[SVC_ANSWER_CONSUMPTIONS] = {REPLAY_AS("svc_consumptions")},
		[SVC_ANSWER_HOLD] = {REPLAY_AS("svc_hold")},
	};
#undef REPLAY_AS
	Datum		values[3];
	bool		isnull;

	values[0] = request->customer_id;
	values[1] = request->key;
	if (!request->has_key || is_new_key(values))
		return false;

	values[2] = identify(request);
	if (svc_statement_run(&statements[request->answer_type], values, NULL) == 0)
		return false;
	if (!DatumGetBool(svc_statement_value(0, 1, &isnull)))
		report_key_reused(request);

	svc_ledger_flush();
	*answer = svc_statement_value(0, 2, &isnull);
	if (isnull)
		report_no_answer(request);
	return true;
}

/* Is there surely no row with these keys?  (For most requests that is all.) */
static bool
is_new_key(const Datum *keys)
{
	static SvcDirectTable table = {"svc_entitlement_ledger", 2, {{"customer_id"}, {"idempotency_key"}},
	.predicate = "((line = 0) AND (idempotency_key IS NOT NULL))"};
	SvcDirectScan scan;
	bool		is_new = false;

	if (!svc_direct_enter())
		return false;
	if (svc_direct_begin(&scan, &table, keys))
	{
		is_new = !svc_direct_next(&scan);
		svc_direct_end(&scan);
	}
	svc_direct_leave();
	return is_new;
}

/*
 * Before a denial or failure under REPEATABLE READ: has the request taken effect
 * after our snapshot?  Then that would be wrong, and the answer is not for us
 * to see: raises 40001.
 */
static void
check_unseen(const SvcRequest *request)
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
 * Append a line of a request: what it does to one grant, which the caller has
 * locked.  "answer" is a row, stored with line 0 of a request with a key.
 *
 * Returns false, and has written nothing, when another call with the same key
 * has taken effect meanwhile.
 */
bool
svc_ledger_append(const SvcRequest *request, const SvcGrant *grant, int line, Datum answer)
{
	bool		is_first = request->has_key && line == 0;
	Datum		values[19];
	bool		isnull[19] = {false};

	values[0] = request->customer_id;
	values[1] = grant->id;
	values[2] = Int64GetDatum(grant->ledger_seq + 1);
	values[3] = Int32GetDatum(line);
	values[4] = CStringGetTextDatum(request->kind);
	values[5] = grant->code;
	values[6] = grant->taken;
	values[7] = grant->held;
	values[8] = TimestampTzGetDatum(grant->at);
	values[9] = request->hold_id;
	isnull[9] = !request->has_hold;
	values[10] = request->key;
	isnull[10] = !request->has_key;
	values[11] = is_first ? identify(request) : (Datum) 0;
	values[12] = answer;
	isnull[11] = isnull[12] = !is_first;
	values[13] = request->metadata;
	isnull[13] = !request->has_metadata || line > 0;
	values[14] = CStringGetTextDatum(svc_event_actor());
	values[15] = svc_event_request_id(&isnull[15]);
	values[16] = grant->spent_on;
	values[17] = grant->spent;
	isnull[16] = isnull[17] = !grant->is_pool || svc_amount_sign(grant->taken) == 0;
	values[18] = overage_of(grant);
	isnull[18] = svc_amount_sign(values[18]) == 0;
	svc_early_release_arm();
	if (append_directly(values, isnull) ||
		(has_rules() ? append_under_rules(values, isnull) : svc_statement_run(&append, values, isnull) == 1))
		return true;
	if (!is_first)
		svc_gate_report_unwritten("svc_entitlement_ledger");
	return false;
}

/* With rules on the table PostgreSQL knows no ON CONFLICT; the index remains. */
static bool
has_rules(void)
{
	Relation	ledger = svc_catalog_open("svc_entitlement_ledger", RowExclusiveLock);
	bool		result = ledger->rd_rules != NULL &&
		OidIsValid(get_relname_relid(KEY_INDEX, RelationGetNamespace(ledger)));

	table_close(ledger, NoLock);
	return result;
}

/* There the error of the unique index says that a rival has taken effect. */
static bool
append_under_rules(Datum *values, const bool *isnull)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		done = svc_statement_run(&append_without_conflict, values, isnull) == 1;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(memory);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(memory);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || error->constraint_name == NULL ||
			strcmp(error->constraint_name, KEY_INDEX) != 0)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	return done;
}

/*
 * Append the row without the executor (insert.c); false when it is to be done by
 * the statement, whose parameters these are.
 */
static bool
append_directly(const Datum *parameters, const bool *no_parameter)
{
	/* columns of the table, in their order, and where the statement's values go */
	static const Oid types[] = {TEXTOID, TEXTOID, INT8OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, NUMERICOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID, JSONBOID};
	static const int columns[] = {0, 1, 2, 3, 11, 12, 6, 7, 4, 14, 13, 19, 20, 21, 17, 18, 15, 16, 8};
	static const SvcCheck checks[] = {
		{"svc_entitlement_ledger_check", "((request IS NULL) = (answer IS NULL))"},
		{"svc_entitlement_ledger_check1", "((spent_on IS NULL) = (spent_amount IS NULL))"},
		{"svc_entitlement_ledger_idempotency_key_check",
			"((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 255))"},
		{"svc_entitlement_ledger_line_check", "(line >= 0)"},
		{"svc_entitlement_ledger_seq_check1", "(seq >= 1)"},
	};
	static SvcPlainTable plain = {lengthof(types), types, {lengthof(checks), checks},
	.arbiter = KEY_INDEX};
	enum { RECORDED_AT = 5, ANSWER = 20 };
	Datum		values[lengthof(types)];
	bool		isnull[lengthof(types)];
	Relation	ledger;
	bool		done;

	/* SERIALIZABLE fails as it does by statements */
	if (!svc_direct_access || IsolationIsSerializable())
		return false;
	memset(isnull, true, sizeof(isnull));
	for (int i = 0; i < lengthof(columns); i++)
	{
		values[columns[i]] = parameters[i];
		isnull[columns[i]] = no_parameter[i];
	}
	values[RECORDED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	isnull[RECORDED_AT] = false;
	if (!isnull[ANSWER])
		values[ANSWER] = as_jsonb(values[ANSWER]);

	ledger = svc_catalog_open("svc_entitlement_ledger", RowExclusiveLock);
	done = svc_insert_row(ledger, &plain, values, isnull);
	table_close(ledger, NoLock);
	CommandCounterIncrement();
	return done;
}

/* The row as an object, as SQL's to_jsonb() makes it. */
static Datum
as_jsonb(Datum row)
{
	static FmgrInfo function;

	if (!OidIsValid(function.fn_oid))
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		FuncExpr   *call = makeFuncExpr(F_TO_JSONB, JSONBOID,
										list_make1(makeNullConst(RECORDOID, -1, InvalidOid)),
										InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);

		fmgr_info_cxt(F_TO_JSONB, &function, TopMemoryContext);
		fmgr_info_set_expr((Node *) call, &function);
		MemoryContextSwitchTo(old);
	}
	return FunctionCall1(&function, row);
}

/* How much further beyond its limit a grant is used with what is taken. */
static Datum
overage_of(const SvcGrant *grant)
{
	SvcBalance	after = grant->balance;

	if (!grant->metered || grant->balance.unlimited)
		return svc_amount_zero();
	after.used = svc_amount_add(after.used, grant->taken);
	return svc_amount_subtract(svc_balance_overage(&after), svc_balance_overage(&grant->balance));
}

/* Append a row that tells of a change of the grant itself; line 0, no key. */
void
svc_ledger_note(const SvcLedgerNote *note)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_entitlement_ledger"
		" (customer_id, entitlement_id, seq, line, kind, code, amount, occurred_at,"
		"  limit_before, rollover_before, metadata, actor, request_id)"
		" VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9,"
		"  CASE WHEN $10 > $7 THEN jsonb_build_object('until',"
		"   to_char($10 AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) END, $11, $12)",
		12, {TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID,
			NUMERICOID, NUMERICOID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
	};
	Datum		values[12];
	bool		isnull[12] = {false};

	values[0] = note->customer_id;
	values[1] = note->entitlement_id;
	values[2] = Int64GetDatum(note->seq);
	values[3] = CStringGetTextDatum(note->kind);
	values[4] = note->code;
	values[5] = note->amount;
	values[6] = TimestampTzGetDatum(note->at);
	values[7] = note->limit_before;
	isnull[7] = !note->has_limit_before;
	values[8] = note->rollover_before;
	isnull[8] = !note->has_rollover_before;
	values[9] = TimestampTzGetDatum(note->until);
	values[10] = CStringGetTextDatum(svc_event_actor());
	values[11] = svc_event_request_id(&isnull[11]);
	if (svc_statement_run(&statement, values, isnull) != 1)
		svc_gate_report_unwritten("svc_entitlement_ledger");
}

/*
 * Run a request that has an answer of its own or an earlier one: an earlier
 * one is replayed; else the attempt is made.  When that finds, on its first
 * write, that a rival with the same key came first, the rival's is replayed.
 */
Datum
svc_ledger_run(SvcRequest *request, SvcAttempt attempt, void *state)
{
	Datum		answer;

	if (!svc_ledger_replay(request, &answer) &&
		!attempt(request, state, &answer) &&
		!svc_ledger_replay(request, &answer))
	{
		check_unseen(request);
		report_lost_key(request);
	}
	return answer;
}

/*
 * Before a denial: the call that took the last unit may have been this very
 * request, committed while we waited.  Then its answer is ours.
 */
bool
svc_ledger_replay_late(const SvcRequest *request, Datum *answer)
{
	if (svc_ledger_replay(request, answer))
		return true;
	check_unseen(request);
	return false;
}

/* The word for a mode, as in calls. */
const char *
svc_mode_name(SvcMode mode)
{
	switch (mode)
	{
		case SVC_REJECT:
			return "reject";
		case SVC_CAP:
			return "cap";
		case SVC_OVERFLOW:
			return "overflow";
	}
	pg_unreachable();
}

/* What makes two requests the same: jsonb of what was asked. */
static Datum
identify(const SvcRequest *request)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"kind\":\"%s\",\"mode\":\"%s\"", request->kind,
					 svc_mode_name(request->mode));
	if (request->has_hold && strcmp(request->kind, "hold") != 0)
	{
		appendStringInfoString(&json, ",\"hold\":");
		escape_json(&json, TextDatumGetCString(request->hold_id));
	}
	else if (!request->has_amounts)
	{
		appendStringInfoString(&json, ",\"code\":");
		escape_json(&json, TextDatumGetCString(request->code));
	}
	if (request->has_amounts)
		appendStringInfo(&json, ",\"amounts\":%s",
						 JsonbToCString(NULL, &DatumGetJsonbP(request->amounts)->root, -1));
	else
		appendStringInfo(&json, ",\"amount\":%s", svc_amount_text(request->amount));
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * Flush the write-ahead log up to its end.
 *
 * The insert pointer stands behind the header of a page that is still empty
 * when the last record ended with its predecessor; to flush up to there would
 * be refused as past the end.
 */
void
svc_ledger_flush(void)
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

/* Line 0 was refused because of a rival that is nowhere to be seen. */
static void
report_lost_key(const SvcRequest *request)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("the request with idempotency key \"%s\" could not be recorded",
					TextDatumGetCString(request->key)),
			 errdetail("A trigger, rule or policy on table \"svc_entitlement_ledger\" has suppressed its row."),
			 errhint("Such triggers must let svc's own rows pass.")));
}
