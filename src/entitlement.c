/*-------------------------------------------------------------------------
 *
 * entitlement.c
 *	  Entitlements: granting and checking, and the rule that every row of
 *	  svc_entitlement obeys.
 *
 * Consuming is in consume.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "action.h"
#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "entitlement.h"
#include "error.h"
#include "grant.h"
#include "ledger.h"
#include "lifecycle.h"

static SvcColumn status_column = {"status"};
static SvcColumn unlimited_column = {"unlimited", BOOLOID};
static SvcColumn limit_column = {"limit_amount", NUMERICOID};
static SvcColumn used_column = {"used_amount", NUMERICOID};
static SvcColumn remaining_column = {"remaining_amount", NUMERICOID};
static SvcColumn percent_column = {"usage_percent", NUMERICOID};
static SvcColumn ledger_seq_column = {"ledger_seq", INT8OID};
static SvcColumn valid_until_column = {"valid_until", TIMESTAMPTZOID};

static void check(SvcRowChange *change);
static void check_unused(SvcRowChange *change);
static void derive_columns(SvcRowChange *change);
static void adjust_status(SvcRowChange *change);
static void check_status_fits(SvcRowChange *change);
static bool has_something_left(SvcRowChange *change);
static bool is_over(SvcRowChange *change);
static void prepare_expire(SvcActionCall *call);
static void prepare_resume(SvcActionCall *call);
static void prepare_reset(SvcActionCall *call);

static const SvcAction actions[] = {
	{"svc_resume_entitlement", SVC_ENTITLEMENT, "resume", NULL, prepare_resume},
	{"svc_expire_entitlement", SVC_ENTITLEMENT, "expire", NULL, prepare_expire},
	{"svc_reset_entitlement", SVC_ENTITLEMENT, "reset", NULL, prepare_reset},
};

PG_FUNCTION_INFO_V1(svc_grant_entitlement);
PG_FUNCTION_INFO_V1(svc_check_entitlement);

void
svc_entitlement_init(void)
{
	static const SvcLifecycleRules rules = {.check = check};

	svc_lifecycle_set_rules(SVC_ENTITLEMENT, &rules);
	svc_action_register(actions, lengthof(actions));
}

/*
 * svc_grant_entitlement(customer_id, code, limit_amount, ...) -> id
 *
 * Grants a customer a right: a row of its own, which stacks with others of
 * the same code.  Arguments and their meaning: COMMENT ON FUNCTION in
 * sql/40_entitlement.sql.
 *
 * Locks: FOR KEY SHARE on the customer, as the foreign key does.
 */
Datum
svc_grant_entitlement(PG_FUNCTION_ARGS)
{
	static const SvcDeed grant = {.noun = SVC_ENTITLEMENT, .action = "grant"};
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_entitlement"
		" (customer_id, code, limit_amount, unlimited, value, type, name, description,"
		"  priority, source, source_id, valid_from, valid_until, id, plan_id, subscription_id)"
		" VALUES ($1, $2, $3, $4, $5,"
		"  coalesce($6, CASE WHEN $3 IS NOT NULL OR $4 THEN 'quota' ELSE 'feature' END),"
		"  coalesce($7, $2), $8, $9, $10, $11, $12, $13,"
		"  coalesce($14, @extschema@.svc_new_id('ent')), $15, $16)"
		" RETURNING id::text",
		16, {TEXTOID, TEXTOID, NUMERICOID, BOOLOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID,
		INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[16];
	bool		isnull[16];
	Datum		id;
	SvcCall		call;

	for (int i = 0; i < lengthof(values); i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		isnull[i] = PG_ARGISNULL(i);
	}
	values[0] = svc_argument_id(fcinfo, 0, "customer id");
	values[1] = svc_argument_id(fcinfo, 1, "entitlement code");
	if (!isnull[2])
		values[2] = svc_argument_amount(fcinfo, 2, "limit_amount");
	values[3] = BoolGetDatum(svc_argument_bool(fcinfo, 3, "unlimited"));
	if (!isnull[2] && svc_amount_sign(values[2]) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("limit_amount must not be negative"),
				 errdetail("It is %s.", svc_amount_text(values[2])),
				 errhint("A limit of 0 grants nothing; NULL grants a right that is not counted.")));
	if (!isnull[12] && PG_GETARG_TIMESTAMPTZ(12) <= GetCurrentTransactionStartTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("valid_until must be in the future"),
				 errdetail("It is %s.", timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(12))),
				 errhint("Pass NULL for a grant that does not end by itself.")));
	values[13] = svc_argument_optional_id(fcinfo, 13, "entitlement id", &isnull[13]);

	svc_call_begin(&call, fcinfo);
	svc_gate_customer(values[0], "an entitlement");
	svc_lifecycle_write(&grant, &statement, values, isnull);
	id = svc_statement_value(0, 1, &isnull[0]);
	id = svc_call_keep(&call, id);
	svc_call_end(&call);
	return id;
}

/*
 * svc_check_entitlement(customer_id, code, amount, at) -> svc_decision
 *
 * What svc_consume_entitlement would decide.  Writes nothing, takes no lock,
 * sees what the calling query sees, and works on a standby.
 */
Datum
svc_check_entitlement(PG_FUNCTION_ARGS)
{
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	Datum		code = svc_argument_id(fcinfo, 1, "entitlement code");
	Datum		amount = svc_argument_positive_amount(fcinfo, 2, "amount", "Leave it out for 1.");
	TimestampTz at = svc_argument_at(fcinfo, 3);
	TupleDesc	desc;
	SvcGrantSet set = {0};
	SvcDecision decision;
	SvcReason	gate;
	Datum		result;
	SvcCall		call;

	svc_catalog_use(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "svc_check_entitlement must return a row");

	svc_call_begin(&call, fcinfo);
	gate = svc_grant_gate(customer_id, true);
	if (gate == SVC_OK)
		svc_grant_read(&set, customer_id, code, at);
	svc_grant_decide(&decision, &set, amount);
	if (gate != SVC_OK)
		decision.reason = gate;
	result = svc_call_keep(&call, svc_decision_datum(&decision, desc));
	svc_call_end(&call);
	return result;
}

/*
 * Derived columns are computed, whatever was written to them; the status
 * follows the counters: a row whose limit is raised is active again, one
 * whose limit is lowered to what is used is exhausted.
 */
static void
check(SvcRowChange *change)
{
	if (change->is_insert)
		check_unused(change);
	else if (svc_lifecycle_is_update(change))
	{
		adjust_status(change);
		check_status_fits(change);
	}
	derive_columns(change);
}

/* A new row has used nothing: what it uses goes through the ledger. */
static void
check_unused(SvcRowChange *change)
{
	static SvcColumn *const counters[] = {&used_column, &ledger_seq_column};
	bool		isnull;
	Datum		used = svc_row_new(change, &used_column, &isnull);
	bool		is_used = !isnull && svc_amount_sign(used) != 0;
	Datum		seq = svc_row_new(change, &ledger_seq_column, &isnull);
	bool		is_numbered = !isnull && DatumGetInt64(seq) != 0;

	if (is_used || is_numbered)
		svc_lifecycle_refuse_column(change, counters[is_used ? 0 : 1]->name,
									"Insert the row without it and use svc_consume_entitlement().");
}

/* remaining_amount = greatest(available, 0); usage_percent = 100 at limit 0. */
static void
derive_columns(SvcRowChange *change)
{
	bool		isnull;
	bool		no_limit;
	bool		unlimited = DatumGetBool(svc_row_new(change, &unlimited_column, &isnull)) && !isnull;
	Datum		limit = svc_row_new(change, &limit_column, &no_limit);
	Datum		used = svc_row_new(change, &used_column, &isnull);
	Datum		remaining;
	Datum		percent;

	if (unlimited || no_limit || isnull)
	{
		svc_row_set(change, &remaining_column, (Datum) 0, true);
		svc_row_set(change, &percent_column, (Datum) 0, true);
		return;
	}
	remaining = svc_amount_greatest(svc_amount_subtract(limit, used), svc_amount_from(0));
	percent = svc_amount_from(100);
	if (svc_amount_sign(limit) > 0)
		percent = DirectFunctionCall2(numeric_div,
									  DirectFunctionCall2(numeric_mul, used, percent), limit);
	svc_row_set(change, &remaining_column, remaining, false);
	svc_row_set(change, &percent_column,
				DirectFunctionCall2(numeric_round, percent, Int32GetDatum(2)), false);
}

/*
 * Let the status follow what was changed.  Who resumes a grant of which
 * nothing is left gets an exhausted one.
 */
static void
adjust_status(SvcRowChange *change)
{
	char	   *status = svc_row_new_text(change, &status_column);
	bool		left = has_something_left(change);
	bool		limit_changed = svc_row_column_differs(change, &limit_column) ||
		svc_row_column_differs(change, &unlimited_column);

	if (svc_row_column_differs(change, &status_column))
	{
		if (strcmp(status, "active") == 0 && !left &&
			strcmp(svc_row_old_text(change, &status_column), "suspended") == 0)
			svc_row_set_text(change, &status_column, "exhausted");
	}
	else if (strcmp(status, "active") == 0 && limit_changed && !left)
		svc_row_set_text(change, &status_column, "exhausted");
	else if (strcmp(status, "exhausted") == 0 && left)
		svc_row_set_text(change, &status_column, "active");
	else if (strcmp(status, "expired") == 0 && !is_over(change) &&
			 svc_row_column_differs(change, &valid_until_column))
		svc_row_set_text(change, &status_column, "active");
}

/*
 * When plain SQL does set the status, hold it to the guards of the table of
 * transitions, so that status, counters and validity do not contradict each
 * other.
 */
static void
check_status_fits(SvcRowChange *change)
{
	bool		left = has_something_left(change);

	if (!svc_row_column_differs(change, &status_column))
		return;
	if (svc_row_new_is(change, &status_column, "exhausted") && left)
		svc_lifecycle_refuse_change(change, "something is left",
									"Change limit_amount, or set status \"suspended\" or \"revoked\".");
	if (svc_row_new_is(change, &status_column, "active"))
	{
		char	   *from = svc_row_old_text(change, &status_column);

		if (strcmp(from, "exhausted") == 0 && !left)
			svc_lifecycle_refuse_change(change, "nothing is left", "Raise limit_amount.");
		if (strcmp(from, "expired") == 0 && is_over(change))
			svc_lifecycle_refuse_change(change, "its validity is over", "Move valid_until ahead.");
	}
	if (svc_row_new_is(change, &status_column, "expired") && !is_over(change))
		svc_lifecycle_refuse_change(change, "its validity is not over",
									"Set valid_until, or set status \"suspended\" or \"revoked\".");
}

/* Can anything more be consumed from the new row, by its limit? */
static bool
has_something_left(SvcRowChange *change)
{
	bool		isnull;
	bool		no_limit;
	Datum		unlimited = svc_row_new(change, &unlimited_column, &isnull);
	Datum		limit;
	Datum		used;

	if (!isnull && DatumGetBool(unlimited))
		return true;
	limit = svc_row_new(change, &limit_column, &no_limit);
	used = svc_row_new(change, &used_column, &isnull);
	return no_limit || isnull || svc_amount_compare(used, limit) < 0;
}

/* Has valid_until of the new row passed? */
static bool
is_over(SvcRowChange *change)
{
	bool		isnull;
	Datum		valid_until = svc_row_new(change, &valid_until_column, &isnull);

	return !isnull && DatumGetTimestampTz(valid_until) <= GetCurrentTransactionStartTimestamp();
}

/* A grant that is resumed is exhausted if nothing is left of it. */
static void
prepare_resume(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT (NOT unlimited AND limit_amount <= used_amount)::boolean FROM @extschema@.svc_entitlement"
		" WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {call->customer_id, call->id};
	bool		isnull;
	Datum		spent;

	svc_statement_run(&statement, values, NULL);
	spent = svc_statement_value(0, 1, &isnull);
	call->to = !isnull && DatumGetBool(spent) ? "exhausted" : "active";
}

/*
 * svc_reset_entitlement(customer_id, entitlement_id, reason, revision)
 *
 * What was used is forgotten, by a row of the ledger that takes it back.
 */
static void
prepare_reset(SvcActionCall *call)
{
	SvcGrant	grant;

	svc_grant_load(&grant, call->customer_id, call->id);
	if (!grant.metered)
		svc_action_refuse(call, "it is not metered", "There is nothing to reset.");
	if (!grant.unlimited && svc_amount_sign(grant.limit_amount) == 0)
		svc_action_refuse(call, "its limit is 0", "Raise limit_amount; a reset would leave nothing, either.");
	svc_ledger_append_reset(call->customer_id, &grant);
	svc_action_set(call, "used_amount", NUMERICOID, svc_amount_from(0));
	svc_action_set(call, "ledger_seq", INT8OID, Int64GetDatum(grant.ledger_seq + 1));
	svc_action_set(call, "last_reset_at", TIMESTAMPTZOID,
				   TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
}

/* A grant expires when its validity is over. */
static void
prepare_expire(SvcActionCall *call)
{
	SvcGrant	grant;

	svc_grant_load(&grant, call->customer_id, call->id);
	if (grant.state != SVC_EXPIRED)
		svc_action_refuse(call, "its validity is not over",
						  "Set valid_until, or suspend or revoke the grant.");
}
