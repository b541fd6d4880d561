/*-------------------------------------------------------------------------
 *
 * usage_rollup.h
 *	  Roll-ups of usage: how their figures are written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_ROLLUP_H
#define SVC_USAGE_ROLLUP_H

#include "compat.h"
#include "lib/stringinfo.h"
#include "row.h"

/* The figure that a roll-up, "u", has of the resource of a meter, "m", as numeric. */
#define SVC_ROLLUP_FIGURE(u, m, resource) \
	"(CASE WHEN " m ".usage_column IS NULL THEN " u ".usage_by_resource ->> " resource \
	" ELSE to_jsonb(" u ") ->> " m ".usage_column END)::numeric"

extern void svc_usage_rollup_init(void);
extern void svc_rollup_append_writes(StringInfo sql, bool adds, const char *at);

#endif							/* SVC_USAGE_ROLLUP_H */
