/*-------------------------------------------------------------------------
 *
 * offer.c
 *	  What a plan offers to a subscriber.
 *
 * A plan can be billed as often as its billing_interval says, or at whole
 * multiples of that: what is 49 monthly is 147 quarterly and 588 yearly, less
 * annual_discount percent when it is billed yearly and is not a yearly plan.
 *
 * Locks: the plan, FOR SHARE, so that what was read of it holds until the end
 * of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "error.h"
#include "offer.h"
#include "statement.h"

/*
 * Read a plan as an offer for a billing cycle, NULL for its own; false when
 * there is no such plan.  Raises 22023 when there is no such cycle.
 */
bool
svc_offer_read(SvcOffer *offer, Datum plan_id, const char *billing_cycle)
{
	static SvcStatement statement = {
		"SELECT p.status::text, p.currency::text, p.billing_interval::text, c.cycle,"
		"  mod(c.months, i.months) = 0, trim_scale(p.price * c.months / i.months *"
		"   (100 - CASE WHEN c.months = 12 AND i.months < 12 THEN coalesce(p.annual_discount, 0) ELSE 0 END) / 100),"
		"  p.service_id::text, p.revision::bigint, @extschema@.svc_plan_terms(p.id),"
		"  coalesce(p.trial_days, 0)::integer, coalesce(p.trial_requires_card, false)::boolean"
		" FROM @extschema@.svc_plan p,"
		"  (VALUES ('monthly', 1), ('quarterly', 3), ('yearly', 12)) i (cycle, months),"
		"  (VALUES ('monthly', 1), ('quarterly', 3), ('yearly', 12)) c (cycle, months)"
		" WHERE p.id = $1 AND i.cycle = p.billing_interval AND c.cycle = coalesce($2, p.billing_interval)"
		" FOR SHARE OF p",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {plan_id, billing_cycle == NULL ? (Datum) 0 : CStringGetTextDatum(billing_cycle)};
	bool		isnull[2] = {false, billing_cycle == NULL};

	svc_offer_check_cycle(billing_cycle);
	if (svc_statement_run(&statement, values, isnull) == 0)
		return false;
	offer->plan_id = plan_id;
	offer->status = svc_statement_text(0, 1);
	offer->currency = svc_statement_text(0, 2);
	offer->interval = svc_statement_text(0, 3);
	offer->billing_cycle = svc_statement_text(0, 4);
	offer->fits = DatumGetBool(svc_statement_value(0, 5, &isnull[0]));
	offer->price = svc_statement_value(0, 6, &isnull[0]);
	offer->service_id = svc_statement_value(0, 7, &isnull[0]);
	offer->has_service = !isnull[0];
	offer->revision = DatumGetInt64(svc_statement_value(0, 8, &isnull[0]));
	offer->terms = svc_statement_value(0, 9, &isnull[0]);
	offer->trial_days = DatumGetInt32(svc_statement_value(0, 10, &isnull[0]));
	offer->trial_requires_card = DatumGetBool(svc_statement_value(0, 11, &isnull[0]));
	return true;
}

/* Is it a billing cycle, or NULL? */
void
svc_offer_check_cycle(const char *billing_cycle)
{
	if (billing_cycle != NULL && strcmp(billing_cycle, "monthly") != 0 &&
		strcmp(billing_cycle, "quarterly") != 0 && strcmp(billing_cycle, "yearly") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown billing_cycle \"%s\"", billing_cycle),
				 errdetail("It is how often a subscription is billed."),
				 errhint("The cycles are \"monthly\", \"quarterly\" and \"yearly\".")));
}

/*
 * The end of a trial of a plan: so many days of the customer's calendar after
 * its start, -1 for as many as the plan says; DT_NOEND for none.
 */
TimestampTz
svc_offer_trial_end(Datum customer_id, Datum plan_id, TimestampTz start, int32 days)
{
	static SvcStatement statement = {
		"SELECT ($3 AT TIME ZONE z.zone + make_interval(days => d.days)) AT TIME ZONE z.zone"
		" FROM @extschema@.svc_customer k, @extschema@.svc_plan p,"
		"  LATERAL (SELECT coalesce(k.timezone, 'UTC') AS zone) z,"
		"  LATERAL (SELECT CASE WHEN $4 < 0 THEN p.trial_days ELSE $4 END AS days) d"
		" WHERE k.id = $1 AND p.id = $2 AND d.days > 0",
		4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID}
	};
	Datum		values[4] = {customer_id, plan_id, TimestampTzGetDatum(start), Int32GetDatum(days)};
	bool		isnull;

	if (svc_statement_run(&statement, values, NULL) == 0)
		return DT_NOEND;
	return DatumGetTimestampTz(svc_statement_value(0, 1, &isnull));
}

/* Nobody subscribes to a plan that is closed; one that is hidden has its id. */
void
svc_offer_check_open(const SvcOffer *offer)
{
	if (strcmp(offer->status, "active") != 0 && strcmp(offer->status, "hidden") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
				 errmsg("plan \"%s\" is closed to new subscribers", TextDatumGetCString(offer->plan_id)),
				 errdetail("It has status \"%s\".", offer->status),
				 errhint("Choose a plan whose status is \"active\" or \"hidden\".")));
}

/* Does the offer suit a subscription in this currency, NULL for any? */
void
svc_offer_check_fit(const SvcOffer *offer, const char *currency)
{
	if (!offer->fits)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_PLAN_MISMATCH),
				 errmsg("plan \"%s\" cannot be billed %s", TextDatumGetCString(offer->plan_id),
						offer->billing_cycle),
				 errdetail("It is billed %s.", offer->interval),
				 errhint("Pass a billing_cycle that is a whole multiple of that.")));
	if (currency != NULL && offer->currency != NULL && strcmp(currency, offer->currency) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_PLAN_MISMATCH),
				 errmsg("plan \"%s\" is not sold in %s", TextDatumGetCString(offer->plan_id), currency),
				 errdetail("Its price is in %s.", offer->currency),
				 errhint("Choose a plan in the currency of the subscription.")));
}
