/*-------------------------------------------------------------------------
 *
 * entitlement.c
 *	  Entitlements: granting, checking and resetting them.
 *
 * Consuming is in consume.c, the rule that every row obeys in grant_rule.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "action.h"
#include "amount.h"
#include "argument.h"
#include "booking.h"
#include "catalog.h"
#include "clock.h"
#include "entitlement.h"
#include "error.h"
#include "grant.h"
#include "grant_rule.h"
#include "lifecycle.h"
#include "pool.h"
#include "subscription_due.h"

/* Of svc_grant_entitlement(), in order; the first is argument 0. */
enum
{
	ARG_CUSTOMER_ID,
	ARG_CODE,
	ARG_LIMIT_AMOUNT,
	ARG_UNLIMITED,
	ARG_VALID_UNTIL = 12,
	ARG_ID,
	ARG_PLAN_ID,
	ARG_SUBSCRIPTION_ID,
	ARG_RESET_PERIOD,
	ARG_RESET_ANCHOR,
	ARG_ROLLOVER_MAX,
	ARG_OVERAGE,
	ARG_OVERAGE_LIMIT,
	ARG_CARRY_OVERAGE,
	ARG_ALERT_PERCENTS,
	ARG_COSTS,
	ARG_COUNT,
};

/* What a function returns; kept with its FmgrInfo. */
typedef struct RowType
{
	TupleDesc	desc;			/* NULL: no row */
} RowType;

static Datum decide(FunctionCallInfo fcinfo, SvcDecision *decision);
static Datum conclude(SvcDecision *decision, const SvcGate *gate, SvcGrantSet *set, Datum amount,
					  TupleDesc desc);
static TupleDesc row_type(FunctionCallInfo fcinfo);
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
PG_FUNCTION_INFO_V1(svc_has_entitlement);

void
svc_entitlement_init(void)
{
	svc_grant_rule_init();
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
		"  priority, source, source_id, valid_from, valid_until, id, plan_id, subscription_id,"
		"  reset_period, reset_anchor, rollover_max, overage, overage_limit, carry_overage,"
		"  alert_percents, costs)"
		" VALUES ($1, $2, $3, $4, $5,"
		"  coalesce($6, CASE WHEN $3 IS NOT NULL OR $4 THEN 'quota' ELSE 'feature' END),"
		"  coalesce($7, $2), $8, $9, $10, $11, $12, $13,"
		"  coalesce($14, @extschema@.svc_new_id('ent')), $15, $16,"
		"  $17, $18, $19, $20, $21, $22, $23, $24)"
		" RETURNING id::text",
		ARG_COUNT, {TEXTOID, TEXTOID, NUMERICOID, BOOLOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID,
			INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID,
		TEXTOID, TIMESTAMPTZOID, NUMERICOID, TEXTOID, NUMERICOID, BOOLOID, INT4ARRAYOID, JSONBOID}
	};
	Datum		values[ARG_COUNT];
	bool		isnull[ARG_COUNT];
	Datum		id;
	SvcCall		call;

	for (int i = 0; i < ARG_COUNT; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		isnull[i] = PG_ARGISNULL(i);
	}
	values[ARG_CUSTOMER_ID] = svc_argument_id(fcinfo, ARG_CUSTOMER_ID, "customer id");
	values[ARG_CODE] = svc_argument_id(fcinfo, ARG_CODE, "entitlement code");
	(void) svc_argument_bool(fcinfo, ARG_UNLIMITED, "unlimited");
	(void) svc_argument_bool(fcinfo, ARG_CARRY_OVERAGE, "carry_overage");
	svc_argument_not_null(fcinfo, ARG_OVERAGE, "overage");
	if (!isnull[ARG_LIMIT_AMOUNT] &&
		svc_amount_sign(svc_argument_amount(fcinfo, ARG_LIMIT_AMOUNT, "limit_amount")) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("limit_amount must not be negative"),
				 errdetail("It is %s.", svc_amount_text(values[ARG_LIMIT_AMOUNT])),
				 errhint("A limit of 0 grants nothing; NULL grants a right that is not counted.")));
	if (!isnull[ARG_VALID_UNTIL] &&
		PG_GETARG_TIMESTAMPTZ(ARG_VALID_UNTIL) <= svc_clock_now())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("valid_until must be in the future"),
				 errdetail("It is %s.", timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(ARG_VALID_UNTIL))),
				 errhint("Pass NULL for a grant that does not end by itself.")));
	values[ARG_ID] = svc_argument_optional_id(fcinfo, ARG_ID, "entitlement id", &isnull[ARG_ID]);

	svc_call_begin(&call, fcinfo);
	svc_gate_customer(values[ARG_CUSTOMER_ID], "an entitlement");
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
	SvcDecision decision;

	return decide(fcinfo, &decision);
}

/*
 * svc_has_entitlement(customer_id, code, amount) -> boolean
 *
 * Whether svc_check_entitlement would allow it: for WHERE, and for policies.
 * STRICT: null for a null argument, which there is as good as false.
 */
Datum
svc_has_entitlement(PG_FUNCTION_ARGS)
{
	SvcDecision decision;

	(void) decide(fcinfo, &decision);
	PG_RETURN_BOOL(decision.reason == SVC_OK);
}

/* Decide, and return the decision as a row, if the function returns rows. */
static Datum
decide(FunctionCallInfo fcinfo, SvcDecision *decision)
{
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	Datum		code = svc_argument_id(fcinfo, 1, "entitlement code");
	Datum		amount = svc_argument_positive_amount(fcinfo, 2, "amount", "Leave it out for 1.");
	SvcInstant	instant = {.at = svc_clock_now()};
	TupleDesc	desc = row_type(fcinfo);
	SvcGrantSet set;
	SvcGate		gate;
	Datum		result = (Datum) 0;
	SvcCall		call;

	if (PG_NARGS() > 3)
		instant = svc_argument_instant(fcinfo, 3);
	svc_catalog_use(fcinfo);
	if (svc_grant_read_directly(&gate, &set, customer_id, code, instant))
		return conclude(decision, &gate, &set, amount, desc);

	svc_call_begin(&call, fcinfo);
	memset(&set, 0, sizeof(set));
	svc_grant_gate(&gate, customer_id, true);
	if (gate.reason == SVC_OK)
	{
		svc_grant_find(&set, customer_id, code, instant, SVC_GRANT_READ);
		if (gate.has_pools)
			svc_pool_add(&set, customer_id, code, instant, SVC_GRANT_READ);
		if (gate.changes_at <= instant.at)
			svc_subscription_look(&set, customer_id, code, instant.at, false);
	}
	result = conclude(decision, &gate, &set, amount, desc);
	if (desc != NULL)
		result = svc_call_keep(&call, result);
	svc_call_end(&call);
	return result;
}

/* From what was read to a decision, as a row if one is wanted. */
static Datum
conclude(SvcDecision *decision, const SvcGate *gate, SvcGrantSet *set, Datum amount, TupleDesc desc)
{
	svc_grant_decide(decision, set, amount, SVC_REJECT);
	if (gate->reason != SVC_OK)
		decision->reason = gate->reason;
	return desc == NULL ? (Datum) 0 : svc_decision_datum(decision, desc);
}

/* The row type of the function that was called, or NULL; kept with its FmgrInfo. */
static TupleDesc
row_type(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	RowType    *type = flinfo->fn_extra;

	if (type == NULL)
	{
		TupleDesc	desc;
		MemoryContext old = MemoryContextSwitchTo(flinfo->fn_mcxt);

		type = palloc(sizeof(RowType));
		type->desc = get_call_result_type(fcinfo, NULL, &desc) == TYPEFUNC_COMPOSITE ?
			BlessTupleDesc(CreateTupleDescCopy(desc)) : NULL;
		flinfo->fn_extra = type;
		MemoryContextSwitchTo(old);
	}
	return type->desc;
}

/* A grant that is resumed is exhausted if all of it is used. */
static void
prepare_resume(SvcActionCall *call)
{
	SvcGrant	grant;

	if (!svc_grant_load(&grant, call->customer_id, call->id, svc_clock_now()))
		svc_gate_report_unknown(SVC_ENTITLEMENT, call->customer_id, call->id);
	call->to = grant.metered && svc_balance_is_spent(&grant.balance) ? "exhausted" : "active";
}

/*
 * svc_reset_entitlement(customer_id, entitlement_id, move_anchor, reason,
 *						 revision)
 *
 * A reset out of turn, which is like any other.  Those that are due come
 * first.  The next one is where it would have been, or, if the anchor moves
 * here, a period from now.
 */
static void
prepare_reset(SvcActionCall *call)
{
	bool		move_anchor = svc_argument_bool(call->fcinfo, call->first_argument, "move_anchor");
	SvcGrant	grant;

	if (!svc_grant_load(&grant, call->customer_id, call->id, svc_clock_now()))
		svc_gate_report_unknown(SVC_ENTITLEMENT, call->customer_id, call->id);
	if (!grant.metered)
		svc_action_refuse(call, "it is not metered", "There is nothing to reset.");
	if (grant.resets > 0)
	{
		svc_booking_renew(call->customer_id, &grant);
		svc_gate_lock_row(&call->row, call->noun, call->customer_id, call->id);
	}

	svc_balance_reset(&grant.balance, 1);
	call->to = call->row.status;
	if (strcmp(call->to, "exhausted") == 0 && !svc_balance_is_spent(&grant.balance))
		call->to = "active";
	svc_action_set(call, "used_amount", NUMERICOID, grant.balance.used);
	svc_action_set(call, "rollover_amount", NUMERICOID, grant.balance.rollover);
	svc_action_set(call, "last_reset_at", TIMESTAMPTZOID, TimestampTzGetDatum(grant.at));
	if (move_anchor)
		svc_action_set(call, "reset_anchor", TIMESTAMPTZOID, TimestampTzGetDatum(grant.at));
}

/* A grant expires when its validity is over. */
static void
prepare_expire(SvcActionCall *call)
{
	SvcGrant	grant;

	if (!svc_grant_load(&grant, call->customer_id, call->id, svc_clock_now()))
		svc_gate_report_unknown(SVC_ENTITLEMENT, call->customer_id, call->id);
	if (grant.state != SVC_EXPIRED)
		svc_action_refuse(call, "its validity is not over",
						  "Set valid_until, or suspend or revoke the grant.");
}
