/*-------------------------------------------------------------------------
 *
 * early_release.c
 *	  Locks that are released before the commit is on disk, and the client
 *	  answered after.
 *
 * Clients that consume the same grant wait for one another's row lock.  A
 * transaction holds it until its commit record is on disk, so a grant is used
 * no more often than the disk flushes.  With svc.early_lock_release a
 * transaction that has consumed releases its locks as soon as the commit record
 * is *written*, and only then flushes; those that waited go on meanwhile, and
 * one flush serves many.  (Johnson et al., "Aether: A Scalable Approach to
 * Logging", PVLDB 3, 2010, section 3: early lock release.)
 *
 * How: just before the commit we turn synchronous_commit off, which makes the
 * server commit as it does without waiting; at XACT_EVENT_COMMIT we put it back;
 * and when the server tells resource owners that the locks are gone, we flush up
 * to the end of our own commit record.  So, in this order:
 *
 *		commit record written - others see the transaction as committed -
 *		locks released - *flush* - the client is answered
 *
 * Why it is safe:
 *
 *	- What is acknowledged is durable: the answer to COMMIT, or to a statement
 *	  outside a transaction block, is sent after the transaction has ended, and
 *	  it ends after the flush.  A flush that fails is a PANIC, as in any commit.
 *	- Who has seen our changes and writes has a commit record behind ours, so
 *	  that whatever makes it durable makes ours so.  A crash takes a suffix of
 *	  the log: never our commit without that of those who built on it.  So the
 *	  rows that survive are exact: the ordinary row is still the counter.
 *	- Who has seen our changes and does not write, may answer from a commit that
 *	  a crash in the next moment undoes: a check, or a denial of what then is not
 *	  taken.  That is for one flush, and nothing is promised by it.  What is
 *	  promised is a replay (ledger.c), which says that a consume has happened:
 *	  it flushes the log first.
 *
 * What is special:
 *
 *	- It is decided just before the commit, after deferred triggers: who has set
 *	  synchronous_commit to off by then, for the session or with SET LOCAL, gets
 *	  what he asked for, no flush.  All other values flush here, "local" included.
 *	- A standby that is synchronous would have to be waited for, too, and that is
 *	  where the server waits; so with synchronous_standby_names it is not used,
 *	  unless synchronous_commit is local.
 *	- A savepoint that is rolled back takes its consume along, but we stay armed:
 *	  the transaction is as durable as any.
 *	- PREPARE TRANSACTION flushes by itself, and so does COMMIT PREPARED, whoever
 *	  does it.  They keep their locks as long as usual.
 *	- A parallel worker writes nothing.
 *	- Nothing here can fail but the flush: no memory is allocated, no setting is
 *	  looked up; an error between the two points is an abort, which puts
 *	  synchronous_commit back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "replication/syncrep.h"
#include "utils/resowner.h"

#include "early_release.h"

bool		svc_early_lock_release = false;

/* How far this transaction is. */
static enum
{
	IDLE,
	ARMED,						/* it has consumed */
	COMMITTING,					/* synchronous_commit is off for now */
	COMMITTED,					/* and is to be flushed */
} state = IDLE;

static int	synchronous_commit_before;	/* while COMMITTING */

static void at_transaction_end(XactEvent event, void *arg);
static bool is_usable(void);
static void at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg);

/* To be called from _PG_init. */
void
svc_early_release_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterResourceReleaseCallback(at_release, NULL);
}

/* The transaction has written something that others may wait for. */
void
svc_early_release_arm(void)
{
	if (svc_early_lock_release && state == IDLE)
		state = ARMED;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (state == ARMED && is_usable())
			{
				synchronous_commit_before = synchronous_commit;
				synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
				state = COMMITTING;
			}
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			if (state == COMMITTING)
				synchronous_commit = synchronous_commit_before;
			state = state == COMMITTING && event == XACT_EVENT_COMMIT ? COMMITTED : IDLE;
			break;
		case XACT_EVENT_PREPARE:
			state = IDLE;
			break;
		case XACT_EVENT_PRE_PREPARE:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
}

/* Would the server flush, and wait for nothing else? */
static bool
is_usable(void)
{
	return synchronous_commit != SYNCHRONOUS_COMMIT_OFF &&
		(synchronous_commit == SYNCHRONOUS_COMMIT_LOCAL_FLUSH ||
		 SyncRepStandbyNames == NULL || SyncRepStandbyNames[0] == '\0');
}

static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (state != COMMITTED || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	state = IDLE;
	XLogFlush(XactLastCommitEnd);
}
