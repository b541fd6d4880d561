/*-------------------------------------------------------------------------
 *
 * document.h
 *	  The document of a customer, which segment criteria are about.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_DOCUMENT_H
#define SVC_DOCUMENT_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "criteria.h"

/* Members of a document that are no columns. */
#define SVC_DOCUMENT_SUBSCRIPTIONS	"subscriptions"
#define SVC_DOCUMENT_ENTITLEMENTS	"entitlements"
#define SVC_DOCUMENT_USAGE			"usage"

/* So many components of a path decide on what is built. */
#define SVC_DOCUMENT_STEPS_MAX		3

/* A path that is wanted; what is deeper comes with it. */
typedef struct SvcDocumentPath
{
	int			count;			/* of steps that are given here */
	const char *steps[SVC_DOCUMENT_STEPS_MAX];
} SvcDocumentPath;

/* What of a document is wanted.  Zeros are nothing. */
typedef struct SvcDocumentWants
{
	bool		all;
	bool		sorted;			/* the paths, and each is there once */
	int			count;
	int			room;
	SvcDocumentPath *paths;
} SvcDocumentWants;

extern void svc_document_want_criteria(SvcDocumentWants *wants, const SvcCriteria *criteria);
extern bool svc_document_wants(SvcDocumentWants *wants, const char *member);
extern bool svc_document_has_column(Form_pg_attribute att);
extern Oid	svc_document_column_type(Form_pg_attribute att);
extern Jsonb *svc_document_build(SvcDocumentWants *wants, Datum customer_id, HeapTuple row,
								 TupleDesc desc, TimestampTz at);

#endif							/* SVC_DOCUMENT_H */
