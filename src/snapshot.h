/*-------------------------------------------------------------------------
 *
 * snapshot.h
 *	  Snapshots that are kept in a table, to tell later what is new.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SNAPSHOT_H
#define SVC_SNAPSHOT_H

#include "access/xlog.h"
#include "fmgr.h"

/* The installation that our transaction ids are of, as bigint: elsewhere they mean nothing. */
static inline Datum
svc_cluster(void)
{
	return Int64GetDatum((int64) GetSystemIdentifier());
}

/*
 * The snapshot s of this moment, in which a transaction, the parameter "me", is
 * still running: pg_current_snapshot() leaves it out, and what it writes later would
 * be taken for seen.
 */
#define SVC_SNAPSHOT_WITH_SELF(me) \
	"SELECT format('%s:%s:%s', least(pg_snapshot_xmin(c.s)::text::numeric, c.me)," \
	"   pg_snapshot_xmax(c.s), (SELECT string_agg(r.x::text, ',' ORDER BY r.x) FROM" \
	"    (SELECT x::text::numeric AS x FROM pg_snapshot_xip(c.s) x" \
	"     UNION SELECT c.me WHERE c.me < pg_snapshot_xmax(c.s)::text::numeric) r))::pg_snapshot AS s" \
	" FROM (SELECT pg_current_snapshot() AS s, " me "::text::numeric AS me) c"

#endif							/* SVC_SNAPSHOT_H */
