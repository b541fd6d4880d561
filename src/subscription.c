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
#include "lifecycle.h"
#include "statement.h"
#include "subscription.h"

static SvcColumn status_column = {"status"};
static SvcColumn on_trial_column = {"on_trial", BOOLOID};
static SvcColumn started_at_column = {"started_at", TIMESTAMPTZOID};
static SvcColumn ended_at_column = {"ended_at", TIMESTAMPTZOID};
static SvcColumn cancelled_at_column = {"cancelled_at", TIMESTAMPTZOID};
static SvcColumn trial_start_column = {"trial_start", TIMESTAMPTZOID};

static void check(SvcRowChange *change);
static void imply(SvcRowChange *change, const char *action);
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
	static const SvcLifecycleRules rules = {.check = check, .imply = imply};

	svc_lifecycle_set_rules(SVC_SUBSCRIPTION, &rules);
	svc_action_register(actions, lengthof(actions));
}

/* on_trial is derived, whatever is written to it. */
static void
check(SvcRowChange *change)
{
	svc_row_set(change, &on_trial_column,
				BoolGetDatum(svc_row_new_is(change, &status_column, "trialing")), false);
}

/* The instants follow the status. */
static void
imply(SvcRowChange *change, const char *action)
{
	if (strcmp(action, "create") == 0)
	{
		svc_row_default_now(change, &started_at_column);
		if (svc_row_new_is(change, &status_column, "trialing"))
			svc_row_default_now(change, &trial_start_column);
	}
	else if (strcmp(action, "cancel") == 0)
	{
		svc_row_default_now(change, &cancelled_at_column);
		svc_row_default_now(change, &ended_at_column);
	}
	else if (strcmp(action, "expire") == 0)
		svc_row_default_now(change, &ended_at_column);
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
		"SELECT status IN ('active', 'hidden'), price FROM @extschema@.svc_plan WHERE id = $1",
		1, {TEXTOID}
	};
	FunctionCallInfo fcinfo = call->fcinfo;
	int			n = call->first_argument;
	Datum		plan_id = svc_argument_id(fcinfo, n, "plan id");
	bool		isnull;

	if (svc_statement_run(&statement, &plan_id, NULL) == 0)
		svc_gate_report_unknown(SVC_PLAN, (Datum) 0, plan_id);
	if (!DatumGetBool(svc_statement_value(0, 1, &isnull)))
		svc_action_refuse(call, "the plan is closed to new subscribers",
						  "Choose a plan whose status is \"active\" or \"hidden\".");
	svc_action_set(call, "plan_id", TEXTOID, plan_id);
	svc_action_set(call, "price", NUMERICOID, PG_ARGISNULL(n + 1) ?
				   svc_statement_value(0, 2, &isnull) : PG_GETARG_DATUM(n + 1));
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
 * The next period begins where the current one ends, and is one billing cycle
 * long.
 */
static void
prepare_renew(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT current_period_end, current_period_end + CASE billing_cycle"
		"  WHEN 'monthly' THEN interval '1 month' WHEN 'quarterly' THEN interval '3 months'"
		"  ELSE interval '1 year' END"
		" FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {call->customer_id, call->id};
	bool		isnull;
	Datum		start;
	Datum		end;

	svc_statement_run(&statement, values, NULL);
	start = svc_statement_value(0, 1, &isnull);
	if (isnull)
		svc_action_refuse(call, "it has no current period",
						  "Set current_period_start and current_period_end first.");
	end = svc_statement_value(0, 2, &isnull);
	call->to = "active";
	svc_action_set(call, "current_period_start", TIMESTAMPTZOID, start);
	svc_action_set(call, "current_period_end", TIMESTAMPTZOID, end);
	svc_action_set(call, "next_billing_date", TIMESTAMPTZOID, end);
}
