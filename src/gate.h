/*-------------------------------------------------------------------------
 *
 * gate.h
 *	  Rows that a call is about: there, locked, and the caller's own version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_GATE_H
#define SVC_GATE_H

#include "compat.h"
#include "noun.h"

/* A row that a call has found. */
typedef struct SvcFoundRow
{
	char	   *status;
	int64		revision;
} SvcFoundRow;

extern void svc_gate_customer(Datum customer_id, const char *purpose);
extern void svc_gate_check_customer(Datum customer_id, const char *status, const char *purpose);
extern void svc_gate_hold_customer(Datum customer_id);
extern void svc_gate_take_customer(Datum customer_id);
extern void svc_gate_read_committed(const char *work, const char *why);
extern void svc_gate_lock_row(SvcFoundRow *row, SvcNoun noun, Datum customer_id, Datum id);
extern void svc_gate_hold_row(SvcFoundRow *row, SvcNoun noun, Datum customer_id, Datum id);
extern void svc_gate_read_row(SvcFoundRow *row, SvcNoun noun, Datum customer_id, Datum id);
extern void svc_gate_check_revision(const SvcFoundRow *row, SvcNoun noun, Datum id,
									int64 expected);
pg_noreturn extern void svc_gate_report_unknown(SvcNoun noun, Datum customer_id, Datum id);
pg_noreturn extern void svc_gate_report_unwritten(const char *table);
pg_noreturn extern void svc_gate_report_suppressed(SvcNoun noun, Datum id);

#endif							/* SVC_GATE_H */
