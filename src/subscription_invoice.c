/*-------------------------------------------------------------------------
 *
 * subscription_invoice.c
 *	  The invoice for one billing period of a subscription.
 *
 * Its lines are the plan and the add-ons, quantity by price, and, for each
 * code, what was used beyond the limits: the ledger says of each of its rows
 * how much of it that was, so a limit that was raised later does not lower the
 * bill.  Each line is rounded to the digits that the currency has (ISO 4217).
 * Price and terms are the present ones, also for a period that is past.
 *
 * Locks: the subscription, so that two calls do not make two invoices.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "gate.h"
#include "lifecycle.h"
#include "period.h"
#include "statement.h"
#include "subscription_due.h"

/* Arguments of svc_create_invoice_for(). */
enum
{
	ARG_CUSTOMER_ID,
	ARG_SUBSCRIPTION_ID,
	ARG_IN_PERIOD,
	ARG_DISCOUNT,
	ARG_TAX,
	ARG_DUE_DATE,
	ARG_AT,
};

/* A call, for the clock to run. */
typedef struct Billing
{
	FunctionCallInfo fcinfo;
	SvcSubscriptionKey key;
	TimestampTz period_start;
	TimestampTz period_end;
	bool		is_trial;		/* the period is free of charge */
	Datum		id;				/* of the invoice */
} Billing;

static void check_optional_amount(FunctionCallInfo fcinfo, int n, const char *what);
static void bill(void *state);
static void find_period(Billing *billing);
static bool find_invoice(Billing *billing);
static void make_invoice(Billing *billing);
static void check_discount(Datum lines, Datum discount, Datum tax);
static Datum list_lines(Billing *billing);
pg_noreturn static void report_no_period(const Billing *billing, TimestampTz at);

PG_FUNCTION_INFO_V1(svc_create_invoice_for);

/*
 * svc_create_invoice_for(customer_id, subscription_id, in_period, discount,
 *						  tax, due_date, at) -> id
 */
Datum
svc_create_invoice_for(PG_FUNCTION_ARGS)
{
	Billing		billing = {.fcinfo = fcinfo};
	TimestampTz at = svc_argument_at(fcinfo, ARG_AT);
	SvcFoundRow row;
	Datum		id;
	SvcCall		call;

	billing.key.customer_id = svc_argument_id(fcinfo, ARG_CUSTOMER_ID, "customer id");
	billing.key.id = svc_argument_id(fcinfo, ARG_SUBSCRIPTION_ID, "subscription id");
	check_optional_amount(fcinfo, ARG_DISCOUNT, "discount");
	check_optional_amount(fcinfo, ARG_TAX, "tax");
	svc_call_begin(&call, fcinfo);
	svc_gate_hold_customer(billing.key.customer_id);
	svc_gate_lock_row(&row, SVC_SUBSCRIPTION, billing.key.customer_id, billing.key.id);
	(void) svc_subscription_catch_up(&billing.key, at);
	svc_clock_run_at(at, bill, &billing);
	id = svc_call_keep(&call, billing.id);
	svc_call_end(&call);
	return id;
}

static void
check_optional_amount(FunctionCallInfo fcinfo, int n, const char *what)
{
	if (!PG_ARGISNULL(n) && svc_amount_sign(svc_argument_amount(fcinfo, n, what)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", what),
				 errdetail("It is %s.", svc_amount_text(PG_GETARG_DATUM(n))),
				 errhint("Leave it out for none.")));
}

/* What was made for the period before is what there is. */
static void
bill(void *state)
{
	Billing    *billing = state;

	find_period(billing);
	if (!find_invoice(billing))
		make_invoice(billing);
}

/* The period that is asked for: the current one, or one of those before. */
static void
find_period(Billing *billing)
{
	static SvcStatement statement = {
		"SELECT s.current_period_start::timestamptz, s.current_period_end::timestamptz,"
		"  coalesce(s.trial_end, s.started_at, s.current_period_start)::timestamptz,"
		"  s.billing_anchor::timestamptz, s.billing_cycle::text, coalesce(k.timezone, 'UTC')::text,"
		"  coalesce(s.current_period_end <= s.trial_end, false), s.trial_start::timestamptz, s.trial_end::timestamptz"
		" FROM @extschema@.svc_subscription s JOIN @extschema@.svc_customer k ON k.id = s.customer_id"
		" WHERE s.customer_id = $1 AND s.id = $2",
		2, {TEXTOID, TEXTOID}
	};
	FunctionCallInfo fcinfo = billing->fcinfo;
	Datum		values[2] = {billing->key.customer_id, billing->key.id};
	bool		is_current = PG_ARGISNULL(ARG_IN_PERIOD);
	TimestampTz at = is_current ? svc_clock_now() : PG_GETARG_TIMESTAMPTZ(ARG_IN_PERIOD);
	TimestampTz first;
	SvcCycle	cycle;
	bool		isnull[4];
	int64		n;

	svc_statement_run(&statement, values, NULL);
	billing->period_start = DatumGetTimestampTz(svc_statement_value(0, 1, &isnull[0]));
	billing->period_end = DatumGetTimestampTz(svc_statement_value(0, 2, &isnull[1]));
	first = DatumGetTimestampTz(svc_statement_value(0, 3, &isnull[2]));
	cycle.anchor = DatumGetTimestampTz(svc_statement_value(0, 4, &isnull[3]));
	billing->is_trial = DatumGetBool(svc_statement_value(0, 7, &isnull[2]));
	if (isnull[0] || isnull[1])
		report_no_period(billing, at);
	if (is_current || (billing->period_start <= at && at < billing->period_end))
		return;

	cycle.zone = pg_tzset(svc_statement_text(0, 6));
	if (isnull[3] || TIMESTAMP_NOT_FINITE(at) || at < first || at >= billing->period_end || cycle.zone == NULL ||
		!svc_period_find(svc_statement_text(0, 5), &cycle.period))
		report_no_period(billing, at);
	n = svc_cycle_index(&cycle, at);
	billing->period_end = Min(svc_cycle_boundary(&cycle, n + 1), billing->period_start);
	billing->period_start = Max(svc_cycle_boundary(&cycle, n), first);
	billing->is_trial = false;
}

static bool
find_invoice(Billing *billing)
{
	static SvcStatement statement = {
		"SELECT id::text FROM @extschema@.svc_invoice WHERE customer_id = $1 AND subscription_id = $2"
		"  AND period_start = $3 AND status <> 'void' ORDER BY created_at, id LIMIT 1",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {billing->key.customer_id, billing->key.id,
	TimestampTzGetDatum(billing->period_start)};
	bool		isnull;

	if (svc_statement_run(&statement, values, NULL) == 0)
		return false;
	billing->id = svc_statement_value(0, 1, &isnull);
	return true;
}

static void
make_invoice(Billing *billing)
{
	static const SvcDeed create = {.noun = SVC_INVOICE, .action = "create"};
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_invoice (customer_id, subscription_id, description, line_items,"
		"  subtotal, discount, tax, currency, period_start, period_end, due_date)"
		" SELECT $1, $2, p.name, $3, (SELECT coalesce(sum((l.line ->> 'amount')::numeric), 0)"
		"   FROM jsonb_array_elements($3) l (line)), $4, $5, s.currency, $6, $7, $8"
		" FROM @extschema@.svc_subscription s JOIN @extschema@.svc_plan p ON p.id = s.plan_id"
		" WHERE s.customer_id = $1 AND s.id = $2 RETURNING id::text",
		8, {TEXTOID, TEXTOID, JSONBOID, NUMERICOID, NUMERICOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	FunctionCallInfo fcinfo = billing->fcinfo;
	Datum		values[8];
	bool		isnull[8] = {false};

	values[0] = billing->key.customer_id;
	values[1] = billing->key.id;
	values[2] = list_lines(billing);
	values[3] = PG_GETARG_DATUM(ARG_DISCOUNT);
	isnull[3] = PG_ARGISNULL(ARG_DISCOUNT);
	values[4] = PG_GETARG_DATUM(ARG_TAX);
	isnull[4] = PG_ARGISNULL(ARG_TAX);
	values[5] = TimestampTzGetDatum(billing->period_start);
	values[6] = TimestampTzGetDatum(billing->period_end);
	values[7] = PG_GETARG_DATUM(ARG_DUE_DATE);
	isnull[7] = PG_ARGISNULL(ARG_DUE_DATE);
	if (!isnull[3])
		check_discount(values[2], values[3], isnull[4] ? svc_amount_from(0) : values[4]);
	svc_lifecycle_write(&create, &statement, values, isnull);
	billing->id = svc_statement_value(0, 1, &isnull[0]);
}

/* Nobody is owed anything by an invoice. */
static void
check_discount(Datum lines, Datum discount, Datum tax)
{
	static SvcStatement statement = {
		"SELECT coalesce(sum((l.line ->> 'amount')::numeric), 0) + $2 FROM jsonb_array_elements($1) l (line)",
		2, {JSONBOID, NUMERICOID}
	};
	Datum		values[2] = {lines, tax};
	bool		isnull;
	Datum		most;

	svc_statement_run(&statement, values, NULL);
	most = svc_statement_value(0, 1, &isnull);
	if (svc_amount_compare(discount, most) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("discount must not be more than there is to pay"),
				 errdetail("It is %s of %s.", svc_amount_text(discount), svc_amount_text(most)),
				 errhint("Grant the rest with the next invoice.")));
}

/* The lines, as an array of objects: plan, add-ons, overage by code. */
static Datum
list_lines(Billing *billing)
{
	static SvcStatement statement = {
		"WITH s AS (SELECT s.*, CASE WHEN upper(s.currency) IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF',"
		"   'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0"
		"   WHEN upper(s.currency) IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3 ELSE 2 END AS digits"
		"  FROM @extschema@.svc_subscription s WHERE s.customer_id = $1 AND s.id = $2),"
		" lines AS ("
		"  SELECT 1 AS part, s.plan_id AS plan_id, NULL AS code, s.quantity::numeric AS quantity, s.price AS unit_price"
		"   FROM s WHERE NOT $5"
		"  UNION ALL SELECT 2, a.key, NULL, (a.value ->> 'quantity')::numeric, (a.value ->> 'price')::numeric"
		"   FROM s, jsonb_each(s.addons) a WHERE NOT $5"
		"  UNION ALL SELECT 3, e.source_id, e.code, sum(l.overage), (CASE WHEN e.source = 'addon'"
		"    THEN s.addons -> e.source_id -> 'terms' ELSE s.terms END ->> 'overage_price')::numeric"
		"   FROM s JOIN @extschema@.svc_entitlement e ON e.customer_id = $1 AND e.subscription_id = $2"
		"    JOIN @extschema@.svc_entitlement_ledger l ON l.customer_id = $1 AND l.entitlement_id = e.id"
		"     AND l.overage IS NOT NULL AND l.occurred_at >= $3 AND l.occurred_at < $4"
		"   GROUP BY 1, 2, 3, 5)"
		" SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object("
		"   'description', CASE WHEN l.code IS NULL THEN p.name ELSE concat(l.code, ' beyond the limit') END,"
		"   'plan_id', l.plan_id, 'code', l.code, 'quantity', trim_scale(l.quantity), 'unit_price', l.unit_price,"
		"   'amount', round(l.quantity * l.unit_price, s.digits))) ORDER BY l.part, l.plan_id, l.code), '[]')"
		" FROM s CROSS JOIN lines l LEFT JOIN @extschema@.svc_plan p ON p.id = l.plan_id"
		" WHERE l.code IS NULL OR (l.quantity > 0 AND l.unit_price > 0)",
		5, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID}
	};
	Datum		values[5] = {billing->key.customer_id, billing->key.id,
		TimestampTzGetDatum(billing->period_start), TimestampTzGetDatum(billing->period_end),
	BoolGetDatum(billing->is_trial)};
	bool		isnull;

	svc_statement_run(&statement, values, NULL);
	return svc_statement_value(0, 1, &isnull);
}

static void
report_no_period(const Billing *billing, TimestampTz at)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("subscription \"%s\" has no billing period then", TextDatumGetCString(billing->key.id)),
			 errdetail("It was asked for the period of %s.", timestamptz_to_str(at)),
			 errhint("Billing periods begin with the subscription, or the end of its trial, and end with the current one.")));
}
