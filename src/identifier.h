/*-------------------------------------------------------------------------
 *
 * identifier.h
 *	  New ids: a prefix and 128 time-ordered bits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_IDENTIFIER_H
#define SVC_IDENTIFIER_H

#include "fmgr.h"

extern Datum svc_new_id(PG_FUNCTION_ARGS);

#endif							/* SVC_IDENTIFIER_H */
