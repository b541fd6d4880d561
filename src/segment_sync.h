/*-------------------------------------------------------------------------
 *
 * segment_sync.h
 *	  All customers against one segment.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SEGMENT_SYNC_H
#define SVC_SEGMENT_SYNC_H

#include "changes.h"
#include "criteria.h"

/* What decides on who is in a segment. */
typedef struct SvcSegment
{
	Datum		id;
	const char *status;
	const char *parent;			/* or NULL */
	const SvcCriteria *criteria;	/* NULL: it is filled by hand */
	bool		realtime;
	bool		synced;			/* never synced: then nothing is known of its members */
} SvcSegment;

/* Whom a sync is about. */
typedef struct SvcSyncScope
{
	bool		all;
	Datum		customer_ids;	/* else these: text[] */
	bool		complete;		/* nothing is to be done about the others */
} SvcSyncScope;

extern void svc_scope_everyone(SvcSyncScope *scope);
extern void svc_scope_of(SvcSyncScope *scope, Datum *customer_ids, int count);

extern void svc_segment_mark_due(Datum segment_id);
extern bool svc_segment_read(SvcSegment *segment, Datum id);
extern bool svc_segment_follows_time(const SvcSegment *segment);
extern void svc_segment_lock_differences(const SvcSegment *segment, SvcSyncScope *scope);
extern bool svc_segment_try_lock_differences(const SvcSegment *segment, SvcSyncScope *scope,
											 int *customers_left);
extern void svc_segment_sync(const SvcSegment *segment, const SvcSyncScope *scope, const SvcNote *note);
extern void svc_segment_follow(const SvcSegment *segment, const SvcSyncScope *scope);
extern void svc_segment_settle(const SvcSegment *segment, Datum customer_id);
extern void svc_segment_prune(const SvcSegment *segment);
extern char *svc_segment_candidates_sql(const SvcSegment *segment, bool has_overrides, const char *among);

#endif							/* SVC_SEGMENT_SYNC_H */
