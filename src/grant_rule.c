/*-------------------------------------------------------------------------
 *
 * grant_rule.c
 *	  The rule that every row of svc_entitlement obeys, whoever writes it.
 *
 * In the BEFORE trigger, in this order:
 *
 *	1. Whatever is changed of a grant whose reset is due, it is reset first, so
 *	   that a new limit does not count for a period that was over before.  Our
 *	   own functions have done so already, at the instant they work for.
 *	2. The status follows the counters: a row whose limit is raised is active
 *	   again, one whose limit is lowered to what is used is exhausted.
 *	3. What defines the grant is checked and completed.
 *	4. The next reset is scheduled, if something that it depends on has
 *	   changed.  Where a grant cannot be used any more there is none.
 *	5. Derived columns are computed, whatever was written to them.
 *	6. Thresholds that usage has reached are noted.
 *	7. Numbers of the ledger are drawn for what it is to tell of this change.
 *
 * In the AFTER trigger the ledger is told: of resets, of a change of the limit,
 * of a revocation.  A consume tells it itself (booking.c).  And the customer's row
 * is told of its first pool (pool.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "grant.h"
#include "grant_rule.h"
#include "ledger.h"
#include "lifecycle.h"
#include "pool.h"

#define PERCENT_MAX			1000
#define PERCENTS_MAX		20	/* thresholds of one grant */

static SvcColumn id_column = {"id"};
static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn code_column = {"code"};
static SvcColumn subscription_id_column = {"subscription_id"};
static SvcColumn usage_noted_column = {"usage_noted", BOOLOID};
static SvcColumn status_column = {"status"};
static SvcColumn priority_column = {"priority", INT4OID};
static SvcColumn unlimited_column = {"unlimited", BOOLOID};
static SvcColumn limit_column = {"limit_amount", NUMERICOID};
static SvcColumn used_column = {"used_amount", NUMERICOID};
static SvcColumn held_column = {"held_amount", NUMERICOID};
static SvcColumn rollover_column = {"rollover_amount", NUMERICOID};
static SvcColumn rollover_max_column = {"rollover_max", NUMERICOID};
static SvcColumn overage_column = {"overage"};
static SvcColumn overage_limit_column = {"overage_limit", NUMERICOID};
static SvcColumn remaining_column = {"remaining_amount", NUMERICOID};
static SvcColumn percent_column = {"usage_percent", NUMERICOID};
static SvcColumn alert_percents_column = {"alert_percents", INT4ARRAYOID};
static SvcColumn alerted_column = {"alerted_percent", INT4OID};
static SvcColumn ledger_seq_column = {"ledger_seq", INT8OID};
static SvcColumn valid_from_column = {"valid_from", TIMESTAMPTZOID};
static SvcColumn valid_until_column = {"valid_until", TIMESTAMPTZOID};
static SvcColumn created_at_column = {"created_at", TIMESTAMPTZOID};
static SvcColumn period_column = {"reset_period"};
static SvcColumn anchor_column = {"reset_anchor", TIMESTAMPTZOID};
static SvcColumn timezone_column = {"reset_timezone"};
static SvcColumn reset_at_column = {"reset_at", TIMESTAMPTZOID};
static SvcColumn last_reset_at_column = {"last_reset_at", TIMESTAMPTZOID};
static SvcColumn costs_column = {"costs", JSONBOID};

static void check(SvcRowChange *change);
static int	also(SvcRowChange *change, const char *action, SvcSideEvent *events);
static void conclude(SvcRowChange *change, const char *action);

static bool is_action(SvcRowChange *change, const char *action);
static void check_unused(SvcRowChange *change);
static void renew_if_due(SvcRowChange *change);
static void adjust_status(SvcRowChange *change);
static void check_status_fits(SvcRowChange *change);
static void check_definition(SvcRowChange *change);
static void check_metered(SvcRowChange *change);
static void check_amount_column(SvcRowChange *change, SvcColumn *column);
static void check_overage(SvcRowChange *change);
static void check_percents(SvcRowChange *change);
static void check_costs(SvcRowChange *change);
static void complete_cycle(SvcRowChange *change);
static Datum customer_timezone(SvcRowChange *change);
static void schedule_reset(SvcRowChange *change);
static bool has_cycle(SvcRowChange *change, SvcCycle *cycle);
static bool cycle_changed(SvcRowChange *change);
static void derive_columns(SvcRowChange *change);
static void note_use(SvcRowChange *change);
static void note_alerts(SvcRowChange *change);
static int	reached_percent(SvcRowChange *change, const SvcBalance *balance);
static int	alerted_before(SvcRowChange *change);
static int	read_percents(SvcRowChange *change, int *percents);
static int	compare_percents(const void *a, const void *b);
static void number_notes(SvcRowChange *change);
static bool is_renewed(SvcRowChange *change);
static bool is_limit_changed(SvcRowChange *change);
static bool is_revoked(SvcRowChange *change);
static void note_reset(SvcRowChange *change, SvcLedgerNote *note);
static void note_limit(SvcRowChange *change, SvcLedgerNote *note);
static bool new_balance(SvcRowChange *change, SvcBalance *balance);
static bool has_something_left(SvcRowChange *change);
static bool is_over(SvcRowChange *change);
static bool becomes_pool(SvcRowChange *change);
static void note_pool(SvcRowChange *change);
static Datum new_amount(SvcRowChange *change, SvcColumn *column);
pg_noreturn static void report_bad_definition(const char *problem, const char *detail,
											  const char *hint);

void
svc_grant_rule_init(void)
{
	static const SvcLifecycleRules rules = {.check = check, .also = also, .conclude = conclude};

	svc_lifecycle_set_rules(SVC_ENTITLEMENT, &rules);
}

static void
check(SvcRowChange *change)
{
	bool		is_use = is_action(change, "consume");
	bool		is_definition = change->is_insert || svc_lifecycle_is_update(change);

	if (change->is_insert)
		check_unused(change);
	else if (!is_use && !is_action(change, "reset"))
		renew_if_due(change);
	if (!change->is_insert && svc_lifecycle_is_update(change))
	{
		adjust_status(change);
		check_status_fits(change);
	}
	if (is_definition)
		check_definition(change);
	if (!is_use)
		schedule_reset(change);
	derive_columns(change);
	if (!change->is_insert && svc_row_column_differs(change, &used_column))
		note_use(change);
	/* (an alert needs something that was used, and a change that makes events) */
	if (!change->is_insert && !change->counters_only)
		note_alerts(change);
	if (!is_use && !change->is_insert)
		number_notes(change);
}

/* Resets that came with another action, and thresholds that were reached. */
static int
also(SvcRowChange *change, const char *action, SvcSideEvent *events)
{
	int			percents[PERCENTS_MAX];
	int			percent_count = read_percents(change, percents);
	bool		isnull;
	int			from = alerted_before(change);
	int			to = DatumGetInt32(svc_row_new(change, &alerted_column, &isnull));
	int			count = 0;
	SvcSideEvent event = {0};

	if (is_renewed(change) && strcmp(action, "reset") != 0)
	{
		event.action = "reset";
		if (events != NULL)
			events[count] = event;
		count++;
	}
	for (int i = 0; i < percent_count; i++)
	{
		if (percents[i] <= from || percents[i] > to || (i > 0 && percents[i] == percents[i - 1]))
			continue;
		event.action = "alert";
		event.note.name = "threshold";
		if (events != NULL)
		{
			event.note.new_value = psprintf("%d", percents[i]);
			events[count] = event;
		}
		count++;
	}
	return count;
}

static void
conclude(SvcRowChange *change, const char *action)
{
	SvcLedgerNote note = {0};
	bool		isnull;
	SvcCall		call;

	if (becomes_pool(change))
		note_pool(change);
	if (change->is_insert || strcmp(action, "consume") == 0 ||
		!(is_renewed(change) || is_limit_changed(change) || is_revoked(change)))
		return;

	svc_call_begin(&call, change->fcinfo);
	note.customer_id = svc_row_new(change, &customer_id_column, &isnull);
	note.entitlement_id = svc_row_new(change, &id_column, &isnull);
	note.code = svc_row_new(change, &code_column, &isnull);
	note.seq = DatumGetInt64(svc_row_old(change, &ledger_seq_column, &isnull));
	if (is_renewed(change))
		note_reset(change, &note);

	note.amount = svc_amount_zero();
	note.at = note.until = svc_clock_now();
	note.has_rollover_before = false;
	if (is_limit_changed(change))
		note_limit(change, &note);
	if (is_revoked(change))
	{
		note.kind = "revoke";
		note.has_limit_before = false;
		note.seq++;
		svc_ledger_note(&note);
	}
	svc_call_end(&call);
}

static bool
is_action(SvcRowChange *change, const char *action)
{
	return change->action != NULL && strcmp(change->action, action) == 0;
}

/* A new row has used nothing: what it uses goes through the ledger. */
static void
check_unused(SvcRowChange *change)
{
	static SvcColumn *const amounts[] = {&used_column, &held_column, &rollover_column};
	static SvcColumn *const instants[] = {&reset_at_column, &last_reset_at_column};
	bool		isnull;
	Datum		seq = svc_row_new(change, &ledger_seq_column, &isnull);

	if (!isnull && DatumGetInt64(seq) != 0)
		svc_lifecycle_refuse_column(change, ledger_seq_column.name,
									"Insert the row without it and use svc_consume_entitlement().");
	for (int i = 0; i < lengthof(amounts); i++)
	{
		Datum		amount = svc_row_new(change, amounts[i], &isnull);

		if (!isnull && svc_amount_sign(amount) != 0)
			svc_lifecycle_refuse_column(change, amounts[i]->name,
										"Insert the row without it and use svc_consume_entitlement().");
	}
	for (int i = 0; i < lengthof(instants); i++)
	{
		(void) svc_row_new(change, instants[i], &isnull);
		if (!isnull)
			svc_lifecycle_refuse_column(change, instants[i]->name,
										"It follows from reset_period, reset_anchor and reset_timezone.");
	}
	svc_row_set(change, &alerted_column, Int32GetDatum(0), false);
}

/* Step 1; what is read is the row as it was before this change. */
static void
renew_if_due(SvcRowChange *change)
{
	TimestampTz now = svc_clock_now();
	bool		isnull;
	Datum		due = svc_row_old(change, &reset_at_column, &isnull);
	SvcGrant	grant;
	SvcCall		call;

	if (isnull || DatumGetTimestampTz(due) > now)
		return;
	svc_call_begin(&call, change->fcinfo);
	if (svc_grant_load(&grant, svc_row_old(change, &customer_id_column, &isnull),
					   svc_row_old(change, &id_column, &isnull), now) && grant.resets > 0)
	{
		svc_row_set(change, &used_column, svc_call_keep(&call, grant.balance.used), false);
		svc_row_set(change, &rollover_column, svc_call_keep(&call, grant.balance.rollover), false);
		svc_row_set(change, &last_reset_at_column, TimestampTzGetDatum(grant.last_reset_at), false);
		svc_row_set(change, &reset_at_column, TimestampTzGetDatum(grant.reset_at),
					grant.reset_at == DT_NOEND);
	}
	svc_call_end(&call);
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

	if (svc_row_column_differs(change, &status_column))
	{
		if (strcmp(status, "active") == 0 && !left &&
			strcmp(svc_row_old_text(change, &status_column), "suspended") == 0)
			svc_row_set_text(change, &status_column, "exhausted");
	}
	else if (strcmp(status, "active") == 0 && is_limit_changed(change) && !left)
		svc_row_set_text(change, &status_column, "exhausted");
	else if (strcmp(status, "exhausted") == 0 && left)
		svc_row_set_text(change, &status_column, "active");
	else if (strcmp(status, "expired") == 0 && !is_over(change) &&
			 svc_row_column_differs(change, &valid_until_column))
		svc_row_set_text(change, &status_column, left ? "active" : "exhausted");
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

/* Step 3.  What the checks of the table say is said here in more words. */
static void
check_definition(SvcRowChange *change)
{
	static SvcColumn *const amounts[] = {&limit_column, &rollover_max_column, &overage_limit_column};
	bool		isnull;
	Datum		priority = svc_row_new(change, &priority_column, &isnull);

	if (!isnull && DatumGetInt32(priority) < 0)
		report_bad_definition("priority must not be negative",
							  psprintf("It is %d.", DatumGetInt32(priority)),
							  "Grants with a smaller one pay first; 100 is usual.");
	if (svc_row_new_instant(change, &valid_from_column, DT_NOBEGIN) >=
		svc_row_new_instant(change, &valid_until_column, DT_NOEND))
		report_bad_definition("valid_until must be after valid_from",
							  "The grant would never be valid.",
							  "Pass NULL for a bound that there is not.");
	for (int i = 0; i < lengthof(amounts); i++)
		check_amount_column(change, amounts[i]);
	check_overage(change);
	check_percents(change);
	check_costs(change);
	complete_cycle(change);
	check_metered(change);
}

static void
check_amount_column(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;
	Datum		amount = svc_row_new(change, column, &isnull);

	if (isnull)
		return;
	svc_check_amount(amount, column->name);
	if (svc_amount_sign(amount) < 0)
		report_bad_definition(psprintf("%s must not be negative", column->name),
							  psprintf("It is %s.", svc_amount_text(amount)),
							  "Pass an amount in the unit of the code, or NULL for none.");
}

static void
check_overage(SvcRowChange *change)
{
	char	   *overage = svc_row_new_text(change, &overage_column);

	if (overage != NULL && strcmp(overage, "deny") != 0 && strcmp(overage, "allow") != 0)
		report_bad_definition(psprintf("unknown overage \"%s\"", overage),
							  "It says whether use may go beyond the limit.",
							  "It is \"deny\" or \"allow\".");
}

/* Beyond 100 usage gets only where it may exceed the limit. */
static void
check_percents(SvcRowChange *change)
{
	bool		isnull;
	Datum		value = svc_row_new(change, &alert_percents_column, &isnull);
	int			max = svc_row_new_is(change, &overage_column, "allow") ? PERCENT_MAX : 100;
	ArrayType  *array;
	int			count;

	if (isnull)
		return;
	array = DatumGetArrayTypeP(value);
	count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (ARR_NDIM(array) > 1 || array_contains_nulls(array) || count > PERCENTS_MAX)
		report_bad_definition("alert_percents must be a list of percents",
							  psprintf("It has %d dimensions and %d elements, or a null among them.",
									   ARR_NDIM(array), count),
							  psprintf("Pass at most %d numbers, such as '{80,100}'.", PERCENTS_MAX));
	for (int i = 0; i < count; i++)
	{
		int			percent = ((int32 *) ARR_DATA_PTR(array))[i];

		if (percent < 1 || percent > max)
			report_bad_definition(psprintf("alert_percents must be between 1 and %d", max),
								  psprintf("One of them is %d.", percent),
								  "Beyond 100 there are some only where overage is \"allow\", up to 1000.");
	}
}

/* What a pool pays for. */
static void
check_costs(SvcRowChange *change)
{
	bool		isnull;
	Datum		costs = svc_row_new(change, &costs_column, &isnull);
	const char *problem;
	char	   *code;

	if (isnull)
		return;
	problem = svc_pool_check_costs(&DatumGetJsonbP(costs)->root,
								   svc_row_new_text(change, &code_column), &code);
	if (problem != NULL)
		report_bad_definition(problem,
							  code == NULL ? "They say what units of other codes cost." :
							  psprintf("It is the cost of code \"%s\".", code),
							  "For example '{\"gpt_large\": 10, \"gpt_small\": 1}'; NULL for a grant"
							  " that is no pool.");
}

/* Who has periods has an anchor and a time zone, too. */
static void
complete_cycle(SvcRowChange *change)
{
	char	   *period = svc_row_new_text(change, &period_column);
	char	   *zone;
	SvcPeriod	found;
	bool		isnull;

	if (period == NULL)
		return;
	if (!svc_period_find(period, &found))
		report_bad_definition(psprintf("unknown reset_period \"%s\"", period),
							  "It is how often used_amount returns to 0.",
							  "The periods are " SVC_PERIOD_NAMES ".");
	if (found == SVC_NEVER)
		return;

	(void) svc_row_new(change, &anchor_column, &isnull);
	if (isnull)
	{
		TimestampTz start = svc_row_new_instant(change, &valid_from_column, DT_NOBEGIN);

		if (TIMESTAMP_NOT_FINITE(start))
			start = svc_clock_now();
		svc_row_set(change, &anchor_column, TimestampTzGetDatum(start), false);
	}
	zone = svc_row_new_text(change, &timezone_column);
	if (zone == NULL)
		svc_row_set(change, &timezone_column, customer_timezone(change), false);
	else
		(void) svc_period_zone(zone);
	if (TIMESTAMP_NOT_FINITE(svc_row_new_instant(change, &anchor_column, 0)))
		report_bad_definition("reset_anchor must be finite", "No period begins at infinity.",
							  "Pass an instant, or NULL for the start of validity.");
}

static Datum
customer_timezone(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT coalesce(timezone, 'UTC') FROM @extschema@.svc_customer WHERE id = $1",
		1, {TEXTOID}
	};
	bool		isnull;
	Datum		customer_id = svc_row_new(change, &customer_id_column, &isnull);
	Datum		zone;
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	/* (an unknown customer is for the foreign key to refuse) */
	zone = !isnull && svc_statement_run(&statement, &customer_id, NULL) > 0 ?
		svc_statement_value(0, 1, &isnull) : CStringGetTextDatum("UTC");
	zone = svc_call_keep(&call, zone);
	svc_call_end(&call);
	return zone;
}

/* What is said about counting makes sense only of what is counted. */
static void
check_metered(SvcRowChange *change)
{
	SvcBalance	balance;
	SvcCycle	cycle;
	const char *column = NULL;
	int			percents[PERCENTS_MAX];
	bool		isnull;

	if (new_balance(change, &balance))
		return;
	(void) svc_row_new(change, &rollover_max_column, &isnull);
	if (!isnull)
		column = "rollover_max";
	else if (svc_row_new_is(change, &overage_column, "allow"))
		column = "overage";
	else if (read_percents(change, percents) > 0)
		column = "alert_percents";
	else if (has_cycle(change, &cycle))
		column = "reset_period";
	(void) svc_row_new(change, &costs_column, &isnull);
	if (!isnull)
		column = "costs";
	if (column != NULL)
		report_bad_definition(psprintf("%s is for rights that are counted", column),
							  "The grant has no limit_amount, and is not unlimited.",
							  "Give it a limit, or leave this out.");
}

/*
 * Step 4.  A new definition counts from now on; a grant that was brought back
 * goes on where it was.
 */
static void
schedule_reset(SvcRowChange *change)
{
	TimestampTz now = svc_clock_now();
	TimestampTz start;
	TimestampTz next;
	SvcCycle	cycle;
	SvcBalance	balance;
	bool		unscheduled;

	if (!has_cycle(change, &cycle) || !new_balance(change, &balance) ||
		svc_row_new_is(change, &status_column, "expired") ||
		svc_row_new_is(change, &status_column, "revoked"))
	{
		svc_row_set(change, &reset_at_column, (Datum) 0, true);
		return;
	}
	(void) svc_row_new(change, &reset_at_column, &unscheduled);
	if (!unscheduled && !cycle_changed(change) && !is_renewed(change))
		return;

	/* no period is used before the grant is valid */
	start = svc_row_new_instant(change, &valid_from_column, svc_row_new_instant(change, &created_at_column, now));
	start = Max(start, svc_row_new_instant(change, &last_reset_at_column, DT_NOBEGIN));
	if (!change->is_insert && cycle_changed(change))
		start = Max(start, now);
	if (TIMESTAMP_NOT_FINITE(start))
		start = now;
	next = svc_cycle_boundary(&cycle, svc_cycle_index(&cycle, start) + 1);
	svc_row_set(change, &reset_at_column, TimestampTzGetDatum(next), next == DT_NOEND);
}

/* The periods of the new row, if it has any. */
static bool
has_cycle(SvcRowChange *change, SvcCycle *cycle)
{
	char	   *period = svc_row_new_text(change, &period_column);
	char	   *zone = svc_row_new_text(change, &timezone_column);

	if (period == NULL || zone == NULL || !svc_period_find(period, &cycle->period) ||
		cycle->period == SVC_NEVER)
		return false;
	cycle->anchor = svc_row_new_instant(change, &anchor_column, DT_NOEND);
	cycle->zone = pg_tzset(zone);
	return cycle->zone != NULL && !TIMESTAMP_NOT_FINITE(cycle->anchor);
}

static bool
cycle_changed(SvcRowChange *change)
{
	static SvcColumn *const columns[] = {&period_column, &anchor_column, &timezone_column,
	&valid_from_column};

	for (int i = 0; i < lengthof(columns); i++)
	{
		if (!change->is_insert && svc_row_column_differs(change, columns[i]))
			return true;
	}
	return false;
}

/* Step 5: the columns are said in sql/tables/20_entitlement.sql. */
static void
derive_columns(SvcRowChange *change)
{
	SvcBalance	balance;
	Datum		allowance;
	Datum		percent = svc_amount_from(100);

	if (!new_balance(change, &balance) || balance.unlimited)
	{
		svc_row_set(change, &remaining_column, (Datum) 0, true);
		svc_row_set(change, &percent_column, (Datum) 0, true);
		return;
	}
	svc_row_set(change, &remaining_column, svc_balance_available(&balance), false);
	allowance = svc_balance_allowance(&balance);
	if (svc_amount_sign(allowance) > 0)
		percent = DirectFunctionCall2(numeric_div, svc_amount_multiply(balance.used, percent),
									  allowance);
	svc_row_set(change, &percent_column,
				DirectFunctionCall2(numeric_round, percent, Int32GetDatum(2)), false);
}

/* Its subscription is to tell of it (due.c). */
static void
note_use(SvcRowChange *change)
{
	bool		no_subscription;

	(void) svc_row_new(change, &subscription_id_column, &no_subscription);
	if (!no_subscription)
		svc_row_set(change, &usage_noted_column, BoolGetDatum(false), false);
}

/* Step 6. */
static void
note_alerts(SvcRowChange *change)
{
	SvcBalance	balance;
	int			alerted = alerted_before(change);

	if (new_balance(change, &balance) && !balance.unlimited)
		alerted = Max(alerted, reached_percent(change, &balance));
	svc_row_set(change, &alerted_column, Int32GetDatum(alerted), false);
}

/* The greatest threshold that is reached, or 0. */
static int
reached_percent(SvcRowChange *change, const SvcBalance *balance)
{
	int			percents[PERCENTS_MAX];
	int			count = read_percents(change, percents);
	Datum		allowance = svc_balance_allowance(balance);
	Datum		used = svc_amount_multiply(balance->used, svc_amount_from(100));

	for (int i = count - 1; i >= 0; i--)
	{
		if (svc_amount_sign(allowance) == 0 ? percents[i] <= 100 :
			svc_amount_compare(used, svc_amount_multiply(allowance, svc_amount_from(percents[i]))) >= 0)
			return percents[i];
	}
	return 0;
}

/* What this period had reached before the change; a reset begins anew. */
static int
alerted_before(SvcRowChange *change)
{
	bool		isnull;

	if (change->is_insert || is_renewed(change))
		return 0;
	return DatumGetInt32(svc_row_old(change, &alerted_column, &isnull));
}

/* The thresholds of the new row, ascending. */
static int
read_percents(SvcRowChange *change, int *percents)
{
	bool		isnull;
	Datum		value = svc_row_new(change, &alert_percents_column, &isnull);
	ArrayType  *array;
	int			count;

	if (isnull)
		return 0;
	array = DatumGetArrayTypeP(value);
	count = Min(ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)), PERCENTS_MAX);
	if (count == 0 || array_contains_nulls(array))
		return 0;
	memcpy(percents, ARR_DATA_PTR(array), count * sizeof(int));
	qsort(percents, count, sizeof(int), compare_percents);
	return count;
}

static int
compare_percents(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

/* Step 7; conclude() writes as many. */
static void
number_notes(SvcRowChange *change)
{
	int			count = is_renewed(change) + is_limit_changed(change) + is_revoked(change);
	bool		isnull;
	int64		seq = DatumGetInt64(svc_row_old(change, &ledger_seq_column, &isnull));

	if (count > 0)
		svc_row_set(change, &ledger_seq_column, Int64GetDatum(seq + count), false);
}

static bool
is_renewed(SvcRowChange *change)
{
	/* (one reset may come at the instant of another) */
	return !change->is_insert &&
		(is_action(change, "reset") || svc_row_column_differs(change, &last_reset_at_column));
}

static bool
is_limit_changed(SvcRowChange *change)
{
	return svc_row_column_differs(change, &limit_column) ||
		svc_row_column_differs(change, &unlimited_column);
}

static bool
is_revoked(SvcRowChange *change)
{
	return svc_row_column_differs(change, &status_column) &&
		svc_row_new_is(change, &status_column, "revoked");
}

/* Resets that were due are stamped with the first boundary; one by hand with now. */
static void
note_reset(SvcRowChange *change, SvcLedgerNote *note)
{
	bool		isnull;
	Datum		due = svc_row_old(change, &reset_at_column, &isnull);

	note->kind = "reset";
	note->seq++;
	note->until = svc_row_new_instant(change, &last_reset_at_column, 0);
	note->at = isnull ? note->until : Min(DatumGetTimestampTz(due), note->until);
	note->amount = svc_amount_subtract(new_amount(change, &used_column),
									   svc_row_old(change, &used_column, &isnull));
	note->has_rollover_before = true;
	note->rollover_before = svc_row_old(change, &rollover_column, &isnull);
	svc_ledger_note(note);
}

/* Infinity stands for unlimited. */
static void
note_limit(SvcRowChange *change, SvcLedgerNote *note)
{
	bool		isnull;

	note->kind = "limit";
	note->seq++;
	note->limit_before = svc_row_old(change, &limit_column, &isnull);
	note->has_limit_before = !isnull;
	if (DatumGetBool(svc_row_old(change, &unlimited_column, &isnull)))
	{
		note->limit_before = DirectFunctionCall3(numeric_in, CStringGetDatum("Infinity"),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		note->has_limit_before = true;
	}
	svc_ledger_note(note);
}

/* The figures of the new row; false when it is not counted. */
static bool
new_balance(SvcRowChange *change, SvcBalance *balance)
{
	bool		no_limit;

	memset(balance, 0, sizeof(*balance));
	balance->unlimited = svc_row_new_bool(change, &unlimited_column);
	balance->limit = svc_row_new(change, &limit_column, &no_limit);
	balance->used = new_amount(change, &used_column);
	balance->held = new_amount(change, &held_column);
	balance->rollover = new_amount(change, &rollover_column);
	return balance->unlimited || !no_limit;
}

/* Is not all of it used? */
static bool
has_something_left(SvcRowChange *change)
{
	SvcBalance	balance;

	return !new_balance(change, &balance) || !svc_balance_is_spent(&balance);
}

/* Has valid_until of the new row passed? */
static bool
is_over(SvcRowChange *change)
{
	bool		isnull;
	Datum		valid_until = svc_row_new(change, &valid_until_column, &isnull);

	return !isnull && DatumGetTimestampTz(valid_until) <= svc_clock_now();
}

static bool
becomes_pool(SvcRowChange *change)
{
	bool		isnull;

	(void) svc_row_new(change, &costs_column, &isnull);
	if (isnull || change->is_insert)
		return !isnull;
	(void) svc_row_old(change, &costs_column, &isnull);
	return isnull;
}

/* The customer's row tells, so that who has no pools is not asked for any. */
static void
note_pool(SvcRowChange *change)
{
	static const SvcDeed count = {.noun = SVC_CUSTOMER, .action = "update", .counters_only = true};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer SET has_pools = true WHERE id = $1 AND NOT has_pools",
		1, {TEXTOID}
	};
	bool		isnull;
	Datum		customer_id = svc_row_new(change, &customer_id_column, &isnull);
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	svc_lifecycle_write(&count, &statement, &customer_id, NULL);
	svc_call_end(&call);
}

/* An amount that is null is for the table's NOT NULL to refuse. */
static Datum
new_amount(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;
	Datum		value = svc_row_new(change, column, &isnull);

	return isnull ? svc_amount_zero() : value;
}

static void
report_bad_definition(const char *problem, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", problem),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}
