/*-------------------------------------------------------------------------
 *
 * segment_check.h
 *	  Are criteria such as a segment can have?
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SEGMENT_CHECK_H
#define SVC_SEGMENT_CHECK_H

#include "utils/jsonb.h"

#include "criteria.h"

extern SvcCriteria *svc_segment_try_criteria(Jsonb *document, ErrorData **error);
extern void svc_segment_check_criteria(const SvcCriteria *criteria);
extern void svc_segment_check_references(const char *id, const char *parent, const SvcCriteria *criteria);

#endif							/* SVC_SEGMENT_CHECK_H */
