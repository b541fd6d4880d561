/*-------------------------------------------------------------------------
 *
 * update.c
 *	  Updating a row of a noun without the executor.
 *
 * Of what an UPDATE of a few counters costs, most goes into reading all CHECKs of
 * the table anew, and into a plan and its portal.  Here the row is found by its
 * primary key, changed, shown to svc's own triggers, exactly as the executor would,
 * and written through the table's access method.  Where it stays on its page and
 * no indexed column has changed (HOT), that is all; else the executor's own code
 * makes the index entries.
 *
 * This is for tables that are as svc_install() has made them; one may have more
 * indexes.  With anything else on it, a user's trigger, CHECK, generated column or
 * policy, with triggers that are disabled, or in a session that replicates, the
 * caller runs an UPDATE, which gives the same row.
 *
 * Locks: ROW EXCLUSIVE on the table, and the row, which the caller has locked: so
 * the version that is seen is the last one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "amount.h"
#include "catalog.h"
#include "compat.h"
#include "plain.h"
#include "update.h"

#define BEFORE_TRIGGER		"zzz_svc_lifecycle"
#define AFTER_TRIGGER		"zzz_svc_event_update"

static bool is_plain(Relation rel, SvcUpdateTable *table);
static bool has_plain_constraints(Relation rel, const SvcUpdateTable *table);
static bool is_fixed(Relation rel, AttrNumber attnum, const SvcUpdateTable *table);
static Trigger *find_trigger(TriggerDesc *triggers, const char *name);
static bool update_row(Relation rel, const SvcUpdateTable *table, HeapTuple old_tuple, const Datum *values);
static Datum add(Datum old_value, Datum value, Oid type);
static bool has_event(Relation rel, HeapTuple old_tuple, HeapTuple new_tuple);
static HeapTuple fire(Relation rel, Trigger *trigger, TriggerEvent when, HeapTuple old_tuple,
	 HeapTuple new_tuple);
static void write_row(Relation rel, HeapTuple old_tuple, HeapTuple new_tuple);
static void make_index_entries(Relation rel, TupleTableSlot *slot, SvcIndexUpdate which);

/*
 * Add these values to the columns of the row with these keys, where they are
 * numbers, and set others to them; false, and nothing is done, when that is for
 * an UPDATE to do.
 */
bool
svc_update_row(SvcUpdateTable *table, const Datum *keys, const Datum *values)
{
	SvcDirectScan scan;
	HeapTuple	old_tuple = NULL;
	Relation	rel;
	bool		done;

	if (!svc_direct_enter())
		return false;
	if (!svc_direct_begin(&scan, &table->direct, keys))
	{
		svc_direct_leave();
		return false;
	}
	rel = table_open(RelationGetRelid(scan.rel), RowExclusiveLock);
	if (is_plain(rel, table) && svc_direct_next(&scan))
		old_tuple = ExecCopySlotHeapTuple(scan.slot);
	svc_direct_end(&scan);
	done = old_tuple != NULL && update_row(rel, table, old_tuple, values);
	svc_direct_leave();
	table_close(rel, NoLock);
	return done;
}

/*
 * (The rows are, or direct.c would not have begun.)
 *
 * Raises what an UPDATE would, if the table is published in a way that forbids it.
 */
static bool
is_plain(Relation rel, SvcUpdateTable *table)
{
	SvcPlainVerdict *verdict = &table->verdict;

	CheckCmdReplicaIdentity(rel, CMD_UPDATE);
	if (verdict->rel != RelationGetRelid(rel) || verdict->changes != svc_catalog_changes())
	{
		verdict->changes = svc_catalog_changes();
		verdict->rel = RelationGetRelid(rel);
		verdict->is_plain = svc_plain_checks(rel, &table->checks) &&
			svc_plain_triggers(rel) &&
			has_plain_constraints(rel, table);
	}
	return verdict->is_plain && SessionReplicationRole == SESSION_REPLICATION_ROLE_ORIGIN;
}

/*
 * Foreign keys, from and to the table, and constraints that can be deferred are
 * enforced by internal triggers, which we do not fire: there must be none but on
 * columns that do not change.
 */
static bool
has_plain_constraints(Relation rel, const SvcUpdateTable *table)
{
	Bitmapset  *referable = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_KEY);
	ListCell   *cell;
	int			member = -1;
	bool		plain = true;

	while ((member = bms_next_member(referable, member)) >= 0 && plain)
		plain = is_fixed(rel, member + FirstLowInvalidHeapAttributeNumber, table);
	foreach(cell, RelationGetFKeyList(rel))
	{
		ForeignKeyCacheInfo *key = lfirst_node(ForeignKeyCacheInfo, cell);

		for (int i = 0; i < key->nkeys && plain; i++)
			plain = is_fixed(rel, key->conkey[i], table);
	}
	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		plain &= index->rd_index->indimmediate;
		index_close(index, NoLock);
	}
	return plain;
}

static bool
is_fixed(Relation rel, AttrNumber attnum, const SvcUpdateTable *table)
{
	const char *name = NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname);

	for (int i = 0; i < SVC_UPDATE_FIXED_MAX && table->fixed[i] != NULL; i++)
	{
		if (strcmp(name, table->fixed[i]) == 0)
			return true;
	}
	return false;
}

static Trigger *
find_trigger(TriggerDesc *triggers, const char *name)
{
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (strcmp(triggers->triggers[i].tgname, name) == 0)
			return &triggers->triggers[i];
	}
	return NULL;
}

static bool
update_row(Relation rel, const SvcUpdateTable *table, HeapTuple old_tuple, const Datum *values)
{
	/* a copy, because the relation cache may be rebuilt under our feet */
	TriggerDesc *triggers = CopyTriggerDesc(rel->trigdesc);
	Trigger    *before = find_trigger(triggers, BEFORE_TRIGGER);
	Trigger    *after = find_trigger(triggers, AFTER_TRIGGER);
	int			attnums[SVC_UPDATE_COLUMNS_MAX];
	Datum		new_values[SVC_UPDATE_COLUMNS_MAX];
	bool		isnull[SVC_UPDATE_COLUMNS_MAX];
	HeapTuple	new_tuple;

	if (before == NULL || after == NULL)
		return false;
	for (int i = 0; i < table->direct.column_count; i++)
	{
		attnums[i] = table->direct.attnums[i];
		new_values[i] = add(heap_getattr(old_tuple, attnums[i], RelationGetDescr(rel), &isnull[i]),
							values[i], table->direct.columns[i].type);
		if (isnull[i])
			return false;
	}
	new_tuple = heap_modify_tuple_by_cols(old_tuple, RelationGetDescr(rel), table->direct.column_count,
										  attnums, new_values, isnull);
	new_tuple = fire(rel, before, TRIGGER_EVENT_BEFORE, old_tuple, new_tuple);
	if (new_tuple == NULL)
		return false;
	write_row(rel, old_tuple, new_tuple);
	if (has_event(rel, old_tuple, new_tuple))
		(void) fire(rel, after, 0, old_tuple, new_tuple);
	return true;
}

static Datum
add(Datum old_value, Datum value, Oid type)
{
	if (type == NUMERICOID)
		return svc_amount_add(old_value, value);
	if (type == INT8OID)
		return Int64GetDatum(DatumGetInt64(old_value) + DatumGetInt64(value));
	return value;
}

/* What the trigger's WHEN says: revision or status has changed. */
static bool
has_event(Relation rel, HeapTuple old_tuple, HeapTuple new_tuple)
{
	static SvcColumn revision = {"revision", INT8OID};
	static SvcColumn status = {"status"};
	TupleDesc	desc = RelationGetDescr(rel);
	bool		isnull;
	int			n = svc_column_index(desc, &revision) + 1;

	if (DatumGetInt64(heap_getattr(old_tuple, n, desc, &isnull)) !=
		DatumGetInt64(heap_getattr(new_tuple, n, desc, &isnull)))
		return true;
	n = svc_column_index(desc, &status) + 1;
	return strcmp(TextDatumGetCString(heap_getattr(old_tuple, n, desc, &isnull)),
				  TextDatumGetCString(heap_getattr(new_tuple, n, desc, &isnull))) != 0;
}

/* Call a row trigger's function. */
static HeapTuple
fire(Relation rel, Trigger *trigger, TriggerEvent when, HeapTuple old_tuple, HeapTuple new_tuple)
{
	TriggerData data = {.type = T_TriggerData, .tg_relation = rel, .tg_trigger = trigger,
		.tg_trigtuple = old_tuple, .tg_newtuple = new_tuple,
	.tg_event = TRIGGER_EVENT_UPDATE | TRIGGER_EVENT_ROW | when};
	FmgrInfo	function;
	LOCAL_FCINFO(fcinfo, 0);

	fmgr_info(trigger->tgfoid, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 0, InvalidOid, (Node *) &data, NULL);
	return (HeapTuple) DatumGetPointer(FunctionCallInvoke(fcinfo));
}

static void
write_row(Relation rel, HeapTuple old_tuple, HeapTuple new_tuple)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
	TM_FailureData failure;
	LockTupleMode mode;
	SvcIndexUpdate which;
	TM_Result	result;

	ExecStoreHeapTuple(new_tuple, slot, false);
	slot->tts_tableOid = RelationGetRelid(rel);
	result = table_tuple_update(rel, &old_tuple->t_self, slot, GetCurrentCommandId(true),
								GetActiveSnapshot(), InvalidSnapshot, true, &failure, &mode, &which);
	if (result != TM_Ok)
		elog(ERROR, "row of \"%s\" that is locked has changed: %d", RelationGetRelationName(rel), result);
	if (which != SVC_NO_INDEX)
		make_index_entries(rel, slot, which);
	new_tuple->t_self = slot->tts_tid;
	CommandCounterIncrement();
	ExecDropSingleTupleTableSlot(slot);
}

/* As the executor does, for indexes of all kinds. */
static void
make_index_entries(Relation rel, TupleTableSlot *slot, SvcIndexUpdate which)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *info = makeNode(ResultRelInfo);

	InitResultRelInfo(info, rel, 0, NULL, 0);
	ExecOpenIndices(info, false);
	(void) svc_insert_index_tuples(info, slot, estate, which);
	ExecCloseIndices(info);
	FreeExecutorState(estate);
}
