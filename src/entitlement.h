/*-------------------------------------------------------------------------
 *
 * entitlement.h
 *	  Entitlements: the rule that every row of svc_entitlement obeys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_ENTITLEMENT_H
#define SVC_ENTITLEMENT_H

#include "row.h"

extern void svc_entitlement_rule(SvcRowChange *change);

#endif							/* SVC_ENTITLEMENT_H */
