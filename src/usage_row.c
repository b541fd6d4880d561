/*-------------------------------------------------------------------------
 *
 * usage_row.c
 *	  What becomes of a usage record on its way into the table.
 *
 * A record comes by svc_record_usage(), INSERT or COPY, and in each case by svc's
 * BEFORE trigger, to the rules here: the customer must exist, the instant be one at
 * which it can have used something, and what the record refers to be there.  Then it
 * is *booked*: at the instant at which it occurred, or, if the customer's usage is
 * final up to a later one (closed_until), at that.
 *
 * What it consumes is written down, for usage_consume.c.
 *
 * A million records are of ten thousand customers: one that has been looked up and
 * locked is remembered until the end of the transaction, as is the lock.
 *
 * A record is stamped with its transaction, by which the roll-ups tell what is new
 * (usage_fold.c).
 *
 * Idempotency keys are unique by an index.  It cannot be had in a partitioned table:
 * there a key is locked, by an advisory lock, and looked for before.  The server has room
 * for so many locks only: a transaction with more keys locks all keys, for which it waits
 * for everybody else with keys.
 *
 * Locks: svc_usage ROW EXCLUSIVE, as every INSERT, which who changes a meter excludes
 * (meter.c); the customer FOR KEY SHARE, which who closes a period excludes
 * (usage_close.c), so that closed_until cannot move before we commit; the key; what
 * the record refers to, FOR KEY SHARE.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "direct.h"
#include "error.h"
#include "gate.h"
#include "lifecycle.h"
#include "meter.h"
#include "snapshot.h"
#include "statement.h"
#include "usage_row.h"

/* The classes of our advisory locks, on a key and on all; see membership.c for another. */
#define LOCK_CLASS			0x5355	/* "SU" */
#define LOCK_CLASS_ALL		0x5356

/* A transaction with more of them locks all keys. */
#define LOCKED_KEYS_MAX		1000

/* What a customer was to get, for messages. */
#define PURPOSE				"a usage record"

/* So many customers are remembered. */
#define REMEMBERED_MAX		100000

/* settings */
int			svc_usage_future_limit = 24 * 60;	/* minutes */
int			svc_late_usage = SVC_LATE_ADJUST;

/* A text as a key of a hash table; its bytes are the table's own. */
typedef struct TextKey
{
	const char *bytes;
	int			length;
} TextKey;

/* A customer that is locked. */
typedef struct Recorded
{
	TextKey		customer_id;	/* hash key */
	TimestampTz created_at;
	TimestampTz closed_until;	/* -infinity: nothing is closed */
} Recorded;

/* What this transaction remembers; NULL: nothing yet. */
static MemoryContext memory = NULL;
static HTAB *customers;

/* How many keys this transaction has locked. */
static int	locked_keys = 0;

static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn resource_column = {"resource"};
static SvcColumn quantity_column = {"quantity", NUMERICOID};
static SvcColumn occurred_at_column = {"occurred_at", TIMESTAMPTZOID};
static SvcColumn booked_at_column = {"booked_at", TIMESTAMPTZOID};
static SvcColumn xid_column = {"xid", XID8OID};
static SvcColumn cluster_column = {"cluster", INT8OID};
static SvcColumn consumes_column = {"consumes"};
static SvcColumn consumed_column = {"consumed", NUMERICOID};
static SvcColumn overage_column = {"overage", NUMERICOID};
static SvcColumn subscription_id_column = {"subscription_id"};
static SvcColumn invoice_id_column = {"invoice_id"};
static SvcColumn adjusts_id_column = {"adjusts_id"};
static SvcColumn key_column = {"idempotency_key"};

static void check(SvcRowChange *change);
static void imply(SvcRowChange *change, const char *action);
static bool catch_up(Datum customer_id, Datum id, SvcInstant instant);
static void check_given(SvcRowChange *change, SvcColumn *column);
static Recorded find_customer(SvcRowChange *change, Datum customer_id);
static bool look_up_directly(Recorded *entry, Datum customer_id);
static void look_up_customer(Recorded *entry, Datum customer_id);
static void check_instant(SvcRowChange *change, const Recorded *customer);
static bool is_late(SvcRowChange *change, const Recorded *customer);
pg_noreturn static void report_late(SvcRowChange *change);
static void check_references(SvcRowChange *change);
static void check_reference(SvcRowChange *change, SvcColumn *column, SvcNoun noun);
static bool check_correction(SvcRowChange *change, const char **consumes);
static bool is_repetition(SvcRowChange *change);
static void lock_key(Datum customer_id, Datum key);
static bool has_recorded_key(SvcRowChange *change);
static void remember(void);
static TextKey key_of(const char *bytes, int length);
static uint32 hash_key(const void *key, Size size);
static int	compare_keys(const void *a, const void *b, Size size);
static void *copy_key(void *to, const void *from, Size size);
static void forget_at_end(XactEvent event, void *arg);
static void forget_at_rollback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg);

void
svc_usage_row_init(void)
{
	static const SvcLifecycleRules rules = {.check = check, .imply = imply, .catch_up = catch_up};

	svc_lifecycle_set_rules(SVC_USAGE, &rules);
	RegisterXactCallback(forget_at_end, NULL);
	RegisterSubXactCallback(forget_at_rollback, NULL);
}

/* What this transaction has remembered about customers may not be so any more. */
void
svc_usage_row_forget(void)
{
	if (memory != NULL)
		MemoryContextDelete(memory);
	memory = NULL;
}

static void
check(SvcRowChange *change)
{
	Recorded	customer;
	const char *consumes;
	Datum		key;
	bool		isnull;
	bool		late;

	if (!change->is_insert)
	{
		if (svc_row_column_differs(change, &invoice_id_column))
			check_reference(change, &invoice_id_column, SVC_INVOICE);
		return;
	}
	check_given(change, &customer_id_column);
	check_given(change, &resource_column);
	check_given(change, &quantity_column);
	check_given(change, &occurred_at_column);
	svc_check_amount(svc_row_new(change, &quantity_column, &isnull), "quantity");
	svc_check_id(svc_row_new(change, &resource_column, &isnull), "resource");
	key = svc_row_new(change, &key_column, &isnull);
	if (!isnull)
		svc_check_id(key, "idempotency key");

	/* (who inserts into a partition has only that locked) */
	if (change->rel->rd_rel->relispartition)
	{
		svc_catalog_use(change->fcinfo);
		LockRelationOid(svc_catalog_table("svc_usage"), RowExclusiveLock);
	}
	customer = find_customer(change, svc_row_new(change, &customer_id_column, &isnull));
	check_instant(change, &customer);
	late = is_late(change, &customer);
	if (change->rel->rd_rel->relispartition && is_repetition(change))
	{
		change->suppressed = true;
		return;
	}
	/* who repeats what is recorded is told so by the index, whatever is closed by now */
	if (late && svc_late_usage == SVC_LATE_REJECT && !has_recorded_key(change))
		report_late(change);
	svc_row_set(change, &booked_at_column, late ? TimestampTzGetDatum(customer.closed_until) :
				svc_row_new(change, &occurred_at_column, &isnull), false);
	svc_row_set(change, &xid_column, FullTransactionIdGetDatum(GetTopFullTransactionId()), false);
	svc_row_set(change, &cluster_column, svc_cluster(), false);
	svc_row_set(change, &consumed_column, (Datum) 0, true);
	svc_row_set(change, &overage_column, (Datum) 0, true);
	check_references(change);
	if (!check_correction(change, &consumes))
	{
		const SvcMeter *meter = svc_usage_row_meter(change);

		consumes = meter == NULL ? NULL : meter->entitlement_code;
	}
	svc_row_set(change, &consumes_column, consumes != NULL ? CStringGetTextDatum(consumes) : (Datum) 0,
				consumes == NULL);
}

/* What is billed is billed with an invoice. */
static void
imply(SvcRowChange *change, const char *action)
{
	bool		isnull;

	(void) svc_row_new(change, &invoice_id_column, &isnull);
	if (strcmp(action, "bill") == 0 && isnull)
		svc_lifecycle_refuse_change(change, "no invoice is named", "Set invoice_id.");
}

/* A record of what is final is aggregated, even if that is not written down yet. */
static bool
catch_up(Datum customer_id, Datum id, SvcInstant instant)
{
	static const SvcDeed deed = {.noun = SVC_USAGE, .action = "aggregate", .counters_only = true};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_usage u SET status = 'aggregated' FROM @extschema@.svc_customer c"
		" WHERE u.customer_id = $1 AND u.id = $2 AND u.status = 'recorded'"
		"  AND c.id = u.customer_id AND u.booked_at < c.closed_until",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id, id};

	return svc_lifecycle_write(&deed, &statement, values, NULL) > 0;
}

/* The table's own NOT NULL comes after us. */
static void
check_given(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;

	(void) svc_row_new(change, column, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("%s of a usage record must not be null", column->name),
				 errdetail("A record says which customer has used how much of what."),
				 errhint("Give all of customer_id, resource and quantity.")));
}

/* ---- customers ---- */

/* The customer of a record, locked. */
static Recorded
find_customer(SvcRowChange *change, Datum customer_id)
{
	text	   *id = DatumGetTextPP(customer_id);
	TextKey		key = {VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)};
	Recorded   *entry;
	Recorded	found;
	SvcCall		call;

	remember();
	entry = hash_search(customers, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return *entry;

	svc_catalog_use(change->fcinfo);
	if (!look_up_directly(&found, customer_id))
	{
		svc_call_begin(&call, change->fcinfo);
		look_up_customer(&found, customer_id);
		svc_call_end(&call);
	}
	/* (a trigger may have rolled something back, and have had us forget) */
	remember();
	if (hash_get_num_entries(customers) >= REMEMBERED_MAX)
	{
		svc_usage_row_forget();
		remember();
	}
	key = key_of(key.bytes, key.length);
	entry = hash_search(customers, &key, HASH_ENTER, NULL);
	entry->created_at = found.created_at;
	entry->closed_until = found.closed_until;
	return *entry;
}

/* False, when that is for the statement to do: also if there is nobody. */
static bool
look_up_directly(Recorded *entry, Datum customer_id)
{
	static SvcColumn columns[] = {{"status"}, {"created_at", TIMESTAMPTZOID}, {"closed_until", TIMESTAMPTZOID}};
	static SvcDirectTable table = {"svc_customer", 1, {{"id"}}, lengthof(columns), columns};
	SvcDirectScan scan;
	ItemPointerData tid;
	bool		done = false;

	if (XactReadOnly || !svc_direct_enter())
		return false;
	if (svc_direct_begin(&scan, &table, &customer_id))
	{
		if (svc_direct_next(&scan))
		{
			tid = scan.slot->tts_tid;
			if (svc_direct_lock(&scan, &tid, LockTupleKeyShare, &customer_id))
			{
				bool		isnull;
				Datum		status = svc_direct_value(&scan, 0, &isnull);

				svc_gate_check_customer(customer_id, TextDatumGetCString(status), PURPOSE);
				entry->created_at = DatumGetTimestampTz(svc_direct_value(&scan, 1, &isnull));
				entry->closed_until = DatumGetTimestampTz(svc_direct_value(&scan, 2, &isnull));
				if (isnull)
					entry->closed_until = DT_NOBEGIN;
				done = true;
			}
		}
		svc_direct_end(&scan);
	}
	svc_direct_leave();
	return done;
}

static void
look_up_customer(Recorded *entry, Datum customer_id)
{
	static SvcStatement statement = {
		"SELECT created_at::timestamptz, coalesce(closed_until, '-infinity')::timestamptz, status::text"
		" FROM @extschema@.svc_customer WHERE id = $1 FOR KEY SHARE",
		1, {TEXTOID}
	};
	bool		found = svc_statement_run(&statement, &customer_id, NULL) > 0;
	bool		isnull;

	svc_gate_check_customer(customer_id, found ? svc_statement_text(0, 3) : NULL, PURPOSE);
	entry->created_at = DatumGetTimestampTz(svc_statement_value(0, 1, &isnull));
	entry->closed_until = DatumGetTimestampTz(svc_statement_value(0, 2, &isnull));
}

static void
check_instant(SvcRowChange *change, const Recorded *customer)
{
	bool		isnull;
	TimestampTz at = DatumGetTimestampTz(svc_row_new(change, &occurred_at_column, &isnull));
	TimestampTz latest = svc_clock_now() + svc_usage_future_limit * USECS_PER_MINUTE;

	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("usage must have occurred at a finite instant"),
				 errdetail("%s was recorded for %s.", svc_row_new_text(change, &resource_column),
						   timestamptz_to_str(at)),
				 errhint("Leave out the instant for the present.")));
	if (at > latest)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("usage cannot have occurred in the future"),
				 errdetail("%s was recorded for %s; the limit is %d minutes from now.",
						   svc_row_new_text(change, &resource_column), timestamptz_to_str(at),
						   svc_usage_future_limit),
				 errhint("Correct the clock that the instant is of, or raise svc.usage_future_limit.")));
	/* (it may have been created after our transaction has begun) */
	if (at < customer->created_at && at < svc_clock_now())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("usage cannot have occurred before the customer was there"),
				 errdetail("%s was recorded for customer \"%s\", who was created at a later instant, for %s.",
						   svc_row_new_text(change, &resource_column),
						   svc_row_new_text(change, &customer_id_column), timestamptz_to_str(at)),
				 errhint("If the customer is older than its row, set created_at of the customer.")));
}

/*
 * Is its period final?  What is closed does not change: what is recorded about it later
 * counts from where it ends on.
 */
static bool
is_late(SvcRowChange *change, const Recorded *customer)
{
	bool		isnull;

	return DatumGetTimestampTz(svc_row_new(change, &occurred_at_column, &isnull)) < customer->closed_until;
}

static void
report_late(SvcRowChange *change)
{
	bool		isnull;
	TimestampTz at = DatumGetTimestampTz(svc_row_new(change, &occurred_at_column, &isnull));

	ereport(ERROR,
			(errcode(ERRCODE_SVC_USAGE_CLOSED),
			 errmsg("usage of customer \"%s\" is final up to a later instant",
					svc_row_new_text(change, &customer_id_column)),
			 errdetail("%s was recorded for %s.", svc_row_new_text(change, &resource_column),
					   timestamptz_to_str(at)),
			 errhint("With svc.late_usage = adjust, it counts from where the final periods end on.")));
}

/* ---- what a record refers to ---- */

static void
check_references(SvcRowChange *change)
{
	check_reference(change, &subscription_id_column, SVC_SUBSCRIPTION);
	check_reference(change, &invoice_id_column, SVC_INVOICE);
	check_reference(change, &adjusts_id_column, SVC_USAGE);
}

/* As a foreign key would: the row is there, and stays. */
static void
check_reference(SvcRowChange *change, SvcColumn *column, SvcNoun noun)
{
	bool		isnull;
	Datum		id = svc_row_new(change, column, &isnull);
	SvcFoundRow row;
	SvcCall		call;

	if (isnull)
		return;
	svc_call_begin(&call, change->fcinfo);
	svc_gate_hold_row(&row, noun, svc_row_new(change, &customer_id_column, &isnull), id);
	svc_call_end(&call);
}

/*
 * Is it a correction?  Then it is of a record of the same resource, when that occurred,
 * and consumes what that has consumed, or gives it back.
 */
static bool
check_correction(SvcRowChange *change, const char **consumes)
{
	/* (one of a record that is purged stands for itself) */
	static SvcStatement statement = {
		"SELECT u.resource = $3, u.occurred_at = $4, u.consumes::text,"
		"  EXISTS (SELECT FROM @extschema@.svc_usage o WHERE o.customer_id = u.customer_id AND o.id = u.adjusts_id)"
		" FROM @extschema@.svc_usage u WHERE u.customer_id = $1 AND u.id = $2",
		4, {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	bool		isnull;
	Datum		values[4];
	const char *wrong;
	SvcCall		call;

	values[1] = svc_row_new(change, &adjusts_id_column, &isnull);
	if (isnull)
		return false;
	values[0] = svc_row_new(change, &customer_id_column, &isnull);
	values[2] = svc_row_new(change, &resource_column, &isnull);
	values[3] = svc_row_new(change, &occurred_at_column, &isnull);

	svc_call_begin(&call, change->fcinfo);
	svc_statement_run(&statement, values, NULL);
	wrong = !DatumGetBool(svc_statement_value(0, 1, &isnull)) ? "That is of another resource." :
		!DatumGetBool(svc_statement_value(0, 2, &isnull)) ? "That occurred at another instant." :
		DatumGetBool(svc_statement_value(0, 4, &isnull)) ? "That is a correction itself." : NULL;
	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("a usage record cannot correct record \"%s\"", TextDatumGetCString(values[1])),
				 errdetail_internal("%s", wrong),
				 errhint("svc_adjust_usage() makes a correction of a record.")));
	(void) svc_statement_value(0, 3, &isnull);
	*consumes = isnull ? NULL : TextDatumGetCString(svc_call_keep(&call, svc_statement_value(0, 3, &isnull)));
	svc_call_end(&call);
	return true;
}

/* The meter of its resource, or NULL; stays as long as no other is looked for. */
const SvcMeter *
svc_usage_row_meter(SvcRowChange *change)
{
	bool		isnull;
	text	   *resource = DatumGetTextPP(svc_row_new(change, &resource_column, &isnull));

	svc_meter_load(change->fcinfo);
	return svc_meter_find(VARDATA_ANY(resource), VARSIZE_ANY_EXHDR(resource));
}

/* ---- keys ---- */

/*
 * In a partitioned table: is there a record with its key?  Then svc_record_usage()
 * repeats it, and anything else is refused.  The key is locked until the end of the
 * transaction.
 */
static bool
is_repetition(SvcRowChange *change)
{
	bool		isnull;
	Datum		customer_id = svc_row_new(change, &customer_id_column, &isnull);
	Datum		key = svc_row_new(change, &key_column, &isnull);

	if (isnull)
		return false;
	lock_key(customer_id, key);
	if (!has_recorded_key(change))
		return false;
	if (!svc_lifecycle_by_function(change))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("there is a usage record with this idempotency key"),
				 errdetail("Customer \"%s\" has one with key \"%s\".", TextDatumGetCString(customer_id),
						   TextDatumGetCString(key)),
				 errhint("svc_record_usage() answers a repetition with the id of the first.")));
	return true;
}

/*
 * Two transactions that lock all keys at the same time, each after some keys, wait for
 * each other: one of them fails with 40P01.
 */
static void
lock_key(Datum customer_id, Datum key)
{
	bool		all = locked_keys >= LOCKED_KEYS_MAX;
	StringInfoData both;
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_CLASS_ALL, 0, 2);
	(void) LockAcquire(&tag, all ? ExclusiveLock : ShareLock, false, false);
	if (all)
		return;
	/* (no text has a zero byte) */
	initStringInfo(&both);
	appendStringInfoString(&both, TextDatumGetCString(customer_id));
	appendStringInfoChar(&both, '\0');
	appendStringInfoString(&both, TextDatumGetCString(key));
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_CLASS,
						 hash_bytes((const unsigned char *) both.data, both.len), 2);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	locked_keys++;
}

/*
 * Is there a record with its key?  Also by a transaction that has committed after our
 * snapshot, and by this very statement.
 */
static bool
has_recorded_key(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_usage WHERE customer_id = $1 AND idempotency_key = $2 LIMIT 1",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2];
	SvcCall		call;
	bool		isnull;
	bool		found;

	values[0] = svc_row_new(change, &customer_id_column, &isnull);
	values[1] = svc_row_new(change, &key_column, &isnull);
	if (isnull)
		return false;
	CommandCounterIncrement();
	svc_call_begin(&call, change->fcinfo);
	found = svc_statement_read_latest(&statement, values) > 0;
	svc_call_end(&call);
	return found;
}

/* ---- what is remembered ---- */

static void
remember(void)
{
	HASHCTL		control = {.keysize = sizeof(TextKey), .entrysize = sizeof(Recorded),
	.hash = hash_key, .match = compare_keys, .keycopy = copy_key};

	if (memory != NULL)
		return;
	memory = AllocSetContextCreate(TopTransactionContext, "svc usage records", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = memory;
	customers = hash_create("svc customers of usage", 128, &control,
							HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_KEYCOPY | HASH_CONTEXT);
}

static TextKey
key_of(const char *bytes, int length)
{
	char	   *kept = MemoryContextAlloc(memory, Max(length, 1));
	TextKey		key = {kept, length};

	memcpy(kept, bytes, length);
	return key;
}

static uint32
hash_key(const void *key, Size size)
{
	const TextKey *text_key = key;

	return hash_bytes((const unsigned char *) text_key->bytes, text_key->length);
}

static int
compare_keys(const void *a, const void *b, Size size)
{
	const TextKey *left = a;
	const TextKey *right = b;

	return left->length != right->length || memcmp(left->bytes, right->bytes, left->length) != 0;
}

static void *
copy_key(void *to, const void *from, Size size)
{
	return memcpy(to, from, sizeof(TextKey));
}

static void
forget_at_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	/* (its memory goes with the transaction's) */
	memory = NULL;
	locked_keys = 0;
}

/* The locks of a subtransaction end with it. */
static void
forget_at_rollback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		svc_usage_row_forget();
}
