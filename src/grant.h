/*-------------------------------------------------------------------------
 *
 * grant.h
 *	  The grants of one customer and code, and what can be decided from them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_GRANT_H
#define SVC_GRANT_H

#include "funcapi.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "balance.h"
#include "period.h"

/*
 * Why a decision is as it is.  Between SUSPENDED and REVOKED, in order: the
 * reasons of grants that are not live; the nearest to being usable comes first.
 */
typedef enum SvcReason
{
	SVC_OK,
	SVC_LIMIT_EXCEEDED,
	SVC_SUSPENDED,
	SVC_NOT_YET_VALID,
	SVC_EXPIRED,
	SVC_REVOKED,
	SVC_NO_ENTITLEMENT,
	SVC_CUSTOMER_INACTIVE,
	SVC_UNKNOWN_CUSTOMER,
} SvcReason;

/* What happens when less is left than was asked for. */
typedef enum SvcMode
{
	SVC_REJECT,					/* all or nothing */
	SVC_CAP,					/* take what is there */
	SVC_OVERFLOW,				/* take all, and book the rest as overage */
} SvcMode;

/* The end of a hold's time. */
typedef struct SvcLapse
{
	TimestampTz at;
	Datum		amount;			/* that is then free again */
} SvcLapse;

/*
 * A row of svc_entitlement as it is at some instant: resets that are due by
 * then have happened to it, and holds whose time is over hold nothing.
 */
typedef struct SvcGrant
{
	Datum		id;
	Datum		code;
	const char *status;
	SvcReason	state;			/* SVC_OK: it is live */
	TimestampTz at;				/* the instant; never before its present period */
	bool		metered;		/* has a limit or is unlimited */
	SvcBalance	balance;		/* if metered */
	Datum		available;		/* if metered, and not unlimited */

	int32		priority;
	TimestampTz created_at;
	TimestampTz valid_from;		/* DT_NOBEGIN: without bound */
	TimestampTz valid_until;	/* DT_NOEND: without bound */
	TimestampTz perishes_at;	/* least(valid_until, reset_at) */
	TimestampTz last_reset_at;	/* DT_NOBEGIN: never */
	TimestampTz reset_at;		/* DT_NOEND: never */
	bool		has_cycle;
	SvcCycle	cycle;			/* if it has one */
	int64		resets;			/* that have happened in this reading only */
	SvcLapse   *lapses;			/* still to come, in order */
	int			lapse_count;
	bool		lapsed;			/* has one happened in this reading only? */

	Datum		value;
	bool		has_value;
	int64		ledger_seq;		/* number of its last ledger row */

	/* of a pool that pays for the code of another set (pool.c) */
	bool		is_pool;
	Datum		costs;			/* jsonb: code, credits for one unit */
	Datum		cost;			/* of the set's code; if it is live */
	Datum		spent_on;		/* the set's code */

	/* what a request does to it, in its own unit: of a pool, credits */
	Datum		taken;			/* to be used; negative: given back */
	Datum		overage;		/* the part of it that is beyond the limit */
	Datum		held;			/* to be held; negative: not any more */
	Datum		spent;			/* of a pool: what "taken" is in units of spent_on */
} SvcGrant;

/*
 * The grants of a customer that pay for a code: the live ones first, among
 * them those of the code itself before pools, each in burn order.
 */
typedef struct SvcGrantSet
{
	SvcGrant   *grants;
	int			count;
	int			live;			/* how many of them are live */
	bool		metered;		/* is any live one? */
	bool		unlimited;		/* is any live one? */
	Datum		available;		/* sum over live ones, in units of the code; 0 if
								 * none; ignores unlimited */
	bool		lacks_pools;	/* there may be pools that are not in it; for who
								 * finds the set to say */
} SvcGrantSet;

/* Sums over the live grants of a set that are counted. */
typedef struct SvcGrantTotal
{
	SvcBalance	balance;
	Datum		overage;
	Datum		percent;			/* used of limit and rollover, 100 when these are 0 */
} SvcGrantTotal;

/*
 * What all readers of grants select first, in the order of an enum in grant.c.
 * The casts cost nothing, and hold when the owner alters a column.
 */
#define SVC_GRANT_COLUMNS \
	"id::text, status::text, unlimited::boolean, limit_amount::numeric," \
	" used_amount::numeric, held_amount::numeric, rollover_amount::numeric," \
	" rollover_max::numeric, carry_overage::boolean, overage = 'allow', overage_limit::numeric," \
	" priority::integer, created_at::timestamptz, valid_from::timestamptz," \
	" valid_until::timestamptz, reset_period::text, reset_anchor::timestamptz," \
	" reset_timezone::text, last_reset_at::timestamptz, reset_at::timestamptz," \
	" value::jsonb, ledger_seq::bigint, code::text"
#define SVC_GRANT_COLUMN_COUNT	23

/*
 * The order in which statements lock grants of several codes, unqualified: codes
 * that have pools come after all others (consume.c says why).
 */
#define SVC_GRANT_LOCK_ORDER \
	"EXISTS (SELECT FROM @extschema@.svc_entitlement p" \
	" WHERE p.customer_id = svc_entitlement.customer_id AND p.code = svc_entitlement.code" \
	" AND p.costs IS NOT NULL), code, id"

/* What a customer's row says to who asks for its grants. */
typedef struct SvcGate
{
	SvcReason	reason;			/* SVC_OK: the customer is served */
	TimestampTz changes_at;		/* when a subscription changes what is granted
								 * (subscription_due.c); DT_NOEND: none does */
	bool		has_pools;		/* or had some */
} SvcGate;

/* Which grants to read, and how. */
typedef enum SvcGrantReading
{
	SVC_GRANT_READ,				/* all, with the snapshot of the calling query */
	SVC_GRANT_REREAD,			/* all, as they are committed now */
	SVC_GRANT_LOCK_USABLE,		/* lock those that are active or exhausted */
	SVC_GRANT_LOCK_ALL,			/* lock all */
} SvcGrantReading;

/* The answer to a check or a consume: the columns of svc_decision ... */
typedef struct SvcDecision
{
	SvcReason	reason;
	bool		has_remaining;
	Datum		remaining;
	Datum		overage;
	TimestampTz reset_at;		/* DT_NOEND: none */
	bool		has_value;
	Datum		value;
	bool		has_entitlement;
	Datum		entitlement_id;

	/* ... and what svc_consumption and svc_hold have besides */
	Datum		consumed;
	bool		replayed;
	bool		has_hold;
	Datum		hold_id;
	TimestampTz expires_at;		/* of the hold; DT_NOEND: never */
} SvcDecision;

extern void svc_grant_gate(SvcGate *gate, Datum customer_id, bool as_reader);
extern bool svc_grant_read_directly(SvcGate *gate, SvcGrantSet *set, Datum customer_id,
									Datum code, SvcInstant instant);
extern void svc_grant_find(SvcGrantSet *set, Datum customer_id, Datum code,
						   SvcInstant instant, SvcGrantReading reading);
extern void svc_grant_read_rows(SvcGrantSet *set, uint64 rows);
extern void svc_grant_look(SvcGrant *grants, int count, Datum customer_id, SvcInstant instant,
						   bool as_reader);
extern void svc_grant_arrange(SvcGrantSet *set);
extern void svc_grant_find_stored(SvcGrantSet *set, Datum customer_id, Datum code);
extern bool svc_grant_load(SvcGrant *grant, Datum customer_id, Datum id, TimestampTz at);
extern void svc_grant_advance(SvcGrant *grant, TimestampTz at);
extern void svc_grant_sum_up(SvcGrantSet *set);
extern SvcGrantTotal svc_grant_total(const SvcGrantSet *set);
extern Datum svc_grant_allocate(SvcGrantSet *set, Datum amount, SvcMode mode);
extern void svc_grant_untake(SvcGrantSet *set);
extern void svc_grant_decide(SvcDecision *decision, SvcGrantSet *set, Datum amount,
							 SvcMode mode);
extern void svc_grant_describe(SvcDecision *decision, const SvcGrantSet *set);
extern Datum svc_grant_units(const SvcGrant *grant, Datum amount);
extern Datum svc_grant_overage_units(const SvcGrant *grant, Datum overage);
extern Datum svc_grant_taken(const SvcGrantSet *set);
extern const char *svc_reason_name(SvcReason reason);
extern Datum svc_decision_datum(const SvcDecision *decision, TupleDesc desc);

#endif							/* SVC_GRANT_H */
