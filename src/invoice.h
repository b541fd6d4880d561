/*-------------------------------------------------------------------------
 *
 * invoice.h
 *	  Invoices: what _PG_init must know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_INVOICE_H
#define SVC_INVOICE_H

extern void svc_invoice_init(void);

#endif							/* SVC_INVOICE_H */
