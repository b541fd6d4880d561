/*-------------------------------------------------------------------------
 *
 * subscription_due.h
 *	  What time alone does to subscriptions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SUBSCRIPTION_DUE_H
#define SVC_SUBSCRIPTION_DUE_H

#include "utils/timestamp.h"

#include "grant.h"
#include "plan_grant.h"

/* How much of each kind was done. */
typedef struct SvcDueCount
{
	int64		trials;			/* ended */
	int64		changes;		/* of plan */
	int64		renewals;
	int64		cancellations;
	int64		past_due;		/* with an unpaid invoice */
} SvcDueCount;

extern void svc_subscription_look(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at, bool reread);
extern bool svc_subscription_has_other(const SvcSubscriptionKey *key, Datum plan_id);
extern void svc_subscription_check_once(const SvcSubscriptionKey *key, Datum plan_id);
extern bool svc_subscription_lock(const SvcSubscriptionKey *key, bool wait);
extern bool svc_subscription_catch_up(const SvcSubscriptionKey *key, TimestampTz at);
extern void svc_subscription_do_due(const SvcSubscriptionKey *key, TimestampTz at, SvcDueCount *count);
extern bool svc_subscription_catch_up_customer(Datum customer_id, TimestampTz at, bool wait);
extern void svc_subscription_unpaid(const SvcSubscriptionKey *key);
extern void svc_subscription_paid(const SvcSubscriptionKey *key);

#endif							/* SVC_SUBSCRIPTION_DUE_H */
