/*-------------------------------------------------------------------------
 *
 * error.h
 *	  The SQLSTATEs of svc, all of class SV, in one place.
 *
 * A denial is a result; an error is misuse, conflict or damage.  A plain
 * mistake in an argument (NULL, out of range, unknown mode) carries the
 * standard code of class 22; what only svc can refuse has a code here.
 * README lists these codes; test/tidy.sh proves that it lists all of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_ERROR_H
#define SVC_ERROR_H

#include "utils/elog.h"

/* a status change that the noun's lifecycle does not allow */
#define ERRCODE_SVC_FORBIDDEN_TRANSITION	MAKE_SQLSTATE('S', 'V', '0', '0', '1')
/* svc_install() has not been run, or its tables are of another version */
#define ERRCODE_SVC_NOT_INSTALLED			MAKE_SQLSTATE('S', 'V', '0', '0', '2')
/* svc_require_entitlement() was refused what it required */
#define ERRCODE_SVC_ENTITLEMENT_DENIED		MAKE_SQLSTATE('S', 'V', '0', '0', '3')
/* an idempotency key came back with other arguments */
#define ERRCODE_SVC_KEY_REUSED				MAKE_SQLSTATE('S', 'V', '0', '0', '4')
/* a row is not of the revision that the caller has seen */
#define ERRCODE_SVC_REVISION_CONFLICT		MAKE_SQLSTATE('S', 'V', '0', '0', '5')
/* a column that only svc's own functions write was written by hand */
#define ERRCODE_SVC_MAINTAINED_COLUMN		MAKE_SQLSTATE('S', 'V', '0', '0', '6')
/* a row that must stay was deleted, or an append-only row was changed */
#define ERRCODE_SVC_PERMANENT_ROW			MAKE_SQLSTATE('S', 'V', '0', '0', '7')
/* the customer or other row named in a call does not exist */
#define ERRCODE_SVC_UNKNOWN_ROW				MAKE_SQLSTATE('S', 'V', '0', '0', '8')
/* a property that the noun does not have, or that a caller cannot set */
#define ERRCODE_SVC_UNKNOWN_PROPERTY		MAKE_SQLSTATE('S', 'V', '0', '0', '9')
/* a property whose JSON value is of the wrong type */
#define ERRCODE_SVC_PROPERTY_TYPE			MAKE_SQLSTATE('S', 'V', '0', '1', '0')
/* consuming a right that is not counted */
#define ERRCODE_SVC_NOT_METERED				MAKE_SQLSTATE('S', 'V', '0', '1', '1')
/* a noun that does not exist, or a function that is no action of one */
#define ERRCODE_SVC_UNKNOWN_NOUN			MAKE_SQLSTATE('S', 'V', '0', '1', '2')
/* paying or giving back more than there is */
#define ERRCODE_SVC_AMOUNT_EXCEEDED			MAKE_SQLSTATE('S', 'V', '0', '1', '3')
/* a customer that still has open subscriptions, or rows that others refer to */
#define ERRCODE_SVC_STILL_IN_USE			MAKE_SQLSTATE('S', 'V', '0', '1', '4')
/* events that a consumer has not read were purged */
#define ERRCODE_SVC_EVENTS_PURGED			MAKE_SQLSTATE('S', 'V', '0', '1', '5')

/* a consumer's state is of another history of this server */
#define ERRCODE_SVC_OTHER_HISTORY			MAKE_SQLSTATE('S', 'V', '0', '1', '6')
/* settling or releasing a hold that has ended */
#define ERRCODE_SVC_HOLD_ENDED				MAKE_SQLSTATE('S', 'V', '0', '1', '7')

/* limits of a plan that do not define what it grants */
#define ERRCODE_SVC_PLAN_LIMITS				MAKE_SQLSTATE('S', 'V', '0', '1', '8')
/* a subscription that does not fit its plan: currency, billing cycle, trial */
#define ERRCODE_SVC_PLAN_MISMATCH			MAKE_SQLSTATE('S', 'V', '0', '1', '9')
/* a second subscription to the same plan */
#define ERRCODE_SVC_ALREADY_SUBSCRIBED		MAKE_SQLSTATE('S', 'V', '0', '2', '0')
/* segment criteria that are not of the language, or of another version */
#define ERRCODE_SVC_INVALID_CRITERIA		MAKE_SQLSTATE('S', 'V', '0', '2', '2')
/* a place in a segment for who is not in the segment above it */
#define ERRCODE_SVC_NOT_IN_PARENT			MAKE_SQLSTATE('S', 'V', '0', '2', '3')
/* a meter whose resource has usage already */
#define ERRCODE_SVC_METER_IN_USE			MAKE_SQLSTATE('S', 'V', '0', '2', '4')
/* usage of a period that is finalized, where it is to be refused */
#define ERRCODE_SVC_USAGE_CLOSED			MAKE_SQLSTATE('S', 'V', '0', '2', '5')

#endif							/* SVC_ERROR_H */
