/*-------------------------------------------------------------------------
 *
 * ledger.h
 *	  The ledger of entitlements, and the idempotency that lives in it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_LEDGER_H
#define SVC_LEDGER_H

#include "grant.h"

/* The composite type of a request's answer. */
typedef enum SvcAnswerType
{
	SVC_ANSWER_CONSUMPTION,		/* svc_consumption */
	SVC_ANSWER_CONSUMPTIONS,	/* svc_consumptions */
	SVC_ANSWER_HOLD,			/* svc_hold */
} SvcAnswerType;

/* What was asked; the same key must always come with the same. */
typedef struct SvcRequest
{
	const char *kind;			/* "consume", as in the ledger */
	SvcAnswerType answer_type;
	Datum		customer_id;
	Datum		code;			/* not of a request for several codes */
	Datum		amount;			/* nor this */
	SvcMode		mode;
	SvcInstant	instant;
	bool		has_amounts;
	Datum		amounts;		/* of a request for several codes: jsonb, code: amount */
	bool		has_hold;
	Datum		hold_id;		/* that is made, or that the request is about */
	bool		has_key;
	Datum		key;			/* idempotency key */
	bool		has_metadata;
	Datum		metadata;		/* jsonb */
} SvcRequest;

/*
 * Does what is asked and answers, or returns false, and has written nothing
 * but resets, when a rival with the same key came first.
 */
typedef bool (*SvcAttempt) (SvcRequest *request, void *state, Datum *answer);

/* What a row says that tells of a change of the grant itself. */
typedef struct SvcLedgerNote
{
	const char *kind;			/* reset, limit or revoke */
	Datum		customer_id;
	Datum		entitlement_id;
	Datum		code;
	int64		seq;
	Datum		amount;			/* change of used_amount */
	TimestampTz at;
	TimestampTz until;			/* of resets: when the last one came */
	bool		has_limit_before;
	Datum		limit_before;
	bool		has_rollover_before;
	Datum		rollover_before;
} SvcLedgerNote;

extern Datum svc_ledger_run(SvcRequest *request, SvcAttempt attempt, void *state);
extern bool svc_ledger_replay(const SvcRequest *request, Datum *answer);
extern void svc_ledger_flush(void);
extern bool svc_ledger_replay_late(const SvcRequest *request, Datum *answer);
extern bool svc_ledger_append(const SvcRequest *request, const SvcGrant *grant,
							  int line, Datum answer);
extern void svc_ledger_note(const SvcLedgerNote *note);
extern const char *svc_mode_name(SvcMode mode);

#endif							/* SVC_LEDGER_H */
