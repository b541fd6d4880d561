/*-------------------------------------------------------------------------
 *
 * usage_row.c
 *	  What becomes of a usage record on its way into the table.
 *
 * A record comes by svc_record_usage(), INSERT or COPY, and in each case by svc's
 * BEFORE trigger, to the rules here: the customer must exist, the instant be one at
 * which it can have used something, and what the record refers to be there.  Then it
 * is *booked*: at the instant at which it occurred, or, if the customer's usage is
 * final up to a later one (closed_until), at that.  What a meter says is to be
 * consumed, is.
 *
 * A million records are of ten thousand customers: one that has been looked up and
 * locked is remembered until the end of the transaction, as is the lock.
 *
 * A record is stamped with its transaction, by which the roll-ups tell what is new
 * (usage_fold.c).
 *
 * Idempotency keys are unique by an index.  It cannot be had in a partitioned table,
 * and comes too late where a record consumes: there a key is locked, by an advisory
 * lock, and looked for before.
 *
 * Locks: svc_usage ROW EXCLUSIVE, as every INSERT, which who changes a meter excludes
 * (meter.c); the customer FOR KEY SHARE, which who closes a period excludes
 * (usage_close.c), so that closed_until cannot move before we commit; the key; then
 * grants, as a consume does.
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
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "consume.h"
#include "direct.h"
#include "error.h"
#include "gate.h"
#include "lifecycle.h"
#include "meter.h"
#include "snapshot.h"
#include "statement.h"
#include "usage_row.h"

/* The class of our advisory locks on keys; see membership.c for another. */
#define LOCK_CLASS			0x5355	/* "SU" */

/* What a customer was to get, for messages. */
#define PURPOSE				"a usage record"

/* So many customers are remembered, and so many keys. */
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
static HTAB *claimed;			/* customer and key, of those that are locked */

static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn resource_column = {"resource"};
static SvcColumn quantity_column = {"quantity", NUMERICOID};
static SvcColumn occurred_at_column = {"occurred_at", TIMESTAMPTZOID};
static SvcColumn booked_at_column = {"booked_at", TIMESTAMPTZOID};
static SvcColumn xid_column = {"xid", XID8OID};
static SvcColumn cluster_column = {"cluster", INT8OID};
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
static TimestampTz booking_instant(SvcRowChange *change, const Recorded *customer);
static void check_references(SvcRowChange *change);
static void check_reference(SvcRowChange *change, SvcColumn *column, SvcNoun noun);
static const SvcMeter *find_meter(SvcRowChange *change, Datum resource);
static bool claim_key(SvcRowChange *change, Datum customer_id, Datum key);
static bool is_recorded(SvcRowChange *change, Datum customer_id, Datum key);
static void refuse_duplicate(SvcRowChange *change, Datum customer_id, Datum key);
static void consume(SvcRowChange *change, const SvcMeter *meter, Datum customer_id);
static void remember(void);
static HTAB *make_table(const char *name, Size entry_size);
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
	const SvcMeter *meter;
	Datum		customer_id;
	Datum		key;
	bool		isnull;
	bool		has_key;

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

	customer_id = svc_row_new(change, &customer_id_column, &isnull);
	customer = find_customer(change, customer_id);
	meter = find_meter(change, svc_row_new(change, &resource_column, &isnull));
	svc_row_set(change, &booked_at_column,
				TimestampTzGetDatum(booking_instant(change, &customer)), false);
	svc_row_set(change, &xid_column, FullTransactionIdGetDatum(GetTopFullTransactionId()), false);
	svc_row_set(change, &cluster_column, svc_cluster(), false);
	svc_row_set(change, &overage_column, (Datum) 0, true);
	check_references(change);

	key = svc_row_new(change, &key_column, &isnull);
	has_key = !isnull;
	if (has_key && (change->rel->rd_rel->relispartition || meter != NULL) &&
		!claim_key(change, customer_id, key))
		return;
	if (meter != NULL)
		consume(change, meter, customer_id);
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

/*
 * When a record counts.  What is closed does not change: what is recorded about it
 * later counts from where it ends on.
 */
static TimestampTz
booking_instant(SvcRowChange *change, const Recorded *customer)
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
	if (at < customer->created_at)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("usage cannot have occurred before the customer was there"),
				 errdetail("%s was recorded for customer \"%s\", who was created at a later instant, for %s.",
						   svc_row_new_text(change, &resource_column),
						   svc_row_new_text(change, &customer_id_column), timestamptz_to_str(at)),
				 errhint("If the customer is older than its row, set created_at of the customer.")));
	if (at >= customer->closed_until)
		return at;
	if (svc_late_usage == SVC_LATE_REJECT)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_USAGE_CLOSED),
				 errmsg("usage of customer \"%s\" is final up to a later instant",
						svc_row_new_text(change, &customer_id_column)),
				 errdetail("%s was recorded for %s.", svc_row_new_text(change, &resource_column),
						   timestamptz_to_str(at)),
				 errhint("With svc.late_usage = adjust, it counts from where the final periods end on.")));
	return customer->closed_until;
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

/* ---- meters ---- */

/* The meter of a resource, if its records consume something. */
static const SvcMeter *
find_meter(SvcRowChange *change, Datum resource)
{
	text	   *name = DatumGetTextPP(resource);
	const SvcMeter *meter;

	svc_meter_load(change->fcinfo);
	meter = svc_meter_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	return meter == NULL || meter->entitlement_code == NULL ? NULL : meter;
}

/*
 * Consume what a record is worth, or refuse it, as the meter says.  A negative
 * quantity gives back what was used, as far as it still counts as used.
 */
static void
consume(SvcRowChange *change, const SvcMeter *meter, Datum customer_id)
{
	bool		isnull;
	Datum		quantity = svc_row_new(change, &quantity_column, &isnull);
	SvcRequest	request = {.customer_id = customer_id};
	Datum		overage;
	Datum		answer;
	SvcCall		call;

	(void) svc_row_new(change, &adjusts_id_column, &isnull);
	request.amount = meter->aggregation != SVC_COUNT || !isnull ? quantity :
		svc_amount_from(svc_amount_sign(quantity) < 0 ? -1 : 1);
	if (svc_amount_sign(request.amount) == 0)
		return;
	request.code = CStringGetTextDatum(meter->entitlement_code);
	request.instant.at = svc_clock_now();
	request.mode = svc_amount_sign(request.amount) < 0 ? SVC_CAP :
		meter->overflows ? SVC_OVERFLOW : SVC_REJECT;

	svc_call_begin(&call, change->fcinfo);
	answer = svc_consume_run(&request, svc_consume_answer_type());
	if (request.mode == SVC_REJECT && !svc_consume_is_allowed(answer))
		svc_consume_report_denied(&request, answer);
	/* (who has nothing at all is denied even what has happened already) */
	overage = request.mode != SVC_OVERFLOW ? svc_amount_zero() :
		svc_consume_is_allowed(answer) ? svc_consume_overage(answer) : request.amount;
	overage = svc_call_keep(&call, overage);
	svc_call_end(&call);
	if (svc_amount_sign(overage) > 0)
		svc_row_set(change, &overage_column, overage, false);
}

/* ---- keys that no index watches over ---- */

/*
 * Lock a customer's key, until the end of the transaction, and refuse a record with
 * one that is there.  A repetition by svc_record_usage() is suppressed: false.
 */
static bool
claim_key(SvcRowChange *change, Datum customer_id, Datum key)
{
	StringInfoData both;
	TextKey		hashed;
	uint32		hash;
	bool		found;
	LOCKTAG		tag;

	/* (no text has a zero byte) */
	initStringInfo(&both);
	appendStringInfo(&both, "%s", TextDatumGetCString(customer_id));
	appendStringInfoChar(&both, '\0');
	appendStringInfo(&both, "%s", TextDatumGetCString(key));
	hash = hash_bytes((const unsigned char *) both.data, both.len);
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_CLASS, hash, 2);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);

	remember();
	hashed = (TextKey) {both.data, both.len};
	/* a row of this very statement cannot be seen yet */
	found = hash_search(claimed, &hashed, HASH_FIND, NULL) != NULL;
	if (!found)
		found = is_recorded(change, customer_id, key);
	if (found)
	{
		if (!svc_lifecycle_by_function(change))
			refuse_duplicate(change, customer_id, key);
		change->suppressed = true;
		return false;
	}
	remember();
	if (hash_get_num_entries(claimed) < REMEMBERED_MAX)
	{
		hashed = key_of(both.data, both.len);
		(void) hash_search(claimed, &hashed, HASH_ENTER, NULL);
	}
	return true;
}

/* Also by a transaction that has committed after our snapshot. */
static bool
is_recorded(SvcRowChange *change, Datum customer_id, Datum key)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_usage WHERE customer_id = $1 AND idempotency_key = $2 LIMIT 1",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id, key};
	SvcCall		call;
	bool		found;

	svc_call_begin(&call, change->fcinfo);
	found = svc_statement_read_latest(&statement, values) > 0;
	svc_call_end(&call);
	return found;
}

static void
refuse_duplicate(SvcRowChange *change, Datum customer_id, Datum key)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("there is a usage record with this idempotency key"),
			 errdetail("Customer \"%s\" has one with key \"%s\".", TextDatumGetCString(customer_id),
					   TextDatumGetCString(key)),
			 errhint("svc_record_usage() answers a repetition with the id of the first.")));
}

/* ---- what is remembered ---- */

static void
remember(void)
{
	if (memory != NULL)
		return;
	memory = AllocSetContextCreate(TopTransactionContext, "svc usage records", ALLOCSET_DEFAULT_SIZES);
	customers = make_table("svc customers of usage", sizeof(Recorded));
	claimed = make_table("svc keys of usage", sizeof(TextKey));
}

static HTAB *
make_table(const char *name, Size entry_size)
{
	HASHCTL		control = {.keysize = sizeof(TextKey), .entrysize = entry_size,
	.hash = hash_key, .match = compare_keys, .keycopy = copy_key, .hcxt = memory};

	return hash_create(name, 128, &control,
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
	/* (its memory goes with the transaction's) */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		memory = NULL;
}

/* The locks of a subtransaction end with it. */
static void
forget_at_rollback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		svc_usage_row_forget();
}
