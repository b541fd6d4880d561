/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  Raw usage records and the roll-ups of a period: their actions, one row
 *	  at a time.
 *
 * A raw record is immutable; what was wrong is corrected by a further record
 * that refers to it.  A roll-up changes until it is finalized.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "action.h"
#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "error.h"
#include "lifecycle.h"
#include "property.h"
#include "statement.h"
#include "usage.h"

#define INSERT_RECORD \
	"INSERT INTO @extschema@.svc_usage" \
	" (customer_id, resource, quantity, occurred_at, idempotency_key, metadata, subscription_id)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7)"

/* What makes a roll-up the one that it is. */
#define FIXED_IN_ROLLUP		"id status"

static void prepare_adjust(SvcActionCall *call);
static void prepare_aggregate(SvcActionCall *call);
static Datum find_recorded(const SvcUsageRecord *record);
static bool find_rollup(Datum customer_id, Datum properties, Datum *id, Datum *figures);

static const SvcAction actions[] = {
	{"svc_bill_usage", SVC_USAGE, "bill", "invoice_id", NULL, true},
	{"svc_adjust_usage", SVC_USAGE, "adjust", NULL, prepare_adjust, true},
	{"svc_aggregate_customer_usage", SVC_CUSTOMER_USAGE, "aggregate", NULL, prepare_aggregate},
};

PG_FUNCTION_INFO_V1(svc_record_usage);
PG_FUNCTION_INFO_V1(svc_record_customer_usage);

void
svc_usage_init(void)
{
	svc_action_register(actions, lengthof(actions));
}

/*
 * svc_record_usage(customer_id, resource, quantity, at, idempotency_key,
 *					metadata, subscription_id) -> id
 *
 * Stores a raw record.  With a key that was used before, the earlier record's
 * id is returned, or SV004 raised if it was another one.
 */
Datum
svc_record_usage(PG_FUNCTION_ARGS)
{
	SvcUsageRecord record = {0};
	bool		repeated;
	Datum		id;
	SvcCall		call;

	record.values[SVC_USAGE_CUSTOMER] = svc_argument_id(fcinfo, 0, "customer id");
	record.values[SVC_USAGE_RESOURCE] = svc_argument_id(fcinfo, 1, "resource");
	record.values[SVC_USAGE_QUANTITY] = svc_argument_amount(fcinfo, 2, "quantity");
	record.values[SVC_USAGE_AT] = TimestampTzGetDatum(svc_argument_at(fcinfo, 3));
	record.values[SVC_USAGE_KEY] = svc_argument_optional_id(fcinfo, 4, "idempotency key", &record.isnull[SVC_USAGE_KEY]);
	record.values[SVC_USAGE_METADATA] = PG_GETARG_DATUM(5);
	record.isnull[SVC_USAGE_METADATA] = PG_ARGISNULL(5);
	record.values[SVC_USAGE_SUBSCRIPTION] =
		svc_argument_optional_id(fcinfo, 6, "subscription id", &record.isnull[SVC_USAGE_SUBSCRIPTION]);

	svc_call_begin(&call, fcinfo);
	id = svc_call_keep(&call, svc_usage_record(&record, &repeated));
	svc_call_end(&call);
	return id;
}

/* Store a raw record, or find the one that it repeats; its id. */
Datum
svc_usage_record(SvcUsageRecord *record, bool *repeated)
{
	static const SvcDeed deed = {.noun = SVC_USAGE, .action = "record"};
	static SvcStatement plain = {
		INSERT_RECORD " RETURNING id::text",
		7, {TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID, TEXTOID, JSONBOID, TEXTOID}
	};
	static SvcStatement once = {
		INSERT_RECORD " ON CONFLICT (customer_id, idempotency_key) WHERE idempotency_key IS NOT NULL"
		" DO NOTHING RETURNING id::text",
		7, {TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID, TEXTOID, JSONBOID, TEXTOID}
	};
	/* a partitioned table has no such index: there the trigger suppresses a repetition */
	bool		by_index = !record->isnull[SVC_USAGE_KEY] &&
		get_rel_relkind(svc_catalog_table("svc_usage")) == RELKIND_RELATION;
	bool		isnull;

	*repeated = svc_lifecycle_write(&deed, by_index ? &once : &plain, record->values, record->isnull) == 0;
	return *repeated ? find_recorded(record) : svc_statement_value(0, 1, &isnull);
}

/*
 * svc_record_customer_usage(customer_id, properties) -> id
 *
 * Records the figures of a period, which period_type and period_start name:
 * makes the roll-up, or writes the figures given to the one that there is.  A
 * complete one is partial again; a finalized one is refused.
 */
Datum
svc_record_customer_usage(PG_FUNCTION_ARGS)
{
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	Datum		figures;
	Datum		id;
	SvcFoundRow customer;
	SvcCall		call;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("properties must not be null"),
				 errdetail("Null would leave open what is meant."),
				 errhint("Pass a JSON object.")));

	svc_call_begin(&call, fcinfo);
	/* two that record the same new period must not both find none */
	svc_gate_lock_row(&customer, SVC_CUSTOMER, (Datum) 0, customer_id);
	svc_gate_customer(customer_id, "a usage roll-up");
	if (find_rollup(customer_id, PG_GETARG_DATUM(1), &id, &figures))
		(void) svc_property_update(SVC_CUSTOMER_USAGE, "record", FIXED_IN_ROLLUP,
								   ", status = 'partial'", customer_id, id,
								   DatumGetJsonbP(figures));
	else
		id = svc_property_insert(SVC_CUSTOMER_USAGE, customer_id, PG_GETARG_JSONB_P(1));
	id = svc_call_keep(&call, id);
	svc_call_end(&call);
	return id;
}

/*
 * svc_adjust_usage(customer_id, usage_id, quantity, reason, revision)
 *
 * Corrects a record by a further one, of this quantity, that refers to it; a
 * dispute about it is settled thereby.  A NULL quantity settles a dispute
 * without a correction.
 */
static void
prepare_adjust(SvcActionCall *call)
{
	static const SvcDeed deed = {.noun = SVC_USAGE, .action = "record"};
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_usage"
		" (customer_id, resource, quantity, occurred_at, subscription_id, adjusts_id, reason)"
		" SELECT customer_id, resource, $3, occurred_at, subscription_id, coalesce("
		"   (SELECT o.id FROM @extschema@.svc_usage o WHERE o.customer_id = u.customer_id AND o.id = u.adjusts_id), id), $4"
		" FROM @extschema@.svc_usage u WHERE customer_id = $1 AND id = $2",
		4, {TEXTOID, TEXTOID, NUMERICOID, TEXTOID}
	};
	FunctionCallInfo fcinfo = call->fcinfo;
	int			n = call->first_argument;
	bool		disputed = strcmp(call->row.status, "disputed") == 0;

	call->to = disputed ? "aggregated" : call->row.status;
	if (PG_ARGISNULL(n) && !disputed)
		svc_action_refuse(call, "no quantity is given",
						  "Pass the difference, negative to take back.");
	if (!PG_ARGISNULL(n))
	{
		Datum		values[4] = {call->customer_id, call->id,
		svc_argument_amount(fcinfo, n, "quantity"), 0};
		bool		isnull[4] = {false, false, false, call->note.new_value == NULL};

		if (!isnull[3])
			values[3] = CStringGetTextDatum(call->note.new_value);
		svc_lifecycle_write(&deed, &statement, values, isnull);
	}
}

/* A period that is over is complete. */
static void
prepare_aggregate(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT period_end <= now() FROM @extschema@.svc_customer_usage"
		" WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {call->customer_id, call->id};
	bool		isnull;

	svc_statement_run(&statement, values, NULL);
	call->to = DatumGetBool(svc_statement_value(0, 1, &isnull)) ? "complete" : call->row.status;
}

/* The record that has our key; it must be the same as ours. */
static Datum
find_recorded(const SvcUsageRecord *record)
{
	static SvcStatement statement = {
		"SELECT id::text, resource = $2 AND quantity = $3 AND subscription_id IS NOT DISTINCT FROM $5,"
		"  resource, quantity::text"
		" FROM @extschema@.svc_usage WHERE customer_id = $1 AND idempotency_key = $4",
		5, {TEXTOID, TEXTOID, NUMERICOID, TEXTOID, TEXTOID}
	};
	static const int wanted[5] = {SVC_USAGE_CUSTOMER, SVC_USAGE_RESOURCE, SVC_USAGE_QUANTITY,
	SVC_USAGE_KEY, SVC_USAGE_SUBSCRIPTION};
	Datum		values[5];
	bool		nulls[5];
	bool		isnull;

	for (int i = 0; i < lengthof(wanted); i++)
	{
		values[i] = record->values[wanted[i]];
		nulls[i] = record->isnull[wanted[i]];
	}
	if (svc_statement_run(&statement, values, nulls) == 0 && IsolationUsesXactSnapshot() && !nulls[3])
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not see the record of a concurrent transaction with the same idempotency key"),
				 errhint("Retry the transaction.")));
	/* (without any, this says that the row was suppressed) */
	if (!DatumGetBool(svc_statement_value(0, 2, &isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_SVC_KEY_REUSED),
				 errmsg("idempotency key \"%s\" was used for another record",
						TextDatumGetCString(record->values[SVC_USAGE_KEY])),
				 errdetail("That record is of %s \"%s\".", svc_statement_text(0, 4),
						   svc_statement_text(0, 3)),
				 errhint("A key belongs to one record and all its retries; use a new one.")));
	return svc_statement_value(0, 1, &isnull);
}

/* Find and lock the roll-up that properties name, and what they say of it. */
static bool
find_rollup(Datum customer_id, Datum properties, Datum *id, Datum *figures)
{
	static SvcStatement statement = {
		"SELECT id::text, $2 - ARRAY['period_type', 'period_start', 'period_end']"
		" FROM @extschema@.svc_customer_usage"
		" WHERE customer_id = $1 AND NOT is_folded AND jsonb_typeof($2) = 'object'"
		"  AND period_type = $2 ->> 'period_type'"
		"  AND period_start = ($2 ->> 'period_start')::timestamptz"
		" FOR NO KEY UPDATE",
		2, {TEXTOID, JSONBOID}
	};
	Datum		values[2] = {customer_id, properties};
	bool		isnull;

	if (svc_statement_run(&statement, values, NULL) == 0)
		return false;
	*id = svc_statement_value(0, 1, &isnull);
	*figures = svc_statement_value(0, 2, &isnull);
	return true;
}
