-- Holds: what is set aside for work whose cost is known only later.
--
-- One hold may be split over several grants, as a consume is: each row is what
-- it holds of one grant. A row changes once, from open to one of the other
-- statuses; a hold of which one row has lapsed has ended. Written by svc only.
CREATE TABLE IF NOT EXISTS @schema@.svc_entitlement_hold (
    customer_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    line integer NOT NULL CHECK (line >= 0),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'settled', 'released', 'lapsed')),
    expires_at timestamptz,
    held_at timestamptz NOT NULL,
    ended_at timestamptz,
    amount numeric NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    settled_amount numeric CHECK (settled_amount >= 0 AND settled_amount < 'Infinity'),
    entitlement_id text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    spent_on text COLLATE "C",
    cost numeric CHECK (cost > 0 AND cost < 'Infinity'),
    metadata jsonb,
    PRIMARY KEY (customer_id, id, line),
    FOREIGN KEY (customer_id, entitlement_id) REFERENCES @schema@.svc_entitlement (customer_id, id),
    CHECK ((status = 'open') = (ended_at IS NULL)),
    CHECK ((spent_on IS NULL) = (cost IS NULL))
);
CREATE INDEX IF NOT EXISTS svc_entitlement_hold_open
    ON @schema@.svc_entitlement_hold (customer_id, code) WHERE status = 'open';
CREATE INDEX IF NOT EXISTS svc_entitlement_hold_grant ON @schema@.svc_entitlement_hold (customer_id, entitlement_id);
CREATE INDEX IF NOT EXISTS svc_entitlement_hold_due
    ON @schema@.svc_entitlement_hold (expires_at) WHERE status = 'open' AND expires_at IS NOT NULL;

COMMENT ON TABLE @schema@.svc_entitlement_hold IS 'What is set aside for work whose cost is known only later; a hold has a row for each grant that it is on.';
COMMENT ON COLUMN @schema@.svc_entitlement_hold.line IS 'In burn order: 0, 1, 2 ...';
COMMENT ON COLUMN @schema@.svc_entitlement_hold.status IS 'open; settled, released, or lapsed when its time was over.';
COMMENT ON COLUMN @schema@.svc_entitlement_hold.expires_at IS 'From then on it holds nothing, whatever its status; null: never.';
COMMENT ON COLUMN @schema@.svc_entitlement_hold.amount IS 'What it holds of the grant.';
COMMENT ON COLUMN @schema@.svc_entitlement_hold.code IS 'The code of the grant; of the hold, too, where spent_on is null.';
COMMENT ON COLUMN @schema@.svc_entitlement_hold.spent_on IS 'Where the grant is a pool that is to pay for another code: that code. The amounts are in credits.';
COMMENT ON COLUMN @schema@.svc_entitlement_hold.cost IS 'There: what a unit of that code cost when it was held.';
COMMENT ON COLUMN @schema@.svc_entitlement_hold.settled_amount IS 'What of it was used in the end.';

CREATE OR REPLACE TRIGGER zzz_svc_append_only BEFORE UPDATE OR DELETE ON @schema@.svc_entitlement_hold
    FOR EACH ROW EXECUTE FUNCTION @schema@.svc_append_only();
CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON @schema@.svc_entitlement_hold
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.svc_append_only();
