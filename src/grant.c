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
 * Pools of other codes pay after these, in burn order among themselves, at a
 * cost for each unit (pool.c); all figures of a set are in units of its code.
 *
 * A grant is *live* when its status is active or exhausted and the instant of
 * the decision lies within [valid_from, valid_until).
 *
 * What is read is *brought up to date* for that instant: whatever time alone
 * has done to a row since it was written happens to the reading.  Resets that
 * are due have come, each at its boundary and before the validity ended, and
 * holds lapse at their instants, in between.  So nothing depends on when
 * somebody looks; who has the row locked writes it down (booking.c).
 *
 * Locks: a locking reading locks rows in the order of their ids, FOR NO KEY
 * UPDATE, before anything is decided.  Calls for the same code thus meet at
 * its first row, and cannot deadlock.  The others take no lock.  What is held
 * of a grant changes only together with its row, so that the holds that are
 * read after the lock are those of the row.
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
#include "compat.h"
#include "direct.h"
#include "grant.h"
#include "statement.h"

/* SVC_GRANT_COLUMNS, and what follows them in statements for the grants of a code */
enum
{
	GRANT_ID = 1,
	GRANT_STATUS,
	GRANT_UNLIMITED,
	GRANT_LIMIT_AMOUNT,
	GRANT_USED_AMOUNT,
	GRANT_HELD_AMOUNT,
	GRANT_ROLLOVER_AMOUNT,
	GRANT_ROLLOVER_MAX,
	GRANT_CARRY_OVERAGE,
	GRANT_MAY_EXCEED,
	GRANT_OVERAGE_LIMIT,
	GRANT_PRIORITY,
	GRANT_CREATED_AT,
	GRANT_VALID_FROM,
	GRANT_VALID_UNTIL,
	GRANT_RESET_PERIOD,
	GRANT_RESET_ANCHOR,
	GRANT_RESET_TIMEZONE,
	GRANT_LAST_RESET_AT,
	GRANT_RESET_AT,
	GRANT_VALUE,
	GRANT_LEDGER_SEQ,
	GRANT_CODE,
};

/* The same columns, for who reads them without SPI; of overage, its text. */
static SvcColumn grant_columns[] = {
	{"id"}, {"status"}, {"unlimited", BOOLOID}, {"limit_amount", NUMERICOID},
	{"used_amount", NUMERICOID}, {"held_amount", NUMERICOID}, {"rollover_amount", NUMERICOID},
	{"rollover_max", NUMERICOID}, {"carry_overage", BOOLOID}, {"overage"}, {"overage_limit", NUMERICOID},
	{"priority", INT4OID}, {"created_at", TIMESTAMPTZOID}, {"valid_from", TIMESTAMPTZOID},
	{"valid_until", TIMESTAMPTZOID}, {"reset_period"}, {"reset_anchor", TIMESTAMPTZOID},
	{"reset_timezone"}, {"last_reset_at", TIMESTAMPTZOID}, {"reset_at", TIMESTAMPTZOID},
	{"value", JSONBOID}, {"ledger_seq", INT8OID}, {"code"},
};

static SvcDirectTable grants_of_code = {"svc_entitlement", 2, {{"customer_id"}, {"code"}},
lengthof(grant_columns), grant_columns};

/* One row of these columns; the first one is number 1, as in SPI. */
typedef struct Row
{
	Datum		values[SVC_GRANT_COLUMN_COUNT + 1];
	bool		isnull[SVC_GRANT_COLUMN_COUNT + 1];
} Row;

/* of the composite types, in order */
#define DECISION_COLUMNS		7
#define CONSUMPTION_COLUMNS		9
#define HOLD_COLUMNS			11

static SvcStatement read_grants = {
	"SELECT " SVC_GRANT_COLUMNS
	" FROM @extschema@.svc_entitlement"
	" WHERE customer_id = $1 AND code = $2",
	2, {TEXTOID, TEXTOID}
};

static SvcStatement lock_usable_grants = {
	"SELECT " SVC_GRANT_COLUMNS
	" FROM @extschema@.svc_entitlement"
	" WHERE customer_id = $1 AND code = $2 AND status IN ('active', 'exhausted')"
	" ORDER BY id FOR NO KEY UPDATE",
	2, {TEXTOID, TEXTOID}
};

static SvcStatement lock_all_grants = {
	"SELECT " SVC_GRANT_COLUMNS
	" FROM @extschema@.svc_entitlement"
	" WHERE customer_id = $1 AND code = $2"
	" ORDER BY id FOR NO KEY UPDATE",
	2, {TEXTOID, TEXTOID}
};

static uint64 run_reading(Datum customer_id, Datum code, SvcGrantReading reading);
static void gate_of(SvcGate *gate, const char *status, TimestampTz changes_at, bool has_pools);
static bool read_gate_now(SvcGate *gate, Datum customer_id);
static bool read_gate_directly(SvcGate *gate, Datum customer_id);
static bool lock_grant_directly(SvcGrantSet *set, Datum customer_id, Datum code);
static bool is_slot_usable(SvcDirectScan *scan);
static bool read_grants_directly(SvcGrantSet *set, Datum customer_id, Datum code);
static void read_slot(Row *row, SvcDirectScan *scan);
static void read_result(Row *row, uint64 number);
static void read_grant(SvcGrant *grant, const Row *row);
static char *text_of(const Row *row, int column);
static void read_balance(SvcBalance *balance, const Row *row);
static void read_cycle(SvcGrant *grant, const Row *row);
static int	count_same_code(const SvcGrant *grants, int count);
static void find_lapses(SvcGrant *grants, int count, Datum customer_id, bool as_reader);
static void look_at(SvcGrant *grant, SvcInstant instant);
static int64 resets_until(const SvcGrant *grant, TimestampTz horizon, int64 done);
static void lapse_until(SvcGrant *grant, TimestampTz at);
static SvcReason grant_state(const SvcGrant *grant);
static TimestampTz instant_or(const Row *row, int column, TimestampTz otherwise);
static Datum amount_or_zero(const Row *row, int column);
static int	compare_grants(const void *a, const void *b);
static SvcReason reason_without_live(const SvcGrantSet *set);
static Datum covered(const SvcGrant *grant, Datum room, Datum rest);
static Datum take(SvcGrant *grant, Datum units, Datum rest);
static Datum take_beyond(SvcGrant *grant, Datum units, Datum rest);
static Datum room_beyond(const SvcGrant *grant);
static Datum left_within(const SvcGrant *grant);
static bool pays_first(const SvcGrantSet *set, const SvcGrant *grant);
pg_noreturn static void report_past(const SvcGrant *grant, TimestampTz at);

/* Read what a customer's row says to who asks for its grants.  Takes no lock. */
void
svc_grant_gate(SvcGate *gate, Datum customer_id, bool as_reader)
{
	static SvcStatement statement = {
		"SELECT status::text, changes_at::timestamptz, has_pools::boolean"
		" FROM @extschema@.svc_customer WHERE id = $1",
		1, {TEXTOID}
	};
	uint64		rows;
	TimestampTz changes_at;
	bool		no_change;
	bool		isnull;

	if (!as_reader && read_gate_now(gate, customer_id))
		return;
	rows = as_reader ? svc_statement_read(&statement, &customer_id, NULL) :
		svc_statement_run(&statement, &customer_id, NULL);
	gate->reason = SVC_UNKNOWN_CUSTOMER;
	gate->changes_at = DT_NOEND;
	gate->has_pools = false;
	if (rows == 0)
		return;
	changes_at = DatumGetTimestampTz(svc_statement_value(0, 2, &no_change));
	gate_of(gate, svc_statement_text(0, 1), no_change ? DT_NOEND : changes_at,
			DatumGetBool(svc_statement_value(0, 3, &isnull)));
}

/*
 * Read gate and grants as a reader does, without SPI; false when that cannot be,
 * because a table is not plain, or because the decision needs more than these
 * rows: holds, pools, or what is due for subscriptions.
 */
bool
svc_grant_read_directly(SvcGate *gate, SvcGrantSet *set, Datum customer_id, Datum code,
						SvcInstant instant)
{
	memset(set, 0, sizeof(*set));
	if (!read_gate_directly(gate, customer_id))
		return false;
	if (gate->reason != SVC_OK)
		return true;
	if (gate->has_pools || gate->changes_at <= instant.at ||
		!read_grants_directly(set, customer_id, code))
		return false;
	for (int i = 0; i < set->count; i++)
	{
		if (svc_amount_sign(set->grants[i].balance.held) > 0)
			return false;
	}
	svc_grant_look(set->grants, set->count, customer_id, instant, true);
	svc_grant_arrange(set);
	return true;
}

/*
 * Find the grants of a customer and code, as they are at an instant; "reading"
 * says how.  Where it locks only those that may be live, the set has no others.
 *
 * Raises 22023 when the caller gives an instant before the present period of a
 * live grant: what happened then is not known any more.
 */
void
svc_grant_find(SvcGrantSet *set, Datum customer_id, Datum code, SvcInstant instant,
			   SvcGrantReading reading)
{
	if (reading != SVC_GRANT_LOCK_USABLE || !lock_grant_directly(set, customer_id, code))
		svc_grant_read_rows(set, run_reading(customer_id, code, reading));
	svc_grant_look(set->grants, set->count, customer_id, instant, reading == SVC_GRANT_READ);
	svc_grant_arrange(set);
}

/* Read the rows of the last statement, as they are stored. */
void
svc_grant_read_rows(SvcGrantSet *set, uint64 rows)
{
	memset(set, 0, sizeof(*set));
	set->count = (int) rows;
	set->grants = palloc0(Max(set->count, 1) * sizeof(SvcGrant));
	for (int i = 0; i < set->count; i++)
	{
		Row			row;

		read_result(&row, i);
		read_grant(&set->grants[i], &row);
	}
}

/*
 * From rows as they are stored, in the order of their codes, to grants as they
 * are at an instant.
 */
void
svc_grant_look(SvcGrant *grants, int count, Datum customer_id, SvcInstant instant, bool as_reader)
{
	for (int first = 0, same; first < count; first += same)
	{
		same = count_same_code(&grants[first], count - first);
		find_lapses(&grants[first], same, customer_id, as_reader);
	}
	for (int i = 0; i < count; i++)
		look_at(&grants[i], instant);
}

/* Bring a set into its order, and compute its figures. */
void
svc_grant_arrange(SvcGrantSet *set)
{
	qsort(set->grants, set->count, sizeof(SvcGrant), compare_grants);
	set->live = 0;
	while (set->live < set->count && set->grants[set->live].state == SVC_OK)
		set->live++;
	svc_grant_sum_up(set);
}

/*
 * Read all grants as they are stored, with the snapshot of the calling query:
 * nothing has happened to them, and none counts as live.
 */
void
svc_grant_find_stored(SvcGrantSet *set, Datum customer_id, Datum code)
{
	svc_grant_read_rows(set, run_reading(customer_id, code, SVC_GRANT_READ));
}

/*
 * Read one grant by its id, which the caller has locked, as it is at an
 * instant; or, where that is before its present period, as it is stored.
 * Returns false when there is none.
 */
bool
svc_grant_load(SvcGrant *grant, Datum customer_id, Datum id, TimestampTz at)
{
	static SvcStatement statement = {
		"SELECT " SVC_GRANT_COLUMNS
		" FROM @extschema@.svc_entitlement WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id, id};
	SvcInstant	instant = {.at = at, .given = false};
	Row			row;

	memset(grant, 0, sizeof(*grant));
	if (svc_statement_run(&statement, values, NULL) == 0)
		return false;
	read_result(&row, 0);
	read_grant(grant, &row);
	svc_grant_look(grant, 1, customer_id, instant, false);
	return true;
}

/*
 * Let time pass for a grant: resets come at their boundaries, holds lapse.
 *
 * Between two lapses what is held is constant, and all resets in between are
 * done at once.  No reset comes when the validity is over.
 */
void
svc_grant_advance(SvcGrant *grant, TimestampTz at)
{
	TimestampTz horizon = grant->valid_until <= at ? grant->valid_until - 1 : at;

	if (grant->has_cycle && grant->reset_at <= horizon && strcmp(grant->status, "revoked") != 0)
	{
		int64		before = svc_cycle_index(&grant->cycle, grant->reset_at);
		int64		count = resets_until(grant, horizon, 0);
		TimestampTz boundary = grant->reset_at;

		for (int64 done = 0, some; done < count; done += some)
		{
			/* (the first may be off the grid, if that was changed) */
			if (done > 0)
				boundary = svc_cycle_boundary(&grant->cycle, before + done);
			lapse_until(grant, boundary);
			some = grant->lapse_count > 0 && grant->lapses[0].at <= horizon ?
				resets_until(grant, grant->lapses[0].at - 1, done) : count - done;
			svc_balance_reset(&grant->balance, some);
		}
		if (count > 1)
			boundary = svc_cycle_boundary(&grant->cycle, before + count - 1);
		grant->last_reset_at = boundary;
		grant->reset_at = svc_cycle_boundary(&grant->cycle, before + count);
		grant->resets += count;
	}
	lapse_until(grant, at);
	if (grant->metered && !grant->balance.unlimited)
		grant->available = svc_balance_available(&grant->balance);
	grant->perishes_at = Min(grant->valid_until, grant->reset_at);
}

/* Compute the figures of a set from its live grants. */
void
svc_grant_sum_up(SvcGrantSet *set)
{
	set->metered = set->unlimited = false;
	set->available = svc_amount_zero();
	for (int i = 0; i < set->live; i++)
	{
		SvcGrant   *grant = &set->grants[i];

		set->metered |= grant->metered;
		set->unlimited |= grant->metered && grant->balance.unlimited;
		if (grant->metered && !grant->balance.unlimited)
		{
			grant->available = svc_balance_available(&grant->balance);
			set->available = svc_amount_add(set->available,
											svc_grant_units(grant, grant->available));
		}
	}
}

/* What the live grants of a set come to. */
SvcGrantTotal
svc_grant_total(const SvcGrantSet *set)
{
	SvcGrantTotal total = {{0}};
	SvcBalance *sum = &total.balance;
	Datum		allowance;

	sum->limit = sum->rollover = sum->used = sum->held = total.overage = svc_amount_zero();
	for (int i = 0; i < set->live; i++)
	{
		const SvcBalance *balance = &set->grants[i].balance;

		if (!set->grants[i].metered)
			continue;
		sum->limit = svc_amount_add(sum->limit, balance->limit);
		sum->rollover = svc_amount_add(sum->rollover, balance->rollover);
		sum->used = svc_amount_add(sum->used, balance->used);
		sum->held = svc_amount_add(sum->held, balance->held);
		if (!balance->unlimited)
			total.overage = svc_amount_add(total.overage, svc_balance_overage(balance));
	}
	allowance = svc_balance_allowance(sum);
	total.percent = svc_amount_sign(allowance) == 0 ? svc_amount_from(100) :
		DirectFunctionCall2(numeric_round,
							DirectFunctionCall2(numeric_div, svc_amount_multiply(sum->used, svc_amount_from(100)), allowance),
							Int32GetDatum(2));
	return total;
}

/*
 * Spread an amount over the live grants, on top of what is taken from them
 * already: what is available, in their order; then what they may exceed by, in
 * their order; and in mode SVC_OVERFLOW the rest on the last one of the code
 * itself, or on the last pool.  Returns what is not covered.
 */
Datum
svc_grant_allocate(SvcGrantSet *set, Datum amount, SvcMode mode)
{
	SvcGrant   *last = NULL;
	Datum		rest = amount;

	for (int i = 0; i < set->live; i++)
	{
		SvcGrant   *grant = &set->grants[i];

		if (!grant->metered)
			continue;
		rest = take(grant, grant->balance.unlimited ? rest :
					covered(grant, grant->available, rest), rest);
		if (last == NULL || last->is_pool == grant->is_pool)
			last = grant;
	}
	for (int i = 0; i < set->live && svc_amount_sign(rest) > 0; i++)
	{
		SvcGrant   *grant = &set->grants[i];

		if (grant->metered && grant->balance.may_exceed)
			rest = take_beyond(grant, grant->balance.has_overage_limit ?
							   covered(grant, room_beyond(grant), rest) : rest, rest);
	}
	if (mode == SVC_OVERFLOW && last != NULL && svc_amount_sign(rest) > 0)
		rest = take_beyond(last, rest, rest);
	return rest;
}

/*
 * Decide whether an amount could be consumed, and allocate it if so.  What is
 * decided about a right that is not counted takes nothing.
 */
void
svc_grant_decide(SvcDecision *decision, SvcGrantSet *set, Datum amount, SvcMode mode)
{
	memset(decision, 0, sizeof(*decision));
	decision->overage = svc_amount_zero();
	decision->consumed = svc_amount_zero();
	decision->reset_at = DT_NOEND;
	decision->expires_at = DT_NOEND;

	if (set->live == 0)
	{
		decision->reason = reason_without_live(set);
		return;
	}
	decision->reason = SVC_OK;
	if (set->metered)
	{
		Datum		rest = svc_grant_allocate(set, amount, mode);
		bool		some = svc_amount_compare(rest, amount) < 0;

		if (svc_amount_sign(rest) > 0 && !(mode == SVC_CAP && some))
		{
			decision->reason = SVC_LIMIT_EXCEEDED;
			svc_grant_untake(set);
		}
	}
	for (int i = 0; i < set->live; i++)
	{
		const SvcGrant *grant = &set->grants[i];

		decision->reset_at = Min(decision->reset_at, grant->reset_at);
		decision->overage = svc_amount_add(decision->overage,
										   svc_grant_overage_units(grant, grant->overage));
		if (!decision->has_value && grant->has_value && !grant->is_pool)
		{
			decision->has_value = true;
			decision->value = grant->value;
		}
		if (!decision->has_entitlement && pays_first(set, grant))
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
	if (set->metered && !set->unlimited)
	{
		decision->has_remaining = true;
		decision->remaining = set->available;
	}
}

/* Forget what was allocated. */
void
svc_grant_untake(SvcGrantSet *set)
{
	for (int i = 0; i < set->count; i++)
		set->grants[i].taken = set->grants[i].overage = set->grants[i].spent = svc_amount_zero();
}

/* Complete a decision with what is taken, and what is left then. */
void
svc_grant_describe(SvcDecision *decision, const SvcGrantSet *set)
{
	decision->consumed = svc_grant_taken(set);
	if (!decision->has_remaining)
		return;
	decision->remaining = svc_amount_zero();
	for (int i = 0; i < set->live; i++)
	{
		const SvcGrant *grant = &set->grants[i];
		SvcBalance	after = grant->balance;

		if (!grant->metered)
			continue;
		after.used = svc_amount_add(after.used, grant->taken);
		after.held = svc_amount_add(after.held, grant->held);
		decision->remaining = svc_amount_add(decision->remaining,
											 svc_grant_units(grant, svc_balance_available(&after)));
	}
}

/* How many units of the code an amount of a grant pays: of a pool, whole ones. */
Datum
svc_grant_units(const SvcGrant *grant, Datum amount)
{
	return grant->is_pool ? svc_amount_quotient(amount, grant->cost) : amount;
}

/* Overage of what is taken from a grant, in units of the code. */
Datum
svc_grant_overage_units(const SvcGrant *grant, Datum overage)
{
	if (!grant->is_pool || svc_amount_sign(overage) == 0)
		return overage;
	return svc_amount_ratio(svc_amount_multiply(overage, grant->spent), grant->taken);
}

/* What is taken from all grants together, in units of the code. */
Datum
svc_grant_taken(const SvcGrantSet *set)
{
	Datum		taken = svc_amount_zero();

	for (int i = 0; i < set->count; i++)
		taken = svc_amount_add(taken, set->grants[i].is_pool ? set->grants[i].spent :
							   set->grants[i].taken);
	return taken;
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

/* A decision as a row of svc_decision, svc_consumption or svc_hold. */
Datum
svc_decision_datum(const SvcDecision *decision, TupleDesc desc)
{
	Datum		values[HOLD_COLUMNS];
	bool		isnull[HOLD_COLUMNS] = {false};

	Assert(desc->natts == DECISION_COLUMNS || desc->natts == CONSUMPTION_COLUMNS ||
		   desc->natts == HOLD_COLUMNS);
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
	values[9] = decision->hold_id;
	isnull[9] = !decision->has_hold;
	values[10] = TimestampTzGetDatum(decision->expires_at);
	isnull[10] = decision->expires_at == DT_NOEND;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, isnull));
}

static uint64
run_reading(Datum customer_id, Datum code, SvcGrantReading reading)
{
	Datum		values[2] = {customer_id, code};

	switch (reading)
	{
		case SVC_GRANT_READ:
			return svc_statement_read(&read_grants, values, NULL);
		case SVC_GRANT_REREAD:
			return svc_statement_run(&read_grants, values, NULL);
		case SVC_GRANT_LOCK_USABLE:
			return svc_statement_run(&lock_usable_grants, values, NULL);
		case SVC_GRANT_LOCK_ALL:
			return svc_statement_run(&lock_all_grants, values, NULL);
	}
	pg_unreachable();
}

static void
gate_of(SvcGate *gate, const char *status, TimestampTz changes_at, bool has_pools)
{
	static const char *const closed[] = {"suspended", "churned", "merged", "deleted"};

	gate->reason = status == NULL ? SVC_CUSTOMER_INACTIVE : SVC_OK;
	for (int i = 0; i < lengthof(closed) && gate->reason == SVC_OK; i++)
	{
		if (strcmp(status, closed[i]) == 0)
			gate->reason = SVC_CUSTOMER_INACTIVE;
	}
	gate->changes_at = changes_at;
	gate->has_pools = has_pools;
}

/* As a statement of a volatile function sees it: committed by now. */
static bool
read_gate_now(SvcGate *gate, Datum customer_id)
{
	bool		done;

	if (!svc_direct_enter())
		return false;
	done = read_gate_directly(gate, customer_id);
	svc_direct_leave();
	return done;
}

static bool
read_gate_directly(SvcGate *gate, Datum customer_id)
{
	static SvcColumn columns[] = {{"status"}, {"changes_at", TIMESTAMPTZOID}, {"has_pools", BOOLOID}};
	static SvcDirectTable table = {"svc_customer", 1, {{"id"}}, lengthof(columns), columns};
	SvcDirectScan scan;

	if (!svc_direct_begin(&scan, &table, &customer_id))
		return false;
	gate->reason = SVC_UNKNOWN_CUSTOMER;
	gate->changes_at = DT_NOEND;
	gate->has_pools = false;
	if (svc_direct_next(&scan))
	{
		bool		no_status;
		bool		no_change;
		bool		isnull;
		Datum		text_value = svc_direct_value(&scan, 0, &no_status);
		Datum		instant = svc_direct_value(&scan, 1, &no_change);

		gate_of(gate, no_status ? NULL : TextDatumGetCString(text_value),
				no_change ? DT_NOEND : DatumGetTimestampTz(instant),
				DatumGetBool(svc_direct_value(&scan, 2, &isnull)));
	}
	svc_direct_end(&scan);
	return true;
}

/*
 * Lock the grant of a code that is active or exhausted, if there is just one;
 * false, when that is for the statement to do.
 */
static bool
lock_grant_directly(SvcGrantSet *set, Datum customer_id, Datum code)
{
	Datum		keys[2] = {customer_id, code};
	int			usable = 0;
	ItemPointerData tid;
	SvcDirectScan scan;
	bool		done = false;

	/* (the statement says why it cannot be done in a read-only transaction) */
	if (XactReadOnly || !svc_direct_enter())
		return false;
	if (svc_direct_begin(&scan, &grants_of_code, keys))
	{
		while (usable < 2 && svc_direct_next(&scan))
		{
			if (!is_slot_usable(&scan))
				continue;
			tid = scan.slot->tts_tid;
			usable++;
		}
		if (usable == 1 && svc_direct_lock(&scan, &tid, LockTupleNoKeyExclusive, keys) && is_slot_usable(&scan))
		{
			Row			row;

			memset(set, 0, sizeof(*set));
			set->grants = palloc0(sizeof(SvcGrant));
			set->count = 1;
			read_slot(&row, &scan);
			read_grant(&set->grants[0], &row);
			done = true;
		}
		svc_direct_end(&scan);
	}
	svc_direct_leave();
	return done;
}

static bool
is_slot_usable(SvcDirectScan *scan)
{
	bool		isnull;
	Datum		status = svc_direct_value(scan, GRANT_STATUS - 1, &isnull);
	char	   *name = isnull ? NULL : TextDatumGetCString(status);

	return name != NULL && (strcmp(name, "active") == 0 || strcmp(name, "exhausted") == 0);
}

/* The grants of a code as they are stored. */
static bool
read_grants_directly(SvcGrantSet *set, Datum customer_id, Datum code)
{
	Datum		keys[2] = {customer_id, code};
	int			room = 1;
	SvcDirectScan scan;

	if (!svc_direct_begin(&scan, &grants_of_code, keys))
		return false;
	set->grants = palloc(sizeof(SvcGrant));
	while (svc_direct_next(&scan))
	{
		Row			row;

		if (set->count == room)
		{
			room *= 4;
			set->grants = repalloc(set->grants, room * sizeof(SvcGrant));
		}
		memset(&set->grants[set->count], 0, sizeof(SvcGrant));
		read_slot(&row, &scan);
		read_grant(&set->grants[set->count++], &row);
	}
	svc_direct_end(&scan);
	return true;
}

/* (what is not passed by value would be gone with the row) */
static void
read_slot(Row *row, SvcDirectScan *scan)
{
	for (int i = 0; i < SVC_GRANT_COLUMN_COUNT; i++)
	{
		Oid			type = grant_columns[i].type;
		bool	   *isnull = &row->isnull[i + 1];
		Datum		value = svc_direct_value(scan, i, isnull);

		if (!*isnull && type != BOOLOID && type != INT4OID && type != INT8OID && type != TIMESTAMPTZOID)
			value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		row->values[i + 1] = value;
	}
	if (!row->isnull[GRANT_MAY_EXCEED])
		row->values[GRANT_MAY_EXCEED] =
			BoolGetDatum(strcmp(TextDatumGetCString(row->values[GRANT_MAY_EXCEED]), "allow") == 0);
}

/* A row of the last statement. */
static void
read_result(Row *row, uint64 number)
{
	for (int i = 1; i <= SVC_GRANT_COLUMN_COUNT; i++)
		row->values[i] = svc_statement_value(number, i, &row->isnull[i]);
}

/* A row as it is stored. */
static void
read_grant(SvcGrant *grant, const Row *row)
{
	grant->id = row->values[GRANT_ID];
	grant->code = row->values[GRANT_CODE];
	grant->status = text_of(row, GRANT_STATUS);
	read_balance(&grant->balance, row);
	grant->metered = !row->isnull[GRANT_LIMIT_AMOUNT] || grant->balance.unlimited;

	grant->priority = DatumGetInt32(row->values[GRANT_PRIORITY]);
	grant->created_at = instant_or(row, GRANT_CREATED_AT, DT_NOBEGIN);
	grant->valid_from = instant_or(row, GRANT_VALID_FROM, DT_NOBEGIN);
	grant->valid_until = instant_or(row, GRANT_VALID_UNTIL, DT_NOEND);
	grant->last_reset_at = instant_or(row, GRANT_LAST_RESET_AT, DT_NOBEGIN);
	grant->reset_at = instant_or(row, GRANT_RESET_AT, DT_NOEND);
	read_cycle(grant, row);
	grant->value = row->values[GRANT_VALUE];
	grant->has_value = !row->isnull[GRANT_VALUE];
	grant->ledger_seq = DatumGetInt64(row->values[GRANT_LEDGER_SEQ]);
	grant->taken = grant->overage = grant->held = grant->spent = svc_amount_zero();
}

static char *
text_of(const Row *row, int column)
{
	return row->isnull[column] ? NULL : TextDatumGetCString(row->values[column]);
}

static void
read_balance(SvcBalance *balance, const Row *row)
{
	balance->unlimited = DatumGetBool(row->values[GRANT_UNLIMITED]);
	balance->limit = amount_or_zero(row, GRANT_LIMIT_AMOUNT);
	balance->used = amount_or_zero(row, GRANT_USED_AMOUNT);
	balance->held = amount_or_zero(row, GRANT_HELD_AMOUNT);
	balance->rollover = amount_or_zero(row, GRANT_ROLLOVER_AMOUNT);
	balance->rollover_max = amount_or_zero(row, GRANT_ROLLOVER_MAX);
	balance->carries_overage = DatumGetBool(row->values[GRANT_CARRY_OVERAGE]);
	balance->may_exceed = DatumGetBool(row->values[GRANT_MAY_EXCEED]);
	balance->overage_limit = row->values[GRANT_OVERAGE_LIMIT];
	balance->has_overage_limit = !row->isnull[GRANT_OVERAGE_LIMIT];
}

/* Its periods; a row whose time zone the server does not know has none. */
static void
read_cycle(SvcGrant *grant, const Row *row)
{
	char	   *period = text_of(row, GRANT_RESET_PERIOD);
	char	   *zone = text_of(row, GRANT_RESET_TIMEZONE);

	if (!grant->metered || period == NULL || zone == NULL ||
		!svc_period_find(period, &grant->cycle.period) || grant->cycle.period == SVC_NEVER)
		return;
	grant->cycle.anchor = instant_or(row, GRANT_RESET_ANCHOR, DT_NOEND);
	grant->cycle.zone = pg_tzset(zone);
	grant->has_cycle = grant->cycle.zone != NULL && !TIMESTAMP_NOT_FINITE(grant->cycle.anchor);
}

/* How many grants, from the first on, have its code. */
static int
count_same_code(const SvcGrant *grants, int count)
{
	int			same = 1;

	while (same < count && DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
																grants[0].code, grants[same].code)))
		same++;
	return same;
}

/* When what is held of grants of one code will lapse, if anything is held of them. */
static void
find_lapses(SvcGrant *grants, int count, Datum customer_id, bool as_reader)
{
	static SvcStatement statement = {
		"SELECT entitlement_id::text, expires_at::timestamptz, amount::numeric"
		" FROM @extschema@.svc_entitlement_hold"
		" WHERE customer_id = $1 AND code = $2 AND status = 'open' AND isfinite(expires_at)"
		" ORDER BY expires_at",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id, grants[0].code};
	bool		any_held = false;
	uint64		rows;

	for (int i = 0; i < count; i++)
		any_held |= svc_amount_sign(grants[i].balance.held) > 0;
	if (!any_held)
		return;

	rows = as_reader ? svc_statement_read(&statement, values, NULL) :
		svc_statement_run(&statement, values, NULL);
	for (int i = 0; i < count; i++)
	{
		SvcGrant   *grant = &grants[i];

		grant->lapses = palloc(Max(rows, 1) * sizeof(SvcLapse));
		for (uint64 row = 0; row < rows; row++)
		{
			SvcLapse   *lapse = &grant->lapses[grant->lapse_count];
			bool		isnull;

			if (!DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, grant->id,
													  svc_statement_value(row, 1, &isnull))))
				continue;
			lapse->at = DatumGetTimestampTz(svc_statement_value(row, 2, &isnull));
			lapse->amount = svc_statement_value(row, 3, &isnull);
			grant->lapse_count++;
		}
	}
}

/* From the row as it is stored to the grant as it is at an instant. */
static void
look_at(SvcGrant *grant, SvcInstant instant)
{
	bool		is_past = grant->metered && instant.at < grant->last_reset_at;

	grant->at = instant.given ? instant.at : Max(instant.at, grant->last_reset_at);
	grant->state = grant_state(grant);
	if (is_past && instant.given && grant->state == SVC_OK)
		report_past(grant, instant.at);
	svc_grant_advance(grant, grant->at);
}

/* Of the resets after the first "done" ones: how many come up to an instant. */
static int64
resets_until(const SvcGrant *grant, TimestampTz horizon, int64 done)
{
	if (horizon < grant->reset_at)
		return 0;
	return svc_cycle_index(&grant->cycle, horizon) -
		svc_cycle_index(&grant->cycle, grant->reset_at) + 1 - done;
}

/* Holds whose time is over hold nothing any more. */
static void
lapse_until(SvcGrant *grant, TimestampTz at)
{
	while (grant->lapse_count > 0 && grant->lapses[0].at <= at)
	{
		grant->balance.held = svc_amount_subtract(grant->balance.held, grant->lapses[0].amount);
		grant->lapsed = true;
		grant->lapses++;
		grant->lapse_count--;
	}
}

/* SVC_OK when the grant is live, else why not. */
static SvcReason
grant_state(const SvcGrant *grant)
{
	if (strcmp(grant->status, "revoked") == 0)
		return SVC_REVOKED;
	if (strcmp(grant->status, "expired") == 0 || grant->valid_until <= grant->at)
		return SVC_EXPIRED;
	if (strcmp(grant->status, "suspended") == 0)
		return SVC_SUSPENDED;
	if (grant->valid_from > grant->at)
		return SVC_NOT_YET_VALID;
	return SVC_OK;
}

static TimestampTz
instant_or(const Row *row, int column, TimestampTz otherwise)
{
	return row->isnull[column] ? otherwise : DatumGetTimestampTz(row->values[column]);
}

static Datum
amount_or_zero(const Row *row, int column)
{
	return row->isnull[column] ? svc_amount_zero() : row->values[column];
}

/* Live grants first; those of the code itself before pools; then burn order. */
static int
compare_grants(const void *a, const void *b)
{
	const SvcGrant *x = a;
	const SvcGrant *y = b;

	if ((x->state == SVC_OK) != (y->state == SVC_OK))
		return x->state == SVC_OK ? -1 : 1;
	if (x->is_pool != y->is_pool)
		return y->is_pool ? -1 : 1;
	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	if (x->balance.unlimited != y->balance.unlimited)
		return x->balance.unlimited ? -1 : 1;
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

/*
 * How much of the rest so much of a grant covers: of a pool all of it, or else
 * as many whole units as it can, which never cost more than there is.
 */
static Datum
covered(const SvcGrant *grant, Datum room, Datum rest)
{
	if (!grant->is_pool)
		return svc_amount_least(rest, room);
	if (svc_amount_compare(svc_amount_multiply(rest, grant->cost), room) <= 0)
		return rest;
	return svc_grant_units(grant, room);
}

/* Take units of the rest from a grant; returns what is left of the rest. */
static Datum
take(SvcGrant *grant, Datum units, Datum rest)
{
	grant->taken = svc_amount_add(grant->taken, grant->is_pool ?
								  svc_amount_multiply(units, grant->cost) : units);
	if (grant->is_pool)
		grant->spent = svc_amount_add(grant->spent, units);
	return svc_amount_subtract(rest, units);
}

/* Overage is what goes beyond the part of a unit that a pool has left. */
static Datum
take_beyond(SvcGrant *grant, Datum units, Datum rest)
{
	Datum		amount = grant->is_pool ? svc_amount_multiply(units, grant->cost) : units;
	Datum		beyond = svc_amount_greatest(svc_amount_subtract(amount, left_within(grant)),
											 svc_amount_zero());

	grant->overage = svc_amount_add(grant->overage, beyond);
	return take(grant, units, rest);
}

/* What a grant may still pay, up to its overage_limit, when what is available is allocated. */
static Datum
room_beyond(const SvcGrant *grant)
{
	return svc_amount_add(left_within(grant), svc_balance_overage_room(&grant->balance));
}

/* What is available, and not allocated: of a pool, less than a unit. */
static Datum
left_within(const SvcGrant *grant)
{
	if (!grant->is_pool)
		return svc_amount_zero();
	return svc_amount_greatest(svc_amount_subtract(grant->available, grant->taken),
							   svc_amount_zero());
}

/*
 * Does a grant pay?  When nothing is taken: would it?  Of rights that are
 * counted and others, those that are counted pay.
 */
static bool
pays_first(const SvcGrantSet *set, const SvcGrant *grant)
{
	if (grant->metered != set->metered)
		return false;
	if (!grant->metered || svc_amount_sign(grant->taken) > 0)
		return true;
	return svc_amount_sign(svc_grant_taken(set)) == 0 &&
		(grant->balance.unlimited ||
		 svc_amount_sign(svc_grant_units(grant, grant->available)) > 0);
}

static void
report_past(const SvcGrant *grant, TimestampTz at)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"at\" must not be before the present period of entitlement \"%s\"",
					TextDatumGetCString(grant->id)),
			 errdetail("It is %s; the period began at %s.",
					   pstrdup(timestamptz_to_str(at)),
					   pstrdup(timestamptz_to_str(grant->last_reset_at))),
			 errhint("svc_balance_at() tells about the past; pass NULL for the present.")));
}
