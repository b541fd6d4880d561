/*-------------------------------------------------------------------------
 *
 * touch.c
 *	  Which customers this transaction has changed, and what of them.
 *
 * Segments with criteria follow at the end of the transaction (segment_watch.c).
 * Until then, this is the list of what they have to follow, without duplicates as
 * soon as it grows.  If it is about very many customers, it is only kept what has
 * changed of any of them.
 *
 * The server calls us back through a deferred trigger: svc_touch_begins() is its WHEN.
 * After SET CONSTRAINTS IMMEDIATE it fires in the order of a statement's rows, each
 * time before it is noted what has become of the next one; so there is an event of it
 * with each row, and the last does the work.  An entry goes with the savepoint that it
 * was made in; and what was looked at within a savepoint that is taken back must be
 * looked at again.  So it remembers the nesting levels of both.
 *
 * What has not been looked at when the transaction commits, because somebody has
 * switched the trigger off or has called svc_watch_begins() himself, is an error:
 * segments that are wrong from then on would be worse.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "criteria.h"
#include "touch.h"

#define ENTRIES_FIRST		64		/* room to begin with */

#define EVERYTHING			""
#define BOOKKEEPING			"revision updated_at"
#define NOT_DONE			0

typedef struct Entry
{
	SvcTouch	touch;
	int			made_level;		/* nesting level at which it was made */
	int			done_level;		/* and at which it was done, or NOT_DONE */
} Entry;

/* Of this transaction, in TopTransactionContext. */
static Entry *entries = NULL;
static int	entry_count = 0;
static int	entry_room = 0;
static int	customer_count = 0; /* at least, since duplicates were removed */
static bool too_many = false;

static int64 calls_expected = 0;	/* of the trigger; or more, never less */
static TimestampTz message_at = 0;	/* when the client sent what they are due to */
static bool evaluating = false; /* the last of them has come */

static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId mine,
								  SubTransactionId parent, void *arg);
static void take_back(int level);
static void check_all_done(void);
static bool is_more_than_counters(SvcRowChange *change);
static void touch_columns(SvcRowChange *change, const char *customer_id);
static void touch_keys(const char *customer_id, const char *column, Datum old_value, bool old_isnull,
					   Datum new_value, bool new_isnull);
static void touch_keys_of(const char *customer_id, const char *column, Jsonb *one, Jsonb *other);
static const char *path_of(const char *member, const char *name, int length);
static void add(const char *customer_id, const char *path);
static void remove_duplicates(void);
static void forget_customers(void);
static int	compare_entries(const void *a, const void *b);
static void forget(void);

/* To be called from _PG_init. */
void
svc_touch_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/* A row of a noun has changed, or is new. */
void
svc_touch_row(SvcRowChange *change)
{
	static SvcColumn id = {"id"};
	static SvcColumn customer_id = {"customer_id"};
	static SvcColumn code = {"code"};

	if (change->noun == SVC_CUSTOMER)
	{
		if (change->is_insert)
			add(svc_row_new_text(change, &id), EVERYTHING);
		else
			touch_columns(change, svc_row_new_text(change, &id));
	}
	else if (change->noun == SVC_SUBSCRIPTION)
		add(svc_row_new_text(change, &customer_id), "subscriptions");
	else if (change->noun == SVC_ENTITLEMENT && (change->is_insert || is_more_than_counters(change)))
		add(svc_row_new_text(change, &customer_id),
			path_of("entitlements", svc_row_new_text(change, &code), -1));
}

/* Everything about a customer may have changed. */
void
svc_touch_customer(const char *customer_id)
{
	add(customer_id, EVERYTHING);
}

/* A customer has come to a segment, or has left it. */
void
svc_touch_membership(const char *segment_id, const char *customer_id)
{
	add(customer_id, path_of(SVC_CRITERIA_SEGMENTS, segment_id, -1));
}

/* Very many have. */
void
svc_touch_memberships(const char *segment_id)
{
	add("", path_of(SVC_CRITERIA_SEGMENTS, segment_id, -1));
}

/*
 * Take what has not been done yet, to do it now: in the order of the customers, in
 * the current memory context.  Returns how many they are.
 */
int
svc_touch_take(SvcTouch **touches)
{
	int			count = 0;

	remove_duplicates();
	if (customer_count > SVC_TOUCH_CUSTOMERS_MAX)
		forget_customers();
	*touches = palloc(Max(entry_count, 1) * sizeof(SvcTouch));
	for (int i = 0; i < entry_count; i++)
	{
		if (entries[i].done_level != NOT_DONE)
			continue;
		(*touches)[count++] = entries[i].touch;
		entries[i].done_level = GetCurrentTransactionNestLevel();
	}
	return count;
}

/*
 * Is the trigger to be told of this change?  If it has not fired since the client's
 * last message, it is deferred, and the one event is enough; until then, we cannot
 * know whether it is.
 */
bool
svc_touch_begins(void)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();

	if (evaluating || (calls_expected > 0 && message_at != now))
		return false;
	calls_expected++;
	message_at = now;
	return true;
}

/*
 * The trigger has called: what is touched from now on is seen to by who says this.
 * False, when it will call again anyway, with more that has been touched.
 */
bool
svc_touch_begin_evaluation(void)
{
	if (calls_expected > 0 && --calls_expected > 0)
		return false;
	evaluating = true;
	return true;
}

void
svc_touch_end_evaluation(void)
{
	evaluating = false;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget();
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			check_all_done();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine,
					  SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			for (int i = 0; i < entry_count; i++)
			{
				entries[i].made_level = Min(entries[i].made_level, level - 1);
				entries[i].done_level = Min(entries[i].done_level, level - 1);
			}
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			take_back(level);
			/* the trigger's events may have gone, too; one too many does no harm */
			calls_expected = 0;
			evaluating = false;
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			break;
	}
}

/* What was made or done at this nesting level was not. */
static void
take_back(int level)
{
	int			kept = 0;

	for (int i = 0; i < entry_count; i++)
	{
		if (entries[i].made_level >= level)
			continue;
		entries[kept] = entries[i];
		if (entries[kept].done_level >= level)
			entries[kept].done_level = NOT_DONE;
		kept++;
	}
	entry_count = kept;
}

static void
check_all_done(void)
{
	for (int i = 0; i < entry_count; i++)
	{
		if (entries[i].done_level == NOT_DONE)
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("segments were not brought up to date"),
					 errdetail("Trigger \"zzz_svc_watch_update\" or \"zzz_svc_watch_insert\" has not fired, though customers have changed."),
					 errhint("svc_install() puts these triggers back; svc_watch_begins() is for them alone.")));
	}
}

/* Counters make no event that would bring the trigger about (booking.c). */
static bool
is_more_than_counters(SvcRowChange *change)
{
	TupleDesc	desc = RelationGetDescr(change->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (svc_row_differs(change, i) && !svc_noun_list_has(BOOKKEEPING, name) &&
			!svc_noun_list_has(svc_noun_info(change->noun)->counters, name))
			return true;
	}
	return false;
}

/* Which columns differ, and which keys of attributes. */
static void
touch_columns(SvcRowChange *change, const char *customer_id)
{
	TupleDesc	desc = RelationGetDescr(change->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (!svc_row_differs_after(change, i) || strcmp(name, "revision") == 0)
			continue;
		if (strcmp(name, "attributes") == 0)
			touch_keys(customer_id, name, change->old_values[i], change->old_isnull[i],
					   change->new_values[i], change->new_isnull[i]);
		else
			add(customer_id, path_of(NULL, name, -1));
	}
}

static void
touch_keys(const char *customer_id, const char *column, Datum old_value, bool old_isnull,
		   Datum new_value, bool new_isnull)
{
	Jsonb	   *old_jsonb = old_isnull ? NULL : DatumGetJsonbP(old_value);
	Jsonb	   *new_jsonb = new_isnull ? NULL : DatumGetJsonbP(new_value);

	if (old_jsonb == NULL || new_jsonb == NULL || !JB_ROOT_IS_OBJECT(old_jsonb) || !JB_ROOT_IS_OBJECT(new_jsonb))
	{
		add(customer_id, column);
		return;
	}
	touch_keys_of(customer_id, column, old_jsonb, new_jsonb);
	touch_keys_of(customer_id, column, new_jsonb, old_jsonb);
}

/* The keys of one object whose values another has not. */
static void
touch_keys_of(const char *customer_id, const char *column, Jsonb *one, Jsonb *other)
{
	JsonbIterator *iterator = JsonbIteratorInit(&one->root);
	JsonbValue	key;
	JsonbValue	value;

	(void) JsonbIteratorNext(&iterator, &key, true);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		JsonbValue *match = findJsonbValueFromContainer(&other->root, JB_FOBJECT, &key);

		(void) JsonbIteratorNext(&iterator, &value, true);
		if (match == NULL ||
			!DatumGetBool(DirectFunctionCall2(jsonb_eq, JsonbPGetDatum(JsonbValueToJsonb(&value)),
											  JsonbPGetDatum(JsonbValueToJsonb(match)))))
			add(customer_id, path_of(column, key.val.string.val, key.val.string.len));
	}
}

/* As criteria write it: a dot within a name has a backslash before it. */
static const char *
path_of(const char *member, const char *name, int length)
{
	StringInfoData path;

	initStringInfo(&path);
	if (member != NULL)
		appendStringInfo(&path, "%s.", member);
	for (const char *c = name; length < 0 ? *c != '\0' : c < name + length; c++)
	{
		if (*c == '.' || *c == '\\')
			appendStringInfoChar(&path, '\\');
		appendStringInfoChar(&path, *c);
	}
	return path.data;
}

static void
add(const char *customer_id, const char *path)
{
	MemoryContext old;

	if (entry_count == entry_room)
		remove_duplicates();
	if (customer_count > SVC_TOUCH_CUSTOMERS_MAX)
		forget_customers();
	old = MemoryContextSwitchTo(TopTransactionContext);
	if (entry_count == entry_room)
	{
		int			room = entries == NULL ? ENTRIES_FIRST : 2 * entry_room;

		entries = entries == NULL ? palloc(room * sizeof(Entry)) :
			repalloc_huge(entries, room * sizeof(Entry));
		/* (not before there is room: it may fail within a savepoint) */
		entry_room = room;
	}
	entries[entry_count].touch.customer_id = too_many ? "" : pstrdup(customer_id);
	entries[entry_count].touch.path = pstrdup(path);
	entries[entry_count].made_level = GetCurrentTransactionNestLevel();
	entries[entry_count].done_level = NOT_DONE;
	entry_count++;
	MemoryContextSwitchTo(old);
}

/* Sort, keep the first made of several, and count the customers. */
static void
remove_duplicates(void)
{
	int			kept = 0;

	qsort(entries, entry_count, sizeof(Entry), compare_entries);
	customer_count = 0;
	for (int i = 0; i < entry_count; i++)
	{
		if (kept > 0 && strcmp(entries[i].touch.customer_id, entries[kept - 1].touch.customer_id) == 0 &&
			strcmp(entries[i].touch.path, entries[kept - 1].touch.path) == 0 &&
			entries[i].done_level == entries[kept - 1].done_level)
			continue;
		if (kept == 0 || strcmp(entries[i].touch.customer_id, entries[kept - 1].touch.customer_id) != 0)
			customer_count++;
		entries[kept++] = entries[i];
	}
	entry_count = kept;
}

static void
forget_customers(void)
{
	if (too_many)
		return;
	too_many = true;
	for (int i = 0; i < entry_count; i++)
		entries[i].touch.customer_id = "";
	remove_duplicates();
}

static int
compare_entries(const void *a, const void *b)
{
	const Entry *first = a;
	const Entry *second = b;
	int			order = strcmp(first->touch.customer_id, second->touch.customer_id);

	if (order == 0)
		order = strcmp(first->touch.path, second->touch.path);
	if (order == 0)
		order = first->done_level - second->done_level;
	return order != 0 ? order : first->made_level - second->made_level;
}

/* The memory goes with the transaction. */
static void
forget(void)
{
	entries = NULL;
	entry_count = 0;
	entry_room = 0;
	customer_count = 0;
	too_many = false;
	calls_expected = 0;
	evaluating = false;
}
