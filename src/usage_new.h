/*-------------------------------------------------------------------------
 *
 * usage_new.h
 *	  Which usage records are not rolled up yet, as conditions of SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_NEW_H
#define SVC_USAGE_NEW_H

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

#endif							/* SVC_USAGE_NEW_H */
