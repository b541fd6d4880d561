/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Recounting what is stored.
 *
 * Entitlements from the ledger and the holds; roll-ups of usage from the raw records
 * that are rolled up in them, as far as there are any (svc_purge_usage()).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "catalog.h"
#include "meter.h"
#include "snapshot.h"
#include "statement.h"
#include "usage_sql.h"

#define COLUMNS		5

static SvcStatement entitlements = {
	"WITH grants AS MATERIALIZED ("
	"  SELECT e.*, e.limit_amount + e.rollover_amount AS allowance FROM @extschema@.svc_entitlement e"
	"  WHERE $1 IS NULL OR customer_id = $1),"
	" ledger AS (SELECT customer_id, entitlement_id, sum(amount) AS used, sum(held) AS held,"
	"   count(*) AS rows, max(seq) AS seq"
	"  FROM @extschema@.svc_entitlement_ledger WHERE $1 IS NULL OR customer_id = $1"
	"  GROUP BY customer_id, entitlement_id),"
	" holds AS (SELECT customer_id, entitlement_id, sum(amount) AS held"
	"  FROM @extschema@.svc_entitlement_hold"
	"  WHERE status = 'open' AND ($1 IS NULL OR customer_id = $1)"
	"  GROUP BY customer_id, entitlement_id)"
	" SELECT f.customer_id::text, f.entitlement_id::text, f.figure, f.stored::text, f.recounted::text FROM ("
	"  SELECT coalesce(g.customer_id, l.customer_id, h.customer_id) AS customer_id,"
	"   coalesce(g.id, l.entitlement_id, h.entitlement_id) AS entitlement_id, v.figure, v.stored::text, v.recounted::text"
	"  FROM grants g"
	"   FULL JOIN ledger l ON l.customer_id = g.customer_id AND l.entitlement_id = g.id"
	"   FULL JOIN holds h ON h.customer_id = coalesce(g.customer_id, l.customer_id)"
	"    AND h.entitlement_id = coalesce(g.id, l.entitlement_id)"
	"   CROSS JOIN LATERAL (VALUES"
	"    ('used_amount', g.used_amount, coalesce(l.used, 0)),"
	"    ('held_amount, by the ledger', g.held_amount, coalesce(l.held, 0)),"
	"    ('held_amount, by the holds', g.held_amount, coalesce(h.held, 0)),"
	"    ('ledger_seq', g.ledger_seq, coalesce(l.seq, 0)),"
	"    ('rows of the ledger', g.ledger_seq, coalesce(l.rows, 0)),"
	"    ('remaining_amount', g.remaining_amount, CASE WHEN NOT g.unlimited AND g.limit_amount IS NOT NULL THEN"
	"      greatest(g.allowance - g.used_amount - g.held_amount, 0) END),"
	"    ('usage_percent', g.usage_percent, CASE WHEN NOT g.unlimited AND g.limit_amount IS NOT NULL THEN"
	"      CASE WHEN g.allowance > 0 THEN round(100 * g.used_amount / g.allowance, 2) ELSE 100 END END)"
	"   ) v (figure, stored, recounted)"
	"  WHERE v.stored IS DISTINCT FROM v.recounted"
	"  UNION ALL"
	"  SELECT customer_id, id, 'status', status,"
	"   CASE status WHEN 'exhausted' THEN 'active' ELSE 'exhausted' END FROM grants"
	"  WHERE CASE WHEN unlimited OR allowance IS NULL THEN status = 'exhausted'"
	"   ELSE status = CASE WHEN used_amount < allowance THEN 'exhausted'"
	"    WHEN allowance > 0 THEN 'active' END END"
	" ) f ORDER BY 1, 2, 3",
	1, {TEXTOID}
};

/*
 * The figures of each roll-up, one row per resource, beside those that the raw records
 * make.  Of the greatest and last quantities, those that have new records are left out:
 * the roll-up may have them already (usage_fold.c).  A merged customer has final
 * roll-ups only (merge.c).
 */
static SvcStatement usage = {
	"WITH meter AS MATERIALIZED " SVC_METERS ","
	" raw AS MATERIALIZED (SELECT u.customer_id, u.resource, f.timezone, coalesce(m.aggregation, 'sum') AS aggregation,"
	"   u.id, u.booked_at, u.occurred_at, u.adjusts_id, u.quantity, " SVC_USAGE_IS_NEW("u", "f", "$2") " AS is_new"
	"  FROM @extschema@.svc_usage u JOIN @extschema@.svc_usage_fold f ON f.customer_id = u.customer_id"
	"   LEFT JOIN meter m ON m.resource = u.resource"
	"  WHERE ($1 IS NULL OR u.customer_id = $1) AND u.booked_at >= coalesce(f.purged_until, '-infinity')),"
	" unsettled AS (SELECT DISTINCT customer_id, resource FROM raw WHERE is_new AND aggregation IN ('max', 'last')),"
	" part AS (SELECT r.*, CASE WHEN r.aggregation IN ('max', 'last') THEN " SVC_USAGE_CORRECTED("r")
	"   WHEN r.aggregation = 'count' THEN " SVC_USAGE_COUNT("r") " ELSE r.quantity END AS amount"
	"  FROM raw r WHERE NOT r.is_new AND (r.adjusts_id IS NULL OR r.aggregation NOT IN ('max', 'last'))),"
	" recounted AS (SELECT p.customer_id, p.resource, k.kind,"
	"   @extschema@.svc_period_start(k.kind, p.booked_at, p.timezone) AS start,"
	"   CASE p.aggregation WHEN 'max' THEN max(p.amount)"
	"    WHEN 'last' THEN (array_agg(p.amount ORDER BY p.booked_at DESC, p.occurred_at DESC, p.id DESC))[1]"
	"    ELSE sum(p.amount) END AS amount"
	"  FROM part p, unnest('{hour,day,week,month,quarter,year}'::text[]) k (kind)"
	"  GROUP BY p.customer_id, p.resource, p.aggregation, k.kind, start),"
	" rollup AS (SELECT u.* FROM @extschema@.svc_customer_usage u"
	"  WHERE u.is_folded AND ($1 IS NULL OR u.customer_id = $1)),"
	" stored AS (SELECT u.customer_id, m.resource, u.period_type AS kind, u.period_start AS start, u.id,"
	"   (to_jsonb(u) ->> m.usage_column)::numeric AS amount"
	"  FROM rollup u, meter m WHERE m.usage_column IS NOT NULL AND to_jsonb(u) ->> m.usage_column IS NOT NULL"
	"  UNION ALL SELECT u.customer_id, e.key, u.period_type, u.period_start, u.id, e.value::numeric"
	"  FROM rollup u, jsonb_each_text(u.usage_by_resource) e)"
	" SELECT x.customer_id::text, x.id::text, format('%s in the %s from %s', x.resource, x.kind,"
	"   x.start AT TIME ZONE f.timezone), x.stored::text, x.recounted::text"
	" FROM (SELECT coalesce(s.customer_id, r.customer_id) AS customer_id, s.id, coalesce(s.resource, r.resource) AS resource,"
	"   coalesce(s.kind, r.kind) AS kind, coalesce(s.start, r.start) AS start, s.amount AS stored, r.amount AS recounted"
	"  FROM stored s FULL JOIN recounted r ON r.customer_id = s.customer_id AND r.resource = s.resource"
	"   AND r.kind = s.kind AND r.start = s.start) x"
	"  LEFT JOIN @extschema@.svc_usage_fold f ON f.customer_id = x.customer_id"
	"  LEFT JOIN @extschema@.svc_customer c ON c.id = x.customer_id"
	" WHERE x.stored IS DISTINCT FROM x.recounted AND (x.stored IS NOT NULL OR c.merged_into IS NULL) AND x.start >= coalesce(f.purged_until, '-infinity')"
	"  AND (x.customer_id, x.resource) NOT IN (SELECT customer_id, resource FROM unsettled)"
	" ORDER BY x.customer_id COLLATE \"C\", x.start, x.kind, x.resource COLLATE \"C\"",
	2, {TEXTOID, INT8OID}
};

/* Records of what is final that no roll-up has: there must be none. */
static SvcStatement missed = {
	"SELECT u.customer_id::text, u.id::text, 'booked_at, of a period that was final before it was rolled up',"
	"  u.booked_at::text, c.closed_until::text"
	" FROM @extschema@.svc_customer c JOIN @extschema@.svc_usage_fold f ON f.customer_id = c.id"
	"  JOIN @extschema@.svc_usage u ON u.customer_id = c.id AND u.xid >= " SVC_USAGE_NEW_FROM("f", "$2")
	"   AND u.booked_at < c.closed_until AND " SVC_USAGE_IS_NEW("u", "f", "$2")
	" WHERE $1 IS NULL OR c.id = $1"
	" ORDER BY u.customer_id COLLATE \"C\", u.id COLLATE \"C\"",
	2, {TEXTOID, INT8OID}
};

static void put_rows(ReturnSetInfo *result, SvcStatement *statement, Datum *values, const bool *isnull);

PG_FUNCTION_INFO_V1(svc_verify);

/*
 * svc_verify(customer_id)
 *	-> figures that are not what they should be
 *
 * Of one customer, or of all.
 */
Datum
svc_verify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		isnull[2] = {false};
	Datum		values[2];
	SvcCall		call;

	values[0] = svc_argument_optional_id(fcinfo, 0, "customer id", &isnull[0]);
	values[1] = svc_cluster();
	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	put_rows(result, &entitlements, values, isnull);
	put_rows(result, &usage, values, isnull);
	put_rows(result, &missed, values, isnull);
	svc_call_end(&call);
	return (Datum) 0;
}

static void
put_rows(ReturnSetInfo *result, SvcStatement *statement, Datum *values, const bool *isnull)
{
	uint64		rows = svc_statement_read(statement, values, isnull);

	for (uint64 row = 0; row < rows; row++)
	{
		Datum		columns[COLUMNS];
		bool		nulls[COLUMNS];

		for (int i = 0; i < COLUMNS; i++)
			columns[i] = svc_statement_value(row, i + 1, &nulls[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, columns, nulls);
	}
}
