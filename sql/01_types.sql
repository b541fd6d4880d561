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
'The answer to "may this customer use that much?": allowed; reason (ok, limit_exceeded, no_entitlement, not_yet_valid, expired, suspended, revoked, customer_inactive, unknown_customer); remaining, what is left within the limits, of pools for whole units, null when unlimited or not metered; overage, the part beyond the limit; reset_at, when the next grant resets; value, of the first grant that has one; entitlement_id, of the grant that pays first.';

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

CREATE TYPE svc_consumptions AS (
    allowed boolean,
    reason text,
    code text,
    consumed jsonb,
    remaining jsonb,
    overage jsonb,
    replayed boolean
);
COMMENT ON TYPE svc_consumptions IS
'The answer to a consume of several codes at once: allowed; reason; code, the first one that was denied, null when allowed; consumed and overage, objects of amounts by code, null when denied; remaining, the same of what is left, with null where there is no limit; replayed, whether this is the stored answer to an earlier request with the same idempotency key.';

CREATE TYPE svc_hold AS (
    allowed boolean,
    reason text,
    remaining numeric,
    overage numeric,
    reset_at timestamptz,
    value jsonb,
    entitlement_id text,
    held numeric,
    replayed boolean,
    hold_id text,
    expires_at timestamptz
);
COMMENT ON TYPE svc_hold IS
'svc_decision as it is after setting an amount aside, and: held, the amount (0 when denied); replayed, whether this is the stored answer to an earlier request with the same idempotency key; hold_id, null when denied; expires_at, when the hold lapses by itself, null for never.';

CREATE TYPE svc_balance AS (
    unlimited boolean,
    limit_amount numeric,
    rollover_amount numeric,
    used_amount numeric,
    held_amount numeric,
    remaining_amount numeric,
    overage numeric
);
COMMENT ON TYPE svc_balance IS
'The balance of a customer and code over all grants together: unlimited; limit_amount, null when unlimited or not counted; rollover_amount, carried over from the period before; used_amount; held_amount; remaining_amount, within the limits, null when unlimited or not counted; overage, the part of used_amount that is beyond the limits.';
