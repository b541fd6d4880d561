/*-------------------------------------------------------------------------
 *
 * membership.h
 *	  Who is in which segment.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_MEMBERSHIP_H
#define SVC_MEMBERSHIP_H

/* So many changes of one segment at once make an event each; more, one for all. */
#define SVC_MEMBERSHIP_EVENTS_MAX	100

/* Of so many customers a transaction takes the memberships one by one, of more all. */
#define SVC_MEMBERSHIP_TAKEN_MAX	1000

extern void svc_membership_hold(void);
extern bool svc_membership_try_hold(void);
extern void svc_membership_take(Datum *customer_ids, int count);
extern bool svc_membership_try_take(Datum customer_id);
extern void svc_membership_take_all(void);
extern bool svc_membership_try_take_all(void);
extern bool svc_membership_take_rest(void);
extern bool svc_membership_change(Datum segment_id, Datum customer_id, bool joins);
extern void svc_membership_override(Datum segment_id, Datum customer_id, bool included);
extern bool svc_membership_clear_override(Datum segment_id, Datum customer_id);
extern void svc_membership_leave_all(Datum customer_id);
extern void svc_membership_move(Datum from, Datum into);

#endif							/* SVC_MEMBERSHIP_H */
