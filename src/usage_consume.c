/*-------------------------------------------------------------------------
 *
 * usage_consume.c
 *	  What a usage record consumes, as the meter of its resource says.
 *
 * It does so in an AFTER trigger: a record that ON CONFLICT discards, for its id or
 * idempotency key is there already, has consumed nothing.  Which entitlement it is, the
 * BEFORE trigger has written down (usage_row.c), in "consumes", so that a correction
 * gives back what its record has consumed, whatever the meter says by then.
 *
 * What was not covered is written to the record, in "overage".  If the entitlement was
 * there, that counts as used, beyond the limit; else it has not been consumed.  How much
 * has been is in "consumed", where that is not all that the record is worth: so a
 * correction gives back no more than its record has consumed.
 *
 * Locks: the record that is corrected, then grants, as a consume does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/rel.h"

#include "amount.h"
#include "catalog.h"
#include "clock.h"
#include "consume.h"
#include "gate.h"
#include "handover.h"
#include "lifecycle.h"
#include "meter.h"
#include "statement.h"
#include "usage_row.h"
#include "usage_sql.h"

static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn id_column = {"id"};
static SvcColumn quantity_column = {"quantity", NUMERICOID};
static SvcColumn occurred_at_column = {"occurred_at", TIMESTAMPTZOID};
static SvcColumn consumes_column = {"consumes"};
static SvcColumn adjusts_id_column = {"adjusts_id"};

/* A record with its corrections, apart from the present one. */
typedef struct Corrected
{
	bool		is_negative;	/* the record alone */
	Datum		worth;
	Datum		consumed;
	Datum		overage;
} Corrected;

static Datum worth_of(SvcRowChange *change);
static bool find_corrected(SvcRowChange *change, Corrected *corrected);
static Datum rest_to_consume(const Corrected *corrected, Datum worth);
static Datum consume(SvcRowChange *change, Datum amount, Datum *overage);
static void note(SvcRowChange *change, Datum worth, Datum consumed, Datum overage);

PG_FUNCTION_INFO_V1(svc_usage_consume);

/*
 * svc_usage_consume(): AFTER INSERT, each row that consumes something.
 *
 * It consumes what it is worth, or is refused, as the meter says.  A negative quantity
 * gives back what was used, as far as it still counts as used.
 */
Datum
svc_usage_consume(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SvcRowChange *change;
	Corrected	corrected;
	Datum		worth;
	Datum		amount;
	Datum		consumed = svc_amount_zero();
	Datum		overage = svc_amount_zero();
	SvcCall		call;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("svc_usage_consume() must be called as a trigger of svc"),
				 errdetail("It is for AFTER INSERT of svc_usage, for each row."),
				 errhint("svc_install() makes the triggers that svc needs.")));
	change = svc_row_open(trigger->tg_relation, SVC_USAGE, NULL, trigger->tg_trigtuple);
	if (svc_handover_is_restored(change))
		return PointerGetDatum(NULL);
	change->fcinfo = fcinfo;

	svc_call_begin(&call, fcinfo);
	amount = worth = worth_of(change);
	if (find_corrected(change, &corrected))
	{
		amount = rest_to_consume(&corrected, worth);
		if (svc_amount_sign(worth) < 0)
			overage = svc_amount_greatest(worth, svc_amount_subtract(svc_amount_zero(), corrected.overage));
	}
	if (svc_amount_sign(amount) != 0)
		consumed = consume(change, amount, &overage);
	if (svc_amount_compare(consumed, worth) != 0 || svc_amount_sign(overage) != 0)
		note(change, worth, consumed, overage);
	svc_call_end(&call);
	return PointerGetDatum(NULL);
}

/* A record that is counted is one, a correction its quantity. */
static Datum
worth_of(SvcRowChange *change)
{
	bool		isnull;
	Datum		quantity = svc_row_new(change, &quantity_column, &isnull);
	const SvcMeter *meter = svc_usage_row_meter(change);

	(void) svc_row_new(change, &adjusts_id_column, &isnull);
	return meter == NULL || meter->aggregation != SVC_COUNT || !isnull ? quantity :
		svc_amount_from(svc_amount_sign(quantity) < 0 ? -1 : 1);
}

/*
 * The record that is corrected, locked, so that no two corrections take back the same;
 * false, if the present one is no correction.
 */
static bool
find_corrected(SvcRowChange *change, Corrected *corrected)
{
	static SvcStatement lock = {
		"SELECT FROM @extschema@.svc_usage WHERE customer_id = $1 AND id = $2 FOR NO KEY UPDATE", 2, {TEXTOID, TEXTOID}
	};
	/* also by a transaction that has committed after our snapshot */
	static SvcStatement read = {
		"SELECT coalesce(sum(u.worth), 0), coalesce(sum(coalesce(u.consumed, u.worth)), 0), coalesce(greatest(sum(u.overage), 0), 0),"
		"  coalesce(bool_or(u.worth < 0 AND u.id = $2), false)"
		" FROM (SELECT u.id, CASE WHEN $4 THEN " SVC_USAGE_COUNT("u") " ELSE u.quantity END AS worth, u.consumed, u.overage"
		"  FROM @extschema@.svc_usage u WHERE u.customer_id = $1 AND (u.id = $2 OR u.adjusts_id = $2) AND u.id <> $3) u",
		4, {TEXTOID, TEXTOID, TEXTOID, BOOLOID}
	};
	const SvcMeter *meter = svc_usage_row_meter(change);
	Datum		values[4];
	bool		isnull;

	values[1] = svc_row_new(change, &adjusts_id_column, &isnull);
	if (isnull)
		return false;
	values[0] = svc_row_new(change, &customer_id_column, &isnull);
	values[2] = svc_row_new(change, &id_column, &isnull);
	values[3] = BoolGetDatum(meter != NULL && meter->aggregation == SVC_COUNT);
	svc_statement_run(&lock, values, NULL);
	CommandCounterIncrement();
	svc_statement_read_latest(&read, values);
	corrected->worth = svc_statement_value(0, 1, &isnull);
	corrected->consumed = svc_statement_value(0, 2, &isnull);
	corrected->overage = svc_statement_value(0, 3, &isnull);
	corrected->is_negative = DatumGetBool(svc_statement_value(0, 4, &isnull));
	return true;
}

/*
 * What a correction consumes or gives back: of what its record has not consumed, or has
 * not given back, nothing.
 */
static Datum
rest_to_consume(const Corrected *corrected, Datum worth)
{
	Datum		zero = svc_amount_zero();
	Datum		not_given_back;

	if (svc_amount_sign(worth) < 0)
		return corrected->is_negative ? worth :
			svc_amount_greatest(worth, svc_amount_subtract(zero, svc_amount_greatest(corrected->consumed, zero)));
	if (svc_amount_sign(corrected->worth) >= 0)
		return worth;
	not_given_back = svc_amount_greatest(svc_amount_subtract(corrected->consumed, corrected->worth), zero);
	return svc_amount_greatest(svc_amount_subtract(worth, not_given_back), zero);
}

/* Consume an amount, or give it back: how much of it has been, and is not covered besides. */
static Datum
consume(SvcRowChange *change, Datum amount, Datum *overage)
{
	const SvcMeter *meter = svc_usage_row_meter(change);
	bool		isnull;
	SvcRequest	request = {.customer_id = svc_row_new(change, &customer_id_column, &isnull),
		.code = svc_row_new(change, &consumes_column, &isnull), .amount = amount,
	.instant.at = svc_clock_now()};
	Datum		answer;

	request.mode = svc_amount_sign(amount) < 0 ? SVC_CAP :
		meter != NULL && meter->overflows ? SVC_OVERFLOW : SVC_REJECT;
	answer = svc_consume_run(&request, svc_consume_answer_type());
	if (request.mode == SVC_REJECT && !svc_consume_is_allowed(answer))
		svc_consume_report_denied(&request, answer);
	/* (who has nothing at all is denied even what has happened already) */
	if (request.mode == SVC_OVERFLOW)
		*overage = svc_consume_is_allowed(answer) ? svc_consume_overage(answer) : amount;
	return svc_consume_amount(answer);
}

/* Write down what is not as it should be. */
static void
note(SvcRowChange *change, Datum worth, Datum consumed, Datum overage)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_usage SET consumed = nullif($4, $5), overage = nullif($6, 0)"
		" WHERE customer_id = $1 AND id = $2 AND occurred_at = $3",
		6, {TEXTOID, TEXTOID, TIMESTAMPTZOID, NUMERICOID, NUMERICOID, NUMERICOID}
	};
	bool		isnull;
	Datum		values[6] = {svc_row_new(change, &customer_id_column, &isnull),
		svc_row_new(change, &id_column, &isnull), svc_row_new(change, &occurred_at_column, &isnull),
	consumed, worth, overage};

	if (svc_lifecycle_rewrite(&statement, values, NULL) == 0)
		svc_gate_report_suppressed(SVC_USAGE, values[1]);
}
