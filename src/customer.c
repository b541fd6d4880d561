/*-------------------------------------------------------------------------
 *
 * customer.c
 *	  Customers: the rules that every row of svc_customer obeys, and deleting
 *	  them.
 *
 * A customer that is deleted leaves a *tombstone*: the row stays, for the
 * books that refer to it, but everything that tells who it was goes, from the
 * row and from the changes of all its events.  Which columns these are is in
 * noun.c, as "personal"; reasons, which are notes of events, count as personal.
 * It leaves all segments, and customers merged into it become tombstones, too.
 *
 * Locks of svc_delete_customer(): the customer FOR UPDATE, segments in the
 * order of their ids, then its events.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "action.h"
#include "argument.h"
#include "catalog.h"
#include "customer.h"
#include "error.h"
#include "grant.h"
#include "lifecycle.h"
#include "membership.h"
#include "period.h"
#include "statement.h"
#include "usage_row.h"

static SvcColumn id_column = {"id"};
static SvcColumn status_column = {"status"};
static SvcColumn risk_level_column = {"risk_level"};
static SvcColumn timezone_column = {"timezone"};

static void check(SvcRowChange *change);
static bool is_at_risk(const char *risk_level);
static void imply(SvcRowChange *change, const char *action);
static void conclude(SvcRowChange *change, const char *action);
static void move_periods(SvcRowChange *change);
static void delete_merged(Datum id);
static char *quote_list(const char *list);
static void prepare_delete(SvcActionCall *call);
static void check_no_subscription(SvcRowChange *change);
static void refuse_open_subscriptions(Datum id);

static const SvcAction actions[] = {
	{"svc_delete_customer", SVC_CUSTOMER, "delete", NULL, prepare_delete, .alone = true},
};

void
svc_customer_init(void)
{
	static const SvcLifecycleRules rules = {.check = check, .imply = imply, .conclude = conclude};

	svc_lifecycle_set_rules(SVC_CUSTOMER, &rules);
	svc_action_register(actions, lengthof(actions));
}

/*
 * When risk_level rises to high or critical an active or reactivated customer
 * becomes at-risk, and active again when it falls, unless the same statement
 * sets the status itself.
 */
static void
check(SvcRowChange *change)
{
	char	   *timezone;
	char	   *status;
	bool		at_risk;

	timezone = svc_row_new_text(change, &timezone_column);
	if (timezone != NULL && (change->is_insert || svc_row_column_differs(change, &timezone_column)))
		(void) svc_period_zone(timezone);
	if (change->is_insert || !svc_lifecycle_is_update(change) ||
		svc_row_column_differs(change, &status_column) ||
		!svc_row_column_differs(change, &risk_level_column))
		return;

	status = svc_row_new_text(change, &status_column);
	at_risk = is_at_risk(svc_row_new_text(change, &risk_level_column));
	if (at_risk && (strcmp(status, "active") == 0 || strcmp(status, "reactivated") == 0))
		svc_row_set_text(change, &status_column, "at-risk");
	else if (!at_risk && strcmp(status, "at-risk") == 0)
		svc_row_set_text(change, &status_column, "active");
}

static bool
is_at_risk(const char *risk_level)
{
	return risk_level != NULL &&
		(strcmp(risk_level, "high") == 0 || strcmp(risk_level, "critical") == 0);
}

/* The tombstone: personal columns are emptied. */
static void
imply(SvcRowChange *change, const char *action)
{
	TupleDesc	desc = RelationGetDescr(change->rel);

	if (strcmp(action, "merge") == 0 && !svc_lifecycle_by_function(change))
		svc_lifecycle_refuse_change(change, "nothing would be moved", "Use svc_merge_customer().");
	if (strcmp(action, "delete") != 0)
		return;
	if (!svc_lifecycle_by_function(change))
		check_no_subscription(change);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		SvcColumn	column = {NameStr(att->attname), att->atttypid, att->attnum};

		if (att->attisdropped ||
			!svc_noun_list_has(svc_noun_info(SVC_CUSTOMER)->personal, column.name))
			continue;
		if (!att->attnotnull)
			svc_row_set(change, &column, (Datum) 0, true);
		else if (att->atttypid == JSONBOID)
			svc_row_set(change, &column,
						DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")), false);
		else
			svc_row_set_text(change, &column, "");
	}
}

/* And from the changes of the customer's events, of whatever noun. */
static void
conclude(SvcRowChange *change, const char *action)
{
	StringInfoData sql;
	Oid			argtype = TEXTOID;
	bool		isnull;
	Datum		id = svc_row_new(change, &id_column, &isnull);
	SvcCall		call;

	/* who has recorded usage of it knew it otherwise */
	svc_usage_row_forget();
	if (!change->is_insert && svc_row_column_differs(change, &timezone_column))
		move_periods(change);
	if (strcmp(action, "delete") != 0)
		return;

	svc_call_begin(&call, change->fcinfo);
	svc_gate_read_committed("a customer can be deleted",
							"Events that this transaction cannot see would keep personal data.");
	svc_membership_leave_all(id);
	delete_merged(id);

	initStringInfo(&sql);
	appendStringInfoString(&sql, "UPDATE @extschema@.svc_event"
						   " SET changes = nullif(changes - CASE noun");
	for (int i = 0; i < SVC_NOUN_COUNT; i++)
	{
		const SvcNounInfo *info = svc_noun_info((SvcNoun) i);

		appendStringInfo(&sql, " WHEN '%s' THEN ARRAY[%s]", info->name,
						 quote_list(psprintf("%s reason", info->personal)));
	}
	appendStringInfoString(&sql, " END, '{}')"
						   " WHERE customer_id = $1 AND changes IS NOT NULL");
	svc_lifecycle_rewrite_once(sql.data, 1, &argtype, &id);
	svc_call_end(&call);
}

/*
 * The periods of entitlements go with the customer: those that were reckoned in
 * the customer's time zone are so in the new one.
 */
static void
move_periods(SvcRowChange *change)
{
	static const SvcDeed deed = {.noun = SVC_ENTITLEMENT, .action = "update"};
	static SvcStatement lock = {
		"SELECT FROM @extschema@.svc_entitlement WHERE customer_id = $1"
		" ORDER BY " SVC_GRANT_LOCK_ORDER " FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET reset_timezone = coalesce($3, 'UTC')"
		" WHERE customer_id = $1 AND reset_timezone = coalesce($2, 'UTC')"
		"  AND reset_timezone <> coalesce($3, 'UTC') AND status <> 'revoked'",
		3, {TEXTOID, TEXTOID, TEXTOID}
	};
	/* (it is rolled up in the new one by whoever rolls up next; see usage_fold.c) */
	static SvcStatement usage = {
		"UPDATE @extschema@.svc_usage_fold SET has_moved = true WHERE customer_id = $1", 1, {TEXTOID}
	};
	Datum		values[3];
	bool		isnull[3];
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	values[0] = svc_row_new(change, &id_column, &isnull[0]);
	svc_statement_run(&usage, values, NULL);
	/* in the order in which consumes lock them */
	svc_statement_run(&lock, values, NULL);
	values[1] = svc_row_old(change, &timezone_column, &isnull[1]);
	values[2] = svc_row_new(change, &timezone_column, &isnull[2]);
	svc_lifecycle_write(&deed, &statement, values, isnull);
	svc_call_end(&call);
}

/* Customers that were merged into the deleted one were the same person. */
static void
delete_merged(Datum id)
{
	static const SvcDeed deed = {.noun = SVC_CUSTOMER, .action = "delete"};
	static SvcStatement lock = {
		"SELECT count(*) FROM (SELECT FROM @extschema@.svc_customer"
		" WHERE merged_into = $1 ORDER BY id FOR UPDATE) c",
		1, {TEXTOID}
	};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer SET status = 'deleted'"
		" WHERE merged_into = $1 AND status = 'merged'",
		1, {TEXTOID}
	};

	svc_statement_run(&lock, &id, NULL);
	svc_lifecycle_write(&deed, &statement, &id, NULL);
}

/* 'a', 'b' from a space-separated list. */
static char *
quote_list(const char *list)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	while (*list != '\0')
	{
		size_t		len = strcspn(list, " ");

		appendStringInfo(&quoted, "%s'%.*s'", quoted.len > 0 ? ", " : "", (int) len, list);
		list += len;
		list += strspn(list, " ");
	}
	return quoted.data;
}

/*
 * svc_delete_customer(customer_id, force, reason, revision)
 *
 * Refused while a subscription is open, unless forced.  The customer is locked
 * FOR UPDATE ("alone"), so that none is made meanwhile.
 */
static void
prepare_delete(SvcActionCall *call)
{
	FunctionCallInfo fcinfo = call->fcinfo;

	if (!svc_argument_bool(fcinfo, call->first_argument, "force"))
		refuse_open_subscriptions(call->id);
}

/* For who deletes by plain SQL. */
static void
check_no_subscription(SvcRowChange *change)
{
	bool		isnull;
	Datum		id;
	SvcCall		call;

	svc_call_begin(&call, change->fcinfo);
	id = svc_row_new(change, &id_column, &isnull);
	svc_gate_take_customer(id);
	refuse_open_subscriptions(id);
	svc_call_end(&call);
}

static void
refuse_open_subscriptions(Datum id)
{
	static SvcStatement statement = {
		"SELECT count(*) FROM @extschema@.svc_subscription"
		" WHERE customer_id = $1 AND status NOT IN ('cancelled', 'expired')",
		1, {TEXTOID}
	};
	bool		isnull;
	int64		open;

	svc_statement_run(&statement, &id, NULL);
	open = DatumGetInt64(svc_statement_value(0, 1, &isnull));
	if (open > 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_STILL_IN_USE),
				 errmsg("customer \"%s\" has open subscriptions", TextDatumGetCString(id)),
				 errdetail("Their number is " INT64_FORMAT ".", open),
				 errhint("Cancel them first, or pass force => true.")));
}
