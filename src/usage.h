/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  Usage records and roll-ups: their actions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_H
#define SVC_USAGE_H

#include "fmgr.h"

/* What a raw record says, in this order. */
typedef enum SvcUsageField
{
	SVC_USAGE_CUSTOMER,
	SVC_USAGE_RESOURCE,
	SVC_USAGE_QUANTITY,
	SVC_USAGE_AT,
	SVC_USAGE_KEY,
	SVC_USAGE_METADATA,
	SVC_USAGE_SUBSCRIPTION,
} SvcUsageField;

#define SVC_USAGE_FIELDS	7

typedef struct SvcUsageRecord
{
	Datum		values[SVC_USAGE_FIELDS];
	bool		isnull[SVC_USAGE_FIELDS];
} SvcUsageRecord;

extern void svc_usage_init(void);
extern Datum svc_usage_record(SvcUsageRecord *record, bool *repeated);

#endif							/* SVC_USAGE_H */
