/*-------------------------------------------------------------------------
 *
 * usage_row.h
 *	  What becomes of a usage record on its way into the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_ROW_H
#define SVC_USAGE_ROW_H

#include "meter.h"
#include "row.h"

extern int	svc_usage_future_limit; /* settings */
extern int	svc_late_usage;

/* Values of svc.late_usage. */
#define SVC_LATE_ADJUST		0
#define SVC_LATE_REJECT		1

extern void svc_usage_row_init(void);
extern void svc_usage_row_forget(void);
extern const SvcMeter *svc_usage_row_meter(SvcRowChange *change);

#endif							/* SVC_USAGE_ROW_H */
