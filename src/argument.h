/*-------------------------------------------------------------------------
 *
 * argument.h
 *	  Arguments of SQL-callable functions, checked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_ARGUMENT_H
#define SVC_ARGUMENT_H

#include "fmgr.h"
#include "utils/timestamp.h"

#define SVC_ID_LENGTH_MAX		255 /* characters of an id, a code or a key */
#define SVC_MAX_ROWS_MAX		100000	/* of one call */

/* When a request is for. */
typedef struct SvcInstant
{
	TimestampTz at;
	bool		given;			/* by the caller; else it is the present */
} SvcInstant;

extern void svc_argument_not_null(FunctionCallInfo fcinfo, int n, const char *what);
extern Datum svc_argument_id(FunctionCallInfo fcinfo, int n, const char *what);
extern Datum svc_argument_optional_id(FunctionCallInfo fcinfo, int n,
									  const char *what, bool *isnull);
extern Datum svc_argument_amount(FunctionCallInfo fcinfo, int n, const char *what);
extern Datum svc_argument_positive_amount(FunctionCallInfo fcinfo, int n, const char *what,
										  const char *hint);
extern bool svc_argument_bool(FunctionCallInfo fcinfo, int n, const char *what);
extern int32 svc_argument_max_rows(FunctionCallInfo fcinfo, int n);
extern TimestampTz svc_argument_at(FunctionCallInfo fcinfo, int n);
extern SvcInstant svc_argument_instant(FunctionCallInfo fcinfo, int n);

extern bool svc_interval_is_between(Datum interval, const char *low, const char *high);
extern const char *svc_nearest(const char *wrong, const char *const *names, int count, int distance_max);
extern void svc_check_id(Datum value, const char *what);
extern void svc_check_amount(Datum value, const char *what);

#endif							/* SVC_ARGUMENT_H */
