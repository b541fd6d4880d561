/*-------------------------------------------------------------------------
 *
 * identifier.c
 *	  New ids: a prefix and 128 time-ordered bits.
 *
 * The form is TypeID's (version 0.3 of its specification): the bits are a
 * UUID of version 7 (RFC 9562, section 5.7), written as 26 digits of
 * Crockford's base 32 in lower case, so that ids sort by time as text in
 * collation "C".
 *
 *		cus_01jdb2x8k5e6tvk3m9d0q7r4wz
 *		    |--------||--------------|
 *		    48 bits    4 bits version, 12 of fraction,
 *		    of ms      2 of variant, 62 random
 *
 * Within one backend ids are strictly ascending: the 12 bits that follow the
 * version hold the fraction of the millisecond (RFC 9562, section 6.2,
 * method 3), counted up when the clock stands still.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "identifier.h"

#define PREFIX_LENGTH_MAX	63
#define ID_BITS_DIGITS		26	/* base 32 digits of 128 bits */
#define FRACTION_BITS		12	/* of a millisecond */

static void check_prefix(const char *prefix, int len);
static uint64 next_tick(void);
static void fill_uuid(uint8 *uuid);
static void encode_base32(const uint8 *uuid, char *digits);

PG_FUNCTION_INFO_V1(svc_new_id);

/*
 * svc_new_id(prefix) -> a new id, unique in the world for all purposes.
 *
 * The prefix is 1 to 63 characters a-z and _, beginning and ending with a
 * letter.  NULL gives NULL.
 */
Datum
svc_new_id(PG_FUNCTION_ARGS)
{
	text	   *prefix = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(prefix);
	uint8		uuid[16];
	text	   *id;
	char	   *at;

	check_prefix(VARDATA_ANY(prefix), len);
	fill_uuid(uuid);

	id = (text *) palloc(VARHDRSZ + len + 1 + ID_BITS_DIGITS);
	SET_VARSIZE(id, VARHDRSZ + len + 1 + ID_BITS_DIGITS);
	at = VARDATA(id);
	memcpy(at, VARDATA_ANY(prefix), len);
	at[len] = '_';
	encode_base32(uuid, at + len + 1);
	PG_RETURN_TEXT_P(id);
}

static void
check_prefix(const char *prefix, int len)
{
	bool		valid = len >= 1 && len <= PREFIX_LENGTH_MAX &&
		prefix[0] != '_' && prefix[len - 1] != '_';

	for (int i = 0; valid && i < len; i++)
		valid = prefix[i] == '_' || (prefix[i] >= 'a' && prefix[i] <= 'z');
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid prefix of an id: \"%.*s\"",
						pg_mbcliplen(prefix, len, 2 * PREFIX_LENGTH_MAX), prefix),
				 errdetail("It begins every id of its kind."),
				 errhint("Use 1 to %d characters a-z and _, beginning and ending with a letter.",
						 PREFIX_LENGTH_MAX)));
}

/* The time in 1/4096 of milliseconds since 1970, later at every call. */
static uint64
next_tick(void)
{
	static uint64 last_tick = 0;
	uint64		now_us = (uint64) GetCurrentTimestamp() +
		((uint64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
	uint64		tick = ((now_us / 1000) << FRACTION_BITS) |
		((now_us % 1000) << FRACTION_BITS) / 1000;

	if (tick <= last_tick)
		tick = last_tick + 1;
	last_tick = tick;
	return tick;
}

static void
fill_uuid(uint8 *uuid)
{
	uint64		tick = next_tick();
	uint64		high = pg_hton64(((tick >> FRACTION_BITS) << 16) |
								 UINT64CONST(0x7000) | (tick & 0xFFF));

	memcpy(uuid, &high, sizeof(high));
	if (!pg_strong_random(uuid + 8, 8))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes"),
				 errhint("The operating system's source of random numbers is not available.")));
	uuid[8] = (uuid[8] & 0x3F) | 0x80;
}

/* 128 bits as 26 digits of 5; the first digit holds the 3 bits left over. */
static void
encode_base32(const uint8 *uuid, char *digits)
{
	static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint32		bits = 0;
	int			held = 2;		/* two leading zeros make 130 bits */

	for (int i = 0; i < 16; i++)
	{
		bits = (bits << 8) | uuid[i];
		held += 8;
		while (held >= 5)
		{
			held -= 5;
			*digits++ = alphabet[(bits >> held) & 0x1F];
		}
	}
}
