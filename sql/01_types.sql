-- Composite types that functions of svc return.

CREATE TYPE svc_decision AS (
    allowed boolean,
    reason text,
    remaining numeric,
    overage numeric,
    reset_at timestamptz,
    value jsonb,
    entitlement_id text
);
COMMENT ON TYPE svc_decision IS
'The answer to "may this customer use that much?": allowed; reason (ok, limit_exceeded, no_entitlement, not_yet_valid, expired, suspended, revoked, customer_inactive, unknown_customer); remaining, null when unlimited or not metered; overage, the part beyond the limit; reset_at, when the next grant resets; value, of the first grant that has one; entitlement_id, of the grant that pays first.';

CREATE TYPE svc_consumption AS (
    allowed boolean,
    reason text,
    remaining numeric,
    overage numeric,
    reset_at timestamptz,
    value jsonb,
    entitlement_id text,
    consumed numeric,
    replayed boolean
);
COMMENT ON TYPE svc_consumption IS
'svc_decision as it is after the consume, and: consumed, the amount that was taken (0 when denied); replayed, whether this is the stored answer to an earlier request with the same idempotency key.';
