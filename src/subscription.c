/*-------------------------------------------------------------------------
 *
 * subscription.c
 *	  Subscriptions: creating them, and their actions.
 *
 * What a row implies stands in subscription_rule.c, what time does to it in
 * subscription_due.c.  Every function here works for an instant, the present
 * unless its argument "at" says otherwise, and begins by writing down what was
 * due before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "action.h"
#include "argument.h"
#include "attempt.h"
#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "error.h"
#include "lifecycle.h"
#include "offer.h"
#include "plan_grant.h"
#include "property.h"
#include "statement.h"
#include "subscription.h"
#include "subscription_due.h"
#include "subscription_rule.h"

#define TRIAL_DAYS_MAX	3650

/* A subscription to plan $1 of terms before revision $2, or of any if $3. */
#define IS_TO_MIGRATE \
	"plan_id = $1 AND status IN ('trialing', 'active', 'past_due', 'paused')" \
	" AND (terms_revision < $2 OR $3)"

/* Arguments of svc_create_subscription(). */
enum
{
	NEW_CUSTOMER_ID,
	NEW_PLAN_ID,
	NEW_QUANTITY,
	NEW_TRIAL_DAYS,
	NEW_BILLING_ANCHOR,
	NEW_ADDONS,
	NEW_ALLOW_DUPLICATE,
	NEW_PROPERTIES,
	NEW_AT,
};

/* A call of svc_create_subscription(), for the clock to run. */
typedef struct Creation
{
	FunctionCallInfo fcinfo;
	Datum		id;
} Creation;

/* A batch of subscribers that get other terms. */
typedef struct Migration
{
	Datum		to_plan_id;
	bool		leaves;			/* for another plan */
	bool		with_price;
	bool		carries_usage;
	SvcInstant	instant;
	Datum		values[6];		/* of the statements that find them */
	SvcSubscriptionKey key;		/* the one whose turn it is */
	int64		migrated;
	int64		failed;
} Migration;

static void create(void *state);
static void refuse_doubled(Jsonb *properties);
static Datum new_properties(FunctionCallInfo fcinfo, Jsonb *properties);
static TimestampTz trial_end(FunctionCallInfo fcinfo, Jsonb *properties);
static void prepare_change(SvcActionCall *call);
static void read_present(SvcActionCall *call, char **billing_cycle, char **currency, TimestampTz *period_end,
						 bool *allows_duplicate);
static void prepare_cancel(SvcActionCall *call);
static void prepare_uncancel(SvcActionCall *call);
static void prepare_resume(SvcActionCall *call);
static void migrate_batch(Migration *migration, int32 max_rows);
static void migrate_one(void *state);
static void renew_terms(void *state);

static const SvcAction actions[] = {
	{"svc_resume_subscription", SVC_SUBSCRIPTION, "resume", NULL, prepare_resume},
	{"svc_upgrade_subscription", SVC_SUBSCRIPTION, "upgrade", NULL, prepare_change},
	{"svc_downgrade_subscription", SVC_SUBSCRIPTION, "downgrade", NULL, prepare_change},
	{"svc_cancel_subscription", SVC_SUBSCRIPTION, "cancel", NULL, prepare_cancel},
	{"svc_uncancel_subscription", SVC_SUBSCRIPTION, "update", NULL, prepare_uncancel},
};

PG_FUNCTION_INFO_V1(svc_create_subscription);
PG_FUNCTION_INFO_V1(svc_migrate_subscribers);

void
svc_subscription_init(void)
{
	svc_subscription_rule_init();
	svc_action_register(actions, lengthof(actions));
}

/*
 * svc_create_subscription(customer_id, plan_id, quantity, trial_days,
 *						   billing_anchor, addons, allow_duplicate, properties,
 *						   at) -> id
 *
 * Locks: the customer, FOR KEY SHARE, and the plans, FOR SHARE.
 */
Datum
svc_create_subscription(PG_FUNCTION_ARGS)
{
	Datum		customer_id = svc_argument_id(fcinfo, NEW_CUSTOMER_ID, "customer id");
	TimestampTz at = svc_argument_at(fcinfo, NEW_AT);
	Creation	creation = {.fcinfo = fcinfo};
	Datum		id;
	SvcCall		call;

	(void) svc_argument_id(fcinfo, NEW_PLAN_ID, "plan id");
	(void) svc_argument_bool(fcinfo, NEW_ALLOW_DUPLICATE, "allow_duplicate");
	svc_argument_not_null(fcinfo, NEW_PROPERTIES, "properties");
	svc_call_begin(&call, fcinfo);
	svc_gate_customer(customer_id, "a new subscription");
	svc_clock_run_at(at, create, &creation);
	id = svc_call_keep(&call, creation.id);
	svc_call_end(&call);
	return id;
}

static void
create(void *state)
{
	Creation   *creation = state;
	FunctionCallInfo fcinfo = creation->fcinfo;
	Jsonb	   *properties = PG_GETARG_JSONB_P(NEW_PROPERTIES);

	if (JB_ROOT_IS_OBJECT(properties))
	{
		refuse_doubled(properties);
		properties = DatumGetJsonbP(new_properties(fcinfo, properties));
	}
	creation->id = svc_property_insert(SVC_SUBSCRIPTION, PG_GETARG_DATUM(NEW_CUSTOMER_ID), properties);
}

/* What is an argument is no property here: the two could differ. */
static void
refuse_doubled(Jsonb *properties)
{
	static const char *const arguments[] = {"plan_id", "quantity", "billing_anchor", "addons",
	"allow_duplicate"};

	for (int i = 0; i < lengthof(arguments); i++)
	{
		if (getKeyJsonValueFromContainer(&properties->root, arguments[i], strlen(arguments[i]), NULL) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_SVC_UNKNOWN_PROPERTY),
					 errmsg("property \"%s\" of subscription cannot be set here", arguments[i]),
					 errdetail("It is an argument of svc_create_subscription()."),
					 errhint("Pass it as %s => ....", arguments[i])));
	}
}

/* All that the row is to have, as one object. */
static Datum
new_properties(FunctionCallInfo fcinfo, Jsonb *properties)
{
	static SvcStatement statement = {
		"SELECT $1 || jsonb_build_object('plan_id', $2, 'quantity', coalesce($3, 1), 'billing_anchor', $4,"
		"  'addons', $5, 'allow_duplicate', $6) ||"
		" CASE WHEN $7 IS NULL THEN '{}' ELSE jsonb_build_object('status', 'trialing', 'trial_start', $8,"
		"  'trial_end', $7) END",
		8, {JSONBOID, TEXTOID, INT4OID, TIMESTAMPTZOID, JSONBOID, BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	TimestampTz end = trial_end(fcinfo, properties);
	Datum		values[8];
	bool		isnull[8] = {false};

	values[0] = JsonbPGetDatum(properties);
	values[1] = PG_GETARG_DATUM(NEW_PLAN_ID);
	values[2] = PG_GETARG_DATUM(NEW_QUANTITY);
	isnull[2] = PG_ARGISNULL(NEW_QUANTITY);
	values[3] = PG_GETARG_DATUM(NEW_BILLING_ANCHOR);
	isnull[3] = PG_ARGISNULL(NEW_BILLING_ANCHOR);
	values[4] = PG_GETARG_DATUM(NEW_ADDONS);
	isnull[4] = PG_ARGISNULL(NEW_ADDONS);
	values[5] = PG_GETARG_DATUM(NEW_ALLOW_DUPLICATE);
	values[6] = TimestampTzGetDatum(end);
	isnull[6] = end == DT_NOEND;
	values[7] = TimestampTzGetDatum(svc_clock_now());
	svc_statement_run(&statement, values, isnull);
	return svc_statement_value(0, 1, &isnull[0]);
}

/*
 * When the trial ends that the arguments ask for, else the plan; DT_NOEND for
 * none.  Where the properties tell of a trial, they tell all of it.
 */
static TimestampTz
trial_end(FunctionCallInfo fcinfo, Jsonb *properties)
{
	static SvcStatement payment_method = {
		"SELECT FROM @extschema@.svc_customer WHERE id = $1 AND payment_method IS NOT NULL", 1, {TEXTOID}
	};
	static const char *const told[] = {"status", "trial_start", "trial_end"};
	Datum		customer_id = PG_GETARG_DATUM(NEW_CUSTOMER_ID);
	Datum		plan_id = PG_GETARG_DATUM(NEW_PLAN_ID);
	int32		days;
	SvcOffer	offer;

	for (int i = 0; i < lengthof(told) && PG_ARGISNULL(NEW_TRIAL_DAYS); i++)
	{
		if (getKeyJsonValueFromContainer(&properties->root, told[i], strlen(told[i]), NULL) != NULL)
			return DT_NOEND;
	}
	if (!svc_offer_read(&offer, plan_id, NULL))
		svc_gate_report_unknown(SVC_PLAN, (Datum) 0, plan_id);
	days = PG_ARGISNULL(NEW_TRIAL_DAYS) ? offer.trial_days : PG_GETARG_INT32(NEW_TRIAL_DAYS);
	if (days < 0 || days > TRIAL_DAYS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trial_days must be between 0 and %d", TRIAL_DAYS_MAX),
				 errdetail("It is %d.", days),
				 errhint("Pass 0 for no trial, null for as many as the plan has.")));
	if (days > 0 && offer.trial_requires_card && svc_statement_run(&payment_method, &customer_id, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_PLAN_MISMATCH),
				 errmsg("a trial of plan \"%s\" requires a payment method", TextDatumGetCString(plan_id)),
				 errdetail("Customer \"%s\" has none.", TextDatumGetCString(customer_id)),
				 errhint("Set payment_method of the customer first, or pass trial_days => 0.")));
	return svc_offer_trial_end(customer_id, plan_id, svc_clock_now(), days);
}

/*
 * svc_upgrade_subscription(customer_id, subscription_id, plan_id, price,
 *							at_period_end, carry_usage, billing_cycle, ...)
 *
 * The price is the new plan's unless it is given, and the billing cycle stays
 * unless another is.  At the end of the period: the change is only noted, and
 * made by subscription_due.c; when the period is over already, it is made now.
 */
static void
prepare_change(SvcActionCall *call)
{
	FunctionCallInfo fcinfo = call->fcinfo;
	int			n = call->first_argument;
	Datum		plan_id = svc_argument_id(fcinfo, n, "plan id");
	bool		at_period_end = svc_argument_bool(fcinfo, n + 2, "at_period_end");
	bool		carry_usage = svc_argument_bool(fcinfo, n + 3, "carry_usage");
	SvcSubscriptionKey key = {call->customer_id, call->id};
	char	   *billing_cycle;
	char	   *currency;
	TimestampTz period_end;
	bool		allows_duplicate;
	SvcOffer	offer;
	Datum		price;

	read_present(call, &billing_cycle, &currency, &period_end, &allows_duplicate);
	if (!PG_ARGISNULL(n + 4))
		billing_cycle = TextDatumGetCString(PG_GETARG_DATUM(n + 4));
	if (!svc_offer_read(&offer, plan_id, billing_cycle))
		svc_gate_report_unknown(SVC_PLAN, (Datum) 0, plan_id);
	svc_offer_check_open(&offer);
	svc_offer_check_fit(&offer, currency);
	price = PG_ARGISNULL(n + 1) ? offer.price : PG_GETARG_DATUM(n + 1);

	if (!at_period_end || period_end <= svc_clock_now())
	{
		svc_action_set(call, "plan_id", TEXTOID, plan_id);
		svc_action_set(call, "price", NUMERICOID, price);
		svc_action_set(call, "billing_cycle", TEXTOID, CStringGetTextDatum(offer.billing_cycle));
		if (!carry_usage)
			svc_plan_forget_usage(&key);
		return;
	}
	if (period_end == DT_NOEND)
		svc_action_refuse(call, "its current period has no end", "Set current_period_end first.");
	if (!allows_duplicate)
		svc_subscription_check_once(&key, plan_id);
	svc_action_set(call, "scheduled_plan_id", TEXTOID, plan_id);
	svc_action_set(call, "scheduled_at", TIMESTAMPTZOID, TimestampTzGetDatum(period_end));
	svc_action_set(call, "scheduled_action", TEXTOID, CStringGetTextDatum(call->action));
	svc_action_set(call, "scheduled_price", NUMERICOID, price);
	svc_action_set(call, "scheduled_billing_cycle", TEXTOID, CStringGetTextDatum(offer.billing_cycle));
	svc_action_set(call, "scheduled_carry_usage", BOOLOID, BoolGetDatum(carry_usage));
	call->action = "update";
	call->to = call->row.status;
}

/* The subscription as it is. */
static void
read_present(SvcActionCall *call, char **billing_cycle, char **currency, TimestampTz *period_end,
			 bool *allows_duplicate)
{
	static SvcStatement statement = {
		"SELECT billing_cycle::text, currency::text, coalesce(current_period_end, 'infinity')::timestamptz,"
		"  allow_duplicate::boolean"
		" FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {call->customer_id, call->id};
	bool		isnull;

	svc_statement_run(&statement, values, NULL);
	*billing_cycle = svc_statement_text(0, 1);
	*currency = svc_statement_text(0, 2);
	*period_end = DatumGetTimestampTz(svc_statement_value(0, 3, &isnull));
	*allows_duplicate = DatumGetBool(svc_statement_value(0, 4, &isnull));
}

/*
 * svc_cancel_subscription(customer_id, subscription_id, at_period_end, reason,
 *						   revision, at)
 *
 * Now, or only noted for the end of the period.  The reason stays with the
 * row, too.
 */
static void
prepare_cancel(SvcActionCall *call)
{
	bool		at_period_end = svc_argument_bool(call->fcinfo, call->first_argument, "at_period_end");
	char	   *billing_cycle;
	char	   *currency;
	TimestampTz period_end;
	bool		allows_duplicate;

	if (call->note.new_value != NULL)
		svc_action_set(call, "cancellation_reason", TEXTOID, CStringGetTextDatum(call->note.new_value));
	if (!at_period_end)
		return;
	read_present(call, &billing_cycle, &currency, &period_end, &allows_duplicate);
	if (period_end == DT_NOEND)
		svc_action_refuse(call, "its current period has no end", "Cancel it now, or set current_period_end first.");
	if (period_end <= svc_clock_now())
		return;
	svc_action_set(call, "cancel_at_period_end", BOOLOID, BoolGetDatum(true));
	call->action = "update";
	call->to = call->row.status;
}

/*
 * svc_uncancel_subscription(customer_id, subscription_id, reason, revision, at)
 *
 * It goes on after all; nothing, when no cancellation was noted.
 */
static void
prepare_uncancel(SvcActionCall *call)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_subscription SET cancel_at_period_end = false, cancellation_reason = NULL"
		" WHERE customer_id = $1 AND id = $2 AND cancel_at_period_end",
		2, {TEXTOID, TEXTOID}
	};
	SvcDeed		deed = {.noun = SVC_SUBSCRIPTION, .action = "update", .note = call->note};
	Datum		values[2] = {call->customer_id, call->id};

	svc_lifecycle_write(&deed, &statement, values, NULL);
	call->to = call->row.status;
	call->done = true;
}

/* A trial that is not over goes on. */
static void
prepare_resume(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT trial_end > $3 FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id = $2",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {call->customer_id, call->id, TimestampTzGetDatum(svc_clock_now())};
	bool		isnull;
	Datum		on_trial;

	svc_statement_run(&statement, values, NULL);
	on_trial = svc_statement_value(0, 1, &isnull);
	call->to = !isnull && DatumGetBool(on_trial) ? "trialing" : "active";
}

/*
 * svc_migrate_subscribers(plan_id, to_plan_id, with_price, carry_usage,
 *						   max_rows, at) -> migrated, failed, remaining
 *
 * Gives subscribers of a plan its present terms, or another plan.  Who has got
 * them is not found again, so that a call goes on where the one before has
 * stopped.  Each is done in a subtransaction, and one that fails does not keep
 * the others back.
 *
 * Locks: subscriptions that nobody else has locked, then their grants.
 */
Datum
svc_migrate_subscribers(PG_FUNCTION_ARGS)
{
	static SvcStatement count = {
		"SELECT count(*) FROM @extschema@.svc_subscription WHERE " IS_TO_MIGRATE,
		3, {TEXTOID, INT8OID, BOOLOID}
	};
	Datum		plan_id = svc_argument_id(fcinfo, 0, "plan id");
	Migration	migration = {0};
	bool		stays;
	int32		max_rows;
	Datum		results[3];
	bool		nulls[3] = {false};
	SvcOffer	offer;
	TupleDesc	desc;
	Datum		result;
	SvcCall		call;

	migration.to_plan_id = svc_argument_optional_id(fcinfo, 1, "plan id", &stays);
	migration.leaves = !stays &&
		!DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, plan_id, migration.to_plan_id));
	migration.with_price = svc_argument_bool(fcinfo, 2, "with_price");
	migration.carries_usage = svc_argument_bool(fcinfo, 3, "carry_usage");
	max_rows = svc_argument_max_rows(fcinfo, 4);
	migration.instant = svc_argument_instant(fcinfo, 5);
	svc_catalog_use(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "svc_migrate_subscribers must return a row");

	svc_call_begin(&call, fcinfo);
	if (!svc_offer_read(&offer, plan_id, NULL))
		svc_gate_report_unknown(SVC_PLAN, (Datum) 0, plan_id);
	migration.values[0] = plan_id;
	migration.values[1] = Int64GetDatum(offer.revision);
	migration.values[2] = BoolGetDatum(migration.leaves);
	if (migration.leaves)
	{
		if (!svc_offer_read(&offer, migration.to_plan_id, NULL))
			svc_gate_report_unknown(SVC_PLAN, (Datum) 0, migration.to_plan_id);
		svc_offer_check_open(&offer);
	}
	migrate_batch(&migration, max_rows);
	svc_statement_run(&count, migration.values, NULL);
	results[0] = Int64GetDatum(migration.migrated);
	results[1] = Int64GetDatum(migration.failed);
	results[2] = svc_statement_value(0, 1, &nulls[2]);
	result = svc_call_keep(&call, HeapTupleGetDatum(heap_form_tuple(desc, results, nulls)));
	svc_call_end(&call);
	return result;
}

/* As many as are asked for, and past those that cannot be done. */
static void
migrate_batch(Migration *migration, int32 max_rows)
{
	static SvcStatement statement = {
		"SELECT customer_id::text, id::text FROM @extschema@.svc_subscription WHERE " IS_TO_MIGRATE
		"  AND (customer_id, id) > ($5, $6)"
		" ORDER BY customer_id, id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED",
		6, {TEXTOID, INT8OID, BOOLOID, INT8OID, TEXTOID, TEXTOID}
	};
	uint64		rows = 1;

	migration->values[4] = migration->values[5] = CStringGetTextDatum("");
	while (migration->migrated < max_rows && rows > 0)
	{
		SPITupleTable *found;

		migration->values[3] = Int64GetDatum(max_rows - migration->migrated);
		rows = svc_statement_run(&statement, migration->values, NULL);
		found = SPI_tuptable;
		for (uint64 row = 0; row < rows; row++)
		{
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			migration->key.customer_id = SPI_getbinval(found->vals[row], found->tupdesc, 1, &isnull);
			migration->key.id = SPI_getbinval(found->vals[row], found->tupdesc, 2, &isnull);
			if (!svc_attempt(migrate_one, migration, SVC_SUBSCRIPTION, migration->key.customer_id,
							 migration->key.id))
				migration->failed++;
			migration->values[4] = migration->key.customer_id;
			migration->values[5] = migration->key.id;
		}
	}
}

/* What is due comes first; that may have ended it, or changed its plan. */
static void
migrate_one(void *state)
{
	static SvcStatement still = {
		"SELECT FROM @extschema@.svc_subscription WHERE " IS_TO_MIGRATE " AND customer_id = $4 AND id = $5",
		5, {TEXTOID, INT8OID, BOOLOID, TEXTOID, TEXTOID}
	};
	Migration  *migration = state;
	Datum		values[5] = {migration->values[0], migration->values[1], migration->values[2],
	migration->key.customer_id, migration->key.id};

	(void) svc_lifecycle_catch_up(SVC_SUBSCRIPTION, migration->key.customer_id, migration->key.id,
								  migration->instant);
	if (svc_statement_run(&still, values, NULL) > 0)
		svc_clock_run_at(migration->instant.at, renew_terms, migration);
}

/* (The rule of the row takes terms and price that are left open from the plan.) */
static void
renew_terms(void *state)
{
	static const SvcDeed update = {.noun = SVC_SUBSCRIPTION, .action = "update"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_subscription SET terms_revision = NULL,"
		"  plan_id = coalesce($3, plan_id), price = CASE WHEN $4 THEN NULL ELSE price END"
		" WHERE customer_id = $1 AND id = $2",
		4, {TEXTOID, TEXTOID, TEXTOID, BOOLOID}
	};
	Migration  *migration = state;
	Datum		values[4] = {migration->key.customer_id, migration->key.id, migration->to_plan_id,
	BoolGetDatum(migration->with_price)};
	bool		isnull[4] = {false, false, !migration->leaves, false};

	if (!migration->carries_usage)
		svc_plan_forget_usage(&migration->key);
	if (svc_lifecycle_write(&update, &statement, values, isnull) != 1)
		svc_gate_report_suppressed(SVC_SUBSCRIPTION, migration->key.id);
	migration->migrated++;
}
