/*-------------------------------------------------------------------------
 *
 * subscription_preview.c
 *	  What is used of a subscription, and what a change of it would do.
 *
 * All of it reads grants as they are at an instant (grant.c), writes nothing
 * and takes no lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "gate.h"
#include "grant.h"
#include "offer.h"
#include "statement.h"

#define PREVIEW_COLUMNS		12

/* A code before and after a change of plan. */
typedef struct Comparison
{
	Datum		code;
	bool		is_before;
	SvcGrant	before;
	bool		is_after;
	bool		metered;		/* after */
	bool		unlimited;
	Datum		limit;
	bool		has_value;
	Datum		value;
	bool		carries_usage;
} Comparison;

static void compare(Comparison *comparison, SPITupleTable *found, uint64 row, Datum customer_id,
					TimestampTz at);
static void put_comparison(ReturnSetInfo *result, const Comparison *comparison);
static const char *effect_of(const Comparison *comparison, Datum limit_before, bool no_limit_before,
							 Datum limit_after, bool no_limit_after);
static Datum shown_limit(bool is_there, bool metered, bool unlimited, Datum limit, bool *isnull);
static Datum left_of(Datum limit, Datum rollover, Datum gone);
static bool same_value(const Comparison *comparison);

PG_FUNCTION_INFO_V1(svc_subscription_usage);
PG_FUNCTION_INFO_V1(svc_preview_subscription_change);

/*
 * svc_subscription_usage(customer_id, subscription_id, at)
 *	-> an object of code to what is used of it in the present periods
 */
Datum
svc_subscription_usage(PG_FUNCTION_ARGS)
{
	static SvcStatement grants = {
		"SELECT id::text FROM @extschema@.svc_entitlement"
		" WHERE customer_id = $1 AND subscription_id = $2 AND status <> 'revoked'"
		"  AND (limit_amount IS NOT NULL OR unlimited)",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement sum = {
		"SELECT jsonb_object_agg(u.code, u.used) FROM"
		" (SELECT code, sum(used) AS used FROM unnest($1, $2) g (code, used) GROUP BY code) u",
		2, {TEXTARRAYOID, NUMERICARRAYOID}
	};
	Datum		keys[2] = {svc_argument_id(fcinfo, 0, "customer id"),
	svc_argument_id(fcinfo, 1, "subscription id")};
	TimestampTz at = svc_argument_at(fcinfo, 2);
	Datum	   *codes;
	Datum	   *used;
	Datum		lists[2];
	SPITupleTable *found;
	int			count = 0;
	uint64		rows;
	Datum		usage;
	bool		isnull;
	SvcCall		call;

	svc_call_begin(&call, fcinfo);
	rows = svc_statement_read(&grants, keys, NULL);
	found = SPI_tuptable;
	codes = palloc(Max(rows, 1) * sizeof(Datum));
	used = palloc(Max(rows, 1) * sizeof(Datum));
	for (uint64 row = 0; row < rows; row++)
	{
		SvcGrant	grant;

		if (!svc_grant_load(&grant, keys[0], SPI_getbinval(found->vals[row], found->tupdesc, 1, &isnull), at))
			continue;
		codes[count] = grant.code;
		used[count++] = grant.balance.used;
	}
	lists[0] = svc_statement_texts(codes, count);
	lists[1] = PointerGetDatum(construct_array(used, count, NUMERICOID, -1, false, TYPALIGN_INT));
	svc_statement_read(&sum, lists, NULL);
	usage = svc_statement_value(0, 1, &isnull);
	if (!isnull)
		usage = svc_call_keep(&call, usage);
	svc_call_end(&call);
	if (isnull)
		PG_RETURN_NULL();
	return usage;
}

/*
 * svc_preview_subscription_change(customer_id, subscription_id, plan_id,
 *								   quantity, carry_usage, billing_cycle, at)
 *	-> what would be granted, revoked, carried and lost, a row per code
 *
 * Of what the plan itself grants; add-ons stay.
 */
Datum
svc_preview_subscription_change(PG_FUNCTION_ARGS)
{
	static SvcStatement statement = {
		"SELECT coalesce(e.code, g.code), e.id::text, g.code IS NOT NULL, g.reset_period IS NOT NULL,"
		"  g.unlimited, g.limit_amount, g.value"
		" FROM (SELECT code::text, id FROM @extschema@.svc_entitlement WHERE customer_id = $1"
		"   AND subscription_id = $2 AND source IN ('plan', 'trial') AND status <> 'revoked') e"
		" FULL JOIN (SELECT t.* FROM @extschema@.svc_subscription s CROSS JOIN LATERAL"
		"   @extschema@.svc_terms_grants(@extschema@.svc_plan_terms($3), coalesce($4, s.quantity),"
		"    coalesce($5, s.billing_cycle)) t"
		"   WHERE s.customer_id = $1 AND s.id = $2) g ON g.code = e.code"
		" ORDER BY 1, 2",
		5, {TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[5];
	bool		isnull[5] = {false};
	bool		carries_usage;
	TimestampTz at;
	SPITupleTable *found;
	SvcFoundRow row_found;
	uint64		rows;
	SvcCall		call;

	values[0] = svc_argument_id(fcinfo, 0, "customer id");
	values[1] = svc_argument_id(fcinfo, 1, "subscription id");
	values[2] = svc_argument_id(fcinfo, 2, "plan id");
	values[3] = PG_GETARG_DATUM(3);
	isnull[3] = PG_ARGISNULL(3);
	if (!isnull[3] && DatumGetInt32(values[3]) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("quantity must be greater than 0"),
				 errdetail("It is %d.", DatumGetInt32(values[3])),
				 errhint("Leave it out for the present one.")));
	carries_usage = svc_argument_bool(fcinfo, 4, "carry_usage");
	values[4] = PG_GETARG_DATUM(5);
	isnull[4] = PG_ARGISNULL(5);
	if (!isnull[4])
		svc_offer_check_cycle(TextDatumGetCString(values[4]));
	at = svc_argument_at(fcinfo, 6);
	InitMaterializedSRF(fcinfo, 0);

	svc_call_begin(&call, fcinfo);
	svc_gate_read_row(&row_found, SVC_SUBSCRIPTION, values[0], values[1]);
	rows = svc_statement_read(&statement, values, isnull);
	found = SPI_tuptable;
	for (uint64 row = 0; row < rows; row++)
	{
		Comparison	comparison = {.carries_usage = carries_usage};

		compare(&comparison, found, row, values[0], at);
		put_comparison(result, &comparison);
	}
	svc_call_end(&call);
	return (Datum) 0;
}

static void
compare(Comparison *comparison, SPITupleTable *found, uint64 row, Datum customer_id, TimestampTz at)
{
	HeapTuple	tuple = found->vals[row];
	bool		isnull;
	Datum		id;

	comparison->code = SPI_getbinval(tuple, found->tupdesc, 1, &isnull);
	id = SPI_getbinval(tuple, found->tupdesc, 2, &isnull);
	comparison->is_before = !isnull && svc_grant_load(&comparison->before, customer_id, id, at);
	comparison->is_after = DatumGetBool(SPI_getbinval(tuple, found->tupdesc, 3, &isnull));
	comparison->metered = DatumGetBool(SPI_getbinval(tuple, found->tupdesc, 4, &isnull));
	comparison->unlimited = comparison->is_after &&
		DatumGetBool(SPI_getbinval(tuple, found->tupdesc, 5, &isnull));
	comparison->limit = SPI_getbinval(tuple, found->tupdesc, 6, &isnull);
	comparison->value = SPI_getbinval(tuple, found->tupdesc, 7, &isnull);
	comparison->has_value = !isnull;
}

/*
 * Limits and remainders are Infinity where there is no limit, null where
 * nothing is counted.
 */
static void
put_comparison(ReturnSetInfo *result, const Comparison *comparison)
{
	const SvcGrant *before = &comparison->before;
	Datum		zero = svc_amount_zero();
	bool		counts_before = comparison->is_before && before->metered;
	bool		counts_after = comparison->is_after && comparison->metered;
	Datum		used = counts_before ? before->balance.used : zero;
	Datum		held = counts_before ? before->balance.held : zero;
	bool		carries = counts_before && counts_after && comparison->carries_usage;
	Datum		carried = carries ? used : zero;
	Datum		gone = carries ? svc_amount_add(used, held) : zero;
	Datum		values[PREVIEW_COLUMNS];
	bool		isnull[PREVIEW_COLUMNS] = {false};

	values[0] = comparison->code;
	values[2] = shown_limit(comparison->is_before, before->metered, before->balance.unlimited,
							before->balance.limit, &isnull[2]);
	values[3] = shown_limit(comparison->is_after, comparison->metered, comparison->unlimited,
							comparison->limit, &isnull[3]);
	values[1] = CStringGetTextDatum(effect_of(comparison, values[2], isnull[2], values[3], isnull[3]));
	values[4] = before->value;
	isnull[4] = !comparison->is_before || !before->has_value;
	values[5] = comparison->value;
	isnull[5] = !comparison->has_value;
	values[6] = used;
	values[7] = carried;
	values[8] = left_of(values[2], counts_before ? before->balance.rollover : zero,
						svc_amount_add(used, held));
	values[9] = left_of(values[3], carries ? before->balance.rollover : zero, gone);
	values[10] = svc_amount_compare(values[8], values[9]) > 0 ?
		svc_amount_subtract(values[8], values[9]) : zero;
	values[11] = svc_amount_greatest(svc_amount_subtract(gone, svc_amount_add(values[3],
																			 carries ? before->balance.rollover : zero)), zero);
	isnull[6] = isnull[8] = !counts_before;
	isnull[7] = isnull[9] = isnull[11] = !counts_after;
	isnull[10] = !counts_before;
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

static const char *
effect_of(const Comparison *comparison, Datum limit_before, bool no_limit_before,
		  Datum limit_after, bool no_limit_after)
{
	if (!comparison->is_before)
		return "granted";
	if (!comparison->is_after)
		return "revoked";
	if (no_limit_before != no_limit_after || !same_value(comparison) ||
		(!no_limit_before && svc_amount_compare(limit_before, limit_after) != 0))
		return "changed";
	return "kept";
}

/* 0, and null, where there is none. */
static Datum
shown_limit(bool is_there, bool metered, bool unlimited, Datum limit, bool *isnull)
{
	*isnull = !is_there || !metered;
	if (*isnull)
		return svc_amount_zero();
	return unlimited ? svc_amount_infinity() : limit;
}

static Datum
left_of(Datum limit, Datum rollover, Datum gone)
{
	return svc_amount_greatest(svc_amount_subtract(svc_amount_add(limit, rollover), gone), svc_amount_zero());
}

static bool
same_value(const Comparison *comparison)
{
	const SvcGrant *before = &comparison->before;

	if (before->has_value != comparison->has_value)
		return false;
	return !before->has_value ||
		DatumGetBool(DirectFunctionCall2(jsonb_eq, before->value, comparison->value));
}
