/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  Looking at entitlements: what a customer has, why a decision is as it
 *	  is, what the balance was, and whether the books are right.
 *
 * All of it reads with the snapshot of the calling query, and takes no lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/tuplestore.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "grant.h"
#include "pool.h"
#include "statement.h"
#include "subscription_due.h"

#define ENTITLEMENT_COLUMNS		15
#define EXPLAIN_COLUMNS			7
#define BALANCE_COLUMNS			7

/* What the ledger and the holds say of one grant at an instant. */
typedef struct Past
{
	Datum		id;
	bool		is_there;		/* granted, and not revoked */
	Datum		used;
	Datum		rollover;
	bool		has_limit;
	bool		unlimited;
	Datum		limit;
	TimestampTz pending_reset_at;	/* of resets within which it lies; DT_NOEND: none */
} Past;

static void put_entitlement(ReturnSetInfo *result, Datum code, Datum sources,
							const SvcGrantSet *set, SvcReason gate);
static void put_step(ReturnSetInfo *result, int step, const char *what, const SvcGrant *grant,
					 const char *state, const char *explanation);
static char *explain_gate(SvcReason gate, Datum customer_id);
static char *explain_grant(const SvcGrant *grant);
static void explain_pool(StringInfo words, const SvcGrant *grant);
static char *explain_decision(const SvcDecision *decision, const SvcGrantSet *set, Datum amount);
static uint64 read_past(Datum customer_id, Datum code, TimestampTz at);
static Past past_of_row(uint64 row, const SvcGrant *grant);
static void put_back(SvcGrant *grant, const Past *past, TimestampTz at);
static void read_past_holds(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at);
static bool same_text(Datum a, Datum b);

PG_FUNCTION_INFO_V1(svc_entitlements);
PG_FUNCTION_INFO_V1(svc_explain_entitlement);
PG_FUNCTION_INFO_V1(svc_balance_at);

/*
 * svc_entitlements(customer_id, at) -> one row per code
 */
Datum
svc_entitlements(PG_FUNCTION_ARGS)
{
	static SvcStatement codes = {
		"SELECT code::text, array_agg(DISTINCT source::text ORDER BY source::text)"
		" FROM @extschema@.svc_entitlement WHERE customer_id = $1 AND status <> 'revoked'"
		" GROUP BY code ORDER BY code",
		1, {TEXTOID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	SvcInstant	instant = svc_argument_instant(fcinfo, 1);
	SPITupleTable *found;
	SvcGate		gate;
	uint64		rows;
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	svc_grant_gate(&gate, customer_id, true);
	rows = svc_statement_read(&codes, &customer_id, NULL);
	found = SPI_tuptable;
	for (uint64 row = 0; row < rows; row++)
	{
		bool		isnull;
		Datum		code = SPI_getbinval(found->vals[row], found->tupdesc, 1, &isnull);
		SvcGrantSet set;

		svc_grant_find(&set, customer_id, code, instant, SVC_GRANT_READ);
		if (gate.changes_at <= instant.at)
			svc_subscription_look(&set, customer_id, code, instant.at, false);
		put_entitlement(result, code, SPI_getbinval(found->vals[row], found->tupdesc, 2, &isnull),
						&set, gate.reason);
	}
	svc_call_end(&call);
	return (Datum) 0;
}

/*
 * svc_explain_entitlement(customer_id, code, amount, at)
 *	-> the way to a decision, a row per step
 */
Datum
svc_explain_entitlement(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	Datum		code = svc_argument_id(fcinfo, 1, "entitlement code");
	Datum		amount = svc_argument_positive_amount(fcinfo, 2, "amount", "Leave it out for 1.");
	SvcInstant	instant = svc_argument_instant(fcinfo, 3);
	SvcGate		gate;
	SvcGrantSet set;
	SvcDecision decision;
	int			step = 1;
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	svc_grant_gate(&gate, customer_id, true);
	svc_grant_find(&set, customer_id, code, instant, SVC_GRANT_READ);
	if (gate.has_pools)
		svc_pool_add(&set, customer_id, code, instant, SVC_GRANT_READ);
	if (gate.changes_at <= instant.at)
		svc_subscription_look(&set, customer_id, code, instant.at, false);
	svc_grant_decide(&decision, &set, amount, SVC_REJECT);

	put_step(result, step++, "customer", NULL, svc_reason_name(gate.reason),
			 explain_gate(gate.reason, customer_id));
	for (int i = 0; i < set.count; i++)
		put_step(result, step++, set.grants[i].is_pool ? "pool" : "grant", &set.grants[i],
				 svc_reason_name(set.grants[i].state), explain_grant(&set.grants[i]));
	if (gate.reason != SVC_OK)
		decision.reason = gate.reason;
	put_step(result, step, "decision", NULL, svc_reason_name(decision.reason),
			 explain_decision(&decision, &set, amount));
	svc_call_end(&call);
	return (Datum) 0;
}

/*
 * svc_balance_at(customer_id, code, at) -> svc_balance
 *
 * The balance of a code as it was at an instant, or, in the future, as it will
 * be if nothing happens.  Read from the ledger: used is the sum of its rows, a
 * limit and a rollover are what the next row that changes them says they were
 * before.  One row of the ledger may stand for several resets; an instant among
 * these is reckoned from the row before.  Suspensions are not looked at.
 */
Datum
svc_balance_at(PG_FUNCTION_ARGS)
{
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	Datum		code = svc_argument_id(fcinfo, 1, "entitlement code");
	TimestampTz at = svc_argument_at(fcinfo, 2);
	Datum		values[BALANCE_COLUMNS];
	bool		isnull[BALANCE_COLUMNS] = {false};
	SvcGrantSet set;
	SvcGrantTotal total;
	TupleDesc	desc;
	Datum		result;
	uint64		rows;
	SvcCall		call;

	svc_catalog_use(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "svc_balance_at must return a row");
	svc_call_begin(&call, fcinfo);
	svc_grant_find_stored(&set, customer_id, code);
	read_past_holds(&set, customer_id, code, at);
	rows = read_past(customer_id, code, at);
	for (int i = 0; i < set.count; i++)
	{
		for (uint64 row = 0; row < rows; row++)
		{
			Past		past = past_of_row(row, &set.grants[i]);

			if (same_text(past.id, set.grants[i].id))
				put_back(&set.grants[i], &past, at);
		}
	}
	/* those that were there, to the front */
	for (int i = 0; i < set.count; i++)
	{
		if (set.grants[i].state == SVC_OK)
			set.grants[set.live++] = set.grants[i];
	}
	svc_grant_sum_up(&set);

	total = svc_grant_total(&set);
	values[0] = BoolGetDatum(set.unlimited);
	values[1] = total.balance.limit;
	isnull[1] = set.unlimited || !set.metered;
	values[2] = total.balance.rollover;
	values[3] = total.balance.used;
	values[4] = total.balance.held;
	values[5] = set.available;
	isnull[5] = isnull[1];
	values[6] = total.overage;
	result = svc_call_keep(&call, HeapTupleGetDatum(heap_form_tuple(desc, values, isnull)));
	svc_call_end(&call);
	return result;
}

static void
put_entitlement(ReturnSetInfo *result, Datum code, Datum sources,
				const SvcGrantSet *set, SvcReason gate)
{
	SvcGrantSet look = *set;
	SvcGrantTotal total = svc_grant_total(set);
	TimestampTz valid_until = DT_NOEND;
	SvcDecision decision;
	Datum		values[ENTITLEMENT_COLUMNS];
	bool		isnull[ENTITLEMENT_COLUMNS] = {false};
	bool		no_limit = set->unlimited || !set->metered;

	for (int i = 0; i < set->live; i++)
		valid_until = Min(valid_until, set->grants[i].valid_until);
	svc_grant_decide(&decision, &look, svc_amount_smallest(), SVC_REJECT);

	values[0] = code;
	values[1] = CStringGetTextDatum(svc_reason_name(gate != SVC_OK ? gate : decision.reason));
	values[2] = BoolGetDatum(set->metered);
	values[3] = BoolGetDatum(set->unlimited);
	values[4] = total.balance.limit;
	values[5] = total.balance.rollover;
	values[6] = total.balance.used;
	values[7] = total.balance.held;
	values[8] = set->available;
	values[9] = total.overage;
	values[10] = total.percent;
	isnull[4] = isnull[8] = isnull[10] = no_limit;
	isnull[5] = isnull[6] = isnull[7] = isnull[9] = !set->metered;
	values[11] = decision.value;
	isnull[11] = !decision.has_value;
	values[12] = TimestampTzGetDatum(decision.reset_at);
	isnull[12] = decision.reset_at == DT_NOEND;
	values[13] = TimestampTzGetDatum(valid_until);
	isnull[13] = valid_until == DT_NOEND;
	values[14] = sources;
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

static void
put_step(ReturnSetInfo *result, int step, const char *what, const SvcGrant *grant,
		 const char *state, const char *explanation)
{
	Datum		values[EXPLAIN_COLUMNS];
	bool		isnull[EXPLAIN_COLUMNS] = {false};

	values[0] = Int32GetDatum(step);
	values[1] = CStringGetTextDatum(what);
	isnull[2] = isnull[4] = isnull[5] = grant == NULL;
	if (grant != NULL)
	{
		values[2] = grant->id;
		values[4] = grant->available;
		isnull[4] = !grant->metered || grant->balance.unlimited;
		values[5] = grant->taken;
		isnull[5] = grant->state != SVC_OK || !grant->metered;
	}
	values[3] = CStringGetTextDatum(state);
	values[6] = CStringGetTextDatum(explanation);
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

static char *
explain_gate(SvcReason gate, Datum customer_id)
{
	return psprintf("customer \"%s\" %s", TextDatumGetCString(customer_id),
					gate == SVC_OK ? "is served" :
					gate == SVC_UNKNOWN_CUSTOMER ? "does not exist" : "is not served");
}

/* Its figures, and what decides about its place in the order. */
static char *
explain_grant(const SvcGrant *grant)
{
	const SvcBalance *balance = &grant->balance;
	StringInfoData words;

	initStringInfo(&words);
	if (grant->is_pool)
		explain_pool(&words, grant);
	if (!grant->metered)
		appendStringInfoString(&words, "not counted");
	else if (balance->unlimited)
		appendStringInfo(&words, "unlimited, used %s", svc_amount_text(balance->used));
	else
		appendStringInfo(&words, "limit %s + rollover %s - used %s - held %s",
						 svc_amount_text(balance->limit), svc_amount_text(balance->rollover),
						 svc_amount_text(balance->used), svc_amount_text(balance->held));
	if (grant->metered && balance->may_exceed)
		appendStringInfo(&words, "; may exceed it%s%s", balance->has_overage_limit ? " by " : "",
						 balance->has_overage_limit ? svc_amount_text(balance->overage_limit) : "");
	appendStringInfo(&words, "; priority %d", grant->priority);
	if (grant->reset_at != DT_NOEND)
		appendStringInfo(&words, "; resets at %s", timestamptz_to_str(grant->reset_at));
	if (grant->valid_from != DT_NOBEGIN)
		appendStringInfo(&words, "; valid from %s", timestamptz_to_str(grant->valid_from));
	if (grant->valid_until != DT_NOEND)
		appendStringInfo(&words, "; valid until %s", timestamptz_to_str(grant->valid_until));
	if (svc_amount_sign(grant->overage) > 0)
		appendStringInfo(&words, "; %s of what it pays is overage", svc_amount_text(grant->overage));
	return words.data;
}

/* What it pays for, and how much of that; a pool has the unit of its own code. */
static void
explain_pool(StringInfo words, const SvcGrant *grant)
{
	appendStringInfo(words, "%s of \"%s\" for each of \"%s\"", svc_amount_text(grant->cost),
					 TextDatumGetCString(grant->code), TextDatumGetCString(grant->spent_on));
	if (!grant->balance.unlimited)
		appendStringInfo(words, ", %s available for %s", svc_amount_text(grant->available),
						 svc_amount_text(svc_grant_units(grant, grant->available)));
	if (svc_amount_sign(grant->spent) > 0)
		appendStringInfo(words, ", pays for %s", svc_amount_text(grant->spent));
	appendStringInfoString(words, "; ");
}

static char *
explain_decision(const SvcDecision *decision, const SvcGrantSet *set, Datum amount)
{
	Datum		by_pools = svc_amount_zero();
	const char *pools = "";

	for (int i = 0; i < set->live; i++)
	{
		by_pools = svc_amount_add(by_pools, set->grants[i].spent);
		if (set->grants[i].is_pool)
			pools = ", pools included";
	}
	if (svc_amount_sign(by_pools) > 0)
		pools = psprintf(", %s of them by pools", svc_amount_text(by_pools));
	if (decision->reason == SVC_OK)
		return !set->metered ? psprintf("allowed: the right is not counted") :
			psprintf("allowed: %s of %s paid by the grants above, in this order%s",
					 svc_amount_text(svc_grant_taken(set)), svc_amount_text(amount),
					 svc_amount_sign(by_pools) > 0 ? pools : "");
	if (decision->reason == SVC_LIMIT_EXCEEDED)
		return psprintf("denied: %s asked for, %s available%s", svc_amount_text(amount),
						svc_amount_text(set->available), pools);
	return psprintf("denied: %s", svc_reason_name(decision->reason));
}

/*
 * What the ledger says of each grant at an instant.  An instant that lies
 * within what one row of kind reset stands for is judged by the rows before.
 */
static uint64
read_past(Datum customer_id, Datum code, TimestampTz at)
{
	static SvcStatement statement = {
		"SELECT e.id::text, e.created_at <= $3 AND NOT EXISTS (SELECT FROM @extschema@.svc_entitlement_ledger v"
		"   WHERE v.customer_id = $1 AND v.entitlement_id = e.id AND v.kind = 'revoke' AND v.occurred_at <= $3),"
		"  (SELECT coalesce(sum(u.amount), 0) FROM @extschema@.svc_entitlement_ledger u"
		"   WHERE u.customer_id = $1 AND u.entitlement_id = e.id"
		"   AND CASE WHEN p.seq IS NULL THEN u.occurred_at <= $3 ELSE u.seq < p.seq END),"
		"  p.occurred_at, coalesce(p.rollover_before, r.rollover_before),"
		"  l.seq IS NOT NULL, l.limit_before"
		" FROM @extschema@.svc_entitlement e"
		" LEFT JOIN LATERAL (SELECT seq, occurred_at, rollover_before FROM @extschema@.svc_entitlement_ledger"
		"   WHERE customer_id = $1 AND entitlement_id = e.id AND kind = 'reset' AND occurred_at <= $3"
		"   AND (metadata ->> 'until')::timestamptz > $3 ORDER BY seq LIMIT 1) p ON true"
		" LEFT JOIN LATERAL (SELECT rollover_before FROM @extschema@.svc_entitlement_ledger"
		"   WHERE customer_id = $1 AND entitlement_id = e.id AND kind = 'reset' AND occurred_at > $3"
		"   ORDER BY seq LIMIT 1) r ON true"
		" LEFT JOIN LATERAL (SELECT seq, limit_before FROM @extschema@.svc_entitlement_ledger"
		"   WHERE customer_id = $1 AND entitlement_id = e.id AND kind = 'limit' AND occurred_at > $3"
		"   ORDER BY seq LIMIT 1) l ON true"
		" WHERE e.customer_id = $1 AND e.code = $2",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {customer_id, code, TimestampTzGetDatum(at)};

	return svc_statement_read(&statement, values, NULL);
}

/* Where the ledger says nothing, it is as it is now. */
static Past
past_of_row(uint64 row, const SvcGrant *grant)
{
	Past		past;
	bool		isnull;
	Datum		value;

	past.id = svc_statement_value(row, 1, &isnull);
	past.is_there = DatumGetBool(svc_statement_value(row, 2, &isnull));
	past.used = svc_statement_value(row, 3, &isnull);
	value = svc_statement_value(row, 4, &isnull);
	past.pending_reset_at = isnull ? DT_NOEND : DatumGetTimestampTz(value);
	past.rollover = svc_statement_value(row, 5, &isnull);
	if (isnull)
		past.rollover = grant->balance.rollover;

	past.has_limit = grant->metered;
	past.unlimited = grant->balance.unlimited;
	past.limit = grant->balance.limit;
	if (DatumGetBool(svc_statement_value(row, 6, &isnull)))
	{
		value = svc_statement_value(row, 7, &isnull);
		past.has_limit = !isnull;
		past.unlimited = !isnull && numeric_is_inf(DatumGetNumeric(value));
		past.limit = isnull || past.unlimited ? svc_amount_zero() : value;
	}
	return past;
}

/* Make a grant what it was, and let time pass up to the instant. */
static void
put_back(SvcGrant *grant, const Past *past, TimestampTz at)
{
	bool		is_past = at < grant->last_reset_at || at < grant->reset_at;

	grant->state = !past->is_there || at >= grant->valid_until || at < grant->valid_from ?
		SVC_NO_ENTITLEMENT : SVC_OK;
	grant->balance.used = past->used;
	grant->balance.rollover = past->rollover;
	grant->metered = past->has_limit;
	grant->balance.unlimited = past->unlimited;
	grant->balance.limit = past->limit;
	if (past->pending_reset_at != DT_NOEND)
		grant->reset_at = past->pending_reset_at;
	else if (is_past)
		grant->reset_at = DT_NOEND;
	svc_grant_advance(grant, at);
}

/* What was held at an instant, and when it ended. */
static void
read_past_holds(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at)
{
	static SvcStatement statement = {
		"SELECT entitlement_id::text, coalesce(least(expires_at, ended_at), 'infinity')::timestamptz,"
		"  amount::numeric"
		" FROM @extschema@.svc_entitlement_hold"
		" WHERE customer_id = $1 AND code = $2 AND held_at <= $3 ORDER BY 2",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {customer_id, code, TimestampTzGetDatum(at)};
	uint64		rows = svc_statement_read(&statement, values, NULL);

	for (int i = 0; i < set->count; i++)
	{
		SvcGrant   *grant = &set->grants[i];

		grant->balance.held = svc_amount_zero();
		grant->lapses = palloc(Max(rows, 1) * sizeof(SvcLapse));
		for (uint64 row = 0; row < rows; row++)
		{
			SvcLapse   *lapse = &grant->lapses[grant->lapse_count];
			bool		isnull;

			if (!same_text(svc_statement_value(row, 1, &isnull), grant->id))
				continue;
			lapse->at = DatumGetTimestampTz(svc_statement_value(row, 2, &isnull));
			lapse->amount = svc_statement_value(row, 3, &isnull);
			grant->balance.held = svc_amount_add(grant->balance.held, lapse->amount);
			grant->lapse_count++;
		}
	}
}

static bool
same_text(Datum a, Datum b)
{
	return DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, a, b));
}
