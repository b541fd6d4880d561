/*-------------------------------------------------------------------------
 *
 * grant.c
 *	  The grants of one customer and code, and what can be decided from them.
 *
 * A *grant* is one row of svc_entitlement.  The grants of a customer that
 * share a code stack: they are one quota, paid in *burn order*, which is
 * total, so that everybody computes the same:
 *
 *	1. priority, ascending;
 *	2. unlimited grants before limited ones;
 *	3. what perishes first: least(valid_until, reset_at), never last;
 *	4. the oldest first;
 *	5. id, bytewise.
 *
 * A grant is *live* when its status is active or exhausted and the instant of
 * the decision lies within [valid_from, valid_until).
 *
 * Locks: svc_grant_lock() locks the rows whose status is active or exhausted
 * in the order of their ids, FOR NO KEY UPDATE, before anything is decided.
 * Calls for the same code thus meet at its first row, and cannot deadlock.
 * The others take no lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"

#include "amount.h"
#include "grant.h"
#include "statement.h"

/*
 * What all readers of grants select, in the order of the enum below.  The casts
 * cost nothing, and hold when the owner alters a column.
 */
#define GRANT_COLUMNS \
	"id::text, status::text, unlimited::boolean, limit_amount::numeric," \
	" used_amount::numeric, priority::integer, created_at::timestamptz," \
	" valid_from::timestamptz, valid_until::timestamptz, reset_at::timestamptz," \
	" value::jsonb, ledger_seq::bigint, code::text"

enum
{
	GRANT_ID = 1,
	GRANT_STATUS,
	GRANT_UNLIMITED,
	GRANT_LIMIT_AMOUNT,
	GRANT_USED_AMOUNT,
	GRANT_PRIORITY,
	GRANT_CREATED_AT,
	GRANT_VALID_FROM,
	GRANT_VALID_UNTIL,
	GRANT_RESET_AT,
	GRANT_VALUE,
	GRANT_LEDGER_SEQ,
	GRANT_CODE,
};

/* of the composite types, in order */
#define DECISION_COLUMNS		7
#define CONSUMPTION_COLUMNS		9

static SvcStatement read_grants = {
	"SELECT " GRANT_COLUMNS
	" FROM @extschema@.svc_entitlement"
	" WHERE customer_id = $1 AND code = $2",
	2, {TEXTOID, TEXTOID}
};

static void collect_grants(SvcGrantSet *set, uint64 rows, TimestampTz at);
static void read_grant(SvcGrant *grant, uint64 row, TimestampTz at);
static SvcReason grant_state(const char *status, uint64 row, TimestampTz at);
static TimestampTz instant_or(uint64 row, int column, TimestampTz otherwise);
static int	compare_grants(const void *a, const void *b);
static SvcReason reason_without_live(const SvcGrantSet *set);

/*
 * May this customer be served at all?  SVC_OK, SVC_CUSTOMER_INACTIVE or
 * SVC_UNKNOWN_CUSTOMER.  Takes no lock.
 */
SvcReason
svc_grant_gate(Datum customer_id, bool as_reader)
{
	static SvcStatement statement = {
		"SELECT coalesce(status IN ('suspended', 'churned', 'merged', 'deleted'), true)"
		" FROM @extschema@.svc_customer WHERE id = $1",
		1, {TEXTOID}
	};
	uint64		rows = as_reader ? svc_statement_read(&statement, &customer_id, NULL) :
		svc_statement_run(&statement, &customer_id, NULL);
	bool		isnull;

	if (rows == 0)
		return SVC_UNKNOWN_CUSTOMER;
	return DatumGetBool(svc_statement_value(0, 1, &isnull)) ? SVC_CUSTOMER_INACTIVE : SVC_OK;
}

/* Read all grants, with the snapshot of the calling query. */
void
svc_grant_read(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at)
{
	Datum		values[2] = {customer_id, code};

	collect_grants(set, svc_statement_read(&read_grants, values, NULL), at);
}

/* Read all grants as they are committed now. */
void
svc_grant_reread(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at)
{
	Datum		values[2] = {customer_id, code};

	collect_grants(set, svc_statement_run(&read_grants, values, NULL), at);
}

/* Lock and read the grants that may be live. */
void
svc_grant_lock(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at)
{
	static SvcStatement statement = {
		"SELECT " GRANT_COLUMNS
		" FROM @extschema@.svc_entitlement"
		" WHERE customer_id = $1 AND code = $2 AND status IN ('active', 'exhausted')"
		" ORDER BY id FOR NO KEY UPDATE",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id, code};

	collect_grants(set, svc_statement_run(&statement, values, NULL), at);
}

/* Read one grant by its id, which the caller has locked. */
void
svc_grant_load(SvcGrant *grant, Datum customer_id, Datum id)
{
	static SvcStatement statement = {
		"SELECT " GRANT_COLUMNS
		" FROM @extschema@.svc_entitlement WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id, id};

	svc_statement_run(&statement, values, NULL);
	memset(grant, 0, sizeof(*grant));
	read_grant(grant, 0, GetCurrentTransactionStartTimestamp());
}

/*
 * Spread an amount over the live grants in burn order, into their "taken".
 * Returns what none of them covers.
 */
Datum
svc_grant_allocate(SvcGrantSet *set, Datum amount)
{
	Datum		rest = amount;

	for (int i = 0; i < set->live; i++)
	{
		SvcGrant   *grant = &set->grants[i];

		if (!grant->metered)
			continue;
		grant->taken = grant->unlimited ? rest : svc_amount_least(rest, grant->available);
		rest = svc_amount_subtract(rest, grant->taken);
	}
	return rest;
}

/* Decide whether an amount could be consumed; all or nothing. */
void
svc_grant_decide(SvcDecision *decision, const SvcGrantSet *set, Datum amount)
{
	memset(decision, 0, sizeof(*decision));
	decision->overage = svc_amount_from(0);
	decision->consumed = svc_amount_from(0);
	decision->reset_at = DT_NOEND;

	if (set->live == 0)
	{
		decision->reason = reason_without_live(set);
		return;
	}
	decision->reason = SVC_OK;
	if (set->metered && !set->unlimited)
	{
		decision->has_remaining = true;
		decision->remaining = set->available;
		if (svc_amount_compare(set->available, amount) < 0)
			decision->reason = SVC_LIMIT_EXCEEDED;
	}
	for (int i = 0; i < set->live; i++)
	{
		const SvcGrant *grant = &set->grants[i];

		decision->reset_at = Min(decision->reset_at, grant->reset_at);
		if (!decision->has_value && grant->has_value)
		{
			decision->has_value = true;
			decision->value = grant->value;
		}
		/* the first that pays: of those that are counted, if there are any */
		if (!decision->has_entitlement && grant->metered == set->metered &&
			(!grant->metered || grant->unlimited || svc_amount_sign(grant->available) > 0))
		{
			decision->has_entitlement = true;
			decision->entitlement_id = grant->id;
		}
	}
	if (!decision->has_entitlement)
	{
		decision->has_entitlement = true;
		decision->entitlement_id = set->grants[0].id;
	}
}

/* The word for a reason, as in the README's table. */
const char *
svc_reason_name(SvcReason reason)
{
	switch (reason)
	{
		case SVC_OK:
			return "ok";
		case SVC_LIMIT_EXCEEDED:
			return "limit_exceeded";
		case SVC_SUSPENDED:
			return "suspended";
		case SVC_NOT_YET_VALID:
			return "not_yet_valid";
		case SVC_EXPIRED:
			return "expired";
		case SVC_REVOKED:
			return "revoked";
		case SVC_NO_ENTITLEMENT:
			return "no_entitlement";
		case SVC_CUSTOMER_INACTIVE:
			return "customer_inactive";
		case SVC_UNKNOWN_CUSTOMER:
			return "unknown_customer";
	}
	pg_unreachable();
}

/* A decision as a row of svc_decision, or of svc_consumption. */
Datum
svc_decision_datum(const SvcDecision *decision, TupleDesc desc)
{
	Datum		values[CONSUMPTION_COLUMNS];
	bool		isnull[CONSUMPTION_COLUMNS] = {false};

	Assert(desc->natts == DECISION_COLUMNS || desc->natts == CONSUMPTION_COLUMNS);
	values[0] = BoolGetDatum(decision->reason == SVC_OK);
	values[1] = CStringGetTextDatum(svc_reason_name(decision->reason));
	values[2] = decision->remaining;
	isnull[2] = !decision->has_remaining;
	values[3] = decision->overage;
	values[4] = TimestampTzGetDatum(decision->reset_at);
	isnull[4] = decision->reset_at == DT_NOEND;
	values[5] = decision->value;
	isnull[5] = !decision->has_value;
	values[6] = decision->entitlement_id;
	isnull[6] = !decision->has_entitlement;
	values[7] = decision->consumed;
	values[8] = BoolGetDatum(decision->replayed);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, isnull));
}

/* Take over the result of a statement, live grants first, in burn order. */
static void
collect_grants(SvcGrantSet *set, uint64 rows, TimestampTz at)
{
	memset(set, 0, sizeof(*set));
	set->grants = palloc0(Max(rows, 1) * sizeof(SvcGrant));
	set->count = (int) rows;
	set->available = svc_amount_from(0);

	for (uint64 row = 0; row < rows; row++)
		read_grant(&set->grants[row], row, at);
	qsort(set->grants, set->count, sizeof(SvcGrant), compare_grants);

	while (set->live < set->count && set->grants[set->live].state == SVC_OK)
	{
		SvcGrant   *grant = &set->grants[set->live++];

		set->metered |= grant->metered;
		set->unlimited |= grant->unlimited;
		if (grant->metered && !grant->unlimited)
			set->available = svc_amount_add(set->available, grant->available);
	}
}

static void
read_grant(SvcGrant *grant, uint64 row, TimestampTz at)
{
	char	   *status = svc_statement_text(row, GRANT_STATUS);
	bool		isnull;

	grant->id = svc_statement_value(row, GRANT_ID, &isnull);
	grant->state = grant_state(status, row, at);
	grant->unlimited = DatumGetBool(svc_statement_value(row, GRANT_UNLIMITED, &isnull));
	grant->limit_amount = svc_statement_value(row, GRANT_LIMIT_AMOUNT, &isnull);
	grant->metered = grant->unlimited || !isnull;
	grant->used_amount = svc_statement_value(row, GRANT_USED_AMOUNT, &isnull);
	if (grant->metered && !grant->unlimited)
		grant->available = svc_amount_greatest(svc_amount_from(0),
											   svc_amount_subtract(grant->limit_amount,
																   grant->used_amount));
	grant->priority = DatumGetInt32(svc_statement_value(row, GRANT_PRIORITY, &isnull));
	grant->created_at = instant_or(row, GRANT_CREATED_AT, DT_NOBEGIN);
	grant->reset_at = instant_or(row, GRANT_RESET_AT, DT_NOEND);
	grant->perishes_at = Min(instant_or(row, GRANT_VALID_UNTIL, DT_NOEND), grant->reset_at);
	grant->value = svc_statement_value(row, GRANT_VALUE, &isnull);
	grant->has_value = !isnull;
	grant->ledger_seq = DatumGetInt64(svc_statement_value(row, GRANT_LEDGER_SEQ, &isnull));
	grant->code = svc_statement_value(row, GRANT_CODE, &isnull);
	grant->taken = svc_amount_from(0);
}

/* SVC_OK when the grant is live, else why not. */
static SvcReason
grant_state(const char *status, uint64 row, TimestampTz at)
{
	if (strcmp(status, "revoked") == 0)
		return SVC_REVOKED;
	if (strcmp(status, "expired") == 0 ||
		instant_or(row, GRANT_VALID_UNTIL, DT_NOEND) <= at)
		return SVC_EXPIRED;
	if (strcmp(status, "suspended") == 0)
		return SVC_SUSPENDED;
	if (instant_or(row, GRANT_VALID_FROM, DT_NOBEGIN) > at)
		return SVC_NOT_YET_VALID;
	return SVC_OK;
}

static TimestampTz
instant_or(uint64 row, int column, TimestampTz otherwise)
{
	bool		isnull;
	Datum		value = svc_statement_value(row, column, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(value);
}

/* Live grants first, then burn order. */
static int
compare_grants(const void *a, const void *b)
{
	const SvcGrant *x = a;
	const SvcGrant *y = b;

	if ((x->state == SVC_OK) != (y->state == SVC_OK))
		return x->state == SVC_OK ? -1 : 1;
	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	if (x->unlimited != y->unlimited)
		return x->unlimited ? -1 : 1;
	if (x->perishes_at != y->perishes_at)
		return x->perishes_at < y->perishes_at ? -1 : 1;
	if (x->created_at != y->created_at)
		return x->created_at < y->created_at ? -1 : 1;
	return DatumGetInt32(DirectFunctionCall2Coll(bttextcmp, C_COLLATION_OID, x->id, y->id));
}

/* No live grant: the reason of the one that is nearest to being live. */
static SvcReason
reason_without_live(const SvcGrantSet *set)
{
	SvcReason	nearest = SVC_NO_ENTITLEMENT;

	for (int i = 0; i < set->count; i++)
		nearest = Min(nearest, set->grants[i].state);
	return nearest;
}
