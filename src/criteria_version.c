/*-------------------------------------------------------------------------
 *
 * criteria_version.c
 *	  Comparing version strings.
 *
 * A version is *padded*, so that bytewise order is that of versions: a "v" in
 * front and "+build" behind are left out, what is between dots and hyphens is
 * aligned to the right if it is a number, and a release of just three parts gets
 * "~" as the fourth, so that it comes after its prereleases.  (As GrowthBook's
 * SDKs do.)
 *
 * Pure: no SPI, no catalog, no server.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "criteria_version.h"

#define DIGITS	5

void
svc_criteria_pad_version(const char *version, int length, StringInfo padded)
{
	int			parts = 0;
	int			at = 0;

	if (length > 0 && version[0] == 'v')
		at = 1;
	for (int i = at; i < length; i++)
	{
		if (version[i] == '+')
			length = i;
	}
	for (;;)
	{
		int			first = at;
		bool		number = true;

		for (; at < length && version[at] != '-' && version[at] != '.'; at++)
			number &= version[at] >= '0' && version[at] <= '9';
		if (parts++ > 0)
			appendStringInfoChar(padded, '-');
		if (number && at > first)
		{
			for (int i = at - first; i < DIGITS; i++)
				appendStringInfoChar(padded, ' ');
		}
		appendBinaryStringInfo(padded, version + first, at - first);
		if (at >= length)
			break;
		at++;
	}
	if (parts == 3)
		appendStringInfoString(padded, "-~");
}
