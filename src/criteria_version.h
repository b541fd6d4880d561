/*-------------------------------------------------------------------------
 *
 * criteria_version.h
 *	  Comparing version strings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CRITERIA_VERSION_H
#define SVC_CRITERIA_VERSION_H

#include "lib/stringinfo.h"

extern void svc_criteria_pad_version(const char *version, int length, StringInfo padded);

#endif							/* SVC_CRITERIA_VERSION_H */
