/*-------------------------------------------------------------------------
 *
 * membership.h
 *	  Who is in which segment.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_MEMBERSHIP_H
#define SVC_MEMBERSHIP_H

extern void svc_membership_change(Datum segment_id, Datum customer_id, bool joins);
extern void svc_membership_leave_all(Datum customer_id);
extern void svc_membership_move(Datum from, Datum into);

#endif							/* SVC_MEMBERSHIP_H */
