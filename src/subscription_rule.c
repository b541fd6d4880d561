/*-------------------------------------------------------------------------
 *
 * subscription_rule.c
 *	  The rule that every row of svc_subscription obeys, whoever writes it.
 *
 * In the BEFORE trigger:
 *
 *	1. What the row leaves open, its plan tells: billing cycle, price, currency,
 *	   and the *terms*, which say what it grants.  They are kept with the row,
 *	   so that a plan that changes leaves its subscribers alone.
 *	2. It must suit the plan: one that is open, in this currency, billed in this
 *	   cycle, and only once per customer.
 *	3. Add-ons are completed with price and terms of their plans.
 *	4. Periods follow the status.  A period begins where the one before ends,
 *	   or where the trial ends, and ends at billing_anchor + n billing cycles.
 *	5. Derived columns are computed, among them due_at: the next instant at
 *	   which time alone changes the row (subscription_due.c).
 *
 * In the AFTER trigger the grants follow (plan_grant.c): what the terms say is
 * granted, suspended, resumed or revoked.  And what was agreed in a period that is
 * over is kept (svc_subscription_period), for its invoice.
 *
 * Locks: the subscription, which the statement has, and its plans, FOR SHARE;
 * then its grants, in the order in which consumes lock them; then the customer,
 * FOR NO KEY UPDATE, if time changes what is granted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "error.h"
#include "gate.h"
#include "lifecycle.h"
#include "offer.h"
#include "period.h"
#include "plan_grant.h"
#include "statement.h"
#include "subscription_due.h"
#include "subscription_rule.h"

#define ADDONS_MAX		100

/* No two time zones are farther apart. */
#define ZONE_DRIFT_MAX	(30 * USECS_PER_HOUR)

static SvcColumn id_column = {"id"};
static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn status_column = {"status"};
static SvcColumn plan_id_column = {"plan_id"};
static SvcColumn service_id_column = {"service_id"};
static SvcColumn billing_cycle_column = {"billing_cycle"};
static SvcColumn price_column = {"price", NUMERICOID};
static SvcColumn currency_column = {"currency"};
static SvcColumn quantity_column = {"quantity", INT4OID};
static SvcColumn terms_column = {"terms", JSONBOID};
static SvcColumn terms_revision_column = {"terms_revision", INT8OID};
static SvcColumn addons_column = {"addons", JSONBOID};
static SvcColumn allow_duplicate_column = {"allow_duplicate", BOOLOID};
static SvcColumn entitlements_column = {"entitlements", TEXTARRAYOID};
static SvcColumn usage_limits_column = {"usage_limits", JSONBOID};
static SvcColumn on_trial_column = {"on_trial", BOOLOID};
static SvcColumn started_at_column = {"started_at", TIMESTAMPTZOID};
static SvcColumn ended_at_column = {"ended_at", TIMESTAMPTZOID};
static SvcColumn cancelled_at_column = {"cancelled_at", TIMESTAMPTZOID};
static SvcColumn cancel_column = {"cancel_at_period_end", BOOLOID};
static SvcColumn trial_start_column = {"trial_start", TIMESTAMPTZOID};
static SvcColumn trial_end_column = {"trial_end", TIMESTAMPTZOID};
static SvcColumn anchor_column = {"billing_anchor", TIMESTAMPTZOID};
static SvcColumn period_start_column = {"current_period_start", TIMESTAMPTZOID};
static SvcColumn period_end_column = {"current_period_end", TIMESTAMPTZOID};
static SvcColumn next_billing_column = {"next_billing_date", TIMESTAMPTZOID};
static SvcColumn dunned_until_column = {"dunned_until", TIMESTAMPTZOID};
static SvcColumn due_at_column = {"due_at", TIMESTAMPTZOID};
static SvcColumn scheduled_plan_column = {"scheduled_plan_id"};
static SvcColumn scheduled_at_column = {"scheduled_at", TIMESTAMPTZOID};
static SvcColumn scheduled_columns[] = {
	{"scheduled_action"}, {"scheduled_price", NUMERICOID}, {"scheduled_billing_cycle"},
	{"scheduled_carry_usage", BOOLOID},
};

static bool catch_up(Datum customer_id, Datum id, SvcInstant instant);
static void check(SvcRowChange *change);
static void check_quantity(SvcRowChange *change);
static void check_instants(SvcRowChange *change);
static void check_schedule(SvcRowChange *change);
static void move_with(SvcRowChange *change, SvcColumn *column, SvcColumn *other);
static void suit_plan(SvcRowChange *change);
static bool cycle_changes(SvcRowChange *change);
static bool is_upgrade(SvcRowChange *change);
static bool plan_changes(SvcRowChange *change);
static bool keeps_promise(SvcRowChange *change);
static void default_text(SvcRowChange *change, SvcColumn *column, const char *value);
static void check_once(SvcRowChange *change);
static void complete_addons(SvcRowChange *change);
static Datum complete_addon(SvcRowChange *change, Datum completed, SPITupleTable *given, uint64 row);
static bool grants_change(SvcRowChange *change);
static void list_entitlements(SvcRowChange *change);
static void imply(SvcRowChange *change, const char *action);
static void begin(SvcRowChange *change);
static void begin_trial(SvcRowChange *change);
static void end_trial(SvcRowChange *change);
static void renew(SvcRowChange *change);
static void take_up(SvcRowChange *change);
static bool is_paid_for(SvcRowChange *change);
static void change_cycle(SvcRowChange *change);
static void begin_anew(SvcRowChange *change);
static void begin_period(SvcRowChange *change, TimestampTz start);
static bool find_cycle(SvcRowChange *change, SvcCycle *cycle);
static void derive_columns(SvcRowChange *change);
static TimestampTz next_due(SvcRowChange *change);
static void conclude(SvcRowChange *change, const char *action);
static void keep_period(SvcRowChange *change, const SvcSubscriptionKey *key);
static bool changes_grants(SvcRowChange *change);
static bool is_open(SvcRowChange *change);
static void set_instant(SvcRowChange *change, SvcColumn *column, TimestampTz at);
pg_noreturn static void report_bad_addons(const char *problem);

void
svc_subscription_rule_init(void)
{
	static const SvcLifecycleRules rules = {.catch_up = catch_up, .check = check, .imply = imply,
	.conclude = conclude};

	svc_lifecycle_set_rules(SVC_SUBSCRIPTION, &rules);
}

/* What an action is for must not be before the present period. */
static bool
catch_up(Datum customer_id, Datum id, SvcInstant instant)
{
	static SvcStatement statement = {
		"SELECT current_period_start::timestamptz FROM @extschema@.svc_subscription"
		" WHERE customer_id = $1 AND id = $2 AND current_period_start > $3",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	SvcSubscriptionKey key = {customer_id, id};
	Datum		values[3] = {customer_id, id, TimestampTzGetDatum(instant.at)};
	bool		isnull;

	if (instant.given && svc_statement_run(&statement, values, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"at\" must not be before the present period of subscription \"%s\"",
						TextDatumGetCString(id)),
				 errdetail("It is %s; the period began at %s.",
						   pstrdup(timestamptz_to_str(instant.at)),
						   pstrdup(timestamptz_to_str(DatumGetTimestampTz(svc_statement_value(0, 1, &isnull))))),
				 errhint("Pass NULL for the present.")));
	return svc_subscription_catch_up(&key, instant.at);
}

static void
check(SvcRowChange *change)
{
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	check_quantity(change);
	check_instants(change);
	check_schedule(change);
	if (plan_changes(change))
		suit_plan(change);
	if (change->is_insert || svc_row_column_differs(change, &addons_column) || cycle_changes(change))
		complete_addons(change);
	if (grants_change(change))
		list_entitlements(change);
	derive_columns(change);
	svc_call_end(&call);
}

static void
check_quantity(SvcRowChange *change)
{
	bool		isnull;
	Datum		quantity = svc_row_new(change, &quantity_column, &isnull);

	if (!isnull && DatumGetInt32(quantity) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("quantity must be greater than 0"),
				 errdetail("It is %d.", DatumGetInt32(quantity)),
				 errhint("Cancel the subscription to end it.")));
}

/* A period, or a trial, that never begins or ends is told by null. */
static void
check_instants(SvcRowChange *change)
{
	static const struct
	{
		SvcColumn  *column;
		const char *name;
	}			instants[] = {
		{&started_at_column, "started_at"}, {&trial_start_column, "trial_start"},
		{&trial_end_column, "trial_end"}, {&anchor_column, "billing_anchor"},
		{&period_start_column, "current_period_start"}, {&period_end_column, "current_period_end"},
	};

	for (int i = 0; i < lengthof(instants); i++)
	{
		if (TIMESTAMP_NOT_FINITE(svc_row_new_instant(change, instants[i].column, 0)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s of a subscription must be finite", instants[i].name),
					 errdetail("It is %s.", timestamptz_to_str(svc_row_new_instant(change, instants[i].column, 0))),
					 errhint("Null stands for an instant that is not known.")));
	}
}

/*
 * A change of plan is scheduled by functions, which check it; it can be
 * withdrawn by anybody, and is over when the plan changes or the subscription
 * ends.
 */
static void
check_schedule(SvcRowChange *change)
{
	bool		isnull;

	(void) svc_row_new(change, &scheduled_plan_column, &isnull);
	if (!isnull && !svc_lifecycle_by_function(change) &&
		(change->is_insert || svc_row_column_differs(change, &scheduled_plan_column)))
		svc_lifecycle_refuse_column(change, "scheduled_plan_id",
									"Use svc_upgrade_subscription() or svc_downgrade_subscription() with at_period_end; null withdraws the change.");
	if (!isnull && is_open(change) &&
		(change->is_insert || !svc_row_column_differs(change, &plan_id_column)))
		return;
	svc_row_set(change, &scheduled_plan_column, (Datum) 0, true);
	svc_row_set(change, &scheduled_at_column, (Datum) 0, true);
	for (int i = 0; i < lengthof(scheduled_columns); i++)
		svc_row_set(change, &scheduled_columns[i], (Datum) 0, true);
}

/* An instant that was set to another one stays with it, if only that is moved. */
static void
move_with(SvcRowChange *change, SvcColumn *column, SvcColumn *other)
{
	bool		isnull[3];
	Datum		old;
	Datum		was;
	Datum		is;

	if (change->is_insert || svc_row_column_differs(change, column) || !svc_row_column_differs(change, other))
		return;
	old = svc_row_old(change, column, &isnull[0]);
	was = svc_row_old(change, other, &isnull[1]);
	is = svc_row_new(change, other, &isnull[2]);
	if (!isnull[0] && !isnull[1] && !isnull[2] && DatumGetTimestampTz(old) == DatumGetTimestampTz(was))
		svc_row_set(change, column, is, false);
}

/* Steps 1 and 2. */
static void
suit_plan(SvcRowChange *change)
{
	SvcOffer	offer;
	bool		isnull;
	bool		is_new = change->is_insert || svc_row_column_differs(change, &plan_id_column);
	Datum		plan_id = svc_row_new(change, &plan_id_column, &isnull);
	bool		no_terms;

	/* (what is null is for the column to refuse) */
	if (isnull)
		return;
	if (!svc_offer_read(&offer, plan_id, svc_row_new_text(change, &billing_cycle_column)))
		svc_gate_report_unknown(SVC_PLAN, (Datum) 0, plan_id);
	if (!keeps_promise(change))
	{
		if (is_new)
			svc_offer_check_open(&offer);
		svc_offer_check_fit(&offer, svc_row_new_text(change, &currency_column));
	}

	default_text(change, &billing_cycle_column, offer.billing_cycle);
	default_text(change, &currency_column, offer.currency);
	/* a price that is left as it was is of the cycle as it was, unless a function gives it */
	(void) svc_row_new(change, &price_column, &isnull);
	if (isnull || (cycle_changes(change) && !svc_row_column_differs(change, &price_column) &&
				   !is_upgrade(change)))
		svc_row_set(change, &price_column, offer.price, false);
	(void) svc_row_new(change, &service_id_column, &isnull);
	if (offer.has_service &&
		(isnull || (is_new && !change->is_insert && !svc_row_column_differs(change, &service_id_column))))
		svc_row_set(change, &service_id_column, offer.service_id, false);
	(void) svc_row_new(change, &terms_revision_column, &no_terms);
	if (is_new || no_terms)
	{
		svc_row_set(change, &terms_column, offer.terms, false);
		svc_row_set(change, &terms_revision_column, Int64GetDatum(offer.revision), false);
	}
	check_once(change);
}

static bool
cycle_changes(SvcRowChange *change)
{
	return !change->is_insert && svc_row_column_differs(change, &billing_cycle_column);
}

/* Is it a change of plan by a function?  That tells the price in any case. */
static bool
is_upgrade(SvcRowChange *change)
{
	return svc_lifecycle_by_function(change) &&
		(strcmp(change->action, "upgrade") == 0 || strcmp(change->action, "downgrade") == 0);
}

/* (Who wants the plan's present terms sets terms_revision to null.) */
static bool
plan_changes(SvcRowChange *change)
{
	bool		isnull;

	if (change->is_insert)
		return true;
	(void) svc_row_new(change, &terms_revision_column, &isnull);
	return isnull || svc_row_column_differs(change, &plan_id_column) ||
		svc_row_column_differs(change, &billing_cycle_column) ||
		svc_row_column_differs(change, &currency_column) ||
		svc_row_column_differs(change, &allow_duplicate_column);
}

/* Is this the change that was scheduled?  Then it happens, come what may. */
static bool
keeps_promise(SvcRowChange *change)
{
	bool		isnull;
	Datum		promised;

	if (change->is_insert || !svc_lifecycle_by_function(change))
		return false;
	promised = svc_row_old(change, &scheduled_plan_column, &isnull);
	return !isnull && DatumGetTimestampTz(svc_row_old(change, &scheduled_at_column, &isnull)) <= svc_clock_now() &&
		strcmp(TextDatumGetCString(promised), svc_row_new_text(change, &plan_id_column)) == 0;
}

static void
default_text(SvcRowChange *change, SvcColumn *column, const char *value)
{
	bool		isnull;

	(void) svc_row_new(change, column, &isnull);
	if (isnull && value != NULL)
		svc_row_set_text(change, column, value);
}

/*
 * One subscription per customer and plan; the unique index finds those that
 * come at the same time.  A change that was promised is made in any case.
 */
static void
check_once(SvcRowChange *change)
{
	SvcSubscriptionKey key;
	bool		no_customer;
	bool		no_id;
	bool		isnull;
	Datum		plan_id = svc_row_new(change, &plan_id_column, &isnull);

	key.customer_id = svc_row_new(change, &customer_id_column, &no_customer);
	key.id = svc_row_new(change, &id_column, &no_id);
	if (no_customer || no_id || !is_open(change) || svc_row_new_bool(change, &allow_duplicate_column))
		return;
	if (!keeps_promise(change))
		svc_subscription_check_once(&key, plan_id);
	else if (svc_subscription_has_other(&key, plan_id))
		svc_row_set(change, &allow_duplicate_column, BoolGetDatum(true), false);
}

/*
 * Step 3.  {"plan": 2} and {"plan": {"quantity": 2, "price": 5}} become
 * {"plan": {"quantity": 2, "price": 5, "terms": {...}}}; a price that is left
 * out is the plan's.  Those that were there before keep price and terms.
 */
static void
complete_addons(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT a.key, CASE jsonb_typeof(q.quantity) WHEN 'number' THEN q.quantity::numeric END,"
		"  CASE jsonb_typeof(q.price) WHEN 'number' THEN q.price::numeric END,"
		"  jsonb_typeof(q.price) IN ('number', 'null'),"
		"  ($2 -> a.key -> 'price')::numeric, $2 -> a.key -> 'terms'"
		" FROM jsonb_each($1) a CROSS JOIN LATERAL (SELECT"
		"  CASE jsonb_typeof(a.value) WHEN 'object' THEN coalesce(a.value -> 'quantity', '1') ELSE a.value END AS quantity,"
		"  CASE jsonb_typeof(a.value) WHEN 'object' THEN coalesce(a.value -> 'price', 'null') ELSE 'null' END AS price) q",
		2, {JSONBOID, JSONBOID}
	};
	Datum		values[2];
	bool		isnull[2] = {false, true};
	SPITupleTable *given;
	Datum		completed;
	uint64		rows;

	values[0] = svc_row_new(change, &addons_column, &isnull[0]);
	if (isnull[0])
		return;
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(values[0])) || JB_ROOT_COUNT(DatumGetJsonbP(values[0])) > ADDONS_MAX)
		report_bad_addons(psprintf("They are no object of at most %d plans.", ADDONS_MAX));
	if (!change->is_insert)
		values[1] = svc_row_old(change, &addons_column, &isnull[1]);

	rows = svc_statement_run(&statement, values, isnull);
	given = SPI_tuptable;
	completed = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	for (uint64 row = 0; row < rows; row++)
		completed = complete_addon(change, completed, given, row);
	svc_row_set(change, &addons_column, completed, false);
}

/* Complete an add-on, and put it to those that are. */
static Datum
complete_addon(SvcRowChange *change, Datum completed, SPITupleTable *given, uint64 row)
{
	static SvcStatement statement = {
		"SELECT $1 || jsonb_build_object($2, jsonb_build_object('quantity', $3, 'price', $4, 'terms', $5))",
		5, {JSONBOID, TEXTOID, NUMERICOID, NUMERICOID, JSONBOID}
	};
	HeapTuple	tuple = given->vals[row];
	Datum		values[5] = {completed};
	char	   *name;
	bool		no_quantity;
	bool		no_price;
	bool		is_new;
	bool		isnull;
	SvcOffer	offer;

	values[1] = SPI_getbinval(tuple, given->tupdesc, 1, &isnull);
	values[2] = SPI_getbinval(tuple, given->tupdesc, 2, &no_quantity);
	values[3] = SPI_getbinval(tuple, given->tupdesc, 3, &no_price);
	values[4] = SPI_getbinval(tuple, given->tupdesc, 6, &is_new);
	name = TextDatumGetCString(values[1]);
	if (no_quantity || !DatumGetBool(SPI_getbinval(tuple, given->tupdesc, 4, &isnull)))
		report_bad_addons(psprintf("A value of \"%s\" is of the wrong type.", name));
	if (svc_amount_compare(values[2], svc_amount_from(1)) < 0 ||
		svc_amount_compare(values[2], svc_amount_from(PG_INT32_MAX)) > 0 ||
		svc_amount_compare(values[2], svc_amount_quotient(values[2], svc_amount_from(1))) != 0)
		report_bad_addons(psprintf("The quantity of \"%s\" is %s.", name, svc_amount_text(values[2])));

	if (!svc_offer_read(&offer, values[1], svc_row_new_text(change, &billing_cycle_column)))
		svc_gate_report_unknown(SVC_PLAN, (Datum) 0, values[1]);
	if (is_new)
	{
		svc_offer_check_open(&offer);
		svc_offer_check_fit(&offer, svc_row_new_text(change, &currency_column));
		values[4] = offer.terms;
	}
	else if (cycle_changes(change))
	{
		if (!keeps_promise(change))
			svc_offer_check_fit(&offer, NULL);
		if (no_price || !svc_row_column_differs(change, &addons_column))
		{
			values[3] = offer.price;
			no_price = false;
		}
	}
	if (no_price)
		values[3] = is_new ? offer.price : SPI_getbinval(tuple, given->tupdesc, 5, &isnull);
	if (svc_amount_sign(values[3]) < 0)
		report_bad_addons(psprintf("The price of \"%s\" is %s.", name, svc_amount_text(values[3])));
	svc_check_amount(values[3], "price");
	svc_statement_run(&statement, values, NULL);
	return svc_statement_value(0, 1, &isnull);
}

/* Does what the subscriber is granted depend on this change? */
static bool
grants_change(SvcRowChange *change)
{
	static SvcColumn *const columns[] = {&plan_id_column, &terms_column, &terms_revision_column,
	&addons_column, &quantity_column, &billing_cycle_column, &anchor_column};

	for (int i = 0; i < lengthof(columns); i++)
	{
		if (change->is_insert || svc_row_column_differs(change, columns[i]))
			return true;
	}
	return false;
}

/* The codes that are granted, and their limits, stand in the row, too. */
static void
list_entitlements(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT array_agg(code ORDER BY code), jsonb_object_agg(code, limit_amount)"
		"  FILTER (WHERE limit_amount IS NOT NULL)"
		" FROM (SELECT code, sum(limit_amount) AS limit_amount"
		"  FROM @extschema@.svc_terms_grants($1, $2, NULL, $3) GROUP BY code) g",
		3, {JSONBOID, INT4OID, JSONBOID}
	};
	Datum		values[3];
	bool		isnull[3];
	Datum		list;
	bool		empty;

	values[0] = svc_row_new(change, &terms_column, &isnull[0]);
	values[1] = svc_row_new(change, &quantity_column, &isnull[1]);
	values[2] = svc_row_new(change, &addons_column, &isnull[2]);
	if (isnull[0] || isnull[1])
		return;
	svc_statement_run(&statement, values, isnull);
	list = svc_statement_value(0, 1, &empty);
	svc_row_set(change, &entitlements_column, list, empty);
	list = svc_statement_value(0, 2, &empty);
	svc_row_set(change, &usage_limits_column, list, empty);
}

/* Step 4. */
static void
imply(SvcRowChange *change, const char *action)
{
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	if (strcmp(action, "create") == 0)
		begin(change);
	else if (strcmp(action, "activate") == 0)
		end_trial(change);
	else if (strcmp(action, "renew") == 0)
		renew(change);
	else if (strcmp(action, "resume") == 0)
		take_up(change);
	else if (strcmp(action, "cancel") == 0)
	{
		svc_row_imply_now(change, &cancelled_at_column);
		svc_row_imply_now(change, &ended_at_column);
	}
	else if (strcmp(action, "expire") == 0)
		svc_row_imply_now(change, &ended_at_column);
	else if (svc_row_column_differs(change, &billing_cycle_column))
		change_cycle(change);
	if (!change->is_insert && svc_row_new_is(change, &status_column, "trialing"))
	{
		/* a trial that is made longer: what is paid begins later */
		move_with(change, &anchor_column, &trial_end_column);
		move_with(change, &period_end_column, &trial_end_column);
	}
	/* what is to be done at the period's end, wherever that is now */
	move_with(change, &scheduled_at_column, &period_end_column);
	if (!change->is_insert && svc_row_new_is(change, &status_column, "active") &&
		svc_row_column_differs(change, &status_column))
		svc_row_set(change, &dunned_until_column, TimestampTzGetDatum(svc_clock_now()), false);
	derive_columns(change);
	svc_call_end(&call);
}

/* A new subscription begins with its trial, or with its first period. */
static void
begin(SvcRowChange *change)
{
	TimestampTz start;
	TimestampTz anchor;
	SvcCycle	cycle;

	svc_row_default_now(change, &started_at_column);
	if (svc_row_new_is(change, &status_column, "trialing"))
	{
		begin_trial(change);
		return;
	}
	start = svc_row_new_instant(change, &period_start_column, svc_row_new_instant(change, &started_at_column, 0));
	anchor = svc_row_new_instant(change, &anchor_column, start);
	if (TIMESTAMP_NOT_FINITE(start) || TIMESTAMP_NOT_FINITE(anchor))
		return;
	set_instant(change, &anchor_column, anchor);
	if (svc_row_new_instant(change, &period_end_column, DT_NOEND) != DT_NOEND)
	{
		set_instant(change, &period_start_column, start);
		return;
	}
	/* one that began long ago is in its present period now */
	if (find_cycle(change, &cycle))
		begin_period(change, Max(start, svc_cycle_boundary(&cycle, svc_cycle_index(&cycle, svc_clock_now()))));
}

/* The trial is a period of its own; who pays then, pays from its end on. */
static void
begin_trial(SvcRowChange *change)
{
	bool		no_customer;
	bool		no_plan;
	Datum		customer_id = svc_row_new(change, &customer_id_column, &no_customer);
	Datum		plan_id = svc_row_new(change, &plan_id_column, &no_plan);
	TimestampTz start;
	TimestampTz end;

	/* (what is null is for the column to refuse) */
	if (no_customer || no_plan)
		return;
	svc_row_default_now(change, &trial_start_column);
	start = svc_row_new_instant(change, &trial_start_column, 0);
	end = svc_row_new_instant(change, &trial_end_column,
							  svc_offer_trial_end(customer_id, plan_id, start, -1));
	if (TIMESTAMP_NOT_FINITE(end))
		return;
	set_instant(change, &trial_end_column, end);
	set_instant(change, &anchor_column, svc_row_new_instant(change, &anchor_column, end));
	set_instant(change, &period_start_column, svc_row_new_instant(change, &period_start_column, start));
	set_instant(change, &period_end_column, svc_row_new_instant(change, &period_end_column, end));
}

/*
 * What is paid begins where the trial ends; who is activated early has no trial
 * to go back to.  From past_due it is an answer to a payment, and no period
 * begins.
 */
static void
end_trial(SvcRowChange *change)
{
	TimestampTz now = svc_clock_now();
	TimestampTz start = svc_row_new_instant(change, &trial_start_column, DT_NOEND);
	TimestampTz end = svc_row_new_instant(change, &trial_end_column, DT_NOEND);
	TimestampTz anchor = svc_row_new_instant(change, &anchor_column, DT_NOEND);

	if (strcmp(svc_row_old_text(change, &status_column), "trialing") != 0)
		return;
	if (end > now)
		svc_row_set(change, &trial_end_column, TimestampTzGetDatum(now), start >= now);
	if (svc_row_column_differs(change, &period_start_column) ||
		svc_row_column_differs(change, &period_end_column))
		return;
	/* an anchor that the trial's end has set moves with it */
	if (anchor == end || anchor == DT_NOEND)
		set_instant(change, &anchor_column, Min(now, end));
	begin_period(change, Min(now, end));
}

/* The next period begins where the current one ends. */
static void
renew(SvcRowChange *change)
{
	TimestampTz end = svc_row_new_instant(change, &period_end_column, DT_NOEND);
	SvcCycle	cycle;

	if (svc_row_column_differs(change, &period_start_column) ||
		svc_row_column_differs(change, &period_end_column))
		return;
	if (TIMESTAMP_NOT_FINITE(end))
		svc_lifecycle_refuse_change(change, "its current period has no end", "Set current_period_end first.");
	if (!find_cycle(change, &cycle))
		svc_lifecycle_refuse_change(change, "it has no billing anchor", "Set billing_anchor first.");
	begin_period(change, end);
	/* where the customer's time zone has changed, the grid has moved by as much */
	if (svc_row_new_instant(change, &period_end_column, end) - end <= ZONE_DRIFT_MAX)
		set_instant(change, &period_end_column,
					svc_cycle_boundary(&cycle, svc_cycle_index(&cycle, end + ZONE_DRIFT_MAX) + 1));
}

/*
 * Periods that went by in a pause are not made up for; a trial that went by
 * is over.
 */
static void
take_up(SvcRowChange *change)
{
	TimestampTz now = svc_clock_now();
	TimestampTz end = svc_row_new_instant(change, &period_end_column, DT_NOEND);
	SvcCycle	cycle;

	/* what was to come in the pause comes now */
	if (svc_row_new_instant(change, &scheduled_at_column, DT_NOEND) < now)
		set_instant(change, &scheduled_at_column, now);
	if (end > now || svc_row_new_is(change, &status_column, "trialing") ||
		svc_row_column_differs(change, &period_end_column))
		return;
	if (end == svc_row_new_instant(change, &trial_end_column, DT_NOBEGIN))
	{
		if (!is_paid_for(change))
			svc_lifecycle_refuse_change(change, "its trial is over, and the customer has no payment method",
										"Set payment_method of the customer, or expire the subscription.");
		if (end == svc_row_new_instant(change, &anchor_column, DT_NOBEGIN))
			begin_anew(change);
		else
			begin_period(change, now);
	}
	else if (find_cycle(change, &cycle))
		begin_period(change, svc_cycle_boundary(&cycle, svc_cycle_index(&cycle, now)));
}

/* It costs nothing, or the customer can pay. */
static bool
is_paid_for(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_customer WHERE id = $1 AND (payment_method IS NOT NULL OR $2 = 0)",
		2, {TEXTOID, NUMERICOID}
	};
	Datum		values[2];
	bool		isnull[2];

	values[0] = svc_row_new(change, &customer_id_column, &isnull[0]);
	values[1] = svc_row_new(change, &price_column, &isnull[1]);
	return svc_statement_run(&statement, values, isnull) > 0;
}

/* Another billing cycle begins at once; that of a trial, at its end. */
static void
change_cycle(SvcRowChange *change)
{
	if (!svc_row_new_is(change, &status_column, "trialing") &&
		!svc_row_column_differs(change, &anchor_column) &&
		!svc_row_column_differs(change, &period_start_column) &&
		!svc_row_column_differs(change, &period_end_column))
		begin_anew(change);
}

/* A period, and the grid of those that follow, from now on. */
static void
begin_anew(SvcRowChange *change)
{
	set_instant(change, &anchor_column, svc_clock_now());
	begin_period(change, svc_clock_now());
}

/* A period that ends at the next instant of the grid. */
static void
begin_period(SvcRowChange *change, TimestampTz start)
{
	SvcCycle	cycle;

	if (!find_cycle(change, &cycle))
		return;
	set_instant(change, &period_start_column, start);
	set_instant(change, &period_end_column,
				svc_cycle_boundary(&cycle, svc_cycle_index(&cycle, start) + 1));
}

/* The grid of its periods, in the customer's time zone; false without one. */
static bool
find_cycle(SvcRowChange *change, SvcCycle *cycle)
{
	static SvcStatement statement = {
		"SELECT coalesce(timezone, 'UTC')::text FROM @extschema@.svc_customer WHERE id = $1",
		1, {TEXTOID}
	};
	bool		isnull;
	Datum		customer_id = svc_row_new(change, &customer_id_column, &isnull);
	char	   *period = svc_row_new_text(change, &billing_cycle_column);

	cycle->anchor = svc_row_new_instant(change, &anchor_column, DT_NOEND);
	if (isnull || period == NULL || TIMESTAMP_NOT_FINITE(cycle->anchor) ||
		!svc_period_find(period, &cycle->period) ||
		svc_statement_run(&statement, &customer_id, NULL) == 0)
		return false;
	cycle->zone = pg_tzset(svc_statement_text(0, 1));
	return cycle->zone != NULL;
}

/* Step 5, whatever is written to these columns. */
static void
derive_columns(SvcRowChange *change)
{
	TimestampTz due = next_due(change);
	TimestampTz end = svc_row_new_instant(change, &period_end_column, DT_NOEND);
	bool		bills = is_open(change) && !svc_row_new_is(change, &status_column, "paused") &&
		!svc_row_new_bool(change, &cancel_column);

	svc_row_set(change, &on_trial_column,
				BoolGetDatum(svc_row_new_is(change, &status_column, "trialing")), false);
	svc_row_set(change, &due_at_column, TimestampTzGetDatum(due), due == DT_NOEND);
	svc_row_set(change, &next_billing_column, TimestampTzGetDatum(end), !bills || end == DT_NOEND);
}

/*
 * When time will change the row: at the end of the trial or of the period, or
 * when a change is scheduled.  Who has not paid waits for that, and who has
 * paused for the end of the pause; a cancellation does not wait.
 */
static TimestampTz
next_due(SvcRowChange *change)
{
	TimestampTz end = svc_row_new_instant(change, &period_end_column, DT_NOEND);
	TimestampTz scheduled = svc_row_new_instant(change, &scheduled_at_column, DT_NOEND);
	TimestampTz cancelled = DT_NOEND;

	/* not before it was asked for, when the period is over already */
	if (svc_row_new_bool(change, &cancel_column))
		cancelled = end == DT_NOEND ? end : Max(end, svc_clock_now());
	if (svc_row_new_is(change, &status_column, "trialing"))
		return Min(Min(scheduled, cancelled), svc_row_new_instant(change, &trial_end_column, DT_NOEND));
	if (svc_row_new_is(change, &status_column, "active"))
	{
		/* without a grid it does not renew */
		if (svc_row_new_instant(change, &anchor_column, DT_NOEND) == DT_NOEND)
			end = DT_NOEND;
		return Min(Min(scheduled, cancelled), end);
	}
	if (svc_row_new_is(change, &status_column, "past_due"))
		return Min(scheduled, cancelled);
	if (svc_row_new_is(change, &status_column, "paused"))
		return cancelled;
	return DT_NOEND;
}

/* The subscriber's grants follow the subscription, whoever has changed it. */
static void
conclude(SvcRowChange *change, const char *action)
{
	SvcSubscriptionKey key;
	bool		is_paused = svc_row_new_is(change, &status_column, "paused");
	/* (an upgrade to the same plan may have taken all back: svc_plan_forget_usage()) */
	bool		grants = grants_change(change) || strcmp(action, "activate") == 0 ||
		strcmp(action, "upgrade") == 0 || strcmp(action, "downgrade") == 0;
	bool		isnull;
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	key.customer_id = svc_row_new(change, &customer_id_column, &isnull);
	key.id = svc_row_new(change, &id_column, &isnull);
	/* a renewal, which is what happens most, waits for no consume */
	if (!change->is_insert && (grants || is_paused || !is_open(change) || strcmp(action, "resume") == 0))
		svc_plan_lock_grants(&key);
	if (!is_open(change))
		svc_plan_revoke(&key, strcmp(action, "cancel") == 0 ? "the subscription was cancelled" :
						"the subscription has expired");
	else
	{
		if (strcmp(action, "resume") == 0)
			svc_plan_resume(&key);
		if (grants)
			svc_plan_grant(&key);
		if (is_paused)
			svc_plan_suspend(&key);
	}
	if (!change->is_insert)
		keep_period(change, &key);
	svc_plan_note_usage(&key);
	if (changes_grants(change))
		svc_plan_note_change(key.customer_id);
	svc_call_end(&call);
}

/*
 * Keep what was agreed in a period that is over, or that the row leaves, as it
 * was until then, for its invoice.  The first change after its end tells.
 */
static void
keep_period(SvcRowChange *change, const SvcSubscriptionKey *key)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_subscription_period (customer_id, subscription_id, period_start, period_end,"
		"  is_trial, plan_id, quantity, price, currency, terms, addons)"
		" SELECT $1, $2, $3, p.period_end, coalesce($4 <= $5, false), $6, $7, $8, $9, $10, $11"
		" FROM (SELECT CASE WHEN $12 > $3 THEN least($4, $12) ELSE $4 END AS period_end) p"
		" ON CONFLICT DO NOTHING",
		12, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT4OID, NUMERICOID,
		TEXTOID, JSONBOID, JSONBOID, TIMESTAMPTZOID}
	};
	static SvcColumn *const columns[] = {&period_start_column, &period_end_column, &trial_end_column,
		&plan_id_column, &quantity_column, &price_column, &currency_column, &terms_column,
	&addons_column};
	Datum		values[12] = {key->customer_id, key->id};
	bool		isnull[12] = {false};

	for (int i = 0; i < lengthof(columns); i++)
		values[i + 2] = svc_row_old(change, columns[i], &isnull[i + 2]);
	values[11] = svc_row_new(change, &period_start_column, &isnull[11]);
	if (isnull[2] || isnull[3])
		return;
	if (DatumGetTimestampTz(values[3]) <= svc_clock_now() ||
		(!isnull[11] && DatumGetTimestampTz(values[2]) < Min(svc_clock_now(), DatumGetTimestampTz(values[11]))))
		svc_statement_run(&statement, values, isnull);
}

/*
 * Does it, did it, change at some instant what is granted?  A renewal, which is
 * what happens most, does not.
 */
static bool
changes_grants(SvcRowChange *change)
{
	bool		isnull;

	(void) svc_row_new(change, &scheduled_plan_column, &isnull);
	if (!isnull || svc_row_new_bool(change, &cancel_column) || svc_row_new_is(change, &status_column, "trialing"))
		return true;
	if (change->is_insert)
		return false;
	(void) svc_row_old(change, &scheduled_plan_column, &isnull);
	return !isnull || svc_row_column_differs(change, &cancel_column) ||
		strcmp(svc_row_old_text(change, &status_column), "trialing") == 0;
}

/* Has the new row not ended? */
static bool
is_open(SvcRowChange *change)
{
	return !svc_row_new_is(change, &status_column, "cancelled") &&
		!svc_row_new_is(change, &status_column, "expired");
}

static void
set_instant(SvcRowChange *change, SvcColumn *column, TimestampTz at)
{
	svc_row_set(change, column, TimestampTzGetDatum(at), false);
}

static void
report_bad_addons(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("addons must be an object of plan ids and quantities"),
			 errdetail("%s", problem),
			 errhint("For example '{\"extra_storage\": 2}' or '{\"extra_storage\": {\"quantity\": 2, \"price\": 5}}'.")));
}
