/*-------------------------------------------------------------------------
 *
 * segment_sync.c
 *	  All customers against one segment.
 *
 * Who is to be in a segment is one set: the customers that its criteria match
 * (criteria_sql.c), less those that were taken out by hand, and those that were put
 * in; of these the members of the parent, if there is one.  Where it differs from
 * the members that there are, they are changed: one by one if it is few, each with
 * an event, else all in one statement, and the event of the sync says how many.
 *
 * Locks: the customers that the segment is different for, before its row; or all of
 * them, when those are very many, or all are to be looked at (membership.c).  They are
 * found without a lock, and looked at again with it: who was merged or deleted
 * meanwhile does not come in.
 *
 * Customers that are merged or deleted while a statement puts very many into a
 * segment: its foreign key waits for them; then they are taken out again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "catalog.h"
#include "clock.h"
#include "criteria_match.h"
#include "criteria_sql.h"
#include "gate.h"
#include "lifecycle.h"
#include "membership.h"
#include "segment_sync.h"
#include "statement.h"
#include "touch.h"

/* How many have come and gone. */
typedef struct Tally
{
	uint64		added;
	uint64		removed;
} Tally;

static bool has_rule(const SvcSegment *segment);
static int	list_differences(const SvcSegment *segment, Datum **ids);
static void settle(const SvcSegment *segment, const SvcSyncScope *scope, Tally *tally);
static char *with_wanted(const SvcSegment *segment, const SvcSyncScope *scope, const char *statement);
static bool has_overrides(const SvcSegment *segment);
static uint64 run(const SvcSegment *segment, const SvcSyncScope *scope, const char *sql);
static uint64 find_differences(const SvcSegment *segment, const SvcSyncScope *scope, int limit);
static void change_each(const SvcSegment *segment, uint64 rows, Tally *tally);
static void change_all(const SvcSegment *segment, const SvcSyncScope *scope, Tally *tally);
static void touch_all(const SvcSegment *segment, const SvcSyncScope *scope);
static void remove_gone(const SvcSegment *segment);
static void set_timers(const SvcSegment *segment, const SvcSyncScope *scope);
static void write_figures(const SvcSegment *segment, const SvcSyncScope *scope, const Tally *tally,
						  const SvcNote *note);

/* Let svc_run_due() look at all customers. */
void
svc_segment_mark_due(Datum segment_id)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer_segment SET last_synced_at = NULL WHERE id = $1", 1, {TEXTOID}
	};

	svc_lifecycle_rewrite(&statement, &segment_id, NULL);
}

/* What a segment is, by the latest snapshot; false, if there is none. */
bool
svc_segment_read(SvcSegment *segment, Datum id)
{
	static SvcStatement statement = {
		"SELECT status::text, parent_segment_id::text, CASE WHEN automated THEN criteria END,"
		"  automated AND sync_frequency = 'realtime', last_synced_at IS NOT NULL"
		" FROM @extschema@.svc_customer_segment WHERE id = $1",
		1, {TEXTOID}
	};
	bool		isnull;
	Datum		criteria;

	if (svc_statement_read_latest(&statement, &id) == 0)
		return false;
	segment->id = id;
	segment->status = svc_statement_text(0, 1);
	(void) svc_statement_value(0, 2, &isnull);
	segment->parent = isnull ? NULL : svc_statement_text(0, 2);
	segment->realtime = DatumGetBool(svc_statement_value(0, 4, &isnull));
	segment->synced = DatumGetBool(svc_statement_value(0, 5, &isnull));
	criteria = svc_statement_value(0, 3, &isnull);
	segment->criteria = isnull ? NULL : svc_criteria_read(DatumGetJsonbP(criteria));
	return true;
}

/* Do members come and go with time alone, and at once? */
bool
svc_segment_follows_time(const SvcSegment *segment)
{
	return strcmp(segment->status, "active") == 0 && segment->realtime && segment->criteria != NULL &&
		(segment->criteria->flags & SVC_CRITERIA_TIME_DEPENDENT) != 0;
}

/* Can its members be wrong?  Else it has those whom somebody has put in. */
static bool
has_rule(const SvcSegment *segment)
{
	return segment->criteria != NULL || segment->parent != NULL;
}

/*
 * Find whom the segment's members are wrong about, and be alone with them, before
 * the segment's row is locked.
 */
void
svc_segment_lock_differences(const SvcSegment *segment, SvcSyncScope *scope)
{
	Datum	   *ids;
	int			count;

	svc_scope_everyone(scope);
	if (!has_rule(segment))
	{
		/* who redefines a segment has this before its row, and what follows needs it */
		svc_membership_hold();
		return;
	}
	count = list_differences(segment, &ids);
	if (count > SVC_MEMBERSHIP_TAKEN_MAX)
	{
		svc_membership_take_all();
		return;
	}
	svc_membership_take(ids, count);
	svc_scope_of(scope, ids, count);
	scope->complete = true;
}

/*
 * The same for who must not wait: it is done without customers that somebody else is
 * busy with, and without more than may be taken.  False, when nothing can be done.
 */
bool
svc_segment_try_lock_differences(const SvcSegment *segment, SvcSyncScope *scope, int *customers_left)
{
	Datum	   *ids;
	int			count;
	int			taken = 0;

	svc_scope_everyone(scope);
	if (!has_rule(segment))
		return true;
	count = list_differences(segment, &ids);
	if (count > SVC_MEMBERSHIP_TAKEN_MAX)
		return svc_membership_try_take_all();
	for (int i = 0; i < count && taken < *customers_left; i++)
	{
		if (svc_membership_try_take(ids[i]))
			ids[taken++] = ids[i];
	}
	*customers_left -= taken;
	svc_scope_of(scope, ids, taken);
	scope->complete = taken == count;
	return taken > 0 || scope->complete;
}

void
svc_scope_everyone(SvcSyncScope *scope)
{
	scope->all = true;
	scope->customer_ids = (Datum) 0;
	scope->complete = true;
}

void
svc_scope_of(SvcSyncScope *scope, Datum *customer_ids, int count)
{
	scope->all = false;
	scope->complete = false;
	scope->customer_ids = svc_statement_texts(customer_ids, count);
}

/* Whom the members are wrong about; more than can be locked, if it is not known. */
static int
list_differences(const SvcSegment *segment, Datum **ids)
{
	SvcSyncScope everyone;
	uint64		rows;
	bool		isnull;

	if (!segment->synced)
		return SVC_MEMBERSHIP_TAKEN_MAX + 1;
	svc_scope_everyone(&everyone);
	rows = find_differences(segment, &everyone, SVC_MEMBERSHIP_TAKEN_MAX + 1);
	*ids = palloc(Max(rows, 1) * sizeof(Datum));
	for (uint64 row = 0; row < rows; row++)
		(*ids)[row] = svc_statement_value(row, 1, &isnull);
	return rows;
}

/*
 * Make the members of an active segment those that they are to be, and reckon the
 * figures about them.  The segment's row is locked, and what comes before it.
 */
void
svc_segment_sync(const SvcSegment *segment, const SvcSyncScope *scope, const SvcNote *note)
{
	Tally		tally = {0};

	/* (into one that is neither, somebody may have written members himself) */
	if (has_rule(segment))
		settle(segment, scope, &tally);
	write_figures(segment, scope, &tally, note);
}

/* The same without the figures, unless there is no other event of the changes. */
void
svc_segment_follow(const SvcSegment *segment, const SvcSyncScope *scope)
{
	SvcNote		no_note = {0};
	Tally		tally = {0};

	settle(segment, scope, &tally);
	if (tally.added + tally.removed > SVC_MEMBERSHIP_EVENTS_MAX)
		write_figures(segment, scope, &tally, &no_note);
}

/* The same for one customer. */
void
svc_segment_settle(const SvcSegment *segment, Datum customer_id)
{
	SvcSyncScope scope;

	svc_scope_of(&scope, &customer_id, 1);
	svc_segment_follow(segment, &scope);
}

/* Let those leave who are not in the parent any more, and come whom somebody has put in. */
void
svc_segment_prune(const SvcSegment *segment)
{
	static SvcStatement statement = {
		"SELECT m.customer_id::text FROM @extschema@.svc_segment_member m WHERE m.segment_id = $1"
		" AND NOT EXISTS (SELECT FROM @extschema@.svc_segment_member p"
		"  WHERE p.segment_id = $2 AND p.customer_id = m.customer_id)"
		" UNION SELECT o.customer_id::text FROM @extschema@.svc_segment_override o"
		" WHERE o.segment_id = $1 AND o.included",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {segment->id, CStringGetTextDatum(segment->parent)};
	uint64		rows = svc_statement_run(&statement, values, NULL);
	Datum	   *ids = palloc(Max(rows, 1) * sizeof(Datum));
	SvcSyncScope scope;
	bool		isnull;

	for (uint64 row = 0; row < rows; row++)
		ids[row] = svc_statement_value(row, 1, &isnull);
	svc_scope_of(&scope, ids, rows);
	svc_segment_follow(segment, &scope);
}

static void
settle(const SvcSegment *segment, const SvcSyncScope *scope, Tally *tally)
{
	uint64		rows = find_differences(segment, scope, SVC_MEMBERSHIP_EVENTS_MAX + 1);

	if (rows <= SVC_MEMBERSHIP_EVENTS_MAX)
		change_each(segment, rows, tally);
	else
		change_all(segment, scope, tally);
	set_timers(segment, scope);
}

/*
 * The customers that are to be in a segment, as a query: $1 is its id, and $2 are
 * those who are asked about, if there is a condition "among".
 *
 * The schema is written out, because the criteria may contain anything.
 */
char *
svc_segment_candidates_sql(const SvcSegment *segment, bool overrides, const char *among)
{
	const char *schema = svc_catalog_schema_name();
	StringInfoData within;
	StringInfoData sql;

	initStringInfo(&within);
	appendStringInfo(&within, "svc_customer.status NOT IN ('merged', 'deleted')%s", among);
	if (segment->parent != NULL)
		appendStringInfo(&within, " AND EXISTS (SELECT FROM %s.svc_segment_member p"
						 " WHERE p.customer_id = svc_customer.id AND p.segment_id = %s)",
						 schema, quote_literal_cstr(segment->parent));

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT svc_customer.id FROM %s.svc_customer WHERE %s AND %s", schema, within.data,
					 segment->criteria == NULL ? "false" : svc_criteria_sql_text(segment->criteria));
	if (overrides)
		appendStringInfo(&sql, " AND NOT EXISTS (SELECT FROM %s.svc_segment_override o"
						 "  WHERE o.segment_id = $1 AND o.customer_id = svc_customer.id)"
						 " UNION ALL"
						 " SELECT svc_customer.id FROM %s.svc_segment_override o"
						 " JOIN %s.svc_customer ON svc_customer.id = o.customer_id"
						 " WHERE o.segment_id = $1 AND o.included AND %s",
						 schema, schema, schema, within.data);
	return sql.data;
}

/* A statement about those who are wanted. */
static char *
with_wanted(const SvcSegment *segment, const SvcSyncScope *scope, const char *statement)
{
	return psprintf("WITH wanted AS MATERIALIZED (%s) %s",
					svc_segment_candidates_sql(segment, has_overrides(segment),
											   scope->all ? "" : " AND svc_customer.id = ANY ($2)"),
					statement);
}

static bool
has_overrides(const SvcSegment *segment)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_segment_override WHERE segment_id = $1 LIMIT 1", 1, {TEXTOID}
	};
	Datum		id = segment->id;

	return svc_statement_run(&statement, &id, NULL) > 0;
}

static uint64
run(const SvcSegment *segment, const SvcSyncScope *scope, const char *sql)
{
	Oid			argtypes[2] = {TEXTOID, TEXTARRAYOID};
	Datum		values[2] = {segment->id, scope->customer_ids};

	return svc_statement_run_literally(sql, scope->all ? 1 : 2, argtypes, values, false);
}

/* customer_id, whether it joins: of so many customers at most */
static uint64
find_differences(const SvcSegment *segment, const SvcSyncScope *scope, int limit)
{
	char	   *statement =
		psprintf("SELECT coalesce(w.id, m.customer_id)::text, m.customer_id IS NULL"
				 " FROM wanted w FULL JOIN (SELECT customer_id FROM %s.svc_segment_member WHERE segment_id = $1%s) m"
				 "  ON m.customer_id = w.id"
				 " WHERE w.id IS NULL OR m.customer_id IS NULL LIMIT %d",
				 svc_catalog_schema_name(), scope->all ? "" : " AND customer_id = ANY ($2)", limit);

	return run(segment, scope, with_wanted(segment, scope, statement));
}

/* Change what was found. */
static void
change_each(const SvcSegment *segment, uint64 rows, Tally *tally)
{
	SPITupleTable *found = SPI_tuptable;

	for (uint64 row = 0; row < rows; row++)
	{
		bool		isnull;
		Datum		customer_id = SPI_getbinval(found->vals[row], found->tupdesc, 1, &isnull);
		bool		joins = DatumGetBool(SPI_getbinval(found->vals[row], found->tupdesc, 2, &isnull));

		/* before the change, whose event may bring about at once what follows */
		svc_touch_membership(TextDatumGetCString(segment->id), TextDatumGetCString(customer_id));
		(void) svc_membership_change(segment->id, customer_id, joins);
		if (joins)
			tally->added++;
		else
			tally->removed++;
	}
}

/* Find and change at once. */
static void
change_all(const SvcSegment *segment, const SvcSyncScope *scope, Tally *tally)
{
	const char *schema = svc_catalog_schema_name();
	char	   *statement =
		psprintf(", removed AS (DELETE FROM %1$s.svc_segment_member m WHERE m.segment_id = $1%2$s"
				 "  AND NOT EXISTS (SELECT FROM wanted w WHERE w.id = m.customer_id) RETURNING 1),"
				 " added AS (INSERT INTO %1$s.svc_segment_member (customer_id, segment_id)"
				 "  SELECT id, $1 FROM wanted ON CONFLICT DO NOTHING RETURNING 1)"
				 " SELECT (SELECT count(*) FROM added)::bigint, (SELECT count(*) FROM removed)::bigint",
				 schema, scope->all ? "" : " AND m.customer_id = ANY ($2)");
	bool		isnull;

	(void) run(segment, scope, with_wanted(segment, scope, statement));
	tally->added = DatumGetInt64(svc_statement_value(0, 1, &isnull));
	tally->removed = DatumGetInt64(svc_statement_value(0, 2, &isnull));
	touch_all(segment, scope);
	if (tally->added > 0)
		remove_gone(segment);
}

/* Whoever is in the scope may have come or gone; these customers, if any, are ours already. */
static void
touch_all(const SvcSegment *segment, const SvcSyncScope *scope)
{
	const char *segment_id = TextDatumGetCString(segment->id);
	Datum	   *ids;
	int			count;

	if (scope->all)
	{
		svc_touch_memberships(segment_id);
		return;
	}
	deconstruct_array(DatumGetArrayTypeP(scope->customer_ids), TEXTOID, -1, false, TYPALIGN_INT, &ids, NULL, &count);
	for (int i = 0; i < count; i++)
		svc_touch_membership(segment_id, TextDatumGetCString(ids[i]));
}

static void
remove_gone(const SvcSegment *segment)
{
	static SvcStatement statement = {
		"DELETE FROM @extschema@.svc_segment_member m USING @extschema@.svc_customer c"
		" WHERE m.segment_id = $1 AND c.id = m.customer_id AND c.status IN ('merged', 'deleted')",
		1, {TEXTOID}
	};
	Datum		id = segment->id;

	svc_statement_run(&statement, &id, NULL);
}

/* When time alone will change something, for those in question. */
static void
set_timers(const SvcSegment *segment, const SvcSyncScope *scope)
{
	const char *schema = svc_catalog_schema_name();
	const char *among = scope->all ? "" : " AND svc_customer.id = ANY ($2)";
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s.svc_segment_timer WHERE segment_id = $1%s", schema,
					 scope->all ? "" : " AND customer_id = ANY ($2)");
	(void) run(segment, scope, sql.data);
	if (!svc_segment_follows_time(segment))
		return;
	resetStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %1$s.svc_segment_timer (customer_id, segment_id, due_at)"
					 " SELECT id, $1, due FROM (SELECT svc_customer.id, %1$s.svc_next_change("
					 "   %1$s.svc_customer_document(svc_customer.id, %1$s.svc_criteria_paths(k.criteria)), k.criteria, %2$s::timestamptz) AS due"
					 "  FROM (SELECT %3$s::%1$s.svc_criteria AS criteria) k, %1$s.svc_customer"
					 "  WHERE svc_customer.status NOT IN ('merged', 'deleted')%4$s) t WHERE due IS NOT NULL",
					 schema,
					 quote_literal_cstr(svc_criteria_write_instant(svc_clock_now())),
					 quote_literal_cstr(pnstrdup(svc_criteria_source(segment->criteria),
												 segment->criteria->source_length)), among);
	(void) run(segment, scope, sql.data);
}

/* Write what there is to say of the members, and that a sync has been, if it was one of all. */
static void
write_figures(const SvcSegment *segment, const SvcSyncScope *scope, const Tally *tally, const SvcNote *note)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer_segment s SET"
		"  customer_count = m.members, percent_of_total = m.percent, total_revenue = m.revenue,"
		"  avg_revenue = m.mean_revenue, avg_lifetime_value = m.mean_value,"
		"  avg_engagement_score = m.mean_engagement, churn_rate = m.churned,"
		"  avg_usage = (SELECT round(avg(e.usage_percent), 2) FROM @extschema@.svc_segment_member sm"
		"   JOIN @extschema@.svc_entitlement e ON e.customer_id = sm.customer_id"
		"   WHERE sm.segment_id = $1 AND e.status IN ('active', 'exhausted')),"
		"  last_synced_at = CASE WHEN $3 THEN $2 ELSE s.last_synced_at END"
		" FROM (SELECT count(*) AS members,"
		"   round(100.0 * count(*) / nullif((SELECT count(*) FROM @extschema@.svc_customer"
		"     WHERE status NOT IN ('merged', 'deleted')), 0), 2) AS percent,"
		"   sum(c.monthly_spend) AS revenue, round(avg(c.monthly_spend), 4) AS mean_revenue,"
		"   round(avg(c.lifetime_value), 4) AS mean_value,"
		"   round(avg(c.engagement_score), 4) AS mean_engagement,"
		"   round(100.0 * count(*) FILTER (WHERE c.status = 'churned') / nullif(count(*), 0), 2) AS churned"
		"  FROM @extschema@.svc_segment_member sm"
		"  JOIN @extschema@.svc_customer c ON c.id = sm.customer_id"
		"  WHERE sm.segment_id = $1 AND c.status NOT IN ('merged', 'deleted')) m"
		" WHERE s.id = $1",
		3, {TEXTOID, TIMESTAMPTZOID, BOOLOID}
	};
	SvcNote		removed = {"removed", NULL, psprintf(UINT64_FORMAT, tally->removed)};
	SvcNote		added = {"added", NULL, psprintf(UINT64_FORMAT, tally->added), &removed};
	SvcDeed		deed = {.noun = SVC_CUSTOMER_SEGMENT, .action = "sync", .note = added};
	/* (if somebody has marked it as due since, he may have changed more customers than we knew) */
	bool		complete = scope->all || (scope->complete && segment->synced);
	Datum		values[3] = {segment->id, TimestampTzGetDatum(svc_clock_now()), BoolGetDatum(complete)};

	if (note->name != NULL)
	{
		deed.note = *note;
		deed.note.next = &added;
	}
	if (svc_lifecycle_write(&deed, &statement, values, NULL) == 0)
		svc_gate_report_suppressed(SVC_CUSTOMER_SEGMENT, segment->id);
}
