/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Holds: setting aside what work may cost, until its cost is known.
 *
 * A *hold* takes from the grants of a code what a consume would take, without
 * using it: it is not available to anybody else.  When the work is done the
 * hold is *settled* with what it has really cost, less or more; or it is
 * *released*; or its time is over and it *lapses*.  Each ends it, once.
 *
 * Its rows, its *lines*, say what it holds of which grant.  That it has lapsed is
 * judged when a grant is read, by expires_at (grant.c), and written down, line by
 * line, by whoever has the grant locked (booking.c).
 *
 * Settling books at the instant of the settlement, in the period that the
 * grants are in then.  Up to what is held, neither gate nor suspension nor
 * validity keeps it; what goes beyond is consumed like anything else.
 *
 * What is held of a pool is held in its credits, at the cost of that time.
 *
 * Locks, in this order: all grants of the code, in the order of their ids, as
 * giving back does (consume.c); if the hold is on pools, or does not suffice,
 * the pools that pay for the code; then the rows of the hold.  What is held of a
 * grant is only changed with the grant locked, so who has the grants finds the
 * hold as it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "amount.h"
#include "argument.h"
#include "booking.h"
#include "catalog.h"
#include "compat.h"
#include "consume.h"
#include "error.h"
#include "gate.h"
#include "identifier.h"
#include "lifecycle.h"
#include "pool.h"

#define TIME_TO_LIVE_MAX	"10 years"

/* What a hold holds of one grant. */
typedef struct HoldLine
{
	Datum		entitlement_id;
	Datum		amount;
	Datum		settled;		/* what of it is used in the end */
	bool		on_pool;		/* then both are in credits: */
	Datum		cost;			/* so many for a unit of the hold's code */
	Datum		units;			/* and "settled" is so many units */
} HoldLine;

/* A hold as it was found. */
typedef struct Hold
{
	Datum		code;
	char	   *status;
	TimestampTz expires_at;		/* DT_NOEND: never */
	int			count;
	HoldLine   *lines;			/* in burn order */
} Hold;

/* What svc_hold_entitlement() was asked for besides. */
typedef struct HoldState
{
	TupleDesc	desc;
	TimestampTz expires_at;
} HoldState;

static TimestampTz end_of_time_to_live(FunctionCallInfo fcinfo, int n, TimestampTz from);
static bool attempt_hold(SvcRequest *request, void *state, Datum *answer);
static void write_hold(const SvcRequest *request, const SvcGrantSet *set, TimestampTz expires_at);
static void read_hold_request(FunctionCallInfo fcinfo, SvcRequest *request, int key_argument);
static Datum end_hold(FunctionCallInfo fcinfo, SvcRequest *request);
static bool attempt_end(SvcRequest *request, void *state, Datum *answer);
static void decide_beyond(const SvcRequest *request, SvcGrantSet *set, Datum beyond,
						  SvcDecision *decision);
static bool find_hold(Hold *hold, const SvcRequest *request, bool lock);
static void read_lines(Hold *hold, uint64 rows);
static bool needs_pools(const Hold *hold, Datum amount);
static Datum line_units(const HoldLine *line);
static bool is_over(const Hold *hold, SvcGrantSet *set, TimestampTz at);
static Datum settle_lines(Hold *hold, Datum amount);
static void apply_lines(const Hold *hold, SvcGrantSet *set);
static SvcGrant *find_grant(SvcGrantSet *set, Datum id);
static void take_lines(const Hold *hold, SvcGrantSet *set);
static Datum overage_of_taken(const SvcGrantSet *set);
static void write_end(const SvcRequest *request, const Hold *hold, const char *status,
					  TimestampTz at);
pg_noreturn static void report_unknown_hold(const SvcRequest *request);
pg_noreturn static void report_ended_hold(const SvcRequest *request, const Hold *hold);

PG_FUNCTION_INFO_V1(svc_hold_entitlement);
PG_FUNCTION_INFO_V1(svc_settle_hold);
PG_FUNCTION_INFO_V1(svc_release_hold);

/*
 * svc_hold_entitlement(customer_id, code, amount, ttl, idempotency_key, mode,
 *						at, metadata) -> svc_hold
 */
Datum
svc_hold_entitlement(PG_FUNCTION_ARGS)
{
	SvcRequest	request = {.kind = "hold", .answer_type = SVC_ANSWER_HOLD};
	HoldState	state;
	Datum		answer;
	bool		isnull;
	SvcCall		call;

	request.customer_id = svc_argument_id(fcinfo, 0, "customer id");
	request.code = svc_argument_id(fcinfo, 1, "entitlement code");
	request.amount = svc_argument_positive_amount(fcinfo, 2, "amount", "Leave it out for 1.");
	request.key = svc_argument_optional_id(fcinfo, 4, "idempotency key", &isnull);
	request.has_key = !isnull;
	request.mode = svc_consume_mode(fcinfo, 5);
	if (request.mode == SVC_OVERFLOW)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a hold cannot have mode \"overflow\""),
				 errdetail("What is not there cannot be set aside."),
				 errhint("Settle the hold with mode \"overflow\" when the cost is known.")));
	request.instant = svc_argument_instant(fcinfo, 6);
	state.expires_at = end_of_time_to_live(fcinfo, 3, request.instant.at);
	request.has_metadata = !PG_ARGISNULL(7);
	request.metadata = PG_GETARG_DATUM(7);

	svc_catalog_use(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &state.desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "svc_hold_entitlement must return a row");
	svc_call_begin(&call, fcinfo);
	answer = svc_ledger_run(&request, attempt_hold, &state);
	answer = svc_call_keep(&call, answer);
	svc_call_end(&call);
	return answer;
}

/*
 * svc_settle_hold(customer_id, hold_id, amount, idempotency_key, mode, at,
 *				   metadata) -> svc_consumption
 */
Datum
svc_settle_hold(PG_FUNCTION_ARGS)
{
	SvcRequest	request = {.kind = "settle", .answer_type = SVC_ANSWER_CONSUMPTION};

	request.amount = svc_argument_amount(fcinfo, 2, "amount");
	if (svc_amount_sign(request.amount) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must not be negative"),
				 errdetail("It is %s.", svc_amount_text(request.amount)),
				 errhint("Pass 0 for work that has cost nothing.")));
	request.mode = svc_consume_mode(fcinfo, 4);
	read_hold_request(fcinfo, &request, 3);
	request.instant = svc_argument_instant(fcinfo, 5);
	request.has_metadata = !PG_ARGISNULL(6);
	request.metadata = PG_GETARG_DATUM(6);
	return end_hold(fcinfo, &request);
}

/*
 * svc_release_hold(customer_id, hold_id, idempotency_key, at)
 *	-> svc_consumption
 */
Datum
svc_release_hold(PG_FUNCTION_ARGS)
{
	SvcRequest	request = {.kind = "release", .answer_type = SVC_ANSWER_CONSUMPTION};

	request.amount = svc_amount_zero();
	read_hold_request(fcinfo, &request, 2);
	request.instant = svc_argument_instant(fcinfo, 3);
	return end_hold(fcinfo, &request);
}

/* When a hold made now lapses; a null time to live has no end. */
static TimestampTz
end_of_time_to_live(FunctionCallInfo fcinfo, int n, TimestampTz from)
{
	Datum		ttl = PG_GETARG_DATUM(n);

	if (PG_ARGISNULL(n))
		return DT_NOEND;
	if (!svc_interval_is_between(ttl, "1 microsecond", TIME_TO_LIVE_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ttl must be greater than 0, and %s at most", TIME_TO_LIVE_MAX),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(interval_out, ttl))),
				 errhint("Pass NULL for a hold that does not lapse by itself.")));
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(from), ttl));
}

/* As consuming does, but what is allocated is held. */
static bool
attempt_hold(SvcRequest *request, void *state_arg, Datum *answer)
{
	HoldState  *state = state_arg;
	SvcGrantSet set;
	SvcDecision decision;
	int			line = 0;

	svc_consume_lock_and_decide(request, &set, &decision);
	if (decision.reason != SVC_OK)
	{
		if (!svc_ledger_replay_late(request, answer))
			*answer = svc_decision_datum(&decision, state->desc);
		return true;
	}
	if (!set.metered)
		svc_consume_report_not_metered(request, request->code);

	svc_grant_describe(&decision, &set);
	for (int i = 0; i < set.live; i++)
	{
		set.grants[i].held = set.grants[i].taken;
		set.grants[i].taken = set.grants[i].spent = svc_amount_zero();
	}
	request->has_hold = decision.has_hold = true;
	request->hold_id = decision.hold_id =
		DirectFunctionCall1(svc_new_id, CStringGetTextDatum("hold"));
	decision.expires_at = state->expires_at;
	*answer = svc_decision_datum(&decision, state->desc);
	if (!svc_booking_write(request, &set, &line, *answer))
		return false;
	write_hold(request, &set, state->expires_at);
	return true;
}

/* The rows of a new hold, in burn order. */
static void
write_hold(const SvcRequest *request, const SvcGrantSet *set, TimestampTz expires_at)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_entitlement_hold"
		" (customer_id, id, line, expires_at, held_at, amount, entitlement_id, code, metadata,"
		"  spent_on, cost)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		11, {TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, NUMERICOID, TEXTOID, TEXTOID,
		JSONBOID, TEXTOID, NUMERICOID}
	};
	int			line = 0;

	for (int i = 0; i < set->live; i++)
	{
		const SvcGrant *grant = &set->grants[i];
		Datum		values[11] = {request->customer_id, request->hold_id, Int32GetDatum(line),
			TimestampTzGetDatum(expires_at), TimestampTzGetDatum(grant->at), grant->held,
		grant->id, grant->code, request->metadata, grant->spent_on, grant->cost};
		bool		isnull[11] = {false};

		if (svc_amount_sign(grant->held) == 0)
			continue;
		isnull[3] = expires_at == DT_NOEND;
		isnull[8] = !request->has_metadata || line > 0;
		isnull[9] = isnull[10] = !grant->is_pool;
		if (svc_statement_run(&statement, values, isnull) != 1)
			svc_gate_report_unwritten("svc_entitlement_hold");
		line++;
	}
}

static void
read_hold_request(FunctionCallInfo fcinfo, SvcRequest *request, int key_argument)
{
	bool		isnull;

	request->customer_id = svc_argument_id(fcinfo, 0, "customer id");
	request->has_hold = true;
	request->hold_id = svc_argument_id(fcinfo, 1, "hold id");
	request->key = svc_argument_optional_id(fcinfo, key_argument, "idempotency key", &isnull);
	request->has_key = !isnull;
}

/* Run a settlement or a release to its answer. */
static Datum
end_hold(FunctionCallInfo fcinfo, SvcRequest *request)
{
	TupleDesc	desc;
	Datum		answer;
	SvcCall		call;

	svc_catalog_use(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "a function that ends holds must return a row");
	svc_call_begin(&call, fcinfo);
	answer = svc_ledger_run(request, attempt_end, desc);
	answer = svc_call_keep(&call, answer);
	svc_call_end(&call);
	return answer;
}

/*
 * End a hold, with what was used of it.  The grants are first as they would be
 * if that part were done; from what they have left then, in the usual way, the
 * rest is taken.
 */
static bool
attempt_end(SvcRequest *request, void *state, Datum *answer)
{
	bool		is_release = strcmp(request->kind, "release") == 0;
	Hold		hold;
	SvcGrantSet set;
	SvcDecision decision;
	SvcGate		gate;
	Datum		rest;
	int			line = 0;

	if (!find_hold(&hold, request, false))
		report_unknown_hold(request);
	request->code = hold.code;
	(void) svc_consume_read_gate(request, false, &gate);
	svc_grant_find(&set, request->customer_id, request->code, request->instant,
				   SVC_GRANT_LOCK_ALL);
	set.lacks_pools = gate.has_pools;
	if (gate.has_pools && needs_pools(&hold, request->amount))
		svc_pool_add(&set, request->customer_id, request->code, request->instant,
					 SVC_GRANT_LOCK_ALL);
	if (!find_hold(&hold, request, true))
		report_unknown_hold(request);
	if (strcmp(hold.status, "open") != 0 || is_over(&hold, &set, request->instant.at))
	{
		if (svc_ledger_replay_late(request, answer))
			return true;
		report_ended_hold(request, &hold);
	}
	svc_booking_catch_up(request, &set);
	if (set.lacks_pools)
		/* they do not pay, but count for what remains: not locked */
		svc_pool_add(&set, request->customer_id, request->code, request->instant,
					 SVC_GRANT_REREAD);

	rest = settle_lines(&hold, request->amount);
	apply_lines(&hold, &set);
	decide_beyond(request, &set, rest, &decision);
	if (decision.reason != SVC_OK)
	{
		/* the hold stays as it is */
		*answer = svc_decision_datum(&decision, state);
		return true;
	}
	svc_grant_describe(&decision, &set);
	take_lines(&hold, &set);
	decision.consumed = svc_grant_taken(&set);
	decision.overage = overage_of_taken(&set);
	if (svc_amount_sign(hold.lines[0].settled) > 0)
	{
		decision.has_entitlement = true;
		decision.entitlement_id = hold.lines[0].entitlement_id;
	}
	*answer = svc_decision_datum(&decision, state);
	if (!svc_booking_write(request, &set, &line, *answer))
		return false;
	write_end(request, &hold, is_release ? "released" : "settled", request->instant.at);
	return true;
}

/*
 * Decide on what goes beyond the hold.  In mode SVC_CAP it is no reason to deny
 * all, if none of it is there.
 */
static void
decide_beyond(const SvcRequest *request, SvcGrantSet *set, Datum beyond, SvcDecision *decision)
{
	svc_grant_decide(decision, set, beyond, request->mode);
	if (svc_amount_sign(beyond) > 0)
	{
		SvcGate		gate;

		svc_grant_gate(&gate, request->customer_id, false);
		if (gate.reason != SVC_OK)
			decision->reason = gate.reason;
		else if (decision->reason == SVC_OK && !set->metered)
			decision->reason = SVC_NO_ENTITLEMENT;
	}
	if (decision->reason == SVC_OK)
		return;
	svc_grant_untake(set);
	decision->overage = svc_amount_zero();
	if (svc_amount_sign(beyond) == 0 || request->mode == SVC_CAP)
		decision->reason = SVC_OK;
}

/* Find a hold, and lock it if wanted; false when there is none. */
static bool
find_hold(Hold *hold, const SvcRequest *request, bool lock)
{
#define HOLD_COLUMNS \
	"SELECT coalesce(spent_on, code)::text, status::text, expires_at::timestamptz, entitlement_id::text," \
	" amount::numeric, cost::numeric" \
	" FROM @extschema@.svc_entitlement_hold WHERE customer_id = $1 AND id = $2 ORDER BY line"
	static SvcStatement read = {HOLD_COLUMNS, 2, {TEXTOID, TEXTOID}};
	static SvcStatement read_locked = {HOLD_COLUMNS " FOR NO KEY UPDATE", 2, {TEXTOID, TEXTOID}};
#undef HOLD_COLUMNS
	Datum		values[2] = {request->customer_id, request->hold_id};
	uint64		rows = svc_statement_run(lock ? &read_locked : &read, values, NULL);

	if (rows == 0)
		return false;
	read_lines(hold, rows);
	return true;
}

static void
read_lines(Hold *hold, uint64 rows)
{
	bool		isnull;
	Datum		expires_at;

	hold->code = svc_statement_value(0, 1, &isnull);
	hold->status = svc_statement_text(0, 2);
	expires_at = svc_statement_value(0, 3, &isnull);
	hold->expires_at = isnull ? DT_NOEND : DatumGetTimestampTz(expires_at);
	hold->count = (int) rows;
	hold->lines = palloc0(rows * sizeof(HoldLine));
	for (uint64 row = 0; row < rows; row++)
	{
		hold->lines[row].entitlement_id = svc_statement_value(row, 4, &isnull);
		hold->lines[row].amount = svc_statement_value(row, 5, &isnull);
		hold->lines[row].settled = hold->lines[row].units = svc_amount_zero();
		hold->lines[row].cost = svc_statement_value(row, 6, &isnull);
		hold->lines[row].on_pool = !isnull;
		/* it ends as a whole: one line that has lapsed is enough */
		if (strcmp(hold->status, "open") == 0)
			hold->status = svc_statement_text(row, 2);
	}
}

/* Are pools to be locked, because the hold is on some, or does not suffice? */
static bool
needs_pools(const Hold *hold, Datum amount)
{
	bool		on_pool = false;
	Datum		held = svc_amount_zero();

	for (int i = 0; i < hold->count; i++)
	{
		on_pool |= hold->lines[i].on_pool;
		held = svc_amount_add(held, line_units(&hold->lines[i]));
	}
	return on_pool || svc_amount_compare(amount, held) > 0;
}

/* For how many units of the hold's code a line is. */
static Datum
line_units(const HoldLine *line)
{
	return line->on_pool ? svc_amount_ratio(line->amount, line->cost) : line->amount;
}

/*
 * Is its time over?  Its grants may be further than the request, which does not
 * reach back behind their present periods.
 */
static bool
is_over(const Hold *hold, SvcGrantSet *set, TimestampTz at)
{
	for (int i = 0; i < hold->count; i++)
		at = Max(at, find_grant(set, hold->lines[i].entitlement_id)->at);
	return hold->expires_at <= at;
}

/* Spread an amount over the lines, in burn order; returns what is beyond them. */
static Datum
settle_lines(Hold *hold, Datum amount)
{
	for (int i = 0; i < hold->count; i++)
	{
		HoldLine   *line = &hold->lines[i];

		line->units = svc_amount_least(amount, line_units(line));
		line->settled = line->on_pool ? svc_amount_multiply(line->units, line->cost) : line->units;
		amount = svc_amount_subtract(amount, line->units);
	}
	return amount;
}

/* Reckon as if the lines were done: they hold nothing more, and are used. */
static void
apply_lines(const Hold *hold, SvcGrantSet *set)
{
	for (int i = 0; i < hold->count; i++)
	{
		const HoldLine *line = &hold->lines[i];
		SvcBalance *balance = &find_grant(set, line->entitlement_id)->balance;

		balance->held = svc_amount_subtract(balance->held, line->amount);
		balance->used = svc_amount_add(balance->used, line->settled);
	}
	svc_grant_sum_up(set);
}

/* The grant of a line; it was locked with the others of its code. */
static SvcGrant *
find_grant(SvcGrantSet *set, Datum id)
{
	for (int i = 0; i < set->count; i++)
	{
		if (DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, set->grants[i].id, id)))
			return &set->grants[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("entitlement \"%s\" is not of the code of its hold", TextDatumGetCString(id)),
			 errdetail("Somebody else than svc has written rows of \"svc_entitlement_hold\"."),
			 errhint("Put these rows right.")));
}

/* From the reckoning to what is to be written. */
static void
take_lines(const Hold *hold, SvcGrantSet *set)
{
	for (int i = 0; i < hold->count; i++)
	{
		const HoldLine *line = &hold->lines[i];
		SvcGrant   *grant = find_grant(set, line->entitlement_id);

		grant->balance.held = svc_amount_add(grant->balance.held, line->amount);
		grant->balance.used = svc_amount_subtract(grant->balance.used, line->settled);
		grant->held = svc_amount_subtract(grant->held, line->amount);
		grant->taken = svc_amount_add(grant->taken, line->settled);
		if (grant->is_pool)
			grant->spent = svc_amount_add(grant->spent, line->units);
	}
}

/* The part of what is taken that is beyond the limits. */
static Datum
overage_of_taken(const SvcGrantSet *set)
{
	Datum		sum = svc_amount_zero();

	for (int i = 0; i < set->count; i++)
	{
		SvcBalance	after = set->grants[i].balance;

		if (!set->grants[i].metered || after.unlimited)
			continue;
		after.used = svc_amount_add(after.used, set->grants[i].taken);
		sum = svc_amount_add(sum, svc_grant_overage_units(&set->grants[i],
														  svc_amount_subtract(svc_balance_overage(&after),
																			  svc_balance_overage(&set->grants[i].balance))));
	}
	return sum;
}

/* The rows of a hold that has ended. */
static void
write_end(const SvcRequest *request, const Hold *hold, const char *status, TimestampTz at)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_entitlement_hold SET status = $4, ended_at = $5, settled_amount = $6"
		" WHERE customer_id = $1 AND id = $2 AND line = $3",
		6, {TEXTOID, TEXTOID, INT4OID, TEXTOID, TIMESTAMPTZOID, NUMERICOID}
	};

	for (int i = 0; i < hold->count; i++)
	{
		Datum		values[6] = {request->customer_id, request->hold_id, Int32GetDatum(i),
			CStringGetTextDatum(status), TimestampTzGetDatum(at), hold->lines[i].settled};

		if (svc_lifecycle_rewrite(&statement, values, NULL) != 1)
			svc_gate_report_unwritten("svc_entitlement_hold");
	}
}

static void
report_unknown_hold(const SvcRequest *request)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_UNKNOWN_ROW),
			 errmsg("customer \"%s\" has no hold \"%s\"", TextDatumGetCString(request->customer_id),
					TextDatumGetCString(request->hold_id)),
			 errdetail("Table \"svc_entitlement_hold\" has no such row."),
			 errhint("Pass the hold_id that svc_hold_entitlement() has returned, and its customer.")));
}

static void
report_ended_hold(const SvcRequest *request, const Hold *hold)
{
	bool		is_open = strcmp(hold->status, "open") == 0;

	/* it tells who has ended the hold that this has happened: as a replay does (ledger.c) */
	svc_ledger_flush();
	ereport(ERROR,
			(errcode(ERRCODE_SVC_HOLD_ENDED),
			 errmsg("cannot %s hold \"%s\": it has %s", request->kind,
					TextDatumGetCString(request->hold_id),
					is_open || strcmp(hold->status, "lapsed") == 0 ? "lapsed" :
					psprintf("been %s", hold->status)),
			 is_open ?
			 errdetail("Its time was over at %s.", timestamptz_to_str(hold->expires_at)) :
			 errdetail("A hold ends once."),
			 errhint("What was used all the same is for svc_consume_entitlement(), mode \"overflow\".")));
}
