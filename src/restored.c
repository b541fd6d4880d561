/*-------------------------------------------------------------------------
 *
 * restored.c
 *	  Which rows were inserted with their revision, and so make no event.
 *
 * The BEFORE trigger can tell a restored row from a new one, the AFTER trigger
 * cannot: by then a new row has been given its revision.  So the BEFORE trigger
 * notes restored rows here, and the AFTER trigger takes the note away.  What a
 * note knows of a row is a hash of its table and key.
 *
 * A note outlives a savepoint that is rolled back; it is taken away when the
 * row is inserted anew, and in any case at the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "restored.h"

/* Hashes of the rows noted, in TopTransactionContext; NULL: none. */
static HTAB *restored = NULL;

static SvcColumn id_column = {"id"};
static SvcColumn customer_id_column = {"customer_id"};

static uint64 row_hash(SvcRowChange *change);
static void drop_restored(XactEvent event, void *arg);

/* To be called from _PG_init. */
void
svc_restored_init(void)
{
	RegisterXactCallback(drop_restored, NULL);
}

/* Remember a restored row until its AFTER trigger. */
void
svc_restored_note(SvcRowChange *change)
{
	uint64		hash = row_hash(change);

	if (restored == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(uint64);
		control.entrysize = sizeof(uint64);
		control.hcxt = TopTransactionContext;
		restored = hash_create("svc restored rows", 256, &control,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(restored, &hash, HASH_ENTER, NULL);
}

/* Forget a row that was noted; false when it was not. */
bool
svc_restored_forget(SvcRowChange *change)
{
	uint64		hash;
	bool		found;

	if (restored == NULL)
		return false;
	hash = row_hash(change);
	(void) hash_search(restored, &hash, HASH_REMOVE, &found);
	return found;
}

/* The memory goes with the transaction; so must the pointer. */
static void
drop_restored(XactEvent event, void *arg)
{
	restored = NULL;
}

/* A hash of table and key; what is NULL in a key is refused later. */
static uint64
row_hash(SvcRowChange *change)
{
	uint64		hash = RelationGetRelid(change->rel);
	char	   *id = svc_row_new_text(change, &id_column);
	char	   *customer = NULL;

	if (svc_noun_info(change->noun)->key == SVC_KEY_OF_CUSTOMER)
		customer = svc_row_new_text(change, &customer_id_column);
	if (id != NULL)
		hash = hash_bytes_extended((unsigned char *) id, strlen(id), hash);
	if (customer != NULL)
		hash = hash_bytes_extended((unsigned char *) customer, strlen(customer), hash);
	return hash;
}
