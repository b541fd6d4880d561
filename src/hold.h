/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  Holds: setting aside what work may cost, until its cost is known.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_HOLD_H
#define SVC_HOLD_H

#include "utils/timestamp.h"

extern int64 svc_hold_lapse_due(TimestampTz at, int64 max_holds);

#endif							/* SVC_HOLD_H */
