/*-------------------------------------------------------------------------
 *
 * order.h
 *	  Orders: what _PG_init must know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_ORDER_H
#define SVC_ORDER_H

extern void svc_order_init(void);

#endif							/* SVC_ORDER_H */
