/*-------------------------------------------------------------------------
 *
 * subscription_invoice.c
 *	  The invoice for one billing period of a subscription.
 *
 * Its lines are the plan and the add-ons, quantity by price, and, for each
 * code, what was used beyond the limits: the ledger says of each of its rows
 * how much of it that was, so a limit that was raised later does not lower the
 * bill.  Each line is rounded to the digits that the currency has (ISO 4217).
 * A period that is over is billed by what was agreed in it
 * (svc_subscription_period), the current one by what is agreed now.
 *
 * An invoice that is a draft still is brought up to date by the next call: what
 * was used meanwhile is on it, too.  Lines that somebody has added, which name
 * no plan, stay.
 *
 * Locks: the subscription, so that two calls do not make two invoices.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "gate.h"
#include "lifecycle.h"
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
	Datum		agreement;		/* what was agreed in it, as an object */
	Datum		id;				/* of the invoice */
} Billing;

static void check_optional_amount(FunctionCallInfo fcinfo, int n, const char *what);
static void bill(void *state);
static void find_period(Billing *billing);
static void read_agreement(Billing *billing);
static bool find_invoice(Billing *billing);
static void make_invoice(Billing *billing);
static void update_draft(Billing *billing);
static void check_draft(const Billing *billing, Datum lines);
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

static void
bill(void *state)
{
	Billing    *billing = state;

	find_period(billing);
	read_agreement(billing);
	if (find_invoice(billing))
		update_draft(billing);
	else
		make_invoice(billing);
}

/* The period that is asked for: the current one, or one of those before. */
static void
find_period(Billing *billing)
{
	static SvcStatement statement = {
		"SELECT p.period_start, p.period_end FROM (SELECT current_period_start AS period_start,"
		"   current_period_end AS period_end, $3 IS NULL AS is_asked_for FROM @extschema@.svc_subscription"
		"   WHERE customer_id = $1 AND id = $2"
		"  UNION ALL SELECT period_start, period_end, false FROM @extschema@.svc_subscription_period"
		"   WHERE customer_id = $1 AND subscription_id = $2) p"
		" WHERE p.is_asked_for AND p.period_start < p.period_end OR p.period_start <= $3 AND $3 < p.period_end"
		" ORDER BY p.period_start DESC, p.period_end DESC LIMIT 1",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	FunctionCallInfo fcinfo = billing->fcinfo;
	Datum		values[3] = {billing->key.customer_id, billing->key.id, PG_GETARG_DATUM(ARG_IN_PERIOD)};
	bool		isnull[3] = {false, false, PG_ARGISNULL(ARG_IN_PERIOD)};

	if (svc_statement_run(&statement, values, isnull) == 0)
		report_no_period(billing, isnull[2] ? svc_clock_now() : DatumGetTimestampTz(values[2]));
	billing->period_start = DatumGetTimestampTz(svc_statement_value(0, 1, &isnull[0]));
	billing->period_end = DatumGetTimestampTz(svc_statement_value(0, 2, &isnull[1]));
}

/* What was agreed in it. */
static void
read_agreement(Billing *billing)
{
	static SvcStatement statement = {
		"SELECT to_jsonb(a) - 'is_over' FROM (SELECT true AS is_over, is_trial, plan_id, quantity, price, currency, terms, addons,"
		"   (SELECT name FROM @extschema@.svc_plan WHERE id = plan_id) AS description"
		"  FROM @extschema@.svc_subscription_period WHERE customer_id = $1 AND subscription_id = $2"
		"   AND period_start = $3 AND period_end = $4"
		"  UNION ALL SELECT false, coalesce(current_period_end <= trial_end, false), plan_id, quantity, price, currency, terms, addons,"
		"   (SELECT name FROM @extschema@.svc_plan WHERE id = plan_id)"
		"  FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id = $2) a ORDER BY a.is_over DESC LIMIT 1",
		4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {billing->key.customer_id, billing->key.id,
	TimestampTzGetDatum(billing->period_start), TimestampTzGetDatum(billing->period_end)};
	bool		isnull;

	svc_statement_run(&statement, values, NULL);
	billing->agreement = svc_statement_value(0, 1, &isnull);
}

/*
 * The invoice for the period, if there is one; by the latest snapshot, because
 * who has let us in may have made it.
 */
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

	if (svc_statement_read_latest(&statement, values) == 0)
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
		" SELECT $1, $2, $9 ->> 'description', $3, (SELECT coalesce(sum((l.line ->> 'amount')::numeric), 0)"
		"   FROM jsonb_array_elements($3) l (line)), $4, $5, $9 ->> 'currency', $6, $7, $8"
		" RETURNING id::text",
		9, {TEXTOID, TEXTOID, JSONBOID, NUMERICOID, NUMERICOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID}
	};
	FunctionCallInfo fcinfo = billing->fcinfo;
	Datum		values[9];
	bool		isnull[9] = {false};

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
	values[8] = billing->agreement;
	if (!isnull[3])
		check_discount(values[2], values[3], isnull[4] ? svc_amount_zero() : values[4]);
	svc_lifecycle_write(&create, &statement, values, isnull);
	billing->id = svc_statement_value(0, 1, &isnull[0]);
}

/* Bring a draft up to date. */
static void
update_draft(Billing *billing)
{
	static const SvcDeed update = {.noun = SVC_INVOICE, .action = "update"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_invoice i SET line_items = n.line_items, period_end = $4,"
		"  subtotal = (SELECT coalesce(sum((l.line ->> 'amount')::numeric), 0) FROM jsonb_array_elements(n.line_items) l (line))"
		" FROM (SELECT $3 || coalesce(jsonb_agg(l.line ORDER BY l.n) FILTER (WHERE NOT l.line ? 'plan_id'), '[]') AS line_items"
		"  FROM @extschema@.svc_invoice d LEFT JOIN LATERAL jsonb_array_elements(d.line_items)"
		"   WITH ORDINALITY l (line, n) ON true WHERE d.customer_id = $1 AND d.id = $2) n"
		" WHERE i.customer_id = $1 AND i.id = $2 AND i.status = 'draft'"
		"  AND (i.line_items IS DISTINCT FROM n.line_items OR i.period_end IS DISTINCT FROM $4)",
		4, {TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {billing->key.customer_id, billing->id, list_lines(billing),
	TimestampTzGetDatum(billing->period_end)};

	check_draft(billing, values[2]);
	svc_lifecycle_write(&update, &statement, values, NULL);
}

/* Can it be: what somebody has put on it, and its discount? */
static void
check_draft(const Billing *billing, Datum lines)
{
	static SvcStatement present = {
		"SELECT jsonb_typeof(line_items) = 'array' AND NOT EXISTS (SELECT FROM jsonb_array_elements("
		"   CASE jsonb_typeof(line_items) WHEN 'array' THEN line_items ELSE '[]' END) l (line)"
		"   WHERE jsonb_typeof(line) <> 'object' OR jsonb_typeof(line -> 'amount') NOT IN ('number', 'null')),"
		"  line_items::text, jsonb_path_query_array(line_items, '$[*] ? (!exists (@.plan_id))')"
		" FROM @extschema@.svc_invoice WHERE customer_id = $1 AND id = $2 AND line_items IS NOT NULL",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement reduction = {
		"SELECT discount::numeric, coalesce(tax, 0)::numeric, $3 || $4 FROM @extschema@.svc_invoice"
		" WHERE customer_id = $1 AND id = $2 AND status = 'draft' AND discount > 0",
		4, {TEXTOID, TEXTOID, JSONBOID, JSONBOID}
	};
	Datum		values[4] = {billing->key.customer_id, billing->id, lines};
	bool		isnull;

	if (svc_statement_run(&present, values, NULL) == 0)
		values[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum("[]"));
	else
		values[3] = svc_statement_value(0, 3, &isnull);
	if (SPI_processed > 0 && !DatumGetBool(svc_statement_value(0, 1, &isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("line_items of invoice \"%s\" must be an array of objects with a number as amount",
						TextDatumGetCString(billing->id)),
				 errdetail("They are %s.", svc_statement_text(0, 2)),
				 errhint("Correct them with svc_update_invoice(), or void the draft.")));
	if (svc_statement_run(&reduction, values, NULL) > 0)
		check_discount(svc_statement_value(0, 3, &isnull), svc_statement_value(0, 1, &isnull),
					   svc_statement_value(0, 2, &isnull));
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
		"WITH s AS (SELECT a.*, CASE WHEN upper(a.currency) IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF',"
		"   'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0"
		"   WHEN upper(a.currency) IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3 ELSE 2 END AS digits"
		"  FROM jsonb_to_record($5) AS a (is_trial boolean, plan_id text, quantity numeric, price numeric,"
		"   currency text, terms jsonb, addons jsonb)),"
		" lines AS ("
		"  SELECT 1 AS part, s.plan_id AS plan_id, NULL AS code, s.quantity AS quantity, s.price AS unit_price"
		"   FROM s WHERE NOT s.is_trial"
		"  UNION ALL SELECT 2, a.key, NULL, (a.value ->> 'quantity')::numeric, (a.value ->> 'price')::numeric"
		"   FROM s, jsonb_each(s.addons) a WHERE NOT s.is_trial"
		"  UNION ALL SELECT 3, CASE WHEN e.source = 'addon' THEN e.source_id ELSE s.plan_id END, e.code, sum(l.overage), (CASE WHEN e.source = 'addon'"
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
		5, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID}
	};
	Datum		values[5] = {billing->key.customer_id, billing->key.id,
		TimestampTzGetDatum(billing->period_start), TimestampTzGetDatum(billing->period_end),
	billing->agreement};
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
			 errhint("Pass an instant of the current period, or of one that the subscription has had.")));
}
