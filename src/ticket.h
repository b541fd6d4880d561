/*-------------------------------------------------------------------------
 *
 * ticket.h
 *	  Tickets: what _PG_init must know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_TICKET_H
#define SVC_TICKET_H

extern void svc_ticket_init(void);

#endif							/* SVC_TICKET_H */
