/*-------------------------------------------------------------------------
 *
 * grant_rule.h
 *	  The rule that every row of svc_entitlement obeys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_GRANT_RULE_H
#define SVC_GRANT_RULE_H

extern void svc_grant_rule_init(void);

#endif							/* SVC_GRANT_RULE_H */
