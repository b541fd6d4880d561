/*-------------------------------------------------------------------------
 *
 * property.h
 *	  Rows of nouns from JSON objects of properties.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_PROPERTY_H
#define SVC_PROPERTY_H

#include "utils/jsonb.h"

#include "noun.h"

extern Datum svc_property_insert(SvcNoun noun, Datum customer_id, Jsonb *properties);
extern Datum svc_property_update(SvcNoun noun, const char *action, const char *fixed,
								 const char *further, Datum customer_id, Datum id, Jsonb *properties);

#endif							/* SVC_PROPERTY_H */
