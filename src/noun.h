/*-------------------------------------------------------------------------
 *
 * noun.h
 *	  The nouns of svc and what is true of each: its names, its table, which
 *	  of its columns are counters, and which only svc writes.
 *
 * A *noun* is a kind of row with a lifecycle.  Pure data: no catalog, no SPI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_NOUN_H
#define SVC_NOUN_H

/* In the order of transitions.csv. */
typedef enum SvcNoun
{
	SVC_CUSTOMER,
	SVC_ENTITLEMENT,
	SVC_CUSTOMER_USAGE,
	SVC_CUSTOMER_SEGMENT,
	SVC_PLAN,
	SVC_SUBSCRIPTION,
	SVC_ORDER,
	SVC_INVOICE,
	SVC_SUPPORT_TICKET,
	SVC_USAGE,
} SvcNoun;

#define SVC_NOUN_COUNT	(SVC_USAGE + 1)

/* How the rows of a noun are keyed, and so whose event they make. */
typedef enum SvcNounKey
{
	SVC_KEY_IS_CUSTOMER,		/* (id): the customer itself */
	SVC_KEY_OF_CUSTOMER,		/* (customer_id, id) */
	SVC_KEY_REFERENCE,			/* (id): a small table shared by all customers */
} SvcNounKey;

typedef struct SvcNounInfo
{
	const char *name;			/* "support_ticket", as in svc_event.noun */
	const char *short_name;		/* "ticket", as in function names */
	const char *table;			/* "svc_support_ticket" */
	const char *title;			/* "Support ticket", to begin a sentence with */
	SvcNounKey	key;

	/*
	 * Space-separated column lists.  A change of counters alone is no event.
	 * Maintained columns are written by svc's functions only.  Personal
	 * columns tell who a customer is: they are what a tombstone loses, in the
	 * changes of its events, too.  Silent columns follow from others, or are
	 * too long; the changes of events leave them out.
	 */
	const char *counters;
	const char *maintained;
	const char *personal;
	const char *silent;			/* or NULL */
} SvcNounInfo;

extern const SvcNounInfo *svc_noun_info(SvcNoun noun);
extern bool svc_noun_find(const char *name, SvcNoun *noun);
extern bool svc_noun_list_has(const char *list, const char *column);

#endif							/* SVC_NOUN_H */
