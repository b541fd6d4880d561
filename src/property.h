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

extern Datum svc_property_insert(SvcNoun noun, Jsonb *properties);

#endif							/* SVC_PROPERTY_H */
