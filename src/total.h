/*-------------------------------------------------------------------------
 *
 * total.h
 *	  Totals of orders and invoices.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_TOTAL_H
#define SVC_TOTAL_H

#include "row.h"

extern void svc_total_check(SvcRowChange *change);

#endif							/* SVC_TOTAL_H */
