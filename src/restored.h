/*-------------------------------------------------------------------------
 *
 * restored.h
 *	  Which rows were inserted with their revision, and so make no event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_RESTORED_H
#define SVC_RESTORED_H

#include "row.h"

extern void svc_restored_init(void);
extern void svc_restored_note(SvcRowChange *change);
extern bool svc_restored_forget(SvcRowChange *change);

#endif							/* SVC_RESTORED_H */
