/*-------------------------------------------------------------------------
 *
 * subscription_rule.h
 *	  The rule that every row of svc_subscription obeys, whoever writes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SUBSCRIPTION_RULE_H
#define SVC_SUBSCRIPTION_RULE_H

extern void svc_subscription_rule_init(void);

#endif							/* SVC_SUBSCRIPTION_RULE_H */
