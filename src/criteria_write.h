/*-------------------------------------------------------------------------
 *
 * criteria_write.h
 *	  Parts of segment criteria as documents of their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CRITERIA_WRITE_H
#define SVC_CRITERIA_WRITE_H

#include "lib/stringinfo.h"

#include "criteria.h"

extern bool svc_criteria_write(const SvcCriteria *criteria, int i, int skipped, StringInfo out);
extern bool svc_criteria_write_positive(const SvcCriteria *criteria, int i, int skipped, StringInfo out);
extern void svc_criteria_write_value(const SvcCriteria *criteria, int i, StringInfo out);

#endif							/* SVC_CRITERIA_WRITE_H */
