/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  A trigger for users' own tables: a row is worth units of an entitlement.
 *
 *		CREATE TRIGGER seats AFTER INSERT OR UPDATE OR DELETE ON member
 *			FOR EACH ROW EXECUTE FUNCTION svc_guard('seats', 'customer_id', 'weight');
 *
 * A row that comes consumes its amount, or is refused (SV003); one that goes
 * gives it back; one that changes does both, or the difference.  What a reset
 * has taken back meanwhile is not given back again, which is why giving back
 * is in mode "cap".
 *
 * AFTER, so that a row that ON CONFLICT discards, or that a later BEFORE
 * trigger changes, counts for what it is.
 *
 * Locks: as consuming and giving back do, per row.  A row that goes from one
 * customer to another locks the two in the order of their ids.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "consume.h"

#define CUSTOMER_COLUMN		"customer_id"	/* unless another is named */

/* What a row is worth, and whose it is. */
typedef struct Worth
{
	char	   *customer_id;	/* NULL: nobody's */
	Datum		amount;
} Worth;

static void check_guard(FunctionCallInfo fcinfo);
static Worth read_worth(TriggerData *trigger, HeapTuple row);
static Datum read_amount(TriggerData *trigger, HeapTuple row, const char *column);
static char *read_column(TriggerData *trigger, HeapTuple row, const char *column);
static void book_difference(FunctionCallInfo fcinfo, const Worth *before, const Worth *after);
static void book(FunctionCallInfo fcinfo, const char *customer_id, Datum amount);

PG_FUNCTION_INFO_V1(svc_guard);

/*
 * svc_guard('code' [, 'customer column' [, 'amount column']]): AFTER INSERT OR
 * UPDATE OR DELETE, each row.
 */
Datum
svc_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Worth		nothing = {NULL, svc_amount_zero()};
	Worth		before;
	Worth		after;

	check_guard(fcinfo);
	before = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? nothing :
		read_worth(trigger, trigger->tg_trigtuple);
	after = TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? nothing :
		read_worth(trigger, TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
				   trigger->tg_newtuple : trigger->tg_trigtuple);
	book_difference(fcinfo, &before, &after);
	return PointerGetDatum(NULL);
}

static void
check_guard(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("svc_guard() must be called as an AFTER ROW trigger"),
				 errdetail("What a row is worth is known when it has been written."),
				 errhint("Use CREATE TRIGGER ... AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW.")));
	if (trigger->tg_trigger->tgnargs < 1 || trigger->tg_trigger->tgnargs > 3)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("svc_guard() takes 1 to 3 arguments"),
				 errdetail("Trigger \"%s\" gives it %d.", trigger->tg_trigger->tgname,
						   trigger->tg_trigger->tgnargs),
				 errhint("They are the code, the customer column and the amount column.")));
	svc_check_id(CStringGetTextDatum(trigger->tg_trigger->tgargs[0]), "entitlement code");
}

static Worth
read_worth(TriggerData *trigger, HeapTuple row)
{
	int			nargs = trigger->tg_trigger->tgnargs;
	Worth		worth;

	worth.customer_id = read_column(trigger, row,
									nargs > 1 ? trigger->tg_trigger->tgargs[1] : CUSTOMER_COLUMN);
	worth.amount = nargs > 2 ? read_amount(trigger, row, trigger->tg_trigger->tgargs[2]) :
		svc_amount_from(1);
	return worth;
}

/* NULL is worth nothing. */
static Datum
read_amount(TriggerData *trigger, HeapTuple row, const char *column)
{
	char	   *text_value = read_column(trigger, row, column);
	Datum		amount;

	if (text_value == NULL)
		return svc_amount_zero();
	amount = DirectFunctionCall3(numeric_in, CStringGetDatum(text_value),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	svc_check_amount(amount, column);
	if (svc_amount_sign(amount) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" must not be negative", column),
				 errdetail("It is %s, and says how much of entitlement \"%s\" a row is worth.",
						   text_value, trigger->tg_trigger->tgargs[0]),
				 errhint("Add a CHECK to table \"%s\".", RelationGetRelationName(trigger->tg_relation))));
	return amount;
}

static char *
read_column(TriggerData *trigger, HeapTuple row, const char *column)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int			attnum = SPI_fnumber(desc, column);

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\"",
						RelationGetRelationName(trigger->tg_relation), column),
				 errdetail("Trigger \"%s\" names it to svc_guard().", trigger->tg_trigger->tgname),
				 errhint("The arguments are the code, the customer column and the amount column.")));
	return SPI_getvalue(row, desc, attnum);
}

static void
book_difference(FunctionCallInfo fcinfo, const Worth *before, const Worth *after)
{
	int			order = before->customer_id == NULL || after->customer_id == NULL ? 1 :
		strcmp(before->customer_id, after->customer_id);

	if (before->customer_id != NULL && order == 0)
	{
		book(fcinfo, after->customer_id, svc_amount_subtract(after->amount, before->amount));
		return;
	}
	if (order < 0)
		book(fcinfo, before->customer_id, svc_amount_negate(before->amount));
	book(fcinfo, after->customer_id, after->amount);
	if (order > 0)
		book(fcinfo, before->customer_id, svc_amount_negate(before->amount));
}

/* Consume, or raise SV003; a negative amount is given back, as far as it was used. */
static void
book(FunctionCallInfo fcinfo, const char *customer_id, Datum amount)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SvcRequest	request = {.amount = amount, .mode = SVC_REJECT};
	Datum		answer;
	SvcCall		call;

	if (customer_id == NULL || svc_amount_sign(amount) == 0)
		return;
	request.customer_id = CStringGetTextDatum(customer_id);
	svc_check_id(request.customer_id, "customer id");
	request.code = CStringGetTextDatum(trigger->tg_trigger->tgargs[0]);
	request.instant.at = svc_clock_now();
	if (svc_amount_sign(amount) < 0)
		request.mode = SVC_CAP;

	svc_call_begin(&call, fcinfo);
	answer = svc_consume_run(&request, svc_consume_answer_type());
	if (request.mode == SVC_REJECT && !svc_consume_is_allowed(answer))
		svc_consume_report_denied(&request, answer);
	svc_call_end(&call);
}
