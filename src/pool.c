/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  Pools: grants of credits that several codes spend.
 *
 * A *pool* is a grant with costs:
 *
 *		code	credits
 *		limit	1000
 *		costs	{"gpt_large": 10, "gpt_small": 1}
 *
 * Its unit is the credit.  A unit of a code that the costs name is worth that
 * many credits: 7 of gpt_large take 70.  Whoever asks for the pool's own code
 * asks for credits; to that the pool is a grant like any other.
 *
 * The customer's row says whether there are pools at all (has_pools).  A pool pays
 * for a code when what the code's own grants have available does
 * not suffice; and alone, where there are none.  In a set of grants (grant.c)
 * pools stand behind those of the code itself, so that what is available is
 * taken from these first, then from pools, and only then is anything exceeded,
 * in the same order.  Figures of a set are in units of its code.  A pool that
 * cannot cover all the rest pays whole units; the credits that are left of it
 * are less than one unit's.
 *
 * In the ledger a line on a pool has the pool's code and credits, so that they
 * sum up, and says on which code they were spent and on how many units.  These
 * lines are also what giving back goes by: at the cost at which it was spent,
 * whatever the cost is now, and only back to the last reset.
 *
 * A code that has pools of its own, whatever their status, is not paid for by
 * others: so all can lock ordinary codes before those of pools (consume.c).
 *
 * Locks: as the reading says, in the order of codes and ids.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "amount.h"
#include "argument.h"
#include "pool.h"
#include "statement.h"

#define COSTS_MAX			1000	/* codes of one pool */

#define POOL_COLUMNS		SVC_GRANT_COLUMNS ", costs::jsonb"
#define COSTS_COLUMN		(SVC_GRANT_COLUMN_COUNT + 1)

/* Is $2 a code that others may pay for? */
#define IS_ORDINARY \
	" NOT EXISTS (SELECT FROM @extschema@.svc_entitlement p" \
	"  WHERE p.customer_id = $1 AND p.code = $2 AND p.costs IS NOT NULL)"

static SvcStatement read_pools = {
	"SELECT " POOL_COLUMNS
	" FROM @extschema@.svc_entitlement"
	" WHERE customer_id = $1 AND costs ? $2 AND costs IS NOT NULL AND" IS_ORDINARY
	" ORDER BY code, id",
	2, {TEXTOID, TEXTOID}
};

static SvcStatement lock_usable_pools = {
	"SELECT " POOL_COLUMNS
	" FROM @extschema@.svc_entitlement"
	" WHERE customer_id = $1 AND costs ? $2 AND costs IS NOT NULL AND" IS_ORDINARY
	"  AND status IN ('active', 'exhausted')"
	" ORDER BY code, id FOR NO KEY UPDATE",
	2, {TEXTOID, TEXTOID}
};

/* Those that have paid for the code, or hold something for it, included. */
static SvcStatement lock_all_pools = {
	"SELECT " POOL_COLUMNS
	" FROM @extschema@.svc_entitlement"
	" WHERE customer_id = $1 AND code <> $2"
	"  AND (EXISTS (SELECT FROM @extschema@.svc_entitlement_hold h WHERE h.customer_id = $1"
	"    AND h.entitlement_id = svc_entitlement.id AND h.spent_on = $2 AND h.status = 'open')"
	"   OR ((coalesce(costs ? $2, false)"
	"     OR EXISTS (SELECT FROM @extschema@.svc_entitlement_ledger l WHERE l.customer_id = $1"
	"      AND l.entitlement_id = svc_entitlement.id AND l.spent_on = $2)) AND" IS_ORDINARY "))"
	" ORDER BY code, id FOR NO KEY UPDATE",
	2, {TEXTOID, TEXTOID}
};

static uint64 run_reading(Datum customer_id, Datum code, SvcGrantReading reading);
static void read_costs(SvcGrantSet *pools);
static void append(SvcGrantSet *set, SvcGrant grant);
static void become_pool(SvcGrant *grant, Datum code);
static bool find_cost(const SvcGrant *grant, Datum code, Datum *cost);
static bool same_text(Datum a, Datum b);
static SvcGrant *find_by_id(const SvcGrantSet *pot, Datum id);

/* Have the grants that are in a set too little available for an amount? */
bool
svc_pool_is_needed(const SvcGrantSet *set, Datum amount)
{
	return set->lacks_pools && !set->unlimited &&
		svc_amount_compare(set->available, amount) < 0;
}

/* Find the pools that pay for a code, and add them to its grants. */
void
svc_pool_add(SvcGrantSet *set, Datum customer_id, Datum code, SvcInstant instant,
			 SvcGrantReading reading)
{
	SvcGrantSet pools;

	set->lacks_pools = false;
	svc_grant_read_rows(&pools, run_reading(customer_id, code, reading));
	if (pools.count == 0)
		return;
	read_costs(&pools);
	svc_grant_look(pools.grants, pools.count, customer_id, instant, reading == SVC_GRANT_READ);

	set->grants = repalloc(set->grants, (set->count + pools.count) * sizeof(SvcGrant));
	for (int i = 0; i < pools.count; i++)
	{
		become_pool(&pools.grants[i], code);
		append(set, pools.grants[i]);
	}
	svc_grant_arrange(set);
}

/*
 * Give back to a pool, which is locked and up to date, what is left to be given
 * back of a code; returns what it has not paid for.
 *
 * All that was spent on the code returns the very credits that it took; a part
 * of it its share of them.  Who has given back credits as such may have left
 * less than that: then as many whole units as they make.
 */
Datum
svc_pool_give_back(SvcGrant *pool, Datum customer_id, Datum rest)
{
	static SvcStatement statement = {
		"SELECT coalesce(sum(spent_amount), 0), coalesce(sum(amount), 0)"
		" FROM @extschema@.svc_entitlement_ledger"
		" WHERE customer_id = $1 AND entitlement_id = $2 AND spent_on = $3"
		"  AND seq > coalesce((SELECT max(seq) FROM @extschema@.svc_entitlement_ledger"
		"   WHERE customer_id = $1 AND entitlement_id = $2 AND kind = 'reset'), 0)",
		3, {TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {customer_id, pool->id, pool->spent_on};
	Datum		spent;
	Datum		credits_spent;
	Datum		used = svc_amount_add(pool->balance.used, pool->taken);
	Datum		units;
	Datum		credits;
	bool		isnull;

	svc_statement_run(&statement, values, NULL);
	spent = svc_statement_value(0, 1, &isnull);
	credits_spent = svc_statement_value(0, 2, &isnull);
	if (svc_amount_sign(spent) <= 0 || svc_amount_sign(credits_spent) <= 0)
		return rest;

	units = svc_amount_least(rest, spent);
	if (svc_amount_compare(svc_amount_multiply(credits_spent, units),
						   svc_amount_multiply(used, spent)) > 0)
		units = svc_amount_quotient(svc_amount_multiply(used, spent), credits_spent);
	credits = svc_amount_compare(units, spent) == 0 ? credits_spent :
		svc_amount_ratio(svc_amount_multiply(credits_spent, units), spent);
	pool->taken = svc_amount_subtract(pool->taken, credits);
	pool->spent = svc_amount_subtract(pool->spent, units);
	return svc_amount_subtract(rest, units);
}

/* The codes of a customer's pools. */
int
svc_pool_codes(Datum customer_id, Datum **codes)
{
	static SvcStatement statement = {
		"SELECT DISTINCT code::text FROM @extschema@.svc_entitlement"
		" WHERE customer_id = $1 AND costs IS NOT NULL",
		1, {TEXTOID}
	};
	uint64		rows = svc_statement_run(&statement, &customer_id, NULL);
	bool		isnull;

	*codes = palloc(Max(rows, 1) * sizeof(Datum));
	for (uint64 row = 0; row < rows; row++)
		(*codes)[row] = svc_statement_value(row, 1, &isnull);
	return (int) rows;
}

/*
 * For a request of several codes: lock, in one go and in one order, the grants
 * of those that are codes of pools, and the pools that pay for the others, the
 * payees.  What is drawn from this *pot* for one code is a copy.
 */
void
svc_pool_lock(SvcGrantSet *pot, Datum customer_id, Datum *codes, int code_count,
			  Datum *payees, int payee_count, SvcInstant instant)
{
	static SvcStatement statement = {
		"SELECT " POOL_COLUMNS
		" FROM @extschema@.svc_entitlement"
		" WHERE customer_id = $1 AND (code = ANY ($2) OR costs ?| $3)"
		"  AND status IN ('active', 'exhausted')"
		" ORDER BY code, id FOR NO KEY UPDATE",
		3, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	Datum		values[3] = {customer_id,
		svc_statement_texts(codes, code_count),
	svc_statement_texts(payees, payee_count)};

	svc_grant_read_rows(pot, svc_statement_run(&statement, values, NULL));
	read_costs(pot);
	svc_grant_look(pot->grants, pot->count, customer_id, instant, false);
}

/* Those of the pot that are the code's own. */
void
svc_pool_draw_own(SvcGrantSet *set, const SvcGrantSet *pot, Datum code)
{
	memset(set, 0, sizeof(*set));
	set->grants = palloc0(Max(pot->count, 1) * sizeof(SvcGrant));
	for (int i = 0; i < pot->count; i++)
	{
		if (same_text(pot->grants[i].code, code))
			append(set, pot->grants[i]);
	}
	svc_grant_arrange(set);
}

/* Add those of the pot that pay for the code to its own grants. */
void
svc_pool_draw(SvcGrantSet *set, const SvcGrantSet *pot, Datum code)
{
	Datum		cost;

	set->lacks_pools = false;
	set->grants = repalloc(set->grants, Max(set->count + pot->count, 1) * sizeof(SvcGrant));
	for (int i = 0; i < pot->count; i++)
	{
		if (!find_cost(&pot->grants[i], code, &cost))
			continue;
		append(set, pot->grants[i]);
		become_pool(&set->grants[set->count - 1], code);
	}
	svc_grant_arrange(set);
}

/* Reckon with what is decided for one code, before another draws. */
void
svc_pool_spend(SvcGrantSet *pot, const SvcGrantSet *set)
{
	for (int i = 0; i < set->count; i++)
	{
		SvcGrant   *grant = find_by_id(pot, set->grants[i].id);

		if (grant == NULL || svc_amount_sign(set->grants[i].taken) == 0)
			continue;
		grant->balance.used = svc_amount_add(grant->balance.used, set->grants[i].taken);
		grant->ledger_seq++;
	}
}

/*
 * Complete a decision with what is left when all codes of the request have been
 * served, as far as they are: by the pot.
 */
void
svc_pool_describe(SvcDecision *decision, const SvcGrantSet *set, const SvcGrantSet *pot)
{
	SvcGrantSet after = *set;
	Datum		consumed = svc_grant_taken(set);

	after.grants = palloc(Max(set->count, 1) * sizeof(SvcGrant));
	for (int i = 0; i < set->count; i++)
	{
		SvcGrant   *grant = find_by_id(pot, set->grants[i].id);

		after.grants[i] = set->grants[i];
		if (grant == NULL)
			continue;
		after.grants[i].balance = grant->balance;
		after.grants[i].taken = svc_amount_zero();
	}
	svc_grant_describe(decision, &after);
	decision->consumed = consumed;
}

/*
 * What is wrong with the costs of a pool, or NULL; "code" is set to the code
 * that it concerns, or to NULL.  Codes and costs that are no such thing are
 * refused like those of calls.
 */
const char *
svc_pool_check_costs(JsonbContainer *costs, const char *own_code, char **code)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	*code = NULL;
	if (!JsonContainerIsObject(costs))
		return "costs must be an object";
	if (JsonContainerSize(costs) == 0 || JsonContainerSize(costs) > COSTS_MAX)
		return psprintf("costs must be of 1 to %d codes", COSTS_MAX);
	it = JsonbIteratorInit(costs);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			*code = pnstrdup(value.val.string.val, value.val.string.len);
			svc_check_id(CStringGetTextDatum(*code), "entitlement code");
			if (own_code != NULL && strcmp(*code, own_code) == 0)
				return "a pool has no cost for its own code";
		}
		else if (token == WJB_VALUE)
		{
			if (value.type != jbvNumeric)
				return "a cost must be a number";
			svc_check_amount(NumericGetDatum(value.val.numeric), "cost");
			if (svc_amount_sign(NumericGetDatum(value.val.numeric)) <= 0)
				return "a cost must be greater than 0";
		}
	}
	*code = NULL;
	return NULL;
}

static uint64
run_reading(Datum customer_id, Datum code, SvcGrantReading reading)
{
	Datum		values[2] = {customer_id, code};

	switch (reading)
	{
		case SVC_GRANT_READ:
			return svc_statement_read(&read_pools, values, NULL);
		case SVC_GRANT_REREAD:
			return svc_statement_run(&read_pools, values, NULL);
		case SVC_GRANT_LOCK_USABLE:
			return svc_statement_run(&lock_usable_pools, values, NULL);
		case SVC_GRANT_LOCK_ALL:
			return svc_statement_run(&lock_all_pools, values, NULL);
	}
	pg_unreachable();
}

/* Of the rows of the last statement, which are these. */
static void
read_costs(SvcGrantSet *pools)
{
	for (int i = 0; i < pools->count; i++)
	{
		bool		isnull;
		Datum		costs = svc_statement_value(i, COSTS_COLUMN, &isnull);

		pools->grants[i].costs = isnull ? (Datum) 0 : costs;
	}
}

/* (there is room) */
static void
append(SvcGrantSet *set, SvcGrant grant)
{
	set->grants[set->count++] = grant;
}

/*
 * See a grant as one that pays for another code; without a cost for it, it is
 * there only to be given back to.
 */
static void
become_pool(SvcGrant *grant, Datum code)
{
	grant->is_pool = true;
	grant->spent_on = code;
	if (!find_cost(grant, code, &grant->cost))
		grant->state = SVC_NO_ENTITLEMENT;
}

/* The cost that a pool has for a code; false when it has none. */
static bool
find_cost(const SvcGrant *grant, Datum code, Datum *cost)
{
	Jsonb	   *costs;
	JsonbValue	value;

	if (grant->costs == (Datum) 0 || !grant->metered)
		return false;
	costs = DatumGetJsonbP(grant->costs);
	if (!JB_ROOT_IS_OBJECT(costs) ||
		getKeyJsonValueFromContainer(&costs->root, VARDATA_ANY(DatumGetTextPP(code)),
									 VARSIZE_ANY_EXHDR(DatumGetTextPP(code)), &value) == NULL ||
		value.type != jbvNumeric)
		return false;
	*cost = NumericGetDatum(value.val.numeric);
	return svc_amount_sign(*cost) > 0;
}

static bool
same_text(Datum a, Datum b)
{
	return DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, a, b));
}

static SvcGrant *
find_by_id(const SvcGrantSet *pot, Datum id)
{
	for (int i = 0; i < pot->count; i++)
	{
		if (same_text(pot->grants[i].id, id))
			return &pot->grants[i];
	}
	return NULL;
}
