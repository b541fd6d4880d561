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
 * there, that counts as used, beyond the limit; else nothing has been consumed, and
 * "consumes" says so.
 *
 * Locks: the record that is corrected, then grants, as a consume does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/rel.h"

#include "amount.h"
#include "catalog.h"
#include "clock.h"
#include "consume.h"
#include "handover.h"
#include "lifecycle.h"
#include "meter.h"
#include "statement.h"
#include "usage_row.h"

static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn id_column = {"id"};
static SvcColumn quantity_column = {"quantity", NUMERICOID};
static SvcColumn occurred_at_column = {"occurred_at", TIMESTAMPTZOID};
static SvcColumn consumes_column = {"consumes"};
static SvcColumn adjusts_id_column = {"adjusts_id"};

static Datum amount_to_consume(SvcRowChange *change);
static void lessen_overage(SvcRowChange *change, Datum amount);
static void consume(SvcRowChange *change, Datum amount);
static void note(SvcRowChange *change, Datum overage, bool consumed);

PG_FUNCTION_INFO_V1(svc_usage_consume);

/*
 * svc_usage_consume(): AFTER INSERT, each row that consumes something or is a correction.
 *
 * It consumes what it is worth, or is refused, as the meter says.  A negative quantity
 * gives back what was used, as far as it still counts as used.
 */
Datum
svc_usage_consume(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SvcRowChange *change;
	Datum		amount;
	SvcCall		call;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("svc_usage_consume() must be called as a trigger of svc"),
				 errdetail("It is for AFTER INSERT of svc_usage, for each row."),
				 errhint("svc_install() makes the triggers that svc needs.")));
	change = svc_row_open(trigger->tg_relation, SVC_USAGE, NULL, trigger->tg_trigtuple);
	if (svc_handover_take_restored(change))
		return PointerGetDatum(NULL);
	change->fcinfo = fcinfo;

	svc_call_begin(&call, fcinfo);
	amount = amount_to_consume(change);
	if (svc_amount_sign(amount) < 0)
		lessen_overage(change, amount);
	if (svc_amount_sign(amount) != 0)
		consume(change, amount);
	svc_call_end(&call);
	return PointerGetDatum(NULL);
}

/* A record that is counted is one, a correction its quantity. */
static Datum
amount_to_consume(SvcRowChange *change)
{
	bool		isnull;
	Datum		quantity = svc_row_new(change, &quantity_column, &isnull);
	const SvcMeter *meter = svc_usage_row_meter(change);

	(void) svc_row_new(change, &adjusts_id_column, &isnull);
	return meter == NULL || meter->aggregation != SVC_COUNT || !isnull ? quantity :
		svc_amount_from(svc_amount_sign(quantity) < 0 ? -1 : 1);
}

/* What is taken back of a record is what it was over, first. */
static void
lessen_overage(SvcRowChange *change, Datum amount)
{
	static SvcStatement lock = {
		"SELECT FROM @extschema@.svc_usage WHERE customer_id = $1 AND id = $2 FOR NO KEY UPDATE", 2, {TEXTOID, TEXTOID}
	};
	static SvcStatement read = {
		"SELECT -least(sum(overage), -$3) FROM @extschema@.svc_usage WHERE customer_id = $1 AND (id = $2 OR adjusts_id = $2)"
		" HAVING sum(overage) > 0",
		3, {TEXTOID, TEXTOID, NUMERICOID}
	};
	Datum		values[3] = {0, 0, amount};
	bool		isnull;

	values[1] = svc_row_new(change, &adjusts_id_column, &isnull);
	if (isnull)
		return;
	values[0] = svc_row_new(change, &customer_id_column, &isnull);
	svc_statement_run(&lock, values, NULL);
	if (svc_statement_run(&read, values, NULL) > 0)
		note(change, svc_statement_value(0, 1, &isnull), true);
}

/* Consume an amount, or give it back. */
static void
consume(SvcRowChange *change, Datum amount)
{
	const SvcMeter *meter = svc_usage_row_meter(change);
	bool		isnull;
	SvcRequest	request = {.customer_id = svc_row_new(change, &customer_id_column, &isnull),
	.amount = amount, .instant.at = svc_clock_now()};
	Datum		answer;
	Datum		overage;

	request.code = svc_row_new(change, &consumes_column, &isnull);
	if (isnull)
		return;
	request.mode = svc_amount_sign(amount) < 0 ? SVC_CAP :
		meter != NULL && meter->overflows ? SVC_OVERFLOW : SVC_REJECT;
	answer = svc_consume_run(&request, svc_consume_answer_type());
	if (svc_consume_is_allowed(answer))
	{
		overage = svc_consume_overage(answer);
		if (request.mode == SVC_OVERFLOW && svc_amount_sign(overage) > 0)
			note(change, overage, true);
	}
	else if (request.mode == SVC_REJECT)
		svc_consume_report_denied(&request, answer);
	/* (who has nothing at all is denied even what has happened already) */
	else if (request.mode == SVC_OVERFLOW)
		note(change, amount, false);
}

/* Write down what was not covered, and whether something has been consumed. */
static void
note(SvcRowChange *change, Datum overage, bool consumed)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_usage SET overage = $4, consumes = CASE WHEN $5 THEN consumes END"
		" WHERE customer_id = $1 AND id = $2 AND occurred_at = $3",
		5, {TEXTOID, TEXTOID, TIMESTAMPTZOID, NUMERICOID, BOOLOID}
	};
	bool		isnull;
	Datum		values[5] = {svc_row_new(change, &customer_id_column, &isnull),
		svc_row_new(change, &id_column, &isnull), svc_row_new(change, &occurred_at_column, &isnull),
	overage, BoolGetDatum(consumed)};

	(void) svc_lifecycle_rewrite(&statement, values, NULL);
}
