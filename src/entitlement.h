/*-------------------------------------------------------------------------
 *
 * entitlement.h
 *	  Entitlements: what _PG_init must know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_ENTITLEMENT_H
#define SVC_ENTITLEMENT_H

extern void svc_entitlement_init(void);

#endif							/* SVC_ENTITLEMENT_H */
