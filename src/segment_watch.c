/*-------------------------------------------------------------------------
 *
 * segment_watch.c
 *	  Segments that follow their customers in real time.
 *
 * A change of a customer, of the status of its entitlements or subscriptions, or of
 * its place in a segment, is noted (touch.c).  At the end of the transaction, in a
 * deferred trigger, each customer that was noted is asked once whether it is in those
 * segments now whose criteria mention what has changed (criteria_set.c), and comes to
 * segments and leaves them accordingly.  If very many customers have changed, it is
 * the segments that are asked, one after the other (segment_sync.c).
 *
 * The segments are kept, compiled, per backend.  What invalidates them is an
 * invalidation of the relation cache for their table, which who redefines a segment
 * sends (segment_rule.c), and which we have received when we hold the lock that he
 * needs (membership.c).
 *
 * What time alone changes: with each answer goes the next instant at which it may
 * change, as a row of svc_segment_timer, and svc_run_due() asks again then.  What
 * makes no event, counters and usage, it looks at from time to time (segment_due.c).
 *
 * Locks: memberships (membership.c), rows of segments in the order of their ids,
 * their members, timers.  A segment that depends on a parent which a customer leaves
 * is locked, too, even if the customer is not in it: its own sync could just be about
 * to put it in.
 *
 * Everything is read with a snapshot that is taken after the locks, at each isolation
 * level.  With an old snapshot for the transaction, what others have written since
 * cannot be written again: then the transaction fails with 40001, as usual.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "clock.h"
#include "criteria_match.h"
#include "criteria_set.h"
#include "document.h"
#include "gate.h"
#include "lifecycle.h"
#include "membership.h"
#include "segment_check.h"
#include "segment_sync.h"
#include "segment_watch.h"
#include "statement.h"
#include "touch.h"

/* With more criteria in question, a document has what any segment mentions. */
#define CRITERIA_LOOKED_THROUGH_MAX		50

/* A segment that is watched: in real time, or because it has a parent. */
typedef struct Watched
{
	char	   *id;
	char	   *parent;			/* or NULL */
	bool		realtime;
	bool		follows_time;
	bool		has_counters;	/* its criteria mention what makes no event */
	Datum		document;		/* jsonb: its criteria, as they are stored */
	SvcCriteria *criteria;		/* or NULL */
} Watched;

/* All of them, in the order of their ids. */
typedef struct Watch
{
	MemoryContext memory;
	Oid			relation;		/* svc_customer_segment */
	bool		valid;
	int			count;
	Watched    *segments;
	SvcCriteriaSet *set;
	int		   *member_of;		/* number in the set -> in "segments" */
	SvcDocumentWants wants;		/* of all criteria together */
} Watch;

static Watch watch;

/* Has a message come while we read them? */
static bool forgotten;

/* A customer comes to a segment or leaves it. */
typedef struct Flip
{
	const char *segment_id;
	const char *customer_id;
	bool		joins;
	bool		is_sure;		/* that it is not so yet */
} Flip;

/* A customer that is being asked. */
typedef struct Inquiry
{
	const char *customer_id;
	Jsonb	   *document;
	TimestampTz at;
	int			current_count;
	char	  **current;		/* ids of segments that it is in, ordered */
	int			override_count;
	char	  **overridden;		/* ids, ordered */
	bool	   *included;
	bool	   *is_decided;		/* by number in the set */
	bool	   *is_member;		/* if it is decided */
	List	   *flips;			/* of all customers that are asked together */
	List	   *timed;			/* numbers of segments that are to be asked again */
} Inquiry;

static void follow(const SvcTouch *touches, int count);
static void follow_customers(const SvcTouch *touches, int count);
static void follow_all(const Bitmapset *candidates);
static void mark_due(const Bitmapset *candidates);
static Bitmapset *candidates_of(const SvcTouch *touches, int count);
static void load_watch(void);
static void forget_watch(Datum arg, Oid relation);
static void read_segments(Watch *fresh);
static bool compile_criteria(Watched *segment, Datum document, const Watched *before);
static bool mentions_counters(const SvcCriteria *criteria);
static const Watched *find_segment(const Watch *in, const char *id);
static int	compare_segment(const void *id, const void *segment);
static List *ask(List *flips, Datum customer_id, const Bitmapset *candidates, TimestampTz at);
static void read_places(Inquiry *inquiry, Datum customer_id);
static int	compare_ids(const void *a, const void *b);
static bool is_listed(char **ids, int count, const char *id, int *position);
static bool is_member(const char *segment_id, void *state);
static bool decide(int member, bool matches, void *state);
static bool is_in_parent(Inquiry *inquiry, const Watched *segment);
static void note_flip(Inquiry *inquiry, const Watched *segment, bool joins, bool is_sure);
static void set_alarms(Inquiry *inquiry, Datum customer_id);
static void apply(List *flips);
static void lock_segments_of(List *flips);
static void lock_segments(Datum *ids, int count);
static int	compare_flips(const ListCell *a, const ListCell *b);
static void apply_to_segment(List *flips, int first, int end);
static void apply_flip(const Flip *flip);

PG_FUNCTION_INFO_V1(svc_watch);
PG_FUNCTION_INFO_V1(svc_watch_begins);

/*
 * svc_watch(): deferred constraint trigger, at the end of a transaction.
 */
Datum
svc_watch(PG_FUNCTION_ARGS)
{
	SvcTouch   *touches;
	int			count;
	SvcCall		call;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("svc_watch() must be called as a trigger of svc"),
				 errdetail("It is for deferred triggers."),
				 errhint("svc_install() makes the triggers that svc needs.")));
	if (!svc_touch_begin_evaluation())
		return PointerGetDatum(NULL);
	svc_call_begin(&call, fcinfo);
	/* what we do, or a user's triggers do then, may have consequences of its own */
	while ((count = svc_touch_take(&touches)) > 0)
		follow(touches, count);
	svc_touch_end_evaluation();
	svc_call_end(&call);
	return PointerGetDatum(NULL);
}

/*
 * svc_watch_begins(): in the trigger's WHEN, is this a change after which it must fire?
 */
Datum
svc_watch_begins(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(svc_touch_begins());
}

/*
 * Ask a customer, whose memberships are taken, about these segments, as it is at an
 * instant.  Returns those of them that do not follow time any more.
 */
List *
svc_segment_ask(Datum customer_id, List *segment_ids, TimestampTz at)
{
	Bitmapset  *candidates = NULL;
	List	   *unknown = NIL;
	List	   *flips;
	ListCell   *cell;

	load_watch();
	foreach(cell, segment_ids)
	{
		int			member = svc_criteria_set_find(watch.set, lfirst(cell));

		if (member >= 0 && watch.segments[watch.member_of[member]].follows_time)
			candidates = bms_add_member(candidates, member);
		else
			unknown = lappend(unknown, lfirst(cell));
	}
	PushActiveSnapshot(GetLatestSnapshot());
	flips = ask(NIL, customer_id, candidates, at);
	PopActiveSnapshot();
	apply(flips);
	return unknown;
}

/* The ids of segments in real time that look at what makes no event, as text[]. */
Datum
svc_segment_list_counting(void)
{
	Datum	   *ids;
	int			count = 0;

	load_watch();
	ids = palloc(Max(watch.count, 1) * sizeof(Datum));
	for (int i = 0; i < watch.count; i++)
	{
		if (watch.segments[i].has_counters)
			ids[count++] = CStringGetTextDatum(watch.segments[i].id);
	}
	return svc_statement_texts(ids, count);
}

/* ---- what follows from changes ---- */

static void
follow(const SvcTouch *touches, int count)
{
	int			any = 0;

	/* first what is of any customer */
	while (any < count && touches[any].customer_id[0] == '\0')
		any++;
	load_watch();
	/* who will need all customers takes all, and not some before (membership.c) */
	if (any > 0 && !bms_is_empty(candidates_of(touches, any)) && !IsolationUsesXactSnapshot())
		(void) svc_membership_take_rest();
	/* from now on, nobody redefines a segment: who does so sees what we have changed */
	svc_membership_hold();
	load_watch();
	if (watch.count == 0)
		return;
	if (any > 0)
		follow_all(candidates_of(touches, any));
	if (any < count)
		follow_customers(touches + any, count - any);
}

/* Ask each customer. */
static void
follow_customers(const SvcTouch *touches, int touch_count)
{
	Datum	   *ids = palloc(touch_count * sizeof(Datum));
	Bitmapset **candidates = palloc(touch_count * sizeof(Bitmapset *));
	List	   *flips = NIL;
	int			count = 0;

	for (int i = 0, end; i < touch_count; i = end)
	{
		for (end = i + 1; end < touch_count && strcmp(touches[end].customer_id, touches[i].customer_id) == 0;)
			end++;
		candidates[count] = candidates_of(&touches[i], end - i);
		if (candidates[count] != NULL)
			ids[count++] = CStringGetTextDatum(touches[i].customer_id);
	}
	if (count == 0)
		return;
	svc_membership_take(ids, count);
	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < count; i++)
		flips = ask(flips, ids[i], candidates[i], svc_clock_now());
	PopActiveSnapshot();
	apply(flips);
}

/*
 * Ask the segments, the ones that others depend on first.  What these change they
 * touch, so those that depend on them have their turn after that.  If an old snapshot
 * does not show all customers, or others are busy with some and we are, too, that is
 * left to svc_run_due().
 */
static void
follow_all(const Bitmapset *candidates)
{
	SvcSyncScope everyone;
	List	   *ids = NIL;
	Bitmapset  *realtime = NULL;
	int			member = -1;
	ListCell   *cell;

	if (bms_is_empty(candidates))
		return;
	if (IsolationUsesXactSnapshot() || !svc_membership_try_take_all())
	{
		mark_due(candidates);
		return;
	}
	svc_scope_everyone(&everyone);
	/* (a user's trigger on what we write may have the segments read anew) */
	while ((member = bms_next_member(candidates, member)) >= 0)
	{
		const Watched *watched = &watch.segments[watch.member_of[member]];

		if (watched->realtime)
			realtime = bms_add_member(realtime, list_length(ids));
		ids = lappend(ids, pstrdup(watched->id));
	}
	foreach(cell, ids)
	{
		SvcSegment	segment;
		SvcFoundRow row;
		Datum		id = CStringGetTextDatum(lfirst(cell));

		CHECK_FOR_INTERRUPTS();
		svc_gate_lock_row(&row, SVC_CUSTOMER_SEGMENT, (Datum) 0, id);
		if (!svc_segment_read(&segment, id) || strcmp(segment.status, "archived") == 0)
			continue;
		if (bms_is_member(foreach_current_index(cell), realtime))
			svc_segment_follow(&segment, &everyone);
		else
			svc_segment_prune(&segment);
	}
}

static void
mark_due(const Bitmapset *candidates)
{
	Datum	   *ids = palloc(bms_num_members(candidates) * sizeof(Datum));
	int			count = 0;
	int			member = -1;

	while ((member = bms_next_member(candidates, member)) >= 0)
		ids[count++] = CStringGetTextDatum(watch.segments[watch.member_of[member]].id);
	lock_segments(ids, count);
	for (int i = 0; i < count; i++)
		svc_segment_mark_due(ids[i]);
}

/* The segments that are to be asked about a customer of which this has changed. */
static Bitmapset *
candidates_of(const SvcTouch *touches, int count)
{
	const char **paths = palloc(count * sizeof(char *));

	for (int i = 0; i < count; i++)
	{
		paths[i] = touches[i].path;
		if (paths[i][0] == '\0')
			return svc_criteria_set_candidates(watch.set, NULL, 0);
	}
	return svc_criteria_set_candidates(watch.set, paths, count);
}

/* ---- the segments that are watched ---- */

/* Read them, unless what we have is still right. */
static void
load_watch(void)
{
	static bool registered = false;
	Oid			relation = svc_catalog_table("svc_customer_segment");
	Watch		fresh = {.relation = relation};
	SvcCriteriaMember *members;

	if (!registered)
		CacheRegisterRelcacheCallback(forget_watch, (Datum) 0);
	registered = true;
	AcceptInvalidationMessages();
	if (watch.valid && watch.relation == relation)
		return;

	fresh.memory = AllocSetContextCreate(CurrentMemoryContext, "svc segments", ALLOCSET_DEFAULT_SIZES);
	watch.relation = relation;
	forgotten = false;
	read_segments(&fresh);
	members = palloc0(Max(fresh.count, 1) * sizeof(SvcCriteriaMember));
	for (int i = 0; i < fresh.count; i++)
	{
		members[i].id = fresh.segments[i].id;
		members[i].parent = fresh.segments[i].parent;
		members[i].criteria = fresh.segments[i].criteria;
	}
	fresh.member_of = MemoryContextAlloc(fresh.memory, Max(fresh.count, 1) * sizeof(int));
	fresh.set = svc_criteria_set_make(CacheMemoryContext, members, fresh.count, watch.set);
	/* now that the old set is gone, nothing fails any more */
	MemoryContextSetParent(fresh.memory, CacheMemoryContext);
	for (int i = 0; i < fresh.count; i++)
		fresh.member_of[i] = svc_criteria_set_given(fresh.set, i);
	fresh.valid = !forgotten;
	if (watch.memory != NULL)
		MemoryContextDelete(watch.memory);
	watch = fresh;
}

static void
forget_watch(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == watch.relation)
	{
		watch.valid = false;
		forgotten = true;
	}
}

static void
read_segments(Watch *fresh)
{
	static SvcStatement statement = {
		"SELECT id::text, parent_segment_id::text,"
		"  automated AND status = 'active' AND sync_frequency = 'realtime', criteria::jsonb"
		" FROM @extschema@.svc_customer_segment"
		" WHERE status <> 'archived' AND (parent_segment_id IS NOT NULL OR"
		"  (automated AND status = 'active' AND sync_frequency = 'realtime'))"
		" ORDER BY id",
		0
	};
	uint64		rows = svc_statement_read_latest(&statement, NULL);
	SPITupleTable *found = SPI_tuptable;
	MemoryContext old = MemoryContextSwitchTo(fresh->memory);

	fresh->segments = palloc0(Max(rows, 1) * sizeof(Watched));
	for (uint64 row = 0; row < rows; row++)
	{
		Watched    *segment = &fresh->segments[fresh->count];
		bool		isnull;
		Datum		document = SPI_getbinval(found->vals[row], found->tupdesc, 4, &isnull);

		CHECK_FOR_INTERRUPTS();
		segment->id = SPI_getvalue(found->vals[row], found->tupdesc, 1);
		segment->parent = SPI_getvalue(found->vals[row], found->tupdesc, 2);
		segment->realtime = DatumGetBool(SPI_getbinval(found->vals[row], found->tupdesc, 3, &(bool) {false}));
		if (!segment->realtime || isnull)
		{
			fresh->count++;
			continue;
		}
		if (!compile_criteria(segment, document, find_segment(&watch, segment->id)))
			continue;
		fresh->count++;
		svc_document_want_criteria(&fresh->wants, segment->criteria);
		segment->follows_time = (segment->criteria->flags & SVC_CRITERIA_TIME_DEPENDENT) != 0;
		segment->has_counters = mentions_counters(segment->criteria);
	}
	MemoryContextSwitchTo(old);
}

/*
 * What was compiled before is still so, if the document is the same.  False, with a
 * WARNING, if it is none of criteria: that keeps nobody from changing customers.
 */
static bool
compile_criteria(Watched *segment, Datum document, const Watched *before)
{
	Jsonb	   *jsonb = DatumGetJsonbPCopy(document);
	ErrorData  *error;

	segment->document = JsonbPGetDatum(jsonb);
	if (before != NULL && before->criteria != NULL &&
		VARSIZE(DatumGetJsonbP(before->document)) == VARSIZE(jsonb) &&
		memcmp(DatumGetJsonbP(before->document), jsonb, VARSIZE(jsonb)) == 0)
	{
		segment->criteria = palloc(VARSIZE(before->criteria));
		memcpy(segment->criteria, before->criteria, VARSIZE(before->criteria));
		return true;
	}
	segment->criteria = svc_segment_try_criteria(jsonb, &error);
	if (segment->criteria == NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("segment \"%s\" does not follow its customers: %s", segment->id, error->message),
				 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
				 errhint("Give it other criteria, by svc_update_segment().")));
	return segment->criteria != NULL;
}

static bool
mentions_counters(const SvcCriteria *criteria)
{
	SvcDocumentWants wants = {0};

	svc_document_want_criteria(&wants, criteria);
	return svc_document_wants(&wants, SVC_DOCUMENT_USAGE) || svc_document_wants(&wants, SVC_DOCUMENT_ENTITLEMENTS);
}

static const Watched *
find_segment(const Watch *in, const char *id)
{
	return bsearch(id, in->segments, in->count, sizeof(Watched), compare_segment);
}

static int
compare_segment(const void *id, const void *segment)
{
	return strcmp(id, ((const Watched *) segment)->id);
}

/* ---- one customer ---- */

/*
 * Ask where a customer belongs, among the candidates and what depends on them, and
 * append to "flips" what is different.
 */
static List *
ask(List *flips, Datum customer_id, const Bitmapset *candidates, TimestampTz at)
{
	static SvcStatement statement = {
		"SELECT * FROM @extschema@.svc_customer WHERE id = $1 AND status NOT IN ('merged', 'deleted')",
		1, {TEXTOID}
	};
	int			count = svc_criteria_set_count(watch.set);
	Inquiry		inquiry = {.customer_id = TextDatumGetCString(customer_id), .at = at, .flips = flips};
	SvcCriteriaSetHost host = {is_member, decide, &inquiry};
	SvcDocumentWants some = {0};
	Bitmapset  *all;
	int			member = -1;
	HeapTuple	row;
	TupleDesc	desc;

	/* (who is merged or deleted has left all segments) */
	if (svc_statement_read(&statement, &customer_id, NULL) == 0)
		return flips;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	read_places(&inquiry, customer_id);
	all = svc_criteria_set_with_dependents(watch.set, candidates);
	if (bms_num_members(all) <= CRITERIA_LOOKED_THROUGH_MAX)
	{
		while ((member = bms_next_member(all, member)) >= 0)
		{
			if (watch.segments[watch.member_of[member]].criteria != NULL)
				svc_document_want_criteria(&some, watch.segments[watch.member_of[member]].criteria);
		}
	}
	inquiry.document = svc_document_build(bms_num_members(all) <= CRITERIA_LOOKED_THROUGH_MAX ? &some : &watch.wants,
										  customer_id, row, desc, at);
	inquiry.is_decided = palloc0(count * sizeof(bool));
	inquiry.is_member = palloc0(count * sizeof(bool));
	svc_criteria_set_evaluate(watch.set, candidates, inquiry.document, at, &host);
	set_alarms(&inquiry, customer_id);
	return inquiry.flips;
}

/* Which segments the customer is in, and where that was decided by hand. */
static void
read_places(Inquiry *inquiry, Datum customer_id)
{
	static SvcStatement current = {
		"SELECT segment_id::text FROM @extschema@.svc_segment_member WHERE customer_id = $1 ORDER BY segment_id",
		1, {TEXTOID}
	};
	static SvcStatement overrides = {
		"SELECT segment_id::text, included::boolean FROM @extschema@.svc_segment_override"
		" WHERE customer_id = $1 ORDER BY segment_id",
		1, {TEXTOID}
	};
	bool		isnull;

	inquiry->current_count = svc_statement_read(&current, &customer_id, NULL);
	inquiry->current = palloc(Max(inquiry->current_count, 1) * sizeof(char *));
	for (int i = 0; i < inquiry->current_count; i++)
		inquiry->current[i] = svc_statement_text(i, 1);
	inquiry->override_count = svc_statement_read(&overrides, &customer_id, NULL);
	inquiry->overridden = palloc(Max(inquiry->override_count, 1) * sizeof(char *));
	inquiry->included = palloc(Max(inquiry->override_count, 1) * sizeof(bool));
	for (int i = 0; i < inquiry->override_count; i++)
	{
		inquiry->overridden[i] = svc_statement_text(i, 1);
		inquiry->included[i] = DatumGetBool(svc_statement_value(i, 2, &isnull));
	}
}

static bool
is_listed(char **ids, int count, const char *id, int *position)
{
	char	  **found = bsearch(&id, ids, count, sizeof(char *), compare_ids);

	if (found != NULL)
		*position = found - ids;
	return found != NULL;
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Has the customer been in a segment until now? */
static bool
is_member(const char *segment_id, void *state)
{
	Inquiry    *inquiry = state;
	int			position;

	return is_listed(inquiry->current, inquiry->current_count, segment_id, &position);
}

/* Is the customer in a segment from now on, whose criteria match or not? */
static bool
decide(int member, bool matches, void *state)
{
	Inquiry    *inquiry = state;
	const Watched *segment = &watch.segments[watch.member_of[member]];
	bool		was_member = is_member(segment->id, inquiry);
	bool		in_parent = is_in_parent(inquiry, segment);
	bool		is_now;
	int			position;

	/* (one that is not in real time stays as it is otherwise, until its sync) */
	if (is_listed(inquiry->overridden, inquiry->override_count, segment->id, &position))
		is_now = inquiry->included[position] && in_parent;
	else
		is_now = (segment->realtime ? matches : was_member) && in_parent;

	if (is_now != was_member)
		note_flip(inquiry, segment, is_now, true);
	else if (!segment->realtime && !in_parent)
		note_flip(inquiry, segment, false, false);
	if (segment->follows_time)
		inquiry->timed = lappend_int(inquiry->timed, member);
	inquiry->is_decided[member] = true;
	inquiry->is_member[member] = is_now;
	return is_now;
}

static bool
is_in_parent(Inquiry *inquiry, const Watched *segment)
{
	int			parent;

	if (segment->parent == NULL)
		return true;
	parent = svc_criteria_set_find(watch.set, segment->parent);
	if (parent >= 0 && inquiry->is_decided[parent])
		return inquiry->is_member[parent];
	return is_member(segment->parent, inquiry);
}

static void
note_flip(Inquiry *inquiry, const Watched *segment, bool joins, bool is_sure)
{
	Flip	   *flip = palloc(sizeof(Flip));

	/* (what is kept of segments may be read anew before it is applied) */
	flip->segment_id = pstrdup(segment->id);
	flip->customer_id = inquiry->customer_id;
	flip->joins = joins;
	flip->is_sure = is_sure;
	inquiry->flips = lappend(inquiry->flips, flip);
}

/* Note when to ask again about the segments that were asked about. */
static void
set_alarms(Inquiry *inquiry, Datum customer_id)
{
	static SvcStatement clear = {
		"DELETE FROM @extschema@.svc_segment_timer t WHERE customer_id = $1 AND segment_id = ANY ($2)"
		" AND NOT EXISTS (SELECT FROM unnest($3, $4) n (segment_id, due_at)"
		"  WHERE n.segment_id = t.segment_id AND n.due_at = t.due_at)",
		4, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}
	};
	static SvcStatement set = {
		"INSERT INTO @extschema@.svc_segment_timer (customer_id, segment_id, due_at)"
		" SELECT $1, n.segment_id, n.due_at FROM unnest($3, $4) n (segment_id, due_at) WHERE $2 IS NOT NULL"
		" ON CONFLICT DO NOTHING",
		4, {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}
	};
	int			room = list_length(inquiry->timed);
	Datum	   *asked = palloc(Max(room, 1) * sizeof(Datum));
	Datum	   *alarmed = palloc(Max(room, 1) * sizeof(Datum));
	Datum	   *due = palloc(Max(room, 1) * sizeof(Datum));
	int			asked_count = 0;
	int			due_count = 0;
	Datum		values[4] = {customer_id};
	ListCell   *cell;

	if (room == 0)
		return;
	foreach(cell, inquiry->timed)
	{
		int			member = lfirst_int(cell);
		int64		at = svc_criteria_set_next_change(watch.set, member, inquiry->document, inquiry->at);

		asked[asked_count++] = CStringGetTextDatum(watch.segments[watch.member_of[member]].id);
		if (at == DT_NOEND)
			continue;
		alarmed[due_count] = asked[asked_count - 1];
		due[due_count++] = TimestampTzGetDatum(at);
	}
	values[1] = svc_statement_texts(asked, asked_count);
	values[2] = svc_statement_texts(alarmed, due_count);
	values[3] = PointerGetDatum(construct_array(due, due_count, TIMESTAMPTZOID, sizeof(int64), FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	(void) svc_statement_run(&clear, values, NULL);
	(void) svc_statement_run(&set, values, NULL);
}

/* ---- changes of members ---- */

/* Segment by segment, in the order of their ids. */
static void
apply(List *flips)
{
	int			count = list_length(flips);

	if (count == 0)
		return;
	list_sort(flips, compare_flips);
	lock_segments_of(flips);
	for (int first = 0, end; first < count; first = end)
	{
		const char *segment_id = ((Flip *) list_nth(flips, first))->segment_id;

		for (end = first + 1; end < count && strcmp(((Flip *) list_nth(flips, end))->segment_id, segment_id) == 0;)
			end++;
		apply_to_segment(flips, first, end);
	}
}

static void
lock_segments_of(List *flips)
{
	Datum	   *ids = palloc(list_length(flips) * sizeof(Datum));
	const char *last = NULL;
	int			count = 0;
	ListCell   *cell;

	foreach(cell, flips)
	{
		const Flip *flip = lfirst(cell);

		if (last == NULL || strcmp(flip->segment_id, last) != 0)
			ids[count++] = CStringGetTextDatum(flip->segment_id);
		last = flip->segment_id;
	}
	lock_segments(ids, count);
}

static void
lock_segments(Datum *ids, int count)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_customer_segment WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE",
		1, {TEXTARRAYOID}
	};
	Datum		array = svc_statement_texts(ids, count);

	(void) svc_statement_run(&statement, &array, NULL);
}

static int
compare_flips(const ListCell *a, const ListCell *b)
{
	const Flip *first = lfirst(a);
	const Flip *second = lfirst(b);
	int			order = strcmp(first->segment_id, second->segment_id);

	return order != 0 ? order : strcmp(first->customer_id, second->customer_id);
}

/* A few each with an event, many with one for all. */
static void
apply_to_segment(List *flips, int first, int end)
{
	Datum	   *ids;
	SvcSyncScope scope;
	SvcSegment	segment;

	if (end - first <= SVC_MEMBERSHIP_EVENTS_MAX || IsolationUsesXactSnapshot())
	{
		for (int i = first; i < end; i++)
			apply_flip(list_nth(flips, i));
		return;
	}
	ids = palloc((end - first) * sizeof(Datum));
	for (int i = first; i < end; i++)
		ids[i - first] = CStringGetTextDatum(((Flip *) list_nth(flips, i))->customer_id);
	svc_scope_of(&scope, ids, end - first);
	if (svc_segment_read(&segment, CStringGetTextDatum(((Flip *) list_nth(flips, first))->segment_id)))
		svc_segment_follow(&segment, &scope);
}

static void
apply_flip(const Flip *flip)
{
	bool		done = svc_membership_change(CStringGetTextDatum(flip->segment_id),
											 CStringGetTextDatum(flip->customer_id), flip->joins);

	if (!done && flip->is_sure && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errdetail("Whether customer \"%s\" is in segment \"%s\" was changed meanwhile.",
						   flip->customer_id, flip->segment_id),
				 errhint("Run the transaction again.")));
}
