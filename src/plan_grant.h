/*-------------------------------------------------------------------------
 *
 * plan_grant.h
 *	  What a plan grants to its subscribers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_PLAN_GRANT_H
#define SVC_PLAN_GRANT_H

#include "fmgr.h"

/* Whose grants they are. */
typedef struct SvcSubscriptionKey
{
	Datum		customer_id;
	Datum		id;
} SvcSubscriptionKey;

extern void svc_plan_lock_grants(const SvcSubscriptionKey *key);
extern void svc_plan_lock_all_grants(const SvcSubscriptionKey *keys, int count);
extern void svc_plan_grant(const SvcSubscriptionKey *key);
extern void svc_plan_forget_usage(const SvcSubscriptionKey *key);
extern void svc_plan_suspend(const SvcSubscriptionKey *key);
extern void svc_plan_resume(const SvcSubscriptionKey *key);
extern void svc_plan_revoke(const SvcSubscriptionKey *key, const char *reason);
extern void svc_plan_note_usage(const SvcSubscriptionKey *key);
extern void svc_plan_note_change(Datum customer_id);

#endif							/* SVC_PLAN_GRANT_H */
