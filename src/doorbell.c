/*-------------------------------------------------------------------------
 *
 * doorbell.c
 *	  NOTIFY, once, just before commit.
 *
 * The server would take each notification as it comes.  We keep them until
 * just before the commit instead, for two reasons: a transaction with very
 * many events then sends one message per noun, which says how many there are
 * and where to find them; and a transaction that is prepared, which must not
 * have executed NOTIFY, sends none (its consumers poll).
 *
 * What a savepoint has rung is taken back with it: each bell remembers the
 * nesting level it was rung at.  Levels ascend along the array, because a
 * subtransaction that ends passes its bells on to its parent or drops them.
 *
 * Payloads are kept for as many bells as would be sent one by one; if there
 * are more, none of them is needed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "utils/memutils.h"

#include "doorbell.h"

#define CHANNEL			"svc"
#define BELLS_FIRST		64		/* room to begin with */

typedef struct Bell
{
	char	   *payload;		/* NULL past svc_notify_max_per_transaction */
	int64		event_id;
	SvcNoun		noun;
	int			nest_level;		/* of the subtransaction that rang it */
} Bell;

int			svc_notify_max_per_transaction = 100;

/* Of this transaction, in TopTransactionContext. */
static Bell *bells = NULL;
static int	bell_count = 0;
static int	bell_room = 0;

static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId mine,
								  SubTransactionId parent, void *arg);
static void send_bells(void);
static int	compare_event_ids(const void *a, const void *b);
static void send_batches(void);
static void forget_bells(void);

/* To be called from _PG_init. */
void
svc_doorbell_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/* Will the next bell be sent by itself, as far as can be seen now? */
bool
svc_doorbell_wants_payload(void)
{
	return bell_count < svc_notify_max_per_transaction;
}

/* Ring for an event; "payload" may be NULL if it is not wanted. */
void
svc_doorbell_ring(SvcNoun noun, int64 event_id, const char *payload)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Bell	   *bell;

	if (bell_count == bell_room)
	{
		bell_room = bells == NULL ? BELLS_FIRST : 2 * bell_room;
		bells = bells == NULL ? palloc(bell_room * sizeof(Bell)) :
			repalloc_huge(bells, bell_room * sizeof(Bell));
	}
	bell = &bells[bell_count];
	bell->payload = payload == NULL ? NULL : pstrdup(payload);
	bell->event_id = event_id;
	bell->noun = noun;
	bell->nest_level = GetCurrentTransactionNestLevel();
	bell_count++;
	MemoryContextSwitchTo(old);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			send_bells();
			break;
		case XACT_EVENT_PRE_PREPARE:
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_bells();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* a worker writes nothing, so it rings nothing */
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
			for (int i = bell_count - 1; i >= 0 && bells[i].nest_level >= level; i--)
				bells[i].nest_level = level - 1;
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			while (bell_count > 0 && bells[bell_count - 1].nest_level >= level)
				bell_count--;
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			break;
	}
}

/* One message per event, or one per noun if there are too many. */
static void
send_bells(void)
{
	bool		one_by_one = bell_count <= svc_notify_max_per_transaction;

	/* rung in the order in which statements have ended, not events happened */
	qsort(bells, bell_count, sizeof(Bell), compare_event_ids);

	/* the setting may have been raised since the bells were rung */
	for (int i = 0; one_by_one && i < bell_count; i++)
		one_by_one = bells[i].payload != NULL;

	if (one_by_one)
	{
		for (int i = 0; i < bell_count; i++)
			Async_Notify(CHANNEL, bells[i].payload);
	}
	else
		send_batches();
	forget_bells();
}

static int
compare_event_ids(const void *a, const void *b)
{
	int64		first = ((const Bell *) a)->event_id;
	int64		second = ((const Bell *) b)->event_id;

	return first < second ? -1 : first > second ? 1 : 0;
}

static void
send_batches(void)
{
	for (int noun = 0; noun < SVC_NOUN_COUNT; noun++)
	{
		int64		first = 0;
		int64		last = 0;
		int			count = 0;

		for (int i = 0; i < bell_count; i++)
		{
			if (bells[i].noun != (SvcNoun) noun)
				continue;
			last = bells[i].event_id;
			if (count++ == 0)
				first = last;
		}
		if (count > 0)
			Async_Notify(CHANNEL,
						 psprintf("{\"type\":\"svc.%s.batch\",\"count\":%d,"
								  "\"first_id\":" INT64_FORMAT ",\"last_id\":" INT64_FORMAT "}",
								  svc_noun_info((SvcNoun) noun)->name, count, first, last));
	}
}

/* The memory goes with the transaction. */
static void
forget_bells(void)
{
	bells = NULL;
	bell_count = 0;
	bell_room = 0;
}
