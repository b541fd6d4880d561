/*-------------------------------------------------------------------------
 *
 * plan_limits.h
 *	  Is what a plan grants well defined?
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_PLAN_LIMITS_H
#define SVC_PLAN_LIMITS_H

#include "utils/jsonb.h"

extern void svc_plan_check_limits(Jsonb *limits);

#endif							/* SVC_PLAN_LIMITS_H */
