/*-------------------------------------------------------------------------
 *
 * usage_fold.h
 *	  Rolling up usage: what is new is added, once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_FOLD_H
#define SVC_USAGE_FOLD_H

#include "access/transam.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

extern FullTransactionId svc_usage_horizon(void);
extern int64 svc_usage_fold_customer(Datum customer_id);
extern int64 svc_usage_fold_all(int32 max_customers, int64 *failed);

#endif							/* SVC_USAGE_FOLD_H */
