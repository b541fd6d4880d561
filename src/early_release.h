/*-------------------------------------------------------------------------
 *
 * early_release.h
 *	  Locks that are released before the commit is on disk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_EARLY_RELEASE_H
#define SVC_EARLY_RELEASE_H

extern bool svc_early_lock_release; /* setting */

extern void svc_early_release_init(void);
extern void svc_early_release_arm(void);

#endif							/* SVC_EARLY_RELEASE_H */
