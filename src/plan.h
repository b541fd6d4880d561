/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  Plans: their actions, and the rule that every plan obeys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_PLAN_H
#define SVC_PLAN_H

extern void svc_plan_init(void);

#endif							/* SVC_PLAN_H */
