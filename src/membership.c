/*-------------------------------------------------------------------------
 *
 * membership.c
 *	  Who is in which segment.
 *
 * Two sessions that change the same customer, one its entitlement, one its
 * subscription, would each find the other's change missing when they ask whether
 * the customer is in a segment now.  And one that fills a segment from its new
 * criteria looks at all customers, while others, that know the old criteria, change
 * them.  So there are two locks before memberships are read and changed, both until
 * the end of the transaction:
 *
 * 1. ROW EXCLUSIVE on svc_segment_member; who changes what a segment is, or is
 *	  about very many customers, takes SHARE ROW EXCLUSIVE instead, and so is alone
 *	  without more.  It is not taken after the weaker one by who waits for it, if that
 *	  can be helped: two who did so would wait for each other.
 * 2. The customers in question FOR KEY SHARE, so that they are not merged or deleted
 *	  meanwhile, and then an advisory lock on each, in the order of the locks' keys.
 *	  Not a stronger lock on the row: rows are locked at any time, and in any order,
 *	  these locks at the end of a transaction, when little else is waited for.
 *
 * Then the rows of segments FOR NO KEY UPDATE, in the order of their ids, and their
 * members.  What is read after the locks, with a new snapshot, is all that there is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#include "catalog.h"
#include "compat.h"
#include "gate.h"
#include "lifecycle.h"
#include "membership.h"
#include "statement.h"
#include "touch.h"

/* The class of our advisory locks; the server's functions use 1 and 2. */
#define LOCK_CLASS		0x5356	/* "SV" */

static uint64 lock_key(Datum customer_id);
static void set_tag(LOCKTAG *tag, uint64 key);
static int	compare_keys(const void *a, const void *b);
static uint64 lock_segments(Datum customer_id, Datum **ids);
static bool takes_place(Datum segment_id, Datum customer_id);
static void forget_timers(Datum customer_id);

/* Let nobody change what segments are, until the end of the transaction. */
void
svc_membership_hold(void)
{
	LockRelationOid(svc_catalog_table("svc_segment_member"), RowExclusiveLock);
}

/* The same, if that can be now. */
bool
svc_membership_try_hold(void)
{
	return ConditionalLockRelationOid(svc_catalog_table("svc_segment_member"), RowExclusiveLock);
}

/* Be alone with what segments these customers are in. */
void
svc_membership_take(Datum *customer_ids, int count)
{
	static SvcStatement customers = {
		"SELECT FROM @extschema@.svc_customer WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE",
		1, {TEXTARRAYOID}
	};
	uint64	   *keys = palloc(Max(count, 1) * sizeof(uint64));
	Datum		ids = svc_statement_texts(customer_ids, count);

	svc_membership_hold();
	svc_statement_run(&customers, &ids, NULL);
	for (int i = 0; i < count; i++)
		keys[i] = lock_key(customer_ids[i]);
	qsort(keys, count, sizeof(uint64), compare_keys);
	for (int i = 0; i < count; i++)
	{
		LOCKTAG		tag;

		set_tag(&tag, keys[i]);
		if (i == 0 || keys[i] != keys[i - 1])
			(void) LockAcquire(&tag, ExclusiveLock, false, false);
	}
	pfree(keys);
}

/* The same for one, unless somebody else is, or the customer is being changed. */
bool
svc_membership_try_take(Datum customer_id)
{
	static SvcStatement customer = {
		"SELECT FROM @extschema@.svc_customer WHERE id = $1 FOR KEY SHARE SKIP LOCKED", 1, {TEXTOID}
	};
	LOCKTAG		tag;

	if (!svc_membership_try_hold() || svc_statement_run(&customer, &customer_id, NULL) == 0)
		return false;
	set_tag(&tag, lock_key(customer_id));
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* Be alone with all of them, if that can be now. */
bool
svc_membership_try_take_all(void)
{
	return ConditionalLockRelationOid(svc_catalog_table("svc_segment_member"), ShareRowExclusiveLock);
}

/* Be alone with all of them. */
void
svc_membership_take_all(void)
{
	LockRelationOid(svc_catalog_table("svc_segment_member"), ShareRowExclusiveLock);
}

/*
 * The same for who may have taken some of them.  False, when somebody else has, too: if
 * both waited for the rest, each would wait for the other.
 */
bool
svc_membership_take_rest(void)
{
	Relation	members;
	bool		has_some;

	if (svc_membership_try_take_all())
		return true;
	members = svc_catalog_open("svc_segment_member", AccessShareLock);
	has_some = CheckRelationLockedByMe(members, RowExclusiveLock, true);
	table_close(members, NoLock);
	if (!has_some)
		svc_membership_take_all();
	return !has_some;
}

/* Let a customer join or leave a segment; false, if it has already. */
bool
svc_membership_change(Datum segment_id, Datum customer_id, bool joins)
{
	static SvcStatement add = {
		"INSERT INTO @extschema@.svc_segment_member (segment_id, customer_id) VALUES ($1, $2)"
		" ON CONFLICT DO NOTHING",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement remove = {
		"DELETE FROM @extschema@.svc_segment_member WHERE segment_id = $1 AND customer_id = $2",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement count = {
		"UPDATE @extschema@.svc_customer_segment SET customer_count = customer_count + $2"
		" WHERE id = $1",
		2, {TEXTOID, INT4OID}
	};
	char	   *customer = TextDatumGetCString(customer_id);
	SvcDeed		deed = {.noun = SVC_CUSTOMER_SEGMENT,
		.action = joins ? "addCustomer" : "removeCustomer",
	.note = {"customer_id", joins ? NULL : customer, joins ? customer : NULL}};
	Datum		member[2] = {segment_id, customer_id};
	Datum		step[2] = {segment_id, Int32GetDatum(joins ? 1 : -1)};

	if (svc_statement_run(joins ? &add : &remove, member, NULL) == 0)
		return false;
	if (svc_lifecycle_write(&deed, &count, step, NULL) == 0)
		svc_gate_report_suppressed(SVC_CUSTOMER_SEGMENT, segment_id);
	return true;
}

/* Let it be so whatever the criteria say, unless there is no such customer. */
void
svc_membership_override(Datum segment_id, Datum customer_id, bool included)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_segment_override (segment_id, customer_id, included)"
		" SELECT $1, c.id, $3 FROM @extschema@.svc_customer c WHERE c.id = $2 AND c.status NOT IN ('merged', 'deleted')"
		" ON CONFLICT (customer_id, segment_id) DO UPDATE SET included = excluded.included, set_at = excluded.set_at"
		"  WHERE svc_segment_override.included <> excluded.included",
		3, {TEXTOID, TEXTOID, BOOLOID}
	};
	Datum		values[3] = {segment_id, customer_id, BoolGetDatum(included)};

	svc_statement_run(&statement, values, NULL);
}

/* Let the criteria decide again; was there something to clear? */
bool
svc_membership_clear_override(Datum segment_id, Datum customer_id)
{
	static SvcStatement statement = {
		"DELETE FROM @extschema@.svc_segment_override WHERE segment_id = $1 AND customer_id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {segment_id, customer_id};

	return svc_statement_run(&statement, values, NULL) > 0;
}

/*
 * Let one customer take another's places that were given by hand; archived segments
 * stay as they are.  Where the survivor was put in or taken out by hand, that holds.
 * Criteria are asked anew, at the end of the transaction or with the next sync.
 */
void
svc_membership_move(Datum from, Datum into)
{
	static SvcStatement overrides = {
		"WITH moved AS (DELETE FROM @extschema@.svc_segment_override WHERE customer_id = $1"
		"  RETURNING segment_id, included, set_at)"
		" INSERT INTO @extschema@.svc_segment_override (customer_id, segment_id, included, set_at)"
		"  SELECT $2, segment_id, included, set_at FROM moved ON CONFLICT DO NOTHING",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {from, into};
	Datum	   *ids;
	uint64		count;

	svc_membership_take(values, 2);
	svc_statement_run(&overrides, values, NULL);
	count = lock_segments(from, &ids);
	for (uint64 i = 0; i < count; i++)
	{
		(void) svc_membership_change(ids[i], from, false);
		if (takes_place(ids[i], into))
			(void) svc_membership_change(ids[i], into, true);
	}
	forget_timers(from);
	svc_touch_customer(TextDatumGetCString(into));
}

/* Let a customer leave all segments but archived ones. */
void
svc_membership_leave_all(Datum customer_id)
{
	static SvcStatement overrides = {
		"DELETE FROM @extschema@.svc_segment_override WHERE customer_id = $1", 1, {TEXTOID}
	};
	Datum	   *ids;
	uint64		count;

	svc_membership_take(&customer_id, 1);
	svc_statement_run(&overrides, &customer_id, NULL);
	count = lock_segments(customer_id, &ids);
	for (uint64 i = 0; i < count; i++)
		(void) svc_membership_change(ids[i], customer_id, false);
	forget_timers(customer_id);
}

static uint64
lock_key(Datum customer_id)
{
	return DatumGetUInt64(hash_any_extended((unsigned char *) VARDATA_ANY(DatumGetPointer(customer_id)),
											VARSIZE_ANY_EXHDR(DatumGetPointer(customer_id)),
											svc_catalog_table("svc_segment_member")));
}

static void
set_tag(LOCKTAG *tag, uint64 key)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, LOCK_CLASS);
}

static int
compare_keys(const void *a, const void *b)
{
	uint64		first = *(const uint64 *) a;
	uint64		second = *(const uint64 *) b;

	return first < second ? -1 : first > second ? 1 : 0;
}

/* Lock the segments that a customer is in, and that can change. */
static uint64
lock_segments(Datum customer_id, Datum **ids)
{
	static SvcStatement segments = {
		"SELECT s.id::text FROM @extschema@.svc_customer_segment s"
		" WHERE s.status <> 'archived' AND EXISTS (SELECT FROM @extschema@.svc_segment_member m"
		"  WHERE m.segment_id = s.id AND m.customer_id = $1)"
		" ORDER BY s.id FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	uint64		count = svc_statement_run(&segments, &customer_id, NULL);
	bool		isnull;

	*ids = palloc(Max(count, 1) * sizeof(Datum));
	for (uint64 i = 0; i < count; i++)
		(*ids)[i] = svc_statement_value(i, 1, &isnull);
	return count;
}

/* Does a customer get a place that the one it is merged with has had? */
static bool
takes_place(Datum segment_id, Datum customer_id)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_customer_segment s"
		" LEFT JOIN @extschema@.svc_segment_override o ON o.segment_id = s.id AND o.customer_id = $2"
		" WHERE s.id = $1 AND coalesce(o.included, NOT s.automated)"
		"  AND (s.parent_segment_id IS NULL OR EXISTS (SELECT FROM @extschema@.svc_segment_member m"
		"   WHERE m.segment_id = s.parent_segment_id AND m.customer_id = $2))",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {segment_id, customer_id};

	return svc_statement_run(&statement, values, NULL) > 0;
}

static void
forget_timers(Datum customer_id)
{
	static SvcStatement statement = {
		"DELETE FROM @extschema@.svc_segment_timer WHERE customer_id = $1", 1, {TEXTOID}
	};

	svc_statement_run(&statement, &customer_id, NULL);
}
