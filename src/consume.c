/*-------------------------------------------------------------------------
 *
 * consume.c
 *	  Consuming entitlements, exactly, and giving back.
 *
 * The promise: under any concurrency, with any mix of rollbacks and
 * savepoints, a quota is never overdrawn, and a request with an idempotency
 * key takes effect once.
 *
 * One call, in this order:
 *
 *	1. With a key: look for the key in the ledger.  If it is there, its stored
 *	   answer is the answer; customer and quota are not looked at.
 *	2. Lock the code's grants, in the order of their ids (grant.c); those of
 *	   several codes in the order of the codes.  If what they have available
 *	   does not suffice, lock the pools that pay for the code, too (pool.c).
 *	   Whoever comes second waits here, and then sees what the first has left.
 *	3. Read the customer's status; one that is not served is denied.  After
 *	   the lock, so that the answer is of one instant.
 *	   If something is due for its subscriptions by then, write that down
 *	   (subscription_due.c), and go back to step 2.
 *	4. Write down what time has done to the grants (booking.c): resets that
 *	   are due, validity that is over.
 *	5. Decide.  A denial takes nothing.  If meanwhile a grant or pool has come
 *	   that was not locked, go back to step 2.  With a key, look for the key
 *	   once more: the call that took the last unit may have been this very
 *	   request, committed while we waited.
 *	6. Append line 0 to the ledger, before any counter is touched.  With a key
 *	   this waits for a rival with the same key; if the rival has committed,
 *	   replay its answer.
 *	7. Write the other lines and the grants' counters.
 *
 * Giving back (a negative amount) locks all of the code's grants, whatever
 * their status, and skips step 3: neither gate, nor suspension, nor validity
 * keeps what was not used after all.
 *
 * Why it is exact: between the lock of step 2 and the end of the transaction
 * nobody else can change those rows' counters, and step 2 returns the rows as
 * they are committed (READ COMMITTED), or fails with 40001 if they have
 * changed since the snapshot (REPEATABLE READ and above).  Rolled back, also
 * to a savepoint, the rows' new versions and the ledger's lines vanish
 * together.
 *
 * Why it cannot deadlock with itself: one call locks rows in one order, and
 * waits for a key only while holding them; who holds the key already holds all
 * rows it will ever lock.  That order is: first the grants of *ordinary* codes,
 * by code and id; then those of codes that have pools, whatever their status,
 * pools and others, by code and id.  Every call keeps to it:
 *
 *	- One code that is ordinary: its grants; then pools, which are of other
 *	  codes, in one statement.
 *	- One code that has pools: its grants.  No other pool pays for it (pool.c),
 *	  so there is no second step that could lead back.
 *	- Several codes: an unlocked look tells which have pools.  The others first;
 *	  then, in one statement, the grants of these and the pools that pay for the
 *	  others.
 *	- Giving back, settling and releasing: as one code.  What changes grants of
 *	  several codes locks them by SVC_GRANT_LOCK_ORDER (grant.h), and holds come
 *	  after all grants.
 *
 * Which codes have pools changes when somebody defines or undoes one, and a
 * second look may find grants that are new.  And what is due for subscriptions
 * is written down with grants of one code locked already: by one consume at a
 * time, which locks all that will change at once, but a consume of another code
 * that waits for pools may be in its way (subscription_due.c).  A call that runs
 * into just that can still be in a deadlock, which the server resolves.
 *
 * Where a code's own grants suffice, its pools are read without a lock, because
 * they count for what remains; where a customer has none, no statement is spent
 * on them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "amount.h"
#include "argument.h"
#include "booking.h"
#include "catalog.h"
#include "compat.h"
#include "consume.h"
#include "error.h"
#include "gate.h"
#include "pool.h"
#include "subscription_due.h"

/* Of one request for several codes. */
#define CODES_MAX			1000

/* How often grants are looked at that others keep replacing. */
#define LOOKS_MAX			5

/* A code of a request for several, and what is decided about it. */
typedef struct Part
{
	Datum		code;
	Datum		amount;
	bool		has_pools;		/* of its own: its grants are in the pot */
	SvcGrantSet set;
	SvcDecision decision;
} Part;

typedef struct Parts
{
	TupleDesc	desc;			/* of the answer */
	int			count;
	Part	   *parts;			/* in the order of their codes, bytewise */
	int			pool_code_count;
	Datum	   *pool_codes;		/* of all the customer's pools */
	SvcGrantSet pot;			/* grants that more than one of them may spend */
	SvcGrant   *pot_before;		/* as they were when they were locked */
} Parts;

static void read_request(FunctionCallInfo fcinfo, SvcRequest *request);
static Datum consume(FunctionCallInfo fcinfo, SvcRequest *request);
static bool attempt_consume(SvcRequest *request, void *state, Datum *answer);
static bool attempt_refund(SvcRequest *request, void *state, Datum *answer);
static void decide(SvcRequest *request, SvcGrantSet *set, const SvcGate *gate, SvcDecision *decision,
	   bool *look_again);
static void see_ended(const SvcRequest *request, const SvcGate *gate, SvcGrantSet *set);
static bool has_other_live(const SvcGrantSet *all, const SvcGrantSet *set);
static void look_for_reason(SvcRequest *request, const SvcGate *gate, SvcGrantSet *all);
static bool has_metered(const SvcGrantSet *set);
static Datum give_back(const SvcRequest *request, SvcGrantSet *set);
static SvcGrant *nth_to_give_back(SvcGrantSet *set, int n);
static Datum give_back_to(SvcGrant *grant, Datum limit, Datum rest);
static void read_parts(Parts *parts, Jsonb *amounts);
static int	compare_parts(const void *a, const void *b);
static bool attempt_parts(SvcRequest *request, void *state, Datum *answer);
static bool lock_and_decide_parts(SvcRequest *request, Parts *parts, bool may_look_again);
static void lock_parts(SvcRequest *request, Parts *parts, const SvcGate *gate);
static bool need_pot(const Parts *parts);
static void lock_pot(SvcRequest *request, Parts *parts);
static void describe_parts(Parts *parts, bool allowed);
static Part *first_denied(Parts *parts);
static Datum parts_datum(const Parts *parts, const Part *denied);
static Datum part_figures(const Parts *parts, Datum (*figure) (const SvcDecision *decision));
static Datum consumed_of(const SvcDecision *decision);
static Datum remaining_of(const SvcDecision *decision);
static Datum overage_of(const SvcDecision *decision);
pg_noreturn static void report_excess(const SvcRequest *request, Datum rest);
pg_noreturn static void report_bad_amounts(const char *problem);

PG_FUNCTION_INFO_V1(svc_consume_entitlement);
PG_FUNCTION_INFO_V1(svc_require_entitlement);
PG_FUNCTION_INFO_V1(svc_consume_entitlements);

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
	if (!svc_consume_is_allowed(answer))
		svc_consume_report_denied(&request, answer);
	return answer;
}

/*
 * svc_consume_entitlements(customer_id, amounts, idempotency_key, at, metadata)
 *	-> svc_consumptions
 *
 * Several codes at once, all or nothing.
 */
Datum
svc_consume_entitlements(PG_FUNCTION_ARGS)
{
	SvcRequest	request = {.kind = "consume", .answer_type = SVC_ANSWER_CONSUMPTIONS};
	Parts		parts = {0};
	Datum		answer;
	bool		isnull;
	SvcCall		call;

	request.customer_id = svc_argument_id(fcinfo, 0, "customer id");
	svc_argument_not_null(fcinfo, 1, "amounts");
	request.has_amounts = true;
	request.amounts = PG_GETARG_DATUM(1);
	request.key = svc_argument_optional_id(fcinfo, 2, "idempotency key", &isnull);
	request.has_key = !isnull;
	request.instant = svc_argument_instant(fcinfo, 3);
	request.has_metadata = !PG_ARGISNULL(4);
	request.metadata = PG_GETARG_DATUM(4);
	read_parts(&parts, PG_GETARG_JSONB_P(1));

	svc_catalog_use(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &parts.desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "svc_consume_entitlements must return a row");
	svc_call_begin(&call, fcinfo);
	answer = svc_ledger_run(&request, attempt_parts, &parts);
	answer = svc_call_keep(&call, answer);
	svc_call_end(&call);
	return answer;
}

/* The argument that is a mode. */
SvcMode
svc_consume_mode(FunctionCallInfo fcinfo, int n)
{
	char	   *name = TextDatumGetCString(svc_argument_id(fcinfo, n, "mode"));
	static const SvcMode modes[] = {SVC_REJECT, SVC_CAP, SVC_OVERFLOW};

	for (int i = 0; i < lengthof(modes); i++)
	{
		if (strcmp(name, svc_mode_name(modes[i])) == 0)
			return modes[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown mode \"%s\"", name),
			 errdetail("The mode says what happens when less is left than was asked for."),
			 errhint("The modes are \"reject\" (all or nothing), \"cap\" (what is there) and"
					 " \"overflow\" (all, the rest as overage).")));
}

/*
 * Run a request for one code, within a call; a negative amount is given back.
 * "desc" is that of svc_consumption.
 */
Datum
svc_consume_run(SvcRequest *request, TupleDesc desc)
{
	bool		is_refund = svc_amount_sign(request->amount) < 0;

	request->kind = is_refund ? "refund" : "consume";
	request->answer_type = SVC_ANSWER_CONSUMPTION;
	return svc_ledger_run(request, is_refund ? attempt_refund : attempt_consume, desc);
}

/* The row type svc_consumption, for who is not asked for one. */
TupleDesc
svc_consume_answer_type(void)
{
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									   CStringGetDatum("svc_consumption"),
									   ObjectIdGetDatum(svc_catalog_schema()));

	return lookup_rowtype_tupdesc_copy(type, -1);
}

/* The first column of an answer. */
bool
svc_consume_is_allowed(Datum answer)
{
	bool		isnull;

	return DatumGetBool(GetAttributeByNum(DatumGetHeapTupleHeader(answer), 1, &isnull));
}

/* How much has been consumed; negative, if it was given back. */
Datum
svc_consume_amount(Datum answer)
{
	bool		isnull;
	Datum		amount = GetAttributeByNum(DatumGetHeapTupleHeader(answer), 8, &isnull);

	return isnull ? svc_amount_zero() : amount;
}

/* How much of what was asked for is beyond the limits. */
Datum
svc_consume_overage(Datum answer)
{
	bool		isnull;
	Datum		overage = GetAttributeByNum(DatumGetHeapTupleHeader(answer), 4, &isnull);

	return isnull ? svc_amount_zero() : overage;
}

/* For who cannot go on without. */
void
svc_consume_report_denied(const SvcRequest *request, Datum answer)
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
read_request(FunctionCallInfo fcinfo, SvcRequest *request)
{
	bool		isnull;

	memset(request, 0, sizeof(*request));
	request->customer_id = svc_argument_id(fcinfo, 0, "customer id");
	request->code = svc_argument_id(fcinfo, 1, "entitlement code");
	request->amount = svc_argument_amount(fcinfo, 2, "amount");
	if (svc_amount_sign(request->amount) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must not be 0"),
				 errdetail("More than 0 is consumed, less than 0 is given back."),
				 errhint("Leave it out for 1, or ask with svc_check_entitlement().")));
	request->key = svc_argument_optional_id(fcinfo, 3, "idempotency key", &isnull);
	request->has_key = !isnull;
	request->mode = svc_consume_mode(fcinfo, 4);
	request->instant = svc_argument_instant(fcinfo, 5);
	request->has_metadata = !PG_ARGISNULL(6);
	request->metadata = PG_GETARG_DATUM(6);
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
	answer = svc_call_keep(&call, svc_consume_run(request, desc));
	svc_call_end(&call);
	return answer;
}

/* Steps 2 to 7 for one code. */
static bool
attempt_consume(SvcRequest *request, void *state, Datum *answer)
{
	TupleDesc	desc = state;
	SvcGrantSet set;
	SvcDecision decision;
	int			line = 0;

	svc_consume_lock_and_decide(request, &set, &decision);
	if (decision.reason != SVC_OK)
	{
		if (!svc_ledger_replay_late(request, answer))
			*answer = svc_decision_datum(&decision, desc);
		return true;
	}
	if (!set.metered)
		svc_consume_report_not_metered(request, request->code);

	svc_grant_describe(&decision, &set);
	*answer = svc_decision_datum(&decision, desc);
	return svc_booking_write(request, &set, &line, *answer);
}

/*
 * Steps 3 to 5 for one code, whose grants are locked.  Where the gate is
 * closed, the grants are not touched.
 *
 * A denial looks at all grants once more, without a lock: for the reason, if
 * none is live; and because what we waited for may have put another grant in
 * the place of those that we have locked.  Then "look_again" is set, and the
 * decision is void.
 */
static void
decide(SvcRequest *request, SvcGrantSet *set, const SvcGate *gate, SvcDecision *decision,
	   bool *look_again)
{
	SvcGrantSet all;

	*look_again = false;
	if (gate->reason != SVC_OK)
	{
		/* as a check, which does not look at the grants then */
		memset(set, 0, sizeof(*set));
		svc_grant_decide(decision, set, request->amount, request->mode);
		decision->reason = gate->reason;
		return;
	}
	svc_booking_catch_up(request, set);
	if (set->lacks_pools && !svc_pool_is_needed(set, request->amount))
		/* they do not pay now, but count for what remains: not locked */
		svc_pool_add(set, request->customer_id, request->code, request->instant,
					 SVC_GRANT_REREAD);
	see_ended(request, gate, set);
	svc_grant_decide(decision, set, request->amount, request->mode);
	if (decision->reason != SVC_OK)
	{
		look_for_reason(request, gate, &all);
		*look_again = has_other_live(&all, set);
		if (set->live == 0 && !*look_again)
			svc_grant_decide(decision, &all, request->amount, request->mode);
	}
}

/* All grants that pay for the code, as they are committed now. */
static void
look_for_reason(SvcRequest *request, const SvcGate *gate, SvcGrantSet *all)
{
	svc_grant_find(all, request->customer_id, request->code, request->instant, SVC_GRANT_REREAD);
	if (gate->has_pools)
		svc_pool_add(all, request->customer_id, request->code, request->instant,
					 SVC_GRANT_REREAD);
	see_ended(request, gate, all);
}

/*
 * A subscription that has ended grants nothing, even if somebody else has it
 * locked, or something has kept it from being written down.
 */
static void
see_ended(const SvcRequest *request, const SvcGate *gate, SvcGrantSet *set)
{
	if (gate->changes_at <= request->instant.at)
		svc_subscription_look(set, request->customer_id, request->code, request->instant.at, true);
}

/* Is a grant live that is not among those of the other set? */
static bool
has_other_live(const SvcGrantSet *all, const SvcGrantSet *set)
{
	for (int i = 0; i < all->live; i++)
	{
		bool		found = false;

		for (int j = 0; j < set->count; j++)
			found = found || DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
																  all->grants[i].id,
																  set->grants[j].id));
		if (!found)
			return true;
	}
	return false;
}

/* Steps 2 to 5 for one code, as often as it takes, within reason. */
void
svc_consume_lock_and_decide(SvcRequest *request, SvcGrantSet *set, SvcDecision *decision)
{
	bool		look_again = true;
	SvcGate		gate;

	for (int i = 0; i < LOOKS_MAX && look_again; i++)
	{
		svc_grant_find(set, request->customer_id, request->code, request->instant,
					   SVC_GRANT_LOCK_USABLE);
		look_again = svc_consume_read_gate(request, set->count > 0, &gate) && i + 1 < LOOKS_MAX;
		if (look_again)
			continue;
		set->lacks_pools = gate.has_pools;
		see_ended(request, &gate, set);
		if (gate.reason == SVC_OK && svc_pool_is_needed(set, request->amount))
			svc_pool_add(set, request->customer_id, request->code, request->instant,
						 SVC_GRANT_LOCK_USABLE);
		decide(request, set, &gate, decision, &look_again);
	}
}

/*
 * Step 3.  True when something was due for the customer's subscriptions, and is
 * written down now: then the grants are to be looked at again.  "has_locks": are
 * grants locked?
 */
bool
svc_consume_read_gate(const SvcRequest *request, bool has_locks, SvcGate *gate)
{
	svc_grant_gate(gate, request->customer_id, false);
	return gate->reason == SVC_OK && gate->changes_at <= request->instant.at &&
		svc_subscription_catch_up_customer(request->customer_id, request->instant.at, !has_locks);
}

/* Steps 2 to 7 of giving back. */
static bool
attempt_refund(SvcRequest *request, void *state, Datum *answer)
{
	TupleDesc	desc = state;
	SvcGrantSet set;
	SvcDecision decision;
	SvcGate		gate;
	Datum		rest;
	int			line = 0;

	(void) svc_consume_read_gate(request, false, &gate);
	svc_grant_find(&set, request->customer_id, request->code, request->instant,
				   SVC_GRANT_LOCK_ALL);
	if (gate.has_pools)
		svc_pool_add(&set, request->customer_id, request->code, request->instant,
					 SVC_GRANT_LOCK_ALL);
	if (set.count > 0 && !has_metered(&set))
		svc_consume_report_not_metered(request, request->code);
	svc_booking_catch_up(request, &set);
	svc_grant_decide(&decision, &set, svc_amount_zero(), SVC_REJECT);
	rest = give_back(request, &set);
	if (svc_amount_sign(rest) > 0 || set.count == 0)
	{
		if (svc_ledger_replay_late(request, answer))
			return true;
		if (request->mode != SVC_CAP)
			report_excess(request, rest);
	}
	if (set.count > 0)
		decision.reason = SVC_OK;
	for (int n = set.count - 1; n >= 0; n--)
	{
		if (svc_amount_sign(nth_to_give_back(&set, n)->taken) == 0)
			continue;
		decision.has_entitlement = true;
		decision.entitlement_id = nth_to_give_back(&set, n)->id;
	}
	svc_grant_describe(&decision, &set);
	*answer = svc_decision_datum(&decision, desc);
	return svc_booking_write(request, &set, &line, *answer);
}

/* Whether one is live or not. */
static bool
has_metered(const SvcGrantSet *set)
{
	for (int i = 0; i < set->count; i++)
	{
		if (set->grants[i].metered)
			return true;
	}
	return false;
}

/*
 * Spread what is given back over the grants: what pools have paid first, as they
 * pay last; then what was used beyond limits, then against the burn order; to
 * live grants before others, where it can be used again.  Returns what none of
 * them has used.
 */
static Datum
give_back(const SvcRequest *request, SvcGrantSet *set)
{
	Datum		rest = svc_amount_negate(request->amount);

	for (int n = 0; n < set->count && svc_amount_sign(rest) > 0; n++)
	{
		SvcGrant   *grant = nth_to_give_back(set, n);

		if (grant->is_pool)
			rest = svc_pool_give_back(grant, request->customer_id, rest);
	}
	for (int n = 0; n < set->count; n++)
	{
		SvcGrant   *grant = nth_to_give_back(set, n);

		if (grant->metered && !grant->balance.unlimited && !grant->is_pool)
			rest = give_back_to(grant, svc_balance_overage(&grant->balance), rest);
	}
	for (int n = 0; n < set->count; n++)
	{
		SvcGrant   *grant = nth_to_give_back(set, n);

		if (grant->metered && !grant->is_pool)
			rest = give_back_to(grant, svc_amount_add(grant->balance.used, grant->taken), rest);
	}
	return rest;
}

/* Live ones, the last first; then the others, the last first. */
static SvcGrant *
nth_to_give_back(SvcGrantSet *set, int n)
{
	return n < set->live ? &set->grants[set->live - 1 - n] :
		&set->grants[set->count - 1 - (n - set->live)];
}

static Datum
give_back_to(SvcGrant *grant, Datum limit, Datum rest)
{
	Datum		amount = svc_amount_least(limit, rest);

	grant->taken = svc_amount_subtract(grant->taken, amount);
	return svc_amount_subtract(rest, amount);
}

/* An object of codes and amounts greater than 0. */
static void
read_parts(Parts *parts, Jsonb *amounts)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(amounts))
		report_bad_amounts("It is no object.");
	if (JB_ROOT_COUNT(amounts) == 0 || JB_ROOT_COUNT(amounts) > CODES_MAX)
		report_bad_amounts(psprintf("It has %d members.", (int) JB_ROOT_COUNT(amounts)));
	parts->parts = palloc0(JB_ROOT_COUNT(amounts) * sizeof(Part));

	it = JsonbIteratorInit(&amounts->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		Part	   *part = &parts->parts[parts->count];

		if (token == WJB_KEY)
		{
			part->code = PointerGetDatum(cstring_to_text_with_len(value.val.string.val,
																  value.val.string.len));
			svc_check_id(part->code, "entitlement code");
		}
		else if (token == WJB_VALUE)
		{
			if (value.type != jbvNumeric)
				report_bad_amounts(psprintf("The value of \"%s\" is no number.",
											TextDatumGetCString(part->code)));
			part->amount = NumericGetDatum(value.val.numeric);
			svc_check_amount(part->amount, "amount");
			if (svc_amount_sign(part->amount) <= 0)
				report_bad_amounts(psprintf("The value of \"%s\" is %s.",
											TextDatumGetCString(part->code),
											svc_amount_text(part->amount)));
			parts->count++;
		}
	}
	qsort(parts->parts, parts->count, sizeof(Part), compare_parts);
}

static int
compare_parts(const void *a, const void *b)
{
	return DatumGetInt32(DirectFunctionCall2Coll(bttextcmp, C_COLLATION_OID,
												 ((const Part *) a)->code,
												 ((const Part *) b)->code));
}

/* Steps 2 to 7 for several codes: lock all, then decide, then write. */
static bool
attempt_parts(SvcRequest *request, void *state, Datum *answer)
{
	Parts	   *parts = state;
	bool		look_again = true;
	Part	   *denied;
	int			line = 0;

	for (int i = 0; i < LOOKS_MAX && look_again; i++)
		look_again = lock_and_decide_parts(request, parts, i + 1 < LOOKS_MAX);

	denied = first_denied(parts);
	for (int i = 0; denied == NULL && i < parts->count; i++)
	{
		if (!parts->parts[i].set.metered)
			svc_consume_report_not_metered(request, parts->parts[i].code);
	}
	describe_parts(parts, denied == NULL);
	if (denied != NULL && svc_ledger_replay_late(request, answer))
		return true;
	*answer = parts_datum(parts, denied);
	for (int i = 0; denied == NULL && i < parts->count; i++)
	{
		if (!svc_booking_write(request, &parts->parts[i].set, &line, *answer))
			return false;
	}
	return true;
}

/*
 * Steps 2 to 5 for several codes; true when they are to be done again.
 *
 * Codes are served in their order, each as if those before had been served by
 * calls of their own: what they spend of the pot is gone.
 */
static bool
lock_and_decide_parts(SvcRequest *request, Parts *parts, bool may_look_again)
{
	SvcGate		gate;
	bool		any_again = false;

	svc_grant_gate(&gate, request->customer_id, false);
	lock_parts(request, parts, &gate);
	if (svc_consume_read_gate(request, true, &gate) && may_look_again)
		return true;
	if (gate.reason == SVC_OK)
		svc_booking_catch_up(request, &parts->pot);
	parts->pot_before = palloc(Max(parts->pot.count, 1) * sizeof(SvcGrant));
	memcpy(parts->pot_before, parts->pot.grants, parts->pot.count * sizeof(SvcGrant));
	for (int i = 0; i < parts->count; i++)
	{
		Part	   *part = &parts->parts[i];
		bool		look_again;

		request->code = part->code;
		request->amount = part->amount;
		if (part->has_pools)
			svc_pool_draw_own(&part->set, &parts->pot, part->code);
		else if (parts->pot.count > 0)
			svc_pool_draw(&part->set, &parts->pot, part->code);
		decide(request, &part->set, &gate, &part->decision, &look_again);
		svc_pool_spend(&parts->pot, &part->set);
		any_again |= look_again;
	}
	return any_again;
}

/* Step 2: codes without pools first; then the pot, if anybody needs it. */
static void
lock_parts(SvcRequest *request, Parts *parts, const SvcGate *gate)
{
	parts->pool_code_count = gate->has_pools ? svc_pool_codes(request->customer_id, &parts->pool_codes) : 0;
	for (int i = 0; i < parts->count; i++)
	{
		Part	   *part = &parts->parts[i];

		part->has_pools = false;
		for (int j = 0; j < parts->pool_code_count; j++)
			part->has_pools |= DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, part->code,
																	parts->pool_codes[j]));
		if (part->has_pools)
			continue;
		svc_grant_find(&part->set, request->customer_id, part->code, request->instant,
					   SVC_GRANT_LOCK_USABLE);
		part->set.lacks_pools = gate->has_pools;
		request->code = part->code;
		see_ended(request, gate, &part->set);
	}
	memset(&parts->pot, 0, sizeof(parts->pot));
	if (parts->pool_code_count > 0 && need_pot(parts))
		lock_pot(request, parts);
}

/* Is a code to be served by pools, or that of pools itself? */
static bool
need_pot(const Parts *parts)
{
	for (int i = 0; i < parts->count; i++)
	{
		if (parts->parts[i].has_pools ||
			svc_pool_is_needed(&parts->parts[i].set, parts->parts[i].amount))
			return true;
	}
	return false;
}

/* Then with all pools that pay for any of the codes, so that what remains is right. */
static void
lock_pot(SvcRequest *request, Parts *parts)
{
	Datum	   *codes = palloc(parts->count * sizeof(Datum));
	Datum	   *payees = palloc(parts->count * sizeof(Datum));
	int			code_count = 0;
	int			payee_count = 0;

	for (int i = 0; i < parts->count; i++)
	{
		if (parts->parts[i].has_pools)
			codes[code_count++] = parts->parts[i].code;
		else
			payees[payee_count++] = parts->parts[i].code;
	}
	svc_pool_lock(&parts->pot, request->customer_id, codes, code_count, payees, payee_count,
				  request->instant);
}

/* What is taken, and what is left then; of a denial, what is left without it. */
static void
describe_parts(Parts *parts, bool allowed)
{
	if (!allowed && parts->pot.count == 0)
		return;
	if (!allowed)
		parts->pot.grants = parts->pot_before;
	for (int i = 0; i < parts->count; i++)
	{
		if (!allowed)
			svc_grant_untake(&parts->parts[i].set);
		svc_pool_describe(&parts->parts[i].decision, &parts->parts[i].set, &parts->pot);
	}
}

static Part *
first_denied(Parts *parts)
{
	for (int i = 0; i < parts->count; i++)
	{
		if (parts->parts[i].decision.reason != SVC_OK)
			return &parts->parts[i];
	}
	return NULL;
}

/* A row of svc_consumptions; "denied" is the first code that was, or NULL. */
static Datum
parts_datum(const Parts *parts, const Part *denied)
{
	Datum		values[7];
	bool		isnull[7] = {false};

	values[0] = BoolGetDatum(denied == NULL);
	values[1] = CStringGetTextDatum(svc_reason_name(denied ? denied->decision.reason : SVC_OK));
	values[2] = denied ? denied->code : (Datum) 0;
	isnull[2] = denied == NULL;
	values[3] = part_figures(parts, consumed_of);
	isnull[3] = denied != NULL;
	values[4] = part_figures(parts, remaining_of);
	values[5] = part_figures(parts, overage_of);
	isnull[5] = denied != NULL;
	values[6] = BoolGetDatum(false);
	return HeapTupleGetDatum(heap_form_tuple(parts->desc, values, isnull));
}

/* An object with one figure of each code. */
static Datum
part_figures(const Parts *parts, Datum (*figure) (const SvcDecision *decision))
{
	JsonbParseState *state = NULL;
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < parts->count; i++)
	{
		Datum		amount = figure(&parts->parts[i].decision);
		JsonbValue	value;

		value.type = jbvString;
		value.val.string.val = TextDatumGetCString(parts->parts[i].code);
		value.val.string.len = strlen(value.val.string.val);
		pushJsonbValue(&state, WJB_KEY, &value);
		value.type = amount == (Datum) 0 ? jbvNull : jbvNumeric;
		if (amount != (Datum) 0)
			value.val.numeric = DatumGetNumeric(amount);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(object));
}

static Datum
consumed_of(const SvcDecision *decision)
{
	return decision->consumed;
}

/* 0: it is null */
static Datum
remaining_of(const SvcDecision *decision)
{
	return decision->has_remaining ? decision->remaining : (Datum) 0;
}

static Datum
overage_of(const SvcDecision *decision)
{
	return decision->overage;
}

void
svc_consume_report_not_metered(const SvcRequest *request, Datum code)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_NOT_METERED),
			 errmsg("entitlement \"%s\" is not metered", TextDatumGetCString(code)),
			 errdetail("No grant of customer \"%s\" has a limit or is unlimited.",
					   TextDatumGetCString(request->customer_id)),
			 errhint("Ask for it with svc_check_entitlement().")));
}

static void
report_excess(const SvcRequest *request, Datum rest)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_AMOUNT_EXCEEDED),
			 errmsg("cannot give back more than was used of entitlement \"%s\"",
					TextDatumGetCString(request->code)),
			 errdetail("Customer \"%s\" was to be given back %s, which is %s too much.",
					   TextDatumGetCString(request->customer_id),
					   svc_amount_text(svc_amount_negate(request->amount)), svc_amount_text(rest)),
			 errhint("Mode \"cap\" gives back what there is; a reset has taken back what was used before it.")));
}

static void
report_bad_amounts(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("amounts must be an object of entitlement codes and amounts greater than 0"),
			 errdetail("%s", problem),
			 errhint("For example '{\"api_calls\": 1, \"tokens\": 250}'; at most %d codes.", CODES_MAX)));
}
