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

/* What was asked; the same key must always come with the same. */
typedef struct SvcRequest
{
	const char *kind;			/* "consume", as in the ledger */
	Datum		customer_id;
	Datum		code;
	Datum		amount;
	const char *mode;
	TimestampTz at;
	bool		at_given;		/* not the present */
	bool		has_key;
	Datum		key;			/* idempotency key */
	bool		has_metadata;
	Datum		metadata;		/* jsonb */
} SvcRequest;

extern bool svc_ledger_replay(const SvcRequest *request, Datum *answer);
extern void svc_ledger_check_unseen(const SvcRequest *request);
extern bool svc_ledger_append(const SvcRequest *request, const SvcGrant *grant,
							  int line, Datum answer);
extern void svc_ledger_append_reset(Datum customer_id, const SvcGrant *grant);

#endif							/* SVC_LEDGER_H */
