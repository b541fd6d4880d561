/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  The instant that svc works for.
 *
 * That is the start of the transaction, unless a call works for another: one
 * that its caller gives, or one at which something was due that is written
 * down only now.  Then all that follows from it, in triggers, too, happens at
 * that instant.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "optimizer/cost.h"

#include "clock.h"

#define RUNNING		DT_NOBEGIN

static TimestampTz stopped_at = RUNNING;

TimestampTz
svc_clock_now(void)
{
	return stopped_at != RUNNING ? stopped_at : GetCurrentTransactionStartTimestamp();
}

/* Do some work at an instant, which is over when the work is, or has failed. */
void
svc_clock_run_at(TimestampTz at, void (*work) (void *state), void *state)
{
	TimestampTz outer = stopped_at;
	int			outer_workers = max_parallel_workers_per_gather;

	PG_TRY();
	{
		stopped_at = at;
		/* a parallel worker has a clock of its own */
		max_parallel_workers_per_gather = 0;
		work(state);
	}
	PG_FINALLY();
	{
		stopped_at = outer;
		max_parallel_workers_per_gather = outer_workers;
	}
	PG_END_TRY();
}
