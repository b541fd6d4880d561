/*-------------------------------------------------------------------------
 *
 * lifecycle.h
 *	  The triggers that keep every noun's row within its lifecycle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_LIFECYCLE_H
#define SVC_LIFECYCLE_H

#include "compat.h"
#include "row.h"
#include "statement.h"

/*
 * A noun's own rule, run in its BEFORE trigger: it may check the new row and
 * set columns of it, the status included.
 */
typedef void (*SvcLifecycleRule) (SvcRowChange *change);

extern void svc_lifecycle_set_rule(SvcNoun noun, SvcLifecycleRule rule);

extern uint64 svc_lifecycle_write(SvcNoun noun, const char *action,
								  SvcStatement *statement, Datum *values,
								  const bool *isnull);
extern bool svc_lifecycle_by_function(SvcRowChange *change);
pg_noreturn extern void svc_lifecycle_refuse_column(SvcRowChange *change, const char *column,
										const char *hint);

#endif							/* SVC_LIFECYCLE_H */
