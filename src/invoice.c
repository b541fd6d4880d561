/*-------------------------------------------------------------------------
 *
 * invoice.c
 *	  Invoices: their money, their numbers, their actions.
 *
 * What is paid is written by functions only.  amount_due is always total - amount_paid, or
 * 0 when nothing can be demanded any more; what is paid never exceeds the
 * total, what is refunded never what is paid.  Once finalized, an invoice's
 * lines and amounts are frozen.
 *
 * Numbers are gapless: they are drawn from a row of svc_counter whose lock is
 * held until the end of the transaction.  Finalizing transactions therefore
 * wait for each other; that is what gapless costs.
 *
 * Its subscription follows: past due with an invoice that is overdue, active
 * again when none is left.
 *
 * Locks: the invoice, then the counter, or the subscription and its grants.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "action.h"
#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "counter.h"
#include "error.h"
#include "gate.h"
#include "invoice.h"
#include "lifecycle.h"
#include "statement.h"
#include "subscription_due.h"
#include "total.h"

/* What a finalized invoice says, for ever. */
static SvcColumn frozen_columns[] = {
	{"subtotal", NUMERICOID}, {"discount", NUMERICOID}, {"tax", NUMERICOID}, {"total", NUMERICOID}, {"currency"}, {"line_items", JSONBOID},
	{"period_start", TIMESTAMPTZOID}, {"period_end", TIMESTAMPTZOID}, {"issued_at", TIMESTAMPTZOID}, {"subscription_id"}, {"order_id"},
};

static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn subscription_id_column = {"subscription_id"};
static SvcColumn status_column = {"status"};
static SvcColumn number_column = {"number"};
static SvcColumn total_column = {"total", NUMERICOID};
static SvcColumn amount_due_column = {"amount_due", NUMERICOID};
static SvcColumn amount_paid_column = {"amount_paid", NUMERICOID};
static SvcColumn amount_refunded_column = {"amount_refunded", NUMERICOID};
static SvcColumn issued_at_column = {"issued_at", TIMESTAMPTZOID};
static SvcColumn due_date_column = {"due_date", TIMESTAMPTZOID};
static SvcColumn paid_at_column = {"paid_at", TIMESTAMPTZOID};
static SvcColumn sent_at_column = {"sent_at", TIMESTAMPTZOID};

static bool catch_up(Datum customer_id, Datum id, SvcInstant instant);
static void mark_overdue(void *keys);
static void check(SvcRowChange *change);
static void check_new(SvcRowChange *change);
static void check_frozen(SvcRowChange *change);
static void derive_amount_due(SvcRowChange *change);
static void imply(SvcRowChange *change, const char *action);
static void imply_finalize(SvcRowChange *change);
static void imply_payment(SvcRowChange *change);
static void imply_void(SvcRowChange *change);
static void imply_overdue(SvcRowChange *change);
static void conclude(SvcRowChange *change, const char *action);
static void prepare_pay(SvcActionCall *call);
static void prepare_refund(SvcActionCall *call);
static Datum read_amount(SvcActionCall *call, Datum most, const char *what, bool may_be_zero);

static const SvcAction actions[] = {
	{"svc_finalize_invoice", SVC_INVOICE, "finalize", "due_date"},
	{"svc_send_invoice", SVC_INVOICE, "send", "sent_to"},
	{"svc_pay_invoice", SVC_INVOICE, "pay", NULL, prepare_pay, true},
	{"svc_refund_invoice", SVC_INVOICE, "refund", NULL, prepare_refund, true},
};

void
svc_invoice_init(void)
{
	static const SvcLifecycleRules rules = {.catch_up = catch_up, .check = check, .imply = imply,
	.conclude = conclude};

	svc_lifecycle_set_rules(SVC_INVOICE, &rules);
	svc_action_register(actions, lengthof(actions));
}

/*
 * An invoice is overdue from its due date on, but not before it was issued,
 * whenever that is written down.
 */
static bool
catch_up(Datum customer_id, Datum id, SvcInstant instant)
{
	static SvcStatement statement = {
		"SELECT greatest(due_date, issued_at)::timestamptz FROM @extschema@.svc_invoice"
		" WHERE customer_id = $1 AND id = $2 AND status IN ('open', 'sent', 'partial') AND due_date <= $3"
		"  AND amount_due > 0",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {customer_id, id, TimestampTzGetDatum(instant.at)};
	bool		isnull;

	if (svc_statement_run(&statement, values, NULL) == 0)
		return false;
	svc_clock_run_at(DatumGetTimestampTz(svc_statement_value(0, 1, &isnull)), mark_overdue, values);
	return true;
}

/* "keys" are the customer's id and the invoice's. */
static void
mark_overdue(void *keys)
{
	static const SvcDeed deed = {.noun = SVC_INVOICE, .action = "markOverdue"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_invoice SET status = 'overdue' WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};

	if (svc_lifecycle_write(&deed, &statement, keys, NULL) != 1)
		svc_gate_report_suppressed(SVC_INVOICE, ((Datum *) keys)[1]);
}

static void
check(SvcRowChange *change)
{
	svc_total_check(change);
	if (change->is_insert)
		check_new(change);
	else
		check_frozen(change);
	derive_amount_due(change);
}

/* A new invoice has no number and no money on it. */
static void
check_new(SvcRowChange *change)
{
	static SvcColumn *const amounts[] = {&amount_paid_column, &amount_refunded_column};
	bool		isnull;

	(void) svc_row_new(change, &number_column, &isnull);
	if (!isnull)
		svc_lifecycle_refuse_column(change, "number", "Numbers are given by svc_finalize_invoice().");
	for (int i = 0; i < lengthof(amounts); i++)
	{
		Datum		amount = svc_row_new(change, amounts[i], &isnull);

		if (!isnull && svc_amount_sign(amount) != 0)
			svc_lifecycle_refuse_column(change, amounts[i]->name,
										"Pay the invoice when it is finalized, with svc_pay_invoice().");
	}
}

static void
check_frozen(SvcRowChange *change)
{
	if (strcmp(svc_row_old_text(change, &status_column), "draft") == 0)
		return;
	for (int i = 0; i < lengthof(frozen_columns); i++)
	{
		if (svc_row_column_differs(change, &frozen_columns[i]))
			svc_lifecycle_refuse_column(change, frozen_columns[i].name,
										"A finalized invoice is final: void it and make another.");
	}
}

/* amount_due = total - amount_paid, 0 when void. */
static void
derive_amount_due(SvcRowChange *change)
{
	bool		no_total;
	bool		isnull;
	Datum		total = svc_row_new(change, &total_column, &no_total);
	Datum		paid = svc_row_new(change, &amount_paid_column, &isnull);

	if (no_total || isnull)
		return;
	svc_row_set(change, &amount_due_column,
				svc_row_new_is(change, &status_column, "void") ? svc_amount_zero() :
				svc_amount_subtract(total, paid), false);
}

static void
imply(SvcRowChange *change, const char *action)
{
	if (strcmp(action, "finalize") == 0)
		imply_finalize(change);
	else if (strcmp(action, "send") == 0)
		svc_row_set(change, &sent_at_column,
					TimestampTzGetDatum(svc_clock_now()), false);
	else if (strcmp(action, "pay") == 0)
		imply_payment(change);
	else if (strcmp(action, "void") == 0)
		imply_void(change);
	else if (strcmp(action, "markOverdue") == 0)
		imply_overdue(change);
	derive_amount_due(change);
}

static void
imply_finalize(SvcRowChange *change)
{
	SvcCall		call;
	Datum		number;

	svc_call_begin(&call, change->fcinfo);
	number = svc_call_keep(&call, svc_counter_next("invoice", "INV-"));
	svc_call_end(&call);
	svc_row_set(change, &number_column, number, false);
	svc_row_imply_now(change, &issued_at_column);
}

/* Whoever sets status "paid" means that all is paid; "partial" says how much. */
static void
imply_payment(SvcRowChange *change)
{
	bool		isnull;
	Datum		total = svc_row_new(change, &total_column, &isnull);

	if (svc_row_new_is(change, &status_column, "paid"))
	{
		svc_row_set(change, &amount_paid_column, total, false);
		svc_row_imply_now(change, &paid_at_column);
	}
	else if (!svc_row_column_differs(change, &amount_paid_column))
		svc_lifecycle_refuse_change(change, "nothing was paid", "Use svc_pay_invoice().");
}

/* An invoice with money on it is not made to vanish. */
static void
imply_void(SvcRowChange *change)
{
	bool		isnull;
	Datum		paid = svc_row_new(change, &amount_paid_column, &isnull);
	Datum		refunded = svc_row_new(change, &amount_refunded_column, &isnull);

	if (svc_amount_compare(paid, refunded) > 0)
		svc_lifecycle_refuse_change(change, "money was paid on it",
									"Mark it uncollectible instead.");
}

static void
imply_overdue(SvcRowChange *change)
{
	bool		isnull;
	Datum		due_date = svc_row_new(change, &due_date_column, &isnull);

	if (isnull || DatumGetTimestampTz(due_date) > svc_clock_now())
		svc_lifecycle_refuse_change(change, "it is not due yet",
									"Wait until due_date has passed, or set one.");
}

static void
conclude(SvcRowChange *change, const char *action)
{
	SvcSubscriptionKey key;
	bool		isnull;
	bool		no_subscription;
	SvcCall		call;

	key.customer_id = svc_row_new(change, &customer_id_column, &isnull);
	key.id = svc_row_new(change, &subscription_id_column, &no_subscription);
	/* (nobody has waited for the payment of a draft) */
	if (no_subscription || change->is_insert || strcmp(svc_row_old_text(change, &status_column), "draft") == 0)
		return;
	svc_call_begin(&call, change->fcinfo);
	if (strcmp(action, "markOverdue") == 0)
		svc_subscription_unpaid(&key);
	else if (svc_row_new_is(change, &status_column, "paid") || svc_row_new_is(change, &status_column, "void"))
		svc_subscription_paid(&key);
	svc_call_end(&call);
}

/*
 * svc_pay_invoice(customer_id, invoice_id, amount, reason, revision)
 *
 * An amount that is NULL pays all that is due.
 */
static void
prepare_pay(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT amount_due::numeric, amount_paid::numeric FROM @extschema@.svc_invoice"
		" WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		keys[2] = {call->customer_id, call->id};
	bool		isnull;
	Datum		due;
	Datum		paid;
	Datum		amount;

	svc_statement_run(&statement, keys, NULL);
	due = svc_statement_value(0, 1, &isnull);
	paid = svc_statement_value(0, 2, &isnull);
	amount = read_amount(call, due, "due", true);

	if (svc_amount_compare(amount, due) == 0)
		call->to = "paid";
	else if (strcmp(call->row.status, "open") == 0 || strcmp(call->row.status, "sent") == 0)
		call->to = "partial";
	else
		call->to = call->row.status;
	svc_action_set(call, "amount_paid", NUMERICOID, svc_amount_add(paid, amount));
}

/*
 * svc_refund_invoice(customer_id, invoice_id, amount, reason, revision)
 *
 * An amount that is NULL gives back all that was paid and not given back yet.
 */
static void
prepare_refund(SvcActionCall *call)
{
	static SvcStatement statement = {
		"SELECT (amount_paid - amount_refunded)::numeric, amount_refunded::numeric FROM @extschema@.svc_invoice"
		" WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		keys[2] = {call->customer_id, call->id};
	bool		isnull;
	Datum		paid;
	Datum		refunded;
	Datum		amount;

	svc_statement_run(&statement, keys, NULL);
	paid = svc_statement_value(0, 1, &isnull);
	refunded = svc_statement_value(0, 2, &isnull);
	amount = read_amount(call, paid, "paid", false);
	svc_action_set(call, "amount_refunded", NUMERICOID, svc_amount_add(refunded, amount));
}

/* The amount to be moved: greater than 0, and at most what is there. */
static Datum
read_amount(SvcActionCall *call, Datum most, const char *what, bool may_be_zero)
{
	int			n = call->first_argument;
	FunctionCallInfo fcinfo = call->fcinfo;
	Datum		amount = PG_ARGISNULL(n) ? most :
		svc_argument_positive_amount(fcinfo, n, "amount", "Leave it out for all of it.");

	/* an invoice of nothing is paid by paying nothing */
	if (svc_amount_sign(most) <= 0 && !(may_be_zero && PG_ARGISNULL(n)))
		svc_action_refuse(call, psprintf("nothing is %s", what),
						  "Look at amount_due, amount_paid and amount_refunded.");
	if (svc_amount_compare(amount, most) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_AMOUNT_EXCEEDED),
				 errmsg("amount %s is more than is %s", svc_amount_text(amount), what),
				 errdetail("Of invoice \"%s\" %s is %s.", TextDatumGetCString(call->id),
						   svc_amount_text(most), what),
				 errhint("Leave out the amount for all of it.")));
	return amount;
}
