/*-------------------------------------------------------------------------
 *
 * subscription_due.c
 *	  What time alone does to subscriptions.
 *
 * At the end of a trial the subscription becomes active, if it costs nothing or
 * the customer has a payment method, else it expires.  At the end of a period
 * it is cancelled, if that was asked for; else a scheduled change of plan
 * happens, and the next period begins.  When an invoice of it is not paid in
 * time it is past due, and waits for the payment; then the periods go on where
 * they have stopped.
 *
 * Each of these is written down at its own instant, one after the other, with
 * the clock set to it (clock.c): so the result does not depend on when it is
 * done, by svc_run_due(), or by the next call that acts on the subscription.
 *
 * Between the instant and the writing, a consume must not spend what is not
 * granted any more, or miss what is granted by then.  The customer's row, which
 * every consume reads, says when subscriptions change what is granted
 * (changes_at); from then on a consume has it written down first.  A check,
 * which writes nothing, sees what has ended as ended, and goes on by the old
 * terms where these change.
 *
 * What cannot be written, because a user's trigger refuses it, keeps nobody from
 * consuming, giving back or paying (attempt.c), only from changing this very
 * subscription.  A consume sees what has ended as a check does, then.
 *
 * Locks: the subscription, FOR NO KEY UPDATE, then its grants, then the
 * customer.  Several subscriptions of a customer: all of them, then the grants of
 * all in one statement, in the order in which consumes lock them (plan_grant.c).
 * A consume comes here with grants locked already, in the wrong order; so it takes
 * only those subscriptions that nobody else has locked, and none if it cannot have
 * the first of them, so that one such consume at a time waits for more grants.  It
 * waits for a subscription only if it has no grant: who has a subscription locked
 * is about to change its grants.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "attempt.h"
#include "clock.h"
#include "compat.h"
#include "error.h"
#include "gate.h"
#include "lifecycle.h"
#include "statement.h"
#include "subscription_due.h"

/* As many months are 100 years. */
#define STEPS_MAX		1200

/* What stands in a subscription, and what is due next. */
typedef struct State
{
	char	   *status;
	TimestampTz due_at;			/* DT_NOEND: nothing is */
	TimestampTz unpaid_at;		/* when it is past due; DT_NOEND: it is not */
	bool		cancels;
	bool		changes;		/* is a change of plan due? */
	bool		carries_usage;
	bool		pays;			/* for what follows its trial */
	char	   *reason;			/* of a cancellation, or NULL */
} State;

/* One thing to be written down, for the clock to run. */
typedef struct Step
{
	const SvcSubscriptionKey *key;
	State		state;
	SvcDueCount *count;
} Step;

/* Work for an attempt. */
typedef struct CatchUp
{
	const SvcSubscriptionKey *key;
	TimestampTz at;
} CatchUp;

static void catch_up(void *state);
static void become_past_due(void *state);
static void reactivate(void *state);
static void read_state(State *state, const SvcSubscriptionKey *key);
static bool same_state(const State *a, const State *b);
static void take_step(void *work);
static void mark_past_due(const SvcSubscriptionKey *key);
static void cancel(const SvcSubscriptionKey *key, const State *state);
static void change_plan(const SvcSubscriptionKey *key, const State *state);
static void end_trial(const SvcSubscriptionKey *key, const State *state);
static void renew(const SvcSubscriptionKey *key);
static void write_step(const SvcDeed *deed, SvcStatement *statement, const SvcSubscriptionKey *key);
pg_noreturn static void report_too_late(const SvcSubscriptionKey *key, TimestampTz at);

/*
 * Lock a subscription; false when there is none, or, unless we are to wait,
 * when somebody else has it locked.
 */
bool
svc_subscription_lock(const SvcSubscriptionKey *key, bool wait)
{
	static SvcStatement waiting = {
		"SELECT FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id = $2 FOR NO KEY UPDATE",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement skipping = {
		"SELECT FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id = $2"
		" FOR NO KEY UPDATE SKIP LOCKED",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {key->customer_id, key->id};

	return svc_statement_run(wait ? &waiting : &skipping, values, NULL) > 0;
}

/*
 * Write down all that is due for a subscription, which the caller has locked;
 * false when nothing was.
 */
bool
svc_subscription_catch_up(const SvcSubscriptionKey *key, TimestampTz at)
{
	SvcDueCount count = {0};

	svc_subscription_do_due(key, at, &count);
	return count.trials + count.changes + count.renewals + count.cancellations + count.past_due > 0;
}

/* The same, and counts what it was. */
void
svc_subscription_do_due(const SvcSubscriptionKey *key, TimestampTz at, SvcDueCount *count)
{
	Step		step = {.key = key, .count = count};
	int			steps = 0;

	read_state(&step.state, key);
	while (Min(step.state.due_at, step.state.unpaid_at) <= at)
	{
		State		before = step.state;

		CHECK_FOR_INTERRUPTS();
		if (++steps > STEPS_MAX)
			report_too_late(key, at);
		svc_clock_run_at(Min(before.due_at, before.unpaid_at), take_step, &step);
		/* a trigger that undoes our work would keep us here for ever */
		read_state(&step.state, key);
		if (same_state(&step.state, &before))
			svc_gate_report_suppressed(SVC_SUBSCRIPTION, key->id);
	}
}

/*
 * Write down what is due for the subscriptions of a customer; false when
 * nothing was.  Unless we are to wait, only for those that nobody else has
 * locked.  What cannot be done is told by a WARNING and stays (attempt.c): a
 * customer can still consume, give back and pay.
 */
bool
svc_subscription_catch_up_customer(Datum customer_id, TimestampTz at, bool wait)
{
	static SvcStatement waiting = {
		"SELECT id::text FROM @extschema@.svc_subscription"
		" WHERE customer_id = $1 AND due_at <= $2 ORDER BY id FOR NO KEY UPDATE",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	static SvcStatement skipping = {
		"SELECT id::text FROM @extschema@.svc_subscription"
		" WHERE customer_id = $1 AND due_at <= $2 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	/* only one of those who hold grants may go on to others: the first has all */
	static SvcStatement first = {
		"SELECT FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id ="
		"  (SELECT id FROM @extschema@.svc_subscription WHERE customer_id = $1 AND due_at <= $2 ORDER BY id LIMIT 1)"
		" FOR NO KEY UPDATE SKIP LOCKED",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {customer_id, TimestampTzGetDatum(at)};
	SvcSubscriptionKey *keys;
	uint64		rows;
	bool		any = false;
	bool		isnull;

	if (!wait && svc_statement_run(&first, values, NULL) == 0)
		return false;
	rows = svc_statement_run(wait ? &waiting : &skipping, values, NULL);
	keys = palloc(rows * sizeof(SvcSubscriptionKey));
	for (uint64 row = 0; row < rows; row++)
	{
		keys[row].customer_id = customer_id;
		keys[row].id = svc_statement_value(row, 1, &isnull);
	}
	svc_plan_lock_all_grants(keys, rows);
	for (uint64 row = 0; row < rows; row++)
	{
		CatchUp		work = {&keys[row], at};

		any |= svc_attempt(catch_up, &work, SVC_SUBSCRIPTION, customer_id, keys[row].id);
	}
	return any;
}

static void
catch_up(void *state)
{
	CatchUp    *work = state;

	(void) svc_subscription_catch_up(work->key, work->at);
}

/*
 * Has the customer a plan by another subscription?  Those that give it up by now, or
 * that change to it, do so first, if nobody else has them locked.  The last result tells
 * which.
 */
bool
svc_subscription_has_other(const SvcSubscriptionKey *key, Datum plan_id)
{
	static SvcStatement due = {
		"SELECT id::text FROM @extschema@.svc_subscription"
		" WHERE customer_id = $1 AND id <> $2 AND due_at <= $4"
		"  AND (plan_id = $3 AND NOT allow_duplicate OR scheduled_plan_id = $3 AND (due_at < $4 OR id < $2))"
		" ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
		4, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	static SvcStatement other = {
		"SELECT id::text, status::text FROM @extschema@.svc_subscription"
		" WHERE customer_id = $1 AND plan_id = $3 AND id <> $2 AND NOT allow_duplicate"
		"  AND status IN ('trialing', 'active', 'past_due', 'paused') ORDER BY id LIMIT 1",
		3, {TEXTOID, TEXTOID, TEXTOID}
	};
	TimestampTz now = svc_clock_now();
	Datum		values[4] = {key->customer_id, key->id, plan_id, TimestampTzGetDatum(now)};
	uint64		rows = svc_statement_run(&due, values, NULL);
	SvcSubscriptionKey *keys = palloc((rows + 1) * sizeof(SvcSubscriptionKey));
	bool		isnull;

	keys[0] = *key;
	for (uint64 row = 0; row < rows; row++)
	{
		keys[row + 1].customer_id = key->customer_id;
		keys[row + 1].id = svc_statement_value(row, 1, &isnull);
	}
	if (rows > 0)
		svc_plan_lock_all_grants(keys, rows + 1);
	for (uint64 row = 0; row < rows; row++)
	{
		CatchUp		work = {&keys[row + 1], now};

		/* its trouble is not ours */
		(void) svc_attempt(catch_up, &work, SVC_SUBSCRIPTION, key->customer_id, keys[row + 1].id);
	}
	return svc_statement_run(&other, values, NULL) > 0;
}

/* Refuse a second subscription to a plan. */
void
svc_subscription_check_once(const SvcSubscriptionKey *key, Datum plan_id)
{
	if (svc_subscription_has_other(key, plan_id))
		ereport(ERROR,
				(errcode(ERRCODE_SVC_ALREADY_SUBSCRIBED),
				 errmsg("customer \"%s\" has plan \"%s\" already", TextDatumGetCString(key->customer_id),
						TextDatumGetCString(plan_id)),
				 errdetail("Subscription \"%s\" has status \"%s\".", svc_statement_text(0, 1),
						   svc_statement_text(0, 2)),
				 errhint("Change its quantity, or set allow_duplicate for a second one.")));
}

/*
 * See grants, and pools, of a code as expired whose subscription has ended by an
 * instant, though nobody has written that down: for who only reads, and, with
 * "reread", for a consume that could not have it written.
 */
void
svc_subscription_look(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at, bool reread)
{
	static SvcStatement statement = {
		"SELECT e.id::text FROM @extschema@.svc_entitlement e"
		" JOIN @extschema@.svc_subscription s ON s.customer_id = $1 AND s.id = e.subscription_id"
		" JOIN @extschema@.svc_customer k ON k.id = $1"
		" WHERE e.customer_id = $1 AND (e.code = $2 OR e.costs ? $2) AND s.due_at <= $3"
		"  AND (s.cancel_at_period_end AND s.current_period_end <= $3"
		"   OR s.status = 'trialing' AND s.trial_end <= $3 AND k.payment_method IS NULL"
		"    AND CASE WHEN s.scheduled_at <= s.trial_end THEN s.scheduled_price ELSE s.price END > 0)",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {customer_id, code, TimestampTzGetDatum(at)};
	uint64		rows = reread ? svc_statement_read_latest(&statement, values) :
		svc_statement_read(&statement, values, NULL);
	bool		isnull;

	for (uint64 row = 0; row < rows; row++)
	{
		for (int i = 0; i < set->count; i++)
		{
			if (DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, set->grants[i].id,
													 svc_statement_value(row, 1, &isnull))))
				set->grants[i].state = SVC_EXPIRED;
		}
	}
	if (rows > 0)
		svc_grant_arrange(set);
}

/*
 * An invoice of a subscription, which is locked here, is overdue now.  What
 * cannot be done to the subscription does not keep it from being so.
 */
void
svc_subscription_unpaid(const SvcSubscriptionKey *key)
{
	CatchUp		work = {key, svc_clock_now()};

	if (svc_subscription_lock(key, true))
		(void) svc_attempt(become_past_due, &work, SVC_SUBSCRIPTION, key->customer_id, key->id);
}

static void
become_past_due(void *state)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id = $2"
		"  AND status = 'active' AND (dunned_until >= $3) IS NOT TRUE",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	CatchUp    *work = state;
	Datum		values[3] = {work->key->customer_id, work->key->id, TimestampTzGetDatum(work->at)};

	svc_subscription_catch_up(work->key, work->at);
	if (svc_statement_run(&statement, values, NULL) > 0)
		mark_past_due(work->key);
}

/*
 * An invoice of a subscription, which is locked here, is not owed any more: if
 * it was the last one overdue, the subscription is active again.  What cannot be
 * done keeps nobody from paying.
 */
void
svc_subscription_paid(const SvcSubscriptionKey *key)
{
	/* (by the latest snapshot: who has paid the other one may have waited for us) */
	static SvcStatement unpaid = {
		"SELECT EXISTS (SELECT FROM @extschema@.svc_invoice"
		" WHERE customer_id = $1 AND subscription_id = $2 AND amount_due > 0 AND (status = 'overdue'"
		"  OR status IN ('open', 'sent', 'partial') AND due_date <= $3))",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	CatchUp		work = {key, svc_clock_now()};
	Datum		values[3] = {key->customer_id, key->id, TimestampTzGetDatum(work.at)};
	bool		isnull;

	if (!svc_subscription_lock(key, true))
		return;
	(void) svc_attempt(catch_up, &work, SVC_SUBSCRIPTION, key->customer_id, key->id);
	svc_statement_read_latest(&unpaid, values);
	if (!DatumGetBool(svc_statement_value(0, 1, &isnull)))
		(void) svc_attempt(reactivate, &work, SVC_SUBSCRIPTION, key->customer_id, key->id);
}

static void
reactivate(void *state)
{
	static const SvcDeed deed = {.noun = SVC_SUBSCRIPTION, .action = "activate"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_subscription SET status = 'active'"
		" WHERE customer_id = $1 AND id = $2 AND status = 'past_due'",
		2, {TEXTOID, TEXTOID}
	};
	CatchUp    *work = state;
	Datum		values[2] = {work->key->customer_id, work->key->id};

	svc_lifecycle_write(&deed, &statement, values, NULL);
}

static void
read_state(State *state, const SvcSubscriptionKey *key)
{
	static SvcStatement statement = {
		"SELECT s.status::text, CASE WHEN s.due_at IS NULL THEN 'infinity' ELSE greatest(s.due_at, s.current_period_start) END::timestamptz,"
		"  coalesce(CASE WHEN s.status = 'active' THEN (SELECT min(greatest(i.due_date, i.issued_at, s.current_period_start))"
		"   FROM @extschema@.svc_invoice i WHERE i.customer_id = $1 AND i.subscription_id = $2"
		"    AND i.status IN ('open', 'sent', 'partial') AND i.due_date IS NOT NULL AND i.amount_due > 0"
		"    AND (greatest(i.due_date, i.issued_at) <= s.dunned_until) IS NOT TRUE) END, 'infinity')::timestamptz,"
		"  s.cancel_at_period_end AND coalesce(s.current_period_end <= s.due_at, false),"
		"  coalesce(s.scheduled_at <= s.due_at, false), coalesce(s.scheduled_carry_usage, true)::boolean,"
		"  s.price = 0 OR k.payment_method IS NOT NULL, s.cancellation_reason::text"
		" FROM @extschema@.svc_subscription s JOIN @extschema@.svc_customer k ON k.id = s.customer_id"
		" WHERE s.customer_id = $1 AND s.id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {key->customer_id, key->id};
	bool		isnull;

	/* by the latest snapshot: an invoice may have been paid by who has let us in */
	if (svc_statement_read_latest(&statement, values) == 0)
		svc_gate_report_unknown(SVC_SUBSCRIPTION, key->customer_id, key->id);
	state->status = svc_statement_text(0, 1);
	state->due_at = DatumGetTimestampTz(svc_statement_value(0, 2, &isnull));
	state->unpaid_at = DatumGetTimestampTz(svc_statement_value(0, 3, &isnull));
	state->cancels = DatumGetBool(svc_statement_value(0, 4, &isnull));
	state->changes = DatumGetBool(svc_statement_value(0, 5, &isnull));
	state->carries_usage = DatumGetBool(svc_statement_value(0, 6, &isnull));
	state->pays = DatumGetBool(svc_statement_value(0, 7, &isnull));
	state->reason = svc_statement_text(0, 8);
}

static bool
same_state(const State *a, const State *b)
{
	return strcmp(a->status, b->status) == 0 && a->due_at == b->due_at &&
		a->unpaid_at == b->unpaid_at && a->changes == b->changes;
}

/* What comes first, of all that is due at this instant. */
static void
take_step(void *work)
{
	Step	   *step = work;
	const SvcSubscriptionKey *key = step->key;
	const State *state = &step->state;
	SvcDueCount *count = step->count;

	if (state->unpaid_at <= svc_clock_now())
	{
		mark_past_due(key);
		count->past_due++;
	}
	else if (state->cancels)
	{
		cancel(key, state);
		count->cancellations++;
	}
	else if (state->changes)
	{
		change_plan(key, state);
		count->changes++;
	}
	else if (strcmp(state->status, "trialing") == 0)
	{
		end_trial(key, state);
		count->trials++;
	}
	else
	{
		renew(key);
		count->renewals++;
	}
}

static void
mark_past_due(const SvcSubscriptionKey *key)
{
	static const SvcDeed deed = {.noun = SVC_SUBSCRIPTION, .action = "markPastDue",
	.note = {"reason", NULL, "an invoice is overdue"}};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_subscription SET status = 'past_due' WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};

	write_step(&deed, &statement, key);
}

static void
cancel(const SvcSubscriptionKey *key, const State *state)
{
	SvcDeed		deed = {.noun = SVC_SUBSCRIPTION, .action = "cancel",
	.note = {"reason", NULL, state->reason}};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_subscription SET status = 'cancelled' WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};

	if (state->reason == NULL)
		deed.note.name = NULL;
	write_step(&deed, &statement, key);
}

static void
change_plan(const SvcSubscriptionKey *key, const State *state)
{
	static const SvcDeed upgrade = {.noun = SVC_SUBSCRIPTION, .action = "upgrade"};
	static const SvcDeed downgrade = {.noun = SVC_SUBSCRIPTION, .action = "downgrade"};
	static SvcStatement which = {
		"SELECT scheduled_action = 'upgrade' FROM @extschema@.svc_subscription WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_subscription SET plan_id = scheduled_plan_id,"
		"  price = scheduled_price, billing_cycle = scheduled_billing_cycle, scheduled_plan_id = NULL"
		" WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {key->customer_id, key->id};
	bool		isnull;
	bool		is_upgrade;

	svc_statement_run(&which, values, NULL);
	is_upgrade = DatumGetBool(svc_statement_value(0, 1, &isnull));
	if (!state->carries_usage)
		svc_plan_forget_usage(key);
	write_step(is_upgrade ? &upgrade : &downgrade, &statement, key);
}

static void
end_trial(const SvcSubscriptionKey *key, const State *state)
{
	static const SvcDeed activate = {.noun = SVC_SUBSCRIPTION, .action = "activate"};
	static const SvcDeed expire = {.noun = SVC_SUBSCRIPTION, .action = "expire",
	.note = {"reason", NULL, "the trial is over, and the customer has no payment method"}};
	static SvcStatement become_active = {
		"UPDATE @extschema@.svc_subscription SET status = 'active' WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement become_expired = {
		"UPDATE @extschema@.svc_subscription SET status = 'expired' WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};

	if (state->pays)
		write_step(&activate, &become_active, key);
	else
		write_step(&expire, &become_expired, key);
}

static void
renew(const SvcSubscriptionKey *key)
{
	static const SvcDeed deed = {.noun = SVC_SUBSCRIPTION, .action = "renew"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_subscription SET status = 'active' WHERE customer_id = $1 AND id = $2",
		2, {TEXTOID, TEXTOID}
	};

	write_step(&deed, &statement, key);
}

static void
write_step(const SvcDeed *deed, SvcStatement *statement, const SvcSubscriptionKey *key)
{
	Datum		values[2] = {key->customer_id, key->id};

	if (svc_lifecycle_write(deed, statement, values, NULL) != 1)
		svc_gate_report_suppressed(SVC_SUBSCRIPTION, key->id);
}

/* Somebody has given an instant of another age. */
static void
report_too_late(const SvcSubscriptionKey *key, TimestampTz at)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("subscription \"%s\" has too many periods to make up for", TextDatumGetCString(key->id)),
			 errdetail("There are more than %d until %s.", STEPS_MAX, timestamptz_to_str(at)),
			 errhint("Pass an earlier \"at\", or move its current period on by hand.")));
}
