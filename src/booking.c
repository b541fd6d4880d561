/*-------------------------------------------------------------------------
 *
 * booking.c
 *	  Writing to grants what was decided about them.
 *
 * All grants that are written have been locked before anything was decided
 * (grant.c).  What time alone has done to a grant is written first, by
 * statements of their own; then, per grant, the line of the ledger and the
 * counters.  Line 0 is written before any counter is touched, because it is
 * where a rival with the same idempotency key is met (ledger.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "amount.h"
#include "booking.h"
#include "compat.h"
#include "gate.h"
#include "lifecycle.h"

static bool is_touched(const SvcGrant *grant);
static bool write_line(const SvcRequest *request, const SvcGrant *grant, int line, Datum answer);
static void write_counters(const SvcRequest *request, const SvcGrant *grant);
static bool update_directly(const SvcDeed *deed, const SvcRequest *request, const SvcGrant *grant,
				const char *status);
static bool is_spent(const SvcGrant *grant, const SvcBalance *balance);
static bool is_usable(const SvcGrant *grant);

/*
 * Write down the resets that have come in the reading of a grant, all in one:
 * one event, and one row of the ledger, stamped with the first boundary
 * (entitlement.c).
 */
void
svc_booking_renew(Datum customer_id, SvcGrant *grant)
{
	static const SvcDeed reset = {.noun = SVC_ENTITLEMENT, .action = "reset"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement"
		" SET used_amount = $3, rollover_amount = $4, last_reset_at = $5, reset_at = $6, status = $7"
		" WHERE customer_id = $1 AND id = $2"
		" RETURNING ledger_seq::bigint, used_amount = $3 AND rollover_amount = $4 AND status = $7",
		7, {TEXTOID, TEXTOID, NUMERICOID, NUMERICOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[7] = {customer_id, grant->id, grant->balance.used, grant->balance.rollover,
		TimestampTzGetDatum(grant->last_reset_at), TimestampTzGetDatum(grant->reset_at)};
	bool		nulls[7] = {false};
	bool		isnull;

	if (grant->resets == 0)
		return;
	if (is_usable(grant))
		grant->status = is_spent(grant, &grant->balance) &&
			strcmp(grant->status, "exhausted") == 0 ? "exhausted" : "active";
	values[6] = CStringGetTextDatum(grant->status);
	nulls[5] = grant->reset_at == DT_NOEND;
	if (svc_lifecycle_write(&reset, &statement, values, nulls) != 1 ||
		!DatumGetBool(svc_statement_value(0, 2, &isnull)))
		svc_gate_report_suppressed(SVC_ENTITLEMENT, grant->id);
	grant->ledger_seq = DatumGetInt64(svc_statement_value(0, 1, &isnull));
	grant->resets = 0;
}

/*
 * Write down that holds on a grant have lapsed in its reading, before what they
 * held is given to anybody else: then nobody can settle them any more, not even
 * a transaction that began before.  Returns how many it were, each counted with
 * its first line.
 */
int64
svc_booking_lapse(Datum customer_id, SvcGrant *grant)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement_hold"
		" SET status = 'lapsed', ended_at = expires_at, settled_amount = 0"
		" WHERE customer_id = $1 AND entitlement_id = $2 AND status = 'open' AND expires_at <= $3"
		" RETURNING amount::numeric, id::text, expires_at::timestamptz, line::integer",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	SvcRequest	request = {.kind = "lapse", .customer_id = customer_id, .has_hold = true};
	Datum		values[3] = {customer_id, grant->id, TimestampTzGetDatum(grant->at)};
	SPITupleTable *lapsed;
	SvcGrant	line = *grant;
	int64		holds = 0;
	uint64		rows;

	if (!grant->lapsed)
		return 0;
	rows = svc_lifecycle_rewrite(&statement, values, NULL);
	lapsed = SPI_tuptable;
	line.taken = svc_amount_zero();
	for (uint64 row = 0; row < rows; row++)
	{
		bool		isnull;

		line.held = svc_amount_negate(SPI_getbinval(lapsed->vals[row], lapsed->tupdesc, 1, &isnull));
		request.hold_id = SPI_getbinval(lapsed->vals[row], lapsed->tupdesc, 2, &isnull);
		line.at = DatumGetTimestampTz(SPI_getbinval(lapsed->vals[row], lapsed->tupdesc, 3, &isnull));
		line.ledger_seq = grant->ledger_seq++;
		(void) write_line(&request, &line, 0, (Datum) 0);
		holds += DatumGetInt32(SPI_getbinval(lapsed->vals[row], lapsed->tupdesc, 4, &isnull)) == 0;
	}
	grant->lapsed = false;
	return holds;
}

/* Write down that a grant's validity is over. */
void
svc_booking_expire(Datum customer_id, const SvcGrant *grant)
{
	static const SvcDeed expire = {.noun = SVC_ENTITLEMENT, .action = "expire"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement SET status = 'expired'"
		" WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id, grant->id};

	if (svc_lifecycle_write(&expire, &statement, values, NULL) != 1)
		svc_gate_report_suppressed(SVC_ENTITLEMENT, grant->id);
}

/*
 * Write down what time has done to locked grants: resets, lapses of holds; and
 * that they have expired, but not for an instant that the caller made up.
 */
void
svc_booking_catch_up(const SvcRequest *request, SvcGrantSet *set)
{
	for (int i = 0; i < set->count; i++)
	{
		SvcGrant   *grant = &set->grants[i];

		svc_booking_renew(request->customer_id, grant);
		(void) svc_booking_lapse(request->customer_id, grant);
		/* (not one that is seen as ended, because its subscription is) */
		if (grant->valid_until <= grant->at && strcmp(grant->status, "expired") != 0 &&
			grant->state == SVC_EXPIRED && !request->instant.given)
		{
			svc_booking_expire(request->customer_id, grant);
			grant->status = "expired";
		}
	}
}

/*
 * Write a request: a line of the ledger and new counters for each grant that
 * it touches.  "line" counts on over several sets.  A request with a key that
 * touches none leaves a line of amount 0, so that it is known.
 *
 * Returns false, and has written nothing, when another call with the same key
 * has taken effect meanwhile.
 */
bool
svc_booking_write(const SvcRequest *request, const SvcGrantSet *set, int *line, Datum answer)
{
	int			first = *line;

	for (int i = 0; i < set->count; i++)
	{
		if (!is_touched(&set->grants[i]))
			continue;
		if (!write_line(request, &set->grants[i], *line, answer))
			return false;
		(*line)++;
	}
	if (*line == first && request->has_key && set->count > 0)
	{
		if (!write_line(request, &set->grants[0], *line, answer))
			return false;
		(*line)++;
	}
	return true;
}

static bool
is_touched(const SvcGrant *grant)
{
	return svc_amount_sign(grant->taken) != 0 || svc_amount_sign(grant->held) != 0;
}

static bool
write_line(const SvcRequest *request, const SvcGrant *grant, int line, Datum answer)
{
	if (!svc_ledger_append(request, grant, line, answer))
	{
		Assert(line == 0);
		return false;
	}
	write_counters(request, grant);
	return true;
}

/*
 * Use is part of a grant's life, as long as it can be used.  Not so what is
 * held, and what is given back when it cannot.
 */
static void
write_counters(const SvcRequest *request, const SvcGrant *grant)
{
	static const SvcDeed use = {.noun = SVC_ENTITLEMENT, .action = "consume"};
	static const SvcDeed count = {.noun = SVC_ENTITLEMENT, .action = "consume", .counters_only = true};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement"
		" SET used_amount = used_amount + $3, held_amount = held_amount + $4,"
		"  ledger_seq = ledger_seq + 1, status = $5"
		" WHERE customer_id = $1 AND id = $2"
		" RETURNING used_amount = $6 AND ledger_seq = $7 AND status = $5",
		7, {TEXTOID, TEXTOID, NUMERICOID, NUMERICOID, TEXTOID, NUMERICOID, INT8OID}
	};
	bool		uses = is_usable(grant) && svc_amount_sign(grant->taken) != 0;
	SvcBalance	after = grant->balance;
	const char *status = grant->status;
	Datum		values[7] = {request->customer_id, grant->id, grant->taken, grant->held};
	bool		isnull;

	after.used = svc_amount_add(after.used, grant->taken);
	if (uses)
		status = is_spent(grant, &after) ? "exhausted" : "active";
	/* a change of status is for the server's triggers, too, that segments need */
	if (strcmp(status, grant->status) == 0 && update_directly(uses ? &use : &count, request, grant, status))
		return;
	values[4] = CStringGetTextDatum(status);
	values[5] = after.used;
	values[6] = Int64GetDatum(grant->ledger_seq + 1);

	/* a user's trigger may have suppressed the update, or changed it */
	if (svc_lifecycle_write(uses ? &use : &count, &statement, values, NULL) != 1 ||
		!DatumGetBool(svc_statement_value(0, 1, &isnull)))
		svc_gate_report_suppressed(SVC_ENTITLEMENT, grant->id);
}

/* The same without the executor (update.c); false when the statement is to do it. */
static bool
update_directly(const SvcDeed *deed, const SvcRequest *request, const SvcGrant *grant,
				const char *status)
{
	static SvcColumn columns[] = {{"used_amount", NUMERICOID}, {"held_amount", NUMERICOID},
	{"ledger_seq", INT8OID}, {"status"}};
	static const SvcCheck checks[] = {
		{"svc_entitlement_alerted_percent_check", "(alerted_percent >= 0)"},
		{"svc_entitlement_check", "(valid_from < valid_until)"},
		{"svc_entitlement_code_check", "((length(code) >= 1) AND (length(code) <= 255))"},
		{"svc_entitlement_costs_check", "(jsonb_typeof(costs) = 'object'::text)"},
		{"svc_entitlement_held_amount_check",
			"((held_amount >= (0)::numeric) AND (held_amount < 'Infinity'::numeric))"},
		{"svc_entitlement_id_check", "((length(id) >= 1) AND (length(id) <= 255))"},
		{"svc_entitlement_ledger_seq_check", "(ledger_seq >= 0)"},
		{"svc_entitlement_limit_amount_check",
			"((limit_amount >= (0)::numeric) AND (limit_amount < 'Infinity'::numeric))"},
		{"svc_entitlement_overage_check", "(overage = ANY (ARRAY['deny'::text, 'allow'::text]))"},
		{"svc_entitlement_overage_limit_check",
			"((overage_limit >= (0)::numeric) AND (overage_limit < 'Infinity'::numeric))"},
		{"svc_entitlement_priority_check", "(priority >= 0)"},
		{"svc_entitlement_reset_anchor_check", "isfinite(reset_anchor)"},
		{"svc_entitlement_reset_period_check",
			"(reset_period = ANY (ARRAY['hourly'::text, 'daily'::text, 'weekly'::text, 'monthly'::text, 'quarterly'::text, 'yearly'::text, 'never'::text]))"},
		{"svc_entitlement_revision_check", "(revision >= 1)"},
		{"svc_entitlement_rollover_amount_check",
			"((rollover_amount >= (0)::numeric) AND (rollover_amount < 'Infinity'::numeric))"},
		{"svc_entitlement_rollover_max_check",
			"((rollover_max >= (0)::numeric) AND (rollover_max < 'Infinity'::numeric))"},
		{"svc_entitlement_status_check",
			"(status = ANY (ARRAY['active'::text, 'exhausted'::text, 'suspended'::text, 'expired'::text, 'revoked'::text]))"},
		{"svc_entitlement_used_amount_check",
			"((used_amount >= (0)::numeric) AND (used_amount < 'Infinity'::numeric))"},
	};
	static SvcUpdateTable table = {{"svc_entitlement", 2, {{"customer_id"}, {"id"}}, lengthof(columns), columns},
	{lengthof(checks), checks}, {"customer_id", "id", "plan_id", "subscription_id"}};
	Datum		keys[2] = {request->customer_id, grant->id};
	Datum		values[lengthof(columns)];

	values[0] = grant->taken;
	values[1] = grant->held;
	values[2] = Int64GetDatum(1);
	values[3] = CStringGetTextDatum(status);
	return svc_lifecycle_update_row(deed, &table, keys, values);
}

/* A right that is not counted cannot be. */
static bool
is_spent(const SvcGrant *grant, const SvcBalance *balance)
{
	return grant->metered && svc_balance_is_spent(balance);
}

static bool
is_usable(const SvcGrant *grant)
{
	return strcmp(grant->status, "active") == 0 || strcmp(grant->status, "exhausted") == 0;
}
