/*-------------------------------------------------------------------------
 *
 * handover.c
 *	  What the BEFORE trigger of a row tells its AFTER trigger.
 *
 * Two things that only the BEFORE trigger knows: that the row is a restored
 * one, which was inserted with its revision (by the time of the AFTER trigger a
 * new row has been given one, too), and the ids that it has drawn for the
 * events.  It leaves a *note* for each revision, and the AFTER trigger takes it
 * away.  What a note knows of a row is a hash of its table and key.
 *
 * The first note of a statement counts: INSERT ... ON CONFLICT DO NOTHING
 * discards the second row of the same key, but has fired its BEFORE trigger.
 * That of an earlier statement has become void, and is overwritten.
 *
 * So notes stay behind, of rows that were discarded and of savepoints that were
 * rolled back.  Nobody asks for them before they are overwritten, but who looks whether
 * a quiet row is a restored one, and that asks for the statement's own; they are dropped
 * at the end of the transaction, and cost it some 50 bytes each.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "handover.h"

/* In place of an event's id: the row was restored and makes no event. */
#define RESTORED	0

typedef struct NoteKey
{
	uint64		row;			/* hash of its table and key */
	int64		revision;
} NoteKey;

typedef struct Note
{
	NoteKey		key;
	int64		event_id;
	CommandId	statement;		/* that fired the BEFORE trigger */
} Note;

/* In TopTransactionContext; NULL: none. */
static HTAB *notes = NULL;

static SvcColumn id_column = {"id"};
static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn revision_column = {"revision", INT8OID};

static void drop_notes(XactEvent event, void *arg);
static Note *find_restored(SvcRowChange *change);
static int64 given_revision(SvcRowChange *change);
static void make_notes(void);
static NoteKey note_key(SvcRowChange *change, int64 revision);
static uint32 hash_note_key(const void *key, Size size);
static uint64 row_hash(SvcRowChange *change);
static uint64 hash_column(SvcRowChange *change, SvcColumn *column, uint64 seed);

/* To be called from _PG_init. */
void
svc_handover_init(void)
{
	RegisterXactCallback(drop_notes, NULL);
}

/* BEFORE: the row was inserted with its revision. */
void
svc_handover_restored(SvcRowChange *change)
{
	svc_handover_event(change, given_revision(change), RESTORED);
}

/*
 * BEFORE: this id was drawn for the event of this revision.
 *
 * A statement is known by the command that its snapshot sees up to, which it
 * keeps while those that its triggers and functions run move on.
 */
void
svc_handover_event(SvcRowChange *change, int64 revision, int64 event_id)
{
	NoteKey		key = note_key(change, revision);
	CommandId	statement = GetActiveSnapshot()->curcid;
	Note	   *note;
	bool		found;

	if (notes == NULL)
		make_notes();
	note = hash_search(notes, &key, HASH_ENTER, &found);
	if (found && note->statement == statement)
		return;
	note->event_id = event_id;
	note->statement = statement;
}

/* AFTER: was the row inserted with its revision? */
bool
svc_handover_take_restored(SvcRowChange *change)
{
	Note	   *note = find_restored(change);

	if (note == NULL)
		return false;
	(void) hash_search(notes, &note->key, HASH_REMOVE, NULL);
	return true;
}

/*
 * AFTER, in a trigger before that which takes the note: the same.  There may be one that
 * nobody has taken, of an earlier statement.
 */
bool
svc_handover_is_restored(SvcRowChange *change)
{
	Note	   *note = find_restored(change);

	return note != NULL && note->statement == GetActiveSnapshot()->curcid;
}

/* The note that the row was inserted with its revision, or NULL. */
static Note *
find_restored(SvcRowChange *change)
{
	NoteKey		key;
	Note	   *note;

	if (notes == NULL)
		return NULL;
	key = note_key(change, given_revision(change));
	note = hash_search(notes, &key, HASH_FIND, NULL);
	return note == NULL || note->event_id != RESTORED ? NULL : note;
}

/* AFTER: the id drawn for the event of this revision, 0 when none was. */
int64
svc_handover_take_event(SvcRowChange *change, int64 revision)
{
	NoteKey		key;
	Note	   *note;

	if (notes == NULL)
		return 0;
	key = note_key(change, revision);
	note = hash_search(notes, &key, HASH_REMOVE, NULL);
	/* it is out of the table, but still there to be read */
	return note == NULL || note->event_id == RESTORED ? 0 : note->event_id;
}

/* The memory goes with the transaction; so must the pointer. */
static void
drop_notes(XactEvent event, void *arg)
{
	notes = NULL;
}

static int64
given_revision(SvcRowChange *change)
{
	bool		isnull;

	return DatumGetInt64(svc_row_new(change, &revision_column, &isnull));
}

static void
make_notes(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(NoteKey);
	control.entrysize = sizeof(Note);
	control.hash = hash_note_key;
	control.hcxt = TopTransactionContext;
	notes = hash_create("svc notes between triggers", 256, &control,
						HASH_ELEM | HASH_FUNCTION | HASH_CONTEXT);
}

static NoteKey
note_key(SvcRowChange *change, int64 revision)
{
	NoteKey		key;

	key.row = row_hash(change);
	key.revision = revision;
	return key;
}

/* What a key's hash is of is a hash already. */
static uint32
hash_note_key(const void *key, Size size)
{
	const NoteKey *note = key;

	return (uint32) (note->row ^ (uint64) note->revision);
}

/* A hash of table and key; what is NULL in a key is refused later. */
static uint64
row_hash(SvcRowChange *change)
{
	uint64		hash = hash_column(change, &id_column, RelationGetRelid(change->rel));

	if (svc_noun_info(change->noun)->key == SVC_KEY_OF_CUSTOMER)
		hash = hash_column(change, &customer_id_column, hash);
	return hash;
}

static uint64
hash_column(SvcRowChange *change, SvcColumn *column, uint64 seed)
{
	bool		isnull;
	Datum		value = svc_row_new(change, column, &isnull);
	text	   *packed;

	if (isnull)
		return seed;
	packed = DatumGetTextPP(value);
	return hash_bytes_extended((unsigned char *) VARDATA_ANY(packed),
							   VARSIZE_ANY_EXHDR(packed), seed);
}
