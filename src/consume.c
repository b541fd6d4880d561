/*-------------------------------------------------------------------------
 *
 * consume.c
 *	  Consuming entitlements, exactly.
 *
 * The promise: under any concurrency, with any mix of rollbacks and
 * savepoints, a quota is never overdrawn, and a request with an idempotency
 * key takes effect once.
 *
 * One call, in this order:
 *
 *	1. With a key: look for the key in the ledger.  If it is there, its stored
 *	   answer is the answer; customer and quota are not looked at.
 *	2. Lock the code's grants, in the order of their ids (grant.c).  Whoever
 *	   comes second waits here, and then sees what the first has left.
 *	3. Read the customer's status; one that is not served is denied.  After
 *	   the lock, so that the answer is of one instant.
 *	4. Decide.  A denial takes nothing, and with a key looks for the key once
 *	   more: the call that took the last unit may have been this very request,
 *	   committed while we waited.  That grants have expired is written down.
 *	5. Append line 0 to the ledger, before any counter is touched.  With a key
 *	   this waits for a rival with the same key; if the rival has committed,
 *	   replay its answer.
 *	6. Write the other lines and the grants' counters.
 *
 * Why it is exact: between the lock of step 2 and the end of the transaction
 * nobody else can change those rows' counters, and step 2 returns the rows as
 * they are committed (READ COMMITTED), or fails with 40001 if they have
 * changed since the snapshot (REPEATABLE READ and above).  Rolled back, also
 * to a savepoint, the rows' new versions and the ledger's lines vanish
 * together.
 *
 * Why it cannot deadlock with itself: one call locks rows of one code in one
 * order, and waits for a key only while holding them; who holds the key
 * already holds all rows it will ever lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "compat.h"
#include "error.h"
#include "gate.h"
#include "grant.h"
#include "ledger.h"
#include "lifecycle.h"

static void read_request(FunctionCallInfo fcinfo, SvcRequest *request);
static void check_mode(const char *mode);
static Datum consume(FunctionCallInfo fcinfo, SvcRequest *request);
static bool attempt(SvcRequest *request, TupleDesc desc, Datum *answer);
static void decide(SvcRequest *request, SvcGrantSet *set, SvcDecision *decision);
static void expire_overdue(SvcRequest *request, SvcGrantSet *set);
static void describe_consumed(SvcRequest *request, SvcGrantSet *set, SvcDecision *decision);
static bool write_lines(SvcRequest *request, SvcGrantSet *set, Datum answer);
static void write_grant(SvcRequest *request, const SvcGrant *grant);
static bool is_allowed(Datum answer);
pg_noreturn static void report_denied(SvcRequest *request, Datum answer);
pg_noreturn static void report_not_metered(SvcRequest *request);
pg_noreturn static void report_lost_key(SvcRequest *request);

PG_FUNCTION_INFO_V1(svc_consume_entitlement);
PG_FUNCTION_INFO_V1(svc_require_entitlement);

/*
 * svc_consume_entitlement(customer_id, code, amount, idempotency_key, mode,
 *						   at, metadata) -> svc_consumption
 *
 * Write SELECT * FROM svc_consume_entitlement(...): the form
 * (svc_consume_entitlement(...)).* would run it once for each column.
 */
Datum
svc_consume_entitlement(PG_FUNCTION_ARGS)
{
	SvcRequest	request;

	read_request(fcinfo, &request);
	return consume(fcinfo, &request);
}

/*
 * svc_require_entitlement(...) -> svc_consumption
 *
 * The same, but a denial is an error (SV003), for code that has nothing to do
 * without the right.
 */
Datum
svc_require_entitlement(PG_FUNCTION_ARGS)
{
	SvcRequest	request;
	Datum		answer;

	read_request(fcinfo, &request);
	answer = consume(fcinfo, &request);
	if (!is_allowed(answer))
		report_denied(&request, answer);
	return answer;
}

static void
read_request(FunctionCallInfo fcinfo, SvcRequest *request)
{
	bool		isnull;

	request->kind = "consume";
	request->customer_id = svc_argument_id(fcinfo, 0, "customer id");
	request->code = svc_argument_id(fcinfo, 1, "entitlement code");
	request->amount = svc_argument_positive_amount(fcinfo, 2, "amount", "Leave it out for 1.");
	request->key = svc_argument_optional_id(fcinfo, 3, "idempotency key", &isnull);
	request->has_key = !isnull;
	request->mode = TextDatumGetCString(svc_argument_id(fcinfo, 4, "mode"));
	check_mode(request->mode);
	request->at = svc_argument_at(fcinfo, 5);
	request->at_given = !PG_ARGISNULL(5);
	request->has_metadata = !PG_ARGISNULL(6);
	request->metadata = PG_GETARG_DATUM(6);
}

static void
check_mode(const char *mode)
{
	if (strcmp(mode, "reject") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown mode \"%s\"", mode),
				 errdetail("The mode says what happens when less is left than was asked for."),
				 errhint("The mode is \"reject\": all or nothing.")));
}

/* Run a request to its answer, a row of svc_consumption. */
static Datum
consume(FunctionCallInfo fcinfo, SvcRequest *request)
{
	TupleDesc	desc;
	Datum		answer;
	SvcCall		call;

	svc_catalog_use(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "a consuming function must return a row");

	svc_call_begin(&call, fcinfo);
	if (!svc_ledger_replay(request, &answer) &&
		!attempt(request, desc, &answer) &&
		!svc_ledger_replay(request, &answer))
		report_lost_key(request);
	answer = svc_call_keep(&call, answer);
	svc_call_end(&call);
	return answer;
}

/*
 * Steps 2 to 6.  Returns false, and has written nothing, when another call
 * with the same key came first.
 */
static bool
attempt(SvcRequest *request, TupleDesc desc, Datum *answer)
{
	SvcGrantSet set = {0};
	SvcDecision decision;

	decide(request, &set, &decision);
	if (decision.reason != SVC_OK)
	{
		if (!svc_ledger_replay(request, answer))
		{
			svc_ledger_check_unseen(request);
			*answer = svc_decision_datum(&decision, desc);
		}
		return true;
	}
	if (!set.metered)
		report_not_metered(request);

	(void) svc_grant_allocate(&set, request->amount);
	describe_consumed(request, &set, &decision);
	*answer = svc_decision_datum(&decision, desc);
	return write_lines(request, &set, *answer);
}

/* Lock what is needed and decide. */
static void
decide(SvcRequest *request, SvcGrantSet *set, SvcDecision *decision)
{
	SvcReason	gate;

	svc_grant_lock(set, request->customer_id, request->code, request->at);
	gate = svc_grant_gate(request->customer_id, false);
	if (gate == SVC_OK)
	{
		expire_overdue(request, set);
		/* why is none live? look at all grants, not just at those locked */
		if (set->live == 0)
			svc_grant_reread(set, request->customer_id, request->code, request->at);
	}
	svc_grant_decide(decision, set, request->amount);
	if (gate != SVC_OK)
		decision->reason = gate;
}

/*
 * Write down that grants have expired, now that we have them locked.  Not for
 * an instant that the caller made up.
 */
static void
expire_overdue(SvcRequest *request, SvcGrantSet *set)
{
	static const SvcDeed expire = {.noun = SVC_ENTITLEMENT, .action = "expire"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'expired'"
		" WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};

	if (request->at_given)
		return;
	for (int i = set->live; i < set->count; i++)
	{
		Datum		values[2] = {request->customer_id, set->grants[i].id};

		if (set->grants[i].state == SVC_EXPIRED)
			svc_lifecycle_write(&expire, &statement, values, NULL);
	}
}

/* Complete the decision with what has been taken, and what is left then. */
static void
describe_consumed(SvcRequest *request, SvcGrantSet *set, SvcDecision *decision)
{
	decision->consumed = request->amount;
	if (decision->has_remaining)
		decision->remaining = svc_amount_subtract(decision->remaining, request->amount);
	for (int i = 0; i < set->live; i++)
	{
		if (svc_amount_sign(set->grants[i].taken) > 0)
		{
			decision->entitlement_id = set->grants[i].id;
			break;
		}
	}
}

/* The lines of the ledger and the counters; line 0 before anything else. */
static bool
write_lines(SvcRequest *request, SvcGrantSet *set, Datum answer)
{
	int			line = 0;

	for (int i = 0; i < set->live; i++)
	{
		const SvcGrant *grant = &set->grants[i];

		if (svc_amount_sign(grant->taken) == 0)
			continue;
		if (!svc_ledger_append(request, grant, line, answer))
		{
			Assert(line == 0);
			return false;
		}
		write_grant(request, grant);
		line++;
	}
	return true;
}

static void
write_grant(SvcRequest *request, const SvcGrant *grant)
{
	static const SvcDeed consumption = {.noun = SVC_ENTITLEMENT, .action = "consume"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement"
		" SET used_amount = used_amount + $3, ledger_seq = ledger_seq + 1, status = $4"
		" WHERE customer_id = $1 AND id = $2"
		" RETURNING used_amount = $5 AND ledger_seq = $6 AND status = $4",
		6, {TEXTOID, TEXTOID, NUMERICOID, TEXTOID, NUMERICOID, INT8OID}
	};
	bool		spent = !grant->unlimited &&
		svc_amount_compare(grant->taken, grant->available) >= 0;
	Datum		values[6] = {request->customer_id, grant->id, grant->taken,
		CStringGetTextDatum(spent ? "exhausted" : "active"),
		svc_amount_add(grant->used_amount, grant->taken),
	Int64GetDatum(grant->ledger_seq + 1)};
	bool		isnull;

	/* a user's trigger may have suppressed the update, or changed it */
	if (svc_lifecycle_write(&consumption, &statement, values, NULL) != 1 ||
		!DatumGetBool(svc_statement_value(0, 1, &isnull)))
		svc_gate_report_suppressed(SVC_ENTITLEMENT, grant->id);
}

/* The first column of an answer. */
static bool
is_allowed(Datum answer)
{
	bool		isnull;

	return DatumGetBool(GetAttributeByNum(DatumGetHeapTupleHeader(answer), 1, &isnull));
}

static void
report_denied(SvcRequest *request, Datum answer)
{
	HeapTupleHeader row = DatumGetHeapTupleHeader(answer);
	bool		isnull;
	char	   *reason = TextDatumGetCString(GetAttributeByNum(row, 2, &isnull));
	Datum		remaining = GetAttributeByNum(row, 3, &isnull);

	ereport(ERROR,
			(errcode(ERRCODE_SVC_ENTITLEMENT_DENIED),
			 errmsg("entitlement \"%s\" denied: %s", TextDatumGetCString(request->code), reason),
			 isnull ?
			 errdetail("Customer \"%s\" asked for %s.", TextDatumGetCString(request->customer_id),
					   svc_amount_text(request->amount)) :
			 errdetail("Customer \"%s\" asked for %s; %s remain.",
					   TextDatumGetCString(request->customer_id),
					   svc_amount_text(request->amount), svc_amount_text(remaining)),
			 errhint("svc_consume_entitlement() gives the same answer as a row.")));
}

static void
report_not_metered(SvcRequest *request)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_NOT_METERED),
			 errmsg("entitlement \"%s\" is not metered", TextDatumGetCString(request->code)),
			 errdetail("No grant of customer \"%s\" has a limit or is unlimited.",
					   TextDatumGetCString(request->customer_id)),
			 errhint("Ask for it with svc_check_entitlement().")));
}

/* Line 0 was refused because of a rival that is nowhere to be seen. */
static void
report_lost_key(SvcRequest *request)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("the request with idempotency key \"%s\" could not be recorded",
					TextDatumGetCString(request->key)),
			 errdetail("A trigger, rule or policy on table \"svc_entitlement_ledger\" has suppressed its row."),
			 errhint("Such triggers must let svc's own rows pass.")));
}
