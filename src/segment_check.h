/*-------------------------------------------------------------------------
 *
 * segment_check.h
 *	  Are criteria such as a segment can have?
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SEGMENT_CHECK_H
#define SVC_SEGMENT_CHECK_H

#include "criteria.h"

extern void svc_segment_check_criteria(const SvcCriteria *criteria);
extern void svc_segment_check_references(const char *id, const char *parent, const SvcCriteria *criteria);

#endif							/* SVC_SEGMENT_CHECK_H */
