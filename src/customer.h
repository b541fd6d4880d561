/*-------------------------------------------------------------------------
 *
 * customer.h
 *	  Customers: what _PG_init must know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CUSTOMER_H
#define SVC_CUSTOMER_H

extern void svc_customer_init(void);

#endif							/* SVC_CUSTOMER_H */
