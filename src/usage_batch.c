/*-------------------------------------------------------------------------
 *
 * usage_batch.c
 *	  Many usage records in one call, of which a bad one does not refuse the others.
 *
 * Records are tried together, a thousand in one subtransaction.  Where one fails, the
 * two halves are tried, and so on, until the bad ones stand alone: a batch without any
 * costs hardly more than its records, and each bad one a few subtransactions.
 *
 * Locks: as for each record (usage_row.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "amount.h"
#include "argument.h"
#include "attempt.h"
#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "error.h"
#include "usage.h"

#define ITEMS_MAX		100000
#define TRIED_TOGETHER	1000

/* A suggestion may differ from what was written in this many places. */
#define NEAREST_DISTANCE_MAX	4

/* What an item is, and what has become of it. */
typedef struct BatchItem
{
	JsonbValue	value;
	bool		repeated;
	char	   *usage_id;		/* NULL: it was refused */
	char	   *sqlstate;
	char	   *message;
} BatchItem;

typedef struct Batch
{
	BatchItem	   *items;
	int			count;
	MemoryContext memory;		/* where what has become of them is kept */
} Batch;

/* Some of them. */
typedef struct Range
{
	const Batch *batch;
	int			first;
	int			end;
} Range;

static const char *const fields[SVC_USAGE_FIELDS] = {
	[SVC_USAGE_CUSTOMER] = "customer_id",
	[SVC_USAGE_RESOURCE] = "resource",
	[SVC_USAGE_QUANTITY] = "quantity",
	[SVC_USAGE_AT] = "at",
	[SVC_USAGE_KEY] = "idempotency_key",
	[SVC_USAGE_METADATA] = "metadata",
	[SVC_USAGE_SUBSCRIPTION] = "subscription_id",
};

static void read_items(Batch *batch, Jsonb *array);
static void try_range(Range range);
static void record_range(void *state);
static void record_item(const Batch *batch, BatchItem *item);
static void read_record(SvcUsageRecord *record, const JsonbValue *value);
static void read_field(SvcUsageRecord *record, int field, JsonbValue *value);
static int	find_field(const JsonbValue *key);
static Datum read_text(const char *field, const JsonbValue *value);
static void refuse(const Batch *batch, BatchItem *item, const ErrorData *error);
static void tell_item(void *number);

PG_FUNCTION_INFO_V1(svc_record_usage_batch);

/*
 * svc_record_usage_batch(items jsonb, all_or_nothing boolean)
 *	-> item, usage_id, outcome, sqlstate, message
 */
Datum
svc_record_usage_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		all_or_nothing;
	Batch		batch = {0};
	SvcCall		call;

	svc_argument_not_null(fcinfo, 0, "items");
	all_or_nothing = svc_argument_bool(fcinfo, 1, "all_or_nothing");
	InitMaterializedSRF(fcinfo, 0);
	batch.memory = CurrentMemoryContext;
	read_items(&batch, PG_GETARG_JSONB_P(0));

	svc_call_begin(&call, fcinfo);
	for (int first = 0; first < batch.count; first += TRIED_TOGETHER)
	{
		Range		range = {&batch, first, Min(first + TRIED_TOGETHER, batch.count)};

		if (all_or_nothing)
			record_range(&range);
		else
			try_range(range);
	}
	svc_call_end(&call);

	for (int i = 0; i < batch.count; i++)
	{
		const BatchItem *item = &batch.items[i];
		Datum		values[5] = {Int32GetDatum(i + 1)};
		bool		isnull[5] = {false, item->usage_id == NULL, false, item->sqlstate == NULL, item->message == NULL};

		values[1] = isnull[1] ? (Datum) 0 : CStringGetTextDatum(item->usage_id);
		values[2] = CStringGetTextDatum(isnull[1] ? "refused" : item->repeated ? "repeated" : "recorded");
		values[3] = isnull[3] ? (Datum) 0 : CStringGetTextDatum(item->sqlstate);
		values[4] = isnull[4] ? (Datum) 0 : CStringGetTextDatum(item->message);
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	return (Datum) 0;
}

static void
read_items(Batch *batch, Jsonb *array)
{
	JsonbIterator *it = JsonbIteratorInit(&array->root);
	JsonbValue	value;

	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("items must be a JSON array"),
				 errdetail("Each item is an object with customer_id, resource and, if need be, quantity, at,"
						   " idempotency_key, metadata and subscription_id."),
				 errhint("Put a single item into [].")));
	if (JB_ROOT_COUNT(array) > ITEMS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a batch must not have more than %d items", ITEMS_MAX),
				 errdetail("It has %u.", JB_ROOT_COUNT(array)),
				 errhint("Split it, or use COPY.")));
	batch->items = MemoryContextAllocZero(batch->memory, Max(JB_ROOT_COUNT(array), 1) * sizeof(BatchItem));
	(void) JsonbIteratorNext(&it, &value, true);
	while (JsonbIteratorNext(&it, &value, true) == WJB_ELEM)
		batch->items[batch->count++].value = value;
}

/* Record those that can be recorded. */
static void
try_range(Range range)
{
	ErrorData  *error;
	int			middle = (range.first + range.end) / 2;

	CHECK_FOR_INTERRUPTS();
	error = svc_attempt_work(record_range, &range);
	if (error == NULL)
		return;
	if (range.end - range.first == 1)
		refuse(range.batch, &range.batch->items[range.first], error);
	else
	{
		try_range((Range) {range.batch, range.first, middle});
		try_range((Range) {range.batch, middle, range.end});
	}
	FreeErrorData(error);
}

static void
record_range(void *state)
{
	Range	   *range = state;

	for (int i = range->first; i < range->end; i++)
	{
		int			number = i + 1;
		ErrorContextCallback context = {.callback = tell_item, .arg = &number, .previous = error_context_stack};

		CHECK_FOR_INTERRUPTS();
		error_context_stack = &context;
		record_item(range->batch, &range->batch->items[i]);
		error_context_stack = context.previous;
	}
}

static void
record_item(const Batch *batch, BatchItem *item)
{
	SvcUsageRecord record = {0};
	char	   *id;

	read_record(&record, &item->value);
	id = TextDatumGetCString(svc_usage_record(&record, &item->repeated));
	item->usage_id = MemoryContextStrdup(batch->memory, id);
}

/* ---- an item as a record ---- */

static void
read_record(SvcUsageRecord *record, const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	member;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_SVC_PROPERTY_TYPE),
				 errmsg("an item must be a JSON object"),
				 errdetail("It says which customer has used how much of what."),
				 errhint("Its members are customer_id, resource, quantity, at, idempotency_key, metadata and subscription_id.")));
	for (int i = 0; i < SVC_USAGE_FIELDS; i++)
		record->isnull[i] = true;
	record->values[SVC_USAGE_QUANTITY] = svc_amount_from(1);
	record->values[SVC_USAGE_AT] = TimestampTzGetDatum(svc_clock_now());
	record->isnull[SVC_USAGE_QUANTITY] = record->isnull[SVC_USAGE_AT] = false;

	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
	{
		int			field;

		if (token != WJB_KEY)
			continue;
		field = find_field(&member);
		(void) JsonbIteratorNext(&it, &member, true);
		/* (a quantity that nobody knows is not one) */
		if (member.type != jbvNull || field == SVC_USAGE_QUANTITY)
			read_field(record, field, &member);
	}
	if (record->isnull[SVC_USAGE_CUSTOMER] || record->isnull[SVC_USAGE_RESOURCE])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("an item must have customer_id and resource"),
				 errdetail("It says which customer has used how much of what."),
				 errhint("Give both as strings.")));
}

static void
read_field(SvcUsageRecord *record, int field, JsonbValue *value)
{
	switch ((SvcUsageField) field)
	{
		case SVC_USAGE_CUSTOMER:
		case SVC_USAGE_RESOURCE:
		case SVC_USAGE_KEY:
		case SVC_USAGE_SUBSCRIPTION:
			record->values[field] = read_text(fields[field], value);
			svc_check_id(record->values[field], fields[field]);
			break;
		case SVC_USAGE_QUANTITY:
			if (value->type == jbvNull)
				ereport(ERROR,
						(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						 errmsg("quantity of an item must not be null"),
						 errdetail("It is how much was used, in the unit of the resource."),
						 errhint("Leave it out for 1.")));
			if (value->type != jbvNumeric)
				ereport(ERROR,
						(errcode(ERRCODE_SVC_PROPERTY_TYPE),
						 errmsg("quantity of an item must be a JSON number"),
						 errdetail("It is how much was used, in the unit of the resource."),
						 errhint("Write it without quotes.")));
			record->values[field] = NumericGetDatum(value->val.numeric);
			svc_check_amount(record->values[field], fields[field]);
			break;
		case SVC_USAGE_AT:
			record->values[field] =
				DirectFunctionCall3(timestamptz_in,
									CStringGetDatum(TextDatumGetCString(read_text(fields[field], value))),
									ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
			break;
		case SVC_USAGE_METADATA:
			record->values[field] = JsonbPGetDatum(JsonbValueToJsonb(value));
			break;
	}
	record->isnull[field] = false;
}

static int
find_field(const JsonbValue *key)
{
	char	   *name = pnstrdup(key->val.string.val, key->val.string.len);
	const char *nearest;

	for (int i = 0; i < SVC_USAGE_FIELDS; i++)
	{
		if (strcmp(fields[i], name) == 0)
			return i;
	}
	nearest = svc_nearest(name, fields, SVC_USAGE_FIELDS, NEAREST_DISTANCE_MAX);
	ereport(ERROR,
			(errcode(ERRCODE_SVC_UNKNOWN_PROPERTY),
			 errmsg("an item of usage has no member \"%s\"", name),
			 errdetail("Members are customer_id, resource, quantity, at, idempotency_key, metadata and subscription_id."),
			 nearest != NULL ? errhint("Perhaps you meant \"%s\".", nearest) :
			 errhint("Keep what belongs to your application in \"metadata\".")));
}

static Datum
read_text(const char *field, const JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_PROPERTY_TYPE),
				 errmsg("%s of an item must be a JSON string", field),
				 errdetail("Ids and instants are strings."),
				 errhint("Write it with quotes.")));
	return PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
}

/* ---- outcomes ---- */

static void
refuse(const Batch *batch, BatchItem *item, const ErrorData *error)
{
	item->usage_id = NULL;
	item->sqlstate = MemoryContextStrdup(batch->memory, unpack_sql_state(error->sqlerrcode));
	item->message = MemoryContextStrdup(batch->memory, error->detail == NULL ? error->message :
										psprintf("%s. %s", error->message, error->detail));
}

static void
tell_item(void *number)
{
	errcontext("item %d of the batch", *(int *) number);
}
