/*-------------------------------------------------------------------------
 *
 * customer.h
 *	  Customers: the rule that every row of svc_customer obeys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CUSTOMER_H
#define SVC_CUSTOMER_H

#include "row.h"

extern void svc_customer_rule(SvcRowChange *change);

#endif							/* SVC_CUSTOMER_H */
