/*-------------------------------------------------------------------------
 *
 * subscription.h
 *	  Subscriptions: what _PG_init must know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SUBSCRIPTION_H
#define SVC_SUBSCRIPTION_H

extern void svc_subscription_init(void);

#endif							/* SVC_SUBSCRIPTION_H */
