/*-------------------------------------------------------------------------
 *
 * attempt.h
 *	  Work on many rows, of which one that fails does not stop the others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_ATTEMPT_H
#define SVC_ATTEMPT_H

#include "fmgr.h"

#include "noun.h"

extern ErrorData *svc_attempt_work(void (*work) (void *state), void *state);
extern bool svc_attempt(void (*work) (void *state), void *state, SvcNoun noun, Datum customer_id,
						Datum id);

#endif							/* SVC_ATTEMPT_H */
