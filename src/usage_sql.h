/*-------------------------------------------------------------------------
 *
 * usage_sql.h
 *	  Which usage records are not rolled up yet, and what one counts as, in SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_SQL_H
#define SVC_USAGE_SQL_H

/*
 * Is a record, "u", not rolled up yet, by its customer's row of svc_usage_fold, "f"?
 * "cluster" is ours.
 */
#define SVC_USAGE_IS_NEW(u, f, cluster) \
	"(" f ".snapshot IS NULL OR CASE WHEN " u ".cluster = " f ".cluster" \
	"  THEN NOT pg_visible_in_snapshot(" u ".xid, " f ".snapshot)" \
	"  ELSE " u ".cluster = " cluster " AND " f ".cluster <> " cluster " END)"

/* The least transaction id that such a record can have. */
#define SVC_USAGE_NEW_FROM(f, cluster) \
	"CASE WHEN " f ".cluster = " cluster " AND " f ".snapshot IS NOT NULL" \
	" THEN pg_snapshot_xmin(" f ".snapshot) ELSE '0'::xid8 END"

/*
 * What a record is as a count: one, a negative one minus one; a correction is its
 * quantity, so that -1 takes a record back.
 */
#define SVC_USAGE_COUNT(u) \
	"CASE WHEN " u ".adjusts_id IS NOT NULL THEN " u ".quantity WHEN " u ".quantity < 0 THEN -1 ELSE 1 END"

/* Its quantity, with what corrects it where it counts. */
#define SVC_USAGE_CORRECTED(u) \
	u ".quantity + coalesce((SELECT sum(a.quantity) FROM @extschema@.svc_usage a" \
	" WHERE a.customer_id = " u ".customer_id AND a.adjusts_id = " u ".id AND a.booked_at = " u ".booked_at), 0)"

#endif							/* SVC_USAGE_SQL_H */
