/*-------------------------------------------------------------------------
 *
 * meter.h
 *	  What resources mean.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_METER_H
#define SVC_METER_H

#include "fmgr.h"

typedef enum SvcAggregation
{
	SVC_SUM,
	SVC_COUNT,
	SVC_MAX,
	SVC_LAST,
} SvcAggregation;

typedef struct SvcMeter
{
	const char *resource;
	SvcAggregation aggregation;
	const char *column;			/* of svc_customer_usage, or NULL: usage_by_resource */
	bool		has_cost;
	Datum		unit_cost;
	const char *currency;		/* where there is a cost */
	const char *entitlement_code;	/* or NULL */
	bool		overflows;		/* a denial is recorded all the same */
} SvcMeter;

/* The columns of svc_customer_usage that have figures, each as COLUMN(its name). */
#define SVC_FIGURES(COLUMN, separator) \
	COLUMN(total_executions) separator COLUMN(successful_executions) separator \
	COLUMN(failed_executions) separator COLUMN(escalated_executions) separator \
	COLUMN(tokens_used) separator COLUMN(compute_minutes) separator \
	COLUMN(storage_gb) separator COLUMN(bandwidth_gb) separator \
	COLUMN(api_calls) separator COLUMN(webhook_deliveries)
#define SVC_FIGURE_COLUMNS		10
extern const char *const svc_figure_columns[SVC_FIGURE_COLUMNS];

/*
 * The meters as a query: resource, aggregation, usage_column, of which null is
 * usage_by_resource. A resource that is in none is summed up, and has no column.
 */
#define SVC_METERS \
	"(SELECT m.resource, m.aggregation, CASE WHEN m.usage_column IS NOT NULL THEN m.usage_column" \
	"   WHEN m.resource = ANY ('" SVC_FIGURE_COLUMN_LIST "') AND NOT EXISTS (SELECT FROM @extschema@.svc_meter o" \
	"    WHERE o.usage_column = m.resource) THEN m.resource END AS usage_column" \
	"  FROM @extschema@.svc_meter m" \
	" UNION ALL SELECT c, 'sum', c FROM unnest('" SVC_FIGURE_COLUMN_LIST "'::text[]) c" \
	"  WHERE NOT EXISTS (SELECT FROM @extschema@.svc_meter m WHERE m.resource = c OR m.usage_column = c))"
#define SVC_FIGURE_COLUMN_LIST	"{" SVC_FIGURES(CppAsString, ",") "}"

extern void svc_meter_load(FunctionCallInfo fcinfo);
extern const SvcMeter *svc_meter_find(const char *resource, int length);
extern const SvcMeter *svc_meter_with_cost(int n);

#endif							/* SVC_METER_H */
