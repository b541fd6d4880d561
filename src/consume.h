/*-------------------------------------------------------------------------
 *
 * consume.h
 *	  Consuming entitlements, exactly, and giving back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CONSUME_H
#define SVC_CONSUME_H

#include "compat.h"
#include "ledger.h"

extern bool svc_consume_read_gate(const SvcRequest *request, bool has_locks, SvcGate *gate);
extern Datum svc_consume_run(SvcRequest *request, TupleDesc desc);
extern TupleDesc svc_consume_answer_type(void);
extern SvcMode svc_consume_mode(FunctionCallInfo fcinfo, int n);
extern bool svc_consume_is_allowed(Datum answer);
extern Datum svc_consume_amount(Datum answer);
extern Datum svc_consume_overage(Datum answer);
extern void svc_consume_lock_and_decide(SvcRequest *request, SvcGrantSet *set,
										SvcDecision *decision);
pg_noreturn extern void svc_consume_report_not_metered(const SvcRequest *request, Datum code);
pg_noreturn extern void svc_consume_report_denied(const SvcRequest *request, Datum answer);

#endif							/* SVC_CONSUME_H */
