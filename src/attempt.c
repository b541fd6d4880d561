/*-------------------------------------------------------------------------
 *
 * attempt.c
 *	  Work on many rows, of which one that fails does not stop the others.
 *
 * Each piece of work is a subtransaction and a call of its own (catalog.c), so
 * that it leaves neither half of its changes nor its memory behind.  An error
 * becomes a WARNING that names the row; it stays as it was, for the next time.
 * What the user or the administrator asks for, such as a cancel, is passed on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "attempt.h"
#include "catalog.h"

static bool is_for_us(const ErrorData *error);

/*
 * Do a piece of work on a row; false, with a WARNING, when it has failed.  A row that
 * is no customer's has customer 0.
 */
bool
svc_attempt(void (*work) (void *state), void *state, SvcNoun noun, Datum customer_id, Datum id)
{
	ErrorData  *error = svc_attempt_work(work, state);

	if (error == NULL)
		return true;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 customer_id == (Datum) 0 ?
			 errmsg("%s \"%s\" was left as it is: %s", svc_noun_info(noun)->name,
					TextDatumGetCString(id), error->message) :
			 errmsg("%s \"%s\" of customer \"%s\" was left as it is: %s", svc_noun_info(noun)->name,
					TextDatumGetCString(id), TextDatumGetCString(customer_id), error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
			 error->hint != NULL ? errhint("%s", error->hint) : 0));
	FreeErrorData(error);
	return false;
}

/* Do a piece of work; NULL, or why it has failed. */
ErrorData *
svc_attempt_work(void (*work) (void *state), void *state)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		SvcCall		call;

		svc_call_begin_inner(&call);
		work(state);
		svc_call_end(&call);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(memory);
		error = CopyErrorData();
		FlushErrorState();
		/* in any case: whoever catches what we pass on must find things as they were */
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(memory);
		CurrentResourceOwner = owner;
		if (!is_for_us(error))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * Not a cancel, a shutdown, or a server that cannot go on; nor what a new
 * transaction would not meet: a serialization failure, a deadlock, a lock that
 * took too long.
 */
static bool
is_for_us(const ErrorData *error)
{
	return error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_TRANSACTION_ROLLBACK &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_OPERATOR_INTERVENTION &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INSUFFICIENT_RESOURCES &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTERNAL_ERROR;
}
