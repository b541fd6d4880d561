/*-------------------------------------------------------------------------
 *
 * subscription.c
 *	  Subscriptions: their actions, and what these imply.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "action.h"
#include "argument.h"
#include "catalog.h"
#include "error.h"
#include "lifecycle.h"
#include "period.h"
#include "plan_grant.h"
#include "statement.h"
#include "subscription.h"

static SvcColumn status_column = {"status"};
static SvcColumn on_trial_column = {"on_trial", BOOLOID};
static SvcColumn started_at_column = {"started_at", TIMESTAMPTZOID};
static SvcColumn ended_at_column = {"ended_at", TIMESTAMPTZOID};
static SvcColumn cancelled_at_column = {"cancelled_at", TIMESTAMPTZOID};
static SvcColumn trial_start_column = {"trial_start", TIMESTAMPTZOID};
static SvcColumn trial_end_column = {"trial_end", TIMESTAMPTZOID};
static SvcColumn billing_anchor_column = {"billing_anchor", TIMESTAMPTZOID};
static SvcColumn current_period_start_column = {"current_period_start", TIMESTAMPTZOID};
static SvcColumn id_column = {"id"};
static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn plan_id_column = {"plan_id"};
static SvcColumn quantity_column = {"quantity", INT4OID};
static SvcColumn billing_cycle_column = {"billing_cycle"};
static SvcColumn entitlements_column = {"entitlements", TEXTARRAYOID};
static SvcColumn usage_limits_column = {"usage_limits", JSONBOID};

static void check(SvcRowChange *change);
static void check_quantity(SvcRowChange *change);
static void check_plan(SvcRowChange *change);
static bool grants_change(SvcRowChange *change);
static bool plan_exists(SvcRowChange *change, Datum plan_id);
static void list_entitlements(SvcRowChange *change);
static void imply(SvcRowChange *change, const char *action);
static void conclude(SvcRowChange *change, const char *action);
static SvcPlanTerms terms_of(SvcRowChange *change);
static void become_plan(const SvcPlanTerms *terms);
static void suspend_all(const SvcPlanTerms *terms);
static void resume_all(const SvcPlanTerms *terms);
static void revoke_all(const SvcPlanTerms *terms, const char *action);
static void end_trial(SvcRowChange *change);
static void prepare_resume(SvcActionCall *call);
static void prepare_cancel(SvcActionCall *call);
static void prepare_renew(SvcActionCall *call);
static void prepare_change(SvcActionCall *call);

static const SvcAction actions[] = {
	{"svc_resume_subscription", SVC_SUBSCRIPTION, "resume", NULL, prepare_resume},
	{"svc_upgrade_subscription", SVC_SUBSCRIPTION, "upgrade", NULL, prepare_change},
	{"svc_downgrade_subscription", SVC_SUBSCRIPTION, "downgrade", NULL, prepare_change},
	{"svc_cancel_subscription", SVC_SUBSCRIPTION, "cancel", NULL, prepare_cancel},
	{"svc_renew_subscription", SVC_SUBSCRIPTION, "renew", NULL, prepare_renew},
};

void
svc_subscription_init(void)
{
	static const SvcLifecycleRules rules = {.check = check, .imply = imply, .conclude = conclude};

	svc_lifecycle_set_rules(SVC_SUBSCRIPTION, &rules);
	svc_action_register(actions, lengthof(actions));
}

/*
 * on_trial is derived, whatever is written to it; the anchor is the start of
 * the first period; and nobody subscribes to a plan that is closed.
 */
static void
check(SvcRowChange *change)
{
	bool		isnull;
	Datum		start = svc_row_new(change, &current_period_start_column, &isnull);

	if (!isnull)
	{
		(void) svc_row_new(change, &billing_anchor_column, &isnull);
		if (isnull)
			svc_row_set(change, &billing_anchor_column, start, false);
	}
	check_quantity(change);
	if (change->is_insert || svc_row_column_differs(change, &plan_id_column))
		check_plan(change);
	if (grants_change(change))
		list_entitlements(change);
	svc_row_set(change, &on_trial_column,
				BoolGetDatum(svc_row_new_is(change, &status_column, "trialing")), false);
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

static void
check_plan(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT status::text FROM @extschema@.svc_plan WHERE id = $1 FOR SHARE",
		1, {TEXTOID}
	};
	bool		isnull;
	Datum		plan_id = svc_row_new(change, &plan_id_column, &isnull);
	char	   *status = NULL;
	SvcCall		call;

	/* what is null or unknown is for the column and its foreign key to refuse */
	if (isnull)
		return;
	svc_call_begin(&call, change->fcinfo);
	if (svc_statement_run(&statement, &plan_id, NULL) > 0)
		status = svc_statement_text(0, 1);
	if (status != NULL && strcmp(status, "active") != 0 && strcmp(status, "hidden") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
				 errmsg("plan \"%s\" is closed to new subscribers", TextDatumGetCString(plan_id)),
				 errdetail("It has status \"%s\".", status),
				 errhint("Choose a plan whose status is \"active\" or \"hidden\".")));
	svc_call_end(&call);
}

/* Does what the subscriber is granted depend on this change? */
static bool
grants_change(SvcRowChange *change)
{
	return change->is_insert || svc_row_column_differs(change, &plan_id_column) ||
		svc_row_column_differs(change, &quantity_column) ||
		svc_row_column_differs(change, &billing_cycle_column);
}

/* The codes that the plan grants, and their limits, stand in the row, too. */
static void
list_entitlements(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT array_agg(code ORDER BY code), jsonb_object_agg(code,"
		"   limit_amount * CASE WHEN per_unit THEN $2 ELSE 1 END) FILTER (WHERE limit_amount IS NOT NULL)"
		" FROM @extschema@.svc_plan_grants($1)",
		2, {TEXTOID, INT4OID}
	};
	bool		isnull[2] = {false};
	Datum		values[2];
	Datum		list;
	SvcCall		call;

	values[0] = svc_row_new(change, &plan_id_column, &isnull[0]);
	values[1] = svc_row_new(change, &quantity_column, &isnull[1]);
	/* what is null or unknown is for the column and its foreign key to refuse */
	if (isnull[0] || isnull[1] || !plan_exists(change, values[0]))
		return;
	svc_call_begin(&call, change->fcinfo);
	svc_statement_run(&statement, values, NULL);
	list = svc_statement_value(0, 1, &isnull[0]);
	svc_row_set(change, &entitlements_column,
				isnull[0] ? (Datum) 0 : svc_call_keep(&call, list), isnull[0]);
	list = svc_statement_value(0, 2, &isnull[1]);
	svc_row_set(change, &usage_limits_column,
				isnull[1] ? (Datum) 0 : svc_call_keep(&call, list), isnull[1]);
	svc_call_end(&call);
}

static bool
plan_exists(SvcRowChange *change, Datum plan_id)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_plan WHERE id = $1", 1, {TEXTOID}
	};
	bool		found;
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	found = svc_statement_run(&statement, &plan_id, NULL) > 0;
	svc_call_end(&call);
	return found;
}

/*
 * The subscriber's grants follow the subscription, whoever has changed it.
 *
 * Locks: the subscription, which the statement has; then its grants, in the
 * order of their codes and ids.
 */
static void
conclude(SvcRowChange *change, const char *action)
{
	SvcPlanTerms terms;
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	terms = terms_of(change);
	if (!change->is_insert)
		svc_plan_lock_grants(&terms);
	if (change->is_insert)
		svc_plan_grant_all(&terms);
	else if (strcmp(action, "pause") == 0)
		suspend_all(&terms);
	else if (strcmp(action, "resume") == 0)
		resume_all(&terms);
	else if (strcmp(action, "cancel") == 0 || strcmp(action, "expire") == 0)
		revoke_all(&terms, action);
	else
	{
		if (strcmp(action, "activate") == 0)
			become_plan(&terms);
		if (grants_change(change))
			svc_plan_change_all(&terms);
	}
	svc_call_end(&call);
}

/* What the new row says. */
static SvcPlanTerms
terms_of(SvcRowChange *change)
{
	SvcPlanTerms terms;
	bool		isnull;

	terms.customer_id = svc_row_new(change, &customer_id_column, &isnull);
	terms.subscription_id = svc_row_new(change, &id_column, &isnull);
	terms.plan_id = svc_row_new(change, &plan_id_column, &isnull);
	terms.source = svc_row_new_is(change, &status_column, "trialing") ? "trial" : "plan";
	terms.quantity = DatumGetInt32(svc_row_new(change, &quantity_column, &isnull));
	terms.billing_cycle = svc_row_new(change, &billing_cycle_column, &isnull);
	terms.anchor = svc_row_new(change, &billing_anchor_column, &isnull);
	if (isnull)
		terms.anchor = svc_row_new(change, &started_at_column, &isnull);
	return terms;
}

/* What was granted for the trial stays, with what was used of it. */
static void
become_plan(const SvcPlanTerms *terms)
{
	static const SvcDeed update = {.noun = SVC_ENTITLEMENT, .action = "update"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET source = 'plan'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND source = 'trial' AND status <> 'revoked'",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {terms->customer_id, terms->subscription_id};

	svc_lifecycle_write(&update, &statement, values, NULL);
}

static void
suspend_all(const SvcPlanTerms *terms)
{
	static const SvcDeed suspend = {.noun = SVC_ENTITLEMENT, .action = "suspend",
	.note = {"reason", NULL, "the subscription is paused"}};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'suspended'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND status IN ('active', 'exhausted')",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {terms->customer_id, terms->subscription_id};

	svc_lifecycle_write(&suspend, &statement, values, NULL);
}

/* Plain SQL, because only the row's own rule knows which of them are exhausted. */
static void
resume_all(const SvcPlanTerms *terms)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'active'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND status = 'suspended'",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {terms->customer_id, terms->subscription_id};

	svc_statement_run(&statement, values, NULL);
}

static void
revoke_all(const SvcPlanTerms *terms, const char *action)
{
	SvcDeed		revoke = {.noun = SVC_ENTITLEMENT, .action = "revoke",
	.note = {"reason", NULL, strcmp(action, "cancel") == 0 ? "the subscription was cancelled" :
	"the subscription has expired"}};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'revoked'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND status <> 'revoked'",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {terms->customer_id, terms->subscription_id};

	svc_lifecycle_write(&revoke, &statement, values, NULL);
}

/* The instants follow the status. */
static void
imply(SvcRowChange *change, const char *action)
{
	if (strcmp(action, "activate") == 0)
		end_trial(change);
	else if (strcmp(action, "create") == 0)
	{
		svc_row_default_now(change, &started_at_column);
		if (svc_row_new_is(change, &status_column, "trialing"))
			svc_row_default_now(change, &trial_start_column);
	}
	else if (strcmp(action, "cancel") == 0)
	{
		svc_row_imply_now(change, &cancelled_at_column);
		svc_row_imply_now(change, &ended_at_column);
	}
	else if (strcmp(action, "expire") == 0)
		svc_row_imply_now(change, &ended_at_column);
}

/* Who is activated early has no trial to go back to. */
static void
end_trial(SvcRowChange *change)
{
	bool		no_start;
	bool		no_end;
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	Datum		start = svc_row_new(change, &trial_start_column, &no_start);
	Datum		end = svc_row_new(change, &trial_end_column, &no_end);

	if (no_end || DatumGetTimestampTz(end) <= now)
		return;
	svc_row_set(change, &trial_end_column, TimestampTzGetDatum(now),
				!no_start && DatumGetTimestampTz(start) >= now);
}

/* A trial that is not over goes on. */
static void
prepare_resume(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT trial_end > now() FROM @extschema@.svc_subscription"
		" WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {call->customer_id, call->id};
	bool		isnull;
	Datum		on_trial;

	svc_statement_run(&statement, values, NULL);
	on_trial = svc_statement_value(0, 1, &isnull);
	call->to = !isnull && DatumGetBool(on_trial) ? "trialing" : "active";
}

/*
 * svc_upgrade_subscription(customer_id, subscription_id, plan_id, price, ...)
 *
 * The price is the new plan's unless it is given.
 */
static void
prepare_change(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT price::numeric FROM @extschema@.svc_plan WHERE id = $1",
		1, {TEXTOID}
	};
	FunctionCallInfo fcinfo = call->fcinfo;
	int			n = call->first_argument;
	Datum		plan_id = svc_argument_id(fcinfo, n, "plan id");
	bool		isnull;

	if (svc_statement_run(&statement, &plan_id, NULL) == 0)
		svc_gate_report_unknown(SVC_PLAN, (Datum) 0, plan_id);
	svc_action_set(call, "plan_id", TEXTOID, plan_id);
	svc_action_set(call, "price", NUMERICOID, PG_ARGISNULL(n + 1) ?
				   svc_statement_value(0, 1, &isnull) : PG_GETARG_DATUM(n + 1));
}

/* The reason stays with the row, too. */
static void
prepare_cancel(SvcActionCall *call)
{
	if (call->note.new_value != NULL)
		svc_action_set(call, "cancellation_reason", TEXTOID, CStringGetTextDatum(call->note.new_value));
}

/*
 * svc_renew_subscription(customer_id, subscription_id, ...)
 *
 * The next period begins where the current one ends, and ends at the next of
 * the instants billing_anchor + n billing cycles (period.c), in the customer's
 * time zone.
 */
static void
prepare_renew(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT s.current_period_end::timestamptz, s.billing_anchor::timestamptz,"
		"  s.billing_cycle::text, coalesce(k.timezone, 'UTC')::text"
		" FROM @extschema@.svc_subscription s"
		" JOIN @extschema@.svc_customer k ON k.id = s.customer_id"
		" WHERE s.customer_id = $1 AND s.id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {call->customer_id, call->id};
	SvcCycle	cycle;
	TimestampTz start;
	TimestampTz end;
	bool		no_period;
	bool		no_anchor;

	svc_statement_run(&statement, values, NULL);
	start = DatumGetTimestampTz(svc_statement_value(0, 1, &no_period));
	cycle.anchor = DatumGetTimestampTz(svc_statement_value(0, 2, &no_anchor));
	cycle.zone = pg_tzset(svc_statement_text(0, 4));
	if (no_period)
		svc_action_refuse(call, "it has no current period",
						  "Set current_period_start and current_period_end first.");
	if (TIMESTAMP_NOT_FINITE(start))
		svc_action_refuse(call, "its current period has no end", "Set current_period_end first.");
	if (no_anchor || TIMESTAMP_NOT_FINITE(cycle.anchor))
		svc_action_refuse(call, "it has no billing anchor", "Set billing_anchor first.");
	if (cycle.zone == NULL || !svc_period_find(svc_statement_text(0, 3), &cycle.period))
		svc_action_refuse(call, "its periods are not known",
						  "Set billing_cycle, and the customer's timezone, to what is known.");
	end = svc_cycle_boundary(&cycle, svc_cycle_index(&cycle, start) + 1);

	call->to = "active";
	svc_action_set(call, "current_period_start", TIMESTAMPTZOID, TimestampTzGetDatum(start));
	svc_action_set(call, "current_period_end", TIMESTAMPTZOID, TimestampTzGetDatum(end));
	svc_action_set(call, "next_billing_date", TIMESTAMPTZOID, TimestampTzGetDatum(end));
}
