/*-------------------------------------------------------------------------
 *
 * criteria.h
 *	  Segment criteria: a compiled MongoDB-style query document.
 *
 * A value of type svc_criteria is one varlena:
 *
 *		+----------------------+ 0
 *		| varlena header       |
 *		| version, flags       | 4: one byte each
 *		| path count           | 6: two bytes
 *		| node count           | 8
 *		| source length        | 12
 *		| data length          | 16
 *		| hash of the document | 20
 *		+----------------------+ 24
 *		| nodes                | SvcCriteriaNode[node count], in preorder
 *		+----------------------+
 *		| paths                | SvcCriteriaPath[path count]
 *		+----------------------+
 *		| data                 | components of paths, and operands
 *		+----------------------+
 *		| source               | the document as it was given, not terminated
 *		+----------------------+
 *
 * A node is followed by its children, which belong to it: parts of a junction,
 * conditions of $elemMatch and $size, values of $in.  Node 0 is the whole.  A
 * component of a path is a length of two bytes, little-endian, and as many bytes.
 *
 * The source is the value, for equality, for output and for other versions, all
 * else is made from it, the same on each machine of one kind.  Numbers are kept as
 * text and patterns uncompiled: who evaluates prepares both once (criteria_match.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CRITERIA_H
#define SVC_CRITERIA_H

#define SVC_CRITERIA_VERSION		1
#define SVC_CRITERIA_LENGTH_MAX		65536	/* bytes of the document */
#define SVC_CRITERIA_DEPTH_MAX		32
#define SVC_CRITERIA_NODES_MAX		4096	/* values of a list not counted */
#define SVC_CRITERIA_LIST_MAX		10000
#define SVC_CRITERIA_PATH_MAX		32	/* components */
#define SVC_CRITERIA_REGEX_MAX		1024	/* bytes */

/* flags of the whole */
#define SVC_CRITERIA_TIME_DEPENDENT	0x01	/* the answer may change with time alone */
#define SVC_CRITERIA_USES_SEGMENTS	0x02

/* flags of a node */
#define SVC_CRITERIA_NEGATED		0x01	/* true where the condition is false */
#define SVC_CRITERIA_FOLDED			0x02	/* case does not matter */

/* the member of a document that names the segments that its owner is in */
#define SVC_CRITERIA_SEGMENTS		"segments"

/* path of a condition on the very value that is looked at */
#define SVC_CRITERIA_NO_PATH		0xFFFF

typedef enum SvcCriteriaOp
{
	/* junctions of their children */
	SVC_CRITERIA_AND,
	SVC_CRITERIA_OR,
	/* membership in one of the segments that the children name */
	SVC_CRITERIA_IN_SEGMENT,

	/* conditions on the values of a path; operands are children, or data */
	SVC_CRITERIA_IN,			/* equals one of the values; $eq has one */
	SVC_CRITERIA_GT,
	SVC_CRITERIA_GTE,
	SVC_CRITERIA_LT,
	SVC_CRITERIA_LTE,
	SVC_CRITERIA_ELEMENT,		/* an element with all these conditions on itself */
	SVC_CRITERIA_ELEMENT_DOCUMENT,	/* an element that is a document with these criteria */
	SVC_CRITERIA_SIZE,			/* length with all these conditions */
	SVC_CRITERIA_EXISTS,
	SVC_CRITERIA_NOT_EMPTY,
	SVC_CRITERIA_TYPE,			/* data: a set of 1 << SvcCriteriaType */
	SVC_CRITERIA_REGEX,			/* bytes: pattern as PostgreSQL writes it */
	SVC_CRITERIA_STARTS_WITH,	/* bytes: text */
	SVC_CRITERIA_ENDS_WITH,
	SVC_CRITERIA_CONTAINS,
	SVC_CRITERIA_MOD,			/* two numbers */
	SVC_CRITERIA_VERSION_EQ,	/* bytes: version */
	SVC_CRITERIA_VERSION_GT,
	SVC_CRITERIA_VERSION_GTE,
	SVC_CRITERIA_VERSION_LT,
	SVC_CRITERIA_VERSION_LTE,
	SVC_CRITERIA_WITHIN_LAST,	/* bytes: "now-30d" */
	SVC_CRITERIA_WITHIN_NEXT,	/* bytes: "now+30d" */

	/* values */
	SVC_CRITERIA_NULL,
	SVC_CRITERIA_FALSE,
	SVC_CRITERIA_TRUE,
	SVC_CRITERIA_NUMBER,		/* bytes: as in JSON */
	SVC_CRITERIA_STRING,		/* bytes */
	SVC_CRITERIA_INSTANT,		/* bytes: eight, microseconds as of a timestamptz */
	SVC_CRITERIA_DATE_MATH,		/* bytes: "now-1d/d" */
	SVC_CRITERIA_JSON,			/* bytes: an array or object, as JSON */
} SvcCriteriaOp;

typedef enum SvcCriteriaType
{
	SVC_CRITERIA_TYPE_NULL,
	SVC_CRITERIA_TYPE_BOOLEAN,
	SVC_CRITERIA_TYPE_NUMBER,
	SVC_CRITERIA_TYPE_STRING,
	SVC_CRITERIA_TYPE_ARRAY,
	SVC_CRITERIA_TYPE_OBJECT,
} SvcCriteriaType;

#define SVC_CRITERIA_TYPE_COUNT		(SVC_CRITERIA_TYPE_OBJECT + 1)

typedef struct SvcCriteriaNode
{
	uint8		op;				/* SvcCriteriaOp */
	uint8		flags;
	uint16		path;			/* index, or SVC_CRITERIA_NO_PATH */
	uint32		size;			/* nodes of the subtree, itself included */
	uint32		data;			/* offset of its bytes in the data, or a number */
	uint32		length;			/* of its bytes */
} SvcCriteriaNode;

typedef struct SvcCriteriaPath
{
	uint32		data;			/* offset of its first component */
	uint16		count;			/* of components */
	uint16		unused;
} SvcCriteriaPath;

typedef struct SvcCriteria
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	uint8		version;
	uint8		flags;
	uint16		path_count;
	uint32		node_count;
	uint32		source_length;
	uint32		data_length;
	uint32		hash;			/* as of jsonb: equal for equal documents */
	SvcCriteriaNode nodes[FLEXIBLE_ARRAY_MEMBER];
} SvcCriteria;

static inline const SvcCriteriaPath *
svc_criteria_paths_of(const SvcCriteria *criteria)
{
	return (const SvcCriteriaPath *) (criteria->nodes + criteria->node_count);
}

static inline const char *
svc_criteria_data(const SvcCriteria *criteria)
{
	return (const char *) (svc_criteria_paths_of(criteria) + criteria->path_count);
}

static inline const char *
svc_criteria_source(const SvcCriteria *criteria)
{
	return svc_criteria_data(criteria) + criteria->data_length;
}

/* Go to the next component of a path: its length, and behind it "component". */
static inline uint16
svc_criteria_component(const char **component)
{
	const unsigned char *bytes = (const unsigned char *) *component;

	*component += 2;
	return bytes[0] | bytes[1] << 8;
}

/*
 * The first condition from node i on that looks at a path, or "end".  The next one is
 * to be looked for behind it, since paths within its elements begin there.
 */
static inline int
svc_criteria_condition(const SvcCriteria *criteria, int i, int end)
{
	while (i < end && criteria->nodes[i].path == SVC_CRITERIA_NO_PATH)
		i++;
	return i;
}

/* What is wrong with a document. */
typedef struct SvcCriteriaError
{
	char	   *message;		/* a clause */
	char	   *pointer;		/* JSON pointer (RFC 6901) to what is wrong */
	char	   *hint;			/* a sentence, or NULL */
} SvcCriteriaError;

/*
 * What the parser cannot know by itself, because it knows of no server.  A check
 * returns NULL, or what is wrong.
 */
typedef struct SvcCriteriaHost
{
	int			encoding;
	char	   *(*check_regex) (const char *pattern, int length);
} SvcCriteriaHost;

extern SvcCriteria *svc_criteria_parse(const char *source, int length, const SvcCriteriaHost *host,
									   SvcCriteriaError *error);

/* criteria.c */
extern bool svc_criteria_is_valid(const char *source, int length);
extern const SvcCriteria *svc_criteria_present(const SvcCriteria *criteria);
extern const char *svc_criteria_type_name(SvcCriteriaType type);
extern char *svc_criteria_path_text(const SvcCriteria *criteria, int number);

/* criteria_explain.c */
extern char *svc_criteria_explain(const SvcCriteria *criteria);

/* criteria_time.c */
extern bool svc_criteria_read_instant(const char *string, int length, int64 *instant);
extern char *svc_criteria_write_instant(int64 instant);
extern char *svc_criteria_write_fixed_instant(int64 instant);
extern bool svc_criteria_read_date_math(const char *string, int length, int64 now, int64 *instant);
extern int64 svc_criteria_date_math(const char *math, int length, int64 now);
extern bool svc_criteria_date_math_is_near(const char *math, int length);
extern int64 svc_criteria_next_crossing(const char *math, int length, int64 now, int64 instant);

#endif							/* SVC_CRITERIA_H */
