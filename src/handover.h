/*-------------------------------------------------------------------------
 *
 * handover.h
 *	  What the BEFORE trigger of a row tells its AFTER trigger.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_HANDOVER_H
#define SVC_HANDOVER_H

#include "row.h"

extern void svc_handover_init(void);
extern void svc_handover_restored(SvcRowChange *change);
extern void svc_handover_event(SvcRowChange *change, int64 revision, int64 event_id);
extern bool svc_handover_is_restored(SvcRowChange *change);
extern bool svc_handover_take_restored(SvcRowChange *change);
extern int64 svc_handover_take_event(SvcRowChange *change, int64 revision);

#endif							/* SVC_HANDOVER_H */
