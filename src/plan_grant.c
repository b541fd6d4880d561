/*-------------------------------------------------------------------------
 *
 * plan_grant.c
 *	  What a plan grants to its subscribers.
 *
 * A plan defines grants by codes:
 *
 *		limits			{"api_calls": 10000,
 *						 "tokens": {"limit": 5000, "reset_period": "daily"},
 *						 "sso": true, "support": {"value": "priority"},
 *						 "credits": {"limit": 1000, "costs": {"gpt_large": 10}}}
 *		entitlements	{sso, api_calls}: those that limits does not define
 *						are rights that are not counted
 *		executions_per_month
 *						the limit of code "executions", reset monthly
 *		overage_enabled	counted codes that do not say otherwise may exceed
 *						their limits
 *
 * A number is short for {"limit": number}, true for {}.  Limits are for a
 * quantity of one, and their resets follow the billing cycle of the
 * subscription, if they do not say otherwise.
 *
 * plan_limits.c checks the definitions.  A subscription keeps them as its
 * *terms*, and grants are made from those, so that a plan that changes leaves its
 * subscribers alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "gate.h"
#include "grant.h"
#include "lifecycle.h"
#include "plan_grant.h"

#define GRANT_COLUMNS		14

static void run(const SvcDeed *deed, SvcStatement *statement, const SvcSubscriptionKey *key);

PG_FUNCTION_INFO_V1(svc_plan_terms);
PG_FUNCTION_INFO_V1(svc_terms_grants);

/*
 * svc_plan_terms(plan_id) -> what the plan promises, as a subscription keeps it
 */
Datum
svc_plan_terms(PG_FUNCTION_ARGS)
{
	static SvcStatement statement = {
		"SELECT jsonb_build_object('limits', limits, 'entitlements', to_jsonb(entitlements),"
		"  'executions_per_month', executions_per_month, 'overage_enabled', overage_enabled,"
		"  'overage_price', overage_price)"
		" FROM @extschema@.svc_plan WHERE id = $1",
		1, {TEXTOID}
	};
	Datum		plan_id = svc_argument_id(fcinfo, 0, "plan id");
	Datum		terms;
	bool		isnull;
	SvcCall		call;

	svc_call_begin(&call, fcinfo);
	if (svc_statement_read(&statement, &plan_id, NULL) == 0)
		svc_gate_report_unknown(SVC_PLAN, (Datum) 0, plan_id);
	terms = svc_call_keep(&call, svc_statement_value(0, 1, &isnull));
	svc_call_end(&call);
	return terms;
}

/*
 * svc_terms_grants(terms, quantity, billing_cycle, addons)
 *	-> what is granted under these terms, a row per plan and code
 */
Datum
svc_terms_grants(PG_FUNCTION_ARGS)
{
	static SvcStatement statement = {
		"SELECT t.addon_id, d.code, (d.def ->> 'limit')::numeric * u.quantity,"
		"  coalesce((d.def ->> 'unlimited')::boolean, false), d.def -> 'value',"
		"  CASE WHEN u.is_counted THEN coalesce(d.def ->> 'reset_period', $3) END,"
		"  (d.def ->> 'rollover_max')::numeric * u.quantity,"
		"  coalesce(d.def ->> 'overage', CASE WHEN (t.terms -> 'overage_enabled') = 'true'"
		"   AND d.def ? 'limit' THEN 'allow' ELSE 'deny' END),"
		"  (d.def ->> 'overage_limit')::numeric * u.quantity,"
		"  coalesce((d.def ->> 'carry_overage')::boolean, false),"
		"  (SELECT array_agg(a.value::integer ORDER BY a.value::integer)"
		"   FROM jsonb_array_elements_text(d.def -> 'alert_percents') a),"
		"  coalesce((d.def ->> 'priority')::integer, 100),"
		"  coalesce((d.def ->> 'per_unit')::boolean, true), d.def -> 'costs'"
		" FROM (SELECT NULL AS addon_id, $1 AS terms, $2 AS quantity"
		"  UNION ALL SELECT key, value -> 'terms', (value ->> 'quantity')::integer FROM jsonb_each($4)) t"
		" CROSS JOIN LATERAL (SELECT nullif(t.terms -> 'limits', 'null') AS limits,"
		"  nullif(t.terms -> 'executions_per_month', 'null') AS executions) l"
		" CROSS JOIN LATERAL ("
		"  SELECT e.key AS code, CASE jsonb_typeof(e.value) WHEN 'object' THEN e.value"
		"    WHEN 'number' THEN jsonb_build_object('limit', e.value) ELSE '{}' END AS def"
		"   FROM jsonb_each(l.limits) e"
		"  UNION ALL SELECT 'executions', jsonb_build_object('limit', l.executions, 'reset_period', 'monthly')"
		"   WHERE l.executions IS NOT NULL AND NOT coalesce(l.limits ? 'executions', false)"
		"  UNION ALL SELECT DISTINCT c.code, '{}'::jsonb"
		"   FROM jsonb_array_elements_text(nullif(t.terms -> 'entitlements', 'null')) c (code)"
		"   WHERE NOT coalesce(l.limits ? c.code, false)"
		"    AND NOT (c.code = 'executions' AND l.executions IS NOT NULL)) d"
		" CROSS JOIN LATERAL (SELECT"
		"  CASE WHEN (d.def -> 'per_unit') = 'false' THEN 1 ELSE t.quantity END AS quantity,"
		"  d.def ? 'limit' OR coalesce((d.def -> 'unlimited') = 'true', false) AS is_counted) u"
		" ORDER BY t.addon_id NULLS FIRST, d.code",
		4, {JSONBOID, INT4OID, TEXTOID, JSONBOID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[4];
	bool		isnull[4];
	uint64		rows;
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < 4; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		isnull[i] = PG_ARGISNULL(i);
	}
	if (isnull[0])
		return (Datum) 0;
	svc_call_begin(&call, fcinfo);
	rows = svc_statement_read(&statement, values, isnull);
	for (uint64 n = 0; n < rows; n++)
	{
		Datum		columns[GRANT_COLUMNS];
		bool		nulls[GRANT_COLUMNS];

		for (int i = 0; i < GRANT_COLUMNS; i++)
			columns[i] = svc_statement_value(n, i + 1, &nulls[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, columns, nulls);
	}
	svc_call_end(&call);
	return (Datum) 0;
}

/*
 * Lock the grants of a subscription, in the order in which consumes do.
 */
void
svc_plan_lock_grants(const SvcSubscriptionKey *key)
{
	svc_plan_lock_all_grants(key, 1);
}

/*
 * Lock those of several, in that same order: who changes more than one
 * subscription of a customer begins with this.
 */
void
svc_plan_lock_all_grants(const SvcSubscriptionKey *keys, int count)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_entitlement"
		" WHERE (customer_id, subscription_id) IN (SELECT * FROM unnest($1, $2))"
		" ORDER BY customer_id, " SVC_GRANT_LOCK_ORDER " FOR NO KEY UPDATE",
		2, {TEXTARRAYOID, TEXTARRAYOID}
	};
	Datum	   *customer_ids = palloc(count * sizeof(Datum));
	Datum	   *ids = palloc(count * sizeof(Datum));
	Datum		values[2];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		customer_ids[i] = keys[i].customer_id;
		ids[i] = keys[i].id;
	}
	values[0] = svc_statement_texts(customer_ids, count);
	values[1] = svc_statement_texts(ids, count);
	svc_statement_run(&statement, values, NULL);
}

/*
 * Bring the grants of a subscription, which are locked, from what they are to
 * what its terms say: codes that both have keep what was used; codes that the
 * terms lack end; new ones are granted.
 */
void
svc_plan_grant(const SvcSubscriptionKey *key)
{
	static const SvcDeed revoke = {.noun = SVC_ENTITLEMENT, .action = "revoke",
	.note = {"reason", NULL, "the subscription's plan does not grant it"}};
	static const SvcDeed update = {.noun = SVC_ENTITLEMENT, .action = "update"};
	static const SvcDeed grant = {.noun = SVC_ENTITLEMENT, .action = "grant"};
	static SvcStatement end = {
		"UPDATE @extschema@.svc_entitlement e SET status = 'revoked'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND source IN ('plan', 'trial', 'addon') AND status NOT IN ('revoked', 'expired')"
		"  AND NOT EXISTS (SELECT FROM @extschema@.svc_subscription s,"
		"   @extschema@.svc_terms_grants(s.terms, s.quantity, s.billing_cycle, s.addons) g"
		"   WHERE s.customer_id = $1 AND s.id = $2 AND g.code = e.code"
		"    AND (g.addon_id IS NULL) = (e.source <> 'addon')"
		"    AND (g.addon_id = e.source_id) IS NOT FALSE)",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement change = {
		"UPDATE @extschema@.svc_entitlement e SET plan_id = coalesce(g.addon_id, s.plan_id),"
		"  source_id = coalesce(g.addon_id, s.plan_id), limit_amount = g.limit_amount,"
		"  unlimited = g.unlimited, value = g.value, reset_period = g.reset_period,"
		"  reset_anchor = CASE WHEN g.reset_period IS NOT NULL THEN s.billing_anchor END,"
		"  rollover_max = g.rollover_max, overage = g.overage, overage_limit = g.overage_limit,"
		"  carry_overage = g.carry_overage, alert_percents = g.alert_percents, priority = g.priority, costs = g.costs,"
		"  source = CASE WHEN e.source = 'trial' AND s.status <> 'trialing' THEN 'plan' ELSE e.source END"
		" FROM @extschema@.svc_subscription s,"
		"  @extschema@.svc_terms_grants(s.terms, s.quantity, s.billing_cycle, s.addons) g"
		" WHERE e.customer_id = $1 AND e.subscription_id = $2 AND e.status NOT IN ('revoked', 'expired')"
		"  AND s.customer_id = $1 AND s.id = $2 AND g.code = e.code"
		"  AND CASE WHEN g.addon_id IS NULL THEN e.source IN ('plan', 'trial')"
		"   ELSE e.source = 'addon' AND e.source_id = g.addon_id END",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement add = {
		"INSERT INTO @extschema@.svc_entitlement"
		" (customer_id, subscription_id, plan_id, source_id, source, code, name, type, limit_amount, unlimited,"
		"  value, reset_period, reset_anchor, rollover_max, overage, overage_limit, carry_overage,"
		"  alert_percents, priority, costs)"
		" SELECT $1, $2, coalesce(g.addon_id, s.plan_id), coalesce(g.addon_id, s.plan_id),"
		"  CASE WHEN g.addon_id IS NOT NULL THEN 'addon' WHEN s.status = 'trialing' THEN 'trial' ELSE 'plan' END,"
		"  g.code, g.code, CASE WHEN g.reset_period IS NOT NULL THEN 'quota' ELSE 'feature' END,"
		"  g.limit_amount, g.unlimited, g.value, g.reset_period,"
		"  CASE WHEN g.reset_period IS NOT NULL THEN s.billing_anchor END, g.rollover_max, g.overage,"
		"  g.overage_limit, g.carry_overage, g.alert_percents, g.priority, g.costs"
		" FROM @extschema@.svc_subscription s,"
		"  @extschema@.svc_terms_grants(s.terms, s.quantity, s.billing_cycle, s.addons) g"
		" WHERE s.customer_id = $1 AND s.id = $2"
		"  AND NOT EXISTS (SELECT FROM @extschema@.svc_entitlement e"
		"   WHERE e.customer_id = $1 AND e.subscription_id = $2 AND e.code = g.code AND e.status NOT IN ('revoked', 'expired')"
		"    AND CASE WHEN g.addon_id IS NULL THEN e.source IN ('plan', 'trial')"
		"     ELSE e.source = 'addon' AND e.source_id = g.addon_id END)"
		" ORDER BY g.code, g.addon_id",
		2, {TEXTOID, TEXTOID}
	};

	run(&revoke, &end, key);
	run(&update, &change, key);
	run(&grant, &add, key);
}

/*
 * End what the plan itself grants, so that it is granted anew, with nothing
 * used.
 */
void
svc_plan_forget_usage(const SvcSubscriptionKey *key)
{
	static const SvcDeed revoke = {.noun = SVC_ENTITLEMENT, .action = "revoke",
	.note = {"reason", NULL, "the subscription's plan has changed"}};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'revoked'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND source IN ('plan', 'trial') AND status <> 'revoked'",
		2, {TEXTOID, TEXTOID}
	};

	svc_plan_lock_grants(key);
	run(&revoke, &statement, key);
}

/* A paused subscription grants nothing. */
void
svc_plan_suspend(const SvcSubscriptionKey *key)
{
	static const SvcDeed suspend = {.noun = SVC_ENTITLEMENT, .action = "suspend",
	.note = {"reason", NULL, "the subscription is paused"}};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'suspended'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND status IN ('active', 'exhausted')",
		2, {TEXTOID, TEXTOID}
	};

	run(&suspend, &statement, key);
}

/* Plain SQL, because only the row's own rule knows which of them are exhausted. */
void
svc_plan_resume(const SvcSubscriptionKey *key)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'active'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND status = 'suspended'",
		2, {TEXTOID, TEXTOID}
	};

	run(NULL, &statement, key);
}

/* The subscription has ended. */
void
svc_plan_revoke(const SvcSubscriptionKey *key, const char *reason)
{
	SvcDeed		revoke = {.noun = SVC_ENTITLEMENT, .action = "revoke", .note = {"reason", NULL, reason}};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'revoked'"
		" WHERE customer_id = $1 AND subscription_id = $2 AND status <> 'revoked'",
		2, {TEXTOID, TEXTOID}
	};

	run(&revoke, &statement, key);
}

/*
 * Say in the customer's row, which every consume reads, when subscriptions will
 * change what is granted, so that it is written down before anything is decided
 * then (subscription_due.c).
 *
 * Locks: the customer, FOR NO KEY UPDATE, after its subscription and grants.
 */
void
svc_plan_note_change(Datum customer_id)
{
	static const SvcDeed count = {.noun = SVC_CUSTOMER, .action = "update", .counters_only = true};
	static SvcStatement lock = {
		"SELECT FROM @extschema@.svc_customer WHERE id = $1 FOR NO KEY UPDATE", 1, {TEXTOID}
	};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer SET changes_at = s.changes_at"
		" FROM (SELECT min(due_at) AS changes_at FROM @extschema@.svc_subscription WHERE customer_id = $1"
		"   AND (status = 'trialing' OR cancel_at_period_end OR scheduled_plan_id IS NOT NULL)) s"
		" WHERE id = $1",
		1, {TEXTOID}
	};

	/* a statement later, we see what those have written that we have waited for */
	svc_statement_run(&lock, &customer_id, NULL);
	svc_lifecycle_write(&count, &statement, &customer_id, NULL);
}

/*
 * Say in the subscription what was used of its grants, and in them that it is
 * said; but not in one that somebody else has locked, who uses it just now.
 */
void
svc_plan_note_usage(const SvcSubscriptionKey *key)
{
	static const SvcDeed update = {.noun = SVC_SUBSCRIPTION, .action = "update", .counters_only = true};
	static const SvcDeed count = {.noun = SVC_ENTITLEMENT, .action = "consume", .counters_only = true};
	static SvcStatement lock = {
		"SELECT array_agg(g.id) FROM (SELECT id::text FROM @extschema@.svc_entitlement"
		"  WHERE customer_id = $1 AND subscription_id = $2 AND NOT usage_noted FOR NO KEY UPDATE SKIP LOCKED) g",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement usage = {
		"UPDATE @extschema@.svc_subscription"
		" SET usage_this_period = @extschema@.svc_subscription_usage(customer_id, id, $3)"
		" WHERE customer_id = $1 AND id = $2",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	static SvcStatement noted = {
		"UPDATE @extschema@.svc_entitlement SET usage_noted = true WHERE customer_id = $1 AND id = ANY ($2)",
		2, {TEXTOID, TEXTARRAYOID}
	};
	Datum		values[3] = {key->customer_id, key->id, TimestampTzGetDatum(svc_clock_now())};
	Datum		locked[2] = {key->customer_id};
	bool		none;

	svc_statement_run(&lock, values, NULL);
	locked[1] = svc_statement_value(0, 1, &none);
	svc_lifecycle_write(&update, &usage, values, NULL);
	if (!none)
		svc_lifecycle_write(&count, &noted, locked, NULL);
}

/* Run a statement about the grants of a subscription; "deed" or plain SQL. */
static void
run(const SvcDeed *deed, SvcStatement *statement, const SvcSubscriptionKey *key)
{
	Datum		values[2] = {key->customer_id, key->id};

	if (deed != NULL)
		svc_lifecycle_write(deed, statement, values, NULL);
	else
		svc_statement_run(statement, values, NULL);
}
