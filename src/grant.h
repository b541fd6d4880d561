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

/* A row of svc_entitlement, as far as a decision needs it. */
typedef struct SvcGrant
{
	Datum		id;
	SvcReason	state;			/* SVC_OK: it is live */
	bool		metered;		/* has a limit or is unlimited */
	bool		unlimited;
	Datum		limit_amount;	/* valid if metered and not unlimited */
	Datum		used_amount;
	Datum		available;		/* the same; never negative */
	int32		priority;
	TimestampTz created_at;
	TimestampTz perishes_at;	/* least(valid_until, reset_at); DT_NOEND: never */
	TimestampTz reset_at;		/* DT_NOEND: never */
	Datum		value;
	bool		has_value;
	Datum		code;
	int64		ledger_seq;		/* number of its last ledger row */
	Datum		taken;			/* what a consume takes from it */
} SvcGrant;

/* All grants of a customer and code; the live ones first, in burn order. */
typedef struct SvcGrantSet
{
	SvcGrant   *grants;
	int			count;
	int			live;			/* how many of them are live */
	bool		metered;		/* is any live one? */
	bool		unlimited;		/* is any live one? */
	Datum		available;		/* sum over live ones; 0 if none; ignores unlimited */
} SvcGrantSet;

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

	/* ... and what svc_consumption has besides */
	Datum		consumed;
	bool		replayed;
} SvcDecision;

extern SvcReason svc_grant_gate(Datum customer_id, bool as_reader);
extern void svc_grant_read(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at);
extern void svc_grant_reread(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at);
extern void svc_grant_lock(SvcGrantSet *set, Datum customer_id, Datum code, TimestampTz at);
extern void svc_grant_load(SvcGrant *grant, Datum customer_id, Datum id);
extern Datum svc_grant_allocate(SvcGrantSet *set, Datum amount);
extern void svc_grant_decide(SvcDecision *decision, const SvcGrantSet *set, Datum amount);
extern const char *svc_reason_name(SvcReason reason);
extern Datum svc_decision_datum(const SvcDecision *decision, TupleDesc desc);

#endif							/* SVC_GRANT_H */
